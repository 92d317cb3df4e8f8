import { createHash } from 'node:crypto';
import { z } from 'zod';
import { SafeUpdateError } from '../model/error.ts';
import type { Container, EngineName } from '../model/project.ts';
import { notDumped, quoted, readBack, readSmall, writeSmall, type Filter } from './client.ts';
import type { DatabaseEngine, DumpSink, DumpSource, RunningDatabase } from './database.ts';
import { fileNames } from './file-names.ts';
import { countLimit, qualified, type Fingerprint } from './fingerprint.ts';
import { parseImageName } from './image-name.ts';
import {
  accountsFile,
  askAbout,
  grantChanged,
  literal,
  readAccountsFile,
  readAnswers,
  recreateChanged,
  type Account,
} from './mysql-accounts.ts';
import { command, connect, option, query, refused, tryToConnect } from './mysql-session.ts';
import type { Session } from './mysql-session.ts';
import { commandRole, databaseLabel, looksLike, variable, type ServerLooks } from './recognise.ts';

const looksOfBoth: Omit<ServerLooks, 'engine'> = {
  // percona: MySQL with more in it. sclorg's images, which end with a version, are those of Red Hat and OpenShift.
  image:
    /^(?:mysql|mysql-server|mariadb|mariadb-galera|alpine-mariadb|percona|percona-server|percona-xtradb-cluster|(?:mysql|mariadb)-\d+[\w-]*)$/,
  variables: ['MARIADB_VERSION', 'MARIADB_MAJOR', 'MYSQL_MAJOR', 'FULL_PERCONA_VERSION'],
  server:
    /(?:^|\/)(?:(?:mysqld|mariadbd)(?:[_-]safe)?|run-mysqld)$|\/bitnami\/scripts\/(?:mysql|mariadb|mariadb-galera)\/run\.sh$/,
  client: /^(?:mysql\w*|mariadb[\w-]*|mariabackup|xtrabackup|mydumper|myloader)$/,
  serverless: /^--(?:version|help|print-defaults|initialize(?:-insecure)?|validate-config)$/,
  dataPath,
};

/**
 * MySQL and MariaDB, which have one way of working; the server itself says which of the two it is. A dump is
 *
 *   <name>.sql       mysqldump, or mariadb-dump, of each database that is not the server's own
 *   users.sql        users and roles, their passwords as hashes, their rights
 *   databases.json   which database is in which file, and each file's checksum; written last
 *
 * By hand: each `<name>.sql`, and then users.sql, into `mariadb --binary-mode` or `mysql --binary-mode`.
 *
 * A restore replaces the databases of the dump, and puts its users back to what they were. Databases and users that the
 * dump does not know, which a migration may have made, are left alone: no other copy of them may exist. Each database
 * is as of one moment (for tables of InnoDB; other kinds are not, while somebody writes), but not all of them as of the
 * same. Not in a dump: what SET PERSIST has set, which is in a file beside the data, time zones, and what `notInDump` names.
 */
export const mysql = engineOf('mysql', 'MySQL');
export const mariadb = engineOf('mariadb', 'MariaDB');

interface Kind {
  title: string;
  looks: ServerLooks;
}

function engineOf(name: EngineName & ('mysql' | 'mariadb'), title: string): DatabaseEngine {
  const kind: Kind = { title, looks: { ...looksOfBoth, engine: name } };
  return {
    name,
    title,
    recognise: (container) =>
      looksLike(kind.looks, container) &&
      (container.labels[databaseLabel] !== undefined || nameOf(container) === name),
    dataPath,
    askDataPath: (database) => askDataPath(kind, database),
    ready: (database) => ready(kind, database),
    dump: (database, sink) => dump(kind, database, sink),
    check: (_, source) => check(kind, source),
    restorer: {
      into: 'running server',
      restore: (database, source, only) => restore(kind, database, source, only),
      databasesIn: async (source) => (await open(kind, source)).databases.map(({ name: known }) => known),
      settings: ['mysqld-auto.cnf', 'auto.cnf', '*.pem'],
    },
    fingerprint: (database) => fingerprint(kind, database),
    notInDump: (database) => notInDump(kind, database),
    firstStart,
    unreadable: (former, next) => unreadable(name, former, next),
  };
}

/** `mysqld` is a program of both, and so are the variables of a configuration; the image's name tells more. */
function nameOf(container: Container): EngineName {
  const name = parseImageName(container.imageName.toLowerCase()).path.at(-1) ?? '';
  const isMariadb =
    name.includes('mariadb') ||
    ['MARIADB_VERSION', 'MARIADB_MAJOR'].some((known) => variable(container, known) !== undefined) ||
    container.command.some((word) => /mariadbd|\/mariadb\//.test(word));
  return isMariadb ? 'mariadb' : 'mysql';
}

/** What the command says, or where the image of that name keeps it. A `datadir` in a configuration file is not seen here. */
function dataPath(container: Container): string {
  const given = option(commandRole(looksOfBoth, container).arguments, 'datadir');
  if (given?.startsWith('/') === true) return given.replace(/(?<=.)\/+$/, '');
  const { path } = parseImageName(container.imageName.toLowerCase());
  const [owner = '', name = ''] = [path.at(-2), path.at(-1)];
  if (owner.startsWith('bitnami')) return `/bitnami/${name === 'mysql' ? 'mysql' : 'mariadb'}/data`;
  if (owner === 'linuxserver') return '/config/databases';
  return /-\d/.test(name) ? '/var/lib/mysql/data' : '/var/lib/mysql';
}

/**
 * The images begin with a password from the environment, or with one that they make up and print once: whoever knows it
 * knows that of the first server, and not of the next one.
 */
function firstStart(environment: readonly string[], password: string): string[] {
  const given = /^(?:FILE__)?(?:MARIADB|MYSQL)_ROOT_PASSWORD(?:_FILE)?=./;
  const empty = /^(?:(?:MARIADB|MYSQL)_ALLOW_EMPTY_(?:ROOT_)?PASSWORD|ALLOW_EMPTY_PASSWORD)=./;
  const random = /^(?:MARIADB|MYSQL)_(?:RANDOM_ROOT_PASSWORD|ROOT_PASSWORD_HASH(?:_FILE)?)=/;
  const others = environment.filter((entry) => !random.test(entry));
  if (others.some((entry) => given.test(entry))) return others;
  if (others.length === environment.length && others.some((entry) => empty.test(entry))) return others;
  return [...others, `MARIADB_ROOT_PASSWORD=${password}`, `MYSQL_ROOT_PASSWORD=${password}`];
}

/**
 * Neither has a way back to an older series. MySQL has none past 5.7, 8.0 or 8.4 without starting that one in between
 * ("Upgrade Paths" in its manual).
 */
function unreadable(
  name: 'mysql' | 'mariadb',
  former: readonly string[],
  next: readonly string[],
): { former: string; next: string } | undefined {
  const [from, to] = [seriesOf(former), seriesOf(next)];
  if (from === undefined || to === undefined) return undefined;
  const skips =
    name === 'mysql' && [5.7, 8.0, 8.4].some((series) => Number(from) < series && series < Number(to));
  const isOlder = from.localeCompare(to, 'en', { numeric: true }) > 0;
  return isOlder || skips ? { former: from, next: to } : undefined;
}

/** `1:10.11.6+maria~ubu2204` → `10.11`. MYSQL_MAJOR may be a word. */
function seriesOf(environment: readonly string[]): string | undefined {
  return environment
    .map((entry) => /^(?:MARIADB_VERSION|MYSQL_VERSION|PS_VERSION)=(?:\d+:)?(\d+\.\d+)/.exec(entry)?.[1])
    .find((series) => series !== undefined);
}

async function ready({ title, looks }: Kind, database: RunningDatabase): Promise<boolean> {
  try {
    // Twice: the private server may start between a search for it and the answer. Whoever answered the first time, and was
    // private, is found the second time, or is gone and will not be started again.
    for (const _time of ['first', 'second']) {
      const connection = await tryToConnect(database, { title, looks, limit: 15_000 });
      // A server that refuses a password does answer; dump and restore then say what is wrong.
      const answers = 'session' in connection || refused(connection.stderr);
      if (connection.initialising || !answers) return false;
    }
    return true;
  } catch (error) {
    if (error instanceof SafeUpdateError && error.code === 'database') return false;
    throw error;
  }
}

async function askDataPath(kind: Kind, database: RunningDatabase): Promise<string> {
  const { dataDirectory } = await connect(database, kind);
  if (dataDirectory.startsWith('/')) return dataDirectory.replace(/(?<=.)\/+$/, '');
  throw new SafeUpdateError(
    'database',
    `${kind.title} in ${database.container.name} does not say where its files are: ${quoted(dataDirectory)}`,
    { hint: 'Give it the whole path: --datadir=/var/lib/mysql' },
  );
}

const usersName = 'users.sql';
const listName = 'databases.json';

const fileSchema = z.object({
  file: z.string(),
  /** Hexadecimal. */
  sha256: z.string(),
  bytes: z.number(),
});

const listSchema = z.object({
  format: z.literal(1),
  /** As the server says: 10.11.19-MariaDB. */
  version: z.string(),
  databases: z.array(fileSchema.extend({ name: z.string().min(1) })),
  users: fileSchema,
  /** Folders among the files of the server that it takes for databases, such as lost+found. */
  leftOut: z.array(z.string()),
});

type List = z.infer<typeof listSchema>;

const systemDatabases = ['information_schema', 'performance_schema', 'mysql', 'sys', 'ndbinfo'];

// #mysql50#: a folder whose name no database can have had since 5.1.
const listDatabases = `SELECT schema_name FROM information_schema.schemata
  WHERE LOWER(schema_name) NOT IN (${systemDatabases.map(literal).join(', ')}) ORDER BY schema_name;`;
const isFolder = (name: string): boolean => name.startsWith('#mysql50#');

async function dump(kind: Kind, database: RunningDatabase, sink: DumpSink): Promise<void> {
  const session = await connect(database, kind);
  requireAccounts(kind, database, session);
  const found = (await query(session, 'listing the databases', listDatabases)).map(([name = '']) => name);
  const names = found.filter((name) => !isFolder(name));
  const databases: List['databases'] = [];
  for (const { name, file } of fileNames(names, 'sql', [usersName])) {
    const sum = checksum();
    await session.client.dump(
      command(
        session,
        `the dump of the database ${quoted(name)}`,
        `run "$dumper" ${dumpOptions(session).join(' ')} --databases -- "$SU_DATABASE"`,
        { SU_DATABASE: name },
      ),
      sink,
      file,
      sum.through,
    );
    databases.push({ name, file, ...sum.result() });
  }

  const users = accountsFile(await readAccounts(session));
  await writeSmall(sink, usersName, users);
  const sum = checksum();
  sum.add(Buffer.from(users));
  const list: List = {
    format: 1,
    version: session.version,
    databases,
    users: { file: usersName, ...sum.result() },
    leftOut: found.filter(isFolder),
  };
  await writeSmall(sink, listName, `${JSON.stringify(list, null, 2)}\n`);
}

/** Rows of every table that this server has itself. */
async function fingerprint(kind: Kind, database: RunningDatabase): Promise<Fingerprint> {
  const session = await connect(database, kind);
  const count = async (): Promise<string[][]> => {
    const tables = await query(
      session,
      'listing the tables',
      `SELECT table_schema, table_name FROM information_schema.tables
       WHERE LOWER(table_schema) NOT IN (${systemDatabases.map(literal).join(', ')})
       AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')
       AND engine NOT IN ('FEDERATED', 'CONNECT', 'SPIDER', 'BLACKHOLE') ORDER BY 1, 2;`,
    );
    const statements = tables.map(
      ([schema = '', table = '']) =>
        `SELECT ${literal(schema)}, ${literal(table)}, COUNT(*) FROM (SELECT 1 FROM ${identifier(schema)}.${identifier(table)} LIMIT ${countLimit}) AS counted;`,
    );
    return statements.length === 0 ? [] : query(session, 'counting the rows', statements.join('\n'));
  };
  // A table may be dropped between being listed and being counted.
  const counted = await count().catch(async (error: unknown) =>
    database.signal?.aborted === true ? Promise.reject(error as Error) : count(),
  );
  return {
    of: 'rows',
    counts: Object.fromEntries(
      counted.map(([schema = '', table = '', rows]) => [qualified(schema, table), Number(rows)]),
    ),
  };
}

const within = (path: string): string => `(${path} NOT LIKE '/%' OR ${path} LIKE CONCAT(@@datadir, '%'))`;

// No server has all of these tables. Percona's image installs that component in each new server.
const stateOutside = [
  `SELECT 'the component', component_urn FROM mysql.component WHERE component_urn NOT LIKE '%percona_telemetry'`,
  `SELECT 'the server', server_name FROM mysql.servers`,
  `SELECT 'the plugin', name FROM mysql.plugin`,
  `SELECT 'the loadable function', name FROM mysql.func`,
  `SELECT DISTINCT 'the rights of', user FROM mysql.db WHERE user = 'PUBLIC'`,
  `SELECT 'its being a replica of', host FROM performance_schema.replication_connection_configuration WHERE host <> ''`,
  `SELECT 'the tablespace', name FROM information_schema.innodb_tablespaces WHERE space_type = 'General' AND name <> 'mysql'`,
  ...['innodb_datafiles', 'innodb_sys_datafiles'].map(
    (table) => `SELECT 'the file', path FROM information_schema.${table} WHERE NOT ${within('path')}`,
  ),
  ...['innodb_log_group_home_dir', 'innodb_data_home_dir', 'innodb_undo_directory'].map(
    (name) => `SELECT 'the folder', @@${name} FROM DUAL WHERE NOT ${within(`@@${name}`)}`,
  ),
];

/** What lies in the system's own tables, or in files elsewhere. */
async function notInDump(kind: Kind, database: RunningDatabase): Promise<string[]> {
  const session = await connect(database, kind);
  const what = 'asking for what is in no dump';
  // A statement about a table that this server has not is passed over; the last one says that all were tried.
  const asked = [...stateOutside, `SELECT 'asked', ''`].map((sql) => `${sql};`).join('\n');
  const rows = await query(session, what, asked, '--force');
  if (rows.at(-1)?.[0] !== 'asked') {
    throw new SafeUpdateError(
      'database',
      `${kind.title} in ${database.container.name} did not say what is in no dump.`,
    );
  }
  const named = rows.slice(0, -1).map(([of = '', name = '']) => `${of} ${quoted(name)}`);
  const masters = session.isMariadb ? await query(session, what, 'SHOW ALL SLAVES STATUS;') : [];
  return [...named, ...(masters.length > 0 ? ['its being a replica'] : [])];
}

function identifier(name: string): string {
  return `\`${name.replaceAll('`', '``')}\``;
}

/** SHOW CREATE USER came with MySQL 5.7 and MariaDB 10.2. */
function requireAccounts({ title }: Kind, { container }: RunningDatabase, session: Session): void {
  if (isAtLeast(session, session.isMariadb ? [10, 2] : [5, 7])) return;
  throw new SafeUpdateError(
    'database',
    `${title} ${session.version} in ${container.name} is too old to write down its users.`,
    { hint: `Take a cold backup, and ${notDumped(container)}` },
  );
}

function isAtLeast({ version }: Session, [major, minor]: readonly [number, number]): boolean {
  const [, isMajor = 0, isMinor = 0] = (/^(\d+)\.(\d+)/.exec(version) ?? []).map(Number);
  return isMajor > major || (isMajor === major && isMinor >= minor);
}

/**
 * Routines and events are off unless asked for. Without --add-drop-database what a migration has added would stay.
 * MariaDB leaves out the history of versioned tables unless asked; its client of 10.11 is the first that can be.
 */
function dumpOptions(session: Session): string[] {
  return [
    ...['--single-transaction', '--quick', '--routines', '--events', '--triggers', '--hex-blob'],
    ...['--add-drop-database', '--no-tablespaces'],
    ...(session.isMariadb ? [] : ['--set-gtid-purged=OFF']),
    ...(session.isMariadb && isAtLeast(session, [10, 11]) ? ['--dump-history'] : []),
  ];
}

/** Counts and sums up a file as it passes. */
function checksum() {
  const hash = createHash('sha256');
  let bytes = 0;
  const add = (chunk: Buffer): void => {
    hash.update(chunk);
    bytes += chunk.length;
  };
  const through: Filter = async function* (content) {
    for await (const chunk of content) {
      add(chunk);
      yield chunk;
    }
  };
  return { add, through, result: () => ({ sha256: hash.digest('hex'), bytes }) };
}

const systemUsers = ['mariadb.sys', 'mysql.sys', 'mysql.session', 'mysql.infoschema', 'mysqlxsys'];

async function readAccounts(session: Session): Promise<Account[]> {
  const isRole = session.isMariadb ? "is_role = 'Y'" : 'FALSE';
  const found = await query(
    session,
    'listing the users',
    `SELECT user, host, ${isRole} FROM mysql.user WHERE user NOT IN (${systemUsers.map(literal).join(', ')})
       AND NOT (user = 'PUBLIC' AND ${isRole}) ORDER BY user, host;`,
  );
  const accounts = found.map(([user = '', host = '', role = '']) =>
    role === '1'
      ? { name: literal(user), kind: 'ROLE' as const }
      : { name: `${literal(user)}@${literal(host)}`, kind: 'USER' as const },
  );
  // Hashes of caching_sha2_password are bytes of any kind.
  const asHex = session.isMariadb ? '' : '/*!80017 SET SESSION print_identified_with_as_hex = ON */;\n';
  const answered = await query(session, 'asking about the users', `${asHex}${askAbout(accounts)}`);
  return readAnswers(
    accounts,
    answered.map(([line = '']) => line),
  );
}

/** Reads `databases.json`, and proves that it and the names of the files fit together. */
async function open({ title }: Kind, source: DumpSource): Promise<List> {
  const text = (await readSmall(source, listName)).toString('utf8');
  let list: List;
  try {
    list = listSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw incomplete(title, `${listName} cannot be understood.`, cause);
  }
  const expected = new Set([listName, list.users.file, ...list.databases.map(({ file }) => file)]);
  for (const file of expected)
    if (!source.names.includes(file)) throw incomplete(title, `${file} is missing.`);
  for (const file of source.names)
    if (!expected.has(file)) throw incomplete(title, `${file} does not belong to it.`);
  return list;
}

function incomplete(title: string, why: string, cause?: unknown): SafeUpdateError {
  return new SafeUpdateError('database', `The ${title} dump is incomplete: ${why}`, { cause });
}

/** The last line of the dump programs, with a date behind it unless --skip-dump-date was given. */
const footer = /(?:^|\n)-- Dump completed[^\n]*\n$/;
const footerLength = 200;

/**
 * Reads every file whole. A dump that was cut off at the end of a statement is one that the client loads without an
 * error; the checksum and the programs' last line are what tells.
 */
async function check(kind: Kind, source: DumpSource): Promise<void> {
  const list = await open(kind, source);
  for (const { file, bytes, sha256 } of [...list.databases, list.users]) {
    const sum = checksum();
    let end = Buffer.alloc(0);
    const reading = readBack(source, file, (chunk) => {
      sum.add(chunk);
      end = Buffer.concat([end, chunk]).subarray(-footerLength);
    });
    try {
      for await (const _ of reading.stream) continue;
    } catch {
      reading.proveRead();
    }
    if (reading.bytes() < bytes || !footer.test(end.toString('latin1')))
      throw incomplete(kind.title, `${file} ends early.`);
    if (sum.result().sha256 !== sha256) throw incomplete(kind.title, `${file} is not what the server wrote.`);
  }
}

/**
 * Checks the dump, then replaces databases and users. Users go first, because a view that is made on another view wants
 * to see the rights of that one's owner; and they go last, because a right to a table or routine cannot be given before
 * there is that table or routine.
 */
async function restore(
  kind: Kind,
  database: RunningDatabase,
  source: DumpSource,
  only?: readonly string[],
): Promise<void> {
  await check(kind, source);
  const list = await open(kind, source);
  const chosen = list.databases.filter(({ name }) => only?.includes(name) ?? true);
  const accounts = readAccountsFile((await readSmall(source, list.users.file)).toString('utf8'));
  const session = await connect(database, kind);
  requireAccounts(kind, database, session);

  if (only === undefined) await restoreAccounts(session, accounts, '--force');
  await withLargePackets(session, async () => {
    for (const { name, file } of chosen) await restoreDatabase(session, source, name, file);
  });
  const present = (await query(session, 'listing the databases', listDatabases)).map(([name]) => name);
  const missing = chosen.filter(({ name }) => !present.includes(name));
  if (missing.length > 0) {
    const names = missing.map(({ name }) => quoted(name)).join(', ');
    throw new SafeUpdateError(
      'database',
      `${kind.title} in ${database.container.name} lacks after the restore: ${names}`,
    );
  }
  // Last of all: the password that we are logged in with may be another one afterwards.
  if (only === undefined) await restoreAccounts(session, accounts);
}

/**
 * With `--force`, rights that cannot be given yet are passed over, and the account that is logged in stays as it is: with
 * another password nobody could come in again.
 */
async function restoreAccounts(
  session: Session,
  accounts: readonly Account[],
  force?: '--force',
): Promise<void> {
  const execute = async (statements: readonly string[]): Promise<void> => {
    if (statements.length === 0) return;
    const text = statements.map((statement) => `${statement};\n`).join('');
    await query(session, 'restoring the users', text, force);
  };
  const others = accounts.filter(({ name }) => name !== session.account);
  const present = await readAccounts(session);
  const anew = recreateChanged(others, present, session.account);
  await execute(anew);
  const granting = anew.length === 0 ? present : await readAccounts(session);
  await execute(grantChanged(others, granting));
  if (force !== undefined) return;
  const own = accounts.filter(({ name }) => name === session.account);
  await execute([...grantChanged(own, granting), ...recreateChanged(own, granting, session.account)]);
}

/**
 * A row with a large value is dumped as a statement that is twice as long, and may be longer than what the server takes.
 * Connections that are made meanwhile get the higher limit; the server needs no more memory for it.
 */
async function withLargePackets(session: Session, work: () => Promise<void>): Promise<void> {
  const set = (value: string) =>
    query(session, 'setting max_allowed_packet', `SET GLOBAL max_allowed_packet = ${value};`);
  const [[former = ''] = []] = await query(
    session,
    'asking for max_allowed_packet',
    'SELECT @@GLOBAL.max_allowed_packet;',
  );
  await set('1073741824');
  try {
    await work();
  } finally {
    // After a signal nothing runs any more, and the restore has failed anyway; the server's next start has the former.
    await set(former).catch(() => undefined);
  }
}

/**
 * The dump drops the database and makes it anew, without looking at foreign keys. In binary mode the client takes line
 * breaks in routines as they are, and obeys nothing but statements; it then needs not know the sandbox command with
 * which newer versions of mariadb-dump begin. It stops at the first error.
 */
async function restoreDatabase(
  session: Session,
  source: DumpSource,
  name: string,
  file: string,
): Promise<void> {
  const settings = [
    // Between two statements lies the time that reading the store takes.
    'wait_timeout = 86400',
    // Tables that were made before these were turned on.
    'innodb_strict_mode = OFF',
  ];
  await session.client.run({
    ...command(
      session,
      `restoring the database ${quoted(name)}`,
      'run "$client" --batch --binary-mode --init-command="$SU_INIT" >/dev/null',
      {
        SU_INIT: `SET SESSION ${settings.join(', ')} ${session.isMariadb ? '' : '/*!80013 , sql_require_primary_key = OFF */'}`,
      },
    ),
    stdin: readBack(source, file),
  });
}
