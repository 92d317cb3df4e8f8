/**
 * How much of the fault campaign runs. `scripts/test` runs every fault, but of those that are tried at many instants or
 * with many seeds only some; `scripts/faults` runs all of them.
 */
export const whole = process.env['SAFE_UPDATE_FAULTS'] === 'all';

/** As many as the campaign wants: a few, or all. */
export function amount({ some, all }: { some: number; all: number }): number {
  return whole ? all : some;
}

/** Some of these, spread evenly over them, or all. */
export function chosen<T>(from: readonly T[], some: number): T[] {
  if (whole || from.length <= some) return [...from];
  return Array.from({ length: some }, (_, index) => from[Math.floor((index * from.length) / some)] as T);
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
