import { describe, expect, it } from 'vitest';
import type { Probe, ProbeState } from '../../../src/health/probe.ts';
import { probesFor, verify, type VerifyOptions } from '../../../src/health/verify.ts';
import type { Container } from '../../../src/model/project.ts';
import { container, exited, imageIdOf } from '../model/examples.ts';

const second = 1000;

/** Time that passes only while somebody sleeps. `containersAt` says what there is at each second. */
function world(containersAt: (seconds: number) => Container[] = () => []) {
  let now = 100 * second;
  const start = now;
  let looks = 0;
  return {
    seconds: () => (now - start) / second,
    looks: () => looks,
    options: {
      timeout: 30 * second,
      stableFor: 5 * second,
      sample: async () => {
        looks += 1;
        return { at: now, containers: containersAt((now - start) / second) };
      },
      sleep: async (milliseconds: number) => {
        now += milliseconds;
      },
    } satisfies VerifyOptions,
  };
}

/** A probe that is what `states` says at each moment. */
function probeThat(is: (at: number) => ProbeState): Probe {
  let first: number | undefined;
  return {
    name: 'web',
    look({ at }) {
      first ??= at;
      return is((at - first) / second);
    },
  };
}
const waiting: ProbeState = { is: 'waiting', reason: 'web is not healthy yet' };
const green: ProbeState = { is: 'green' };
const failed: ProbeState = { is: 'failed', reason: 'web exited with code 1' };

describe('with patience', () => {
  const patience = 2 * second;
  const starting: ProbeState = { is: 'waiting', reason: 'db is not healthy yet', starting: true };
  const failure = async (probes: Probe[]): Promise<{ reason: string; seconds: number }> => {
    const { options, seconds } = world();
    const reason = await verify(probes, { ...options, patience }).catch((error: unknown) => String(error));
    return { reason: reason ?? 'green', seconds: seconds() };
  };

  it('what is not starting has failed soon, also beside something that starts', async () => {
    const { reason, seconds } = await failure([probeThat(() => waiting), probeThat(() => starting)]);
    expect(reason).toMatch(/: web is not healthy yet; db is not healthy yet$/);
    expect(seconds).toBeLessThan(3);
  });

  it('what is starting has its time, and then the rest has its patience', async () => {
    expect(await failure([probeThat((at) => (at < 20 ? starting : green))])).toMatchObject({
      reason: 'green',
    });
    const { seconds } = await failure([probeThat((at) => (at < 20 ? starting : waiting))]);
    expect(seconds).toBeGreaterThanOrEqual(22);
    expect(seconds).toBeLessThan(24);
  });

  it('what comes and goes uses the patience up bit by bit', async () => {
    const { reason, seconds } = await failure([probeThat((at) => (at % 4 < 1 ? waiting : green))]);
    expect(reason).toMatch(/unhealthy|web is not/);
    expect(seconds).toBeLessThan(12);
  });
});

describe('verify', () => {
  it('ends when everything has been green for as long as it must', async () => {
    const { options, seconds } = world();
    await verify([probeThat(() => green)], options);
    expect(seconds()).toBeGreaterThanOrEqual(5);
    expect(seconds()).toBeLessThan(5.5);
  });

  it('counts from the moment at which the last one became green', async () => {
    const { options, seconds } = world();
    await verify([probeThat(() => green), probeThat((at) => (at < 8 ? waiting : green))], options);
    expect(seconds()).toBeGreaterThanOrEqual(13);
    expect(seconds()).toBeLessThan(14);
  });

  it('begins to count again after every break', async () => {
    const { options, seconds } = world();
    await verify([probeThat((at) => (at > 4 && at < 4.5 ? waiting : green))], options);
    expect(seconds()).toBeGreaterThan(9);
    expect(seconds()).toBeLessThan(10.5);
  });

  it('looks once where nothing has to be stable', async () => {
    const { options, looks } = world();
    await verify([probeThat(() => green)], { ...options, stableFor: 0 });
    expect(looks()).toBe(1);
  });

  it('is content with no probes, when that has stayed so', async () => {
    const { options, seconds } = world();
    await verify([], options);
    expect(seconds()).toBeGreaterThanOrEqual(5);
  });

  it('ends as soon as something has failed for good: waiting longer is only downtime', async () => {
    const { options, seconds } = world();
    const probes = [probeThat(() => waiting), probeThat((at) => (at < 2 ? waiting : failed))];
    await expect(verify(probes, options)).rejects.toMatchObject({
      code: 'unhealthy',
      message: 'web exited with code 1',
    });
    expect(seconds()).toBeLessThan(3);
  });

  it('says every reason, each once', async () => {
    const { options } = world();
    const other: ProbeState = { is: 'failed', reason: 'db exited with code 1' };
    await expect(
      verify([probeThat(() => failed), probeThat(() => failed), probeThat(() => other)], options),
    ).rejects.toThrow('web exited with code 1; db exited with code 1');
  });

  it('gives up when the time is over, and says what is not green', async () => {
    const { options, seconds } = world();
    await expect(verify([probeThat(() => waiting)], options)).rejects.toMatchObject({
      code: 'unhealthy',
      message: 'not healthy after 30 s: web is not healthy yet',
    });
    expect(seconds()).toBeGreaterThanOrEqual(30);
    expect(seconds()).toBeLessThan(31);
  });

  it('gives a service the time to start that its own healthcheck gives it', async () => {
    const starting = container('web', { health: 'starting', startPeriod: 60 * second });
    const { options, seconds } = world(() => [starting]);
    await verify([probeThat((at) => (at < 55 ? waiting : green))], options);
    expect(seconds()).toBeGreaterThan(55);
    const never = world(() => [starting]);
    await expect(verify([probeThat(() => waiting)], never.options)).rejects.toThrow('not healthy after 9');
    const healthy = world(() => [{ ...starting, health: 'healthy' }]);
    await expect(verify([probeThat(() => waiting)], healthy.options)).rejects.toThrow('after 30 s');
  });

  it('gives up on what flaps for ever', async () => {
    const { options, seconds } = world();
    await expect(
      verify([probeThat((at) => (Math.floor(at) % 3 === 0 ? waiting : green))], options),
    ).rejects.toMatchObject({
      code: 'unhealthy',
    });
    expect(seconds()).toBeLessThan(35);
  });

  it('lets what is green at the end of the time become stable', async () => {
    const { options, seconds } = world();
    await verify([probeThat((at) => (at < 29 ? waiting : green))], options);
    expect(seconds()).toBeGreaterThanOrEqual(34);
  });

  it('ends when the signal comes', async () => {
    const { options } = world();
    const controller = new AbortController();
    const probe = probeThat((at) => {
      if (at >= 2) controller.abort();
      return waiting;
    });
    await expect(verify([probe], { ...options, signal: controller.signal })).rejects.toMatchObject({
      code: 'interrupted',
    });
  });

  it('tells at each look what it waits for, and for how long all has been green', async () => {
    const { options } = world();
    const told: [string[], number][] = [];
    await verify([probeThat((at) => (at < 1 ? waiting : green))], {
      ...options,
      stableFor: second,
      onLook: (waitingFor, greenFor) => told.push([waitingFor, greenFor]),
    });
    expect(told[0]).toEqual([['web is not healthy yet'], 0]);
    expect(told.at(-1)?.[0]).toEqual([]);
    expect(told.at(-1)?.[1]).toBeGreaterThan(0);
  });

  it('passes on what the engine says when it cannot be asked', async () => {
    const { options } = world();
    const sample = async (): Promise<never> => {
      throw new Error('no engine');
    };
    await expect(verify([], { ...options, sample })).rejects.toThrow('no engine');
  });
});

describe('verify with the real probes', () => {
  const expected = {
    service: 'web',
    replicas: 1,
    oneShot: false,
    imageId: imageIdOf('web:1'),
    served: [{ number: 1, path: '/data', volume: 'shop_data' }],
  };
  const mounts = [{ type: 'volume' as const, source: 'shop_data', path: '/data', readOnly: false }];
  const web = (facts: Partial<Container> = {}): Container => container('web', { mounts, ...facts });
  const run = async (containersAt: (seconds: number) => Container[]): Promise<number> => {
    const { options, seconds } = world(containersAt);
    await verify(probesFor(expected, { patience: options.stableFor, justStarted: true }), options);
    return seconds();
  };

  it('has one for the containers, the image and the volumes, as far as there is something to check', () => {
    const options = { patience: 1, justStarted: true };
    expect(probesFor(expected, options).map(({ name }) => name)).toEqual(['web', 'web image', 'web volumes']);
    const { imageId: _, ...rest } = { ...expected, served: [] };
    expect(probesFor(rest, options).map(({ name }) => name)).toEqual(['web']);
  });

  it('a good release', async () => {
    expect(await run((at) => [web({ health: at < 3 ? 'starting' : 'healthy' })])).toBeLessThan(10);
  });

  it('a release that crashes after it seemed fine', async () => {
    await expect(run((at) => [at < 4 ? web() : web({ ...exited(1), restart: 'no' })])).rejects.toThrow(
      'exited with code 1',
    );
  });

  it('a crash loop, which runs at every single look', async () => {
    await expect(
      run((at) => [web({ restartCount: Math.floor(at / 2), startedAt: String(Math.floor(at / 2)) })]),
    ).rejects.toThrow('crashes again and again');
  });

  it('a release that is healthy, on a new and empty volume', async () => {
    const mounted = [{ ...mounts[0]!, source: 'shop2_data' }];
    await expect(run(() => [web({ health: 'healthy', mounts: mounted })])).rejects.toThrow(
      'instead of the volume shop_data',
    );
  });

  it('a release that is healthy, on the old image', async () => {
    await expect(run(() => [web({ health: 'healthy', imageId: imageIdOf('web:0') })])).rejects.toThrow(
      'runs image',
    );
  });

  it('a container that is replaced in the meantime is not what was stable', async () => {
    const seconds = await run((at) => [web({ startedAt: at < 3 ? 'before' : 'after' })]);
    expect(seconds).toBeGreaterThan(8);
  });
});
