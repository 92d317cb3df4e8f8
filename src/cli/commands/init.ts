import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { parseConfig } from '../../config/parse.ts';
import { SafeUpdateError } from '../../model/error.ts';
import { counted } from '../../model/units.ts';
import { configurationFor } from '../../update/init.ts';
import { look } from '../../update/session.ts';
import type { CommandInput } from '../command.ts';
import { print } from '../print.ts';
import { createRuntime } from '../runtime.ts';
import { visibleLines } from '../view/escape.ts';

export async function run({ args, flags, commands }: CommandInput): Promise<number> {
  const runtime = await createRuntime(args[0], flags, commands);
  try {
    const { context, settings } = runtime;
    const observed = await look(context);
    await runtime.tellInterrupted(observed.project.name);
    const file = settings.configFile ?? path.join(observed.project.directory, 'safe-update.yml');
    const text = configurationFor(observed, { tool: context.tool, now: context.clock.now() });
    // A mistake in here would be ours, and must not be found by whoever updates next.
    parseConfig(text, file);
    if (flags.dryRun !== true) await writeNew(file, text);
    await print(flags, { file, text, written: flags.dryRun !== true }, (style) =>
      flags.dryRun === true
        ? visibleLines(text).join('\n')
        : [
            `${style.green('✔')} ${file} is written: ${counted(observed.volumes.length, 'volume')}, every one in the backup for now.`,
            '  Read it once and say of each volume what it holds. Then: safe-update plan',
          ].join('\n'),
    );
    return 0;
  } finally {
    await runtime.close();
  }
}

async function writeNew(file: string, text: string): Promise<void> {
  try {
    await writeFile(file, text, { flag: 'wx' });
  } catch (error) {
    if ((error as { code?: string }).code !== 'EEXIST') throw error;
    throw new SafeUpdateError('usage', `${file} is there already.`, {
      state: 'Nothing was touched.',
      hint: 'See what would be written: safe-update init --dry-run',
      cause: error,
    });
  }
}
