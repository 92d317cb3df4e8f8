import path from 'node:path';
import type Docker from 'dockerode';
import type { Manifest, ManifestVolume } from '../backup/manifest.ts';
import { databaseLabel, recogniseDatabase } from '../database/engines.ts';
import {
  orElse,
  proofLabel,
  type ContainerInspect,
  type ImageFacts,
  type NetworkInspect,
} from '../docker/engine.ts';
import { labels } from '../docker/helper.ts';
import { readContainer, subpathAt } from '../docker/observe.ts';
import { lendersFirst } from '../docker/record.ts';

/** What a source of a bind mount is on this machine. */
export type BindFact =
  | { is: 'file' | 'folder'; real: string }
  /** A socket, a FIFO or a device, or a folder that holds one: a way out that read-only does not close. */
  | { is: 'special'; real: string }
  /** Not there, or not to be looked through. */
  | { is: 'missing' | 'unreadable' };

/** What of this machine and its engine has a say in it. */
export interface Surroundings {
  /** By the source as the container had it. */
  binds: ReadonlyMap<string, BindFact>;
  /** By id. */
  images: ReadonlyMap<string, Pick<ImageFacts, 'volumePaths' | 'labels'>>;
  /** Where the engine keeps volumes and images. */
  engineFolder: string;
}

export interface ThrowawayContainer {
  /** The id of the container that it stands for. */
  recorded: string;
  service: string;
  options: Docker.ContainerCreateOptions;
  /** Networks to connect it to once it is made; the first is in `options`. */
  connections: { network: string; endpoint: Docker.EndpointSettings }[];
}

/** What a test-restore makes on the engine. Everything in it is named after `proof`, and carries its labels. */
export interface Throwaway {
  volumes: string[];
  /** Folders that volumes need that begin empty: containers have them mounted by themselves. */
  folders: { volume: string; folder: string }[];
  networks: string[];
  /** Those that lend a network come before those that borrow it. */
  containers: ThrowawayContainer[];
  /** What the backup says of data, with the names that volumes have in here. */
  data: Pick<Manifest, 'volumes' | 'databases'>;
  /** What is different from the stack that was backed up, for people. */
  notices: string[];
}

/** Folders that are no configuration: what is in them is the machine, its devices, or other people's sockets. */
const machineFolders = ['/proc', '/sys', '/dev', '/run', '/var/run', '/boot'];

/** Is a folder of the machine itself, holds one, or lies in one? Pure. */
export function isMachine(place: string, engineFolder: string): boolean {
  const within = (inner: string, outer: string): boolean => {
    const relative = path.posix.relative(outer, inner);
    return relative !== '..' && !relative.startsWith('../');
  };
  return [...machineFolders, engineFolder].some((folder) => within(place, folder) || within(folder, place));
}

/** Capabilities that reach no further than the container itself. Of others a test-restore has no need, and might do harm. */
const harmlessCapabilities = new Set([
  ...[
    'AUDIT_WRITE',
    'CHOWN',
    'DAC_OVERRIDE',
    'FOWNER',
    'FSETID',
    'KILL',
    'MKNOD',
    'NET_BIND_SERVICE',
    'NET_RAW',
  ],
  ...['SETFCAP', 'SETGID', 'SETPCAP', 'SETUID', 'SYS_CHROOT', 'IPC_LOCK', 'SYS_NICE'],
]);

/** By these, proxies that read environments would take a container for one to send visitors to. */
const proxyVariable = /^(VIRTUAL_(HOST|PORT|PATH|PROTO|DEST|HOST_MULTIPORTS)|LETSENCRYPT_\w+)=/;

/** Of HostConfig, what says how much a container may use and what it has inside of itself. */
const keptOfHost = [
  ...['CpuPeriod', 'CpuQuota', 'NanoCpus', 'Memory', 'MemoryReservation'],
  ...[
    'MemorySwap',
    'PidsLimit',
    'ShmSize',
    'Ulimits',
    'Init',
    'ReadonlyRootfs',
    'Tmpfs',
    'GroupAdd',
    'Sysctls',
  ],
  ...['CapDrop', 'ExtraHosts', 'DnsOptions'],
] as const;

/** Of Config, what says what runs in it. */
const keptOfConfig = [
  ...[
    'Cmd',
    'Entrypoint',
    'User',
    'WorkingDir',
    'Tty',
    'OpenStdin',
    'StopSignal',
    'StopTimeout',
    'Healthcheck',
  ],
  ...['Shell', 'ArgsEscaped'],
] as const;

/**
 * Given containers as the engine had them, returns what to make so that the same programs run on the same data, unable to
 * reach anything of the stack they are from or of the world: only what is named here is taken over, so that what an
 * engine or a compose file can say besides has no effect. `inspects`: those that are to run. Pure.
 */
export function throwaway(
  proof: string,
  run: string,
  manifest: Pick<Manifest, 'volumes' | 'databases'>,
  inspects: readonly ContainerInspect[],
  around: Surroundings,
): Throwaway {
  const own = { [proofLabel]: proof, [labels.project]: proof, [labels.run]: run, [labels.role]: 'proof' };
  const notices: string[] = [];
  const volumes: string[] = [];
  const folders: Throwaway['folders'] = [];
  const nameOf = new Map<string, string>();
  const newVolume = (): string => {
    const name = `${proof}_${volumes.length}`;
    volumes.push(name);
    return name;
  };
  for (const { name } of manifest.volumes) nameOf.set(name, newVolume());

  const networkOf = new Map<string, string>();
  const network = (recorded: string): string => {
    const name = networkOf.get(recorded) ?? `${proof}_net${networkOf.size}`;
    networkOf.set(recorded, name);
    return name;
  };
  for (const inspect of inspects) {
    const mode = inspect.HostConfig.NetworkMode ?? 'default';
    if (mode === 'none' || mode.startsWith('container:')) continue;
    for (const name of Object.keys(networksOf(inspect))) network(name);
  }
  if (networkOf.size === 0) network('default');

  const nameIn = (id: string): string | undefined => {
    const lender = inspects.find(({ Id, Name }) => Id === id || Name === `/${id}`);
    return lender === undefined ? undefined : containerName(proof, lender);
  };

  const containers = lendersFirst(inspects).map((inspect): ThrowawayContainer => {
    const { Config, HostConfig } = inspect;
    const { service, number, labels: recorded } = readContainer(inspect);
    // The name of the image, by which a server may have been recognised, is not taken over.
    const database = recorded[databaseLabel] ?? recogniseDatabase(readContainer(inspect))?.name;
    const image = around.images.get(inspect.Image) ?? { volumePaths: [], labels: {} };
    const without: string[] = [];

    const borrowed = (mode: string | undefined): string | undefined => {
      const lender = /^container:(.+)$/.exec(mode ?? '')?.[1];
      const name = lender === undefined ? undefined : nameIn(lender);
      return name === undefined ? undefined : `container:${name}`;
    };
    const mode = HostConfig.NetworkMode ?? 'default';
    const lent = borrowed(mode);
    if (mode === 'host') without.push('the network of the host');
    else if (mode.startsWith('container:') && lent === undefined)
      without.push('the network of another container');
    const aliases = [service, inspect.Name.replace(/^\//, '')];
    const connections =
      mode === 'none' || lent !== undefined
        ? []
        : mode === 'host' || mode.startsWith('container:')
          ? [...networkOf.values()].map((name) => ({ network: name, endpoint: { Aliases: aliases } }))
          : Object.entries(networksOf(inspect)).map(([name, endpoint]) => ({
              network: network(name),
              endpoint: {
                ...linksOf(endpoint, nameIn),
                Aliases: [
                  ...new Set([
                    ...aliases,
                    ...(endpoint.Aliases ?? []).filter((alias) => alias !== inspect.Id.slice(0, 12)),
                  ]),
                ],
              },
            }));
    const [first] = connections;

    const mounts = mountsOf(inspect, {
      ...{ manifest, nameOf, newVolume, around, image, service, notices, inspects, folders },
    });
    const capabilities = (HostConfig.CapAdd as string[] | null | undefined) ?? [];
    const added = capabilities.filter((name) => harmlessCapabilities.has(name.replace(/^CAP_/, '')));
    if (HostConfig.Privileged === true) without.push('privileged');
    if (added.length < capabilities.length)
      without.push(capabilities.filter((name) => !added.includes(name)).join(', '));
    if (devicesOf(HostConfig) > 0) without.push('devices');
    for (const [name, value] of [
      ['pid', HostConfig.PidMode],
      ['ipc', HostConfig.IpcMode],
      ['uts', (HostConfig as { UTSMode?: string }).UTSMode],
      ['userns', HostConfig.UsernsMode],
    ] as const) {
      if (value === 'host') without.push(`${name}: host`);
    }
    const environment = (Config.Env as string[] | null | undefined) ?? [];
    const kept = environment.filter((entry) => !proxyVariable.test(entry));
    if (without.length > 0) notices.push(`${service} is tried without: ${without.join('; ')}.`);

    const hostname = Config.Hostname;
    const named = lent === undefined && hostname !== '' && hostname !== inspect.Id.slice(0, 12);
    const shared = (value: string | undefined): string | undefined =>
      value === 'private' || value === 'shareable' || value === 'none' ? value : borrowed(value);
    const ipc = shared(HostConfig.IpcMode);
    const pid = borrowed(HostConfig.PidMode);
    const options = {
      ...only(Config, keptOfConfig),
      name: containerName(proof, inspect),
      Image: inspect.Image,
      Env: kept,
      ...(named && mode !== 'host' ? { Hostname: hostname } : {}),
      Labels: {
        // What the image says of itself cannot be taken away, only said otherwise.
        ...Object.fromEntries(Object.keys(image.labels).map((name) => [name, ''])),
        ...(database === undefined ? {} : { [databaseLabel]: database }),
        'com.docker.compose.project': proof,
        'com.docker.compose.service': service,
        'com.docker.compose.container-number': String(number),
        'com.docker.compose.oneoff': 'False',
        ...own,
      },
      HostConfig: {
        ...only(HostConfig as unknown as Record<string, unknown>, keptOfHost),
        NetworkMode: lent ?? (mode === 'none' ? 'none' : (first?.network ?? 'none')),
        ...(ipc === undefined ? {} : { IpcMode: ipc }),
        ...(pid === undefined ? {} : { PidMode: pid }),
        // Names that no container has are asked for at an address to which there is no way.
        ...(lent === undefined && mode !== 'none' ? { Dns: ['192.0.2.1'] } : {}),
        ...(lent === undefined ? {} : { ExtraHosts: [], DnsOptions: [] }),
        CapAdd: added,
        SecurityOpt: ((HostConfig.SecurityOpt as string[] | null | undefined) ?? []).filter((option) =>
          option.startsWith('no-new-privileges'),
        ),
        RestartPolicy: { Name: 'no' },
        // Where the machine runs short of anything, it is not the live stack that has to give way.
        CpuShares: 512,
        OomScoreAdj: 1000,
        LogConfig: { Type: 'json-file', Config: { 'max-size': '5m' } },
        Mounts: mounts,
      },
      ...(first === undefined
        ? {}
        : { NetworkingConfig: { EndpointsConfig: { [first.network]: first.endpoint } } }),
    } as unknown as Docker.ContainerCreateOptions;
    return { recorded: inspect.Id, service, options, connections: connections.slice(1) };
  });

  return {
    volumes,
    folders,
    networks: [...networkOf.values()],
    containers,
    data: {
      volumes: manifest.volumes.map((volume) => ({
        ...volume,
        name: nameOf.get(volume.name) ?? volume.name,
        kind: 'named' as const,
      })),
      databases: manifest.databases.map(({ volume, ...dump }) => {
        const to = volume === undefined ? undefined : nameOf.get(volume);
        return to === undefined ? dump : { ...dump, volume: to };
      }),
    },
    notices: [...new Set(notices)],
  };
}

/** What to give the engine to make a network of a test-restore: no way out of it, and the host has no address on it. Pure. */
export function throwawayNetwork(proof: string, run: string, name: string): Docker.NetworkCreateOptions {
  return {
    Name: name,
    Driver: 'bridge',
    Internal: true,
    Attachable: false,
    EnableIPv6: false,
    // Without this the host answers at the network's gateway: with all that it listens on, published ports included.
    Options: { 'com.docker.network.bridge.inhibit_ipv4': 'true' },
    Labels: { [proofLabel]: proof, [labels.project]: proof, [labels.run]: run, [labels.role]: 'proof' },
  };
}

/**
 * What a container that was made for a test-restore could reach or change outside of it, as the engine says it was made.
 * Nothing, unless there is a bug: it is asked before anything is started. Pure.
 */
export function harmIn(
  proof: string,
  { Config, HostConfig, Mounts, NetworkSettings }: ContainerInspect,
  containersOfProof: readonly string[],
): string[] {
  const host = HostConfig as typeof HostConfig & { UTSMode?: string };
  const { VolumesFrom, Links } = HostConfig as { VolumesFrom?: string[] | null; Links?: string[] | null };
  const mode = host.NetworkMode ?? '';
  const lender = /^container:(.+)$/.exec(mode)?.[1];
  const isOwn = (name: string): boolean => name.startsWith(`${proof}_`);
  const isHost = (value: string | undefined): boolean =>
    value === 'host' ||
    (value?.startsWith('container:') === true &&
      !containersOfProof.includes(value.slice('container:'.length)));
  const networks = Object.keys(orElse<object>(NetworkSettings.Networks, {}));
  const found: [boolean, string][] = [
    [(Config.Labels as Record<string, string> | null)?.[proofLabel] !== proof, 'no label'],
    [host.Privileged === true, 'privileged'],
    [Object.keys((host.PortBindings as object | null) ?? {}).length > 0, 'ports'],
    [host.PublishAllPorts === true, 'ports'],
    [devicesOf(host) > 0, 'devices'],
    [(VolumesFrom ?? []).length > 0, 'volumes of others'],
    [(Links ?? []).length > 0, 'links'],
    [
      [host.PidMode, host.IpcMode, host.UTSMode, host.UsernsMode, mode].some(isHost),
      'the host or a stranger',
    ],
    [lender === undefined && mode !== 'none' && !isOwn(mode), `the network ${mode}`],
    [networks.some((name) => name !== 'none' && !isOwn(name)), `the networks ${networks.join(', ')}`],
    [!['no', ''].includes(host.RestartPolicy?.Name ?? ''), 'a restart policy'],
    [
      ((host.CapAdd as string[] | null | undefined) ?? []).some(
        (name) => !harmlessCapabilities.has(name.replace(/^CAP_/, '')),
      ),
      'capabilities',
    ],
    ...Mounts.map((mount): [boolean, string] => [
      mount.Type === 'bind' ? mount.RW : mount.Type === 'volume' && !isOwn(mount.Name ?? ''),
      `${mount.Name ?? mount.Source} at ${mount.Destination}`,
    ]),
  ];
  return found.flatMap(([is, what]) => (is ? [what] : []));
}

/** The same of a network. Pure. */
export function isClosed(
  proof: string,
  { Labels, Internal, EnableIPv6, Options, IPAM }: NetworkInspect,
): boolean {
  const gateways = (IPAM?.Config ?? []).some(({ Gateway }) => Gateway !== undefined && Gateway !== '');
  return (
    Labels?.[proofLabel] === proof &&
    Internal &&
    !EnableIPv6 &&
    Options?.['com.docker.network.bridge.inhibit_ipv4'] === 'true' &&
    !gateways
  );
}

function devicesOf(host: ContainerInspect['HostConfig']): number {
  const { Devices, DeviceRequests } = host as {
    Devices?: unknown[] | null;
    DeviceRequests?: unknown[] | null;
  };
  return (Devices ?? []).length + (DeviceRequests ?? []).length;
}

/** Names for other containers of its own that are only this container's; those of other projects are gone. */
function linksOf(
  { Links }: Docker.EndpointSettings,
  nameIn: (container: string) => string | undefined,
): { Links?: string[] } {
  const kept = ((Links as string[] | null | undefined) ?? []).flatMap((link) => {
    const [to = '', alias = to] = link.split(':');
    const name = nameIn(to.replace(/^\//, ''));
    return name === undefined ? [] : [`${name}:${alias}`];
  });
  return kept.length === 0 ? {} : { Links: kept };
}

function containerName(proof: string, inspect: ContainerInspect): string {
  const { service, number } = readContainer(inspect);
  return `${proof}-${service}-${number}`;
}

function networksOf({ NetworkSettings }: ContainerInspect): Docker.EndpointsConfig {
  return orElse<Docker.EndpointsConfig>(NetworkSettings.Networks, {});
}

interface Mounting {
  manifest: Pick<Manifest, 'volumes'>;
  nameOf: Map<string, string>;
  newVolume: () => string;
  around: Surroundings;
  image: Pick<ImageFacts, 'volumePaths' | 'labels'>;
  service: string;
  notices: string[];
  inspects: readonly ContainerInspect[];
  folders: Throwaway['folders'];
}

function mountsOf(
  inspect: ContainerInspect,
  { manifest, nameOf, newVolume, around, image, service, notices, inspects, folders }: Mounting,
): unknown[] {
  const { HostConfig, Mounts } = inspect;
  const written = (HostConfig.Mounts ?? []) as {
    Type: string;
    Target: string;
    TmpfsOptions?: object;
  }[];
  const volumeAt = (source: string, target: string, readOnly: boolean): unknown => {
    const known = nameOf.get(source) ?? newVolume();
    nameOf.set(source, known);
    const held = manifest.volumes.some(({ name }: Pick<ManifestVolume, 'name'>) => name === source);
    if (!held) notices.push(`${service}: ${target} begins empty: what was there is not in the backup.`);
    const subpath = subpathAt(inspect, target, inspects);
    if (!held && subpath !== undefined) folders.push({ volume: known, folder: subpath });
    return {
      Type: 'volume',
      Source: known,
      Target: target,
      ReadOnly: readOnly,
      VolumeOptions: { NoCopy: held, ...(subpath === undefined ? {} : { Subpath: subpath }) },
    };
  };
  const mounts: unknown[] = [];
  for (const mount of Mounts) {
    const { Type, Source, Destination: target, RW } = mount;
    if (Type === 'volume' || (Type as string) === 'cluster') {
      mounts.push(volumeAt(mount.Name ?? Source, target, !RW));
    } else if (Type === 'bind' && manifest.volumes.some(({ name }) => name === Source)) {
      mounts.push(volumeAt(Source, target, !RW));
    } else if (Type === 'bind') {
      const fact = around.binds.get(Source) ?? { is: 'missing' };
      const why = whyNot(Source, fact, around.engineFolder);
      if (why !== undefined) {
        notices.push(`${service} is tried without ${Source}: ${why}.`);
        continue;
      }
      if (RW) notices.push(`${service}: ${Source} is read-only, as it is now: it is not in the backup.`);
      mounts.push({
        ...{ Type: 'bind', Source, Target: target, ReadOnly: true },
        // What is mounted below it might be writable there.
        BindOptions: { NonRecursive: true, Propagation: 'rprivate' },
      });
    } else if (Type === 'tmpfs') {
      const options = written.find(({ Target }) => Target === target)?.TmpfsOptions;
      mounts.push({ Type, Target: target, ...(options === undefined ? {} : { TmpfsOptions: options }) });
    } else {
      notices.push(`${service} is tried without what it has at ${target}: a mount of the kind ${Type}.`);
    }
  }
  // The engine would make an anonymous volume for each of these, which carries no label.
  const covered = new Set(
    [
      ...(mounts as { Target: string }[]).map(({ Target }) => Target),
      ...Object.keys((HostConfig.Tmpfs as Record<string, string> | null | undefined) ?? {}),
    ].map((target) => path.posix.normalize(`${target}/`)),
  );
  for (const target of image.volumePaths) {
    if (covered.has(path.posix.normalize(`${target}/`))) continue;
    mounts.push(volumeAt(`${inspect.Id}:${target}`, target, false));
  }
  return mounts;
}

function whyNot(source: string, fact: BindFact, engineFolder: string): string | undefined {
  if (isMachine(path.posix.normalize(source), engineFolder)) return 'it is of the machine';
  switch (fact.is) {
    case 'missing':
      return 'it is not there';
    case 'unreadable':
      return 'it could not be looked through';
    case 'special':
      return 'it is or holds a socket or a device';
    case 'file':
    case 'folder':
      return isMachine(fact.real, engineFolder) ? 'it is of the machine' : undefined;
  }
}

function only(from: Record<string, unknown>, names: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(
    names.flatMap((name) => (from[name] === undefined || from[name] === null ? [] : [[name, from[name]]])),
  );
}
