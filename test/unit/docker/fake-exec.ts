import { Readable } from 'node:stream';
import type { Command, Exec, Finished } from '../../../src/docker/exec.ts';

/** Programs that ended at once: each answers what `answer` says, and is remembered. */
export function fakeExec(
  answer: (command: Command) => Partial<Finished> = () => ({}),
): Exec & { commands: Command[] } {
  const commands: Command[] = [];
  const finish = (command: Command): Finished => {
    commands.push(command);
    return { exitCode: 0, stdout: '', stderr: '', timedOut: false, ...answer(command) };
  };
  return {
    commands,
    run: async (command) => finish(command),
    stream(command) {
      const finished = finish(command);
      return {
        stdout: Readable.from([Buffer.from(finished.stdout)]),
        done: Promise.resolve({ ...finished, stdout: '' }),
        kill: () => undefined,
      };
    },
  };
}
