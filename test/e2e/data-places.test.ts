import { expect, it } from 'vitest';
import type { Plan } from '../../src/model/plan.ts';
import { docker } from './docker.ts';
import { buildImage, keeper, local, mountAt, shell } from './stack-small.ts';
import { eventually, project, type Stack } from './stack.ts';

/** As in PostgreSQL 18: its files are beside where everybody has mounted a volume for years. */
const moved = 'FROM postgres:15\nENV PGDATA=/var/lib/postgresql/18/docker\nVOLUME /var/lib/postgresql\n';

const compose = (images: Record<'cache' | 'db' | 'search' | 'web', string>): string => `
services:
  db:
    image: ${images.db}
    environment: { POSTGRES_PASSWORD: first, POSTGRES_INITDB_ARGS: --auth-local=scram-sha-256 --auth-host=scram-sha-256 }
    volumes: ['pgdata:/var/lib/postgresql/data']
  search:
    image: ${images.search}
    stop_grace_period: 0s
    volumes: ['index:/usr/share/elasticsearch/data']
  cache:
    image: ${images.cache}
    # Nothing about it says what it is.
    entrypoint: [sh, -c, 'cp "$$(command -v redis-server)" /tmp/kv; exec /tmp/kv --save 60 1']
    volumes: ['cache:/data']
  web:
    image: ${images.web}
    stop_grace_period: 0s
    environment: { DATABASE_URL: 'postgresql://postgres:rotated@db:5432/postgres' }
volumes: { pgdata: {}, index: {}, cache: {} }
`;

async function plan(stack: Stack, flags: string[] = []): Promise<Plan> {
  const run = await stack.safeUpdate(['plan', '--json', ...flags, ...local]);
  expect(run.exitCode, run.story).toBe(0);
  return JSON.parse(run.stdout) as Plan;
}

it('where data really is, what cannot be dumped, and what must be told, is said before an update', async () => {
  const stack = await project({});
  const images = {
    db: await buildImage(stack, 'db', moved),
    search: await buildImage(stack, 'elasticsearch', keeper()),
    cache: await buildImage(stack, 'kv', 'FROM redis:7\nENV REDIS_DOWNLOAD_URL=\n'),
    web: await buildImage(stack, 'web', keeper()),
  };
  await stack.write('compose.yaml', compose(images));
  await stack.up();
  const db = await stack.container('db');
  const sql = async (words: string, password: string): Promise<string> =>
    docker(
      [
        'exec',
        '--env',
        'PGPASSWORD',
        db.Id,
        'psql',
        '-h',
        '127.0.0.1',
        '-U',
        'postgres',
        '-AtX',
        '-c',
        words,
      ],
      { env: { PGPASSWORD: password } },
    );
  // The password that the server has is not the one that its environment says any more.
  await eventually(() =>
    sql(`CREATE TABLE members AS SELECT 1 AS id; ALTER ROLE postgres PASSWORD 'rotated'`, 'first'),
  );
  await shell(await stack.container('cache'), 'redis-cli SET greeting hello');

  const [anonymous, declared] = [mountAt(db, '/var/lib/postgresql'), `${stack.project}_pgdata`];
  const first = await plan(stack);
  expect(first.warnings.join('\n')).toContain(
    `The volume ${declared}, mounted at /var/lib/postgresql/data, holds none of them!`,
  );
  expect(first.warnings.join('\n')).toMatch(/search looks like Elasticsearch, .*its volumes .* is exact/);
  expect((await plan(stack, ['--consistency', 'hot'])).warnings.join('\n')).toContain('may be useless');
  expect(first.databases).toEqual([{ service: 'db', engine: 'postgres', running: true }]);

  await stack.write('safe-update.yml', 'databases:\n  cache: { engine: redis }\n');
  expect((await plan(stack)).databases).toContainEqual({ service: 'cache', engine: 'redis', running: true });
  await stack.write('compose.yaml', compose({ ...images, web: await buildImage(stack, 'web-2', keeper()) }));
  const run = await stack.update(['--stable-for', '1s', ...local]);
  expect(run.exitCode, run.story).toBe(0);
  const [backup] = await stack.backups();
  expect(backup?.manifest.databases).toMatchObject([
    { service: 'cache', engine: 'redis', fingerprint: { counts: { db0: 1 } } },
    // Let in by what another service's URL says.
    { service: 'db', volume: anonymous, fingerprint: { counts: { 'postgres.public.members': 1 } } },
  ]);
  expect(mountAt(await stack.container('db'), '/var/lib/postgresql')).toBe(anonymous);
  expect(run.stdout + run.stderr).not.toContain('rotated');
});

it('a database that is not to be dumped is not', async () => {
  const stack = await project({
    'compose.yaml':
      "services: { cache: { image: 'redis:7', volumes: ['cache:/data'] } }\nvolumes: { cache: {} }\n",
  });
  await stack.up();
  expect((await plan(stack)).databases).toHaveLength(1);
  await stack.write('safe-update.yml', 'databases: { cache: { engine: none } }\n');
  expect((await plan(stack)).databases).toEqual([]);
});
