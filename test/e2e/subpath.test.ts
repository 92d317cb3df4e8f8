import { expect, it } from 'vitest';
import { turn } from '../faults/campaign.ts';
import { docker } from './docker.ts';
import { buildImage, local, shell } from './stack-small.ts';
import { eventually, project, type Stack } from './stack.ts';

const fast = ['--yes', '--json', '--stable-for', '1s', '--verify-timeout', '60s', ...local];

/** One volume, and in it a folder for each service. The image of the application has sqlite3 and does nothing. */
const compose = (app: string): string => `
services:
  init:
    image: debian:bookworm-slim
    command: [mkdir, -p, /all/data/pg, /all/data/stats, /all/redis, /all/uploads]
    volumes: ['all:/all']
  db: &postgres
    image: postgres:15
    environment: { POSTGRES_PASSWORD: of no importance, POSTGRES_INITDB_ARGS: --no-sync }
    depends_on: { init: { condition: service_completed_successfully } }
    volumes: [{ type: volume, source: all, target: /var/lib/postgresql/data, volume: { subpath: data/pg } }]
  stats:
    <<: *postgres
    volumes: [{ type: volume, source: all, target: /var/lib/postgresql/data, volume: { subpath: data/stats } }]
  cache:
    image: redis:7
    command: [redis-server, --appendonly, 'yes']
    depends_on: { init: { condition: service_completed_successfully } }
    volumes: [{ type: volume, source: all, target: /data, volume: { subpath: ./redis/ } }]
  app:
    image: ${app}
    stop_grace_period: 0s
    depends_on: { init: { condition: service_completed_successfully } }
    volumes: [{ type: volume, source: all, target: /srv, volume: { subpath: uploads } }]
volumes: { all: {} }
`;

const release = (script: string): string =>
  [
    'FROM safe-update-fixtures/app:1.0.0',
    'USER root',
    `CMD ${JSON.stringify(['sh', '-c', `${script}; exec sleep infinity`])}`,
    '',
  ].join('\n');

/** What each of them holds, and what is in the volume's root. */
async function held(stack: Stack): Promise<unknown> {
  const inside = async (service: string, line: string): Promise<string> =>
    shell(await stack.container(service), line);
  const all = ['run', '--rm', '--volume', `${stack.project}_all:/all:ro`, 'debian:bookworm-slim'];
  return {
    root: await docker([...all, 'sh', '-c', 'cd /all; ls -A . data; stat -c "%n %u %a" redis data/pg']),
    db: await inside('db', 'psql -U postgres -Atc "SELECT * FROM members"'),
    stats: await inside('stats', 'psql -U postgres -Atc "SELECT * FROM visits"'),
    cache: await inside('cache', 'redis-cli GET greeting'),
    notes: await inside('app', sqlite('print(c.execute("SELECT * FROM notes").fetchall())')),
    upload: await inside('app', 'cat /srv/upload'),
  };
}

const sqlite = (words: string): string =>
  `python3 -c 'import sqlite3; c = sqlite3.connect("/srv/notes.db", isolation_level=None); ${words}'`;

async function started(): Promise<Stack> {
  const stack = await project({});
  await stack.write('compose.yaml', compose(await buildImage(stack, 'first', release('true'))));
  await stack.up();
  const sql = async (service: string, words: string): Promise<string> =>
    shell(await stack.container(service), `psql -U postgres -qh 127.0.0.1 -c "${words}"`);
  await eventually(() => sql('db', "CREATE TABLE members AS SELECT 'Ada' AS name"), 90_000);
  await eventually(() => sql('stats', 'CREATE TABLE visits AS SELECT 42 AS number'), 90_000);
  await eventually(async () => shell(await stack.container('cache'), 'redis-cli SET greeting hello'));
  await shell(await stack.container('app'), 'echo picture >/srv/upload');
  const table = 'c.execute("CREATE TABLE notes AS SELECT 1 AS id")';
  await shell(await stack.container('app'), sqlite(table));
  return stack;
}

it('databases and files that have a folder each in one volume all come back, and only what is asked for', async () => {
  const stack = await started();
  const before = await held(stack);
  const bad = await buildImage(stack, 'bad', release('rm -f /srv/upload; exit 1'));
  await stack.write('compose.yaml', compose(bad));
  const run = await stack.start([...fast, '--consistency', 'hot']).finished;
  expect(run.exitCode, run.story).toBe(4);
  expect(await held(stack)).toEqual(before);

  const [backup] = await stack.backups();
  if (backup === undefined) throw new Error('no backup');
  const where = backup.manifest.databases.map(({ service, dataPath }) => `${service} ${dataPath}`);
  expect(where.sort()).toEqual([
    'app /srv/notes.db',
    'cache /data',
    'db /var/lib/postgresql/data',
    'stats /var/lib/postgresql/data',
  ]);
  const proof = await stack.safeUpdate(['verify', backup.id, '--restore', ...fast]);
  expect(proof.exitCode, proof.story).toBe(0);

  // Somebody makes three mistakes at once, and goes back to the backup with three of the four databases, one after the other.
  await shell(await stack.container('cache'), 'redis-cli SET greeting mistaken');
  await shell(
    await stack.container('app'),
    `${sqlite('c.execute("DELETE FROM notes")')}; echo later >/srv/upload`,
  );
  await shell(await stack.container('stats'), 'psql -U postgres -c "DROP TABLE visits"');
  await shell(await stack.container('db'), `psql -U postgres -c "UPDATE members SET name = 'Grace'"`);
  const back = await stack.safeUpdate([
    ...['restore', backup.id, '--confirm', stack.project, ...fast],
    ...['cache', 'app', 'stats'].flatMap((service) => ['--only', `database:${service}`]),
  ]);
  expect(back.exitCode, back.story).toBe(0);
  expect(await held(stack)).toEqual({ ...(before as object), db: 'Grace', upload: 'later' });
});

it.runIf(turn(0, 2))(
  'a release that would mount another folder of a volume is refused; a folder that was deleted is made again',
  async () => {
    const stack = await started();
    const before = await held(stack);
    const text = compose(await buildImage(stack, 'second', release('true; true')));
    await stack.write('compose.yaml', text.replace('subpath: ./redis/', 'subpath: uploads'));
    const refused = await stack.start(fast).finished;
    expect(refused.exitCode, refused.story).toBe(3);
    expect(refused.outcome?.error?.message).toBe(
      `cache has the volume ${stack.project}_all at /data; after the update it would have its folder uploads there instead of its folder redis.`,
    );

    await stack.write('compose.yaml', text);
    const update = await stack.start(fast).finished;
    expect(update.exitCode, update.story).toBe(0);
    const [backup] = await stack.backups();
    await stack.compose(['stop', 'cache', 'app']);
    const all = ['run', '--rm', '--volume', `${stack.project}_all:/all`, 'debian:bookworm-slim'];
    await docker([...all, 'rm', '-rf', '/all/redis', '/all/uploads']);
    const back = await stack.safeUpdate(['restore', backup?.id ?? '', '--confirm', stack.project, ...fast]);
    expect(back.exitCode, back.story).toBe(0);
    await stack.compose(['start', 'cache', 'app']);
    expect(await held(stack)).toEqual(before);
  },
);
