import { beforeAll, describe, expect, it } from 'vitest';
import { hasMongo, withoutMongo } from '../mongo-image.ts';
import { docker } from './docker.ts';
import { following } from './page.ts';
import { eventually, project, type SealedBackup, type Stack } from './stack.ts';

/** Without a user, for whom the tools would ask for the password on a terminal; the page says what to leave out then. */
const compose = `
services:
  blog:
    image: mariadb:10.11
    command: [--innodb-flush-log-at-trx-commit=0]
    environment: { MARIADB_ROOT_PASSWORD: 'pa"ss', MARIADB_ROOT_HOST: '%', MARIADB_DATABASE: news }
    volumes: ['blog:/var/lib/mysql']
    healthcheck: { test: 'MYSQL_PWD=$$MARIADB_ROOT_PASSWORD mariadb -h 127.0.0.1 -uroot -e "SELECT 1"', interval: 1s, retries: 90 }
  wiki:
    image: safe-update-fixtures/app:1.0.0
    user: '0:0'
    entrypoint: [sleep, infinity]
    stop_grace_period: 0s
    volumes: ['wiki:/wiki']
MONGO
volumes: { blog: {}, wiki: {}, docs: {} }
`;
const mongo = `  docs:
    image: mongo:7
    volumes: ['docs:/data/db']
`;
const withMongo = await hasMongo('MongoDB, followed by hand');

let stack: Stack;
let backup: SealedBackup;
let run: ReturnType<typeof following>;

async function inside(service: string, ...argv: string[]): Promise<string> {
  const { Id } = await stack.container(service);
  return docker(['exec', Id, ...argv]);
}
const blog = (words: string): Promise<string> =>
  inside('blog', 'sh', '-c', 'MYSQL_PWD=$MARIADB_ROOT_PASSWORD exec mariadb -uroot -N -e "$1"', 'sh', words);
const wiki = (words: string): Promise<string> =>
  inside(
    'wiki',
    'python3',
    '-c',
    'import sqlite3, sys\nwith sqlite3.connect("/wiki/notes.db") as c: print(c.execute(sys.argv[1]).fetchall())',
    words,
  );
const docs = (words: string): Promise<string> =>
  inside('docs', 'env', 'HOME=/tmp', 'mongosh', '--quiet', '--norc', '--eval', words, 'shop');

beforeAll(async () => {
  stack = await project({ 'compose.yaml': compose.replace('MONGO\n', withMongo ? mongo : '') });
  await stack.up();
  await eventually(() =>
    blog('CREATE TABLE news.posts AS SELECT 1 AS id; CREATE USER reader IDENTIFIED BY "x"'),
  );
  await wiki('CREATE TABLE notes (text)');
  await wiki("INSERT INTO notes VALUES ('first')");
  if (withMongo) await eventually(() => docs('db.orders.insertOne({ _id: 1 })'));
  const made = await stack.safeUpdate(['backup', '--yes', '--consistency', 'hot', '--stable-for', '1s']);
  expect(made.exitCode, made.story).toBe(0);
  const [sealed] = await stack.backups();
  if (sealed === undefined) throw new Error('no backup');
  backup = sealed;
  run = following(stack, backup);
});

describe('docs/backup-format.md, followed by hand for other databases', () => {
  it('brings a MariaDB database and its users back', async () => {
    await blog('DROP TABLE news.posts; CREATE TABLE news.later (id INT); DROP USER reader');
    await run('A MariaDB or MySQL database', { SERVICE: 'blog', DUMP: 'databases/blog/news.sql' });
    expect(await blog('SHOW TABLES FROM news')).toBe('posts');
    expect(await blog("SELECT user FROM mysql.user WHERE user = 'reader'")).toBe('reader');
  });

  it('brings a SQLite file back', async () => {
    await wiki('DELETE FROM notes');
    const file = { FILE: 'notes.db', DUMP: 'databases/wiki-notes.db/database.sqlite' };
    await run('A SQLite file', { SERVICE: 'wiki', VOLUME: `${stack.project}_wiki`, ...file });
    expect(await wiki('SELECT text FROM notes')).toBe("[('first',)]");
  });

  it.runIf(withMongo)(`brings MongoDB databases back${withoutMongo}`, async () => {
    await docs('db.orders.drop(); db.later.insertOne({})');
    const adapt = (line: string): string =>
      line.replace(' --username root --authenticationDatabase admin', '').replace(' exec ', ' exec -T ');
    await run('MongoDB databases', { SERVICE: 'docs' }, { adapt });
    expect(await docs('print(JSON.stringify([db.getCollectionNames(), db.orders.find().toArray()]))')).toBe(
      '[["orders"],[{"_id":1}]]',
    );
  });
});
