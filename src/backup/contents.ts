import { createHash } from 'node:crypto';
import { pipeline, type Readable } from 'node:stream';
import { createZstdDecompress } from 'node:zlib';
import { extract, type Header } from 'tar-stream';
import { messageOf, SafeUpdateError } from '../model/error.ts';
import { useAnother, type ManifestVolume } from './manifest.ts';
import type { OpenBackup } from './open.ts';
import type { Progress } from './store/store.ts';

/**
 * Reads the archives of these volumes and compares what is in them with their lists, and the lists with the manifest. Right
 * checksums say that a file is what was summed, not that it is what its name says: an archive that came under the name of
 * another volume, and was summed anew, is found out here, before a volume is emptied for it.
 *
 * What is compared is how many entries there are, and the size and sha256 of every file. Names, owners, modes and times are
 * compared when the archive has been unpacked. An archive that was made while something wrote is not like its list.
 *
 * Throws SafeUpdateError `damaged`.
 */
export async function verifyContents(
  { reader, manifest }: OpenBackup,
  volumes: readonly ManifestVolume[],
  progress: Progress = () => undefined,
): Promise<void> {
  for (const volume of volumes) {
    const problem = await compare(
      reader.open(volume.files),
      () => reader.open(volume.archive),
      volume,
      (bytes) => {
        progress(volume.archive, bytes);
      },
    ).catch(
      (error: unknown) => `the archive of the volume ${volume.name} cannot be read: ${messageOf(error)}`,
    );
    if (problem === undefined) continue;
    throw new SafeUpdateError('damaged', `The backup ${manifest.id} is damaged: ${problem}.`, {
      hint: useAnother,
    });
  }
}

/** What is wrong with a volume; undefined if nothing. */
async function compare(
  list: Readable,
  archive: () => Readable,
  volume: ManifestVolume,
  onBytes: (bytes: number) => void,
): Promise<string | undefined> {
  const listed = await readList(list);
  if (listed.digest !== volume.digest)
    return `the list of the volume ${volume.name} is not the one that the manifest says`;
  if (!volume.exact) return undefined;
  const differs = `the archive of the volume ${volume.name} does not hold what its list says`;
  let entries = 0;
  let read = 0;
  for await (const entry of extracted(archive())) {
    entries += 1;
    const { size, sha256 } = await contentOf(entry.header, entry);
    onBytes((read += size));
    if (entry.header.type !== 'file') continue;
    const key = `${size} ${sha256}`;
    const left = listed.contents.get(key) ?? 0;
    if (left === 0) return differs;
    listed.contents.set(key, left - 1);
  }
  if (entries !== listed.entries || [...listed.contents.values()].some((left) => left > 0)) return differs;
  return undefined;
}

interface Entry extends AsyncIterable<Buffer> {
  header: Header;
}

async function* extracted(archive: Readable): AsyncGenerator<Entry> {
  const tar = extract();
  // What ends it early ends the tar too; of one that is given up half way this may never settle.
  pipeline(archive, createZstdDecompress(), tar as unknown as NodeJS.WritableStream, () => undefined);
  try {
    yield* tar as unknown as AsyncIterable<Entry>;
  } finally {
    tar.destroy();
    archive.destroy();
  }
}

/** Size and checksum of a file as it was, its holes included. */
async function contentOf(
  header: Header,
  entry: AsyncIterable<Buffer>,
): Promise<{ size: number; sha256: string }> {
  const hash = createHash('sha256');
  const realSize = (header.pax as Record<string, string> | null | undefined)?.['GNU.sparse.realsize'];
  if (realSize === undefined) {
    let size = 0;
    for await (const chunk of entry) {
      hash.update(chunk);
      size += chunk.length;
    }
    return { size, sha256: hash.digest('hex') };
  }
  const size = Number(realSize);
  const pieces = entry[Symbol.asyncIterator]();
  let rest: Buffer = Buffer.alloc(0);
  const more = async (): Promise<boolean> => {
    const next = await pieces.next();
    if (next.done === true) return false;
    rest = rest.length === 0 ? next.value : Buffer.concat([rest, next.value]);
    return true;
  };
  const line = async (): Promise<number> => {
    for (;;) {
      const end = rest.indexOf(10);
      if (end !== -1) {
        const value = Number(rest.toString('latin1', 0, end));
        rest = rest.subarray(end + 1);
        mapBytes += end + 1;
        return value;
      }
      if (!(await more())) throw new Error('a sparse file ended in its map');
    }
  };
  // PAX 1.0: how many pieces of data there are, and of each its offset and length, a line each, filled up to a block.
  let mapBytes = 0;
  const map: { offset: number; bytes: number }[] = [];
  for (let count = await line(); count > 0; count -= 1)
    map.push({ offset: await line(), bytes: await line() });
  let filling = (512 - (mapBytes % 512)) % 512;
  let at = 0;
  for (const { offset, bytes } of map) {
    hashZeros(hash, offset - at);
    let left = bytes;
    while (left > 0 || filling > 0) {
      if (rest.length === 0 && !(await more())) throw new Error('a sparse file ended early');
      const skipped = Math.min(filling, rest.length);
      const taken = rest.subarray(skipped, skipped + left);
      rest = rest.subarray(skipped + taken.length);
      filling -= skipped;
      left -= taken.length;
      hash.update(taken);
    }
    at = offset + bytes;
  }
  hashZeros(hash, size - at);
  while (await more()) rest = Buffer.alloc(0);
  return { size, sha256: hash.digest('hex') };
}

const zeros = Buffer.alloc(1 << 20);

function hashZeros(hash: ReturnType<typeof createHash>, count: number): void {
  for (let left = count; left > 0; left -= zeros.length)
    hash.update(zeros.subarray(0, Math.min(left, zeros.length)));
}

/** The lines of a list: see helper/list.py. */
async function readList(
  list: Readable,
): Promise<{ digest: string; entries: number; contents: Map<string, number> }> {
  const hash = createHash('sha256');
  const contents = new Map<string, number>();
  let entries = 0;
  let rest = '';
  const plain = createZstdDecompress();
  pipeline(list, plain, () => undefined);
  for await (const chunk of plain as AsyncIterable<Buffer>) {
    hash.update(chunk);
    // Of each line only what is ASCII is read.
    const lines = (rest + chunk.toString('latin1')).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      entries += 1;
      const [type, , , size = '', , sha256 = '-'] = line.split('\t', 6);
      // A further name of a file that has been listed has no content of its own.
      if (type !== 'f' || sha256 === '-') continue;
      const key = `${size} ${sha256}`;
      contents.set(key, (contents.get(key) ?? 0) + 1);
    }
  }
  return { digest: hash.digest('hex'), entries, contents };
}
