import { expect, it } from 'vitest';
import { mariadb, mysql } from '../../../src/database/mysql.ts';
import { postgres } from '../../../src/database/postgres.ts';

const none = ['PATH=/bin'];

it.each([
  ['postgres', postgres, none, [...none, 'POSTGRES_PASSWORD=new', 'POSTGRESQL_PASSWORD=new']],
  [
    'postgres, an empty one',
    postgres,
    ['POSTGRES_PASSWORD='],
    ['POSTGRES_PASSWORD=', 'POSTGRES_PASSWORD=new', 'POSTGRESQL_PASSWORD=new'],
  ],
  ['postgres, one in a file', postgres, ['POSTGRES_PASSWORD_FILE=/run/x'], ['POSTGRES_PASSWORD_FILE=/run/x']],
  [
    'postgres, none wanted',
    postgres,
    ['POSTGRES_HOST_AUTH_METHOD=trust'],
    ['POSTGRES_HOST_AUTH_METHOD=trust'],
  ],
  ['mysql', mysql, none, [...none, 'MARIADB_ROOT_PASSWORD=new', 'MYSQL_ROOT_PASSWORD=new']],
  ['mysql, its own', mysql, ['MYSQL_ROOT_PASSWORD=old'], ['MYSQL_ROOT_PASSWORD=old']],
  [
    'mysql, its own, and a random one',
    mysql,
    ['MYSQL_ROOT_PASSWORD=old', 'MYSQL_RANDOM_ROOT_PASSWORD=1'],
    ['MYSQL_ROOT_PASSWORD=old'],
  ],
  [
    'mariadb, a random one',
    mariadb,
    ['MARIADB_RANDOM_ROOT_PASSWORD=yes'],
    ['MARIADB_ROOT_PASSWORD=new', 'MYSQL_ROOT_PASSWORD=new'],
  ],
  [
    'mariadb, a hash',
    mariadb,
    ['MARIADB_ROOT_PASSWORD_HASH=*A'],
    ['MARIADB_ROOT_PASSWORD=new', 'MYSQL_ROOT_PASSWORD=new'],
  ],
  [
    'mariadb, an empty one',
    mariadb,
    ['MARIADB_ALLOW_EMPTY_ROOT_PASSWORD=1'],
    ['MARIADB_ALLOW_EMPTY_ROOT_PASSWORD=1'],
  ],
] as const)(
  'a server that begins on an empty volume has a first password: %s',
  (_, engine, given, expected) => {
    expect(engine.firstStart?.([...given], 'new')).toEqual(expected);
  },
);
