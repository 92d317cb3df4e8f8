import { beforeAll, describe, expect, test } from 'vitest';
import type { DataFolder, RunningDatabase } from '../../../src/database/database.ts';
import { findSqlite, sqlite, sqliteAt, UnreadableSqlite } from '../../../src/database/sqlite.ts';
import { failure, Files, start, type Server } from './server.ts';

// Not the suite that servers pass: there is no server, no login and no client that could hang.
describe('SQLite', () => {
  const file = `/data/we ird'"$(touch x).db`;
  const engine = sqliteAt({ file, scratch: '/tmp/copy' });
  let server: Server;
  let database: RunningDatabase;

  const python = (script: string, ...args: string[]): Promise<string> =>
    server.exec(['python3', '-c', `import sqlite3, sys\n${script}`, ...args]);
  const sql = (words: string): Promise<string> =>
    python('c = sqlite3.connect(sys.argv[1])\nwith c: print(c.execute(sys.argv[2]).fetchall())', file, words);
  const dumpOf = async (): Promise<Files> => {
    const files = new Files();
    await engine.dump(database, files);
    await engine.check(database, files);
    return files;
  };
  const folder: DataFolder = {
    run: (script, options = {}) =>
      database.shell.run(script, { ...options, env: { ...options.env, DATA: file } }),
  };
  const restore = async (dump: Files): Promise<void> => {
    if (sqlite.restorer.into === 'stopped data folder') await sqlite.restorer.restore(folder, dump);
  };

  beforeAll(async () => {
    server = await start('safe-update-fixtures/app:1.0.0', {
      options: ['--user', '0:0', '--tmpfs', '/data', '--entrypoint', 'sleep'],
      command: ['infinity'],
    });
    database = server.database();
    await python(
      `c = sqlite3.connect(sys.argv[1])
c.executescript("""PRAGMA journal_mode = WAL; CREATE TABLE members (name TEXT); CREATE TABLE "no ""thing" (a);
  CREATE VIRTUAL TABLE words USING fts5(word); CREATE INDEX by_name ON members (name)""")
with c: c.executemany("INSERT INTO members VALUES (?)", [(f"member {n}",) for n in range(3000)])`,
      file,
    );
  });

  test('is found by its first bytes, whatever it is called, and nothing else is', async () => {
    await server.exec([
      'sh',
      '-c',
      'cp /data/we* /data/.no-name; head -c 4096 /dev/zero >/data/zero.db; : >/data/empty.db',
    ]);
    await server.exec([
      'sh',
      '-c',
      'ln -s .no-name /data/link.db; mkdir /data/sub; cp /data/we* /data/sub/x',
    ]);
    const found = await findSqlite(database, ['/tmp', '/data']);
    expect(found.map(({ folder: index, path }) => `${index} ${path}`).sort()).toEqual(
      [`1 .no-name`, `1 sub/x`, `1 ${file.slice('/data/'.length)}`].sort(),
    );
  });

  test('is counted, tables of extensions left out', async () => {
    const { counts } = (await engine.fingerprint(database)) ?? { counts: {} };
    const name = JSON.stringify(file.slice('/data/'.length));
    expect(counts).toMatchObject({ [`${name}.members`]: 3000, [`${name}."no \\"thing"`]: 0 });
    expect(Object.keys(counts)).not.toContain(`${name}.words`);
    const gone = await sqliteAt({ file: '/data/gone.db', scratch: '' }).fingerprint(database);
    expect(gone).toEqual({ of: 'rows', counts: {} });
  });

  test('comes back as it was, whatever was left in a log beside it, with its owner and mode', async () => {
    const dump = await dumpOf();
    expect(await server.exec(['ls', '/tmp'])).toBe('');
    await server.exec(['sh', '-c', 'chown 4321:5432 /data/we*db; chmod 640 /data/we*db']);
    // Somebody dies in the middle of writing, and leaves a log that SQLite would apply to whatever file it finds there.
    await python(
      `import os
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute("DELETE FROM members WHERE rowid > 5")
c.execute("CREATE TABLE of_a_migration (a)")
os._exit(0)`,
      file,
    );
    expect(await server.exec(['sh', '-c', 'ls /data/*-wal'])).toContain('-wal');
    await restore(dump);
    expect(
      await server.exec(['sh', '-c', 'ls -A /data | grep -E -- "-(wal|shm|journal)|safe-update" || true']),
    ).toBe('');
    expect(await server.exec(['sh', '-c', 'stat -c "%u:%g %a" /data/we*db'])).toBe('4321:5432 640');
    expect(await sql('SELECT count(*), max(name) FROM members')).toBe("[(3000, 'member 999')]");
    expect(await sql("SELECT count(*) FROM sqlite_master WHERE name = 'of_a_migration'")).toBe('[(0,)]');
    expect(await sql('PRAGMA integrity_check')).toBe("[('ok',)]");
  });

  test('a dump that is cut off, changed, or not whole is refused', async () => {
    const dump = await dumpOf();
    const bad = [
      dump.with('database.sqlite', (content) => content.subarray(0, content.length - 4096)),
      dump.with('database.sqlite', (content) => {
        const copy = Buffer.from(content);
        copy[9000] = (copy[9000] ?? 0) ^ 1;
        return copy;
      }),
      dump.with('sqlite.json', (content) => content.subarray(0, 10)),
      dump.with('sqlite.json', () => undefined),
      dump.with('database.sqlite', () => undefined),
      dump.with('more', () => Buffer.from('x')),
    ];
    const before = await sql('SELECT count(*) FROM members');
    for (const one of bad) {
      expect((await failure(engine.check(database, one))).code).toBe('database');
      expect((await failure(restore(one))).code).toBe('database');
    }
    expect(await sql('SELECT count(*) FROM members')).toBe(before);
  });

  test('a copy that a killed run has left is in nobody’s way', async () => {
    await server.exec(['sh', '-c', 'echo half of it >/tmp/copy']);
    await dumpOf();
    expect(await server.exec(['ls', '/tmp'])).toBe('');
  });

  test('a file that belongs to somebody else is not taken for ours', async () => {
    const dump = await dumpOf();
    await server.exec(['sh', '-c', 'for f in /data/we*db; do echo mine >"$f.safe-update"; done']);
    await restore(dump);
    expect(await server.exec(['sh', '-c', 'cat /data/*.safe-update; rm /data/*.safe-update'])).toBe('mine');
  });

  test('a damaged file is not dumped, and one that is no database is told apart', async () => {
    const damage = 'f = open("/data/damaged.db", "r+b"); f.seek(8192); f.write(b"\\xff" * 20000); f.close()';
    await server.exec(['sh', '-c', 'cp /data/we*db /data/damaged.db']);
    await python(damage);
    const damaged = sqliteAt({ file: '/data/damaged.db', scratch: '/tmp/copy' });
    expect((await failure(damaged.dump(database, new Files()))).message).toMatch(
      /malformed|Tree|integrity|page/i,
    );
    expect(await server.exec(['ls', '/tmp'])).toBe('');

    await server.exec([
      'sh',
      '-c',
      `{ printf 'SQLite format 3\\000'; head -c 1008 /dev/zero; } >/data/other.db`,
    ]);
    const other = sqliteAt({ file: '/data/other.db', scratch: '' });
    await expect(other.fingerprint(database)).rejects.toBeInstanceOf(UnreadableSqlite);
  });

  test('with an order that only its application knows, it is dumped like any other', async () => {
    await python(
      `c = sqlite3.connect(sys.argv[1])
c.create_collation("own", lambda a, b: (a < b) - (a > b))
c.executescript("CREATE TABLE own (title TEXT COLLATE own); CREATE INDEX by_title ON own (title)")
with c: c.executemany("INSERT INTO own VALUES (?)", [(f"title {n}",) for n in range(300)])`,
      file,
    );
    expect((await dumpOf()).names).toContain('database.sqlite');
    await python(
      'c = sqlite3.connect(sys.argv[1]); c.create_collation("own", lambda a, b: 0); c.execute("DROP TABLE own")',
      file,
    );
  });
});
