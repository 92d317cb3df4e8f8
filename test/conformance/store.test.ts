import { createHash, randomBytes } from 'node:crypto';
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { execa, execaSync } from 'execa';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { generateKey } from '../../src/backup/age.ts';
import type { Manifest } from '../../src/backup/manifest.ts';
import { listBackups, openBackup, verifyBackup } from '../../src/backup/open.ts';
import { keepProof, readProof, type Proof } from '../../src/backup/proof.ts';
import { encryptedStore } from '../../src/backup/store/encrypted.ts';
import { checksums, folderStore, requireWritable } from '../../src/backup/store/folder.ts';
import type { BackupWriter, Part, Store } from '../../src/backup/store/store.ts';
import type { Sent, VolumeReader, VolumeWriter } from '../../src/backup/volume.ts';
import { SafeUpdateError, type ErrorCode } from '../../src/model/error.ts';

/** What every store must do. One is added with a Subject: how it is made, and how its backups are damaged. */
interface Subject {
  make(): Promise<Place>;
}

/** A store of its own for one test. */
interface Place {
  store: Store;
  /** The file of a sealed backup, or of one that is being written, as it is kept. */
  read(id: string, file: string): Promise<Buffer>;
  write(id: string, file: string, content: Buffer): Promise<void>;
  remove(id: string, file: string): Promise<void>;
  /** What is said of a part whose file is not as long as it was. */
  wrongLength(part: Part, bytes: number): string;
}

const id = 'pre-update-20241017_143022';
const other = 'manual-20241018_000000';
const nothing = (): void => undefined;
const result: Omit<Proof, 'format' | 'manifest'> = {
  ...{ result: 'proven', at: '2024-10-18T00:00:00.000Z', tool: '0.0.0', engine: '28', milliseconds: 12_000 },
  ...{ services: ['db'], without: [], volumes: 2 },
  databases: [{ service: 'db', from: 'dump', of: 'rows', total: 12, places: 3, differs: [] }],
};

async function failure(work: Promise<unknown>): Promise<SafeUpdateError> {
  const error: unknown = await work.then(
    () => new Error('it did not fail'),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(SafeUpdateError);
  return error as SafeUpdateError;
}

async function fails(work: Promise<unknown>, code: ErrorCode): Promise<void> {
  expect((await failure(work)).code).toBe(code);
}

interface FakeVolume {
  archive?: Buffer;
  list?: Buffer;
  exact?: boolean;
  listExact?: boolean;
  /** Says so after this many bytes of the archive. */
  failsAfter?: number;
  /** What of the archive or the list is lost on the way, without any error. */
  loses?: { of: 'archive' | 'list'; from: number; to: number };
}

/**
 * A volume without an engine. Like a program at the other end of a pipe, it ends well only if what it wrote was read,
 * and waits until somebody reads it or closes the pipe.
 */
function volume(name: string, fake: FakeVolume = {}): VolumeReader {
  const { archive = randomBytes(300_000), list = randomBytes(2000) } = fake;
  function pipe<T>(content: Buffer, said: T): { content: Readable; done: Promise<T & { sent: Sent }> } {
    const failsAfter = content === archive ? fake.failsAfter : undefined;
    const { loses } = fake;
    const arriving =
      loses === undefined || { archive, list }[loses.of] !== content
        ? content
        : Buffer.concat([content.subarray(0, loses.from), content.subarray(loses.to)]);
    const result = { ...said, sent: { bytes: content.length, sha256: sha256(content) } };
    const stream = Readable.from(
      (async function* () {
        for (let at = 0; at < arriving.length; at += 10_000) {
          if (failsAfter !== undefined && at >= failsAfter) return;
          yield arriving.subarray(at, at + 10_000);
        }
      })(),
      { objectMode: false },
    );
    const done = new Promise<T & { sent: Sent }>((resolve, reject) => {
      stream.once('end', () => {
        if (failsAfter === undefined) resolve(result);
        else reject(new SafeUpdateError('store', 'tar failed'));
      });
      stream.once('close', () => {
        if (!stream.readableEnded) reject(new SafeUpdateError('store', 'broken pipe'));
      });
    });
    return { content: stream, done };
  }
  const summary = { entries: 3, files: 1, bytes: archive.length, sockets: 0, digest: sha256(list) };
  return {
    name,
    archive: () => pipe(archive, { exact: fake.exact ?? true }),
    archiveTo: () => undefined,
    list: () => pipe(list, { summary, exact: fake.listExact ?? true }),
  };
}

function sha256(content: string | Buffer): string {
  return createHash('sha256').update(content).digest('hex');
}

/** A backup with two volumes, a dump and configuration, not sealed yet. Returns its manifest. */
async function fill(writer: BackupWriter, sequence = 1): Promise<Manifest> {
  const put = (file: string, text: string): Promise<unknown> =>
    writer.putFile(file, Readable.from([Buffer.from(text)]));
  const volumes: Manifest['volumes'] = [];
  for (const name of ['shop_uploads', 'shop_data']) {
    const stored = await writer.putVolume(name, volume(name), nothing);
    volumes.push({
      name,
      kind: 'named',
      driver: 'local',
      servedAt: [],
      archive: stored.archive,
      files: stored.files,
      entries: stored.summary.entries,
      bytes: stored.summary.bytes,
      sockets: 0,
      digest: stored.summary.digest,
      exact: stored.exact,
    });
  }
  await put('databases/db/shop.dump', 'PGDMP and so on');
  await put('config/files/compose.yaml', 'services: {}\n');
  await put('config/engine.json', '{}\n');
  return {
    format: 1,
    tool: '0.0.0',
    id: writer.id,
    kind: 'pre-update',
    sequence,
    createdAt: '2024-10-17T12:30:22.000Z',
    run: 'r1',
    project: {
      name: 'shop',
      directory: '/srv/shop',
      files: ['/srv/shop/compose.yaml'],
      envFiles: [],
      profiles: [],
    },
    engine: { id: 'e', version: '28', compose: '2.40.3' },
    consistency: 'cold',
    containers: [],
    volumes,
    databases: [
      {
        service: 'db',
        engine: 'postgres',
        dataPath: '/var/lib/postgresql/data',
        parts: ['databases/db/shop.dump'],
      },
    ],
    config: [{ part: 'config/files/compose.yaml', from: '/srv/shop/compose.yaml', mode: 0o644 }],
    engineRecord: 'config/engine.json',
    notCovered: [],
    parts: [...writer.parts()],
  };
}

async function sealed(
  store: Store,
  as = id,
  change: (manifest: Manifest) => unknown = (manifest) => manifest,
): Promise<Manifest> {
  const writer = await store.begin(as);
  const manifest = await fill(writer);
  await writer.seal(JSON.stringify(change(manifest)), nothing);
  return manifest;
}

/** Makes SHA256SUMS fit a manifest that was changed. */
async function sumAgain({ read, write }: Place): Promise<void> {
  const manifest = (await read(id, 'manifest.json')).toString();
  const { parts } = JSON.parse(manifest) as Manifest;
  await write(id, 'SHA256SUMS', Buffer.from(checksums(parts, manifest)));
}

async function contentOf(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function storeContract(name: string, subject: Subject): void {
  const make = (): Promise<Place> => subject.make();
  describe(`${name}: writing`, () => {
    test('a sealed backup is listed, opened and read back, also by another process', async () => {
      const { store } = await make();
      expect(await store.list()).toEqual([]);
      const manifest = await sealed(store);
      expect(await store.list()).toEqual([{ id, sealed: true }]);
      const open = await openBackup(store, id);
      expect(open.manifest).toEqual(manifest);
      expect(open.reader.id).toBe(id);
      await verifyBackup(open);
      const files = await open.reader.files();
      expect(files.map(({ path: file }) => file).sort()).toEqual(
        manifest.parts.map((part) => part.path).sort(),
      );
      for (const part of manifest.parts) {
        const content = await contentOf(open.reader.open(part.path));
        expect({ bytes: content.length, sha256: sha256(content) }).toEqual({
          bytes: part.bytes,
          sha256: part.sha256,
        });
      }
    });

    test('both streams of a volume are kept as they came', async () => {
      const { store } = await make();
      const [archive, list] = [randomBytes(3_000_000), randomBytes(70_000)];
      const writer = await store.begin(id);
      const seen: [string, number][] = [];
      const stored = await writer.putVolume(
        'shop_data',
        volume('shop_data', { archive, list }),
        (...progress) => {
          seen.push(progress);
        },
      );
      expect(stored.exact).toBe(true);
      expect(stored.summary.digest).toBe(sha256(list));
      expect(await contentOf(writer.open(stored.archive))).toEqual(archive);
      expect(await contentOf(writer.open(stored.files))).toEqual(list);
      expect(seen.every(([item]) => item === 'shop_data')).toBe(true);
    });

    test.each([
      ['the archive', { exact: false }],
      ['the list', { listExact: false }],
    ])('a volume that changed while %s was read is not exact', async (_, fake) => {
      const { store } = await make();
      const writer = await store.begin(id);
      expect((await writer.putVolume('v', volume('v', fake), nothing)).exact).toBe(false);
    });

    test.each([
      ['archive', 0, 300_000],
      ['archive', 0, 10_000],
      ['archive', 123_456, 123_457],
      ['archive', 299_999, 300_000],
      ['list', 0, 2000],
      ['list', 1999, 2000],
    ] as const)(
      'a volume of which some is lost on the way is an error: of the %s, %i to %i',
      async (of, from, to) => {
        const { store } = await make();
        const writer = await store.begin(id);
        const putting = writer.putVolume('v', volume('v', { loses: { of, from, to } }), nothing);
        expect((await failure(putting)).message).toMatch(
          /volumes\/v\..* did not come whole .* bytes were sent, \d+ arrived/,
        );
      },
    );

    test('a volume whose reading fails is an error', async () => {
      const { store } = await make();
      const writer = await store.begin(id);
      const error = await failure(writer.putVolume('v', volume('v', { failsAfter: 100_000 }), nothing));
      expect(error.message).toContain('tar failed');
    });

    test('nothing is offered before it is sealed', async () => {
      const { store } = await make();
      const writer = await store.begin(id);
      const manifest = await fill(writer);
      expect(await store.list()).toEqual([{ id, sealed: false }]);
      await fails(store.open(id), 'usage');
      expect(await listBackups(store)).toEqual([
        { id, problem: expect.stringContaining('never sealed') as string },
      ]);
      await writer.seal(JSON.stringify(manifest), nothing);
      await verifyBackup(await openBackup(store, id));
    });

    test('an abandoned backup is gone', async () => {
      const { store } = await make();
      const writer = await store.begin(id);
      await fill(writer);
      await writer.abandon();
      expect(await store.list()).toEqual([]);
      await sealed(store);
    });

    test('an id is given once', async () => {
      const { store } = await make();
      const writer = await store.begin(id);
      await fails(store.begin(id), 'store');
      const manifest = await fill(writer);
      await writer.seal(JSON.stringify(manifest), nothing);
      await fails(store.begin(id), 'store');
      await verifyBackup(await openBackup(store, id));
    });

    test('a part is written once, and the first stays', async () => {
      const { store } = await make();
      const writer = await store.begin(id);
      await writer.putFile('config/a', Readable.from([Buffer.from('first')]));
      await fails(writer.putFile('config/a', Readable.from([Buffer.from('second')])), 'store');
      expect((await contentOf(writer.open('config/a'))).toString()).toBe('first');
      expect(writer.parts()).toHaveLength(1);
    });

    test.each(['../outside', '../../outside', '/tmp/outside', 'a/../../outside', '..', '.', ''])(
      'a part cannot be outside the backup: %j',
      async (file) => {
        const { store } = await make();
        const writer = await store.begin(id);
        const content = Readable.from([Buffer.from('x')]);
        expect((await failure(writer.putFile(file, content))).code).toMatch(/damaged|store/);
        expect(writer.parts()).toEqual([]);
      },
    );

    test('a part that is no longer what was written is noticed before sealing', async () => {
      const place = await make();
      for (const [number, change] of [
        (content: Buffer) => flip(content, content.length >> 1),
        (content: Buffer) => content.subarray(1),
        (content: Buffer) => Buffer.concat([content, Buffer.from('!')]),
      ].entries()) {
        const name = `${id}-${number + 2}`;
        const writer = await place.store.begin(name);
        const manifest = await fill(writer);
        const [part] = manifest.volumes.map(({ archive }) => archive);
        await place.write(name, part ?? '', change(await place.read(name, part ?? '')));
        const error = await failure(writer.seal(JSON.stringify(manifest), nothing));
        expect(error.code).toBe('store');
        expect(error.message).toContain(part);
        expect((await place.store.list()).find((listed) => listed.id === name)).toEqual({
          id: name,
          sealed: false,
        });
      }
    });

    test('a part that is gone is noticed before sealing', async () => {
      const place = await make();
      const writer = await place.store.begin(id);
      const manifest = await fill(writer);
      await place.remove(id, 'databases/db/shop.dump');
      await fails(writer.seal(JSON.stringify(manifest), nothing), 'store');
      expect(await place.store.list()).toEqual([{ id, sealed: false }]);
    });

    test('it knows how much room there is', async () => {
      const { store } = await make();
      const space = await store.space();
      if (space === undefined) return;
      expect(space.free).toBeGreaterThan(0);
      expect(space.total).toBeGreaterThanOrEqual(space.free);
    });
  });

  describe(`${name}: reading`, () => {
    test('there is none of that id', async () => {
      const { store } = await make();
      for (const name of [id, '..', '../x', 'notes', '']) await fails(store.open(name), 'usage');
    });

    test('the result of a test-restore is kept beside a backup, whose files and checksums stay what they are', async () => {
      const { store, read } = await make();
      const manifest = await sealed(store);
      const { reader } = await openBackup(store, id);
      expect(await reader.proof()).toBeUndefined();
      const sums = await read(id, 'SHA256SUMS');
      await reader.keepProof('first\n');
      await reader.keepProof('second\n');
      const again = await openBackup(store, id);
      expect(await again.reader.proof()).toBe('second\n');
      await verifyBackup(again);
      expect((await again.reader.files()).map(({ path: file }) => file).sort()).toEqual(
        manifest.parts.map((part) => part.path).sort(),
      );
      expect(await read(id, 'SHA256SUMS')).toEqual(sums);
      await store.remove(id);
      expect(await store.list()).toEqual([]);
    });

    test('a result counts for the manifest it is about, and a planted or torn one for nothing', async () => {
      const { store } = await make();
      await sealed(store);
      await sealed(store, other);
      const { reader } = await openBackup(store, id);
      await keepProof(reader, result);
      const kept = await readProof(reader);
      // Of an encrypted backup without the names of what it holds.
      expect(kept).toMatchObject({ ...result, services: [expect.any(String)], databases: [{ total: 12 }] });
      expect(await listBackups(store)).toEqual([
        { id: other, manifest: expect.anything() as unknown },
        { id, manifest: expect.anything() as unknown, proof: kept },
      ]);
      const elsewhere = (await openBackup(store, other)).reader;
      await elsewhere.keepProof((await reader.proof()) ?? '');
      expect(await readProof(elsewhere)).toBeUndefined();
      for (const text of ['', 'null', '{"format":1}', JSON.stringify(kept).slice(0, -9)]) {
        await reader.keepProof(text);
        expect(await readProof(reader), text).toBeUndefined();
      }
      expect((await listBackups(store)).map(({ proof }) => proof)).toEqual([undefined, undefined]);
    });

    test('a volume is put back from its archive', async () => {
      const { store } = await make();
      const manifest = await sealed(store);
      const { reader } = await openBackup(store, id);
      const [first] = manifest.volumes;
      const got: Buffer[] = [];
      const writer = {
        name: 'v',
        extractFrom: () => undefined,
        extract: async (_: unknown, content: Readable) => void got.push(await contentOf(content)),
      };
      await reader.restoreVolume(
        { archive: first?.archive ?? '' },
        writer as unknown as VolumeWriter,
        nothing,
      );
      expect(got).toEqual([await contentOf(reader.open(first?.archive ?? ''))]);
    });

    test.each(['../other/manifest.json', '/etc/passwd', 'volumes/../../x'])(
      'what a manifest names outside of its backup is refused: %s',
      async (outside) => {
        const place = await make();
        const { store } = place;
        await sealed(store, other);
        await sealed(store, id, (manifest) => ({
          ...manifest,
          parts: [...manifest.parts, { path: outside, bytes: 1, sha256: sha256('x') }],
          engineRecord: outside,
        }));
        await sumAgain(place);
        const open = await openBackup(store, id);
        expect((await failure(verifyBackup(open))).message).toContain(outside);
        expect(() => open.reader.open(outside)).toThrow(SafeUpdateError);
        await fails(
          open.reader.restoreVolume({ archive: outside }, { name: 'v' } as VolumeWriter, nothing),
          'damaged',
        );
      },
    );
  });

  describe(`${name}: damage`, () => {
    /** Verifies the backup and returns what is wrong with it, a problem an entry. */
    async function problems(store: Store): Promise<string[]> {
      const error = await failure(openBackup(store, id).then((open) => verifyBackup(open)));
      expect(error.code).toBe('damaged');
      expect(error.message).toContain(id);
      // A problem may quote what is damaged, and that may be anything.
      return error.message.split('; ');
    }

    test('one flipped bit in any part is found, and the part is named', async () => {
      const place = await make();
      const { parts } = await sealed(place.store);
      for (const part of parts) {
        const whole = await place.read(id, part.path);
        for (const at of new Set([0, whole.length >> 1, whole.length - 1])) {
          await place.write(id, part.path, flip(whole, at));
          const found = await problems(place.store);
          expect(found).toHaveLength(1);
          expect(found[0]).toContain(part.path);
        }
        await place.write(id, part.path, whole);
      }
      await verifyBackup(await openBackup(place.store, id));
    });

    test.each<[string, (whole: Buffer) => Buffer]>([
      ['shorter', (whole) => whole.subarray(0, -1)],
      ['empty', () => Buffer.alloc(0)],
      ['longer', (whole) => Buffer.concat([whole, Buffer.alloc(1)])],
    ])('a part that is %s is found', async (_, change) => {
      const place = await make();
      const { parts } = await sealed(place.store);
      for (const part of parts) {
        const whole = await place.read(id, part.path);
        await place.write(id, part.path, change(whole));
        const found = await problems(place.store);
        expect(found).toHaveLength(1);
        expect(found[0]).toContain(place.wrongLength(part, change(whole).length));
        await place.write(id, part.path, whole);
      }
    });

    test('a part that is missing is found, and the others are still looked at', async () => {
      const place = await make();
      const { parts } = await sealed(place.store);
      await place.remove(id, 'volumes/shop_data.tar.zst');
      await place.write(id, 'config/engine.json', Buffer.from('[]'));
      expect(parts.length).toBeGreaterThan(5);
      const found = await problems(place.store);
      expect(found).toHaveLength(2);
      expect(found.join()).toContain('volumes/shop_data.tar.zst is missing');
      const shorter = parts.find((part) => part.path === 'config/engine.json');
      expect(found.join()).toContain(place.wrongLength(shorter ?? { path: '', bytes: 0, sha256: '' }, 2));
    });

    test('a file too many is found', async () => {
      const place = await make();
      await sealed(place.store);
      await place.write(id, 'volumes/evil.tar.zst', Buffer.from('x'));
      expect(await problems(place.store)).toEqual([
        expect.stringContaining('volumes/evil.tar.zst is not in the manifest'),
      ]);
    });

    test('archives that change places are found', async () => {
      const place = await make();
      const { volumes } = await sealed(place.store);
      const [a = '', b = ''] = volumes.map(({ archive }) => archive);
      const [first, second] = [await place.read(id, a), await place.read(id, b)];
      await place.write(id, a, second);
      await place.write(id, b, first);
      expect((await problems(place.store)).join()).toMatch(/shop_uploads.*shop_data|shop_data.*shop_uploads/);
    });

    test('one flipped bit anywhere in the manifest is found', async () => {
      const place = await make();
      await sealed(place.store);
      const whole = await place.read(id, 'manifest.json');
      for (let at = 0; at < whole.length; at += 13) {
        await place.write(id, 'manifest.json', flip(whole, at));
        expect((await problems(place.store)).join(), `byte ${at}`).toContain('manifest');
      }
    });

    test.each<[string, (place: Place) => Promise<void>]>([
      ['missing', (place) => place.remove(id, 'manifest.json')],
      ['empty', (place) => place.write(id, 'manifest.json', Buffer.alloc(0))],
      [
        'of another backup',
        async (place) => {
          await sealed(place.store, other);
          await place.write(id, 'manifest.json', await place.read(other, 'manifest.json'));
        },
      ],
    ])('a manifest that is %s is damage, and the backup stays listed', async (_, damage) => {
      const place = await make();
      await sealed(place.store);
      await damage(place);
      expect((await problems(place.store)).join()).toContain('manifest.json');
      // It was whole once: not unfinished, so that nobody removes it as the remains of a crash.
      expect(await place.store.list()).toContainEqual({ id, sealed: true });
      const listed = (await listBackups(place.store)).find((backup) => backup.id === id);
      expect(listed?.manifest).toBeUndefined();
      expect(listed?.problem).toContain('manifest.json');
    });

    test.each<[string, unknown, RegExp]>([
      ['text', 'hello', /not JSON/],
      ['nothing', null, /damaged/],
      ['a list', [], /damaged/],
      ['of a newer format', { format: 2, id, more: true }, /newer safe-update \(format 2\)/],
      ['without parts', { format: 1, id }, /damaged: /],
    ])('a manifest that is %s is not understood, and says so', async (_, content, message) => {
      const { store } = await make();
      const writer = await store.begin(id);
      const seal = writer.seal(typeof content === 'string' ? content : JSON.stringify(content), nothing);
      const error = await failure(seal.then(() => openBackup(store, id)));
      expect(error.code).toBe('damaged');
      expect(error.message).toMatch(message);
    });

    test('a manifest that says it is another backup is refused', async () => {
      const { store } = await make();
      const seal = sealed(store, id, (manifest) => ({ ...manifest, id: other }));
      await fails(
        seal.then(() => openBackup(store, id)),
        'damaged',
      );
    });

    test('a part without a checksum is refused', async () => {
      const place = await make();
      const { store } = place;
      await sealed(store, id, (manifest) => ({
        ...manifest,
        parts: manifest.parts.filter((part) => part.path !== 'volumes/shop_data.tar.zst'),
      }));
      await sumAgain(place);
      const error = await failure(openBackup(store, id).then((open) => verifyBackup(open)));
      expect(error.message).toContain('volumes/shop_data.tar.zst has no checksum');
    });
  });

  describe(`${name}: removing`, () => {
    test('a backup and the remains of one are removed; others stay', async () => {
      const { store } = await make();
      await sealed(store, other);
      await sealed(store);
      await store.remove(id);
      expect(await store.list()).toEqual([{ id: other, sealed: true }]);
      await fails(store.open(id), 'usage');
      await fill(await store.begin(id));
      await store.remove(id);
      expect(await store.list()).toEqual([{ id: other, sealed: true }]);
      await verifyBackup(await openBackup(store, other));
    });

    test('what is not there is removed already', async () => {
      const { store } = await make();
      await sealed(store, other);
      await store.remove(id);
      expect(await store.list()).toEqual([{ id: other, sealed: true }]);
    });

    test.each(['..', '.', '', 'notes', '../shop', `${id}/volumes`])(
      'nothing but a backup is removed: %j',
      async (name) => {
        const { store } = await make();
        await sealed(store);
        await expect(store.remove(name)).rejects.toThrow();
        await verifyBackup(await openBackup(store, id));
      },
    );
  });
}

function flip(content: Buffer, at: number): Buffer {
  const flipped = Buffer.from(content);
  flipped[at] = (flipped[at] ?? 0) ^ (1 << (at % 8));
  return flipped;
}

const folders: string[] = [];
afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
});

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'safe-update-store-'));
  folders.push(folder);
  return folder;
}

/** A folder with backups in it, as the store keeps them. */
function placeIn(directory: string): Place {
  const fileOf = async (backup: string, file: string): Promise<string> => {
    const folder = path.join(directory, backup);
    const found = await stat(folder).then(
      () => folder,
      () => `${folder}.partial`,
    );
    return path.join(found, file);
  };
  return {
    store: folderStore(directory),
    read: async (backup, file) => readFile(await fileOf(backup, file)),
    write: async (backup, file, content) => {
      const found = await fileOf(backup, file);
      await mkdir(path.dirname(found), { recursive: true });
      await writeFile(found, content);
    },
    remove: async (backup, file) => rm(await fileOf(backup, file)),
    wrongLength: (part, bytes) => `${part.path} has ${bytes} bytes instead of ${part.bytes}`,
  };
}

/**
 * The same, encrypted. Its parts are read and damaged as the files that they are: which one it is, the test finds out by what
 * was written when, so that it needs no more than the order.
 */
async function encryptedIn(directory: string): Promise<Place> {
  const { identity, recipient } = await generateKey();
  const below = placeIn(directory);
  const store = encryptedStore(below.store, {
    recipients: [recipient],
    identities: [() => Promise.resolve([identity])],
  });
  const written = new Map<string, string[]>();
  const fileOf = (backup: string, file: string): string => {
    const at = written.get(backup)?.indexOf(file) ?? -1;
    return at === -1 ? file : `parts/${String(at + 1).padStart(4, '0')}.age`;
  };
  /** Notes the order in which parts were begun. */
  const noting = (writer: BackupWriter): BackupWriter => {
    const names: string[] = [];
    written.set(writer.id, names);
    return {
      ...writer,
      async putFile(name, content) {
        if (!names.includes(name)) names.push(name);
        return writer.putFile(name, content);
      },
      async putVolume(name, reader, progress) {
        names.push(`volumes/${name}.tar.zst`, `volumes/${name}.files.zst`);
        return writer.putVolume(name, reader, progress);
      },
    };
  };
  return {
    store: { ...store, begin: async (name) => noting(await store.begin(name)) },
    read: (backup, file) => below.read(backup, fileOf(backup, file)),
    write: (backup, file, content) => below.write(backup, fileOf(backup, file), content),
    remove: (backup, file) => below.remove(backup, fileOf(backup, file)),
    wrongLength: (part) => `${part.path} cannot be read: `,
  };
}

storeContract('a folder', { make: async () => placeIn(path.join(await newFolder(), 'backups', 'shop')) });

storeContract('an encrypted folder', {
  make: async () => encryptedIn(path.join(await newFolder(), 'backups', 'shop')),
});

/** Runs a piece of JavaScript in a process of its own, with `store` and `fill` at hand. */
function inProcess(directory: string, script: string): string[] {
  const source = new URL('../../src/backup/store/folder.ts', import.meta.url);
  return [
    process.execPath,
    '--input-type=module',
    '--eval',
    `import { folderStore } from ${JSON.stringify(source)};
     import { Readable } from 'node:stream';
     const store = folderStore(${JSON.stringify(directory)});
     const id = ${JSON.stringify(id)};
     ${script}`,
  ];
}

/** As small as a backup can be, with parts in two folders. */
const writeBackup = `
const writer = await store.begin(id);
for (const name of ['config/engine.json', 'volumes/data.tar.zst']) await writer.putFile(name, Readable.from([Buffer.from(name)]));
const manifest = { format: 1, tool: '0', id, kind: 'pre-update', sequence: 1, createdAt: '2024-10-17T12:30:22.000Z', run: 'r',
  project: { name: 'shop', directory: '/', files: [], envFiles: [], profiles: [] }, engine: { id: 'e', version: '28', compose: '2' },
  consistency: 'cold', containers: [], volumes: [], databases: [], config: [], engineRecord: 'config/engine.json', notCovered: [],
  parts: writer.parts() };
await writer.seal(JSON.stringify(manifest), () => undefined);`;

async function run([program = '', ...args]: string[]): Promise<{ failed: boolean }> {
  const { failed, stderr, isTerminated } = await execa(program, args, {
    reject: false,
    extendEnv: false,
    // strace counts the calls of each thread for itself.
    env: { PATH: process.env['PATH'], UV_THREADPOOL_SIZE: '1' },
  });
  if (failed && !isTerminated && !/killed|SIGKILL/i.test(stderr)) expect(stderr).toBe('');
  return { failed };
}

describe('a folder of backups on disk', () => {
  test('is for its owner alone, whatever the umask', async () => {
    const directory = path.join(await newFolder(), 'new', 'shop');
    await run(
      inProcess(directory, `process.umask(0); ${writeBackup} await store.begin('manual-20241018_000000');`),
    );
    const modes: string[] = [];
    for (const name of ['', ...(await readdir(directory, { recursive: true })).sort()]) {
      const found = await stat(path.join(directory, name));
      modes.push(`${found.isDirectory() ? 'folder' : 'file'} ${(found.mode & 0o7777).toString(8)} ${name}`);
    }
    expect(modes.length).toBeGreaterThan(8);
    expect(modes.filter((line) => !/^(folder 700|file 600) /.test(line))).toEqual([]);
  });

  test('is kept out of git', async () => {
    const directory = await newFolder();
    await sealed(folderStore(directory));
    expect(await readFile(path.join(directory, '.gitignore'), 'utf8')).toBe('*\n');
  });

  test('can be checked with sha256sum', async () => {
    const directory = await newFolder();
    const writer = await folderStore(directory).begin(id);
    await writer.putFile('config/files/a\\b\nc d', Readable.from([Buffer.from('odd')]));
    const manifest = await fill(writer);
    await writer.seal(JSON.stringify(manifest), nothing);
    const check = (): string =>
      execaSync('sha256sum', ['--check', '--strict', 'SHA256SUMS'], {
        cwd: path.join(directory, id),
        reject: false,
        all: true,
      }).all;
    const lines = check().split('\n');
    expect(lines.filter((line) => !line.endsWith(': OK'))).toEqual([]);
    expect(lines).toHaveLength(manifest.parts.length + 1);
    await writeFile(path.join(directory, id, 'volumes/shop_data.files.zst'), 'x');
    expect(check()).toContain('volumes/shop_data.files.zst: FAILED');
  });

  test('may hold other things: they are neither listed nor removed', async () => {
    const directory = await newFolder();
    const store = folderStore(directory);
    const foreign = [
      'notes.txt',
      `${id}.tar`,
      `old-${id}`,
      'pre-update-yesterday',
      '.safe-update',
      'x.partial',
    ];
    for (const name of foreign) await mkdir(path.join(directory, name));
    // Named like a backup, and not one.
    await writeFile(path.join(directory, other), 'mine');
    await sealed(store);
    expect((await store.list()).filter(({ sealed: whole }) => !whole)).toEqual([]);
    expect((await listBackups(store)).filter(({ manifest }) => manifest !== undefined)).toHaveLength(1);
    await store.remove(id);
    expect((await readdir(directory)).sort()).toEqual([...foreign, other, '.gitignore'].sort());
  });

  test('remains of an interrupted removal are found and removed', async () => {
    const directory = await newFolder();
    const store = folderStore(directory);
    await sealed(store);
    await rename(path.join(directory, id), path.join(directory, `${id}.deleting`));
    expect(await store.list()).toEqual([{ id, sealed: false }]);
    await fails(store.open(id), 'usage');
    await sealed(store, other);
    await store.remove(id);
    expect(await store.list()).toEqual([{ id: other, sealed: true }]);
    expect(await readdir(directory)).not.toContain(`${id}.deleting`);
  });

  test('remains beside a whole backup of the same name do not take it away', async () => {
    const directory = await newFolder();
    const store = folderStore(directory);
    await sealed(store);
    for (const end of ['.partial', '.deleting']) {
      await mkdir(path.join(directory, id + end));
      await writeFile(path.join(directory, id + end, 'file'), 'x');
    }
    expect(await store.list()).toEqual([{ id, sealed: true }]);
    await store.remove(id);
    expect(await readdir(directory)).toEqual(['.gitignore']);
  });

  test('a part that cannot be read is damage, not a bug', async () => {
    const directory = await newFolder();
    const store = folderStore(directory);
    await sealed(store);
    const part = path.join(directory, id, 'volumes/shop_data.tar.zst');
    await rm(part);
    await mkdir(part);
    expect((await failure(openBackup(store, id).then((open) => verifyBackup(open)))).message).toContain(
      'shop_data.tar.zst',
    );
    await rm(part, { recursive: true });
    await symlink('/nowhere', part);
    expect((await failure(openBackup(store, id).then((open) => verifyBackup(open)))).message).toContain(
      'shop_data.tar.zst',
    );
    await rm(path.join(directory, id, 'manifest.json'));
    await mkdir(path.join(directory, id, 'manifest.json'));
    await fails(openBackup(store, id), 'damaged');
  });

  test('a file in the way is an error that says so', async () => {
    const folder = await newFolder();
    await writeFile(path.join(folder, 'file'), '');
    for (const directory of [path.join(folder, 'file'), path.join(folder, 'file', 'deeper')]) {
      await fails(requireWritable(directory), 'store');
      await fails(folderStore(directory).begin(id), 'store');
    }
  });

  test('asking whether it can be written to leaves nothing behind', async () => {
    const folder = await newFolder();
    await requireWritable(path.join(folder, 'not', 'there', 'yet'));
    expect(await readdir(folder)).toEqual([]);
  });
});

const isRoot = process.getuid?.() === 0;

/** A file system of its own for one test. */
async function tmpfs(options: string): Promise<string> {
  const folder = await newFolder();
  await execa('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', folder]);
  onTestFinished(async () => {
    await execa('umount', ['--lazy', folder]);
  });
  return folder;
}

const rootOnly = isRoot ? '' : ' (SKIPPED: only root can mount a small disk)';

describe.skipIf(!isRoot)(`a folder without room${rootOnly}`, () => {
  /** A volume that has no end: whoever reads it stops, or nobody ever does. */
  function endless(): VolumeReader {
    const whole = volume('v');
    const reader = (): ReturnType<VolumeReader['archive']> => {
      const content = new Readable({
        read() {
          this.push(Buffer.alloc(16_384, 'x'));
        },
      });
      const done = new Promise<never>((_, reject) => {
        content.once('close', () => {
          reject(new SafeUpdateError('store', 'broken pipe'));
        });
      });
      return { content, done };
    };
    return { ...whole, archive: reader };
  }

  const soon = { timeout: 20_000 };

  test.each<[string, (directory: string) => Store | Promise<Store>]>([
    ['as it is', folderStore],
    ['encrypted', async (directory) => (await encryptedIn(directory)).store],
  ])('is an error of its own, and the reader of the volume is ended: %s', soon, async (_, storeIn) => {
    const store = await storeIn(await tmpfs('size=1m'));
    const writer = await store.begin(id);
    await fails(writer.putVolume('v', endless(), nothing), 'space');
    expect(await store.list()).toEqual([{ id, sealed: false }]);
    await writer.abandon();
    expect(await store.list()).toEqual([]);
  });

  test('also when there is room, but for no more files', soon, async () => {
    const directory = await tmpfs('size=8m,nr_inodes=8');
    const store = folderStore(directory);
    const writer = await store.begin(id);
    for (let number = 0; ; number += 1) {
      const filled = await writeFile(path.join(directory, `filler-${number}`), '').then(
        () => false,
        () => true,
      );
      if (filled) break;
    }
    await rm(path.join(directory, 'filler-0'));
    // One is left for the folder; the archive itself cannot even be opened.
    await fails(writer.putVolume('v', endless(), nothing), 'space');
    await writer.abandon();
  });

  test.each<[string, (directory: string) => Store | Promise<Store>]>([
    ['as it is', folderStore],
    ['encrypted', async (directory) => (await encryptedIn(directory)).store],
  ])('also for a dump: %s', soon, async (_, storeIn) => {
    const writer = await (await storeIn(await tmpfs('size=1m'))).begin(id);
    const { content, done } = endless().archive({} as never, nothing);
    const ended = expect(done).rejects.toThrow('broken pipe');
    await fails(writer.putFile('databases/db/x.dump', content), 'space');
    await ended;
  });

  test('also for the manifest; what was there before stays whole', soon, async () => {
    const directory = await tmpfs('size=4m');
    const store = folderStore(directory);
    await sealed(store, other);
    const writer = await store.begin(id);
    const manifest = await fill(writer);
    const filler = path.join(directory, 'filler');
    await writeFile(filler, Buffer.alloc(8_000_000)).catch(nothing);
    await fails(writer.seal(`${JSON.stringify(manifest)}${' '.repeat(10_000)}`, nothing), 'space');
    expect(await store.list()).toEqual([
      { id: other, sealed: true },
      { id, sealed: false },
    ]);
    await rm(filler);
    await store.remove(id);
    await sealed(store);
    await verifyBackup(await openBackup(store, other));
  });

  test('a read-only folder is an error that says so', soon, async () => {
    const directory = await tmpfs('size=4m');
    await sealed(folderStore(directory));
    await execa('mount', ['-o', 'remount,ro', directory]);
    const store = folderStore(directory);
    await fails(requireWritable(directory), 'store');
    await fails(requireWritable(path.join(directory, 'deeper')), 'store');
    expect((await failure(store.begin(other))).hint).toContain('--backups');
    await fails(store.remove(id), 'store');
    // Reading needs no writing.
    await verifyBackup(await openBackup(store, id));
  });

  test('a folder that somebody else may not read is an error for them', async () => {
    const directory = await newFolder();
    await sealed(folderStore(directory));
    await chmod(directory, 0o700);
    const asNobody = `process.setgid(65534); process.setuid(65534);
      for (const work of [() => store.list(), () => store.open(id), () => store.begin(id)])
        await work().then(() => process.exit(7), (error) => { if (error.name !== 'SafeUpdateError' || error.code !== 'store') process.exit(8); });`;
    const { exitCode } = await execa(process.execPath, inProcess(directory, asNobody).slice(1), {
      reject: false,
    });
    expect(exitCode).toBe(0);
  });
});

const canTrace = execaSync('strace', ['-e', 'trace=none', 'true'], { reject: false }).exitCode === 0;

const untraced = canTrace ? '' : ' (SKIPPED: strace is not installed, or may not trace here)';

describe.skipIf(!canTrace)(`power that fails${untraced}`, () => {
  /**
   * Runs a script again and again, each time in a new place, and kills it at the first of these system calls, at the
   * second, and so on. strace counts each kind of call for itself. Returns how often it was killed.
   */
  async function killedAtEach(
    calls: readonly string[],
    script: string,
    prepare: (store: Store) => Promise<unknown>,
    check: (store: Store, directory: string) => Promise<void>,
  ): Promise<number> {
    let kills = 0;
    for (const call of calls) {
      for (let nth = 1; ; nth += 1) {
        const directory = path.join(await newFolder(), 'shop');
        const store = folderStore(directory);
        await prepare(store);
        const { failed } = await run([
          ...['strace', '--follow-forks', '--output=/dev/null', '-e', `trace=${call}`],
          ...['-e', `inject=${call}:signal=KILL:when=${nth}`, ...inProcess(directory, script)],
        ]);
        await check(store, directory);
        if (!failed) break;
        kills += 1;
      }
    }
    return kills;
  }

  test('everything is on disk before the manifest, and the manifest before the name', async () => {
    const directory = path.join(await newFolder(), 'shop');
    const log = path.join(await newFolder(), 'log');
    await run([
      ...[
        'strace',
        '--follow-forks',
        '--decode-fds=path',
        `--output=${log}`,
        '-e',
        'trace=fsync,rename,renameat,renameat2',
      ],
      ...inProcess(directory, writeBackup),
    ]);
    const partial = path.join(directory, `${id}.partial`);
    const steps = (await readFile(log, 'utf8'))
      .split('\n')
      .flatMap((line) => {
        const fsync = /fsync\(\d+<([^>]*)>/.exec(line)?.[1];
        const moved = /rename\w*\((?:AT_FDCWD\S*, )?"([^"]*)", (?:AT_FDCWD\S*, )?"([^"]*)"/.exec(line);
        return fsync === undefined
          ? moved === null
            ? []
            : [`${moved[1] ?? ''} → ${moved[2] ?? ''}`]
          : [fsync];
      })
      .map((step) =>
        step
          .replaceAll(partial, 'P')
          .replaceAll(path.join(directory, id), 'FINAL')
          .replaceAll(directory, 'STORE'),
      );
    const at = (step: string): number => {
      expect(steps).toContain(step);
      return steps.indexOf(step);
    };
    const manifest = at('P/manifest.json.tmp → P/manifest.json');
    for (const file of [
      'P/config/engine.json',
      'P/volumes/data.tar.zst',
      'P/SHA256SUMS',
      'P/manifest.json.tmp',
    ])
      expect(at(file), file).toBeLessThan(manifest);
    const named = at('P → FINAL');
    for (const folder of ['P', 'P/config', 'P/volumes']) {
      expect(at(folder), folder).toBeGreaterThan(manifest);
      expect(at(folder), folder).toBeLessThan(named);
    }
    expect(at('STORE')).toBeGreaterThan(named);
  });

  test('the key of a run is on disk before anything is encrypted for it', async () => {
    const directory = path.join(await newFolder(), 'shop');
    const log = path.join(await newFolder(), 'log');
    await mkdir(directory);
    const { recipient } = await generateKey();
    const source = (file: string): string => JSON.stringify(new URL(`../../src/${file}`, import.meta.url));
    await run([
      ...['strace', '--follow-forks', '--decode-fds=path', `--output=${log}`, '-e', 'trace=fsync,openat'],
      ...[process.execPath, '--input-type=module', '--eval'],
      `import { encryptedStore } from ${source('backup/store/encrypted.ts')};
       import { folderStore } from ${source('backup/store/folder.ts')};
       import { keysOfRun } from ${source('update/run-key.ts')};
       import { Readable } from 'node:stream';
       const directory = ${JSON.stringify(directory)};
       const id = ${JSON.stringify(id)};
       const keys = keysOfRun({ recipients: [${JSON.stringify(recipient)}], identities: [] }, directory, 'r');
       const store = encryptedStore(folderStore(directory), keys);
       ${writeBackup}`,
    ]);
    const lines = (await readFile(log, 'utf8')).split('\n');
    const first = (wanted: (line: string) => boolean): number => {
      const found = lines.findIndex(wanted);
      expect(found).toBeGreaterThan(-1);
      return found;
    };
    const key = first((line) => line.includes('fsync(') && line.includes(path.join(directory, 'r.key')));
    const folder = first((line) => line.includes('fsync(') && line.includes(`<${directory}>`));
    const part = first((line) => line.includes('openat(') && line.includes('parts/0001.age'));
    expect(key).toBeLessThan(folder);
    expect(folder).toBeLessThan(part);
  });

  test('leaves a whole backup or none, at whichever step of writing', async () => {
    const kills = await killedAtEach(
      ['mkdir', 'fsync', '/^rename'],
      writeBackup,
      async () => undefined,
      async (store) => {
        for (const backup of await store.list())
          if (backup.sealed) await verifyBackup(await openBackup(store, backup.id));
        await store.remove(id);
        expect(await store.list()).toEqual([]);
        await sealed(store);
        await verifyBackup(await openBackup(store, id));
      },
    );
    expect(kills).toBeGreaterThanOrEqual(4 + 8 + 2);
  });

  test('leaves a whole backup or none, at whichever step of removing', async () => {
    const kills = await killedAtEach(
      ['/^rename', '/^unlink', 'rmdir', 'fsync'],
      'await store.remove(id)',
      async (store) => {
        await sealed(store, other);
        const writer = await store.begin(id);
        await writer.putFile('config/engine.json', Readable.from([Buffer.from('{}')]));
        await writer.seal('{}', nothing);
      },
      async (store, directory) => {
        for (const backup of await store.list()) {
          if (!backup.sealed) continue;
          const reader = await store.open(backup.id);
          await reader.manifest();
          if (backup.id === id) expect(await reader.files()).toHaveLength(1);
          else await verifyBackup(await openBackup(store, other));
        }
        expect((await store.list()).map((backup) => backup.id)).toContain(other);
        await store.remove(id);
        expect((await readdir(directory)).sort()).toEqual(['.gitignore', other]);
      },
    );
    expect(kills).toBeGreaterThanOrEqual(1 + 3 + 2 + 1);
  });
});
