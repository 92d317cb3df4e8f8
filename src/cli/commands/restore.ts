import path from 'node:path';
import { openBackup } from '../../backup/open.ts';
import { SafeUpdateError } from '../../model/error.ts';
import { restoreAs } from '../../update/restore-as.ts';
import { readSelection, restore, untouched } from '../../update/restore.ts';
import { findBackup } from '../../update/transfer.ts';
import { conclude } from '../conclude.ts';
import { confirmName, leftAsItIs } from '../confirm.ts';
import { projectNameOf } from '../project-name.ts';
import type { CommandInput } from '../command.ts';
import { createRuntime } from '../runtime.ts';
import { formatTime } from '../time.ts';

export async function run(input: CommandInput): Promise<number> {
  const { args, flags, commands } = input;
  if (flags.as !== undefined) return runAs(input, flags.as);
  if (flags.into !== undefined || flags.ports === false) {
    throw new SafeUpdateError('usage', '--into and --no-ports go with --as.', {
      state: 'Nothing was touched.',
      hint: 'For a new project: safe-update restore BACKUP --as PROJECT',
    });
  }
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
          `This replaces ${what} of ${project} by those of ${formatTime(manifest.createdAt)}. The present state is kept in a backup first.${selection.what === 'all' ? leftAsItIs(manifest.notCovered) : ''}`,
        );
      },
    });
  });
}

/** Nothing that exists is put back over, so nobody is asked. */
async function runAs({ args, flags, commands }: CommandInput, project: string): Promise<number> {
  const [backup = '', environment] = args;
  if (flags.only !== undefined || environment !== undefined) {
    throw new SafeUpdateError(
      'usage',
      `--as takes no ${environment === undefined ? '--only' : 'environment'}.`,
      {
        state: 'Nothing was touched.',
        hint: 'The new project is what the backup is of, with all that is in it.',
      },
    );
  }
  const runtime = await createRuntime(undefined, flags, commands, true);
  const open = await findBackup(runtime.context, backup).catch(async (error: unknown) => {
    await runtime.close();
    throw error;
  });
  return conclude(runtime, async () =>
    restoreAs(runtime.context, open, {
      project,
      directory: path.resolve(flags.into ?? project),
      ports: flags.ports !== false,
      contextAt: (directory, name) => runtime.contextAt(directory, name),
    }),
  );
}
