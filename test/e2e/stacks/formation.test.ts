/** A course on volumes. Each test is a point that its students have to reach. */
import { copyFile, mkdir } from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import { beforeAll, expect, it } from 'vitest';
import { expectIntact, unpack } from '../outcomes.ts';
import { docker, testLabel } from '../docker.ts';
import { listen } from '../stack-small.ts';
import { digest, eventually, expectNothingLeft, type SealedBackup, type Stack } from '../stack.ts';
import { brisk, fixture, planOf, query, queryIn, restore, succeed, within } from './fixture.ts';

let stack: Stack;
let volume: string;
let listening: ReturnType<typeof listen>;
/** Everything in the database, as its students look at it. */
const everything =
  "SELECT 'u', id, username, email, created_at::text FROM users UNION ALL SELECT 'p', id, title, content, created_at::text FROM posts ORDER BY 1, 2";
let rows: string;

beforeAll(async () => {
  stack = await fixture('formation', ({ secret }) => ({ POSTGRES_PASSWORD: secret }));
  volume = `${stack.project}_db_data`;
  listening = listen(stack);
  await stack.up();
  await query(stack, 'db', "INSERT INTO users (username, email) VALUES ('barbara', 'barbara@example.org')");
  rows = await query(stack, 'db', everything);
  expect(rows.split('\n')).toHaveLength(7);
});

/** A PostgreSQL on that volume, which belongs to nothing else. Returns what it holds. */
async function rowsOn(name: string): Promise<string> {
  const id = await docker([
    ...['run', '--detach', '--network', 'none', '--label', `${testLabel}=${stack.project}`],
    ...['--env', 'POSTGRES_DB=myapp', '--volume', `${name}:/var/lib/postgresql/data`, 'postgres:15'],
  ]);
  const found = await eventually(() => queryIn(id, everything));
  await docker(['rm', '--force', id]);
  return found;
}

async function newest(): Promise<SealedBackup> {
  const backup = (await stack.backups()).at(-1);
  if (backup === undefined) throw new Error('no backup');
  return backup;
}

it('the data outlives the container', async () => {
  const plan = await planOf(stack);
  // init.sql is read-only and /tmp is in memory: neither is data.
  expect(plan.volumes.map(({ kind, name }) => [kind, name])).toEqual([['named', volume]]);
  expect(plan.notCovered).toEqual([]);
  const { Id } = await stack.container('db');
  const compose = await stack.read('docker-compose.yml');
  await stack.write('docker-compose.yml', compose.replace('100M', '50M'));
  const run = await succeed(stack, brisk);
  expect(run.outcome?.result).toBe('updated');
  expect((await stack.container('db')).Id).not.toBe(Id);
  expect(await query(stack, 'db', everything)).toBe(rows);

  await stack.compose(['rm', '--stop', '--force', 'db']);
  await succeed(stack, brisk);
  expect(await query(stack, 'db', everything)).toBe(rows);
});

it('the archive holds all of the data', async () => {
  await stack.compose(['stop']);
  await succeed(stack, ['backup', ...brisk]);
  const backup = await newest();
  await expectIntact(backup);
  expect(await digest(stack.project, await unpack(stack, backup, volume))).toEqual(
    await digest(stack.project, volume),
  );
});

it('a copy in another volume is equal, and a server that starts on it has the same rows', async () => {
  const copy = `${stack.project}_postgres_copy`;
  await docker(['volume', 'create', '--label', `${testLabel}=${stack.project}`, copy]);
  await succeed(stack, ['volumes', 'copy', 'db_data', copy, '--json']);
  expect(await digest(stack.project, copy)).toEqual(await digest(stack.project, volume));
  expect(await rowsOn(copy)).toBe(rows);
});

it('the archive can be kept elsewhere, and needs nothing but tar and zstd', async () => {
  const { folder, manifest } = await newest();
  const elsewhere = within(stack, 'elsewhere');
  await mkdir(elsewhere);
  const file = path.join(elsewhere, 'postgres.tar.zst');
  await copyFile(path.join(folder, manifest.volumes[0]?.archive ?? ''), file);
  const label = `${testLabel}=${stack.project}`;
  const fresh = await docker(['volume', 'create', '--label', label]);
  const run = `docker run --rm -i --label ${label} -v ${fresh}:/data debian:bookworm-slim`;
  await execa('sh', ['-ec', `zstd -dc "$0" | ${run} tar x --numeric-owner --same-owner -p -C /data`, file]);
  expect(await rowsOn(fresh)).toBe(rows);
});

it('a restore brings back exactly the same data', async () => {
  await stack.up();
  await query(stack, 'db', "DROP TABLE posts; UPDATE users SET email = 'lost'");
  const run = await restore(stack, (await newest()).id, '--only', 'volume:db_data');
  expect(await query(stack, 'db', everything)).toBe(rows);
  await expectNothingLeft(stack, run);
});

it('no volume is left that nobody asked for', async () => {
  const named = (await docker(['volume', 'ls', '--quiet']))
    .split('\n')
    .filter((name) => name.includes(stack.project));
  expect(named.sort()).toEqual([volume, `${stack.project}_postgres_copy`]);
  const mounts = (await stack.container('db')).Mounts.filter(({ Type }) => Type === 'volume');
  expect(mounts.map(({ Name }) => Name)).toEqual([volume]);
  const removed = (await listening.end()).filter(
    ({ type, action }) => type === 'volume' && action === 'destroy',
  );
  expect(removed).toEqual([]);
});
