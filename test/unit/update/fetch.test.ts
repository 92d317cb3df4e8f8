import { describe, expect, it } from 'vitest';
import { withLeftOut } from '../../../src/update/fetch.ts';
import { observed, volume } from '../model/examples.ts';

const uncovered = (source: string) => ({ source, services: ['web'], path: '/data', reason: 'no room' });

describe('what was found out before the images were there', () => {
  const now = observed({ web: {} }, { volumes: [volume('a'), volume('b')] });

  it('is in what is observed afterwards: what is left out, and why', () => {
    const before = {
      ...now,
      volumes: now.volumes.map((one) => (one.name === 'shop_a' ? { ...one, leftOut: 'no room' } : one)),
      notCovered: [uncovered('shop_a'), uncovered('/elsewhere')],
    };
    const after = withLeftOut(now, before);
    expect(after.volumes.map(({ name, leftOut }) => [name, leftOut])).toEqual([
      ['shop_a', 'no room'],
      ['shop_b', undefined],
    ]);
    expect(after.notCovered).toEqual([...now.notCovered, uncovered('shop_a')]);
  });

  it('changes nothing where nothing was left out', () => {
    expect(withLeftOut(now, now)).toBe(now);
  });
});
