import { describe, expect, it } from 'vitest';
import { servedProbe } from '../../../src/health/served.ts';
import { container, mount } from '../model/examples.ts';

const probe = servedProbe({
  service: 'web',
  replicas: 2,
  oneShot: false,
  served: [
    { number: 1, path: '/app/uploads', volume: 'shop_uploads' },
    { number: 2, path: '/app/uploads', volume: 'shop_uploads' },
    { number: 1, path: '/cache', volume: 'shop_cache' },
  ],
});
const uploads = mount('shop_uploads', '/app/uploads');
const cache = mount('shop_cache', '/cache');
const look = (...containers: ReturnType<typeof container>[]) => probe.look({ at: 0, containers });

describe('what serves a path (promise 3)', () => {
  it('is the same volume as before', () => {
    expect(look(container('web', { mounts: [uploads, cache, mount('other', '/more')] }))).toEqual({
      is: 'green',
    });
  });

  it('is another, empty one', () => {
    expect(look(container('web', { mounts: [mount('shop2_uploads', '/app/uploads'), cache] }))).toEqual({
      is: 'failed',
      reason: 'shop-web-1 has shop2_uploads at /app/uploads instead of the volume shop_uploads',
    });
  });

  it('is another folder of the same volume', () => {
    const folder = mount('shop_uploads', '/app/uploads', { subpath: 'new' });
    expect(look(container('web', { mounts: [folder, cache] }))).toEqual({
      is: 'failed',
      reason: 'shop-web-1 has shop_uploads/new at /app/uploads instead of the volume shop_uploads',
    });
  });

  it('is nothing', () => {
    expect(look(container('web', { mounts: [uploads] }))).toEqual({
      is: 'failed',
      reason: 'shop-web-1 has nothing at /cache instead of the volume shop_cache',
    });
  });

  it('is looked at in each replica that there is', () => {
    const first = container('web', { mounts: [uploads, cache] });
    expect(look(first, container('web', { number: 2, mounts: [] }))).toMatchObject({ is: 'failed' });
    expect(look(first, container('web', { number: 3, mounts: [] }))).toEqual({ is: 'green' });
    expect(look(container('web', { mounts: [], oneOff: true }))).toEqual({ is: 'green' });
  });
});
