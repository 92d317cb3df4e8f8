import type { Retention } from '../model/retention.ts';
import type { Listing, Manifest } from './manifest.ts';
import type { ListedBackup } from './open.ts';

export interface RetentionOptions {
  keep: Retention;
  /** Ids that a run is using, or that a release can be rolled back to. */
  inUse: readonly string[];
}

/**
 * Given the backups, oldest first, returns the ids to remove. Never the newest sealed one of its kind, never the newest one
 * that a test-restore has proven, never one in use, never the last one that holds a volume or a database, and nothing whose
 * manifest cannot be read: that is for a person to look at. Pure.
 *
 * Three kinds are counted by themselves, so that none pushes out another: whole ones, what a restore kept or what holds no
 * data, and what was kept of failed updates.
 *
 * Which is newer is said by the order, which is that of their sequence, whatever the clock was. Hours, days and so on are
 * those of this machine's time zone.
 */
export function expired(backups: readonly ListedBackup[], { keep, inUse }: RetentionOptions): string[] {
  const read = backups.flatMap(({ id, manifest, proof }) =>
    manifest === undefined
      ? []
      : [
          {
            id,
            at: new Date(manifest.createdAt),
            kind: kindOf(manifest),
            // What an encrypted one holds is not known; its place is not that of a plain one, which would stay for ever.
            holds: manifest.format === 1 ? placesIn(manifest) : undefined,
            isProven: proof?.result === 'proven',
          },
        ],
  );
  const kinds = ['whole', 'part', 'failed'] as const;
  const whole = read.filter(({ kind }) => kind === 'whole');
  const lastOfItsPlace = whole.filter(({ holds = [] }, index) =>
    holds.some((place) => whole.slice(index + 1).every((newer) => newer.holds?.includes(place) === false)),
  );
  return kinds
    .map((kind) => read.filter((backup) => backup.kind === kind))
    .flatMap((group) => {
      const kept = new Set(keptBy(keep, group.toReversed()));
      const lastProven = group.findLast(({ isProven }) => isProven);
      return group.filter(({ id }) => !kept.has(id) && id !== lastProven?.id);
    })
    .map(({ id }) => id)
    .filter((id) => !inUse.includes(id) && !lastOfItsPlace.some((backup) => backup.id === id));
}

/** What is counted together. A backup that a person or an update made is whole if it holds any data at all. Pure. */
function kindOf(manifest: Listing): 'whole' | 'part' | 'failed' {
  if (manifest.kind === 'failed') return 'failed';
  return manifest.kind === 'pre-restore' || !holdsData(manifest) ? 'part' : 'whole';
}

/** Whether there is any data in a backup, rather than configuration alone. Pure. */
export function holdsData(manifest: Listing): boolean {
  return manifest.format === 1 ? placesIn(manifest, true).length > 0 : manifest.content > 0;
}

/**
 * The volumes with anything in them, and the databases, that a backup holds. Anonymous volumes only where that is asked for:
 * a new container has new ones, of other names. Pure.
 */
function placesIn(manifest: Manifest, anonymous = false): string[] {
  return [
    ...manifest.volumes
      // The first entry is the volume's own folder.
      .filter(({ kind, entries }) => entries > 1 && (anonymous || kind !== 'anonymous'))
      .map(({ name }) => `volume ${name}`),
    ...manifest.databases.map(({ service }) => `database ${service}`),
  ];
}

interface Dated {
  id: string;
  at: Date;
}

function keptBy(keep: Retention, newestFirst: readonly Dated[]): string[] {
  const [newest] = newestFirst;
  if (newest === undefined) return [];
  const day = 24 * 60 * 60 * 1000;
  const { days } = keep;
  const recent =
    days === undefined
      ? []
      : newestFirst.filter(({ at }) => newest.at.getTime() - at.getTime() <= days * day);
  const kept = [
    newest,
    ...newestFirst.slice(0, Math.max(0, keep.last ?? 0)),
    ...recent,
    ...newestOfEach(newestFirst, keep.hourly, (at) => `${dayOf(at)} ${at.getHours()}`),
    ...newestOfEach(newestFirst, keep.daily, dayOf),
    ...newestOfEach(newestFirst, keep.weekly, (at) => dayOf(mondayOf(at))),
    ...newestOfEach(newestFirst, keep.monthly, (at) => `${at.getFullYear()}-${at.getMonth()}`),
    ...newestOfEach(newestFirst, keep.yearly, (at) => String(at.getFullYear())),
  ];
  return kept.map(({ id }) => id);
}

/** The newest backup of each of the `count` newest periods in which there is one. */
function newestOfEach(
  newestFirst: readonly Dated[],
  count: number | undefined,
  periodOf: (at: Date) => string,
): Dated[] {
  const found = new Map<string, Dated>();
  for (const backup of newestFirst) {
    const period = periodOf(backup.at);
    if (!found.has(period)) found.set(period, backup);
  }
  return [...found.values()].slice(0, count ?? 0);
}

function dayOf(at: Date): string {
  return `${at.getFullYear()}-${at.getMonth()}-${at.getDate()}`;
}

function mondayOf(at: Date): Date {
  return new Date(at.getFullYear(), at.getMonth(), at.getDate() - ((at.getDay() + 6) % 7));
}
