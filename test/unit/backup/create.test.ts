import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { BackupInProgress, mountHolding } from '../../../src/backup/create.ts';
import { parseManifest } from '../../../src/backup/manifest.ts';
import type { BackupWriter, Part } from '../../../src/backup/store/store.ts';
import type { DatabaseEngine, DumpSink } from '../../../src/database/database.ts';
import type { Helper } from '../../../src/docker/helper.ts';
import type { StackRecord } from '../../../src/docker/record.ts';
import { inspect } from '../docker/inspects.ts';
import { container, mount, project, volume } from '../model/examples.ts';

describe('mountHolding', () => {
  const mounts = [
    mount('shop_all', '/var/lib'),
    mount('shop_db', '/var/lib/postgresql/data'),
    mount('shop_other', '/var/lib/postgresql/database'),
  ];

  it.each([
    ['/var/lib/postgresql/data', 'shop_db'],
    ['/var/lib/postgresql/data/pgdata', 'shop_db'],
    ['/var/lib/postgresql', 'shop_all'],
    ['/var/lib/mysql', 'shop_all'],
    ['/var/library', undefined],
    ['/data', undefined],
  ])('%s is on %s', (dataPath, source) => {
    expect(mountHolding({ mounts }, dataPath)?.source).toBe(source);
  });

  it('knows a mount of everything, and one with a slash at its end', () => {
    expect(mountHolding({ mounts: [mount('root', '/')] }, '/data')?.source).toBe('root');
    expect(mountHolding({ mounts: [mount('data', '/data/')] }, '/data/db')?.source).toBe('data');
  });
});

/** A writer that keeps what is put, in memory. */
function memory(facts: { exact?: boolean; entries?: number } = {}) {
  const kept = new Map<string, Buffer>();
  const sealedWith: string[] = [];
  const parts: Part[] = [];
  const writer: BackupWriter = {
    id: 'pre-update-20241017_143022',
    location: 'memory',
    async putFile(path, content) {
      if (kept.has(path)) throw new Error(`${path} is there already`);
      kept.set(path, await buffer(content));
      parts.push({ path, bytes: kept.get(path)?.length ?? 0, sha256: '0' });
      return parts.at(-1)!;
    },
    async putVolume(name) {
      const [archive, files] = [`volumes/${name}.tar.zst`, `volumes/${name}.files.zst`];
      if (kept.has(archive)) throw new Error(`${archive} is there already`);
      for (const path of [archive, files]) {
        kept.set(path, Buffer.alloc(1));
        parts.push({ path, bytes: 1, sha256: '0' });
      }
      return {
        archive,
        files,
        exact: facts.exact ?? true,
        summary: { entries: 2, files: 1, bytes: 10, sockets: 0, digest: 'abc' },
      };
    },
    open: (path) => Readable.from([kept.get(path) ?? Buffer.alloc(0)]),
    parts: () => parts,
    async seal(text) {
      sealedWith.push(text);
    },
    async abandon() {
      kept.clear();
    },
  };
  return { writer, kept, sealedWith };
}

const helper = { pathOf: () => '/volumes/0' } as unknown as Helper;
const quiet = (): void => undefined;
const web = inspect('web');
const record = {
  project: { ...project, files: [] },
  engine: { id: 'engine-1', version: '28.5.2', apiVersion: '1.51', rootDirectory: '/' },
  composeVersion: '2.40.3',
  model: { name: 'shop', services: {} },
  containers: [web],
  volumes: [],
  notCovered: [{ source: '/srv/x', services: ['web', 'api'], path: '/x', reason: 'a bind mount' }],
} as unknown as StackRecord;
const about = {
  tool: '0.1.0',
  kind: 'pre-update',
  sequence: 3,
  createdAt: '2024-10-17T14:30:22.000Z',
  run: 'run-1',
  consistency: 'cold',
} as const;

describe('a backup in progress', () => {
  it('is not sealed where a rollback could not read it', async () => {
    const { writer, sealedWith } = memory();
    const backup = new BackupInProgress(writer);
    await backup.addConfig(record);
    await expect(backup.seal({ ...about, sequence: 2 ** 53 }, record, quiet)).rejects.toMatchObject({
      code: 'damaged',
    });
    expect(sealedWith).toEqual([]);
  });

  it('is sealed with a manifest that can be read, names every part, and holds no secret', async () => {
    const { writer, sealedWith, kept } = memory();
    const backup = new BackupInProgress(writer);
    await backup.addVolume(helper, volume('db', { options: { o: 'password=canary' } }), true, quiet);
    await backup.addConfig(record);
    const manifest = await backup.seal(about, record, quiet);
    expect(parseManifest(writer.id, sealedWith[0] ?? '')).toEqual(manifest);
    expect(manifest.parts.map(({ path }) => path)).toEqual([...kept.keys()]);
    expect(manifest).toMatchObject({
      format: 1,
      id: writer.id,
      sequence: 3,
      notCovered: ['/srv/x (web, api: /x; a bind mount)'],
    });
    expect(manifest.volumes).toMatchObject([
      { name: 'shop_db', kind: 'named', key: 'db', entries: 2, digest: 'abc', exact: true },
    ]);
    expect(manifest.containers).toMatchObject([
      { service: 'web', name: 'shop-web-1', imageId: web.Image, running: true },
    ]);
    expect(JSON.stringify(web)).toContain('canary');
    expect(sealedWith[0]).not.toContain('canary');
    expect(kept.get(manifest.engineRecord)?.toString()).toContain('canary');
  });

  it('gives volumes and folders file names of their own', async () => {
    const { writer } = memory();
    const backup = new BackupInProgress(writer);
    const bind = (name: string) => volume('x', { kind: 'bind', name });
    for (const one of [bind('/srv/a-b'), bind('/srv/a/b'), volume('a.b'), volume('c', { name: '..' })])
      await backup.addVolume(helper, one, true, quiet);
    const { volumes } = await backup.seal(about, record, quiet);
    expect(volumes.map(({ archive }) => archive)).toEqual([
      'volumes/bind-srv-a-b.tar.zst',
      'volumes/bind-srv-a-b-2.tar.zst',
      'volumes/shop_a.b.tar.zst',
      'volumes/unnamed.tar.zst',
    ]);
  });

  it('is not made of a volume that somebody wrote to, unless that was to be expected', async () => {
    const cold = new BackupInProgress(memory({ exact: false }).writer);
    await expect(cold.addVolume(helper, volume('db'), true, quiet)).rejects.toMatchObject({
      code: 'store',
      message: expect.stringContaining('shop_db') as string,
    });
    const hot = new BackupInProgress(memory({ exact: false }).writer);
    await hot.addVolume(helper, volume('db'), false, quiet);
    expect((await hot.seal(about, record, quiet)).volumes[0]?.exact).toBe(false);
  });

  const engine = {
    name: 'postgres',
    async dump(_: unknown, sink: DumpSink) {
      await sink.write('db.dump', Readable.from([Buffer.from('rows')]));
      await sink.write('globals.sql', Readable.from([Buffer.from('roles')]));
    },
    async check() {
      await Promise.resolve();
    },
    fingerprint: () => Promise.resolve({ of: 'rows', counts: { 'shop.public.members': 3 } }),
  } as unknown as DatabaseEngine;
  const toDump = (facts: Partial<DatabaseEngine>, number = 1) => ({
    engine: { ...engine, ...facts },
    database: { container: container('db', { number }), shell: {} as never, timeout: 1 },
    dataPath: '/data',
    volume: 'shop_db',
  });

  it('keeps the files of a dump, counted, and proves them complete by reading them back', async () => {
    const { writer, kept } = memory();
    const backup = new BackupInProgress(writer);
    const told: number[] = [];
    let checked = '';
    await backup.addDump(
      toDump({
        async check(_, source) {
          for (const name of source.names) checked += (await buffer(source.open(name))).toString();
        },
      }),
      (_, bytes) => told.push(bytes),
    );
    expect([...kept.keys()]).toEqual(['databases/db/db.dump', 'databases/db/globals.sql']);
    expect(checked).toBe('rowsroles');
    expect(told).toEqual([4, 5]);
    expect((await backup.seal(about, record, quiet)).databases).toEqual([
      {
        service: 'db',
        engine: 'postgres',
        volume: 'shop_db',
        dataPath: '/data',
        parts: ['databases/db/db.dump', 'databases/db/globals.sql'],
        fingerprint: { of: 'rows', counts: { 'shop.public.members': 3 } },
      },
    ]);
  });

  it('says what fails first: the dump, or what could not be counted', async () => {
    const backup = new BackupInProgress(memory().writer);
    const fails = (message: string) => (): Promise<never> => Promise.reject(new Error(message));
    const uncounted = { fingerprint: fails('not counted') };
    await expect(backup.addDump(toDump(uncounted), quiet)).rejects.toThrow('not counted');
    const both = toDump({ ...uncounted, dump: fails('not dumped') }, 2);
    await expect(backup.addDump(both, quiet)).rejects.toThrow('not dumped');
    const nobodyToAsk = toDump({ fingerprint: () => Promise.resolve(undefined) }, 3);
    await backup.addDump(nobodyToAsk, quiet);
    expect((await backup.seal(about, record, quiet)).databases).toEqual([
      expect.not.objectContaining({ fingerprint: expect.anything() as unknown }),
    ]);
  });

  it('keeps replicas of a database apart', async () => {
    const { writer, kept } = memory();
    const backup = new BackupInProgress(writer);
    await backup.addDump(toDump({}), quiet);
    await backup.addDump(toDump({}, 2), quiet);
    expect([...kept.keys()]).toContain('databases/db-2/db.dump');
  });

  it('does not count a dump that is not complete', async () => {
    const backup = new BackupInProgress(memory().writer);
    const check = async (): Promise<void> => {
      throw new Error('it ended early');
    };
    await expect(backup.addDump(toDump({ check }), quiet)).rejects.toThrow('it ended early');
    expect((await backup.seal(about, record, quiet)).databases).toEqual([]);
  });
});
