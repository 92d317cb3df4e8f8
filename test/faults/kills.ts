/**
 * Every kind of run that is killed with -9, and at what: each begin, middle and end of each of its steps with
 * `scripts/test --all`; else those between which data could be lost, and some others, which every commit rotates.
 */
import { expect } from 'vitest';
import { generateKey } from '../../src/backup/age.ts';
import { expectSame, quick, shop, snapshot, type Finished, type Snapshot, type Stack } from '../e2e/stack.ts';
import { chosen, randomNumbers, rotation } from './campaign.ts';
import { confirmed, expectRecovered, goodRelease, killed, wordsFor, type End, type Instant } from './kill.ts';

interface KilledRun {
  /** A stack with which the command has something to do. */
  make(): Promise<Stack>;
  /** Brings it to where the command can be killed: after each recovery again. */
  prepare?(stack: Stack): Promise<unknown>;
  args(stack: Stack): Promise<readonly string[]> | readonly string[];
  /** Its steps, in order. Those before `from` are another kind's. */
  steps: readonly string[];
  from?: string;
  /** The steps of a plan: noted in the journal, and paused at before that too. */
  planned?: readonly string[];
  /** Killed at the begin and at the end of these each time. */
  always?: readonly string[];
  /** How many others are tried each time. */
  some: number;
  /** What a run that was not stopped in time has come to. */
  end?(before: Snapshot): End;
}

const update = [
  ...['lock', 'pin', 'pull', 'measure', 'dump', 'stop', 'archive', 'seal'],
  ...['remove', 'up', 'verify', 'commit', 'prune'],
];
const backup = ['lock', 'measure', 'dump', 'stop', 'archive', 'seal', 'start', 'verify', 'prune'];
const undone = [
  'undo-stop',
  'undo-keep',
  'undo-check',
  'undo-containers',
  'undo-data',
  'undo-start',
  'undo-verify',
];
const restored = ['check', 'stop', 'keep', 'containers', 'data', 'start', 'verify'];

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

async function shopBefore(release: 'drop-table' | '1.1.0'): Promise<Stack> {
  const stack = await shop();
  await stack.push(release);
  return stack;
}

const restoreFirst = async (stack: Stack, ...only: string[]): Promise<string[]> => [
  ...['restore', (await stack.backups())[0]?.id ?? 'none'],
  ...only,
  ...confirmed(stack),
];

const firstRelease = (): End => ({
  version: '1.0.0',
  async check(stack) {
    expect(await stack.sql('SELECT count(*) FROM members')).toBe('3');
  },
});

export const killedRuns = {
  'a good update': {
    make: () => shopBefore('1.1.0'),
    args: () => quick,
    steps: update,
    planned: update.slice(1),
    always: ['archive', 'seal', 'remove', 'up'],
    some: 2,
    end: goodRelease,
  },
  'a bad update and its rollback': {
    make: () => shopBefore('drop-table'),
    args: () => quick,
    steps: [...update.slice(0, update.indexOf('commit')), ...undone],
    from: 'verify',
    always: ['undo-data'],
    some: 1,
  },
  'a bad update and its rollback, with encrypted backups': {
    async make() {
      const stack = await shopBefore('drop-table');
      const { recipient } = await generateKey();
      await stack.write(
        'safe-update.yml',
        `backups:\n  encryption:\n    recipients:\n      - ${recipient}\n`,
      );
      return stack;
    },
    args: () => quick,
    steps: [...update.slice(0, update.indexOf('commit')), ...undone],
    from: 'dump',
    some: 1,
  },
  'recover itself': {
    make: () => shopBefore('drop-table'),
    prepare: (stack) => killed(stack, quick, { at: 'verify:begin' }),
    args: () => ['recover', '--json', '--stable-for', '1s'],
    // The release is up: whether it is well is looked at first.
    steps: ['up', 'verify', ...undone],
    from: 'undo-stop',
    some: 1,
  },
  'a rollback': {
    make: updatedShop,
    args: (stack) => ['rollback', ...confirmed(stack)],
    steps: restored,
    some: 1,
    end: firstRelease,
  },
  'a backup': {
    make: updatedShop,
    args: () => ['backup', ...quick],
    steps: backup,
    planned: backup.slice(1),
    some: 1,
  },
  'a restore': {
    make: updatedShop,
    args: (stack) => restoreFirst(stack),
    steps: restored,
    some: 1,
    end: firstRelease,
  },
  'a restore of one volume': {
    make: updatedShop,
    args: (stack) => restoreFirst(stack, '--only', 'volume:uploads'),
    steps: restored.filter((step) => step !== 'containers'),
    some: 1,
  },
  'a restore of one database': {
    make: updatedShop,
    args: (stack) => restoreFirst(stack, '--only', 'database:db'),
    steps: ['check', 'stop', 'keep', 'database db', 'start', 'verify'],
    some: 1,
  },
} satisfies Record<string, KilledRun>;

export type KilledRunName = keyof typeof killedRuns;

/** The begin, the middle and the end of every one of these steps. What is in the middle is a matter of luck. */
function instantsIn(steps: readonly string[], planned: readonly string[], random: () => number): Instant[] {
  return steps.flatMap((step) => [
    ...(planned.includes(step) ? [{ at: step }] : []),
    { at: `${step}:begin` },
    { in: step, after: 20 + 700 * random() },
    // One that fails has no end to wait at.
    ...(step === 'verify' ? [] : [{ at: `${step}:end` }]),
  ]);
}

/** Kills this kind of run at its instants, one after the other, and each time sees that `recover` makes it good. */
export async function killEverywhere(name: KilledRunName): Promise<void> {
  const kind: KilledRun = killedRuns[name];
  const { steps, planned = [], always = [], from } = kind;
  const tried = from === undefined ? steps : steps.slice(steps.indexOf(from));
  const certain = always.flatMap((step): Instant[] => [{ at: `${step}:begin` }, { at: `${step}:end` }]);
  const words = new Set(certain.map(wordsFor));
  const others = instantsIn(tried, planned, randomNumbers(rotation)).filter(
    (one) => !words.has(wordsFor(one)),
  );
  const stack = await kind.make();
  const was = await snapshot(stack);
  for (const instant of [...certain, ...chosen(others, kind.some)]) {
    await kind.prepare?.(stack);
    const run = await killed(stack, await kind.args(stack), instant);
    expect(steps, `the steps of ${name}: ${run.story}`).toEqual(expect.arrayContaining(run.steps));
    // Whoever recovers may be killed as well.
    if (name === 'recover itself') await killed(stack, await kind.args(stack), { after: 2000 });
    const what = `${name}, ${wordsFor(instant)}, rotation ${rotation}`;
    if ((await expectRecovered(stack, was, what, kind.end?.(was))) === 'before') continue;
    await goBack(stack, was, name);
  }
}

/** The run had come to its end. Going back by hand leads to the same place. */
async function goBack(stack: Stack, was: Snapshot, name: KilledRunName): Promise<void> {
  const kept = (await stack.backups()).filter(({ manifest }) => manifest.kind === 'pre-restore').at(-1);
  const args = name === 'a good update' ? ['rollback'] : ['restore', kept?.id ?? 'none'];
  const back: Finished = await stack.safeUpdate([...args, ...confirmed(stack)]);
  expect(back.exitCode, back.story).toBe(0);
  expectSame(was, await snapshot(stack));
}
