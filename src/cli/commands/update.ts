import { update } from '../../update/run.ts';
import { conclude } from '../conclude.ts';
import { confirmPlan, requireSomebodyToAsk } from '../confirm.ts';
import type { CommandInput } from '../command.ts';
import { createRuntime } from '../runtime.ts';
import * as plan from './plan.ts';

export async function run(input: CommandInput): Promise<number> {
  const { args, flags, commands } = input;
  if (flags.dryRun === true) return plan.run(input);
  const runtime = await createRuntime(args[0], flags, commands);
  return conclude(runtime, async () => {
    requireSomebodyToAsk(flags);
    return update(runtime.context, { confirm: (shown) => confirmPlan(runtime, flags, 'Update', shown) });
  });
}
