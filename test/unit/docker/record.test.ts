import type Docker from 'dockerode';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ContainerInspect, Engine } from '../../../src/docker/engine.ts';
import type { Exec } from '../../../src/docker/exec.ts';
import {
  chosenMac,
  creation,
  dependenciesOf,
  onEngine,
  restoreContainers,
  startOrder,
  startRecorded,
  stopContainers,
  type StackRecord,
} from '../../../src/docker/record.ts';
import { container, hex, volume } from '../model/examples.ts';
import { inspect, names, withId } from './inspects.ts';

function needs(...dependencies: string[]): { labels: Record<string, string> } {
  return { labels: { 'com.docker.compose.depends_on': dependencies.join(',') } };
}

describe('dependenciesOf', () => {
  it('reads the label that compose writes', () => {
    expect(dependenciesOf(needs('db:service_healthy:false', 'cache:service_started:true'))).toEqual([
      { service: 'db', condition: 'service_healthy' },
      { service: 'cache', condition: 'service_started' },
    ]);
  });

  it('finds none where there is no label, or an empty one', () => {
    expect(dependenciesOf({ labels: {} })).toEqual([]);
    expect(dependenciesOf(needs(''))).toEqual([]);
  });

  it('takes a dependency without a condition for one that must have started', () => {
    expect(dependenciesOf(needs('db'))).toEqual([{ service: 'db', condition: 'service_started' }]);
  });
});

describe('startOrder', () => {
  it('puts each service after those it needs, and services that need nothing of each other together', () => {
    const web = container('web', needs('app:service_started:false'));
    const app = container('app', needs('db:service_healthy:false', 'cache:service_started:false'));
    expect(startOrder([web, app, container('db'), container('cache')])).toEqual([
      ['cache', 'db'],
      ['app'],
      ['web'],
    ]);
  });

  it('knows replicas as one service', () => {
    const app = needs('db:service_started:false');
    expect(
      startOrder([container('app', app), container('app', { number: 2, ...app }), container('db')]),
    ).toEqual([['db'], ['app']]);
  });

  it('does not wait for a service that is not there', () => {
    expect(startOrder([container('app', needs('gone:service_started:false'))])).toEqual([['app']]);
  });

  it('starts what is left of a circle together', () => {
    const one = container('one', needs('two:service_started:false'));
    const two = container('two', needs('one:service_started:false'));
    expect(startOrder([one, two, container('free')])).toEqual([['free'], ['one', 'two']]);
  });

  it('has every service once, each after what it needs', () => {
    const arbitrary = fc
      .integer({ min: 1, max: 8 })
      .chain((count) =>
        fc.tuple(...Array.from({ length: count }, (_, index) => fc.subarray([...Array(index).keys()]))),
      );
    fc.assert(
      fc.property(arbitrary, (graph) => {
        const containers = graph.map((dependencies, index) =>
          container(`s${index}`, needs(...dependencies.map((other) => `s${other}:service_started:false`))),
        );
        const order = startOrder(containers);
        expect(order.flat().sort()).toEqual(containers.map(({ service }) => service).sort());
        const placeOf = (service: string): number => order.findIndex((group) => group.includes(service));
        for (const own of containers)
          for (const { service } of dependenciesOf(own))
            expect(placeOf(service)).toBeLessThan(placeOf(own.service));
      }),
    );
  });
});

describe('creation', () => {
  it('leaves out what the engine had filled in from the old id', () => {
    const borrower = inspect('borrower');
    const lender = {
      ...inspect('web'),
      Id: borrower.HostConfig.VolumesFrom?.[0] as string,
      Mounts: borrower.Mounts,
    };
    // What the other one has is not given to it once more: the other one may have only a folder of the volume.
    const alike = creation(borrower, 'debian:bookworm-slim', new Map(), '1.42', [lender]);
    expect(alike.options.HostConfig?.Mounts).toEqual([]);
    const { options } = creation(inspect('borrower'), 'debian:bookworm-slim', new Map());
    expect(options).not.toHaveProperty('Hostname');
    expect(options.name).toBe('shop-borrower-1');
  });

  it('keeps a host name that the compose file gives', () => {
    expect(creation(inspect('web'), 'redis:7', new Map()).options.Hostname).toBe('shop-web');
  });

  it('keeps a host name that the old id happens to begin with', () => {
    const web = withId(inspect('web'), `db${hex('web').slice(2)}`);
    web.Config.Hostname = 'db';
    expect(creation(web, 'redis:7', new Map()).options.Hostname).toBe('db');
  });

  it('keeps an alias that the old id happens to begin with: it is how others find the service', () => {
    const web = withId(inspect('web'), `db${hex('web').slice(2)}`);
    web.NetworkSettings.Networks['shop_front']!.Aliases = ['shop-db-1', 'db', web.Id.slice(0, 12)];
    const { options, connections } = creation(web, 'redis:7', new Map());
    const front = { ...options.NetworkingConfig?.EndpointsConfig, ...endpoints(connections) }['shop_front'];
    expect(front?.Aliases).toEqual(['shop-db-1', 'db']);
  });

  it('runs the image it is given', () => {
    const { options } = creation(inspect('web'), 'sha256:former', new Map());
    expect(options.Image).toBe('sha256:former');
  });

  it('keeps command, environment, labels, healthcheck, stop signal and user', () => {
    const web = inspect('web');
    const { options } = creation(web, 'redis:7', new Map());
    expect(options).toMatchObject({
      Cmd: ['redis-server', '--appendonly', 'yes'],
      Entrypoint: ['docker-entrypoint.sh'],
      Env: web.Config.Env,
      Labels: web.Config.Labels,
      Healthcheck: { Test: ['CMD', 'redis-cli', 'ping'], Interval: 1_000_000_000 },
      StopSignal: 'SIGINT',
      StopTimeout: 5,
      ExposedPorts: { '6379/tcp': {}, '6380/tcp': {} },
    });
    expect(web.Config.Env).toContain('SECRET=canary');
    expect(creation(inspect('alone'), 'debian', new Map()).options.User).toBe('1000:1000');
  });

  it('publishes the same ports and restarts by the same policy', () => {
    const { options } = creation(inspect('web'), 'redis:7', new Map());
    expect(options.HostConfig).toMatchObject({
      PortBindings: {
        '6379/tcp': [{ HostIp: '127.0.0.1', HostPort: '26379' }],
        '6380/tcp': [{ HostIp: '', HostPort: '' }],
      },
      RestartPolicy: { Name: 'unless-stopped' },
    });
  });

  it('gives anonymous volumes, of the image and of the compose file, by name, and leaves the other mounts', () => {
    const web = inspect('web');
    const volumeAt = (path: string) => web.Mounts.find(({ Destination }) => Destination === path)?.Name;
    const { options } = creation(web, 'redis:7', new Map());
    expect(options.HostConfig?.Binds).toEqual(['shop_named:/srv/named:rw', '/etc/hostname:/srv/hostname:ro']);
    expect(options.HostConfig?.Mounts).toEqual([
      {
        Type: 'volume',
        Source: 'shop_named',
        Target: '/srv/again',
        ReadOnly: true,
        VolumeOptions: { NoCopy: true },
      },
      { Type: 'tmpfs', Target: '/srv/scratch', TmpfsOptions: { SizeBytes: 1_000_000 } },
      // In the engine's order, which is none.
      ...web.Mounts.map(({ Destination }) => Destination)
        .filter((path) => path === '/srv/anonymous' || path === '/data')
        .map((path) => ({
          Type: 'volume',
          Source: volumeAt(path),
          Target: path,
          ReadOnly: false,
          VolumeOptions: { NoCopy: true },
        })),
    ]);
    expect(volumeAt('/data')).toMatch(/^[0-9a-f]{64}$/);
  });

  it('joins the networks with the same aliases and fixed addresses, one at creation and the rest afterwards', () => {
    const { options, connections } = creation(inspect('web'), 'redis:7', new Map());
    expect(options.NetworkingConfig?.EndpointsConfig).toEqual({
      shop_back: {
        IPAMConfig: {},
        Aliases: ['shop-web-1', 'web', 'store'],
        MacAddress: '22:af:60:91:97:1e',
      },
    });
    expect(connections).toEqual([
      {
        network: 'shop_front',
        endpoint: {
          IPAMConfig: { IPv4Address: '10.231.7.20' },
          Aliases: ['shop-web-1', 'web', 'shop', 'www'],
          MacAddress: 'fe:49:4b:d1:0b:fc',
        },
      },
    ]);
  });

  it('joins all networks at creation where the engine takes them', () => {
    const { options, connections } = creation(inspect('web'), 'redis:7', new Map(), '1.44');
    expect(Object.keys(options.NetworkingConfig?.EndpointsConfig ?? {})).toEqual(['shop_back', 'shop_front']);
    expect(connections).toEqual([]);
  });

  it('gives back the MAC address of each network, but for those that the engine made from an address', () => {
    const { options, connections } = creation(inspect('mac'), 'debian', new Map());
    expect(options.NetworkingConfig?.EndpointsConfig?.['shop_back']?.MacAddress).toBe('02:42:ac:11:65:43');
    expect(connections.map(({ network }) => network)).toEqual(['shop_front']);
    const web = inspect('web');
    const endpoints = web.NetworkSettings.Networks as Record<string, Partial<Docker.EndpointSettings>>;
    const [back, front] = [endpoints['shop_back'], endpoints['shop_front']];
    Object.assign(back ?? {}, { IPAddress: '172.17.0.11', MacAddress: '02:42:ac:11:00:0b' });
    Object.assign(front ?? {}, { IPAddress: '10.231.7.20', MacAddress: '02:42:0a:e7:07:14' });
    expect(chosenMac(web, 'shop_back')).toBeUndefined();
    // Nobody else is ever given this address.
    expect(chosenMac(web, 'shop_front')).toBe('02:42:0a:e7:07:14');
    expect(chosenMac(web, 'none')).toBeUndefined();
  });

  it('leaves through the same gateway as before (gw_priority)', () => {
    const { connections } = creation(inspect('mac'), 'debian', new Map());
    expect(connections[0]?.endpoint).toMatchObject({ GwPriority: 5 });
  });

  it('shares the namespaces of the new container, with no network, ports or host name of its own', () => {
    const web = inspect('web').Id;
    const { options, connections } = creation(inspect('sidecar'), 'debian', new Map([[web, hex('new web')]]));
    expect(options.HostConfig).toMatchObject({
      NetworkMode: `container:${hex('new web')}`,
      PidMode: `container:${hex('new web')}`,
      IpcMode: `container:${hex('new web')}`,
    });
    for (const key of ['Hostname', 'Domainname', 'ExposedPorts', 'NetworkingConfig'])
      expect(options).not.toHaveProperty(key);
    expect(connections).toEqual([]);
  });

  it.each([
    ['onhost', 'host'],
    ['alone', 'none'],
  ] as const)('%s stays on the network %s and joins no other', (name, mode) => {
    const { options, connections } = creation(inspect(name), 'debian', new Map());
    expect(options.HostConfig?.NetworkMode).toBe(mode);
    expect(options).not.toHaveProperty('NetworkingConfig');
    expect(connections).toEqual([]);
  });

  it('never refers to an id that has gone', () => {
    const former = new Map(names.map((name) => [inspect(name).Id, name]));
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.stringMatching(/^[0-9a-f]{64}$/), { minLength: 7, maxLength: 7 }),
        (ids) => {
          const recreated = new Map([...former.keys()].map((id, index) => [id, ids[index] ?? '']));
          for (const name of names) {
            const made = JSON.stringify(creation(inspect(name), 'image', recreated));
            for (const [id, whose] of former)
              expect(made, `${name} names ${whose}`).not.toContain(id.slice(0, 12));
          }
        },
      ),
      { numRuns: 5 },
    );
  });
});

/** An engine with these containers, as far as putting a record back needs one. */
class FakeEngine {
  readonly done: string[] = [];
  readonly present: Map<string, ContainerInspect>;
  readonly health = new Map<string, string[]>();

  constructor(present: readonly ContainerInspect[]) {
    this.present = new Map(present.map((own) => [own.Id, own]));
  }

  asEngine(): Engine {
    return this as unknown as Engine;
  }

  #nameOf(id: string): string {
    return this.present.get(id)?.Name.slice(1) ?? id;
  }

  async facts(): Promise<unknown> {
    return Promise.resolve({ apiVersion: '1.42' });
  }

  async projectContainers(): Promise<ContainerInspect[]> {
    return [...this.present.values()];
  }
  async container(id: string): Promise<ContainerInspect | null> {
    const found = this.present.get(id);
    const states = this.health.get(id);
    if (found === undefined || states === undefined) return found ?? null;
    const Status = states.length > 1 ? states.shift() : states[0];
    return { ...found, State: { ...found.State, Health: { Status } } } as ContainerInspect;
  }
  async image(): Promise<null> {
    return null;
  }
  async network(): Promise<null> {
    return null;
  }
  async createVolume({ name }: { name: string }): Promise<void> {
    this.done.push(`volume ${name}`);
  }
  async removeContainer(id: string): Promise<void> {
    this.done.push(`remove ${this.#nameOf(id)}`);
    this.present.delete(id);
  }
  async rename(id: string, name: string): Promise<void> {
    this.done.push(`rename ${this.#nameOf(id)} ${name}`);
  }
  async createContainer(options: Docker.ContainerCreateOptions): Promise<string> {
    const text = JSON.stringify(options.HostConfig);
    for (const [, id = ''] of text.matchAll(/"container:([0-9a-f]{64})"/g))
      if (!this.present.has(id)) throw new Error(`No such container: ${id}`);
    for (const from of (options.HostConfig?.VolumesFrom as string[] | null | undefined) ?? []) {
      const [id = ''] = from.split(':');
      if (!this.present.has(id)) throw new Error(`No such container: ${id}`);
    }
    const id = hex(`created ${this.done.length}`);
    this.done.push(`create ${options.name ?? ''}`);
    this.present.set(id, { Id: id, Name: `/${options.name ?? ''}` } as ContainerInspect);
    return id;
  }
  async connect(network: string, id: string): Promise<void> {
    this.done.push(`connect ${this.#nameOf(id)} to ${network}`);
  }
  async writePath(id: string, folder: string, tar: Buffer): Promise<void> {
    this.done.push(`write ${tar.toString()} to ${folder} of ${this.#nameOf(id)}`);
  }
  async start(id: string): Promise<void> {
    this.done.push(`start ${this.#nameOf(id)}`);
  }
  async stop(id: string): Promise<void> {
    this.done.push(`stop ${this.#nameOf(id)}`);
  }
}

function record(containers: ContainerInspect[], facts: Partial<StackRecord> = {}): StackRecord {
  return {
    project: { name: 'shop' },
    containers,
    networks: [],
    images: [],
    tags: {},
    volumes: [],
    injected: [],
    running: containers.map(({ Id }) => Id),
    green: containers.map(({ Id }) => Id),
    ...facts,
  } as StackRecord;
}

const noExec = {} as Exec;

describe('restoreContainers', () => {
  it('leaves containers that are there, and gives back the name that a killed recreation took', async () => {
    const web = inspect('web');
    const engine = new FakeEngine([{ ...web, Name: `/${web.Id.slice(0, 12)}_shop-web-1` }]);
    expect(await restoreContainers(engine.asEngine(), noExec, record([web]))).toEqual(
      new Map([[web.Id, web.Id]]),
    );
    expect(engine.done).toEqual([`rename ${web.Id.slice(0, 12)}_shop-web-1 shop-web-1`]);
  });

  it('removes newer containers before it makes the former ones, but not one that somebody runs by hand', async () => {
    const newer = withId(inspect('web'), hex('newer'));
    const oneOff = withId(inspect('alone'), hex('one-off'));
    oneOff.Config.Labels['com.docker.compose.oneoff'] = 'True';
    const engine = new FakeEngine([newer, oneOff]);
    await restoreContainers(engine.asEngine(), noExec, record([inspect('web')]));
    expect(engine.done).toEqual([
      'remove shop-web-1',
      'create shop-web-1',
      'connect shop-web-1 to shop_front',
    ]);
    expect([...engine.present.keys()]).toContain(oneOff.Id);
  });

  it('can be done twice', async () => {
    const engine = new FakeEngine([]);
    const first = await restoreContainers(engine.asEngine(), noExec, record([inspect('alone')]));
    expect([...first.keys()]).toEqual([inspect('alone').Id]);
    engine.done.length = 0;
    const web = inspect('web');
    const again = new FakeEngine([web]);
    await restoreContainers(again.asEngine(), noExec, record([web]));
    expect(again.done).toEqual([]);
  });

  it('makes the volumes that the engine kept, no bind mount and none that was not there', async () => {
    const volumes = [
      volume('db'),
      volume('new', { exists: false }),
      volume('x', { kind: 'bind', name: '/srv/x' }),
    ];
    const engine = new FakeEngine([]);
    await restoreContainers(engine.asEngine(), noExec, record([], { volumes }));
    expect(engine.done).toEqual(['volume shop_db']);
    expect(volumes.map(onEngine)).toEqual([true, false, false]);
  });

  it('puts the files back that compose had copied into a container', async () => {
    const alone = inspect('alone');
    const injected = [
      { container: alone.Id, folder: '/run', tarBase64: Buffer.from('a tar').toString('base64') },
      { container: 'another', folder: '/etc', tarBase64: '' },
    ];
    const engine = new FakeEngine([]);
    await restoreContainers(engine.asEngine(), noExec, record([alone], { injected }));
    expect(engine.done).toEqual(['create shop-alone-1', 'write a tar to /run of shop-alone-1']);
  });

  it('makes a container after those whose namespaces it shares', async () => {
    const engine = new FakeEngine([]);
    // The engine lists the newest container first.
    await restoreContainers(engine.asEngine(), noExec, record([inspect('sidecar'), inspect('web')]));
    expect(engine.done.filter((line) => line.startsWith('create'))).toEqual([
      'create shop-web-1',
      'create shop-sidecar-1',
    ]);
  });

  it('makes a container after one that itself shares a namespace', async () => {
    const debug = withId(inspect('alone'), hex('debug'));
    debug.Name = '/shop-debug-1';
    debug.HostConfig.PidMode = `container:${inspect('sidecar').Id}`;
    const engine = new FakeEngine([]);
    await restoreContainers(engine.asEngine(), noExec, record([debug, inspect('sidecar'), inspect('web')]));
    expect(engine.done.filter((line) => line.startsWith('create'))).toEqual([
      'create shop-web-1',
      'create shop-sidecar-1',
      'create shop-debug-1',
    ]);
  });

  it('makes a container after those whose volumes it takes (volumes_from)', async () => {
    const engine = new FakeEngine([]);
    await restoreContainers(engine.asEngine(), noExec, record([inspect('borrower'), inspect('store')]));
    expect(engine.done.filter((line) => line.startsWith('create'))).toEqual([
      'create shop-store-1',
      'create shop-borrower-1',
    ]);
  });

  it('stops before anything is removed when an image is nowhere any more', async () => {
    const engine = new FakeEngine([withId(inspect('web'), hex('newer'))]);
    const images = [{ id: 'sha256:gone', names: ['shop/web:1'], digests: [] }];
    await expect(
      restoreContainers(engine.asEngine(), noExec, record([inspect('web')], { images })),
    ).rejects.toMatchObject({ code: 'engine', message: expect.stringContaining('shop/web:1') as string });
    expect(engine.done).toEqual([]);
  });
});

describe('stopContainers', () => {
  it('stops what needs others first', async () => {
    const engine = new FakeEngine([]);
    const app = container('app', { id: 'app', ...needs('db:service_healthy:false') });
    await stopContainers(engine.asEngine(), [container('db', { id: 'db' }), app]);
    expect(engine.done).toEqual(['stop app', 'stop db']);
  });
});

describe('startRecorded', () => {
  function clock() {
    let now = 0;
    return {
      now: () => now,
      sleep: async (milliseconds: number) => {
        now += milliseconds;
      },
    };
  }
  const db = inspect('store');
  const app = inspect('borrower');
  const onDb = 'com.docker.compose.depends_on';

  it('starts what ran, dependencies first, and leaves what was stopped', async () => {
    const engine = new FakeEngine([app, db, inspect('alone')]);
    const stack = record([app, db, inspect('alone')], { running: [app.Id, db.Id] });
    await startRecorded(engine.asEngine(), stack, new Map(), { ...clock(), dependencyTimeout: 1000 });
    expect(engine.done).toEqual(['start shop-store-1', 'start shop-borrower-1']);
  });

  it('starts the containers that took the place of the recorded ones', async () => {
    const now = withId(db, hex('now'));
    const engine = new FakeEngine([now]);
    await startRecorded(engine.asEngine(), record([db]), new Map([[db.Id, now.Id]]), {
      ...clock(),
      dependencyTimeout: 1000,
    });
    expect(engine.done).toEqual(['start shop-store-1']);
  });

  it('waits for a dependency to become healthy, as the compose file asks', async () => {
    const healthy = {
      ...app,
      Config: { ...app.Config, Labels: { ...app.Config.Labels, [onDb]: 'store:service_healthy:false' } },
    };
    const engine = new FakeEngine([healthy, db]);
    engine.health.set(db.Id, ['starting', 'starting', 'healthy']);
    const time = clock();
    await startRecorded(engine.asEngine(), record([healthy, db]), new Map(), {
      ...time,
      dependencyTimeout: 10_000,
    });
    expect(engine.done).toEqual(['start shop-store-1', 'start shop-borrower-1']);
    expect(time.now()).toBe(400);
  });

  it('starts the dependents anyway when it does not', async () => {
    const healthy = {
      ...app,
      Config: { ...app.Config, Labels: { ...app.Config.Labels, [onDb]: 'store:service_healthy:false' } },
    };
    const engine = new FakeEngine([healthy, db]);
    engine.health.set(db.Id, ['unhealthy']);
    await startRecorded(engine.asEngine(), record([healthy, db]), new Map(), {
      ...clock(),
      dependencyTimeout: 3000,
    });
    expect(engine.done).toEqual(['start shop-store-1', 'start shop-borrower-1']);
  });

  it('does not wait for one that was not healthy when it was recorded', async () => {
    const healthy = {
      ...app,
      Config: { ...app.Config, Labels: { ...app.Config.Labels, [onDb]: 'store:service_healthy:false' } },
    };
    const engine = new FakeEngine([healthy, db]);
    engine.health.set(db.Id, ['unhealthy']);
    const time = clock();
    await startRecorded(engine.asEngine(), record([healthy, db], { green: [app.Id] }), new Map(), {
      ...time,
      dependencyTimeout: 3000,
    });
    expect(time.now()).toBe(0);
  });
});

function endpoints(
  connections: ReturnType<typeof creation>['connections'],
): Record<string, Docker.EndpointSettings> {
  return Object.fromEntries(connections.map(({ network, endpoint }) => [network, endpoint]));
}
