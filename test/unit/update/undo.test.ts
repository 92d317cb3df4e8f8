import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ContainerInspect } from '../../../src/docker/engine.ts';
import { readContainer } from '../../../src/docker/observe.ts';
import { probesFor } from '../../../src/health/verify.ts';
import { expectedAsRecorded, servedBy } from '../../../src/update/undo.ts';
import { container, hex, mount } from '../model/examples.ts';
import { inspect, withId } from '../docker/inspects.ts';

describe('servedBy', () => {
  it('is the volumes, not bind mounts or memory, by replica', () => {
    const mounts = [
      mount('shop_db', '/data'),
      mount('/srv/x', '/x', { type: 'bind' }),
      mount('', '/tmp', { type: 'tmpfs' }),
    ];
    expect(servedBy([container('db', { mounts }), container('db', { number: 2, mounts })])).toEqual([
      { number: 1, path: '/data', volume: 'shop_db' },
      { number: 2, path: '/data', volume: 'shop_db' },
    ]);
  });
});

describe('expectedAsRecorded', () => {
  const web = inspect('web');
  const store = inspect('store');
  const ids = [web, store].map(({ Id }) => Id);

  it('is every service that was green, on the image it ran and on its volumes', () => {
    const expected = expectedAsRecorded({ containers: [web, store], green: ids });
    expect(expected.map(({ service, replicas, imageId }) => ({ service, replicas, imageId }))).toEqual([
      { service: 'web', replicas: 1, imageId: web.Image },
      { service: 'store', replicas: 1, imageId: store.Image },
    ]);
    expect(expected[0]?.served).toContainEqual({ number: 1, path: '/srv/named', volume: 'shop_named' });
    expect(expected[0]?.served.map(({ path }) => path)).not.toContain('/srv/hostname');
  });

  it('is not what was stopped or unhealthy before: it need not be better than it was', () => {
    expect(expectedAsRecorded({ containers: [web, store], green: [web.Id] })).toHaveLength(1);
    expect(expectedAsRecorded({ containers: [web, store], green: [] })).toEqual([]);
  });

  it('names no image where replicas ran different ones', () => {
    const second = withId(inspect('web'), hex('second'));
    second.Image = 'sha256:other';
    second.Config.Labels['com.docker.compose.container-number'] = '2';
    const both = { containers: [web, second], green: [web.Id, second.Id] };
    const [expected, ...others] = expectedAsRecorded(both);
    expect(others).toEqual([]);
    expect(expected?.replicas).toBe(2);
    expect(expected).not.toHaveProperty('imageId');
  });

  it('is only about the replicas that were green', () => {
    const second = withId(inspect('web'), hex('second'));
    second.Config.Labels['com.docker.compose.container-number'] = '2';
    const [expected] = expectedAsRecorded({ containers: [web, second], green: [second.Id] });
    expect(expected).toMatchObject({ replicas: 1, numbers: [2] });
    expect(expected?.served.every(({ number }) => number === 2)).toBe(true);
  });
});

/** Replicas as they may be when a run begins. */
const states: Record<string, Partial<ContainerInspect['State']> & { Health?: { Status: string } }> = {
  running: { Running: true, Status: 'running' },
  healthy: { Running: true, Status: 'running', Health: { Status: 'healthy' } as never },
  unhealthy: { Running: true, Status: 'running', Health: { Status: 'unhealthy' } as never },
  stopped: { Running: false, Status: 'exited', ExitCode: 137 },
  crashing: { Running: false, Restarting: true, Status: 'restarting', ExitCode: 1 },
  created: { Running: false, Status: 'created' },
};

it('a stack that is as it was recorded is as it should be, whatever it was', () => {
  const replica = fc.record({
    name: fc.constantFrom('web', 'store'),
    state: fc.constantFrom(...Object.keys(states)),
  });
  fc.assert(
    fc.property(fc.array(replica, { minLength: 1, maxLength: 4 }), (replicas) => {
      const counts = new Map<string, number>();
      const containers = replicas.map(({ name, state }, index) => {
        const own = withId(inspect(name), hex(`replica ${index}`));
        const number = (counts.get(name) ?? 0) + 1;
        counts.set(name, number);
        own.Name = `/shop-${name}-${number}`;
        own.Config.Labels['com.docker.compose.container-number'] = String(number);
        own.State = { ...own.State, Health: undefined, ...states[state] };
        return own;
      });
      const now = containers.map(readContainer);
      const record = {
        containers,
        green: now
          .filter(({ running, health, status }) => running && status === 'running' && health !== 'unhealthy')
          .map(({ id }) => id),
      };
      const options = { patience: 1000, justStarted: false };
      const probes = expectedAsRecorded(record).flatMap((expected) => probesFor(expected, options));
      for (const at of [0, 400, 2000])
        for (const probe of probes) expect(probe.look({ at, containers: now })).toEqual({ is: 'green' });
    }),
  );
});
