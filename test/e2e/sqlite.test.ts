import path from 'node:path';
import { execa } from 'execa';
import { expect, it } from 'vitest';
import { turn } from '../faults/campaign.ts';
import { docker } from './docker.ts';
import { expectIntact } from './outcomes.ts';
import { buildImage, local, shell } from './stack-small.ts';
import { eventually, project, type Stack } from './stack.ts';

const fast = ['--yes', '--json', '--stable-for', '1s', '--verify-timeout', '30s', ...local];

/** Notes in a SQLite file with a log beside it, written to without a pause; `first` is run at the start. */
function release(version: string, first = 'pass'): string {
  const program = [
    'import sqlite3, time',
    `notes = sqlite3.connect("/data/db/notes.db", timeout=10, isolation_level=None)`,
    'notes.execute("PRAGMA journal_mode = WAL")',
    'notes.execute("CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT)")',
    'notes.execute("CREATE TABLE IF NOT EXISTS ticks (at REAL)")',
    first,
    'while True:',
    '    notes.execute("INSERT INTO ticks VALUES (?)", (time.time(),))',
    '    time.sleep(0.02)',
  ];
  return [
    'FROM safe-update-fixtures/app:1.0.0',
    `ENV RELEASE=${version}`,
    'USER root',
    'RUN mkdir -p /data/db',
    `CMD ${JSON.stringify(['python3', '-c', program.join('\n')])}`,
    '',
  ].join('\n');
}

const compose = (image: string): string => `
services:
  web:
    image: ${image}
    stop_grace_period: 0s
    volumes: ['data:/data']
volumes: { data: {} }
`;

async function started(): Promise<Stack> {
  const stack = await project({});
  await stack.write('compose.yaml', compose(await buildImage(stack, 'first', release('1'))));
  await stack.up();
  await eventually(() => sql(stack, `INSERT INTO notes (text) VALUES ('one'), ('two')`));
  // Begins like a database, and is none.
  await shell(
    await stack.container('web'),
    `{ printf 'SQLite format 3\\000'; head -c 1008 /dev/zero; } >/data/broken.db; echo then >/data/db/notes.db.bak`,
  );
  return stack;
}

async function sql(stack: Stack, words: string): Promise<string> {
  const { Id } = await stack.container('web');
  const program = `import sqlite3, sys; c = sqlite3.connect("/data/db/notes.db", timeout=10)
with c: print(c.execute(sys.argv[1]).fetchall())`;
  return docker(['exec', '--user', '0', Id, 'python3', '-c', program, words]);
}

it('a release that empties a SQLite file is rolled back, and one file comes back from an exact archive', async () => {
  const stack = await started();
  const bad = await buildImage(stack, 'bad', release('2', 'notes.execute("DELETE FROM notes")'));
  await stack.write('compose.yaml', compose(bad));
  const run = await stack.start(fast).finished;
  expect(run.exitCode, run.story).toBe(4);
  expect(run.outcome?.error?.message).toBe(
    'healthy, but data is missing: web: "notes.db".notes is empty (it had 2 rows)',
  );
  expect(await sql(stack, 'SELECT text FROM notes')).toBe("[('one',), ('two',)]");
  expect(run.story).toMatch(/broken\.db of web begins like a SQLite file/);

  const [backup] = await stack.backups();
  if (backup === undefined) throw new Error('no backup');
  await expectIntact(backup);
  expect(backup.manifest.databases).toMatchObject([
    {
      service: 'web',
      engine: 'sqlite',
      dataPath: '/data/db/notes.db',
      parts: [],
      fingerprint: { counts: { '"notes.db".notes': 2 } },
    },
  ]);

  // Only the file; what else is in the volume stays as it is now.
  await sql(stack, 'DELETE FROM notes');
  await shell(await stack.container('web'), 'echo later | tee /data/other >/data/db/notes.db.bak');
  const back = await stack.safeUpdate([
    ...['restore', backup.id, '--only', 'database:web', '--confirm', stack.project],
    ...fast,
  ]);
  expect(back.exitCode, back.story).toBe(0);
  expect(await sql(stack, 'SELECT text FROM notes')).toBe("[('one',), ('two',)]");
  expect(await shell(await stack.container('web'), 'cat /data/other /data/db/notes.db.bak')).toBe(
    'later\nlater',
  );
  expect(await shell(await stack.container('web'), 'ls -A /data /data/db')).not.toContain('safe-update');
});

it.runIf(turn(1, 2))(
  'a hot backup holds a sound copy of a SQLite file that is written to, and a rollback takes it',
  async () => {
    const stack = await started();
    const run = await stack.safeUpdate(['backup', '--consistency', 'hot', ...fast]);
    expect(run.exitCode, run.story).toBe(0);
    const [backup] = await stack.backups();
    if (backup === undefined) throw new Error('no backup');
    await expectIntact(backup);
    const [dumped] = backup.manifest.databases;
    expect(dumped?.parts.map((part) => path.posix.basename(part))).toEqual([
      'database.sqlite',
      'sqlite.json',
    ]);
    const { stdout } = await execa('python3', [
      '-c',
      `import sqlite3, sys; c = sqlite3.connect(sys.argv[1])
print(c.execute("PRAGMA integrity_check").fetchall(), c.execute("SELECT count(*) FROM notes").fetchall())`,
      path.join(backup.folder, dumped?.parts[0] ?? ''),
    ]);
    expect(stdout).toBe("[('ok',)] [(2,)]");

    const before = await sql(stack, 'SELECT text FROM notes');
    const image = await buildImage(stack, 'bad', release('2', 'notes.execute("DROP TABLE notes")'));
    await stack.write('compose.yaml', compose(image));
    const update = await stack.start([...fast, '--consistency', 'hot']).finished;
    expect(update.exitCode, update.story).toBe(4);
    expect(update.outcome?.error?.message).toContain('"notes.db".notes is gone (it had 2 rows)');
    expect(await sql(stack, 'SELECT text FROM notes')).toBe(before);
    expect(await sql(stack, 'PRAGMA integrity_check')).toBe("[('ok',)]");
  },
);
