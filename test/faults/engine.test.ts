import { afterAll, beforeAll, expect, it } from 'vitest';
import { ownEngine, type OwnEngine } from '../e2e/second-engine.ts';
import { expectIntact } from '../e2e/outcomes.ts';
import {
  docker,
  eventually,
  expectNothingLeft,
  expectSame,
  expectUntouched,
  quick,
  shop,
  snapshot,
  type Finished,
  type Snapshot,
  type Stack,
} from '../e2e/stack.ts';
import { confirmed, expectRecovered, goodRelease, runWhile } from './kill.ts';

/** What is done here to an engine must not be done to one that others use. */
let engine: OwnEngine;

beforeAll(async () => {
  const started = await ownEngine();
  if (typeof started === 'string') throw new Error(`an engine of its own is needed: ${started}`);
  engine = started;
});
afterAll(async () => {
  await engine.end();
});

async function shopThere(options: Parameters<typeof shop>[0] = {}): Promise<Stack> {
  const stack = await shop({ ...options, start: false });
  await engine.serve(stack.port);
  await stack.up();
  await stack.fill();
  return stack;
}

/** As before, either by the run itself or by the `recover` that it names; or, if it says so, wholly new. */
async function expectOldOrNew(stack: Stack, before: Snapshot, run: Finished): Promise<void> {
  try {
    expect([0, 3, 4, 5]).toContain(run.exitCode);
    if (run.exitCode === 3) {
      // dockerd stops containers when it ends, and starts them again; the run has stopped none.
      expect(run.outcome?.error?.state).toMatch(/^(Nothing was touched|No container was stopped)/);
      await eventually(async () => {
        expectSame(before, await snapshot(stack));
      });
    } else if (run.exitCode === 5) {
      expect(run.outcome?.error?.hint).toMatch(/safe-update recover/);
      await expectRecovered(stack, before, 'an incomplete rollback');
    } else if (run.exitCode === 4) expectSame(before, await snapshot(stack));
    else await goodRelease(before).check(stack);
    await expectNothingLeft(stack, run);
    for (const backup of await stack.backups()) await expectIntact(backup);
  } catch (error) {
    throw new Error(run.story, { cause: error });
  }
}

it.each([
  ['SIGTERM', 'dump'],
  ['SIGTERM', 'archive'],
  ['SIGKILL', 'archive'],
  ['SIGKILL', 'up'],
] as const)('dockerd is ended by %s in the step %s, and comes back after a while', async (signal, step) => {
  const stack = await shopThere();
  await stack.push('1.1.0');
  const before = await snapshot(stack);
  const running = stack.start(quick);
  await running.step(step);
  await engine.restart(signal, 5000);
  await expectOldOrNew(stack, before, await running.finished);
});

it('dockerd is killed in the rollback, and comes back after a while', async () => {
  const stack = await shopThere();
  await stack.push('drop-table');
  const before = await snapshot(stack);
  const running = stack.start(quick);
  await running.step('undo-data');
  await engine.restart('SIGKILL', 5000);
  const run = await running.finished;
  expect([4, 5], run.story).toContain(run.exitCode);
  await expectOldOrNew(stack, before, run);
});

it('dockerd is started anew between two runs, and networks and ids are others', async () => {
  const stack = await shopThere();
  await stack.push('1.1.0');
  const before = await snapshot(stack);
  const updated = await stack.update();
  expect(updated.exitCode, updated.story).toBe(0);
  await engine.restart('SIGTERM');
  await stack.compose(['down']);
  await stack.up();
  const back = await stack.safeUpdate(['rollback', ...confirmed(stack)]);
  expect(back.exitCode, back.story).toBe(0);
  expectSame(before, await snapshot(stack));
});

/** What tired people type when a disk is full. */
const prunes = [
  ['image', 'prune', '--all', '--force'],
  ['volume', 'prune', '--all', '--force'],
  ['system', 'prune', '--all', '--force', '--volumes'],
];

it.each([
  ['a good update', 'archive', '1.1.0'],
  ['a bad update', 'archive', 'drop-table'],
  ['the rollback of a bad update', 'undo-data', 'drop-table'],
] as const)('somebody prunes everything while the stack is down: in %s', async (_, step, release) => {
  const stack = await shopThere();
  await stack.push(release);
  const before = await snapshot(stack);
  const run = await runWhile(stack, step, async () => {
    for (const prune of prunes) await docker(prune);
  });
  await expectOldOrNew(stack, before, run);
});

it('somebody prunes everything after an update: a later rollback finds its images, or says that it cannot', async () => {
  const stack = await shopThere();
  await stack.push('1.1.0');
  const before = await snapshot(stack);
  const updated = await stack.update();
  expect(updated.exitCode, updated.story).toBe(0);
  await docker(['image', 'prune', '--all', '--force']);
  const between = await snapshot(stack);
  const back = await stack.safeUpdate(['rollback', ...confirmed(stack)]);
  if (back.exitCode === 0) expectSame(before, await snapshot(stack));
  else {
    expect(back.exitCode, back.story).toBe(3);
    expectUntouched(between, await snapshot(stack));
  }
  await expectNothingLeft(stack, back);
});
