import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, open as openFile, realpath, rename, stat } from 'node:fs/promises';
import path from 'node:path';
import { verifyContents } from '../backup/contents.ts';
import type { Manifest, ManifestVolume } from '../backup/manifest.ts';
import { openBackup, verifyBackup, type OpenBackup } from '../backup/open.ts';
import { requireWritable, syncFolder } from '../backup/store/folder.ts';
import { qualified } from '../database/fingerprint.ts';
import { readContainer, type Observed } from '../docker/observe.ts';
import {
  restoreContainers,
  startRecorded,
  stopContainers,
  type Recreated,
  type StackRecord,
} from '../docker/record.ts';
import { messageOf, SafeUpdateError } from '../model/error.ts';
import type { Outcome } from '../model/event.ts';
import type { Volume } from '../model/project.ts';
import type { Context } from './context.ts';
import { downtime } from './downtime.ts';
import { requireSameData, type Data } from './fingerprints.ts';
import { incompleteOf } from './incomplete.ts';
import { continueJournal, dropStack, readRuns, unfinishedRun, wayBack, type PastRun } from './journal.ts';
import { isMadeHere, outsideRefusals } from './outside.ts';
import { overwrittenBy, sharedRefusals } from './overwritten.ts';
import { recover } from './recover.ts';
import { refuse, type Refusal } from './refuse.ts';
import { dropFormer } from './reload.ts';
import {
  beginBackup,
  currentContainers,
  endUndone,
  hooksIn,
  look,
  noteUndo,
  openSession,
  recordLooked,
  sealBackup,
  showStep,
  waitUntilFree,
  withHelper,
  type Session,
} from './session.ts';
import {
  databasesIn,
  located,
  putBack,
  restoreData,
  restoreDatabase,
  sayDifferences,
  verifyRecord,
} from './undo.ts';

/** What of a backup is put back. */
export type Selection =
  /** The release: containers, images, networks, and every volume. Files on disk stay as they are. */
  { what: 'all' } | { what: 'some'; volumes: string[]; databases: SelectedDatabase[]; config: boolean };

/** A server's databases, or with a name one of them. */
interface SelectedDatabase {
  service: string;
  name?: string;
}

export interface RestoreOptions {
  backup: string;
  selection: Selection;
  kind: 'restore' | 'rollback';
  /** Asks for the project's name, after saying what will be put back over what. */
  confirm: (about: { project: string; manifest: Manifest; selection: Selection }) => Promise<boolean>;
}

/**
 * Reads what --only was given: volume:NAME (on the engine or in the compose files), database:SERVICE,
 * database:SERVICE/NAME, config.
 * Throws SafeUpdateError `usage` for a word it does not know or a thing the backup does not hold. Pure.
 */
export function readSelection(only: readonly string[], manifest: Manifest): Selection {
  if (only.length === 0) return { what: 'all' };
  const selection: Selection & { what: 'some' } = { what: 'some', volumes: [], databases: [], config: false };
  for (const word of only) {
    const [kind, ...rest] = word.split(':');
    const name = rest.join(':');
    if (word === 'config') selection.config = true;
    else if (kind === 'volume') {
      const volume = manifest.volumes.find((candidate) => candidate.name === name || candidate.key === name);
      if (volume === undefined)
        throw unknown(
          'volume',
          name,
          manifest.volumes.map((candidate) => candidate.name),
        );
      selection.volumes.push(volume.name);
    } else if (kind === 'database') {
      // No service has a slash in its name.
      const slash = name.indexOf('/');
      const service = slash === -1 ? name : name.slice(0, slash);
      if (!manifest.databases.some((known) => known.service === service)) {
        throw unknown(
          'database',
          service,
          manifest.databases.map((known) => known.service),
        );
      }
      selection.databases.push({ service, ...(slash === -1 ? {} : { name: name.slice(slash + 1) }) });
    } else {
      throw new SafeUpdateError(
        'usage',
        `--only takes volume:NAME, database:SERVICE, database:SERVICE/NAME or config, not ${word}.`,
        {
          state: 'Nothing was touched.',
          hint: `See what the backup holds: safe-update show ${manifest.id}`,
        },
      );
    }
  }
  return selection;
}

function unknown(what: string, name: string, known: string[]): SafeUpdateError {
  return new SafeUpdateError('usage', `The backup holds no ${what} ${name}.`, {
    state: 'Nothing was touched.',
    hint: known.length === 0 ? `It holds no ${what} at all.` : `It holds: ${known.join(', ')}`,
  });
}

/**
 * Puts a backup back over the present state, which is kept in a `pre-restore-…` backup first.
 *
 * The backup is read whole and compared with its checksums before anything is stopped. When putting it back fails,
 * the present state comes back from its own backup: SafeUpdateError `rolled-back`, or `rollback-incomplete`.
 */
export async function restore(context: Context, project: string, options: RestoreOptions): Promise<Outcome> {
  const from = context.clock.monotonic();
  const store = context.storeFor(project);
  const open = await untouched(openBackup(store, options.backup));
  const { manifest } = open;
  if (manifest.project.name !== project) {
    throw new SafeUpdateError(
      'refused',
      `${options.backup} is a backup of ${manifest.project.name}, not of ${project}.`,
      { state: 'Nothing was touched.', hint: 'List its own backups with: safe-update backups' },
    );
  }
  await waitUntilFree(context, project);
  let superseded: PastRun | undefined;
  if ((await unfinishedRun(context.stateFor(project))) !== undefined) {
    context.emit({
      type: 'notice',
      level: 'warning',
      message: 'An earlier run was interrupted; it is dealt with first.',
    });
    superseded = await recoverOrSupersede(context, project, options.selection);
  }
  await requireWritable(context.settings.backups.directory);
  await showStep(context, 'check', 'Check the backup', async () => {
    const report = (item: string, bytes: number): void => {
      context.emit({ type: 'step-progress', step: 'check', item, bytes });
    };
    await untouched(verifyBackup(open, report));
    await untouched(verifyContents(open, manifest.volumes.filter(filledBy(options.selection)), report));
    await requireNames(open, options.selection);
    return options.backup;
  });
  const observed = await lookWhatever(context, project);
  const overwritten = await overwrittenBy(context, observed, manifest, options.selection);
  const everyone = await context.engine.allContainers();
  refuse(
    [
      ...sharedRefusals(overwritten, project, everyone, context.settings),
      ...(await outsideOf(context, project, open, observed, options.selection)),
    ],
    context.accept,
  );
  if (!(await options.confirm({ project, manifest, selection: options.selection }))) {
    throw new SafeUpdateError('declined', 'You did not confirm.', {
      state: 'Nothing was touched.',
      hint: `Name the project as it is called: ${project}`,
    });
  }

  const session = await openSession(context, { project, kind: options.kind, consistency: 'cold' });
  context.emit({
    type: 'run-started',
    run: session.run,
    kind: options.kind,
    project,
    at: context.clock.now().toISOString(),
  });
  let present: StackRecord | undefined;
  let kept: Manifest | undefined;
  let watching: Awaited<ReturnType<Context['engine']['watch']>> | undefined;
  const now = (): string => context.clock.now().toISOString();
  try {
    present = await recordLooked(context, observed);
    if (options.selection.what === 'some' && options.selection.config) present = withFiles(present, manifest);
    await session.journal.record(present);
    watching = await context.engine.watch(project);
    session.journal.write({ type: 'source', backup: options.backup, only: wordsOf(options.selection) });
    kept = await keepPresentState(session, present, options.selection, overwritten);
    const target = await replace(session, located(open, await recordIn(open)), present, options.selection);
    const away = downtime(watching.events, servicesIn(target), context.clock.now().getTime());
    session.journal.write({ type: 'end', result: 'restored', at: now(), backup: kept.id, downtime: away });
    await dropStack(session.state, session.run);
    if (superseded !== undefined) await endSuperseded(session, superseded, options.backup);
    return {
      result: 'restored',
      run: session.run,
      project,
      ...(target.running.length > 0
        ? {}
        : {
            summary: `${project} is restored. Nothing of it runs: nothing ran before, nor when the backup was made.`,
          }),
      backup: kept.id,
      milliseconds: context.clock.monotonic() - from,
      downtime: away,
      ...wayBackTo(context, kept, options.selection),
    };
  } catch (error) {
    throw await undoRestore(session, present, kept, error);
  } finally {
    watching?.stop();
    await session.lock.release().catch(() => undefined);
  }
}

/**
 * Deals with an interrupted run first. One that cannot be undone must not keep a person from putting everything back: then it is
 * returned, and ends with the restore.
 */
async function recoverOrSupersede(
  context: Context,
  project: string,
  selection: Selection,
): Promise<PastRun | undefined> {
  try {
    await recover(context, project);
    return undefined;
  } catch (error) {
    if (!(error instanceof SafeUpdateError) || error.code !== 'rollback-incomplete') throw error;
    const found = await unfinishedRun(context.stateFor(project));
    if (selection.what !== 'all' || found === undefined) throw error;
    const message = `${error.message}\nThis restore puts everything back, and so takes its place.`;
    context.emit({ type: 'notice', level: 'warning', message });
    return found;
  }
}

/** What the run was to put back is there from another backup; its own backups stay. */
async function endSuperseded(
  { state, context }: Session,
  { run, entries }: PastRun,
  backup: string,
): Promise<void> {
  continueJournal(state, run, entries).write({
    type: 'end',
    result: 'superseded',
    at: context.clock.now().toISOString(),
    reason: `it was interrupted, and the restore of ${backup} took its place`,
  });
  await dropStack(state, run);
}

/** How to undo this restore: with what of it is kept. A part of a backup is undone by the same part of the kept one. Pure. */
function wayBackTo(
  { again }: Pick<Context, 'again'>,
  kept: Pick<Manifest, 'id' | 'volumes'>,
  selection: Selection,
): Pick<Outcome, 'rollbackCommand'> {
  if (selection.what === 'all') return { rollbackCommand: again(`restore ${kept.id}`) };
  const parts = [
    ...kept.volumes.map(({ name }) => `volume:${name}`),
    ...(selection.config ? ['config'] : []),
  ];
  // What was put back was not there before.
  if (parts.length === 0) return {};
  return {
    rollbackCommand: again(
      `restore ${kept.id}`,
      parts.flatMap((part) => ['--only', part]),
    ),
  };
}

/** What a backup that was not made here says to be written outside of this project. */
async function outsideOf(
  context: Context,
  project: string,
  open: OpenBackup,
  observed: Observed,
  selection: Selection,
): Promise<Refusal[]> {
  if (isMadeHere(await readRuns(context.stateFor(project)), open.manifest)) return [];
  const { configuration } = await recordLooked(context, observed);
  const present = {
    directory: observed.project.directory,
    files: [...(configuration?.files ?? []), ...(configuration?.mounted ?? [])],
    volumes: observed.volumes,
  };
  const { volumes } = await recordIn(open);
  return outsideRefusals(context.engine, present, open.manifest, volumes, selection);
}

/** Keeps the files too that are about to be written over, whatever names them now. */
function withFiles(present: StackRecord, { config }: Manifest): StackRecord {
  const { configuration } = present;
  if (configuration === undefined) return present;
  const known = new Set([...configuration.files, ...configuration.mounted]);
  const more = config.map(({ from }) => from).filter((file) => !known.has(file) && existsSync(file));
  return { ...present, configuration: { ...configuration, files: [...configuration.files, ...more] } };
}

/** The services of a stack that ran, and how many containers of each. */
function servicesIn({ containers, running }: StackRecord): { service: string; replicas: number }[] {
  const ran = containers.map(readContainer).filter(({ id }) => running.includes(id));
  return [...new Set(ran.map(({ service }) => service))].map((service) => ({
    service,
    replicas: ran.filter((container) => container.service === service).length,
  }));
}

/** Says so of what fails before the run has begun. */
export async function untouched<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof SafeUpdateError) || error.state !== undefined) throw error;
    throw new SafeUpdateError(error.code, error.message, {
      state: 'Nothing was touched.',
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      cause: error,
    });
  }
}

/** The compose files may be what is broken; the engine knows enough to put a stack back. */
async function lookWhatever(context: Context, project: string): Promise<Observed> {
  try {
    return await look(context);
  } catch (error) {
    if (!(error instanceof SafeUpdateError) || error.code !== 'config') throw error;
    context.emit({
      type: 'notice',
      level: 'warning',
      message: `${error.message} Going on without the compose files.`,
    });
    return look(context, project);
  }
}

/** Stops what has to stop and archives what is about to be overwritten. */
async function keepPresentState(
  session: Session,
  present: StackRecord,
  selection: Selection,
  overwritten: readonly Volume[],
): Promise<Manifest> {
  const { context, project } = session;
  // A whole restore makes containers anew: what else they hold belongs to the present state.
  const beside = present.volumes.filter(
    ({ name, exists, leftOut }) =>
      selection.what === 'all' &&
      exists &&
      leftOut === undefined &&
      !overwritten.some((volume) => volume.name === name),
  );
  const volumes = [...overwritten, ...beside].sort((a, b) => a.name.localeCompare(b.name));
  const affected = (await currentContainers(context, project)).filter(
    (container) =>
      container.running &&
      (selection.what === 'all' ||
        selection.databases.length > 0 ||
        container.mounts.some(({ source }) => volumes.some(({ name }) => name === source))),
  );
  if (affected.length > 0) {
    session.journal.write({
      type: 'step',
      step: 'stop',
      phase: 'begin',
      at: context.clock.now().toISOString(),
    });
    await showStep(context, 'stop', 'Stop the stack', async () => {
      await stopContainers(context.engine, affected, hooksIn(context, present));
      return affected.map(({ name }) => name).join(', ');
    });
  }
  let manifest: Manifest | undefined;
  await showStep(context, 'keep', 'Back up the present state', async () => {
    const backup = await beginBackup(session, 'pre-restore');
    try {
      if (volumes.length > 0) {
        await withHelper(session, volumes, 'read', async (helper) => {
          for (const volume of volumes) {
            await backup.addVolume(helper, volume, true, (item, bytes) => {
              context.emit({ type: 'step-progress', step: 'keep', item, bytes });
            });
          }
        });
      }
      manifest = await sealBackup(session, backup, 'pre-restore', 'cold', present, 'keep');
      return manifest.id;
    } catch (error) {
      await backup.writer.abandon();
      throw error;
    }
  });
  if (manifest === undefined) throw new Error('no backup of the present state');
  return manifest;
}

/** Returns the stack that runs afterwards. */
async function replace(
  session: Session,
  open: OpenBackup,
  present: StackRecord,
  selection: Selection,
): Promise<StackRecord> {
  const { context, journal } = session;
  const { engine, exec, clock } = context;
  const mark = (step: 'remove' | 'up'): void => {
    journal.write({ type: 'step', step, phase: 'begin', at: clock.now().toISOString() });
  };
  // Everything from here on can touch data; the journal says so before it is.
  const target = selection.what === 'all' ? stackAfter(await recordIn(open), present) : present;
  let recreated: Recreated = new Map();
  if (selection.what === 'all') {
    mark('remove');
    await showStep(context, 'containers', 'Put the containers of that release back', async () => {
      recreated = await restoreContainers(engine, exec, target);
      return undefined;
    });
  }
  const wanted = filledBy(selection);
  if (open.manifest.volumes.some(wanted)) {
    mark('up');
    for (const volume of open.manifest.volumes.filter(wanted)) {
      if (volume.kind !== 'bind' && (await engine.volume(volume.name)) === null) {
        const recorded = (await recordIn(open)).volumes.find(({ name }) => name === volume.name);
        if (recorded !== undefined) await engine.createVolume(recorded);
      }
    }
    await showStep(context, 'data', 'Put the data back', async () =>
      restoreData(session, open, target, recreated, wanted, 'data', { contentsVerified: true }),
    );
  }
  if (selection.what === 'some') {
    for (const dump of open.manifest.databases.filter(({ service }) =>
      selection.databases.some((chosen) => chosen.service === service),
    )) {
      mark('up');
      await showStep(
        context,
        `database ${dump.service}`,
        `Put the database ${dump.service} back`,
        async () => {
          await restoreDatabase(session, open, present, dump, namesOf(selection, dump.service));
          return undefined;
        },
      );
    }
    if (selection.config)
      await showStep(context, 'config', 'Put the configuration files back', () => restoreConfig(open));
  }
  mark('up');
  await showStep(context, 'start', 'Start the stack', async () => {
    await startRecorded(engine, target, recreated, {
      dependencyTimeout: context.settings.timeouts.verify,
      sleep: (milliseconds) => clock.sleep(milliseconds),
      now: () => clock.monotonic(),
      hooks: hooksIn(context, target),
    });
    return undefined;
  });
  await showStep(context, 'verify', 'Verify', async () => {
    await verifyRecord(session, target, 'verify');
    const same = await requireSameData(session, chosenOf(open.manifest, selection));
    await dropFormer(session);
    return same;
  });
  if (selection.what === 'all') await sayDifferences(session, target, recreated);
  return target;
}

/**
 * What runs after a restore: what ran when the backup was made. Where nothing ran then, the services that run now: a person
 * who puts data back into a stack that serves does not ask for it to be down. A backup of a stack that had no containers is
 * one of its data alone, so the present ones stay. Pure.
 */
export function stackAfter(recorded: StackRecord, present: StackRecord): StackRecord {
  if (recorded.containers.length === 0)
    return { ...present, volumes: recorded.volumes, notCovered: recorded.notCovered };
  if (recorded.running.length > 0) return recorded;
  const serviceOf = (inspect: StackRecord['containers'][number]): string => readContainer(inspect).service;
  const runs = new Set(
    present.containers.filter(({ Id }) => present.running.includes(Id)).map((inspect) => serviceOf(inspect)),
  );
  const running = recorded.containers.filter((inspect) => runs.has(serviceOf(inspect))).map(({ Id }) => Id);
  return { ...recorded, running, green: running };
}

/** Whether a volume is filled from its archive. Pure. */
function filledBy(selection: Selection): (volume: ManifestVolume) => boolean {
  return ({ name }) => selection.what === 'all' || selection.volumes.includes(name);
}

/** What of a backup was put back. Pure. */
function chosenOf({ databases, volumes }: Manifest, selection: Selection): Data {
  if (selection.what === 'all') return { databases, volumes };
  return {
    volumes,
    databases: databases.flatMap((database) => {
      const { service, volume, fingerprint } = database;
      if (volume !== undefined && selection.volumes.includes(volume)) return [database];
      if (!selection.databases.some((chosen) => chosen.service === service)) return [];
      const names = namesOf(selection, service);
      if (names === undefined || fingerprint === undefined) return [database];
      const counts = Object.entries(fingerprint.counts).filter(([counted]) =>
        names.some((name) => counted.startsWith(`${qualified(name)}.`)),
      );
      return [{ ...database, fingerprint: { ...fingerprint, counts: Object.fromEntries(counts) } }];
    }),
  };
}

/** Which databases of a server are chosen; undefined: all. Pure. */
function namesOf(selection: Selection & { what: 'some' }, service: string): string[] | undefined {
  const chosen = selection.databases.filter((database) => database.service === service);
  return chosen.some(({ name }) => name === undefined) ? undefined : chosen.flatMap(({ name }) => name ?? []);
}

/** Throws SafeUpdateError `usage` for a database that a dump does not hold, or that cannot be had without the others. */
async function requireNames(open: OpenBackup, selection: Selection): Promise<void> {
  if (selection.what === 'all') return;
  for (const { service, name } of selection.databases) {
    if (name === undefined) continue;
    for (const dump of open.manifest.databases.filter((candidate) => candidate.service === service)) {
      const known = await databasesIn(open, dump);
      if (known === undefined) {
        throw new SafeUpdateError(
          'usage',
          `The databases of ${service} (${dump.engine}) can only be put back together.`,
          { state: 'Nothing was touched.', hint: `Leave the name out: --only database:${service}` },
        );
      }
      if (!known.includes(name)) throw unknown('database', `${service}/${name}`, known);
    }
  }
}

/** The engine's record in a backup: what the stack was. */
export async function recordIn({ reader, manifest }: OpenBackup): Promise<StackRecord> {
  const chunks: Buffer[] = [];
  for await (const chunk of reader.open(manifest.engineRecord)) chunks.push(Buffer.from(chunk as Buffer));
  return JSON.parse(Buffer.concat(chunks).toString('utf8')) as StackRecord;
}

/** Writes the configuration files where they were. The present ones are in the `pre-restore-…` backup. */
async function restoreConfig({ reader, manifest }: OpenBackup): Promise<string> {
  for (const { part, from: named, mode: recorded, owner } of manifest.config) {
    // No file of a configuration runs as somebody else.
    const mode = recorded & 0o777;
    // A link stays one: it is the file it leads to that is written.
    const from = await realpath(named).catch(() => named);
    await mkdir(path.dirname(from), { recursive: true });
    const temporary = path.join(path.dirname(from), `.safe-update-${randomBytes(6).toString('hex')}`);
    const present = await stat(from).catch(() => undefined);
    const handle = await openFile(temporary, 'wx', mode);
    await handle.writeFile(reader.open(part));
    // Whoever it belongs to can read it afterwards as before, whatever this process's umask and user are.
    const [uid, gid] = owner === undefined ? [present?.uid, present?.gid] : [owner.uid, owner.gid];
    if (uid !== undefined && gid !== undefined) await handle.chown(uid, gid).catch(() => undefined);
    await handle.chmod(mode);
    await handle.sync();
    await handle.close();
    await rename(temporary, from);
    await syncFolder(path.dirname(from));
  }
  return manifest.config.map(({ from }) => from).join(', ');
}

async function undoRestore(
  session: Session,
  present: StackRecord | undefined,
  kept: Manifest | undefined,
  error: unknown,
): Promise<unknown> {
  const { context, journal } = session;
  const reason = messageOf(error);
  const at = (): string => context.clock.now().toISOString();
  const begun = (step: string): boolean =>
    journal.entries.some((entry) => entry.type === 'step' && entry.step === step);
  if (present === undefined || (!begun('stop') && !begun('remove') && !begun('up'))) {
    await endUndone(session, { type: 'end', result: 'failed', reason, at: at() });
    return error;
  }
  noteUndo(session, {
    type: 'rollback',
    reason,
    code: error instanceof SafeUpdateError ? error.code : 'bug',
    at: at(),
  });
  context.emit({ type: 'rollback-started', reason });
  try {
    await putBack(session, {
      record: present,
      keepPresent: false,
      ...(begun('up') && kept !== undefined ? { backup: kept.id } : {}),
    });
  } catch (second) {
    return new SafeUpdateError(
      'rollback-incomplete',
      `The restore failed (${reason}), and so did the way back: ${messageOf(second)}`,
      {
        ...incompleteOf(session, second, {
          state: `The stack may be stopped.${kept === undefined ? '' : ` The state before the restore is whole in the backup ${kept.id}.`}`,
          hint: `When the cause is gone, finish: ${context.again('recover')}`,
        }),
        cause: second,
      },
    );
  }
  await endUndone(session, { type: 'end', result: 'rolled-back', reason, at: at() });
  return new SafeUpdateError('rolled-back', reason, {
    state: 'The state before the restore is back, and verified.',
    hint: `Correct the cause, or use another backup: ${context.again('backups')}`,
    cause: error,
  });
}

/**
 * The backup that the last update made, which `rollback` goes back to. Throws SafeUpdateError `usage` if no update
 * has ended well, or its backup is gone, or it has been rolled back already.
 */
export async function lastUpdate(context: Context, project: string): Promise<string> {
  const found = wayBack(await readRuns(context.stateFor(project)));
  if (found !== undefined && 'backup' in found) return found.backup;
  if (found !== undefined) {
    throw new SafeUpdateError(
      'usage',
      `The last update has been rolled back already${found.rolledBack === undefined ? '' : `, to ${found.rolledBack}`}.`,
      {
        state: 'Nothing was touched.',
        hint: 'To go back further, choose a backup: safe-update backups, then safe-update restore',
      },
    );
  }
  throw new SafeUpdateError('usage', `There is no update of ${project} to roll back.`, {
    state: 'Nothing was touched.',
    hint: 'To put a backup back: safe-update backups, then safe-update restore',
  });
}

function wordsOf(selection: Selection): string[] {
  if (selection.what === 'all') return [];
  return [
    ...selection.volumes.map((name) => `volume:${name}`),
    ...selection.databases.map(
      ({ service, name }) => `database:${service}${name === undefined ? '' : `/${name}`}`,
    ),
    ...(selection.config ? ['config'] : []),
  ];
}
