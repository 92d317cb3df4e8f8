import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Finished } from '../docker/exec.ts';
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
import { qualified, type Fingerprint } from './fingerprint.ts';
import { parseImageName } from './image-name.ts';
import { readArchive, type Archive } from './mongodb-archive.ts';
import { commandRole, looksLike, variable, type ServerLooks } from './recognise.ts';

/**
 * MongoDB. A dump is
 *
 *   dump.archive   mongodump --archive of every database but local, with indexes, views, users and roles
 *   mongodb.json   its checksum, and whether the oplog is in it; written last
 *
 * By hand: drop the databases, then `mongorestore --archive --drop --nsExclude='config.*' < dump.archive`, with
 * --oplogReplay if mongodb.json says "oplog": true.
 *
 * With a replica set's oplog the dump is of one moment. Without one, mongodump reads one collection after the other,
 * and what is written meanwhile may be in one and not in another.
 *
 * A restore replaces the databases of the dump. Databases that the dump does not know are left alone. Of `admin` only
 * what the dump holds is replaced, for no server lets it be dropped; `config` is the server's own, and stays.
 *
 * mongodump and mongorestore do the work; they take a password by --config since 100.3, which the images of MongoDB 4.4
 * and later have. What they cannot do, such as dropping a database, needs mongosh or mongo.
 */
export const mongodb: DatabaseEngine = {
  name: 'mongodb',
  title: 'MongoDB',
  recognise: (container) => looksLike(looks, container),
  dataPath,
  askDataPath,
  ready,
  dump,
  check: async (_, source) => {
    await open(source);
  },
  restorer: {
    into: 'running server',
    restore,
    databasesIn: async (source) => replacedDatabases((await open(source)).archive),
  },
  fingerprint,
  notInDump,
};

const looks: ServerLooks = {
  engine: 'mongodb',
  image:
    /^(?:mongo|mongodb|mongodb-community-server|mongodb-enterprise-server|mongodb-atlas-local|percona-server-mongodb)$/,
  variables: ['MONGO_MAJOR', 'MONGO_PACKAGE', 'PSMDB_VERSION'],
  server: /(?:^|\/)(?:mongod|run-mongod)$|\/bitnami\/scripts\/mongodb\/run\.sh$/,
  // mongos has no data of its own.
  client:
    /^(?:mongosh?|mongos|mongo(?:dump|restore|export|import|stat|top|files)|bsondump|mongocryptd|pbm(?:-agent)?)$/,
  serverless: /^--(?:version|help|shutdown)$/,
  dataPath,
};

/** The last value of an option of the command line: `--dbpath /data` or `--dbpath=/data`. */
function option(container: Container, name: string): string | undefined {
  const { arguments: args } = commandRole(looks, container);
  return args
    .map((word, index) =>
      word.startsWith(`--${name}=`)
        ? word.slice(name.length + 3)
        : args[index - 1] === `--${name}`
          ? word
          : undefined,
    )
    .findLast((value) => value !== undefined);
}

/** What the command says, or where the image of that name keeps it. A configuration file is not seen here. */
function dataPath(container: Container): string {
  const given = option(container, 'dbpath');
  if (given?.startsWith('/') === true) return given.replace(/(?<=.)\/+$/, '');
  const { path } = parseImageName(container.imageName.toLowerCase());
  return (path.at(-2) ?? '').startsWith('bitnami') ? '/bitnami/mongodb/data/db' : '/data/db';
}

const nobodyIsAsked = 93;

// Names of variables go into the scripts, never values: what is secret is read inside the container and stays there.
// The tools get the password as a configuration file on a pipe; mongosh gets it by environment; mongo, which can read
// no environment, as the first line of its script.
const begin = String.raw`
PATH=$PATH:/opt/bitnami/mongodb/bin
for program in mongodump mongorestore; do
  command -v "$program" >/dev/null || { echo "There is no $program in the container." >&2; exit 127; }
done
secret() {
  eval "value=\${$1-} file=\${$1_FILE-}"
  if [ -n "$value" ]; then printf '%s' "$value"; elif [ -n "$file" ] && [ -r "$file" ]; then cat "$file"; fi
}
user= word=
# One from elsewhere, the official image, bitnami's, and mongodb/mongodb-community-server
for names in SU_LOGIN:SU_WORD MONGO_INITDB_ROOT_USERNAME:MONGO_INITDB_ROOT_PASSWORD MONGODB_ROOT_USER:MONGODB_ROOT_PASSWORD \
  MONGODB_INITDB_ROOT_USERNAME:MONGODB_INITDB_ROOT_PASSWORD; do
  word=$(secret "${'$'}{names#*:}")
  [ -n "$word" ] || continue
  user=$(secret "${'$'}{names%:*}")
  user=${'$'}{user:-root}
  break
done
port=${'$'}{SU_PORT:-${'$'}{MONGODB_PORT_NUMBER:-27017}}
# tool PROGRAM ARGUMENT...: standard input stays the caller's
tool() {
  if [ -z "$word" ]; then "$@" --host=127.0.0.1 --port="$port"; return; fi
  exec 4<&0
  printf "password: '%s'\n" "$(printf '%s' "$word" | sed "s/'/''/g")" | "$@" --host=127.0.0.1 --port="$port" \
    --username="$user" --authenticationDatabase=admin --config=/dev/fd/3 3<&0 <&4 4<&-
}
# Connects and logs in, and dumps nothing: there is no such collection.
log_in() { tool mongodump --db=admin --collection=safe-update --archive=/dev/null </dev/null; }
literal() { printf '"%s"' "$(printf '%s' "$1" | sed 's/[\\"]/\\&/g')"; }
# script JAVASCRIPT: run by a shell that is logged in; its lines begin with "su:"
script() {
  if command -v mongosh >/dev/null; then
    # It would keep its history and logs in a home.
    HOME=/dev/null SU_USER=$user SU_WORD=$word SU_AT=127.0.0.1:$port mongosh --nodb --quiet --norc --eval "
      var env = process.env; var at = 'mongodb://' + env.SU_AT + '/?directConnection=true';
      var names = JSON.parse(env.SU_NAMES || '[]'); var user = env.SU_USER; var word = env.SU_WORD; $1" </dev/null
  elif command -v mongo >/dev/null; then
    printf '%s\n' "var user = $(literal "$user"); var word = $(literal "$word");" \
      "var at = '127.0.0.1:$port'; var names = ${'$'}{SU_NAMES:-[]};" "$1" | mongo --nodb --quiet --norc
  else
    echo 'There is no mongosh or mongo in the container.' >&2
    return ${nobodyIsAsked}
  fi
}
`;

// One line each, of the language that both shells speak: mongo reads its script as if it were typed.
const connect = `var c = new Mongo(at); var a = c.getDB("admin"); var welcome = !word || a.auth(user, word);`;
const tell = (expression: string): string => `print("su:" + JSON.stringify(${expression}));`;
const askFacts = `${connect} if (welcome) { ${tell(
  '{set: a.runCommand({isMaster: 1}).setName, options: a.runCommand({getCmdLineOpts: 1})}',
)} }`;
const dropAll =
  `${connect} if (welcome) { ` +
  `names.forEach(function (n) { var r = c.getDB(n).dropDatabase(); if (r.ok !== 1) { throw new Error(r.errmsg); } }); ` +
  `${tell('"dropped"')} }`;
const listAll = `${connect} if (welcome) { ${tell(
  'names.map(function (n) { return {database: n, collections: c.getDB(n).getCollectionNames()}; })',
)} }`;

// The server's own count may be wrong after a crash; whether there is anything at all must not be.
const countAll =
  `${connect} if (welcome) { var all = []; ` +
  `a.runCommand({listDatabases: 1, nameOnly: true}).databases.forEach(function (d) { ` +
  `if (names.indexOf(d.name) >= 0) { return; } var b = c.getDB(d.name); ` +
  `b.getCollectionInfos().forEach(function (k) { ` +
  `if (k.type === "view" || k.name.indexOf("system.") === 0) { return; } ` +
  `var n = Number(b.runCommand({count: k.name}).n) || (b.getCollection(k.name).findOne() ? 1 : 0); ` +
  `all.push([d.name, k.name, n]); }); }); ${tell('all')} }`;

const said = (name: string, printed: string): string => {
  const line = printed.split('\n').findLast((one) => one.startsWith('su:'));
  if (line !== undefined) return line.slice(3);
  throw new SafeUpdateError(
    'database',
    `MongoDB in ${name} gave no answer to the shell inside its container.`,
  );
};

function environmentOf(container: Container): Record<string, string> {
  return { SU_PORT: option(container, 'port') ?? '' };
}

const refusal = /AuthenticationFailed|Unauthorized|auth error|requires authentication|not authorized/i;

/** A client that is let in. */
interface Session {
  client: Client;
  /** Variables that its scripts need. */
  env: Record<string, string>;
}

/** Throws SafeUpdateError `database` unless the server lets mongodump in. */
async function logIn(database: RunningDatabase): Promise<Session> {
  const { container, logins = [] } = database;
  const client = clientOf(database, { title: mongodb.title });
  const what = 'logging in';
  const own = environmentOf(container);
  const elsewhere = logins.map(({ user, password }) => ({ ...own, SU_LOGIN: user, SU_WORD: password }));
  let said: string | undefined;
  for (const env of [own, ...elsewhere]) {
    const finished = await client.attempt({ what, script: `${begin}log_in`, env });
    if (finished.exitCode === 0) return { client, env };
    if (!refusal.test(finished.stderr)) throw failure(container, what, finished);
    said ??= finished.stderr;
  }
  throw new SafeUpdateError(
    'database',
    `MongoDB in ${container.name} does not let its own client in; user or password are not right: ` +
      reasonOf(said ?? '', container),
    {
      hint:
        'They are taken from MONGO_INITDB_ROOT_USERNAME and MONGO_INITDB_ROOT_PASSWORD (or their _FILE variants; ' +
        'bitnami: MONGODB_ROOT_USER, MONGODB_ROOT_PASSWORD) of the container. Correct them to what the server has, or ' +
        sayInConfiguration(container),
    },
  );
}

/**
 * What a tool or shell said went wrong. The tools tell of their progress on standard error too (with --quiet, they do
 * not tell why they failed either), and of the document that is in the way, which stays here. Pure.
 */
export function reasonOf(stderr: string, container: Container): string {
  const failed = [...stderr.matchAll(/\tFailed: (.*)/g)].map(([, reason = '']) => reason);
  const text = failed.length > 0 ? failed.join('\n') : stderr;
  return lastLines(text.replace(/\bdup key: .*/g, 'dup key'), container);
}

function failure(container: Container, what: string, { exitCode, stderr }: Finished): SafeUpdateError {
  const reason = reasonOf(stderr, container);
  return new SafeUpdateError(
    'database',
    `MongoDB in ${container.name}: ${what} failed with exit code ${exitCode}${reason === '' ? '.' : `: ${reason}`}`,
  );
}

// /proc/net/tcp: mongodump would try a port that nobody listens on for half a minute. The official image's entrypoint runs
// a server for itself while it initialises; searched for after somebody was seen to listen, as it may start in between.
// In brackets, for this script is in the list of processes too.
const readyScript = `${begin}
cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q ":$(printf '%04X' "$port") [0-9A-F]*:0000 0A" || exit 1
for process in /proc/[0-9]*; do
  if tr '\\0' ' ' 2>/dev/null < "$process/cmdline" | grep -q '[d]ocker-entrypoint-temp-mongod'; then exit 1; fi
done
said=$(log_in 2>&1) && exit 0
printf '%s\\n' "$said" >&2
exit 1`;

async function ready(database: RunningDatabase): Promise<boolean> {
  try {
    const { exitCode, stderr } = await clientOf(database, { title: mongodb.title }).attempt({
      what: 'asking whether it is ready',
      script: readyScript,
      env: environmentOf(database.container),
      timeout: Math.min(15_000, database.timeout),
    });
    // A server that refuses a password does answer; dump and restore then say what is wrong.
    return exitCode === 0 || refusal.test(stderr);
  } catch (error) {
    if (error instanceof SafeUpdateError && error.code === 'database') return false;
    throw error;
  }
}

const factsSchema = z.object({
  /** The name of the replica set. */
  set: z.string().optional(),
  options: z.object({
    ok: z.literal(1),
    parsed: z.object({ storage: z.object({ dbPath: z.string().optional() }).optional() }),
  }),
});

/** What `askFacts` printed. Throws SafeUpdateError `database` if the server keeps it to itself. Pure. */
export function readFacts(printed: string, container: Container): { set?: string; dataPath: string } {
  const parsed = factsSchema.safeParse(JSON.parse(said(container.name, printed)));
  if (!parsed.success) {
    throw new SafeUpdateError(
      'database',
      `MongoDB in ${container.name} does not say with which options it runs.`,
      { hint: 'Allow the user of the container getCmdLineOpts; the role root has it.' },
    );
  }
  const { set, options } = parsed.data;
  return {
    ...(set === undefined ? {} : { set }),
    // mongod's own default; the same as that of the images.
    dataPath: options.parsed.storage?.dbPath ?? '/data/db',
  };
}

async function askDataPath(database: RunningDatabase): Promise<string> {
  const { container } = database;
  const { client, env } = await logIn(database);
  const printed = await client.run({
    what: 'asking for its folder',
    script: `${begin}script '${askFacts}'`,
    env,
  });
  return readFacts(printed, container).dataPath;
}

/** Is it a member of a replica set? Where there is no shell to ask, what the container says counts. */
async function hasOplog({ container }: RunningDatabase, { client, env }: Session): Promise<boolean> {
  const what = 'asking for its replica set';
  const finished = await client.attempt({ what, script: `${begin}script '${askFacts}'`, env });
  if (finished.exitCode === 0) return readFacts(finished.stdout, container).set !== undefined;
  if (finished.exitCode !== nobodyIsAsked) throw failure(container, what, finished);
  return (
    option(container, 'replSet') !== undefined ||
    variable(container, 'MONGODB_REPLICA_SET_MODE') !== undefined
  );
}

/** Who else is in a replica set, and that there is one, is in the server's own database `local`. */
async function notInDump(database: RunningDatabase): Promise<string[]> {
  return (await hasOplog(database, await logIn(database))) ? ['its replica set'] : [];
}

/** Documents of every collection. */
async function fingerprint(database: RunningDatabase): Promise<Fingerprint | undefined> {
  const { container } = database;
  const { client, env } = await logIn(database);
  const what = 'counting the documents';
  const finished = await client.attempt({
    what,
    script: `${begin}script '${countAll}'`,
    env: { ...env, SU_NAMES: JSON.stringify([...ownDatabases]) },
  });
  if (finished.exitCode === nobodyIsAsked) return undefined;
  if (finished.exitCode !== 0) throw failure(container, what, finished);
  const counted = z
    .array(z.tuple([z.string(), z.string(), z.number()]))
    .parse(JSON.parse(said(container.name, finished.stdout)));
  return {
    of: 'documents',
    counts: Object.fromEntries(
      counted.map(([name, collection, count]) => [qualified(name, collection), count]),
    ),
  };
}

const archiveName = 'dump.archive';
const listName = 'mongodb.json';

const listSchema = z.object({
  format: z.literal(1),
  /** Whether what was written during the dump is in it, to be replayed. */
  oplog: z.boolean(),
  /** Of dump.archive: mongodump's own checksums leave out the indexes. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});

type List = z.infer<typeof listSchema>;

async function dump(database: RunningDatabase, sink: Parameters<DatabaseEngine['dump']>[1]): Promise<void> {
  const session = await logIn(database);
  const { client, env } = session;
  const oplog = await hasOplog(database, session);
  const hash = createHash('sha256');
  await client.dump(
    {
      what: 'mongodump',
      script: `${begin}tool mongodump --archive ${oplog ? '--oplog ' : ''}</dev/null`,
      env,
    },
    sink,
    archiveName,
    async function* (content) {
      for await (const chunk of content) {
        hash.update(chunk);
        yield chunk;
      }
    },
  );
  const list: List = { format: 1, oplog, sha256: hash.digest('hex') };
  await writeSmall(sink, listName, `${JSON.stringify(list, null, 2)}\n`);
}

/** Reads all of a dump and proves it whole. */
async function open(source: DumpSource): Promise<List & { archive: Archive }> {
  const incomplete = (why: string, cause?: unknown) =>
    new SafeUpdateError('database', `The MongoDB dump is incomplete: ${why}`, { cause });
  for (const name of source.names) {
    if (name !== archiveName && name !== listName) throw incomplete(`${name} does not belong to it.`);
  }
  const text = (await readSmall(source, listName)).toString('utf8');
  if (!source.names.includes(archiveName)) throw incomplete(`${archiveName} is missing.`);
  let list: List;
  try {
    list = listSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw incomplete(`${listName} cannot be understood.`, cause);
  }
  const hash = createHash('sha256');
  const file = readBack(source, archiveName, (chunk) => hash.update(chunk));
  let archive: Archive;
  try {
    archive = await readArchive(file.stream);
  } catch (error) {
    file.proveRead();
    throw error;
  }
  if (hash.digest('hex') !== list.sha256) {
    throw new SafeUpdateError('database', `The MongoDB dump is damaged: ${archiveName} has changed.`);
  }
  return { ...list, archive };
}

/** Databases that are the server's own: `admin` cannot be dropped, the others hold nothing of anybody's. */
const ownDatabases = new Set(['', 'admin', 'config', 'local']);

/** The databases that a restore replaces. Pure. */
export function replacedDatabases({ namespaces }: Archive): string[] {
  return [...new Set(namespaces.map(({ database }) => database))].filter((name) => !ownDatabases.has(name));
}

/** What mongorestore is told. Pure. */
export function restoreArguments({ archive, oplog }: { archive: Archive; oplog: boolean }): string {
  const holds = (collection: string): boolean =>
    archive.namespaces.some((one) => one.database === 'admin' && one.collection === collection);
  return [
    '--archive --drop --stopOnError',
    // Documents that a validator would refuse today came in before it.
    '--bypassDocumentValidation',
    "--nsExclude='config.*'",
    // MongoDB has had admin.system.version since 2.6; mongorestore takes no users without. FerretDB has users only.
    ...(holds('system.version') ? [] : ["--nsExclude='admin.system.users' --nsExclude='admin.system.roles'"]),
    ...(oplog ? ['--oplogReplay'] : []),
  ].join(' ');
}

/**
 * Checks the dump, then replaces its databases. They are dropped first: `mongorestore --drop` drops only collections
 * that it knows, so that those of a migration would stay.
 */
async function restore(
  database: RunningDatabase,
  source: DumpSource,
  only?: readonly string[],
): Promise<void> {
  const { container } = database;
  const dumped = await open(source);
  const session = await logIn(database);
  const { client } = session;
  const names = replacedDatabases(dumped.archive).filter((name) => only?.includes(name) ?? true);
  const env = { ...session.env, SU_NAMES: JSON.stringify(names) };

  const dropping = 'dropping the databases';
  const dropped = await client.attempt({ what: dropping, script: `${begin}script '${dropAll}'`, env });
  if (dropped.exitCode === nobodyIsAsked) {
    throw new SafeUpdateError(
      'database',
      `MongoDB in ${container.name}: a restore needs mongosh or mongo in the container, to drop what is not in the dump.`,
      {
        state: 'The databases are as they were.',
        hint: 'Drop the databases with a client of your own, then pipe dump.archive into mongorestore --archive --drop.',
      },
    );
  }
  if (dropped.exitCode !== 0) throw failure(container, dropping, dropped);
  said(container.name, dropped.stdout);

  const restoring = 'mongorestore';
  const restored = await client.attempt({
    what: restoring,
    script:
      only === undefined
        ? `${begin}tool mongorestore ${restoreArguments(dumped)}`
        : // Without the oplog, which is that of all of them. Names are patterns to it.
          `${begin}tool mongorestore ${restoreArguments({ ...dumped, oplog: false })} ${names.map((_, index) => `--nsInclude="$SU_ONLY_${index}"`).join(' ')}`,
    env: {
      ...env,
      ...Object.fromEntries(
        names.map((name, index) => [`SU_ONLY_${index}`, `${name.replace(/[\\*]/g, '\\$&')}.*`]),
      ),
    },
    stdin: readBack(source, archiveName),
  });
  // It may end with 0 all the same.
  const lost = /\b([1-9]\d*) document\(s\) failed to restore/.exec(restored.stderr)?.[1];
  if (restored.exitCode !== 0 || lost !== undefined) throw failure(container, restoring, restored);
  const namespaces = dumped.archive.namespaces.filter(
    (one) => only === undefined || names.includes(one.database),
  );
  await proveRestored(database, client, { ...dumped.archive, namespaces }, env);
}

async function proveRestored(
  { container }: RunningDatabase,
  client: Client,
  archive: Archive,
  env: Record<string, string>,
): Promise<void> {
  const printed = await client.run({
    what: 'listing the collections',
    script: `${begin}script '${listAll}'`,
    env,
  });
  const present = z
    .array(z.object({ database: z.string(), collections: z.array(z.string()) }))
    .parse(JSON.parse(said(container.name, printed)));
  const missing = archive.namespaces.filter(
    ({ database, collection }) =>
      !ownDatabases.has(database) &&
      !collection.startsWith('system.') &&
      present.find((one) => one.database === database)?.collections.includes(collection) !== true,
  );
  if (missing.length === 0) return;
  const shown = missing.map(({ database, collection }) => quoted(`${database}.${collection}`)).join(', ');
  throw new SafeUpdateError('database', `MongoDB in ${container.name} lacks after the restore: ${shown}`);
}
