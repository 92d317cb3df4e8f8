/** What may come of an engine that ends in the middle of a run. */
import { expect } from 'vitest';
import { expectIntact } from '../e2e/outcomes.ts';
import type { OwnEngine } from '../e2e/second-engine.ts';
import {
  eventually,
  expectNothingLeft,
  expectSame,
  shop,
  snapshot,
  type Finished,
  type Snapshot,
  type Stack,
} from '../e2e/stack.ts';
import { expectRecovered, goodRelease } from './kill.ts';

/** The shop on an engine of its own. */
export async function shopOn(engine: OwnEngine): Promise<Stack> {
  const stack = await shop({ start: false });
  await engine.serve(stack.port);
  await stack.up();
  await stack.fill();
  return stack;
}

/** As before, either by the run itself or by the `recover` that it names; or, if it says so, wholly new. */
export async function expectOldOrNew(stack: Stack, before: Snapshot, run: Finished): Promise<void> {
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
