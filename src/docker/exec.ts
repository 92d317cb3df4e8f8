import { PassThrough, type Readable } from 'node:stream';
import { execa } from 'execa';
import { SafeUpdateError } from '../model/error.ts';

/** A command line and how to run it. There is no shell: `argv[0]` is the program. */
export interface Command {
  argv: readonly string[];
  /** Added to the environment the Exec was made with. Secrets travel here, never in argv. */
  env?: Readonly<Record<string, string>>;
  cwd?: string;
  /** What the program reads; without it, it reads /dev/null, so that no question can be answered "yes" by accident. */
  stdin?: Readable;
  /** Milliseconds until the program is killed. */
  timeout?: number;
  signal?: AbortSignal;
  /** Called with each line the program writes to its standard error, where docker and tar report progress. */
  onLine?: (line: string) => void;
}

export interface Finished {
  exitCode: number;
  stdout: string;
  stderr: string;
  timedOut: boolean;
}

export interface Streaming {
  stdout: Readable;
  /** Settles when the program has ended; never rejects. `stdout` is empty in it. */
  done: Promise<Finished>;
  kill(): void;
}

/** Runs programs. The only way out of the process to another program. */
export interface Exec {
  /** Runs to the end and returns what was printed, whatever the exit code. Throws only if it cannot be started. */
  run(command: Command): Promise<Finished>;
  /**
   * Starts, and hands out standard output, with backpressure. Nothing of it is lost, however late it is read; it ends early
   * only where the program was killed.
   */
  stream(command: Command): Streaming;
}

type Environment = Readonly<Record<string, string | undefined>>;

function start(environment: Environment, command: Command, buffered: boolean) {
  const [program, ...args] = command.argv;
  if (program === undefined) throw new Error('empty argv');
  return execa(program, args, {
    env: { ...environment, ...command.env },
    extendEnv: false,
    ...(command.cwd === undefined ? {} : { cwd: command.cwd }),
    ...(command.timeout === undefined ? {} : { timeout: command.timeout }),
    ...(command.signal === undefined ? {} : { cancelSignal: command.signal }),
    ...(command.stdin === undefined ? { stdin: 'ignore' as const } : { input: command.stdin }),
    buffer: { stdout: buffered, stderr: true },
    // A talkative program must not fill the memory; what was cut is only ever shown to people.
    maxBuffer: { stdout: 200_000_000, stderr: 50_000_000 },
    stripFinalNewline: false,
    detached: true,
    reject: false,
    forceKillAfterDelay: 5_000,
    windowsHide: true,
  });
}

type Child = ReturnType<typeof start>;

/**
 * Takes the environment every program is started with.
 *
 * Programs get their own process group (`detached`): Ctrl-C on the terminal reaches safe-update alone, which then
 * decides what is stopped and in which order.
 */
export function createExec(environment: Environment): Exec {
  return {
    async run(command) {
      const child = start(environment, command, true);
      if (command.onLine) void eachLine(child, command.onLine);
      const result = await child;
      if (result.code === 'ENOENT') {
        throw new SafeUpdateError('engine', `The program ${command.argv[0] ?? ''} was not found.`, {
          hint: 'Install it, or add its folder to PATH.',
        });
      }
      return finish(child);
    },
    stream(command) {
      const child = start(environment, command, false);
      if (command.onLine) void eachLine(child, command.onLine);
      const { stdout, cut } = held(child.stdout);
      command.signal?.addEventListener('abort', cut, { once: true });
      const done = finish(child).then((finished) => {
        command.signal?.removeEventListener('abort', cut);
        // It may have ended well, and what it printed was still not read.
        return child.stdout.readableEnded ? finished : { ...finished, exitCode: finished.exitCode || 137 };
      });
      return {
        stdout,
        done,
        kill: () => {
          child.kill('SIGKILL');
          cut();
        },
      };
    },
  };
}

/**
 * What a program prints, kept until somebody reads it. What nobody reads yet is otherwise thrown away: by execa at once, by
 * Node.js when the program ends. Whoever stores it may be late, as a file has to be opened first, and would then store
 * nothing, without any error. `cut` gives up what was not read: the program's end is else not seen before.
 */
function held(printed: Readable): { stdout: Readable; cut: () => void } {
  const stdout = new PassThrough();
  printed.pipe(stdout);
  const end = (): void => {
    stdout.end();
  };
  printed.once('error', end).once('close', end);
  stdout.once('close', () => {
    printed.destroy();
  });
  return {
    stdout,
    cut: () => {
      printed.destroy();
    },
  };
}

async function finish(child: Child): Promise<Finished> {
  const result = await child;
  return {
    exitCode: result.exitCode ?? (result.signal === undefined ? 127 : 137),
    stdout: typeof result.stdout === 'string' ? result.stdout : '',
    stderr: typeof result.stderr === 'string' ? result.stderr : '',
    timedOut: result.timedOut,
  };
}

async function eachLine(child: Child, onLine: (line: string) => void): Promise<void> {
  try {
    for await (const line of child.iterable({ from: 'stderr' })) {
      if (typeof line === 'string') onLine(line);
    }
  } catch {
    // The exit code tells; the lines were only for progress.
  }
}
