import { messageOf, SafeUpdateError } from '../model/error.ts';
import type { ComposeHook, ComposeModel, Container } from '../model/project.ts';
import { execArgv } from './argv.ts';
import type { Exec } from './exec.ts';

type Hooked = Pick<Container, 'name' | 'service'>;

/**
 * The commands that compose runs inside of a container when it has started it and before it stops it. The engine knows nothing
 * of them, and a container does not say which it had: they are those of the rendered model.
 */
export interface Hooks {
  /** Has this service any to run after its start? */
  followsStart(service: string): boolean;
  /** Throws SafeUpdateError `compose` if one fails, as `docker compose start` does. */
  afterStart(container: Hooked, id: string): Promise<void>;
  /** A container whose hook fails is stopped all the same, and it is said: it may be the very one that does not work. */
  beforeStop(container: Hooked, id: string): Promise<void>;
}

export interface HookOptions {
  exec: Exec;
  /** Milliseconds that one command may take. */
  timeout: number;
  warn: (message: string) => void;
  /** False: what would run with all rights of the host is left out, and that is said. */
  privileged?: boolean;
}

/** The hooks of a model's services. */
export function hooksOf({ services }: Pick<ComposeModel, 'services'>, options: HookOptions): Hooks {
  const run = async (
    kind: 'post_start' | 'pre_stop',
    { name, service }: Hooked,
    id: string,
  ): Promise<void> => {
    for (const hook of services[service]?.[kind] ?? []) {
      if (hook.privileged === true && options.privileged === false)
        options.warn(`A ${kind} command of ${name} is left out: it would have all rights of the host.`);
      else await runHook(hook, `The ${kind} command of ${name}`, id, options);
    }
  };
  return {
    followsStart: (service) => (services[service]?.post_start ?? []).length > 0,
    afterStart: (container, id) => run('post_start', container, id),
    async beforeStop(container, id) {
      try {
        await run('pre_stop', container, id);
      } catch (error) {
        options.warn(`${messageOf(error)} It is stopped all the same.`);
      }
    },
  };
}

async function runHook(
  { command, user, privileged, working_dir, environment }: ComposeHook,
  what: string,
  id: string,
  { exec, timeout }: HookOptions,
): Promise<void> {
  const env = Object.fromEntries(
    Object.entries(environment ?? {}).flatMap(([name, value]) => (value === null ? [] : [[name, value]])),
  );
  const argv = execArgv(id, command, {
    env: Object.keys(env),
    stdin: false,
    ...(user === undefined || user === '' ? {} : { user }),
    ...(working_dir === undefined || working_dir === '' ? {} : { workingDirectory: working_dir }),
    privileged: privileged === true,
  });
  const { exitCode, timedOut, stdout, stderr } = await exec.run({ argv, env, timeout });
  if (exitCode === 0) return;
  const [words = ''] = `${stdout}\n${stderr}`.trim().split('\n').slice(-1);
  const why = timedOut ? 'did not end in time' : `failed with exit code ${exitCode}`;
  throw new SafeUpdateError('compose', `${what} ${why}${words === '' ? '' : ` (${words.slice(0, 200)})`}.`);
}
