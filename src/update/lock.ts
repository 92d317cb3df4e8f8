import { isNameTaken, type Engine } from '../docker/engine.ts';
import { labels } from '../docker/helper.ts';
import { SafeUpdateError } from '../model/error.ts';

/** Who holds a lock: enough to tell, later and on the same host, whether that process can still be alive. */
export interface Owner {
  host: string;
  /** The kernel's boot id; empty where there is none (macOS). */
  boot: string;
  /** The process-id namespace; empty where there is none. */
  namespace: string;
  pid: number;
  /** When the process started, in the kernel's own words; a reused pid has another. */
  started: string;
  /** user@host, for people. */
  person: string;
}

export interface LockOptions {
  project: string;
  run: string;
  purpose: string;
  image: string;
  owner: Owner;
  now: Date;
  /** Is this process of this host and boot still alive? */
  isAlive: (pid: number, started: string) => boolean;
}

export interface Lock {
  release(): Promise<void>;
  /** Said when a dead owner's lock was taken over. */
  takenOver?: string;
}

const prefix = 'safe-update.lock.';

/**
 * Takes the project's lock on the engine: a container with a fixed name, which the engine makes for exactly one
 * caller, from whichever machine. It runs, doing nothing, so that a prune of stopped containers cannot break it.
 *
 * Throws SafeUpdateError `locked`, saying who holds it, unless the holder is provably dead: same host and boot, and
 * the process is gone, or same host and another boot. A dead owner's lock is taken over.
 */
export async function acquireLock(engine: Engine, options: LockOptions): Promise<Lock> {
  const name = lockName(options.project);
  let takenOver: string | undefined;
  for (let attempt = 0; ; attempt += 1) {
    try {
      const id = await create(engine, name, options);
      return { release: () => engine.removeContainer(id), ...(takenOver === undefined ? {} : { takenOver }) };
    } catch (error) {
      if (!isNameTaken(error) || attempt >= 3) throw error;
    }
    const holder = await engine.container(name);
    if (holder === null) continue;
    const held = (holder.Config.Labels as Record<string, string> | null) ?? {};
    const value = (key: string): string => held[prefix + key] ?? '';
    const who = `${value('person')} (pid ${value('pid')}), ${value('purpose')} since ${value('at')}`;
    if (!isDead(value, options)) {
      throw new SafeUpdateError('locked', `The project ${options.project} is locked by ${who}.`, {
        state: 'Nothing was touched.',
        hint:
          value('host') === options.owner.host
            ? 'Wait until it has ended, then run again.'
            : `Wait until it has ended. If that machine is gone for good: docker rm -f ${name}, then: safe-update recover`,
      });
    }
    takenOver = `The lock of ${who} was taken over: that process is gone.`;
    await engine.removeContainer(holder.Id);
  }
}

export function lockName(project: string): string {
  return `safe-update-lock-${project}`;
}

async function create(engine: Engine, name: string, options: LockOptions): Promise<string> {
  const { owner } = options;
  const id = await engine.createContainer({
    name,
    Image: options.image,
    Entrypoint: ['sleep', 'infinity'],
    Cmd: [],
    Healthcheck: { Test: ['NONE'] },
    Labels: {
      [labels.project]: options.project,
      [labels.run]: options.run,
      [labels.role]: 'lock',
      ...Object.fromEntries(Object.entries(owner).map(([key, value]) => [prefix + key, String(value)])),
      [`${prefix}purpose`]: options.purpose,
      [`${prefix}at`]: options.now.toISOString(),
    },
    HostConfig: {
      NetworkMode: 'none',
      ReadonlyRootfs: true,
      CapDrop: ['ALL'],
      LogConfig: { Type: 'none', Config: {} },
    },
  });
  await engine.start(id);
  return id;
}

function isDead(value: (key: string) => string, { owner, isAlive }: LockOptions): boolean {
  if (value('host') !== owner.host) return false;
  if (value('boot') !== owner.boot) return true;
  if (value('namespace') !== owner.namespace) return false;
  return !isAlive(Number(value('pid')), value('started'));
}
