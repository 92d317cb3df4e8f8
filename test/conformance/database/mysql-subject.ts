import { until, type Server, type ServerOptions } from './server.ts';
import type { Subject } from './suite.ts';

// An image's client, as root. -D is last, so that the name may begin with anything.
const client = `export MYSQL_PWD="\${MARIADB_ROOT_PASSWORD:-\${MYSQL_ROOT_PASSWORD:-$(cat "$MYSQL_ROOT_PASSWORD_FILE" 2>/dev/null)}}"
  exec "$(command -v mariadb || command -v mysql)" --no-defaults --user=root --default-character-set=utf8mb4 \
    --host=localhost --socket="\${TEST_SOCKET:-/run/mysqld/mysqld.sock}" --batch --raw --skip-column-names \
    --execute="$2" --database="$1"`;

/** Runs statements in a database as root, and returns what they print. */
export function sql(server: Server, database: string, script: string): Promise<string> {
  return server.exec(['sh', '-c', client, 'client', database, script]);
}

const strange = 'we ird="na\'me/ü%~$(touch x)`';
const named = (name: string): string => `\`${name.replaceAll('`', '``')}\``;
const digits = '(SELECT 0 AS d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4)';
const manyNumbers = `(SELECT @n := @n + 1 AS n FROM ${digits} a, ${digits} b, ${digits} c, ${digits} d, ${digits} e)`;

const databases = `SELECT schema_name, default_character_set_name, default_collation_name
  FROM information_schema.schemata ORDER BY 1`;

/** Who is connected as root, without the one who asks. */
const sessions = `SELECT id, info FROM information_schema.processlist
  WHERE user = 'root' AND id <> CONNECTION_ID() AND COALESCE(info, '') NOT LIKE '%SLEEP(600)%'`;

export interface Flavour {
  image: string;
  quick: string[];
  /** Of the variables. */
  prefix: 'MARIADB' | 'MYSQL';
  defaultRole: (role: string, user: string) => string;
}

/** What MariaDB and MySQL are tested with alike. */
export function subjectOf({ image, quick, prefix, defaultRole }: Flavour): Subject {
  // Nobody cuts the power.
  const quickFolder = ['--tmpfs', '/var/lib/mysql:uid=999,gid=999'];
  const servers: Record<string, ServerOptions> = {
    'a password with signs': {
      options: quickFolder,
      env: {
        [`${prefix}_ROOT_PASSWORD`]: `pa$$"w' ord\\x`,
        [`${prefix}_DATABASE`]: 'shop',
        [`${prefix}_USER`]: 'app',
        [`${prefix}_PASSWORD`]: 'of the app',
      },
      secret: `pa$$"w' ord\\x`,
    },
    'no password, another folder, port and socket, a read-only root, no root': {
      options: [
        ...['--tmpfs', '/srv/my:uid=999,gid=999,mode=700', '--tmpfs', '/sock:mode=1777', '--tmpfs', '/tmp'],
        ...['--tmpfs', '/run/mysqld:mode=1777', '--read-only', '--user', '999:999'],
      ],
      env: {
        MYSQL_ALLOW_EMPTY_PASSWORD: 'yes',
        MYSQL_DATABASE: 'shop',
        MYSQL_HOST: 'elsewhere',
        MYSQL_UNIX_PORT: '/nowhere',
        MYSQL_TCP_PORT: '1',
        MYSQL_PWD: 'of some other server',
        TEST_SOCKET: '/sock/s.sock',
      },
      command: ['--datadir=/srv/my', '--socket=/sock/s.sock', '--port', '3307', '--sql-mode=ANSI_QUOTES'],
    },
  };

  return {
    image,
    quick,
    servers,
    wrongPassword: {
      options: quickFolder,
      env: { [`${prefix}_ROOT_PASSWORD`]: 'former one', [`${prefix}_ROOT_HOST`]: 'localhost' },
      secret: 'former one',
      spoil: async (server) => {
        await sql(server, '', `ALTER USER root@localhost IDENTIFIED BY 'rotated'`);
      },
    },
    clients: [
      ['mysqldump', '-h', 'db'],
      ['sh', '-c', 'while true; do mariadb-dump -h db > /backup; sleep 86400; done'],
    ],
    async fill(server) {
      await sql(
        server,
        '',
        `CREATE DATABASE ${named(strange)}; CREATE DATABASE \`-x\`; CREATE DATABASE users;
         CREATE DATABASE \`empty\` CHARACTER SET latin1 COLLATE latin1_german1_ci;
         CREATE TABLE ${named(strange)}.t AS SELECT 2 AS two; CREATE TABLE \`-x\`.t AS SELECT 3 AS three;
         CREATE ROLE 'cler''k', reader_of_all; GRANT SELECT ON shop.* TO 'cler''k';
         CREATE USER 'rea''d\`er'@'10.%' IDENTIFIED BY 'r3ader' REQUIRE SSL WITH MAX_USER_CONNECTIONS 3
           PASSWORD EXPIRE INTERVAL 30 DAY;
         CREATE USER owner@'%' IDENTIFIED BY 'owner'; GRANT ALL ON shop.* TO owner@'%' WITH GRANT OPTION;
         CREATE USER ''@'nowhere.example'; CREATE USER gone@localhost; GRANT SELECT ON shop.* TO gone@localhost;
         GRANT 'cler''k' TO owner@'%'; GRANT reader_of_all TO owner@'%' WITH ADMIN OPTION;
         ${defaultRole("'cler''k'", "owner@'%'")}`,
      );
      await sql(
        server,
        'shop',
        `SET SESSION sql_mode = ''; SET @n := 0;
         CREATE TABLE customers (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(99) CHARACTER SET utf8mb4,
           picture BLOB, born TIMESTAMP NULL, flags BIT(5), initial CHAR(1) AS (LEFT(name, 1)) STORED);
         INSERT INTO customers (name, picture, born, flags) SELECT CONCAT('näme 🐢 ', n), UNHEX(CONCAT('FF00FE0A0D', SHA2(n, 256))),
           FROM_UNIXTIME(1700000000 + n), n % 32 FROM ${manyNumbers} numbers;
         INSERT INTO customers (id, name) VALUES (40000, 'line\\nbreak \\\\ \\r\\n it''s "q" \`b\` \\0 -- ; */');
         CREATE TABLE orders (id INT PRIMARY KEY, customer INT, placed DATE, FOREIGN KEY (customer) REFERENCES customers (id))
           COMMENT 'it''s "ü"';
         INSERT INTO orders VALUES (1, 40000, '0000-00-00'), (2, 40000, '2024-02-29');
         CREATE TABLE a_first (o INT, FOREIGN KEY (o) REFERENCES orders (id)); INSERT INTO a_first VALUES (2);
         CREATE TABLE old (t TEXT CHARACTER SET latin1, u VARCHAR(9) CHARACTER SET utf16) ENGINE = MyISAM;
         INSERT INTO old VALUES (CONVERT(UNHEX('E9808CFF') USING latin1), 'ü🐢');
         CREATE DEFINER = gone@localhost VIEW b_view AS SELECT * FROM customers;
         CREATE DEFINER = owner@'%' SQL SECURITY INVOKER VIEW a_view AS SELECT name FROM b_view;
         GRANT SELECT (name), INSERT ON customers TO 'rea''d\`er'@'10.%';`,
      );
      await sql(
        server,
        'shop',
        `DELIMITER //
         CREATE DEFINER = owner@'%' PROCEDURE p() COMMENT 'é' BEGIN\r\n SELECT ';', '\r\n'; -- bye\n END//
         CREATE FUNCTION f(n INT) RETURNS INT DETERMINISTIC RETURN n + 1//
         CREATE TRIGGER tr BEFORE INSERT ON orders FOR EACH ROW BEGIN SET NEW.id = NEW.id; END//
         CREATE EVENT ev ON SCHEDULE EVERY 1 YEAR STARTS '2035-01-01' DO BEGIN DELETE FROM old; END//
         GRANT EXECUTE ON PROCEDURE p TO 'rea''d\`er'@'10.%'//`,
      );
    },
    async contents(server) {
      const accounts = await sql(
        server,
        '',
        `SELECT CONCAT(QUOTE(user), '@', QUOTE(host)) FROM mysql.user WHERE host <> '' AND user NOT LIKE '%.%' ORDER BY 1`,
      );
      const ofAccounts = accounts
        .split('\n')
        .map((name) => name.replaceAll("\\'", "''"))
        .map((name) => `SHOW CREATE USER ${name}; SHOW GRANTS FOR ${name};`);
      const parts = await Promise.all([
        sql(server, '', databases),
        sql(server, '', `${ofAccounts.join('\n')} SHOW GRANTS FOR 'cler''k'; SHOW GRANTS FOR reader_of_all`),
        sql(server, strange, 'SELECT * FROM t'),
        sql(server, '-x', 'SELECT * FROM t; SHOW TABLES'),
        sql(
          server,
          'shop',
          `SET SESSION group_concat_max_len = 100000000;
           SELECT COUNT(*), SHA2(GROUP_CONCAT(id, name, HEX(picture), born, HEX(flags), initial ORDER BY id), 256) FROM customers;
           SELECT HEX(name) FROM customers WHERE id = 40000; SELECT * FROM orders; SELECT * FROM a_first;
           SELECT HEX(t), HEX(u) FROM old; SHOW FULL TABLES;
           SHOW CREATE TABLE customers; SHOW CREATE TABLE orders; SHOW CREATE TABLE old;
           SHOW CREATE VIEW a_view; SHOW CREATE VIEW b_view;
           SELECT routine_name, HEX(routine_definition), definer, sql_mode, routine_comment, security_type
             FROM information_schema.routines WHERE routine_schema = 'shop' ORDER BY 1;
           SELECT trigger_name, event_object_table, action_statement, definer, sql_mode
             FROM information_schema.triggers WHERE trigger_schema = 'shop' ORDER BY 1;
           SELECT event_name, event_definition, interval_value, interval_field, starts, status, definer
             FROM information_schema.events WHERE event_schema = 'shop' ORDER BY 1;`,
        ),
      ]);
      return parts.join('\n');
    },
    holds: {
      'shop.customers': 3126,
      'shop.orders': 2,
      'shop.a_first': 1,
      'shop.old': 1,
      '-x.t': 1,
      [`${JSON.stringify(strange)}.t`]: 1,
    },
    lost: ['shop.orders', 'shop.a_first', `${JSON.stringify(strange)}.t`],
    async migrate(server) {
      await sql(
        server,
        'shop',
        `CREATE TABLE new_table (id INT PRIMARY KEY); INSERT INTO new_table VALUES (7);
         ALTER TABLE customers ADD COLUMN new_id INT, ADD FOREIGN KEY (new_id) REFERENCES new_table (id);
         ALTER TABLE new_table ADD COLUMN customer INT, ADD FOREIGN KEY (customer) REFERENCES customers (id);
         DELETE FROM a_first; DELETE FROM orders; UPDATE customers SET name = 'gone'; DROP VIEW b_view;
         DROP TRIGGER tr; CREATE PROCEDURE new_one() SELECT 1; DROP PROCEDURE p;
         ALTER DATABASE shop CHARACTER SET ascii;
         ALTER USER owner@'%' IDENTIFIED BY 'changed' ACCOUNT LOCK; GRANT SUPER ON *.* TO owner@'%';
         REVOKE 'cler''k' FROM owner@'%'; DROP ROLE reader_of_all; DROP USER 'rea''d\`er'@'10.%';
         GRANT DELETE ON shop.* TO 'cler''k'; DROP DATABASE \`empty\`; DROP TABLE ${named(strange)}.t;`,
      );
    },
    async hang(server) {
      void sql(server, 'shop', 'LOCK TABLES customers WRITE; SELECT SLEEP(600)').catch(() => undefined);
      const holder = `SELECT id FROM information_schema.processlist WHERE info = 'SELECT SLEEP(600)'`;
      await until('the table is locked', async () => (await sql(server, '', holder)) !== '');
      return async () => sql(server, '', `KILL ${await sql(server, '', holder)}`);
    },
    clientProgram: /\b(?:mariadb|mysql)(?:-?dump)?\s+-/,
    leftovers: (server) => sql(server, '', sessions),
    checksummed: /\.sql$/,
  };
}

/**
 * A program in front of the one that asks the kernel who listens: it goes on only when the server that initialises does, so
 * that this server starts between the search for it and the answer.
 */
export const startsMeanwhile: Record<string, string> = {
  '/usr/local/bin/sed': `#!/bin/sh
if [ -n "$SU_PRIVATE" ]; then while [ ! -S /run/mysqld/mysqld.sock ]; do sleep 0.1; done; fi
exec /bin/sed "$@"
`,
};
