import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import type { Manifest, ManifestVolume } from '../../../src/backup/manifest.ts';
import { listBackups, openBackup, verifyBackup } from '../../../src/backup/open.ts';
import type { BackupReader, Store } from '../../../src/backup/store/store.ts';
import { SafeUpdateError } from '../../../src/model/error.ts';
import { manifest } from '../model/examples.ts';

/** A backup of these files, and what its manifest says of them. */
function backup(files: Record<string, string>, facts: Partial<Manifest> = {}, id = 'manual-20241017_143022') {
  const parts = Object.entries(files).map(([path, text]) => ({
    path,
    bytes: text.length,
    sha256: createHash('sha256').update(text).digest('hex'),
  }));
  const said = manifest(id, { parts, engineRecord: Object.keys(files)[0] ?? '', ...facts });
  const kept = new Map(Object.entries(files));
  const reader: BackupReader = {
    id,
    location: `/backups/${id}`,
    manifest: async () => JSON.stringify(said),
    open: (path) => Readable.from([Buffer.from(kept.get(path) ?? '')]),
    digest: async (path, onBytes) => {
      const text = kept.get(path) ?? '';
      onBytes(text.length);
      return { bytes: text.length, sha256: createHash('sha256').update(text).digest('hex') };
    },
    files: async () => [...kept].map(([path, text]) => ({ path, bytes: text.length })),
    proof: () => Promise.resolve(undefined),
    keepProof: () => Promise.reject(new Error('not in this test')),
    restoreVolume: async () => undefined,
  };
  return { reader, manifest: said, kept };
}

describe('verifyBackup', () => {
  const files = { 'config/engine.json': '{}', 'volumes/a.tar.zst': 'archive', 'volumes/a.files.zst': 'list' };

  it('reads every part, and tells how far it is', async () => {
    const told: [string, number][] = [];
    await verifyBackup(backup(files), (path, bytes) => told.push([path, bytes]));
    expect(told).toEqual([
      ['config/engine.json', 2],
      ['volumes/a.tar.zst', 7],
      ['volumes/a.files.zst', 4],
    ]);
  });

  it.each<[string, (kept: Map<string, string>) => void, string]>([
    ['missing', (kept) => kept.delete('volumes/a.tar.zst'), 'volumes/a.tar.zst is missing'],
    [
      'shorter',
      (kept) => kept.set('volumes/a.tar.zst', 'arch'),
      'volumes/a.tar.zst has 4 bytes instead of 7',
    ],
    [
      'changed',
      (kept) => kept.set('volumes/a.tar.zst', 'archivE'),
      'volumes/a.tar.zst has changed: its checksum differs',
    ],
    ['too many', (kept) => kept.set('volumes/b.tar.zst', ''), 'volumes/b.tar.zst is not in the manifest'],
  ])('finds a part that is %s', async (_, change, words) => {
    const open = backup(files);
    change(open.kept);
    await expect(verifyBackup(open)).rejects.toMatchObject({
      code: 'damaged',
      message: expect.stringContaining(words) as string,
    });
  });

  it('says all that is wrong at once', async () => {
    const open = backup(files);
    open.kept.delete('volumes/a.tar.zst');
    open.kept.set('volumes/a.files.zst', 'LIST');
    await expect(verifyBackup(open)).rejects.toThrow(/is missing; .*checksum differs/);
  });

  it('finds what the manifest names without a checksum', async () => {
    const volume: ManifestVolume = {
      ...{ name: 'a', kind: 'named', driver: 'local', servedAt: [], files: 'volumes/a.files.zst' },
      ...{ archive: 'volumes/x.tar.zst', entries: 0, bytes: 0, sockets: 0, digest: '', exact: true },
    };
    await expect(verifyBackup(backup(files, { volumes: [volume] }))).rejects.toThrow(
      'volumes/x.tar.zst has no checksum',
    );
    await expect(verifyBackup(backup(files, { engineRecord: 'config/gone.json' }))).rejects.toThrow(
      'config/gone.json has no checksum',
    );
    const databases = [{ service: 'db', engine: 'postgres', dataPath: '/', parts: ['databases/db/x'] }];
    await expect(verifyBackup(backup(files, { databases }))).rejects.toThrow(
      'databases/db/x has no checksum',
    );
  });

  it('reads only what it is asked for', async () => {
    const open = backup(files);
    open.kept.set('volumes/a.files.zst', 'LIST');
    await verifyBackup(open, undefined, ['volumes/a.tar.zst']);
    await expect(verifyBackup(open, undefined, ['volumes/a.files.zst'])).rejects.toThrow('checksum differs');
  });
});

function store(backups: Record<string, { sealed: boolean; text?: string }>): Store {
  return {
    location: '/backups',
    folder: async () => undefined,
    list: async () => Object.entries(backups).map(([id, { sealed }]) => ({ id, sealed })),
    begin: async () => Promise.reject(new Error('read-only')),
    open: async (id) => ({ ...backup({}, {}, id).reader, manifest: async () => backups[id]?.text ?? '' }),
    remove: async () => undefined,
    space: async () => undefined,
  };
}

describe('listBackups', () => {
  it('is in the order in which they were made, whatever the clock said', async () => {
    const text = (id: string, sequence: number): string => JSON.stringify(manifest(id, { sequence }));
    const listed = await listBackups(
      store({
        'manual-20241017_120000': { sealed: true, text: text('manual-20241017_120000', 3) },
        'manual-20241017_130000': { sealed: true, text: text('manual-20241017_130000', 2) },
        'failed-20990101_000000': { sealed: true, text: text('failed-20990101_000000', 1) },
      }),
    );
    expect(listed.map(({ id }) => id)).toEqual([
      'failed-20990101_000000',
      'manual-20241017_130000',
      'manual-20241017_120000',
    ]);
  });

  it('says why one is not whole, instead of hiding it or failing', async () => {
    const listed = await listBackups(
      store({
        'manual-20241017_120000': { sealed: false },
        'manual-20241017_130000': { sealed: true, text: '{' },
      }),
    );
    expect(listed).toEqual([
      { id: 'manual-20241017_120000', problem: 'incomplete: it was never sealed' },
      { id: 'manual-20241017_130000', problem: 'The manifest of manual-20241017_130000 is not JSON.' },
    ]);
  });

  it('passes on what is a bug', async () => {
    const broken = {
      ...store({ 'manual-20241017_120000': { sealed: true } }),
      open: async () => Promise.reject(new TypeError('bug')),
    };
    await expect(listBackups(broken)).rejects.toThrow(TypeError);
  });
});

it('openBackup trusts no manifest of another backup', async () => {
  const other = store({
    'manual-20241017_120000': { sealed: true, text: JSON.stringify(manifest('manual-20241017_130000')) },
  });
  await expect(openBackup(other, 'manual-20241017_120000')).rejects.toBeInstanceOf(SafeUpdateError);
});
