import path from 'node:path';
import { mountHolding, type BackupInProgress } from '../backup/create.ts';
import { seenAt } from '../backup/manifest.ts';
import type { DatabaseEngine, RunningDatabase } from '../database/database.ts';
import { recogniseDatabase } from '../database/engines.ts';
import { findSqlite, sqliteAt, UnreadableSqlite } from '../database/sqlite.ts';
import { scratchName, type Helper } from '../docker/helper.ts';
import type { Observed } from '../docker/observe.ts';
import type { Container, Volume } from '../model/project.ts';
import type { Session } from './session.ts';

/** A SQLite file in a volume, as the service sees it that the volume belongs to. */
interface SqliteFile {
  volume: string;
  container: Container;
  /** From the volume's root. */
  path: string;
  /** Inside the service's container. */
  dataPath: string;
}

/**
 * SQLite files in these volumes. What a server has mounted for its files is not searched: nothing in it is anybody else's. That
 * is a whole volume, or one folder of it.
 */
async function findFiles(
  helper: Helper,
  { containers: made, absent }: Observed,
  volumes: readonly Volume[],
  about: Pick<RunningDatabase, 'timeout' | 'signal'>,
): Promise<SqliteFile[]> {
  const containers = [...made, ...absent];
  const ofServers = containers.flatMap((container) => {
    const engine = recogniseDatabase(container);
    const mount = engine === undefined ? undefined : mountHolding(container, engine.dataPath(container));
    return mount === undefined ? [] : [{ volume: mount.source, folder: mount.subpath ?? '' }];
  });
  const searched = volumes.filter(
    ({ name, servedAt }) =>
      servedAt.length > 0 && !ofServers.some(({ volume, folder }) => volume === name && folder === ''),
  );
  const found = await findSqlite(
    { shell: helper.shell, ...about },
    searched.map(({ name }) => helper.pathOf(name)),
    searched.flatMap(({ name }) =>
      ofServers
        .filter(({ volume }) => volume === name)
        .map(({ folder }) => `${helper.pathOf(name)}/${folder}`),
    ),
  );
  return found.flatMap(({ folder, path: file }) => {
    const volume = searched[folder];
    const seen = volume === undefined ? undefined : seenAt(file, volume);
    const container = containers.find(
      ({ service, number }) => service === seen?.service && number === seen.number,
    );
    // What no container has is written to by none: its archive is exact.
    if (volume === undefined || seen === undefined || container === undefined) return [];
    return [{ volume: volume.name, container, path: file, dataPath: seen.dataPath }];
  });
}

/**
 * Finds the SQLite files of the archived volumes and counts what they hold. In a hot backup, whose archives are made while
 * the files are written to, each is dumped as well. Returns how many there are.
 */
export async function backUpSqlite(
  session: Session,
  about: { helper: Helper; observed: Observed; volumes: readonly Volume[]; dump: boolean },
  backup: () => Promise<BackupInProgress>,
): Promise<number> {
  const { helper, observed, volumes, dump } = about;
  const { settings, signal, emit } = session.context;
  const options = { timeout: settings.timeouts.dump, signal };
  let count = 0;
  for (const file of await findFiles(helper, observed, volumes, options)) {
    const { container, volume, dataPath } = file;
    const { engine, database } = await openFile(session, helper, { ...file, ...options });
    const known = { service: container.service, volume, dataPath };
    try {
      const fingerprint = await engine.fingerprint(database);
      const about = { engine, database, ...known, name: `${container.service}-${file.path}` };
      if (dump) {
        await (
          await backup()
        ).addDump(about, (item, bytes) => {
          emit({ type: 'step-progress', step: 'measure', item, bytes });
        });
      } else if (fingerprint !== undefined) {
        (await backup()).addCounted({ ...known, engine: engine.name, fingerprint });
      }
      count += 1;
    } catch (error) {
      if (!(error instanceof UnreadableSqlite)) throw error;
      emit({
        type: 'notice',
        level: 'warning',
        message: `${dataPath} of ${container.service} begins like a SQLite file, but cannot be read as one (${error.message}). It is archived as it is${dump ? ', while it may be written to: only a cold backup has it exactly' : ''}.`,
      });
    }
  }
  return count;
}

/** A SQLite file as the rest of the program talks to databases: by a shell in the helper, which has its volume. */
export async function openFile(
  session: Session,
  helper: Helper,
  {
    container,
    volume,
    path: file,
    timeout,
    signal,
  }: { container: Container; volume: string; path: string; timeout: number; signal?: AbortSignal },
): Promise<{ engine: DatabaseEngine; database: RunningDatabase }> {
  const folder = await session.store.folder().catch(() => undefined);
  const shared = folder === undefined ? undefined : helper.reach(path.join(folder, scratchName));
  return {
    engine: sqliteAt({
      file: `${helper.pathOf(volume)}/${file}`,
      scratch: shared ?? `/tmp/${scratchName}`,
    }),
    database: { container, shell: helper.shell, timeout, ...(signal === undefined ? {} : { signal }) },
  };
}
