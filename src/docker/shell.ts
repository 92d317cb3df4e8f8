import { randomUUID } from 'node:crypto';
import type { Readable } from 'node:stream';
import type { Exec, Finished, Streaming } from './exec.ts';
import { execArgv } from './argv.ts';

export interface ScriptOptions {
  /** Variables for the script. Their values travel by environment, never in argv. */
  env?: Readonly<Record<string, string>>;
  /** The user inside the container; default: the container's own. */
  user?: string;
  stdin?: Readable;
  /** Milliseconds. When it runs out the processes inside the container are killed too. */
  timeout?: number;
  signal?: AbortSignal;
  /** Called with each line the script writes to its standard error. */
  onLine?: (line: string) => void;
}

/** Runs POSIX sh scripts inside one running container. */
export interface ContainerShell {
  readonly containerId: string;
  run(script: string, options?: ScriptOptions): Promise<Finished>;
  stream(script: string, options?: ScriptOptions): Streaming;
}

const markerName = 'SAFE_UPDATE_SCRIPT';

// Only sh, tr, grep and /proc: database images often lack ps and pkill.
//
// Children before their parents, who then reap them. An orphan would be reaped by process 1, which in a database's container
// is the server: PostgreSQL takes a child that was killed, even one it does not know, for a crash, and ends every session.
const killMarked = `
marked() {
  for p in /proc/[0-9]*; do
    [ "\${p#/proc/}" = "$$" ] && continue
    tr '\\0' '\\n' 2>/dev/null < "$p/environ" | grep -qx "${markerName}=$VICTIM" && echo "\${p#/proc/}"
  done 2>/dev/null
}
parents() {
  for p; do
    while read -r key value; do [ "$key" = PPid: ] && echo "$value"; done < "/proc/$p/status"
  done 2>/dev/null
}
round=0
while [ "$round" -lt 100 ]; do
  found=$(marked)
  [ -n "$found" ] || exit 0
  above=" $(parents $found | tr '\\n' ' ')"
  for p in $found; do
    case $above in *" $p "*) ;; *) kill -9 "$p" 2>/dev/null ;; esac
  done
  round=$((round + 1))
done
kill -9 $(marked) 2>/dev/null
true`;

/**
 * A shell in a running container, by `docker exec`.
 *
 * The script is argv of `docker exec`, so it holds names of variables and never a value that is secret. When the
 * docker command ends early the engine leaves the process inside the container running (moby#9098); every script
 * therefore carries a marker in its environment, which its children inherit, and a time limit or an abort kills
 * whatever carries it.
 */
export function containerShell(exec: Exec, containerId: string): ContainerShell {
  function prepare(script: string, options: ScriptOptions) {
    const marker = randomUUID();
    const env = { ...options.env, [markerName]: marker };
    const user = options.user === undefined ? {} : { user: options.user };
    const command = {
      argv: execArgv(containerId, ['sh', '-c', script], {
        env: Object.keys(env),
        stdin: options.stdin !== undefined,
        ...user,
      }),
      env,
      ...(options.stdin === undefined ? {} : { stdin: options.stdin }),
      ...(options.timeout === undefined ? {} : { timeout: options.timeout }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      ...(options.onLine === undefined ? {} : { onLine: options.onLine }),
    };
    const settle = async (finished: Finished): Promise<Finished> => {
      if (finished.timedOut || options.signal?.aborted === true) {
        await exec.run({
          argv: execArgv(containerId, ['sh', '-c', killMarked], { env: ['VICTIM'], stdin: false, ...user }),
          env: { VICTIM: marker },
          timeout: 15_000,
        });
      }
      return finished;
    };
    return { command, settle };
  }

  return {
    containerId,
    async run(script, options = {}) {
      const { command, settle } = prepare(script, options);
      return settle(await exec.run(command));
    },
    stream(script, options = {}) {
      const { command, settle } = prepare(script, options);
      const streaming = exec.stream(command);
      return { ...streaming, done: streaming.done.then(settle) };
    },
  };
}
