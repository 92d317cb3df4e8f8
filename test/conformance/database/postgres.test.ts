import { beforeAll, describe, expect, test } from 'vitest';
import type { DatabaseEngine, DumpSink } from '../../../src/database/database.ts';
import { databaseEngines } from '../../../src/database/engines.ts';
import { docker, failure, Files, start, until, type Server } from './server.ts';
import { conformance, type Subject } from './suite.ts';

const psql = `export PGCLIENTENCODING=UTF8 PGDATABASE="$1"
  export PGPASSWORD="\${POSTGRES_PASSWORD:-$(cat "$POSTGRES_PASSWORD_FILE" 2>/dev/null)}"
  exec psql -X -A -t -q -v ON_ERROR_STOP=1 -U "\${POSTGRES_USER:-postgres}" -c "$2" \
    -h "$(sed -n 5p "$PGDATA/postmaster.pid")" -p "$(sed -n 4p "$PGDATA/postmaster.pid")"`;

function sql(server: Server, database: string, script: string): Promise<string> {
  return server.exec(['sh', '-c', psql, 'psql', database, script]);
}

const strange = `we ird="na'me/ü%~$(touch x)`;

const subject: Subject = {
  image: 'postgres:15',
  // What is not written through is quicker, and no power fails here.
  quick: ['-c', 'fsync=off'],
  servers: {
    'a user of its own and a password with signs': {
      env: { POSTGRES_USER: 'app', POSTGRES_PASSWORD: `pa$$"w' ord\\x`, POSTGRES_DB: 'shop' },
      secret: `pa$$"w' ord\\x`,
    },
    'the password in a file, and asked for on the socket too': {
      env: {
        POSTGRES_PASSWORD_FILE: '/run/pw',
        POSTGRES_INITDB_ARGS: '--auth-local=scram-sha-256 --auth-host=scram-sha-256',
        POSTGRES_DB: 'shop',
      },
      files: { '/run/pw': 'from a file\n' },
      secret: 'from a file',
    },
    'no password, another folder, port and socket, a read-only root, no root': {
      options: [
        ...['--tmpfs', '/srv/pg:uid=999,gid=999,mode=700', '--tmpfs', '/sock:mode=1777', '--tmpfs', '/tmp'],
        ...['--tmpfs', '/var/run/postgresql:mode=1777', '--read-only', '--user', '999:999'],
      ],
      env: {
        POSTGRES_HOST_AUTH_METHOD: 'trust',
        POSTGRES_PASSWORD: '',
        POSTGRES_DB: 'shop',
        PGDATA: '/srv/pg',
        PGDATABASE: 'elsewhere',
        PGUSER: 'nobody',
        PGCLIENTENCODING: 'LATIN1',
      },
      command: ['-c', 'port=5544', '-c', 'unix_socket_directories=/sock'],
    },
  },
  wrongPassword: {
    env: {
      POSTGRES_PASSWORD: 'former one',
      POSTGRES_INITDB_ARGS: '--auth-local=scram-sha-256 --auth-host=scram-sha-256',
    },
    secret: 'former one',
    spoil: async (server) => {
      await sql(server, 'postgres', `ALTER ROLE postgres PASSWORD 'rotated'`);
    },
  },
  clients: [
    ['pg_dump', '-h', 'db'],
    ['sh', '-c', 'while true; do pg_dump -h db > /backup; sleep 86400; done'],
  ],
  async fill(server) {
    await sql(server, 'postgres', `CREATE DATABASE "${strange.replaceAll('"', '""')}"`);
    await sql(server, 'postgres', 'CREATE DATABASE "empty"');
    await sql(
      server,
      'postgres',
      `CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'`,
    );
    await sql(server, 'latin', `CREATE TABLE t AS SELECT 'é' || chr(233) AS accents`);
    await sql(
      server,
      'postgres',
      `CREATE ROLE reader LOGIN PASSWORD 'r3ader' CONNECTION LIMIT 3; CREATE ROLE "grou;p ""x""" NOLOGIN;
         GRANT "grou;p ""x""" TO reader; ALTER ROLE reader SET search_path TO shop, public;
         COMMENT ON ROLE reader IS E'two\\nCREATE ROLE reader;\\nlines'; ALTER DATABASE shop SET work_mem = '5MB';
         ALTER ROLE reader IN DATABASE shop SET work_mem = '6MB'; GRANT CONNECT ON DATABASE shop TO reader`,
    );
    await sql(
      server,
      'shop',
      `CREATE TABLE customers (id serial PRIMARY KEY, name text, picture bytea);
         INSERT INTO customers (name, picture) SELECT 'näme ' || n, decode('ff00fe', 'hex') || sha256(n::text::bytea)
           FROM generate_series(1, 20000) n;
         CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers);
         INSERT INTO orders SELECT n, n FROM generate_series(1, 50) n;
         CREATE VIEW busy AS SELECT * FROM customers; CREATE INDEX ON customers (name);
         GRANT SELECT ON customers TO reader; SELECT nextval('customers_id_seq');
         SELECT lo_from_bytea(4711, decode('00ff10', 'hex'));
         CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';`,
    );
    await sql(server, 'shop', 'ANALYZE');
    await sql(server, 'postgres', 'CREATE TABLE in_postgres AS SELECT 1 AS one');
    await sql(server, strange, 'CREATE TABLE t AS SELECT 2 AS two');
  },
  async contents(server) {
    const parts = await Promise.all([
      sql(
        server,
        'postgres',
        `SELECT datname, datacl, encoding FROM pg_database ORDER BY 1;
           SELECT rolname, rolpassword, rolcanlogin, rolsuper, rolconnlimit, nullif(rolvaliduntil, 'infinity')
             FROM pg_authid WHERE rolname !~ '^pg_' ORDER BY 1;
           SELECT coalesce(d.datname, ''), r.rolname, s.setconfig FROM pg_db_role_setting s
             LEFT JOIN pg_database d ON d.oid = setdatabase LEFT JOIN pg_roles r ON r.oid = setrole ORDER BY 1, 2;
           SELECT roleid::regrole, member::regrole FROM pg_auth_members ORDER BY 1, 2;
           SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = 'reader';
           SELECT * FROM in_postgres`,
      ),
      sql(server, strange, 'SELECT * FROM t'),
      sql(server, 'latin', 'SELECT accents, octet_length(accents) FROM t'),
      sql(
        server,
        'shop',
        `SELECT count(*), md5(string_agg(c::text, '' ORDER BY id)) FROM customers c;
           SELECT last_value, is_called FROM customers_id_seq;
           SELECT oid, lo_get(oid) FROM pg_largeobject_metadata ORDER BY 1;
           SELECT count(*), sum(customer) FROM orders;
           SELECT relname, relkind, relacl FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1;
           SELECT conname, contype FROM pg_constraint WHERE conrelid <> 0 ORDER BY 1`,
      ),
      // What the planner knows.
      sql(server, 'shop', `SELECT attname FROM pg_stats WHERE tablename = 'customers' ORDER BY 1`),
    ]);
    return parts.join('\n');
  },
  holds: {
    'shop.public.customers': 20_000,
    'shop.public.orders': 50,
    'latin.public.t': 1,
    'postgres.public.in_postgres': 1,
    [`${JSON.stringify(strange)}.public.t`]: 1,
  },
  lost: ['shop.public.orders', 'postgres.public.in_postgres'],
  async migrate(server) {
    await sql(
      server,
      'shop',
      `CREATE TABLE new_table (id int PRIMARY KEY); INSERT INTO new_table VALUES (7);
         ALTER TABLE customers ADD COLUMN new_id int REFERENCES new_table;
         ALTER TABLE new_table ADD COLUMN customer int REFERENCES customers;
         DELETE FROM orders; UPDATE customers SET name = 'gone'; SELECT lo_unlink(4711);
         ALTER ROLE reader WITH SUPERUSER PASSWORD 'changed' CONNECTION LIMIT 9 VALID UNTIL '2001-01-01';
         ALTER ROLE reader SET work_mem = '9MB'; ALTER ROLE "grou;p ""x""" PASSWORD 'new';
         REVOKE "grou;p ""x""" FROM reader`,
    );
    await sql(server, 'postgres', 'DROP DATABASE "empty"');
    await sql(server, 'postgres', 'DROP TABLE in_postgres');
    // Somebody is still connected.
    void sql(server, 'shop', 'SELECT pg_sleep(600)').catch(() => undefined);
    void sql(server, strange, 'SELECT pg_sleep(600)').catch(() => undefined);
  },
  async hang(server) {
    void sql(
      server,
      'shop',
      'BEGIN; LOCK TABLE customers IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600)',
    ).catch(() => undefined);
    await until(
      'the table is locked',
      async () =>
        (await sql(
          server,
          'shop',
          `SELECT 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = 'customers'::regclass`,
        )) !== '',
    );
    return () =>
      sql(
        server,
        'shop',
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'BEGIN; LOCK%'`,
      );
  },
  clientProgram: /pg_dump|psql|pg_restore/,
  leftovers: (server) =>
    sql(
      server,
      'postgres',
      `SELECT application_name, query FROM pg_stat_activity WHERE application_name LIKE 'safe-update%'`,
    ),
  checksummed: /\.dump$/,
};

conformance(databaseEngines.postgres, subject);

describe('PostgreSQL in particular', () => {
  const engine: DatabaseEngine = databaseEngines.postgres;
  const restore = async (server: Server, dump: Files): Promise<void> => {
    if (engine.restorer.into === 'running server') await engine.restorer.restore(server.database(), dump);
  };
  const base = { POSTGRES_USER: 'app', POSTGRES_PASSWORD: 'first', POSTGRES_DB: 'shop' };
  let server: Server;

  beforeAll(async () => {
    server = await start('postgres:15', {
      env: base,
      // The server that initialises answers on its socket for this long.
      files: {
        '/docker-entrypoint-initdb.d/slow.sql': 'CREATE TABLE customers (id int); SELECT pg_sleep(3)',
      },
    });
  });

  test('is not ready while it initialises', async () => {
    await until('the socket answers', async () => (await server.exec(['pg_isready']).catch(() => '')) !== '');
    expect(await engine.ready(server.database())).toBe(false);
    await until('it is ready', () => engine.ready(server.database()));
    expect(await server.exec(['sh', '-c', 'tr "\\0" " " < /proc/1/cmdline'])).toMatch(/^postgres\b/);
  });

  test('what the dump does not know is left alone, and templates and closed databases come back as such', async () => {
    await sql(server, 'postgres', 'CREATE DATABASE closed ALLOW_CONNECTIONS false');
    await sql(server, 'postgres', 'CREATE DATABASE my_template IS_TEMPLATE true');
    const dump = new Files();
    await engine.dump(server.database(), dump);
    expect(dump.names).toEqual([
      ...['globals.sql', 'closed.dump', 'my_template.dump', 'postgres.dump', 'shop.dump', 'databases.json'],
    ]);
    const kinds = () =>
      sql(server, 'postgres', 'SELECT datname, datistemplate, datallowconn FROM pg_database ORDER BY 1');
    const before = await kinds();
    await restore(server, dump);
    expect(await kinds()).toBe(before);

    await sql(server, 'postgres', 'CREATE DATABASE later');
    await sql(server, 'later', 'CREATE TABLE only_here AS SELECT 1');
    await sql(server, 'postgres', `CREATE ROLE later LOGIN PASSWORD 'x'`);
    await restore(server, dump);
    expect(await sql(server, 'later', 'SELECT * FROM only_here')).toBe('1');
    expect(await sql(server, 'postgres', `SELECT rolname FROM pg_roles WHERE rolname = 'later'`)).toBe(
      'later',
    );
  });

  test('a store that fails while the client waits for a lock ends the client', async () => {
    const release = await subject.hang(server);
    const full: DumpSink = {
      async write(name, content) {
        if (name === 'shop.dump') {
          await new Promise((resolve) => setTimeout(resolve, 500));
          throw new Error('no space left');
        }
        return { bytes: (await content.toArray()).length };
      },
    };
    const began = Date.now();
    await expect(engine.dump(server.database({ timeout: 60_000 }), full)).rejects.toThrow('no space left');
    expect(Date.now() - began).toBeLessThan(40_000);
    expect(await docker(['top', server.container.id, '-eo', 'pid,args'])).not.toContain('pg_dump');
    expect(await subject.leftovers(server)).toBe('');
    await release();
  });

  test('tablespaces that are there, and one that is not, come back', async () => {
    const folder = '/var/lib/postgresql/fast';
    await server.exec(['install', '-d', '-o', 'postgres', folder]);
    await sql(server, 'postgres', `CREATE TABLESPACE "fa st" LOCATION '${folder}'`);
    await sql(server, 'shop', 'CREATE TABLE there (id) TABLESPACE "fa st" AS SELECT 5');
    const dump = new Files();
    await engine.dump(server.database(), dump);
    await restore(server, dump);
    await sql(server, 'shop', 'DROP TABLE there');
    await sql(server, 'postgres', 'DROP TABLESPACE "fa st"');
    await restore(server, dump);
    expect(
      await sql(server, 'shop', `SELECT id, spcname FROM there, pg_tablespace WHERE spcname = 'fa st'`),
    ).toBe('5|fa st');
  });

  test('names what is in no dump', async () => {
    const names = async () => engine.notInDump?.(server.database());
    expect(await names()).toEqual(['the tablespace "fa st"']);
    await sql(server, 'postgres', "SELECT pg_create_physical_replication_slot('standby')");
    await server.exec(['sh', '-c', 'touch "$PGDATA/exports.csv" "$PGDATA/server.crt"']);
    expect(await names()).toEqual([
      'the replication slot "standby"',
      'the tablespace "fa st"',
      'the file exports.csv',
    ]);
    await sql(server, 'postgres', "SELECT pg_drop_replication_slot('standby')");
  });

  test('a database that allows no connections is dumped, and closed again also where that is cut off', async () => {
    const closed = () =>
      sql(server, 'postgres', "SELECT datallowconn FROM pg_database WHERE datname = 'shut'");
    await sql(server, 'postgres', 'CREATE DATABASE shut');
    await sql(server, 'shut', 'CREATE TABLE kept AS SELECT 1 AS one');
    await sql(server, 'postgres', 'ALTER DATABASE shut ALLOW_CONNECTIONS false');
    const dump = new Files();
    // As a backup does: one would close it under the other's feet.
    const [counted] = await Promise.all([
      engine.fingerprint(server.database()),
      engine.dump(server.database(), dump),
    ]);
    expect(counted?.counts['shut.public.kept']).toBe(1);
    expect(dump.names).toContain('shut.dump');
    expect(await closed()).toBe('f');

    const cut = new AbortController();
    const slow: DumpSink = {
      async write(name, content) {
        if (name === 'shut.dump') cut.abort();
        return new Files().write(name, content);
      },
    };
    await failure(engine.dump(server.database({ signal: cut.signal }), slow));
    expect(await closed()).toBe('f');
    await restore(server, dump);
    expect(await closed()).toBe('f');
    await sql(server, 'postgres', 'DROP DATABASE shut');
  });

  test('a password that the environment no longer has right does not matter on a trusted socket', async () => {
    await sql(server, 'postgres', `ALTER ROLE app PASSWORD 'rotated'`);
    await engine.dump(server.database(), new Files());
  });

  test('where the server asks for the user of the operating system, that is who asks', async () => {
    await sql(server, 'postgres', `ALTER ROLE app PASSWORD 'rotated'`);
    const rules = 'local all all peer map=m\nhost all all all scram-sha-256\n';
    await server.exec(['sh', '-c', `printf '%s' "$1" > "$PGDATA/pg_hba.conf"`, 'sh', rules]);
    await server.exec(['sh', '-c', 'echo "m postgres app" > "$PGDATA/pg_ident.conf"; kill -HUP 1']);
    await until('the rules hold', () =>
      sql(server, 'postgres', 'SELECT 1').then(
        () => false,
        () => true,
      ),
    );
    const dump = new Files();
    await engine.dump(server.database(), dump);
    expect(dump.names).toContain('shop.dump');
    await restore(server, dump);
  });

  test('without a superuser it says so', async () => {
    await server.exec(['sh', '-c', `echo 'local all all trust' > "$PGDATA/pg_hba.conf"; kill -HUP 1`]);
    await until('the rules hold', () =>
      sql(server, 'postgres', 'SELECT 1').then(
        () => true,
        () => false,
      ),
    );
    const { container } = server;
    await sql(server, 'postgres', 'CREATE ROLE boss SUPERUSER LOGIN; ALTER ROLE app NOSUPERUSER');
    const error = await failure(engine.dump(server.database(), new Files()));
    expect(error.message).toContain(
      `${container.name}: no login found in the container's environment is a superuser`,
    );
  });
});
