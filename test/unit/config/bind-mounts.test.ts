import { expect, it } from 'vitest';
import { coversBindMount } from '../../../src/config/bind-mounts.ts';

it.each([
  ['/srv/shop/data', '/srv/shop/data', true],
  ['/srv/shop/data', '/srv/shop/data/uploads/2024', true],
  ['/srv/shop/data', '/srv/shop/database', false],
  ['/srv/shop/data', '/srv/shop', false],
  ['/srv/shop/*', '/srv/shop/data/uploads', true],
  ['/srv/shop/*/uploads', '/srv/shop/eu/uploads', true],
  ['/srv/shop/*/uploads', '/srv/shop/eu/west/uploads', false],
  ['/srv/shop/**/uploads', '/srv/shop/eu/west/uploads', true],
  ['/srv/shop/**/uploads', '/srv/shop/uploads', true],
  ['/srv/shop/**', '/srv/shop/a/b', true],
  ['/srv/shop/**', '/srv/other/a', false],
  ['/srv/shop/data?', '/srv/shop/data1', true],
  ['/srv/shop/a.b', '/srv/shop/axb', false],
  ['/srv/[eu]/data', '/srv/[eu]/data', true],
  ['/srv/[eu]/data', '/srv/e/data', false],
  ['/srv/[eu]/*', '/srv/[eu]/data', true],
  ['C:\\shop\\data', 'C:\\shop\\data\\x', true],
])('%s covers %s: %s', (pattern, source, covered) => {
  expect(coversBindMount([pattern], source)).toBe(covered);
});

it('covers nothing where nothing is listed', () => {
  expect(coversBindMount([], '/srv/shop/data')).toBe(false);
});
