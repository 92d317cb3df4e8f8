/** A web shop with every kind of mount that a compose file can have. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Manifest } from '../../../src/backup/manifest.ts';
import { docker, testLabel } from '../docker.ts';
import { expectRefused, expectRolledBack } from '../outcomes.ts';
import { mountAt } from '../stack-small.ts';
import { eventually, expectNothingLeft, freePort, snapshot, type Stack } from '../stack.ts';
import { brisk, fixture, inside, look, planOf, query, restore, succeed, within } from './fixture.ts';

let stack: Stack;
let web: string;
const name = (key: string): string => `${stack.project}_${key}`;
const shared = (): string => `${stack.project}-company`;
const production = ['--file', 'docker-compose.yml', '--file', 'docker-compose.prod.yml'];

/** Where the backend sees what is neither the database's nor the cache's. */
const folders = ['node_modules', 'shared', 'media', 'exports'];

beforeAll(async () => {
  web = String(await freePort());
  stack = await fixture('ecommerce', (made) => ({
    DB_PASSWORD: made.secret,
    REDIS_PASSWORD: made.secret,
    BACKEND_IMAGE: made.image,
    BACKEND_PORT: String(made.port),
    WEB_PORT: web,
    SHARED_VOLUME: `${made.project}-company`,
    // Elsewhere than safe-update's own, so that what the volume holds stays the same.
    BACKUP_PATH: './old-backups',
  }));
  for (const folder of ['data/postgres', 'data/redis', 'data/uploads', 'old-backups'])
    await mkdir(within(stack, folder), { recursive: true });
  await docker(['volume', 'create', '--label', `${testLabel}=${stack.project}`, shared()]);
  await stack.push('1.0.0');
  await stack.compose([...production, 'up', '--detach', '--wait', '--quiet-pull']);
  for (const member of ['Ada', 'Grace']) await stack.post(`/members?name=${member}`);
  for (const file of ['a', 'b', 'c', 'd']) await stack.post(`/uploads/${file}`, `upload ${file}`);
  for (const folder of folders) await inside(stack, 'backend', `echo first >/app/${folder}/file`);
});

/** The volume that a service has at a path, by its name on the engine. */
async function volumeAt(service: string, path: string): Promise<string> {
  return mountAt(await stack.container(service), path);
}
const anonymous = (): Promise<string> => volumeAt('backend', '/app/node_modules');

const fromWeb = async (file: string): Promise<string> =>
  (await fetch(`http://127.0.0.1:${web}/uploads/${file}`)).text();
const files = (): Promise<string> =>
  inside(stack, 'backend', `cat ${folders.map((folder) => `/app/${folder}/file`).join(' ')}`);

it('every mount is called what it is', async () => {
  const plan = await planOf(stack, ['prod']);
  const unused = await volumeAt('backup', '/var/lib/postgresql/data');
  const leftOut = [name('backup_data'), unused];
  const on = (folder: string) => ({ type: 'none', o: 'bind', device: within(stack, folder) });
  const seen = plan.volumes.map(({ name: called, kind, options, servedAt }) => [
    called,
    kind,
    options,
    servedAt.map(({ service, path, readOnly }) => `${service}:${path}${readOnly ? ':ro' : ''}`),
  ]);
  const expected = [
    [within(stack, 'media'), 'bind', {}, ['backend:/app/media']],
    [await anonymous(), 'anonymous', {}, ['backend:/app/node_modules']],
    // The image declares it, and nothing is in it.
    [unused, 'anonymous', {}, ['backup:/var/lib/postgresql/data']],
    [shared(), 'external', {}, ['backend:/app/shared']],
    [name('backup_data'), 'named', on('old-backups'), ['backup:/backups']],
    [name('logs'), 'named', {}, ['backend:/app/logs']],
    [name('nginx_logs'), 'named', {}, ['web:/var/log/nginx']],
    [
      ...[name('postgres_data'), 'named', on('data/postgres')],
      ['backup:/source/postgres:ro', 'database:/var/lib/postgresql/data'],
    ],
    [name('redis_data'), 'named', on('data/redis'), ['redis:/data']],
    [
      ...[name('uploads'), 'named', on('data/uploads')],
      ['backend:/app/uploads', 'backup:/source/uploads:ro', 'web:/var/www/uploads:ro'],
    ],
  ];
  expect(seen).toHaveLength(expected.length);
  expect(seen).toEqual(expect.arrayContaining(expected));

  // tmpfs and what is mounted read-only hold no data of the stack's own.
  const missing = plan.notCovered.map(({ source, services, reason }) => [source, ...services, reason]);
  expect(missing).toHaveLength(3);
  expect(missing).toEqual(
    expect.arrayContaining([
      [within(stack, 'exports'), 'backend', 'a bind mount'],
      ...leftOut.map((volume) => [volume, 'backup', 'its label backup.enable says so']),
    ]),
  );
  const archived = plan.steps.find(({ name: step }) => step === 'archive')?.on ?? [];
  expect([...archived].sort()).toEqual(
    expected
      .map(([called]) => called)
      .filter((called) => !leftOut.includes(called as string))
      .sort(),
  );
  // The backup service has the image of a server, and is none.
  expect(plan.databases).toEqual([
    { service: 'database', engine: 'postgres', running: true },
    { service: 'redis', engine: 'redis', running: true },
  ]);
});

it('labels of backup programs: backup.schedule is shown, where services and volumes have it', async () => {
  const { volumes } = await look<{ volumes: { name: string; schedule?: string }[] }>(stack, [
    'volumes',
    'prod',
  ]);
  const shown = volumes.flatMap(({ name: called, schedule }) =>
    schedule === undefined ? [] : [[called, schedule]],
  );
  expect(shown).toEqual([
    [name('logs'), '0 3 * * 0'],
    [name('postgres_data'), '0 2 * * *'],
  ]);
  const { stdout } = await succeed(stack, ['volumes', 'prod']);
  expect(stdout).toMatch(/Schedule/);
  expect(stdout).toMatch(/_postgres_data .*0 2 \* \* \*/);
  expect(stdout).toMatch(/_backup_data .*left out/);
});

it('prod takes the file of production and not that of development', async () => {
  expect((await planOf(stack, ['prod'])).warnings.join('\n')).toMatch(
    /docker-compose\.override\.yml is not merged, because docker-compose\.prod\.yml is/,
  );
  const dev = (await planOf(stack)).services
    .filter(({ cause }) => cause !== '')
    .map(({ service }) => service);
  expect(dev).toEqual(expect.arrayContaining(['backend', 'database']));
  const before = await snapshot(stack);
  const node = await anonymous();
  await stack.push('1.1.0');
  const run = await succeed(stack, ['prod', ...brisk]);
  expect(run.outcome?.result).toBe('updated');
  expect(await stack.get('/version')).toBe('1.1.0\n');
  const database = await stack.container('database');
  expect(database.HostConfig.RestartPolicy.Name).toBe('unless-stopped');
  expect(await docker(['port', database.Id])).toBe('');
  const mounts = (await stack.container('backend')).Mounts.map(({ Destination }) => Destination);
  expect(mounts).not.toContain('/app/source');

  expect(await files()).toBe('first\nfirst\nfirst\nfirst');
  expect(await anonymous()).toBe(node);
  expect(await fromWeb('a')).toBe('upload a');
  expect(await query(stack, 'database', 'SELECT name FROM products ORDER BY id')).toBe('tea\ncoffee');
  const after = await snapshot(stack);
  expect([after.volumes, after.keys]).toEqual([before.volumes, before.keys]);
  await expectNothingLeft(stack, run);

  const [backup] = await stack.backups();
  const held = backup?.manifest.volumes.map(({ name: called }) => called);
  for (const volume of [node, shared(), name('uploads'), within(stack, 'media')])
    expect(held).toContain(volume);
  expect(held).not.toContain(name('backup_data'));
  expect(backup?.manifest.notCovered.join('\n')).toContain(name('backup_data'));
  const parts = backup?.manifest.config.map(({ part }) => part.replace('config/files/', ''));
  const own = ['docker-compose.yml', 'docker-compose.prod.yml', '.env', 'safe-update.yml'];
  expect(parts).toEqual(expect.arrayContaining(own));
  expect(parts).not.toContain('docker-compose.override.yml');
});

it('what a bad release does to any of them is undone; of what is not covered, nothing', async () => {
  const before = await snapshot(stack);
  const media = within(stack, 'media', 'file');
  await stack.push('drop-table');
  const running = stack.start(['prod', ...brisk]);
  await running.step('verify');
  await eventually(() =>
    inside(stack, 'backend', folders.map((folder) => `echo ruined >/app/${folder}/file`).join('; ')),
  );
  expect(await readFile(media, 'utf8')).toBe('ruined\n');
  const { failed } = await expectRolledBack(stack, before, await running.finished, /backend-1 is unhealthy/);
  expect(await files()).toBe('first\nfirst\nfirst\nruined');
  expect(await readFile(media, 'utf8')).toBe('first\n');
  for (const file of ['a', 'b', 'c', 'd']) expect(await fromWeb(file)).toBe(`upload ${file}`);
  expect(await query(stack, 'database', 'SELECT name FROM members ORDER BY id')).toBe('Ada\nGrace');
  expect(failed.manifest.volumes.map(({ name: called }) => called)).toContain(within(stack, 'media'));
});

it('`tar -xzf uploads.tar.gz -C ./data` is restore --only volume:…, of a volume on a folder and of a folder', async () => {
  const [backup] = await stack.backups();
  await stack.post('/uploads/a', 'overwritten');
  await writeFile(within(stack, 'media', 'file'), 'overwritten\n');
  await query(stack, 'database', "INSERT INTO products (name) VALUES ('milk')");
  const only = ['prod', '--only', 'volume:uploads', '--only', `volume:${within(stack, 'media')}`];
  const run = await restore(stack, backup?.id ?? '', ...only);
  expect(await fromWeb('a')).toBe('upload a');
  expect(await files()).toBe('first\nfirst\nfirst\nruined');
  expect(await query(stack, 'database', 'SELECT count(*) FROM products')).toBe('3');
  await expectNothingLeft(stack, run);
});

it('`psql … < backup.sql` is restore --only database:database, and nobody has to delete a volume to try it', async () => {
  const [backup] = await stack.backups();
  const id = backup?.id ?? '';
  expect(await look(stack, ['verify', id, 'prod'])).toMatchObject({ backup: id, sound: true });
  await restore(stack, id, 'prod', '--only', 'database:database');
  expect(await query(stack, 'database', 'SELECT name FROM products ORDER BY id')).toBe('tea\ncoffee');
});

describe('what cannot go well is refused before anything is touched', () => {
  const ids = async (): Promise<string[]> => (await stack.backups()).map(({ id }) => id);

  it('backups in a folder that is a volume to be backed up', async () => {
    const compose = await stack.read('docker-compose.yml');
    await stack.write(
      'docker-compose.yml',
      compose.replace("backup.enable: 'false'", "backup.enable: 'true'"),
    );
    const before = await snapshot(stack);
    const run = await stack.safeUpdate(['prod', ...brisk, '--pull', 'missing', '--backups', './old-backups']);
    const reason = /backup folder .* is inside .*_backup_data/;
    await expectRefused(stack, before, run, { exitCode: 3, reason, backups: await ids() });
    await stack.write('docker-compose.yml', compose);
  });

  it('an NFS volume whose server does not answer; left out, it is in nobody’s way', async () => {
    const nfs = name('nfs_storage');
    const profile = ['--profile', 'archive'];
    const plan = await planOf(stack, ['prod', ...profile]);
    expect(plan.volumes.find(({ key }) => key === 'nfs_storage')).toMatchObject({
      ...{ name: nfs, kind: 'named', driver: 'local', exists: false },
      servedAt: [{ service: 'archive' }],
      options: { type: 'nfs', o: 'addr=127.0.0.1,rw,soft,retry=0', device: ':/srv/archive' },
    });
    const { stdout } = await succeed(stack, ['plan', 'prod', ...profile]);
    expect(stdout).toMatch(/_nfs_storage +new +named, local \(nfs\)/);

    // The volume is made, and mounted by nothing that runs.
    await stack.compose([...production, ...profile, 'create', 'archive']);
    const lives = async () => (await stack.containers()).map(({ Id, State }) => [Id, State.StartedAt]);
    const before = [await lives(), await ids()];
    const run = await stack.safeUpdate(['backup', 'prod', ...brisk]);
    expect(run.exitCode, run.story).toBe(3);
    expect(run.outcome?.error?.message).toMatch(new RegExp(`volume ${nfs} cannot be mounted: `));
    expect(run.outcome?.error?.state).toMatch(/^Nothing was touched/);
    expect(run.outcome?.error?.hint).toContain(`volumes.${nfs}.class: cache`);
    expect([await lives(), await ids()]).toEqual(before);
    await expectNothingLeft(stack, run);

    await stack.write(
      'safe-update.yml',
      `${await stack.read('safe-update.yml')}\nvolumes:\n  nfs_storage: { class: cache }\n`,
    );
    // Into another folder, as people name one for their own scripts.
    const elsewhere = within(stack, 'elsewhere');
    const there = ['backup', 'prod', '--consistency', 'hot', '--backups', elsewhere, ...brisk];
    const { outcome } = await succeed(stack, there);
    const file = path.join(elsewhere, stack.project, outcome?.backup ?? '', 'manifest.json');
    const manifest = JSON.parse(await readFile(file, 'utf8')) as Manifest;
    expect(manifest.volumes).not.toHaveLength(0);
    expect(manifest.notCovered.join('\n')).toContain(nfs);
  });
});
