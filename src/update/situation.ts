import { SafeUpdateError } from '../model/error.ts';
import type { Context } from './context.ts';
import { newestUnfinished, readRuns, whereItStands, type PastRun } from './journal.ts';
import { breakLock, findHolder, type Holder } from './lock.ts';
import { whereItStopped } from './recover.ts';

/** What is going on in a project, and what was left of it. */
export interface Situation {
  /** Every run, oldest first. */
  runs: PastRun[];
  /** Who holds the project's lock and is not provably dead: a run is under way. */
  holder?: Holder;
  /** The run that never ended. It is the holder's own, or nobody is at it any more. */
  unfinished?: PastRun;
  /** Why nobody can tell whether somebody holds the lock. */
  unknown?: string;
}

/**
 * What is going on in a project. Only reads. A run that begins or ends meanwhile is not taken for an interrupted one. An engine
 * that does not answer is no error here: whoever needs it reports that.
 */
export async function situationOf(context: Context, project: string): Promise<Situation> {
  const folder = context.stateFor(project);
  for (let before = await readRuns(folder); ;) {
    let holder: Holder | undefined;
    let unknown: string | undefined;
    try {
      holder = await findHolder(context.engine, { ...context, project });
    } catch (error) {
      if (!(error instanceof SafeUpdateError)) throw error;
      unknown = error.message;
    }
    const runs = await readRuns(folder);
    const unfinished = newestUnfinished(runs);
    const isSame = unfinished?.run === newestUnfinished(before)?.run;
    before = runs;
    // One that has begun meanwhile may have taken its lock after that was looked for.
    if (!isSame && unfinished !== undefined) continue;
    return {
      runs,
      ...(holder === undefined || holder.isDead ? {} : { holder }),
      ...(unfinished === undefined ? {} : { unfinished }),
      ...(unknown === undefined ? {} : { unknown }),
    };
  }
}

/** Whether this run is the one that is under way. Pure. */
export function isUnderWay({ holder }: Situation, run: string | undefined): boolean {
  return holder !== undefined && holder.run === run;
}

/** Whether a run never ended, and nobody is at it any more. Pure. */
export function isInterrupted(situation: Situation): boolean {
  const { unfinished, unknown } = situation;
  return unfinished !== undefined && unknown === undefined && !isUnderWay(situation, unfinished.run);
}

/** What the holder of the lock does: what, since when, in which step, and who it is. Undefined if nobody holds it. Pure. */
export function describeHolder(situation: Situation): string | undefined {
  const { holder, unfinished } = situation;
  if (holder === undefined) return undefined;
  const { purpose, at, person, pid, host } = holder;
  const step =
    unfinished !== undefined && isUnderWay(situation, unfinished.run)
      ? `, ${whereItStands(unfinished.entries)}`
      : '';
  const elsewhere = person.endsWith(`@${host}`) ? '' : ` on ${host}`;
  return `${purpose} since ${at}${step}, by ${person}${elsewhere} (pid ${pid})`;
}

/**
 * What to say before anything else of a project in which a run is under way or was interrupted: what is shown may be neither the
 * old state nor the new one. Undefined if there is nothing to say.
 */
export async function interruption(context: Context, project: string): Promise<string | undefined> {
  const situation = await situationOf(context, project);
  const { holder, unfinished, unknown } = situation;
  const said: string[] = [];
  if (holder !== undefined)
    said.push(
      `A run is under way: ${describeHolder(situation) ?? ''}. What is shown may change until it has ended.`,
      ...(holder.isSeen ? [] : [`Whether it is still alive cannot be told from here. ${breakLock(project)}`]),
    );
  if (unfinished !== undefined) {
    const begin = unfinished.entries.find((entry) => entry.type === 'begin');
    const what = `The ${begin?.kind ?? 'run'} of ${begin?.at ?? 'an unknown time'}`;
    if (isInterrupted(situation))
      said.push(
        `${what} was interrupted ${whereItStopped(unfinished.entries).words}. To put everything back: ${context.again('recover')}`,
      );
    else if (unknown !== undefined)
      said.push(
        `${what} has not ended (${whereItStands(unfinished.entries)}). Whether it is under way cannot be told: ${unknown}`,
      );
  }
  return said.length === 0 ? undefined : said.join(' ');
}
