import { sharingAllowed } from '../config/load.ts';
import { placesOf, type Manifest, type ManifestVolume } from '../backup/manifest.ts';
import type { ListedContainer } from '../docker/engine.ts';
import type { StackRecord } from '../docker/record.ts';
import type { Volume } from '../model/project.ts';
import { classify } from './classes.ts';
import type { Context } from './context.ts';
import type { Refusal } from './refuse.ts';
import type { Selection } from './restore.ts';

/** Whether a restore writes to a volume: fills it from its archive, or loads the dump of a database in it. Pure. */
export function writesTo(
  selection: Selection,
  target: Manifest,
): (volume: Pick<ManifestVolume, 'name'>) => boolean {
  if (selection.what === 'all') return () => true;
  const ofDatabases = target.databases
    .filter(({ service }) => selection.databases.some((chosen) => chosen.service === service))
    .map(({ volume }) => volume);
  return ({ name }) => selection.volumes.includes(name) || ofDatabases.includes(name);
}

/**
 * The volumes that are there and that a restore writes over, also where the present stack does not use them any more: what is
 * kept first and what is refused go by this. `present`: the volumes of the stack as it is.
 */
export async function overwrittenBy(
  { engine, settings }: Pick<Context, 'engine' | 'settings'>,
  present: Pick<StackRecord, 'volumes'>,
  target: Manifest,
  selection: Selection,
): Promise<Volume[]> {
  const volumes: Volume[] = [];
  for (const volume of target.volumes.filter(writesTo(selection, target))) {
    const own = present.volumes.find(({ name }) => name === volume.name);
    if (own !== undefined) {
      if (own.exists) volumes.push(own);
      continue;
    }
    const { name, kind } = volume;
    const spec =
      kind === 'bind'
        ? (await engine.hasPath(name)) && { name, driver: 'bind', options: {}, labels: {} }
        : await engine.volume(name);
    if (spec === null || spec === false) continue;
    const classified = classify(settings, { name, labels: spec.labels, services: [] });
    volumes.push({ kind, ...spec, servedAt: placesOf(volume), exists: true, ...classified });
  }
  return volumes;
}

/**
 * Reasons not to restore: what is outside of the project and uses, or has made, a volume that would be emptied. `everyone`: all
 * containers of the engine. Pure.
 */
export function sharedRefusals(
  overwritten: readonly Volume[],
  project: string,
  everyone: readonly ListedContainer[],
  settings: Context['settings'],
): Refusal[] {
  return overwritten
    .filter((volume) => !sharingAllowed(settings, volume))
    .flatMap(({ name, kind, labels }): Refusal[] => {
      const users = everyone
        .filter((container) => container.labels['com.docker.compose.project'] !== project)
        .filter((container) => !('safe-update.project' in container.labels))
        .filter(({ mounts }) =>
          mounts.some((mount) => (kind === 'bind' ? mount.source : mount.name) === name),
        )
        .map((container) => `the container ${container.name}${container.running ? ', which runs,' : ''}`);
      const maker = labels['com.docker.compose.project'];
      const others = [
        ...users,
        ...(users.length === 0 && maker !== undefined && maker !== project ? [`the project ${maker}`] : []),
      ];
      if (others.length === 0) return [];
      return [
        {
          accept: `shared-volume:${name}`,
          message: `The volume ${name} would be emptied and filled from the backup, but ${others.join(' and ')} ${others.length === 1 ? 'uses' : 'use'} it too, outside of this project.`,
          hint: `See what is in it first; leave it out with --only, or restore beside it: --as.`,
        },
      ];
    });
}
