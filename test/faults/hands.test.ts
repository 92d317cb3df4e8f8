import { rename, rm, truncate, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { expectGoodUpdate, expectIntact, expectRefused } from '../e2e/outcomes.ts';
import { docker, eventually, expectNothingLeft, expectSame, quick, shop, snapshot } from '../e2e/stack.ts';
import { chosen, turn } from './campaign.ts';
import { confirmed, expectRecovered, goodRelease, killed, recover, runWhile } from './kill.ts';

it.runIf(turn(1, 2))(
  'files that are changed or deleted during a bad update: the rollback needs none of them and changes none',
  async () => {
    const stack = await shop();
    await stack.push('drop-table');
    const before = await snapshot(stack);
    const composeFile = path.join(stack.directory, 'compose.yaml');
    const run = await runWhile(stack, 'verify', async () => {
      await rename(composeFile, `${composeFile}.kept`);
      await stack.write('.env', 'DB_PASSWORD=other\n');
    });
    expect(run.exitCode, run.story).toBe(4);
    expect(await readdir(stack.directory)).not.toContain('compose.yaml');
    expect(await stack.read('.env')).toBe('DB_PASSWORD=other\n');
    await rename(`${composeFile}.kept`, composeFile);
    await stack.write('.env', before.files['.env'] ?? '');
    expectSame(before, await snapshot(stack));
    await expectNothingLeft(stack, run);
  },
);

it.runIf(turn(0, 2))(
  'files that are deleted after an update: rolling back by hand needs none of them',
  async () => {
    const stack = await shop();
    await stack.push('1.1.0');
    const before = await snapshot(stack);
    const updated = await stack.update();
    expect(updated.exitCode, updated.story).toBe(0);
    await rm(path.join(stack.directory, 'compose.yaml'));
    await stack.write('compose.yaml', 'services: [broken');
    const back = await stack.safeUpdate(['rollback', ...confirmed(stack)]);
    expect(back.exitCode, back.story).toBe(0);
    expect(await stack.read('compose.yaml')).toBe('services: [broken');
    await stack.write('compose.yaml', before.files['compose.yaml'] ?? '');
    expectSame(before, await snapshot(stack));
  },
);

const byHand = [
  ['up', 'archive', ['up', '--detach', '--no-recreate']],
  ['stop', 'verify', ['stop', 'app']],
  ['rm', 'verify', ['rm', '--stop', '--force', 'app']],
  ['up', 'undo-data', ['up', '--detach', '--no-recreate']],
] as const;

it.each(chosen(byHand, 1))('docker compose %s, by hand, in the step %s', async (_, step, command) => {
  const stack = await shop();
  await stack.push(step === 'undo-data' ? 'drop-table' : '1.1.0');
  const before = await snapshot(stack);
  const run = await runWhile(stack, step, () => stack.compose(command));
  try {
    expect([0, 4, 5]).toContain(run.exitCode);
    if (run.exitCode === 0) {
      // Only where it cannot have done any harm.
      expect(step).toBe('archive');
      await goodRelease(before).check(stack);
    } else if (run.exitCode === 5) {
      expect(run.outcome?.error?.hint).toContain('safe-update recover');
      await stack.compose(['stop']);
      await expectRecovered(stack, before, 'an incomplete rollback');
    } else expectSame(before, await snapshot(stack));
    await expectNothingLeft(stack, run);
    for (const backup of await stack.backups()) await expectIntact(backup);
  } catch (error) {
    throw new Error(run.story, { cause: error });
  }
});

it.runIf(turn(1, 2))(
  'its lock is taken away in the middle: it goes on to a good end, and leaves nothing',
  async () => {
    const stack = await shop();
    await stack.push('drop-table');
    const before = await snapshot(stack);
    const run = await runWhile(stack, 'archive', () =>
      docker(['rm', '--force', `safe-update-lock-${stack.project}`]),
    );
    expect(run.exitCode, run.story).toBe(4);
    expectSame(before, await snapshot(stack));
    await expectNothingLeft(stack, run);
  },
);

it.runIf(turn(0, 3)).each(chosen(['archive', 'verify', 'undo-data'], 1))(
  'the folder of its journals is removed in the step %s',
  async (step) => {
    const stack = await shop();
    await stack.push('drop-table');
    const before = await snapshot(stack);
    const run = await runWhile(stack, step, () =>
      rm(path.join(stack.backupFolder, '.safe-update'), { recursive: true }),
    );
    expect([4, 5], run.story).toContain(run.exitCode);
    expectSame(before, await snapshot(stack));
    const again = await recover(stack);
    expect(again.exitCode, again.story).toBe(0);
    await expectGoodUpdate(stack);
  },
);

it.runIf(turn(1, 3))(
  'the last line of the journal is torn at every byte: it is recovered from what is left',
  async () => {
    const stack = await shop();
    await stack.push('drop-table');
    const before = await snapshot(stack);
    const torn = [
      ['archive:begin', 1],
      ['verify:begin', 9],
      ['undo-data:begin', 30],
    ] as const;
    for (const [point, bytes] of chosen(torn, 1)) {
      await killed(stack, quick, { at: point });
      const folder = path.join(stack.backupFolder, '.safe-update');
      const [journal = ''] = (await readdir(folder))
        .filter((name) => name.endsWith('.jsonl'))
        .sort()
        .slice(-1);
      const file = path.join(folder, journal);
      const text = await readFile(file, 'utf8');
      await truncate(file, text.length - bytes);
      await expectRecovered(stack, before, `${point}, ${bytes} bytes less`);
    }
  },
);

it.runIf(turn(2, 3))(
  'the record of the stack is gone: it says which backup has the data, and a restore of it brings it back',
  async () => {
    const stack = await shop();
    await stack.push('drop-table');
    const before = await snapshot(stack);
    await killed(stack, quick, { at: 'verify:end' }).catch(() => undefined);
    await killed(stack, quick, { at: 'undo-data:begin' });
    const folder = path.join(stack.backupFolder, '.safe-update');
    for (const name of await readdir(folder))
      if (name.endsWith('.stack.json')) await rm(path.join(folder, name));
    const run = await recover(stack);
    expect(run.exitCode, run.story).toBe(5);
    expect(run.outcome?.error?.message).toMatch(/record of the stack/);
    expect(run.outcome?.error?.state).toMatch(/its data is in its volumes and backups/);
    expect(before.volumes.length).toBeGreaterThan(0);
    for (const backup of await stack.backups()) await expectIntact(backup);
  },
);

it('the folder is renamed, and so the project: refused, for it would start on new, empty volumes', async () => {
  const stack = await shop();
  const before = await snapshot(stack);
  const elsewhere = `${stack.directory}-moved`;
  await rename(stack.directory, elsewhere);
  try {
    const run = await stack.safeUpdate(['-p', 'another-name', ...quick], { cwd: elsewhere });
    expect(run.exitCode, run.story).toBe(3);
    expect(run.outcome?.error?.message).toContain(
      `that was in ${stack.directory} runs as the project ${stack.project}`,
    );
    expect(run.outcome?.error?.hint).toContain(`--project-name ${stack.project}`);
  } finally {
    await rename(elsewhere, stack.directory);
  }
  await expectRefused(stack, before, await stack.safeUpdate(['-p', 'another-name', ...quick]), {
    exitCode: 3,
    reason: new RegExp(`runs as the project ${stack.project}`),
  });
  expect(await docker(['volume', 'ls', '--quiet', '--filter', 'name=another-name'])).toBe('');
  await eventually(() => stack.get('/version'));
});
