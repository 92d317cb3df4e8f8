import { createHash, randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { Finished } from '../docker/exec.ts';
import { SafeUpdateError } from '../model/error.ts';
import type { Container } from '../model/project.ts';
import {
  clientOf,
  lastLines,
  notDumped,
  readBack,
  readSmall,
  sayInConfiguration,
  writeSmall,
  type Client,
} from './client.ts';
import type { DatabaseEngine, DataFolder, DumpSource, RunningDatabase } from './database.ts';
import type { Fingerprint } from './fingerprint.ts';
import { parseImageName } from './image-name.ts';
import { loginEnvironment, loginVariables } from './logins.ts';
import {
  commandRole,
  databaseLabel,
  looksLike,
  shellCommands,
  variable,
  type ServerLooks,
} from './recognise.ts';

/**
 * Redis, and Valkey, which is the same with programs of its own names. A dump is
 *
 *   dump.rdb     every key of every database, as the server hands it to a replica
 *   redis.json   where and how the server keeps its files; written last
 *
 * By hand, without an append-only file: stop the server, put dump.rdb where `dir` and `dbfilename` say, start it. With
 * one, dump.rdb becomes the base of the append-only file, because that wins at start; see `place`.
 */
export const redis: DatabaseEngine = engine('redis', 'Redis', {
  image: /^(?:redis|redis-cluster|redis-stack|redis-stack-server|redis-\d+[\w-]*)$/,
  variables: ['REDIS_DOWNLOAD_URL'],
});

export const valkey: DatabaseEngine = engine('valkey', 'Valkey', {
  image: /^(?:valkey|valkey-cluster|valkey-bundle)$/,
  variables: ['VALKEY_DOWNLOAD_URL'],
});

function engine(
  name: 'redis' | 'valkey',
  title: string,
  own: Pick<ServerLooks, 'image' | 'variables'>,
): DatabaseEngine {
  return {
    name,
    title,
    recognise: (container) =>
      looksLike({ ...looks, ...own, engine: name }, container) &&
      (container.labels[databaseLabel] !== undefined || isValkey(container) === (name === 'valkey')),
    dataPath,
    askDataPath,
    ready,
    dump,
    check,
    restorer: { into: 'stopped data folder', restore },
    fingerprint,
  };
}

const looks: Omit<ServerLooks, 'engine' | 'image' | 'variables'> = {
  server:
    /(?:^|\/)(?:redis-server|valkey-server|run-redis|run-valkey)$|\/bitnami\/scripts\/(?:redis|valkey)(?:-cluster)?\/run\.sh$/,
  client: /^(?:redis|valkey)-(?:cli|benchmark|sentinel|check-rdb|check-aof)$/,
  serverless: /^--(?:sentinel|version|help)$/,
  dataPath,
};

/**
 * Whether the programs are Valkey's. They may go by Redis' names too (valkey's images have links of those names), so
 * the image's name counts before the command's.
 */
function isValkey(container: Container): boolean {
  const { path } = parseImageName(container.imageName.toLowerCase());
  const image = path.at(-1) ?? '';
  if (/^(?:redis|valkey)/.test(image)) return image.startsWith('valkey');
  return (
    variable(container, 'VALKEY_DOWNLOAD_URL') !== undefined ||
    container.command.some((word) => /valkey-server|run-valkey|scripts\/valkey(?:-cluster)?\//.test(word))
  );
}

/** The arguments of the server, those included that some images take from a variable. */
function serverArguments(container: Container): string[] {
  const more = ['REDIS_ARGS', 'REDIS_EXTRA_FLAGS', 'VALKEY_EXTRA_FLAGS'].flatMap((name) =>
    shellCommands(variable(container, name) ?? '', (other) => variable(container, other)).flat(),
  );
  return [...commandRole(looks, container).arguments, ...more];
}

/** The last value of an option of the command line: `--dir /data`. */
function option(args: readonly string[], name: string): string | undefined {
  return args.findLast((_, index) => args[index - 1]?.toLowerCase() === `--${name}`);
}

function configFile(args: readonly string[]): string {
  const [first] = args;
  return first === undefined || first.startsWith('-') ? '' : first;
}

/** What the command says, or where the image of that name keeps it. A `dir` in a configuration file is not seen here. */
function dataPath(container: Container): string {
  const given = option(serverArguments(container), 'dir');
  if (given?.startsWith('/') === true) return given.replace(/(?<=.)\/+$/, '');
  const { path } = parseImageName(container.imageName.toLowerCase());
  if (!(path.at(-2) ?? '').startsWith('bitnami')) return '/data';
  return `/bitnami/${path.at(-1)?.startsWith('valkey') === true ? 'valkey' : 'redis'}/data`;
}

function titleOf(container: Container): string {
  return isValkey(container) ? 'Valkey' : 'Redis';
}

/** Where the command says the password is: in its own words, or in a file it reads (`$(cat /run/secrets/x)`). Pure. */
export function requiredPassword(container: Container): { value?: string; file?: string } {
  const value = option(serverArguments(container), 'requirepass');
  if (value === undefined || value === '') return {};
  const file = /^\$\(\s*(?:cat\s+|<\s*)["']?([^"'\s)]+)["']?\s*\)$/.exec(value)?.[1];
  return file === undefined
    ? { value }
    : { file: file.replace(/^\$\{?(\w+)\}?$/, (_, name: string) => variable(container, name) ?? '') };
}

/** Variables for `begin`. The password goes in as the variable that redis-cli itself reads. */
function environmentOf({ container, ...database }: RunningDatabase): Record<string, string> {
  const args = serverArguments(container);
  const { value, file } = requiredPassword(container);
  return {
    SU_CONFIG: configFile(args),
    SU_PORT: option(args, 'port') ?? '',
    SU_SOCKET: option(args, 'unixsocket') ?? '',
    SU_PASSWORD_FILE: file ?? '',
    ...loginEnvironment(database),
    ...(value === undefined ? {} : { REDISCLI_AUTH: value }),
  };
}

// What is secret is read inside the container and goes to redis-cli by environment. Replies are judged, not exit
// codes: before 7.0, and without -e, redis-cli ends with 0 whatever the server says.
const begin = String.raw`
cli=$(command -v redis-cli || command -v valkey-cli) || { echo 'There is no redis-cli in the container.' >&2; exit 127; }
# config NAME: what the configuration file says
config() {
  for file in "$SU_CONFIG" /opt/bitnami/redis/etc/redis.conf /opt/bitnami/valkey/etc/valkey.conf; do
    [ -n "$file" ] && [ -r "$file" ] || continue
    set -- "$1" $(sed -n 's/^[[:space:]]*include[[:space:]]\{1,\}//p' "$file") "$file"
    name=$1
    shift
    cat "$@" 2>/dev/null | sed -n "s/^[[:space:]]*$name[[:space:]]\{1,\}//p" | tail -n 1 |
      sed 's/[[:space:]]*$//; s/^"\(.*\)"$/\1/'
    return
  done
}
port=${'$'}{SU_PORT:-$(config port)}
port=${'$'}{port:-${'$'}{REDIS_PORT_NUMBER:-${'$'}{VALKEY_PORT_NUMBER:-6379}}}
socket=${'$'}{SU_SOCKET:-$(config unixsocket)}
given=${'$'}{REDISCLI_AUTH-}
unset REDISCLI_AUTH
user=
ask() {
  [ -z "$user" ] || set -- --user "$user" "$@"
  if [ "$port" = 0 ]; then "$cli" -s "$socket" "$@"; else "$cli" -h 127.0.0.1 -p "$port" "$@"; fi
}
secret() {
  eval "value=\${$1-} file=\${$1_FILE-}"
  if [ -n "$value" ]; then printf '%s' "$value"; elif [ -n "$file" ] && [ -r "$file" ]; then cat "$file"; fi
}
# try [PASSWORD]: whether the server accepts it, or could not tell because it was not reached. try_as USER PASSWORD: whether
# it does; before 6 there are no users, and the client does not know --user.
try_as() {
  [ -n "$1" ] || return 1
  user=$1
  if try "$2"; then case $answer in *PONG | *LOADING* | *BUSY* | *MASTERDOWN*) return 0 ;; esac; fi
  user=
  return 1
}
try() {
  if [ "$#" = 0 ]; then unset REDISCLI_AUTH; elif [ -z "$1" ]; then return 1; else export REDISCLI_AUTH="$1"; fi
  answer=$(ask PING 2>&1 </dev/null)
  case $answer in
    *NOAUTH* | *WRONGPASS* | *NOPERM* | *'AUTH failed'* | *'invalid password'* | *'not permitted'*) return 1 ;;
  esac
}
log_in() {
  try || try "$given" || try "$(secret REDIS_PASSWORD)" || try "$(secret VALKEY_PASSWORD)" || try "$(secret REDIS_PASS)" ||
    ${loginVariables.map(([login, word]) => `try_as "\${${login}-}" "\${${word}-}" || try "\${${word}-}" ||`).join(' ')} try "${'$'}{VALKEYCLI_AUTH-}" || try "$(cat "$SU_PASSWORD_FILE" 2>/dev/null)" || try "$(config requirepass)"
}
`;

const refusedExit = 91;
const unreachableExit = 92;

const loggedIn = `${begin}
log_in || { printf '%s\\n' "$answer" >&2; exit ${refusedExit}; }
case $answer in *PONG | *LOADING* | *BUSY* | *MASTERDOWN*) ;; *) printf '%s\\n' "$answer" >&2; exit ${unreachableExit} ;; esac
`;

/** Runs a script that finds itself logged in. Throws SafeUpdateError `database` unless the exit code is 0. */
async function runLoggedIn(
  database: RunningDatabase,
  client: Client,
  what: string,
  script: string,
): Promise<string> {
  const finished = await client.attempt({
    what,
    script: `${loggedIn}${script}`,
    env: environmentOf(database),
  });
  if (finished.exitCode === 0) return finished.stdout;
  throw failure(database, what, finished);
}

function failure(
  { container }: RunningDatabase,
  what: string,
  { exitCode, stderr }: Finished,
): SafeUpdateError {
  const [title, said] = [titleOf(container), lastLines(stderr, container)];
  switch (exitCode) {
    case refusedExit:
      return new SafeUpdateError(
        'database',
        `${title} in ${container.name} does not let its own client in: ${said}`,
        {
          hint:
            'The password is taken from --requirepass in the command, REDISCLI_AUTH, REDIS_PASSWORD (or its _FILE ' +
            'variant) of the container, or the configuration file. Correct it to what the server has, or ' +
            sayInConfiguration(container),
        },
      );
    case unreachableExit:
      return new SafeUpdateError('database', `${title} in ${container.name} does not answer: ${said}`, {
        hint: `It is asked without TLS. If it has a port for TLS only, give it a socket too (unixsocket), or ${notDumped(container)}`,
      });
    default:
      return new SafeUpdateError(
        'database',
        `${title} in ${container.name}: ${what} failed with exit code ${exitCode}${said === '' ? '.' : `: ${said}`}`,
      );
  }
}

async function ready(database: RunningDatabase): Promise<boolean> {
  const client = clientOf(database, { title: titleOf(database.container) });
  try {
    const finished = await client.attempt({
      what: 'PING',
      script: `${begin}log_in || exit 0; case $answer in *PONG) exit 0 ;; *) exit 1 ;; esac`,
      env: environmentOf(database),
      timeout: Math.min(15_000, database.timeout),
    });
    // A server that refuses a password does answer; a dump then says what is wrong.
    return finished.exitCode === 0;
  } catch (error) {
    if (error instanceof SafeUpdateError && error.code === 'database') return false;
    throw error;
  }
}

const rdbName = 'dump.rdb';
const factsName = 'redis.json';

// Names that stay within their folder.
const fileName = z
  .string()
  .regex(/^[^/\0]+$/)
  .regex(/^[^-]/)
  .refine((name) => name !== '.' && name !== '..');

const factsSchema = z.object({
  format: z.literal(1),
  /** As the server says: 7.0.15. Valkey says which Redis it is compatible with. */
  version: z.string(),
  /** The folder of the server's files, inside its container. */
  dir: z.string(),
  dbfilename: fileName,
  appendonly: z.boolean(),
  appenddirname: fileName,
  appendfilename: fileName,
});

export type RedisFacts = z.infer<typeof factsSchema>;

const settings = ['dir', 'dbfilename', 'appendonly', 'appenddirname', 'appendfilename'] as const;

const askFacts = `
for name in ${settings.join(' ')}; do
  printf 'setting %s=%s\\n' "$name" "$(ask CONFIG GET "$name" | sed -n 2p)"
  printf 'file %s=%s\\n' "$name" "$(config "$name")"
done
ask INFO server
ask INFO persistence
printf 'program %s\\n' "$(redis-server --version 2>/dev/null || valkey-server --version 2>/dev/null)"`;

/** What `askFacts` printed → facts. CONFIG may be renamed away; then command, configuration file and defaults tell. Pure. */
export function readFacts(printed: string, container: Container): RedisFacts {
  const lines = printed.split('\n').map((line) => line.replace(/\r$/, ''));
  const after = (prefix: string): string | undefined => {
    const value = lines.find((line) => line.startsWith(prefix))?.slice(prefix.length);
    return value === '' ? undefined : value;
  };
  const args = serverArguments(container);
  const setting = (name: (typeof settings)[number]) =>
    after(`setting ${name}=`) ?? option(args, name) ?? after(`file ${name}=`);
  const absolute = (path: string | undefined) => (path?.startsWith('/') === true ? path : undefined);
  const enabled = after('aof_enabled:');
  const facts = {
    format: 1,
    version: after('redis_version:') ?? /\bv=(\d[\d.]*)/.exec(after('program ') ?? '')?.[1],
    dir: absolute(setting('dir')) ?? dataPath(container),
    dbfilename: setting('dbfilename') ?? 'dump.rdb',
    appendonly: enabled === undefined ? setting('appendonly') === 'yes' : enabled === '1',
    appenddirname: setting('appenddirname') ?? 'appendonlydir',
    appendfilename: setting('appendfilename') ?? 'appendonly.aof',
  };
  const parsed = factsSchema.safeParse(facts);
  if (parsed.success) return parsed.data;
  const fields = parsed.error.issues.map(({ path }) => path.join('.')).join(', ');
  throw new SafeUpdateError(
    'database',
    `${titleOf(container)} in ${container.name} does not say how it keeps its data: ${fields}`,
    {
      hint: 'Allow INFO, and CONFIG GET if it is renamed, for the client inside the container.',
    },
  );
}

async function askDataPath(database: RunningDatabase): Promise<string> {
  const client = clientOf(database, { title: titleOf(database.container) });
  return readFacts(await runLoggedIn(database, client, 'asking for its folder', askFacts), database.container)
    .dir;
}

async function dump(database: RunningDatabase, sink: Parameters<DatabaseEngine['dump']>[1]): Promise<void> {
  const { container } = database;
  const title = titleOf(container);
  const asking = clientOf(database, { title });
  const printed = await runLoggedIn(database, asking, 'asking for its settings', `${askFacts}\n${askDelay}`);
  const facts = readFacts(printed, container);
  const delay = /^delay ([1-9]\d*)\r?$/m.exec(printed)?.[1] ?? '';
  // Without the signal, which may be why the dump was cut off.
  const { signal: _, ...uncut } = database;
  const client = clientOf(database, {
    title,
    afterCut: async () =>
      delay === ''
        ? undefined
        : clientOf(uncut, { title }).attempt({
            what: 'putting a setting back',
            script: `${loggedIn}${putDelayBack}put_back`,
            env: { ...environmentOf(database), SU_DELAY: delay },
            timeout: Math.min(15_000, database.timeout),
          }),
  });
  if (facts.appendonly && majorOf(facts) < 4) {
    throw new SafeUpdateError(
      'database',
      `Redis ${facts.version} in ${container.name} cannot start an append-only file from a dump.`,
      { hint: `Take a cold backup, and ${notDumped(container)}` },
    );
  }
  await client.dump(
    {
      what: 'the transfer of the keys',
      script: `${loggedIn}${transfer}`,
      env: { ...environmentOf(database), SU_DIR: facts.dir, SU_FILE: facts.dbfilename, SU_DELAY: delay },
    },
    sink,
    rdbName,
    withoutEndMark,
  );
  await writeSmall(sink, factsName, `${JSON.stringify(facts, null, 2)}\n`);
}

async function fingerprint(database: RunningDatabase): Promise<Fingerprint> {
  const client = clientOf(database, { title: titleOf(database.container) });
  // While it loads its files it answers INFO, with the keys it has so far: counted then, data would seem to be gone.
  const script = `while ask INFO persistence | grep -q '^loading:1'; do sleep 1; done
ask INFO persistence; ask INFO keyspace; printf 'says %s\\n' "$(ask CONFIG GET save | tr '\\n' ' ')"`;
  return readKeys(await runLoggedIn(database, client, 'counting the keys', script));
}

/**
 * Keys of each database: of those that stay until somebody deletes them. Of the others fewer may be left at any time;
 * and a server that writes nothing down has none after every start. Pure.
 */
export function readKeys(printed: string): Fingerprint {
  const lines = printed.split(/\r?\n/);
  const forgets = lines.some((line) => /^says save *$/.test(line)) && !lines.includes('aof_enabled:1');
  const found = [...printed.matchAll(/^(db\d+):keys=(\d+),expires=(\d+)/gm)].map(
    ([, name = '', keys, expires]) => [name, Number(keys) - Number(expires)] as const,
  );
  return { of: 'keys', counts: forgets ? {} : Object.fromEntries(found) };
}

function majorOf({ version }: RedisFacts): number {
  return Number.parseInt(version, 10);
}

/** Seconds that a server waits before it sends its keys, in case another replica comes (7.0 and newer: 5). */
const askDelay = `printf 'delay %s\\n' "$(ask CONFIG GET repl-diskless-sync-delay | sed -n 2p)"`;

const putDelayBack = `put_back() { ask CONFIG SET repl-diskless-sync-delay "$SU_DELAY" >/dev/null 2>&1 </dev/null; }
`;

// No other replica comes while it is 0. It is put back when the script ends; where that was killed, by `afterCut`. A server
// that is started again has what its configuration says.
const withoutDelay = `${putDelayBack}if [ -n "$SU_DELAY" ]; then
  trap put_back EXIT
  trap 'exit 143' HUP INT TERM
  ask CONFIG SET repl-diskless-sync-delay 0 >/dev/null 2>&1 </dev/null
fi
`;

// As a replica first: nothing changes on the server's disk. Where it cannot be one (SYNC renamed away, a replica without
// its master), the server writes its own file, which counts only if LASTSAVE has moved and the status is "ok".
const transfer = String.raw`
${withoutDelay}
{ said=$(ask --rdb - 2>&1 >&3 3>&- </dev/null); status=$?; } 3>&1
case $said in
  *'Transfer finished with success'*) [ "$status" = 0 ] && exit 0 ;;
esac
case $said in
  *'SYNC sent'*) printf '%s\n' "$said" >&2; exit 1 ;;
esac
field() { ask INFO persistence | tr -d '\r' | sed -n "s/^$1://p"; }
before=$(ask LASTSAVE)
case $before in
  '' | *[!0-9]*) printf '%s\n' "$said" "LASTSAVE: $before" >&2; exit 1 ;;
esac
# LASTSAVE counts whole seconds.
while [ "$(date +%s)" -le "$before" ]; do sleep 1; done
while :; do
  answer=$(ask BGSAVE SCHEDULE)
  case $answer in
    *'already in progress'*) sleep 1 ;;
    Background*) break ;;
    *) printf '%s\n' "$said" "BGSAVE: $answer" >&2; exit 1 ;;
  esac
done
until [ "$(field rdb_bgsave_in_progress)" = 0 ] && [ "$(ask LASTSAVE)" -gt "$before" ]; do
  if [ "$(field rdb_bgsave_in_progress)" = 0 ] && [ "$(field rdb_last_bgsave_status)" = err ]; then
    echo 'BGSAVE failed; the log of the server says why' >&2
    exit 1
  fi
  sleep 0.2
done
[ "$(field rdb_last_bgsave_status)" = ok ] || { echo 'BGSAVE failed; the log of the server says why' >&2; exit 1; }
cat -- "$SU_DIR/$SU_FILE"`;

const markLength = 40;

/**
 * A server that sends its keys without having them in a file first ends them with a mark of 40 hexadecimal digits,
 * which redis-cli cannot cut off a pipe. What follows the RDB would be read as commands once it is the base of an
 * append-only file. No RDB ends like that: its ninth byte from the end is 0xFF. Pure.
 */
export async function* withoutEndMark(content: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let held = Buffer.alloc(0);
  for await (const chunk of content) {
    held = Buffer.concat([held, chunk]);
    if (held.length <= markLength) continue;
    yield held.subarray(0, -markLength);
    held = held.subarray(-markLength);
  }
  if (!/^[0-9a-f]{40}$/.test(held.toString('latin1'))) yield held;
}

async function readDumpedFacts(source: DumpSource): Promise<RedisFacts> {
  for (const name of source.names) {
    if (name === rdbName || name === factsName) continue;
    throw new SafeUpdateError('database', `The Redis dump is not whole: ${name} does not belong to it.`);
  }
  const text = (await readSmall(source, factsName)).toString('utf8');
  if (!source.names.includes(rdbName)) {
    throw new SafeUpdateError('database', `The Redis dump is incomplete: ${rdbName} is missing.`);
  }
  try {
    return factsSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new SafeUpdateError(
      'database',
      `The Redis dump is incomplete: ${factsName} cannot be understood.`,
      { cause },
    );
  }
}

/** By redis-check-rdb, which reads the whole file and compares its checksum. Nothing is written anywhere. */
async function check(database: RunningDatabase, source: DumpSource): Promise<void> {
  await readDumpedFacts(source);
  const title = titleOf(database.container);
  const stdin = readBack(source, rdbName);
  const what = 'reading back the dump';
  const finished = await clientOf(database, { title }).attempt({ what, script: checkScript, stdin });
  if (finished.exitCode === 127) throw failure(database, what, finished);
  const damaged = (why: string) =>
    new SafeUpdateError('database', `The ${title} dump is damaged or incomplete: ${why}`);
  const end = /\[offset (\d+)\] \\o\/ RDB looks OK/.exec(finished.stdout)?.[1];
  if (finished.exitCode !== 0 || end === undefined) throw damaged(reasonOf(finished));
  const rest = stdin.bytes() - Number(end);
  if (rest !== 0) throw damaged(`${rest} bytes follow its end.`);
}

// It wants the name of a file, and reads from the first byte to the last. A pipe made in here, because the one that
// docker makes may belong to root. What it leaves is read too, so that all of the file has been.
const checkScript = `
check=$(command -v redis-check-rdb || command -v valkey-check-rdb) ||
  { echo 'There is no redis-check-rdb in the container.' >&2; exit 127; }
cat | {
  LC_ALL=C "$check" /dev/stdin
  status=$?
  cat >/dev/null
  exit "$status"
}`;

/** Why redis-check-rdb refused. What it says of keys stays here: a key may be a session's token. */
function reasonOf({ stdout, stderr }: Finished): string {
  const lines = `${stderr}\n${stdout}`
    .split('\n')
    .filter((line) => /^\[offset \d+\]/.test(line) && !line.includes('AUX FIELD'));
  return lines.at(-1)?.trim() ?? 'redis-check-rdb does not accept it.';
}

/**
 * Puts the dump where the server looks first when it starts. The former files of the server are removed once the new
 * ones are complete beside them.
 */
async function restore(folder: DataFolder, source: DumpSource): Promise<void> {
  const facts = await readDumpedFacts(source);
  const env = { SU_STAGE: `.safe-update-restore-${randomUUID()}` };
  const removeStage = () => folder.run('rm -rf -- "$DATA/$SU_STAGE"', { env });
  const untouched = { state: 'The files of the server are as they were.' };

  const hash = createHash('sha256');
  let tail = Buffer.alloc(0);
  const stdin = readBack(source, rdbName, (chunk) => {
    hash.update(chunk);
    tail = Buffer.concat([tail, chunk.subarray(-9)]).subarray(-9);
  });
  const staged = await folder.run(stage, { env, stdin: stdin.stream });
  const digest = hash.digest('hex');
  if (staged.exitCode !== 0 || staged.stdout.trim() !== digest || tail[0] !== 0xff) {
    await removeStage();
    stdin.proveRead();
    const why = staged.exitCode === 0 ? 'what arrived is not a whole dump' : staged.stderr.trim();
    throw new SafeUpdateError('database', `The Redis dump cannot be put back: ${why}`, untouched);
  }

  const placed = await folder.run(place, {
    env: {
      ...env,
      SU_RDB: facts.dbfilename,
      SU_AOF: facts.appendfilename,
      SU_AOF_FOLDER: facts.appenddirname,
      // Since Redis 7.0 the append-only file is a folder of several with a manifest.
      SU_KIND: facts.appendonly ? (majorOf(facts) >= 7 ? 'parts' : 'single') : 'none',
      SU_MANIFEST: manifestOf(facts.appendfilename),
    },
  });
  if (placed.exitCode === 0 && placed.stdout === `placing\n${digest}\n`) return;
  const message = `The Redis dump could not be put in place: ${placed.stderr.trim()}`;
  if (!placed.stdout.startsWith('placing')) {
    await removeStage();
    throw new SafeUpdateError('database', message, untouched);
  }
  throw new SafeUpdateError('database', message, {
    state: 'The folder of the server holds an incomplete restore.',
    hint: 'Run the restore again; do not start the server before.',
  });
}

/** The manifest of an append-only file that consists of one RDB and nothing since. Pure. */
export function manifestOf(appendfilename: string): string {
  // As sdssplitargs reads it, with which Redis parses the lines.
  const name = (suffix: string): string => {
    const plain = `${appendfilename}${suffix}`;
    return /[\s"'\\]/.test(plain) ? `"${plain.replace(/["\\]/g, '\\$&')}"` : plain;
  };
  return `file ${name('.1.base.rdb')} seq 1 type b\nfile ${name('.1.incr.aof')} seq 1 type i\n`;
}

const stage = `set -eu
cd -- "$DATA"
umask 077
rm -rf -- .safe-update-restore-*
mkdir -- "$SU_STAGE"
cat > "$SU_STAGE/rdb"
sync -- "$SU_STAGE/rdb"
sha256sum < "$SU_STAGE/rdb" | cut -d ' ' -f 1`;

// The server must be able to read, and later to replace, what root puts here: owner and mode are those of the files
// before, or the folder's owner and the mode Redis itself would give.
const place = `set -eu
cd -- "$DATA"
umask 022
old=
for file in "$SU_RDB" "$SU_AOF_FOLDER/$SU_AOF.manifest" "$SU_AOF"; do
  if [ -z "$old" ] && [ -f "$file" ]; then old=$file; fi
done
owner=$(stat -L -c %u:%g -- "\${old:-.}")
mode=644
if [ -n "$old" ]; then mode=$(stat -L -c %a -- "$old"); fi
own() { chown -- "$owner" "$@"; chmod -- "$mode" "$@"; }
own "$SU_STAGE/rdb"
case $SU_KIND in
  parts)
    ln -- "$SU_STAGE/rdb" "$SU_STAGE/base" 2>/dev/null || cp -- "$SU_STAGE/rdb" "$SU_STAGE/base"
    : > "$SU_STAGE/incr"
    printf '%s' "$SU_MANIFEST" > "$SU_STAGE/manifest"
    own "$SU_STAGE/base" "$SU_STAGE/incr" "$SU_STAGE/manifest"
    ;;
  single)
    # The server appends to it in place: no hard link to the RDB.
    cp -- "$SU_STAGE/rdb" "$SU_STAGE/aof"
    own "$SU_STAGE/aof"
    ;;
esac
sync
echo placing
rm -f -- "$SU_AOF"
if [ -d "$SU_AOF_FOLDER" ]; then
  # The one without a suffix: what 7.0 made of the single file of an older version.
  rm -f -- "$SU_AOF_FOLDER/$SU_AOF" "$SU_AOF_FOLDER/$SU_AOF".*
fi
mv -T -- "$SU_STAGE/rdb" "$SU_RDB"
live=$SU_RDB
case $SU_KIND in
  parts)
    if [ ! -d "$SU_AOF_FOLDER" ]; then
      mkdir -- "$SU_AOF_FOLDER"
      chown -- "$owner" "$SU_AOF_FOLDER"
    fi
    live=$SU_AOF_FOLDER/$SU_AOF.1.base.rdb
    mv -T -- "$SU_STAGE/base" "$live"
    mv -T -- "$SU_STAGE/incr" "$SU_AOF_FOLDER/$SU_AOF.1.incr.aof"
    mv -T -- "$SU_STAGE/manifest" "$SU_AOF_FOLDER/$SU_AOF.manifest"
    ;;
  single)
    live=$SU_AOF
    mv -T -- "$SU_STAGE/aof" "$live"
    ;;
  none)
    if [ -d "$SU_AOF_FOLDER" ]; then rmdir -- "$SU_AOF_FOLDER" 2>/dev/null || true; fi
    ;;
esac
rmdir -- "$SU_STAGE"
sync
sha256sum < "$live" | cut -d ' ' -f 1`;
