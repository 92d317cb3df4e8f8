import { expect, it } from 'vitest';
import { driverOf } from '../../../../src/cli/view/driver.ts';

it.each<[string, Record<string, string>, string]>([
  ['local', {}, 'local'],
  ['local', { type: 'none', o: 'bind', device: '/srv/data' }, 'local (bind)'],
  ['local', { type: 'none', o: 'uid=999,rbind', device: '/srv/data' }, 'local (bind)'],
  ['local', { type: 'nfs', o: 'addr=10.0.0.1,rw', device: ':/srv' }, 'local (nfs)'],
  ['local', { type: 'tmpfs', device: 'tmpfs' }, 'local (tmpfs)'],
  ['rclone', { type: 'nfs' }, 'rclone'],
])('%s %j: %s', (driver, options, shown) => {
  expect(driverOf({ driver, options })).toBe(shown);
});
