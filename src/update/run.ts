import { requireWritable } from '../backup/store/folder.ts';
import { sharingAllowed } from '../config/load.ts';
import { holdsNoData, readContainers, type Observed } from '../docker/observe.ts';
import { pinRepository, restoreImages } from '../docker/record.ts';
import {
  messageOf,
  SafeUpdateError,
  type ErrorCode,
  type FailedRun,
  type LastWords,
} from '../model/error.ts';
import type { Outcome, RunKind } from '../model/event.ts';
import type { Plan, StepName } from '../model/plan.ts';
import type { Uncovered } from '../model/project.ts';
import { namesNothing } from './classes.ts';
import type { Context } from './context.ts';
import { fetchAndDump, withLeftOut } from './fetch.ts';
import { takenPorts, tooLittleSpace } from './foresee.ts';
import { emptyBackup, holdsLess, lastWithData } from './held.ts';
import { incompleteOf } from './incomplete.ts';
import { dropStack, unfinishedRun } from './journal.ts';
import { lastWords } from './last-words.ts';
import { foreseenOutside } from './outside-dumps.ts';
import { advice, planBackup, planUpdate } from './plan.ts';
import { recover } from './recover.ts';
import { imageRefusals, refusals, refuse, type RefusalOptions } from './refuse.ts';
import {
  endUndone,
  look,
  noteUndo,
  openSession,
  recordLooked,
  runName,
  showStep,
  waitForEngine,
  waitUntilFree,
  type Session,
} from './session.ts';
import { interruption } from './situation.ts';
import { doStep, downtimeOf, titles, type Update } from './steps.ts';
import { putBack } from './undo.ts';

export interface RunOptions {
  /** Asks about the plan, which has just been emitted; false ends the run untouched. */
  confirm: (plan: Plan) => Promise<boolean>;
}

/** Looks, and plans. What `--dry-run` prints; what would make the update refuse is among the warnings. */
export async function planOnly(context: Context): Promise<Plan> {
  const observed = await look(context);
  const sizes = await context.engine.volumeSizes().catch(() => new Map<string, number>());
  const plan = planUpdate(observed, { ...context.settings, accept: context.accept, pulled: false, sizes });
  const found = refusals(observed, refusalOptions(context));
  const interrupted = await interruption(context, observed.project.name);
  plan.suggestions.push(...advice(observed));
  plan.warnings.push(
    ...(interrupted === undefined ? [] : [interrupted]),
    ...settingsWarnings(context, observed),
    ...found.map(({ message }) => `This update would be refused: ${message}`),
    ...(plan.nothingToDo ? [] : await foreseen(context, observed, plan, sizes)),
    ...(await foreseenOutside(context, observed, plan)),
  );
  return plan;
}

function settingsWarnings({ settings }: Context, observed: Observed): string[] {
  return [...settings.warnings, ...namesNothing(settings, observed)];
}

/** What would stop the update later than the other refusals, in words. */
async function foreseen(
  context: Context,
  observed: Observed,
  plan: Plan,
  sizes: ReadonlyMap<string, number>,
): Promise<string[]> {
  const ports = await takenPorts(observed, plan);
  const space = await tooLittleSpace(context, observed, sizes);
  return [...ports.map(({ message }) => message), ...(space === undefined ? [] : [space])].map(
    (message) => `This update would be refused: ${message}`,
  );
}

/**
 * Updates the stack: the whole run, with its way back.
 *
 * Resolves when the new release runs and is verified, or when there was nothing to do. Throws SafeUpdateError:
 * before anything was stopped, what failed; after that, `rolled-back` (or `interrupted`) when everything is as it
 * was, `rollback-incomplete` when it is not.
 */
export async function update(context: Context, options: RunOptions): Promise<Outcome> {
  const from = context.clock.monotonic();
  const first = await lookAndRecover(context);
  const refuseOf = (observed: Observed): void => {
    refuse(refusals(observed, refusalOptions(context)), context.accept);
  };
  refuseOf(first);
  const before = planUpdate(first, { ...context.settings, accept: context.accept, pulled: false });
  const former = await lastWithData(context.storeFor(first.project.name));
  before.warnings.push(...settingsWarnings(context, first), ...holdsLess(first, before, former));
  if (before.nothingToDo) return outcomeOf(context, first, '', 'nothing-to-do', from);
  refuse(await takenPorts(first, before), context.accept);
  await agree(context, before, options);

  const session = await openRun(context, first, 'update');
  const state = await startState(session, first, before, 'pre-update');
  return finishOrUndo(state, async () => {
    await doStep(state, 'pin');
    const dumped = await fetchAndDump(state, before);
    const looked = await look(context);
    requireSameContainers(first, looked);
    state.observed = withLeftOut(looked, state.observed);
    const { volumes, notCovered } = state.observed;
    state.record = { ...state.record, volumes, notCovered };
    const measured = new Map(state.plan.volumes.map(({ name, bytes }) => [name, bytes]));
    state.plan = planUpdate(state.observed, {
      ...context.settings,
      accept: context.accept,
      pulled: true,
    });
    for (const volume of state.plan.volumes) {
      const bytes = measured.get(volume.name);
      if (bytes !== undefined) volume.bytes = bytes;
    }
    if (state.plan.nothingToDo) {
      await state.backup?.writer.abandon();
      await dropNewPins(session);
      session.journal.write({ type: 'end', result: 'nothing-to-do', at: context.clock.now().toISOString() });
      await dropStack(session.state, session.run);
      return outcomeOf(context, first, session.run, 'nothing-to-do', from);
    }
    context.emit({ type: 'planned', plan: state.plan });
    refuseOf(state.observed);
    refuse(imageRefusals(state.observed, state.plan, await platformsOf(context, first)), context.accept);
    refuse(await takenPorts(state.observed, state.plan), context.accept);
    const done = ['lock', 'pin', 'pull', 'build', ...(dumped ? ['measure', 'dump'] : [])];
    for (const { name } of state.plan.steps) if (!done.includes(name)) await doStep(state, name);
    return {
      ...outcomeOf(context, first, session.run, 'updated', from),
      ...(state.fewer === undefined || state.fewer.length === 0 ? {} : { notes: state.fewer }),
      ...(state.backupId === undefined ? {} : { backup: state.backupId }),
      downtime: downtimeOf(state),
      rollbackCommand: context.again('rollback'),
    };
  });
}

/**
 * Backs the stack up. Cold, the default, stops it while the volumes are archived and starts the very same containers
 * again. Throws like `update`.
 */
export async function backup(context: Context, options: RunOptions): Promise<Outcome> {
  const from = context.clock.monotonic();
  const observed = await lookAndRecover(context);
  const plan = planBackup(observed, context.settings);
  const former = await lastWithData(context.storeFor(observed.project.name));
  refuse(emptyBackup(observed, former), context.accept);
  plan.warnings.push(...settingsWarnings(context, observed), ...holdsLess(observed, plan, former));
  await agree(context, plan, options);
  const session = await openRun(context, observed, 'backup');
  const state = await startState(session, observed, plan, 'manual');
  return finishOrUndo(state, async () => {
    for (const { name } of plan.steps) if (name !== 'lock' && name !== 'prune') await doStep(state, name);
    const downtime = downtimeOf(state);
    session.journal.write({
      type: 'end',
      result: 'backed-up',
      at: context.clock.now().toISOString(),
      ...(state.backupId === undefined ? {} : { backup: state.backupId }),
      downtime,
    });
    await dropStack(session.state, session.run);
    await doStep(state, 'prune');
    return {
      ...outcomeOf(context, observed, session.run, 'backed-up', from),
      ...(state.backupId === undefined ? {} : { backup: state.backupId }),
      downtime,
    };
  });
}

export function refusalOptions({ settings }: Pick<Context, 'settings'>): RefusalOptions {
  return {
    sharingAllowed: (volume) => sharingAllowed(settings, volume),
    backupDirectory: settings.backups.directory,
  };
}

/** Looks at the project; deals with an interrupted run first, and looks again. */
async function lookAndRecover(context: Context): Promise<Observed> {
  const observed = await look(context);
  const project = observed.project.name;
  if (await waitUntilFree(context, project)) return lookAndRecover(context);
  await requireWritable(context.settings.backups.directory);
  if ((await unfinishedRun(context.stateFor(project))) !== undefined) {
    context.emit({
      type: 'notice',
      level: 'warning',
      message: 'An earlier run was interrupted; it is dealt with first.',
    });
    await recover(context, project);
    return lookAndRecover(context);
  }
  return observed;
}

async function agree(context: Context, plan: Plan, { confirm }: RunOptions): Promise<void> {
  context.emit({ type: 'planned', plan });
  if (await confirm(plan)) return;
  throw new SafeUpdateError('declined', 'You said no.', { state: 'Nothing was touched.' });
}

async function openRun(context: Context, observed: Observed, kind: RunKind): Promise<Session> {
  const { name, environment } = observed.project;
  const run = runName(context.clock.now(), context.owner.pid);
  context.emit({ type: 'run-started', run, kind, project: name, at: context.clock.now().toISOString() });
  const opened: Session[] = [];
  const opening = showStep(context, 'lock', titles.lock, async () => {
    opened.push(
      await openSession(context, {
        run,
        project: name,
        kind,
        ...(environment === undefined ? {} : { environment }),
        consistency: context.settings.consistency,
      }),
    );
    return undefined;
  });
  await opening.catch((error: unknown) => {
    throw untouched(error);
  });
  const [session] = opened;
  if (session === undefined) throw new Error('no session');
  return session;
}

/** From here on the journal can undo the run: the stack as it was is on disk. */
async function startState(
  session: Session,
  observed: Observed,
  plan: Plan,
  backupKind: Update['backupKind'],
): Promise<Update> {
  try {
    const record = await recordLooked(session.context, observed);
    await session.journal.record(record);
    return { session, observed, plan, record, backupKind };
  } catch (error) {
    const at = session.context.clock.now().toISOString();
    await endUndone(session, { type: 'end', result: 'failed', reason: messageOf(error), at });
    await session.lock.release().catch(() => undefined);
    throw untouched(error);
  }
}

/** Does the work; undoes what it began if it fails; gives lock, helper and watch back in every case. */
async function finishOrUndo(state: Update, work: () => Promise<Outcome>): Promise<Outcome> {
  const { session } = state;
  try {
    return await work();
  } catch (error) {
    await undo(state, error);
    throw error;
  } finally {
    state.watching?.stop();
    await state.helper?.remove().catch(() => undefined);
    await session.lock.release().catch(() => undefined);
  }
}

function outcomeOf(
  context: Context,
  { project }: Observed,
  run: string,
  result: Outcome['result'],
  from: number,
): Outcome {
  return { result, run, project: project.name, milliseconds: context.clock.monotonic() - from };
}

/** What the images that run were made for, by their ids. */
async function platformsOf(
  { engine }: Pick<Context, 'engine'>,
  { containers }: Observed,
): Promise<Map<string, string>> {
  const ids = [...new Set(containers.map(({ imageId }) => imageId))];
  const found = await Promise.all(ids.map((id) => engine.image(id)));
  return new Map(found.flatMap((image) => (image === null ? [] : [[image.id, image.platform] as const])));
}

/** Somebody else has worked on the stack since the person was asked: what was agreed to no longer fits. */
function requireSameContainers(first: Observed, second: Observed): void {
  const ids = ({ containers }: Observed): string =>
    containers
      .map(({ id, running }) => `${id}${running}`)
      .sort()
      .join();
  if (ids(first) === ids(second)) return;
  throw new SafeUpdateError(
    'refused',
    'The stack changed while the images were pulled: somebody started, stopped or replaced a container.',
    {
      state: 'Nothing was touched by this run.',
      hint: 'Find out who, then run again.',
    },
  );
}

/**
 * The way back, as far as the run had come. Before `stop`: nothing has been touched, only names of images are put
 * right. After it: the containers; after `up` had begun: the data too. Throws the run's end.
 */
async function undo(state: Update, error: unknown): Promise<void> {
  const { session, record } = state;
  const { context, journal } = session;
  const begun = (name: StepName): boolean =>
    journal.entries.some((entry) => entry.type === 'step' && entry.step === name);
  const now = (): string => context.clock.now().toISOString();
  const reason = messageOf(error);
  const code: ErrorCode | 'bug' = error instanceof SafeUpdateError ? error.code : 'bug';
  await state.helper?.remove().catch(() => undefined);

  // What has ended well stays: a failure to prune does not take a verified release back.
  if (journal.entries.some(({ type }) => type === 'end')) return;

  if (!begun('stop') && !begun('remove') && !begun('up')) {
    try {
      await waitForEngine(context);
      await restoreImages(context.engine, context.exec, record);
      await state.backup?.writer.abandon();
      await dropNewPins(session);
    } catch (second) {
      throw new SafeUpdateError(
        code === 'bug' ? 'engine' : code,
        `${reason}\nTidying up after that failed too: ${messageOf(second)}`,
        {
          state: 'No container was stopped or changed, and no data.',
          hint: `When the cause is gone, tidy up: ${context.again('recover')}`,
          cause: error,
        },
      );
    }
    await endUndone(session, { type: 'end', result: 'failed', reason, at: now() });
    throw untouched(error);
  }

  // First of all: it may be what has filled the disk.
  if (state.backupId === undefined) await state.backup?.writer.abandon().catch(() => undefined);
  noteUndo(session, { type: 'rollback', reason, code, at: now() });
  context.emit({ type: 'rollback-started', reason });
  // While the containers of the failed release are there.
  const said = await lastWords(context, session.project, readContainers(record.containers), reason);
  try {
    const differ = await putBack(session, {
      record,
      keepPresent: true,
      justSealed: true,
      ...(begun('up') && state.backupId !== undefined ? { backup: state.backupId } : {}),
    });
    if (state.backupId === undefined) await dropNewPins(session).catch(() => undefined);
    const failed = journal.entries.find((entry) => entry.type === 'failed-backup-sealed');
    await endUndone(session, {
      type: 'end',
      result: 'rolled-back',
      reason,
      at: now(),
      downtime: downtimeOf(state),
      ...(state.backupId === undefined ? {} : { backup: state.backupId }),
    });
    throw rolledBack(state, error, { failedBackup: failed?.id, differ, said });
  } catch (second) {
    if (second instanceof SafeUpdateError && (second.code === 'rolled-back' || second.code === 'interrupted'))
      throw second;
    throw new SafeUpdateError(
      'rollback-incomplete',
      `The ${kindOf(state)} failed (${reason}), and so did the rollback: ${messageOf(second)}`,
      {
        ...incompleteOf(session, second, {
          state: stateOfIncomplete(state),
          hint: `When the cause is gone, finish the rollback: ${context.again('recover')}`,
        }),
        failed: failedRun(state, said),
        cause: second,
      },
    );
  }
}

function untouched(error: unknown): unknown {
  if (!(error instanceof SafeUpdateError)) return error;
  return new SafeUpdateError(error.code, error.message, {
    state: error.state ?? 'Nothing was touched: every container runs as before.',
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    cause: error,
  });
}

/** What the outcome of a failed run says beside its error. */
function failedRun(state: Update, said: readonly LastWords[], failedBackup?: string): FailedRun {
  return {
    run: state.session.run,
    ...(state.backupId === undefined ? {} : { backup: state.backupId }),
    ...(failedBackup === undefined ? {} : { failedBackup }),
    downtime: downtimeOf(state),
    ...(said.length === 0 ? {} : { lastWords: [...said] }),
  };
}

function rolledBack(
  state: Update,
  error: unknown,
  {
    failedBackup,
    differ,
    said,
  }: { failedBackup: string | undefined; differ: readonly string[]; said: readonly LastWords[] },
): SafeUpdateError {
  const interrupted = error instanceof SafeUpdateError && error.code === 'interrupted';
  const kept =
    failedBackup === undefined ? '' : ` What the failed release had written is kept in ${failedBackup}.`;
  const ownHint = error instanceof SafeUpdateError && error.hint !== undefined ? `${error.hint}\n` : '';
  return new SafeUpdateError(interrupted ? 'interrupted' : 'rolled-back', messageOf(error), {
    state:
      kindOf(state) === 'backup'
        ? `The stack runs again as before${butFor(differ)}. ${state.backupId === undefined ? 'No backup was made.' : `The backup ${state.backupId} was sealed before that, and is whole.`}`
        : `Rolled back and verified: the former images, configuration and data are back${butFor(differ)}.${kept}${notPutBack(state.record.notCovered)}`,
    hint:
      failedBackup === undefined
        ? `${ownHint}${asForRelease}`
        : `${ownHint}See all that it printed: ${state.session.context.again(`show ${failedBackup}`, ['--logs'])}\n${asForRelease}`,
    failed: failedRun(state, said, failedBackup),
    cause: error,
  });
}

/** Compose files belong to a person. What they say is what has failed, though, and `up` would start that. */
const asForRelease =
  'Your compose files still describe the release that failed. Correct the cause, then update again; until then a plain docker compose command may start it on your data.';

/** What the release may have changed that nothing puts back. Empty, or a sentence with a space before it. Pure. */
export function notPutBack(notCovered: readonly Uncovered[]): string {
  const places = notCovered.filter((place) => !holdsNoData(place));
  if (places.length === 0) return '';
  const named = places.map(({ source, services }) => `${source} (${services.join(', ')})`).join(', ');
  return ` NOT covered, and as the failed release left it: ${named}.`;
}

/** What of the configuration is not as it was. */
function butFor(differ: readonly string[]): string {
  if (differ.length === 0) return '';
  const more = differ.length > 3 ? ` and ${differ.length - 3} more` : '';
  return `, but not all of the configuration (${differ.slice(0, 3).join('; ')}${more})`;
}

function kindOf({ backupKind }: Update): 'update' | 'backup' {
  return backupKind === 'manual' ? 'backup' : 'update';
}

function stateOfIncomplete({ backupId }: Update): string {
  return backupId === undefined
    ? 'The stack may be stopped. Its data was not touched.'
    : `The stack may be stopped. Its data before the update is whole in the backup ${backupId}.`;
}

/** Pins of a run that made no backup to roll back to. */
async function dropNewPins(session: Session): Promise<void> {
  const { engine } = session.context;
  for (const { name } of await engine.tagsIn(pinRepository(session.project))) {
    if (name.includes(`:${session.run}-`)) await engine.untag(name);
  }
}
