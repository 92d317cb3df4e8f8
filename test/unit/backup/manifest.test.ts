import { describe, expect, it } from 'vitest';
import { parseManifest, placeInVolume, seenAt, withSubpaths } from '../../../src/backup/manifest.ts';
import { container, manifest, mount } from '../model/examples.ts';

const id = 'pre-update-20241017_143022';
const whole = manifest(id, {
  project: { ...manifest(id).project, environment: 'prod' },
  volumes: [
    {
      ...{
        name: 'shop_db',
        kind: 'named',
        key: 'db',
        driver: 'local',
        exact: true,
        sockets: 0,
        bytes: 4096,
        entries: 3,
      },
      ...{ archive: 'volumes/shop_db.tar.zst', files: 'volumes/shop_db.files.zst', digest: 'abc' },
      servedAt: [{ service: 'db', number: 1, path: '/data', readOnly: false }],
    },
  ],
  parts: [{ path: 'volumes/shop_db.tar.zst', bytes: 10, sha256: 'abc' }],
});

function changed(facts: object): string {
  return JSON.stringify({ ...whole, ...facts });
}

describe('parseManifest', () => {
  it('reads what was written', () => {
    expect(parseManifest(id, JSON.stringify(whole))).toEqual(whole);
  });

  it('does not mind what a later version of this format adds', () => {
    expect(parseManifest(id, changed({ addedLater: true }))).toEqual(whole);
  });

  it.each([
    ['', 'is not JSON'],
    ['{"format":1,', 'is not JSON'],
    ['null', 'is damaged'],
    ['[]', 'is damaged'],
    ['"text"', 'is damaged'],
    ['{}', 'is damaged'],
    [changed({ format: 0 }), 'is damaged: format'],
    [changed({ format: '1' }), 'is damaged: format'],
    [changed({ kind: 'post-update' }), 'is damaged: kind'],
    [changed({ sequence: 1.5 }), 'is damaged: sequence'],
    [changed({ createdAt: 'yesterday' }), 'is damaged: createdAt'],
    [changed({ consistency: 'warm' }), 'is damaged: consistency'],
    [changed({ parts: [{ path: 'a', bytes: '10', sha256: '' }] }), 'is damaged: parts.0.bytes'],
    [changed({ volumes: [{ ...whole.volumes[0], digest: undefined }] }), 'is damaged: volumes.0.digest'],
    [changed({ volumes: undefined }), 'is damaged: volumes'],
    [changed({ id: 'manual-20241017_143022' }), 'belongs to manual-20241017_143022'],
  ])('%#: says what is wrong', (text, words) => {
    expect(() => parseManifest(id, text)).toThrow(
      expect.objectContaining({
        code: 'damaged',
        message: expect.stringContaining(words) as string,
      }) as Error,
    );
    expect(() => parseManifest(id, text)).toThrow(id);
  });

  it('says when a newer version wrote it', () => {
    expect(() => parseManifest(id, changed({ format: 2, volumes: undefined }))).toThrow(
      expect.objectContaining({
        code: 'damaged',
        message: `${id} was written by a newer safe-update (format 2).`,
        hint: 'Upgrade safe-update on this machine.',
      }) as Error,
    );
  });
});

describe('a volume of which containers have folders', () => {
  const at = (service: string, path: string, subpath?: string, readOnly = false) => ({
    ...{ service, number: 1, path, readOnly },
    ...(subpath === undefined ? {} : { subpath }),
  });
  const servedAt = [
    at('init', '/all'),
    at('db', '/var/lib/postgresql/data', 'data/pg'),
    at('app', '/srv', 'app'),
    at('app', '/srv/notes', 'notes'),
    at('reader', '/notes', 'notes', true),
  ];

  it.each([
    ['db', '/var/lib/postgresql/data', 'data/pg'],
    ['db', '/var/lib/postgresql/data/pgdata', 'data/pg/pgdata'],
    ['app', '/srv/x.db', 'app/x.db'],
    ['app', '/srv/notes/x.db', 'notes/x.db'],
    ['init', '/all/x.db', 'x.db'],
    ['init', '/all', ''],
  ])('%s %s lies at %s', (service, dataPath, place) => {
    expect(placeInVolume({ service, dataPath }, { servedAt })).toBe(place);
  });

  it.each([
    ['data/pg/x.db', 'db', '/var/lib/postgresql/data/x.db'],
    ['notes/a/x.db', 'app', '/srv/notes/a/x.db'],
    ['app/x.db', 'app', '/srv/x.db'],
    ['elsewhere/x.db', 'init', '/all/elsewhere/x.db'],
    // Another mount of the same container hides it.
    ['app/notes/x.db', 'init', '/all/app/notes/x.db'],
  ])('%s is seen by %s at %s', (place, service, dataPath) => {
    const seen = seenAt(place, { servedAt });
    expect(seen).toMatchObject({ service, dataPath });
    expect(placeInVolume(seen!, { servedAt })).toBe(place);
  });

  it('may hold what no container sees', () => {
    expect(seenAt('data/x.db', { servedAt: servedAt.slice(1) })).toBeUndefined();
  });

  it('is understood in a backup that did not say so yet', () => {
    const old = manifest(id, {
      volumes: [
        {
          ...whole.volumes[0]!,
          servedAt: [at('cache', '/data'), at('app', '/srv')],
        },
      ],
      databases: [
        { service: 'cache', engine: 'redis', volume: 'shop_db', dataPath: '/data', parts: [] },
        { service: 'cache', engine: 'sqlite', volume: 'shop_db', dataPath: '/data/app/x.db', parts: [] },
      ],
    });
    const now = withSubpaths(old, [
      container('cache', { mounts: [mount('shop_db', '/data', { subpath: 'redis' })] }),
      container('app', { mounts: [mount('shop_db', '/srv', { subpath: 'app' })] }),
    ]);
    expect(now.databases).toMatchObject([
      { service: 'cache', dataPath: '/data' },
      { service: 'app', dataPath: '/srv/x.db' },
    ]);
    expect(now.databases.map((database) => placeInVolume(database, now.volumes[0]!))).toEqual([
      'redis',
      'app/x.db',
    ]);
    expect(withSubpaths(now, [])).toBe(now);
  });
});
