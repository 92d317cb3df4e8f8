/**
 * How much of the fault campaign runs. `scripts/test` runs every fault, but of those that are tried at many instants or
 * with many seeds only some, and other ones for every commit; `scripts/test --all` runs all of them.
 */
export const whole = process.env['SAFE_UPDATE_FAULTS'] === 'all';

/**
 * Which of the many are tried: a number that the commit gives (see vitest.config.ts), so that the same commit is tried at the
 * same instants again. scripts/test prints it, and takes another one: SAFE_UPDATE_ROTATION=123 scripts/test …
 */
export const rotation = Number(process.env['SAFE_UPDATE_ROTATION'] ?? 0);

/**
 * Whether it is the turn of one of several tests that try the same of different things: of `of` of them one for every commit, all
 * with the whole campaign, and all of a file that is asked for by name. Each fault and each promise also has a test without turns, or one of its tests in each turn.
 */
export function turn(place: number, of: number): boolean {
  return whole || process.env['SAFE_UPDATE_TURNS'] === 'all' || rotation % of === place % of;
}

/** A file that has turns as a whole: its place, how many share it, and what it is about: where that has changed, it runs. */
export interface FileTurn {
  place: number;
  of: number;
  about: readonly string[];
}

const stacks = ['test/e2e/stacks', 'fixtures'];
const handbook = ['docs/backup-format.md', 'src/backup'];

export const turns: Readonly<Record<string, FileTurn>> = {
  'test/e2e/stacks/meeshy.test.ts': { place: 0, of: 3, about: stacks },
  'test/e2e/stacks/formation.test.ts': { place: 0, of: 3, about: stacks },
  'test/e2e/stacks/ecommerce.test.ts': { place: 1, of: 3, about: stacks },
  'test/e2e/stacks/novaclub.test.ts': { place: 2, of: 3, about: stacks },
  'test/e2e/stacks/f-brain.test.ts': { place: 2, of: 3, about: stacks },
  'test/e2e/by-hand.test.ts': { place: 0, of: 2, about: handbook },
  'test/e2e/by-hand-databases.test.ts': { place: 1, of: 2, about: handbook },
  'test/conformance/database/mongodb.test.ts': {
    place: 0,
    of: 2,
    about: ['src/database/mongodb.ts', 'src/database/mongodb-archive.ts', 'fixtures/images/mongo'],
  },
  'test/conformance/database/valkey.test.ts': {
    place: 1,
    of: 2,
    about: ['src/database/redis.ts', 'fixtures/images/valkey'],
  },
  'test/conformance/database/mariadb.test.ts': {
    place: 0,
    of: 2,
    about: ['src/database/mysql.ts', 'src/database/mysql-session.ts', 'src/database/mysql-accounts.ts'],
  },
  'test/conformance/database/mysql.test.ts': {
    place: 1,
    of: 2,
    about: ['src/database/mysql.ts', 'src/database/mysql-session.ts', 'src/database/mysql-accounts.ts'],
  },
};

/** As many as the campaign wants: a few, or all. */
export function amount({ some, all }: { some: number; all: number }): number {
  return whole ? all : some;
}

/** Some of these, spread evenly over them, other ones for every commit; or all. */
export function chosen<T>(from: readonly T[], some: number): T[] {
  return whole ? [...from] : spread(from, some, rotation);
}

/**
 * Some of these for a commit's number. Where they begin is mixed from that: counted on like turns, a list inside of a test that has
 * turns would begin at the same place each time it is that test's turn. Pure.
 */
export function spread<T>(from: readonly T[], some: number, number: number): T[] {
  if (from.length <= some) return [...from];
  const first = Math.floor(randomNumbers(number)() * from.length);
  const indices = Array.from(
    { length: some },
    (_, index) => (first + Math.floor((index * from.length) / some)) % from.length,
  );
  return indices.sort((one, other) => one - other).map((index) => from[index] as T);
}

/** Numbers from 0 to 1, the same ones for the same seed: a failure can be tried again. (mulberry32) */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
