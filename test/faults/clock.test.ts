/** A clock that is wrong, that jumps, and that stands still. What is later is said by a number, never by the clock. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { expectIntact, expectRolledBack } from '../e2e/outcomes.ts';
import { local, shell } from '../e2e/stack-small.ts';
import {
  expectNothingLeft,
  quick,
  shop,
  snapshot,
  type Finished,
  type RunOptions,
  type Stack,
} from '../e2e/stack.ts';
import { chosen, turn } from './campaign.ts';
import { small } from './small.ts';
import { tool } from '../tools.ts';

const faketime = tool('faketime', ['--version'], 'the clock');

/** A clock that is off by so much (`-365d`), or stands still (`2026-01-01 12:00:00`). */
function clock(said: string, env: Record<string, string> = {}): RunOptions {
  return { under: ['faketime', '-m', '--exclude-monotonic', '-f', said], env };
}

/** A clock that is set while the run goes on. */
async function settableClock(
  stack: Stack,
): Promise<{ set(said: string): Promise<void>; options: RunOptions }> {
  const { stdout: library } = await execa('faketime', ['-m', '-f', '+0', 'sh', '-c', 'echo "$LD_PRELOAD"']);
  const file = path.join(stack.directory, 'clock');
  const env = {
    LD_PRELOAD: library,
    FAKETIME_TIMESTAMP_FILE: file,
    FAKETIME_NO_CACHE: '1',
    DONT_FAKE_MONOTONIC: '1',
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
  };
  const set = (said: string): Promise<void> => writeFile(file, `${said}\n`);
  await set('+0');
  return { set, options: { env } };
}

const backup = ['backup', '--yes', '--json', '--stable-for', '1s'];

describe.runIf(faketime.present)(`the clock${faketime.without}`, () => {
  it.runIf(turn(0, 3))('is set back between backups: the newest is the one that was made last', async () => {
    const { stack } = await small();
    await stack.write('safe-update.yml', 'backups: { keep: 2 }\n');
    const made: string[] = [];
    for (const off of ['+0d', '-365d', '-730d', '-365d']) {
      await shell(await stack.container('keep'), `echo ${off} >/state/when`);
      const run = await stack.safeUpdate(backup, clock(off));
      expect(run.exitCode, run.story).toBe(0);
      made.push(run.outcome?.backup ?? '');
    }
    expect(new Set(made).size).toBe(4);
    const kept = await stack.backups();
    expect(kept.map(({ id }) => id)).toEqual(made.slice(-2));
    expect(kept.map(({ manifest }) => manifest.sequence)).toEqual([3, 4]);
    for (const one of kept) await expectIntact(one);
    const verify = await stack.safeUpdate(['verify', '--json']);
    expect(verify.exitCode, verify.stderr).toBe(0);
    expect(verify.stdout).toContain(made[3]);
    await expectNothingLeft(stack, verify);
  });

  it.runIf(turn(1, 3))(
    'is set back by a year between updates: rollback goes back to before the last one',
    async () => {
      const { stack, release } = await small();
      const write = async (word: string): Promise<void> => {
        await shell(await stack.container('keep'), `echo ${word} >/state/word`);
      };
      await release('two');
      await write('of one');
      const first = await stack.update(local);
      expect(first.exitCode, first.story).toBe(0);
      await write('of two');
      await release('three');
      const second = await stack.update(local, clock('-365d'));
      expect(second.exitCode, second.story).toBe(0);
      expect(second.outcome?.backup).not.toBe(first.outcome?.backup);
      await write('of three');

      const run = await stack.safeUpdate(
        ['rollback', '--confirm', stack.project, '--json', '--stable-for', '1s'],
        clock('-364d'),
      );
      expect(run.exitCode, run.story).toBe(0);
      const { Config, Id } = await stack.container('keep');
      expect(Config.Env).toContain('RELEASE=two');
      expect((await shell({ Id }, 'cat /state/word')).trim()).toBe('of two');

      // And it knows, whatever the clock, that there is nothing more to roll back.
      const again = await stack.safeUpdate(
        ['rollback', '--confirm', stack.project, '--json'],
        clock('-730d'),
      );
      expect(again.exitCode, again.story).toBe(2);
      expect(again.outcome?.error?.message).toMatch(/rolled back already/);
      await expectNothingLeft(stack, first, second, run, again);
    },
  );

  it.runIf(turn(2, 3))(
    'jumps by a year, ahead and back, while an update goes on: it ends as it would have',
    async () => {
      const stack = await shop();
      await stack.push('1.1.0');
      const time = await settableClock(stack);
      const running = stack.start(quick, time.options);
      for (const [step, said] of [
        ['dump', '+365d'],
        ['archive', '-365d'],
        ['up', '+365d'],
        ['verify', '-365d'],
      ] as const) {
        await running.step(step);
        await time.set(said);
      }
      const run = await running.finished;
      expect(run.exitCode, run.story).toBe(0);
      expectSaneNumbers(run);
      expect((await stack.get('/version')).trim()).toBe('1.1.0');
      for (const one of await stack.backups()) await expectIntact(one);
      await expectNothingLeft(stack, run);
    },
  );

  it.runIf(turn(0, 3))(
    'jumps by a year while a release does not become healthy: it is waited for no shorter and no longer',
    async () => {
      const stack = await shop();
      await stack.push('unhealthy');
      const time = await settableClock(stack);
      const before = await snapshot(stack);
      for (const said of chosen(['-365d', '+365d'], 1)) {
        const running = stack.start(quick, time.options);
        await running.step('verify');
        await time.set(said);
        await running.step('undo-keep');
        await time.set('+0');
        const run = await running.finished;
        await expectRolledBack(stack, before, run, /unhealthy/);
        expectSaneNumbers(run);
        // The engine said so; it was not given up on because a limit seemed to have passed.
        expect(run.outcome?.error?.message).not.toMatch(/within|timed out/);
      }
    },
  );

  it.runIf(turn(1, 3))('passes the end of summer time, and names come twice: ids do not', async () => {
    const { stack } = await small();
    await stack.write('safe-update.yml', 'backups: { keep: { daily: 2 } }\n');
    const made: string[] = [];
    // 02:30 in Berlin, twice on that day; then on the day before, and on the one on which 02:30 does not exist.
    for (const utc of [
      '@2026-10-25 00:30:00',
      '@2026-10-25 01:30:00',
      '@2026-10-25 00:59:59',
      '@2027-03-28 00:59:58',
    ]) {
      const run = await stack.safeUpdate(backup, clock(offsetTo(utc), { TZ: 'Europe/Berlin' }));
      expect(run.exitCode, run.story).toBe(0);
      expectSaneNumbers(run);
      made.push(run.outcome?.backup ?? '');
    }
    expect(new Set(made).size).toBe(4);
    expect(made[0]).toMatch(/^manual-20261025_0230\d\d$/);
    const kept = await stack.backups();
    expect(kept.map(({ id }) => id)).toContain(made[3]);
    expect(kept.map(({ manifest }) => manifest.sequence)).toEqual(
      kept.map(({ manifest }) => manifest.sequence).sort((a, b) => a - b),
    );
    for (const one of kept) await expectIntact(one);
  });

  it.runIf(turn(2, 3))('stands still: two runs in one second are two runs, and two backups', async () => {
    const { stack, release } = await small();
    const still = clock('2026-06-01 12:00:00');
    const first = await stack.safeUpdate(backup, still);
    expect(first.exitCode, first.story).toBe(0);
    await release('two');
    const second = await stack.update(local, still);
    expect(second.exitCode, second.story).toBe(0);
    const third = await stack.safeUpdate(backup, still);
    expect(third.exitCode, third.story).toBe(0);
    expect(first.outcome?.backup).toBe('manual-20260601_120000');
    expect(second.outcome?.backup).toBe('pre-update-20260601_120000');
    expect(third.outcome?.backup).toBe('manual-20260601_120000-2');
    expect(new Set([first, second, third].map(({ outcome }) => outcome?.run)).size).toBe(3);
    expect((await stack.backups()).map(({ id }) => id)).toEqual(
      [first, second, third].map(({ outcome }) => outcome?.backup),
    );
    const back = await stack.safeUpdate(
      ['rollback', '--confirm', stack.project, '--json', '--stable-for', '1s'],
      still,
    );
    expect(back.exitCode, back.story).toBe(0);
    expect((await stack.container('keep')).Config.Env).toContain('RELEASE=one');
    for (const one of await stack.backups()) await expectIntact(one);
    await expectNothingLeft(stack, first, second, third, back);
  });
});

/** As faketime takes it: how far it is from now to this moment. */
function offsetTo(utc: string): string {
  const seconds = Math.round((Date.parse(`${utc.slice(1).replace(' ', 'T')}Z`) - Date.now()) / 1000);
  return `${seconds < 0 ? '' : '+'}${seconds}s`;
}

function expectSaneNumbers({ outcome, events }: Finished): void {
  const longest = 300_000;
  const told = events.flatMap((event) => (event.type === 'step-done' ? [event.milliseconds] : []));
  for (const milliseconds of [
    outcome?.milliseconds ?? -1,
    ...told,
    ...Object.values(outcome?.downtime ?? {}),
  ]) {
    expect(milliseconds).toBeGreaterThanOrEqual(0);
    expect(milliseconds).toBeLessThan(longest);
  }
}
