import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ExpectedService, Probe, ProbeState, Sample } from '../../src/health/probe.ts';
import { probesFor } from '../../src/health/verify.ts';
import type { Container } from '../../src/model/project.ts';

/**
 * What every kind of probe must do. A kind is added with a Subject, named by what its probe is called: probesFor must
 * make it for the service below.
 */
interface Subject {
  /** A sample in which just this is wrong. */
  wrong: (good: Sample) => Sample;
  /** What is said of it must name this. */
  says: string;
}

const service: ExpectedService = {
  service: 'web',
  replicas: 2,
  oneShot: false,
  imageId: 'sha256:good',
  served: [
    { number: 1, path: '/data', volume: 'shop_data' },
    { number: 2, path: '/data', volume: 'shop_data' },
  ],
};

const subjects: Record<string, Subject> = {
  web: {
    wrong: changed({ running: false, status: 'exited', exitCode: 3, restart: 'no' }),
    says: 'shop-web-2',
  },
  'web image': { wrong: changed({ imageId: 'sha256:bad' }), says: 'shop-web-2' },
  'web volumes': { wrong: changed({ mounts: [] }), says: 'shop_data' },
};

function container(number: number): Container {
  return {
    id: `id-${number}`,
    name: `shop-web-${number}`,
    service: 'web',
    number,
    oneOff: false,
    imageId: 'sha256:good',
    imageName: 'web:1',
    configHash: '',
    running: true,
    status: 'running',
    exitCode: 0,
    restartCount: 0,
    restart: 'always',
    health: 'healthy',
    startedAt: '2024-10-17T14:30:22Z',
    mounts: [{ type: 'volume', source: 'shop_data', path: '/data', readOnly: false }],
    labels: {},
    environment: [],
    command: [],
    publishesPorts: false,
  };
}

const good = (at: number): Sample => ({ at, containers: [container(1), container(2)] });

/** The good sample with its second container changed. */
function changed(facts: Partial<Container>): Subject['wrong'] {
  return ({ at, containers }) => ({
    at,
    containers: containers.map((own) => (own.number === 2 ? { ...own, ...facts } : own)),
  });
}

/** A new one each time: probes remember. */
function probe(name: string): Probe {
  const found = probesFor(service, { patience: 1000, justStarted: false }).find((one) => one.name === name);
  if (found === undefined) throw new Error(`there is no probe ${name}`);
  return found;
}

it('there is a subject for every kind of probe', () => {
  expect(probesFor(service, { patience: 1000, justStarted: false }).map(({ name }) => name)).toEqual(
    Object.keys(subjects),
  );
});

describe.each(Object.entries(subjects))('%s', (name, { wrong, says }) => {
  const is = async (probing: Probe, sample: Sample): Promise<ProbeState> => probing.look(sample);

  it('is green on what was expected, and stays so', async () => {
    const probing = probe(name);
    for (const at of [0, 400, 60_000]) expect(await is(probing, good(at))).toEqual({ is: 'green' });
  });

  it('is not green when something is wrong, and says what', async () => {
    const state = await is(probe(name), wrong(good(0)));
    expect(state.is).not.toBe('green');
    expect((state as { reason: string }).reason).toContain(says);
  });

  it('sees it also after it was green', async () => {
    const probing = probe(name);
    await is(probing, good(0));
    expect((await is(probing, wrong(good(400)))).is).not.toBe('green');
  });

  it('does not mind what happens to other services and one-offs', async () => {
    const { containers } = wrong(good(0));
    const others = containers.map((own) => ({ ...own, service: 'other', name: `shop-other-${own.number}` }));
    const oneOffs = containers.map((own) => ({
      ...own,
      oneOff: true,
      number: own.number + 2,
      name: 'shop-web-run',
    }));
    expect(
      await is(probe(name), { at: 0, containers: [...good(0).containers, ...others, ...oneOffs] }),
    ).toEqual({ is: 'green' });
  });

  it('does not mind the order of the containers', async () => {
    const reversed = (sample: Sample): Sample => ({ ...sample, containers: sample.containers.toReversed() });
    expect(await is(probe(name), reversed(good(0)))).toEqual({ is: 'green' });
    expect(await is(probe(name), reversed(wrong(good(0))))).toEqual(await is(probe(name), wrong(good(0))));
  });

  it('does not throw where there is nothing', async () => {
    await expect(is(probe(name), { at: 0, containers: [] })).resolves.toHaveProperty('is');
  });

  it('changes nothing of the sample, and answers with a state and a reason whatever it sees', async () => {
    const facts: fc.Arbitrary<Partial<Container>> = fc.record(
      {
        status: fc.constantFrom(
          'created',
          'running',
          'paused',
          'restarting',
          'removing',
          'exited',
          'dead',
          'unheard-of',
        ),
        running: fc.boolean(),
        exitCode: fc.integer({ min: 0, max: 255 }),
        restartCount: fc.nat(20),
        restart: fc.constantFrom('no', 'on-failure', 'always', 'unless-stopped'),
        health: fc.constantFrom<Container['health'][]>('none', 'starting', 'healthy', 'unhealthy'),
        startedAt: fc.constantFrom('', 'a', 'b'),
        mounts: fc.constantFrom<Container['mounts'][]>([], container(1).mounts),
        imageId: fc.constantFrom('', 'sha256:good', 'sha256:bad'),
      },
      { requiredKeys: [] },
    );
    const looks = fc.array(fc.array(fc.tuple(fc.integer({ min: 1, max: 3 }), facts), { maxLength: 3 }), {
      maxLength: 5,
    });
    await fc.assert(
      fc.asyncProperty(looks, async (sequence) => {
        const probing = probe(name);
        for (const [index, replicas] of sequence.entries()) {
          const sample = {
            at: index * 400,
            containers: replicas.map(([number, some]) => ({ ...container(number), ...some })),
          };
          const before = structuredClone(sample);
          const state = await is(probing, sample);
          expect(sample).toEqual(before);
          expect(['green', 'waiting', 'failed']).toContain(state.is);
          if (state.is !== 'green') expect(state.reason).not.toBe('');
        }
      }),
    );
  });
});
