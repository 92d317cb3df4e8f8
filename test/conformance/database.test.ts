import { readdir, readFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type {
  DatabaseEngine,
  DataFolder,
  DumpSink,
  DumpSource,
  EngineName,
  RunningDatabase,
} from '../../src/database/database.ts';
import { databaseEngines, recogniseDatabase } from '../../src/database/engines.ts';
import { createExec } from '../../src/docker/exec.ts';
import { containerShell } from '../../src/docker/shell.ts';
import { SafeUpdateError } from '../../src/model/error.ts';
import type { Container } from '../../src/model/project.ts';

/**
 * What every database engine must do, on real servers. An engine is added with a Subject: how its servers are started,
 * filled, looked into and disturbed.
 */
interface Subject {
  image: string;
  /** Servers that must come back equal, by what is special about them. The first also serves the other tests. */
  servers: Record<string, ServerOptions>;
  /** A server whose environment gives a password that it does not accept. */
  wrongPassword: ServerOptions & { spoil?: (server: Server) => Promise<void> };
  /** The image's command when it is only a client. */
  clients: string[][];
  /** Puts data in, of every kind the engine has. */
  fill(server: Server): Promise<void>;
  /** All that a person would miss, as text. */
  contents(server: Server): Promise<string>;
  /** What an update may do before it fails: add, change, delete. */
  migrate(server: Server): Promise<void>;
  /** Makes every dump hang. Returns what ends that. */
  hang(server: Server): Promise<() => Promise<unknown>>;
  /** Client programs, as they are seen in a list of processes. */
  clientProgram: RegExp;
  /** What a killed client may leave in the server, as text; empty if nothing. */
  leftovers(server: Server): Promise<string>;
  /** Files whose every byte counts: one changed must be noticed. */
  checksummed: RegExp;
}

interface ServerOptions {
  /** For docker create. */
  options?: string[];
  env?: Record<string, string>;
  command?: string[];
  /** Files for the container, by path; readable by all. */
  files?: Record<string, string>;
  /** The password, which may be seen nowhere. */
  secret?: string;
  /** Changes the dump before it is restored. */
  dumped?: (files: Files) => Files;
}

interface Server {
  container: Container;
  exec(argv: string[], env?: Record<string, string>): Promise<string>;
  sql(database: string, sql: string): Promise<string>;
  redis(...argv: string[]): Promise<string>;
  database(options?: Partial<Pick<RunningDatabase, 'timeout' | 'signal'>>): RunningDatabase;
}

const label = 'safe-update.test=database-conformance';
const exec = createExec(process.env);
const started: string[] = [];

async function docker(
  argv: string[],
  options: { env?: Record<string, string>; input?: string } = {},
): Promise<string> {
  const { stdout } = await execa('docker', argv, options);
  return stdout;
}

afterAll(async () => {
  if (started.length > 0) await docker(['rm', '--force', '--volumes', ...started]);
});

async function inspect(id: string): Promise<Container> {
  const [found] = JSON.parse(await docker(['inspect', id])) as [
    {
      Id: string;
      Name: string;
      Path: string;
      Args: string[];
      Image: string;
      Config: { Image: string; Env: string[] | null; Labels: Record<string, string> };
      Mounts: { Type: string; Name?: string; Source: string; Destination: string; RW: boolean }[];
      State: { Running: boolean; Status: string; ExitCode: number; StartedAt: string };
    },
  ];
  return {
    id: found.Id,
    name: found.Name.slice(1),
    service: 'db',
    number: 1,
    oneOff: false,
    imageId: found.Image,
    imageName: found.Config.Image,
    configHash: '',
    running: found.State.Running,
    status: found.State.Status,
    exitCode: found.State.ExitCode,
    restartCount: 0,
    restart: 'no',
    health: 'none',
    startedAt: found.State.StartedAt,
    mounts: found.Mounts.map((mount) => ({
      type: mount.Type === 'volume' || mount.Type === 'bind' || mount.Type === 'tmpfs' ? mount.Type : 'other',
      source: mount.Name ?? mount.Source,
      path: mount.Destination,
      readOnly: !mount.RW,
    })),
    labels: found.Config.Labels,
    environment: found.Config.Env ?? [],
    command: [found.Path, ...found.Args],
    publishesPorts: false,
  };
}

async function create(image: string, { options = [], env = {}, command = [], files = {} }: ServerOptions) {
  const names = Object.keys(env).flatMap((name) => ['--env', name]);
  const id = await docker(['create', '--label', label, ...names, ...options, image, ...command], { env });
  started.push(id);
  for (const [path, content] of Object.entries(files)) {
    const folder = path.slice(0, path.lastIndexOf('/') + 1);
    const tar = await execa('python3', ['-c', putFile, path.slice(folder.length)], {
      input: content,
      encoding: 'buffer',
    });
    await execa('docker', ['cp', '-', `${id}:${folder}`], { input: tar.stdout });
  }
  return id;
}

const putFile = `import io, sys, tarfile
data = sys.stdin.buffer.read()
with tarfile.open(fileobj=sys.stdout.buffer, mode='w|') as tar:
    info = tarfile.TarInfo(sys.argv[1])
    info.size = len(data)
    info.mode = 0o444
    tar.addfile(info, io.BytesIO(data))`;

async function start(image: string, options: ServerOptions): Promise<Server> {
  // What is not written through is quicker, and no power fails here.
  const quick = image.startsWith('postgres') ? ['-c', 'fsync=off'] : [];
  const id = await create(image, { ...options, command: [...(options.command ?? []), ...quick] });
  await docker(['start', id]);
  const container = await inspect(id);
  const inside = (argv: string[], env: Record<string, string> = {}): Promise<string> =>
    docker(['exec', ...Object.keys(env).flatMap((name) => ['--env', name]), id, ...argv], { env });
  return {
    container,
    exec: inside,
    sql: (database, sql) => inside(['sh', '-c', psql, 'psql', database, sql]),
    redis: (...argv) => inside(['redis-cli', ...argv], { REDISCLI_AUTH: options.secret ?? '' }),
    database: (more = {}) => ({ container, shell: containerShell(exec, id), timeout: 30_000, ...more }),
  };
}

async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  const limit = Date.now() + 40_000;
  while (!(await condition())) {
    if (Date.now() > limit) throw new Error(`waited too long until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** A dump in memory. */
class Files implements DumpSink, DumpSource {
  readonly files = new Map<string, Buffer>();

  get names(): string[] {
    return [...this.files.keys()];
  }

  async write(name: string, content: Readable): Promise<{ bytes: number }> {
    const chunks: Buffer[] = [];
    for await (const chunk of content as AsyncIterable<Buffer>) chunks.push(chunk);
    if (this.files.has(name)) throw new Error(`${name} was written twice`);
    this.files.set(name, Buffer.concat(chunks));
    return { bytes: Buffer.concat(chunks).length };
  }

  open(name: string): Readable {
    const content = this.files.get(name);
    if (content === undefined) throw new Error(`there is no ${name}`);
    // In pieces, as from a disk.
    const pieces = Array.from({ length: Math.ceil(content.length / 16_384) }, (_, index) =>
      content.subarray(index * 16_384, (index + 1) * 16_384),
    );
    return Readable.from(pieces, { objectMode: false });
  }

  with(name: string, change: (content: Buffer) => Buffer | undefined): Files {
    const copy = new Files();
    for (const [other, content] of this.files) copy.files.set(other, content);
    const changed = change(this.files.get(name) ?? Buffer.alloc(0));
    if (changed === undefined) copy.files.delete(name);
    else copy.files.set(name, changed);
    return copy;
  }
}

async function failure(work: Promise<unknown>): Promise<SafeUpdateError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof SafeUpdateError) return error;
    throw error;
  }
  throw new Error('it did not fail');
}

const psql = `export PGCLIENTENCODING=UTF8 PGDATABASE="$1"
  export PGPASSWORD="\${POSTGRES_PASSWORD:-$(cat "$POSTGRES_PASSWORD_FILE" 2>/dev/null)}"
  exec psql -X -A -t -q -v ON_ERROR_STOP=1 -U "\${POSTGRES_USER:-postgres}" -c "$2" \
    -h "$(sed -n 5p "$PGDATA/postmaster.pid")" -p "$(sed -n 4p "$PGDATA/postmaster.pid")"`;

const strange = `we ird="na'me/ü%~$(touch x)`;

const subjects: Record<EngineName, Subject> = {
  postgres: {
    image: 'postgres:15',
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
        await server.sql('postgres', `ALTER ROLE postgres PASSWORD 'rotated'`);
      },
    },
    clients: [
      ['pg_dump', '-h', 'db'],
      ['sh', '-c', 'while true; do pg_dump -h db > /backup; sleep 86400; done'],
    ],
    async fill(server) {
      await server.sql('postgres', `CREATE DATABASE "${strange.replaceAll('"', '""')}"`);
      await server.sql('postgres', 'CREATE DATABASE "empty"');
      await server.sql(
        'postgres',
        `CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'`,
      );
      await server.sql('latin', `CREATE TABLE t AS SELECT 'é' || chr(233) AS accents`);
      await server.sql(
        'postgres',
        `CREATE ROLE reader LOGIN PASSWORD 'r3ader' CONNECTION LIMIT 3; CREATE ROLE "grou;p ""x""" NOLOGIN;
         GRANT "grou;p ""x""" TO reader; ALTER ROLE reader SET search_path TO shop, public;
         COMMENT ON ROLE reader IS E'two\\nCREATE ROLE reader;\\nlines'; ALTER DATABASE shop SET work_mem = '5MB';
         ALTER ROLE reader IN DATABASE shop SET work_mem = '6MB'; GRANT CONNECT ON DATABASE shop TO reader`,
      );
      await server.sql(
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
      await server.sql('shop', 'ANALYZE');
      await server.sql('postgres', 'CREATE TABLE in_postgres AS SELECT 1 AS one');
      await server.sql(strange, 'CREATE TABLE t AS SELECT 2 AS two');
    },
    async contents(server) {
      const parts = await Promise.all([
        server.sql(
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
        server.sql(strange, 'SELECT * FROM t'),
        server.sql('latin', 'SELECT accents, octet_length(accents) FROM t'),
        server.sql(
          'shop',
          `SELECT count(*), md5(string_agg(c::text, '' ORDER BY id)) FROM customers c;
           SELECT last_value, is_called FROM customers_id_seq;
           SELECT oid, lo_get(oid) FROM pg_largeobject_metadata ORDER BY 1;
           SELECT count(*), sum(customer) FROM orders;
           SELECT relname, relkind, relacl FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1;
           SELECT conname, contype FROM pg_constraint WHERE conrelid <> 0 ORDER BY 1`,
        ),
        // What the planner knows.
        server.sql('shop', `SELECT attname FROM pg_stats WHERE tablename = 'customers' ORDER BY 1`),
      ]);
      return parts.join('\n');
    },
    async migrate(server) {
      await server.sql(
        'shop',
        `CREATE TABLE new_table (id int PRIMARY KEY); INSERT INTO new_table VALUES (7);
         ALTER TABLE customers ADD COLUMN new_id int REFERENCES new_table;
         ALTER TABLE new_table ADD COLUMN customer int REFERENCES customers;
         DELETE FROM orders; UPDATE customers SET name = 'gone'; SELECT lo_unlink(4711);
         ALTER ROLE reader WITH SUPERUSER PASSWORD 'changed' CONNECTION LIMIT 9 VALID UNTIL '2001-01-01';
         ALTER ROLE reader SET work_mem = '9MB'; ALTER ROLE "grou;p ""x""" PASSWORD 'new';
         REVOKE "grou;p ""x""" FROM reader`,
      );
      await server.sql('postgres', 'DROP DATABASE "empty"');
      await server.sql('postgres', 'DROP TABLE in_postgres');
      // Somebody is still connected.
      void server.sql('shop', 'SELECT pg_sleep(600)').catch(() => undefined);
      void server.sql(strange, 'SELECT pg_sleep(600)').catch(() => undefined);
    },
    async hang(server) {
      void server
        .sql('shop', 'BEGIN; LOCK TABLE customers IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600)')
        .catch(() => undefined);
      await until(
        'the table is locked',
        async () =>
          (await server.sql(
            'shop',
            `SELECT 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = 'customers'::regclass`,
          )) !== '',
      );
      return () =>
        server.sql(
          'shop',
          `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'BEGIN; LOCK%'`,
        );
    },
    clientProgram: /pg_dump|psql|pg_restore/,
    leftovers: (server) =>
      server.sql(
        'postgres',
        `SELECT application_name, query FROM pg_stat_activity WHERE application_name LIKE 'safe-update%'`,
      ),
    checksummed: /\.dump$/,
  },
  redis: {
    image: 'redis:7',
    servers: {
      'a password in the command': {
        command: ['redis-server', '--requirepass', 'pa$s"w\'x', '--repl-diskless-sync-delay', '0'],
        secret: 'pa$s"w\'x',
      },
      'an append-only file, the password from a variable in a shell': {
        env: { CACHE_PASSWORD: 'from $a shell' },
        command: [
          'sh',
          '-c',
          'exec docker-entrypoint.sh redis-server --appendonly yes --requirepass "$CACHE_PASSWORD" --repl-diskless-sync-delay 0',
        ],
        secret: 'from $a shell',
      },
      'a configuration file, without CONFIG and SYNC': {
        command: ['/etc/my-redis.conf'],
        files: {
          '/etc/my-redis.conf':
            'requirepass "in a file"\nappendonly yes\nappendfilename "other name.aof"\ndbfilename other.rdb\n' +
            'rename-command CONFIG ""\nrename-command SYNC ""\nprotected-mode no\n',
        },
        secret: 'in a file',
      },
      'no password, a read-only root, no root, a former major version': {
        options: ['--read-only', '--user', '999:999'],
        command: ['redis-server', '--appendonly', 'yes', '--repl-diskless-sync-delay', '0'],
        dumped: (files) =>
          files.with('redis.json', (content) =>
            Buffer.from(content.toString().replace(/"version": "[^"]*"/, '"version": "6.2.14"')),
          ),
      },
    },
    wrongPassword: {
      command: ['redis-server', '--requirepass', 'former one'],
      secret: 'former one',
      spoil: async (server) => {
        await server.redis('CONFIG', 'SET', 'requirepass', 'rotated');
      },
    },
    clients: [
      ['redis-cli', '-h', 'cache', 'FLUSHALL'],
      ['sh', '-c', 'until redis-cli -h cache ping; do sleep 1; done'],
    ],
    async fill(server) {
      await server.redis('SET', 'plain', 'ü "quoted"');
      await server.redis(
        'EVAL',
        `redis.call('SET', 'bin\\0\\255', '\\255\\0\\254')
        for n = 1, 5000 do redis.call('SET', 'key:' .. n, redis.sha1hex(n)) end
        redis.call('HSET', 'hash', 'a', '1', 'b', '2') redis.call('ZADD', 'set', 1.5, 'x') return 1`,
        '0',
      );
      await server.redis('-n', '3', 'RPUSH', 'list', 'a', 'b');
      await server.redis('SET', 'dies', '1', 'PXAT', '4102444800123');
      await server.redis('XADD', 'stream', '1-1', 'field', 'value');
    },
    async contents(server) {
      const parts = [];
      for (const n of ['0', '3', '5']) {
        parts.push(await server.redis('-n', n, 'EVAL', everyKey, '0'));
      }
      return parts.join('\n');
    },
    async migrate(server) {
      await server.redis('DEL', 'plain');
      await server.redis('SET', 'new', 'key');
      await server.redis('-n', '5', 'SET', 'other', 'database');
      await server.redis('HSET', 'hash', 'a', 'changed');
    },
    async hang(server) {
      await server.redis('CLIENT', 'PAUSE', '4000', 'ALL');
      return () => new Promise((resolve) => setTimeout(resolve, 2500));
    },
    clientProgram: /redis-cli/,
    leftovers: () => Promise.resolve(''),
    checksummed: /\.rdb$/,
  },
};

const everyKey = `local all = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  all[#all + 1] = redis.sha1hex(key) .. redis.sha1hex(redis.call('DUMP', key)) .. redis.call('PEXPIRETIME', key)
end
table.sort(all)
return #all .. ' keys ' .. redis.sha1hex(table.concat(all))`;

for (const engine of Object.values(databaseEngines)) {
  const subject = subjects[engine.name];
  const { restorer } = engine;

  const running = async (options: ServerOptions): Promise<Server> => {
    const server = await start(subject.image, options);
    await until(`${engine.title} is ready`, () => engine.ready(server.database()));
    return server;
  };
  const dumpOf = async (server: Server): Promise<Files> => {
    const files = new Files();
    await engine.dump(server.database(), files);
    return files;
  };
  const restore = async (server: Server, files: DumpSource): Promise<void> => {
    if (restorer.into === 'running server') {
      await restorer.restore(server.database(), files);
      return;
    }
    await docker(['stop', server.container.id]);
    const { folder, remove } = await folderOf(server, engine.dataPath(server.container));
    try {
      await restorer.restore(folder, files);
    } finally {
      await remove();
      await docker(['start', server.container.id]);
      await until(`${engine.title} is ready again`, () => engine.ready(server.database()));
    }
  };
  const clientsIn = async (server: Server): Promise<string[]> =>
    (await docker(['top', server.container.id, '-eo', 'pid,args']))
      .split('\n')
      .filter((line) => subject.clientProgram.test(line));

  describe(engine.title, () => {
    const [[, firstOptions] = ['', {}]] = Object.entries(subject.servers);
    const servers = new Map<string, Server>();
    let server: Server;
    let dump: Files;

    beforeAll(async () => {
      await Promise.all(
        Object.entries(subject.servers).map(async ([name, options]) => {
          const one = await running(options);
          await subject.fill(one);
          servers.set(name, one);
        }),
      );
      const first = servers.get(Object.keys(subject.servers)[0] ?? '');
      if (first === undefined) throw new Error('no server');
      server = first;
      dump = await dumpOf(server);
    });

    test('is recognised, and by no other engine', () => {
      for (const { container } of servers.values())
        expect(recogniseDatabase(container)?.name).toBe(engine.name);
    });

    test('its image as a one-shot client is not', async () => {
      for (const command of subject.clients) {
        const container = await inspect(await create(subject.image, { command }));
        expect(recogniseDatabase(container)).toBeUndefined();
      }
    });

    test('says itself where its files are', async () => {
      for (const one of servers.values()) {
        expect(await engine.askDataPath(one.database())).toBe(engine.dataPath(one.container));
      }
    });

    test('is not ready before it runs', async () => {
      const container = await inspect(await create(subject.image, firstOptions));
      const shell = containerShell(exec, container.id);
      expect(await engine.ready({ container, shell, timeout: 10_000 })).toBe(false);
    });

    test('a dump has plain file names and is accepted', async () => {
      for (const name of dump.names) expect(name).toMatch(/^[\w%~-]+\.\w+$/);
      await engine.check(server.database(), dump);
      expect(await clientsIn(server)).toEqual([]);
    });

    test.each(Object.entries(subject.servers))(
      'comes back equal: %s',
      async (name, options) => {
        const one = servers.get(name);
        if (one === undefined) throw new Error(`no server: ${name}`);
        const before = await subject.contents(one);
        let files = await dumpOf(one);
        await engine.check(one.database(), files);
        await subject.migrate(one);
        expect(await subject.contents(one).catch(() => 'gone')).not.toBe(before);
        files = options.dumped?.(files) ?? files;
        await restore(one, files);
        expect(await subject.contents(one)).toBe(before);
        if (restorer.into === 'stopped data folder') {
          // Over what the server has made of a restore.
          await restore(one, files);
          expect(await subject.contents(one)).toBe(before);
        }
      },
      60_000,
    );

    test('comes back equal in a new server', async () => {
      const one = await running(firstOptions);
      await restore(one, dump);
      expect(await subject.contents(one)).toBe(await subject.contents(server));
    });

    test('a file cut off anywhere is refused', async () => {
      // The largest and the smallest dump, and whatever is not checked by the client itself.
      const bySize = dump.names
        .filter((name) => subject.checksummed.test(name))
        .sort((a, b) => (dump.files.get(a)?.length ?? 0) - (dump.files.get(b)?.length ?? 0));
      const others = dump.names.filter((name) => !subject.checksummed.test(name));
      for (const name of new Set([...bySize.slice(0, 1), ...bySize.slice(-1), ...others])) {
        const { length } = dump.files.get(name) ?? Buffer.alloc(0);
        const ends = [
          0,
          1,
          5,
          Math.floor(length / 3),
          Math.floor(length / 2),
          length - 9,
          length - 4,
          length - 2,
        ];
        for (const end of new Set(ends.filter((at) => at >= 0 && at < length))) {
          const half = dump.with(name, (content) => content.subarray(0, end));
          const error = await failure(engine.check(server.database(), half)).catch(() => null);
          expect(error?.code, `${name} ends at ${end} of ${length}`).toBe('database');
        }
      }
    });

    test('a changed byte is refused where the format has checksums', async () => {
      for (const name of dump.names.filter((file) => subject.checksummed.test(file))) {
        const { length } = dump.files.get(name) ?? Buffer.alloc(0);
        if (length < 50_000) continue;
        for (const at of [0.35, 0.5, 0.8].map((share) => Math.floor(length * share))) {
          const changed = dump.with(name, (content) => {
            const copy = Buffer.from(content);
            copy[at] = (copy[at] ?? 0) ^ 0x10;
            return copy;
          });
          const error = await failure(engine.check(server.database(), changed)).catch(() => null);
          expect(error?.code, `${name} at ${at} of ${length}`).toBe('database');
        }
      }
    });

    test('a missing file and a foreign file are refused', async () => {
      for (const name of dump.names) {
        expect(
          (
            await failure(
              engine.check(
                server.database(),
                dump.with(name, () => undefined),
              ),
            )
          ).code,
        ).toBe('database');
      }
      const more = dump.with('more.dump', () => Buffer.from('x'));
      expect((await failure(engine.check(server.database(), more))).code).toBe('database');
    });

    test('a dump that cannot be read back from the store is refused, and so is its restore', async () => {
      const [name = ''] = dump.names.filter((file) => subject.checksummed.test(file));
      const broken: DumpSource = {
        names: dump.names,
        open: (file) => (file === name ? Readable.from(breaksOff(dump.files.get(file))) : dump.open(file)),
      };
      expect((await failure(engine.check(server.database(), broken))).message).toContain('disk on fire');
      const before = await subject.contents(server);
      expect((await failure(restore(server, broken))).message).toContain('disk on fire');
      expect(await subject.contents(server)).toBe(before);
    });

    test('a store that takes no more ends the client', async () => {
      const full: DumpSink = {
        async write(_, content) {
          for await (const _chunk of content) throw new Error('no space left');
          return { bytes: 0 };
        },
      };
      await expect(engine.dump(server.database(), full)).rejects.toThrow('no space left');
      await until('the client is gone', async () => (await clientsIn(server)).length === 0);
    });

    test('a signal ends the client', async () => {
      const controller = new AbortController();
      const slow: DumpSink = {
        async write(name, content) {
          for await (const _chunk of content) {
            if (subject.checksummed.test(name)) controller.abort();
          }
          return { bytes: 0 };
        },
      };
      const error = await failure(engine.dump(server.database({ signal: controller.signal }), slow));
      expect(error.code).toBe('interrupted');
      await until('the client is gone', async () => (await clientsIn(server)).length === 0);
    });

    test('no password is in any process list, message or file of the dump', async () => {
      const secret = firstOptions.secret ?? '';
      const seen: string[] = [];
      const done = new AbortController();
      const watch = (async () => {
        while (!done.signal.aborted) {
          for (const line of await commandLines()) if (line.includes(secret)) seen.push(line);
        }
      })();
      const files = await dumpOf(server);
      await engine.check(server.database(), files);
      done.abort();
      await watch;
      expect(seen).toEqual([]);
      for (const [name, content] of files.files) expect(content.includes(secret), name).toBe(false);
    });

    test('a wrong password is a clear error that does not hold it', async () => {
      const one = await running(subject.wrongPassword);
      await subject.wrongPassword.spoil?.(one);
      const error = await failure(engine.dump(one.database(), new Files()));
      expect(error.message).toMatch(/does not let its own client in/);
      expect(error.message).toMatch(/password|NOAUTH|WRONGPASS/);
      expect(`${error.message}${error.hint ?? ''}`).not.toContain('former one');
      // It answers, only not to us.
      expect(await engine.ready(one.database())).toBe(true);
    });

    test('a dump that hangs is ended, and leaves nothing in the container', async () => {
      const release = await subject.hang(server);
      const began = Date.now();
      const error = await failure(engine.dump(server.database({ timeout: 1_500 }), new Files()));
      expect(error.message).toMatch(/took longer than 1.5 s/);
      expect(Date.now() - began).toBeLessThan(10_000);
      expect((await clientsIn(server)).filter((line) => !line.includes('LOCK TABLE'))).toEqual([]);
      expect(await subject.leftovers(server)).toBe('');
      await release();
      await engine.check(server.database(), await dumpOf(server));
    });

    test('nothing of ours is left in any container', async () => {
      for (const one of servers.values()) {
        const places = ['/tmp', '/dev/shm', engine.dataPath(one.container)];
        expect(await one.exec(['find', ...places, '-name', '*safe-update*'])).toBe('');
      }
    });
  });
}

/** A container beside a stopped server, with as few rights as the real helper has. */
async function folderOf(
  server: Server,
  path: string,
): Promise<{ folder: DataFolder; remove: () => Promise<void> }> {
  const capabilities = ['DAC_READ_SEARCH', 'DAC_OVERRIDE', 'CHOWN', 'FOWNER', 'FSETID', 'SETFCAP', 'MKNOD'];
  const id = await create(server.container.imageName, {
    options: [
      ...[
        '--volumes-from',
        server.container.id,
        '--network',
        'none',
        '--read-only',
        '--tmpfs',
        '/tmp',
        '--user',
        '0:0',
      ],
      ...[
        '--cap-drop',
        'ALL',
        ...capabilities.flatMap((name) => ['--cap-add', name]),
        '--entrypoint',
        'sleep',
      ],
    ],
    command: ['infinity'],
  });
  await docker(['start', id]);
  const shell = containerShell(exec, id);
  return {
    folder: {
      run: (script, options = {}) => shell.run(script, { ...options, env: { ...options.env, DATA: path } }),
    },
    async remove() {
      await docker(['rm', '--force', id]);
      started.splice(started.indexOf(id), 1);
    },
  };
}

async function* breaksOff(content: Buffer = Buffer.alloc(0)): AsyncGenerator<Buffer> {
  yield await Promise.resolve(content.subarray(0, content.length / 2));
  throw new Error('disk on fire');
}

async function commandLines(): Promise<string[]> {
  const processes = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  return Promise.all(processes.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
}

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

  test('what the dump does not know is left alone, and what cannot be dumped is named', async () => {
    await server.sql('postgres', 'CREATE DATABASE closed ALLOW_CONNECTIONS false');
    await server.sql('postgres', 'CREATE DATABASE my_template IS_TEMPLATE true');
    const dump = new Files();
    await engine.dump(server.database(), dump);
    expect(dump.names).toEqual(['globals.sql', 'postgres.dump', 'shop.dump', 'databases.json']);
    expect(JSON.parse(dump.files.get('databases.json')?.toString() ?? '')).toMatchObject({
      leftOut: ['closed'],
    });

    await server.sql('postgres', 'CREATE DATABASE later');
    await server.sql('later', 'CREATE TABLE only_here AS SELECT 1');
    await server.sql('postgres', `CREATE ROLE later LOGIN PASSWORD 'x'`);
    await restore(server, dump);
    expect(await server.sql('later', 'SELECT * FROM only_here')).toBe('1');
    expect(await server.sql('postgres', `SELECT rolname FROM pg_roles WHERE rolname = 'later'`)).toBe(
      'later',
    );
  });

  test('a store that fails while the client waits for a lock ends the client', async () => {
    const release = await subjects.postgres.hang(server);
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
    expect(await subjects.postgres.leftovers(server)).toBe('');
    await release();
  });

  test('tablespaces that are there, and one that is not, come back', async () => {
    const folder = '/var/lib/postgresql/fast';
    await server.exec(['install', '-d', '-o', 'postgres', folder]);
    await server.sql('postgres', `CREATE TABLESPACE "fa st" LOCATION '${folder}'`);
    await server.sql('shop', 'CREATE TABLE there (id) TABLESPACE "fa st" AS SELECT 5');
    const dump = new Files();
    await engine.dump(server.database(), dump);
    await restore(server, dump);
    await server.sql('shop', 'DROP TABLE there');
    await server.sql('postgres', 'DROP TABLESPACE "fa st"');
    await restore(server, dump);
    expect(
      await server.sql('shop', `SELECT id, spcname FROM there, pg_tablespace WHERE spcname = 'fa st'`),
    ).toBe('5|fa st');
  });

  test('a password that the environment no longer has right does not matter on a trusted socket', async () => {
    await server.sql('postgres', `ALTER ROLE app PASSWORD 'rotated'`);
    await engine.dump(server.database(), new Files());
  });

  test('where the server asks for the user of the operating system, that is who asks', async () => {
    await server.sql('postgres', `ALTER ROLE app PASSWORD 'rotated'`);
    const rules = 'local all all peer map=m\nhost all all all scram-sha-256\n';
    await server.exec(['sh', '-c', `printf '%s' "$1" > "$PGDATA/pg_hba.conf"`, 'sh', rules]);
    await server.exec(['sh', '-c', 'echo "m postgres app" > "$PGDATA/pg_ident.conf"; kill -HUP 1']);
    await until('the rules hold', () =>
      server.sql('postgres', 'SELECT 1').then(
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
      server.sql('postgres', 'SELECT 1').then(
        () => true,
        () => false,
      ),
    );
    const { container } = server;
    await server.sql('postgres', 'CREATE ROLE boss SUPERUSER LOGIN; ALTER ROLE app NOSUPERUSER');
    const error = await failure(engine.dump(server.database(), new Files()));
    expect(error.message).toContain(
      `${container.name}: no login found in the container's environment is a superuser`,
    );
  });
});

describe('Redis in particular', () => {
  const engine: DatabaseEngine = databaseEngines.redis;
  const restore = async (folder: DataFolder, dump: Files): Promise<void> => {
    if (engine.restorer.into === 'stopped data folder') await engine.restorer.restore(folder, dump);
  };

  test('a save that fails is not answered with the save before', async () => {
    const server = await start('redis:7', {
      command: ['redis-server', '--rename-command', 'SYNC', '', '--save', ''],
    });
    await until('it is ready', () => engine.ready(server.database()));
    await server.redis('SET', 'a', '1');
    await server.redis('SAVE');
    await server.redis('SET', 'b', '2');
    await server.exec(['chown', '0:0', '/data']);
    await server.exec(['chmod', '755', '/data']);
    const error = await failure(engine.dump(server.database(), new Files()));
    expect(error.message).toMatch(/BGSAVE failed/);
    await server.exec(['chown', 'redis', '/data']);
    await engine.dump(server.database(), new Files());
  });

  test('the restored files belong to whom the former ones did, and stale ones are gone', async () => {
    const server = await start('redis:7', {
      command: ['redis-server', '--appendonly', 'yes', '--save', '', '--repl-diskless-sync-delay', '0'],
    });
    await until('it is ready', () => engine.ready(server.database()));
    await server.redis('SET', 'a', '1');
    const dump = new Files();
    await engine.dump(server.database(), dump);
    await server.redis('BGREWRITEAOF');
    await until('it is rewritten', async () =>
      (await server.exec(['ls', '/data/appendonlydir'])).includes('aof.2.'),
    );
    await docker(['stop', server.container.id]);
    const { folder, remove } = await folderOf(server, '/data');
    await folder.run(
      'cd "$DATA"; touch appendonly.aof .safe-update-restore-dead; chmod 640 appendonlydir/*; chown -R 4321:5432 .',
    );
    await restore(folder, dump);
    const { stdout } = await folder.run(`cd "$DATA"; find . -type f -exec stat -c '%n %u:%g %a' {} + | sort`);
    expect(stdout.trim().split('\n')).toEqual([
      './appendonlydir/appendonly.aof.1.base.rdb 4321:5432 640',
      './appendonlydir/appendonly.aof.1.incr.aof 4321:5432 640',
      './appendonlydir/appendonly.aof.manifest 4321:5432 640',
      './dump.rdb 4321:5432 640',
    ]);
    // Restored without an append-only file: none may be left to win over the dump later.
    await restore(
      folder,
      dump.with('redis.json', (content) =>
        Buffer.from(content.toString().replace('"appendonly": true', '"appendonly": false')),
      ),
    );
    expect((await folder.run('cd "$DATA"; ls -A')).stdout).toBe('dump.rdb\n');
    await remove();
  });

  test('bytes after the end of the dump are refused', async () => {
    const server = await start('redis:7', {});
    await until('it is ready', () => engine.ready(server.database()));
    const dump = new Files();
    await engine.dump(server.database(), dump);
    const longer = dump.with('dump.rdb', (content) => Buffer.concat([content, Buffer.from('0123456789')]));
    expect((await failure(engine.check(server.database(), longer))).message).toContain(
      '10 bytes follow its end',
    );
  });
});
