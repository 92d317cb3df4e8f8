import { Readable } from 'node:stream';
import type { Command, Exec, Finished } from '../../../src/docker/exec.ts';

type Answer = Partial<Finished>;

/** Programs that end at once: each answers what `answer` says, and is remembered. */
export function fakeExec(
  answer: (command: Command) => Answer | Promise<Answer> = () => ({}),
): Exec & { commands: Command[] } {
  const commands: Command[] = [];
  const finish = async (command: Command): Promise<Finished> => {
    commands.push(command);
    return { exitCode: 0, stdout: '', stderr: '', timedOut: false, ...(await answer(command)) };
  };
  return {
    commands,
    run: finish,
    stream(command) {
      const finished = finish(command);
      async function* printed() {
        yield Buffer.from((await finished).stdout);
      }
      return {
        stdout: Readable.from(printed()),
        done: finished.then((result) => ({ ...result, stdout: '' })),
        kill: () => undefined,
      };
    },
  };
}
