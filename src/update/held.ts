import { holdsData } from '../backup/retention.ts';
import { listBackups, type ListedBackup } from '../backup/open.ts';
import type { Listing, Manifest } from '../backup/manifest.ts';
import type { Store } from '../backup/store/store.ts';
import type { Observed } from '../docker/observe.ts';
import type { Plan } from '../model/plan.ts';
import type { Volume } from '../model/project.ts';
import { archived } from './classes.ts';
import type { Refusal } from './refuse.ts';

/** Whether one would go back to a backup: it is neither of a state that failed nor of one that a restore was to end. Pure. */
export function isToGoBackTo({ kind }: Pick<Listing, 'kind'>): boolean {
  return kind === 'manual' || kind === 'pre-update';
}

/** The newest backup of these, oldest first, that holds a volume and that one would go back to; undefined if there is none. Pure. */
export function lastHolding(backups: readonly ListedBackup[], volume: string): Listing | undefined {
  return backups.findLast(
    ({ manifest }) =>
      manifest !== undefined &&
      isToGoBackTo(manifest) &&
      manifest.volumes?.some(({ name }) => name === volume) === true,
  )?.manifest;
}

/** The newest backup that a person or an update has made and that holds data; undefined if there is none. */
export async function lastWithData(store: Store): Promise<Listing | undefined> {
  const made = (await listBackups(store)).flatMap(({ manifest }) => manifest ?? []);
  return made.findLast((manifest) => isToGoBackTo(manifest) && holdsData(manifest));
}

/**
 * What the backup that this plan makes will not hold although the last one did, in words; nothing if there is nothing. Of an encrypted
 * backup nothing is known. Pure.
 */
export function holdsLess(
  { volumes }: Pick<Observed, 'volumes'>,
  { databases }: Pick<Plan, 'databases'>,
  former: Listing | undefined,
): string[] {
  if (former?.format !== 1) return [];
  const kept = archived(volumes).map(({ name }) => name);
  const missing = [
    ...former.volumes
      .filter(({ name, kind, entries }) => kind !== 'anonymous' && entries > 1 && !kept.includes(name))
      .map(({ name }) => `the volume ${name} (${whyMissing(volumes, name)})`),
    ...[...new Set(former.databases.filter(({ parts }) => parts.length > 0).map(({ service }) => service))]
      .filter((service) => !databases.some((database) => database.service === service && database.running))
      .map((service) => `a dump of ${service} (it does not run)`),
  ];
  return missing.length === 0 ? [] : [`Not in this backup, but in ${former.id}: ${missing.join(', ')}.`];
}

function whyMissing(volumes: readonly Volume[], name: string): string {
  const volume = volumes.find((candidate) => candidate.name === name);
  if (volume === undefined) return 'nothing of the project uses it any more';
  return volume.leftOut ?? 'it does not exist any more';
}

/**
 * A backup without any data is refused where there should be some: a nightly one of a stack that is gone would say "backed up"
 * every night. A stack that runs and has never had data is not meant. Pure.
 */
export function emptyBackup(
  { containers, volumes, model }: Pick<Observed, 'containers' | 'volumes' | 'model'>,
  former: Listing | undefined,
): Refusal[] {
  if (archived(volumes).length > 0) return [];
  const mounts = Object.values(model.services).flatMap(({ volumes: declared = [] }) => declared);
  if (former === undefined && (containers.length > 0 || mounts.length === 0)) return [];
  return [
    {
      accept: 'empty-backup',
      message: `There is no data to back up: ${volumes.length === 0 ? 'the project has no volumes' : 'none of its volumes exists'}${containers.length === 0 ? ', and it has no containers' : ''}.`,
      hint:
        former === undefined
          ? 'Start the stack first; check that this is the right engine and project: safe-update doctor.'
          : `The last backup with data is ${former.id}: see what it holds with safe-update show ${former.id}. Check that this is the right engine and project: safe-update doctor.`,
    },
  ];
}

/** The anonymous volumes of a backup that no container has any more: `docker compose down` leaves them without a trace. Pure. */
export function leftBehind(
  { volumes }: Pick<Observed, 'volumes'>,
  former: Listing | undefined,
): Manifest['volumes'] {
  if (former?.format !== 1) return [];
  return former.volumes.filter(
    ({ kind, name, entries }) =>
      kind === 'anonymous' && entries > 1 && !volumes.some((volume) => volume.name === name),
  );
}
