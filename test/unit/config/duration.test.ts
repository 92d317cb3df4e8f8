import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { durationPattern, parseDuration } from '../../../src/config/duration.ts';

describe('parseDuration', () => {
  it.each([
    ['90s', 90_000],
    ['5m', 300_000],
    ['1h30m', 5_400_000],
    ['1d', 86_400_000],
    ['1h0m5s', 3_605_000],
    ['500ms', 500],
    ['1m500ms', 60_500],
    ['1.5h', 5_400_000],
    ['90', 90_000],
    [' 2m ', 120_000],
    [90, 90_000],
    [0.25, 250],
    [0, 0],
  ])('%s is %i ms', (written, milliseconds) => {
    expect(parseDuration(written)).toBe(milliseconds);
  });

  it.each([
    '',
    'm',
    '5 minutes',
    '30m1h',
    '5m5m',
    '-5s',
    '5S',
    '1e3',
    's',
    '1.5.5s',
    '5m s',
    '0x10',
    'Infinity',
  ])('%j is none', (written) => {
    expect(parseDuration(written)).toBeUndefined();
  });

  it.each([-1, Number.NaN, Number.POSITIVE_INFINITY])('the number %d is none', (written) => {
    expect(parseDuration(written)).toBeUndefined();
  });

  it('adds up its parts, and takes what the pattern takes', () => {
    const upTo = (max: number) => fc.nat({ max });
    fc.assert(
      fc.property(upTo(20), upTo(30), upTo(90), upTo(90), upTo(2000), (d, h, m, s, ms) => {
        const written = `${d}d${h}h${m}m${s}s${ms}ms`;
        expect(durationPattern.test(written)).toBe(true);
        expect(parseDuration(written)).toBe((((d * 24 + h) * 60 + m) * 60 + s) * 1000 + ms);
      }),
    );
  });
});
