import { stat } from 'node:fs/promises';
import path from 'node:path';
import { SafeUpdateError } from '../../model/error.ts';
import { formatBytes } from '../../model/units.ts';
import { exportBackup, findKept } from '../../update/transfer.ts';
import type { CommandInput } from '../command.ts';
import { print } from '../print.ts';
import { createRuntime } from '../runtime.ts';

export async function run({ args, flags, commands }: CommandInput): Promise<number> {
  const [id = '', file] = args;
  const toStream = file === '-';
  if (toStream) requireStream(flags);
  const runtime = await createRuntime(undefined, flags, commands, true);
  try {
    const { context } = runtime;
    const open = await findKept(context, id);
    const { manifest } = open;
    const name = manifest.format === 2 ? `${manifest.id}.tar` : `${manifest.project.name}-${manifest.id}.tar`;
    if (manifest.format !== 2) await runtime.tellInterrupted(manifest.project.name);
    const target = toStream ? { stream: process.stdout } : { file: await fileFor(file, name) };
    const exported = await exportBackup(context, open, target, { images: flags.images === true });
    await runtime.close();
    if (toStream) return 0;
    await print(flags, exported, (style) => {
      const images = exported.images > 0 ? ', with the images' : '';
      return [
        `${style.green('✔')} ${exported.file ?? ''}: ${exported.backup}${exported.project === undefined ? ', encrypted' : ` of ${exported.project}`}${images}, ${formatBytes(exported.bytes)}`,
        `  On the other server: safe-update import FILE${exported.project === undefined ? ' -p PROJECT' : ''}`,
      ].join('\n');
    });
    return 0;
  } finally {
    await runtime.close();
  }
}

function requireStream({ json }: { json?: boolean }): void {
  const why = process.stdout.isTTY
    ? 'A backup is no text for a terminal.'
    : json === true
      ? '--json and the backup cannot both go to standard output.'
      : undefined;
  if (why === undefined) return;
  throw new SafeUpdateError('usage', why, {
    state: 'Nothing was touched.',
    hint: 'Name a file, or send it on: safe-update export BACKUP - | ssh …',
  });
}

/** A folder gets a file of the usual name. */
async function fileFor(given: string | undefined, name: string): Promise<string> {
  if (given === undefined) return path.resolve(name);
  const found = await stat(given).catch(() => undefined);
  return found?.isDirectory() === true ? path.resolve(given, name) : path.resolve(given);
}
