import { describe, expect, it } from 'vitest';
import { expectedAsRecorded, servedBy } from '../../../src/update/undo.ts';
import { container, mount } from '../model/examples.ts';
import { inspect, withId } from '../docker/inspects.ts';
import { hex } from '../model/examples.ts';

describe('servedBy', () => {
  it('is the volumes, not bind mounts or memory, by replica', () => {
    const mounts = [
      mount('shop_db', '/data'),
      mount('/srv/x', '/x', { type: 'bind' }),
      mount('', '/tmp', { type: 'tmpfs' }),
    ];
    expect(servedBy([container('db', { mounts }), container('db', { number: 2, mounts })])).toEqual([
      { number: 1, path: '/data', volume: 'shop_db' },
      { number: 2, path: '/data', volume: 'shop_db' },
    ]);
  });
});

describe('expectedAsRecorded', () => {
  const web = inspect('web');
  const store = inspect('store');
  const ids = [web, store].map(({ Id }) => Id);

  it('is every service that was green, on the image it ran and on its volumes', () => {
    const expected = expectedAsRecorded({ containers: [web, store], running: ids, green: ids });
    expect(expected.map(({ service, replicas, imageId }) => ({ service, replicas, imageId }))).toEqual([
      { service: 'web', replicas: 1, imageId: web.Image },
      { service: 'store', replicas: 1, imageId: store.Image },
    ]);
    expect(expected[0]?.served).toContainEqual({ number: 1, path: '/srv/named', volume: 'shop_named' });
    expect(expected[0]?.served.map(({ path }) => path)).not.toContain('/srv/hostname');
  });

  it('is not what was stopped or unhealthy before: it need not be better than it was', () => {
    expect(expectedAsRecorded({ containers: [web, store], running: ids, green: [web.Id] })).toHaveLength(1);
    expect(expectedAsRecorded({ containers: [web, store], running: [], green: [] })).toEqual([]);
  });

  it('names no image where replicas ran different ones', () => {
    const second = withId(inspect('web'), hex('second'));
    second.Image = 'sha256:other';
    second.Config.Labels['com.docker.compose.container-number'] = '2';
    const both = { containers: [web, second], running: [], green: [web.Id, second.Id] };
    const [expected, ...others] = expectedAsRecorded(both);
    expect(others).toEqual([]);
    expect(expected?.replicas).toBe(2);
    expect(expected).not.toHaveProperty('imageId');
  });

  it('wants all replicas where one was green, and the volumes only of that one', () => {
    const second = withId(inspect('web'), hex('second'));
    second.Config.Labels['com.docker.compose.container-number'] = '2';
    const [expected] = expectedAsRecorded({ containers: [web, second], running: [], green: [second.Id] });
    expect(expected?.served.every(({ number }) => number === 2)).toBe(true);
  });
});
