import { SafeUpdateError, messageOf } from '../model/error.ts';
import type { Outcome } from '../model/event.ts';
import type { StepName } from '../model/plan.ts';
import { labels } from '../docker/helper.ts';
import { pinRepository, restoreImages } from '../docker/record.ts';
import type { Context } from './context.ts';
import { findHolder } from './lock.ts';
import {
  dropRemains,
  dropStack,
  hasUnfinishedFiles,
  readRuns,
  readStack,
  unfinishedRun,
  type JournalEntry,
  type PastRun,
} from './journal.ts';
import { whatWasMade } from './made.ts';
import { tidyProofs } from './proofs.ts';
import { lockProject, openSession, removeStrayHelpers, runName, waitUntilFree } from './session.ts';
import { incompleteOf, putBack } from './undo.ts';

/** How far an interrupted run had come, in words, and what recovering it means. Pure. */
export function whereItStopped(entries: readonly JournalEntry[]): {
  words: string;
  touched: boolean;
  dataTouched: boolean;
  sealed: string | undefined;
} {
  const steps = entries.filter((entry) => entry.type === 'step');
  const begun = (name: StepName): boolean => steps.some(({ step }) => step === name);
  const last = steps.at(-1);
  const rollback = entries.some(({ type }) => type === 'rollback');
  const sealed = entries.find((entry) => entry.type === 'backup-sealed')?.id;
  const touched = begun('stop') || begun('remove') || begun('up');
  const place =
    last === undefined
      ? 'before its first step'
      : `${last.phase === 'begin' ? 'in' : 'after'} the step ${last.step}`;
  return {
    words: rollback ? `while it was rolled back (it had failed ${place})` : place,
    touched,
    dataTouched: begun('up') || entries.some(({ type }) => type === 'restoring'),
    sealed,
  };
}

/**
 * What to say before anything else of a project in which a run was interrupted: what is shown may be neither the old state nor
 * the new one. Undefined if none was, or if it is at work this very moment.
 */
export async function interruption(context: Context, project: string): Promise<string | undefined> {
  const found = await unfinishedRun(context.stateFor(project));
  if (found === undefined) return undefined;
  // An engine that does not answer is reported by whoever needs it.
  const holder = await findHolder(context.engine, { ...context, project }).catch(() => undefined);
  if (holder?.isDead === false) return undefined;
  const begin = found.entries.find((entry) => entry.type === 'begin');
  return `The ${begin?.kind ?? 'run'} of ${begin?.at ?? 'an unknown time'} was interrupted ${whereItStopped(found.entries).words}. To put everything back: ${context.again('recover')}`;
}

/**
 * Finishes what an interrupted run left: undoes it, on every path the same way as a failure would have. Resolves
 * with `nothing-to-do` when no run was interrupted. Throws SafeUpdateError `rollback-incomplete` when it cannot; it
 * can be called again.
 */
export async function recover(context: Context, project: string): Promise<Outcome> {
  const from = context.clock.monotonic();
  const state = context.stateFor(project);
  await waitUntilFree(context, project);
  const found = await unfinishedRun(state);
  const outcome = (result: Outcome['result'], run: string, backup?: string): Outcome => ({
    result,
    run,
    project,
    ...(backup === undefined ? {} : { backup }),
    milliseconds: context.clock.monotonic() - from,
  });
  if (found === undefined) {
    await tidyProofs(context);
    await removeRemains(context, project);
    return outcome('nothing-to-do', '');
  }
  const begin = found.entries.find((entry) => entry.type === 'begin');
  const session = await openSession(
    context,
    { project, kind: 'recover', consistency: begin?.consistency ?? 'cold' },
    found,
  );
  try {
    // After the helper of that run has gone, which may have volumes of a test-restore.
    await tidyProofs(context);
    // Another process may have recovered it while this one waited for the lock.
    const still = await unfinishedRun(state);
    if (still?.run !== found.run) return outcome('nothing-to-do', '');
    if (begin?.kind === 'restore-as') throw await notComplete(context, project);
    const stopped = whereItStopped(found.entries);
    context.emit({
      type: 'notice',
      level: 'warning',
      message: `The ${begin?.kind ?? 'run'} of ${begin?.at ?? 'an unknown time'} was interrupted ${stopped.words}.`,
    });
    const end = (result: 'recovered' | 'failed'): void => {
      session.journal.write({
        type: 'end',
        result,
        at: context.clock.now().toISOString(),
        reason: `interrupted ${stopped.words}`,
      });
    };
    if (!found.entries.some(({ type }) => type === 'recorded')) {
      // It had not begun to change anything.
      end('recovered');
      await dropStack(state, found.run);
      return outcome('recovered', found.run);
    }
    const record = await readStack(state, found.run);
    context.emit({ type: 'rollback-started', reason: `interrupted ${stopped.words}` });
    if (!stopped.touched) await restoreImages(context.engine, context.exec, record);
    else {
      if (stopped.dataTouched && stopped.sealed === undefined)
        throw new Error('data was touched before a backup was sealed');
      await putBack(session, {
        record,
        // What a restore overwrote is in its own backup already.
        keepPresent: begin?.kind === 'update',
        ...(stopped.dataTouched && stopped.sealed !== undefined ? { backup: stopped.sealed } : {}),
      });
    }
    await removeUnsealed(context, project);
    if (stopped.sealed === undefined) await dropPins(context, project, found);
    end('recovered');
    await dropStack(state, found.run);
    return outcome('recovered', found.run, stopped.sealed);
  } catch (error) {
    if (error instanceof SafeUpdateError && (error.code === 'locked' || error.code === 'unfinished'))
      throw error;
    throw new SafeUpdateError(
      'rollback-incomplete',
      `The interrupted run could not be undone: ${messageOf(error)}`,
      {
        ...incompleteOf(session, error, {
          state: 'The stack may be stopped. Nothing was deleted: its data is in its volumes and backups.',
          hint: [
            // What is missing may be a key, once the run's own has been lost.
            ...(error instanceof SafeUpdateError && error.code === 'refused' && error.hint !== undefined
              ? [error.hint]
              : []),
            `When the cause is gone, run again: ${context.again('recover')}`,
          ].join('\n'),
        }),
        cause: error,
      },
    );
  } finally {
    await session.lock.release().catch(() => undefined);
  }
}

/** There is nothing to go back to, and what is in its volumes is not known to be whole. */
async function notComplete({ engine, settings }: Context, project: string): Promise<SafeUpdateError> {
  const { words, commands } = await whatWasMade(engine, project, settings.project.directory);
  return new SafeUpdateError(
    'unfinished',
    `${project} was being made from a backup when that was interrupted: its data is not complete.`,
    {
      state: `There are: ${words}.`,
      hint: ['Remove what was made, then run safe-update restore --as again:', ...commands].join('\n'),
    },
  );
}

/** What a run leaves that was killed before it began, or after its end had been noted: its lock and helper, and half of a removed backup. */
async function removeRemains(context: Context, project: string): Promise<void> {
  const state = context.stateFor(project);
  for (const { run, entries } of await readRuns(state)) {
    if (entries.some(({ type }) => type === 'end')) await dropStack(state, run);
  }
  const containers = await context.engine.containersLabelled(`${labels.project}=${project}`);
  const unsealed = (await context.storeFor(project).list()).some(({ sealed }) => !sealed);
  if (containers.length === 0 && !unsealed && !(await hasUnfinishedFiles(state))) return;
  const run = runName(context.clock.now(), context.owner.pid);
  const { lock } = await lockProject(context, project, run, 'recover');
  try {
    await removeStrayHelpers(context, project);
    await removeUnsealed(context, project);
    await dropRemains(state, run);
  } finally {
    await lock.release();
  }
}

async function removeUnsealed(context: Context, project: string): Promise<void> {
  const store = context.storeFor(project);
  for (const { id, sealed } of await store.list()) if (!sealed) await store.remove(id);
}

async function dropPins(context: Context, project: string, { run }: PastRun): Promise<void> {
  for (const { name } of await context.engine.tagsIn(pinRepository(project))) {
    if (name.includes(`:${run}-`)) await context.engine.untag(name);
  }
}
