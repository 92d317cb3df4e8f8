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
  /** Where backups go, for people. */
  where: string;
}

/** What a backup needs beside volumes: dumps and configuration of a small stack. */
const overhead = 2_000_000;

/**
 * Bytes that a backup will take, at the worst: each volume as well compressed as last time, or not at all where there
 * was no last time. Pure.
 */
export function expectedBytes({ sizes, backups }: Pick<SpaceQuestion, 'sizes' | 'backups'>): number {
  let sum = overhead;
  for (const [name, bytes] of sizes) {
    const ratios = backups.flatMap(({ manifest }) => {
      // It does not say how well each one was compressed, only all of it.
      if (manifest?.format === 2) {
        const kept = manifest.parts.reduce((total, part) => total + part.bytes, 0);
        return manifest.content === 0 ? [] : [kept / manifest.content];
      }
      const volume = manifest?.volumes.find((candidate) => candidate.name === name);
      const archive = manifest?.parts.find(({ path }) => path === volume?.archive);
      return volume === undefined || archive === undefined || volume.bytes === 0
        ? []
        : [archive.bytes / volume.bytes];
    });
    // A little more than last time, for what has been added since may compress worse.
    sum += bytes * Math.min(1, (ratios.at(-1) ?? 1) * 1.2);
  }
  return Math.round(sum);
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
