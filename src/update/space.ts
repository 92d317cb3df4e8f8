import type { ListedBackup } from '../backup/open.ts';
import { SafeUpdateError } from '../model/error.ts';
import { formatBytes } from '../model/units.ts';

export interface SpaceQuestion {
  /** Bytes each volume takes on disk. */
  sizes: ReadonlyMap<string, number>;
  /** Bytes free where backups go, and in all; undefined where that cannot be told. */
  space: { free: number; total: number } | undefined;
  /** Percent of the disk that must stay free. */
  minimumFree: number;
  /** Earlier backups: how well a volume was compressed last time is the best guess for this time. */
  backups: readonly ListedBackup[];
  /** Volumes with the files of a database that is dumped beside being archived. */
  dumped: readonly string[];
  /** Where backups go, for people. */
  where: string;
}

/** Less than this share of a disk left free after a backup is said, though it is no reason to stop. Percent. */
const scarce = 20;

/** What a backup needs beside volumes: dumps and configuration of a small stack. */
const overhead = 2_000_000;

/**
 * Bytes that a backup will take, at the worst: each volume as well compressed as last time, or not at all where there
 * was no last time; and the dumps in the same way. Pure.
 */
export function expectedBytes({
  sizes,
  backups,
  dumped,
}: Pick<SpaceQuestion, 'sizes' | 'backups' | 'dumped'>): number {
  let sum = overhead;
  for (const [name, bytes] of sizes) {
    const shares = backups.flatMap(({ manifest }) => {
      // It does not say how well each one was compressed, only all of it, dumps included.
      if (manifest?.format === 2) {
        const kept = manifest.parts.reduce((total, part) => total + part.bytes, 0);
        return manifest.content === 0 ? [] : [{ archive: kept / manifest.content, dump: 0 }];
      }
      const volume = manifest?.volumes.find((candidate) => candidate.name === name);
      if (manifest === undefined || volume === undefined || volume.bytes === 0) return [];
      const dumps = manifest.databases.filter((database) => database.volume === name);
      const share = (paths: readonly string[]): number | undefined => {
        const parts = manifest.parts.filter(({ path }) => paths.includes(path));
        return parts.length === 0
          ? undefined
          : parts.reduce((all, part) => all + part.bytes, 0) / volume.bytes;
      };
      return [{ archive: share([volume.archive]), dump: share(dumps.flatMap(({ parts }) => parts)) }];
    });
    // A little more than last time, for what has been added since may compress worse.
    const expected = (last: number | undefined): number => bytes * Math.min(1, (last ?? 1) * 1.2);
    sum += expected(shares.findLast(({ archive }) => archive !== undefined)?.archive);
    if (dumped.includes(name)) sum += expected(shares.findLast(({ dump }) => dump !== undefined)?.dump);
  }
  return Math.round(sum);
}

/** What to say where there is room, but not much is left of it after this backup; undefined where there is enough. Pure. */
export function scarceSpace(question: SpaceQuestion): string | undefined {
  const { space, where } = question;
  if (space === undefined) return undefined;
  const left = Math.max(0, space.free - expectedBytes(question));
  if (left >= (space.total * scarce) / 100) return undefined;
  const percent = Math.floor((left / space.total) * 100);
  return `After this backup about ${formatBytes(left)} (${percent} %) of the disk of ${where} will be free. See which backups could go: safe-update prune --dry-run`;
}

/**
 * Throws SafeUpdateError `space` unless the engine has room for new images as large as those they replace, with the least
 * free share of its disk to spare. What a registry has is known only once it is there.
 */
export function requireSpaceForImages(
  {
    bytes,
    space,
    minimumFree,
  }: { bytes: number; space: { free: number; total: number } | undefined; minimumFree: number },
  accepted: readonly string[],
): void {
  if (space === undefined || accepted.includes('space')) return;
  const reserve = (space.total * minimumFree) / 100;
  if (space.free - reserve >= bytes) return;
  throw new SafeUpdateError(
    'space',
    `There is too little space on the engine: ${formatBytes(space.free)} free; images as large as the present ones need ${formatBytes(bytes)}, and ${formatBytes(reserve)} (${minimumFree} %) are to stay free.`,
    {
      hint: 'Free some: docker system df shows what takes it, docker image prune removes what has no name, or lower space.minimumFree in safe-update.yml. If you know better: --accept space',
    },
  );
}

/**
 * Which of these volumes have to be left out so that there is room for the rest: the largest first, and none if that
 * is not enough either. Pure.
 */
export function leftOutForSpace(question: SpaceQuestion, recreatable: readonly string[]): string[] {
  const sizes = new Map(question.sizes);
  const left: string[] = [];
  const bySize = [...recreatable].sort((a, b) => (sizes.get(b) ?? 0) - (sizes.get(a) ?? 0));
  for (const name of bySize) {
    if (isRoom({ ...question, sizes })) return left;
    sizes.delete(name);
    left.push(name);
  }
  return isRoom({ ...question, sizes }) ? left : [];
}

function isRoom(question: SpaceQuestion): boolean {
  const { space, minimumFree } = question;
  return space === undefined || space.free - (space.total * minimumFree) / 100 >= expectedBytes(question) * 2;
}

/**
 * Throws SafeUpdateError `space` unless there is room for the backup and, should the update fail, for a second one
 * that keeps the failed state, with the least free share of the disk to spare.
 */
export function requireSpace(question: SpaceQuestion, accepted: readonly string[]): void {
  const { space, where, minimumFree } = question;
  if (space === undefined || accepted.includes('space') || isRoom(question)) return;
  const needed = expectedBytes(question) * 2;
  const reserve = (space.total * minimumFree) / 100;
  throw new SafeUpdateError(
    'space',
    `There is too little space in ${where}: ${formatBytes(space.free)} free; a backup and keeping a failed state may need ${formatBytes(needed)}, and ${formatBytes(reserve)} (${minimumFree} %) are to stay free.`,
    {
      hint: 'Free some space (safe-update prune removes old backups), choose another folder with --backups, or lower space.minimumFree in safe-update.yml. If you know better: --accept space',
    },
  );
}
