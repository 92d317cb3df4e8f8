import { readFile, stat } from 'node:fs/promises';
import { listBackups, type ListedBackup } from '../backup/open.ts';
import { backupId, type BackupKind } from '../backup/id.ts';
import { mostBackups, placesOf, type Manifest } from '../backup/manifest.ts';
import { findConfiguration } from '../backup/config-files.ts';
import { BackupInProgress, mountHolding } from '../backup/create.ts';
import type { Store } from '../backup/store/store.ts';
import { coversBindMount } from '../config/bind-mounts.ts';
import { isWithin } from '../config/load.ts';
import type { DatabaseEngine, RunningDatabase } from '../database/database.ts';
import { databaseLabel, recogniseDatabase } from '../database/engines.ts';
import { holdsDatabaseFiles } from '../database/files.ts';
import { loginsInUrls } from '../database/logins.ts';
import {
  helperImage,
  labels,
  removeProbes,
  startHelper,
  type Helper,
  type HelperVolume,
} from '../docker/helper.ts';
import {
  bindMountReason,
  deviceReason,
  fileReason,
  observe,
  readContainers,
  requireServices,
  socketReason,
  type Observed,
} from '../docker/observe.ts';
import { hooksOf, type Hooks } from '../docker/hooks.ts';
import { recordStack, type StackRecord } from '../docker/record.ts';
import { containerShell } from '../docker/shell.ts';
import { messageOf, SafeUpdateError } from '../model/error.ts';
import type { RunKind } from '../model/event.ts';
import type { Container, Volume } from '../model/project.ts';
import { formatDuration } from '../model/units.ts';
import { classify } from './classes.ts';
import type { Context } from './context.ts';
import { lastWithData, leftBehind } from './held.ts';
import {
  continueJournal,
  dropRemains,
  dropStack,
  startJournal,
  unfinishedRun,
  whereItStands,
  type Journal,
  type JournalEntry,
  type PastRun,
} from './journal.ts';
import { acquireLock, waitForLock, type Lock } from './lock.ts';
import { withAims } from './standing.ts';

/** A run under way: the lock it holds, its journal, and what its steps share. */
export interface Session {
  context: Context;
  run: string;
  project: string;
  store: Store;
  state: string;
  journal: Journal;
  lock: Lock;
  helperImage: string;
}

/**
 * Reads the project. With `engineOnly` the name of a project whose compose files are not to be read. Throws
 * SafeUpdateError `config` or `engine`.
 */
export async function look(context: Context, engineOnly?: string): Promise<Observed> {
  const { project } = context.settings;
  const observed = await observe(
    context.engine,
    context.compose,
    engineOnly === undefined ? project : { ...project, name: engineOnly },
    {
      engineOnly: engineOnly !== undefined,
      async coversBind(container, mount, { directory }) {
        // Only folders can be archived.
        if (await isFile(mount.source)) return false;
        if (coversBindMount(context.settings.bindMounts.include, mount.source)) return true;
        const engine = recogniseDatabase(asConfigured(context.settings, container));
        if (mount.readOnly) return false;
        if (engine !== undefined && mountHolding(container, engine.dataPath(container)) === mount)
          return true;
        // A folder of the project's own, and not the one with the backups: that would contain itself.
        return (
          mount.source !== directory &&
          isWithin(mount.source, directory) &&
          !isWithin(context.settings.backups.directory, mount.source) &&
          (await holdsDatabaseFiles(mount.source))
        );
      },
      whyUncovered,
      classify: (about) => classify(context.settings, about),
    },
  );
  if (engineOnly === undefined) requireServices(observed);
  const left =
    engineOnly === undefined && observed.absent.length > 0 ? await volumesLeft(context, observed) : [];
  const configured = (container: Container): Container => asConfigured(context.settings, container);
  const oneShots = new Map(
    Object.entries(context.settings.services).flatMap(([service, { oneShot }]) =>
      oneShot === undefined ? [] : [[service, oneShot]],
    ),
  );
  const { model } = observed;
  return {
    ...observed,
    oneShots,
    volumes: [...observed.volumes, ...left],
    containers: withAims(observed.containers.map(configured), { model, oneShots }),
    absent: observed.absent.map(configured),
  };
}

/** What is mounted there, of what this machine has; an engine elsewhere has others, of which the name has to do. */
async function whyUncovered(source: string): Promise<string> {
  const found = await stat(source).catch(() => undefined);
  if (found?.isSocket() === true || source.endsWith('.sock')) return socketReason;
  if (found?.isCharacterDevice() === true || found?.isBlockDevice() === true) return deviceReason;
  return found?.isFile() === true ? fileReason : bindMountReason;
}

/** Whether this machine has a file of this path. An engine elsewhere has others, which nobody can tell here. */
async function isFile(file: string): Promise<boolean> {
  return stat(file).then(
    (found) => found.isFile(),
    () => false,
  );
}

/** Anonymous volumes whose containers are gone: of the engine's many, the last backup says which were this project's. */
async function volumesLeft(context: Context, observed: Observed): Promise<Volume[]> {
  const former = await lastWithData(context.storeFor(observed.project.name));
  const found = await Promise.all(
    leftBehind(observed, former).map(async (left): Promise<Volume[]> => {
      const { name } = left;
      const spec = await context.engine.volume(name);
      if (spec === null) return [];
      const classified = classify(context.settings, { name, labels: spec.labels, services: [] });
      return [{ kind: 'anonymous', ...spec, servedAt: placesOf(left), exists: true, ...classified }];
    }),
  );
  return found.flat();
}

/** Records the stack, and which files make its configuration. Reads only. */
export async function recordLooked(context: Context, observed: Observed): Promise<StackRecord> {
  const { engine, compose, settings, clock } = context;
  const { project, model, containers, volumes } = observed;
  const [record, configuration] = await Promise.all([
    recordStack(engine, observed, clock.now()),
    findConfiguration(project, model, {
      interpolate: (texts, envFiles) => compose.interpolate(project, texts, envFiles),
      except: [
        settings.backups.directory,
        ...volumes.filter(({ kind }) => kind === 'bind').map(({ name }) => name),
      ],
      containers,
    }),
  ]);
  return { ...record, configuration };
}

/** A name for a run: sorts by time, and no two are the same. Pure. */
export function runName(now: Date, pid: number): string {
  return `${now.toISOString().replace(/[-:]/g, '').replace('T', '-').replace(/\..*/, '')}-${pid}`;
}

/**
 * Takes the lock and starts the journal, or goes on with that of an interrupted run. Throws SafeUpdateError `locked`.
 * Whatever an earlier life of the run left on the engine is removed.
 */
export async function openSession(
  context: Context,
  about: {
    project: string;
    kind: RunKind;
    environment?: string;
    consistency: 'cold' | 'hot';
    /** Its name, where it has one already. */
    run?: string;
  },
  interrupted?: PastRun,
): Promise<Session> {
  const { owner, clock } = context;
  const run = interrupted?.run ?? about.run ?? runName(clock.now(), owner.pid);
  const { lock, image } = await lockProject(context, about.project, run, about.kind);
  try {
    await removeStrayHelpers(context, about.project);
    const state = context.stateFor(about.project);
    await dropRemains(state, run);
    const journal =
      interrupted === undefined
        ? await startJournal(state, {
            type: 'begin',
            run,
            kind: about.kind,
            project: about.project,
            ...(about.environment === undefined ? {} : { environment: about.environment }),
            consistency: about.consistency,
            at: clock.now().toISOString(),
            tool: context.tool,
            host: owner.host,
            ...(context.accept.length === 0 ? {} : { accepted: [...context.accept] }),
          })
        : continueJournal(state, run, interrupted.entries);
    return {
      context,
      run,
      project: about.project,
      store: context.storeFor(about.project, run),
      state,
      journal,
      lock,
      helperImage: image,
    };
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/**
 * Waits for the project's lock as long as the settings say. Returns whether it had to. Throws SafeUpdateError `locked`, which says
 * what is under way, when the time is over: at once where there is none.
 */
export async function waitUntilFree(context: Context, project: string): Promise<boolean> {
  const { engine, owner, isAlive, clock, signal, settings } = context;
  return waitForLock(engine, {
    project,
    owner,
    isAlive,
    signal,
    limit: settings.timeouts.lock,
    monotonic: () => clock.monotonic(),
    sleep: (milliseconds) => clock.sleep(milliseconds),
    onWait: (who) => {
      const message = `Waiting for ${who}, for ${formatDuration(settings.timeouts.lock)} at most.`;
      context.emit({ type: 'notice', level: 'info', message });
    },
    stepOf: async (run) => {
      const found = await unfinishedRun(context.stateFor(project));
      return found?.run === run ? whereItStands(found.entries) : undefined;
    },
  });
}

/** Takes the project's lock. Throws SafeUpdateError `locked`. Says so when a dead owner's lock was taken over. */
export async function lockProject(
  context: Context,
  project: string,
  run: string,
  purpose: string,
  more: Readonly<Record<string, string>> = {},
): Promise<{ lock: Lock; image: string }> {
  const { engine, exec, owner, clock, isAlive } = context;
  const image = await helperImage(engine, exec, context.settings.helper.image, () => {
    context.emit({
      type: 'step-progress',
      step: 'lock',
      item: 'building the helper image, once on this engine',
    });
  });
  const about = {
    project,
    run,
    purpose,
    image,
    owner,
    now: clock.now(),
    isAlive,
    more,
    sleep: (milliseconds: number) => clock.sleep(milliseconds),
  };
  const lock = await acquireLock(engine, about);
  if (lock.takenOver !== undefined)
    context.emit({ type: 'notice', level: 'warning', message: lock.takenOver });
  return { lock, image };
}

/** Helpers of this project whose run is gone; with the lock in hand no other run can be using one. */
export async function removeStrayHelpers(context: Context, project: string): Promise<void> {
  for (const { id, labels: found } of await context.engine.containersLabelled(
    `${labels.project}=${project}`,
  )) {
    if (found[labels.role] === 'helper') await context.engine.removeContainer(id);
  }
  await removeProbes(context.storeFor(project).location);
}

/** Starts a helper that has these volumes, and the store's folder where that is possible. */
export async function startVolumeHelper(
  { context, project, run, store, helperImage: image }: Session,
  volumes: readonly HelperVolume[],
  access: 'read' | 'write',
): Promise<Helper> {
  // What is wrong with the folder shows when a backup is begun there; putting one back only has to read.
  const folder = await store.folder().catch(() => undefined);
  return startHelper(context.engine, context.exec, image, {
    project,
    run,
    volumes,
    access,
    ...(folder === undefined ? {} : { folder }),
  });
}

export async function withHelper<T>(
  session: Session,
  volumes: readonly HelperVolume[],
  access: 'read' | 'write',
  use: (helper: Helper) => Promise<T>,
): Promise<T> {
  const helper = await startVolumeHelper(session, volumes, access);
  try {
    return await use(helper);
  } finally {
    await helper.remove();
  }
}

/** Folders of volumes that are to be mounted by themselves (`subpath`): the engine makes none, and starts nothing without. */
export async function makeFolders(
  session: Session,
  folders: readonly { volume: string; folder: string }[],
): Promise<void> {
  if (folders.length === 0) return;
  const names = [...new Set(folders.map(({ volume }) => volume))];
  const volumes = names.map((name) => ({ name, kind: 'named' as const }));
  await withHelper(session, volumes, 'write', async (helper) => {
    for (const { volume, folder } of folders) {
      const env = { FOLDER: `${helper.pathOf(volume)}/${folder}` };
      const { exitCode, stderr } = await helper.shell.run('mkdir -p "$FOLDER"', { env });
      if (exitCode !== 0)
        throw new SafeUpdateError('store', `${folder} cannot be made in ${volume}: ${stderr.trim()}`);
    }
  });
}

/** Waits for ever where it was asked to, so that it can be killed at this very point. */
export async function pauseAt({ pauseAt: wanted, emit, clock }: Context, point: string): Promise<void> {
  if (wanted !== point) return;
  emit({ type: 'notice', level: 'warning', message: `Paused at ${point}.` });
  await clock.sleep(2 ** 31 - 1);
}

/** Runs a step as events show it. `detail` is what `work` returns. It can be paused at `STEP:begin` and `STEP:end`. */
export async function showStep(
  context: Context,
  step: string,
  title: string,
  work: () => Promise<string | undefined>,
): Promise<void> {
  const from = context.clock.monotonic();
  context.emit({ type: 'step-started', step, title });
  try {
    await pauseAt(context, `${step}:begin`);
    const detail = await work();
    await pauseAt(context, `${step}:end`);
    const milliseconds = context.clock.monotonic() - from;
    context.emit({ type: 'step-done', step, milliseconds, ...(detail === undefined ? {} : { detail }) });
  } catch (error) {
    const milliseconds = context.clock.monotonic() - from;
    context.emit({ type: 'step-failed', step, milliseconds, message: messageOf(error) });
    throw error;
  }
}

/** How long the engine may take to come back, as after an upgrade of it in the middle of a run. Milliseconds. */
const engineIsBack = 120_000;

/**
 * Waits until the engine answers: what has to be undone cannot be undone without it, and it may be that it is only being
 * started again. Throws SafeUpdateError `engine` if it does not come back.
 */
export async function waitForEngine({ engine, clock, emit }: Context): Promise<void> {
  const deadline = clock.monotonic() + engineIsBack;
  for (let told = false; ; told = true) {
    try {
      await engine.facts();
      return;
    } catch (error) {
      if (clock.monotonic() >= deadline) throw error;
      const message = `The engine does not answer; waiting for it, ${formatDuration(engineIsBack)} at most.`;
      if (!told) emit({ type: 'notice', level: 'warning', message });
      await clock.sleep(500);
    }
  }
}

/** The project's containers now, one-off ones left out. */
export async function currentContainers(context: Context, project: string): Promise<Container[]> {
  return readContainers(await context.engine.projectContainers(project)).filter(({ oneOff }) => !oneOff);
}

/** The databases among the running containers of a project. */
export async function runningDatabases(
  context: Context,
  containers: readonly Container[],
): Promise<{ engine: DatabaseEngine; database: RunningDatabase }[]> {
  const found = containers
    .filter(({ running, status }) => running && status === 'running')
    .map((container) => asConfigured(context.settings, container))
    .map((container) => ({ container, engine: recogniseDatabase(container) }));
  return Promise.all(
    found.flatMap(({ container, engine }) =>
      engine === undefined
        ? []
        : [
            runningDatabase(context, container, containers).then((database) => ({
              engine,
              database: { ...database, signal: context.signal },
            })),
          ],
    ),
  );
}

/** A database's container, with what is needed to talk to the server in it. */
export async function runningDatabase(
  context: Context,
  container: Container,
  others: readonly Container[],
): Promise<RunningDatabase> {
  const { exec, settings } = context;
  const { user = '', passwordFile } = settings.databases[container.service] ?? {};
  const password = passwordFile === undefined ? undefined : await readPassword(context, passwordFile);
  const configured = password === undefined ? [] : [{ user, password }];
  return {
    container,
    shell: containerShell(exec, container.id),
    timeout: settings.timeouts.dump,
    logins: [...configured, ...loginsInUrls(container, others)],
  };
}

/** Undefined, and said, where it cannot be read: that is no reason for a rollback to fail whose server has other logins. */
async function readPassword({ emit }: Context, file: string): Promise<string | undefined> {
  try {
    return (await readFile(file, 'utf8')).replace(/\r?\n$/, '');
  } catch (error) {
    const message = `The password file ${file} cannot be read: ${messageOf(error)}`;
    emit({ type: 'notice', level: 'warning', message });
    return undefined;
  }
}

/** The container as the configuration wants it to be seen: what it says of a service's kind counts like the label. */
function asConfigured({ databases }: Context['settings'], container: Container): Container {
  const engine = Object.hasOwn(databases, container.service)
    ? databases[container.service]?.engine
    : undefined;
  if (engine === undefined) return container;
  return { ...container, labels: { ...container.labels, [databaseLabel]: engine } };
}

/** Starts a backup in the store, after removing remains of ones that were never sealed. */
export async function beginBackup(session: Session, kind: BackupKind): Promise<BackupInProgress> {
  const { store, context, journal } = session;
  for (const { id, sealed } of await store.list()) {
    if (!sealed) await store.remove(id);
  }
  const id = backupId(
    kind,
    context.clock.now(),
    (await store.list()).map((listed) => listed.id),
  );
  journal.write({ type: kind === 'failed' ? 'failed-backup-begun' : 'backup-begun', id });
  return new BackupInProgress(await store.begin(id));
}

/** Adds configuration and seals. Returns the manifest. */
export async function sealBackup(
  session: Session,
  backup: BackupInProgress,
  kind: BackupKind,
  consistency: 'cold' | 'hot',
  record: StackRecord,
  step: string,
): Promise<Manifest> {
  const { context, journal } = session;
  const missing = await backup.addConfig(record);
  // Of a failed state it was said when the run began.
  for (const what of kind === 'failed' ? [] : missing) {
    const message = `The configuration in the backup is not complete: ${what}.`;
    context.emit({ type: 'notice', level: 'warning', message });
  }
  const manifest = await backup.seal(
    {
      tool: context.tool,
      kind,
      sequence: nextSequence(await listBackups(session.store)),
      createdAt: context.clock.now().toISOString(),
      run: session.run,
      consistency,
    },
    record,
    (item, bytes) => {
      context.emit({ type: 'step-progress', step, item, bytes });
    },
  );
  try {
    journal.write({ type: kind === 'failed' ? 'failed-backup-sealed' : 'backup-sealed', id: manifest.id });
  } catch (error) {
    // Nothing has counted on it yet, and a run that fails leaves no backup that it does not know of.
    await session.store.remove(manifest.id).catch(() => undefined);
    throw error;
  }
  return manifest;
}

function nextSequence(backups: readonly ListedBackup[]): number {
  const counted = backups.flatMap(({ manifest }) => manifest?.sequence ?? []);
  return Math.max(0, ...counted.filter((number) => number <= mostBackups)) + 1;
}

/**
 * Journals what an undo does. A journal that cannot be written (a full disk may be why there is something to undo) is
 * no reason to leave the stack down: recover does again what was not noted. Returns whether it was.
 */
export function noteUndo({ journal, context }: Session, entry: JournalEntry): boolean {
  try {
    journal.write(entry);
    return true;
  } catch (error) {
    context.emit({ type: 'notice', level: 'warning', message: messageOf(error) });
    return false;
  }
}

/** Ends the journal of a run that was undone. What recover needs stays where the end could not be noted. */
export async function endUndone(session: Session, end: JournalEntry & { type: 'end' }): Promise<void> {
  if (noteUndo(session, end)) await dropStack(session.state, session.run);
}

/**
 * How compose makes and starts containers: how long it may take, and where its lines are shown. `startPeriods`: milliseconds
 * that services have to start, all together, as one may have to wait for another.
 */
export function upOptions({ settings, signal, emit }: Context, step: string, startPeriods = 0) {
  return {
    timeout: settings.timeouts.up ?? settings.timeouts.verify + startPeriods,
    signal,
    onLine: (line: string) => {
      emit({ type: 'step-progress', step, item: line.trim() });
    },
  };
}

/** What compose would run inside of the containers that are started and stopped here by the engine's API. */
export function hooksIn(
  { exec, settings, emit }: Context,
  { model }: Pick<StackRecord, 'model'>,
  { privileged = true } = {},
): Hooks {
  return hooksOf(model, {
    exec,
    privileged,
    timeout: settings.timeouts.verify,
    warn: (message) => {
      emit({ type: 'notice', level: 'warning', message });
    },
  });
}

/** Throws SafeUpdateError `interrupted` once the first Ctrl-C has come. */
export function requireNotInterrupted({ signal }: Context): void {
  if (signal.aborted) throw new SafeUpdateError('interrupted', 'Interrupted.');
}
