import { readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { recover } from '../faults/kill.ts';
import {
  eventually,
  expectNothingLeft,
  expectSame,
  expectUntouched,
  project,
  quick,
  shop,
  snapshot,
  type Snapshot,
  type Stack,
} from './stack.ts';
import { turn } from '../faults/campaign.ts';
import { buildImage, keeper, local, shell } from './stack-small.ts';

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

it.runIf(turn(0, 2))(
  'an interrupted run that cannot be undone is in nobody’s way: a restore of everything takes its place, or it is given up',
  async () => {
    const stack = await project({});
    const fast = ['--stable-for', '1s', ...local];
    const release = async (name: string, script: string): Promise<void> => {
      const image = await buildImage(stack, name, keeper({ script }));
      await stack.write(
        'compose.yaml',
        `services:\n  app:\n    image: ${image}\n    stop_grace_period: 0s\n    volumes: ['data:/data']\nvolumes: { data: {} }\n`,
      );
    };
    const file = async (): Promise<string> => shell(await stack.container('app'), 'cat /data/file');
    /** Killed where the volume has been emptied, and then the backup that belongs in it is gone. */
    const spoil = async (): Promise<void> => {
      await release('bad', 'echo ruined >/data/file; exit 1');
      const running = stack.start(['--yes', '--json', ...fast], {
        env: { SAFE_UPDATE_PAUSE: 'undo-data:begin' },
      });
      await running.until((event) => event.type === 'notice' && event.message.startsWith('Paused at '));
      running.kill('SIGKILL');
      await running.finished;
      const made = (await stack.backups()).findLast(({ manifest }) => manifest.kind === 'pre-update');
      await rm(made?.folder ?? 'none', { recursive: true });
      const run = await recover(stack);
      expect(run.exitCode, run.story).toBe(5);
      expect(run.outcome?.error?.hint).toMatch(/restore\. Or give it up: .*recover --give-up/);
    };
    await release('good', 'true');
    await stack.up();
    await shell(await stack.container('app'), 'echo first >/data/file');
    expect((await stack.safeUpdate(['backup', '--yes', ...fast])).exitCode).toBe(0);
    const [good] = await stack.backups();

    await spoil();
    const back = await stack.safeUpdate([
      'restore',
      good?.id ?? '',
      '--confirm',
      stack.project,
      '--json',
      ...fast,
    ]);
    expect(back.exitCode, back.story).toBe(0);
    expect(await file()).toBe('first');
    expect((await recover(stack)).outcome?.result).toBe('nothing-to-do');
    expect((await stack.safeUpdate(['history'])).stdout).toContain('superseded');

    await spoil();
    const unasked = await stack.safeUpdate(['recover', '--give-up', '--json']);
    expect(unasked.exitCode, unasked.story).not.toBe(0);
    const given = await stack.safeUpdate(['recover', '--give-up', '--confirm', stack.project, '--json']);
    expect(given.exitCode, given.story).toBe(0);
    expect((await recover(stack)).outcome?.result).toBe('nothing-to-do');
    await release('good', 'true');
    const on = await stack.safeUpdate(['--yes', '--json', ...fast]);
    expect(on.exitCode, on.story).toBe(0);
  },
);
