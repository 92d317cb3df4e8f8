import { expect, it } from 'vitest';
import { parseDocument } from 'yaml';
import { referredTo, resolvedReferences } from '../../../src/docker/references.ts';
import { container } from '../model/examples.ts';

it.each([
  [{}, []],
  [{ network_mode: 'host', ipc: 'shareable', pid: 'container:abc' }, []],
  [{ network_mode: 'service:vpn', pid: 'service:app', ipc: 'service:app' }, ['vpn', 'app']],
  [{ volumes_from: ['app:ro', 'container:abc', 'db'] }, ['app', 'db']],
])('%j refers to %j', (service, names) => {
  expect(referredTo(service)).toEqual(names);
});

it('names the present containers in the place of services', () => {
  const vpn = container('vpn');
  const second = container('app', { number: 2 });
  const app = container('app');
  const services = {
    vpn: {},
    app: {},
    torrent: { network_mode: 'service:vpn' },
    'back up': { pid: 'service:app', volumes_from: ['app:ro', 'gone', 'container:abc'] },
    other: { network_mode: 'service:gone' },
  };
  const text = resolvedReferences({ services }, [second, vpn, app]) ?? '';
  const document = parseDocument(text, { customTags: [{ tag: '!override', collection: 'seq' }] });
  expect(document.errors).toEqual([]);
  expect(document.toJS()).toEqual({
    services: {
      torrent: { network_mode: `container:${vpn.id}` },
      'back up': { pid: `container:${app.id}`, volumes_from: [app.id, 'gone', 'container:abc'] },
      [app.id]: { image: 'none' },
    },
  });
  expect(text).toContain('volumes_from: !override [');
});

it('has nothing to say where nothing is referred to', () => {
  expect(resolvedReferences({ services: { web: {} } }, [container('web')])).toBeUndefined();
});
