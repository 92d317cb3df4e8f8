import { lastUpdate, restore } from '../../update/restore.ts';
import { conclude } from '../conclude.ts';
import { confirmName, leftAsItIs } from '../confirm.ts';
import { projectNameOf } from '../project-name.ts';
import type { CommandInput } from '../command.ts';
import { createRuntime } from '../runtime.ts';
import { formatTime } from '../time.ts';

export async function run({ args, flags, commands }: CommandInput): Promise<number> {
  const runtime = await createRuntime(args[0], flags, commands);
  return conclude(runtime, async () => {
    const { context } = runtime;
    const project = await projectNameOf(context);
    return restore(context, project, {
      backup: await lastUpdate(context, project),
      selection: { what: 'all' },
      kind: 'rollback',
      confirm: ({ manifest }) =>
        confirmName(
          flags,
          project,
          `This takes ${project} back to before the update of ${formatTime(manifest.createdAt)}: images, configuration and data.\nWhat was written since is kept in a backup first.${leftAsItIs(manifest.notCovered)}`,
        ),
    });
  });
}
