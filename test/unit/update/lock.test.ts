import type Docker from 'dockerode';
import { describe, expect, it } from 'vitest';
import type { ContainerInspect, Engine } from '../../../src/docker/engine.ts';
import { SafeUpdateError } from '../../../src/model/error.ts';
import {
  acquireLock,
  lockName,
  waitForLock,
  type LockOptions,
  type Owner,
} from '../../../src/update/lock.ts';

const owner: Owner = {
  host: 'web-1',
  boot: 'boot-1',
  namespace: 'pid:[4026531836]',
  pid: 4711,
  started: '12345',
  person: 'ada@web-1',
};

function options(facts: Partial<LockOptions> = {}): LockOptions {
  return {
    project: 'shop',
    run: 'run-2',
    purpose: 'update',
    image: 'helper:1',
    owner,
    now: new Date('2024-10-17T14:30:22.000Z'),
    isAlive: () => true,
    sleep: () => Promise.resolve(),
    ...facts,
  };
}

/** An engine that gives a name to one container only, as the real one does. */
class FakeEngine {
  readonly byName = new Map<string, { id: string; options: Docker.ContainerCreateOptions }>();
  readonly started: string[] = [];
  readonly removed: string[] = [];
  /** Called before a container is looked at: what happens meanwhile. */
  meanwhile: () => void = () => undefined;
  #count = 0;

  asEngine(): Engine {
    return this as unknown as Engine;
  }
  async createContainer(about: Docker.ContainerCreateOptions): Promise<string> {
    const name = about.name ?? '';
    if (this.byName.has(name)) {
      const cause = Object.assign(new Error('Conflict'), { statusCode: 409 });
      throw new SafeUpdateError('engine', 'The engine would not create it.', { cause });
    }
    this.#count += 1;
    this.byName.set(name, { id: `id-${this.#count}`, options: about });
    return `id-${this.#count}`;
  }
  async start(id: string): Promise<void> {
    this.started.push(id);
  }
  async container(name: string): Promise<ContainerInspect | null> {
    this.meanwhile();
    const found = this.byName.get(name);
    return found === undefined
      ? null
      : ({ Id: found.id, Config: { Labels: found.options.Labels } } as unknown as ContainerInspect);
  }
  async removeContainer(id: string): Promise<void> {
    this.removed.push(id);
    for (const [name, held] of this.byName) if (held.id === id) this.byName.delete(name);
  }
}

async function heldBy(holder: Partial<Owner>): Promise<FakeEngine> {
  const engine = new FakeEngine();
  await acquireLock(engine.asEngine(), options({ run: 'run-1', owner: { ...owner, ...holder } }));
  return engine;
}

describe('acquireLock', () => {
  it('makes a container with a fixed name that runs, does nothing and holds nothing', async () => {
    const engine = new FakeEngine();
    const lock = await acquireLock(engine.asEngine(), options());
    expect(lock.takenOver).toBeUndefined();
    const made = engine.byName.get(lockName('shop'));
    expect(made?.options).toMatchObject({
      name: 'safe-update-lock-shop',
      Image: 'helper:1',
      Entrypoint: ['sleep', 'infinity'],
      Labels: {
        'safe-update.project': 'shop',
        'safe-update.run': 'run-2',
        'safe-update.role': 'lock',
        'safe-update.lock.host': 'web-1',
        'safe-update.lock.pid': '4711',
        'safe-update.lock.at': '2024-10-17T14:30:22.000Z',
      },
      HostConfig: { NetworkMode: 'none', ReadonlyRootfs: true, CapDrop: ['ALL'] },
    });
    expect(engine.started).toEqual([made?.id]);
  });

  it('gives the lock back, and then another can have it', async () => {
    const engine = new FakeEngine();
    const lock = await acquireLock(engine.asEngine(), options());
    await lock.release();
    expect(engine.byName.size).toBe(0);
    await acquireLock(engine.asEngine(), options());
  });

  it('locks each project for itself', async () => {
    const engine = await heldBy({});
    await acquireLock(engine.asEngine(), options({ project: 'blog' }));
    expect(engine.byName.size).toBe(2);
  });

  it('says who has it, since when and for what', async () => {
    const engine = await heldBy({ person: 'grace@web-1', pid: 17 });
    await expect(acquireLock(engine.asEngine(), options())).rejects.toMatchObject({
      code: 'locked',
      message: 'The project shop is locked by grace@web-1 (pid 17), update since 2024-10-17T14:30:22.000Z.',
      state: 'Nothing was touched.',
      hint: 'Wait until it has ended, then run again; --lock-wait 10m waits by itself.',
    });
    expect(engine.removed).toEqual([]);
  });

  it('says how to break the lock of another machine, which nobody can do but a person', async () => {
    const engine = await heldBy({ host: 'laptop' });
    await expect(acquireLock(engine.asEngine(), options({ isAlive: () => false }))).rejects.toMatchObject({
      code: 'locked',
      hint: expect.stringContaining('docker rm -f safe-update-lock-shop') as string,
    });
  });

  describe('an owner is dead', () => {
    it.each<[string, Partial<Owner>]>([
      ['when its process is gone', {}],
      ['when this machine was booted since', { boot: 'boot-0' }],
      [
        'when this machine was booted since, whatever its namespace was',
        { boot: 'boot-0', namespace: 'pid:[1]' },
      ],
    ])('%s', async (_, holder) => {
      const engine = await heldBy(holder);
      const lock = await acquireLock(engine.asEngine(), options({ isAlive: () => false }));
      expect(lock.takenOver).toContain('ada@web-1 (pid 4711)');
      expect(engine.removed).toEqual(['id-1']);
      expect(engine.byName.get(lockName('shop'))?.options.Labels?.['safe-update.run']).toBe('run-2');
    });

    it('only when it is the process that took the lock: a reused pid is another', async () => {
      const engine = await heldBy({ pid: 99, started: '555' });
      const asked: unknown[] = [];
      const isAlive = (pid: number, started: string): boolean => {
        asked.push([pid, started]);
        return false;
      };
      await acquireLock(engine.asEngine(), options({ isAlive }));
      expect(asked).toEqual([[99, '555']]);
    });
  });

  describe('an owner is not known to be dead', () => {
    it.each<[string, Partial<Owner>]>([
      ['on another machine', { host: 'laptop' }],
      ['on another machine that was booted at another time', { host: 'laptop', boot: 'boot-9' }],
      ['in another container, whose processes cannot be seen from here', { namespace: 'pid:[4026532222]' }],
    ])('%s', async (_, holder) => {
      const engine = await heldBy(holder);
      await expect(acquireLock(engine.asEngine(), options({ isAlive: () => false }))).rejects.toMatchObject({
        code: 'locked',
      });
      expect(engine.removed).toEqual([]);
    });

    it('while its process is there', async () => {
      const engine = await heldBy({});
      await expect(acquireLock(engine.asEngine(), options())).rejects.toMatchObject({ code: 'locked' });
    });

    it('when the lock says nothing of it', async () => {
      const engine = await heldBy({});
      engine.byName.get(lockName('shop'))!.options.Labels = {};
      await expect(acquireLock(engine.asEngine(), options({ isAlive: () => false }))).rejects.toMatchObject({
        code: 'locked',
      });
    });
  });

  it('takes a lock that was given back in the meantime', async () => {
    const engine = await heldBy({});
    engine.meanwhile = () => engine.byName.clear();
    await acquireLock(engine.asEngine(), options());
    expect(engine.byName.size).toBe(1);
  });

  it('waits for a name that the engine keeps, though no container has it any more or yet', async () => {
    const engine = await heldBy({});
    let looks = 0;
    engine.container = () => Promise.resolve(null);
    const sleep = (): Promise<void> => {
      looks += 1;
      if (looks === 20) engine.byName.clear();
      return Promise.resolve();
    };
    const lock = await acquireLock(engine.asEngine(), options({ sleep }));
    expect(lock.container).toBe('id-2');
    expect(looks).toBe(20);
  });

  it('does not wait for ever for a name that the engine keeps', async () => {
    const engine = await heldBy({});
    engine.container = () => Promise.resolve(null);
    await expect(acquireLock(engine.asEngine(), options())).rejects.toMatchObject({ code: 'engine' });
  });

  it('is locked out by whoever took a dead lock over a moment earlier', async () => {
    const engine = await heldBy({ pid: 1 });
    let looks = 0;
    engine.meanwhile = () => {
      looks += 1;
      if (looks !== 1) return;
      // Between this one's look and its removal the other one is done with both.
      const dead = engine.byName.get(lockName('shop'))!;
      engine.removeContainer = async (id) => {
        engine.removed.push(id);
        if (id === dead.id)
          engine.byName.set(lockName('shop'), {
            id: 'other',
            options: { ...dead.options, Labels: { ...dead.options.Labels, 'safe-update.lock.pid': '2' } },
          });
      };
    };
    const isAlive = (pid: number): boolean => pid === 2;
    await expect(acquireLock(engine.asEngine(), options({ isAlive }))).rejects.toMatchObject({
      code: 'locked',
    });
    expect(engine.removed).toEqual(['id-1']);
    expect(engine.byName.get(lockName('shop'))?.id).toBe('other');
  });

  it('does not try for ever against a name that is always taken and never there', async () => {
    const engine = new FakeEngine();
    engine.byName.set(lockName('shop'), { id: 'x', options: {} });
    engine.container = async () => null;
    await expect(acquireLock(engine.asEngine(), options())).rejects.toMatchObject({ code: 'engine' });
  });

  it('passes every other failure on', async () => {
    const engine = new FakeEngine();
    engine.createContainer = async () => {
      throw new SafeUpdateError('engine', 'no such image', { cause: { statusCode: 404 } });
    };
    await expect(acquireLock(engine.asEngine(), options())).rejects.toThrow('no such image');
  });
});

describe('waitForLock', () => {
  /** A clock that stands still unless somebody sleeps. */
  function waiting(engine: FakeEngine, limit: number, facts: Partial<LockOptions> = {}) {
    let now = 0;
    const told: string[] = [];
    const controller = new AbortController();
    const result = waitForLock(engine.asEngine(), {
      ...options(facts),
      limit,
      signal: controller.signal,
      monotonic: () => now,
      sleep: async (milliseconds) => {
        now += milliseconds;
        if (now > 60_000) throw new Error('it waits for ever');
        engine.meanwhile();
      },
      onWait: (who) => told.push(who),
      stepOf: (run) => Promise.resolve(`in the step up of ${run}`),
    });
    return { result, told, controller };
  }

  it('does not wait where nobody holds it, or one who is dead', async () => {
    expect(await waiting(new FakeEngine(), 5000).result).toBe(false);
    const dead = await heldBy({ boot: 'another' });
    expect(await waiting(dead, 5000).result).toBe(false);
    expect(dead.removed).toEqual([]);
  });

  it('waits until it is free, and says once for whom', async () => {
    const engine = await heldBy({});
    let looks = 0;
    engine.meanwhile = () => {
      looks += 1;
      if (looks === 6) engine.byName.clear();
    };
    const { result, told } = waiting(engine, 10_000);
    expect(await result).toBe(true);
    expect(told).toEqual(['ada@web-1 (pid 4711), update since 2024-10-17T14:30:22.000Z']);
  });

  it('gives up after its time, and at a signal', async () => {
    await expect(waiting(await heldBy({}), 3000).result).rejects.toMatchObject({ code: 'locked' });
    const { result, controller } = waiting(await heldBy({}), 3000);
    controller.abort();
    await expect(result).rejects.toMatchObject({ code: 'interrupted' });
  });

  it('says at once who holds it, and in which step, without a time to wait', async () => {
    const engine = await heldBy({});
    const { result, told } = waiting(engine, 0);
    await expect(result).rejects.toMatchObject({
      code: 'locked',
      message:
        'The project shop is locked by ada@web-1 (pid 4711), update since 2024-10-17T14:30:22.000Z, in the step up of run-1.',
    });
    expect(told).toEqual([]);
  });

  it('does not say that one will end which nobody can look for', async () => {
    const engine = await heldBy({ namespace: 'pid:[1]' });
    await expect(waiting(engine, 0).result).rejects.toMatchObject({
      code: 'locked',
      hint: expect.stringMatching(
        /^Wait until it has ended.*gone for good: docker rm -f safe-update-lock-shop/,
      ) as string,
    });
  });
});
