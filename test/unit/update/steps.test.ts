import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { stepNames } from '../../../src/model/plan.ts';
import type { Observed } from '../../../src/docker/observe.ts';
import type { ExpectedService } from '../../../src/health/probe.ts';
import { probesFor } from '../../../src/health/verify.ts';
import type { ComposeService, Container } from '../../../src/model/project.ts';
import { planBackup, planUpdate } from '../../../src/update/plan.ts';
import { expectedAfter, startPeriodAfter, titles } from '../../../src/update/steps.ts';
import { container, exited, image, imageIdOf, mount, observed } from '../model/examples.ts';

function expectedOf(shop: Observed): Record<string, Omit<ExpectedService, 'service'>> {
  const plan = planUpdate(shop, { consistency: 'cold', pull: 'always', pulled: true });
  return Object.fromEntries(expectedAfter(shop, plan).map(({ service, ...rest }) => [service, rest]));
}

describe('expectedAfter', () => {
  it('is the new image for what is replaced, the same for what is only restarted, each on its volumes', () => {
    const shop = observed(
      { web: {}, db: {} },
      {
        containers: [
          container('web', {
            mounts: [mount('shop_uploads', '/app/uploads'), mount('/etc/x', '/x', { type: 'bind' })],
          }),
          container('db', { imageId: 'sha256:as-it-runs' }),
        ],
        images: new Map([
          ['web', image('web:2')],
          ['db', null],
        ]),
      },
    );
    expect(expectedOf(shop)).toEqual({
      web: {
        replicas: 1,
        oneShot: false,
        imageId: imageIdOf('web:2'),
        served: [{ number: 1, path: '/app/uploads', volume: 'shop_uploads' }],
      },
      db: { replicas: 1, numbers: [1], oneShot: false, imageId: 'sha256:as-it-runs', served: [] },
    });
  });

  it('leaves alone what stays stopped', () => {
    const shop = observed(
      { web: {}, mail: {} },
      { containers: [container('web'), container('mail', exited(1))] },
    );
    expect(Object.keys(expectedOf(shop))).toEqual(['web']);
  });

  it('is whatever image it runs for a service that left the files, and its volumes where it ran', () => {
    const shop = observed(
      { web: {} },
      {
        containers: [
          container('web'),
          container('old', { mounts: [mount('shop_old', '/data')] }),
          container('old', { number: 2, ...exited(0), mounts: [mount('shop_old', '/data')] }),
        ],
      },
    );
    expect(expectedOf(shop)['old']).toEqual({
      replicas: 1,
      numbers: [1],
      imageId: imageIdOf('old:1'),
      oneShot: false,
      served: [{ number: 1, path: '/data', volume: 'shop_old' }],
    });
  });

  it('is as many replicas as the files state, else as there were, else one', () => {
    const two = [container('web'), container('web', { number: 2 })];
    expect(expectedOf(observed({ web: { scale: 3 } }, { containers: two }))['web']?.replicas).toBe(3);
    expect(expectedOf(observed({ web: {} }, { containers: two }))['web']?.replicas).toBe(2);
    expect(expectedOf(observed({ web: {} }, { containers: [] }))['web']?.replicas).toBe(1);
  });

  it('lets a one-shot end: one that did, and one that another service waits for', () => {
    const shop = observed(
      {
        app: { depends_on: { migrate: { condition: 'service_completed_successfully' } } },
        migrate: {},
        seed: {},
      },
      { containers: [container('app'), container('seed', { ...exited(0), restart: 'no' })] },
    );
    const expected = expectedOf(shop);
    expect(Object.entries(expected).map(([service, { oneShot }]) => [service, oneShot])).toEqual([
      ['app', false],
      ['migrate', true],
      ['seed', true],
    ]);
  });
});

describe('startPeriodAfter', () => {
  const images = new Map([['web', image('web:1', { startPeriod: 5000 })]]);

  it.each<[string, ComposeService, number]>([
    ['what the files say', { healthcheck: { start_period: '10m0s' } }, 600_000],
    ['none, where the files say so', { healthcheck: { start_period: '0s' } }, 0],
    ['that of the image', {}, 5000],
    ['that of the image, with another test', { healthcheck: { test: ['CMD', 'true'] } }, 5000],
    ['none without a healthcheck', { healthcheck: { disable: true } }, 0],
  ])('is %s', (_, service, expected) => {
    expect(startPeriodAfter(observed({ web: service }, { images }), 'web')).toBe(expected);
  });
});

it('a backup may leave a stack as it found it, whatever that was', () => {
  const state = fc.constantFrom<Partial<Container>[]>(
    {},
    { health: 'healthy' },
    { health: 'unhealthy' },
    exited(0),
    exited(137),
    { status: 'restarting', exitCode: 1 },
  );
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.constantFrom('web', 'db'), state), { minLength: 1, maxLength: 4 }),
      (replicas) => {
        const containers = replicas.map(([service, facts], index) => {
          const number = replicas.slice(0, index).filter(([other]) => other === service).length + 1;
          return container(service, { number, ...facts });
        });
        const shop = observed({ web: {}, db: {} }, { containers });
        const expected = expectedAfter(shop, planBackup(shop, { consistency: 'cold' }));
        const probes = expected.flatMap((service) =>
          probesFor(service, { patience: 1000, justStarted: true }),
        );
        for (const at of [0, 400, 2000])
          for (const probe of probes) expect(probe.look({ at, containers })).toEqual({ is: 'green' });
      },
    ),
  );
});

it('every step has a title', () => {
  expect(Object.keys(titles).sort()).toEqual([...stepNames].sort());
});
