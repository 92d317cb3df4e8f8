import type { Readable } from 'node:stream';
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
  /** Starts, and hands out standard output as it comes, with backpressure. */
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
      return {
        stdout: child.stdout,
        done: finish(child),
        kill: () => {
          child.kill('SIGKILL');
        },
      };
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
