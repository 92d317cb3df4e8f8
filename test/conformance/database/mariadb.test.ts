import { createHash } from 'node:crypto';
import { beforeAll, describe, expect, test } from 'vitest';
import { databaseEngines } from '../../../src/database/engines.ts';
import { sql, startsMeanwhile, subjectOf } from './mysql-subject.ts';
import { docker, failure, Files, start, until, type Server } from './server.ts';
import { conformance } from './suite.ts';

const subject = subjectOf({
  image: 'mariadb:10.11',
  // What is not written through is quicker, and no power fails here.
  quick: [
    '--innodb-flush-log-at-trx-commit=0',
    '--innodb-buffer-pool-size=32M',
    '--innodb-log-file-size=16M',
  ],
  prefix: 'MARIADB',
  defaultRole: (role, user) => `SET DEFAULT ROLE ${role} FOR ${user}`,
});

const engine = databaseEngines.mariadb;

conformance(engine, subject);

describe('MariaDB in particular', () => {
  let server: Server;
  const restore = async (dump: Files): Promise<void> => {
    if (engine.restorer.into === 'running server') await engine.restorer.restore(server.database(), dump);
  };
  const dumped = async (): Promise<Files> => {
    const dump = new Files();
    await engine.dump(server.database(), dump);
    return dump;
  };
  /** Changes a file of the dump, and the checksum with it. */
  const forged = (dump: Files, name: string, change: (content: string) => string): Files => {
    const content = Buffer.from(change(dump.files.get(name)?.toString('latin1') ?? ''), 'latin1');
    const former = createHash('sha256').update(dump.files.get(name) ?? '');
    const sums = [former.digest('hex'), createHash('sha256').update(content).digest('hex')] as const;
    return dump
      .with(name, () => content)
      .with('databases.json', (list) =>
        Buffer.from(
          list
            .toString()
            .replace(sums[0], sums[1])
            .replace(`"bytes": ${dump.files.get(name)?.length ?? 0}`, `"bytes": ${content.length}`),
        ),
      );
  };

  beforeAll(async () => {
    server = await start('mariadb:10.11', {
      // The server's own user, who is not the one that root may be by the socket.
      options: ['--tmpfs', '/var/lib/mysql:uid=999,gid=999', '--user', '999:999'],
      env: {
        MYSQL_ROOT_PASSWORD_FILE: '/run/pw',
        MARIADB_DATABASE: 'shop',
        MARIADB_USER: 'app',
        MARIADB_PASSWORD: 'a',
      },
      // The server that initialises answers on its socket for this long.
      files: {
        '/run/pw': 'from a file\n',
        '/docker-entrypoint-initdb.d/slow.sql': 'CREATE TABLE t (id INT); DO SLEEP(3);',
      },
    });
  });

  test('is not ready while it initialises', async () => {
    await until('the socket answers', () =>
      sql(server, 'shop', 'SELECT 1').then(
        () => true,
        () => false,
      ),
    );
    expect(await engine.ready(server.database())).toBe(false);
    await until('it is ready', () => engine.ready(server.database()));
    expect(await server.exec(['cat', '/proc/1/comm'])).toBe('mariadbd');
  });

  test('is not ready where the server that initialises starts while it is asked', async () => {
    const starting = await start('mariadb:10.11', {
      options: ['--tmpfs', '/var/lib/mysql:uid=999,gid=999'],
      env: { MYSQL_ALLOW_EMPTY_PASSWORD: 'yes', MYSQL_DATABASE: 'shop' },
      files: { ...startsMeanwhile, '/docker-entrypoint-initdb.d/slow.sql': 'DO SLEEP(8);' },
    });
    expect(await engine.ready(starting.database())).toBe(false);
    // It was that one that was asked.
    expect(await starting.exec(['cat', '/proc/1/comm'])).not.toBe('mariadbd');
    await until('it is ready', () => engine.ready(starting.database()));
    expect(await starting.exec(['cat', '/proc/1/comm'])).toBe('mariadbd');
  });

  test('what the dump does not know is left alone, and a folder that is no database is named', async () => {
    await server.exec(['mkdir', '/var/lib/mysql/lost+found']);
    const dump = await dumped();
    expect(dump.names).toEqual(['shop.sql', 'users.sql', 'databases.json']);
    expect(JSON.parse(dump.files.get('databases.json')?.toString() ?? '')).toMatchObject({
      leftOut: ['#mysql50#lost+found'],
    });

    await sql(server, 'shop', 'ALTER TABLE t ADD PRIMARY KEY (id); INSERT INTO t VALUES (1)');
    await sql(
      server,
      '',
      `CREATE DATABASE later; CREATE USER later@localhost;
       CREATE TABLE later.only_here (id INT, FOREIGN KEY (id) REFERENCES shop.t (id)); INSERT INTO later.only_here VALUES (1)`,
    );
    await restore(dump);
    expect(await sql(server, 'later', 'SELECT * FROM only_here')).toBe('1');
    expect(await sql(server, '', `SELECT user FROM mysql.user WHERE user = 'later'`)).toBe('later');
    expect(await sql(server, 'shop', 'SELECT COUNT(*) FROM t')).toBe('0');
    await sql(server, '', 'DROP DATABASE later');
  });

  test('sequences, the history of versioned tables, and values larger than a packet come back', async () => {
    const limit = 'SELECT @@GLOBAL.max_allowed_packet';
    await sql(
      server,
      'shop',
      `CREATE SEQUENCE s; DO NEXTVAL(s); DO NEXTVAL(s);
       CREATE TABLE versioned (id INT PRIMARY KEY) WITH SYSTEM VERSIONING;
       INSERT INTO versioned VALUES (1); UPDATE versioned SET id = 2;
       CREATE TABLE large (content LONGBLOB); INSERT INTO large VALUES (REPEAT(X'00FF', 5000000))`,
    );
    const contents = () =>
      sql(
        server,
        'shop',
        `${limit}; SELECT SHA2(content, 256) FROM large; SELECT id, row_start, row_end FROM versioned FOR SYSTEM_TIME ALL ORDER BY 1`,
      );
    const before = await contents();
    const dump = await dumped();
    await sql(server, 'shop', 'DROP TABLE large, versioned; DROP SEQUENCE s');
    await restore(dump);
    expect(await contents()).toBe(before);
    expect(Number(await sql(server, 'shop', 'SELECT NEXTVAL(s)'))).toBeGreaterThan(2);
    await sql(server, 'shop', 'DROP TABLE large');
  });

  test('a dump without its last line is refused, though its checksum is right', async () => {
    const dump = await dumped();
    await engine.check(
      server.database(),
      forged(dump, 'shop.sql', (content) => content),
    );
    const half = forged(dump, 'shop.sql', (content) => content.replace(/-- Dump completed.*\n$/, ''));
    expect((await failure(engine.check(server.database(), half))).message).toBe(
      'The MariaDB dump is incomplete: shop.sql ends early.',
    );
  });

  test('a restore stops at the first error, and says what it was without the data', async () => {
    const faulty = forged(await dumped(), 'shop.sql', (content) =>
      content.replace(
        /-- Dump completed/,
        "CREATE TABLE one (id CHAR(9) PRIMARY KEY);\nINSERT INTO one VALUES ('secret'), ('secret');\nCREATE TABLE two (id INT);\n$&",
      ),
    );
    const error = await failure(restore(faulty));
    expect(error.message).toMatch(
      /restoring the database "shop" failed with exit code 1: .*ERROR 1062 \(23000\) at line \d+: Duplicate entry/,
    );
    expect(error.message).not.toContain('secret');
    expect(await sql(server, 'shop', `SHOW TABLES LIKE 'two'`)).toBe('');
    await sql(server, 'shop', 'DROP TABLE one');
  });

  test('where root is the user of the operating system, that is who asks', async () => {
    await sql(
      server,
      '',
      `ALTER USER root@localhost IDENTIFIED VIA unix_socket; ALTER USER root@'%' IDENTIFIED BY 'rotated'`,
    );
    const dump = await dumped();
    expect(dump.names).toContain('shop.sql');
    await restore(dump);
    expect(dump.files.get('users.sql')?.toString()).toContain('IDENTIFIED VIA unix_socket');
  });

  test('without somebody who may do everything it says so', async () => {
    const inside = ['exec', '--user', '0', server.container.id, 'mariadb', '-e'];
    await docker([...inside, 'DROP USER root@localhost']);
    const error = await failure(engine.dump(server.database(), new Files()));
    expect(error.message).toContain(
      `${server.container.name}: no login found in the container's environment may read and replace everything`,
    );
  });
});
