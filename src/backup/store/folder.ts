import { createHash, randomBytes, type Hash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import {
  access,
  lstat,
  mkdir,
  open,
  readFile,
  readdir,
  rename,
  rm,
  stat,
  statfs,
  writeFile,
  type FileHandle,
} from 'node:fs/promises';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { messageOf, SafeUpdateError } from '../../model/error.ts';
import { zstd } from '../codec/zstd.ts';
import { isBackupId } from '../id.ts';
import { useAnother } from '../manifest.ts';
import type { Sent, VolumeReader } from '../volume.ts';
import type { BackupReader, BackupWriter, Listed, Part, Store } from './store.ts';

const partial = '.partial';
const deleting = '.deleting';
export const manifestName = 'manifest.json';
/** Checksums of every other file, the manifest included, as `sha256sum --check` reads them. */
export const sumsName = 'SHA256SUMS';
/** How the last test-restore of the backup ended. */
const proofName = 'proven.json';
const unfinishedProof = /^\.proven-[0-9a-f]{8}\.tmp$/;

/**
 * Backups in a folder: one sub-folder each, files of mode 0600 in folders of mode 0700.
 *
 * A backup is written in `<id>.partial` and renamed to `<id>` when everything in it, the manifest last, has been
 * flushed and read back. So a folder without the suffix is whole, and a crash leaves only what is named as unfinished.
 * One without a suffix that lacks its manifest was whole once: it is damaged, not unfinished, and nothing for us to remove.
 */
export function folderStore(directory: string): Store {
  const inStore = (name: string): string => path.join(directory, name);

  const prepare = async (): Promise<void> => {
    await makeFolder(directory);
    await keepOutOfGit(directory);
  };

  return {
    location: directory,

    async folder() {
      try {
        await prepare();
        return directory;
      } catch (error) {
        throw storeError(`The backup folder ${directory} cannot be made`, error);
      }
    },

    async list() {
      const entries = await readdir(directory).catch((error: unknown) => {
        if (codeOf(error) === 'ENOENT') return [];
        throw storeError(`The backup folder ${directory} cannot be read`, error);
      });
      const whole = entries.filter(isBackupId);
      const unfinished = entries
        .flatMap((name) =>
          [partial, deleting].flatMap((end) => (name.endsWith(end) ? [name.slice(0, -end.length)] : [])),
        )
        .filter((id) => isBackupId(id) && !whole.includes(id));
      const listed: Listed[] = [
        ...whole.map((id) => ({ id, sealed: true })),
        ...[...new Set(unfinished)].map((id) => ({ id, sealed: false })),
      ];
      return listed.sort((a, b) => a.id.localeCompare(b.id));
    },

    async begin(id) {
      const folder = inStore(id + partial);
      try {
        await prepare();
        if (await exists(inStore(id))) throw Object.assign(new Error('it exists'), { code: 'EEXIST' });
        await mkdir(folder, { mode: 0o700 });
      } catch (error) {
        throw storeError(`The backup ${id} cannot be started in ${directory}`, error);
      }
      return folderWriter(id, folder, inStore(id));
    },

    async open(id) {
      const folder = inStore(id);
      if (!isBackupId(id) || !(await exists(folder))) {
        throw new SafeUpdateError('usage', `There is no backup ${id} in ${directory}.`, {
          state: 'Nothing was touched.',
          hint: 'List them with: safe-update backups',
        });
      }
      return folderReader(id, folder);
    },

    async remove(id) {
      if (!isBackupId(id)) throw new Error(`not a backup's name: ${id}`);
      if (!(await exists(directory))) return;
      try {
        for (const name of [id, id + partial]) {
          await rm(inStore(id + deleting), { recursive: true, force: true });
          // Renamed first: half a backup must never look like a whole one.
          if (await exists(inStore(name))) await rename(inStore(name), inStore(id + deleting));
          await rm(inStore(id + deleting), { recursive: true, force: true });
        }
        await syncFolder(directory);
      } catch (error) {
        throw storeError(`The backup ${id} cannot be removed`, error);
      }
    },

    async space() {
      let folder = directory;
      while (!(await exists(folder)) && path.dirname(folder) !== folder) folder = path.dirname(folder);
      const { bavail, blocks, bsize } = await statfs(folder);
      return { free: bavail * bsize, total: blocks * bsize };
    },
  };
}

/**
 * Throws SafeUpdateError `store` unless backups can be written to the folder: it, or the nearest folder above that
 * exists, is writable. Makes nothing.
 */
export async function requireWritable(directory: string): Promise<void> {
  let folder = directory;
  while (!(await exists(folder)) && path.dirname(folder) !== folder) folder = path.dirname(folder);
  try {
    if (!(await stat(folder)).isDirectory())
      throw Object.assign(new Error('it is not a folder'), { code: 'ENOTDIR' });
    await access(folder, constants.R_OK | constants.W_OK | constants.X_OK);
    // access() as root says yes to a read-only file system's folder only where the kernel looks; statfs knows more,
    // but the surest way is to write.
    const probe = path.join(folder, `.safe-update-probe-${randomBytes(6).toString('hex')}`);
    await writeFile(probe, '', { flag: 'wx', mode: 0o600 });
    await rm(probe);
  } catch (error) {
    throw storeError(`Backups cannot be written to ${directory}`, error, 'Nothing was touched.');
  }
}

function folderWriter(id: string, folder: string, final: string): BackupWriter {
  const parts: Part[] = [];

  async function putFile(name: string, content: Readable): Promise<Part> {
    const handle = await makeFile(inside(folder, name)).catch((error: unknown) => {
      content.destroy();
      throw error;
    });
    try {
      return await fill(name, handle, content);
    } finally {
      await handle.close();
    }
  }

  async function fill(name: string, handle: FileHandle, content: Readable): Promise<Part> {
    try {
      const meter = hashing();
      await handle.writeFile(meter.pass(content));
      await handle.sync();
      const part = { path: name, bytes: meter.bytes(), sha256: meter.digest() };
      parts.push(part);
      return part;
    } catch (error) {
      // Whoever fills it would otherwise wait for ever for somebody to read on.
      content.destroy();
      throw storeError(`${name} could not be written to ${folder}`, error);
    }
  }

  /** Whether the volume was at rest while it was read. */
  async function putArchive(
    name: string,
    volume: VolumeReader,
    onBytes: (bytes: number) => void,
  ): Promise<boolean> {
    const file = inside(folder, name);
    const empty = await makeFile(file);
    try {
      const written = volume.archiveTo(file, zstd, onBytes);
      if (written === undefined) {
        const { content, done } = volume.archive(zstd, onBytes);
        const [part, { exact, sent }] = await settled([fill(name, empty, content), done]);
        requireAll(part, sent);
        return exact;
      }
      const { exact, sent } = await written.catch((error: unknown) => {
        if (!(error instanceof SafeUpdateError) || error.code !== 'space') throw error;
        const full = Object.assign(new Error(error.message), { code: 'ENOSPC' });
        throw storeError(`${name} could not be written to ${folder}`, full);
      });
      await empty.sync();
      parts.push({ path: name, ...sent });
      return exact;
    } finally {
      await empty.close();
    }
  }

  async function makeFile(file: string): Promise<FileHandle> {
    try {
      await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
      return await open(file, 'wx', 0o600);
    } catch (error) {
      throw storeError(`${path.relative(folder, file)} could not be written to ${folder}`, error);
    }
  }

  return {
    id,
    location: final,
    putFile,
    open: (name) => createReadStream(inside(folder, name)),
    parts: () => parts,

    async putVolume(name, volume, progress) {
      const archive = `volumes/${name}.tar${zstd.suffix}`;
      const files = `volumes/${name}.files${zstd.suffix}`;
      const onBytes = (bytes: number): void => {
        progress(volume.name, bytes);
      };
      // Side by side: the second of them finds in the page cache what the first has read.
      const list = volume.list(zstd);
      const [exact, part, listed] = await settled([
        putArchive(archive, volume, onBytes),
        putFile(files, list.content),
        list.done,
      ]);
      requireAll(part, listed.sent);
      return { archive, files, summary: listed.summary, exact: exact && listed.exact };
    },

    async seal(manifest, progress) {
      let named = false;
      try {
        let bytes = 0;
        for (const part of parts) {
          const found = await digestOf(inside(folder, part.path), (read) => {
            progress(part.path, bytes + read);
          });
          bytes += found.bytes;
          if (found.bytes !== part.bytes || found.sha256 !== part.sha256) {
            throw new SafeUpdateError(
              'store',
              `${part.path} does not read back as it was written to ${folder}.`,
              {
                hint: 'The disk or the file system is failing: check it (dmesg, smartctl) before anything else.',
              },
            );
          }
        }
        await writeFlushed(path.join(folder, sumsName), checksums(parts, manifest));
        const file = path.join(folder, manifestName);
        await writeFlushed(`${file}.tmp`, manifest);
        await rename(`${file}.tmp`, file);
        for (const entry of await foldersIn(folder)) await syncFolder(entry);
        await rename(folder, final);
        named = true;
        await syncFolder(path.dirname(final));
      } catch (error) {
        // What did not become a backup must not look like one.
        if (named) await rename(final, folder).catch(() => undefined);
        throw storeError(`The backup ${id} could not be sealed`, error);
      }
    },

    async abandon() {
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function folderReader(id: string, folder: string): BackupReader {
  return {
    id,
    location: folder,
    async manifest() {
      const read = (name: string): Promise<string> =>
        readFile(path.join(folder, name), 'utf8').catch((error: unknown) => {
          const why = codeOf(error) === 'ENOENT' ? 'is missing' : `cannot be read: ${messageOf(error)}`;
          throw new SafeUpdateError('damaged', `The backup ${id} is damaged: ${name} ${why}.`, {
            hint: useAnother,
            cause: error,
          });
        });
      const [manifest, sums] = [await read(manifestName), await read(sumsName)];
      requireSum(id, manifest, sums);
      return manifest;
    },
    open: (name) => createReadStream(inside(folder, name)),
    digest: (name, onBytes) => digestOf(inside(folder, name), onBytes),
    async files() {
      const entries = await readdir(folder, { recursive: true, withFileTypes: true });
      const files = entries
        .filter((entry) => !entry.isDirectory())
        .map((entry) => path.join(entry.parentPath, entry.name));
      return Promise.all(
        files
          .map((file) => path.relative(folder, file))
          .filter(
            (name) => ![manifestName, sumsName, proofName].includes(name) && !unfinishedProof.test(name),
          )
          .map(async (name) => ({
            path: name.split(path.sep).join('/'),
            bytes: (await lstat(inside(folder, name))).size,
          })),
      );
    },
    async proof() {
      return readFile(path.join(folder, proofName), 'utf8').catch((error: unknown) => {
        if (codeOf(error) === 'ENOENT') return undefined;
        throw storeError(`${proofName} of ${id} cannot be read`, error);
      });
    },
    async keepProof(text) {
      const unfinished = path.join(folder, `.proven-${randomBytes(4).toString('hex')}.tmp`);
      try {
        await writeFlushed(unfinished, text);
        await rename(unfinished, path.join(folder, proofName));
        await syncFolder(folder);
      } catch (error) {
        await rm(unfinished, { force: true }).catch(() => undefined);
        throw storeError(`The result of the test-restore of ${id} could not be kept`, error);
      }
    },
    async restoreVolume(stored, volume, progress, members) {
      const archive = inside(folder, stored.archive);
      const onBytes = (bytes: number): void => {
        progress(volume.name, bytes);
      };
      // Every piece of a stream goes through four of them; fewer and larger ones take half of the processor time.
      await (volume.extractFrom(archive, zstd, onBytes, members) ??
        volume.extract(zstd, createReadStream(archive, { highWaterMark: 1 << 18 }), onBytes, members));
    },
  };
}

/** The text of SHA256SUMS. Pure. */
export function checksums(parts: readonly Pick<Part, 'path' | 'sha256'>[], manifest: string): string {
  return [...parts, { path: manifestName, sha256: sha256Of(manifest) }].map(sumLine).join('');
}

/**
 * Which of the manifest and SHA256SUMS is not what it was; undefined if both are. What stands in SHA256SUMS of the parts is
 * compared too: whoever restores by hand has nothing else. Pure.
 */
function changedOf(manifest: string, sums: string): string | undefined {
  if (!sums.split('\n').includes(sumLine({ path: manifestName, sha256: sha256Of(manifest) }).trimEnd()))
    return `${manifestName} has changed: its checksum differs`;
  const sorted = (text: string): string => text.split('\n').sort().join('\n');
  let parts: unknown;
  try {
    ({ parts } = JSON.parse(manifest) as { parts?: unknown });
  } catch {
    // Whoever reads it says so.
  }
  if (!Array.isArray(parts) || !parts.every(isSummed)) return undefined;
  return sorted(sums) === sorted(checksums(parts, manifest)) ? undefined : `${sumsName} has changed`;
}

function isSummed(part: unknown): part is Pick<Part, 'path' | 'sha256'> {
  const { path: name, sha256 } = (part ?? {}) as { path?: unknown; sha256?: unknown };
  return typeof name === 'string' && typeof sha256 === 'string';
}

/** Throws SafeUpdateError `damaged` unless this manifest is the one that these checksums are of, and they fit it. */
export function requireSum(id: string, manifest: string, sums: string): void {
  const changed = changedOf(manifest, sums);
  if (changed === undefined) return;
  throw new SafeUpdateError('damaged', `The backup ${id} is damaged: ${changed}.`, { hint: useAnother });
}

function sha256Of(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** As sha256sum prints it: a line that begins with a backslash has its name escaped. Pure. */
function sumLine({ path: name, sha256 }: Pick<Part, 'path' | 'sha256'>): string {
  const escaped = name.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('\r', '\\r');
  return `${escaped === name ? '' : '\\'}${sha256}  ${escaped}\n`;
}

async function writeFlushed(file: string, text: string): Promise<void> {
  const handle = await open(file, 'wx', 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Size and checksum of a file. It is read through two buffers, one being filled while the other is hashed: a stream
 * makes a new one for each piece, and many of them fill the memory before the next garbage collection.
 */
async function digestOf(
  file: string,
  onBytes: (bytes: number) => void,
): Promise<{ bytes: number; sha256: string }> {
  const handle = await open(file, 'r');
  try {
    const hash = createHash('sha256');
    let bytes = 0;
    let [full, free] = [Buffer.allocUnsafeSlow(1 << 20), Buffer.allocUnsafeSlow(1 << 20)];
    let reading = handle.read(full, 0, full.length);
    for (;;) {
      const { bytesRead } = await reading;
      if (bytesRead === 0) return { bytes, sha256: hash.digest('hex') };
      [full, free] = [free, full];
      reading = handle.read(full, 0, full.length);
      // Hashing must not be what fails to wait for a read that fails.
      reading.catch(() => undefined);
      hash.update(free.subarray(0, bytesRead));
      onBytes((bytes += bytesRead));
    }
  } finally {
    await handle.close();
  }
}

/** Counts and hashes what passes. */
export function hashing(): {
  pass: (content: AsyncIterable<Buffer>) => AsyncIterable<Buffer>;
  bytes: () => number;
  digest: () => string;
} {
  const hash: Hash = createHash('sha256');
  let bytes = 0;
  return {
    async *pass(content) {
      for await (const chunk of content) {
        hash.update(chunk);
        bytes += chunk.length;
        yield chunk;
      }
    },
    bytes: () => bytes,
    digest: () => hash.digest('hex'),
  };
}

/** Throws SafeUpdateError `store` unless what was stored is what the helper has sent. */
export function requireAll(part: Part, sent: Sent): void {
  if (part.bytes === sent.bytes && part.sha256 === sent.sha256) return;
  const what =
    part.bytes === sent.bytes
      ? 'something else arrived'
      : `${sent.bytes} bytes were sent, ${part.bytes} arrived`;
  throw new SafeUpdateError('store', `${part.path} did not come whole from the engine: ${what}.`, {
    hint: 'Run again. If it stays so, look at what is between here and the engine: its log, the connection, the docker command.',
  });
}

/** Waits for all, then throws the first error: no writer is left running behind a failure. */
export async function settled<T extends readonly unknown[] | []>(
  promises: T,
): Promise<{ -readonly [K in keyof T]: Awaited<T[K]> }> {
  await Promise.allSettled(promises);
  return Promise.all(promises);
}

/** A manifest is data from a disk: a path in it must not lead out of the backup. */
export function inside(folder: string, name: string): string {
  const file = path.resolve(folder, name);
  if (!file.startsWith(folder + path.sep)) {
    throw new SafeUpdateError('damaged', `The backup names a file outside itself: ${name}`, {
      hint: useAnother,
    });
  }
  return file;
}

async function foldersIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return [
    ...entries.filter((entry) => entry.isDirectory()).map((entry) => path.join(entry.parentPath, entry.name)),
    folder,
  ];
}

/** Makes a folder and those above it that are missing, so that a power failure cannot take them away again. */
export async function makeFolder(folder: string): Promise<void> {
  const first = await mkdir(folder, { recursive: true, mode: 0o700 });
  if (first === undefined) return;
  for (let made = folder; ; made = path.dirname(made)) {
    await syncFolder(path.dirname(made));
    if (made === first) return;
  }
}

export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Backups hold secrets and lie beside the compose file by default; git must not pick them up. */
async function keepOutOfGit(directory: string): Promise<void> {
  await writeFile(path.join(directory, '.gitignore'), '*\n', { flag: 'wx', mode: 0o600 }).catch(
    (error: unknown) => {
      if (codeOf(error) !== 'EEXIST') throw error;
    },
  );
}

async function exists(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    (error: unknown) => {
      if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return false;
      throw storeError(`${file} cannot be read`, error);
    },
  );
}

function codeOf(error: unknown): string | undefined {
  return (error as { code?: string }).code;
}

function storeError(what: string, error: unknown, state?: string): SafeUpdateError {
  if (error instanceof SafeUpdateError) return error;
  const details = state === undefined ? { cause: error } : { cause: error, state };
  switch (codeOf(error)) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new SafeUpdateError('space', `${what}: no space left.`, {
        ...details,
        hint: 'Free some space (safe-update prune removes old backups), or choose another folder with --backups.',
      });
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new SafeUpdateError('store', `${what}: ${messageOf(error)}`, {
        ...details,
        hint: 'Give yourself write access to it, or choose another folder with --backups.',
      });
    default:
      return new SafeUpdateError('store', `${what}: ${messageOf(error)}`, {
        ...details,
        hint: 'Look at that folder, or choose another one with --backups.',
      });
  }
}
