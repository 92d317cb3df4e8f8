import { describe, expect, it } from 'vitest';
import { SafeUpdateError } from '../../../src/model/error.ts';
import type { RunEvent } from '../../../src/model/event.ts';
import type { Context } from '../../../src/update/context.ts';
import { requireNotInterrupted, runName, showStep } from '../../../src/update/session.ts';

function context(): { context: Context; events: RunEvent[] } {
  const events: RunEvent[] = [];
  let now = 0;
  const fake = {
    emit: (event: RunEvent) => events.push(event),
    clock: { monotonic: () => (now += 250), now: () => new Date(0), sleep: async () => undefined },
  };
  return { context: fake as unknown as Context, events };
}

describe('showStep', () => {
  it('tells begin, end, how long and what came of it', async () => {
    const { context: fake, events } = context();
    await showStep(fake, 'stop', 'Stop the stack', async () => '3 services');
    expect(events).toEqual([
      { type: 'step-started', step: 'stop', title: 'Stop the stack' },
      { type: 'step-done', step: 'stop', milliseconds: 250, detail: '3 services' },
    ]);
  });

  it('tells a failure, and throws it on', async () => {
    const { context: fake, events } = context();
    const failure = new SafeUpdateError('compose', 'no');
    await expect(
      showStep(fake, 'stop', 'Stop the stack', async () => {
        throw failure;
      }),
    ).rejects.toBe(failure);
    expect(events.at(-1)).toEqual({ type: 'step-failed', step: 'stop', milliseconds: 250, message: 'no' });
  });
});

describe('runName', () => {
  it('sorts by time, is a file name and part of an image tag, and differs by process', () => {
    const at = new Date('2024-10-17T14:30:22.123Z');
    expect(runName(at, 4711)).toBe('20241017-143022-4711');
    expect(runName(at, 1) < runName(new Date('2024-10-17T14:30:23Z'), 1)).toBe(true);
    expect(runName(at, 1)).not.toBe(runName(at, 2));
    expect(runName(at, 4711)).toMatch(/^[\w][\w.-]{0,110}$/);
  });
});

describe('requireNotInterrupted', () => {
  it('throws once the signal has come', () => {
    const controller = new AbortController();
    requireNotInterrupted({ signal: controller.signal } as Context);
    controller.abort();
    expect(() => {
      requireNotInterrupted({ signal: controller.signal } as Context);
    }).toThrow(expect.objectContaining({ code: 'interrupted' }) as Error);
  });
});
