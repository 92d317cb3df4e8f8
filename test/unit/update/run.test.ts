import { expect, it } from 'vitest';
import { notPutBack } from '../../../src/update/run.ts';

it('names what a rollback has not put back, and no socket', () => {
  const place = (source: string, reason: string) => ({
    source,
    services: ['web', 'api'],
    path: '/x',
    reason,
  });
  expect(notPutBack([])).toBe('');
  expect(notPutBack([place('/var/run/docker.sock', 'a socket')])).toBe('');
  expect(notPutBack([place('/srv/a', 'a bind mount'), place('shop_pip', 'a cache')])).toBe(
    ' NOT covered, and as the failed release left it: /srv/a (web, api), shop_pip (web, api).',
  );
});
