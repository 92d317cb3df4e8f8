import { backup } from '../../update/run.ts';
import { conclude } from '../conclude.ts';
import { confirmPlan } from '../confirm.ts';
import type { CommandInput } from '../command.ts';
import { createRuntime } from '../runtime.ts';

export async function run({ args, flags, commands }: CommandInput): Promise<number> {
  const runtime = await createRuntime(args[0], flags, commands);
  return conclude(runtime, () =>
    backup(runtime.context, {
      // A backup that stops nothing needs no question.
      confirm: async (plan) =>
        plan.steps.some(({ name }) => name === 'stop')
          ? confirmPlan(runtime, flags, 'Stop for a cold backup of', plan)
          : true,
    }),
  );
}
