import { lstat, stat } from 'node:fs/promises';
import { SafeUpdateError } from '../model/error.ts';
import type { Settings } from '../config/schema.ts';

/** As lstat tells it. */
export interface Ownership {
  uid: number;
  mode: number;
}

/**
 * Why somebody else could put something here that is then done in this user's name: a backup to be restored, the journal of a run
 * to be undone, a configuration. Undefined if nobody could. Members of the file's group are trusted. Pure.
 */
export function distrusted({ uid, mode }: Ownership, trusted: readonly number[]): string | undefined {
  if (!trusted.includes(uid)) return `belongs to the user ${uid}`;
  return (mode & 0o002) === 0 ? undefined : 'can be written by everybody';
}

/**
 * The backup folder and safe-update.yml must be this user's, root's, or of whoever has the project's folder: what is in them
 * decides what runs, and often as root. Throws SafeUpdateError `refused`.
 */
export async function requireTrusted(
  { backups, configFile, project }: Pick<Settings, 'backups' | 'configFile' | 'project'>,
  accepted: readonly string[],
): Promise<void> {
  // Not os.userInfo(): a user that no passwd file knows, as in a container, has an id all the same.
  const uid = process.geteuid?.();
  // Windows knows neither owners nor modes of this kind.
  if (uid === undefined) return;
  const own = await stat(project.directory).catch(() => undefined);
  const trusted = [0, uid, ...(own === undefined ? [] : [own.uid])];
  for (const place of [backups.directory, configFile]) {
    if (place === undefined || accepted.includes(`foreign:${place}`)) continue;
    const link = await lstat(place).catch(() => undefined);
    const target = await stat(place).catch(() => undefined);
    // What is not there, or cannot be looked at, is for whoever needs it to report. Everybody can write to a symlink.
    const why =
      (link === undefined ? undefined : distrusted({ uid: link.uid, mode: 0 }, trusted)) ??
      (target === undefined ? undefined : distrusted(target, trusted));
    if (why === undefined) continue;
    throw new SafeUpdateError(
      'refused',
      `${place} ${why}: somebody else could put there what safe-update then does in your name.`,
      {
        state: 'Nothing was touched.',
        hint: `Look at what is in it. Then make it yours (chown, chmod 0700), or choose another folder with --backups. If you are sure: --accept foreign:${place}`,
      },
    );
  }
}
