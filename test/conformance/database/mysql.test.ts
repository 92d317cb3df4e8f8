import { beforeAll, describe, expect, test } from 'vitest';
import { databaseEngines } from '../../../src/database/engines.ts';
import { sql, startsMeanwhile, subjectOf } from './mysql-subject.ts';
import { Files, start, until, type Server } from './server.ts';
import { conformance } from './suite.ts';

// What is not written through is quicker, and no power fails here.
const quick = [
  ...['--innodb-flush-log-at-trx-commit=0', '--innodb-buffer-pool-size=32M', '--innodb-doublewrite=OFF'],
  ...['--skip-log-bin', '--performance-schema=OFF', '--mysqlx=OFF'],
];

const subject = subjectOf({
  image: 'mysql:9',
  quick,
  prefix: 'MYSQL',
  defaultRole: (role, user) => `ALTER USER ${user} DEFAULT ROLE ${role}`,
});

const engine = databaseEngines.mysql;

// How a client gets in is the same code as with MariaDB, and these servers take long to start: one of them will do.
conformance(engine, { ...subject, servers: Object.fromEntries(Object.entries(subject.servers).slice(0, 1)) });

describe('MySQL in particular', () => {
  let server: Server;

  beforeAll(async () => {
    server = await start('mysql:9', {
      options: ['--tmpfs', '/var/lib/mysql:uid=999,gid=999'],
      env: { MYSQL_ALLOW_EMPTY_PASSWORD: 'yes', MYSQL_DATABASE: 'shop' },
      command: quick,
      // The server that initialises answers on its socket for this long.
      files: { '/docker-entrypoint-initdb.d/slow.sql': 'CREATE TABLE t (id INT); DO SLEEP(2);' },
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
    expect(await server.exec(['cat', '/proc/1/comm'])).toBe('mysqld');
  });

  test('is not ready where the server that initialises starts while it is asked', async () => {
    const starting = await start('mysql:9', {
      options: ['--tmpfs', '/var/lib/mysql:uid=999,gid=999'],
      env: { MYSQL_ALLOW_EMPTY_PASSWORD: 'yes', MYSQL_DATABASE: 'shop' },
      command: quick,
      files: { ...startsMeanwhile, '/docker-entrypoint-initdb.d/slow.sql': 'DO SLEEP(8);' },
    });
    expect(await engine.ready(starting.database())).toBe(false);
    // It was that one that was asked.
    expect(await starting.exec(['cat', '/proc/1/comm'])).not.toBe('mysqld');
    await until('it is ready', () => engine.ready(starting.database()));
    expect(await starting.exec(['cat', '/proc/1/comm'])).toBe('mysqld');
  });

  test('tables from before the server wanted a primary key come back, and values larger than a packet', async () => {
    await sql(
      server,
      'shop',
      `CREATE TABLE large (content LONGBLOB); INSERT INTO large VALUES (REPEAT(X'00FF', 1000000));
       SET GLOBAL sql_require_primary_key = ON; SET GLOBAL max_allowed_packet = 3000000`,
    );
    const contents = () =>
      sql(
        server,
        'shop',
        'SELECT SHA2(content, 256) FROM large; SELECT @@GLOBAL.max_allowed_packet; SHOW TABLES',
      );
    const before = await contents();
    const dump = new Files();
    await engine.dump(server.database(), dump);
    await sql(server, 'shop', 'DROP TABLE large, t');
    if (engine.restorer.into === 'running server') await engine.restorer.restore(server.database(), dump);
    expect(await contents()).toBe(before);
  });

  test('names what is in no dump', async () => {
    expect(await engine.notInDump?.(server.database())).toEqual([]);
    await sql(
      server,
      'shop',
      `INSTALL COMPONENT 'file://component_validate_password'; CREATE TABLESPACE apart ADD DATAFILE 'apart.ibd';
       CREATE SERVER other FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'elsewhere')`,
    );
    expect(await engine.notInDump?.(server.database())).toEqual([
      'the component "file://component_validate_password"',
      'the server "other"',
      'the tablespace "apart"',
    ]);
  });
});
