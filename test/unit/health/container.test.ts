import { describe, expect, it } from 'vitest';
import { containerProbe, type ContainerProbeOptions } from '../../../src/health/container.ts';
import type { ExpectedService, Probe, ProbeState } from '../../../src/health/probe.ts';
import type { Container } from '../../../src/model/project.ts';
import { container, exited } from '../model/examples.ts';

const second = 1000;

function probe(expected: Partial<ExpectedService> = {}, options: Partial<ContainerProbeOptions> = {}): Probe {
  return containerProbe(
    { service: 'web', replicas: 1, oneShot: false, served: [], ...expected },
    { patience: 10 * second, justStarted: true, ...options },
  );
}

const restarting: Partial<Container> = { running: true, status: 'restarting' };

/** What the probe says of each look; `at` is in seconds. */
function watch(looking: Probe, ...looks: [at: number, ...replicas: Partial<Container>[]][]): string[] {
  return looks.map(([at, ...replicas]) => {
    const containers = replicas.map((facts, index) => container('web', { number: index + 1, ...facts }));
    const state = looking.look({ at: at * second, containers }) as ProbeState;
    return state.is === 'green' ? 'green' : `${state.is}: ${state.reason}`;
  });
}

describe('a service', () => {
  it('without healthcheck is green while it runs', () => {
    expect(watch(probe(), [0, {}], [1, {}])).toEqual(['green', 'green']);
  });

  it('is not there yet', () => {
    expect(watch(probe(), [0], [1, {}])).toEqual(['waiting: web has 0 of 1 containers', 'green']);
  });

  it('needs every replica', () => {
    expect(
      watch(probe({ replicas: 2 }), [0, {}], [1, {}, { status: 'created', running: false }], [2, {}, {}]),
    ).toEqual(['waiting: web has 1 of 2 containers', 'waiting: shop-web-2 is created', 'green']);
  });

  it('is not judged by one-offs or by other services', () => {
    const looking = probe();
    const containers = [
      container('web'),
      container('web', { number: 2, oneOff: true, ...exited(1) }),
      container('db', exited(1)),
    ];
    expect(looking.look({ at: 0, containers })).toEqual({ is: 'green' });
  });

  it.each<[string, boolean, Partial<Container>, Partial<Container>?]>([
    ['has its healthcheck before it', true, { health: 'starting' }],
    ['has just begun to crash', true, { ...restarting, restartCount: 2 }],
    ['has crashed for long', false, { ...restarting, restartCount: 40 }],
    ['was stopped, though the engine would start it again', false, { ...exited(0), restart: 'always' }],
    ['is unhealthy', false, { health: 'unhealthy' }],
    ['is paused', false, { status: 'paused' }],
    ['was only created', false, { status: 'created', running: false }],
    ['waits for another one', true, { status: 'created', running: false }, { health: 'starting' }],
  ])('that %s is starting: %s', (_, starting, facts, other = {}) => {
    const containers = [container('web', facts), container('db', other)];
    const state = probe({}, { justStarted: false }).look({ at: 0, containers }) as ProbeState;
    expect([state.is, state.is === 'waiting' && state.starting === true]).toEqual(['waiting', starting]);
  });

  it.each(['created', 'paused', 'removing'])('that is %s is not green', (status) => {
    expect(watch(probe(), [0, { status, running: status === 'paused' }])).toEqual([
      `waiting: shop-web-1 is ${status}`,
    ]);
  });

  it('that none are wanted of is green without one', () => {
    expect(watch(probe({ replicas: 0 }), [0])).toEqual(['green']);
  });
});

describe('a healthcheck', () => {
  it('is waited for', () => {
    expect(watch(probe(), [0, { health: 'starting' }], [1, { health: 'healthy' }])).toEqual([
      'waiting: shop-web-1 is not healthy yet',
      'green',
    ]);
  });

  it('that fails gets time to recover', () => {
    expect(
      watch(
        probe(),
        [0, { health: 'unhealthy' }],
        [9, { health: 'unhealthy', healthOutput: 'connection refused' }],
        [9.5, { health: 'healthy' }],
      ),
    ).toEqual([
      'waiting: shop-web-1 is unhealthy',
      'waiting: shop-web-1 is unhealthy: connection refused',
      'green',
    ]);
  });

  it('that goes on failing has failed', () => {
    const looking = probe();
    expect(
      watch(
        looking,
        [5, { health: 'unhealthy' }],
        [14.9, { health: 'unhealthy' }],
        [15, { health: 'unhealthy' }],
      ),
    ).toEqual([
      'waiting: shop-web-1 is unhealthy',
      'waiting: shop-web-1 is unhealthy',
      'failed: shop-web-1 is unhealthy',
    ]);
  });

  it('that flaps gets its time anew', () => {
    expect(
      watch(
        probe(),
        [0, { health: 'unhealthy' }],
        [8, { health: 'healthy' }],
        [9, { health: 'unhealthy' }],
        [18, { health: 'unhealthy' }],
        [19, { health: 'unhealthy' }],
      ).map((said) => said.split(':')[0]),
    ).toEqual(['waiting', 'green', 'waiting', 'waiting', 'failed']);
  });

  it('of each replica counts on its own', () => {
    const looking = probe({ replicas: 2 });
    expect(
      watch(
        looking,
        [0, { health: 'healthy' }, { health: 'unhealthy' }],
        [9, { health: 'unhealthy' }, { health: 'healthy' }],
      ),
    ).toEqual(['waiting: shop-web-2 is unhealthy', 'waiting: shop-web-1 is unhealthy']);
    expect(watch(looking, [10, { health: 'unhealthy' }, { health: 'healthy' }])).toEqual([
      'waiting: shop-web-1 is unhealthy',
    ]);
  });
});

describe('a container that ends', () => {
  it.each([0, 1, 137])('with %i and is not restarted has failed at once', (exitCode) => {
    const [state] = watch(probe(), [0, { ...exited(exitCode), restart: 'no' }]);
    expect(state).toMatch(new RegExp(`^failed: shop-web-1 exited with code ${exitCode}\\b`));
  });

  it('well has failed where only failures are restarted', () => {
    expect(watch(probe(), [0, { ...exited(0), restart: 'on-failure' }])[0]).toMatch(
      /^failed: shop-web-1 exited with code 0/,
    );
    expect(watch(probe(), [0, { ...exited(1), restart: 'on-failure' }])).toEqual([
      'waiting: shop-web-1 has exited with code 1',
    ]);
  });

  it.each(['always', 'unless-stopped'])('and is restarted (%s) is waited for', (restart) => {
    expect(watch(probe(), [0, { ...exited(1), restart }])[0]).toMatch(/^waiting/);
  });

  it('that is dead is not green', () => {
    expect(watch(probe(), [0, { status: 'dead', running: false, restart: 'no' }])[0]).toMatch(/^failed/);
  });
});

describe('a container that restarts', () => {
  it('between two looks is seen by its count', () => {
    expect(watch(probe(), [0, {}], [1, { restartCount: 1 }], [2, { restartCount: 1 }])).toEqual([
      'green',
      'waiting: shop-web-1 has restarted',
      'green',
    ]);
  });

  it('between two looks is seen by its start, when somebody else restarted it', () => {
    expect(watch(probe(), [0, { startedAt: 'a' }], [1, { startedAt: 'b' }], [2, { startedAt: 'b' }])).toEqual(
      ['green', 'waiting: shop-web-1 has restarted', 'green'],
    );
  });

  it('again and again is a crash loop', () => {
    const looks = Array.from({ length: 7 }, (_, restartCount): [number, Partial<Container>] => [
      restartCount,
      { ...restarting, restartCount, exitCode: 3 },
    ]);
    const said = watch(probe(), ...looks);
    expect(said.slice(0, 6).every((one) => one === 'waiting: shop-web-1 is restarting')).toBe(true);
    expect(said[6]).toBe('failed: shop-web-1 crashes again and again: 6 restarts, exit code 3');
  });

  it('again and again is one too when it runs at every look', () => {
    expect(watch(probe(), [0, { restartCount: 6 }])[0]).toMatch(/^failed/);
  });

  it('a few times until its database answers is fine in the end', () => {
    expect(
      watch(
        probe(),
        [0, { ...restarting, restartCount: 3 }],
        [5, { restartCount: 5 }],
        [6, { restartCount: 5 }],
      ),
    ).toEqual(['waiting: shop-web-1 is restarting', 'waiting: shop-web-1 has restarted', 'green']);
  });

  it('had restarted before anybody looked: what it did in its former life does not count', () => {
    const looking = probe({}, { justStarted: false });
    expect(watch(looking, [0, { restartCount: 40 }], [1, { restartCount: 40 }])).toEqual(['green', 'green']);
    expect(watch(looking, [2, { restartCount: 45 }])).toEqual(['waiting: shop-web-1 has restarted']);
    expect(watch(looking, [3, { restartCount: 46 }])[0]).toMatch(/^failed/);
  });
});

it('a service that is unhealthy has failed when its start period is over, and not before', () => {
  const ill: Partial<Container> = { health: 'unhealthy', startPeriod: 60 * second };
  expect(watch(probe(), [0, ill], [59, ill], [60, ill]).map((state) => state.slice(0, 7))).toEqual([
    'waiting',
    'waiting',
    'failed:',
  ]);
});

describe('a one-shot', () => {
  const oneShot = { oneShot: true };
  const once: Partial<Container> = { restart: 'no' };

  it('is green when it has ended well', () => {
    expect(
      watch(probe(oneShot), [0, once], [1, { ...once, ...exited(0) }], [2, { ...once, ...exited(0) }]),
    ).toEqual(['waiting: shop-web-1 is still at work', 'green', 'green']);
  });

  it('has failed when it ended badly and nobody starts it again', () => {
    expect(watch(probe(oneShot), [0, { ...once, ...exited(1) }])).toEqual([
      'failed: shop-web-1 exited with code 1',
    ]);
  });

  it('may fail and be started again', () => {
    const again = { restart: 'on-failure' };
    expect(
      watch(
        probe(oneShot),
        [0, { ...again, ...exited(1) }],
        [1, { ...again, ...restarting, restartCount: 1 }],
        [2, { ...again, ...exited(0), restartCount: 1 }],
      ),
    ).toEqual(['waiting: shop-web-1 has exited with code 1', 'waiting: shop-web-1 is restarting', 'green']);
  });

  it('that ended well is green whatever its restart count', () => {
    expect(watch(probe(oneShot), [0, { ...once, ...exited(0), restartCount: 9 }])).toEqual(['green']);
  });

  it('that was never started is not done', () => {
    expect(watch(probe(oneShot), [0, { ...once, status: 'created', running: false }])).toEqual([
      'waiting: shop-web-1 is created',
    ]);
  });
});

describe('a service that may end', () => {
  const may = { mayEnd: true };
  const always = { restart: 'always' };
  const between = (exitCode: number, restartCount: number): Partial<Container> => ({
    ...always,
    ...restarting,
    exitCode,
    restartCount,
  });

  it('is green at work, and when it has ended well', () => {
    const once = { restart: 'no' };
    expect(watch(probe(may), [0, once], [1, { ...once, ...exited(0) }])).toEqual(['green', 'green']);
  });

  it('is green however often the engine starts it again after it ended well', () => {
    expect(
      watch(
        probe(may),
        [0, always],
        [4, { ...always, restartCount: 1, health: 'starting' }],
        [9, between(0, 6)],
        [12, { ...always, restartCount: 9 }],
      ),
    ).toEqual(['green', 'green', 'green', 'green']);
  });

  it('has failed when it ended with an error, at once or again and again', () => {
    expect(watch(probe(may), [0, { restart: 'no', ...exited(2) }])[0]).toMatch(/^failed/);
    expect(
      watch(
        probe(may),
        [0, between(1, 2)],
        [1, { ...always, restartCount: 3 }],
        [2, between(1, 3)],
        [3, between(1, 4)],
      ),
    ).toEqual([
      'waiting: shop-web-1 has ended with an error: exit code 1',
      'waiting: shop-web-1 has restarted after an error',
      'waiting: shop-web-1 has ended with an error: exit code 1',
      'failed: shop-web-1 has ended with an error: exit code 1',
    ]);
  });

  it('has to be healthy before it has ended for the first time', () => {
    expect(watch(probe(may), [0, { ...always, health: 'starting' }])).toEqual([
      'waiting: shop-web-1 is not healthy yet',
    ]);
  });
});

it('says what a person can say where a service ends well that should run', () => {
  expect(watch(probe(), [0, { restart: 'no', ...exited(0) }])[0]).toContain('services.web.oneShot: true');
});

it('one replica that has failed is enough, whatever the others do', () => {
  expect(watch(probe({ replicas: 3 }), [0, {}, { ...exited(1), restart: 'no' }])).toEqual([
    'failed: shop-web-2 exited with code 1',
  ]);
});
