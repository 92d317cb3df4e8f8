import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { pack, type Header } from 'tar-stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readExported, writeExported } from '../../../src/backup/exported.ts';
import type { Manifest } from '../../../src/backup/manifest.ts';
import { openBackup, verifyBackup } from '../../../src/backup/open.ts';
import { checksums, folderStore } from '../../../src/backup/store/folder.ts';
import { SafeUpdateError } from '../../../src/model/error.ts';
import { manifest as example } from '../model/examples.ts';

const id = 'manual-20241017_143022';
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'exported-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

const content: Record<string, Buffer> = {
  'config/engine.json': Buffer.from('{}\n'),
  'volumes/shop_a.tar.zst': randomBytes(70_000),
  'volumes/shop_a.files.zst': Buffer.alloc(0),
  [`databases/db/${'long'.repeat(40)}.dump`]: Buffer.from('a name that no old tar header has room for'),
};

/** Makes a backup in a store of its own and exports it. */
async function exported(images?: Buffer): Promise<Buffer> {
  const store = folderStore(path.join(folder, 'from', 'shop'));
  const writer = await store.begin(id);
  for (const [name, bytes] of Object.entries(content)) await writer.putFile(name, Readable.from([bytes]));
  await writer.seal(JSON.stringify(facts({ parts: [...writer.parts()] })), () => undefined);
  return written((collect) =>
    openBackup(store, id).then((open) =>
      writeExported(
        open,
        images === undefined ? undefined : { ids: ['sha256:1', 'sha256:2'], saved: Readable.from([images]) },
        collect,
        () => undefined,
      ),
    ),
  );
}

function facts(about: Partial<Manifest> = {}): Manifest {
  return example(id, {
    engineRecord: 'config/engine.json',
    volumes: [],
    databases: [],
    config: [],
    ...about,
  });
}

async function written(
  write: (collect: (from: AsyncIterable<Buffer>) => Promise<void>) => Promise<unknown>,
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  await write(async (from) => {
    for await (const chunk of from) chunks.push(chunk);
  });
  return Buffer.concat(chunks);
}

interface Imported {
  result: Awaited<ReturnType<typeof readExported>>;
  images: Buffer;
}

/** From a file, as from a pipe: it comes in pieces, and has not all come when something in it is wrong. */
async function imported(bytes: Buffer): Promise<Imported> {
  const loaded: Buffer[] = [];
  await writeFile(path.join(folder, 'exported.tar'), bytes);
  const input = (await open(path.join(folder, 'exported.tar'))).createReadStream({ highWaterMark: 4096 });
  const result = await readExported(input, {
    storeFor: (project) => folderStore(path.join(folder, 'to', project)),
    begin: () => undefined,
    loadImages: async (compressed) => {
      for await (const chunk of compressed) loaded.push(chunk as Buffer);
    },
    progress: () => undefined,
  });
  return { result, images: Buffer.concat(loaded) };
}

/** Every file below the folder that was imported into, but for what keeps it out of git. */
async function left(): Promise<string[]> {
  const found = await readdir(path.join(folder, 'to'), { recursive: true, withFileTypes: true }).catch(
    () => [],
  );
  return found
    .filter((entry) => entry.name !== '.gitignore' && !['shop'].includes(entry.name))
    .map(({ name }) => name);
}

async function expectRefused(bytes: Buffer, reason: RegExp): Promise<void> {
  const error: unknown = await imported(bytes).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(SafeUpdateError);
  expect((error as SafeUpdateError).message).toMatch(reason);
  expect((error as SafeUpdateError).code).toBe('damaged');
  expect(await left()).toEqual([]);
  // Nothing beside the folder either.
  expect((await readdir(folder)).filter((name) => !['from', 'to', 'exported.tar'].includes(name))).toEqual(
    [],
  );
}

/** A tar of these, the first two a manifest and checksums that fit it. */
async function tarOf(
  entries: (Partial<Header> & { name: string; text?: string })[],
  about: Partial<Manifest> = {},
): Promise<Buffer> {
  const text = JSON.stringify(facts(about));
  const tar = pack();
  tar.entry({ name: `${id}/manifest.json` }, text);
  tar.entry({ name: `${id}/SHA256SUMS` }, checksums(about.parts ?? facts().parts, text));
  for (const { text: body = '', ...header } of entries) {
    if (header.type === undefined || header.type === 'file') tar.entry(header, body);
    else tar.entry(header);
  }
  tar.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of tar as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function part(name: string, text: string): Manifest['parts'][number] {
  return { path: name, bytes: text.length, sha256: createHash('sha256').update(text).digest('hex') };
}

describe('an exported backup', () => {
  it('is the same backup after it was imported', async () => {
    const { result, images } = await imported(await exported());
    expect(result).toMatchObject({ images: false, location: path.join(folder, 'to', 'shop') });
    expect(images.length).toBe(0);
    const backup = await openBackup(folderStore(path.join(folder, 'to', 'shop')), id);
    await verifyBackup(backup);
    for (const name of [...Object.keys(content), 'manifest.json', 'SHA256SUMS']) {
      const [from, to] = ['from', 'to'].map((side) => readFile(path.join(folder, side, 'shop', id, name)));
      expect((await to!).equals(await from!), name).toBe(true);
    }
  });

  it('brings its images along, in pieces', async () => {
    const images = randomBytes((16 << 20) * 2 + 5);
    const bytes = await exported(images);
    const { result, images: loaded } = await imported(bytes);
    expect(result.images).toBe(true);
    expect(loaded.equals(images)).toBe(true);
  });

  it('has the manifest first', async () => {
    const bytes = await exported();
    expect(bytes.subarray(0, 100).toString().replaceAll('\0', '')).toBe(`${id}/manifest.json`);
  });

  it('is not written of a backup that has changed', async () => {
    await exported();
    const store = folderStore(path.join(folder, 'from', 'shop'));
    const backup = await openBackup(store, id);
    for (const change of [Buffer.from('{}x'), Buffer.from('{}\n\n'), Buffer.from('{')]) {
      const reader = {
        ...backup.reader,
        open: (name: string) =>
          name === 'config/engine.json' ? Readable.from([change]) : backup.reader.open(name),
      };
      await expect(
        written((collect) => writeExported({ ...backup, reader }, undefined, collect, () => undefined)),
      ).rejects.toThrow(/is damaged: config\/engine\.json/);
    }
  });

  it('says so when it cannot be written', async () => {
    await exported();
    const backup = await openBackup(folderStore(path.join(folder, 'from', 'shop')), id);
    const full = async (from: AsyncIterable<Buffer>): Promise<void> => {
      for await (const _ of from) throw Object.assign(new Error('no space'), { code: 'ENOSPC' });
    };
    await expect(writeExported(backup, undefined, full, () => undefined)).rejects.toThrow('no space');
  });
});

describe('what is no exported backup', () => {
  it('is refused wherever it ends early', async () => {
    const bytes = await exported(randomBytes(3000));
    // 1024 bytes of zeros end a tar; a file that lacks only them has everything.
    const lengths = [...Array(40).keys()].map(() => Math.floor(Math.random() * (bytes.length - 1024)));
    // Between two files is where nothing tears.
    for (let length = 0; length < bytes.length - 1024; length += 512)
      if (
        bytes.subarray(length, length + 8).toString() === 'manual-2' ||
        bytes.subarray(length, length + 7).toString() === 'images/'
      )
        lengths.push(length);
    expect(lengths.length).toBeGreaterThan(46);
    for (const length of lengths) {
      await expectRefused(bytes.subarray(0, length), /not a whole exported backup/);
    }
    for (const text of ['not a tar '.repeat(200), '\0'.repeat(10_240)])
      await expectRefused(Buffer.from(text), /not a whole exported backup/);
  }, 60_000);

  it('is refused, or the very same backup, wherever a bit has changed', async () => {
    const bytes = await exported(Buffer.from('images'));
    for (let tries = 0; tries < 60; tries += 1) {
      const at = Math.floor(Math.random() * bytes.length);
      const bad = Buffer.from(bytes);
      bad[at]! ^= 1 << (tries % 8);
      const came = await imported(bad).catch((error: unknown) => error);
      if (came instanceof Error) {
        expect(came, `byte ${at}`).toBeInstanceOf(SafeUpdateError);
        expect(await left(), `byte ${at}`).toEqual([]);
        continue;
      }
      // Between two files a tar has bytes that mean nothing.
      await verifyBackup(await openBackup(folderStore(path.join(folder, 'to', 'shop')), id));
      expect((came as Imported).images.toString()).toBe('images');
      await rm(path.join(folder, 'to'), { recursive: true });
    }
  }, 60_000);

  const engine = part('config/engine.json', '{}');

  it('is refused for anything that the manifest does not name, or not there', async () => {
    const body = { name: `${id}/config/engine.json`, text: '{}' };
    const about = { parts: [engine] };
    await imported(await tarOf([body], about));
    await rm(path.join(folder, 'to'), { recursive: true });
    for (const entries of [
      [body, { name: `${id}/volumes/extra.tar.zst`, text: 'x' }],
      [body, { name: 'images/hello', text: 'x' }],
      [body, { name: '../../evil', text: 'x' }],
      [body, { name: '/etc/cron.d/evil', text: 'x' }],
      [{ name: `${id}/../../evil`, text: '{}' }],
      [{ name: `${id}/config/../config/engine.json`, text: '{}' }],
      [{ name: 'config/engine.json', text: '{}' }],
      [{ ...body, text: '{ }' }],
      [{ ...body, text: '[]' }],
      [],
    ])
      await expectRefused(await tarOf(entries, about), /not a whole exported backup/);
  });

  it.each<[NonNullable<Header['type']>]>([
    ['symlink'],
    ['link'],
    ['directory'],
    ['fifo'],
    ['character-device'],
    ['block-device'],
  ])('is refused for a %s in the place of a file', async (type) => {
    const empty = { parts: [part('config/engine.json', '')] };
    await expectRefused(
      await tarOf([{ name: `${id}/config/engine.json`, type, linkname: '/etc/passwd' }], empty),
      /not a file|where/,
    );
  });

  it.each([
    '../evil',
    '/etc/evil',
    'a/../../evil',
    'a//b',
    './a',
    'a/.',
    '',
    'a\\b',
    'manifest.json',
    'SHA256SUMS',
  ])('is refused for a manifest that names %j', async (name) => {
    const about = { parts: [engine, part(name, 'x')] };
    await expectRefused(
      await tarOf(
        [
          { name: `${id}/config/engine.json`, text: '{}' },
          { name: `${id}/${name}`, text: 'x' },
        ],
        about,
      ),
      /outside itself|twice/,
    );
  });

  it.each(['../evil', 'a/b', '', '.', 'Shop', '/tmp'])('is refused for a project called %j', async (name) => {
    await expectRefused(
      await tarOf([], { project: { ...facts().project, name }, parts: [] }),
      /not the name of a project/,
    );
  });

  it('is refused where there is a backup of that id already, which stays as it is', async () => {
    const bytes = await exported();
    await imported(bytes);
    const file = path.join(folder, 'to', 'shop', id, 'config/engine.json');
    const before = await readFile(file);
    await expect(imported(bytes)).rejects.toMatchObject({ code: 'refused' });
    expect((await readFile(file)).equals(before)).toBe(true);
    await verifyBackup(await openBackup(folderStore(path.join(folder, 'to', 'shop')), id));
  });

  it('is no obstacle that an import of it was killed before', async () => {
    const bytes = await exported();
    await folderStore(path.join(folder, 'to', 'shop')).begin(id);
    await imported(bytes);
    await verifyBackup(await openBackup(folderStore(path.join(folder, 'to', 'shop')), id));
    expect((await left()).filter((name) => name.includes(id))).toEqual([id]);
  });

  it('is nothing when its images cannot be loaded', async () => {
    const bytes = await exported(Buffer.from('images'));
    const failing = readExported(Readable.from([bytes]), {
      storeFor: (project) => folderStore(path.join(folder, 'to', project)),
      begin: () => undefined,
      loadImages: async () => {
        throw new SafeUpdateError('engine', 'no engine');
      },
      progress: () => undefined,
    });
    await expect(failing).rejects.toThrow('no engine');
    expect(await left()).toEqual([]);
  });
});
