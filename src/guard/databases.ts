import { flags, parseFlags } from './flags.ts';
import type { Invocation, Machine } from './invocation.ts';

const sqlClient = flags(
  '-c --command= --execute=',
  '-e',
  '-f --file=',
  '-U --username=',
  '-u --user=',
  '-d --dbname=',
  '-D --database=',
  '-h --host=',
  '-P --port=',
  '-p',
  '-v --set= --variable=',
  '-w',
  '-t',
  '-A',
  '-q',
  '-X',
  '-1',
);
const mysqlClient = flags(
  '-e --execute=',
  '-u --user=',
  '-D --database=',
  '-h --host=',
  '-P --port=',
  '-p --password=?',
  '-S --socket=',
  '--defaults-file=',
  '-N',
  '-B',
  '-s',
);
const queryClient = flags(
  '-q --query=',
  '-e --execute=',
  '-h --host=',
  '-u --user=',
  '-p --port=',
  '--password=',
  '-d --database=',
);
const redisClient = flags(
  '-h=',
  '-p=',
  '-a=',
  '-u=',
  '-n=',
  '-s=',
  '-r=',
  '-i=',
  '-x',
  '-c',
  '--user=',
  '--pass=',
  '-t=',
  '-d=',
  '-D=',
  '--sni=',
  '--cacert=',
  '--cacertdir=',
  '--cert=',
  '--key=',
  '--tls-ciphers=',
  '--tls-ciphersuites=',
  '--no-auth-warning',
  '--raw',
  '--tls',
);
const cockroachClient = flags(
  '-e --execute=',
  '-d --database=',
  '-u --user=',
  '-p --port=',
  '--host=',
  '--url=',
);
const mongoClient = flags(
  '--eval=',
  '--host=',
  '--port=',
  '-u --username=',
  '-p --password=',
  '--authenticationDatabase=',
  '--quiet',
  '--norc',
  '-f --file=',
);

interface Framework {
  /** What empties a database: words after the program's name, in this order, with others between them. */
  tasks: readonly string[];
}

const django: Framework = { tasks: ['flush', 'reset_db'] };
const rails: Framework = {
  tasks: [
    'db:drop',
    'db:reset',
    'db:purge',
    'db:schema:load',
    'db:setup',
    'db:migrate:reset',
    'db:truncate_all',
    'db:seed:replant',
  ],
};
const adonis: Framework = {
  tasks: ['migration:fresh', 'migration:reset', 'migration:refresh', 'db:wipe', 'db:truncate'],
};
const sequelize: Framework = { tasks: ['db:drop'] };
const typeorm: Framework = { tasks: ['schema:drop'] };
const drush: Framework = { tasks: ['sql:drop', 'sql-drop'] };

/** Frameworks' own ways to empty a database, by the name of the program. */
const frameworks: Partial<Record<string, Framework>> = {
  'manage.py': django,
  'django-admin': django,
  rails,
  rake: rails,
  artisan: {
    tasks: ['migrate:fresh', 'migrate:reset', 'migrate:refresh', 'db:wipe'],
  },
  console: { tasks: ['doctrine:database:drop', 'doctrine:schema:drop'] },
  ace: adonis,
  'ace.js': adonis,
  prisma: { tasks: ['migrate reset', 'db push --force-reset'] },
  sequelize,
  'sequelize-cli': sequelize,
  typeorm,
  'typeorm-ts-node-commonjs': typeorm,
  'typeorm-ts-node-esm': typeorm,
  knex: { tasks: ['migrate:rollback --all'] },
  mix: { tasks: ['ecto.drop', 'ecto.reset'] },
  payload: { tasks: ['migrate:fresh', 'migrate:reset', 'migrate:refresh'] },
  alembic: { tasks: ['downgrade base'] },
  flask: { tasks: ['db downgrade base'] },
  wp: { tasks: ['db reset', 'db drop'] },
  drush,
  'drush.php': drush,
  flyway: { tasks: ['clean'] },
  liquibase: { tasks: ['dropAll', 'drop-all'] },
  dbmate: { tasks: ['drop'] },
  goose: { tasks: ['reset'] },
  migrate: { tasks: ['drop'] },
};

/** Programs that look for text, or show it. */
const speaking = new Set(
  'echo printf grep egrep fgrep rg ag ack cat ls head tail less sed git man which type find test ['.split(
    ' ',
  ),
);

/** Words behind which nothing is emptied: the name of something new, a subject to explain. */
const idle = new Set(['help', '--help', '-h', '-T', '--tasks', 'create', 'new', 'generate']);

/** Words and characters of a command that are looked through, at most. */
const mostWords = 30;
const mostLetters = 1000;

/**
 * Whether a framework's command is one that empties a database. That it says it is for tests (`RAILS_ENV=test`) counts for
 * nothing: with a DATABASE_URL, as containers have it, it is the same database.
 */
function resets(name: string, invocation: Invocation): boolean {
  if (speaking.has(name)) return false;
  const text = [name, ...invocation.words.slice(1, mostWords)].join(' ').slice(0, mostLetters);
  const words = text.split(/[\s,]+/);
  return words.slice(0, mostWords).some((word, index) => {
    const program = word.split('/').at(-1) ?? '';
    const framework = Object.hasOwn(frameworks, program) ? frameworks[program] : undefined;
    const rest = words.slice(index + 1);
    return (
      framework !== undefined &&
      !rest.some((one) => one === '--help' || one === '-h') &&
      framework.tasks.some((task) => isTask(task.split(' '), rest))
    );
  });
}

/** Whether the words of a task come in these, in their order. `db:drop:primary` is a part of `db:drop`. */
function isTask(task: readonly string[], words: readonly string[]): boolean {
  let at = 0;
  for (const word of words) {
    if (idle.has(word)) return false;
    const wanted = task[at] ?? '';
    if (word === wanted || word.startsWith(`${wanted}:`)) at += 1;
    if (at === task.length) return true;
  }
  return false;
}

/** Report a command in a container that empties a database. */
export function judgeDatabase(name: string, invocation: Invocation, machine: Machine): void {
  const words = invocation.words.slice(1);
  const input = invocation.stdin ?? '';
  const lost = (what: string): void => {
    machine.report(invocation, { rule: 'payload-database', loses: what });
  };
  const values = (table: ReturnType<typeof flags>, ...names: string[]): string[] => {
    const { given } = parseFlags(table, words, { interspersed: true });
    return [...names.flatMap((flag) => given.get(flag) ?? []), input];
  };
  const sql = (texts: string[]): void => {
    const verb = texts.map(destructiveSql).find((found) => found !== undefined);
    if (verb !== undefined) lost(`what the statement ${verb} names`);
  };
  switch (name) {
    case 'dropdb':
      if (words.length > 0 && !words.includes('--help')) lost('the database');
      return;
    case 'mysqladmin':
    case 'mariadb-admin':
      if (words.includes('drop')) lost('the database');
      return;
    case 'psql':
    case 'pgcli':
      sql(values(sqlClient, 'command'));
      return;
    case 'mysql':
    case 'mariadb':
      sql(values(mysqlClient, 'execute'));
      return;
    case 'clickhouse-client':
    case 'clickhouse':
    case 'cqlsh':
    case 'sqlcmd':
    case 'influx':
      sql([
        ...values(queryClient, 'query', 'execute'),
        ...(parseFlags(flags('-Q='), words, { interspersed: true }).given.get('Q') ?? []),
      ]);
      return;
    case 'cockroach':
      sql(values(cockroachClient, 'execute'));
      return;
    case 'sqlite3':
      sql([...words, input]);
      return;
    case 'redis-cli':
    case 'valkey-cli':
    case 'keydb-cli': {
      const { rest } = parseFlags(redisClient, words, { interspersed: false });
      const lines = [rest.join(' '), ...input.split('\n')].map((line) => line.trim().toUpperCase());
      if (
        lines.some((line) => /^"?(FLUSHALL|FLUSHDB)\b/.test(line) || /^EVAL\b.*\bFLUSH(ALL|DB)\b/.test(line))
      )
        lost('every key');
      return;
    }
    case 'mongosh':
    case 'mongo':
      if (values(mongoClient, 'eval').some(destructiveMongo)) lost('the database or collection');
      return;
    default:
      if (resets(name, invocation)) lost('what the database holds');
  }
}

function destructiveMongo(code: string): boolean {
  return /\.\s*(dropDatabase|drop)\s*\(|\.\s*(deleteMany|remove)\s*\(\s*\{\s*\}\s*[,)]|dropDatabase\s*:/.test(
    code,
  );
}

/** The statement in an SQL text that deletes what can hold data: DROP TABLE, TRUNCATE. Strings and comments are skipped. */
function destructiveSql(text: string): string | undefined {
  const plain = text
    .slice(0, 100_000)
    // A comment that nobody closes goes on to the end.
    .replace(/'(?:[^']|'')*'|--[^\n]*|\/\*[\s\S]*?(?:\*\/|(?![\s\S]))|^[ \t]*\\.*$/gm, ' ')
    .replace(/[\s"`]+/g, ' ');
  for (const statement of plain.split(/;|\$\w*\$| BEGIN | THEN /i)) {
    const found =
      /^\s*(?:EXPLAIN ANALYZE )?(DROP (?:DATABASE|SCHEMA|TABLE|TABLESPACE|OWNED|KEYSPACE|COLLECTION|USER MAPPING|MATERIALIZED VIEW)|TRUNCATE|ALTER TABLE [^;]{1,200}? DROP (?:COLUMN|PARTITION))\b/i.exec(
        statement,
      );
    if (found?.[1] !== undefined)
      return found[1].toUpperCase().startsWith('ALTER') ? 'ALTER TABLE … DROP' : found[1].toUpperCase();
  }
  return undefined;
}
