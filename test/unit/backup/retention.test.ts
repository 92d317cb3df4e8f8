import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { backupKinds, type BackupKind } from '../../../src/backup/id.ts';
import type { Manifest } from '../../../src/backup/manifest.ts';
import type { ListedBackup } from '../../../src/backup/open.ts';
import { expired } from '../../../src/backup/retention.ts';
import type { Retention } from '../../../src/model/retention.ts';
import { manifest } from '../model/examples.ts';

const place = { driver: 'local', servedAt: [], archive: '', files: '', bytes: 0, sockets: 0, digest: '' };

/** A volume; its own folder is the first of its entries. */
function volumeOf(name: string, entries = 3): Manifest['volumes'][number] {
  return { ...place, name, kind: 'named', key: name, entries, exact: true };
}

const db: Manifest['databases'][number] = { service: 'db', engine: 'postgres', dataPath: '/data', parts: [] };

function whole(id: string, facts: Partial<Manifest> = {}): ListedBackup {
  return { id, manifest: manifest(id, { volumes: [volumeOf('db_data')], ...facts }) };
}

function sealed(id: string, kind: BackupKind = 'pre-update'): ListedBackup {
  return whole(id, { kind });
}

const broken = (id: string): ListedBackup => ({ id, problem: 'its manifest is damaged' });
const none: readonly string[] = [];

function tried(backup: ListedBackup, result: 'proven' | 'failed'): ListedBackup {
  return {
    ...backup,
    proof: {
      ...{ format: 1, manifest: '', result, at: '2026-01-01T00:00:00.000Z', tool: '0', engine: '28' },
      ...{ milliseconds: 1, services: [], without: [], volumes: 0, databases: [] },
    },
  };
}

describe('expired', () => {
  it('is what is older than those that are kept', () => {
    const backups = ['a', 'b', 'c', 'd'].map((id) => sealed(id));
    expect(expired(backups, { keep: { last: 2 }, inUse: none })).toEqual(['a', 'b']);
    expect(expired(backups, { keep: { last: 4 }, inUse: none })).toEqual([]);
    expect(expired(backups, { keep: { last: 9 }, inUse: none })).toEqual([]);
    expect(expired([], { keep: { last: 2 }, inUse: none })).toEqual([]);
  });

  it.each([0, -1, 1])('keeps one at least: --keep %i', (keep) => {
    expect(expired([sealed('a'), sealed('b')], { keep: { last: keep }, inUse: none })).toEqual(['a']);
  });

  it('counts what was kept of failed updates on its own, so that it pushes no good backup out', () => {
    const backups = [
      sealed('a'),
      sealed('b', 'failed'),
      sealed('c', 'failed'),
      sealed('d', 'failed'),
      sealed('e', 'manual'),
    ];
    expect(expired(backups, { keep: { last: 2 }, inUse: none })).toEqual(['b']);
    expect(expired(backups, { keep: { last: 1 }, inUse: none })).toEqual(['a', 'b', 'c']);
  });

  it('is never what is in use', () => {
    const backups = ['a', 'b', 'c'].map((id) => sealed(id));
    expect(expired(backups, { keep: { last: 1 }, inUse: ['a'] })).toEqual(['b']);
  });

  it('is never the last one that a test-restore has proven; an older one, and one that failed, goes', () => {
    const backups = [
      tried(sealed('a'), 'proven'),
      tried(sealed('b'), 'proven'),
      tried(sealed('c'), 'failed'),
      ...['d', 'e', 'f'].map((id) => sealed(id)),
    ];
    expect(expired(backups, { keep: { last: 2 }, inUse: none })).toEqual(['a', 'c', 'd']);
    expect(expired(backups, { keep: { last: 1 }, inUse: ['a'] })).toEqual(['c', 'd', 'e']);
  });

  it('what was kept of a failed update takes that place from no good backup', () => {
    const backups = [
      tried(sealed('a'), 'proven'),
      tried(sealed('b', 'failed'), 'proven'),
      sealed('c', 'failed'),
      sealed('d'),
    ];
    expect(expired(backups, { keep: { last: 1 }, inUse: none })).toEqual([]);
  });

  it('is never what cannot be read, which is for a person to look at; it does not count as kept either', () => {
    const backups = [broken('x'), sealed('a'), broken('y'), sealed('b'), broken('z')];
    expect(expired(backups, { keep: { last: 1 }, inUse: none })).toEqual(['a']);
  });

  const at = (text: string): ListedBackup =>
    whole(text, { createdAt: new Date(`${text.replace(' ', 'T')}:00`).toISOString() });

  it.each<[string, Retention, string[]]>([
    ['the last two', { last: 2 }, ['03-30 01:00', '03-31 02:00']],
    ['one of each of two hours', { hourly: 2 }, ['03-30 01:00', '03-31 02:00']],
    ['one of each of three days', { daily: 3 }, ['03-29 23:50', '03-30 01:00', '03-31 02:00']],
    ['one of each of two weeks, which begin on Monday', { weekly: 2 }, ['03-29 23:50', '03-31 02:00']],
    ['one of each of three months', { monthly: 3 }, ['01-31 12:00', '02-28 12:00', '03-31 02:00']],
    ['one of each year', { yearly: 5 }, ['03-31 02:00']],
    [
      'all of two days, by the newest one',
      { days: 2 },
      ['03-29 10:00', '03-29 23:50', '03-30 01:00', '03-31 02:00'],
    ],
    ['whatever any rule keeps', { last: 1, monthly: 2 }, ['02-28 12:00', '03-31 02:00']],
  ])('keeps %s', (_, keep, expected) => {
    // The 30th of March 2026 is a Monday.
    const days = ['01-31 12:00', '02-28 12:00', '03-29 10:00', '03-29 23:50', '03-30 01:00', '03-31 02:00'];
    const backups = days.map((day) => at(`2026-${day}`));
    const gone = expired(backups, { keep, inUse: none });
    expect(backups.map(({ id }) => id).filter((id) => !gone.includes(id))).toEqual(
      expected.map((day) => `2026-${day}`),
    );
  });

  it.each<[string, BackupKind, Partial<Manifest>]>([
    ['what a restore kept', 'pre-restore', {}],
    ['a backup without data', 'manual', { volumes: [], databases: [] }],
    ['one whose only volume is empty', 'manual', { volumes: [volumeOf('db', 1)] }],
  ])('is counted by itself, so that it pushes no whole backup out: %s', (_, kind, facts) => {
    const partly = (id: string): ListedBackup => ({ id, manifest: manifest(id, { kind, ...facts }) });
    const backups = [sealed('a'), partly('b'), partly('c'), partly('d'), sealed('e', 'manual'), partly('f')];
    expect(expired(backups, { keep: { last: 2 }, inUse: none })).toEqual(['b', 'c']);
    expect(expired(backups, { keep: { last: 1 }, inUse: none })).toEqual(['a', 'b', 'c', 'd']);
  });

  it('is never the last that holds a volume or a database, unless the volume was an anonymous one', () => {
    const holding = (id: string, ...names: string[]): ListedBackup => ({
      id,
      manifest: manifest(id, { volumes: names.map((name) => volumeOf(name)), databases: [] }),
    });
    const later = ['d', 'e', 'f'].map((id) => holding(id, 'db'));
    expect(
      expired([holding('a', 'db', 'uploads'), holding('b', 'db', 'uploads'), holding('c', 'db'), ...later], {
        ...{ keep: { last: 2 }, inUse: none },
      }),
    ).toEqual(['a', 'c', 'd']);
    const emptied = { ...volumeOf('uploads', 1) };
    const empty = manifest('c', { volumes: [volumeOf('db'), emptied], databases: [] });
    expect(
      expired([holding('a', 'db', 'uploads'), { id: 'c', manifest: empty }, ...later], {
        ...{ keep: { last: 1 }, inUse: none },
      }),
    ).toEqual(['c', 'd', 'e']);
    const anonymous = manifest('a', {
      volumes: [volumeOf('db'), { ...volumeOf('0123'), kind: 'anonymous' }],
      databases: [],
    });
    expect(expired([{ id: 'a', manifest: anonymous }, ...later], { keep: { last: 3 }, inUse: none })).toEqual(
      ['a'],
    );
    const counted = manifest('a', { volumes: [volumeOf('db')], databases: [db] });
    expect(expired([{ id: 'a', manifest: counted }, ...later], { keep: { last: 1 }, inUse: none })).toEqual([
      'd',
      'e',
    ]);
  });

  it('keeps the newest by its sequence, whatever the clock was', () => {
    const backups = [at('2027-01-01 00:00'), at('2026-03-01 00:00'), at('2026-03-02 00:00')];
    for (const keep of [{ last: 1 }, { daily: 1 }, { days: 1 }])
      expect(expired(backups, { keep, inUse: none })).not.toContain('2026-03-02 00:00');
  });

  it('whatever there is: never the newest, never one in use, never the last proven, never an unreadable one, never too many', () => {
    const backup = fc.record({
      kind: fc.constantFrom(...backupKinds),
      readable: fc.boolean(),
      inUse: fc.boolean(),
      result: fc.constantFrom(undefined, 'proven' as const, 'failed' as const),
    });
    fc.assert(
      fc.property(fc.array(backup, { maxLength: 12 }), fc.integer({ min: -2, max: 5 }), (list, keep) => {
        const backups = list.map(({ kind, readable, result }, index) => {
          const one = sealed(`b${index}`, kind);
          if (!readable) return broken(one.id);
          return result === undefined ? one : tried(one, result);
        });
        const inUse = backups.filter((_, index) => list[index]?.inUse === true).map(({ id }) => id);
        const gone = expired(backups, { keep: { last: keep }, inUse });
        const readable = backups.filter(({ manifest: found }) => found !== undefined);

        expect(new Set(gone).size).toBe(gone.length);
        for (const id of gone) {
          expect(readable.map((one) => one.id)).toContain(id);
          expect(inUse).not.toContain(id);
        }
        for (const kinds of [['pre-update', 'manual'], ['pre-restore'], ['failed']]) {
          const group = readable.filter(({ manifest: found }) => kinds.includes(found?.kind ?? ''));
          const stay = group.filter(({ id }) => !gone.includes(id));
          const proven = group.findLast(({ proof }) => proof?.result === 'proven');
          if (proven !== undefined) expect(stay).toContain(proven);
          // The newest ones, and no more than that beside those in use and the last proven one.
          for (const one of group.slice(-Math.max(1, keep))) expect(stay).toContain(one);
          const counted = stay.filter((one) => !inUse.includes(one.id) && one !== proven);
          expect(counted.length).toBeLessThanOrEqual(Math.max(1, keep));
        }
        expect(readable.at(-1)?.id === undefined || !gone.includes(readable.at(-1)?.id ?? '')).toBe(true);
      }),
    );
  });
});
