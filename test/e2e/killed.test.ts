import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it, vi } from 'vitest';
import { expectGoodUpdate } from './outcomes.ts';
import { expectNothingLeft, expectSame, quick, shop, snapshot, type Stack } from './stack.ts';

// Each of these is a dozen runs and as many recoveries.
vi.setConfig({ testTimeout: 420_000 });

const recover = async (stack: Stack) => stack.safeUpdate(['recover', '--json', '--stable-for', '1s']);

/** Kills an update with -9 while it waits before this step, which it has been asked to do. */
async function killBefore(stack: Stack, step: string): Promise<void> {
  const running = stack.start(quick, { env: { SAFE_UPDATE_PAUSE: step } });
  await running.until((event) => event.type === 'notice' && event.message === `Paused before ${step}.`);
  running.kill('SIGKILL');
  await running.finished;
}

async function unfinishedBackups(stack: Stack): Promise<string[]> {
  return (await readdir(stack.backupFolder)).filter((name) => name.endsWith('.partial'));
}

it('killed at the boundary of every step, it is undone by recover, again and again', async () => {
  const stack = await shop();
  await stack.push('1.1.0');
  const before = await snapshot(stack);
  for (const step of [
    'pin',
    'pull',
    'measure',
    'dump',
    'stop',
    'archive',
    'seal',
    'remove',
    'up',
    'verify',
    'commit',
  ]) {
    await killBefore(stack, step);
    const run = await recover(stack);
    expect(run.exitCode, `${step}: ${run.story}`).toBe(0);
    expect(run.outcome?.result, step).toBe('recovered');
    expectSame(before, await snapshot(stack));
    expect(await unfinishedBackups(stack), step).toEqual([]);
    await expectNothingLeft(stack, run);
  }
  const again = await recover(stack);
  expect(again.exitCode).toBe(0);
  expect(again.outcome?.result).toBe('nothing-to-do');
  await expectGoodUpdate(stack);
});

it('killed while the stack is down, it is dealt with by the next update', async () => {
  const stack = await shop();
  await stack.push('1.1.0');
  await killBefore(stack, 'seal');
  expect((await stack.containers()).some(({ State }) => State.Running)).toBe(false);

  const run = await stack.update();
  expect(run.exitCode, run.story).toBe(0);
  expect(run.outcome?.result).toBe('updated');
  expect(run.story).toMatch(/was interrupted after the step archive/);
  expect((await stack.get('/version')).trim()).toBe('1.1.0');
  expect(await stack.sql('SELECT count(*) FROM members')).toBe('3');
  await expectNothingLeft(stack, run);
});

it('killed in the middle of the archive, of up and of the rollback itself, it still ends where it began', async () => {
  const stack = await shop();
  await stack.push('drop-table');
  const before = await snapshot(stack);
  for (const [step, milliseconds] of [
    ['archive', 150],
    ['up', 700],
    ['undo-keep', 300],
    ['undo-data', 400],
    ['undo-start', 500],
  ] as const) {
    const running = stack.start(quick);
    await running.step(step);
    await sleep(milliseconds);
    running.kill('SIGKILL');
    await running.finished;

    // The one who recovers may be killed as well.
    const first = stack.start(['recover', '--json', '--stable-for', '1s']);
    await sleep(1500);
    first.kill('SIGKILL');
    await first.finished;

    const run = await recover(stack);
    expect(run.exitCode, `${step}: ${run.story}`).toBe(0);
    expectSame(before, await snapshot(stack));
    await expectNothingLeft(stack, run);
  }
});

it.each([
  { signal: 'SIGINT', exitCode: 130 },
  { signal: 'SIGTERM', exitCode: 143 },
] as const)('$signal before anything is stopped leaves everything as it is', async ({ signal, exitCode }) => {
  const stack = await shop();
  await stack.push('1.1.0');
  const before = await snapshot(stack);
  const running = stack.start(quick);
  await running.step('dump');
  running.kill(signal);
  const run = await running.finished;
  expect(run.exitCode, run.story).toBe(exitCode);
  expect(run.outcome?.error?.code).toBe('interrupted');
  expect(run.outcome?.error?.state).toMatch(/^Nothing was touched/);
  const after = await snapshot(stack);
  expectSame(before, after);
  expect(after.services['app-1']?.startedAt).toBe(before.services['app-1']?.startedAt);
  await expectNothingLeft(stack, run);
  expect(await stack.backups()).toEqual([]);
});

it('SIGINT during the verification rolls back, and a second and third one do not disturb that', async () => {
  const stack = await shop();
  await stack.push('drop-table');
  const before = await snapshot(stack);
  const running = stack.start(quick);
  await running.step('verify');
  running.kill('SIGINT');
  await running.step('undo-keep');
  running.kill('SIGINT');
  await running.step('undo-start');
  running.kill('SIGTERM');
  const run = await running.finished;
  expect(run.exitCode, run.story).toBe(130);
  expect(run.outcome?.error?.state).toMatch(/^Rolled back and verified/);
  expectSame(before, await snapshot(stack));
  await expectNothingLeft(stack, run);
  expect(await readdir(path.join(stack.backupFolder))).toContain(run.outcome?.failedBackup);
});
