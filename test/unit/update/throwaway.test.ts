import { describe, expect, it } from 'vitest';
import type { Manifest } from '../../../src/backup/manifest.ts';
import type { ContainerInspect, NetworkInspect } from '../../../src/docker/engine.ts';
import {
  harmIn,
  isClosed,
  isMachine,
  throwaway,
  throwawayNetwork,
  type BindFact,
  type Surroundings,
  type Throwaway,
} from '../../../src/update/throwaway.ts';
import { inspect, names, withId } from '../docker/inspects.ts';
import { manifest } from '../model/examples.ts';

const proof = 'safe-update-proof-0123456789ab';
const run = '20261120-194000-1';

type Volume = Manifest['volumes'][number];
function volume(name: string, facts: Partial<Volume> = {}): Volume {
  return {
    ...{ name, kind: 'named', driver: 'local', servedAt: [], archive: `${name}.tar`, files: `${name}.files` },
    ...{ entries: 1, bytes: 1, sockets: 0, digest: 'd', exact: true },
    ...facts,
  };
}

interface Options {
  volumes?: Volume[];
  databases?: Manifest['databases'];
  binds?: Record<string, BindFact>;
  images?: Surroundings['images'];
}

function make(inspects: ContainerInspect[], options: Options = {}): Throwaway {
  const { volumes = [], databases = [], binds = {}, images = new Map() } = options;
  return throwaway(proof, run, { ...manifest('a'), volumes, databases }, inspects, {
    ...{ images, binds: new Map(Object.entries(binds)), engineFolder: '/var/lib/docker' },
  });
}

interface Host extends Record<string, unknown> {
  NetworkMode: string;
  Mounts: { Type: string; Source?: string; Target: string; ReadOnly?: boolean }[];
}
interface One {
  name: string;
  Labels: Record<string, string>;
  Env: string[];
  HostConfig: Host;
  NetworkingConfig?: { EndpointsConfig: Record<string, { Aliases?: string[]; Links?: string[] }> };
  [other: string]: unknown;
}

/** What a throwaway has of the only container that was given, or of a service. */
function one(made: Throwaway, service?: string): One {
  const found = made.containers.find((container) => service === undefined || container.service === service);
  return found?.options as unknown as One;
}

/** The container as the engine would say that it was made. */
function asMade({ options, connections }: Throwaway['containers'][number]): ContainerInspect {
  const made = structuredClone(options) as unknown as One;
  const { name, Labels, Env, HostConfig, NetworkingConfig, ...config } = made;
  return {
    Id: name,
    Name: `/${name}`,
    Config: { ...config, Labels, Env },
    HostConfig,
    Mounts: HostConfig.Mounts.map(({ Type, Source = '', Target, ReadOnly }) => ({
      ...{ Type, Source, Destination: Target, RW: ReadOnly !== true },
      ...(Type === 'volume' ? { Name: Source } : {}),
    })),
    NetworkSettings: {
      Networks: Object.fromEntries([
        ...Object.keys(NetworkingConfig?.EndpointsConfig ?? {}).map((network) => [network, {}]),
        ...connections.map(({ network }) => [network, {}]),
      ]),
    },
  } as unknown as ContainerInspect;
}

/** A container that has everything by which one can reach out of itself. */
function terrible(): ContainerInspect {
  const web = inspect('web');
  web.Config.Labels = {
    ...web.Config.Labels,
    'traefik.enable': 'true',
    'traefik.http.routers.shop.rule': 'Host(`shop.example.org`)',
    'com.centurylinklabs.watchtower.enable': 'true',
    'ofelia.enabled': 'true',
  };
  web.Config.Env = [
    ...web.Config.Env,
    'VIRTUAL_HOST=shop.example.org',
    'LETSENCRYPT_HOST=x',
    'VIRTUAL_ENV=/venv',
  ];
  Object.assign(web.HostConfig, {
    ...{ Privileged: true, PidMode: 'host', IpcMode: 'host', UTSMode: 'host', UsernsMode: 'host' },
    ...{
      CgroupnsMode: 'host',
      CgroupParent: '/live',
      PublishAllPorts: true,
      Runtime: 'nvidia',
      Isolation: 'x',
    },
    Devices: [{ PathOnHost: '/dev/sda', PathInContainer: '/dev/sda', CgroupPermissions: 'rwm' }],
    DeviceRequests: [{ Driver: 'nvidia', Count: -1 }],
    DeviceCgroupRules: ['c 1:3 mr'],
    CapAdd: ['NET_ADMIN', 'CAP_SYS_ADMIN', 'ALL', 'IPC_LOCK', 'CAP_CHOWN'],
    CapDrop: ['ALL'],
    SecurityOpt: ['seccomp=unconfined', 'apparmor:unconfined', 'no-new-privileges:true'],
    RestartPolicy: { Name: 'always', MaximumRetryCount: 0 },
    LogConfig: { Type: 'gelf', Config: { 'gelf-address': 'udp://logs.example.org:12201' } },
    VolumesFrom: ['somebody'],
    Links: ['/other-db-1:/shop-web-1/db'],
    AutoRemove: true,
    Dns: ['10.0.0.53'],
    OomScoreAdj: -900,
    OomKillDisable: true,
    VolumeDriver: 'nfs',
    Memory: 123_000_000,
    ShmSize: 64_000_000,
    NoSuchThingYet: 'host',
  });
  return web;
}

describe('throwaway', () => {
  it('takes over what runs in a container, and nothing by which it reaches out of itself', () => {
    const made = make([terrible()]);
    const { HostConfig: host, ...options } = one(made);
    expect(Object.keys(host).sort()).toEqual(
      [
        ...[
          'CapAdd',
          'CapDrop',
          'CpuShares',
          'Dns',
          'LogConfig',
          'Memory',
          'Mounts',
          'NetworkMode',
          'OomScoreAdj',
        ],
        ...['RestartPolicy', 'SecurityOpt', 'ShmSize'],
        ...Object.keys(host).filter((name) =>
          ['CpuPeriod', 'CpuQuota', 'NanoCpus', 'MemoryReservation', 'MemorySwap', 'ReadonlyRootfs'].includes(
            name,
          ),
        ),
        ...Object.keys(host).filter((name) =>
          ['ExtraHosts', 'DnsOptions', 'Tmpfs', 'Sysctls', 'Init'].includes(name),
        ),
      ].sort(),
    );
    expect(host).toMatchObject({
      ...{ CapAdd: ['IPC_LOCK', 'CAP_CHOWN'], CapDrop: ['ALL'], SecurityOpt: ['no-new-privileges:true'] },
      ...{ RestartPolicy: { Name: 'no' }, Dns: ['192.0.2.1'], Memory: 123_000_000, OomScoreAdj: 1000 },
      LogConfig: { Type: 'json-file' },
    });
    expect(options).not.toHaveProperty('ExposedPorts');
    expect(options.name).toBe(`${proof}-web-1`);
    expect(options['Image']).toBe(inspect('web').Image);
    expect(options['Cmd']).toEqual(inspect('web').Config.Cmd);
    expect(options['Hostname']).toBe('shop-web');
    expect(options.Env).toEqual([...inspect('web').Config.Env, 'VIRTUAL_ENV=/venv']);
    expect(made.notices).toContain(
      'web is tried without: privileged; NET_ADMIN, CAP_SYS_ADMIN, ALL; devices; pid: host; ipc: host; uts: host; userns: host.',
    );
    expect(made.containers.flatMap((container) => harmIn(proof, asMade(container), []))).toEqual([]);
  });

  it('has no label but its own and those of compose that name the service', () => {
    const images = new Map([
      [inspect('web').Image, { volumePaths: [], labels: { 'traefik.enable': 'true', maintainer: 'x' } }],
    ]);
    expect(one(make([terrible()], { images })).Labels).toEqual({
      ...{ 'traefik.enable': '', maintainer: '' },
      ...{ 'com.docker.compose.project': proof, 'com.docker.compose.service': 'web' },
      ...{ 'com.docker.compose.container-number': '1', 'com.docker.compose.oneoff': 'False' },
      ...{ 'safe-update.proof': proof, 'safe-update.project': proof, 'safe-update.run': run },
      ...{ 'safe-update.role': 'proof' },
      // By its image, whose name is not taken over.
      'safe-update.database': 'redis',
    });
  });

  it.each(names)(
    '%s: nothing that it is made of could do harm, and the check would see it in the original',
    (name) => {
      const lender = withId(inspect('web'), 'f'.repeat(64));
      const made = make([inspect(name), ...(name === 'sidecar' ? [inspect('web')] : []), lender]);
      const own = made.containers.map(({ options }) => options.name ?? '');
      for (const container of made.containers) expect(harmIn(proof, asMade(container), own)).toEqual([]);
      expect(harmIn(proof, inspect(name), [])).not.toEqual([]);
    },
  );

  it('every network becomes one of its own, with the same names in it', () => {
    const made = make([inspect('web'), inspect('store'), inspect('mac')]);
    expect(made.networks).toEqual([0, 1, 2].map((index) => `${proof}_net${index}`));
    const endpoints = one(made, 'web').NetworkingConfig?.EndpointsConfig;
    const connections = made.containers.find(({ service }) => service === 'web')?.connections ?? [];
    const all = {
      ...endpoints,
      ...Object.fromEntries(connections.map(({ network, endpoint }) => [network, endpoint])),
    };
    expect(Object.keys(all)).toHaveLength(Object.keys(inspect('web').NetworkSettings.Networks).length);
    for (const network of Object.keys(all)) expect(made.networks).toContain(network);
    expect(Object.keys(endpoints ?? {})).toEqual([one(made, 'web').HostConfig.NetworkMode]);
    for (const endpoint of Object.values(all)) {
      expect(Object.keys(endpoint)).toEqual(['Aliases']);
      expect(endpoint.Aliases).toEqual(expect.arrayContaining(['web', 'shop-web-1']) as string[]);
    }
    expect(Object.values(all).flatMap(({ Aliases }) => Aliases)).toContain('store');
    expect(Object.values(one(made, 'store').NetworkingConfig?.EndpointsConfig ?? {})[0]?.Aliases).toEqual([
      'store',
      'shop-store-1',
    ]);
  });

  it('the network of the host becomes its own networks; none stays none', () => {
    const made = make([inspect('onhost'), inspect('alone'), inspect('store')]);
    expect(one(made, 'alone').HostConfig.NetworkMode).toBe('none');
    expect(one(made, 'alone')).not.toHaveProperty('NetworkingConfig');
    expect(made.networks).toContain(one(made, 'onhost').HostConfig.NetworkMode);
    expect(made.containers.find(({ service }) => service === 'onhost')?.connections).toHaveLength(
      made.networks.length - 1,
    );
    expect(one(made, 'onhost')).not.toHaveProperty('Hostname');
    expect(made.notices).toContain('onhost is tried without: the network of the host.');
  });

  it('what shares network, processes and memory with another service shares them with its double', () => {
    const made = make([inspect('sidecar'), inspect('web')]);
    expect(made.containers.map(({ service }) => service)).toEqual(['web', 'sidecar']);
    const to = `container:${proof}-web-1`;
    expect(one(made, 'sidecar').HostConfig).toMatchObject({ NetworkMode: to, PidMode: to, IpcMode: to });
    expect(one(made, 'sidecar')).not.toHaveProperty('NetworkingConfig');
    expect(one(made, 'web').HostConfig['IpcMode']).toBe('shareable');
  });

  it('what shares them with a container that is not among these gets networks of its own', () => {
    const made = make([inspect('sidecar')]);
    expect(made.networks).toContain(one(made).HostConfig.NetworkMode);
    expect(one(made).HostConfig).not.toHaveProperty('PidMode');
    expect(one(made).HostConfig).not.toHaveProperty('IpcMode');
    expect(made.notices).toContain('sidecar is tried without: the network of another container.');
  });

  it('links lead to doubles, and those to other projects are gone', () => {
    const web = inspect('web');
    const [first] = Object.values(web.NetworkSettings.Networks);
    Object.assign(first ?? {}, { Links: ['shop-store-1:shelf', 'other-db-1:db'] });
    const made = make([web, inspect('store')]);
    const endpoints = Object.values(one(made, 'web').NetworkingConfig?.EndpointsConfig ?? {});
    expect(endpoints.flatMap(({ Links }) => Links ?? [])).toEqual([`${proof}-store-1:shelf`]);
  });

  it('every volume is a new one, also shared and anonymous ones, in the same places', () => {
    const [web, borrower] = [inspect('web'), inspect('borrower')];
    const anonymous = web.Mounts.find(({ Destination }) => Destination === '/srv/anonymous')?.Name ?? '';
    const made = make([web, borrower, inspect('store')], {
      volumes: [
        volume('shop_named'),
        volume(anonymous, { kind: 'anonymous' }),
        volume('shop_gone', { kind: 'external' }),
      ],
      databases: [
        { service: 'store', engine: 'redis', volume: 'shop_named', dataPath: '/srv/named', parts: [] },
        { service: 'web', engine: 'redis', dataPath: '/x', parts: [] },
      ],
    });
    expect(made.volumes).toEqual([0, 1, 2, 3, 4].map((index) => `${proof}_${index}`));
    expect(made.data.volumes.map(({ name, kind }) => [name, kind])).toEqual(
      [0, 1, 2].map((index) => [`${proof}_${index}`, 'named']),
    );
    expect(made.data.databases.map((database) => database.volume)).toEqual([`${proof}_0`, undefined]);
    const at = (service: string, target: string) =>
      one(made, service).HostConfig.Mounts.find(({ Target }) => Target === target);
    expect(at('web', '/srv/named')).toMatchObject({ Source: `${proof}_0`, ReadOnly: false });
    expect(at('web', '/srv/again')).toMatchObject({ Source: `${proof}_0`, ReadOnly: true });
    expect(at('web', '/srv/anonymous')).toMatchObject({
      Source: `${proof}_1`,
      VolumeOptions: { NoCopy: true },
    });
    expect(at('web', '/srv/scratch')).toMatchObject({ Type: 'tmpfs' });
    // Not in the backup: new and empty, the same one for both.
    expect(at('store', '/data')).toMatchObject({ VolumeOptions: { NoCopy: false } });
    expect(at('borrower', '/data')?.Source).toBe(at('store', '/data')?.Source);
    expect(made.notices).toContain('store: /data begins empty: what was there is not in the backup.');
    const sources = made.containers.flatMap(({ options }) =>
      (options as unknown as One).HostConfig.Mounts.filter(({ Type }) => Type === 'volume').map(
        ({ Source }) => Source,
      ),
    );
    for (const source of sources) expect(made.volumes).toContain(source);
  });

  it('leaves the engine no path to make an anonymous volume for', () => {
    const alone = inspect('alone');
    alone.HostConfig.Tmpfs = { '/cache/': '' };
    const images = new Map([[alone.Image, { volumePaths: ['/data', '/cache', '/var/lib/x/'], labels: {} }]]);
    expect(one(make([alone], { images })).HostConfig.Mounts).toMatchObject([
      { Type: 'volume', Source: `${proof}_0`, Target: '/data' },
      { Type: 'volume', Source: `${proof}_1`, Target: '/var/lib/x/' },
    ]);
  });

  function bound(source: string, readOnly: boolean, fact?: BindFact, volumes: Volume[] = []) {
    const alone = inspect('alone');
    alone.Mounts = [
      { Type: 'bind', Source: source, Destination: '/in', Mode: '', RW: !readOnly, Propagation: 'rshared' },
    ];
    const made = make([alone], { volumes, binds: fact === undefined ? {} : { [source]: fact } });
    return { mounts: one(made).HostConfig.Mounts, notices: made.notices };
  }

  it.each<['file' | 'folder', boolean]>([
    ['file', true],
    ['folder', false],
  ])('a %s of the host is mounted read-only, without what is mounted below it', (is, readOnly) => {
    const source = '/srv/shop/nginx.conf';
    const { mounts, notices } = bound(source, readOnly, { is, real: source });
    expect(mounts).toEqual([
      {
        ...{ Type: 'bind', Source: source, Target: '/in', ReadOnly: true },
        BindOptions: { NonRecursive: true, Propagation: 'rprivate' },
      },
    ]);
    expect(notices).toEqual(
      readOnly ? [] : [`alone: ${source} is read-only, as it is now: it is not in the backup.`],
    );
  });

  it('a folder of the host that is in the backup becomes a volume', () => {
    const source = '/srv/shop/pgdata';
    const { mounts } = bound(source, false, { is: 'folder', real: source }, [
      volume(source, { kind: 'bind' }),
    ]);
    expect(mounts).toMatchObject([{ Type: 'volume', Source: `${proof}_0`, ReadOnly: false }]);
  });

  const folder = (real: string): BindFact => ({ is: 'folder', real });
  it.each<[string, BindFact | undefined, string]>([
    ['/var/run/docker.sock', { is: 'special', real: '/run/docker.sock' }, 'it is of the machine'],
    ['/run/user/1000/podman/podman.sock', folder('/run/user/1000/podman'), 'it is of the machine'],
    ['/', folder('/'), 'it is of the machine'],
    ['/var', folder('/var'), 'it is of the machine'],
    ['/var/lib', folder('/var/lib'), 'it is of the machine'],
    [
      '/var/lib/docker/volumes/shop_db/_data',
      folder('/var/lib/docker/volumes/shop_db/_data'),
      'it is of the machine',
    ],
    ['/proc', folder('/proc'), 'it is of the machine'],
    ['/sys/fs/cgroup', folder('/sys/fs/cgroup'), 'it is of the machine'],
    ['/dev', folder('/dev'), 'it is of the machine'],
    ['/dev/ttyUSB0', { is: 'special', real: '/dev/ttyUSB0' }, 'it is of the machine'],
    ['/srv/../run', folder('/run'), 'it is of the machine'],
    ['/srv/shop/linked', folder('/run'), 'it is of the machine'],
    ['/srv/shop/linked', folder('/var/lib/docker'), 'it is of the machine'],
    [
      '/srv/shop/php.sock',
      { is: 'special', real: '/srv/shop/php.sock' },
      'it is or holds a socket or a device',
    ],
    ['/srv/shop/gone', { is: 'missing' }, 'it is not there'],
    ['/srv/shop/secret', { is: 'unreadable' }, 'it could not be looked through'],
    ['/srv/shop/unknown', undefined, 'it is not there'],
  ])('%s is not mounted, read-only or not, and that is said', (source, fact, why) => {
    for (const readOnly of [true, false]) {
      const { mounts, notices } = bound(source, readOnly, fact);
      expect(mounts).toEqual([]);
      expect(notices).toEqual([`alone is tried without ${source}: ${why}.`]);
    }
  });

  it('a mount of a kind it does not know is left out, and that is said', () => {
    const alone = inspect('alone');
    alone.Mounts = [
      { Type: 'npipe', Source: 'x', Destination: '/in', Mode: '', RW: true, Propagation: '' } as never,
    ];
    const made = make([alone]);
    expect(one(made).HostConfig.Mounts).toEqual([]);
    expect(made.notices).toEqual(['alone is tried without what it has at /in: a mount of the kind npipe.']);
  });
});

describe('isMachine', () => {
  it.each([
    '/',
    '/var',
    '/run',
    '/run/x',
    '/proc/1',
    '/dev',
    '/data/docker',
    '/data/docker/volumes',
    '/data',
  ])('%s is', (place) => {
    expect(isMachine(place, '/data/docker')).toBe(true);
  });
  it.each(['/srv', '/running', '/var/lib/app', '/data/docker2', '/etc/localtime', '/home/me/dev', '/..data'])(
    '%s is not',
    (place) => {
      expect(isMachine(place, '/data/docker')).toBe(false);
    },
  );
});

describe('what the engine says was made', () => {
  const [container] = make([inspect('store')]).containers;
  const good = (): ContainerInspect => asMade(container!);
  it.each<[string, (made: ContainerInspect) => unknown]>([
    ['no label', (made) => (made.Config.Labels = {})],
    ['privileged', ({ HostConfig }) => (HostConfig.Privileged = true)],
    ['ports', ({ HostConfig }) => (HostConfig.PortBindings = { '80/tcp': [{ HostPort: '80' }] })],
    ['ports', ({ HostConfig }) => (HostConfig.PublishAllPorts = true)],
    ['devices', ({ HostConfig }) => (HostConfig.Devices = [{}])],
    ['volumes of others', ({ HostConfig }) => (HostConfig.VolumesFrom = ['x'])],
    ['links', ({ HostConfig }) => (HostConfig.Links = ['x:y'])],
    ['the host or a stranger', ({ HostConfig }) => (HostConfig.PidMode = 'host')],
    ['the host or a stranger', ({ HostConfig }) => (HostConfig.IpcMode = 'container:x')],
    ['the network bridge', ({ HostConfig }) => (HostConfig.NetworkMode = 'bridge')],
    ['the networks proxy', ({ NetworkSettings }) => (NetworkSettings.Networks = { proxy: {} as never })],
    ['a restart policy', ({ HostConfig }) => (HostConfig.RestartPolicy = { Name: 'always' })],
    ['capabilities', ({ HostConfig }) => (HostConfig.CapAdd = ['NET_ADMIN'])],
    [
      'shop_db at /data',
      ({ Mounts }) =>
        Mounts.push({
          Type: 'volume',
          Name: 'shop_db',
          Source: '',
          Destination: '/data',
          Mode: '',
          RW: false,
          Propagation: '',
        }),
    ],
    [
      '/srv at /srv',
      ({ Mounts }) =>
        Mounts.push({
          Type: 'bind',
          Source: '/srv',
          Destination: '/srv',
          Mode: '',
          RW: true,
          Propagation: '',
        }),
    ],
  ])('is harm: %s', (what, harm) => {
    const made = good();
    expect(harmIn(proof, made, [])).toEqual([]);
    harm(made);
    expect(harmIn(proof, made, [])).toContain(what);
  });

  it('a network is closed only without a way out, an address of the host, and a stranger’s label', () => {
    const network = {
      ...throwawayNetwork(proof, run, `${proof}_net0`),
      IPAM: { Config: [{ Subnet: '172.18.0.0/16' }] },
    } as unknown as NetworkInspect;
    expect(isClosed(proof, network)).toBe(true);
    const changes: Partial<NetworkInspect>[] = [
      { Internal: false },
      { EnableIPv6: true },
      { Options: {} },
      { Labels: {} },
      { IPAM: { Config: [{ Subnet: '172.18.0.0/16', Gateway: '172.18.0.1' }] } },
    ];
    for (const change of changes) expect(isClosed(proof, { ...network, ...change })).toBe(false);
  });
});
