import { describe, expect, test } from 'vitest';
import { databaseEngines, databaseLabel, recogniseDatabase } from '../../../src/database/engines.ts';
import { shellCommands } from '../../../src/database/recognise.ts';
import type { Container } from '../../../src/model/project.ts';
import { container } from './containers.ts';

const engineOf = (about: Partial<Container>): string | undefined => recogniseDatabase(container(about))?.name;
const entrypoint = 'docker-entrypoint.sh';
const digest = `sha256:${'0'.repeat(64)}`;

describe('servers', () => {
  test.each([
    'postgres',
    'postgres:16-alpine',
    'pgvector/pgvector:pg17',
    'postgis/postgis:16-3.4',
    'timescale/timescaledb:latest-pg16',
    'timescale/timescaledb-ha:pg17',
    'supabase/postgres:15.8.1.060',
    'ghcr.io/immich-app/postgres:14-vectorchord0.4.3',
    'tensorchord/pgvecto-rs:pg14-v0.2.0',
    'localhost:5000/mirror/library/postgres:16',
    `registry.example.com:443/library/postgres:16@${digest}`,
    `postgres@${digest}`,
  ])('%s with its own command, with a setting, with options alone', (imageName) => {
    expect(engineOf({ imageName, command: [entrypoint, 'postgres'] })).toBe('postgres');
    expect(engineOf({ imageName, command: [entrypoint, 'postgres', '-c', 'max_connections=200'] })).toBe(
      'postgres',
    );
    expect(engineOf({ imageName, command: [entrypoint, '-c', 'max_connections=200'] })).toBe('postgres');
    expect(engineOf({ imageName, command: [`/usr/local/bin/${entrypoint}`] })).toBe('postgres');
  });

  test.each([
    'redis',
    'redis:7.2-alpine',
    'docker.io/library/redis:6',
    'redis/redis-stack-server:latest',
    'redis/redis-stack',
    'localhost/redis',
  ])('%s likewise', (imageName) => {
    expect(engineOf({ imageName, command: [entrypoint, 'redis-server'] })).toBe('redis');
    expect(engineOf({ imageName, command: [entrypoint, '--appendonly', 'yes'] })).toBe('redis');
    expect(engineOf({ imageName, command: [entrypoint, '/etc/redis.conf'] })).toBe('redis');
    expect(engineOf({ imageName, command: ['/entrypoint.sh'] })).toBe('redis');
  });

  test.each(['valkey/valkey:8', 'valkey/valkey-bundle', 'ghcr.io/mirror/valkey:7.2-alpine'])(
    '%s too',
    (imageName) => {
      expect(engineOf({ imageName, command: [entrypoint, 'valkey-server', '--save', ''] })).toBe('valkey');
      // The official image has links of Redis' names.
      expect(engineOf({ imageName, command: [entrypoint, 'redis-server'] })).toBe('valkey');
      expect(engineOf({ imageName, command: [entrypoint, '--appendonly', 'yes'] })).toBe('valkey');
    },
  );

  test.each([
    'mongo',
    'mongo:7.0-jammy',
    'docker.io/library/mongo:4.4',
    'arm64v8/mongo',
    'mongodb/mongodb-community-server:7.0-ubi8',
    'percona/percona-server-mongodb:6.0',
  ])('%s as well', (imageName) => {
    expect(engineOf({ imageName, command: [entrypoint, 'mongod'] })).toBe('mongodb');
    expect(engineOf({ imageName, command: [entrypoint, 'mongod', '--replSet', 'rs0'] })).toBe('mongodb');
    expect(engineOf({ imageName, command: [entrypoint, '--auth'] })).toBe('mongodb');
    expect(engineOf({ imageName, command: ['mongod', '--bind_ip_all'] })).toBe('mongodb');
  });

  test("by the programs or variables of an image of one's own", () => {
    const command = [entrypoint, '--port', '1'];
    expect(engineOf({ command, environment: ['MONGO_MAJOR=7.0'] })).toBe('mongodb');
    expect(engineOf({ command, environment: ['VALKEY_DOWNLOAD_URL=https://x'] })).toBe('valkey');
    expect(engineOf({ command: ['valkey-server'] })).toBe('valkey');
    expect(engineOf({ command: ['redis-server'] })).toBe('redis');
    expect(engineOf({ command: ['sh', '-c', 'exec mongod --dbpath /x'] })).toBe('mongodb');
  });

  test.each([
    'mariadb',
    'mariadb:10.11',
    'docker.io/library/mariadb:lts-noble',
    'linuxserver/mariadb',
    'lscr.io/linuxserver/mariadb:10.11.8',
    'yobasystems/alpine-mariadb',
    `localhost:5000/mirror/mariadb@${digest}`,
  ])('%s likewise, whatever its program is called', (imageName) => {
    expect(engineOf({ imageName, command: [entrypoint, 'mariadbd'] })).toBe('mariadb');
    expect(engineOf({ imageName, command: [entrypoint, 'mysqld', '--port=3307'] })).toBe('mariadb');
    expect(engineOf({ imageName, command: [entrypoint, '--transaction-isolation=READ-COMMITTED'] })).toBe(
      'mariadb',
    );
    expect(engineOf({ imageName, command: [`/usr/local/bin/${entrypoint}`] })).toBe('mariadb');
  });

  test.each([
    'mysql',
    'mysql:8.4',
    'mysql/mysql-server:8.0',
    'container-registry.oracle.com/mysql/community-server/mysql-server:9.1',
    'percona',
    'percona/percona-server:8.0',
    'percona/percona-xtradb-cluster:8.0',
    `registry.example.com:443/library/mysql:8@${digest}`,
  ])('%s likewise', (imageName) => {
    expect(engineOf({ imageName, command: [entrypoint, 'mysqld'] })).toBe('mysql');
    expect(engineOf({ imageName, command: [entrypoint, 'mysqld_safe', '--user=mysql'] })).toBe('mysql');
    expect(engineOf({ imageName, command: [entrypoint, '--mysql-native-password=ON'] })).toBe('mysql');
    expect(engineOf({ imageName, command: ['/entrypoint.sh'] })).toBe('mysql');
  });

  test('sameersbn/postgresql and pg-gvm, where Debian has its files', () => {
    const at = (about: Partial<Container>): string | undefined => {
      const made = container(about);
      return recogniseDatabase(made)?.dataPath(made);
    };
    expect(
      at({
        imageName: 'sameersbn/postgresql:15-20230628',
        command: ['/sbin/entrypoint.sh'],
        environment: ['PG_HOME=/var/lib/postgresql', 'PG_VERSION=15'],
      }),
    ).toBe('/var/lib/postgresql/15/main');
    expect(
      at({
        imageName: 'registry.community.greenbone.net/community/pg-gvm:stable',
        command: ['/usr/local/bin/entrypoint', '/usr/local/bin/start-postgresql'],
      }),
    ).toBe('/var/lib/postgresql/13/main');
  });

  test('a test in front of a program is no program', () => {
    const mount = {
      type: 'volume',
      source: 'db',
      path: '/var/lib/postgresql/data',
      readOnly: false,
    } as const;
    const about = { imageName: 'postgres:16', mounts: [mount] };
    expect(engineOf({ ...about, command: ['sh', '-c', '[ -f /x ] && sleep 5'] })).toBeUndefined();
    expect(
      engineOf({ ...about, command: ['bash', '-c', 'while [[ -d /x ]]; do sleep 1; done'] }),
    ).toBeUndefined();
  });

  test('linuxserver/mariadb, whose init is all there is to see', () => {
    const mount = { type: 'bind', source: '/srv/db', path: '/config', readOnly: false } as const;
    const about = { imageName: 'lscr.io/linuxserver/mariadb', command: ['/init'] };
    expect(engineOf({ ...about, mounts: [mount] })).toBe('mariadb');
    expect(engineOf(about)).toBeUndefined();
  });

  test.each([
    ['bitnami/postgresql:16', '/opt/bitnami/scripts/postgresql', 'postgres'],
    ['bitnamilegacy/postgresql-repmgr:15', '/opt/bitnami/scripts/postgresql-repmgr', 'postgres'],
    ['bitnami/redis:7.2', '/opt/bitnami/scripts/redis', 'redis'],
    ['bitnami/mariadb:11.4', '/opt/bitnami/scripts/mariadb', 'mariadb'],
    ['bitnamilegacy/mariadb-galera:10.11', '/opt/bitnami/scripts/mariadb-galera', 'mariadb'],
    ['bitnami/mysql:8.4', '/opt/bitnami/scripts/mysql', 'mysql'],
    ['bitnami/mongodb:7.0', '/opt/bitnami/scripts/mongodb', 'mongodb'],
    ['bitnami/valkey', '/opt/bitnami/scripts/valkey', 'valkey'],
    ['bitnami/redis-cluster:7.2', '/opt/bitnami/scripts/redis-cluster', 'redis'],
    ['bitnamilegacy/valkey-cluster:8', '/opt/bitnami/scripts/valkey-cluster', 'valkey'],
  ])('%s', (imageName, folder, engine) => {
    expect(engineOf({ imageName, command: [`${folder}/entrypoint.sh`, `${folder}/run.sh`] })).toBe(engine);
  });

  test.each([
    [['sh', '-c', 'redis-server --requirepass "$REDIS_PASSWORD"'], 'redis'],
    [['/bin/sh', '-ec', 'chown redis /data\nexec docker-entrypoint.sh redis-server'], 'redis'],
    [[entrypoint, 'bash', '-c', 'sleep 1 && exec gosu postgres postgres -c fsync=on'], 'postgres'],
    [['tini', '--', entrypoint, 'postgres'], 'postgres'],
    [['/sbin/docker-init', '--', 'redis-server', '/redis.conf'], 'redis'],
    [['sh', '-c', 'mariadbd --datadir="$WHERE"'], 'mariadb'],
    [['container-entrypoint', 'run-mysqld'], 'mysql'],
    [['/usr/sbin/mysqld', '--user=mysql'], 'mysql'],
    [['/usr/lib/postgresql/16/bin/postgres', '-D', '/var/lib/postgresql/16/main'], 'postgres'],
    [['sh', '-c', 'until pg_isready; do sleep 1; done & docker-entrypoint.sh postgres'], 'postgres'],
  ])('an image built at home that runs %j', (command, engine) => {
    expect(engineOf({ imageName: 'shop-db', command })).toBe(engine);
  });

  test('an image built at home from the official one, by the variables that come with it', () => {
    const environment = ['PG_MAJOR=16', 'PGDATA=/var/lib/postgresql/data'];
    expect(engineOf({ environment, command: [entrypoint, '-c', 'wal_level=logical'] })).toBe('postgres');
    expect(engineOf({ command: [entrypoint, '-c', 'wal_level=logical'] })).toBeUndefined();
    const options = [entrypoint, '--max-connections=200'];
    expect(engineOf({ environment: ['MARIADB_VERSION=1:10.11.6'], command: options })).toBe('mariadb');
    expect(engineOf({ environment: ['MYSQL_MAJOR=8.4'], command: options })).toBe('mysql');
    // An application has these too.
    const client = ['MYSQL_USER=shop', 'MYSQL_PASSWORD=x', 'MYSQL_DATABASE=shop', 'MARIADB_HOST=db'];
    expect(engineOf({ environment: client, command: options })).toBeUndefined();
  });

  test('a script of unknown purpose, where somebody gave it a place for the data', () => {
    const command = [entrypoint, '/start-db.sh'];
    const mount = {
      type: 'volume',
      source: 'shop_db',
      path: '/var/lib/postgresql/data',
      readOnly: false,
    } as const;
    const of = (...mounts: Container['mounts']) => engineOf({ imageName: 'postgres:16', command, mounts });
    expect(of(mount)).toBe('postgres');
    expect(of({ ...mount, path: '/var/lib/postgresql' })).toBe('postgres');
    expect(of({ ...mount, type: 'bind', source: '/srv/db' })).toBe('postgres');
    expect(of()).toBeUndefined();
    expect(of({ ...mount, readOnly: true })).toBeUndefined();
    expect(of({ ...mount, path: '/backups' })).toBeUndefined();
    expect(of({ ...mount, source: '0123456789abcdef'.repeat(4) })).toBeUndefined();
  });
});

describe('not servers', () => {
  test.each([
    ['pg_dump', '-h', 'db'],
    ['psql', '-h', 'db', '-c', 'SELECT 1'],
    ['sh', '-c', 'while true; do pg_dump -h db shop > /backup/x; sleep 86400; done'],
    ['bash', '-c', 'until pg_isready -h db; do sleep 1; done; psql -h db -f /schema.sql'],
    ['bash', '-c', 'echo starting postgres; /backup.sh'],
    ['/backup.sh'],
    ['sh', '/scripts/pg-restore.sh'],
    ['sleep', 'infinity'],
    ['tail', '-f', '/dev/null'],
    ['bash'],
    ['crond', '-f'],
  ])('postgres as %s %s %s', (...command) => {
    const mounts: Container['mounts'] = [
      { type: 'volume', source: 'shop_db', path: '/var/lib/postgresql/data', readOnly: false },
    ];
    expect(engineOf({ imageName: 'postgres:16', command, mounts })).toBeUndefined();
    expect(engineOf({ imageName: 'postgres:16', command: [entrypoint, ...command], mounts })).toBeUndefined();
    expect(
      engineOf({ imageName: 'postgres:16', command: ['tini', '--', ...command], mounts }),
    ).toBeUndefined();
  });

  test.each([
    ['redis-cli', '-h', 'cache'],
    ['redis-sentinel', '/etc/sentinel.conf'],
    ['redis-server', '/etc/sentinel.conf', '--sentinel'],
    ['sh', '-c', 'redis-cli -h cache FLUSHALL'],
  ])('redis as %s %s', (...command) => {
    expect(engineOf({ imageName: 'redis:7', command: [entrypoint, ...command] })).toBeUndefined();
  });

  test.each([
    ['mariadb-dump', '-h', 'db'],
    ['mysql', '-h', 'db'],
    ['mysqladmin', 'ping'],
    ['mariadbd', '--version'],
    ['mysqld', '--initialize-insecure'],
    ['sh', '-c', 'mysqldump -h db shop > /backup/x'],
  ])('mariadb and mysql as %s %s', (...command) => {
    expect(engineOf({ imageName: 'mariadb', command: [entrypoint, ...command] })).toBeUndefined();
    expect(engineOf({ imageName: 'mysql:8', command: [entrypoint, ...command] })).toBeUndefined();
  });

  test.each([
    'prometheuscommunity/postgres-exporter',
    'prom/mysqld-exporter',
    'databack/mysql-backup',
    'phpmyadmin/phpmyadmin',
    'phpmyadmin',
    'mysql/mysql-router',
    'shop/mysql-client:8',
    'oliver006/redis_exporter',
    'postgrest/postgrest',
    'prodrigestivill/postgres-backup-local',
    'rediscommander/redis-commander:latest',
    'redis/redisinsight',
    'bitnami/redis-sentinel',
    'oliver006/valkey_exporter',
    'mongo-express:1',
    'percona/mongodb_exporter:0.40',
    'bitnami/mongodb-exporter',
    'tiredofit/mongo-backup',
    'dpage/pgadmin4',
    'postgres.example.com/shop/app:redis',
    digest,
  ])('%s', (imageName) => {
    expect(engineOf({ imageName, command: ['/entrypoint.sh'] })).toBeUndefined();
    expect(engineOf({ imageName, command: ['/entrypoint.sh', '--flag'] })).toBeUndefined();
  });
});

test('the label has the last word', () => {
  const labels = (value: string) => ({ [databaseLabel]: value });
  expect(engineOf({ labels: labels('postgres'), command: ['/usr/bin/run-it'] })).toBe('postgres');
  expect(
    engineOf({ imageName: 'postgres', labels: labels('none'), command: [entrypoint, 'postgres'] }),
  ).toBeUndefined();
  expect(
    engineOf({ imageName: 'postgres', labels: labels('redis'), command: [entrypoint, 'postgres'] }),
  ).toBe('redis');
  expect(engineOf({ labels: labels('mysql'), imageName: 'mariadb', command: [entrypoint] })).toBe('mysql');
});

test.each([
  ['mongodump', '--host', 'db'],
  ['mongosh', 'mongodb://db'],
  ['mongos', '--configdb', 'rs/cfg:27019'],
  ['mongod', '--version'],
  ['sh', '-c', 'while :; do mongodump --host db --archive=/b; sleep 86400; done'],
])('mongo as %s is only a client', (...command) => {
  expect(engineOf({ imageName: 'mongo:7', command: [entrypoint, ...command] })).toBeUndefined();
});

describe('the folder of the files', () => {
  const { mariadb, mongodb, mysql, postgres, redis } = databaseEngines;
  const run = [entrypoint, 'postgres'];
  const cases: [Partial<Container>, string][] = [
    [{ imageName: 'postgres:16', command: run }, '/var/lib/postgresql/data'],
    [{ imageName: 'postgres:16', command: run, environment: ['PGDATA=/srv/pg/'] }, '/srv/pg'],
    [{ imageName: 'postgres:16', command: run, environment: ['PGDATA='] }, '/var/lib/postgresql/data'],
    [{ imageName: 'postgres:18', command: run }, '/var/lib/postgresql/18/docker'],
    [{ imageName: 'shop-db', command: run, environment: ['PG_MAJOR=18'] }, '/var/lib/postgresql/18/docker'],
    [{ imageName: 'pgvector/pgvector:pg18', command: run }, '/var/lib/postgresql/18/docker'],
    [{ command: [...run, '-D', '/other'], environment: ['PGDATA=/srv/pg'] }, '/other'],
    [{ command: [...run, '-D', '/etc/postgresql'], environment: ['PGDATA=/srv/pg'] }, '/srv/pg'],
    [{ command: [...run, '-c', 'data_directory=/third'], environment: ['PGDATA=/srv/pg'] }, '/third'],
    [{ command: ['sh', '-c', 'postgres -D "$WHERE"'], environment: ['WHERE=/fourth'] }, '/fourth'],
    [{ imageName: 'bitnami/postgresql:16', command: [] }, '/bitnami/postgresql/data'],
  ];
  test.each(cases)('PostgreSQL %j: %s', (about, path) => {
    expect(postgres.dataPath(container(about))).toBe(path);
  });

  const ofMysql: [Partial<Container>, string][] = [
    [{ imageName: 'mariadb', command: [entrypoint, 'mariadbd'] }, '/var/lib/mysql'],
    [{ imageName: 'mysql:8', command: [entrypoint, 'mysqld', '--datadir=/srv/my/'] }, '/srv/my'],
    [{ imageName: 'mysql:8', command: [entrypoint, '--datadir', '/srv/my'] }, '/srv/my'],
    [{ imageName: 'mysql:8', command: [entrypoint, '--datadir=./x'] }, '/var/lib/mysql'],
    [{ imageName: 'bitnami/mariadb:11', command: [] }, '/bitnami/mariadb/data'],
    [{ imageName: 'bitnami/mariadb-galera', command: [] }, '/bitnami/mariadb/data'],
    [{ imageName: 'bitnami/mysql:8', command: [] }, '/bitnami/mysql/data'],
    [{ imageName: 'lscr.io/linuxserver/mariadb', command: ['/init'] }, '/config/databases'],
    [{ imageName: 'quay.io/sclorg/mariadb-1011-c9s', command: ['run-mysqld'] }, '/var/lib/mysql/data'],
  ];
  test.each(ofMysql)('MySQL and MariaDB %j: %s', (about, path) => {
    expect(mysql.dataPath(container(about))).toBe(path);
    expect(mariadb.dataPath(container(about))).toBe(path);
  });

  const others: [Partial<Container>, string][] = [
    [{ imageName: 'redis:7', command: [entrypoint, 'redis-server'] }, '/data'],
    [{ imageName: 'redis:7', command: [entrypoint, 'redis-server', '--dir', '/srv/r/'] }, '/srv/r'],
    [{ imageName: 'redis:7', command: [entrypoint, 'redis-server', '--dir', './'] }, '/data'],
    [{ imageName: 'bitnami/redis:7', command: [] }, '/bitnami/redis/data'],
    [{ imageName: 'bitnami/valkey:8', command: [] }, '/bitnami/valkey/data'],
    [
      {
        imageName: 'redis/redis-stack',
        command: ['/entrypoint.sh'],
        environment: ['REDIS_ARGS=--dir "/a b"'],
      },
      '/a b',
    ],
  ];
  const mongos: [Partial<Container>, string][] = [
    [{ imageName: 'mongo:7', command: [entrypoint, 'mongod'] }, '/data/db'],
    [{ imageName: 'mongo:7', command: [entrypoint, 'mongod', '--dbpath', '/srv/m/'] }, '/srv/m'],
    [{ imageName: 'mongo:7', command: [entrypoint, '--dbpath=/a', '--dbpath=/b'] }, '/b'],
    [{ imageName: 'bitnami/mongodb:7.0', command: [] }, '/bitnami/mongodb/data/db'],
  ];
  test.each(mongos)('MongoDB %j: %s', (about, path) => {
    expect(mongodb.dataPath(container(about))).toBe(path);
  });

  test.each(others)('Redis %j: %s', (about, path) => {
    expect(redis.dataPath(container(about))).toBe(path);
  });
});

test.each([
  ['a b  c', [['a', 'b', 'c']]],
  ['a; b && c || d | e & f', [['a'], ['b'], ['c'], ['d'], ['e'], ['f']]],
  [`a 'b c' "d e" f\\ g`, [['a', 'b c', 'd e', 'f g']]],
  ['a \\\n  b # not this; c\nd', [['a', 'b'], ['d']]],
  ['X=1 Y=$NAME exec a "$NAME" ${NAME} ${OTHER:-z} $OTHER', [['a', 'value', 'value', 'z']]],
  ['a $LIST b"$LIST"', [['a', 'one', 'two', 'bone two']]],
  [`a '$NAME' x"y"'z'`, [['a', '$NAME', 'xyz']]],
  ['a "$(cat /run/secrets/x)" $(date +%F)', [['a', '$(cat /run/secrets/x)', '$(date +%F)']]],
  ['if a; then b; fi; while c; do d; done', [['a'], ['b'], ['c'], ['d']]],
  ['a > /file 2>&1 < x', [['a', '/file', '1', 'x']]],
  [`a "unfinished`, [['a', '"unfinished']]],
  ['', []],
])('the commands of %j', (script, commands) => {
  const values: Record<string, string> = { NAME: 'value', LIST: 'one two' };
  expect(shellCommands(script, (name) => values[name])).toEqual(commands);
});
