import path from 'node:path';
import { expect, it } from 'vitest';
import { turn } from '../faults/campaign.ts';
import { docker, dockerLines } from './docker.ts';
import { expectRolledBack } from './outcomes.ts';
import { actionsOn, listen, shell } from './stack-small.ts';
import {
  eventually,
  expectNothingLeft,
  expectSame,
  quick,
  shop,
  snapshot,
  type ComposeFile,
  type Stack,
} from './stack.ts';

const hot = ['--consistency', 'hot', '--stable-for', '1s'];

/** A release that crashes has failed at once, not after the engine has given up on it. */
function impatient({ services }: ComposeFile): void {
  services['app']!['restart'] = 'no';
}

/** What a dump has to bring back besides the application's own tables. */
async function furnish(stack: Stack): Promise<void> {
  await stack.sql('CREATE DATABASE reports');
  await stack.sql('CREATE DATABASE traffic');
  await stack.sql("CREATE ROLE auditor LOGIN PASSWORD 'of no importance' CONNECTION LIMIT 3");
  await stack.sql('GRANT SELECT ON members TO auditor');
  await stack.sql('CREATE SEQUENCE tickets START 500 INCREMENT 7');
  await stack.sql("SELECT nextval('tickets')");
  await sql(stack, 'reports', "CREATE TABLE reports AS SELECT 'yearly' AS name, now() AS made");
  await sql(stack, 'traffic', 'CREATE TABLE requests (id serial PRIMARY KEY)');
  await stack.redis(['-n', '2', 'SET', 'soon-gone', 'x', 'EX', '86400']);
}

async function sql(stack: Stack, database: string, statement: string): Promise<string> {
  return shell(await stack.container('db'), `psql -U shop -d ${database} -AtXc "${statement}"`);
}

/** Everything in the server, as far as a dump of the shop's own database does not tell. */
async function furniture(stack: Stack): Promise<unknown> {
  const db = await stack.container('db');
  return {
    roles: await shell(db, "pg_dumpall -U shop --roles-only | grep -v -e '^--' -e restrict"),
    databases: await stack.sql('SELECT datname, datdba::regrole FROM pg_database ORDER BY 1'),
    reports: await sql(stack, 'reports', 'SELECT * FROM reports'),
    ticket: await stack.sql('SELECT last_value, is_called FROM tickets'),
    granted: await stack.sql("SELECT has_table_privilege('auditor', 'members', 'SELECT')"),
  };
}

/** The counter, as a Redis with that file has it. */
async function countIn(dump: string): Promise<number> {
  const command =
    'cp /dump.rdb /data && redis-server --daemonize yes >/dev/null && until redis-cli -n 1 GET requests; do sleep 0.1; done';
  const printed = await docker([
    ...[
      'run',
      '--rm',
      '--network',
      'none',
      '--volume',
      `${dump}:/dump.rdb:ro`,
      '--entrypoint',
      'sh',
      'redis:7',
    ],
    ...['-ec', command],
  ]);
  return Number(printed.split('\n').at(-1));
}

it.runIf(turn(0, 2))('a hot update stops nothing before the backup is sealed', async () => {
  const stack = await shop();
  const before = await snapshot(stack);
  const uploads = `${stack.project}_uploads`;
  await stack.push('1.1.0');
  const listening = listen(stack);
  const run = await stack.update(hot);
  const events = await listening.end();
  expect(run.exitCode, run.stdout + run.stderr).toBe(0);

  const [backup] = await stack.backups();
  expect(backup?.manifest.consistency).toBe('hot');
  expect(backup?.manifest.volumes.map(({ exact }) => exact)).toEqual([false, false, false]);
  expect(backup?.manifest.databases.map(({ engine }) => engine).sort()).toEqual(['postgres', 'redis']);

  const order = ['dump', 'archive', 'seal', 'stop', 'remove', 'up'];
  expect(run.steps.filter((step) => order.includes(step))).toEqual(order);
  const sealed = run.events.find((event) => event.type === 'step-done' && event.step === 'seal');
  const died = events.filter(({ action, service }) => action === 'die' && service !== '');
  expect(died.map(({ service }) => service).sort()).toEqual(['app', 'cache', 'db']);
  for (const { at } of died) expect(at).toBeGreaterThan(Date.parse(sealed?.at ?? ''));

  expect((await stack.get('/version')).trim()).toBe('1.1.0');
  const after = await snapshot(stack);
  expect(after.keys).toEqual(before.keys);
  expect(after.digests[uploads]?.tar).toBe(before.digests[uploads]?.tar);
  expect(JSON.parse(await stack.get('/members'))).toHaveLength(3);
  await expectNothingLeft(stack, run);
});

it('a bad release after a hot backup: databases come back from their dumps, the rest from its archive', async () => {
  const stack = await shop({ edit: impatient });
  await furnish(stack);
  // Somebody uses the stack all the time, also while it is dumped and archived.
  const requests = `while psql -U shop -d traffic -qXc 'INSERT INTO requests DEFAULT VALUES'; do sleep 0.05; done`;
  await docker(['exec', '--detach', (await stack.container('db')).Id, 'sh', '-c', requests]);
  const counting = 'while redis-cli -n 1 INCR requests; do sleep 0.05; done';
  await docker(
    ['exec', '--detach', '--env', 'REDISCLI_AUTH', (await stack.container('cache')).Id, 'sh', '-c', counting],
    { env: { REDISCLI_AUTH: stack.secret } },
  );
  const served = async (): Promise<number> =>
    Number(await sql(stack, 'traffic', 'SELECT count(*) FROM requests'));
  const counted = async (): Promise<number> => Number(await stack.redis(['-n', '1', 'GET', 'requests']));
  await eventually(async () => {
    expect(Math.min(await served(), await counted())).toBeGreaterThan(5);
  });

  const before = await snapshot(stack);
  const [fixed, requestsBefore, countBefore] = [await furniture(stack), await served(), await counted()];
  await stack.push('drop-table-crash');
  const listening = listen(stack);
  const run = await stack.update(hot);
  const events = await listening.end();
  const { backup, failed } = await expectRolledBack(stack, before, run, /app-1 exited with code 1/);
  expect(backup.manifest.consistency).toBe('hot');
  expect(backup.manifest.volumes.map(({ exact }) => exact)).toEqual([false, false, false]);
  expect(failed.manifest.consistency).toBe('cold');
  expect(actionsOn(events, 'db').filter((action) => action === 'start').length).toBeGreaterThan(1);

  expect(await furniture(stack)).toEqual(fixed);
  expect((await stack.get('/members')).match(/example\.org/g)).toHaveLength(3);
  // One moment of what was going on: nothing from before the backup is missing, and there are no holes.
  expect(await served()).toBeGreaterThanOrEqual(requestsBefore);
  expect(await sql(stack, 'traffic', 'SELECT max(id) = count(*) FROM requests')).toBe('t');
  const count = await counted();
  expect(count).toBeGreaterThanOrEqual(countBefore);
  // Not what the archive has, which was taken a little later, from a file that was being written.
  expect(count).toBe(await countIn(path.join(backup.folder, 'databases/cache/dump.rdb')));
  await stack.post('/members?name=Barbara&email=barbara@example.org');

  // Redis writes its append-only file, and has all of it when it starts again.
  expect(await stack.redis(['CONFIG', 'GET', 'appendonly'])).toBe('appendonly\nyes');
  await stack.compose(['restart', 'cache']);
  await eventually(async () => {
    expect(await counted()).toBe(count);
  });
  expect(Number(await stack.redis(['-n', '2', 'TTL', 'soon-gone']))).toBeGreaterThan(80_000);
  expect(await stack.redis(['LRANGE', 'queue', '0', '-1'])).toBe('first\nsecond');
});

// The server starts on an empty volume and is filled from the dump, which holds neither.
it.runIf(turn(1, 2))(
  'what else is in the volume of a database comes back too, and the settings of the server',
  async () => {
    const stack = await shop({
      edit(model) {
        impatient(model);
        (model.services['db']!['environment'] as Record<string, string>)['PGDATA'] =
          '/var/lib/postgresql/data/pgdata';
      },
    });
    await stack.sql("ALTER SYSTEM SET work_mem = '7MB'");
    const folder = '/var/lib/postgresql/data';
    await shell(
      await stack.container('db'),
      `mkdir ${folder}/exports; echo kept >${folder}/exports/2023.csv`,
    );
    await stack.push('drop-table-crash');
    const run = await stack.update(hot);
    expect(run.exitCode, run.story).toBe(4);
    const db = await stack.container('db');
    expect(
      await shell(db, `cat ${folder}/exports/2023.csv; grep work_mem $PGDATA/postgresql.auto.conf`),
    ).toBe("kept\nwork_mem = '7MB'");
  },
);

/** What a run, or one that went on with it, has on the engine: volumes, networks and containers. */
async function leftOf(run: string): Promise<string[]> {
  const filter = ['--filter', `label=safe-update.run=${run}`];
  return [
    ...(await dockerLines(['ps', '--all', '--format', '{{.Names}}', ...filter])),
    ...(await dockerLines(['volume', 'ls', '--quiet', ...filter])),
    ...(await dockerLines(['network', 'ls', '--format', '{{.Name}}', ...filter])),
  ];
}

it.runIf(turn(1, 2))(
  'a dump that no server takes: nothing is emptied for it, and where everything is is said',
  async () => {
    const stack = await shop({ edit: impatient });
    // Made with a search path that nobody has any more.
    await stack.sql(
      `CREATE SCHEMA apart; CREATE TABLE apart.facts AS SELECT 7 AS fact; SET search_path = apart, public;
     CREATE FUNCTION public.sum() RETURNS bigint LANGUAGE sql AS 'SELECT sum(fact) FROM facts';
     CREATE MATERIALIZED VIEW public.sums AS SELECT public.sum()`,
    );
    await stack.push('drop-table-crash');
    const run = await stack.update(hot);
    expect(run.exitCode, run.story).toBe(5);
    const failed = (await stack.backups()).at(-1);
    expect(failed?.manifest.kind).toBe('failed');
    expect(run.outcome?.error).toMatchObject({
      code: 'rollback-incomplete',
      message: expect.stringMatching(
        /The dump of db cannot be loaded into a new server: .* relation "facts" does not exist/,
      ) as string,
      state: expect.stringMatching(
        new RegExp(`No volume was emptied or changed.* The same is in the backup ${failed?.id ?? ''}`),
      ) as string,
      hint: expect.stringMatching(/safe-update recover[^]*safe-update restore BACKUP/) as string,
    });
    expect(await leftOf(run.outcome?.run ?? '')).toEqual([]);
    await docker(['start', (await stack.container('db')).Id]);
    await eventually(async () => {
      expect(await stack.sql("SELECT sum, to_regclass('members') FROM sums")).toBe('7|');
    });
  },
);

it.runIf(turn(0, 2))(
  'killed while a database is exchanged, it has everything after recover: templates and closed databases too',
  async () => {
    const stack = await shop({ edit: impatient });
    await stack.sql('CREATE DATABASE tenants');
    await sql(stack, 'tenants', 'CREATE TABLE plans AS SELECT 1 AS plan');
    await stack.sql('ALTER DATABASE tenants IS_TEMPLATE true');
    await stack.sql('CREATE DATABASE archive');
    await sql(stack, 'archive', 'CREATE TABLE old AS SELECT 2 AS year');
    await stack.sql('ALTER DATABASE archive ALLOW_CONNECTIONS false');
    await sql(stack, 'template1', 'CREATE TABLE everywhere AS SELECT 3 AS place');
    // A dump is loaded with an empty search path.
    await stack.sql(
      `CREATE FUNCTION counted() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM members';
     CREATE MATERIALIZED VIEW numbers AS SELECT counted()`,
    );
    await stack.push('drop-table-crash');

    await stack.sql("SELECT pg_create_physical_replication_slot('standby')");
    const refused = await stack.update(hot);
    expect(refused.exitCode, refused.story).toBe(3);
    expect(refused.outcome?.error).toMatchObject({
      code: 'refused',
      message: expect.stringContaining('the replication slot "standby"') as string,
      state: expect.stringMatching(/^Nothing was touched/) as string,
    });
    await stack.sql("SELECT pg_drop_replication_slot('standby')");

    const before = await snapshot(stack);
    const running = stack.start([...quick, ...hot], { env: { SAFE_UPDATE_PAUSE: 'swap' } });
    await running.until((event) => event.type === 'notice' && event.message === 'Paused at swap.');
    running.kill('SIGKILL');
    await running.finished;
    const volume = `${stack.project}_db_data`;
    await docker(
      ['run', '--rm', '--volume', `${volume}:/data`, '--entrypoint', 'sh', 'postgres:15'].concat([
        ...['-c', 'rm -r /data/base /data/global'],
      ]),
    );
    const recovered = await stack.safeUpdate(['recover', '--json', '--stable-for', '1s']);
    expect(recovered.exitCode, recovered.story).toBe(0);
    expectSame(before, await snapshot(stack));
    expect(await leftOf(recovered.outcome?.run ?? '')).toEqual([]);
    await expectNothingLeft(stack, recovered);

    const facts = 'SELECT datname, datistemplate, datallowconn FROM pg_database ORDER BY 1';
    expect((await stack.sql(facts)).split('\n')).toEqual([
      ...['archive|f|f', 'postgres|f|t', 'shop|f|t', 'template0|t|f', 'template1|t|t', 'tenants|t|t'],
    ]);
    await stack.sql('ALTER DATABASE archive ALLOW_CONNECTIONS true');
    expect(await sql(stack, 'archive', 'SELECT year FROM old')).toBe('2');
    expect(await sql(stack, 'tenants', 'SELECT plan FROM plans')).toBe('1');
    expect(await sql(stack, 'template1', 'SELECT place FROM everywhere')).toBe('3');
    expect(await stack.sql('SELECT counted FROM numbers')).toBe('3');
  },
);
