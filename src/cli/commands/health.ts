import { parseDuration } from '../../config/duration.ts';
import { expectedAsRecorded } from '../../update/undo.ts';
import { probesFor, verify } from '../../health/verify.ts';
import { currentContainers, look, showStep } from '../../update/session.ts';
import { isProvided } from '../../update/plan.ts';
import { standing } from '../../update/standing.ts';
import { messageOf, SafeUpdateError } from '../../model/error.ts';
import { formatDuration } from '../../model/units.ts';
import { print } from '../print.ts';
import type { CommandInput } from '../command.ts';
import { createRuntime } from '../runtime.ts';

/** Milliseconds that what is neither healthy nor starting has: between its end and its next start a container stands still. */
const patience = 2000;

export async function run({ args, flags, commands }: CommandInput): Promise<number> {
  const runtime = await createRuntime(args[0], flags, commands);
  const { context } = runtime;
  const { timeouts } = context.settings;
  try {
    const wait = flags.wait === undefined ? undefined : durationOf(flags.wait);
    let said = '';
    const observed = await look(context);
    await runtime.tellInterrupted(observed.project.name);
    const project = observed.project.name;
    // What is stopped counts as unhealthy too, unless it is a one-shot that has done its work.
    const meant = observed.containers.filter((container) => standing(container, observed) !== 'one-shot');
    const expected = expectedAsRecorded({
      containers: meant.flatMap(({ id }) => observed.inspects.get(id) ?? []),
      green: meant.map(({ id }) => id),
      mayEnd: meant.filter(({ mayEnd }) => mayEnd === true).map(({ id }) => id),
    });
    const missing = observed.activeServices.filter(
      (service) =>
        !isProvided(observed.model.services[service] ?? {}) &&
        !observed.containers.some((container) => container.service === service),
    );
    let problem = missing.length > 0 ? `no container for ${missing.join(', ')}` : undefined;
    if (problem === undefined) {
      try {
        await showStep(
          context,
          'health',
          `Watch ${project} for ${formatDuration(timeouts.stableFor)}`,
          async () => {
            await verify(
              expected.flatMap((service) =>
                probesFor(service, { patience: wait ?? timeouts.stableFor, justStarted: false }),
              ),
              {
                timeout: wait ?? timeouts.verify,
                patience: wait ?? patience,
                stableFor: timeouts.stableFor,
                signal: context.signal,
                sleep: (milliseconds) => context.clock.sleep(milliseconds),
                sample: async () => ({
                  at: context.clock.monotonic(),
                  containers: await currentContainers(context, project),
                }),
                onLook: (waiting) => {
                  const now = waiting.join('; ');
                  // Whoever waits is told what has changed, and not the same at every look.
                  if (now !== said && now !== '')
                    context.emit({ type: 'notice', level: 'info', message: `Not healthy yet: ${now}` });
                  said = now;
                },
              },
            );
            return undefined;
          },
        );
      } catch (error) {
        if (!(error instanceof SafeUpdateError) || error.code !== 'unhealthy') throw error;
        problem = messageOf(error);
      }
    }
    await runtime.close();
    await print(
      flags,
      { project, healthy: problem === undefined, ...(problem === undefined ? {} : { problem }) },
      (style) =>
        problem === undefined
          ? style.green(`${project} is healthy.`)
          : style.red(`${project} is not healthy: ${problem}`),
    );
    return problem === undefined ? 0 : 3;
  } finally {
    await runtime.close();
  }
}

/** Milliseconds. Throws SafeUpdateError `usage` for what is no duration. */
function durationOf(text: string): number {
  const milliseconds = parseDuration(text);
  if (milliseconds !== undefined) return milliseconds;
  throw new SafeUpdateError('usage', `--wait: expected a duration like 30s, 5m or 1h, not ${text}.`, {
    state: 'Nothing was touched.',
    hint: 'Correct the flag: safe-update health --wait 2m',
  });
}
