import { describe, expect, it } from 'vitest';
import { imageProbe } from '../../../src/health/image.ts';
import { container, imageIdOf } from '../model/examples.ts';

const probe = imageProbe({
  service: 'web',
  replicas: 1,
  oneShot: false,
  served: [],
  imageId: imageIdOf('web:2'),
});
const look = (...containers: ReturnType<typeof container>[]) => probe.look({ at: 0, containers });

describe('the image of a service', () => {
  it('is told by id: the same name can stand for another', () => {
    expect(look(container('web', { imageName: 'web:2' }))).toEqual({ is: 'green' });
    expect(look(container('web', { imageName: 'web:2', imageId: imageIdOf('web:1') }))).toEqual({
      is: 'failed',
      reason: `shop-web-1 runs image ${imageIdOf('web:1').slice(7, 19)} instead of ${imageIdOf('web:2').slice(7, 19)}`,
    });
  });

  it('is that of every replica', () => {
    const good = container('web', { imageName: 'web:2' });
    expect(look(good, container('web', { number: 2, imageName: 'web:1' }))).toMatchObject({ is: 'failed' });
  });

  it('is not that of one-offs or of other services', () => {
    expect(look(container('web', { imageName: 'web:1', oneOff: true }), container('db'))).toEqual({
      is: 'green',
    });
  });
});
