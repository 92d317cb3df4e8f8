import { describe, expect, it } from 'vitest';
import { createProgress, formatItem, formatTimeLeft } from '../../../../src/cli/view/progress.ts';

const event = (item: string, rest: { bytes?: number; totalBytes?: number; text?: string; done?: boolean }) =>
  ({ type: 'step-progress', step: 's', item, ...rest }) as const;

describe('the progress of a step', () => {
  it('measures the rate over the last seconds and what is left at that rate', () => {
    const progress = createProgress();
    for (let second = 0; second <= 60; second += 1) {
      // Slow for 30 seconds, then ten times as fast: only the latter counts.
      const bytes = second <= 30 ? second * 1e6 : 30e6 + (second - 30) * 10e6;
      progress.update(event('uploads', { bytes, totalBytes: 400e6 }), second * 1000);
    }
    const [item] = progress.items(60_000);
    expect(item).toMatchObject({ bytes: 330e6, totalBytes: 400e6, percent: 82, state: 'running' });
    expect(item?.rate).toBeCloseTo(10e6, -3);
    expect(item?.left).toBeCloseTo(7_000, -2);
  });

  it('says nothing about the rate before it can know, and lets it fall when nothing comes', () => {
    const progress = createProgress();
    progress.update(event('uploads', { bytes: 0, totalBytes: 100e6 }), 0);
    progress.update(event('uploads', { bytes: 10e6, totalBytes: 100e6 }), 1_000);
    expect(progress.items(1_000)[0]?.rate).toBeUndefined();
    expect(progress.items(2_000)[0]?.rate).toBeCloseTo(5e6);
    expect(progress.items(5_000)[0]?.rate).toBeCloseTo(2e6);
    expect(progress.items(60_000)[0]).toMatchObject({ rate: 0 });
    expect(progress.items(60_000)[0]).not.toHaveProperty('left');
  });

  it('does not claim to be ready before it is: totals are estimates', () => {
    const progress = createProgress();
    progress.update(event('a', { bytes: 999, totalBytes: 1000 }), 0);
    progress.update(event('b', { bytes: 1200, totalBytes: 1000 }), 0);
    const [a, b] = progress.items(5_000);
    expect(a?.percent).toBe(99);
    expect(b).toMatchObject({ percent: 100, state: 'running' });
    expect(b).not.toHaveProperty('left');
  });

  it('knows what is finished: by its bytes, by being told, or by long silence while others go on', () => {
    const progress = createProgress();
    progress.update(event('by bytes', { bytes: 10, totalBytes: 10 }), 0);
    progress.update(event('told', { bytes: 10, done: true }), 0);
    progress.update(event('silent', { bytes: 10 }), 0);
    progress.update(event('at work', { bytes: 10 }), 0);
    progress.update(event('at work', { bytes: 15 }), 14_000);
    const states = (): string[] => progress.items(20_000).map(({ state }) => state);
    expect(states()).toEqual(['finished', 'finished', 'running', 'running']);
    progress.update(event('at work', { bytes: 20 }), 16_000);
    expect(states()).toEqual(['finished', 'finished', 'quiet', 'running']);
  });

  it('takes one for quiet after whose last word another began', () => {
    const progress = createProgress();
    progress.update(event('db', { bytes: 10 }), 0);
    progress.update(event('cache', { bytes: 10 }), 500);
    progress.update(event('cache', { bytes: 20 }), 1_400);
    const states = (): string[] => progress.items(2_000).map(({ state }) => state);
    expect(states()).toEqual(['running', 'running']);
    progress.update(event('cache', { bytes: 30 }), 1_600);
    expect(states()).toEqual(['quiet', 'running']);
    progress.update(event('db', { bytes: 20 }), 1_700);
    expect(states()).toEqual(['running', 'running']);
  });

  it('keeps only the latest of what is no more than a name', () => {
    const progress = createProgress();
    for (let line = 0; line < 100; line += 1) progress.update(event(`layer ${line} Downloading`, {}), line);
    expect(progress.items(100)).toEqual([{ item: 'layer 99 Downloading', state: 'running' }]);
    progress.update(event('uploads', { bytes: 1 }), 101);
    expect(progress.items(101).map(({ item }) => item)).toEqual(['uploads']);
  });

  it('starts anew when an item does', () => {
    const progress = createProgress();
    progress.update(event('a', { bytes: 900 }), 0);
    progress.update(event('a', { bytes: 0 }), 1_000);
    progress.update(event('a', { bytes: 200 }), 3_000);
    expect(progress.items(3_000)[0]?.rate).toBeCloseTo(100);
  });
});

it('says how far an item is in one phrase', () => {
  const item = { item: 'uploads', state: 'running' } as const;
  expect(
    formatItem({ ...item, bytes: 1.2e9, totalBytes: 3.4e9, percent: 35, rate: 240e6, left: 9_000 }),
  ).toBe('1.2 GB of 3.4 GB, 35 %, 240 MB/s, 9 s left');
  expect(formatItem({ ...item, bytes: 312e6, rate: 0 })).toBe('312 MB, 0 B/s');
  expect(formatItem({ ...item, text: 'healthy' })).toBe('healthy');
  expect(formatItem(item)).toBe('');
});

it('says the time left in whole units', () => {
  expect(formatTimeLeft(400)).toBe('1 s');
  expect(formatTimeLeft(99_000)).toBe('99 s');
  expect(formatTimeLeft(99_001)).toBe('2 min');
  expect(formatTimeLeft(4_000_000)).toBe('1 h 07 min');
  expect(formatTimeLeft(1e12)).toBe('days');
});
