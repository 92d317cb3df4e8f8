import { formatBytes } from '../../model/units.ts';
import { copyVolume } from '../../update/copy.ts';
import { look } from '../../update/session.ts';
import type { CommandInput } from '../command.ts';
import { print } from '../print.ts';
import { createRuntime } from '../runtime.ts';

export async function run({ args, flags, commands }: CommandInput): Promise<number> {
  const [from = '', to = '', environment] = args;
  const runtime = await createRuntime(environment, flags, commands);
  try {
    const { context } = runtime;
    const observed = await look(context);
    await runtime.tellInterrupted(observed.project.name);
    const copied = await copyVolume(context, observed, from, to);
    await print(flags, copied, (style) => {
      const { entries, bytes } = copied.summary;
      const proof = copied.exact
        ? 'Both are equal: content, owners, modes, times, links and attributes.'
        : 'The source was in use: the copy may be older or newer than it in places.';
      return `${style.green('✔')} ${copied.from} → ${copied.to}: ${entries} files and folders, ${formatBytes(bytes)}\n  ${proof}`;
    });
    return 0;
  } finally {
    await runtime.close();
  }
}
