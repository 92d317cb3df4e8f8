import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it, vi } from 'vitest';
import { stepNames } from '../../src/model/plan.ts';
import { expectSame, quick, shop, snapshot, type Stack } from '../e2e/stack.ts';
import { chosen, whole } from './campaign.ts';
import {
  confirmed,
  expectRecovered,
  goodRelease,
  instantsIn,
  killed,
  recover,
  stepsOf,
  wordsFor,
  type Instant,
} from './kill.ts';

// With the whole campaign each of these is some fifty runs and as many recoveries.
vi.setConfig({ testTimeout: whole ? 3_600_000 : 600_000 });

/** How many instants of a kind of run are tried where not all of them are. */
const some = 3;

/**
 * Those of a plan, which are noted in the journal, and can be paused at before that. The lock is taken before there is one.
 * A rollback and a restore have steps of the same names, and no plan.
 */
const planned: readonly string[] = stepNames.filter((name) => name !== 'observe' && name !== 'lock');

/** An updated shop, in which something was written since. */
async function updatedShop(): Promise<Stack> {
  const stack = await shop();
  await stack.push('1.1.0');
  const updated = await stack.update();
  expect(updated.exitCode, updated.story).toBe(0);
  await stack.post('/members?name=Later&email=later@example.org');
  await stack.post('/uploads/later', 'uploaded later');
  return stack;
}

/** Which instants there are is found out by a run on a stack of its own. */
async function instantsOf(
  make: () => Promise<Stack>,
  args: (stack: Stack) => readonly string[],
  { from, steps = planned }: { from?: string; steps?: readonly string[] } = {},
): Promise<Instant[]> {
  const trial = await make();
  const run = await trial.safeUpdate(args(trial));
  const timed = stepsOf(run);
  const first = from === undefined ? 0 : timed.findIndex(({ step }) => step === from);
  expect(first, `${String(from)} in ${run.story}`).toBeGreaterThanOrEqual(0);
  await trial.remove();
  return chosen(instantsIn(timed.slice(first), steps), some);
}

it('a good update, killed at the begin, in the middle and at the end of every step', async () => {
  const make = async (): Promise<Stack> => {
    const stack = await shop();
    await stack.push('1.1.0');
    return stack;
  };
  const instants = await instantsOf(make, () => quick);
  const stack = await make();
  const before = await snapshot(stack);
  const good = goodRelease(before);
  for (const instant of instants) {
    await killed(stack, quick, instant);
    const ended = await expectRecovered(stack, before, wordsFor(instant), good);
    if (ended === 'before') continue;
    // The update was recorded. Going back by hand leads to the same place.
    const back = await stack.safeUpdate(['rollback', ...confirmed(stack)]);
    expect(back.exitCode, back.story).toBe(0);
    expectSame(before, await snapshot(stack));
  }
});

it('a bad update, killed at the begin, in the middle and at the end of every step of its rollback', async () => {
  const make = async (): Promise<Stack> => {
    const stack = await shop();
    await stack.push('drop-table');
    return stack;
  };
  const instants = await instantsOf(make, () => quick, { from: 'up' });
  const stack = await make();
  const before = await snapshot(stack);
  for (const instant of instants) {
    await killed(stack, quick, instant);
    await expectRecovered(stack, before, wordsFor(instant));
  }
});

it('recover itself, killed at the begin, in the middle and at the end of every step', async () => {
  const make = async (): Promise<Stack> => {
    const stack = await shop();
    await stack.push('drop-table');
    await killed(stack, quick, { at: 'verify:begin' });
    await sleep(1000);
    return stack;
  };
  const instants = await instantsOf(make, () => ['recover', '--json', '--stable-for', '1s']);
  const stack = await shop();
  await stack.push('drop-table');
  const before = await snapshot(stack);
  for (const instant of instants) {
    await killed(stack, quick, { at: 'verify:begin' });
    // And twice: whoever recovers may be killed, and the one after that.
    await killed(stack, ['recover', '--json', '--stable-for', '1s'], instant);
    await killed(stack, ['recover', '--json', '--stable-for', '1s'], { after: 2000 });
    await expectRecovered(stack, before, wordsFor(instant));
  }
});

it.each([
  ['a rollback', (stack: Stack) => ['rollback', ...confirmed(stack)], []],
  ['a backup', () => ['backup', ...quick], planned],
])('%s, killed at the begin, in the middle and at the end of every step', async (_, args, steps) => {
  const instants = await instantsOf(updatedShop, args, { steps });
  const stack = await updatedShop();
  const before = await snapshot(stack);
  for (const instant of instants) {
    await killed(stack, args(stack), instant);
    await expectRecovered(stack, before, wordsFor(instant));
  }
});

it('a restore of one volume and one of one database, killed at the begin, in the middle and at the end of every step', async () => {
  for (const only of [['--only', 'volume:uploads'], ['--only', 'database:db'], []]) {
    const args = (id: string, stack: Stack): string[] => ['restore', id, ...only, ...confirmed(stack)];
    const firstOf = async (stack: Stack): Promise<string> => (await stack.backups())[0]?.id ?? 'none';
    const trial = await updatedShop();
    const run = await trial.safeUpdate(args(await firstOf(trial), trial));
    expect(run.exitCode, run.story).toBe(0);
    await trial.remove();
    const stack = await updatedShop();
    const id = await firstOf(stack);
    const before = await snapshot(stack);
    for (const instant of chosen(instantsIn(stepsOf(run), []), 1)) {
      await killed(stack, args(id, stack), instant);
      await expectRecovered(stack, before, `${only.join(' ')} ${wordsFor(instant)}`);
    }
  }
});

it('every command that only looks says first that a run was interrupted, and how to go on', async () => {
  const stack = await shop();
  await stack.push('1.1.0');
  const made = await stack.safeUpdate(['backup', '--consistency', 'hot', '--json']);
  const id = made.outcome?.backup ?? '';
  const first = await stack.safeUpdate(['status']);
  expect(first.stderr).not.toMatch(/interrupted/);

  const running = stack.start(quick, { env: { SAFE_UPDATE_PAUSE: 'verify:begin' } });
  await running.until((event) => event.type === 'notice' && event.message.startsWith('Paused'));
  const meanwhile = await stack.safeUpdate(['status']);
  expect(meanwhile.stderr, 'while it runs it is not interrupted').not.toMatch(/interrupted/);
  running.kill('SIGKILL');
  await running.finished;

  const told =
    /The update of \S+ was interrupted in the step verify\. To put everything back: safe-update recover/;
  for (const args of [
    ...[['status'], ['backups'], ['show', id], ['verify', id], ['history'], ['health', '--stable-for', '1s']],
    ...[['volumes'], ['export', id, '/dev/null/nowhere'], ['init', '--dry-run']],
  ]) {
    const { stderr, stdout } = await stack.safeUpdate(args);
    expect(stderr, args.join(' ')).toMatch(told);
    const json = await stack.safeUpdate([...args, '--json']);
    expect(json.stderr + json.stdout, `${args.join(' ')} --json`).toMatch(told);
    if (args[0] !== 'export' && args[0] !== 'health' && args[0] !== 'verify')
      expect(
        () => JSON.parse(json.stdout) as unknown,
        `${args.join(' ')} --json is one document`,
      ).not.toThrow();
    expect(stdout).not.toMatch(told);
  }
  const plan = await stack.safeUpdate(['plan']);
  expect(plan.stdout.replaceAll(/\s+/g, ' ')).toMatch(told);
  const prune = await stack.safeUpdate(['prune']);
  expect(prune.stderr).toMatch(/interrupted.*recover/s);
  expect((await recover(stack)).exitCode).toBe(0);
  const last = await stack.safeUpdate(['status']);
  expect(last.stderr).not.toMatch(/interrupted/);
});
