import { listBackups } from '../backup/open.ts';
import { expired } from '../backup/retention.ts';
import { mountHolding, type BackupInProgress } from '../backup/create.ts';
import type { BackupKind } from '../backup/id.ts';
import { describeObstacles, lookForObstacles } from '../backup/obstacles.ts';
import type { Manifest } from '../backup/manifest.ts';
import { parseDuration } from '../config/duration.ts';
import type { DatabaseEngine, RunningDatabase } from '../database/database.ts';
import type { EngineEvent } from '../docker/engine.ts';
import { recogniseDatabase } from '../database/engines.ts';
import { freeSpaceAt, measureVolumes, type Helper } from '../docker/helper.ts';
import type { Observed } from '../docker/observe.ts';
import { isGreen, pinRepository, startRecorded, stopContainers, type StackRecord } from '../docker/record.ts';
import { containerShell } from '../docker/shell.ts';
import type { ExpectedService } from '../health/probe.ts';
import { messageOf, SafeUpdateError } from '../model/error.ts';
import type { Plan, Step, StepName } from '../model/plan.ts';
import type { Volume } from '../model/project.ts';
import { counted, formatBytes } from '../model/units.ts';
import type { Context } from './context.ts';
import { archived } from './classes.ts';
import { misplaced } from './data-places.ts';
import { downtime } from './downtime.ts';
import { requireFilesThere } from './files.ts';
import { requireNothingLost } from './fingerprints.ts';
import { dropStack, readRuns, wayBack, type JournalEntry } from './journal.ts';
import { describeOutside, notDumped, notInDumpOf } from './outside-dumps.ts';
import { backupsInProof } from './proofs.ts';
import { isPublished, scaleOf, statedReplicas } from './plan.ts';
import {
  beginBackup,
  currentContainers,
  hooksIn,
  noteUndo,
  pauseAt,
  runningDatabases,
  requireNotInterrupted,
  sealBackup,
  showStep,
  upOptions,
  type Session,
  startVolumeHelper,
  withHelper,
} from './session.ts';
import { aimOf } from './standing.ts';
import { mixedVolumes, refuse, type Refusal } from './refuse.ts';
import { leftOutForSpace, requireSpace, requireSpaceForImages, scarceSpace } from './space.ts';
import { backUpSqlite } from './sqlite.ts';
import { expectedOf, servedBy } from './undo.ts';
import { verifyServices } from './verify.ts';

/** What the steps of one update hand to each other. */
export interface Update {
  session: Session;
  observed: Observed;
  plan: Plan;
  record: StackRecord;
  helper?: Helper;
  /** Why the backup is made. */
  backupKind: BackupKind;
  backup?: BackupInProgress;
  backupId?: string;
  /** What the sealed backup says of itself. */
  manifest?: Manifest;
  /** Data that has become far less, in words. */
  fewer?: string[];
  watching?: { events: EngineEvent[]; stop: () => void };
  /** Services whose image came from a registry: they are not built. */
  published?: string[];
  /** While images are fetched and databases dumped beside each other: what ends either, and who hears of each line of the pull. */
  beside?: { signal: AbortSignal; onPull: (line: string) => void };
}

export const titles: Record<StepName, string> = {
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
  start: 'Start the stack again',
  verify: 'Verify the new release',
  commit: 'Record the release',
  prune: 'Prune old backups',
};

/** Runs one step of the plan: journalled before and after, so that whoever comes after a crash knows. */
export async function doStep(state: Update, name: StepName): Promise<void> {
  const { session, plan } = state;
  const { context } = session;
  requireNotInterrupted(context);
  await pauseAt(context, name);
  const step = plan.steps.find((candidate) => candidate.name === name) ?? {
    name,
    on: [],
    cause: '',
    touches: false,
  };
  note(session, { type: 'step', step: name, phase: 'begin', at: context.clock.now().toISOString() });
  await showStep(
    context,
    name,
    state.backupKind === 'manual' && name === 'verify' ? 'Verify the stack' : titles[name],
    async () => apply[name](state, step),
  );
  note(session, { type: 'step', step: name, phase: 'done', at: context.clock.now().toISOString() });
}

/** Once the end of the run is noted, nobody needs what comes after it, and failing to write it is no failure of the run. */
function note(session: Session, entry: JournalEntry): void {
  if (session.journal.entries.some(({ type }) => type === 'end')) noteUndo(session, entry);
  else session.journal.write(entry);
}

/** What each step does. Returns what is worth saying once it is done. How it is undone is in `undo`. */
const apply = {
  observe: async () => Promise.resolve(undefined),
  lock: async () => Promise.resolve(undefined),

  async pin({ session, record }) {
    const { engine } = session.context;
    const images = record.images.map(({ id }) => id);
    for (const id of images) await engine.tag(id, pinName(session, id));
    return counted(images.length, 'image');
  },

  async pull(state, { on }) {
    const { session, observed, beside } = state;
    const { compose, settings, signal, emit } = session.context;
    await requireRoomForImages(session, observed, on);
    const options = {
      timeout: settings.timeouts.pull,
      signal: beside?.signal ?? signal,
      onLine: (line: string) => {
        emit({ type: 'step-progress', step: 'pull', item: line.trim() });
        beside?.onPull(line);
      },
    };
    const isBuilt = (service: string): boolean => observed.model.services[service]?.build !== undefined;
    const published = on.filter((service) => !isBuilt(service));
    if (published.length > 0) await compose.pull(observed.project, published, options);
    // Each by itself: what one registry has not is built, and what another one would not give is an error.
    for (const service of on.filter(isBuilt)) {
      try {
        await compose.pull(observed.project, [service], options);
        published.push(service);
      } catch (error) {
        if (!(await isToBeBuilt(session, observed, service, error))) throw error;
      }
    }
    state.published = published;
    return published.length === 0 ? 'nothing that is published' : published.join(', ');
  },

  async build({ session, observed, beside, published = [] }, { on }) {
    const { compose, settings, signal, emit } = session.context;
    const services = on.filter((service) => !published.includes(service));
    if (services.length === 0) return 'nothing: all of it is published';
    await compose.build(observed.project, services, {
      timeout: settings.timeouts.pull,
      signal: beside?.signal ?? signal,
      onLine: (line) => {
        emit({ type: 'step-progress', step: 'build', item: line.trim() });
      },
    });
    return services.join(', ');
  },

  /** Starts the helper that later archives: from here on it also keeps the volumes from being pruned. */
  async measure(state) {
    const { session, observed } = state;
    requireDumped(state);
    const { settings, accept } = session.context;
    const volumes = archived(observed.volumes);
    if (state.plan.consistency === 'hot') refuse(mixedVolumes(observed), accept);
    state.helper = await startVolumeHelper(session, volumes, 'read');
    const sizes = await measureVolumes(
      state.helper,
      volumes.map(({ name }) => name),
    );
    for (const volume of state.plan.volumes) volume.bytes = sizes.get(volume.name) ?? 0;
    for (const name of await requireEmptiable(state, state.helper, volumes)) sizes.delete(name);
    const space = await session.store.space();
    const question = {
      sizes,
      space,
      backups: await listBackups(session.store),
      where: settings.backups.directory,
      minimumFree: settings.space.minimumFree,
      dumped: databaseVolumes(observed),
    };
    const recreatable = volumes.filter((volume) => volume.class === 'recreatable').map(({ name }) => name);
    for (const name of accept.includes('space') ? [] : leftOutForSpace(question, recreatable)) {
      leaveOut(state, name, 'recreatable, and there is no room for it');
      sizes.delete(name);
    }
    requireSpace(question, accept);
    const scarce = scarceSpace(question);
    if (scarce !== undefined) session.context.emit({ type: 'notice', level: 'warning', message: scarce });
    const total = [...sizes.values()].reduce((sum, bytes) => sum + bytes, 0);
    const files = await backUpSqlite(
      session,
      {
        helper: state.helper,
        observed: state.observed,
        volumes: volumes.filter(({ name }) => sizes.has(name)),
        dump: state.plan.consistency === 'hot',
      },
      () => backupOf(state),
    );
    return [
      `${counted(sizes.size, 'volume')}, ${formatBytes(total)}`,
      ...(files === 0 ? [] : [`${files} SQLite ${files === 1 ? 'file' : 'files'}`]),
      ...(space === undefined ? [] : [`${formatBytes(space.free)} free`]),
    ].join(', ');
  },

  /** All at once: a dump waits for its server more than for anything else. */
  async dump(state) {
    const { session, observed } = state;
    const { context } = session;
    const backup = await backupOf(state);
    const signal = state.beside?.signal ?? context.signal;
    const databases = await runningDatabases({ ...context, signal }, observed.containers);
    const dumps = databases.map(async ({ engine, database }) => {
      const { service } = database.container;
      const dataPath = await askDataPath(engine, database, context.accept);
      // Where the server says something else than the plan could see.
      if (dataPath !== engine.dataPath(database.container)) {
        const warning = misplaced(database.container, engine.title, dataPath, observed.volumes);
        if (warning !== undefined) context.emit({ type: 'notice', level: 'warning', message: warning });
      }
      const volume = mountHolding(database.container, dataPath)?.source;
      const notInDump = (await engine.notInDump?.(database)) ?? [];
      if (state.plan.consistency === 'hot') requireInDump(context, engine, service, notInDump);
      await backup.addDump(
        { engine, database, dataPath, notInDump, ...(volume === undefined ? {} : { volume }) },
        (item, bytes) => {
          context.emit({ type: 'step-progress', step: 'dump', item, bytes });
        },
      );
      context.emit({ type: 'step-progress', step: 'dump', item: service, done: true });
      return service;
    });
    await Promise.allSettled(dumps);
    return (await Promise.all(dumps)).join(', ');
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
      throw new SafeUpdateError(
        'refused',
        `${still.map(({ name }) => name).join(', ')} came back after being stopped.`,
        {
          hint: 'See what starts it: another update, a watchdog, or somebody else.',
        },
      );
    }
    return counted(on.length, 'service');
  },

  async archive(state) {
    const { session, observed, plan, helper } = state;
    if (helper === undefined) throw new Error('no helper to archive with');
    const { context } = session;
    const backup = await backupOf(state);
    const volumes = archived(observed.volumes);
    for (const volume of volumes) {
      const totalBytes = plan.volumes.find(({ name }) => name === volume.name)?.bytes;
      await backup.addVolume(
        helper,
        volume,
        plan.consistency === 'cold',
        (item, bytes) => {
          context.emit({
            type: 'step-progress',
            step: 'archive',
            item,
            bytes,
            ...(totalBytes === undefined ? {} : { totalBytes }),
          });
        },
        context.signal,
      );
      context.emit({ type: 'step-progress', step: 'archive', item: volume.name, done: true });
    }
    const kept = backup.writer.parts().reduce((sum, part) => sum + part.bytes, 0);
    return `${counted(volumes.length, 'volume')}, ${formatBytes(kept)} compressed`;
  },

  async seal(state) {
    const { session, plan, record } = state;
    const backup = await backupOf(state);
    const manifest = await sealBackup(session, backup, state.backupKind, plan.consistency, record, 'seal');
    state.backupId = manifest.id;
    state.manifest = manifest;
    return manifest.id;
  },

  async remove({ session, observed }, { on }) {
    await session.context.compose.remove(observed.project, on, {
      timeout: 120_000,
      signal: session.context.signal,
    });
    return on.join(', ');
  },

  async up({ session, observed, plan }, { on }) {
    const { compose, engine } = session.context;
    const scale = scaleOf(
      observed.model,
      plan.services
        .filter(({ service }) => on.includes(service))
        .map(({ service, replicas }) => [service, replicas]),
    );
    const orphans = observed.containers.filter(
      ({ service, running }) =>
        running && plan.services.some((other) => other.service === service && other.fate === 'orphan'),
    );
    for (const { id } of orphans) await engine.start(id);
    const periods = on.map((service) => startPeriodAfter(observed, service));
    const options = upOptions(
      session.context,
      'up',
      periods.reduce((sum, period) => sum + period, 0),
    );
    await compose.up(observed.project, on, { scale }, options);
    return undefined;
  },

  /** For a backup: the very containers that were stopped run again. */
  async start({ session, record }) {
    const { engine, clock, settings } = session.context;
    await startRecorded(engine, record, new Map(), {
      dependencyTimeout: settings.timeouts.verify,
      sleep: (milliseconds) => clock.sleep(milliseconds),
      now: () => clock.monotonic(),
      hooks: hooksIn(session.context, record),
    });
    return undefined;
  },

  async verify(state) {
    const { session, observed, plan, manifest } = state;
    const { accept, signal } = session.context;
    const expected = expectedAfter(observed, plan, accept);
    const green = await verifyServices(session, expected, { step: 'verify', justStarted: true, signal });
    if (manifest === undefined) return green;
    const { said, fewer } = await requireNothingLost(session, manifest);
    state.fewer = [...fewer, ...(await requireFilesThere(session, manifest, state.helper))];
    return said === undefined ? green : `${green}, ${said}`;
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
      images: Object.fromEntries(
        [...observed.images].flatMap(([service, image]) => (image === null ? [] : [[service, image.id]])),
      ),
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
      context.emit({
        type: 'notice',
        level: 'warning',
        message: `Old backups could not be pruned: ${messageOf(error)}`,
      });
      return 'not done';
    }
  },
} satisfies Record<StepName, (state: Update, step: Step) => Promise<string | undefined>>;

export function downtimeOf({ watching, observed, plan, session }: Update): Record<string, number> {
  if (watching === undefined) return {};
  const services = plan.services
    .filter(({ fate }) => fate === 'replace' || fate === 'restart' || fate === 'orphan')
    .map(({ service, replicas }) => ({
      service,
      replicas: statedReplicas(observed.model.services[service] ?? {}) ?? Math.max(1, replicas),
    }));
  return downtime(watching.events, services, session.context.clock.now().getTime());
}

/** Milliseconds that a healthcheck gives a service to start: as the files say, else as its image does. Pure. */
export function startPeriodAfter(
  { model, images }: Pick<Observed, 'model' | 'images'>,
  service: string,
): number {
  const { disable, test, start_period } = model.services[service]?.healthcheck ?? {};
  if (disable === true || test?.[0] === 'NONE') return 0;
  const stated = start_period === undefined ? undefined : parseDuration(start_period);
  return stated ?? images.get(service)?.startPeriod ?? 0;
}

/**
 * What could not be put back must be known before anything is stopped. Throws SafeUpdateError `refused` where a volume of an
 * update cannot be emptied. Returns those that somebody has let go of by name: they have been left out.
 */
async function requireEmptiable(
  state: Update,
  helper: Helper,
  volumes: readonly Volume[],
): Promise<string[]> {
  const { context } = state.session;
  const found = await lookForObstacles(
    helper,
    volumes.map(({ name }) => name),
  );
  // What the engine keeps itself can be written. What lies elsewhere may be read-only, or not root's.
  const elsewhere = volumes.filter(
    ({ kind, driver, options }) => kind === 'bind' || driver !== 'local' || Object.keys(options).length > 0,
  );
  if (elsewhere.length > 0) {
    const names = elsewhere.map(({ name }) => name);
    const looked = await withHelper(state.session, elsewhere, 'write', (writing) =>
      lookForObstacles(writing, names),
    );
    for (const [name, obstacles] of looked) {
      found.set(name, obstacles);
      if (!obstacles.readOnly) continue;
      const message = `The volume ${name} is mounted read-only: nothing here changes it, and a rollback leaves it as it is.`;
      context.emit({ type: 'notice', level: 'info', message });
    }
  }
  const refusals = volumes.flatMap(({ name, key }): Refusal[] => {
    const reason = describeObstacles(found.get(name) ?? { readOnly: false, count: 0, found: [] });
    if (reason === undefined) return [];
    return [
      {
        accept: `not-emptied:${name}`,
        message: `The volume ${name} could not be put back in a rollback: ${reason}.`,
        hint: `Take that away for the update (chattr -i, chattr -a, umount). Or back it up (safe-update backup) and leave it out of updates: volumes.${key ?? name}.class: cache in safe-update.yml.`,
      },
    ];
  });
  if (state.backupKind === 'manual') {
    for (const { message } of refusals) context.emit({ type: 'notice', level: 'warning', message });
    return [];
  }
  refuse(refusals, context.accept);
  for (const { accept } of refusals)
    leaveOut(state, accept.slice('not-emptied:'.length), 'it cannot be emptied, and that was accepted');
  return refusals.map(({ accept }) => accept.slice('not-emptied:'.length));
}

/** Takes a volume out of the backup of this run, and says so. */
function leaveOut(state: Update, name: string, reason: string): void {
  const volumes = state.observed.volumes.map((volume) =>
    volume.name === name ? { ...volume, leftOut: reason } : volume,
  );
  const services = state.observed.containers
    .filter(({ mounts }) => mounts.some(({ source }) => source === name))
    .map(({ service }) => service);
  const notCovered = [
    ...state.observed.notCovered,
    { source: name, services: [...new Set(services)], path: '', reason },
  ];
  state.observed = { ...state.observed, volumes, notCovered };
  state.record = { ...state.record, volumes, notCovered };
  state.session.context.emit({
    type: 'notice',
    level: 'warning',
    message: `The volume ${name} is not in this backup, nor in a rollback: ${reason}.`,
  });
}

async function backupOf(state: Update): Promise<BackupInProgress> {
  state.backup ??= await beginBackup(state.session, state.backupKind);
  return state.backup;
}

/**
 * Where the server itself says its files are; that beats what its image and environment suggest. Throws SafeUpdateError
 * `refused` when that place is on no volume: replacing the container would delete the database.
 */
async function askDataPath(
  engine: DatabaseEngine,
  database: RunningDatabase,
  accepted: readonly string[],
): Promise<string> {
  const { container } = database;
  const accept = `no-volume:${container.service}`;
  const folder = await engine.askDataPath(database);
  if (mountHolding(container, folder) !== undefined || accepted.includes(accept)) return folder;
  throw new SafeUpdateError(
    'refused',
    `${container.service} says that it keeps its ${engine.title} files in ${folder}, which is on no volume: replacing the container deletes them.`,
    { hint: `Put ${folder} on a named volume first. If you are sure: --accept ${accept}` },
  );
}

/**
 * Databases that somebody does not want to be dumped are in cold archives only, and that is said. Throws SafeUpdateError
 * `refused` where the backup is to be a hot one: a copy of files that a server is writing to is none.
 */
function requireDumped({ session, observed, plan }: Update): void {
  const { accept, emit } = session.context;
  for (const { service, message } of notDumped(observed.containers)) {
    const acceptance = notInDumpOf(service);
    if (plan.consistency === 'cold') {
      emit({ type: 'notice', level: 'info', message: `${message}: it is archived cold only.` });
    } else if (!accept.includes(acceptance)) {
      throw new SafeUpdateError(
        'refused',
        `${message}, and a hot archive of its files is no backup: the server writes to them meanwhile.`,
        {
          hint: `Take a cold backup: --consistency cold, or consistency: cold in safe-update.yml. If it need not come back: --accept ${acceptance}`,
        },
      );
    }
  }
}

/**
 * Throws SafeUpdateError `refused` where a hot backup, from which the database comes back by its dump, would not bring all of
 * it back; what somebody has let go of by name is said.
 */
function requireInDump(
  { accept, emit }: Context,
  { title }: DatabaseEngine,
  service: string,
  notInDump: readonly string[],
): void {
  if (notInDump.length === 0) return;
  const acceptance = notInDumpOf(service);
  const message = describeOutside(title, service, notInDump);
  if (accept.includes(acceptance)) {
    emit({ type: 'notice', level: 'warning', message: `${message} That was accepted.` });
    return;
  }
  throw new SafeUpdateError('refused', message, {
    hint: `Take a cold backup, which holds all of it: --consistency cold, or consistency: cold in safe-update.yml. If that need not come back: --accept ${acceptance}`,
  });
}

/**
 * What each service must come to after the update. A path that somebody has let go of by name (`--accept
 * volume-moved:…`) need not be served by its volume any more. Pure.
 */
export function expectedAfter(
  observed: Observed,
  plan: Plan,
  accepted: readonly string[] = [],
): ExpectedService[] {
  return plan.services.flatMap(({ service, fate, replicas }): ExpectedService[] => {
    if (fate === 'leave-stopped' || fate === 'provided') return [];
    const own = observed.containers.filter((container) => container.service === service);
    // What does not change need not be better afterwards than it was.
    if (fate === 'restart' || fate === 'orphan') return expectedOf(own.filter(isGreen));
    const definition = observed.model.services[service];
    const image = observed.images.get(service);
    const imageId = image?.id;
    const wanted = definition === undefined ? undefined : statedReplicas(definition);
    const aim = aimOf(service, own, observed);
    return [
      {
        service,
        replicas: wanted ?? Math.max(1, replicas),
        oneShot: aim === 'end',
        ...(aim === 'either' ? { mayEnd: true } : {}),
        ...(imageId === undefined ? {} : { imageId }),
        served: servedBy(own).filter(({ path }) => !accepted.includes(`volume-moved:${service}:${path}`)),
      },
    ];
  });
}

/** What docker says of an image that a registry does not have; other errors may hide that it has it. */
const isNowhere = /manifest unknown|name unknown|does not exist|(?<!host )\bnot found\b/i;

/**
 * Given why the image of a service with `build:` could not be pulled: is it one that is built on this server? Certain where
 * the one that is here was never published; certainly not where it was, unless the registry says that it is gone.
 */
async function isToBeBuilt(
  { context }: Session,
  { containers, images, model }: Observed,
  service: string,
  error: unknown,
): Promise<boolean> {
  if (!(error instanceof SafeUpdateError) || error.code !== 'compose') return false;
  const name = model.services[service]?.image ?? '';
  const own = containers.filter((container) => container.service === service);
  const ids = [...new Set(own.map(({ imageId }) => imageId))];
  const facts = await Promise.all(ids.map((id) => context.engine.image(id)));
  const known = [images.get(service) ?? null, ...facts].filter((image) => image !== null);
  const isGone = isNowhere.test(error.message);
  // Of a registry that wants a login, "does not exist" is only one of two possibilities.
  const build = known.some((image) => isPublished(name, image))
    ? isGone && !/denied|unauthorized/i.test(error.message)
    : known.length > 0 || isGone;
  if (build) {
    const message = `${service} is built on this server: ${name} is in no registry that answers.`;
    context.emit({ type: 'notice', level: 'info', message });
  }
  return build;
}

/** Throws SafeUpdateError `space`. Asked of the lock's container: its root folder is on the engine's own disk. */
async function requireRoomForImages(
  { context, lock }: Session,
  { containers }: Observed,
  services: readonly string[],
): Promise<void> {
  const { engine, exec, settings, accept } = context;
  const replaced = containers
    .filter(({ service }) => services.includes(service))
    .map(({ imageId }) => imageId);
  const sizes = await Promise.all(
    [...new Set(replaced)].map(async (id) => (await engine.image(id))?.size ?? 0),
  );
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  const space = await freeSpaceAt(containerShell(exec, lock.container), '/');
  requireSpaceForImages({ bytes, space, minimumFree: settings.space.minimumFree }, accept);
}

/** The volumes that hold the files of a database. */
export function databaseVolumes({ containers, absent }: Observed): string[] {
  return [...containers, ...absent].flatMap((container) => {
    const engine = recogniseDatabase(container);
    return engine === undefined ? [] : (mountHolding(container, engine.dataPath(container))?.source ?? []);
  });
}

function pinName(session: Pick<Session, 'project' | 'run'>, imageId: string): string {
  return `${pinRepository(session.project)}:${session.run}-${imageId.replace(/^sha256:/, '').slice(0, 12)}`;
}

/** Removes backups beyond the number kept, but never what `rollback` goes back to; and the pins of releases that no backup leads to any more. */
export async function pruneBackups(
  context: Context,
  project: string,
  inUse: readonly string[],
  dryRun = false,
): Promise<string[]> {
  const store = context.storeFor(project);
  const backups = await listBackups(store);
  const read = await backupsInProof(context.engine, project);
  const back = wayBack(await readRuns(context.stateFor(project)));
  const ids = expired(backups, {
    keep: context.settings.backups.keep,
    inUse: [...inUse, ...read, ...(back !== undefined && 'backup' in back ? [back.backup] : [])],
  });
  if (dryRun) return ids;
  for (const id of ids) await store.remove(id);
  const runs = new Set(
    backups.filter(({ id }) => !ids.includes(id)).flatMap(({ manifest }) => manifest?.run ?? []),
  );
  for (const { name } of await context.engine.tagsIn(pinRepository(project))) {
    const run = /:(.+)-[0-9a-f]{12}$/.exec(name)?.[1];
    if (run !== undefined && !runs.has(run)) await context.engine.untag(name);
  }
  return ids;
}
