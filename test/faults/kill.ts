/**
 * Kills runs of safe-update with -9: at a named point, or after some milliseconds; and looks whether `recover` makes the stack
 * wholly old or wholly new.
 *
 *     await killed(stack, quick, { at: 'archive:end' });
 *     await killed(stack, quick, { in: 'archive', after: 150 });
 *     await expectRecovered(stack, before, 'after the archive', goodRelease(before));
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { expectIntact } from '../e2e/outcomes.ts';
import {
  expectNothingLeft,
  expectSame,
  quick,
  snapshot,
  type Finished,
  type Running,
  type Snapshot,
  type Stack,
} from '../e2e/stack.ts';

export const confirmed = (stack: Stack): string[] => [
  ...['--confirm', stack.project],
  ...['--json', '--stable-for', '1s', '--verify-timeout', '30s'],
];

export async function recover(stack: Stack): Promise<Finished> {
  return stack.safeUpdate(['recover', '--json', '--stable-for', '1s']);
}

/** Where a run is killed: at a point at which it waits for that, or some time after a step or the process has begun. */
export type Instant = { at: string } | { in: string; after: number } | { after: number };

export function wordsFor(instant: Instant): string {
  if ('at' in instant) return `at ${instant.at}`;
  const after = `${Math.round(instant.after)} ms after`;
  return 'in' in instant ? `${after} the begin of ${instant.in}` : `${after} its start`;
}

/** Starts the command, kills it, and waits until it is gone. */
export async function killed(stack: Stack, args: readonly string[], instant: Instant): Promise<Finished> {
  const running = stack.start(args, 'at' in instant ? { env: { SAFE_UPDATE_PAUSE: instant.at } } : {});
  await reached(running, instant);
  running.kill('SIGKILL');
  return running.finished;
}

async function reached(running: Running, instant: Instant): Promise<void> {
  if ('at' in instant) {
    await running.until((event) => event.type === 'notice' && event.message === `Paused at ${instant.at}.`);
    return;
  }
  if ('in' in instant) await running.step(instant.in);
  // A run that ends before its time has not been killed; that is an end like any other.
  await Promise.race([sleep(instant.after), running.finished]);
}

/** What a run that was not stopped in time leaves: the version of the application by which it is known, and its proof. */
export interface End {
  version: string;
  check(stack: Stack): Promise<void>;
}

/**
 * After a kill: recovers, and expects the stack to be as it was, or wholly at the end of the run; nothing is left lying
 * about, every backup is whole, and recovering once more has nothing to do. Returns which of both it is.
 */
export async function expectRecovered(
  stack: Stack,
  before: Snapshot,
  what: string,
  end?: End,
): Promise<'before' | 'end'> {
  const run = await recover(stack);
  const told = `${what}: ${run.story}`;
  expect(run.exitCode, told).toBe(0);
  expect(['updated', 'recovered', 'nothing-to-do'], told).toContain(run.outcome?.result);
  const isEnd = end?.version === (await stack.get('/version')).trim();
  try {
    if (isEnd) await end.check(stack);
    else expectSame(before, await snapshot(stack));
    await expectNothingLeft(stack, run);
    for (const backup of await stack.backups()) await expectIntact(backup);
  } catch (error) {
    throw new Error(told, { cause: error });
  }
  const again = await recover(stack);
  expect(again.outcome?.result, `${what}, recovered again: ${again.story}`).toBe('nothing-to-do');
  return isEnd ? 'end' : 'before';
}

/** The good release runs, on the data of before. */
export function goodRelease(before: Snapshot): End {
  return {
    version: '1.1.0',
    async check(stack) {
      expect(await stack.sql('SELECT count(*) FROM members')).toBe('3');
      const after = await snapshot(stack);
      expect(after.keys).toEqual(before.keys);
      expect(after.volumes).toEqual(before.volumes);
      for (const [volume, { tar }] of Object.entries(before.digests))
        expect(after.digests[volume]?.tar, volume).toBe(tar);
      for (const [key, { mounts }] of Object.entries(before.services))
        expect(after.services[key]?.mounts, key).toEqual(mounts);
    },
  };
}

/**
 * Starts a command, and lets `meanwhile` happen once the step has begun, while the process is held still: what somebody else
 * does in the middle of a run.
 */
export async function runWhile(
  stack: Stack,
  step: string,
  meanwhile: () => Promise<unknown>,
  args: readonly string[] = quick,
): Promise<Finished> {
  const running = stack.start(args);
  await running.step(step);
  running.kill('SIGSTOP');
  try {
    await meanwhile();
  } finally {
    running.kill('SIGCONT');
  }
  return running.finished;
}
