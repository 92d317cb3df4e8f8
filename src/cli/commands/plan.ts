import { planOnly } from '../../update/run.ts';
import type { CommandInput } from '../command.ts';
import { createRuntime } from '../runtime.ts';
import { print } from '../print.ts';

export async function run({ args, flags, commands }: CommandInput): Promise<number> {
  const runtime = await createRuntime(args[0], flags, commands);
  try {
    const plan = await planOnly(runtime.context);
    const { formatPlan } = await import('../view/plan.ts');
    await print(flags, plan, (style, columns) => formatPlan(plan, style, columns));
    return 0;
  } finally {
    await runtime.close();
  }
}
