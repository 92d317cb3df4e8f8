import { openBackup } from '../../backup/open.ts';
import { readSelection, restore, untouched } from '../../update/restore.ts';
import { conclude } from '../conclude.ts';
import { confirmName } from '../confirm.ts';
import { projectNameOf } from '../project-name.ts';
import type { CommandInput } from '../command.ts';
import { createRuntime } from '../runtime.ts';
import { formatTime } from '../time.ts';

export async function run({ args, flags, commands }: CommandInput): Promise<number> {
  const runtime = await createRuntime(args[1], flags, commands);
  return conclude(runtime, async () => {
    const { context } = runtime;
    const project = await projectNameOf(context);
    const backup = args[0] ?? '';
    const { manifest } = await untouched(openBackup(context.storeFor(project), backup));
    const only = flags.only ?? [];
    const selection = readSelection(only, manifest);
    return restore(context, project, {
      backup,
      selection,
      kind: 'restore',
      confirm: () => {
        const what = selection.what === 'all' ? 'images, configuration and data' : only.join(', ');
        return confirmName(
          flags,
          project,
          `This replaces ${what} of ${project} by those of ${formatTime(manifest.createdAt)}. The present state is kept in a backup first.`,
        );
      },
    });
  });
}
