import { unfinishedRun } from '../../update/journal.ts';
import { pruneBackups } from '../../update/steps.ts';
import { SafeUpdateError } from '../../model/error.ts';
import { describeRetention } from '../../model/retention.ts';
import type { Context } from '../../update/context.ts';
import { lockProject, runName, waitUntilFree } from '../../update/session.ts';
import { print } from '../print.ts';
import { projectNameOf } from '../project-name.ts';
import type { CommandInput } from '../command.ts';
import { createRuntime } from '../runtime.ts';

export async function run({ args, flags, commands }: CommandInput): Promise<number> {
  const runtime = await createRuntime(args[0], flags, commands);
  try {
    const { context } = runtime;
    const project = await projectNameOf(context);
    await waitUntilFree(context, project);
    if ((await unfinishedRun(context.stateFor(project))) !== undefined) {
      throw new SafeUpdateError(
        'unfinished',
        'An earlier run was interrupted; its backup may still be needed.',
        {
          state: 'Nothing was removed.',
          hint: 'Run first: safe-update recover',
        },
      );
    }
    const removed =
      flags.dryRun === true
        ? await pruneBackups(context, project, [], true)
        : await underLock(context, project);
    await print(flags, { removed, dryRun: flags.dryRun === true }, () => {
      if (removed.length === 0)
        return `Nothing to remove. Kept: ${describeRetention(context.settings.backups.keep)}.`;
      return `${flags.dryRun === true ? 'Would be removed' : 'Removed'}: ${removed.join(', ')}`;
    });
    return 0;
  } finally {
    await runtime.close();
  }
}

/** With the lock in hand no run is using a backup that is about to go. */
async function underLock(context: Context, project: string): Promise<string[]> {
  const run = runName(context.clock.now(), context.owner.pid);
  const { lock } = await lockProject(context, project, run, 'prune');
  try {
    return await pruneBackups(context, project, []);
  } finally {
    await lock.release();
  }
}
