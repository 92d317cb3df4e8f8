import { createHash } from 'node:crypto';
import { chmod, chown, cp, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Manifest } from '../../src/backup/manifest.ts';
import { expectIntact } from './outcomes.ts';
import { releaseImage } from './releases.ts';
import { listen } from './stack-small.ts';
import {
  expectNothingLeft,
  expectSame,
  expectUntouched,
  imageId,
  shop,
  snapshot,
  type Finished,
  type Snapshot,
  type Stack,
} from './stack.ts';

const calm = ['--json', '--stable-for', '2s', '--verify-timeout', '60s'];

let stack: Stack;
/** The backup that everything here goes back to, and the stack when it was made. */
let backup: string;
let first: Snapshot;

beforeAll(async () => {
  stack = await shop();
  // Every restore keeps what was there; the backup of the beginning has to outlive them all.
  await stack.write('safe-update.yml', 'backups: { keep: 50 }\n');
  await stack.write('note.txt', 'not a file of the configuration');
  first = await snapshot(stack);
  const run = await stack.safeUpdate(['backup', '--yes', ...calm]);
  expect(run.exitCode, run.story).toBe(0);
  backup = run.outcome?.backup ?? '';
});

async function restore(id: string, ...flags: string[]): Promise<Finished> {
  return stack.safeUpdate(['restore', id, '--confirm', stack.project, ...calm, ...flags]);
}

/** What people and programs do to a stack in the course of a day, in every place that keeps data. */
async function workOnIt(word: string): Promise<void> {
  await stack.post(`/members?name=${word}&email=${word}@example.org`);
  await stack.sql("UPDATE members SET email = 'lost' WHERE name = 'Ada'");
  await stack.post(`/uploads/${word}`, `uploaded: ${word}`);
  await stack.post('/uploads/picture-0', 'overwritten');
  await stack.redis(['SET', 'greeting', word]);
  await stack.redis(['DEL', 'queue']);
}

async function backups(kind: string): Promise<string[]> {
  return (await stack.backups()).filter(({ manifest }) => manifest.kind === kind).map(({ id }) => id);
}

describe('restore', () => {
  it('takes everything back, and what was there is a backup to go forward with', async () => {
    await workOnIt('later');
    await stack.sql('CREATE TABLE invoices (id serial PRIMARY KEY)');
    expect(await stack.get('/uploads/later')).toBe('uploaded: later');
    const changed = await snapshot(stack);

    const back = await restore(backup);
    expect(back.exitCode, back.story).toBe(0);
    expect(back.outcome?.result).toBe('restored');
    await expect(stack.get('/uploads/later')).rejects.toThrow('404');
    expect(JSON.parse(await stack.get('/members'))).toHaveLength(3);
    expectSame(first, await snapshot(stack));
    await expectNothingLeft(stack, back);

    const kept = back.outcome?.backup ?? '';
    expect(await backups('pre-restore')).toEqual([kept]);
    expect(back.outcome?.rollbackCommand).toBe(`safe-update restore ${kept} --project-name ${stack.project}`);
    for (const sealed of await stack.backups()) await expectIntact(sealed);

    const forward = await restore(kept);
    expect(forward.exitCode, forward.story).toBe(0);
    expect(await stack.get('/uploads/later')).toBe('uploaded: later');
    expectSame(changed, await snapshot(stack));
    await expectNothingLeft(stack, forward);
  });

  it('--only volume: that volume alone, and only what uses it is stopped', async () => {
    await workOnIt('volume');
    const before = await snapshot(stack);
    const run = await restore(backup, '--only', 'volume:uploads');
    expect(run.exitCode, run.story).toBe(0);
    const after = await snapshot(stack);
    const uploads = `${stack.project}_uploads`;
    expect(contentOf(after, uploads)).toEqual(contentOf(first, uploads));
    expect(contentOf(after, uploads)).not.toEqual(contentOf(before, uploads));
    expect([after.rows, after.keys]).toEqual([before.rows, before.keys]);
    for (const key of ['db-1', 'cache-1']) expect(after.services[key], key).toEqual(before.services[key]);
    expect(after.services['app-1']?.id).toBe(before.services['app-1']?.id);
    expect(after.services['app-1']?.startedAt).not.toBe(before.services['app-1']?.startedAt);
    await expectNothingLeft(stack, run);
  });

  it('--only database, of PostgreSQL: rows, schema and no more', async () => {
    await workOnIt('rows');
    await stack.sql('CREATE TABLE IF NOT EXISTS notes (id serial); ALTER TABLE orders ADD COLUMN note text');
    const before = await snapshot(stack);
    const run = await restore(backup, '--only', 'database:db');
    expect(run.exitCode, run.story).toBe(0);
    const after = await snapshot(stack);
    expect(after.rows).toEqual(first.rows);
    expect(after.keys).toEqual(before.keys);
    expect(contentOf(after, `${stack.project}_uploads`)).toEqual(
      contentOf(before, `${stack.project}_uploads`),
    );
    expect(Object.keys(after.services)).toEqual(Object.keys(before.services));
    await expectNothingLeft(stack, run);
  });

  it('--only database, of Redis: keys, though its append-only file knows better', async () => {
    await workOnIt('keys');
    const before = await snapshot(stack);
    expect(before.keys).not.toEqual(first.keys);
    const run = await restore(
      backup,
      '--only',
      'database:cache',
      '--only',
      `volume:${stack.project}_uploads`,
    );
    expect(run.exitCode, run.story).toBe(0);
    const after = await snapshot(stack);
    expect(after.keys).toEqual(first.keys);
    expect(after.rows).toEqual(before.rows);
    const uploads = `${stack.project}_uploads`;
    expect(contentOf(after, uploads)).toEqual(contentOf(first, uploads));
    await expectNothingLeft(stack, run);
  });

  it('--only config: the files as they were, and not a container stopped', async () => {
    const compose = await stack.read('compose.yaml');
    const env = await stack.read('.env');
    await stack.edit((model) => {
      model.services['app']!['command'] = ['python3', 'app.py', '--nonsense'];
    });
    await stack.env({ DB_PASSWORD: 'another' });
    await stack.write('note.txt', 'changed');
    const before = await snapshot(stack);
    const run = await restore(backup, '--only', 'config');
    expect(run.exitCode, run.story).toBe(0);
    expect(await stack.read('compose.yaml')).toBe(compose);
    expect(await stack.read('.env')).toBe(env);
    expect(await stack.read('note.txt')).toBe('changed');
    const after = await snapshot(stack);
    expect(after.services).toEqual(before.services);
    // The files that were replaced are not lost either.
    const kept = (await stack.backups()).find(({ id }) => id === run.outcome?.backup);
    expect(await readFile(path.join(kept?.folder ?? '', 'config/files/compose.yaml'), 'utf8')).toContain(
      '--nonsense',
    );
    await expectNothingLeft(stack, run);

    const back = (run.outcome?.rollbackCommand ?? '').split(' ').slice(1);
    expect(back.slice(0, 4)).toEqual(['restore', run.outcome?.backup, '--only', 'config']);
    const undone = await stack.safeUpdate([...back.slice(0, 4), '--confirm', stack.project, ...calm]);
    expect(undone.exitCode, undone.story).toBe(0);
    expect(await stack.read('compose.yaml')).toContain('--nonsense');
    expect((await restore(backup, '--only', 'config')).exitCode).toBe(0);
  });

  it('--only config: also when the files no longer render', async () => {
    const compose = await stack.read('compose.yaml');
    await stack.write('compose.yaml', 'services:\n\t- broken');
    const run = await restore(backup, '--only', 'config');
    expect(run.exitCode, run.story).toBe(0);
    expect(await stack.read('compose.yaml')).toBe(compose);
  });

  it('--only config: a file has the mode it had, and belongs to whom it did', async () => {
    const file = path.join(stack.directory, '.env');
    await chmod(file, 0o664);
    if (process.getuid?.() === 0) await chown(file, 1234, 4321);
    const { uid, gid } = await stat(file);
    const made = await stack.safeUpdate(['backup', '--consistency', 'hot', ...calm]);
    expect(made.exitCode, made.story).toBe(0);
    await chmod(file, 0o600);
    const run = await restore(made.outcome?.backup ?? '', '--only', 'config');
    expect(run.exitCode, run.story).toBe(0);
    const after = await stat(file);
    expect((after.mode & 0o777).toString(8)).toBe('664');
    expect([after.uid, after.gid]).toEqual([uid, gid]);
  });

  it('--only config: a backup from elsewhere writes outside of the project only where that is accepted, and no setuid bit', async () => {
    const id = 'manual-20200102_030405';
    const folder = path.join(stack.backupFolder, id);
    const outside = await mkdtemp(path.join(tmpdir(), 'outside-'));
    await cp(path.join(stack.backupFolder, backup), folder, { recursive: true });
    try {
      const manifest = JSON.parse(await readFile(path.join(folder, 'manifest.json'), 'utf8')) as Manifest;
      const [file] = manifest.config;
      Object.assign(file!, { from: path.join(outside, 'runs-as-root'), mode: 0o4755 });
      const text = `${JSON.stringify({ ...manifest, id, run: 'elsewhere' }, null, 2)}\n`;
      await writeFile(path.join(folder, 'manifest.json'), text);
      const sums = await readFile(path.join(folder, 'SHA256SUMS'), 'utf8');
      const sum = createHash('sha256').update(text).digest('hex');
      await writeFile(path.join(folder, 'SHA256SUMS'), sums.replace(/^\w+(?= {2}manifest\.json$)/m, sum));

      const run = await restore(id, '--only', 'config');
      expect(run.exitCode, run.story).toBe(3);
      expect(run.outcome?.error?.message).toContain(`the file ${outside}/runs-as-root would be written`);
      expect(run.outcome?.error?.hint).toContain(`--accept outside:${outside}/runs-as-root`);
      expect(await readdir(outside)).toEqual([]);

      const accepted = await restore(id, '--only', 'config', '--accept', `outside:${outside}/runs-as-root`);
      expect(accepted.exitCode, accepted.story).toBe(0);
      const { mode } = await stat(path.join(outside, 'runs-as-root'));
      expect((mode & 0o7777).toString(8), 'it runs as nobody else').toBe('755');
    } finally {
      await rm(folder, { recursive: true });
      await rm(outside, { recursive: true });
    }
  });
});

describe('restore touches nothing', () => {
  let listening: ReturnType<typeof listen>;
  let before: Snapshot;
  let known: string[];

  beforeAll(async () => {
    before = await snapshot(stack);
    known = (await stack.backups()).map(({ id }) => id);
    listening = listen(stack);
  });

  /** That the engine was left alone is looked at once, at the end. */
  async function expectRefusal(run: Finished, exitCode: 2 | 3, reason: RegExp): Promise<void> {
    expect(run.exitCode, run.story).toBe(exitCode);
    expect(run.outcome?.error?.message).toMatch(reason);
    expect(run.outcome?.error?.state ?? '', run.story).toMatch(/^Nothing was touched/);
    expect(run.outcome?.error?.hint ?? '', run.story).toMatch(/\w{3}/);
    expect((await stack.backups()).map(({ id }) => id)).toEqual(known);
    await expectNothingLeft(stack, run);
  }

  it.each<[string, (id: string) => string[], 2 | 3, RegExp]>([
    ['without a confirmation, off a terminal', (id) => [id], 2, /no terminal to ask on/],
    ['with another project’s name', (id) => [id, '--confirm', 'shop'], 3, /did not confirm/],
    ['with a yes in the place of the name', (id) => [id, '--yes'], 2, /no terminal to ask on/],
    [
      'for a backup that is not there',
      () => ['manual-20200101_000000', '--confirm', 'X'],
      2,
      /no backup manual-2020/,
    ],
    ['for what is no backup', () => ['../../etc', '--confirm', 'X'], 2, /no backup \.\./],
    [
      'for a volume that is not in it',
      (id) => [id, '--confirm', 'X', '--only', 'volume:nope'],
      2,
      /no volume nope/,
    ],
    [
      'for a database that is not in it',
      (id) => [id, '--confirm', 'X', '--only', 'database:app'],
      2,
      /no database app/,
    ],
    ['for a word it does not know', (id) => [id, '--confirm', 'X', '--only', 'uploads'], 2, /--only takes/],
  ])('%s', async (_, args, exitCode, reason) => {
    const given = args(backup).map((word) => (word === 'X' ? stack.project : word));
    await expectRefusal(await stack.safeUpdate(['restore', ...given, ...calm]), exitCode, reason);
  });

  it.each([
    ['volumes/PROJECT_uploads.tar.zst', []],
    ['databases/db/shop.dump', ['--only', 'volume:uploads']],
    ['config/engine.json', ['--only', 'config']],
    ['manifest.json', ['--only', 'database:cache']],
  ])('for a backup that is damaged: %s', async (name, only) => {
    const part = name.replace('PROJECT', stack.project);
    const file = path.join(stack.backupFolder, backup, part);
    const whole = await readFile(file);
    const flipped = Buffer.from(whole);
    // In a manifest that is still JSON, a checksum is another one.
    const at = name === 'manifest.json' ? whole.indexOf('"sha256": "') + 20 : whole.length >> 1;
    flipped[at]! ^= 4;
    await writeFile(file, flipped);
    try {
      await expectRefusal(await restore(backup, ...only), 3, new RegExp(part));
      const verify = await stack.safeUpdate(['verify', backup]);
      expect(verify.exitCode).toBe(3);
      expect(verify.stderr).toContain(part);
    } finally {
      await writeFile(file, whole);
    }
  });

  it('and the engine has heard of none of it', async () => {
    expect(await listening.end()).toEqual([]);
    expectUntouched(before, await snapshot(stack));
  });
});

describe('rollback', () => {
  it('takes a good release back, with its data, once', async () => {
    await stack.compose(['stop', 'cache']);
    await stack.compose(['start', 'cache']);
    const before = await snapshot(stack);
    await stack.push('1.1.0');
    const update = await stack.update();
    expect(update.exitCode, update.story).toBe(0);
    expect(update.outcome?.rollbackCommand).toBe(`safe-update rollback --project-name ${stack.project}`);
    await workOnIt('with-1-1-0');
    expect(await stack.sql('SELECT count(phone) FROM members')).toBe('0');
    const updated = await snapshot(stack);

    const asked = await stack.safeUpdate(['rollback', ...calm]);
    expect(asked.exitCode, asked.story).toBe(2);
    const declined = await stack.safeUpdate(['rollback', '--confirm', 'shop', ...calm]);
    expect(declined.exitCode, declined.story).toBe(3);
    expect((await snapshot(stack)).services).toEqual(updated.services);

    const run = await stack.safeUpdate(['rollback', '--confirm', stack.project, ...calm]);
    expect(run.exitCode, run.story).toBe(0);
    expect(run.outcome?.result).toBe('restored');
    expect(Object.keys(run.outcome?.downtime ?? {}).sort()).toEqual(['app', 'cache', 'db']);
    expectSame(before, await snapshot(stack));
    expect((await stack.container('app')).Image).toBe(await imageId(releaseImage('1.0.0')));
    expect((await stack.get('/version')).trim()).toBe('1.0.0');
    await expectNothingLeft(stack, update, run);

    const again = await stack.safeUpdate(['rollback', '--confirm', stack.project, ...calm]);
    expect(again.exitCode, again.story).toBe(2);
    expect(again.outcome?.error?.message).toMatch(/rolled back already/);
    expectSame(before, await snapshot(stack));

    const forward = await restore(run.outcome?.backup ?? '');
    expect(forward.exitCode, forward.story).toBe(0);
    expectSame(updated, await snapshot(stack));
    expect((await stack.get('/version')).trim()).toBe('1.1.0');
    await expectNothingLeft(stack, forward);
  });

  it('has nothing to do where there was no update', async () => {
    const fresh = await shop({ start: false });
    const run = await fresh.safeUpdate(['rollback', '--confirm', fresh.project, ...calm]);
    expect(run.exitCode, run.story).toBe(2);
    expect(run.outcome?.error?.message).toMatch(/no update of/);
  });
});

function contentOf(taken: Snapshot, volume: string): unknown {
  const { tar, files, root } = taken.digests[volume] ?? {};
  return { tar, files, root };
}
