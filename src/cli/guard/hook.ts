import { hooks, isAgent, readRequest, type HookAnswer } from '../../guard/hook.ts';
import { readStdin, reason, verdictOn, write, wrong } from './common.ts';
import { readSurroundings } from './surroundings.ts';

/** Answers the agent whose request is on standard input, in its own way. Resolves with the exit code. */
export async function hook(argv: readonly string[]): Promise<number> {
  const [agent] = argv;
  if (!isAgent(agent) || argv.length !== 1)
    return wrong(`hook wants one of ${Object.keys(hooks).join(', ')}`);
  let answer: HookAnswer;
  try {
    answer = await answerTo(agent, await readStdin());
  } catch (error) {
    answer = hooks[agent].deny(`safe-update guard: refused, as this went wrong: ${String(error)}`);
  }
  if (answer.stdout !== '') await write('stdout', answer.stdout);
  if (answer.stderr !== '') await write('stderr', answer.stderr);
  return answer.exitCode;
}

/** Given an agent's request, return the answer. */
export async function answerTo(
  agent: keyof typeof hooks,
  text: string,
  decide: typeof verdictOn = verdictOn,
): Promise<HookAnswer> {
  const { allow, deny } = hooks[agent];
  const request = readRequest(agent, text);
  if (request === 'other') return allow;
  if (request === 'malformed')
    return deny('safe-update guard: refused, as the request names no command that can be read');
  const verdict = await decide(request.text, readSurroundings(request.cwd), { gate: 'hook' });
  return verdict.decision === 'deny' ? deny(`safe-update guard: ${reason(verdict)}`) : allow;
}
