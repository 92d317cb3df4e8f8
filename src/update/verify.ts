import type { ExpectedService } from '../health/probe.ts';
import { probesFor, verify } from '../health/verify.ts';
import { formatDuration } from '../model/units.ts';
import { currentContainers, type Session } from './session.ts';

/**
 * Waits until these services are green and have stayed so, and tells of it under the name of a step. Returns how long it
 * took, for people. Throws like `verify`; a signal ends it only where one is given. `lastResort`: there is nothing else to
 * go to, so what is unhealthy has all the time there is to recover.
 */
export async function verifyServices(
  { context, project }: Session,
  expected: readonly ExpectedService[],
  about: { step: string; justStarted: boolean; lastResort?: boolean; signal?: AbortSignal },
): Promise<string> {
  const { clock, settings, emit } = context;
  const { verify: timeout, stableFor } = settings.timeouts;
  const { step, justStarted, lastResort = false, signal } = about;
  const patience = lastResort ? timeout : stableFor;
  const from = clock.monotonic();
  await verify(
    expected.flatMap((service) => probesFor(service, { patience, justStarted })),
    {
      timeout,
      stableFor,
      ...(signal === undefined ? {} : { signal }),
      sleep: (milliseconds) => clock.sleep(milliseconds),
      sample: async () => ({
        at: clock.monotonic(),
        containers: await currentContainers(context, project),
      }),
      onLook: (waiting, greenFor) => {
        const item = waiting[0] ?? `stable for ${formatDuration(greenFor)} of ${formatDuration(stableFor)}`;
        emit({ type: 'step-progress', step, item });
      },
    },
  );
  const green = clock.monotonic() - from - stableFor;
  return `green after ${formatDuration(green)}, stable for ${formatDuration(stableFor)}`;
}
