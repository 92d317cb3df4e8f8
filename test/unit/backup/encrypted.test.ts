import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { decrypt, encrypt, generateKey } from '../../../src/backup/age.ts';
import { readExported, writeExported } from '../../../src/backup/exported.ts';
import type { Manifest } from '../../../src/backup/manifest.ts';
import { listBackups, openBackup, openKept, verifyBackup } from '../../../src/backup/open.ts';
import { keepProof } from '../../../src/backup/proof.ts';
import { expired } from '../../../src/backup/retention.ts';
import { encryptedStore, type Keys } from '../../../src/backup/store/encrypted.ts';
import { checksums, folderStore } from '../../../src/backup/store/folder.ts';
import type { Store } from '../../../src/backup/store/store.ts';
import type { VolumeWriter } from '../../../src/backup/volume.ts';
import { SafeUpdateError, type ErrorCode } from '../../../src/model/error.ts';
import { manifest as example } from '../model/examples.ts';

type Key = Awaited<ReturnType<typeof generateKey>>;

const id = 'pre-update-20241017_143022';
let folder: string;
let mine: Key;
let strange: Key;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'encrypted-'));
  [mine, strange] = [await generateKey(), await generateKey()];
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

function storeWith(keys: Partial<Keys>, at = 'shop'): Store {
  return encryptedStore(folderStore(path.join(folder, at)), { recipients: [], identities: [], ...keys });
}

const holding =
  (...keys: Key[]): (() => Promise<string[]>) =>
  () =>
    Promise.resolve(keys.map(({ identity }) => identity));

/** Reads on. */
const seen = (_: unknown): void => undefined;

/** Words that stand for nothing but themselves, in every place of a manifest that takes a word. */
const names = [
  'projectname',
  'servicename',
  'volumename',
  'databasename',
  'imagename',
  'filename',
  'hostname',
];

function telling(parts: Manifest['parts']): Manifest {
  return example(id, {
    project: {
      name: 'projectname',
      directory: '/srv/projectname',
      files: ['/srv/filename.yaml'],
      envFiles: ['/srv/filename.env'],
      profiles: ['servicename'],
      environment: 'hostname',
    },
    engine: { id: 'hostname', version: '28.5.2', compose: '2.40.3' },
    containers: [
      {
        ...{ service: 'servicename', number: 1, name: 'projectname-servicename-1', image: 'imagename:1' },
        ...{ imageId: 'sha256:imagename', configHash: 'x', running: true },
      },
    ],
    volumes: [
      {
        ...{ name: 'volumename', kind: 'named', key: 'volumename', driver: 'local' },
        servedAt: [{ service: 'servicename', number: 1, path: '/filename', readOnly: false }],
        ...{ archive: 'volumes/volumename.tar.zst', files: 'volumes/volumename.files.zst' },
        ...{ entries: 1, bytes: 1000, sockets: 0, digest: '', exact: true },
      },
    ],
    databases: [
      {
        service: 'servicename',
        engine: 'postgres',
        dataPath: '/filename',
        parts: ['databases/servicename/databasename.dump'],
        fingerprint: { of: 'rows', counts: { 'databasename.public.filename': 3 } },
      },
    ],
    config: [{ part: 'config/files/filename.yaml', from: '/srv/filename.yaml', mode: 420 }],
    notCovered: ['/srv/filename'],
    parts,
  });
}

const content: Record<string, Buffer> = {
  'volumes/volumename.tar.zst': randomBytes(200_000),
  'volumes/volumename.files.zst': Buffer.alloc(0),
  'databases/servicename/databasename.dump': Buffer.from('PGDMP databasename'),
  'config/files/filename.yaml': Buffer.from('services: { servicename: { image: imagename } }'),
  'config/engine.json': Buffer.from('{ "hostname": 1 }'),
};

async function made(store: Store): Promise<Manifest> {
  const writer = await store.begin(id);
  for (const [name, bytes] of Object.entries(content)) await writer.putFile(name, Readable.from([bytes]));
  const manifest = telling([...writer.parts()]);
  await writer.seal(JSON.stringify(manifest, null, 2), () => undefined);
  return manifest;
}

async function filesIn(at: string): Promise<string[]> {
  const entries = await readdir(at, { recursive: true });
  const found = await Promise.all(
    entries.map(async (name) => ((await stat(path.join(at, name))).isFile() ? [name] : [])),
  );
  return found.flat().sort();
}

async function failure(work: Promise<unknown>, code: ErrorCode): Promise<SafeUpdateError> {
  const error: unknown = await work.then(
    () => new Error('it did not fail'),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(SafeUpdateError);
  expect((error as SafeUpdateError).code).toBe(code);
  return error as SafeUpdateError;
}

describe('an encrypted backup on disk', () => {
  it('reveals no names, in no file and in no file name', async () => {
    const manifest = await made(storeWith({ recipients: [mine.recipient] }));
    const plain = JSON.stringify(manifest);
    for (const name of names) expect(plain, 'the search finds what is there').toContain(name);

    const at = path.join(folder, 'shop', id);
    const opened = await storeWith({ identities: [holding(mine)] }).open(id);
    await keepProof(opened, {
      ...{
        result: 'failed',
        at: '2024-10-17T14:31:00.000Z',
        tool: '0.1.0',
        engine: '28.5.2',
        milliseconds: 1,
      },
      ...{
        services: ['servicename'],
        without: ['servicename'],
        volumes: 1,
        reason: 'volumename is not equal',
      },
      databases: [
        { service: 'servicename', from: 'dump', of: 'rows', total: 3, places: 1, differs: ['databasename'] },
      ],
    });
    const files = await filesIn(at);
    expect(files).toEqual([
      'SHA256SUMS',
      'manifest.json',
      'names.age',
      ...[1, 2, 3, 4, 5, 6, 7].map((number) => `parts/000${number}.age`),
      'proven.json',
    ]);
    const [listed] = await listBackups(storeWith({}));
    expect(listed?.proof).toMatchObject({ result: 'failed', services: ['service 1'] });
    for (const file of files) {
      const text = await readFile(path.join(at, file), 'latin1');
      for (const name of names) expect(text.includes(name), `${name} in ${file}`).toBe(false);
    }
    const outline = JSON.parse(await readFile(path.join(at, 'manifest.json'), 'utf8')) as object;
    expect(Object.keys(outline).sort()).toEqual(
      [
        ...['content', 'createdAt', 'encrypted', 'format', 'id', 'kind', 'parts', 'run'],
        ...['sequence', 'tool'],
      ].sort(),
    );
  });

  it('is listed, checked and removed without a key', async () => {
    const store = storeWith({ recipients: [mine.recipient] });
    const manifest = await made(store);
    const [listed] = await listBackups(storeWith({}));
    expect(listed?.problem).toBeUndefined();
    expect(listed?.manifest).toMatchObject({
      ...{ format: 2, encrypted: 'age', kind: 'pre-update', sequence: 1, run: manifest.run, content: 1000 },
    });
    expect(
      expired([listed!, { id: 'b', manifest: { ...manifest, id: 'b' } }], { keep: { last: 1 }, inUse: [] }),
    ).toEqual([id]);
    const kept = await openKept(storeWith({}), id);
    await verifyBackup(kept);
    const file = path.join(folder, 'shop', id, 'parts', '0001.age');
    const whole = await readFile(file);
    whole[whole.length >> 1]! ^= 1;
    await writeFile(file, whole);
    expect((await failure(verifyBackup(kept), 'damaged')).message).toContain(
      'parts/0001.age has changed: its checksum differs',
    );
    await storeWith({}).remove(id);
    expect(await listBackups(store)).toEqual([]);
  });

  it('ends whoever fills a part that cannot be written', async () => {
    const writer = await storeWith({ recipients: [mine.recipient] }).begin(id);
    await writer.putFile('a', Readable.from([Buffer.from('first')]));
    for (const name of ['../outside', 'a']) {
      const content = new Readable({ read: () => undefined });
      await expect(writer.putFile(name, content)).rejects.toBeInstanceOf(SafeUpdateError);
      expect(content.destroyed, name).toBe(true);
    }
  });

  it('is for all of its recipients, each alone', async () => {
    await made(storeWith({ recipients: [mine.recipient, strange.recipient] }));
    for (const key of [mine, strange]) {
      const open = await openBackup(storeWith({ identities: [holding(key)] }), id);
      await verifyBackup(open);
      expect(open.manifest.project.name).toBe('projectname');
    }
  });

  it('is not opened without a key, nor with another one, and each is said', async () => {
    await made(storeWith({ recipients: [mine.recipient] }));
    for (const identities of [[], [holding()]]) {
      const error = await failure(openBackup(storeWith({ identities }), id), 'refused');
      expect(error.message).toContain('is encrypted, and there is no key');
      expect(error.hint).toMatch(
        /--identity FILE.*SAFE_UPDATE_IDENTITY_FILE.*backups\.encryption\.identityFile/,
      );
    }
    const error = await failure(openBackup(storeWith({ identities: [holding(strange)] }), id), 'refused');
    expect(error.message).toContain('not encrypted for any of the identities');
  });

  it('asks for no other identities where the first ones fit', async () => {
    await made(storeWith({ recipients: [mine.recipient] }));
    const fails = (): Promise<string[]> => Promise.reject(new SafeUpdateError('config', 'unusable'));
    const open = await openBackup(storeWith({ identities: [holding(), holding(mine), fails] }), id);
    await verifyBackup(open);
    await failure(openBackup(storeWith({ identities: [holding(strange), fails] }), id), 'config');
  });

  it('is readable by a run that has a key of its own, while its file is there and no longer', async () => {
    const own = await generateKey();
    const keys = { recipients: [mine.recipient], ownRecipient: () => Promise.resolve(own.recipient) };
    const writer = await storeWith({ ...keys, identities: [holding(own)] }).begin(id);
    await writer.putFile('databases/x', Readable.from([Buffer.from('dump')]));
    const back: Buffer[] = [];
    for await (const piece of writer.open('databases/x')) back.push(piece as Buffer);
    expect(Buffer.concat(back).toString()).toBe('dump');
    await writer.seal(JSON.stringify(example(id, { parts: [...writer.parts()] })), () => undefined);
    await openBackup(storeWith({ identities: [holding(own)] }), id);
    await openBackup(storeWith({ identities: [holding(mine)] }), id);
    await failure(openBackup(storeWith({}), id), 'refused');
  });
});

describe('damage behind the key', () => {
  const at = (...file: string[]): string => path.join(folder, 'shop', id, ...file);

  /** Makes the outline and the checksums fit what lies there, as somebody without the key can. */
  async function forge(): Promise<void> {
    const reader = await folderStore(path.join(folder, 'shop')).open(id);
    const outline = JSON.parse(await readFile(at('manifest.json'), 'utf8')) as Manifest;
    const parts = await Promise.all(
      (await reader.files()).map(async ({ path: name }) => ({
        path: name,
        ...(await reader.digest(name, () => undefined)),
      })),
    );
    const text = JSON.stringify({ ...outline, parts });
    await writeFile(at('manifest.json'), text);
    await writeFile(at('SHA256SUMS'), checksums(parts, text));
    await verifyBackup(await openKept(storeWith({}), id));
  }

  /** Puts something else there, for the same key. */
  async function replace(file: string, text: string): Promise<void> {
    const pieces: Buffer[] = [];
    for await (const piece of encrypt(Readable.from([Buffer.from(text)]), [mine.recipient]))
      pieces.push(piece as Buffer);
    await writeFile(at(file), Buffer.concat(pieces));
  }

  const check = async (): Promise<void> =>
    verifyBackup(await openBackup(storeWith({ identities: [holding(mine)] }), id));

  beforeEach(async () => {
    await made(storeWith({ recipients: [mine.recipient] }));
    await check();
  });

  it('of parts that have changed places is found', async () => {
    await rename(at('parts/0001.age'), at('parts/x'));
    await rename(at('parts/0003.age'), at('parts/0001.age'));
    await rename(at('parts/x'), at('parts/0003.age'));
    await forge();
    const { message } = await failure(check(), 'damaged');
    expect(message).toContain('volumes/volumename.tar.zst has 18 bytes instead of 200000');
    expect(message).toContain('databases/servicename/databasename.dump has 200000 bytes instead of 18');
  });

  it('of a part that ends early, between two pieces or within one, is found', async () => {
    const whole = await readFile(at('parts/0001.age'));
    const header = whole.indexOf('\n---') + 1;
    const start = whole.indexOf('\n', header) + 1 + 16;
    for (const length of [
      start + 65_552,
      start + 2 * 65_552,
      whole.length - 1,
      start,
      start - 1,
      header,
      0,
    ]) {
      await writeFile(at('parts/0001.age'), whole.subarray(0, length));
      await forge();
      const { message } = await failure(check(), 'damaged');
      expect(message).toContain('volumes/volumename.tar.zst cannot be read: ');
      const extracting = openBackup(storeWith({ identities: [holding(mine)] }), id).then(({ reader }) =>
        reader.restoreVolume(
          { archive: 'volumes/volumename.tar.zst' },
          {
            name: 'v',
            extractFrom: () => undefined,
            extract: async (_: unknown, stream: Readable) => {
              for await (const piece of stream) seen(piece);
            },
          } as unknown as VolumeWriter,
          () => undefined,
        ),
      );
      await failure(extracting, 'damaged');
    }
  });

  it('of any bit is found', { timeout: 60_000 }, async () => {
    for (const file of ['names.age', 'parts/0002.age', 'parts/0006.age', 'parts/0007.age']) {
      const whole = await readFile(at(file));
      for (let byte = 0; byte < whole.length; byte += Math.ceil(whole.length / 12)) {
        const flipped = Buffer.from(whole);
        flipped[byte]! ^= 1 << (byte % 8);
        await writeFile(at(file), flipped);
        await forge();
        await expect(check(), `${file}, byte ${byte}`).rejects.toBeInstanceOf(SafeUpdateError);
      }
      await writeFile(at(file), whole);
    }
    await forge();
    await check();
  });

  it('of the list of names is not taken for a key that does not fit', async () => {
    const whole = await readFile(at('names.age'));
    // In what is encrypted for the recipient.
    whole[whole.indexOf('\n', whole.indexOf('-> X25519')) + 5]! ^= 1;
    await writeFile(at('names.age'), whole);
    expect((await failure(check(), 'damaged')).message).toContain(
      'names.age has changed: its checksum differs',
    );
    await rm(at('names.age'));
    expect((await failure(check(), 'damaged')).message).toContain('names.age cannot be read');
  });

  it('of a manifest that is not the one of its checksums is found', async () => {
    await replace('parts/0007.age', checksums([], '{}'));
    await forge();
    expect((await failure(check(), 'damaged')).message).toContain(
      'manifest.json has changed: its checksum differs',
    );
  });

  it('of a part from another backup for the same key is found', async () => {
    await replace('parts/0005.age', '{ "hostname": 2 }');
    await forge();
    expect((await failure(check(), 'damaged')).message).toContain(
      'config/engine.json has changed: its checksum differs',
    );
  });
});

describe('backups with and without encryption side by side', () => {
  it('are all read, whatever is configured now', async () => {
    await made(storeWith({}));
    expect(await filesIn(path.join(folder, 'shop', id))).toContain('databases/servicename/databasename.dump');
    for (const keys of [{}, { recipients: [mine.recipient] }, { identities: [holding(mine)] }]) {
      const open = await openBackup(storeWith(keys), id);
      expect(open.reader.encrypted).toBeUndefined();
      await verifyBackup(open);
    }
  });

  it('the helper shares the folder only where nothing is encrypted', async () => {
    expect(await storeWith({}).folder()).toBe(path.join(folder, 'shop'));
    expect(await storeWith({ recipients: [mine.recipient] }).folder()).toBeUndefined();
  });
});

describe('an exported encrypted backup', () => {
  async function exported(): Promise<Buffer> {
    await made(storeWith({ recipients: [mine.recipient] }));
    const pieces: Buffer[] = [];
    await writeExported(
      await openKept(storeWith({}), id),
      undefined,
      async (from) => {
        for await (const piece of from) pieces.push(piece);
      },
      () => undefined,
    );
    return Buffer.concat(pieces);
  }
  const imported = (bytes: Buffer, project?: string, keys: Partial<Keys> = {}) =>
    readExported(Readable.from([bytes]), {
      storeFor: (name) => storeWith(keys, name),
      project,
      begin: () => undefined,
      loadImages: () => Promise.reject(new Error('there are none')),
      progress: () => undefined,
    });

  it('reveals no names, and needs no key on either side', async () => {
    const bytes = await exported();
    for (const name of names) expect(bytes.includes(name), name).toBe(false);
    const { manifest, project } = await imported(bytes, 'other', { recipients: [strange.recipient] });
    expect([manifest.id, project]).toEqual([id, 'other']);
    // As it was, not encrypted once more.
    const at = (name: string): string => path.join(folder, name, id);
    const files = await filesIn(at('shop'));
    expect(await filesIn(at('other'))).toEqual(files);
    for (const file of files)
      expect(await readFile(path.join(at('other'), file))).toEqual(
        await readFile(path.join(at('shop'), file)),
      );
    await verifyBackup(await openBackup(storeWith({ identities: [holding(mine)] }, 'other'), id));
  });

  it('is imported for a project that is named', async () => {
    const { hint } = await failure(imported(await exported()), 'usage');
    expect(hint).toBe('Say it: safe-update import FILE -p PROJECT');
  });

  it('one that is not encrypted is encrypted where it arrives', async () => {
    await made(storeWith({}));
    const pieces: Buffer[] = [];
    const kept = await openKept(storeWith({}), id);
    await writeExported(
      kept,
      undefined,
      async (from) => {
        for await (const piece of from) pieces.push(piece);
      },
      () => undefined,
    );
    await imported(Buffer.concat(pieces), undefined, { recipients: [mine.recipient] });
    expect(await filesIn(path.join(folder, 'projectname', id))).toContain('names.age');
    const open = await openBackup(storeWith({ identities: [holding(mine)] }, 'projectname'), id);
    await verifyBackup(open);
    expect(open.manifest).toEqual(kept.manifest);
  });
});

describe('streams', () => {
  it('take no more from their source than is asked for', async () => {
    let given = 0;
    const source = async function* (): AsyncGenerator<Buffer> {
      for (; given < 10_000; given += 1) {
        await turn();
        yield Buffer.alloc(65_536);
      }
    };
    const encrypted = encrypt(source(), [mine.recipient])[Symbol.asyncIterator]();
    await encrypted.next();
    for (let waited = 0; waited < 200; waited += 1) await turn();
    expect(given).toBeLessThan(20);
    await encrypted.return?.();
    const before = given;
    for (let waited = 0; waited < 200; waited += 1) await turn();
    expect(given).toBe(before);
  });

  it('fail with their source', async () => {
    const source = async function* (): AsyncGenerator<Buffer> {
      yield await Promise.resolve(Buffer.alloc(100_000));
      throw new Error('the source has failed');
    };
    const reading = (async () => {
      for await (const piece of encrypt(source(), [mine.recipient])) seen(piece);
    })();
    await expect(reading).rejects.toThrow('the source has failed');
    const whole: Buffer[] = [];
    for await (const piece of encrypt(Readable.from([Buffer.alloc(300_000)]), [mine.recipient]))
      whole.push(piece as Buffer);
    const cut = async function* (): AsyncGenerator<Buffer> {
      yield await Promise.resolve(Buffer.concat(whole).subarray(0, 100_000));
      throw new Error('the disk has failed');
    };
    const decrypting = (async () => {
      for await (const piece of (await decrypt(cut(), [mine.identity])) ?? []) seen(piece);
    })();
    await expect(decrypting).rejects.toThrow('the disk has failed');
  });
});
