import type { Retention } from '../model/retention.ts';
import type { ListedBackup } from './open.ts';

export interface RetentionOptions {
  keep: Retention;
  /** Ids that a run is using, or that a release can be rolled back to. */
  inUse: readonly string[];
}

/**
 * Given the backups, oldest first, returns the ids to remove. Never the newest sealed one, never the newest one that a
 * test-restore has proven, never one in use, and nothing whose manifest cannot be read: that is for a person to look at. `failed` backups, which keep what was
 * written during a failed update, are counted on their own, so that they do not push out the good ones. Pure.
 *
 * Which is newer is said by the order, which is that of their sequence, whatever the clock was. Hours, days and so on are
 * those of this machine's time zone.
 */
export function expired(backups: readonly ListedBackup[], { keep, inUse }: RetentionOptions): string[] {
  const whole = backups.flatMap(({ id, manifest, proof }) =>
    manifest === undefined
      ? []
      : [
          {
            id,
            at: new Date(manifest.createdAt),
            isFailed: manifest.kind === 'failed',
            isProven: proof?.result === 'proven',
          },
        ],
  );
  return [whole.filter(({ isFailed }) => !isFailed), whole.filter(({ isFailed }) => isFailed)]
    .flatMap((group) => {
      const newestFirst = group.toReversed();
      const kept = new Set(keptBy(keep, newestFirst));
      const lastProven = group.findLast(({ isProven }) => isProven);
      return group.filter(({ id }) => !kept.has(id) && id !== lastProven?.id);
    })
    .map(({ id }) => id)
    .filter((id) => !inUse.includes(id));
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
