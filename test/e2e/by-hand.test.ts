import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import { beforeAll, describe, expect, it } from 'vitest';
import { following, page, printed, type Following } from './page.ts';
import { push, releaseImage } from './releases.ts';
import {
  docker,
  eventually,
  expectSame,
  imageId,
  shop,
  snapshot,
  type SealedBackup,
  type Snapshot,
  type Stack,
} from './stack.ts';

let stack: Stack;
let backup: SealedBackup;
let before: Snapshot;
let run: ReturnType<typeof following>;

beforeAll(async () => {
  stack = await shop();
  before = await snapshot(stack);
  const made = await stack.safeUpdate(['backup', '--yes', '--stable-for', '2s']);
  expect(made.exitCode, made.story).toBe(0);
  const [sealed] = await stack.backups();
  if (sealed === undefined) throw new Error('no backup');
  backup = sealed;

  run = following(stack, backup);
});

function of(name: string): Record<string, string> {
  const volume = `${stack.project}_${name}`;
  return { VOLUME: volume, ARCHIVE: `volumes/${volume}` };
}

describe('docs/backup-format.md, followed by hand', () => {
  it('tells a whole backup from a damaged one', async () => {
    expect(await run('Before anything else')).toBe(printed('Before anything else'));
    const part = path.join(backup.folder, 'volumes', `${stack.project}_uploads.tar.zst`);
    const whole = await readFile(part);
    const damaged = Buffer.from(whole);
    damaged[damaged.length >> 1]! ^= 1;
    await writeFile(part, damaged);
    await expect(run('Before anything else')).rejects.toThrow(`${stack.project}_uploads.tar.zst: FAILED`);
    await writeFile(part, whole);
  });

  it('brings a volume back to the byte', async () => {
    await stack.post('/uploads/later', 'written since');
    const { Id } = await stack.container('app');
    await docker([
      ...['exec', '--user', '0', Id, 'sh', '-c'],
      'cd /app/uploads; rm -r deep; chmod 0700 .; truncate -s 0 picture-1',
    ]);
    const output = await run('A volume', of('uploads'));
    expect(output).toContain('drwxr-xr-x 1000/1000');
    expect(output).toContain(printed('A volume', 'sha256sum'));
    expect(output).not.toContain('still uses it');
    await stack.up();
    expectSame(withoutFile(before), withoutFile(await snapshot(stack)));
  });

  it('brings a volume back that the engine no longer has, and a database’s whole volume', async () => {
    await stack.sql("UPDATE members SET email = 'lost'; DROP TABLE orders");
    await stack.compose(['rm', '--stop', '--force', 'app']);
    await docker(['volume', 'rm', `${stack.project}_uploads`]);
    await stack.compose(['create']);
    await run('A volume', of('uploads'));
    await run('A volume', of('db_data'));
    await stack.up();
    expectSame(withoutFile(before), withoutFile(await snapshot(stack)));
  });

  it('brings a PostgreSQL database back from its dump', async () => {
    await stack.sql("UPDATE members SET email = 'lost'; CREATE TABLE more (member int REFERENCES members)");
    await stack.sql("ALTER ROLE shop VALID UNTIL '2030-01-01'; CREATE ROLE stranger");
    const output = await run('A PostgreSQL database', {
      SERVICE: 'db',
      PGUSER: 'shop',
      DUMP: 'databases/db/shop.dump',
    });
    const tables = (text: string): string[] =>
      [...text.matchAll(/TABLE DATA public (\w+)/g)].map(([, name]) => name ?? '');
    expect(tables(output)).toEqual(tables(printed('A PostgreSQL database', 'pg_restore --list')));
    const after = await snapshot(stack);
    expect(after.rows).toEqual(before.rows);
    expect(after.keys).toEqual(before.keys);
    expect((await stack.get('/version')).trim()).toBe('1.0.0');
  });

  it('brings the keys of a Redis back, with an append-only file and without', async () => {
    const only = (flag: 'true' | 'false'): Following => ({
      which({ script }) {
        const place = page.indexOf(script);
        const said = [...page.slice(0, place).matchAll(/With `"appendonly": (true|false)`/g)].at(-1)?.[1];
        return !script.startsWith('docker run') || said === flag;
      },
    });
    const variables = { SERVICE: 'cache', VOLUME: `${stack.project}_cache_data` };
    const facts = await readFile(path.join(backup.folder, 'databases/cache/redis.json'), 'utf8');
    expect(facts).toContain('"appendonly": true');

    await stack.redis(['FLUSHALL']);
    await stack.redis(['SET', 'other', 'value']);
    await run('Redis or Valkey keys', variables, only('true'));
    expect((await eventually(() => snapshot(stack))).keys).toEqual(before.keys);

    const compose = await stack.read('compose.yaml');
    await stack.edit((model) => {
      model.services['cache']!['command'] = ['redis-server', '--requirepass', '${CACHE_PASSWORD}'];
    });
    await stack.compose(['up', '--detach', '--no-deps', 'cache']);
    await eventually(() => stack.redis(['SET', 'other', 'value']));
    await run('Redis or Valkey keys', variables, only('false'));
    expect((await eventually(() => snapshot(stack))).keys).toEqual(before.keys);
    await stack.write('compose.yaml', compose);
    await stack.compose(['up', '--detach', '--no-deps', 'cache']);
  });

  it('brings the configuration back', async () => {
    const files = { compose: await stack.read('compose.yaml'), env: await stack.read('.env') };
    await stack.write('compose.yaml', 'services: {}\n');
    await stack.write('.env', '');
    await run('Configuration');
    expect({ compose: await stack.read('compose.yaml'), env: await stack.read('.env') }).toEqual(files);
  });

  it('brings the former image back', async () => {
    await push(releaseImage('1.1.0'), stack.repository);
    await stack.compose(['pull', '--quiet', 'app']);
    await stack.up();
    expect((await stack.get('/version')).trim()).toBe('1.1.0');
    const app = backup.manifest.containers.find(({ service }) => service === 'app');
    await run('Images', { IMAGE: app?.image ?? '', IMAGE_ID: app?.imageId ?? '' });
    expect((await stack.container('app')).Image).toBe(await imageId(releaseImage('1.0.0')));
    expect((await stack.get('/version')).trim()).toBe('1.0.0');
  });

  it('unpacks an exported backup, and loads its images', async () => {
    const exported = path.join(stack.directory, 'exported.tar');
    const made = await stack.safeUpdate(['export', backup.id, exported, '--images']);
    expect(made.exitCode, made.story).toBe(0);
    const folder = path.join(stack.directory, 'unpacked');
    const output = await run('An exported backup', { EXPORTED: exported, FOLDER: folder });
    expect(output).toContain(printed('An exported backup', 'tar --extract'));
    // The engine names what it has loaded by its id only if the last of them has no name.
    expect(output).toMatch(/^Loaded image/m);
    const pieces = `cat images/*.part | zstd --decompress --stdout | tar --extract --to-stdout manifest.json`;
    const { stdout: saved } = await execa('sh', ['-c', pieces], { cwd: folder });
    for (const { imageId: id } of backup.manifest.containers)
      expect(saved).toContain(id.replace('sha256:', ''));
    const listed = await readFile(path.join(folder, backup.id, 'manifest.json'), 'utf8');
    expect(JSON.parse(listed)).toEqual(backup.manifest);
  });

  it('names every field of a manifest, every file of a backup, and no others', () => {
    const section = (heading: string): string => page.split(`\n## ${heading}`)[1]?.split('\n## ')[0] ?? '';
    const [general = '', ofVolume = ''] = section('manifest.json').split('Of a volume:');
    const documented = (text: string): string[] =>
      [...text.matchAll(/^\| (`[^|]*) \|/gm)].flatMap(([, cell = '']) =>
        [...cell.matchAll(/`(\w+)/g)].map(([, name]) => name ?? ''),
      );
    // This stack mounts no folder of its configuration, and has no attributes that only root sees.
    const unused = ['configFolders', 'privileged'];
    const used = (text: string): string[] =>
      documented(text)
        .filter((name) => !unused.includes(name))
        .sort();
    expect(used(general)).toEqual(Object.keys(backup.manifest).sort());
    const fields = new Set(backup.manifest.volumes.flatMap((volume) => Object.keys(volume)));
    expect(used(ofVolume)).toEqual([...fields].sort());
    const layout = section('Layout').split('```')[1] ?? '';
    for (const part of backup.manifest.parts.map((found) => found.path)) {
      const file = part
        .replace(/(volumes\/).*(\.tar\.zst|\.files\.zst)$/, '$1bakery_uploads$2')
        .replace('postgres.dump', 'shop.dump');
      expect(layout, part).toContain(` ${file} `.replace(/ config\/files\/\.env $/, ' config/files/.env'));
    }
  });
});

/** The page keeps the present content of a volume in the project's folder. */
function withoutFile(taken: Snapshot): Snapshot {
  const files = Object.entries(taken.files).filter(([name]) => !name.endsWith('-now.tar'));
  return { ...taken, files: Object.fromEntries(files) };
}
