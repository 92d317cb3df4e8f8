import { listBackups } from '../backup/open.ts';
import { expired } from '../backup/retention.ts';
import { requireWritable } from '../backup/store/folder.ts';
import type { BackupInProgress } from '../backup/create.ts';
import { sharingAllowed } from '../config/load.ts';
import type { EngineEvent } from '../docker/engine.ts';
import { measureVolumes, startHelper, type Helper } from '../docker/helper.ts';
import type { Observed } from '../docker/observe.ts';
import { pinRepository, recordStack, restoreImages, stopContainers, type StackRecord } from '../docker/record.ts';
import type { ExpectedService } from '../health/probe.ts';
import { probesFor, verify } from '../health/verify.ts';
import { messageOf, SafeUpdateError, type ErrorCode } from '../model/error.ts';
import type { Outcome } from '../model/event.ts';
import type { Plan, Step, StepName } from '../model/plan.ts';
import { formatBytes, formatDuration } from '../model/units.ts';
import type { Context } from './context.ts';
import { downtime } from './downtime.ts';
import { dropStack, unfinishedRun } from './journal.ts';
import { isFinishedOneShot, planUpdate, statedReplicas } from './plan.ts';
import { recover } from './recover.ts';
import { refusals, refuse } from './refuse.ts';
import {
  beginBackup,
  currentContainers,
  databasesToDump,
  look,
  openSession,
  requireNotInterrupted,
  sealBackup,
  showStep,
  type Session,
} from './session.ts';
import { putBack, servedBy } from './undo.ts';
import { requireSpace } from './space.ts';

export interface UpdateOptions {
  /** Shows the plan and asks; false ends the run untouched. */
  confirm(plan: Plan): Promise<boolean>;
}

/** What the steps of one update hand to each other. */
interface Update {
  session: Session;
  observed: Observed;
  plan: Plan;
  record: StackRecord;
  helper?: Helper;
  backup?: BackupInProgress;
  backupId?: string;
  watching?: { events: EngineEvent[]; stop: () => void };
}

/** Looks, and plans. What `--dry-run` prints; throws what would make the update refuse. */
export async function planOnly(context: Context): Promise<Plan> {
  const observed = await look(context);
  const plan = planUpdate(observed, { ...context.settings, pulled: false, sizes: await sizesOf(context) });
  const found = refusals(observed, (volume) => sharingAllowed(context.settings, volume));
  plan.warnings.push(...context.settings.warnings, ...found.map(({ message }) => `This update would be refused: ${message}`));
  return plan;
}

async function sizesOf(context: Context): Promise<ReadonlyMap<string, number>> {
  return context.engine.volumeSizes().catch(() => new Map());
}

/**
 * Updates the stack: the whole run, with its way back.
 *
 * Resolves when the new release runs and is verified, or when there was nothing to do. Throws SafeUpdateError:
 * before anything was stopped, what failed; after that, `rolled-back` (or `interrupted`) when everything is as it
 * was, `rollback-incomplete` when it is not.
 */
export async function update(context: Context, options: UpdateOptions): Promise<Outcome> {
  const from = context.clock.monotonic();
  const first = await look(context);
  const project = first.project.name;
  if ((await unfinishedRun(context.stateFor(project))) !== undefined) {
    context.emit({ type: 'notice', level: 'warning', message: 'An earlier run was interrupted; it is dealt with first.' });
    await recover(context, project);
    return update(context, options);
  }
  await requireWritable(context.settings.backups.directory);
  const before = planUpdate(first, { ...context.settings, pulled: false });
  before.warnings.push(...context.settings.warnings);
  refuse(refusals(first, (volume) => sharingAllowed(context.settings, volume)), context.accept);
  const nothing = (run: string): Outcome => ({
    result: 'nothing-to-do',
    run,
    project,
    milliseconds: context.clock.monotonic() - from,
  });
  if (before.nothingToDo) return nothing('');
  if (!(await options.confirm(before))) {
    throw new SafeUpdateError('declined', 'You said no.', { state: 'Nothing was touched.' });
  }

  const opened: { session?: Session } = {};
  await showStep(context, 'lock', titles.lock, async () => {
    opened.session = await openSession(context, {
      project,
      kind: 'update',
      ...(first.project.environment === undefined ? {} : { environment: first.project.environment }),
      consistency: context.settings.consistency,
    });
    return undefined;
  });
  const { session } = opened;
  if (session === undefined) throw new Error('no session');
  context.emit({ type: 'run-started', run: session.run, kind: 'update', project, at: context.clock.now().toISOString() });

  const state: Update = { session, observed: first, plan: before, record: await recordStack(context.engine, first, context.clock.now()) };
  try {
    await doStep(state, 'pin');
    for (const name of ['pull', 'build'] as const) if (has(before, name)) await doStep(state, name);

    state.observed = await look(context);
    requireSameContainers(first, state.observed);
    state.record = { ...state.record, volumes: state.observed.volumes };
    state.plan = planUpdate(state.observed, { ...context.settings, pulled: true });
    context.emit({ type: 'planned', plan: state.plan });
    if (state.plan.nothingToDo) {
      await dropNewPins(state);
      session.journal.write({ type: 'end', result: 'nothing-to-do', at: context.clock.now().toISOString() });
      await dropStack(session.state, session.run);
      return nothing(session.run);
    }
    refuse(refusals(state.observed, (volume) => sharingAllowed(context.settings, volume)), context.accept);

    for (const { name } of state.plan.steps) {
      if (name === 'lock' || name === 'pin' || name === 'pull' || name === 'build') continue;
      await doStep(state, name);
    }
    return await finished(state, from);
  } catch (error) {
    await undo(state, error);
    throw error;
  } finally {
    state.watching?.stop();
    await state.helper?.remove().catch(() => undefined);
    await session.lock.release().catch(() => undefined);
  }
}

const titles: Record<StepName, string> = {
  observe: 'Read the project',
  lock: 'Lock the project',
  pin: 'Pin the running images',
  pull: 'Pull the new images',
  build: 'Build the new images',
  measure: 'Measure volumes and free space',
  dump: 'Dump the databases',
  stop: 'Stop the stack',
  archive: 'Archive the volumes',
  seal: 'Seal the backup',
  remove: 'Remove the old containers',
  up: 'Start the new release',
  verify: 'Verify the new release',
  commit: 'Record the release',
  prune: 'Prune old backups',
};

/** Runs one step of the plan: journalled before and after, so that whoever comes after a crash knows. */
async function doStep(state: Update, name: StepName): Promise<void> {
  const { session, plan } = state;
  const { context, journal } = session;
  requireNotInterrupted(context);
  if (context.pauseBefore === name) {
    context.emit({ type: 'notice', level: 'warning', message: `Paused before ${name}.` });
    await context.clock.sleep(2 ** 31 - 1);
  }
  const step = plan.steps.find((candidate) => candidate.name === name) ?? { name, on: [], cause: '', touches: false };
  journal.write({ type: 'step', step: name, phase: 'begin', at: context.clock.now().toISOString() });
  await showStep(context, name, titles[name], async () => apply[name](state, step));
  journal.write({ type: 'step', step: name, phase: 'done', at: context.clock.now().toISOString() });
}

/** What each step does. Returns what is worth saying once it is done. How it is undone is in `undo`. */
const apply = {
  observe: async () => Promise.resolve(undefined),
  lock: async () => Promise.resolve(undefined),

  async pin({ session, observed, record }) {
    const { engine } = session.context;
    await session.journal.record(record);
    const images = [...new Set(observed.containers.map(({ imageId }) => imageId))];
    for (const id of images) await engine.tag(id, pinName(session, id));
    return `${images.length} images`;
  },

  async pull({ session, observed }, { on }) {
    const { compose, settings, signal, emit } = session.context;
    await compose.pull(observed.project, on, {
      timeout: settings.timeouts.pull,
      signal,
      onLine: (line) => {
        emit({ type: 'step-progress', step: 'pull', item: line.trim() });
      },
    });
    return on.join(', ');
  },

  async build({ session, observed }, { on }) {
    const { compose, settings, signal, emit } = session.context;
    await compose.build(observed.project, on, {
      timeout: settings.timeouts.pull,
      signal,
      onLine: (line) => {
        emit({ type: 'step-progress', step: 'build', item: line.trim() });
      },
    });
    return on.join(', ');
  },

  /** Starts the helper that later archives: from here on it also keeps the volumes from being pruned. */
  async measure(state) {
    const { session, observed } = state;
    const { engine, exec, settings, accept } = session.context;
    const volumes = observed.volumes.filter(({ exists }) => exists);
    state.helper = await startHelper(engine, exec, session.helperImage, {
      project: session.project,
      run: session.run,
      volumes,
      access: 'read',
    });
    const sizes = await measureVolumes(state.helper, volumes.map(({ name }) => name));
    for (const volume of state.plan.volumes) volume.bytes = sizes.get(volume.name) ?? 0;
    const free = await session.store.freeBytes();
    requireSpace({ sizes, free, backups: await listBackups(session.store), where: settings.backups.directory }, accept);
    const total = [...sizes.values()].reduce((sum, bytes) => sum + bytes, 0);
    return `${volumes.length} volumes, ${formatBytes(total)}${free === undefined ? '' : `, ${formatBytes(free)} free`}`;
  },

  async dump(state) {
    const { session, observed } = state;
    const backup = await backupOf(state);
    const databases = databasesToDump(session.context, observed);
    for (const database of databases) {
      await backup.addDump(database, (item, bytes) => {
        session.context.emit({ type: 'step-progress', step: 'dump', item, bytes });
      });
    }
    return databases.map(({ database }) => database.container.service).join(', ');
  },

  async stop(state, { on }) {
    const { session, observed } = state;
    const { context, project } = session;
    state.watching = await context.engine.watch(project);
    const known = on.filter((service) => service in observed.model.services);
    if (known.length > 0) {
      await context.compose.stop(observed.project, known, {
        ...(context.settings.timeouts.stop === undefined ? {} : { timeout: context.settings.timeouts.stop }),
        signal: context.signal,
      });
    }
    await stopContainers(
      context.engine,
      observed.containers.filter(({ service, running }) => running && !known.includes(service)),
    );
    const still = (await currentContainers(context, project)).filter(({ running }) => running);
    if (still.length > 0) {
      throw new SafeUpdateError('refused', `${still.map(({ name }) => name).join(', ')} came back after being stopped.`, {
        hint: 'See what starts it: another update, a watchdog, or somebody else.',
      });
    }
    return `${on.length} services`;
  },

  async archive(state) {
    const { session, observed, plan, helper } = state;
    if (helper === undefined) throw new Error('no helper to archive with');
    const { context } = session;
    const backup = await backupOf(state);
    const volumes = observed.volumes.filter(({ exists }) => exists);
    for (const volume of volumes) {
      const totalBytes = plan.volumes.find(({ name }) => name === volume.name)?.bytes;
      await backup.addVolume(
        helper,
        volume,
        plan.consistency === 'cold',
        (item, bytes) => {
          context.emit({ type: 'step-progress', step: 'archive', item, bytes, ...(totalBytes === undefined ? {} : { totalBytes }) });
        },
        context.signal,
      );
    }
    const kept = backup.writer.parts().reduce((sum, part) => sum + part.bytes, 0);
    return `${volumes.length} volumes, ${formatBytes(kept)} compressed`;
  },

  async seal(state) {
    const { session, plan, record } = state;
    const backup = await backupOf(state);
    const manifest = await sealBackup(session, backup, 'pre-update', plan.consistency, record, 'seal');
    state.backupId = manifest.id;
    return manifest.id;
  },

  async remove({ session, observed }, { on }) {
    await session.context.compose.remove(observed.project, on, { timeout: 120_000, signal: session.context.signal });
    return on.join(', ');
  },

  async up({ session, observed, plan }, { on }) {
    const { compose, engine, settings, signal, emit } = session.context;
    const scale = Object.fromEntries(
      plan.services
        .filter(({ service, replicas }) => on.includes(service) && replicas > 1)
        .filter(({ service }) => statedReplicas(observed.model.services[service] ?? {}) === undefined)
        .map(({ service, replicas }) => [service, replicas]),
    );
    const orphans = observed.containers.filter(
      ({ service, running }) => running && plan.services.some((other) => other.service === service && other.fate === 'orphan'),
    );
    for (const { id } of orphans) await engine.start(id);
    await compose.up(observed.project, on, { scale }, {
      timeout: settings.timeouts.up ?? settings.timeouts.verify,
      signal,
      onLine: (line) => {
        emit({ type: 'step-progress', step: 'up', item: line.trim() });
      },
    });
    return undefined;
  },

  async verify({ session, observed, plan }) {
    const { context, project } = session;
    const { timeouts } = context.settings;
    const from = context.clock.monotonic();
    await verify(
      expectedAfter(observed, plan).flatMap((service) => probesFor(service, { stableFor: timeouts.stableFor, justStarted: true })),
      {
        timeout: timeouts.verify,
        stableFor: timeouts.stableFor,
        justStarted: true,
        signal: context.signal,
        sleep: (milliseconds) => context.clock.sleep(milliseconds),
        sample: async () => ({ at: context.clock.monotonic(), containers: await currentContainers(context, project) }),
        onLook: (waiting, greenFor) => {
          const item = waiting[0] ?? `stable for ${formatDuration(greenFor)} of ${formatDuration(timeouts.stableFor)}`;
          context.emit({ type: 'step-progress', step: 'verify', item });
        },
      },
    );
    return `green after ${formatDuration(context.clock.monotonic() - from - timeouts.stableFor)}, stable for ${formatDuration(timeouts.stableFor)}`;
  },

  async commit(state) {
    const { session, observed } = state;
    const { context, journal } = session;
    state.watching?.stop();
    journal.write({
      type: 'end',
      result: 'updated',
      at: context.clock.now().toISOString(),
      ...(state.backupId === undefined ? {} : { backup: state.backupId }),
      downtime: downtimeOf(state),
      images: Object.fromEntries([...observed.images].flatMap(([service, image]) => (image === null ? [] : [[service, image.id]]))),
    });
    await dropStack(session.state, session.run);
    return undefined;
  },

  async prune({ session, backupId }) {
    const { context, project } = session;
    try {
      const removed = await pruneBackups(context, project, backupId === undefined ? [] : [backupId]);
      return removed.length === 0 ? 'nothing to remove' : removed.join(', ');
    } catch (error) {
      // The release is verified and recorded; an old backup that cannot be removed does not take it back.
      context.emit({ type: 'notice', level: 'warning', message: `Old backups could not be pruned: ${messageOf(error)}` });
      return 'not done';
    }
  },
} satisfies Record<StepName, (state: Update, step: Step) => Promise<string | undefined>>;

/**
 * The way back, as far as the run had come. Before `stop`: nothing has been touched, only names of images are put
 * right. After it: the containers; after `up` had begun: the data too. Throws the run's end.
 */
async function undo(state: Update, error: unknown): Promise<void> {
  const { session, record } = state;
  const { context, journal } = session;
  const begun = (name: StepName): boolean => journal.entries.some((entry) => entry.type === 'step' && entry.step === name);
  const now = (): string => context.clock.now().toISOString();
  const reason = messageOf(error);
  const code: ErrorCode | 'bug' = error instanceof SafeUpdateError ? error.code : 'bug';
  await state.helper?.remove().catch(() => undefined);

  // What has ended well stays: a failure to prune does not take a verified release back.
  if (journal.entries.some(({ type }) => type === 'end')) return;

  if (!begun('stop') && !begun('remove') && !begun('up')) {
    await restoreImages(context.engine, context.exec, record);
    await state.backup?.writer.abandon();
    await dropNewPins(state);
    journal.write({ type: 'end', result: 'failed', reason, at: now() });
    await dropStack(session.state, session.run);
    throw untouched(error);
  }

  journal.write({ type: 'rollback', reason, code, at: now() });
  context.emit({ type: 'rollback-started', reason });
  try {
    await putBack(session, {
      record,
      keepPresent: true,
      ...(begun('up') && state.backupId !== undefined ? { backup: state.backupId } : {}),
    });
    if (state.backupId === undefined) await state.backup?.writer.abandon();
    const failed = journal.entries.find((entry) => entry.type === 'failed-backup-sealed');
    journal.write({ type: 'end', result: 'rolled-back', reason, at: now(), downtime: downtimeOf(state), ...(state.backupId === undefined ? {} : { backup: state.backupId }) });
    await dropStack(session.state, session.run);
    throw rolledBack(error, failed?.id);
  } catch (second) {
    if (second instanceof SafeUpdateError && (second.code === 'rolled-back' || second.code === 'interrupted')) throw second;
    throw new SafeUpdateError('rollback-incomplete', `The update failed (${reason}), and so did the rollback: ${messageOf(second)}`, {
      state: stateOfIncomplete(state),
      hint: `When the cause is gone, finish the rollback: safe-update recover${environmentOf(record)}`,
      cause: second,
    });
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

function rolledBack(error: unknown, failedBackup: string | undefined): SafeUpdateError {
  const interrupted = error instanceof SafeUpdateError && error.code === 'interrupted';
  const kept = failedBackup === undefined ? '' : ` What the failed release had written is kept in ${failedBackup}.`;
  return new SafeUpdateError(interrupted ? 'interrupted' : 'rolled-back', messageOf(error), {
    state: `Rolled back and verified: the former images, configuration and data are back.${kept}`,
    hint:
      failedBackup === undefined
        ? 'Your compose files were not changed by the rollback. Correct the cause, then update again.'
        : `See why it failed: safe-update show ${failedBackup} --logs. Your compose files were not changed by the rollback.`,
    cause: error,
  });
}

function stateOfIncomplete({ backupId }: Update): string {
  return backupId === undefined
    ? 'The stack may be stopped. Its data was not touched.'
    : `The stack may be stopped. Its data before the update is whole in the backup ${backupId}.`;
}

export function environmentOf({ project }: Pick<StackRecord, 'project'>): string {
  return project.environment === undefined ? '' : ` ${project.environment}`;
}

async function finished(state: Update, from: number): Promise<Outcome> {
  const { session } = state;
  return Promise.resolve({
    result: 'updated',
    run: session.run,
    project: session.project,
    ...(state.backupId === undefined ? {} : { backup: state.backupId }),
    downtime: downtimeOf(state),
    milliseconds: session.context.clock.monotonic() - from,
    rollbackCommand: `safe-update rollback${environmentOf(state.record)}`,
  });
}

function downtimeOf({ watching, observed, plan, session }: Update): Record<string, number> {
  if (watching === undefined) return {};
  const services = plan.services
    .filter(({ fate }) => fate === 'replace' || fate === 'restart' || fate === 'orphan')
    .map(({ service, replicas }) => ({ service, replicas: statedReplicas(observed.model.services[service] ?? {}) ?? Math.max(1, replicas) }));
  return downtime(watching.events, services, session.context.clock.now().getTime());
}

async function backupOf(state: Update): Promise<BackupInProgress> {
  state.backup ??= await beginBackup(state.session, 'pre-update');
  return state.backup;
}

function has(plan: Plan, name: StepName): boolean {
  return plan.steps.some((step) => step.name === name);
}

/** Somebody else has worked on the stack since the person was asked: what was agreed to no longer fits. */
function requireSameContainers(first: Observed, second: Observed): void {
  const ids = ({ containers }: Observed): string => containers.map(({ id, running }) => `${id}${running}`).sort().join();
  if (ids(first) === ids(second)) return;
  throw new SafeUpdateError('refused', 'The stack changed while the images were pulled: somebody started, stopped or replaced a container.', {
    state: 'Nothing was touched by this run.',
    hint: 'Find out who, then run again.',
  });
}

/** What each service must come to after the update. Pure. */
export function expectedAfter(observed: Observed, plan: Plan): ExpectedService[] {
  return plan.services.flatMap(({ service, fate, replicas }): ExpectedService[] => {
    if (fate === 'leave-stopped') return [];
    const own = observed.containers.filter((container) => container.service === service);
    const definition = observed.model.services[service];
    const image = observed.images.get(service);
    const imageId = fate === 'orphan' ? undefined : image?.id;
    const wanted = definition === undefined ? undefined : statedReplicas(definition);
    return [
      {
        service,
        replicas: wanted ?? Math.max(1, replicas),
        oneShot: isOneShotService(observed, service),
        ...(imageId === undefined ? {} : { imageId }),
        served: servedBy(fate === 'orphan' ? own.filter(({ running }) => running) : own),
      },
    ];
  });
}

/** A service that does its work and ends: it did so before, or another one waits for it to complete. */
function isOneShotService(observed: Observed, service: string): boolean {
  const own = observed.containers.filter((container) => container.service === service);
  if (own.length > 0 && own.every((container) => isFinishedOneShot(container, observed))) return true;
  return Object.values(observed.model.services).some(
    ({ depends_on }) => depends_on?.[service]?.condition === 'service_completed_successfully',
  );
}

function pinName(session: Pick<Session, 'project' | 'run'>, imageId: string): string {
  return `${pinRepository(session.project)}:${session.run}-${imageId.replace(/^sha256:/, '').slice(0, 12)}`;
}

/** Pins of a run that made no backup to roll back to. */
async function dropNewPins({ session }: Update): Promise<void> {
  const { engine } = session.context;
  for (const { name } of await engine.tagsIn(pinRepository(session.project))) {
    if (name.includes(`:${session.run}-`)) await engine.untag(name);
  }
}

/** Removes backups beyond the number kept, and the pins of releases that no backup leads to any more. */
export async function pruneBackups(context: Context, project: string, inUse: readonly string[], dryRun = false): Promise<string[]> {
  const store = context.storeFor(project);
  const backups = await listBackups(store);
  const ids = expired(backups, { keep: context.settings.backups.keep, inUse });
  if (dryRun) return ids;
  for (const id of ids) await store.remove(id);
  const runs = new Set(backups.filter(({ id }) => !ids.includes(id)).flatMap(({ manifest }) => manifest?.run ?? []));
  for (const { name } of await context.engine.tagsIn(pinRepository(project))) {
    const run = /:(.+)-[0-9a-f]{12}$/.exec(name)?.[1];
    if (run !== undefined && !runs.has(run)) await context.engine.untag(name);
  }
  return ids;
}

