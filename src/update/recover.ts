import { openBackup } from '../backup/open.ts';
import { describeDifference } from '../database/fingerprint.ts';
import { readContainer } from '../docker/observe.ts';
import { SafeUpdateError, messageOf } from '../model/error.ts';
import type { Outcome } from '../model/event.ts';
import type { StepName } from '../model/plan.ts';
import { labels } from '../docker/helper.ts';
import { pinRepository, restoreImages, type StackRecord } from '../docker/record.ts';
import type { Context } from './context.ts';
import { compare } from './fingerprints.ts';
import {
  dropRemains,
  dropStack,
  hasUnfinishedFiles,
  placeOf,
  readRuns,
  readStack,
  unfinishedRun,
  type JournalEntry,
  type PastRun,
} from './journal.ts';
import { whatWasMade } from './made.ts';
import { tidyProofs } from './proofs.ts';
import { incompleteOf, whereTheDataIs } from './incomplete.ts';
import { planUpdate } from './plan.ts';
import {
  lockProject,
  look,
  openSession,
  removeStrayHelpers,
  runName,
  waitUntilFree,
  type Session,
} from './session.ts';
import { withAims } from './standing.ts';
import { doStep, type Update } from './steps.ts';
import { putBack } from './undo.ts';

/** How far an interrupted run had come, in words, and what recovering it means. Pure. */
export function whereItStopped(entries: readonly JournalEntry[]): {
  words: string;
  touched: boolean;
  dataTouched: boolean;
  sealed: string | undefined;
} {
  const steps = entries.filter((entry) => entry.type === 'step');
  const begun = (name: StepName): boolean => steps.some(({ step }) => step === name);
  const rollback = entries.some(({ type }) => type === 'rollback');
  const sealed = entries.find((entry) => entry.type === 'backup-sealed')?.id;
  const touched = begun('stop') || begun('remove') || begun('up');
  const place = placeOf(entries);
  return {
    words: rollback ? `while it was rolled back (it had failed ${place})` : place,
    touched,
    dataTouched: begun('up') || entries.some(({ type }) => type === 'restoring'),
    sealed,
  };
}

export interface RecoverOptions {
  /** Asks before data that may have been written since is taken back; `cost` says what of it is known. Absent: nobody is there. */
  confirm?: (cost: string) => Promise<boolean>;
}

/**
 * Finishes what an interrupted run left. A release that is up and verifies stays: people may have written to it since. Everything
 * else is undone, on every path the same way as a failure would have. Resolves with `nothing-to-do` when no run was interrupted.
 * Throws SafeUpdateError `rollback-incomplete` when it cannot; it can be called again.
 */
export async function recover(
  context: Context,
  project: string,
  { confirm }: RecoverOptions = {},
): Promise<Outcome> {
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
    const forward = await finishForward(session, found, record);
    if (forward === 'finished')
      return {
        ...outcome('updated', found.run, stopped.sealed),
        summary: `${project}: the update that was interrupted is finished; the new release runs and is verified`,
        rollbackCommand: context.again('rollback'),
      };
    if (forward.unknown !== undefined) await agreeToGoBack(session, found, forward.unknown, confirm);
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
    if (error instanceof SafeUpdateError && passedOn.includes(error.code)) throw error;
    throw new SafeUpdateError(
      'rollback-incomplete',
      `The interrupted run could not be undone: ${messageOf(error)}`,
      {
        ...incompleteOf(session, error, {
          state: `The stack may be stopped. ${whereTheDataIs(session.journal.entries)}`,
          hint: [
            // What is missing may be a key, once the run's own has been lost.
            ...(error instanceof SafeUpdateError && error.code === 'refused' && error.hint !== undefined
              ? [error.hint]
              : []),
            `When the cause is gone, run again: ${context.again('recover')}`,
            `Or put a whole backup back, which takes its place: ${context.again('backups')}, then restore. Or give it up: ${context.again('recover --give-up')}`,
          ].join('\n'),
        }),
        cause: error,
      },
    );
  } finally {
    await session.lock.release().catch(() => undefined);
  }
}

/**
 * Gives an interrupted run up that cannot be undone: nothing is put back, nothing removed but what the run had left on the engine
 * and of a backup that it never sealed. `confirm` is told how things stand. Throws SafeUpdateError `declined`.
 */
export async function giveUp(
  context: Context,
  project: string,
  confirm: (how: string) => Promise<boolean>,
): Promise<Outcome> {
  const from = context.clock.monotonic();
  const state = context.stateFor(project);
  await waitUntilFree(context, project);
  const found = await unfinishedRun(state);
  if (found === undefined)
    return { result: 'nothing-to-do', run: '', project, milliseconds: context.clock.monotonic() - from };
  const begin = found.entries.find((entry) => entry.type === 'begin');
  const { words, sealed } = whereItStopped(found.entries);
  const what = `The ${begin?.kind ?? 'run'} of ${begin?.at ?? 'an unknown time'}, which was interrupted ${words}`;
  const how = whereTheDataIs(found.entries);
  if (
    !(await confirm(
      `${what}, is given up: what it has done stays as it is, and no command puts it back.\n${how}`,
    ))
  )
    throw new SafeUpdateError('declined', 'You did not confirm.', {
      state: 'Nothing was touched.',
      hint: `Name the project as it is called: ${project}`,
    });
  const consistency = begin?.consistency ?? 'cold';
  const session = await openSession(context, { project, kind: 'recover', consistency }, found);
  try {
    const at = context.clock.now().toISOString();
    session.journal.write({
      type: 'end',
      result: 'given-up',
      at,
      reason: `interrupted ${words}, and given up`,
    });
    await removeUnsealed(context, project);
    await dropStack(state, found.run);
    return {
      result: 'recovered',
      run: found.run,
      project,
      summary: `${project}: the ${begin?.kind ?? 'run'} that was interrupted is given up. ${how}`,
      ...(sealed === undefined ? {} : { backup: sealed }),
      milliseconds: context.clock.monotonic() - from,
    };
  } finally {
    await session.lock.release().catch(() => undefined);
  }
}

/** What nobody has to finish: it is said as it is. */
const passedOn: readonly string[] = ['locked', 'unfinished', 'interrupted', 'declined'];

/**
 * Finishes an update that was killed after its release had begun to start: starts what stands still of it, verifies it as the
 * update would have, and records it. `unknown`: why that cannot be judged, so that going back is for a person to say; absent: the
 * release is not up, or does not verify.
 */
async function finishForward(
  session: Session,
  { entries }: PastRun,
  record: StackRecord,
): Promise<'finished' | { unknown?: string }> {
  const begin = entries.find((entry) => entry.type === 'begin');
  const { sealed } = whereItStopped(entries);
  const isUp = entries.some((entry) => entry.type === 'step' && entry.step === 'up');
  const isUndone = entries.some(({ type }) => type === 'rollback' || type === 'failed-backup-begun');
  if (begin?.kind !== 'update' || !isUp || isUndone || sealed === undefined) return {};
  const accept = [...new Set([...session.context.accept, ...(begin.accepted ?? [])])];
  const context = { ...session.context, accept };
  let observed;
  try {
    observed = await look(context);
  } catch (error) {
    if (!(error instanceof SafeUpdateError) || error.code !== 'config') throw error;
    return { unknown: `The compose files cannot be read: ${error.message}` };
  }
  const now = observed;
  const news = now.containers.filter(({ id }) => !record.containers.some(({ Id }) => Id === id));
  // One that stands still serves nobody, and nothing is written to it any more.
  if (!news.some(({ running }) => running)) return {};
  const changed = news.filter(
    ({ service, configHash, imageId }) =>
      now.hashes.get(service) !== configHash || now.images.get(service)?.id !== imageId,
  );
  if (changed.length > 0)
    return {
      unknown: `The compose files, or the images they name, have changed since ${changed.map(({ name }) => name).join(', ')} started.`,
    };
  const formerly = withAims(record.containers.map(readContainer), now);
  const state: Update = {
    session: { ...session, context },
    observed: { ...now, containers: formerly },
    plan: planUpdate({ ...now, containers: formerly }, { ...context.settings, pulled: true }),
    record,
    backupKind: 'pre-update',
    backupId: sealed,
    manifest: (await openBackup(session.store, sealed)).manifest,
  };
  const missing = state.plan.services.filter(
    ({ service, fate }) =>
      (fate === 'replace' || fate === 'create') && !news.some((container) => container.service === service),
  );
  if (missing.length > 0) return {};
  try {
    for (const step of ['up', 'verify'] as const) await doStep(state, step);
  } catch (error) {
    if (error instanceof SafeUpdateError && error.code === 'interrupted')
      throw new SafeUpdateError('interrupted', 'Interrupted while the new release was verified.', {
        state: 'The new release is as it was; nothing was undone.',
        hint: `Finish the update, or undo it: ${context.again('recover')}`,
      });
    context.emit({
      type: 'notice',
      level: 'warning',
      message: `The new release does not verify: ${messageOf(error)}`,
    });
    return {};
  }
  for (const step of ['commit', 'prune'] as const) await doStep(state, step);
  const message = 'The update that was interrupted is finished: the new release runs and is verified.';
  context.emit({ type: 'notice', level: 'info', message });
  return 'finished';
}

/** Going back takes what people wrote since out of the live data, so a person has to name the project. */
async function agreeToGoBack(
  session: Session,
  { entries }: PastRun,
  why: string,
  confirm: RecoverOptions['confirm'],
): Promise<void> {
  const { context } = session;
  const { sealed = '' } = whereItStopped(entries);
  const { manifest } = await openBackup(session.store, sealed);
  // A database that does not answer keeps nobody from deciding; that nothing was counted is said.
  const compared = await compare(session, manifest).catch(() => undefined);
  const written = compared?.flatMap(({ service, before, changed = [] }) =>
    changed.map((difference) => `${service}: ${describeDifference(difference, before)}`),
  );
  const cost = [
    `${why} So it is not known whether the new release is well, and it may have been used since.`,
    `Going back to ${sealed} takes what was written since out of the live data; it is kept in a failed-… backup.`,
    written === undefined
      ? 'What the databases hold now could not be counted.'
      : written.length === 0
        ? 'What was counted is as it was.'
        : `What is known of it: ${written.join('; ')}.`,
  ].join('\n');
  // Off a terminal there is nobody to ask.
  const isAgreed = await confirm?.(cost).catch((error: unknown) => {
    if (error instanceof SafeUpdateError && error.code === 'usage') return undefined;
    throw error;
  });
  if (isAgreed === undefined)
    throw new SafeUpdateError('unfinished', `An update was interrupted when its release was up.\n${cost}`, {
      state: 'Nothing was touched: what runs, runs on.',
      hint: `Put the compose files back as they were and run ${context.again('recover')} to finish the update; or go back: ${context.again(`recover --confirm ${session.project}`)}`,
    });
  if (isAgreed) return;
  throw new SafeUpdateError('declined', 'You did not confirm.', {
    state: 'Nothing was touched: what runs, runs on.',
    hint: `Name the project as it is called: ${session.project}`,
  });
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
