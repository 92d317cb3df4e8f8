import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type * as Signals from '../../../src/cli/signals.ts';

const names = ['SIGHUP', 'SIGINT', 'SIGTERM'] as const;

describe('watchSignals', () => {
  // It remembers, for the whole process, which signal came first.
  let signals: typeof Signals;
  beforeEach(async () => {
    vi.resetModules();
    signals = await import('../../../src/cli/signals.ts');
  });

  const said: string[] = [];
  let watch: ReturnType<typeof signals.watchSignals>;
  beforeEach(() => {
    said.length = 0;
    watch = signals.watchSignals((message) => said.push(message));
  });
  afterEach(() => {
    watch.stop();
  });

  it.each([
    ['SIGHUP', 129],
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('%s aborts, says so, and is exit code %i', (name, exitCode) => {
    expect(signals.signalExitCode()).toBeUndefined();
    process.emit(name);
    expect(watch.signal.aborted).toBe(true);
    expect(said).toEqual([`${name} received: stopping, and undoing what has begun.`]);
    expect(signals.signalExitCode()).toBe(exitCode);
  });

  it('does not let a second signal break the undoing off', () => {
    process.emit('SIGINT');
    process.emit('SIGINT');
    process.emit('SIGTERM');
    expect(said).toHaveLength(3);
    expect(said[1]).toContain('Still undoing');
    expect(signals.signalExitCode()).toBe(130);
  });

  it('listens no more when it is over', () => {
    const before = names.map((name) => process.listenerCount(name));
    watch.stop();
    expect(names.map((name) => process.listenerCount(name))).toEqual(before.map((count) => count - 1));
    expect(watch.signal.aborted).toBe(false);
  });
});
