import { createHash, randomBytes } from 'node:crypto';
import type { ManifestDatabase, ManifestVolume } from '../backup/manifest.ts';
import type { OpenBackup } from '../backup/open.ts';
import { copyVolume } from '../backup/volume.ts';
import { databaseEngines } from '../database/engines.ts';
import { describeDifference } from '../database/fingerprint.ts';
import { formerLabel, isNotFound, type ContainerInspect } from '../docker/engine.ts';
import { freeSpaceAt, labels, measureVolumes, type Helper } from '../docker/helper.ts';
import { readContainer } from '../docker/observe.ts';
import { stopContainers, type Recreated, type StackRecord } from '../docker/record.ts';
import { containerShell } from '../docker/shell.ts';
import { messageOf, SafeUpdateError } from '../model/error.ts';
import { formatBytes } from '../model/units.ts';
import { lookAtBinds, make, unwritten, withLastWords } from './apart.ts';
import type { Context } from './context.ts';
import { compare, type Data } from './fingerprints.ts';
import { lockLabels, removeMade } from './proofs.ts';
import { currentContainers, lockProject, makeFolders, pauseAt, type Session } from './session.ts';
import { throwaway, type Throwaway } from './throwaway.ts';

/** A dump is whole, but no server takes it: one that begins empty does not start, or refuses what is in it. */
export class UnloadableDump extends SafeUpdateError {
  /** The service that the dump is of. */
  readonly service: string;

  constructor(service: string, cause: unknown) {
    const error = cause instanceof SafeUpdateError ? cause : undefined;
    super('database', messageOf(cause), {
      ...(error?.state === undefined ? {} : { state: error.state }),
      ...(error?.hint === undefined ? {} : { hint: error.hint }),
      cause,
    });
    this.service = service;
  }
}

/** A new volume, filled, beside the one whose place it is to take. Nobody uses it. */
export interface Reloaded {
  /** Its name on the engine. */
  volume: string;
  /** Takes it away, and all that was made to fill it. */
  remove(): Promise<void>;
}

/** What is to be loaded, and for whom. */
export interface Loading {
  open: OpenBackup;
  record: StackRecord;
  /** The volume that the new one stands for; it need not be empty, and nothing happens to it. */
  volume: ManifestVolume;
  /** The dumps whose servers have their files in it. */
  dumps: readonly ManifestDatabase[];
}

/** Fills the volumes of a stack that was made for it: from archives, and from dumps through its servers. */
export type Fill = (
  session: Session,
  open: OpenBackup,
  record: StackRecord,
  ids: Recreated,
) => Promise<unknown>;

/**
 * Loads dumps into a new volume, through servers that are made for it from the engine's record and can reach nothing, and
 * compares what they hold then with what was counted for the backup. The volume that it stands for, its containers and
 * everything else of the project stay as they are, whatever comes.
 *
 * Throws UnloadableDump where a dump cannot be loaded or something of it is missing then, and SafeUpdateError `space` where
 * there is no room for it. Nothing of it is left then. Of a process that is killed in here, `tidyProofs` removes what it
 * had made; loading again is how to go on.
 */
export async function reload(session: Session, loading: Loading, fill: Fill): Promise<Reloaded> {
  const { open, record, volume, dumps } = loading;
  const { run, project } = session;
  // Undoing is not ended by a signal.
  const context: Context = { ...session.context, signal: new AbortController().signal };
  const { engine } = context;
  const servers = serversOf(record, dumps);
  const services = servers.map((inspect) => readContainer(inspect).service);
  const volumes = open.manifest.volumes.filter(
    ({ name, servedAt }) =>
      name === volume.name || servedAt.some(({ service }) => services.includes(service)),
  );
  await requireRoomFor(session, volumes);
  const proof = `safe-update-proof-${randomBytes(6).toString('hex')}`;
  const purpose = `loading the dump of ${services.join(', ')}`;
  const { lock, image } = await lockProject(
    ...[context, proof, run, purpose, lockLabels(proof, project, open.manifest.id)],
  );
  const remove = async (): Promise<void> => {
    await removeMade(engine, proof);
    await lock.release();
  };
  try {
    const { rootDirectory } = await engine.facts();
    const binds = await lookAtBinds(open, servers, rootDirectory);
    const made = beginsEmpty(
      throwaway(proof, run, { volumes, databases: [...dumps] }, servers, {
        images: await imagesOf(context, servers),
        binds,
        engineFolder: rootDirectory,
      }),
      dumps,
    );
    const ids: Recreated = new Map();
    await make({ context, record, proof, run }, made, ids);
    const inside: Session = {
      ...{ context, run, project: proof, state: '', lock, helperImage: image },
      store: session.store,
      journal: unwritten(run),
    };
    await makeFolders(inside, made.folders);
    const manifest = { ...open.manifest, ...made.data };
    const chosen = servers.map(({ Id }) => Id);
    const loaded: StackRecord = { ...record, containers: servers, running: chosen, green: chosen };
    try {
      await fill(inside, { ...open, manifest }, loaded, ids);
    } catch (error) {
      const told = await withLastWords(context, proof, error);
      if (!(error instanceof UnloadableDump)) throw told;
      throw new UnloadableDump(
        error.service,
        new SafeUpdateError(
          'database',
          // The server that it names is gone a moment later.
          `The dump of ${error.service} cannot be loaded into a new server: ${messageOf(told).replaceAll(`${proof}-`, '')}`,
          { cause: told },
        ),
      );
    }
    await stopContainers(
      engine,
      (await currentContainers(context, proof)).filter(({ running }) => running),
    );
    const name = made.data.volumes[volumes.findIndex((one) => one.name === volume.name)]?.name;
    if (name === undefined) throw new Error(`${volume.name} has no volume that stands for it`);
    return { volume: name, remove };
  } catch (error) {
    await remove().catch((left: unknown) => {
      context.emit({ type: 'notice', level: 'warning', message: messageOf(left) });
    });
    throw error;
  }
}

/** Throws UnloadableDump where something is gone that was there when the database was counted for the backup. */
export async function requireLoaded(
  session: Session,
  { volumes }: Data,
  database: ManifestDatabase,
): Promise<void> {
  const compared = await compare(session, { volumes, databases: [database] });
  const gone = compared.flatMap(({ before, changed = [] }) =>
    changed.filter(({ is }) => is === undefined).map((one) => describeDifference(one, before)),
  );
  if (gone.length === 0) return;
  throw new UnloadableDump(
    database.service,
    new SafeUpdateError(
      'database',
      `${database.service}: its dump was loaded, but not all of it came: ${gone.join('; ')}`,
    ),
  );
}

/** One container of each service that has a dump: its replicas have other volumes, or the same one. */
function serversOf(record: StackRecord, dumps: readonly ManifestDatabase[]): ContainerInspect[] {
  return dumps.map(({ service }) => {
    const inspect = record.containers.find((candidate) => readContainer(candidate).service === service);
    if (inspect !== undefined) return inspect;
    throw new SafeUpdateError('database', `There is no container of ${service} to load its dump with.`);
  });
}

async function imagesOf({ engine }: Context, servers: readonly ContainerInspect[]) {
  const found = await Promise.all(
    servers.map(async ({ Image }) => [Image, await engine.image(Image)] as const),
  );
  return new Map(found.flatMap(([id, facts]) => (facts === null ? [] : [[id, facts] as const])));
}

/** Servers that are to begin on an empty volume, and to let their own client in then. Pure but for the password. */
export function beginsEmpty(
  made: Throwaway,
  dumps: readonly Pick<ManifestDatabase, 'service' | 'engine'>[],
): Throwaway {
  const password = randomBytes(16).toString('hex');
  return {
    ...made,
    containers: made.containers.map((container) => {
      const dump = dumps.find(({ service }) => service === container.service);
      const kind = Object.values(databaseEngines).find(({ name }) => name === dump?.engine);
      const environment = kind?.firstStart?.(container.options.Env ?? [], password);
      if (environment === undefined) return container;
      return { ...container, options: { ...container.options, Env: environment } };
    }),
  };
}

/** Asked of the lock's container: its root folder is on the disk where the engine keeps volumes. */
async function roomOnEngine({ context, lock }: Session): Promise<number | undefined> {
  return (await freeSpaceAt(containerShell(context.exec, lock.container), '/'))?.free;
}

/** Throws SafeUpdateError `space` unless there is room on the engine for a second copy of these volumes. */
async function requireRoomFor(session: Session, volumes: readonly ManifestVolume[]): Promise<void> {
  const needed = volumes.reduce((sum, { bytes }) => sum + bytes, 0);
  const free = await roomOnEngine(session);
  if (free === undefined || free >= needed || session.context.accept.includes('space')) return;
  throw new SafeUpdateError(
    'space',
    `A dump is loaded beside the volume that it is of, so that nothing is lost if that fails; that needs ${formatBytes(needed)}, and the disk of the engine has ${formatBytes(free)} free.`,
    { hint: 'Free some there: docker system df shows what takes it.' },
  );
}

/** The volume that keeps what a volume held before a run filled it anew. The same run gives it the same name again. Pure. */
function formerOf(run: string, volume: string): { name: string; former: string } {
  const sum = createHash('sha256').update(`${run}\n${volume}`).digest('hex').slice(0, 12);
  const former = `safe-update-former-${sum}`;
  return { former, name: `${former}_0` };
}

/** Makes the empty volumes into which `swap` sets aside what these hold. One that is there keeps what it holds. */
export async function makeFormer(
  { context, run, project }: Session,
  volumes: readonly Pick<ManifestVolume, 'name'>[],
): Promise<string[]> {
  const names: string[] = [];
  for (const volume of volumes) {
    const { name, former } = formerOf(run, volume.name);
    const own = {
      [formerLabel]: former,
      [labels.project]: project,
      [labels.run]: run,
      [labels.role]: 'former',
    };
    await context.engine.createVolume({ name, driver: 'local', options: {}, labels: own });
    names.push(name);
  }
  return names;
}

/**
 * Removes what this run has set aside: what took its place has been verified. That of another run stays: where it was given up,
 * it may be the only whole copy.
 */
export async function dropFormer({ context: { engine }, project, run }: Session): Promise<void> {
  for (const { name, labels: carried } of await engine.volumesLabelled(formerLabel)) {
    if (carried[labels.project] !== project || carried[labels.run] !== run) continue;
    try {
      await engine.removeProofVolume(name, carried[formerLabel] ?? '');
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
}

/**
 * Puts what a new volume holds into the place of another one, which no container may use. What that held is copied into a
 * volume of ours first; where there is no room for that, the sealed backup of it (`keptIn`) has to do. At each moment both
 * are whole somewhere: the old content in the copy or the backup, the new one in the new volume or, after a kill, in the dump.
 * Can be done twice. Throws SafeUpdateError when it fails; the old content is put back then, if there is a copy of it.
 */
export async function swap(
  session: Session,
  helper: Helper,
  { volume, from, keptIn }: { volume: ManifestVolume; from: string; keptIn: string | undefined },
): Promise<void> {
  const { journal } = session;
  const former = formerOf(session.run, volume.name).name;
  const isAside = (): boolean =>
    journal.entries.some((entry) => entry.type === 'set-aside' && entry.volume === volume.name);
  if (!isAside() && (await mayCopy(session, helper, volume.name, keptIn))) {
    await copyVolume(helper, volume.name, former);
    journal.write({ type: 'set-aside', volume: volume.name, into: former });
  }
  journal.write({ type: 'restoring', volume: volume.name });
  await pauseAt(session.context, 'swap');
  try {
    await copyVolume(helper, from, volume.name);
  } catch (error) {
    if (!isAside()) throw error;
    await copyVolume(helper, former, volume.name);
    throw new SafeUpdateError(
      error instanceof SafeUpdateError ? error.code : 'store',
      `${messageOf(error)}\nIt holds again what it held before.`,
      { cause: error },
    );
  }
  journal.write({ type: 'restored', volume: volume.name });
}

async function mayCopy(
  session: Session,
  helper: Helper,
  volume: string,
  keptIn: string | undefined,
): Promise<boolean> {
  const needed = (await measureVolumes(helper, [volume])).get(volume);
  const free = await roomOnEngine(session);
  if (needed !== undefined && (free === undefined || free >= needed)) return true;
  if (keptIn === undefined) {
    throw new SafeUpdateError(
      'space',
      `There is no room on the disk of the engine for a copy of what ${volume} holds now${free === undefined ? '' : `: ${formatBytes(free)} free`}, and no backup has it.`,
      { hint: 'Free some there: docker system df shows what takes it.' },
    );
  }
  session.context.emit({
    type: 'notice',
    level: 'warning',
    message: `There is no room for a second copy of what ${volume} holds now. It is in ${keptIn} only.`,
  });
  return false;
}
