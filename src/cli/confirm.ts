import { SafeUpdateError } from '../model/error.ts';
import type { Plan } from '../model/plan.ts';
import type { GlobalFlags, Runtime } from './runtime.ts';
import { ask } from './terminal.ts';
import { visible } from './view/escape.ts';

/** Throws SafeUpdateError `usage` if a question could be answered neither by --yes nor on a terminal. */
export function requireSomebodyToAsk({ yes }: GlobalFlags): void {
  if (yes === true || (process.stdin.isTTY && process.stderr.isTTY)) return;
  throw new SafeUpdateError('usage', 'There is no terminal to ask on.', {
    state: 'Nothing was touched.',
    hint: 'In scripts, say yes beforehand with --yes. To see the plan first: safe-update plan',
  });
}

/**
 * Asks whether to go on with a plan that the view has just been given; with --yes, says yes. Off a terminal there is
 * nobody to ask: SafeUpdateError `usage`.
 */
export async function confirmPlan(
  { view }: Runtime,
  flags: GlobalFlags,
  verb: string,
  plan: Plan,
): Promise<boolean> {
  if (flags.yes === true) return true;
  await view.shown();
  requireSomebodyToAsk(flags);
  const answer = await ask(`${verb} ${visible(plan.project)} now? [y/N] `);
  return /^(y|yes|o|oui)$/i.test(answer?.trim() ?? '');
}

/** What a backup cannot put back, for the question; empty if there is nothing. `notCovered`: as its manifest has it. Pure. */
export function leftAsItIs(notCovered: readonly string[]): string {
  if (notCovered.length === 0) return '';
  return `\nNOT in that backup, and left as it is now: ${notCovered.map(visible).join(', ')}.`;
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
