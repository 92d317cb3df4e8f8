import { Readable } from 'node:stream';
import { SafeUpdateError } from '../model/error.ts';
import type { Container } from '../model/project.ts';
import { clientOf, lastLines, sayInConfiguration, type Client, type ClientCommand } from './client.ts';
import type { RunningDatabase } from './database.ts';
import { loginEnvironment, loginVariables } from './logins.ts';
import { literal } from './mysql-accounts.ts';
import { commandRole, type ServerLooks } from './recognise.ts';

/** How a server of MySQL's family lets us in. Names of variables, not what they hold. */
export interface Session {
  client: Client;
  /** Variables that `loggedIn` scripts need. */
  env: Record<string, string>;
  /** The user of the operating system, where the server asks for one (unix_socket authentication). */
  user?: string;
  /** The server's own word, whatever its image is called. */
  isMariadb: boolean;
  /** As the server says: 10.11.19-MariaDB. */
  version: string;
  /** May read and replace everything. */
  administrator: boolean;
  /** Who is logged in, as SQL takes it: `'root'@'localhost'`. */
  account: string;
  dataDirectory: string;
}

// Names of variables go into the scripts, never values: what is secret is read inside the container and stays there.
// `secret NAME`: the value of NAME, or the content of the file that NAME_FILE (linuxserver: FILE__NAME) names.
const begin = String.raw`
PATH=$PATH:/opt/bitnami/mariadb/bin:/opt/bitnami/mysql/bin:/usr/local/mysql/bin:/usr/libexec
client=$(command -v mariadb || command -v mysql) || {
  echo 'There is no mariadb and no mysql client in the container.' >&2
  exit 127
}
dumper=$(command -v mariadb-dump || command -v mysqldump)
secret() {
  [ -n "$1" ] || return 0
  eval "value=\${$1-} file=\${$1_FILE:-\${FILE__$1-}}"
  if [ -n "$value" ]; then printf '%s' "$value"; elif [ -n "$file" ] && [ -r "$file" ]; then cat "$file"; fi
}
# log_in USER_VARIABLE PASSWORD_VARIABLE; what the container has set for its own clients must not interfere
log_in() {
  name=$(secret "$1") word=$(secret "$2")
  name=${'$'}{name:-root}
  unset MYSQL_HOST MYSQL_TCP_PORT MYSQL_UNIX_PORT MARIADB_HOST MYSQL_GROUP_SUFFIX MYSQL_DEBUG
  export MYSQL_PWD="$word" MYSQL_TEST_LOGIN_FILE=/dev/null LC_ALL=C
}
# run PROGRAM [OPTION...]: as whom log_in said, on the socket $SU_SOCKET, or by TCP where there is none
run() {
  program=$1
  shift
  if [ -n "$SU_SOCKET" ]; then set -- --protocol=socket --socket="$SU_SOCKET" "$@"; else
    set -- --protocol=tcp --host=127.0.0.1 --port="$SU_PORT" "$@"
  fi
  exec "$program" --no-defaults --user="$name" --default-character-set=utf8mb4 --max-allowed-packet=1073741824 "$@"
}
`;

// A pair that is not set falls back to the user root without a password.
const logins: readonly (readonly [user: string, password: string])[] = [
  ['MARIADB_ROOT_USER', 'MARIADB_ROOT_PASSWORD'],
  ['MYSQL_ROOT_USER', 'MYSQL_ROOT_PASSWORD'],
  ['', 'MYSQL_PWD'],
  ['', ''],
  ['MARIADB_USER', 'MARIADB_PASSWORD'],
  ['MYSQL_USER', 'MYSQL_PASSWORD'],
  ...loginVariables,
];

// One who may do all this, and hand it on, may read and replace everything.
const enough = ['SELECT', 'INSERT', 'CREATE', 'DROP', 'ALTER', 'EVENT', 'TRIGGER', 'CREATE USER', 'RELOAD'];

// The kernel says which sockets somebody listens on. The client of the X protocol's socket would wait for ever.
const connectScript = `${begin}
initialising=
if [ -n "$SU_PRIVATE" ]; then
  for process in /proc/[0-9]*; do
    case $(cat "$process/comm" 2>/dev/null) in
      mariadbd | mysqld) tr '\\0' '\\n' <"$process/cmdline" | grep -qE -- "$SU_PRIVATE" && initialising=initialising ;;
    esac
  done
fi
facts="SELECT 'safe-update', (SELECT COUNT(*) = ${enough.length} FROM information_schema.user_privileges
  WHERE REPLACE(grantee, '''', '') = CURRENT_USER() AND is_grantable = 'YES'
  AND privilege_type IN (${enough.map((right) => `'${right}'`).join(', ')})), VERSION(), @@datadir, CONNECTION_ID(),
  HEX(LEFT(CURRENT_USER(), LENGTH(CURRENT_USER()) - 1 - LENGTH(SUBSTRING_INDEX(CURRENT_USER(), '@', -1)))),
  HEX(SUBSTRING_INDEX(CURRENT_USER(), '@', -1))"
lesser= errors= blank=
try() {
  # Without a password once for each user and socket is enough.
  if [ -z "$(secret "$2")" ]; then
    this=" $(secret "$1")@$SU_SOCKET "
    case $blank in *"$this"*) return ;; esac
    blank="$blank$this"
  fi
  said=$(log_in "$1" "$2"; run "$client" --connect-timeout=10 --batch --skip-column-names -e "$facts" 2>&1 </dev/null)
  found=$(printf '%s\\n' "$said" | grep '^safe-update')
  if [ -n "$found" ]; then
    found=$(printf '%s\\n' "$found" "$1" "$2" "$SU_SOCKET" "$SU_PORT" "$initialising")
    case $found in "safe-update	1	"*) printf '%s' "$found"; exit 0 ;; esac
    lesser=\${lesser:-$found}
  else
    errors="$errors
$said"
  fi
}
SU_PORT=\${SU_PORT:-\${MARIADB_PORT_NUMBER:-\${MYSQL_PORT_NUMBER:-\${MYSQL_TCP_PORT:-3306}}}}
listening=$(sed -n 's/^[^ ]* [^ ]* [^ ]* 00010000 .* \\(\\/[^ ].*\\)$/\\1/p' /proc/net/unix 2>/dev/null | grep -v mysqlx)
set -f
IFS='
'
for SU_SOCKET in $listening /run/mysqld/mysqld.sock /var/lib/mysql/mysql.sock /tmp/mysql.sock ''; do
  unset IFS
  [ -z "$SU_SOCKET" ] || [ -S "$SU_SOCKET" ] || continue
  ${logins.map(([user, password]) => `try '${user}' '${password}'`).join('\n  ')}
done
if [ -n "$lesser" ]; then printf '%s' "$lesser"; exit 0; fi
printf '%s' "$initialising"
printf '%s\\n' "$errors" >&2
exit 2`;

const loggedIn = `${begin}
log_in "$SU_USER" "$SU_PASSWORD"
`;

// MySQL does not see that a client was killed while its statement waits for a lock, and would run the statement in the
// end, be it DROP DATABASE. Nothing says whose client it was; but it logged in later than we did, as the same user.
const endWaiting = `
waiting="SELECT p.id FROM information_schema.processlist p, information_schema.processlist me
  WHERE me.id = CONNECTION_ID() AND p.user = me.user AND p.host = me.host AND p.id > $SU_SINCE AND p.id <> me.id
  AND p.command = 'Query' AND p.state LIKE 'Waiting for %'"
for id in $(run "$client" --batch --skip-column-names -e "$waiting" </dev/null); do
  (run "$client" -e "KILL $id" </dev/null)
done`;

export type Connection =
  | { session: Session; initialising: boolean }
  /** The server may answer all the same, and refuse. */
  | { stderr: string; initialising: boolean };

// With these the images' entrypoints start the server that is only theirs: official, percona; sclorg; bitnami.
const privateOption = '^--(skip[-_]networking|port=0|bind[-_]address=127[.]0[.]0[.]1)';

/** Tries the logins that the container's environment gives until one may do everything. */
export async function tryToConnect(
  database: RunningDatabase,
  { title, looks, limit = database.timeout }: { title: string; looks: ServerLooks; limit?: number },
): Promise<Connection> {
  const { container } = database;
  const plain = clientOf(database, { title });
  const { arguments: args } = commandRole(looks, container);
  const own = container.command.some((word) => new RegExp(privateOption).test(word));
  const attempt = async (user?: string): Promise<Connection> => {
    const finished = await plain.attempt({
      what: 'connecting',
      script: connectScript,
      env: {
        SU_PRIVATE: own ? '' : privateOption,
        SU_PORT: option(args, 'port') ?? '',
        ...loginEnvironment(database),
      },
      ...(user === undefined ? {} : { user }),
      timeout: Math.min(limit, database.timeout),
    });
    if (finished.exitCode !== 0)
      return { stderr: finished.stderr, initialising: finished.stdout === 'initialising' };
    const [facts = '', userVariable = '', passwordVariable = '', socket = '', port = '', initialising = ''] =
      finished.stdout.split('\n');
    const [, administrator, version = '', dataDirectory = '', connection = '', ...account] =
      facts.split('\t');
    const env = {
      SU_USER: userVariable,
      SU_PASSWORD: passwordVariable,
      SU_SOCKET: socket,
      SU_PORT: port,
      SU_SINCE: connection,
      ...loginEnvironment(database),
    };
    const runAs = user === undefined ? {} : { user };
    const afterCut = () => database.shell.run(`${loggedIn}${endWaiting}`, { env, ...runAs, timeout: 15_000 });
    return {
      session: {
        client: clientOf(database, { title, afterCut }),
        env,
        ...runAs,
        isMariadb: version.includes('MariaDB'),
        version,
        administrator: administrator === '1',
        account: account.map((part) => literal(Buffer.from(part, 'hex').toString('utf8'))).join('@'),
        dataDirectory,
      },
      initialising: initialising !== '',
    };
  };
  const first = await attempt();
  if ('session' in first ? first.session.administrator : !refused(first.stderr)) return first;
  // The server may know the operating system's own root (unix_socket, auth_socket).
  const asRoot = await attempt('0');
  return 'session' in asRoot && asRoot.session.administrator ? asRoot : first;
}

/** The last value of an option of the server: `--port=3307`, `--port 3307`. */
export function option(args: readonly string[], name: string): string | undefined {
  return args
    .map((word, index) =>
      word.startsWith(`--${name}=`)
        ? word.slice(name.length + 3)
        : word === `--${name}`
          ? args[index + 1]
          : undefined,
    )
    .findLast((value) => value !== undefined);
}

/** Whether a server said this, rather than the client: its errors begin at 2000, and the server's are elsewhere. Pure. */
export function refused(stderr: string): boolean {
  return /^ERROR (?!2\d{3}\b)\d+ \(/m.test(stderr);
}

/** Throws SafeUpdateError `database` unless somebody who may do everything can log in. */
export async function connect(
  database: RunningDatabase,
  { title, looks }: { title: string; looks: ServerLooks },
): Promise<Session> {
  const connection = await tryToConnect(database, { title, looks });
  const { container } = database;
  if (!('session' in connection)) {
    throw new SafeUpdateError(
      'database',
      `${title} in ${container.name} does not let its own client in: ${refusals(connection.stderr, container)}`,
      {
        hint:
          'The password is taken from MARIADB_ROOT_PASSWORD or MYSQL_ROOT_PASSWORD (or their _FILE variants) of the ' +
          `container. Correct it to what the server has, or ${sayInConfiguration(container)}`,
      },
    );
  }
  if (!connection.session.administrator) {
    throw new SafeUpdateError(
      'database',
      `${title} in ${container.name}: no login found in the container's environment may read and replace everything, ` +
        'and only such a one can dump every database and user.',
      {
        hint:
          'Give the container MARIADB_ROOT_PASSWORD or MYSQL_ROOT_PASSWORD, as root has it. Where the image made up ' +
          `a password at its first start, its log of that time says which: ${sayInConfiguration(container)}`,
      },
    );
  }
  return connection.session;
}

/** What the server itself said to the logins that were tried; where it said nothing, what the client did. Pure. */
function refusals(stderr: string, container: Container): string {
  const said = stderr.split('\n').filter((line) => refused(line));
  return lastLines(said.length > 0 ? said.join('\n') : stderr, container);
}

/** Runs a script that finds itself logged in. */
export function command(
  session: Session,
  what: string,
  script: string,
  env: Record<string, string> = {},
): ClientCommand {
  return {
    what,
    script: `${loggedIn}${script}`,
    env: { ...session.env, ...env },
    ...(session.user === undefined ? {} : { user: session.user }),
  };
}

/**
 * Rows of the results of statements, each as its columns. What the statements say is in no list of processes. With
 * `--force`, a statement that fails does not keep those after it from running, and is no error.
 */
export async function query(
  session: Session,
  what: string,
  sql: string,
  force?: '--force',
): Promise<string[][]> {
  const asked = {
    ...command(
      session,
      what,
      'run "$client" --batch --skip-column-names --init-command="$SU_INIT" $SU_FORCE',
      // Names and literals in one way of writing, whatever the server prefers.
      { SU_INIT: "SET SESSION sql_mode = ''", SU_FORCE: force ?? '' },
    ),
    stdin: ofText(sql),
  };
  const printed =
    force === undefined ? await session.client.run(asked) : (await session.client.attempt(asked)).stdout;
  return printed
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split('\t').map(unescaped));
}

/** A script that is given to a client whole. */
function ofText(text: string): NonNullable<ClientCommand['stdin']> {
  const content = Buffer.from(text);
  return { stream: Readable.from([content]), bytes: () => content.length, proveRead: () => undefined };
}

/** What the client's batch mode makes of a value: a tab, a line break and a backslash are escaped. Pure. */
function unescaped(column: string): string {
  const signs: Record<string, string> = { n: '\n', t: '\t', '0': '\0' };
  return column.replace(/\\(.)/g, (_, sign: string) => signs[sign] ?? sign);
}
