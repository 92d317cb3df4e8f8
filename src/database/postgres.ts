import { isUtf8 } from 'node:buffer';
import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { z } from 'zod';
import { SafeUpdateError } from '../model/error.ts';
import type { Container } from '../model/project.ts';
import {
  clientOf,
  lastLines,
  quoted,
  readBack,
  readSmall,
  sayInConfiguration,
  writeSmall,
  type Client,
} from './client.ts';
import type { DatabaseEngine, DumpSource, RunningDatabase } from './database.ts';
import { fileNames } from './file-names.ts';
import { countLimit, qualified, type Fingerprint } from './fingerprint.ts';
import { parseImageName } from './image-name.ts';
import { loginEnvironment, loginVariables } from './logins.ts';
import { fitGlobals, globalsComplete, type ExistingRole } from './postgres-globals.ts';
import { commandRole, looksLike, variable, type ServerLooks } from './recognise.ts';

/** Certificates lie beside the configuration that names them. */
const settingsFiles = ['*.conf', '*.crt', '*.key', '*.pem', '*.crl'];

/**
 * PostgreSQL. A dump is
 *
 *   globals.sql      pg_dumpall --globals-only: roles with their passwords, tablespaces
 *   <name>.dump      pg_dump -Fc of each database: template0 is left out, and template1 where nothing is in it
 *   databases.json   which database is in which file; written last
 *
 * By hand: `psql -d postgres -f globals.sql`, then for each database
 * `pg_restore --clean --if-exists --create --exit-on-error -d template1 <name>.dump`.
 *
 * A restore replaces the databases of the dump, and puts its roles back to what they were. Databases and roles that
 * the dump does not know, which a migration may have made, are left alone: no other copy of them may exist. So are
 * memberships that were granted since. What is in files beside the data is not in a dump: pg_hba.conf, postgresql.conf,
 * and what ALTER SYSTEM has set; nor is what `notInDump` names.
 */
export const postgres: DatabaseEngine = {
  name: 'postgres',
  title: 'PostgreSQL',
  recognise: (container) => looksLike(looks, container),
  dataPath,
  askDataPath,
  ready,
  dump,
  check,
  restorer: { into: 'running server', restore, databasesIn, settings: settingsFiles },
  fingerprint,
  notInDump,
  firstStart,
  unreadable,
};

const looks: ServerLooks = {
  engine: 'postgres',
  image:
    /^(?:postgres|postgresql|pgvector|pgvecto-rs|vchord-postgres|vchord-suite|postgis|timescaledb|timescaledb-ha|pgautoupgrade|citus|paradedb|postgresql-repmgr|pg-gvm|postgresql-\d+[\w-]*)$/,
  variables: ['PG_MAJOR', 'POSTGRESQL_VOLUME_DIR'],
  server:
    /(?:^|\/)(?:postgres|postmaster|run-postgresql|start-postgresql)$|\/bitnami\/scripts\/postgresql(?:-repmgr)?\/run\.sh$/,
  client:
    /^(?:psql|pg_(?!ctl|autoctl)\w+|createdb|dropdb|createuser|dropuser|vacuumdb|reindexdb|clusterdb|initdb|pgbench)$/,
  dataPath,
};

/**
 * What the command says, then PGDATA, then where the image of that name keeps it. The official image sets PGDATA; from
 * version 18 on it is /var/lib/postgresql/18/docker (docker-library/postgres#1259).
 */
function dataPath(container: Container): string {
  const { arguments: args } = commandRole(looks, container);
  const folder = args.findLast((_, index) => args[index - 1] === '-D') ?? afterPrefix(args, '--pgdata=');
  const setting = afterPrefix(args, 'data_directory=') ?? afterPrefix(args, '--data_directory=');
  // Below /etc lies a configuration that names the real folder, as in supabase's image.
  const given =
    setting ?? (folder?.startsWith('/etc/') === true ? undefined : folder) ?? variable(container, 'PGDATA');
  if (given !== undefined) return given.replace(/(?<=.)\/+$/, '');
  const { path, tag } = parseImageName(container.imageName);
  if (
    (path.at(-2) ?? '').startsWith('bitnami') ||
    variable(container, 'POSTGRESQL_VOLUME_DIR') !== undefined
  ) {
    return `${variable(container, 'POSTGRESQL_VOLUME_DIR') ?? '/bitnami/postgresql'}/data`;
  }
  // As Debian lays it out; the image of sameersbn has both variables, that of Greenbone neither.
  const home = variable(container, 'PG_HOME');
  if (home !== undefined || path.at(-1) === 'pg-gvm') {
    const version = variable(container, 'PG_VERSION') ?? '13';
    return variable(container, 'PG_DATADIR') ?? `${home ?? '/var/lib/postgresql'}/${version}/main`;
  }
  const major = variable(container, 'PG_MAJOR') ?? /^(?:pg)?(\d+)/.exec(tag ?? '')?.[1];
  return Number(major) >= 18 ? `/var/lib/postgresql/${major}/docker` : '/var/lib/postgresql/data';
}

/** The official image refuses to begin without a password, which many take out of the environment once it has begun. */
function firstStart(environment: readonly string[], password: string): string[] {
  const given = /^(?:POSTGRES(?:QL)?_PASSWORD(?:_FILE)?|POSTGRES_HOST_AUTH_METHOD|ALLOW_EMPTY_PASSWORD)=./;
  return environment.some((entry) => given.test(entry))
    ? [...environment]
    : [...environment, `POSTGRES_PASSWORD=${password}`, `POSTGRESQL_PASSWORD=${password}`];
}

/** No major version reads the files of another. */
function unreadable(
  former: readonly string[],
  next: readonly string[],
): { former: string; next: string } | undefined {
  const [from, to] = [afterPrefix(former, 'PG_MAJOR='), afterPrefix(next, 'PG_MAJOR=')];
  return from === undefined || to === undefined || from === to ? undefined : { former: from, next: to };
}

function afterPrefix(words: readonly string[], prefix: string): string | undefined {
  return words.findLast((word) => word.startsWith(prefix))?.slice(prefix.length);
}

// Names of variables go into the scripts, never values: what is secret is read inside the container and stays there.
// `secret NAME`: the value of NAME, or the content of the file that NAME_FILE names, as the images' entrypoints do.
const begin = String.raw`
for folder in /usr/lib/postgresql/*/bin /usr/local/pgsql/bin /usr/pgsql-*/bin /opt/bitnami/postgresql/bin; do
  [ -x "$folder/pg_dump" ] && PATH=$PATH:$folder
done
# Not by way of Debian's wrapper, which looks for a cluster of its own to be asked about.
for folder in "/usr/lib/postgresql/$PG_MAJOR/bin"; do [ -x "$folder/pg_dump" ] && PATH=$folder:$PATH; done
secret() {
  [ -n "$1" ] || return 0
  eval "value=\${$1-} file=\${$1_FILE-}"
  if [ -n "$value" ]; then printf '%s' "$value"; elif [ -n "$file" ] && [ -r "$file" ]; then cat "$file"; fi
}
# log_in USER_VARIABLE PASSWORD_VARIABLE HOST PORT; what the container has set for its own clients must not interfere
log_in() {
  name=$(secret "$1") word=$(secret "$2")
  unset PGHOST PGHOSTADDR PGPORT PGDATABASE PGOPTIONS PGSERVICE PGSERVICEFILE PGSYSCONFDIR PGCLIENTENCODING \
    PGSSLMODE PGREQUIRESSL PGSSLROOTCERT PGSSLCERT PGSSLKEY PGCHANNELBINDING PGREQUIREPEER PGTARGETSESSIONATTRS \
    PGDATESTYLE PGTZ PGCLUSTER
  export PGUSER="${'$'}{name:-postgres}" PGPASSWORD="$word" PGAPPNAME="$SU_NAME" PGCONNECT_TIMEOUT=10 LC_ALL=C
  [ -z "$3" ] || export PGHOST="$3"
  [ -z "$4" ] || export PGPORT="$4"
}
`;

// A pair that is not set falls back to the user postgres without a password.
const logins: readonly (readonly [user: string, password: string])[] = [
  ['POSTGRES_USER', 'POSTGRES_PASSWORD'],
  ['POSTGRESQL_USERNAME', 'POSTGRESQL_PASSWORD'],
  ['POSTGRESQL_USER', 'POSTGRESQL_PASSWORD'],
  ['', 'POSTGRESQL_POSTGRES_PASSWORD'],
  ['', 'POSTGRESQL_ADMIN_PASSWORD'],
  ['PGUSER', 'PGPASSWORD'],
  ['', 'POSTGRES_PASSWORD'],
  ['', 'POSTGRESQL_PASSWORD'],
  ...loginVariables,
];

// The server's own postmaster.pid says where it listens: line 4 is the port, 5 the socket's folder. Of the facts, some
// are hidden from all but superusers; they are then empty.
const connectScript = `${begin}
pid=$SU_DATA/postmaster.pid
port= socket=
if [ -r "$pid" ]; then port=$(sed -n 4p "$pid") socket=$(sed -n 5p "$pid"); fi
port=\${port:-\${PGPORT:-\${POSTGRESQL_PORT_NUMBER:-5432}}}
facts="SELECT 'safe-update', (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
  current_setting('server_version_num'),
  current_setting('listen_addresses') = '' AND
    (SELECT source = 'command line' FROM pg_settings WHERE name = 'listen_addresses'),
  (SELECT setting LIKE '%timescaledb%' FROM pg_settings WHERE name = 'shared_preload_libraries'),
  getdatabaseencoding(), (SELECT setting FROM pg_settings WHERE name = 'data_directory')"
lesser= errors= blank=
try() {
  # Without a password once for each user and host is enough.
  if [ -z "$(secret "$2")" ]; then
    this=" $(secret "$1")@$host "
    case $blank in *"$this"*) return ;; esac
    blank="$blank$this"
  fi
  for base in postgres template1; do
    said=$(log_in "$1" "$2" "$host" "$port"; psql -X -w -A -t -F '|' -d "$base" -c "$facts" 2>&1 </dev/null)
    found=$(printf '%s\\n' "$said" | grep '^safe-update|')
    if [ -n "$found" ]; then
      found=$(printf '%s\\n' "$found" "$1" "$2" "$host" "$port" "$base")
      case $found in 'safe-update|t|'*) printf '%s' "$found"; exit 0 ;; esac
      lesser=\${lesser:-$found}
      return
    fi
    errors="$errors
$said"
  done
}
for host in "$socket" '' /var/run/postgresql /tmp 127.0.0.1; do
  case $host in /*) [ -S "$host/.s.PGSQL.$port" ] || continue ;; esac
  ${logins.map(([user, password]) => `try '${user}' '${password}'`).join('\n  ')}
done
if [ -n "$lesser" ]; then printf '%s' "$lesser"; exit 0; fi
if pg_isready -q -h 127.0.0.1 -p "$port"; then printf 'accepting'; fi
printf '%s\\n' "$errors" >&2
exit 2`;

/** How this server lets us in. Names of variables, not what they hold. */
interface Session {
  client: Client;
  /** Variables that `loggedIn` scripts need. */
  env: Record<string, string>;
  /** The user of the operating system, where the server asks for one (peer authentication). */
  user?: string;
  /** As PostgreSQL counts: 150018. */
  version: number;
  superuser: boolean;
  /** The server that the image's entrypoint runs for itself while it initialises. */
  initialising: boolean;
  timescale: boolean;
  /** A database to connect to: template1 only where there is no other, for CREATE DATABASE wants it to itself. */
  base: string;
  dataDirectory: string;
}

const loggedIn = `${begin}
log_in "$SU_USER" "$SU_PASSWORD" "$SU_HOST" "$SU_PORT"
[ -z "\${SU_DATABASE+given}" ] || export PGDATABASE="$SU_DATABASE"
# Messages in English; and whatever the server, role or database has set as the client's encoding, names are bytes.
export PGOPTIONS="-c lc_messages=C -c client_encoding=$SU_ENCODING -c statement_timeout=0 -c lock_timeout=0"
PGOPTIONS="$PGOPTIONS -c idle_in_transaction_session_timeout=0$SU_OPTIONS"
`;

type Connection = { session: Session } | { accepting: boolean; stderr: string };

/** Tries the logins that the container's environment gives until one is a superuser. */
async function tryToConnect(database: RunningDatabase, limit = database.timeout): Promise<Connection> {
  const name = `safe-update ${randomUUID()}`;
  const { container } = database;
  const plain: Client = clientOf(database, { title: postgres.title });
  const attempt = async (user?: string): Promise<Connection> => {
    const finished = await plain.attempt({
      what: 'connecting',
      script: connectScript,
      env: { SU_NAME: name, SU_DATA: dataPath(container), ...loginEnvironment(database) },
      ...(user === undefined ? {} : { user }),
      timeout: Math.min(limit, database.timeout),
    });
    if (finished.exitCode !== 0)
      return { accepting: finished.stdout === 'accepting', stderr: finished.stderr };
    const [facts = '', userVariable = '', passwordVariable = '', host = '', port = '', base = ''] =
      finished.stdout.split('\n');
    const [, superuser, version, initialising, timescale, encoding = '', ...directory] = facts.split('|');
    const env = {
      SU_NAME: name,
      SU_USER: userVariable,
      SU_PASSWORD: passwordVariable,
      SU_HOST: host,
      SU_PORT: port,
      SU_ENCODING: encoding,
      SU_OPTIONS: '',
      ...loginEnvironment(database),
    };
    // A killed client leaves its server process behind, waiting for a lock and holding others.
    const afterCut = () =>
      database.shell.run(`${loggedIn}psql -X -w -q -d template1 -c "${endOwnSessions}" </dev/null`, {
        env: { ...env, SU_NAME: 'safe-update', SU_VICTIM: name },
        ...(user === undefined ? {} : { user }),
        timeout: 15_000,
      });
    return {
      session: {
        client: clientOf(database, { title: postgres.title, afterCut }),
        env,
        ...(user === undefined ? {} : { user }),
        version: Number(version),
        superuser: superuser === 't',
        initialising:
          initialising === 't' && !container.command.some((word) => word.includes('listen_addresses')),
        timescale: timescale === 't',
        base,
        dataDirectory: directory.join('|'),
      },
    };
  };
  const first = await attempt();
  if ('session' in first || !/\bpeer\b/i.test(first.stderr)) return first;
  const asPostgres = await attempt('postgres');
  return 'session' in asPostgres ? asPostgres : first;
}

const endOwnSessions = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '$SU_VICTIM'`;

async function connect(database: RunningDatabase): Promise<Session> {
  const connection = await tryToConnect(database);
  const { container } = database;
  if (!('session' in connection)) {
    throw new SafeUpdateError(
      'database',
      `PostgreSQL in ${container.name} does not let its own client in: ${refusals(connection.stderr, container)}`,
      {
        hint:
          'The user and password are taken from POSTGRES_USER and POSTGRES_PASSWORD (or their _FILE variants) of the ' +
          `container. Correct them to what the server has, or ${sayInConfiguration(container)}`,
      },
    );
  }
  if (!connection.session.superuser) {
    throw new SafeUpdateError(
      'database',
      `PostgreSQL in ${container.name}: no login found in the container's environment is a superuser, ` +
        'and only one can dump every database and role.',
      {
        hint: `Give the container POSTGRES_USER and POSTGRES_PASSWORD (bitnami: POSTGRESQL_POSTGRES_PASSWORD) of one, or ${sayInConfiguration(container)}`,
      },
    );
  }
  return connection.session;
}

/** What the server itself said to the logins that were tried; where it said nothing, what the client did. Pure. */
export function refusals(stderr: string, container: Container): string {
  const said = [...stderr.matchAll(/FATAL: +(.*)/g)].map(([, reason]) => reason ?? '');
  return lastLines(said.length > 0 ? said.join('\n') : stderr, container);
}

/** Runs a script that finds itself logged in. */
function command(session: Session, what: string, script: string, env: Record<string, string> = {}) {
  return {
    what,
    script: `${loggedIn}${script}`,
    env: { ...session.env, ...env },
    ...(session.user === undefined ? {} : { user: session.user }),
  };
}

/** Rows of a query's result, each as its hexadecimal columns decoded to bytes. */
async function query(session: Session, what: string, sql: string): Promise<Buffer[][]> {
  const printed = await session.client.run(
    command(
      session,
      what,
      `psql -X -w -q -A -t -F ' ' -v ON_ERROR_STOP=1 -d "$SU_BASE" -c "$SU_SQL" </dev/null`,
      {
        SU_BASE: session.base,
        SU_SQL: sql,
      },
    ),
  );
  return printed
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split(' ').map((column) => Buffer.from(column, 'hex')));
}

async function ready(database: RunningDatabase): Promise<boolean> {
  try {
    const connection = await tryToConnect(database, 15_000);
    // A server that refuses a password does answer; dump and restore then say what is wrong.
    return 'session' in connection ? !connection.session.initialising : connection.accepting;
  } catch (error) {
    if (error instanceof SafeUpdateError && error.code === 'database') return false;
    throw error;
  }
}

async function askDataPath(database: RunningDatabase): Promise<string> {
  return (await connect(database)).dataDirectory;
}

const empty = Buffer.alloc(0);
const globalsName = 'globals.sql';
const listName = 'databases.json';

const listSchema = z.object({
  format: z.literal(1),
  /** As PostgreSQL counts: 150018. */
  version: z.number(),
  databases: z.array(
    z.object({
      name: z.string().min(1),
      file: z.string(),
      /** It is a template, or allows no connections: to be so again. Absent in dumps of older versions. */
      template: z.boolean().optional(),
      closed: z.boolean().optional(),
    }),
  ),
  /** What DROP DATABASE has left of databases where it was interrupted. */
  leftOut: z.array(z.string()),
});

type List = z.infer<typeof listSchema>;

async function dump(database: RunningDatabase, sink: Parameters<DatabaseEngine['dump']>[1]): Promise<void> {
  const session = await connect(database);
  const { client } = session;
  const found = await databasesOf(database, session);
  const dumped = found.filter(({ broken }) => !broken);
  const of = (name: string): Found | undefined => dumped.find((one) => one.name === name);
  const list: List = {
    format: 1,
    version: session.version,
    databases: fileNames(
      dumped.map(({ name }) => name),
      'dump',
    ).map((file) => ({
      ...file,
      ...(of(file.name)?.template === true ? { template: true } : {}),
      ...(of(file.name)?.closed === true ? { closed: true } : {}),
    })),
    leftOut: found.filter(({ broken }) => broken).map(({ name }) => name),
  };

  await client.dump(
    command(session, 'pg_dumpall of the roles', 'exec pg_dumpall --globals-only --no-password'),
    sink,
    globalsName,
  );
  for (const { name, file } of list.databases) {
    // By PGDATABASE: a name with "=" in it would be read as a connection string.
    const script = 'pg_dump --format=custom --compress=1 --encoding="$SU_ENCODING_OF_IT" --no-password';
    const env = { SU_DATABASE: name, SU_ENCODING_OF_IT: of(name)?.encoding ?? '' };
    await inside(database, session, of(name), async (open) =>
      client.dump(
        command(session, `pg_dump of the database ${quoted(name)}`, `${open}${script}`, env),
        sink,
        file,
      ),
    );
  }
  await writeSmall(sink, listName, `${JSON.stringify(list, null, 2)}\n`);
}

/** A database of a server. */
interface Found {
  name: string;
  encoding: string;
  template: boolean;
  /** It allows no connections. */
  closed: boolean;
  /** DROP DATABASE was interrupted; nothing can connect to what is left of it. */
  broken: boolean;
}

const listDatabases = `SELECT encode(convert_to(datname::text, getdatabaseencoding()), 'hex'),
  encode(pg_encoding_to_char(encoding)::text::bytea, 'hex'),
  CASE WHEN datistemplate THEN '01' ELSE '00' END, CASE WHEN datallowconn THEN '00' ELSE '01' END,
  CASE WHEN datconnlimit = -2 THEN '01' ELSE '00' END
  FROM pg_database WHERE datname <> 'template0' ORDER BY datname`;

// Below this number is what initdb makes.
const ownObjects = `SELECT CASE WHEN EXISTS (SELECT 1 FROM pg_class WHERE oid >= 16384)
  OR EXISTS (SELECT 1 FROM pg_proc WHERE oid >= 16384) OR EXISTS (SELECT 1 FROM pg_namespace WHERE oid >= 16384)
  OR EXISTS (SELECT 1 FROM pg_type WHERE oid >= 16384) OR EXISTS (SELECT 1 FROM pg_extension WHERE oid >= 16384)
  THEN '01' ELSE '00' END`;

/** The databases to dump: template1, which each server has, only if somebody has put something into it. */
async function databasesOf({ container }: RunningDatabase, session: Session): Promise<Found[]> {
  const flag = (value: Buffer): boolean => value[0] === 1;
  const found = (await query(session, 'listing the databases', listDatabases)).map(
    ([name = empty, encoding = empty, template = empty, closed = empty, broken = empty]): Found => ({
      name: decodeName(name, container),
      encoding: encoding.toString(),
      template: flag(template),
      closed: flag(closed),
      broken: flag(broken),
    }),
  );
  const usual = found.find(({ name, closed }) => name === 'template1' && !closed);
  if (usual === undefined) return found;
  const inIt = { ...session, base: usual.name };
  // It is restored from a connection to the database postgres.
  const isFilled =
    session.base !== usual.name &&
    (await query(inIt, 'looking into template1', ownObjects)).some(([filled = empty]) => flag(filled));
  return isFilled ? found : found.filter((one) => one !== usual);
}

const allowing = `allow() {
  printf '%s\\n' "ALTER DATABASE :\\"name\\" WITH ALLOW_CONNECTIONS $1;" |
    psql -X -w -q -v ON_ERROR_STOP=1 -v name="$SU_DATABASE" -d "$SU_BASE" >/dev/null
}
`;
// Also when nobody reads any more what it prints, because safe-update was killed.
const opening = `${allowing}SU_BASE=postgres
trap 'allow false' EXIT
trap 'exit 143' HUP INT TERM
allow true || exit 1
`;

/** Who is inside of a closed database of a container: it would be closed under the other's feet. */
const turns = new Map<string, Promise<unknown>>();

/** Works in a database, which is opened meanwhile if it allows no connections; `open` is what a script begins with for that. */
async function inside<T>(
  database: RunningDatabase,
  session: Session,
  found: Found | undefined,
  work: (open: string) => Promise<T>,
): Promise<T> {
  if (found?.closed !== true) return work('exec ');
  const { id } = database.container;
  const turn = (turns.get(id) ?? Promise.resolve()).then(async () => {
    try {
      return await work(opening);
    } catch (error) {
      // The script may have been killed. Without the signal, which may be why.
      const { signal: _, ...uncut } = database;
      await clientOf(uncut, { title: postgres.title }).run(closing(session, found.name));
      throw error;
    }
  });
  turns.set(
    id,
    // Whoever asked for it is told; the next one only waits.
    turn.catch(() => undefined),
  );
  return turn;
}

/** Has a database allow no connections. */
function closing(session: Session, name: string) {
  const env = { SU_DATABASE: name, SU_BASE: session.base };
  return command(session, `closing the database ${quoted(name)} again`, `${allowing}allow false`, env);
}

function decodeName(name: Buffer, container: Container): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(name);
  } catch (cause) {
    const shown = quoted(name.toString('latin1'));
    throw new SafeUpdateError(
      'database',
      `PostgreSQL in ${container.name}: the name of the database ${shown} is not UTF-8.`,
      {
        hint: 'Rename it: ALTER DATABASE … RENAME TO …',
        cause,
      },
    );
  }
}

/**
 * Rows of every table. A partitioned one is counted as a whole, for its partitions come and go; so do the chunks of
 * TimescaleDB.
 */
async function fingerprint(database: RunningDatabase): Promise<Fingerprint> {
  const session = await connect(database);
  const partitions = session.version >= 100_000 ? 'AND NOT c.relispartition' : '';
  const tables = `FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') ${partitions} AND c.relpersistence <> 't' AND n.nspname <> 'information_schema'
    AND n.nspname !~ '^(pg_|_timescaledb_)'`;
  const hex = (name: string): string => `encode(convert_to(${name}::text, getdatabaseencoding()), 'hex')`;
  const sql = `SELECT format('SELECT %L, count(*) FROM (SELECT 1 FROM %I.%I LIMIT ${countLimit}) AS counted',
    ${hex('n.nspname')} || ' ' || ${hex('c.relname')}, n.nspname, c.relname) ${tables} \\gexec`;
  const counts: [string, number][] = [];
  for (const found of await databasesOf(database, session)) {
    if (found.broken) continue;
    const counting = (open: string) =>
      command(
        session,
        'counting the rows',
        `${open === 'exec ' ? '' : open}printf '%s\\n' "$SU_SQL" | psql -X -w -q -A -t -F ' ' -v ON_ERROR_STOP=1 -f -`,
        // The statements that count hold the names of the tables, as this database writes them.
        { SU_SQL: sql, SU_DATABASE: found.name, SU_ENCODING: found.encoding },
      );
    // A table may be dropped between being listed and being counted.
    const count = () => inside(database, session, found, async (open) => session.client.run(counting(open)));
    const printed = await count().catch(async (error: unknown) =>
      database.signal?.aborted === true ? Promise.reject(error as Error) : count(),
    );
    for (const line of printed.split('\n').filter((text) => text !== '')) {
      const [schema = '', table = '', rows] = line.split(' ');
      const parts = [schema, table].map((part) => readable(Buffer.from(part, 'hex')));
      counts.push([qualified(found.name, ...parts), Number(rows)]);
    }
  }
  return { of: 'rows', counts: Object.fromEntries(counts) };
}

// Columns that are newer than the server are not asked for.
const stateOutside = (version: number): string =>
  [
    `SELECT 'the replication slot', slot_name::text FROM pg_replication_slots ${version >= 100_000 ? 'WHERE NOT temporary' : ''}`,
    ...(version >= 100_000 ? [`SELECT 'the subscription', subname::text FROM pg_subscription`] : []),
    `SELECT 'the tablespace', spcname::text FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')`,
    `SELECT 'the prepared transaction', gid::text FROM pg_prepared_xacts`,
    `SELECT 'its being a replica', '' WHERE pg_is_in_recovery()`,
  ]
    .map((sql) => `(${sql})`)
    .join(' UNION ALL ');

/** What the server itself has at the top of its folder, and what is taken from there as its settings. */
const ownFiles = [
  ...['base', 'global', 'pg_*', 'PG_VERSION', 'postmaster.*', 'current_logfiles*', 'log', 'logfile', '*.log'],
  ...[
    'backup_manifest',
    '*.old',
    '*.done',
    '*.tmp',
    'lost+found',
    '.s.PGSQL.*',
    'core',
    'core.*',
    'server.pid',
  ],
];

/** Slots, subscriptions and the like, which are about other servers; and files that are in no database. */
async function notInDump(database: RunningDatabase): Promise<string[]> {
  const session = await connect(database);
  const hex = (column: string): string =>
    `COALESCE(NULLIF(encode(convert_to(${column}, getdatabaseencoding()), 'hex'), ''), '20')`;
  const rows = await query(
    session,
    'asking for what is in no dump',
    `SELECT ${hex('what')}, ${hex('name')} FROM (${stateOutside(session.version)}) AS state (what, name)`,
  );
  const named = rows.map(([what = empty, name = empty]) => {
    const text = readable(name).trim();
    return text === '' ? readable(what) : `${readable(what)} ${quoted(text)}`;
  });
  const known = [...ownFiles, ...settingsFiles].join(' | ');
  const files = await session.client.run(
    command(
      session,
      'looking into its folder',
      `cd "$SU_DIRECTORY" || exit
for file in .[!.]* *; do
  [ -e "$file" ] || [ -L "$file" ] || continue
  if [ -L "$file" ]; then case $file in pg_wal | pg_xlog) printf 'the write-ahead log in %s\\n' "$(readlink "$file")"; continue ;; esac; fi
  case $file in ${known}) ;; *) printf 'the file %s\\n' "$file" ;; esac
done`,
      { SU_DIRECTORY: session.dataDirectory },
    ),
  );
  return [...named, ...files.split('\n').filter((line) => line !== '')];
}

/** A name in whatever encoding. */
function readable(name: Buffer): string {
  return isUtf8(name) ? name.toString('utf8') : name.toString('latin1');
}

/** Reads `databases.json` and `globals.sql`, and proves that they and the names of the files fit together. */
async function open(source: DumpSource): Promise<{ list: List; globals: string }> {
  const incomplete = (why: string, cause?: unknown) =>
    new SafeUpdateError('database', `The PostgreSQL dump is incomplete: ${why}`, { cause });
  const text = (await readSmall(source, listName)).toString('utf8');
  let list: List;
  try {
    list = listSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw incomplete(`${listName} cannot be understood.`, cause);
  }
  const globals = (await readSmall(source, globalsName)).toString('latin1');
  if (!globalsComplete(globals)) throw incomplete(`${globalsName} ends early.`);
  const expected = new Set([listName, globalsName, ...list.databases.map(({ file }) => file)]);
  for (const file of expected) if (!source.names.includes(file)) throw incomplete(`${file} is missing.`);
  for (const file of source.names)
    if (!expected.has(file)) throw incomplete(`${file} does not belong to it.`);
  return { list, globals };
}

/** Reads every file whole. `pg_restore --list` would be content with half a file. */
async function check(database: RunningDatabase, source: DumpSource): Promise<void> {
  const { list } = await open(source);
  const client = clientOf(database, { title: postgres.title });
  for (const { name, file } of list.databases) {
    await client.run({
      what: `reading back the dump of the database ${quoted(name)}`,
      script: `${begin}LC_ALL=C exec pg_restore -f /dev/null`,
      stdin: readBack(source, file),
    });
  }
}

/**
 * Checks the dump, then replaces databases and roles. A database is dropped and made anew: without that, a restore
 * fails on what a migration has added, such as a foreign key, or leaves it.
 */
async function restore(
  database: RunningDatabase,
  source: DumpSource,
  only?: readonly string[],
): Promise<void> {
  await check(database, source);
  const { list, globals } = await open(source);
  const chosen = list.databases.filter(({ name }) => only?.includes(name) ?? true);
  const session = await connect(database);
  if (only === undefined) await restoreGlobals(session, globals);
  for (const { name, file, template, closed } of chosen) {
    await restoreDatabase(session, source, name, file);
    // Before version 11 a dump does not say it.
    if (template === true) await session.client.run(makingTemplate(session, name));
    if (closed === true) await session.client.run(closing(session, name));
  }

  const present = await query(session, 'listing the databases', listDatabases);
  const missing = chosen.filter(({ name }) => !present.some(([found]) => found?.toString('utf8') === name));
  if (missing.length > 0) {
    const names = missing.map(({ name }) => quoted(name)).join(', ');
    throw new SafeUpdateError(
      'database',
      `PostgreSQL in ${database.container.name} lacks after the restore: ${names}`,
    );
  }
}

function makingTemplate(session: Session, name: string) {
  return command(
    session,
    `making the database ${quoted(name)} a template`,
    `printf '%s\\n' "$SU_SQL" | psql -X -w -q -v ON_ERROR_STOP=1 -v name="$SU_TARGET" -d "$SU_BASE" >/dev/null`,
    {
      SU_BASE: session.base,
      SU_SQL: `UPDATE pg_catalog.pg_database SET datistemplate = true WHERE datname = :'name';`,
      SU_TARGET: name,
    },
  );
}

async function databasesIn(source: DumpSource): Promise<string[]> {
  return (await open(source)).list.databases.map(({ name }) => name);
}

async function restoreGlobals(session: Session, globals: string): Promise<void> {
  const name = ([bytes]: Buffer[]): string => bytes?.toString('latin1') ?? '';
  const roles = await query(
    session,
    'listing the roles',
    `SELECT encode(convert_to(rolname::text, getdatabaseencoding()), 'hex'),
     CASE WHEN rolvaliduntil IS NULL THEN '00' ELSE '01' END FROM pg_roles`,
  );
  const tablespaces = await query(
    session,
    'listing the tablespaces',
    `SELECT encode(convert_to(spcname::text, getdatabaseencoding()), 'hex') FROM pg_tablespace`,
  );
  const fitted = fitGlobals(
    globals,
    roles.map((row): ExistingRole => ({ name: name(row), expires: row[1]?.[0] === 1 })),
    tablespaces.map(name),
  );
  // A tablespace cannot be made inside a transaction.
  const together = fitted.createsTablespace ? '' : '--single-transaction';
  const content = Buffer.from(fitted.sql, 'latin1');
  await session.client.run({
    // VERBOSITY: the statement, with a password's hash in it, must not get into a message.
    ...command(
      session,
      'restoring the roles',
      `exec psql -X -w -q -v ON_ERROR_STOP=1 -v VERBOSITY=terse ${together} -d template1 -f - >/dev/null`,
    ),
    stdin: { stream: Readable.from([content]), bytes: () => content.length, proveRead: () => undefined },
  });
}

const loadAsDumped =
  'exec pg_restore --clean --if-exists --create --exit-on-error --no-password -d "$SU_BASE"';

/**
 * Since 10.3 a dump is loaded with an empty search path. Functions that name tables without their schema then find none,
 * when a materialized view, an index or a constraint calls them; that they work in the database itself shows that its own
 * search path has what they need. As statements, without the one that empties it; what is in the rows is not looked at. The
 * names in a dump have their schemas.
 */
function loadWithSearchPath(version: number): string {
  const toOutput = version >= 120_000 ? '-f -' : '';
  return `{
    { pg_restore --clean --if-exists --create ${toOutput}; echo "$?" >&4; } |
      { sed -e '/^COPY .* FROM stdin;$/,$b' -e "s/^SELECT pg_catalog.set_config('search_path', '', false);$//"; echo "$?" >&4; } |
      psql -X -w -q -v ON_ERROR_STOP=1 -d "$SU_BASE" >/dev/null
    echo "$?" >&4
  } 4>&1 >&2 | {
    while read -r code; do [ "$code" = 0 ] || failed=$code; count=$((count + 1)); done
    [ "$count" = 3 ] && exit "\${failed:-0}"
  }`;
}

async function restoreDatabase(
  session: Session,
  source: DumpSource,
  name: string,
  file: string,
): Promise<void> {
  const { client } = session;
  const what = `restoring the database ${quoted(name)}`;
  // Not from a connection to the database itself.
  const SU_BASE = name === 'template1' ? 'postgres' : 'template1';
  const noTemplate = `UPDATE pg_catalog.pg_database SET datistemplate = false WHERE datname = :'name' AND datistemplate;
    `;
  const drop =
    session.version >= 130_000
      ? 'DROP DATABASE IF EXISTS :"name" WITH (FORCE);'
      : `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :'name' AND pid <> pg_backend_pid();
         DROP DATABASE IF EXISTS :"name";`;
  const fill = async (script: string): Promise<void> => {
    await client.run(
      command(
        session,
        what,
        `printf '%s\\n' "$SU_SQL" | psql -X -w -q -v ON_ERROR_STOP=1 -v name="$SU_TARGET" -d "$SU_BASE" >/dev/null`,
        { SU_BASE, SU_SQL: noTemplate + drop, SU_TARGET: name },
      ),
    );
    await client.run({
      // As timescaledb_pre_restore() does, which cannot be called in a database that is only now created.
      ...command(session, what, script, {
        SU_BASE,
        ...(session.timescale ? { SU_OPTIONS: ' -c timescaledb.restoring=on' } : {}),
      }),
      stdin: readBack(source, file),
    });
  };
  await fill(loadAsDumped).catch(async (error: unknown) => {
    const lacksNames =
      error instanceof SafeUpdateError && /does not exist|no schema has been/.test(error.message);
    if (!lacksNames) throw error;
    // Where that fails too, it was not for the names: what the usual way said is the reason.
    await fill(loadWithSearchPath(session.version)).catch(() => Promise.reject(error));
  });
  await client.run(
    command(session, `ANALYZE of the database ${quoted(name)}`, 'exec psql -X -w -q -c ANALYZE </dev/null', {
      SU_DATABASE: name,
    }),
  );
}
