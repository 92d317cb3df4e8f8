import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatBytes, formatDuration } from '../../../src/model/units.ts';

describe('formatBytes', () => {
  it.each([
    [0, '0 B'],
    [1, '1 B'],
    [999, '999 B'],
    [1000, '1.0 kB'],
    [1499, '1.5 kB'],
    [99_499, '99.5 kB'],
    [99_500, '100 kB'],
    [312_400, '312 kB'],
    [999_499, '999 kB'],
    [999_500, '1.0 MB'],
    [1_440_000_000, '1.4 GB'],
    [2_500_000_000_000, '2.5 TB'],
    [7e15, '7.0 PB'],
    [1e19, '10000 PB'],
  ])('%d is %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  it('is short, and within 5 % of what it says', () => {
    const factor: Record<string, number> = { B: 1, kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12, PB: 1e15 };
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 9e14 }), (bytes) => {
        const text = formatBytes(bytes);
        const [number = '', unit = ''] = text.split(' ');
        expect(number.length).toBeLessThanOrEqual(4);
        const said = Number(number) * (factor[unit] ?? NaN);
        expect(Math.abs(said - bytes)).toBeLessThanOrEqual(bytes * 0.05);
      }),
    );
  });
});

describe('formatDuration', () => {
  it.each([
    [0, '0 ms'],
    [639.6, '640 ms'],
    [999.4, '999 ms'],
    [999.5, '1.0 s'],
    [3210, '3.2 s'],
    [59_949, '59.9 s'],
    [59_950, '1 min 00 s'],
    [125_000, '2 min 05 s'],
    [3_599_400, '59 min 59 s'],
    [3_599_500, '1 h 00 min'],
    [4_320_000, '1 h 12 min'],
    [90_000_000, '25 h 00 min'],
  ])('%d ms is %s', (milliseconds, text) => {
    expect(formatDuration(milliseconds)).toBe(text);
  });

  it('never says sixty of anything', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1e8, noNaN: true }), (milliseconds) => {
        expect(formatDuration(milliseconds)).not.toMatch(/(^|\D)60(\.0)? (s|min)|1000 ms/);
      }),
    );
  });
});
