import { expect, it } from 'vitest';
import { loginEnvironment, loginsInUrls } from '../../../src/database/logins.ts';
import { container } from './containers.ts';

const database = { ...container({ imageName: 'postgres:15' }), id: 'db', service: 'db', name: 'shop-db-1' };
const other = (...environment: string[]) => ({
  ...container({ imageName: 'app', environment }),
  id: 'app',
  service: 'app',
});

it('finds the logins for a database in the URLs of other services', () => {
  const url = (text: string) => loginsInUrls(database, [database, other(text)]);
  expect(url('DATABASE_URL=postgresql://admin:p%40ss@db:5432/shop')).toEqual([
    { user: 'admin', password: 'p@ss' },
  ]);
  expect(url('DSN=postgres+asyncpg://a:100%25@shop-db-1/shop')).toEqual([{ user: 'a', password: '100%' }]);
  expect(url('REDIS_URL=redis://:word@db:6379/0')).toEqual([{ user: '', password: 'word' }]);
  expect(url('JDBC=jdbc:postgresql://a:never%encoded@db/shop')).toEqual([
    { user: 'a', password: 'never%encoded' },
  ]);
});

it('leaves alone what is for another server, has no password, or is no URL', () => {
  const texts = [
    'A=postgresql://admin:word@elsewhere:5432/shop',
    'B=postgresql://admin@db/shop',
    'C=https://db/page',
    'D=admin:word@db',
    'E=mongodb://u:p@db:1,other:2/x',
  ];
  expect(loginsInUrls(database, [other(...texts)])).toEqual([]);
});

it('tries each login once, and only a few', () => {
  const urls = [1, 1, 2, 3, 4, 5, 6].map((n) => `U${Math.random()}=postgresql://u${n}:w${n}@db/shop`);
  const logins = loginsInUrls(database, [other(...urls)]);
  expect(logins).toHaveLength(6);
  expect(Object.keys(loginEnvironment({ logins }))).toHaveLength(8);
  expect(loginEnvironment({ logins })).toMatchObject({ SU_LOGIN_1: 'u1', SU_WORD_2: 'w2' });
});
