import { randomBytes } from 'node:crypto';
import type { Manifest, ManifestDatabase } from '../backup/manifest.ts';
import { verifyBackup, type OpenBackup } from '../backup/open.ts';
import { keepProof, type Proof } from '../backup/proof.ts';
import { describeCounts, describeDifference, isLost } from '../database/fingerprint.ts';
import type { ContainerInspect, ImageFacts } from '../docker/engine.ts';
import { readContainer } from '../docker/observe.ts';
import { startRecorded, stopContainers, type Recreated, type StackRecord } from '../docker/record.ts';
import { messageOf, SafeUpdateError, type ErrorCode } from '../model/error.ts';
import type { Outcome } from '../model/event.ts';
import { counted, formatDuration } from '../model/units.ts';
import { lookAtBinds, make, unwritten, withLastWords } from './apart.ts';
import type { Context } from './context.ts';
import { compare, mayBecomeEmpty, type Compared, type Data } from './fingerprints.ts';
import { lockLabels, removeMade, tidyProofs } from './proofs.ts';
import { beginsEmpty, UnloadableDump } from './reload.ts';
import { requireRoom } from './restore-as.ts';
import { recordIn, untouched } from './restore.ts';
import { withAimsOf } from './standing.ts';
import {
  currentContainers,
  hooksIn,
  lockProject,
  makeFolders,
  pauseAt,
  requireNotInterrupted,
  runName,
  showStep,
  type Session,
} from './session.ts';
import { throwaway, type Surroundings, type Throwaway } from './throwaway.ts';
import { expectedOf, located, restoreData } from './undo.ts';
import { verifyServices } from './verify.ts';

export interface ProveOptions {
  /** Services that are left out. */
  without: readonly string[];
}

/** What says something about the backup; whatever else fails says nothing, and is not kept with it. */
const aboutTheBackup: readonly ErrorCode[] = ['damaged', 'database', 'unhealthy', 'timeout'];

/** Everything one test-restore needs. */
interface Proving {
  context: Context;
  open: OpenBackup;
  record: StackRecord;
  /** Its name on the engine. */
  proof: string;
  run: string;
  lock: Session['lock'];
  image: string;
  around: Surroundings;
}

/**
 * Tries a backup out: the stack that it is of is made once more on this engine, where it can reach nothing, from the
 * engine's record of it as in a restore; its volumes are filled and compared with their lists; what the databases hold is
 * counted before the other services start; then everything has to become healthy. Dumps that a restore would not need,
 * because the archives are exact, are loaded into empty servers of their own and counted too. Then all of it is removed,
 * also when something fails, and the result is kept with the backup.
 *
 * The project that the backup is of need not run, nor be there; its lock is not taken. What is being read is known to
 * whoever prunes by the lock of the test-restore itself.
 *
 * Throws SafeUpdateError `refused` or `space` before anything is made; `damaged`, `database` or `unhealthy` where the
 * backup does not come up.
 */
export async function prove(context: Context, open: OpenBackup, { without }: ProveOptions): Promise<Outcome> {
  const from = context.clock.monotonic();
  const { manifest } = open;
  const project = manifest.project.name;
  const run = runName(context.clock.now(), context.owner.pid);
  const at = context.clock.now().toISOString();
  context.emit({ type: 'run-started', run, kind: 'prove', project, at });
  await tidyProofs(context);
  const proof = `safe-update-proof-${randomBytes(6).toString('hex')}`;
  const facts = await context.engine.facts();
  const { lock, image } = await lockProject(
    ...[context, proof, run, `verify --restore ${manifest.id}`, lockLabels(proof, project, manifest.id)],
  );
  const result = (of: Pick<Proof, 'result'> & Partial<Proof>): Promise<Proof> =>
    keepProof(open.reader, {
      ...{ at: context.clock.now().toISOString(), tool: context.tool, engine: facts.version },
      ...{
        milliseconds: Math.round(context.clock.monotonic() - from),
        services: [],
        volumes: 0,
        databases: [],
      },
      without: [...without],
      ...of,
    });
  try {
    const found = await attempt({ context, open, proof, run, lock, image }, facts.rootDirectory, without);
    const { cameUp, ...held } = found;
    const kept = await result({ ...held, result: 'proven' });
    return {
      result: 'proven',
      run,
      project,
      backup: manifest.id,
      summary: summaryOf(manifest, cameUp, kept),
      milliseconds: context.clock.monotonic() - from,
    };
  } catch (error) {
    if (!(error instanceof SafeUpdateError)) throw error;
    if (context.signal.aborted) {
      // Whatever a client said that was ended by it.
      const interrupted = new SafeUpdateError('interrupted', 'Interrupted.', {
        ...(error.state === undefined ? {} : { state: error.state, hint: error.hint ?? '' }),
        cause: error,
      });
      throw withWhatItMeans(interrupted, open, run);
    }
    if (aboutTheBackup.includes(error.code)) {
      const [reason = ''] = error.message.split('\n');
      await result({ result: 'failed', reason }).catch((notKept: unknown) => {
        context.emit({ type: 'notice', level: 'warning', message: messageOf(notKept) });
      });
    }
    throw withWhatItMeans(error, open, run);
  } finally {
    // While anything is left, the lock says whose it is.
    if (await isClean(context, proof)) await lock.release().catch(() => undefined);
  }
}

/** Says in what state things are: the same after every failure, because nothing that was there is ever touched. */
function withWhatItMeans(error: SafeUpdateError, { manifest }: OpenBackup, run: string): SafeUpdateError {
  const { name } = manifest.project;
  return new SafeUpdateError(error.code, error.message, {
    state:
      error.state ??
      `${name} was not touched. Every trace of the test-restore was removed.${aboutTheBackup.includes(error.code) ? ` ${manifest.id} is not proven.` : ''}`,
    hint:
      error.hint ??
      (error.code === 'interrupted'
        ? `To try it again: safe-update verify ${manifest.id} --restore`
        : 'Try another one: safe-update backups, then safe-update verify BACKUP --restore'),
    failed: { run, backup: manifest.id },
    cause: error,
  });
}

async function isClean({ engine }: Context, proof: string): Promise<boolean> {
  try {
    await removeMade(engine, proof);
    return true;
  } catch {
    return false;
  }
}

type Found = Pick<Proof, 'services' | 'volumes' | 'databases'> & { cameUp: number };

async function attempt(
  about: Omit<Proving, 'record' | 'around'>,
  engineFolder: string,
  without: readonly string[],
): Promise<Found> {
  const { context, proof, run, image } = about;
  await showStep(context, 'check', 'Check the backup', async () => {
    await verifyBackup(about.open, (item, bytes) => {
      context.emit({ type: 'step-progress', step: 'check', item, bytes });
    });
    return about.open.manifest.id;
  });
  const record = await recordIn(about.open);
  const open = located(about.open, record);
  const { manifest } = open;
  const chosen = chosenOf(record, without);
  let around: Surroundings | undefined;
  await showStep(context, 'images', 'Look for the images', async () => {
    const images = await requireImages(context, record, chosen);
    around = { images, binds: await lookAtBinds(open, chosen, engineFolder), engineFolder };
    return counted(images.size, 'image');
  });
  if (around === undefined) throw new Error('nothing was looked at');
  await untouched(requireRoom(context, manifest, { project: proof, run, image }));
  const proving: Proving = { ...about, open, record, around };

  const databases = manifest.databases.filter(({ service }) => serviceIn(chosen, service));
  const found = await fromArchives(proving, chosen, { volumes: manifest.volumes, databases });
  requireNotInterrupted(context);
  const dumps = unusedDumps({ volumes: manifest.volumes, databases });
  if (dumps.length > 0) found.databases.push(...(await fromDumps(proving, chosen, dumps)));
  return found;
}

/** The containers that ran when the backup was made, without those of services that are left out. */
function chosenOf({ containers, running }: StackRecord, without: readonly string[]): ContainerInspect[] {
  const ran = containers.filter(({ Id }) => running.includes(Id));
  const services = [...new Set(ran.map((inspect) => readContainer(inspect).service))];
  const unknown = without.filter((service) => !services.includes(service));
  const chosen = ran.filter((inspect) => !without.includes(readContainer(inspect).service));
  if (unknown.length === 0 && chosen.length > 0) return chosen;
  throw new SafeUpdateError(
    unknown.length > 0 ? 'usage' : 'refused',
    unknown.length > 0
      ? `No container of ${unknown.join(', ')} ran when the backup was made.`
      : 'No container is left to try the backup with.',
    {
      state: 'Nothing was touched.',
      hint:
        services.length === 0
          ? 'Check its files instead: safe-update verify BACKUP'
          : `There ran: ${services.join(', ')}`,
    },
  );
}

function serviceIn(chosen: readonly ContainerInspect[], service: string): boolean {
  return chosen.some((inspect) => readContainer(inspect).service === service);
}

/** Exactly those that ran, by id. Nothing is pulled: a registry may be what is not there on the day. Throws `refused`. */
async function requireImages(
  { engine }: Context,
  record: StackRecord,
  chosen: readonly ContainerInspect[],
): Promise<Map<string, ImageFacts>> {
  const images = new Map<string, ImageFacts>();
  const missing: string[] = [];
  const pulls: string[] = [];
  for (const id of new Set(chosen.map(({ Image }) => Image))) {
    const facts = await engine.image(id);
    if (facts !== null) {
      images.set(id, facts);
      continue;
    }
    const recorded = record.images.find((candidate) => candidate.id === id);
    missing.push(`${recorded?.names[0] ?? 'without a name'} (${id.replace('sha256:', '').slice(0, 12)})`);
    const [digest] = recorded?.digests ?? [];
    if (digest !== undefined) pulls.push(`docker pull ${digest}`);
  }
  if (missing.length === 0) return images;
  throw new SafeUpdateError('refused', `These images are not on this engine: ${missing.join(', ')}.`, {
    state: 'Nothing was made.',
    hint: [
      ...pulls,
      'Or take them along with the backup: safe-update export BACKUP --images where they are, safe-update import FILE here.',
    ].join('\n'),
  });
}

/** Dumps that a restore of this backup does not read, because it has the exact archive of the same data. Pure. */
function unusedDumps({ volumes, databases }: Data): ManifestDatabase[] {
  return databases.filter(
    ({ volume, parts }) => parts.length > 0 && volumes.some(({ name, exact }) => name === volume && exact),
  );
}

/** What there is of it on the engine while it is tried out. */
interface Standing {
  session: Session;
  made: Throwaway;
  /** Recorded id → the id of the container that stands for it. */
  ids: Recreated;
  record: StackRecord;
}

/** The whole stack, as a restore would bring it back. */
async function fromArchives(
  proving: Proving,
  chosen: readonly ContainerInspect[],
  data: Data,
): Promise<Found> {
  const { context } = proving;
  const from = context.clock.monotonic();
  let found: Found | undefined;
  await standing(proving, chosen, data, 'make', async (stack) => {
    const { session, made, ids, record } = stack;
    for (const message of made.notices) context.emit({ type: 'notice', level: 'warning', message });
    await pauseAt(context, 'data');
    await showStep(context, 'data', 'Put the data in', () => putDataIn(proving, stack, 'data'));
    requireNotInterrupted(context);

    let databases: Proof['databases'] = [];
    const servers = record.containers.filter((inspect) =>
      made.data.databases.some(
        ({ service, engine }) => engine !== 'sqlite' && service === readContainer(inspect).service,
      ),
    );
    if (made.data.databases.length > 0) {
      await showStep(context, 'count', 'Count what the databases hold', async () => {
        await start(context, { ...record, running: servers.map(({ Id }) => Id) }, ids);
        databases = await count(session, made.data, (one) =>
          isFilledFromDump(made.data, one) ? 'dump' : 'archive',
        );
        return `${databases.length} databases`;
      });
    }
    requireNotInterrupted(context);
    await showStep(context, 'up', 'Start the services', async () => {
      await start(context, record, ids);
      return record.containers.map((inspect) => readContainer(inspect).service).join(', ');
    });
    const green = record.containers.filter(({ Id }) => record.green.includes(Id));
    const services = [...new Set(green.map((inspect) => readContainer(inspect).service))];
    for (const { service } of record.containers.map(readContainer)) {
      if (services.includes(service)) continue;
      const message = `${service} was not healthy when the backup was made, and need not be now.`;
      context.emit({ type: 'notice', level: 'warning', message });
    }
    await showStep(context, 'verify', 'Verify that it is healthy', async () => {
      const wanted = green.map(({ Id }) => ids.get(Id));
      const containers = (await currentContainers(context, proving.proof)).filter(({ id }) =>
        wanted.includes(id),
      );
      return verifyServices(session, expectedOf(withAimsOf(record, containers)), {
        ...{ step: 'verify', justStarted: true, signal: context.signal },
      });
    });
    found = { services, volumes: data.volumes.length, databases, cameUp: context.clock.monotonic() - from };
    await pauseAt(context, 'proven');
  });
  if (found === undefined) throw new Error('nothing was tried');
  return found;
}

/**
 * Loads dumps into empty servers, as a restore of a hot backup does. One that no server takes is said, and is no reason
 * against the backup: a restore of it does not need the dump.
 */
async function fromDumps(
  proving: Proving,
  chosen: readonly ContainerInspect[],
  dumps: readonly ManifestDatabase[],
): Promise<Proof['databases']> {
  const { context, proof } = proving;
  let databases: Proof['databases'] = [];
  await showStep(context, 'dumps', 'Load the dumps into empty servers', async () => {
    let rest = dumps;
    while (rest.length > 0) {
      const loaded = await loadDumps(proving, chosen, rest);
      if (!(loaded instanceof UnloadableDump)) {
        databases = loaded;
        break;
      }
      const { service, message } = loaded;
      const reason = message.replaceAll(`${proof}-`, '');
      context.emit({
        type: 'notice',
        level: 'warning',
        message: `The dump of ${service} could not be loaded into an empty server. A restore of this backup does not need it: the archive is exact, and has come up. But no single database could be put back from it. The reason: ${reason}`,
      });
      rest = rest.filter((dump) => dump.service !== service);
    }
    return rest.map(({ service }) => service).join(', ') || 'none could be loaded';
  });
  return databases;
}

/** Each server has its other volumes, and files of its settings, as they were. Returns a dump that no server takes. */
async function loadDumps(
  proving: Proving,
  chosen: readonly ContainerInspect[],
  dumps: readonly ManifestDatabase[],
): Promise<Proof['databases'] | UnloadableDump> {
  const { context } = proving;
  const servers = dumps.flatMap(({ service }) => {
    const inspect = chosen.find((candidate) => readContainer(candidate).service === service);
    return inspect === undefined ? [] : [inspect];
  });
  const services = servers.map((inspect) => readContainer(inspect).service);
  const volumes = proving.open.manifest.volumes
    .filter(({ servedAt }) => servedAt.some(({ service }) => services.includes(service)))
    .map((volume) =>
      dumps.some((dump) => dump.volume === volume.name) ? { ...volume, exact: false } : volume,
    );
  let loaded: Proof['databases'] | UnloadableDump = [];
  await standing(proving, servers, { volumes, databases: [...dumps] }, undefined, async (stack) => {
    const { session, made, ids, record } = stack;
    try {
      await putDataIn(proving, stack, 'dumps');
    } catch (error) {
      if (!(error instanceof UnloadableDump)) throw error;
      loaded = error;
      return;
    }
    requireNotInterrupted(context);
    await start(context, record, ids);
    loaded = await count(session, made.data, () => 'dump');
  });
  return loaded;
}

/**
 * Makes containers, networks and volumes, stopped and empty, and takes them away again, whatever comes. `step`: shown as
 * steps of their own.
 */
async function standing(
  proving: Proving,
  chosen: readonly ContainerInspect[],
  data: Data,
  step: string | undefined,
  use: (stack: Standing) => Promise<void>,
): Promise<void> {
  const { context, proof, run, around, record } = proving;
  const show = (name: string, title: string, work: () => Promise<string | undefined>): Promise<unknown> =>
    step === undefined ? work() : showStep(context, name, title, work);
  let failure: { error: unknown } | undefined;
  try {
    const filledFromDumps = data.databases.filter((one) => isFilledFromDump(data, one));
    const made = beginsEmpty(throwaway(proof, run, data, chosen, around), filledFromDumps);
    const ids: Recreated = new Map();
    await show('make', 'Make it apart from everything', async () => {
      await make(proving, made, ids);
      return `${counted(made.containers.length, 'container')}, ${counted(made.volumes.length, 'volume')}`;
    });
    const session: Session = {
      ...{ context, run, project: proof, state: '', lock: proving.lock, helperImage: proving.image },
      store: context.storeFor(proving.open.manifest.project.name),
      journal: unwritten(run),
    };
    await makeFolders(session, made.folders);
    const chosenIds = chosen.map(({ Id }) => Id);
    await use({
      ...{ session, made, ids },
      record: {
        ...record,
        containers: [...chosen],
        running: chosenIds,
        green: record.green.filter((id) => chosenIds.includes(id)),
      },
    });
  } catch (error) {
    failure = { error: await withLastWords(context, proof, error) };
  }
  try {
    await show('clean', 'Remove every trace', async () => {
      await pauseAt(context, 'clean');
      await removeMade(context.engine, proof);
      return undefined;
    });
  } catch (error) {
    const also = failure === undefined ? '' : ` Before that: ${messageOf(failure.error)}`;
    throw new SafeUpdateError('engine', `Not every trace could be removed: ${messageOf(error)}${also}`, {
      state: `The project was not touched. What is left is called ${proof}-…, and reaches nothing.`,
      hint: context.again('recover'),
      cause: error,
    });
  }
  if (failure !== undefined) throw failure.error;
}

/** Volumes from archives, compared with their lists; databases of a hot backup from dumps: what a restore does. */
async function putDataIn(
  { open }: Proving,
  { session, made, ids, record }: Standing,
  step: string,
): Promise<string> {
  const manifest = { ...open.manifest, ...made.data };
  const detail = await restoreData(session, { ...open, manifest }, record, ids, () => true, step, {
    // There is nothing yet that could be overwritten; what came out is compared.
    contentsVerified: true,
    nothingToLose: true,
  });
  const running = (await currentContainers(session.context, session.project)).filter((one) => one.running);
  await stopContainers(session.context.engine, running);
  return detail;
}

async function start(context: Context, record: StackRecord, ids: Recreated): Promise<void> {
  const { engine, clock, settings } = context;
  await startRecorded(engine, record, ids, {
    dependencyTimeout: settings.timeouts.verify,
    sleep: (milliseconds) => clock.sleep(milliseconds),
    now: () => clock.monotonic(),
    // A test-restore is to be harmless, whatever is in the backup.
    hooks: hooksIn(context, record, { privileged: false }),
  });
}

/** Does a restore of this backup fill the database from its dump? Pure. */
function isFilledFromDump({ volumes }: Data, { volume, parts }: ManifestDatabase): boolean {
  return parts.length > 0 && volumes.some(({ name, exact }) => name === volume && !exact);
}

/**
 * Counts and compares. Throws SafeUpdateError `database` where something is gone or empty that held data. Other counts may
 * differ, because rows were written between the count and the archive or the dump; they are said, and kept.
 */
async function count(
  session: Session,
  data: Data,
  from: (database: ManifestDatabase) => 'archive' | 'dump',
): Promise<Proof['databases']> {
  const { settings, emit, signal } = session.context;
  const compared = await compare(session, data, signal);
  const missing = compared.flatMap((one) =>
    lostIn(one, settings.databases[one.service]?.mayBecomeEmpty ?? []),
  );
  if (missing.length > 0) {
    throw new SafeUpdateError(
      'database',
      `What the backup says it holds is not there: ${missing.join('; ')}`,
    );
  }
  return compared.map(({ service, before, after, changed = [], counted }) => {
    const differs = changed.map((difference) => describeDifference(difference, before));
    for (const what of differs) {
      const message = `${service}: ${what}. It was written to between the count and the copy.`;
      emit({ type: 'notice', level: 'info', message });
    }
    const held = Object.values((after ?? before).counts).filter((number) => number > 0);
    return {
      ...{ service, from: from(counted), of: before.of, differs },
      total: held.reduce((sum, number) => sum + number, 0),
      places: held.length,
    };
  });
}

function lostIn({ service, before, changed }: Compared, allowed: readonly string[]): string[] {
  if (changed === undefined) return [`${service} could not be counted`];
  return changed
    .filter((one) => isLost(one) && !mayBecomeEmpty(allowed, one.name))
    .map((one) => `${service}: ${describeDifference(one, before)}`);
}

/** `Proven: pre-update-… came up in 14.2 s: 5 services healthy, 3 volumes equal, 124 rows in 3 tables as recorded.` Pure. */
export function summaryOf(
  { id, volumes }: Pick<Manifest, 'id' | 'volumes'>,
  cameUp: number,
  { services, databases }: Pick<Proof, 'services' | 'databases'>,
): string {
  const some = (number: number, what: string): string => `${number} ${what}${number === 1 ? '' : 's'}`;
  const exact = volumes.filter((volume) => volume.exact).length;
  // What was counted twice, in the archive and in the dump of the same server, is one thing.
  const archived = databases.filter(({ from }) => from === 'archive');
  const dumped = databases.filter(({ from }) => from === 'dump');
  const once = [
    ...archived,
    ...dumped.filter(({ service }) => !archived.some((other) => other.service === service)),
  ];
  const held = (['rows', 'documents', 'keys'] as const).flatMap((of) => {
    const counted = once.filter((one) => one.of === of);
    const sum = (what: 'total' | 'places'): number => counted.reduce((all, one) => all + one[what], 0);
    return counted.length === 0 ? [] : [describeCounts(of, sum('total'), sum('places'))];
  });
  const differ = databases.some(({ differs }) => differs.length > 0);
  const parts = [
    `${some(services.length, 'service')} healthy`,
    ...(exact > 0 ? [`${some(exact, 'volume')} equal`] : []),
    ...(exact < volumes.length ? [`${some(volumes.length - exact, 'volume')} filled`] : []),
    ...(dumped.length > 0 ? [`${some(dumped.length, 'dump')} loaded`] : []),
    ...(held.length > 0 ? [`${held.join(', ')} ${differ ? 'nearly as' : 'as'} recorded`] : []),
  ];
  return `Proven: ${id} came up in ${formatDuration(cameUp)}: ${parts.join(', ')}.`;
}
