import { expect, it } from 'vitest';
import { dataPlaceWarnings, misplaced } from '../../../src/update/data-places.ts';
import { anonymousVolume, container, hex, mount, volume } from '../model/examples.ts';

const data = '/var/lib/postgresql/data';
const db = (mounts: ReturnType<typeof mount>[]) => container('db', { imageName: 'postgres:15', mounts });

it('says nothing of a database whose files are on the volume that was declared for them, or on none', () => {
  expect(misplaced(db([mount('shop_db', data)]), 'PostgreSQL', data, [volume('db')])).toBeUndefined();
  // That is refused.
  expect(misplaced(db([]), 'PostgreSQL', data, [])).toBeUndefined();
});

it('says of files on an anonymous volume which declared one is without them', () => {
  const volumes = [anonymousVolume('a'), volume('db')];
  const both = db([mount(hex('a'), '/var/lib/postgresql'), mount('shop_db', '/srv')]);
  expect(misplaced(both, 'PostgreSQL', data, volumes)).toBe(
    `db keeps its PostgreSQL files in ${data}, on an anonymous volume mounted at /var/lib/postgresql. The volume shop_db, mounted at /srv, holds none of them! Mount it at /var/lib/postgresql instead, after copying the files over.`,
  );
  const alone = db([mount(hex('a'), data)]);
  expect(misplaced(alone, 'PostgreSQL', data, volumes)).toMatch(/give it a name\.$/);
});

it('says of files in memory that they do not last', () => {
  const inMemory = db([mount('', data, { type: 'tmpfs' })]);
  expect(misplaced(inMemory, 'PostgreSQL', data, [])).toMatch(/in memory .* gone whenever it stops/);
});

it('names a server that cannot be dumped, and what becomes of its data', () => {
  const data = '/usr/share/elasticsearch/data';
  const search = (mounts: ReturnType<typeof mount>[]) =>
    container('search', { imageName: 'elasticsearch:8', command: ['x'], mounts });
  const warnings = (mounts: ReturnType<typeof mount>[], consistency: 'cold' | 'hot') =>
    dataPlaceWarnings({ containers: [search(mounts)], absent: [], volumes: [volume('index')] }, consistency);
  expect(warnings([mount('shop_index', data)], 'cold')).toEqual([
    expect.stringMatching(/^search looks like Elasticsearch, which safe-update cannot dump\. .* is exact/),
  ]);
  expect(warnings([mount('shop_index', data)], 'hot')).toEqual([expect.stringContaining('useless')]);
  const onNone = [expect.stringMatching(/on no volume: it is in no backup/)];
  expect(warnings([], 'cold')).toEqual(onNone);
  expect(warnings([mount('shop_index', data, { readOnly: true })], 'cold')).toEqual(onNone);
  expect(warnings([mount('/srv/index', data, { type: 'bind' })], 'cold')).toEqual([
    expect.stringContaining(
      `its folder /srv/index (${data}) is in no backup: name it under bindMounts.include`,
    ),
  ]);
});
