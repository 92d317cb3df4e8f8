import { SafeUpdateError } from '../model/error.ts';
import { containerProbe, type ContainerProbeOptions } from './container.ts';
import { imageProbe } from './image.ts';
import type { ExpectedService, Probe, ProbeState, Sample } from './probe.ts';
import { servedProbe } from './served.ts';

export interface VerifyOptions {
  /** Milliseconds until a stack that is not green has failed. */
  timeout: number;
  /** Milliseconds that everything must stay green without a break. */
  stableFor: number;
  /**
   * Milliseconds, all in all, that something may be neither green nor starting before the stack has failed. Absent: it has all
   * of `timeout`, as after a start.
   */
  patience?: number;
  signal?: AbortSignal;
  /** Reads the project's containers. */
  sample(): Promise<Sample>;
  sleep(milliseconds: number): Promise<void>;
  /** Called at each look with what is not green yet. */
  onLook?: (waitingFor: string[], greenFor: number) => void;
}

/** The probes of a service. Each kind of probe is made here. */
export function probesFor(expected: ExpectedService, options: ContainerProbeOptions): Probe[] {
  const { imageId } = expected;
  return [
    containerProbe(expected, options),
    ...(imageId === undefined ? [] : [imageProbe({ ...expected, imageId })]),
    ...(expected.served.length === 0 ? [] : [servedProbe(expected)]),
  ];
}

/**
 * How long a service may be starting, given the start period of its healthcheck. The engine looks once more when it is over,
 * at the latest after the interval it has if none is said. Milliseconds. Pure.
 */
function afterStart(startPeriod: number): number {
  return startPeriod === 0 ? 0 : startPeriod + 30_000;
}

/**
 * Waits until every probe is green and has stayed green for `stableFor`.
 *
 * Throws SafeUpdateError `unhealthy` with the reasons as soon as a probe has failed for good, when what is not starting has used
 * up the patience, or when `timeout` runs out and no service is within the start period that its own healthcheck gives it; `interrupted` when the signal comes. Compose's own `--wait` is not used: without a healthcheck one running
 * sample passes, so that a crash loop passes.
 */
export async function verify(probes: readonly Probe[], options: VerifyOptions): Promise<void> {
  let first: number | undefined;
  let greenSince: number | undefined;
  let stuckSince: number | undefined;
  let stuckFor = 0;
  const seen = new Map<string, number>();
  for (;;) {
    if (options.signal?.aborted === true)
      throw new SafeUpdateError('interrupted', 'The verification was interrupted.');
    const sample = await options.sample();
    const { at } = sample;
    first ??= at;
    for (const { name } of sample.containers) if (!seen.has(name)) seen.set(name, at);
    const states = await Promise.all(probes.map(async (probe) => probe.look(sample)));
    const reasons = (is: ProbeState['is']): string[] => [
      ...new Set(states.flatMap((state) => (state.is === is && state.is !== 'green' ? [state.reason] : []))),
    ];
    const failed = reasons('failed');
    const waiting = reasons('waiting');
    const stuck = states.some((state) => state.is === 'waiting' && state.starting !== true);
    if (stuckSince !== undefined) stuckFor += at - stuckSince;
    stuckSince = stuck ? at : undefined;
    if (stuck && options.patience !== undefined && stuckFor >= options.patience)
      throw new SafeUpdateError('unhealthy', [...failed, ...waiting].join('; '));
    if (failed.length > 0) throw new SafeUpdateError('unhealthy', failed.join('; '));
    if (waiting.length > 0) {
      greenSince = undefined;
      const starting = sample.containers.filter(({ health }) => health === 'starting');
      const periods = starting.map(
        ({ name, startPeriod = 0 }) => (seen.get(name) ?? at) + afterStart(startPeriod),
      );
      if (at >= Math.max(first + options.timeout, ...periods)) {
        throw new SafeUpdateError(
          'unhealthy',
          `not healthy after ${Math.round((at - first) / 1000)} s: ${waiting.join('; ')}`,
        );
      }
    } else {
      greenSince ??= at;
      if (at - greenSince >= options.stableFor) return;
    }
    options.onLook?.(waiting, greenSince === undefined ? 0 : at - greenSince);
    await options.sleep(400);
  }
}
