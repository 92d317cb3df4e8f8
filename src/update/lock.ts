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
  sleep: (milliseconds: number) => Promise<void>;
  /** What else is to be said on it. */
  more?: Readonly<Record<string, string>>;
}

export interface Lock {
  /** Id of the container that is the lock. */
  container: string;
  release(): Promise<void>;
  /** Said when a dead owner's lock was taken over. */
  takenOver?: string;
}

const prefix = 'safe-update.lock.';

/** Milliseconds. */
const betweenAttempts = 100;
/** Ten seconds: a busy engine takes some for one container. */
const mostAttempts = 100;

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
      return {
        container: id,
        release: () => engine.removeContainer(id),
        ...(takenOver === undefined ? {} : { takenOver }),
      };
    } catch (error) {
      if (!isNameTaken(error) || attempt >= mostAttempts) throw error;
    }
    const holder = await findHolder(engine, options);
    if (holder?.isDead === false) throw locked(holder, options, undefined);
    if (holder !== undefined) {
      takenOver = `The lock of ${holder.who} was taken over: that process is gone.`;
      await engine.removeContainer(holder.id);
    }
    // The engine keeps a name before there is a container to be seen by it, and after: while it makes one for somebody else,
    // and while it removes one.
    await options.sleep(betweenAttempts);
  }
}

function locked(
  { isSeen, who }: Holder,
  { project }: Pick<LockOptions, 'project'>,
  step: string | undefined,
): SafeUpdateError {
  const where = step === undefined ? '' : `, ${step}`;
  return new SafeUpdateError('locked', `The project ${project} is locked by ${who}${where}.`, {
    state: 'Nothing was touched.',
    hint: isSeen
      ? 'Wait until it has ended, then run again; --lock-wait 10m waits by itself.'
      : `Wait until it has ended; --lock-wait 10m waits by itself. ${breakLock(project)}`,
  });
}

/** How a person breaks a lock whose holder nobody can look for from here. Pure. */
export function breakLock(project: string): string {
  return `If its machine or container is gone for good: docker rm -f ${lockName(project)}, then: safe-update recover`;
}

export interface Holder {
  id: string;
  /** Its name, which is that of its journal, if it writes one. */
  run: string;
  host: string;
  person: string;
  pid: string;
  /** What for: a kind of run, or a word for something that is none. */
  purpose: string;
  /** Since when, as the holder's clock said. */
  at: string;
  /** For people: who, since when, what for. */
  who: string;
  isDead: boolean;
  /** It was looked for, and is alive; else nobody can tell from here, unless it is dead. */
  isSeen: boolean;
}

/** Who holds the project's lock, dead or alive; undefined if nobody does. */
export async function findHolder(
  engine: Engine,
  options: Pick<LockOptions, 'project' | 'owner' | 'isAlive'>,
): Promise<Holder | undefined> {
  const holder = await engine.container(lockName(options.project));
  if (holder === null) return undefined;
  const held = (holder.Config.Labels as Record<string, string> | null) ?? {};
  const value = (key: string): string => held[prefix + key] ?? '';
  const [person, pid, purpose, at] = [value('person'), value('pid'), value('purpose'), value('at')];
  const life = lifeOf(value, options);
  return {
    id: holder.Id,
    run: held[labels.run] ?? '',
    host: value('host'),
    ...{ person, pid, purpose, at },
    who: `${person} (pid ${pid}), ${purpose} since ${at}`,
    isDead: life === 'dead',
    isSeen: life === 'alive',
  };
}

/** Whether somebody holds the lock who is not provably dead. */
export async function isHeld(
  engine: Engine,
  options: Pick<LockOptions, 'project' | 'owner' | 'isAlive'>,
): Promise<boolean> {
  return (await findHolder(engine, options))?.isDead === false;
}

/**
 * Waits until nobody alive holds the project's lock. Returns whether it had to wait: what was seen of the project before
 * is then old. Takes nothing: somebody else may be faster. Throws SafeUpdateError `locked` after `limit` milliseconds.
 */
export async function waitForLock(
  engine: Engine,
  options: Pick<LockOptions, 'project' | 'owner' | 'isAlive'> & {
    limit: number;
    signal: AbortSignal;
    monotonic: () => number;
    sleep: (milliseconds: number) => Promise<void>;
    /** Told once, with who holds it. */
    onWait: (who: string) => void;
    /** How far the holder's run has come, in words, if that is known. */
    stepOf: (run: string) => Promise<string | undefined>;
  },
): Promise<boolean> {
  const { limit } = options;
  const deadline = options.monotonic() + limit;
  let waited = false;
  for (;;) {
    const holder = await findHolder(engine, options);
    if (holder === undefined || holder.isDead) return waited;
    if (options.signal.aborted) {
      throw new SafeUpdateError('interrupted', 'Interrupted while waiting for the lock.', {
        state: 'Nothing was touched.',
      });
    }
    if (options.monotonic() >= deadline)
      throw locked(holder, options, await options.stepOf(holder.run).catch(() => undefined));
    if (!waited) options.onWait(holder.who);
    waited = true;
    await options.sleep(500);
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
      ...options.more,
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

function lifeOf(
  value: (key: string) => string,
  { owner, isAlive }: Pick<LockOptions, 'owner' | 'isAlive'>,
): 'alive' | 'dead' | 'unknown' {
  if (value('host') !== owner.host) return 'unknown';
  if (value('boot') !== owner.boot) return 'dead';
  if (value('namespace') !== owner.namespace) return 'unknown';
  return isAlive(Number(value('pid')), value('started')) ? 'alive' : 'dead';
}
