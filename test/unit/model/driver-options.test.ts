import { expect, it } from 'vitest';
import { shownOptions } from '../../../src/model/driver-options.ts';

it.each([
  [
    { type: 'cifs', o: 'username=shop,password=canary,vers=3.0' },
    { type: 'cifs', o: 'username=shop,password=***,vers=3.0' },
  ],
  [{ o: 'rw,pass=ca=nary' }, { o: 'rw,pass=***' }],
  [
    { secret_key: 'canary', bucket: 'shop' },
    { secret_key: '***', bucket: 'shop' },
  ],
  [
    { type: 'nfs', o: 'addr=10.0.0.1,rw,sec=krb5', device: ':/srv/passwords' },
    { type: 'nfs', o: 'addr=10.0.0.1,rw,sec=krb5', device: ':/srv/passwords' },
  ],
  [{}, {}],
])('%j is shown as %j', (options, shown) => {
  expect(shownOptions(options)).toEqual(shown);
});
