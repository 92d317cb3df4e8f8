import { SafeUpdateError } from '../model/error.ts';
import type { Plan } from '../model/plan.ts';
import type { GlobalFlags } from './runtime.ts';
import { ask, wantsColour } from './terminal.ts';

/** Shows the plan and asks; with --yes, says yes. Off a terminal there is nobody to ask: SafeUpdateError `usage`. */
export async function confirmPlan(flags: GlobalFlags, verb: string, plan: Plan): Promise<boolean> {
  if (flags.yes === true) return true;
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new SafeUpdateError('usage', 'There is no terminal to ask on.', {
      state: 'Nothing was touched.',
      hint: 'In scripts, say yes beforehand with --yes. To see the plan first: safe-update plan',
    });
  }
  const { formatPlan } = await import('./view/plan.ts');
  const { createStyle } = await import('./view/style.ts');
  const style = await createStyle(wantsColour(process.stderr));
  process.stderr.write(`${formatPlan(plan, style, process.stderr.columns || 80)}\n\n`);
  const answer = await ask(`${verb} ${plan.project} now? [y/N] `);
  return /^(y|yes|o|oui)$/i.test(answer?.trim() ?? '');
}

/**
 * Asks for the project's name before data is put back over live data; --confirm gives it beforehand. `warning` says
 * what is about to be replaced by what.
 */
export async function confirmName(flags: GlobalFlags, project: string, warning: string): Promise<boolean> {
  const given = flags.confirm;
  if (given === undefined) process.stderr.write(`${warning}\n`);
  const answer = given ?? (await ask(`Type the project's name (${project}) to go on: `));
  if (answer === undefined) {
    throw new SafeUpdateError('usage', 'There is no terminal to ask on.', {
      state: 'Nothing was touched.',
      hint: `In scripts, name the project beforehand: --confirm ${project}`,
    });
  }
  return answer.trim() === project;
}
