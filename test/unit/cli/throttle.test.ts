import { expect, it } from 'vitest';
import { throttled } from '../../../src/cli/throttle.ts';
import type { RunEvent } from '../../../src/model/event.ts';

function setup() {
  const passed: RunEvent[] = [];
  let time = 0;
  const emit = throttled(
    (event) => passed.push(event),
    () => time,
  );
  const bytes = (item: string, count: number, step = 'archive'): void => {
    emit({ type: 'step-progress', step, item, bytes: count });
  };
  const seen = (): unknown[] =>
    passed.map((event) => (event.type === 'step-progress' ? [event.item, event.bytes] : event.type));
  return { emit, bytes, seen, wait: (milliseconds: number) => (time += milliseconds) };
}

it('passes ten counts a second, and the last one before what comes after it', () => {
  const { emit, bytes, seen, wait } = setup();
  for (let count = 1; count <= 100; count += 1) {
    bytes('db', count);
    wait(10);
  }
  expect(seen()).toHaveLength(10);
  emit({ type: 'step-done', step: 'archive', milliseconds: 1000 });
  expect(seen().slice(-2)).toEqual([['db', 100], 'step-done']);
});

it('passes the last count of an item on when the next item begins', () => {
  const { bytes, seen } = setup();
  bytes('a', 1);
  bytes('a', 2);
  bytes('b', 1);
  expect(seen()).toEqual([
    ['a', 1],
    ['a', 2],
    ['b', 1],
  ]);
});

it('holds nothing else back', () => {
  const { emit, seen } = setup();
  for (const item of ['x', 'x', 'x']) emit({ type: 'step-progress', step: 'pull', item });
  emit({ type: 'step-progress', step: 'archive', item: 'db', bytes: 1, done: true });
  emit({ type: 'step-progress', step: 'archive', item: 'db', bytes: 1, done: true });
  expect(seen()).toHaveLength(5);
});
