import { SafeUpdateError } from '../../model/error.ts';
import type { Plan } from '../../model/plan.ts';
import { update } from '../../update/run.ts';
import type { CommandInput } from '../program.ts';
import { createRuntime, type Runtime } from '../runtime.ts';
import { ask, wantsColour } from '../terminal.ts';
import { conclude } from '../conclude.ts';
import * as plan from './plan.ts';

export async function run(input: CommandInput): Promise<number> {
  if (input.flags.dryRun === true) return plan.run(input);
  const runtime = await createRuntime(input.args[0], input.flags, input.commands);
  return conclude(runtime, () => update(runtime.context, { confirm: (shown) => confirmPlan(runtime, input, shown) }));
}

async function confirmPlan({ context }: Runtime, { flags }: CommandInput, shown: Plan): Promise<boolean> {
  if (flags.yes === true) return true;
  const { formatPlan } = await import('../view/plan.ts');
  const { createStyle } = await import('../view/style.ts');
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new SafeUpdateError('usage', 'There is no terminal to ask on.', {
      state: 'Nothing was touched.',
      hint: 'In scripts, say yes beforehand: safe-update --yes. To see the plan: safe-update plan',
    });
  }
  const style = await createStyle(wantsColour(process.stderr));
  process.stderr.write(`${formatPlan(shown, style, process.stderr.columns || 80)}\n\n`);
  const answer = await ask(`Update ${context.settings.project.name ?? shown.project} now? [y/N] `);
  return /^(y|yes|o|oui)$/i.test(answer?.trim() ?? '');
}
