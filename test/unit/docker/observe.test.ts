import { describe, expect, it } from 'vitest';
import type { EngineEvent } from '../../../src/docker/engine.ts';
import {
  plainSubpath,
  readContainer,
  readContainers,
  requireServices,
  withPast,
} from '../../../src/docker/observe.ts';
import type { Container } from '../../../src/model/project.ts';
import { container, exited, observed } from '../model/examples.ts';
import { inspect } from './inspects.ts';

describe('readContainer', () => {
  it('reads what the engine says', () => {
    const web = inspect('web');
    expect(readContainer(web)).toEqual({
      id: web.Id,
      name: 'shop-web-1',
      service: 'web',
      number: 1,
      oneOff: false,
      imageId: web.Image,
      imageName: 'redis:7',
      configHash: web.Config.Labels['com.docker.compose.config-hash'],
      running: true,
      status: 'running',
      exitCode: 0,
      restartCount: 0,
      restart: 'unless-stopped',
      health: web.State.Health?.Status,
      startedAt: web.State.StartedAt,
      mounts: expect.any(Array) as unknown,
      labels: web.Config.Labels,
      environment: web.Config.Env,
      command: ['docker-entrypoint.sh', 'redis-server', '--appendonly', 'yes'],
      publishesPorts: true,
    });
  });

  it('reads what a healthcheck printed last, in one line', () => {
    const web = inspect('web');
    const log = (Output: string) => ({ Start: '', End: '', ExitCode: 1, Output });
    const said = (...outputs: string[]) =>
      readContainer({
        ...web,
        State: { ...web.State, Health: { Status: 'unhealthy', FailingStreak: 2, Log: outputs.map(log) } },
      }).healthOutput;
    expect(said('first', 'curl: (7)\n Failed to connect\n\n')).toBe('Failed to connect');
    expect(said('x'.repeat(500))).toHaveLength(200);
    expect(said('first', '')).toBeUndefined();
    expect(said()).toBeUndefined();
  });

  it('names what is mounted: volumes by name, bind mounts by path', () => {
    const { mounts } = readContainer(inspect('web'));
    const at = Object.fromEntries(
      mounts.map(({ path, type, source, readOnly }) => [path, { type, source, readOnly }]),
    );
    expect(at).toEqual({
      '/srv/named': { type: 'volume', source: 'shop_named', readOnly: false },
      '/srv/again': { type: 'volume', source: 'shop_named', readOnly: true },
      '/srv/hostname': { type: 'bind', source: '/etc/hostname', readOnly: true },
      '/srv/scratch': { type: 'tmpfs', source: '', readOnly: false },
      '/srv/anonymous': {
        type: 'volume',
        source: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
        readOnly: false,
      },
      '/data': { type: 'volume', source: expect.stringMatching(/^[0-9a-f]{64}$/) as string, readOnly: false },
    });
  });

  it('knows volumes that a container has from another one', () => {
    const { mounts } = readContainer(inspect('borrower'));
    expect(mounts.map(({ source, path }) => [path, source])).toContainEqual(['/srv/named', 'shop_named']);
  });

  it('knows which folder of a volume a container has, also one that has it from another', () => {
    const [store, borrower] = [inspect('web'), inspect('borrower')];
    const [mount] = store.Mounts;
    if (mount === undefined) throw new Error('no mount');
    Object.assign(mount, { Type: 'volume', Name: 'shop_all', Destination: '/all' });
    const written = {
      Type: 'volume',
      Source: 'shop_all',
      Target: '/all/',
      VolumeOptions: { Subpath: './a/b/' },
    };
    Object.assign(store.HostConfig, { Mounts: [written] });
    Object.assign(borrower.HostConfig, { VolumesFrom: [store.Id] });
    borrower.Mounts = [mount];
    for (const { mounts } of readContainers([store, borrower]))
      expect(mounts.find(({ path }) => path === '/all')).toMatchObject({
        source: 'shop_all',
        subpath: 'a/b',
      });
    expect(['/', '.', './', '', undefined].map(plainSubpath)).toEqual(Array(5).fill(undefined));
  });

  it('reads a container without healthcheck, ports and restart policy', () => {
    expect(readContainer(inspect('alone'))).toMatchObject({
      health: 'none',
      publishesPorts: false,
      restart: 'no',
    });
  });

  it('publishes nothing where a port is only exposed', () => {
    const web = inspect('web');
    web.HostConfig.PortBindings = { '6379/tcp': [] };
    expect(readContainer(web).publishesPorts).toBe(false);
  });

  it('counts a container that the engine is about to restart as running: nobody stopped it', () => {
    const web = inspect('web');
    Object.assign(web.State, { Running: false, Restarting: true, Status: 'restarting', ExitCode: 3 });
    web.RestartCount = 4;
    expect(readContainer(web)).toMatchObject({
      running: true,
      status: 'restarting',
      exitCode: 3,
      restartCount: 4,
    });
  });

  it('knows a one-off, the number of a replica, and a container that compose did not make', () => {
    const web = inspect('web');
    web.Config.Labels['com.docker.compose.oneoff'] = 'True';
    web.Config.Labels['com.docker.compose.container-number'] = '3';
    expect(readContainer(web)).toMatchObject({ oneOff: true, number: 3 });
    web.Config.Labels = {};
    expect(readContainer(web)).toMatchObject({ service: '', oneOff: false, number: 1, configHash: '' });
  });

  it('reads what the engine gives as null', () => {
    const web = inspect('web');
    Object.assign(web.Config, { Env: null, Labels: null });
    Object.assign(web.HostConfig, { PortBindings: null, RestartPolicy: undefined });
    expect(readContainer(web)).toMatchObject({
      environment: [],
      labels: {},
      publishesPorts: false,
      restart: 'no',
    });
  });

  it.each([
    ['starting', 'starting'],
    ['healthy', 'healthy'],
    ['unhealthy', 'unhealthy'],
    ['none', 'none'],
    ['', 'none'],
  ])('health %j is %s', (Status, health) => {
    const web = inspect('web');
    web.State.Health = { Status, FailingStreak: 0, Log: [] };
    expect(readContainer(web).health).toBe(health);
  });
});

describe('withPast', () => {
  const id = 'c1';
  const past = (...events: [action: string, facts?: Partial<EngineEvent>][]): EngineEvent[] =>
    events.map(([action, facts], at) => ({
      at,
      action,
      containerId: id,
      service: 'web',
      number: 1,
      ...facts,
    }));
  const died = (exitCode: number): [string, Partial<EngineEvent>] => ['die', { exitCode }];

  it.each<[string, EngineEvent[], Partial<Container>]>([
    ['by itself', past(['start'], died(0)), { endedBy: 'itself' }],
    ['by docker stop', past(['start'], ['kill', { signal: 15 }], died(0), ['stop']), { endedBy: 'somebody' }],
    ['by docker stop, half forgotten', past(died(0), ['stop']), { endedBy: 'somebody' }],
    ['by docker kill', past(['start'], ['kill', { signal: 9 }], died(137)), { endedBy: 'somebody' }],
    ['after a message', past(['start'], ['kill', { signal: 1 }], died(0)), { endedBy: 'itself' }],
    ['by itself, stopped before that', past(died(0), ['stop'], ['start'], died(0)), { endedBy: 'itself' }],
    ['and nobody knows how', past(['start']), {}],
    ['and it was another one', past(['die', { containerId: 'c2', exitCode: 0 }]), {}],
  ])('tells of a container that ended %s', (_, events, expected) => {
    const ended = container('web', { id, ...exited(0) });
    expect(withPast(ended, events)).toEqual({ ...ended, ...expected });
  });

  it('tells with what a container ended that the engine started again', () => {
    const again = container('web', { id, restartCount: 2 });
    expect(withPast(again, past(died(1), ['start'], died(0), ['start']))).toEqual({
      ...again,
      restartedAfter: 0,
    });
    const byHand = container('web', { id });
    expect(withPast(byHand, past(died(1), ['start']))).toEqual(byHand);
  });
});

describe('requireServices', () => {
  it('refuses a project with neither services nor containers', () => {
    expect(() => {
      requireServices(observed({}));
    }).toThrow('has no services');
    requireServices(observed({ web: {} }));
    requireServices(observed({}, { containers: observed({ web: {} }).containers }));
  });
});
