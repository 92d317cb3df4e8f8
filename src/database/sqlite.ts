import { createHash } from 'node:crypto';
import path from 'node:path';
import { z } from 'zod';
import { sqliteScript } from '../docker/helper.ts';
import { SafeUpdateError } from '../model/error.ts';
import { clientOf, readBack, readSmall, writeSmall } from './client.ts';
import type { DatabaseEngine, DataFolder, DumpSink, DumpSource, RunningDatabase } from './database.ts';
import { countLimit, qualified, type Fingerprint } from './fingerprint.ts';

/**
 * SQLite: no server, but a file in a volume, found by its first bytes. A cold archive holds it exactly, and it needs no
 * dump. Of one that is written to, as in a hot backup, a dump is
 *
 *   database.sqlite   the file as of one moment, made by SQLite's own backup, with nothing left in a log beside it
 *   sqlite.json       its size and checksum; written last
 *
 * By hand: stop what uses it, put database.sqlite in its place, and delete the files beside it that end with -wal, -shm
 * and -journal.
 *
 * The shell is one of a container that has the volume mounted, with python3: the helper.
 */
export interface SqlitePlace {
  /** The file, as that container sees it. */
  file: string;
  /** A file that may be made there meanwhile, on a file system with room for a copy. */
  scratch: string;
}

/** Thrown for a file that only looks like a database, is damaged, or is locked in a way that keeps readers out. */
export class UnreadableSqlite extends SafeUpdateError {}

export function sqliteAt(place: SqlitePlace): DatabaseEngine {
  const { file } = place;
  return {
    name: 'sqlite',
    title: 'SQLite',
    recognise: () => false,
    dataPath: () => file,
    askDataPath: () => Promise.resolve(file),
    ready: () => Promise.resolve(true),
    dump: (database, sink) => dump(database, sink, place),
    check: async (_, source) => {
      await open(source);
    },
    restorer: { into: 'stopped data folder', restore },
    fingerprint: (database) => fingerprint(database, file),
  };
}

/** For putting dumps back, which needs to know nothing of where they came from. */
export const sqlite = sqliteAt({ file: '', scratch: '' });

/** The SQLite files in folders of a container, by the folder's index and the path from there. `without`: not in these. */
export async function findSqlite(
  { shell, timeout, signal }: Pick<RunningDatabase, 'shell' | 'timeout' | 'signal'>,
  folders: readonly string[],
  without: readonly string[] = [],
): Promise<{ folder: number; path: string }[]> {
  if (folders.length === 0) return [];
  // What is on its command line is in the list of processes: places in the helper, which tell nothing.
  const finished = await shell.run(`exec python3 -I -S -c "$SQLITE" find ${folders.join(' ')}`, {
    env: { SQLITE: sqliteScript, WITHOUT: JSON.stringify(without) },
    timeout,
    ...(signal === undefined ? {} : { signal }),
  });
  if (signal?.aborted === true)
    throw new SafeUpdateError('interrupted', 'The search of the volumes was interrupted.');
  if (finished.exitCode !== 0) {
    throw new SafeUpdateError(
      'store',
      `The volumes could not be searched for SQLite files: ${finished.stderr.trim().split('\n').at(-1) ?? ''}`,
    );
  }
  return z
    .array(z.tuple([z.number(), z.string()]))
    .parse(JSON.parse(finished.stdout))
    .map(([folder, path]) => ({ folder, path }));
}

const unreadableExit = 9;

/** Runs helper/sqlite.py on the file. Throws UnreadableSqlite for one that is no use as a database. */
async function run(
  database: RunningDatabase,
  file: string,
  what: string,
  script: string,
  env: Record<string, string> = {},
): Promise<string> {
  const client = clientOf(database, { title: sqlite.title });
  const finished = await client.attempt({ what, script, env: { ...env, SQLITE: sqliteScript, FILE: file } });
  if (finished.exitCode === 0) return finished.stdout;
  throw failed(finished.exitCode, what, finished.stderr);
}

function failed(exitCode: number, what: string, stderr: string): SafeUpdateError {
  const reason = stderr.trim().split('\n').at(-1) ?? '';
  const Kind = exitCode === unreadableExit ? UnreadableSqlite : SafeUpdateError;
  return new Kind('database', `${what} failed: ${reason === '' ? `exit code ${exitCode}` : reason}`);
}

/** Rows of every table, by the file's name and the table's. A file that is not there holds none. */
async function fingerprint(database: RunningDatabase, file: string): Promise<Fingerprint> {
  const script = `[ -e "$FILE" ] || { echo '{}'; exit 0; }; exec python3 -I -S -c "$SQLITE" count "$FILE" ${countLimit}`;
  const counts = z
    .record(z.string(), z.number())
    .parse(JSON.parse(await run(database, file, 'counting the rows', script)));
  const name = path.posix.basename(file);
  return {
    of: 'rows',
    counts: Object.fromEntries(Object.entries(counts).map(([table, rows]) => [qualified(name, table), rows])),
  };
}

const fileName = 'database.sqlite';
const factsName = 'sqlite.json';

const factsSchema = z.object({
  format: z.literal(1),
  bytes: z.number(),
  /** Of database.sqlite. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});

async function dump(
  database: RunningDatabase,
  sink: DumpSink,
  { file, scratch }: SqlitePlace,
): Promise<void> {
  const hash = createHash('sha256');
  let bytes = 0;
  const what = `the copy of ${path.posix.basename(file)}`;
  await clientOf(database, { title: sqlite.title }).dump(
    {
      what,
      failure: ({ exitCode, stderr }) => failed(exitCode, what, stderr),
      script: 'exec python3 -I -S -c "$SQLITE" dump "$FILE" "$SCRATCH"',
      env: { SQLITE: sqliteScript, FILE: file, SCRATCH: scratch },
    },
    sink,
    fileName,
    async function* (content) {
      for await (const chunk of content) {
        hash.update(chunk);
        bytes += chunk.length;
        yield chunk;
      }
    },
  );
  const facts: z.infer<typeof factsSchema> = { format: 1, bytes, sha256: hash.digest('hex') };
  await writeSmall(sink, factsName, `${JSON.stringify(facts, null, 2)}\n`);
}

/** Reads all of a dump and proves it whole: SQLite has found it sound when it was made, and it has not changed since. */
async function open(source: DumpSource): Promise<z.infer<typeof factsSchema>> {
  const incomplete = (why: string, cause?: unknown) =>
    new SafeUpdateError('database', `The SQLite dump is incomplete: ${why}`, { cause });
  for (const name of source.names) {
    if (name !== fileName && name !== factsName) throw incomplete(`${name} does not belong to it.`);
  }
  const text = (await readSmall(source, factsName)).toString('utf8');
  if (!source.names.includes(fileName)) throw incomplete(`${fileName} is missing.`);
  let facts: z.infer<typeof factsSchema>;
  try {
    facts = factsSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw incomplete(`${factsName} cannot be understood.`, cause);
  }
  const hash = createHash('sha256');
  const content = readBack(source, fileName, (chunk) => hash.update(chunk));
  try {
    for await (const _ of content.stream) continue;
  } catch {
    content.proveRead();
  }
  if (content.bytes() !== facts.bytes || hash.digest('hex') !== facts.sha256)
    throw incomplete(`${fileName} is not what was written.`);
  return facts;
}

// $DATA is the database's own file. What is in a log beside it belongs to what was there before, and would be applied
// to the file that comes back.
const putInPlace = `set -e
new=$(mktemp "$DATA.XXXXXX")
trap 'rm -f "$new"' EXIT
cat > "$new"
[ "$(sha256sum < "$new")" = "$SUM  -" ] || { echo 'the copy is not what was dumped' >&2; exit 1; }
like=$DATA
[ -e "$like" ] || like=$(dirname "$DATA")
chown --reference="$like" "$new"
if [ -f "$like" ]; then chmod --reference="$like" "$new"; else chmod 600 "$new"; fi
sync "$new"
rm -f "$DATA-wal" "$DATA-shm" "$DATA-journal"
mv -f "$new" "$DATA"
sync "$(dirname "$DATA")"`;

async function restore(folder: DataFolder, source: DumpSource): Promise<void> {
  const { sha256 } = await open(source);
  const content = readBack(source, fileName);
  const finished = await folder.run(putInPlace, { env: { SUM: sha256 }, stdin: content.stream });
  content.proveRead();
  if (finished.exitCode !== 0) throw failed(1, 'putting the SQLite file back', finished.stderr);
}
