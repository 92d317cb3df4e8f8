import { open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { messageOf, SafeUpdateError } from '../../model/error.ts';
import { importBackup } from '../../update/transfer.ts';
import type { CommandInput } from '../command.ts';
import { print } from '../print.ts';
import { commandLine, createRuntime } from '../runtime.ts';

export async function run({ args, flags, commands }: CommandInput): Promise<number> {
  const [file = ''] = args;
  if (file === '-' && process.stdin.isTTY) {
    throw new SafeUpdateError('usage', 'There is no backup to be typed.', {
      state: 'Nothing was touched.',
      hint: 'Name a file, or send one: ssh … safe-update export BACKUP - | safe-update import -',
    });
  }
  const runtime = await createRuntime(undefined, flags, commands, true);
  try {
    const input = file === '-' ? process.stdin : await openFile(file);
    const imported = await importBackup(runtime.context, input);
    await runtime.close();
    const next = commandLine(`restore ${imported.backup} --as ${imported.project}`, undefined, {
      ...(flags.backups === undefined ? {} : { backups: flags.backups }),
    });
    await print(flags, { ...imported, next }, (style) =>
      [
        `${style.green('✔')} ${imported.backup} of ${imported.project} is in ${imported.location}${imported.images ? ', its images are on the engine' : ''}`,
        `  Every checksum is right. To bring it up: ${style.bold(style.cyan(next))}`,
      ].join('\n'),
    );
    return 0;
  } finally {
    await runtime.close();
  }
}

async function openFile(file: string): Promise<Readable> {
  try {
    return (await open(file)).createReadStream({ highWaterMark: 1 << 18 });
  } catch (error) {
    throw new SafeUpdateError('usage', `${file} cannot be read: ${messageOf(error)}`, {
      state: 'Nothing was touched.',
      hint: 'Name the file that safe-update export has written.',
    });
  }
}
