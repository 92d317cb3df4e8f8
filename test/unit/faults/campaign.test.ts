import { describe, expect, it } from 'vitest';
import { spread } from '../../faults/campaign.ts';

describe('what each commit tries', () => {
  it('leaves nothing out for ever, also in a list inside of a test that has turns itself', () => {
    for (const length of [2, 3, 4, 5, 7]) {
      const list = Array.from({ length }, (_, index) => index);
      for (const of of [1, 2, 3, 4]) {
        for (let place = 0; place < of; place += 1) {
          const tried = new Set<number>();
          for (let number = place; number < 100 * of; number += of)
            for (const one of spread(list, 1, number)) tried.add(one);
          expect(tried.size, `${length} in turn ${place} of ${of}`).toBe(length);
        }
      }
    }
  });

  it('is as many as asked for, each once, and the same for the same commit', () => {
    const list = Array.from({ length: 9 }, (_, index) => index);
    for (let number = 0; number < 50; number += 1) {
      expect(new Set(spread(list, 4, number)).size).toBe(4);
      expect(spread(list, 4, number)).toEqual(spread(list, 4, number));
    }
    expect(spread(list, 9, 1)).toEqual(list);
  });
});
