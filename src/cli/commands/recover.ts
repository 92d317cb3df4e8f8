import { giveUp, recover } from '../../update/recover.ts';
import { projectNameOf } from '../project-name.ts';
import { confirmName } from '../confirm.ts';
import type { CommandInput } from '../command.ts';
import { createRuntime } from '../runtime.ts';
import { conclude } from '../conclude.ts';

export async function run({ args, flags, commands }: CommandInput): Promise<number> {
  const runtime = await createRuntime(args[0], flags, commands);
  return conclude(runtime, async () => {
    const project = await projectNameOf(runtime.context);
    const ask = (what: string): Promise<boolean> => confirmName(flags, project, what);
    if (flags.giveUp === true) return giveUp(runtime.context, project, ask);
    return recover(runtime.context, project, { confirm: ask });
  });
}
