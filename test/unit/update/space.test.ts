import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Outline } from '../../../src/backup/manifest.ts';
import type { ListedBackup } from '../../../src/backup/open.ts';
import {
  expectedBytes,
  requireSpace,
  requireSpaceForImages,
  scarceSpace,
  type SpaceQuestion,
} from '../../../src/update/space.ts';
import { manifest } from '../model/examples.ts';

/** A backup in which the volume had 1000 bytes and its archive `archived`. */
function earlier(name: string, archived: number, bytes = 1000): ListedBackup {
  const archive = `volumes/${name}.tar.zst`;
  return {
    id: 'x',
    manifest: manifest('x', {
      volumes: [
        {
          ...{ name, kind: 'named', driver: 'local', servedAt: [], archive, files: 'f' },
          ...{ entries: 1, bytes, sockets: 0, digest: '', exact: true },
        },
      ],
      parts: [{ path: archive, bytes: archived, sha256: '' }],
    }),
  };
}
const GB = 1_000_000_000;
const base = expectedBytes({ sizes: new Map(), backups: [], dumped: [] });

describe('expectedBytes', () => {
  it('reckons with no compression where there was no backup yet, and some more for the rest', () => {
    expect(expectedBytes({ sizes: new Map([['db', GB]]), backups: [], dumped: [] })).toBe(base + GB);
    expect(base).toBeGreaterThan(0);
  });

  it('reckons with last time, and a little more', () => {
    const sizes = new Map([['db', GB]]);
    expect(expectedBytes({ sizes, backups: [earlier('db', 100)], dumped: [] })).toBe(base + 0.12 * GB);
    expect(expectedBytes({ sizes, backups: [earlier('db', 100), earlier('db', 500)], dumped: [] })).toBe(
      base + 0.6 * GB,
    );
  });

  it('reckons with all of the last encrypted backup, which does not say how well each volume was compressed', () => {
    const outline: Outline = {
      ...{ format: 2, encrypted: 'age', tool: '0.1.0', id: 'x', kind: 'manual', sequence: 2 },
      ...{ createdAt: '2024-10-17T14:30:22.000Z', run: 'r', content: 1000 },
      parts: [
        { path: 'names.age', bytes: 50, sha256: '' },
        { path: 'parts/0001.age', bytes: 350, sha256: '' },
      ],
    };
    const encrypted: ListedBackup = { id: 'x', manifest: outline };
    const sizes = new Map([['db', GB]]);
    expect(expectedBytes({ sizes, backups: [earlier('db', 100), encrypted], dumped: [] })).toBe(
      base + 0.48 * GB,
    );
    expect(expectedBytes({ sizes, backups: [encrypted, earlier('db', 100)], dumped: [] })).toBe(
      base + 0.12 * GB,
    );
    const empty: ListedBackup = { id: 'x', manifest: { ...outline, content: 0 } };
    expect(expectedBytes({ sizes, backups: [empty], dumped: [] })).toBe(base + GB);
  });

  it('never reckons with more than the volume itself', () => {
    expect(expectedBytes({ sizes: new Map([['db', GB]]), backups: [earlier('db', 990)], dumped: [] })).toBe(
      base + GB,
    );
  });

  it('learns nothing from another volume, an empty one, or a backup that cannot be read', () => {
    const backups = [earlier('other', 1), earlier('db', 50, 0), { id: 'y', problem: 'damaged' }];
    expect(expectedBytes({ sizes: new Map([['db', GB]]), backups, dumped: [] })).toBe(base + GB);
  });

  it('reckons with a dump beside the archive, as large as last time or as the volume', () => {
    const sizes = new Map([
      ['db', GB],
      ['uploads', GB],
    ]);
    const dumped = ['db'];
    expect(expectedBytes({ sizes, backups: [], dumped })).toBe(base + 3 * GB);
    const { id, manifest: last } = earlier('db', 100);
    const withDump = {
      id,
      manifest: manifest(id, {
        volumes: last?.volumes ?? [],
        databases: [
          { service: 'db', engine: 'postgres', volume: 'db', dataPath: '/d', parts: ['d/1', 'd/2'] },
        ],
        parts: [
          ...(last?.parts ?? []),
          { path: 'd/1', bytes: 150, sha256: '' },
          { path: 'd/2', bytes: 50, sha256: '' },
        ],
      }),
    };
    // 100 and 200 of 1000 last time, and a fifth more of both.
    expect(expectedBytes({ sizes, backups: [withDump], dumped })).toBe(base + GB + 0.12 * GB + 0.24 * GB);
    // A backup without a dump says nothing of the next one's.
    expect(expectedBytes({ sizes, backups: [withDump, earlier('db', 100)], dumped })).toBe(
      base + GB + 0.12 * GB + 0.24 * GB,
    );
  });

  it('is between nothing and all', () => {
    const sizes = fc.dictionary(fc.constantFrom('a', 'b', 'c'), fc.integer({ min: 0, max: 10 * GB }));
    const backups = fc.array(fc.tuple(fc.constantFrom('a', 'b'), fc.nat(2000)));
    fc.assert(
      fc.property(sizes, backups, (volumes, past) => {
        const bytes = expectedBytes({
          sizes: new Map(Object.entries(volumes)),
          backups: past.map(([name, archived]) => earlier(name, archived)),
          dumped: [],
        });
        const sum = Object.values(volumes).reduce((total, size) => total + size, 0);
        expect(bytes).toBeGreaterThanOrEqual(base);
        expect(bytes).toBeLessThanOrEqual(base + sum);
      }),
    );
  });
});

describe('requireSpace', () => {
  const question = (free: number, facts: Partial<SpaceQuestion> = {}): SpaceQuestion => ({
    sizes: new Map([['db', GB]]),
    space: { free, total: 100 * GB },
    minimumFree: 5,
    backups: [],
    dumped: [],
    where: '/srv/shop/backups',
    ...facts,
  });
  /** The backup, the failed state, and 5 % of the disk. */
  const needed = 2 * (base + GB) + 5 * GB;

  function ask(asked: SpaceQuestion, accepted: string[] = []): () => void {
    return () => {
      requireSpace(asked, accepted);
    };
  }

  it('wants room for the backup, for keeping a failed state, and for what must stay free', () => {
    expect(ask(question(needed))).not.toThrow();
    expect(ask(question(needed - 1))).toThrow(
      expect.objectContaining({
        code: 'space',
        message: expect.stringMatching(
          /too little space in \/srv\/shop\/backups: 7\.0 GB free.* 2\.0 GB.* 5\.0 GB \(5 %\)/,
        ) as string,
        hint: expect.stringContaining('--accept space') as string,
      }) as Error,
    );
  });

  it('does not want more than nothing free where nothing must stay free', () => {
    expect(ask(question(2 * (base + GB), { minimumFree: 0 }))).not.toThrow();
  });

  it('asks nothing of a store that cannot tell, or of somebody who knows better', () => {
    expect(ask(question(0, { space: undefined }))).not.toThrow();
    expect(ask(question(0), ['space'])).not.toThrow();
    expect(ask(question(0), ['spaces'])).toThrow();
  });
});

describe('scarceSpace', () => {
  const question = (free: number): SpaceQuestion => ({
    sizes: new Map([['db', GB]]),
    space: { free, total: 100 * GB },
    minimumFree: 5,
    backups: [],
    dumped: [],
    where: '/srv/shop/backups',
  });

  it('says how little is left where it is less than a fifth, and nothing else', () => {
    expect(scarceSpace(question(20 * GB + GB + base))).toBeUndefined();
    expect(scarceSpace(question(20 * GB + GB + base - 1))).toMatch(
      /about 20\.0 GB \(19 %\) of the disk of \/srv\/shop\/backups will be free/,
    );
    expect(scarceSpace(question(0))).toMatch(/about 0 B \(0 %\)/);
    expect(scarceSpace({ ...question(0), space: undefined })).toBeUndefined();
  });
});

describe('requireSpaceForImages', () => {
  const ask =
    (free: number, accepted: string[] = []) =>
    (): void => {
      requireSpaceForImages({ bytes: GB, space: { free, total: 100 * GB }, minimumFree: 10 }, accepted);
    };

  it('wants room for images as large as the present ones, and for what must stay free', () => {
    expect(ask(11 * GB)).not.toThrow();
    expect(ask(11 * GB - 1)).toThrow(
      expect.objectContaining({
        code: 'space',
        message: expect.stringMatching(
          /on the engine: 11\.0 GB free.* need 1\.0 GB.* 10\.0 GB \(10 %\)/,
        ) as string,
      }) as Error,
    );
    expect(ask(0, ['space'])).not.toThrow();
    expect(() => {
      requireSpaceForImages({ bytes: GB, space: undefined, minimumFree: 10 }, []);
    }).not.toThrow();
  });
});
