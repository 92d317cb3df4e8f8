import { expect, test } from 'vitest';
import { option, refused } from '../../../src/database/mysql-session.ts';

test('the last value of an option counts', () => {
  const args = ['--port=1', '--port', '2', '--portal=3', '--port=', '--port=4', '--socket'];
  expect(option(args, 'port')).toBe('4');
  expect(option(args, 'socket')).toBeUndefined();
  expect(option([], 'port')).toBeUndefined();
});

test.each([
  [`ERROR 1045 (28000): Access denied for user 'root'@'localhost' (using password: YES)`, true],
  [`a warning\nERROR 1698 (28000): Access denied for user 'root'@'localhost'`, true],
  [`ERROR 3118 (HY000): Access denied for user 'root'@'localhost'. Account is locked.`, true],
  [`ERROR 2002 (HY000): Can't connect to local server through socket '/run/mysqld/mysqld.sock' (2)`, false],
  [`ERROR 2013 (HY000): Lost connection to server at 'reading initial communication packet'`, false],
  ['There is no mariadb and no mysql client in the container.', false],
  ['', false],
])('a server said %j: %s', (stderr, expected) => {
  expect(refused(stderr)).toBe(expected);
});
