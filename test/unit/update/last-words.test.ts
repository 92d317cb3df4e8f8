import { describe, expect, it } from 'vitest';
import type { Container } from '../../../src/model/project.ts';
import { culprits, inOrder } from '../../../src/update/last-words.ts';

const began = '2024-10-17T14:30:22.0Z';

function container(service: string, differs: Partial<Container> = {}): Container {
  return {
    ...{ id: service, name: `shop-${service}-1`, service, number: 1, oneOff: false, imageId: 'sha256:1' },
    ...{ imageName: 'shop', configHash: '', running: true, status: 'running', exitCode: 0, restartCount: 0 },
    ...{ restart: 'no', health: 'none', startedAt: began, mounts: [], labels: {}, environment: [] },
    ...{ command: [], publishesPorts: false },
    ...differs,
  };
}

const ended = (exitCode: number): Partial<Container> => ({ running: false, status: 'exited', exitCode });

describe('culprits', () => {
  it.each<[string, Container[], string, string[]]>([
    ['nothing is wrong', [container('app'), container('db')], 'rows are gone', []],
    ['one ended with an error', [container('app'), container('migrate', ended(1))], '', ['migrate']],
    [
      'what ended with an error comes before what is unhealthy, whatever is named',
      [container('app', { health: 'unhealthy' }), container('db', ended(1))],
      'shop-app-1 is unhealthy',
      ['db', 'app'],
    ],
    [
      'the one that compose names comes first',
      [container('app', ended(1)), container('migrate', ended(1))],
      `service "migrate" didn't complete successfully: exit 1`,
      ['migrate', 'app'],
    ],
    [
      'the one that ended first, where none is named',
      [
        container('app', { ...ended(1), startedAt: '2024-10-17T14:30:25.0Z' }),
        container('db', { ...ended(1), startedAt: '2024-10-17T14:30:23.0Z' }),
      ],
      '',
      ['db', 'app'],
    ],
    ['it restarts', [container('app', { status: 'restarting', exitCode: 2 })], '', ['app']],
    [
      'it is up, and named',
      [container('app', { health: 'starting' }), container('db')],
      'not healthy after 60 s: shop-app-1 is not healthy yet',
      ['app'],
    ],
    [
      'it could not be started',
      [container('app', { status: 'created', startError: 'no such file' })],
      '',
      ['app'],
    ],
    ['it was never started', [container('app', { running: false, status: 'created' })], 'shop-app-1', []],
    ['it ended well', [container('migrate', ended(0))], 'rows are gone', []],
    ['it was run by hand', [container('app', { ...ended(1), oneOff: true })], '', []],
  ])('%s', (_, containers, reason, services) => {
    expect(culprits(containers, [], reason).map(({ service }) => service)).toEqual(services);
  });

  it('does not blame what had ended before the release, or was stopped for it', () => {
    const stopped = container('app', ended(137));
    expect(culprits([stopped], [stopped], '')).toEqual([]);
    expect(culprits([stopped], [{ id: 'app', startedAt: '2024-10-16T09:00:00.0Z' }], '')).toEqual([stopped]);
  });
});

describe('inOrder', () => {
  it('puts both streams together by their times, and leaves those out', () => {
    const stdout = '2024-10-17T14:30:22.1Z one\n2024-10-17T14:30:22.3Z three\n';
    const stderr = '2024-10-17T14:30:22.2Z \x1b[31mtwo\x1b[0m\n2024-10-17T14:30:22.4Z \n';
    expect(inOrder(stdout, stderr)).toEqual(['one', 'two', 'three']);
  });
});
