import {
  placeInVolume,
  type Manifest,
  type ManifestDatabase,
  type ManifestVolume,
} from '../backup/manifest.ts';
import {
  describeDifference,
  differences,
  isFarFewer,
  isLost,
  type Difference,
  type Fingerprint,
} from '../database/fingerprint.ts';
import { messageOf, SafeUpdateError } from '../model/error.ts';
import { UnreadableSqlite } from '../database/sqlite.ts';
import { currentContainers, runningDatabases, withHelper, type Session } from './session.ts';
import { openFile } from './sqlite.ts';

/** What a backup says of the databases and where their files are. */
export type Data = Pick<Manifest, 'databases' | 'volumes'>;

type Counted = ManifestDatabase & { fingerprint: Fingerprint };

/** A database that was counted before, and what has changed since. */
export interface Compared {
  service: string;
  before: Fingerprint;
  /** Undefined: there is no such database any more. */
  after: Fingerprint | undefined;
  changed: Difference[] | undefined;
  /** The one that was counted, as the backup has it. */
  counted: ManifestDatabase;
}

/**
 * "Healthy but empty" is a failed update: throws SafeUpdateError `unhealthy` where something that held data before is
 * gone or empty now, and nobody has allowed it. Returns what there is to say, and what has become far fewer.
 */
export async function requireNothingLost(
  session: Session,
  data: Data,
): Promise<{ said: string | undefined; fewer: string[] }> {
  const { settings, accept, emit, signal } = session.context;
  const compared = await compare(session, data, signal);
  const lost = compared.flatMap(({ service, before, changed = [] }) =>
    changed
      .filter(isLost)
      .filter(({ name }) => !mayBecomeEmpty(settings.databases[service]?.mayBecomeEmpty ?? [], name))
      .map((difference) => ({ service, what: describeDifference(difference, before) })),
  );
  const refused = lost.filter(({ service }) => !accept.includes(acceptance(service)));
  for (const { service, what } of lost.filter((one) => !refused.includes(one)))
    emit({ type: 'notice', level: 'warning', message: `${service}: ${what}. That was accepted.` });
  if (refused.length > 0) {
    const services = [...new Set(refused.map(({ service }) => service))];
    throw new SafeUpdateError(
      'unhealthy',
      `healthy, but data is missing: ${refused.map(({ service, what }) => `${service}: ${what}`).join('; ')}`,
      {
        hint: `If that is what the release is meant to do: ${services.map((service) => `--accept ${acceptance(service)}`).join(' ')}, or databases.${services[0] ?? ''}.mayBecomeEmpty in safe-update.yml.`,
      },
    );
  }
  const there = compared.flatMap(({ before }) => Object.values(before.counts).filter((count) => count > 0));
  const fewer = compared.flatMap(({ service, before, changed = [] }) =>
    changed
      .filter((difference) => !isLost(difference) && isFarFewer(difference))
      .map((difference) => `${service}: ${describeDifference(difference, before)}`),
  );
  const said = `data in ${there.length} ${there.length === 1 ? 'place' : 'places'} is still there`;
  return { said: there.length === 0 ? undefined : said, fewer };
}

/** What --accept takes: `data-gone:db`. */
function acceptance(service: string): string {
  return `data-gone:${service}`;
}

/** Names as they are shown; `*` stands for anything. Pure. */
export function mayBecomeEmpty(patterns: readonly string[], name: string): boolean {
  return patterns.some((pattern) => {
    const literal = pattern.split('*').map((text) => text.replace(/[\\^$.+?()[\]{}|]/g, '\\$&'));
    return new RegExp(`^${literal.join('[^]*')}$`).test(name);
  });
}

/**
 * After data was put back. Throws SafeUpdateError `database` where something is gone that was there when the backup was
 * made. Anything else that differs was written between the count and the stop, or since the start: the volumes were equal
 * to their archives. It is said.
 */
export async function requireSameData(session: Session, data: Data): Promise<string | undefined> {
  const compared = await compare(session, data).catch((error: unknown) => {
    // The data is back, and has been compared with its archives.
    if (!(error instanceof SafeUpdateError)) throw error;
    session.context.emit({ type: 'notice', level: 'warning', message: `Not counted: ${error.message}` });
    return [];
  });
  const gone = compared.flatMap(({ service, before, changed = [] }) =>
    changed
      .filter(({ is }) => is === undefined)
      .map((one) => `${service}: ${describeDifference(one, before)}`),
  );
  if (gone.length > 0) {
    throw new SafeUpdateError('database', `What the backup holds is not there: ${gone.join('; ')}`);
  }
  for (const { service, before, changed = [] } of compared) {
    if (changed.length === 0) continue;
    const what = changed.map((one) => describeDifference(one, before)).join('; ');
    session.context.emit({
      type: 'notice',
      level: 'info',
      message: `${service} holds not quite what was counted for the backup: ${what}. It was written to meanwhile.`,
    });
  }
  return compared.length === 0 ? undefined : `${compared.length} databases hold what they held`;
}

/**
 * Each database that was counted, with what has changed. What is left out of backups may begin empty; replicas of one
 * service cannot be told apart.
 */
export async function compare(
  session: Session,
  { databases, volumes }: Data,
  signal?: AbortSignal,
): Promise<Compared[]> {
  const counted = databases
    .filter((one): one is Counted => one.fingerprint !== undefined)
    .filter(({ volume }) => volume === undefined || volumes.some(({ name }) => name === volume))
    .filter(
      (one) =>
        databases.filter((other) => other.service === one.service && other.dataPath === one.dataPath)
          .length === 1,
    );
  const compared = (one: Counted, after: Fingerprint | undefined): Compared => ({
    service: one.service,
    before: one.fingerprint,
    after,
    counted: one,
    changed: after === undefined ? undefined : differences(one.fingerprint, after),
  });
  const files = counted.filter(({ engine }) => engine === 'sqlite');
  const servers = counted.filter(({ engine }) => engine !== 'sqlite');
  return [
    ...(await Promise.all(
      servers.map(async (one) => compared(one, await countNow(session, one.service, signal))),
    )),
    ...(await countFiles(session, files, volumes, signal)).map(([one, after]) => compared(one, after)),
  ];
}

/** Counts SQLite files, by a helper that has their volumes. Undefined for one that cannot be read now. */
async function countFiles(
  session: Session,
  files: readonly Counted[],
  volumes: readonly ManifestVolume[],
  signal?: AbortSignal,
): Promise<(readonly [Counted, Fingerprint | undefined])[]> {
  if (files.length === 0) return [];
  const { context, project } = session;
  const needed = volumes.filter(({ name }) => files.some(({ volume }) => volume === name));
  const containers = await currentContainers(context, project);
  return withHelper(session, needed, 'read', async (helper) => {
    const counts: (readonly [Counted, Fingerprint | undefined])[] = [];
    for (const file of files) {
      const volume = needed.find(({ name }) => name === file.volume);
      const container = containers.find(({ service }) => service === file.service);
      if (volume === undefined || container === undefined) {
        counts.push([file, undefined]);
        continue;
      }
      const { engine, database } = await openFile(session, helper, {
        container,
        volume: volume.name,
        path: placeInVolume(file, volume),
        timeout: context.settings.timeouts.dump,
        ...(signal === undefined ? {} : { signal }),
      });
      const after = await engine.fingerprint(database).catch((error: unknown) => {
        if (!(error instanceof UnreadableSqlite)) throw error;
        const message = `${file.service}: what ${file.dataPath} holds now could not be counted: ${error.message}.`;
        context.emit({ type: 'notice', level: 'warning', message });
        return undefined;
      });
      counts.push([file, after]);
    }
    return counts;
  });
}

/** Counts a database that may still be busy. Undefined where the stack has none of that name any more. */
async function countNow(
  { context, project }: Session,
  service: string,
  signal?: AbortSignal,
): Promise<Fingerprint | undefined> {
  const { clock, settings } = context;
  const deadline = clock.monotonic() + settings.timeouts.verify;
  for (;;) {
    try {
      const found = await runningDatabases(context, await currentContainers(context, project));
      const here = found.find(({ database }) => database.container.service === service);
      if (here === undefined) return undefined;
      const { signal: _, ...database } = here.database;
      return await here.engine.fingerprint(signal === undefined ? database : { ...database, signal });
    } catch (error) {
      if (signal?.aborted === true) throw error;
      if (clock.monotonic() > deadline) {
        throw new SafeUpdateError(
          'unhealthy',
          `what ${service} holds could not be counted: ${messageOf(error)}`,
          { cause: error },
        );
      }
    }
    await clock.sleep(500);
  }
}
