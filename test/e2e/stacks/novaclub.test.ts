/** A club: PostgreSQL, Redis, and volumes of three classes. */
import { rename } from 'node:fs/promises';
import { beforeAll, expect, it } from 'vitest';
import type { Manifest } from '../../../src/backup/manifest.ts';
import { expectNothingLeft, snapshot, type Stack } from '../stack.ts';
import { brisk, fixture, inside, look, planOf, query, restore, succeed, within } from './fixture.ts';

const critical = ['postgres_data'];
const recreatable = ['backend_venv', 'pwa_node_modules', 'redis_data'];
const caches = ['backend_cache', 'backend_pycache', 'pwa_cache'];
const all = [...critical, ...recreatable, ...caches].sort();

let stack: Stack;
const named = (keys: readonly string[]): string[] => keys.map((key) => `${stack.project}_${key}`);
const archivedIn = ({ volumes }: Manifest): (string | undefined)[] => volumes.map(({ key }) => key).sort();
const newest = async (): Promise<Manifest> => {
  const backup = (await stack.backups()).at(-1);
  if (backup === undefined) throw new Error('no backup');
  return backup.manifest;
};
const members = (): Promise<string> => query(stack, 'postgres', 'SELECT name FROM members ORDER BY id');

beforeAll(async () => {
  stack = await fixture('novaclub', ({ secret, image, port }) => ({
    POSTGRES_PASSWORD: secret,
    BACKEND_IMAGE: image,
    BACKEND_PORT: String(port),
  }));
  await stack.push('1.0.0');
  await stack.up();
  for (const name of ['Ada', 'Grace']) await stack.post(`/members?name=${name}`);
  const fill = (folders: string[]): string => folders.map((folder) => `echo made >${folder}/file`).join('; ');
  await inside(stack, 'backend', fill(['/app/venv', '/app/__pycache__', '/root/.cache/pip']));
  await inside(stack, 'pwa', fill(['/app/node_modules', '/root/.npm']));
});

it('without a word from anybody everything is backed up', async () => {
  const ours = within(stack, 'safe-update.yml');
  await rename(ours, `${ours}.aside`);
  const plan = await planOf(stack);
  expect(plan.steps.find(({ name }) => name === 'archive')?.on).toEqual(named(all));
  expect(plan.notCovered).toEqual([]);
  const { stdout } = await succeed(stack, ['init', '--dry-run']);
  expect(stdout.match(/class: \w+/g)).toEqual(all.map(() => 'class: critical'));

  await succeed(stack, ['backup', '--consistency', 'hot', ...brisk]);
  expect(archivedIn(await newest())).toEqual(all);
  await rename(`${ours}.aside`, ours);
});

it('with safe-update.yml and labels: which volume is what, and which are left out, is said', async () => {
  // A label that comes after the volume: compose by hand would now ask whether to delete and recreate it.
  const compose = await stack.read('docker-compose.yml');
  const labelled = '\n  pwa_cache: { labels: { safe-update.class: cache } }\n';
  await stack.write('docker-compose.yml', compose.replace(/\n {2}pwa_cache:\n/, labelled));
  const configuration = await stack.read('safe-update.yml');
  await stack.write('safe-update.yml', configuration.replace(/.*pwa_cache.*\n/, ''));

  const plan = await planOf(stack);
  expect(plan.volumes.map(({ key, class: what }) => `${key ?? ''} ${what}`)).toEqual([
    'backend_cache cache',
    'backend_pycache cache',
    'backend_venv recreatable',
    'postgres_data critical',
    'pwa_cache cache',
    'pwa_node_modules recreatable',
    'redis_data recreatable',
  ]);
  expect(plan.notCovered.map(({ source }) => source)).toEqual(named(caches));
  const { volumes } = await look<{ volumes: { key: string; leftOut?: string }[] }>(stack, ['volumes']);
  expect(volumes.filter(({ leftOut }) => leftOut !== undefined).map(({ key }) => key)).toEqual(caches);
});

it('an update keeps all seven; its backup holds four, and names the others', async () => {
  const before = await snapshot(stack);
  await stack.push('1.1.0');
  const run = await succeed(stack, ['--yes', '--stable-for', '1s']);
  const said = run.stdout + run.stderr;
  expect(said).toContain('NOT in the backup, nor in a rollback');
  for (const name of named(caches)) expect(said.slice(said.indexOf('NOT in the backup'))).toContain(name);
  expect(await stack.get('/version')).toBe('1.1.0\n');
  const after = await snapshot(stack);
  expect(after.volumes).toEqual(before.volumes);
  expect(after.digests).toEqual(before.digests);
  expect(await members()).toBe('Ada\nGrace');

  const manifest = await newest();
  expect(archivedIn(manifest)).toEqual([...critical, ...recreatable].sort());
  expect(manifest.databases.map(({ service, engine }) => `${service} ${engine}`)).toEqual([
    'postgres postgres',
    'redis redis',
  ]);
  for (const name of named(caches)) expect(manifest.notCovered.join('\n')).toContain(name);
  await expectNothingLeft(stack, run);
});

it('caches are archived when that is asked for', async () => {
  await succeed(stack, ['backup', '--caches', '--consistency', 'hot', ...brisk]);
  expect(archivedIn(await newest())).toEqual(all);
});

it('PostgreSQL comes back alone: from its dump, and from its volume', async () => {
  const { id } = await newest();
  const cold = (await stack.backups()).find(({ manifest }) => manifest.kind === 'pre-update')?.id ?? '';
  const counted = await inside(stack, 'redis', 'redis-cli GET members:created');
  for (const [backup, only] of [
    [id, 'database:postgres/novaclub_db'],
    [cold, 'volume:postgres_data'],
  ] as const) {
    await query(stack, 'postgres', "DELETE FROM members WHERE name = 'Ada'");
    await inside(stack, 'redis', 'redis-cli INCR members:created');
    const run = await restore(stack, backup, '--only', only);
    expect(await members(), only).toBe('Ada\nGrace');
    await expectNothingLeft(stack, run);
  }
  expect(await inside(stack, 'redis', 'redis-cli GET members:created')).toBe(String(Number(counted) + 2));

  const wrong = ['--only', 'database:postgres/novaclub', '--confirm', stack.project, '--json'];
  const misspelt = await stack.safeUpdate(['restore', id, ...wrong]);
  expect(misspelt.exitCode, misspelt.story).toBe(2);
  expect(misspelt.outcome?.error?.message).toBe('The backup holds no database postgres/novaclub.');
  expect(misspelt.outcome?.error?.hint).toBe('It holds: novaclub_db, postgres');
});
