import { randomBytes } from 'node:crypto';
import { open as openFile, readdir, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { readExported, writeExported } from '../backup/exported.ts';
import type { Listing, Manifest } from '../backup/manifest.ts';
import { openBackup, openKept, type KeptBackup, type OpenBackup } from '../backup/open.ts';
import { syncFolder } from '../backup/store/folder.ts';
import type { Store } from '../backup/store/store.ts';
import { helperImage } from '../docker/helper.ts';
import { loadImages, saveImages } from '../docker/images.ts';
import { pinRepository } from '../docker/record.ts';
import { messageOf, SafeUpdateError } from '../model/error.ts';
import { formatBytes } from '../model/units.ts';
import type { Context } from './context.ts';
import { untouched } from './restore.ts';
import { showStep } from './session.ts';

/**
 * A backup of whichever project: of the one that was named, or of the only one here that has a backup of this id. Reads
 * no compose file. Throws SafeUpdateError `usage` if there is none, or more than one.
 */
export async function findBackup(context: Context, id: string): Promise<OpenBackup> {
  return untouched(openBackup(await storeHolding(context, id), id));
}

/** The same, as it lies there: an encrypted one needs no key. */
export async function findKept(context: Context, id: string): Promise<KeptBackup> {
  return untouched(openKept(await storeHolding(context, id), id));
}

async function storeHolding(context: Context, id: string): Promise<Store> {
  const { project, backups } = context.settings;
  if (project.name !== undefined) return context.storeFor(project.name);
  const entries = await readdir(backups.directory, { withFileTypes: true }).catch(() => []);
  const holding: string[] = [];
  for (const entry of entries.filter((candidate) => candidate.isDirectory())) {
    const listed = await context.storeFor(entry.name).list();
    if (listed.some((backup) => backup.id === id && backup.sealed)) holding.push(entry.name);
  }
  const [only, ...more] = holding;
  if (only !== undefined && more.length === 0) return context.storeFor(only);
  throw new SafeUpdateError(
    'usage',
    only === undefined
      ? `There is no backup ${id} in ${backups.directory}.`
      : `There is a backup ${id} of more than one project: ${holding.join(', ')}.`,
    {
      state: 'Nothing was touched.',
      hint:
        only === undefined
          ? 'List them with: safe-update backups. Another folder is named with --backups.'
          : `Say which: -p ${only}`,
    },
  );
}

export interface Exported {
  backup: string;
  /** Absent: it is encrypted, and does not say. */
  project?: string;
  /** Absent: it went to a stream. */
  file?: string;
  bytes: number;
  /** How many images are in it. */
  images: number;
}

/**
 * Writes a backup into one file, which must not exist, or to a stream. A file is there when it is whole and flushed, not
 * before. With `images`, those that its containers ran on, and the helper's.
 */
export async function exportBackup(
  context: Context,
  open: KeptBackup,
  target: { file: string } | { stream: Writable },
  options: { images: boolean },
): Promise<Exported> {
  const { manifest } = open;
  const images = options.images ? await imagesToSave(context, requireNames(manifest)) : [];
  const totalBytes = manifest.parts.reduce((sum, part) => sum + part.bytes, 0);
  let bytes = 0;
  const writeTo = async (write: (content: AsyncIterable<Buffer>) => Promise<unknown>): Promise<void> => {
    const content =
      images.length === 0
        ? undefined
        : { ids: [...idsOf(requireNames(manifest)).keys()], saved: saveImages(context.exec, images) };
    bytes = await writeExported(open, content, write, (item, done) => {
      const about =
        item === 'backup'
          ? { item: manifest.id, totalBytes, ...(done === totalBytes ? { done: true } : {}) }
          : { item };
      context.emit({ type: 'step-progress', step: 'export', ...about, bytes: done });
    });
  };
  await showStep(context, 'export', `Export ${manifest.id}`, async () => {
    if ('stream' in target) await writeTo((content) => intoStream(target.stream, content));
    else await intoFile(target.file, (handle) => writeTo((content) => handle.writeFile(content)));
    return formatBytes(bytes);
  });
  return {
    backup: manifest.id,
    ...(manifest.format === 2 ? {} : { project: manifest.project.name }),
    ...('file' in target ? { file: target.file } : {}),
    bytes,
    images: images.length,
  };
}

/** Images would lie in the file for everybody to read, with the program in them and its name. */
function requireNames(manifest: Listing): Manifest {
  if (manifest.format === 1) return manifest;
  throw new SafeUpdateError('refused', `${manifest.id} is encrypted, and images beside it would not be.`, {
    state: 'Nothing was written.',
    hint: 'Export without --images: the other server then has to pull them by their digests.',
  });
}

async function intoStream(stream: Writable, content: AsyncIterable<Buffer>): Promise<void> {
  try {
    await pipeline(content, stream);
  } catch (error) {
    if ((error as { code?: string }).code !== 'EPIPE') throw error;
    throw new SafeUpdateError('store', 'Whoever was to read the backup went away before its end.', {
      state: 'What was read of it by then is not a backup.',
      hint: 'See what the other side of the pipe says, then run again.',
      cause: error,
    });
  }
}

/** The file appears under its name when it is whole and on disk. */
async function intoFile(file: string, write: (handle: FileHandle) => Promise<void>): Promise<void> {
  await requireAbsent(file);
  const temporary = `${file}.${randomBytes(4).toString('hex')}.partial`;
  const failed = (error: unknown): unknown => {
    const { code, syscall } = error as { code?: string; syscall?: string };
    if (error instanceof SafeUpdateError || syscall === undefined) return error;
    const full = code === 'ENOSPC' || code === 'EDQUOT';
    return new SafeUpdateError(
      full ? 'space' : 'store',
      `${file} could not be written: ${full ? 'no space left' : messageOf(error)}.`,
      {
        state: 'There is no such file.',
        hint: 'Name a place that has room and that you may write to: safe-update export BACKUP FILE',
        cause: error,
      },
    );
  };
  const handle = await openFile(temporary, 'wx', 0o600).catch((error: unknown) => {
    throw failed(error);
  });
  try {
    try {
      await write(handle);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await requireAbsent(file);
    await rename(temporary, file);
    await syncFolder(path.dirname(file));
  } catch (error) {
    await rm(temporary, { force: true });
    throw failed(error);
  }
}

async function requireAbsent(file: string): Promise<void> {
  const found = await stat(file).catch(() => undefined);
  if (found === undefined) return;
  throw new SafeUpdateError('refused', `${file} exists already.`, {
    state: 'It is as it was.',
    hint: 'Name another file.',
  });
}

/** By id, so that loading them moves no name; the helper's by its name, which is made of what it is. */
async function imagesToSave(context: Context, manifest: Manifest): Promise<string[]> {
  const { engine, exec, settings } = context;
  const ids = idsOf(manifest);
  const gone: string[] = [];
  for (const [id, name] of ids) if ((await engine.image(id)) === null) gone.push(`${name} (${shortId(id)})`);
  if (gone.length > 0) {
    throw new SafeUpdateError(
      'refused',
      `These images are not on this engine any more: ${gone.join(', ')}.`,
      {
        state: 'Nothing was written.',
        hint: 'Export without --images: the other server then has to pull them by their digests.',
      },
    );
  }
  return [...ids.keys(), await helperImage(engine, exec, settings.helper.image)];
}

/** The images that the containers of a backup ran on, and a name of each for people. Pure. */
function idsOf({ containers }: Manifest): Map<string, string> {
  return new Map(containers.map(({ imageId, image }) => [imageId, image]));
}

function shortId(id: string): string {
  return id.replace(/^sha256:/, '').slice(0, 12);
}

export interface Imported {
  backup: string;
  project: string;
  location: string;
  /** Images came with it and are on the engine now. */
  images: boolean;
}

/** Puts an exported backup into the backups folder under its project, and its images onto the engine. */
export async function importBackup(context: Context, input: Readable): Promise<Imported> {
  const result: Imported[] = [];
  let name = 'backup';
  let totalBytes = 0;
  await showStep(context, 'import', 'Import the backup', async () => {
    const { manifest, project, location, images } = await readExported(input, {
      storeFor: (name) => context.storeFor(name),
      project: context.settings.project.name,
      begin: (coming) => {
        name = coming.id;
        totalBytes = coming.parts.reduce((sum, part) => sum + part.bytes, 0);
      },
      loadImages: async (compressed, { manifest: coming, ids }) => {
        await loadImages(context.exec, compressed);
        await pinLoaded(context, coming, ids);
      },
      progress: (item, bytes) => {
        const about = item === 'backup' ? { item: name, bytes, totalBytes } : { item, bytes };
        context.emit({ type: 'step-progress', step: 'import', ...about });
      },
    });
    result.push({ backup: manifest.id, project, location, images });
    return manifest.id;
  });
  const [imported] = result;
  if (imported === undefined) throw new Error('nothing was imported');
  return imported;
}

/** They came without names, and would be the first that a prune takes; the pins go with the backup. */
async function pinLoaded({ engine }: Context, manifest: Manifest, ids: string[]): Promise<void> {
  const pins = pinRepository(manifest.project.name);
  const names = idsOf(manifest);
  for (const id of ids) {
    const name = names.get(id);
    if (name === undefined) continue;
    if ((await engine.image(id)) === null) {
      throw new SafeUpdateError(
        'damaged',
        `The image ${name} (${shortId(id)}) was not among the images of the file.`,
        {
          state: 'No backup was imported.',
          hint: 'An engine that keeps images in containerd knows them by other ids. Export without --images, so that they are pulled.',
        },
      );
    }
    await engine.tag(id, `${pins}:${manifest.run}-${shortId(id)}`);
  }
}
