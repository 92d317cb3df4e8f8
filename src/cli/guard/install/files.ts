import { constants } from 'node:fs';
import { access, lstat, mkdir, open, readFile, realpath, rename, rm, rmdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { messageOf, SafeUpdateError } from '../../../model/error.ts';
import type { FileChange } from './place.ts';

/**
 * The text of a file; undefined if there is none. Throws SafeUpdateError `refused` for what cannot be given back byte for
 * byte: a folder, a link that leads nowhere, something that is not UTF-8.
 */
export async function readText(path: string): Promise<string | undefined> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    if (!isMissing(error)) throw refusal(`${path} cannot be read.`, error);
    if (await lstat(path).catch(() => undefined)) throw refusal(`${path} is a link that leads nowhere.`);
    return undefined;
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw refusal(`${path} is not UTF-8 text.`, error);
  }
}

/**
 * Brings one file into its new state: written beside it, flushed, renamed over it, so that at every moment the old text or the
 * new one is there. Throws SafeUpdateError `refused` if the file is not as it was when the change was planned.
 */
export async function apply(change: FileChange): Promise<void> {
  const { path, before, after } = change;
  if ((await readText(path)) !== before)
    throw refusal(`${path} was changed by somebody else in the meantime.`);
  try {
    if (after === undefined) await rm(path);
    else if (before === undefined) {
      await mkdir(dirname(path), { recursive: true });
      await replace(path, after, change.mode ?? 0o644, undefined);
    } else {
      const target = await realpath(path);
      const { mode, uid, gid } = await stat(target);
      await replace(target, after, change.mode ?? mode & 0o7777, { uid, gid });
    }
    await flushFolder(dirname(path));
  } catch (error) {
    throw error instanceof SafeUpdateError ? error : refusal(`${path} could not be written.`, error);
  }
}

/** Removes a folder of ours if nothing is in it. */
export async function removeIfEmpty(folder: string): Promise<void> {
  await rmdir(folder).catch(() => undefined);
}

/** Is this a file that can be run? */
export async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

async function replace(
  path: string,
  text: string,
  mode: number,
  owner: { uid: number; gid: number } | undefined,
): Promise<void> {
  const folder = dirname(path);
  const temporary = join(folder, `.${basename(path)}.safe-update-${Date.now().toString(36)}`);
  const file = await open(temporary, 'wx', 0o600);
  try {
    try {
      await file.writeFile(text);
      // What somebody else owns stays theirs; where that cannot be done, it is left alone.
      const made = await file.stat();
      if (owner !== undefined && (made.uid !== owner.uid || made.gid !== owner.gid))
        await file.chown(owner.uid, owner.gid);
      await file.chmod(mode);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    await flushFolder(folder);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** The new name is only kept through a power cut once its folder is flushed. Some filesystems cannot. */
async function flushFolder(path: string): Promise<void> {
  const folder = await open(path, 'r').catch(() => undefined);
  await folder?.sync().catch(() => undefined);
  await folder?.close();
}

function isMissing(error: unknown): boolean {
  return (error as { code?: string }).code === 'ENOENT';
}

function refusal(message: string, cause?: unknown): SafeUpdateError {
  return new SafeUpdateError('refused', cause === undefined ? message : `${message} ${messageOf(cause)}`, {
    state: 'This file was not touched.',
    hint: 'Look at it, and run the command again: what is done already is not done twice.',
    ...(cause === undefined ? {} : { cause }),
  });
}
