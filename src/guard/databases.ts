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
  '-p --password',
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
  '--no-auth-warning',
  '--raw',
  '--tls',
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

/** Frameworks' own ways to empty a database. */
const frameworks =
  /(^| )(manage\.py (flush|reset_db)|(rails|rake) (.* )?db:(drop|reset|purge|schema:load|migrate:reset)|artisan (migrate:(fresh|reset|refresh)|db:wipe)|prisma (migrate reset|db push .*--force-reset)|doctrine:(database|schema):drop( |$))/;

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
      if (frameworks.test(` ${[name, ...words.slice(0, 30)].join(' ')}`.slice(0, 500)))
        lost('what the database holds');
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
    .replace(/'(?:[^']|'')*'|--[^\n]*|\/\*[\s\S]*?\*\/|^[ \t]*\\.*$/gm, ' ')
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
