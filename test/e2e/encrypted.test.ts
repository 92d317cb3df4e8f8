import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { turn } from '../faults/campaign.ts';
import { generateKey } from '../../src/backup/age.ts';
import type { Manifest } from '../../src/backup/manifest.ts';
import { tool } from '../tools.ts';
import { expectIntact, expectRolledBack } from './outcomes.ts';
import { following, printed } from './page.ts';
import {
  docker,
  expectNothingLeft,
  expectSame,
  expectUntouched,
  project,
  quick,
  shop,
  snapshot,
  type Finished,
  type SealedBackup,
  type Snapshot,
  type Stack,
} from './stack.ts';

vi.setConfig({ testTimeout: 600_000 });

const calm = ['--json', '--stable-for', '1s', '--verify-timeout', '30s'];

const folders: string[] = [];
afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
});

/** A stack whose server knows whom to encrypt for, and nothing else; the key is somewhere else. */
async function encrypting(): Promise<{ stack: Stack; key: string; strange: string }> {
  const stack = await shop();
  const elsewhere = await mkdtemp(path.join(tmpdir(), 'safe-update-keys-'));
  folders.push(elsewhere);
  const [mine, other] = [await generateKey(), await generateKey()];
  const [key, strange] = [path.join(elsewhere, 'key.txt'), path.join(elsewhere, 'strange.txt')];
  await writeFile(key, `# public key: ${mine.recipient}\n${mine.identity}\n`, { mode: 0o600 });
  await writeFile(strange, `${other.identity}\n`, { mode: 0o600 });
  await stack.write(
    'safe-update.yml',
    `backups:\n  encryption:\n    recipients:\n      - ${mine.recipient}\n`,
  );
  return { stack, key, strange };
}

/** What each file is that a person who finds a backup can read: neither in it nor in its name is anything of the stack. */
async function expectNoNames(stack: Stack, { folder, manifest }: SealedBackup): Promise<void> {
  expect(manifest).toMatchObject({ format: 2, encrypted: 'age' });
  const names = [
    stack.project,
    stack.secret,
    'uploads',
    'postgres',
    'redis',
    'compose',
    'services',
    '/app',
    'shop',
  ];
  const files = (await readdir(folder, { recursive: true })).filter((file) => file !== 'parts');
  expect(files.length).toBeGreaterThan(10);
  for (const file of files) {
    expect(file).toMatch(/^(manifest\.json|SHA256SUMS|names\.age|parts\/\d{4}\.age)$/);
    const text = await readFile(path.join(folder, file), 'latin1');
    // Two letters more than any of them are not found in random bytes by accident.
    for (const name of names.filter((candidate) => file.endsWith('.json') || candidate.length > 6))
      expect(text.includes(name), `${name} in ${file}`).toBe(false);
  }
  await expectIntact({ id: manifest.id, folder, manifest });
}

async function expectRefusal(run: Finished, exitCode: number, words: RegExp): Promise<void> {
  expect(run.exitCode, run.story + run.stdout).toBe(exitCode);
  expect(run.stdout + run.stderr).toMatch(words);
  expect(run.stdout + run.stderr).not.toContain('AGE-SECRET-KEY-1');
}

describe('with nothing but recipients on the server', () => {
  it('a bad release is rolled back, with all that it has destroyed', async () => {
    const { stack, key } = await encrypting();
    await stack.push('drop-table');
    const before = await snapshot(stack);
    const run = await stack.update();
    const { backup, failed } = await expectRolledBack(stack, before, run, /app/);
    await expectNoNames(stack, backup);
    await expectNoNames(stack, failed);
    const logs = await stack.safeUpdate(['show', failed.id, '--logs', '--identity', key]);
    expect(logs.exitCode, logs.stderr).toBe(0);
    expect(logs.stdout).toContain('app');
  });

  it.runIf(turn(0, 3))('a bad release is rolled back from dumps too', async () => {
    const { stack } = await encrypting();
    await stack.push('drop-table');
    const before = await snapshot(stack);
    const run = await stack.update(['--consistency', 'hot']);
    expect(run.exitCode, run.story).toBe(4);
    const after = await snapshot(stack);
    expect({ rows: after.rows, keys: after.keys }).toEqual({ rows: before.rows, keys: before.keys });
    await expectNothingLeft(stack, run);
    for (const backup of await stack.backups()) await expectNoNames(stack, backup);
  });

  it.runIf(turn(1, 3))('killed, and its key lost, it is recovered with an identity', async () => {
    const { stack, key } = await encrypting();
    await stack.push('drop-table');
    const before = await snapshot(stack);
    const running = stack.start(quick);
    await running.step('verify');
    await sleep(1000);
    running.kill('SIGKILL');
    await running.finished;
    const journals = path.join(stack.backupFolder, '.safe-update');
    for (const name of (await readdir(journals)).filter((file) => file.endsWith('.key')))
      await rm(path.join(journals, name));
    const without = await stack.safeUpdate(['recover', ...calm]);
    expect(without.exitCode, without.story).toBe(5);
    expect(without.outcome?.error?.message).toContain('there is no key to read it with');
    expect(without.outcome?.error?.hint).toMatch(/--identity FILE.*safe-update recover/s);
    const run = await stack.safeUpdate(['recover', ...calm, '--identity', key]);
    expect(run.exitCode, run.story).toBe(0);
    expectSame(before, await snapshot(stack));
    await expectNothingLeft(stack, run);
  });

  it.runIf(turn(2, 3))(
    'a key that a killed run has left at its very end goes with the next run',
    async () => {
      const { stack } = await encrypting();
      await stack.push('1.1.0');
      const running = stack.start(quick, { env: { SAFE_UPDATE_PAUSE: 'prune' } });
      await running.until((event) => event.type === 'notice' && event.message === 'Paused at prune.');
      running.kill('SIGKILL');
      await running.finished;
      const journals = path.join(stack.backupFolder, '.safe-update');
      const [journal = ''] = (await readdir(journals)).filter((name) => name.endsWith('.jsonl'));
      await writeFile(path.join(journals, journal.replace('.jsonl', '.key')), 'left\n', { mode: 0o600 });
      const next = await stack.safeUpdate(['backup', ...quick]);
      expect(next.exitCode, next.story).toBe(0);
      await expectNothingLeft(stack, next);
    },
  );
});

describe('an update that went well', () => {
  let stack: Stack;
  let key: string;
  let strange: string;
  let before: Snapshot;
  let after: Snapshot;
  let backup: SealedBackup;

  beforeAll(async () => {
    ({ stack, key, strange } = await encrypting());
    await stack.push('1.1.0');
    before = await snapshot(stack);
    const run = await stack.update();
    expect(run.exitCode, run.story).toBe(0);
    expect((await stack.get('/version')).trim()).toBe('1.1.0');
    await expectNothingLeft(stack, run);
    const [made] = await stack.backups();
    if (made === undefined) throw new Error('no backup');
    backup = made;
    await stack.post('/members?name=Later&email=later@example.org');
    await stack.post('/uploads/later', 'uploaded later');
    after = await snapshot(stack);
  }, 300_000);

  it('has left a backup without names', async () => {
    await expectNoNames(stack, backup);
  });

  it('its backup is listed and verified without a key, and verified through with one', async () => {
    const listed = await stack.safeUpdate(['backups']);
    expect(listed.stdout).toMatch(new RegExp(`${backup.id} .* encrypted`));
    const status = await stack.safeUpdate(['status']);
    expect(status.stdout).toContain(backup.id);
    const volumes = await stack.safeUpdate(['volumes']);
    expect(volumes.stdout).toMatch(/uploads .*see backups/);

    const outside = await stack.safeUpdate(['verify', backup.id]);
    expect(outside.exitCode, outside.stderr).toBe(0);
    expect(outside.stdout).toMatch(/is sound: \d+ encrypted files, .*\nIt was not decrypted\./);
    const inside = await stack.safeUpdate(['verify', backup.id, '--identity', key]);
    expect(inside.exitCode, inside.stderr).toBe(0);
    expect(inside.stdout).toMatch(/is sound: \d+ parts, .*, decrypted, every checksum right/);
    await expectRefusal(
      await stack.safeUpdate(['verify', backup.id, '--identity', strange]),
      3,
      /not encrypted for any/,
    );
  });

  it.each([
    ['show', () => ['show', backup.id]],
    ['restore', () => ['restore', backup.id, '--confirm', stack.project, ...calm]],
    ['restore one volume', () => ['restore', backup.id, '--only', 'volume:uploads', '--yes', ...calm]],
    ['rollback', () => ['rollback', '--confirm', stack.project, ...calm]],
    ['restore --as', () => ['restore', backup.id, '--as', `${stack.project}-2`, ...calm]],
  ])('%s is refused without a key, and with a wrong one, and touches nothing', async (_, args) => {
    await expectRefusal(
      await stack.safeUpdate(args()),
      3,
      /is encrypted, and there is no key.*--identity FILE/s,
    );
    await expectRefusal(
      await stack.safeUpdate([...args(), '--identity', strange]),
      3,
      /not encrypted for any/,
    );
    await expectRefusal(
      await stack.safeUpdate(args(), { env: { SAFE_UPDATE_IDENTITY_FILE: strange } }),
      3,
      /not encrypted for any/,
    );
    await chmod(key, 0o640);
    await expectRefusal(await stack.safeUpdate([...args(), '--identity', key]), 2, /mode 0640.*chmod 600/s);
    await chmod(key, 0o600);
    await expectRefusal(
      await stack.safeUpdate([...args(), '--identity', '/none']),
      2,
      /\/none cannot be read/,
    );
    expectUntouched(after, await snapshot(stack));
    expect((await stack.backups()).map(({ id }) => id)).toEqual([backup.id]);
  });

  it('a damaged part is found before anything is touched', async () => {
    const parts = path.join(backup.folder, 'parts');
    const [first = '', second = ''] = (await readdir(parts)).sort();
    const whole = await readFile(path.join(parts, first));
    const swapped = await readFile(path.join(parts, second));
    for (const damaged of [whole.subarray(0, -100), Buffer.concat([whole, Buffer.alloc(1)]), swapped]) {
      await writeFile(path.join(parts, first), damaged);
      const run = await stack.safeUpdate([
        'rollback',
        '--confirm',
        stack.project,
        ...calm,
        '--identity',
        key,
      ]);
      expect(run.exitCode, run.story).toBe(3);
      expect(run.outcome?.error?.code).toBe('damaged');
      expect(run.outcome?.error?.state).toMatch(/^Nothing was touched/);
      const verified = await stack.safeUpdate(['verify', backup.id]);
      expect(verified.exitCode).toBe(3);
      expect(verified.stderr).toContain(`parts/${first}`);
    }
    await writeFile(path.join(parts, first), whole);
    expectUntouched(after, await snapshot(stack));
  });

  it('it is shown and rolled back with the key, and forward again', async () => {
    const shown = await stack.safeUpdate(['show', backup.id, '--identity', key]);
    expect(shown.exitCode, shown.stderr).toBe(0);
    expect(shown.stdout).toContain(`${stack.project}_uploads`);
    const run = await stack.safeUpdate(['rollback', '--confirm', stack.project, ...calm], {
      env: { SAFE_UPDATE_IDENTITY_FILE: key },
    });
    expect(run.exitCode, run.story).toBe(0);
    expectSame(before, await snapshot(stack));
    await expectNothingLeft(stack, run);

    // The state before it is encrypted too.
    const kept = (await stack.backups()).find(({ id }) => id === run.outcome?.backup);
    await expectNoNames(stack, kept!);
    await stack.env({});
    const back = await stack.safeUpdate([
      ...['restore', kept!.id, '--confirm', stack.project, ...calm, '--identity', key],
    ]);
    expect(back.exitCode, back.story).toBe(0);
    expectSame(after, await snapshot(stack));
    await expectNothingLeft(stack, back);
    expect(back.outcome?.rollbackCommand).toContain(`--identity ${key}`);
  });

  it('one database comes back from its dump, and the configuration', async () => {
    await stack.sql("UPDATE members SET email = 'lost'");
    const compose = await stack.read('compose.yaml');
    await stack.write('compose.yaml', `${compose}\n# edited\n`);
    const run = await stack.safeUpdate([
      ...['restore', backup.id, '--only', 'database:db', '--only', 'config'],
      ...['--confirm', stack.project, ...calm, '--identity', key],
    ]);
    expect(run.exitCode, run.story).toBe(0);
    expect(await stack.sql("SELECT count(*) FROM members WHERE email = 'lost'")).toBe('0');
    expect(await stack.read('compose.yaml')).toBe(compose);
    await expectNothingLeft(stack, run);
  });

  it.runIf(turn(1, 2))(
    'it goes to another place and comes up there, and its file tells nothing',
    async () => {
      const file = path.join(stack.directory, 'exported.tar');
      const images = await stack.safeUpdate(['export', backup.id, file, '--images']);
      await expectRefusal(images, 3, /images beside it would not be/);
      const made = await stack.safeUpdate(['export', backup.id, file]);
      expect(made.exitCode, made.stderr).toBe(0);
      const { stdout: listed } = await execa('tar', ['--list', '--file', file]);
      expect(
        listed
          .split('\n')
          .filter(
            (name) =>
              !/^pre-update-\d+_\d+\/(manifest\.json|SHA256SUMS|names\.age|parts\/\d{4}\.age)$/.test(name),
          ),
      ).toEqual([]);
      const text = await readFile(file, 'latin1');
      for (const name of [stack.project, stack.secret, 'postgres', '_uploads'])
        expect(text.includes(name), name).toBe(false);

      const elsewhere = path.join(stack.directory, 'elsewhere');
      const imported = await stack.safeUpdate(['import', file, '--backups', elsewhere]);
      expect(imported.exitCode, imported.stderr).toBe(0);
      const folder = path.join(elsewhere, stack.project, backup.id);
      for (const name of ['manifest.json', 'names.age', 'parts/0001.age'])
        expect(await readFile(path.join(folder, name))).toEqual(
          await readFile(path.join(backup.folder, name)),
        );
      const verified = await stack.safeUpdate([
        ...['verify', backup.id, '--backups', elsewhere, '--identity', key],
      ]);
      expect(verified.exitCode, verified.stderr).toBe(0);

      const other = Object.assign(await project({}), { secret: stack.secret, port: stack.port });
      const run = await stack.safeUpdate([
        ...['restore', backup.id, '--as', other.project, '--into', other.directory, '--no-ports'],
        ...['--backups', elsewhere, '--identity', key, ...calm],
      ]);
      expect(run.exitCode, run.story).toBe(0);
      const second = await snapshot(other);
      expect({ rows: second.rows, keys: second.keys }).toEqual({ rows: before.rows, keys: before.keys });
      await expectNothingLeft(other, run);
      await other.remove();
      await rm(file);
      await rm(elsewhere, { recursive: true });
    },
  );

  it('old ones are pruned without a key', async () => {
    const all = await stack.backups();
    expect(all.length).toBeGreaterThan(2);
    // What a restore kept is counted by itself.
    const newest = [
      all.findLast(({ id }) => !id.startsWith('pre-restore')),
      all.findLast(({ id }) => id.startsWith('pre-restore')),
    ];
    const run = await stack.safeUpdate(['prune', '--keep', '1', '--json']);
    expect(run.exitCode, run.stderr).toBe(0);
    expect((await stack.backups()).map(({ id }) => id)).toEqual(newest.map((backup) => backup?.id));
    await expectNothingLeft(stack, run);
  });
});

const age = tool('age', ['--version'], 'an encrypted backup by hand');

describe.runIf(age.present)(`by hand, with age, zstd and tar alone${age.without}`, () => {
  it.runIf(turn(0, 2))('docs/backup-format.md brings everything back', async () => {
    const { stack, key } = await encrypting();
    const before = await snapshot(stack);
    const run = await stack.safeUpdate(['backup', '--yes', '--stable-for', '2s']);
    expect(run.exitCode, run.story).toBe(0);
    const [backup] = await stack.backups();
    if (backup === undefined) throw new Error('no backup');

    const plain = path.join(path.dirname(key), 'plain');
    const names = await execa('age', ['--decrypt', '--identity', key, path.join(backup.folder, 'names.age')]);
    const archive = /^(parts\/\d+\.age) volumes\/.*_uploads\.tar\.zst$/m.exec(names.stdout)?.[1] ?? '';
    const output = await following(stack, backup)('An encrypted backup', {
      IDENTITY: key,
      PLAIN: plain,
      ENCRYPTED: archive,
    });
    expect(output).toContain(printed('An encrypted backup', 'sha256sum'));
    expect(output).toMatch(/^parts\/0001\.age \w+\/.+$/m);
    expect(output).toMatch(/^drwxr-xr-x 1000\/1000 .* \.\/$/m);

    // What lies there now is a backup as any other.
    const manifest = JSON.parse(await readFile(path.join(plain, 'manifest.json'), 'utf8')) as Manifest;
    expect(manifest.format).toBe(1);
    await expectIntact({ id: backup.id, folder: plain, manifest });

    await stack.post('/uploads/later', 'written since');
    await stack.sql("UPDATE members SET email = 'lost'; DROP TABLE orders");
    const { Id } = await stack.container('app');
    await docker(['exec', '--user', '0', Id, 'rm', '-r', '/app/uploads/deep']);
    const decrypted = following(stack, { id: backup.id, folder: plain, manifest });
    for (const name of ['uploads', 'db_data']) {
      const volume = `${stack.project}_${name}`;
      await decrypted('A volume', { VOLUME: volume, ARCHIVE: `volumes/${volume}` });
    }
    await stack.up();
    const after = await snapshot(stack);
    const files = Object.entries(after.files).filter(([name]) => !name.endsWith('-now.tar'));
    expectSame(before, { ...after, files: Object.fromEntries(files) });
  });
});
