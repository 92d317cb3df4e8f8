import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { recover } from '../faults/kill.ts';
import {
  eventually,
  expectNothingLeft,
  expectSame,
  expectUntouched,
  quick,
  shop,
  snapshot,
  type Snapshot,
  type Stack,
} from './stack.ts';
import { turn } from '../faults/campaign.ts';

// At which instants every kind of run is killed is in test/faults/kills.ts.

/** Kills an update with -9 while it waits before this step, which it has been asked to do. */
async function killBefore(stack: Stack, step: string): Promise<void> {
  const running = stack.start(quick, { env: { SAFE_UPDATE_PAUSE: step } });
  await running.until((event) => event.type === 'notice' && event.message === `Paused at ${step}.`);
  running.kill('SIGKILL');
  await running.finished;
}

it('killed when the release is recorded: it stays, and what the run had open on the engine goes', async () => {
  const stack = await shop();
  await stack.push('1.1.0');
  await killBefore(stack, 'prune');
  const recorded = await recover(stack);
  expect(recorded.exitCode, recorded.story).toBe(0);
  expect((await stack.get('/version')).trim()).toBe('1.1.0');
  expect(await stack.sql('SELECT count(*) FROM members')).toBe('3');
  await expectNothingLeft(stack, recorded);
  const second = await stack.update();
  expect(second.outcome?.result, second.story).toBe('nothing-to-do');
});

it('killed while its release serves: the release stays, with what people wrote since, unless nobody can say that it is well', async () => {
  const stack = await shop();
  await stack.push('1.1.0');
  await killBefore(stack, 'verify');
  await eventually(() => stack.post('/members?name=Since&email=since@example.org'));

  // What the files say now is not what runs: whether that is well cannot be judged.
  const compose = await stack.read('compose.yaml');
  await stack.edit((model) => {
    model.services['app']!['environment'] = { CHANGED: '1' };
  });
  const unsure = await stack.safeUpdate(['--yes', '--json', '--stable-for', '1s']);
  expect(unsure.exitCode, unsure.story).not.toBe(0);
  expect(unsure.outcome?.error?.message).toMatch(/have changed since .*What is known of it: .*members/s);
  expect(unsure.outcome?.error?.hint).toContain(`recover --confirm ${stack.project}`);
  expect((await stack.get('/version')).trim()).toBe('1.1.0');

  await stack.write('compose.yaml', compose);
  const run = await recover(stack);
  expect(run.exitCode, run.story).toBe(0);
  expect(run.outcome?.result).toBe('updated');
  expect((await stack.get('/version')).trim()).toBe('1.1.0');
  expect(await stack.sql('SELECT count(*) FROM members')).toBe('4');
  await expectNothingLeft(stack, run);
  const back = await stack.safeUpdate([
    'rollback',
    '--confirm',
    stack.project,
    '--json',
    '--stable-for',
    '1s',
  ]);
  expect(back.exitCode, back.story).toBe(0);
  expect(await stack.sql('SELECT count(*) FROM members')).toBe('3');
});

it('killed while the stack is down, or with a bad release up, it is dealt with by the next update', async () => {
  const stack = await shop();
  await stack.push('1.1.0');
  const before = await snapshot(stack);
  await killBefore(stack, 'seal');
  expect((await stack.containers()).some(({ State }) => State.Running)).toBe(false);

  // The next update finds a worse release, and is killed where that has destroyed data already.
  await stack.push('drop-table');
  await killBefore(stack, 'verify');
  await eventually(async () => {
    await expect(stack.sql('SELECT count(*) FROM members')).rejects.toThrow(/does not exist/);
  });

  await stack.push('1.1.0');
  const run = await stack.update();
  expect(run.exitCode, run.story).toBe(0);
  expect(run.outcome?.result).toBe('updated');
  expect(run.story).toMatch(/was interrupted after the step up/);
  const rows = (taken: Snapshot): unknown =>
    taken.rows['db-1']?.match(/^\d+\t(Ada|Grace|Edsger)\t.*$/gm)?.length;
  const after = await snapshot(stack);
  expect(rows(after)).toBe(rows(before));
  expect(after.keys).toEqual(before.keys);
  const uploads = `${stack.project}_uploads`;
  expect(after.digests[uploads]?.tar).toBe(before.digests[uploads]?.tar);
  expect((await stack.get('/version')).trim()).toBe('1.1.0');
  expect(await stack.sql('SELECT count(*) FROM members')).toBe('3');
  await expectNothingLeft(stack, run);
});

it('a signal before anything is stopped leaves everything as it is', async () => {
  const stack = await shop();
  await stack.push('1.1.0');
  const before = await snapshot(stack);
  for (const [step, signal, exitCode] of [
    ['pull', 'SIGINT', 130],
    ['measure', 'SIGHUP', 129],
    ['dump', 'SIGTERM', 143],
  ] as const) {
    const running = stack.start(quick);
    await running.step(step);
    running.kill(signal);
    const run = await running.finished;
    expect(run.exitCode, run.story).toBe(exitCode);
    expect(run.outcome?.error?.code, step).toBe('interrupted');
    expect(run.outcome?.error?.state, step).toMatch(/^Nothing was touched/);
    expectUntouched(before, await snapshot(stack));
    await expectNothingLeft(stack, run);
    expect(await stack.backups(), step).toEqual([]);
  }
});

it.runIf(turn(0, 2))('a signal while the stack is down starts the same containers again', async () => {
  const stack = await shop();
  await stack.push('1.1.0');
  const before = await snapshot(stack);
  const running = stack.start(quick);
  await running.step('archive');
  running.kill('SIGTERM');
  const run = await running.finished;
  expect(run.exitCode, run.story).toBe(143);
  expect(run.outcome?.error?.code).toBe('interrupted');
  const after = await snapshot(stack);
  expectSame(before, after);
  for (const [key, { id }] of Object.entries(before.services)) expect(after.services[key]?.id, key).toBe(id);
  await expectNothingLeft(stack, run);
});

it.runIf(turn(1, 2))(
  'SIGINT during the verification rolls back, and a second and third one do not disturb that',
  async () => {
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
  },
);
