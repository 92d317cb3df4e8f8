/** A project with one database by the tag `latest`, and a backend that migrates it whenever it starts. */
import { beforeAll, expect, it } from 'vitest';
import { expectRefused, expectRolledBack } from '../outcomes.ts';
import { buildImage } from '../stack-small.ts';
import { expectNothingLeft, freePort, snapshot, type Stack } from '../stack.ts';
import { brisk, fixture, partsOf, planOf, publish, query, restore, succeed } from './fixture.ts';

let stack: Stack;
const sql = (statement: string): Promise<string> => query(stack, 'db', statement);

beforeAll(async () => {
  const port = String(await freePort());
  stack = await fixture('f-brain', (made) => ({
    POSTGRES_PASSWORD: made.secret,
    BACKEND_IMAGE: made.image,
    BACKEND_PORT: String(made.port),
    DB_PORT: port,
  }));
  await stack.env({ POSTGRES_IMAGE: await publish(stack, 'postgres:15', 'postgres') });
  await stack.push('1.0.0');
  await stack.up();
  for (const name of ['Ada', 'Grace']) await stack.post(`/members?name=${name}&email=${name}@example.org`);
  await stack.post('/orders?member=1&item=tea');
});

it('a backend that migrates at its start: new columns, and every row', async () => {
  const plan = await planOf(stack);
  expect(plan.databases).toEqual([
    { service: 'broker', engine: 'redis', running: true },
    { service: 'db', engine: 'postgres', running: true },
  ]);
  const before = await sql('SELECT id, name, email FROM members ORDER BY id');
  await stack.push('1.1.0');
  const run = await succeed(stack, brisk);
  expect(run.outcome?.result).toBe('updated');
  expect(await sql('SELECT version FROM schema_version')).toBe('1.1.0');
  expect(await sql('SELECT count(*), count(phone) FROM members')).toBe('2|0');
  expect(await sql('SELECT id, name, email FROM members ORDER BY id')).toBe(before);

  const [backup] = await stack.backups();
  if (backup === undefined) throw new Error('no backup');
  const parts = partsOf(backup);
  for (const part of ['config/files/.env', 'databases/db/brain.dump', 'databases/db/globals.sql'])
    expect(parts).toContain(part);
  await expectNothingLeft(stack, run);
});

it('a migration that drops a table is undone, with its rows', async () => {
  const before = await snapshot(stack);
  await stack.push('drop-table');
  const run = await stack.safeUpdate(brisk);
  await expectRolledBack(stack, before, run, /backend-1 is unhealthy/);
  expect(await sql('SELECT count(*) FROM members')).toBe('2');
  expect(await sql('SELECT version FROM schema_version')).toBe('1.1.0');
});

it('`cat backup.sql | psql` is restore --only database:db', async () => {
  const made = await succeed(stack, ['backup', '--consistency', 'hot', ...brisk]);
  await sql('DROP TABLE orders; UPDATE members SET email = NULL; CREATE TABLE drafts (id serial)');
  const run = await restore(stack, made.outcome?.backup ?? '', '--only', 'database:db');
  expect(await sql('SELECT item FROM orders')).toBe('tea');
  expect(await sql('SELECT count(email) FROM members')).toBe('2');
  expect(await sql("SELECT to_regclass('drafts') IS NULL")).toBe('t');
  await expectNothingLeft(stack, run);
});

it('the day `latest` is another major version, nothing is touched', async () => {
  // As the official image has it since 18.
  const next = 'FROM postgres:15\nENV PG_MAJOR=18 PGDATA=/var/lib/postgresql/18/docker\n';
  await publish(stack, await buildImage(stack, 'next', next), 'postgres');
  await stack.push('1.1.0');
  const before = await snapshot(stack);
  const backups = (await stack.backups()).map(({ id }) => id);
  const run = await stack.safeUpdate(brisk);
  await expectRefused(stack, before, run, { exitCode: 3, reason: /PostgreSQL 18; it cannot read/, backups });
  expect(run.outcome?.error?.message).toContain('/var/lib/postgresql/18/docker');
});
