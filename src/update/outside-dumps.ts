import { databaseLabel, recogniseDatabase } from '../database/engines.ts';
import type { Observed } from '../docker/observe.ts';
import { messageOf, SafeUpdateError } from '../model/error.ts';
import type { Plan } from '../model/plan.ts';
import type { Container } from '../model/project.ts';
import type { Context } from './context.ts';
import { runningDatabases } from './session.ts';

/** What is refused hot of a database can be let go of by this name. Pure. */
export function notInDumpOf(service: string): string {
  return `not-in-dump:${service}`;
}

/** Of what no dump of a database holds, and what that means hot. Pure. */
export function describeOutside(title: string, service: string, notInDump: readonly string[]): string {
  const what = notInDump.slice(0, 10).join(', ');
  const more = notInDump.length > 10 ? ` and ${notInDump.length - 10} more` : '';
  return `No dump of ${title} in ${service} holds ${what}${more}: after a rollback to a hot backup that would be gone.`;
}

/** Databases that run and that somebody does not want to be dumped, each in words. Pure. */
export function notDumped(containers: readonly Container[]): { service: string; message: string }[] {
  return containers
    .filter(({ running }) => running)
    .flatMap((container) => {
      const { [databaseLabel]: said, ...labels } = container.labels;
      const engine = said?.trim() === 'none' ? recogniseDatabase({ ...container, labels }) : undefined;
      if (engine === undefined) return [];
      const { service } = container;
      return [
        {
          service,
          message: `${service} (${engine.title}) is not dumped, because its engine is given as none`,
        },
      ];
    });
}

/** Milliseconds that a server may take to say what is in no dump, where only a plan is made: nobody waits long for that. */
const patience = 30_000;

/**
 * What a hot update would be refused for by its databases, in words, for the plan. The servers are asked what the run would ask
 * them; they only read. Of one that cannot be asked, that is said. Nothing for a cold one.
 */
export async function foreseenOutside(
  context: Context,
  { containers }: Pick<Observed, 'containers'>,
  { consistency, nothingToDo }: Pick<Plan, 'consistency' | 'nothingToDo'>,
): Promise<string[]> {
  if (consistency === 'cold' || nothingToDo) return [];
  const verdict = (service: string, message: string): string =>
    context.accept.includes(notInDumpOf(service))
      ? `${message} That was accepted.`
      : `This update would be refused: ${message}`;
  const said = notDumped(containers).map(({ service, message }) => verdict(service, `${message}.`));
  const asked = (await runningDatabases(context, containers)).map(async ({ engine, database }) => {
    const { service } = database.container;
    try {
      const found = await engine.notInDump?.({ ...database, timeout: Math.min(database.timeout, patience) });
      if (found === undefined || found.length === 0) return [];
      return [verdict(service, describeOutside(engine.title, service, found))];
    } catch (error) {
      if (!(error instanceof SafeUpdateError)) throw error;
      return [`What no dump of ${service} would hold is not known: ${messageOf(error)}`];
    }
  });
  return [...said, ...(await Promise.all(asked)).flat()];
}
