import { describe, expect, it } from 'vitest';
import {
  countLimit,
  describeDifference,
  describeFingerprint,
  differences,
  isLost,
  qualified,
  type Fingerprint,
} from '../../../src/database/fingerprint.ts';
import { readKeys } from '../../../src/database/redis.ts';

const rows = (counts: Record<string, number>): Fingerprint => ({ of: 'rows', counts });
const lost = (before: Fingerprint, after: Fingerprint): string[] =>
  differences(before, after)
    .filter(isLost)
    .map((difference) => describeDifference(difference, before));

describe('what a database has lost', () => {
  it('is what held data and is gone or empty', () => {
    expect(lost(rows({ a: 3, b: 1, c: 0, d: 2 }), rows({ b: 0, d: 1, e: 9 }))).toEqual([
      'a is gone (it had 3 rows)',
      'b is empty (it had 1 row)',
    ]);
  });

  it('is not what had nothing, has less, or is new', () => {
    expect(lost(rows({ a: 5, empty: 0 }), rows({ a: 1, more: 2 }))).toEqual([]);
    expect(differences(rows({ a: 5, b: 2 }), rows({ a: 1, b: 2 }))).toEqual([{ name: 'a', was: 5, is: 1 }]);
  });

  it('is shown with what it had, and no further than was counted', () => {
    const before: Fingerprint = { of: 'documents', counts: { large: countLimit } };
    expect(lost(before, { of: 'documents', counts: {} })).toEqual([
      'large is gone (it had 100000 or more documents)',
    ]);
    expect(describeDifference({ name: 'a', was: 2, is: 1 }, rows({}))).toBe('a has 1 row (it had 2 rows)');
  });

  it('has names that cannot be mistaken for one another, or obeyed by a terminal', () => {
    expect(qualified('shop', 'public', 'members')).toBe('shop.public.members');
    expect(qualified('a.b', 'c')).not.toBe(qualified('a', 'b.c'));
    expect(qualified('a"b', 'c\u001b[2J')).toBe('"a\\"b"."c\\u001b[2J"');
  });
});

it('is summed up for people', () => {
  expect(describeFingerprint(rows({ a: 120, b: 4, c: 0 }))).toBe('124 rows in 2 tables');
  expect(describeFingerprint({ of: 'keys', counts: { db0: 1 } })).toBe('1 key in 1 database');
  expect(describeFingerprint({ of: 'documents', counts: { a: countLimit, b: 1 } })).toBe(
    '100001 or more documents in 2 collections',
  );
});

describe('keys of Redis', () => {
  const persistent =
    'aof_enabled:0\r\n# Keyspace\r\ndb0:keys=10,expires=3,avg_ttl=5\r\ndb2:keys=1,expires=1,avg_ttl=9\r\n';

  it('are counted without those that end by themselves', () => {
    expect(readKeys(`${persistent}says save 3600 1 \n`)).toEqual({ of: 'keys', counts: { db0: 7, db2: 0 } });
  });

  it('are nothing to look for where the server writes nothing down', () => {
    expect(readKeys(`${persistent}says save  \n`).counts).toEqual({});
    expect(readKeys(`${persistent.replace('enabled:0', 'enabled:1')}says save  \n`).counts).not.toEqual({});
    // CONFIG may be renamed away.
    expect(readKeys(`${persistent}says ERR unknown command 'CONFIG' \n`).counts).not.toEqual({});
  });
});
