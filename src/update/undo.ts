import path from 'node:path';
import type { BackupInProgress } from '../backup/create.ts';
import { verifyContents } from '../backup/contents.ts';
import {
  logPart,
  placeInVolume,
  withSubpaths,
  type ManifestDatabase,
  type ManifestVolume,
} from '../backup/manifest.ts';
import { cannotEmpty, lookForObstacles } from '../backup/obstacles.ts';
import { openBackup, verifyBackup, type OpenBackup } from '../backup/open.ts';
import { volumeWriter } from '../backup/volume.ts';
import type { DumpSource } from '../database/database.ts';
import { databaseEngines } from '../database/engines.ts';
import { logsArgv } from '../docker/argv.ts';
import { differences } from '../docker/differences.ts';
import type { ContainerInspect } from '../docker/engine.ts';
import type { Helper } from '../docker/helper.ts';
import { readContainer, readContainers } from '../docker/observe.ts';
import {
  restoreContainers,
  startRecorded,
  stopContainers,
  type Recreated,
  type StackRecord,
} from '../docker/record.ts';
import type { ScriptOptions } from '../docker/shell.ts';
import type { ExpectedService } from '../health/probe.ts';
import { messageOf, SafeUpdateError } from '../model/error.ts';
import type { Container, Volume } from '../model/project.ts';
import { counted, formatBytes } from '../model/units.ts';
import { requireSameData } from './fingerprints.ts';
import { keptIn } from './incomplete.ts';
import { culprits } from './last-words.ts';
import {
  dropFormer,
  makeFormer,
  reload,
  requireLoaded,
  swap,
  UnloadableDump,
  type Reloaded,
} from './reload.ts';
import {
  beginBackup,
  currentContainers,
  hooksIn,
  pauseAt,
  runningDatabase,
  sealBackup,
  showStep,
  waitForEngine,
  withHelper,
  type Session,
} from './session.ts';
import { verifyServices } from './verify.ts';

export interface PutBack {
  /** The stack to come back to. */
  record: StackRecord;
  /** The sealed backup of its data; absent: nothing has run on the data, so it is as it was. */
  backup?: string;
  /** Only these volumes, of that backup; absent: all. */
  only?: (volume: ManifestVolume) => boolean;
  /** Keep the present state as a `failed-…` backup before data is overwritten. */
  keepPresent: boolean;
  /**
   * This very process has written and sealed the backup: its checksums are compared once more, but not what its archives
   * hold, which would make the downtime longer for nothing.
   */
  justSealed?: boolean;
}

/**
 * Makes the stack what the record says: images, containers, networks, volume contents, and what ran runs again.
 *
 * Every part can be done twice with the same result, so a run that was killed in here is finished by calling it
 * again. It takes everything from the record, the journal and the backup and reads no compose file: that may be the
 * very thing that is wrong. Throws when it cannot finish; what is on disk then is enough to call it again.
 *
 * Returns what is not as it was, in words, and says it; none if the engine describes all of it as in the record.
 */
export async function putBack(
  session: Session,
  { record, backup, only, keepPresent, justSealed = false }: PutBack,
): Promise<string[]> {
  const { context, store, journal, project } = session;
  const { engine, exec } = context;
  await waitForEngine(context);
  const open = backup === undefined ? undefined : located(await openBackup(store, backup), record);

  const running = (await currentContainers(context, project)).filter((container) => container.running);
  // What ran before and still runs needs no stop when its data is not going to be touched.
  const toStop = open === undefined ? running.filter(({ id }) => !record.running.includes(id)) : running;
  if (toStop.length > 0) {
    await showStep(context, 'undo-stop', 'Stop what runs now', async () => {
      await stopContainers(engine, toStop, hooksIn(context, record));
      return undefined;
    });
  }

  if (open !== undefined) {
    if (keepPresent && !journal.entries.some(({ type }) => type === 'failed-backup-sealed')) {
      await showStep(context, 'undo-keep', 'Keep the failed state', () =>
        keepFailedState(session, record, open, running),
      );
    }
    await showStep(context, 'undo-check', 'Check the backup', async () => {
      await verifyBackup(open, (item, bytes) => {
        context.emit({ type: 'step-progress', step: 'undo-check', item, bytes });
      });
      return undefined;
    });
  }

  let recreated: Recreated = new Map();
  await showStep(context, 'undo-containers', 'Put the former containers back', async () => {
    recreated = await restoreContainers(engine, exec, record);
    return undefined;
  });

  if (open !== undefined) {
    await showStep(context, 'undo-data', 'Put the data back', async () =>
      restoreData(session, open, record, recreated, only, 'undo-data', {
        contentsVerified: justSealed,
        leaveReadOnly: true,
      }),
    );
  }

  await showStep(context, 'undo-start', 'Start the former release', async () => {
    await startRecorded(engine, record, recreated, {
      dependencyTimeout: context.settings.timeouts.verify,
      sleep: (milliseconds) => context.clock.sleep(milliseconds),
      now: () => context.clock.monotonic(),
      hooks: hooksIn(context, record),
    });
    return undefined;
  });
  await showStep(context, 'undo-verify', 'Verify the former release', async () => {
    await verifyRecord(session, record);
    const same = open === undefined ? undefined : await requireSameData(session, open.manifest);
    await dropFormer(session);
    return same;
  });
  return sayDifferences(session, record, recreated);
}

/** Compares what runs now with the record, field by field. Returns what differs, in words, once it was said. */
export async function sayDifferences(
  { context, project }: Session,
  record: StackRecord,
  recreated: Recreated,
): Promise<string[]> {
  const [containers, networks] = await Promise.all([
    context.engine.projectContainers(project),
    context.engine.projectNetworks(project),
  ]);
  const found = differences(record, { containers, networks }, recreated);
  for (const what of found)
    context.emit({ type: 'notice', level: 'warning', message: `Not as it was: ${what}.` });
  return found;
}

/** A backup that says where databases are in their volumes also if it is an old one. Pure. */
export function located(open: OpenBackup, { containers }: Pick<StackRecord, 'containers'>): OpenBackup {
  return { ...open, manifest: withSubpaths(open.manifest, readContainers(containers)) };
}

/** Waits until everything that was green when the record was made is green again, on the same images and volumes. */
export async function verifyRecord(
  session: Session,
  record: StackRecord,
  step = 'undo-verify',
): Promise<void> {
  // Not to be ended by a signal.
  await verifyServices(session, expectedAsRecorded(record), { step, justStarted: false, lastResort: true });
}

/** What must hold again after a rollback. Containers that were not green before need not be so now. Pure. */
export function expectedAsRecorded({
  containers,
  green,
  mayEnd = [],
}: Pick<StackRecord, 'containers' | 'green' | 'mayEnd'>): ExpectedService[] {
  return expectedOf(
    readContainers(containers)
      .filter(({ id }) => green.includes(id))
      .map((container) => (mayEnd.includes(container.id) ? { ...container, mayEnd: true } : container)),
  );
}

/** These containers, by service and number, on their images and volumes. Pure. */
export function expectedOf(containers: readonly Container[]): ExpectedService[] {
  return [...new Set(containers.map(({ service }) => service))].map((service) => {
    const own = containers.filter((container) => container.service === service);
    const images = new Set(own.map(({ imageId }) => imageId));
    const imageId = images.size === 1 ? [...images][0] : undefined;
    return {
      service,
      replicas: own.length,
      numbers: own.map(({ number }) => number),
      oneShot: false,
      ...(own.every(({ mayEnd }) => mayEnd === true) ? { mayEnd: true } : {}),
      ...(imageId === undefined ? {} : { imageId }),
      served: servedBy(own),
    };
  });
}

/** The volumes at each path of these containers, as a probe expects them. Pure. */
export function servedBy(containers: readonly Container[]): ExpectedService['served'] {
  return containers.flatMap(({ number, mounts }) =>
    mounts
      .filter(({ type }) => type === 'volume')
      .map(({ path, source, subpath }) => ({
        ...{ number, path, volume: source },
        ...(subpath === undefined ? {} : { subpath }),
      })),
  );
}

/**
 * Keeps what the failed release has made of the data, and its containers' last words, so that nothing written in
 * between is lost with the rollback. A volume that is still equal to its backup is not archived twice.
 */
async function keepFailedState(
  session: Session,
  record: StackRecord,
  open: OpenBackup,
  ran: readonly Container[],
): Promise<string> {
  const { context, project } = session;
  const { engine } = context;
  const inspects = await engine.projectContainers(project);
  const containers = readContainers(inspects).filter(({ oneOff }) => !oneOff);
  const volumes = (await volumesNow(session, record, containers)).filter(
    ({ name, leftOut }) => leftOut === undefined || open.manifest.volumes.some((kept) => kept.name === name),
  );
  const backup = await beginBackup(session, 'failed');
  try {
    await withHelper(session, volumes, 'read', async (helper) => {
      for (const volume of volumes) {
        if (await isAsInBackup(helper, volume, open)) continue;
        await backup.addVolume(helper, volume, true, (item, bytes) => {
          context.emit({ type: 'step-progress', step: 'undo-keep', item, bytes });
        });
        context.emit({ type: 'step-progress', step: 'undo-keep', item: volume.name, done: true });
      }
    });
    // As they were before the rollback stopped them.
    const asTheyWere = containers.map((now) => ran.find(({ id }) => id === now.id) ?? now);
    await addLogs(session, backup, asTheyWere, record);
    const running = containers.filter((container) => hasToRun(container, record, ran)).map(({ id }) => id);
    const failed: StackRecord = {
      ...record,
      takenAt: context.clock.now().toISOString(),
      containers: inspects,
      running,
      green: running,
      volumes,
      injected: [],
    };
    const manifest = await sealBackup(session, backup, 'failed', 'cold', failed, 'undo-keep');
    return `${manifest.id}, ${formatBytes(manifest.parts.reduce((sum, part) => sum + part.bytes, 0))}`;
  } catch (error) {
    await backup.writer.abandon();
    throw error;
  }
}

/**
 * Whether a container of the failed release has to run where its state is put back: its service ran before the update. One
 * that the release brought has to if it ran, or ended with an error. Pure.
 */
function hasToRun(
  { id, service, exitCode }: Container,
  before: Pick<StackRecord, 'containers' | 'running'>,
  ran: readonly Container[],
): boolean {
  const former = before.containers.filter((inspect) => readContainer(inspect).service === service);
  if (former.length > 0) return former.some((inspect) => before.running.includes(inspect.Id));
  return exitCode !== 0 || ran.some((container) => container.id === id);
}

/** Recorded volumes that are there, and those that the failed release has brought. */
async function volumesNow(
  session: Session,
  record: StackRecord,
  containers: readonly Container[],
): Promise<Volume[]> {
  const { engine } = session.context;
  const found: Volume[] = [];
  for (const volume of record.volumes) {
    const isThere =
      volume.kind === 'bind'
        ? engine.hasPath(volume.name)
        : engine.volume(volume.name).then((found) => found !== null);
    if (await isThere) found.push({ ...volume, exists: true });
  }
  for (const container of containers) {
    for (const mount of container.mounts) {
      if (mount.type !== 'volume' || found.some(({ name }) => name === mount.source)) continue;
      const spec = await engine.volume(mount.source);
      if (spec === null) continue;
      found.push({
        kind: 'com.docker.volume.anonymous' in spec.labels ? 'anonymous' : 'named',
        ...spec,
        servedAt: [
          {
            service: container.service,
            number: container.number,
            path: mount.path,
            readOnly: mount.readOnly,
            ...(mount.subpath === undefined ? {} : { subpath: mount.subpath }),
          },
        ],
        exists: true,
        class: 'critical',
      });
    }
  }
  return found;
}

async function isAsInBackup(helper: Helper, volume: Volume, { manifest }: OpenBackup): Promise<boolean> {
  const kept = manifest.volumes.find(({ name }) => name === volume.name);
  if (kept?.exact !== true) return false;
  return (await volumeWriter(helper, volume.name).summary()).digest === kept.digest;
}

/** What each container has printed since the release began, the likely cause of its failure first. */
async function addLogs(
  session: Session,
  backup: BackupInProgress,
  containers: readonly Container[],
  record: StackRecord,
): Promise<void> {
  const reason = session.journal.entries.findLast((entry) => entry.type === 'rollback')?.reason ?? '';
  const before = readContainers(record.containers);
  const first = culprits(containers, before, reason);
  for (const { id, name } of new Set([...first, ...containers])) {
    // One that was there before has said things that are not about this release.
    const since = before.some((former) => former.id === id) ? record.takenAt : undefined;
    const logs = await session.context.exec.run({ argv: logsArgv(id, 1000, since), timeout: 30_000 });
    await backup.addText(logPart(name), logs.stdout + logs.stderr);
  }
}

/** How data is put back. */
interface RestoreDataOptions {
  /** What the archives hold has been compared with their lists. */
  contentsVerified?: boolean;
  /** A volume that is mounted read-only everywhere is left as it is, and that is said; otherwise it is an error. */
  leaveReadOnly?: boolean;
  /**
   * The volumes are new: nothing in them could be lost, so servers are filled from their dumps where they are. Otherwise that
   * is done beside the volume, and its content takes the place of the present one once it has been compared.
   */
  nothingToLose?: boolean;
  /** Called when a dump has been loaded, while its server still runs. */
  onLoaded?: (dump: ManifestDatabase) => Promise<void>;
}

/**
 * Puts volume contents back. A volume that equals its backup is left alone; every other one is emptied, filled, and
 * listed again: the list's digest must be the backup's. Databases of a hot backup come back from their dumps.
 *
 * Throws UnloadableDump where one of these cannot be loaded. Unless there was nothing to lose, no volume has been emptied
 * for it then.
 */
export async function restoreData(
  session: Session,
  open: OpenBackup,
  record: StackRecord,
  recreated: Recreated,
  only: (volume: ManifestVolume) => boolean = () => true,
  step = 'undo-data',
  options: RestoreDataOptions = {},
): Promise<string> {
  const { context, journal } = session;
  const { manifest, reader } = open;
  const { contentsVerified = false, nothingToLose = false, leaveReadOnly = false, onLoaded } = options;
  const chosen = manifest.volumes.filter(only);
  // A database that a hot archive cannot bring back starts empty and is filled from its dump.
  const fromDump = manifest.databases.filter(
    ({ volume, parts }) =>
      parts.length > 0 && volume !== undefined && chosen.some(({ name, exact }) => name === volume && !exact),
  );
  // The folders of a volume that servers fill. Several may have one each in the same volume.
  const filledByServer = (volume: ManifestVolume): ManifestDatabase[] =>
    fromDump.filter(
      (dump) => dump.volume === volume.name && restorerOf(dump.engine).into === 'running server',
    );

  // All of them before the first volume is emptied.
  const beside = new Map<string, Reloaded>();
  try {
    const loading = nothingToLose ? [] : chosen.filter((volume) => filledByServer(volume).length > 0);
    for (const volume of loading) {
      context.emit({ type: 'step-progress', step, item: `loading what ${volume.name} is to hold` });
      beside.set(volume.name, await loadBeside(session, open, record, volume, filledByServer(volume)));
    }
    if (beside.size > 0) await pauseAt(context, 'loaded');
    const restored = await fillVolumes();
    for (const dump of fromDump.filter(({ volume }) => volume === undefined || !beside.has(volume))) {
      const stop = await restoreIntoServer(session, open, record, recreated, dump);
      if (stop === undefined) continue;
      await onLoaded?.(dump);
      await stop();
      await placeSettings(session, open, dump);
    }
    const count = chosen.length;
    return restored === count
      ? counted(count, 'volume')
      : `${restored} of ${counted(count, 'volume')} had changed`;
  } finally {
    for (const loaded of beside.values())
      await loaded.remove().catch((error: unknown) => {
        // The next test-restore or recovery removes it.
        context.emit({ type: 'notice', level: 'warning', message: messageOf(error) });
      });
  }

  async function fillVolumes(): Promise<number> {
    const swapped = chosen.filter(({ name }) => beside.has(name));
    const ours = [
      ...[...beside.values()].map(({ volume }) => volume),
      ...(await makeFormer(session, swapped)),
    ].map((name) => ({ name, kind: 'named' as const }));
    let restored = 0;
    await withHelper(session, [...chosen, ...ours], 'write', async (helper) => {
      let changed: ManifestVolume[] = [];
      for (const volume of chosen) {
        const begun = journal.entries.some(
          (entry) => entry.type === 'restoring' && entry.volume === volume.name,
        );
        const writer = volumeWriter(helper, volume.name);
        if (!volume.exact || begun || (await writer.summary()).digest !== volume.digest) changed.push(volume);
      }
      // All of them before the first is emptied.
      const obstacles = await lookForObstacles(
        helper,
        changed.map(({ name }) => name),
      );
      for (const [name, found] of obstacles) {
        if (!found.readOnly && found.count === 0) continue;
        if (!leaveReadOnly || !found.readOnly) throw cannotEmpty(name, found);
        const message = `The volume ${name} is mounted read-only, and was left as it is: nothing in this project can have changed it.`;
        context.emit({ type: 'notice', level: 'warning', message });
        changed = changed.filter((volume) => volume.name !== name);
      }
      // What was loaded beside a volume came out of its archive already.
      const unread = contentsVerified ? [] : changed.filter(({ name }) => !beside.has(name));
      await verifyContents(open, unread, (item, bytes) => {
        context.emit({ type: 'step-progress', step, item, bytes });
      });
      for (const volume of changed) {
        const loaded = beside.get(volume.name);
        await requireAtRest(session, chosen);
        if (loaded !== undefined) {
          await swap(session, helper, {
            volume,
            from: loaded.volume,
            keptIn: keptIn(session.journal.entries),
          });
        } else {
          await refill(helper, volume);
        }
        restored += 1;
        context.emit({ type: 'step-progress', step, item: volume.name, done: true });
      }
      for (const dump of fromDump) await placeDump(helper, open, dump);
      // A server that was started on a volume in the middle has open what is no longer there, and writes it back.
      await requireAtRest(session, chosen);
    });
    return restored;
  }

  async function refill(helper: Helper, volume: ManifestVolume): Promise<void> {
    const writer = volumeWriter(helper, volume.name);
    journal.write({ type: 'restoring', volume: volume.name });
    await writer.clear();
    const folders = filledByServer(volume).map((dump) => placeInVolume(dump, volume));
    const report = (item: string, bytes: number): void => {
      context.emit({ type: 'step-progress', step, item, bytes, totalBytes: volume.bytes });
    };
    if (folders.length === 0) {
      await reader.restoreVolume(volume, writer, report);
    } else if (!folders.includes('')) {
      await reader.restoreVolume(volume, writer, report, { except: folders });
    }
    // Side by side: the list is made from what the memory still holds.
    const [{ digest }] = await Promise.all([writer.summary(), writer.flush()]);
    if (volume.exact && digest !== volume.digest) {
      throw new SafeUpdateError(
        'damaged',
        `The volume ${volume.name} is not equal to its backup after it was put back.`,
      );
    }
    journal.write({ type: 'restored', volume: volume.name });
  }
}

/** Loads what a volume is to hold into a new one beside it. */
async function loadBeside(
  session: Session,
  open: OpenBackup,
  record: StackRecord,
  volume: ManifestVolume,
  dumps: readonly ManifestDatabase[],
): Promise<Reloaded> {
  return reload(session, { open, record, volume, dumps }, async (inside, copy, servers, ids) =>
    restoreData(inside, copy, servers, ids, () => true, 'reload', {
      nothingToLose: true,
      contentsVerified: true,
      onLoaded: (dump) => requireLoaded(inside, copy.manifest, dump),
    }),
  );
}

/**
 * Throws SafeUpdateError `store` if a container of the project runs on one of these volumes: somebody has started it by hand.
 * It is not fought: the next attempt stops it first, and fills every volume again that was begun.
 */
async function requireAtRest(
  { context, project }: Session,
  volumes: readonly Pick<ManifestVolume, 'name'>[],
): Promise<void> {
  const started = (await currentContainers(context, project)).filter(
    ({ running, mounts }) =>
      running && mounts.some(({ source }) => volumes.some(({ name }) => name === source)),
  );
  if (started.length === 0) return;
  throw new SafeUpdateError(
    'store',
    `Somebody has started ${started.map(({ name }) => name).join(', ')} while data was put back.`,
  );
}

/** Puts the files of a dump into the data folder of a stopped database, for engines that take their dumps so. */
async function placeDump(helper: Helper, open: OpenBackup, dump: ManifestDatabase): Promise<void> {
  const restorer = restorerOf(dump.engine);
  const volume = open.manifest.volumes.find(({ name }) => name === dump.volume);
  if (restorer.into !== 'stopped data folder' || volume === undefined) return;
  const data = `${helper.pathOf(volume.name)}/${placeInVolume(dump, volume)}`;
  await restorer.restore(
    {
      run: (script: string, options: ScriptOptions = {}) =>
        helper.shell.run(script, { ...options, env: { ...options.env, DATA: data } }),
    },
    dumpSource(open, dump),
  );
}

/**
 * Puts a SQLite file of an exact archive back, with what was in a log beside it then, and without what is there now. It is
 * unpacked beside the other files first, and only its own are moved: `notes.db.bak` has a name that begins alike.
 */
async function placeMember(
  helper: Helper,
  open: OpenBackup,
  dump: ManifestDatabase,
  volume: ManifestVolume,
): Promise<void> {
  const { dir, base } = path.posix.parse(placeInVolume(dump, volume));
  const root = helper.pathOf(volume.name);
  const run = async (script: string): Promise<string> => {
    const env = { ROOT: root, SCRATCH: scratch, DIR: dir, BASE: base };
    const { exitCode, stdout, stderr } = await helper.shell.run(`set -e\n${script}`, { env });
    if (exitCode === 0) return stdout.trim();
    throw new SafeUpdateError('store', `${dump.dataPath} cannot be put back: ${stderr.trim()}`);
  };
  let scratch = '';
  scratch = await run('mktemp -d "$ROOT/.safe-update-XXXXXX"');
  try {
    const beside: Helper = { ...helper, pathOf: () => scratch };
    const named = `${base.replace(/[\\*?[\]]/g, '\\$&')}*`;
    const writer = volumeWriter(beside, volume.name);
    await open.reader.restoreVolume(volume, writer, () => undefined, { in: dir, named: [named] });
    await writer.flush();
    await run(`from=$SCRATCH/$DIR/$BASE to=$ROOT/$DIR/$BASE
      [ -f "$from" ]
      mkdir -p "$ROOT/$DIR"
      rm -f "$to-wal" "$to-shm" "$to-journal"
      for end in -wal -shm -journal ''; do [ ! -e "$from$end" ] || mv -f "$from$end" "$to$end"; done
      sync "$ROOT/$DIR"`);
  } finally {
    await run('rm -rf "$SCRATCH"');
  }
}

/** Puts the settings of a server back that was filled from its dump: they are files, and in no dump. */
async function placeSettings(session: Session, open: OpenBackup, dump: ManifestDatabase): Promise<void> {
  const restorer = restorerOf(dump.engine);
  const volume = open.manifest.volumes.find(({ name }) => name === dump.volume);
  if (restorer.into !== 'running server' || restorer.settings === undefined || volume === undefined) return;
  const { settings } = restorer;
  await withHelper(session, [volume], 'write', async (helper) => {
    const writer = volumeWriter(helper, volume.name);
    const members = { in: placeInVolume(dump, volume), named: settings, mayBeAbsent: true };
    await open.reader.restoreVolume(volume, writer, () => undefined, members);
    await writer.flush();
  });
}

/**
 * Puts one database back from its dump, whatever its volume holds now. Every container but a server that takes its
 * dump while it runs has been stopped.
 */
export async function restoreDatabase(
  session: Session,
  open: OpenBackup,
  record: StackRecord,
  dump: ManifestDatabase,
  only?: readonly string[],
): Promise<void> {
  const volume = open.manifest.volumes.find(({ name }) => name === dump.volume);
  if (restorerOf(dump.engine).into === 'running server') {
    if (volume !== undefined && placeInVolume(dump, volume) !== '') {
      const folder = placeInVolume(dump, volume);
      await withHelper(session, [volume], 'write', (helper) => ensureFolder(helper, open, volume, folder));
    }
    await restoreIntoServer(session, open, record, new Map(), dump, only);
  } else if (volume !== undefined) {
    const place = placeInVolume(dump, volume);
    const folder = dump.engine === 'sqlite' ? path.posix.dirname(place) : place;
    session.journal.write({ type: 'restoring', volume: volume.name });
    await withHelper(session, [volume], 'write', async (helper) => {
      await ensureFolder(helper, open, volume, folder);
      if (dump.parts.length > 0) await placeDump(helper, open, dump);
      else await placeMember(helper, open, dump, volume);
    });
    session.journal.write({ type: 'restored', volume: volume.name });
  }
}

/** A folder that has been deleted since is made again, as the archive has it: its server could not start without it. */
async function ensureFolder(
  helper: Helper,
  { reader }: OpenBackup,
  volume: ManifestVolume,
  folder: string,
): Promise<void> {
  if (folder === '' || folder === '.') return;
  const env = { FOLDER: `${helper.pathOf(volume.name)}/${folder}` };
  if ((await helper.shell.run('[ -d "$FOLDER" ]', { env })).exitCode === 0) return;
  const writer = volumeWriter(helper, volume.name);
  await reader.restoreVolume(volume, writer, () => undefined, { folder });
  await writer.flush();
}

/** Starts one database alone, waits until it answers, and fills it from its dump. Returns what stops it. */
async function restoreIntoServer(
  session: Session,
  open: OpenBackup,
  record: StackRecord,
  recreated: Recreated,
  dump: ManifestDatabase,
  only?: readonly string[],
): Promise<(() => Promise<void>) | undefined> {
  const { context, journal } = session;
  const { engine, clock, settings } = context;
  const restorer = restorerOf(dump.engine);
  if (restorer.into !== 'running server') return undefined;
  const recorded = record.containers.map(readContainer).find(({ service }) => service === dump.service);
  const id = recorded === undefined ? undefined : (recreated.get(recorded.id) ?? recorded.id);
  if (id === undefined)
    throw new SafeUpdateError(
      'database',
      `There is no container of ${dump.service} to restore its dump into.`,
    );
  if (dump.volume !== undefined) journal.write({ type: 'restoring', volume: dump.volume });
  await engine.start(id);
  const inspect = await engine.container(id);
  if (inspect === null) throw new SafeUpdateError('database', `The container of ${dump.service} has gone.`);
  const database = await runningDatabase(
    context,
    readContainer(inspect),
    record.containers.map(readContainer),
  );
  const deadline = clock.monotonic() + settings.timeouts.verify;
  while (!(await databaseEngine(dump.engine).ready(database))) {
    const ended = hasEnded(await engine.container(id));
    if (ended || clock.monotonic() > deadline) {
      throw new UnloadableDump(
        dump.service,
        new SafeUpdateError(
          'database',
          `${dump.service} ${ended ? 'has ended' : 'does not answer'}, so its dump cannot be restored.`,
          { hint: `See why: docker logs ${database.container.name}` },
        ),
      );
    }
    await clock.sleep(300);
  }
  try {
    await restorer.restore(database, dumpSource(open, dump), only);
  } catch (error) {
    if (!(error instanceof SafeUpdateError) || error.code !== 'database') throw error;
    // A dump that is damaged is said to be so.
    await databaseEngine(dump.engine).check(database, dumpSource(open, dump));
    throw new UnloadableDump(dump.service, error);
  }
  return () => stopContainers(engine, [database.container]);
}

/** It has ended, and nothing starts it again. */
function hasEnded(inspect: ContainerInspect | null): boolean {
  const policy = inspect?.HostConfig.RestartPolicy?.Name ?? '';
  return inspect === null || (inspect.State.Status === 'exited' && ['', 'no'].includes(policy));
}

/** Names of the databases in a dump; undefined where they come back together or not at all. */
export async function databasesIn(open: OpenBackup, dump: ManifestDatabase): Promise<string[] | undefined> {
  const restorer = restorerOf(dump.engine);
  return restorer.into === 'running server' ? restorer.databasesIn(dumpSource(open, dump)) : undefined;
}

function databaseEngine(name: string) {
  const engine = Object.values(databaseEngines).find((candidate) => candidate.name === name);
  if (engine === undefined) {
    throw new SafeUpdateError(
      'damaged',
      `The backup holds a dump of ${name}, which this version does not know.`,
      {
        hint: 'Upgrade safe-update on this machine.',
      },
    );
  }
  return engine;
}

function restorerOf(name: string) {
  return databaseEngine(name).restorer;
}

function dumpSource({ reader }: OpenBackup, { parts }: ManifestDatabase): DumpSource {
  const nameOf = (part: string): string => part.slice(part.lastIndexOf('/') + 1);
  return {
    names: parts.map(nameOf),
    open(name) {
      const part = parts.find((candidate) => nameOf(candidate) === name);
      if (part === undefined) throw new SafeUpdateError('damaged', `The dump has no file ${name}.`);
      return reader.open(part);
    },
  };
}
