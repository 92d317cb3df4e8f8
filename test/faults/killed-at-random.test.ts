import { cp, rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it, vi } from 'vitest';
import { expectIntact } from '../e2e/outcomes.ts';
import { expectNothingLeft, expectSame, quick, shop, snapshot, type Stack } from '../e2e/stack.ts';
import { amount, randomNumbers, rotation, whole } from './campaign.ts';
import { local } from '../e2e/stack-small.ts';
import { confirmed, expectRecovered, goodRelease, killed } from './kill.ts';
import { small } from './small.ts';

vi.setConfig({ testTimeout: whole ? 7_200_000 : 600_000 });

const seed = rotation;

const recoverArgs = ['recover', '--json', '--stable-for', '1s'];

it(`an update, good or bad, killed at random instants, and whoever recovers it too (rotation ${seed})`, async () => {
  const random = randomNumbers(seed);
  const stack = await shop();
  const before = await snapshot(stack);
  const good = goodRelease(before);
  for (let count = 0; count < amount({ some: 1, all: 120 }); count += 1) {
    const release = random() < 0.5 ? '1.1.0' : 'drop-table';
    await stack.push(release);
    // A good update takes about ten seconds here, a bad one twice that.
    const after = random() * (release === '1.1.0' ? 11_000 : 22_000);
    let what = `${release}, ${Math.round(after)} ms`;
    await killed(stack, quick, { after });
    for (let again = random(); again < 0.4; again = random()) {
      const later = again * 15_000;
      what += `, recover ${Math.round(later)} ms`;
      await killed(stack, recoverArgs, { after: later });
    }
    if ((await expectRecovered(stack, before, what, good)) === 'before') continue;
    const back = await stack.safeUpdate(['rollback', ...confirmed(stack)]);
    expect(back.exitCode, `${what}: ${back.story}`).toBe(0);
    expectSame(before, await snapshot(stack));
  }
});

it(`a restore and a rollback, killed at random instants (rotation ${seed})`, async () => {
  const random = randomNumbers(seed + 1);
  const stack = await shop();
  await stack.push('1.1.0');
  const updated = await stack.update();
  expect(updated.exitCode, updated.story).toBe(0);
  await stack.post('/members?name=Later&email=later@example.org');
  const [first] = await stack.backups();
  const before = await snapshot(stack);
  const former = {
    version: '1.0.0',
    check: async (now: Stack): Promise<void> => {
      expect(await now.sql('SELECT count(*) FROM members')).toBe('3');
    },
  };
  for (let count = 0; count < amount({ some: 1, all: 40 }); count += 1) {
    const args =
      random() < 0.5 ? ['rollback', ...confirmed(stack)] : ['restore', first?.id ?? '', ...confirmed(stack)];
    const after = random() * 12_000;
    const what = `${args[0] ?? ''}, ${Math.round(after)} ms`;
    await killed(stack, args, { after });
    if ((await expectRecovered(stack, before, what, former)) === 'before') continue;
    const [kept] = (await stack.backups())
      .filter(({ manifest }) => manifest.kind === 'pre-restore')
      .slice(-1);
    const back = await stack.safeUpdate(['restore', kept?.id ?? '', ...confirmed(stack)]);
    expect(back.exitCode, `${what}: ${back.story}`).toBe(0);
    expectSame(before, await snapshot(stack));
  }
});

it(`a prune, killed at random instants: what is left is whole, the newest is there, and again completes it (rotation ${seed})`, async () => {
  const random = randomNumbers(seed + 2);
  const { stack } = await small();
  await stack.write('safe-update.yml', 'backups: { keep: 100 }\n');
  for (let count = 0; count < 5; count += 1) {
    const made = await stack.safeUpdate(['backup', '--consistency', 'hot', '--json', ...local]);
    expect(made.exitCode, made.story).toBe(0);
  }
  const [newest] = (await stack.backups()).slice(-1);
  const kept = `${stack.backupFolder}.kept`;
  await cp(stack.backupFolder, kept, { recursive: true, preserveTimestamps: true });
  const prune = ['prune', '--keep', '1', '--json'];
  const from = performance.now();
  const whole = await stack.safeUpdate(prune);
  const took = performance.now() - from;
  expect(whole.exitCode, whole.stderr).toBe(0);
  expect(await stack.backups()).toHaveLength(1);
  for (let count = 0; count < amount({ some: 3, all: 100 }); count += 1) {
    await rm(stack.backupFolder, { recursive: true });
    await cp(kept, stack.backupFolder, { recursive: true, preserveTimestamps: true });
    // The last part of the run is when it removes.
    const after = took * (0.4 + 0.6 * random());
    await killed(stack, prune, { after });
    await sleep(50);
    const left = await stack.backups();
    expect(left.at(-1)?.id, `${after} ms`).toBe(newest?.id);
    for (const backup of left) await expectIntact(backup);
    const again = await stack.safeUpdate(prune);
    expect(again.exitCode, again.stderr).toBe(0);
    expect((await stack.backups()).map(({ id }) => id)).toEqual([newest?.id]);
    const recovered = await stack.safeUpdate(recoverArgs);
    expect(recovered.exitCode, recovered.story).toBe(0);
    await expectNothingLeft(stack, again, recovered);
  }
});
