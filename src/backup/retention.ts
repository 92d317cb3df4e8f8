import type { ListedBackup } from './open.ts';

export interface RetentionOptions {
  /** How many sealed backups stay, the newest ones. At least 1. */
  keep: number;
  /** Ids that a run is using, or that a release can be rolled back to. */
  inUse: readonly string[];
}

/**
 * Given the backups, oldest first, returns the ids to remove. Never the newest sealed one, never one in use, and
 * nothing whose manifest cannot be read: that is for a person to look at. `failed` backups, which keep what was
 * written during a failed update, are counted on their own, so that they do not push out the good ones. Pure.
 */
export function expired(backups: readonly ListedBackup[], options: RetentionOptions): string[] {
  const keep = Math.max(1, options.keep);
  const whole = backups.filter((backup) => backup.manifest !== undefined);
  const isFailed = ({ manifest }: ListedBackup): boolean => manifest?.kind === 'failed';
  return [whole.filter((backup) => !isFailed(backup)), whole.filter(isFailed)]
    .flatMap((group) => group.slice(0, Math.max(0, group.length - keep)))
    .map(({ id }) => id)
    .filter((id) => !options.inUse.includes(id));
}
