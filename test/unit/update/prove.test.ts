import { describe, expect, it } from 'vitest';
import type { Manifest } from '../../../src/backup/manifest.ts';
import type { Proof } from '../../../src/backup/proof.ts';
import { summaryOf } from '../../../src/update/prove.ts';
import { manifest } from '../model/examples.ts';

const volume = (exact: boolean) => ({ exact }) as Manifest['volumes'][number];

function counted(
  service: string,
  from: 'archive' | 'dump',
  total: number,
  more: Partial<Proof['databases'][number]> = {},
) {
  return { service, from, of: 'rows' as const, total, places: 2, differs: [], ...more };
}

describe('summaryOf', () => {
  const say = (exact: boolean[], databases: Proof['databases'], services = ['app', 'db']): string =>
    summaryOf({ ...manifest('a'), volumes: exact.map(volume) }, 14_210, { services, databases });

  it('counts each server once, though it was filled from its archive and from its dump', () => {
    const keys = { of: 'keys', places: 1 } as const;
    const databases = [
      counted('db', 'archive', 7),
      counted('cache', 'archive', 4, keys),
      counted('db', 'dump', 7),
    ];
    expect(say([true, true, true], databases)).toBe(
      'Proven: a came up in 14.2 s: 2 services healthy, 3 volumes equal, 1 dump loaded, 7 rows in 2 tables, 4 keys in 1 database as recorded.',
    );
  });

  it('adds up servers of a kind, and says where one was counted differently', () => {
    const databases = [
      counted('db', 'dump', 7),
      counted('db2', 'dump', 1, { places: 1, differs: ['x has 1 row'] }),
    ];
    expect(say([false], databases, ['app'])).toBe(
      'Proven: a came up in 14.2 s: 1 service healthy, 1 volume filled, 2 dumps loaded, 8 rows in 3 tables nearly as recorded.',
    );
  });

  it('says nothing of what there is not', () => {
    expect(say([], [], ['app'])).toBe('Proven: a came up in 14.2 s: 1 service healthy.');
  });
});
