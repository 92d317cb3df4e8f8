/** An engine whose containers go on running while it does not. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ownEngine, type OwnEngine } from '../e2e/second-engine.ts';
import { docker, quick, snapshot } from '../e2e/stack.ts';
import { chosen } from './campaign.ts';
import { expectOldOrNew, shopOn } from './old-or-new.ts';

let engine: OwnEngine;
beforeAll(async () => {
  const started = await ownEngine({ flags: ['--live-restore'] });
  if (typeof started === 'string') throw new Error(`an engine of its own is needed: ${started}`);
  engine = started;
  expect(await docker(['info', '--format', '{{.LiveRestoreEnabled}}'])).toBe('true');
});
afterAll(async () => {
  await engine.end();
});

const moments = [
  ['SIGKILL', 'archive'],
  ['SIGTERM', 'archive'],
  ['SIGKILL', 'undo-data'],
] as const;

it.each(chosen(moments, 1))(
  'dockerd with live-restore is ended by %s in the step %s, and comes back after a while',
  async (signal, step) => {
    const stack = await shopOn(engine);
    await stack.push(step === 'undo-data' ? 'drop-table' : '1.1.0');
    const before = await snapshot(stack);
    const running = stack.start(quick);
    await running.step(step);
    await engine.restart(signal, 5000);
    await expectOldOrNew(stack, before, await running.finished);
  },
);
