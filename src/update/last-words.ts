import { stripVTControlCharacters } from 'node:util';
import { logsArgv } from '../docker/argv.ts';
import type { LastWords } from '../model/error.ts';
import type { Container } from '../model/project.ts';
import type { Context } from './context.ts';
import { currentContainers } from './session.ts';

/** Of more services than these nobody reads it; the backup of the failed state has the rest. */
const mostServices = 3;
const mostLines = 10;

/**
 * The containers that a release has failed by, the likely cause first: those that could not be started or ended with an error,
 * then those that are unhealthy, then those that only the reason names. `before`: what there was before the release, which is not
 * blamed for having ended then. Pure.
 */
export function culprits(
  containers: readonly Container[],
  before: readonly Pick<Container, 'id' | 'startedAt'>[],
  reason: string,
): Container[] {
  const isNamed = ({ service, name }: Container): boolean =>
    [name, `"${service}"`].some((word) => reason.includes(word));
  const weight = (container: Container): number => {
    const { startError, status, exitCode, health } = container;
    if (startError !== undefined) return 1;
    if (['exited', 'dead', 'restarting'].includes(status) && exitCode !== 0) return 1;
    if (health === 'unhealthy') return 2;
    return isNamed(container) && status !== 'created' ? 3 : 0;
  };
  const stoodStill = ({ id, startedAt, running }: Container): boolean =>
    !running && before.some((former) => former.id === id && former.startedAt === startedAt);
  return containers
    .filter((container) => !container.oneOff && !stoodStill(container) && weight(container) > 0)
    .sort(
      (a, b) =>
        weight(a) - weight(b) ||
        Number(isNamed(b)) - Number(isNamed(a)) ||
        a.startedAt.localeCompare(b.startedAt),
    );
}

/** What these containers printed last, and their healthchecks; one of each service. Nothing of it keeps a rollback waiting. */
export async function lastWords(
  context: Context,
  project: string,
  before: readonly Pick<Container, 'id' | 'startedAt'>[],
  reason: string,
): Promise<LastWords[]> {
  const words: LastWords[] = [];
  try {
    const found = culprits(await currentContainers(context, project), before, reason);
    const first = found.filter(
      ({ service }, index) => found.findIndex((o) => o.service === service) === index,
    );
    for (const { id, service, healthOutput, health, startError } of first.slice(0, mostServices)) {
      const { stdout, stderr } = await context.exec.run({ argv: logsArgv(id, mostLines), timeout: 10_000 });
      words.push({
        service,
        lines: inOrder(stdout, stderr).slice(-mostLines),
        ...(health === 'unhealthy' && healthOutput !== undefined ? { healthcheck: healthOutput } : {}),
        ...(startError === undefined ? {} : { startError }),
      });
    }
  } catch {
    // The reason is on its way, and says more than this.
  }
  return words;
}

/** Both streams of a container's logs by their times, without these and without colours. Pure. */
export function inOrder(stdout: string, stderr: string): string[] {
  return [stdout, stderr]
    .flatMap((text) => text.split('\n'))
    .filter((line) => line !== '')
    .sort((a, b) => timeOf(a).localeCompare(timeOf(b)))
    .map((line) => stripVTControlCharacters(line.slice(timeOf(line).length)).trim())
    .filter((line) => line !== '');
}

/** `2024-10-17T14:30:22.123456789Z`, as the engine puts before each line. */
function timeOf(line: string): string {
  return /^\d{4}-\d\d-\d\dT\S+/.exec(line)?.[0] ?? '';
}
