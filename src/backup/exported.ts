import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { extract, pack, type Header, type Pack } from 'tar-stream';
import { messageOf, SafeUpdateError } from '../model/error.ts';
import { projectNamePattern } from '../model/project.ts';
import { isBackupId } from './id.ts';
import { parseListing, type Listing, type Manifest } from './manifest.ts';
import type { KeptBackup } from './open.ts';
import { checksums, manifestName, sumsName } from './store/folder.ts';
import type { Store } from './store/store.ts';

/**
 * An exported backup is one tar: the backup's folder under its id, the manifest first and the checksums second, then
 * every part in the manifest's order; then, where they were asked for, the images, in `images/`. Which images will come
 * stands before the parts: a file that ends between two files must not pass for one without images. Parts and images are
 * compressed already. docs/backup-format.md describes it to people.
 */
const imagesFolder = 'images';
const idsName = `${imagesFolder}/IDS`;

/** Bytes of one piece of the images. A tar says how long a file is before it, and nobody knows how long they will be. */
const pieceSize = 16 << 20;

/** Bytes of the longest manifest or list of checksums that is read into memory. */
const longestText = 64 << 20;

/** What is counted: the backup's bytes, then those of the images. */
export type TransferProgress = (item: 'backup' | 'images', bytes: number) => void;

/**
 * Writes a backup, and images as `docker save` prints them, compressed. Every part's checksum is compared while it is
 * read: SafeUpdateError `damaged` when one differs, and what was written by then is to be thrown away. Returns the
 * bytes that were written.
 */
export async function writeExported(
  { reader, manifest }: KeptBackup,
  images: { ids: readonly string[]; saved: Readable } | undefined,
  write: (content: AsyncIterable<Buffer>) => Promise<unknown>,
  progress: TransferProgress,
): Promise<number> {
  const tar = pack();
  const mtime = new Date(manifest.createdAt);
  const add = (
    name: string,
    size: number,
    content: AsyncIterable<Buffer> | Iterable<Buffer>,
  ): Promise<void> => pipeline(content, asNode(tar.entry({ name, size, mode: 0o600, mtime })));
  const addText = (name: string, text: string): Promise<void> => {
    const content = Buffer.from(text);
    return add(name, content.length, [content]);
  };

  async function addAll(): Promise<void> {
    const text = await reader.manifest();
    await addText(`${manifest.id}/${manifestName}`, text);
    await addText(`${manifest.id}/${sumsName}`, checksums(manifest.parts, text));
    if (images !== undefined) await addText(idsName, images.ids.map((line) => `${line}\n`).join(''));
    let done = 0;
    for (const part of manifest.parts) {
      const wrong = (how: string): SafeUpdateError =>
        new SafeUpdateError('damaged', `The backup ${manifest.id} is damaged: ${part.path} ${how}.`, {
          hint: 'Use another backup: safe-update backups',
        });
      const checked = async function* (): AsyncGenerator<Buffer> {
        const hash = createHash('sha256');
        let bytes = 0;
        const content = reader.open(part.path);
        try {
          for await (const chunk of content as AsyncIterable<Buffer>) {
            hash.update(chunk);
            bytes += chunk.length;
            if (bytes > part.bytes) break;
            yield chunk;
            progress('backup', done + bytes);
          }
        } catch (error) {
          throw wrong(`cannot be read: ${messageOf(error)}`);
        }
        if (bytes !== part.bytes) throw wrong(`has ${bytes} bytes or more instead of ${part.bytes}`);
        if (hash.digest('hex') !== part.sha256) throw wrong('has changed: its checksum differs');
        done += bytes;
      };
      await add(`${manifest.id}/${part.path}`, part.bytes, checked());
    }
    if (images !== undefined) await addImages(images.saved, progress, add, addText);
    tar.finalize();
  }
  let written = 0;
  const counted = async function* (): AsyncGenerator<Buffer> {
    for await (const chunk of tar as AsyncIterable<Buffer>) {
      written += chunk.length;
      yield chunk;
    }
  };
  await both(tar, addAll(), write(counted()));
  return written;
}

async function addImages(
  images: Readable,
  progress: TransferProgress,
  add: (name: string, size: number, content: Iterable<Buffer>) => Promise<void>,
  addText: (name: string, text: string) => Promise<void>,
): Promise<void> {
  let sums = '';
  let bytes = 0;
  let number = 0;
  const addPiece = async (piece: Buffer): Promise<void> => {
    number += 1;
    const name = pieceName(number);
    sums += `${createHash('sha256').update(piece).digest('hex')}  ${name}\n`;
    await add(`${imagesFolder}/${name}`, piece.length, [piece]);
    progress('images', (bytes += piece.length));
  };
  let waiting: Buffer[] = [];
  let waitingBytes = 0;
  for await (const chunk of images as AsyncIterable<Buffer>) {
    waiting.push(chunk);
    waitingBytes += chunk.length;
    if (waitingBytes < pieceSize) continue;
    await addPiece(Buffer.concat(waiting));
    [waiting, waitingBytes] = [[], 0];
  }
  if (waitingBytes > 0) await addPiece(Buffer.concat(waiting));
  await addText(`${imagesFolder}/${sumsName}`, sums);
}

/** Pieces sort by name in their order, so that `cat images/*.part` puts them together. */
function pieceName(number: number): string {
  return `${String(number).padStart(5, '0')}.tar.zst.part`;
}

/** Waits for both; a failure of one ends the other, and the first is the one that is told. */
async function both(tar: Pack, filling: Promise<void>, writing: Promise<unknown>): Promise<void> {
  const failures: unknown[] = [];
  const note = (error: unknown): void => {
    failures.push(error);
    tar.destroy();
  };
  await Promise.all([filling.catch(note), writing.catch(note)]);
  if (failures.length > 0) throw failures[0];
}

export interface ImportOptions {
  storeFor: (project: string) => Store;
  /** Whose backup an encrypted one is taken for: it does not say. */
  project?: string | undefined;
  /** Called with the manifest before anything is written: to refuse it, or to say what comes. */
  begin: (manifest: Listing) => void;
  /** Takes the images, compressed, as they come; reads to the end. */
  loadImages: (compressed: Readable, about: { ids: string[]; manifest: Manifest }) => Promise<void>;
  progress: TransferProgress;
}

/**
 * Puts an exported backup into the store of its project. Nothing of it is a backup before every part has come, with the
 * size and checksum of the manifest, and images that follow have been loaded.
 *
 * Throws SafeUpdateError `refused` if the store has a backup of that id, and `damaged` for whatever is not exactly an
 * exported backup: one that ended early, a changed byte, a name that the manifest does not have, a link. Leaves
 * nothing in the store then.
 */
export async function readExported(
  input: Readable,
  options: ImportOptions,
): Promise<{ manifest: Listing; project: string; location: string; images: boolean }> {
  const tar = extract();
  // What ends it early ends the tar too, and is told by the entry that is then not whole. Not waited for: of a tar that is
  // given up half way it may never settle.
  pipeline(input, asNode(tar)).catch(() => undefined);
  try {
    return await readEntries(tar[Symbol.asyncIterator]() as Entries, options);
  } catch (error) {
    if (error instanceof SafeUpdateError) throw error;
    throw damaged(`it cannot be read: ${messageOf(error)}`, error);
  } finally {
    tar.destroy();
    input.destroy();
  }
}

/** A file in a tar that is being read. */
interface Entry extends AsyncIterable<Buffer> {
  header: Pick<Header, 'name' | 'type' | 'size'>;
}
type Entries = AsyncIterator<Entry>;

/** tar-stream's streams (streamx) are what node's are, save for their types. */
function asNode(stream: unknown): NodeJS.ReadWriteStream {
  return stream as NodeJS.ReadWriteStream;
}

async function readEntries(
  entries: Entries,
  { storeFor, project: given, begin, loadImages, progress }: ImportOptions,
): Promise<{ manifest: Listing; project: string; location: string; images: boolean }> {
  const first = await entries.next();
  const [id = '', name] = first.done === true ? [] : first.value.header.name.split('/');
  if (first.done === true || !isBackupId(id) || name !== manifestName)
    throw damaged('it does not begin with the manifest of one');
  const text = await textOf(first.value, `${id}/${manifestName}`);
  const manifest = parseListing(id, text);
  const project = manifest.format === 2 ? requireProject(given) : manifest.project.name;
  if (!projectNamePattern.test(project))
    throw damaged(`${JSON.stringify(project)} is not the name of a project`);
  requirePaths(manifest);
  const second = await entries.next();
  if (
    second.done === true ||
    (await textOf(second.value, `${id}/${sumsName}`)) !== checksums(manifest.parts, text)
  )
    throw damaged(`${sumsName} and ${manifestName} do not fit together`);

  const target = storeFor(project);
  // What is encrypted stays as it is.
  const store = manifest.format === 2 ? (target.below ?? target) : target;
  const present = (await store.list()).find((listed) => listed.id === id);
  if (present?.sealed === true) {
    throw new SafeUpdateError('refused', `There is a backup ${id} of ${project} already.`, {
      state: 'Nothing was touched.',
      hint: `It is in ${store.location}. To look into it: safe-update show ${id} -p ${project}`,
    });
  }
  let next = await entries.next();
  let ids: string[] | undefined;
  if (manifest.format === 1 && next.done !== true && next.value.header.name === idsName) {
    ids = (await textOf(next.value, idsName)).split('\n').filter((line) => line !== '');
    next = await entries.next();
  }
  begin(manifest);
  // What an import left that was killed.
  if (present !== undefined) await store.remove(id);
  const writer = await store.begin(id);
  try {
    let done = 0;
    for (const part of manifest.parts) {
      if (next.done === true) throw damaged(`it ended early: ${part.path} is not there`);
      const entry = requireFile(next.value, `${id}/${part.path}`, part.bytes);
      const put = await writer.putFile(
        part.path,
        Readable.from(
          counted(entry, (bytes) => {
            progress('backup', done + bytes);
          }),
          { objectMode: false },
        ),
      );
      if (put.bytes !== part.bytes || put.sha256 !== part.sha256)
        throw damaged(`${part.path} has changed: its checksum differs`);
      done += put.bytes;
      next = await entries.next();
    }
    if (ids === undefined || manifest.format === 2) {
      if (next.done !== true) throw tooMuch(next.value);
    } else {
      if (next.done === true) throw damaged('it ended early: the images are not there');
      const saved = Readable.from(pieces(next.value, entries, progress), { objectMode: false });
      await loadImages(saved, { ids, manifest });
    }
    await writer.seal(text, () => undefined);
    return { manifest, project, location: store.location, images: ids !== undefined };
  } catch (error) {
    await writer.abandon();
    throw error;
  }
}

function requireProject(given: string | undefined): string {
  if (given !== undefined) return given;
  throw new SafeUpdateError('usage', 'The backup is encrypted, and does not say which project it is of.', {
    state: 'Nothing was imported.',
    hint: 'Say it: safe-update import FILE -p PROJECT',
  });
}

/** The pieces of the images in their order. Throws when one is missing or is not what it was. */
async function* pieces(first: Entry, entries: Entries, progress: TransferProgress): AsyncGenerator<Buffer> {
  let sums = '';
  let bytes = 0;
  let entry = first;
  for (let number = 1; entry.header.name !== `${imagesFolder}/${sumsName}`; number += 1) {
    const name = pieceName(number);
    const hash = createHash('sha256');
    for await (const chunk of contentOf(requireFile(entry, `${imagesFolder}/${name}`))) {
      hash.update(chunk);
      progress('images', (bytes += chunk.length));
      yield chunk;
    }
    sums += `${hash.digest('hex')}  ${name}\n`;
    const next = await entries.next();
    if (next.done === true) throw damaged('it ended early: some of the images are not there');
    entry = next.value;
  }
  if ((await textOf(entry, `${imagesFolder}/${sumsName}`)) !== sums)
    throw damaged('the images have changed: a checksum differs');
  const more = await entries.next();
  if (more.done !== true) throw tooMuch(more.value);
}

function tooMuch({ header }: Entry): SafeUpdateError {
  return damaged(`it has something else at its end: ${shown(header.name)}`);
}

/** The content of an entry. What keeps it from coming whole is that the file ended, or is no tar any more. */
async function* contentOf(entry: Entry): AsyncGenerator<Buffer> {
  try {
    yield* entry;
  } catch (error) {
    throw damaged(`it ended early, in ${shown(entry.header.name)}`, error);
  }
}

async function* counted(entry: Entry, onBytes: (bytes: number) => void): AsyncGenerator<Buffer> {
  let bytes = 0;
  for await (const chunk of contentOf(entry)) {
    onBytes((bytes += chunk.length));
    yield chunk;
  }
}

/** A file of this very name, and of this size. Anything else, a link above all, is not ours. */
function requireFile(entry: Entry, name: string, size?: number): Entry {
  const { header } = entry;
  if (header.name !== name)
    throw damaged(`it has ${shown(header.name)} where ${name} should be; nothing else belongs there`);
  if (header.type !== 'file') throw damaged(`${name} is not a file but a ${header.type}`);
  if (size !== undefined && header.size !== size)
    throw damaged(`${name} has ${header.size} bytes instead of ${size}`);
  return entry;
}

async function textOf(entry: Entry, name: string): Promise<string> {
  if (requireFile(entry, name).header.size > longestText) throw damaged(`${name} is too long`);
  const chunks: Buffer[] = [];
  for await (const chunk of contentOf(entry)) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

/** The manifest comes from outside too: its paths must not lead out of the backup, nor over its own files. */
function requirePaths({ parts }: Listing): void {
  const seen = new Set<string>([manifestName, sumsName]);
  for (const { path } of parts) {
    const steps = path.split('/');
    const leadsOut = steps.some((step) => step === '' || step === '.' || step === '..');
    if (leadsOut || /[\\\0]/.test(path)) throw damaged(`it names a file outside itself: ${shown(path)}`);
    if (seen.has(path)) throw damaged(`it names ${shown(path)} twice`);
    seen.add(path);
  }
}

function shown(name: string): string {
  return JSON.stringify(name.length > 200 ? `${name.slice(0, 200)}…` : name);
}

function damaged(why: string, cause?: unknown): SafeUpdateError {
  return new SafeUpdateError('damaged', `This is not a whole exported backup: ${why}.`, {
    state: 'Nothing was imported.',
    hint: 'Copy the file again and compare (sha256sum on both machines), or export the backup once more.',
    ...(cause === undefined ? {} : { cause }),
  });
}
