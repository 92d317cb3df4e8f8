import { afterAll, beforeAll, expect, it } from 'vitest';
import { ownEngine, type OwnEngine } from '../e2e/second-engine.ts';
import { docker, expectNothingLeft, expectSame, expectUntouched, quick, snapshot } from '../e2e/stack.ts';
import { chosen, turn } from './campaign.ts';
import { confirmed, runWhile } from './kill.ts';
import { expectOldOrNew, shopOn } from './old-or-new.ts';

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

const ends = [
  ['SIGTERM', 'dump'],
  ['SIGKILL', 'archive'],
  ['SIGTERM', 'archive'],
  ['SIGKILL', 'up'],
] as const;

it.each(chosen(ends, 1))(
  'dockerd is ended by %s in the step %s, and comes back after a while',
  async (signal, step) => {
    const stack = await shopOn(engine);
    await stack.push('1.1.0');
    const before = await snapshot(stack);
    const running = stack.start(quick);
    await running.step(step);
    await engine.restart(signal, 5000);
    await expectOldOrNew(stack, before, await running.finished);
  },
);

it.runIf(turn(0, 2))('dockerd is killed in the rollback, and comes back after a while', async () => {
  const stack = await shopOn(engine);
  await stack.push('drop-table');
  const before = await snapshot(stack);
  const running = stack.start(quick);
  await running.step('undo-data');
  await engine.restart('SIGKILL', 5000);
  const run = await running.finished;
  expect([4, 5], run.story).toContain(run.exitCode);
  await expectOldOrNew(stack, before, run);
});

it.runIf(turn(1, 2))(
  'dockerd is started anew between two runs, and networks and ids are others',
  async () => {
    const stack = await shopOn(engine);
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
  },
);

/** What tired people type when a disk is full. */
const prunes = [
  ['image', 'prune', '--all', '--force'],
  ['volume', 'prune', '--all', '--force'],
  ['system', 'prune', '--all', '--force', '--volumes'],
];

const meanwhile = [
  ['a good update', 'archive', '1.1.0'],
  ['a bad update', 'archive', 'drop-table'],
  ['the rollback of a bad update', 'undo-data', 'drop-table'],
] as const;

it.runIf(turn(0, 2)).each(chosen(meanwhile, 1))(
  'somebody prunes everything while the stack is down: in %s',
  async (_, step, release) => {
    const stack = await shopOn(engine);
    await stack.push(release);
    const before = await snapshot(stack);
    const run = await runWhile(stack, step, async () => {
      for (const prune of prunes) await docker(prune);
    });
    await expectOldOrNew(stack, before, run);
  },
);

it.runIf(turn(1, 2))(
  'somebody prunes everything after an update: a later rollback finds its images, or says that it cannot',
  async () => {
    const stack = await shopOn(engine);
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
  },
);
