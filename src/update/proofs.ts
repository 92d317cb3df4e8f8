import { isNotFound, proofLabel, proofPattern, type Engine } from '../docker/engine.ts';
import { labels } from '../docker/helper.ts';
import { messageOf } from '../model/error.ts';
import type { Context } from './context.ts';
import { isHeld, lockName } from './lock.ts';

/** On the lock of a test-restore: the project and the backup it is about, which nothing may remove meanwhile. */
const provesLabel = 'safe-update.proves';

/** What the lock of a test-restore carries, so that it is found whatever else of it is left. Pure. */
export function lockLabels(proof: string, project: string, backup: string): Record<string, string> {
  return { [proofLabel]: proof, [provesLabel]: `${project}/${backup}` };
}

/** The backups of a project that test-restores are reading now, or were when they were killed. */
export async function backupsInProof(engine: Engine, project: string): Promise<string[]> {
  const held = await engine.containersLabelled(provesLabel);
  return held.flatMap(({ labels: found }) => {
    const about = found[provesLabel] ?? '';
    return about.startsWith(`${project}/`) ? [about.slice(project.length + 1)] : [];
  });
}

/**
 * Removes what a test-restore has made on the engine, all but its lock, and returns how many things that were. Can be done
 * twice. Each is told by the label with the test-restore's own name, and networks and volumes by their own names besides.
 */
export async function removeMade(engine: Engine, proof: string): Promise<number> {
  if (!proofPattern.test(proof)) throw new Error(`not a test-restore: ${proof}`);
  const lock = (await engine.container(lockName(proof)))?.Id;
  const made = `${proofLabel}=${proof}`;
  const own = ({ name }: { name: string }): boolean => name.startsWith(`${proof}_`);
  const helpersToo = await engine.containersLabelled(`${labels.project}=${proof}`);
  const containers = helpersToo.filter(({ id }) => id !== lock);
  for (const { id } of containers) await engine.removeContainer(id);
  const networks = (await engine.networksLabelled(made)).filter(own);
  for (const { name } of networks) await goneIsGone(engine.removeNetwork(name));
  const volumes = (await engine.volumesLabelled(made)).filter(own);
  for (const { name } of volumes) await goneIsGone(engine.removeProofVolume(name, proof));
  return containers.length + networks.length + volumes.length;
}

async function goneIsGone(work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

/**
 * Removes what test-restores have left on the engine whose process is provably dead, as for a lock, and says so. One that
 * may be alive keeps everything: its lock is made before anything else of it and removed after all of it. What cannot be
 * removed now is said too, and is no reason for anything else to fail.
 */
export async function tidyProofs(context: Context): Promise<void> {
  const { engine } = context;
  await orSay(context, async () => {
    const found = [
      ...(await engine.containersLabelled(proofLabel)),
      ...(await engine.volumesLabelled(proofLabel)),
      ...(await engine.networksLabelled(proofLabel)),
    ].map(({ labels: carried }) => carried[proofLabel] ?? '');
    for (const proof of new Set(found)) await orSay(context, () => tidy(context, proof));
  });
}

async function tidy({ engine, owner, isAlive, emit }: Context, proof: string): Promise<void> {
  if (!proofPattern.test(proof) || (await isHeld(engine, { project: proof, owner, isAlive }))) return;
  const removed = await removeMade(engine, proof);
  await engine.removeContainer(lockName(proof));
  if (removed === 0) return;
  const message = `What an interrupted test-restore had left was removed: ${proof}.`;
  emit({ type: 'notice', level: 'info', message });
}

async function orSay({ emit }: Context, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    const message = `What an interrupted test-restore has left could not be removed: ${messageOf(error)}`;
    emit({ type: 'notice', level: 'warning', message });
  }
}
