import { opendir, realpath, stat } from 'node:fs/promises';
import type { OpenBackup } from '../backup/open.ts';
import { logsArgv } from '../docker/argv.ts';
import type { ContainerInspect } from '../docker/engine.ts';
import { writeInto, type Recreated, type StackRecord } from '../docker/record.ts';
import { SafeUpdateError } from '../model/error.ts';
import type { Context } from './context.ts';
import type { Journal, JournalEntry } from './journal.ts';
import { currentContainers, requireNotInterrupted } from './session.ts';
import { harmIn, isClosed, isMachine, throwawayNetwork, type BindFact, type Throwaway } from './throwaway.ts';

/** More would take long to look through; such a folder is data, and not configuration. */
const mostEntries = 100_000;

/** What the sources of bind mounts are on this machine; those that the backup holds are volumes here. */
export async function lookAtBinds(
  { manifest }: OpenBackup,
  chosen: readonly ContainerInspect[],
  engineFolder: string,
): Promise<Map<string, BindFact>> {
  const sources = chosen.flatMap(({ Mounts }) =>
    Mounts.flatMap(({ Type, Source }) => (Type === 'bind' ? [Source] : [])),
  );
  const facts = new Map<string, BindFact>();
  for (const source of new Set(sources)) {
    if (manifest.volumes.some(({ name }) => name === source)) continue;
    facts.set(source, await lookAtBind(source, engineFolder));
  }
  return facts;
}

async function lookAtBind(source: string, engineFolder: string): Promise<BindFact> {
  const real = await realpath(source).catch(() => undefined);
  if (real === undefined) return { is: 'missing' };
  if (isMachine(real, engineFolder)) return { is: 'special', real };
  try {
    const itself = await stat(real);
    if (itself.isFile()) return { is: 'file', real };
    if (!itself.isDirectory()) return { is: 'special', real };
    let entries = 0;
    for await (const entry of await opendir(real, { recursive: true })) {
      entries += 1;
      if (entries > mostEntries) return { is: 'unreadable' };
      if (!entry.isFile() && !entry.isDirectory() && !entry.isSymbolicLink()) return { is: 'special', real };
    }
    return { is: 'folder', real };
  } catch {
    return { is: 'unreadable' };
  }
}

/** What is needed to undo it is on the engine: labels. */
export function unwritten(run: string): Journal {
  const entries: JournalEntry[] = [];
  return {
    run,
    entries,
    write(entry) {
      entries.push(entry);
    },
    record: () => Promise.resolve(),
  };
}

/**
 * Makes what `throwaway` has thought out, stopped and empty, and notes in `ids` which container stands for which. Throws
 * where it could do harm.
 */
export async function make(
  { context, record, proof, run }: { context: Context; record: StackRecord; proof: string; run: string },
  made: Throwaway,
  ids: Recreated,
): Promise<void> {
  const { engine } = context;
  const labels = throwawayNetwork(proof, run, '').Labels ?? {};
  for (const name of made.volumes) await engine.createVolume({ name, driver: 'local', options: {}, labels });
  for (const name of made.networks) await engine.createNetwork(throwawayNetwork(proof, run, name));
  for (const { recorded, options, connections } of made.containers) {
    requireNotInterrupted(context);
    const id = await engine.createContainer(options);
    ids.set(recorded, id);
    for (const { network, endpoint } of connections) await engine.connect(network, id, endpoint);
    for (const { folder, tarBase64 } of record.injected.filter(({ container }) => container === recorded))
      await writeInto(engine, id, folder, Buffer.from(tarBase64, 'base64'));
  }
  await requireHarmless(context, proof, made);
}

/** What the engine says of what it has made: the last look before anything runs. Throws where there is a bug. */
async function requireHarmless({ engine }: Context, proof: string, made: Throwaway): Promise<void> {
  const containers = await engine.projectContainers(proof);
  const own = containers.flatMap(({ Id, Name }) => [Id, Name.replace(/^\//, '')]);
  const harm = containers.flatMap((inspect) =>
    harmIn(proof, inspect, own).map((what) => `${inspect.Name.slice(1)}: ${what}`),
  );
  for (const name of made.networks) {
    const network = await engine.network(name);
    if (network === null || !isClosed(proof, network)) harm.push(`${name} is not closed`);
  }
  if (containers.length !== made.containers.length) harm.push(`${containers.length} containers`);
  if (harm.length > 0) throw new Error(`the test-restore would not be harmless: ${harm.join('; ')}`);
}

/** Adds what the containers that do not run, or are unhealthy, printed last. They are gone a moment later. */
export async function withLastWords(context: Context, proof: string, error: unknown): Promise<unknown> {
  if (!(error instanceof SafeUpdateError) || error.code === 'interrupted') return error;
  const blocks: string[] = [];
  try {
    const containers = await currentContainers(context, proof);
    const failing = containers.filter(
      ({ status, health, startedAt }) =>
        !startedAt.startsWith('0001') && (status !== 'running' || health === 'unhealthy'),
    );
    for (const { id, service } of failing.slice(0, 3)) {
      const { stdout, stderr } = await context.exec.run({ argv: logsArgv(id, 10), timeout: 30_000 });
      const lines = (stdout + stderr).trimEnd();
      blocks.push(`The last words of ${service}:`, lines === '' ? '(none)' : lines);
    }
  } catch {
    // The error that is on its way says more.
  }
  return new SafeUpdateError(error.code, [error.message, ...blocks].join('\n'), {
    ...(error.state === undefined ? {} : { state: error.state }),
    ...(error.code === 'unhealthy'
      ? {
          hint: 'It can reach nothing outside. A service that needs that to be healthy can be left out: --without SERVICE',
        }
      : {}),
    cause: error,
  });
}
