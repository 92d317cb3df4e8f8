import path from 'node:path';
import type Docker from 'dockerode';
import { messageOf, SafeUpdateError } from '../model/error.ts';
import { unsetVariables, type Configuration, type Container, type Volume } from '../model/project.ts';
import { pullImageArgv } from './argv.ts';
import {
  compareVersions,
  isNotFound,
  type ContainerInspect,
  type Engine,
  type ImageFacts,
  type NetworkInspect,
} from './engine.ts';
import type { Exec } from './exec.ts';
import type { Hooks } from './hooks.ts';
import { readContainer, type Observed } from './observe.ts';

/**
 * A stack as the engine had it: enough to make every container, network and volume again exactly as it was, whatever
 * has become of the compose files since. Secret: environments are in it.
 */
export interface StackRecord extends Pick<
  Observed,
  'project' | 'engine' | 'composeVersion' | 'model' | 'volumes' | 'notCovered'
> {
  takenAt: string;
  /** `docker inspect` of each container, one-off ones left out. */
  containers: ContainerInspect[];
  networks: NetworkInspect[];
  images: RecordedImage[];
  /** The image id that each image name of the compose files stood for; a pull may have moved the name. */
  tags: Record<string, string>;
  /** Ids of the containers that were running. */
  running: string[];
  /** Ids of the containers that were running and not unhealthy: those that must be so again. */
  green: string[];
  /** Ids of one-shots that did not run. Absent in records of older versions. */
  done?: string[];
  /** Ids of those that may end with 0 and be well. Absent in records of older versions. */
  mayEnd?: string[];
  /** Files that compose had copied into containers (inline configs and secrets): no mount holds them. */
  injected: { container: string; folder: string; tarBase64: string }[];
  /** Absent in records that an older version has made. */
  configuration?: Configuration;
  /** Variables of the compose files that had no value; absent likewise. */
  unset?: string[];
}

export interface RecordedImage {
  id: string;
  /** The names that stood for it and that the compose files use. */
  names: string[];
  /** repo@sha256:… by which a registry still has it when every tag has moved on. */
  digests: string[];
}

/** Runs, and is not known to be unhealthy. Pure. */
export function isGreen({ status, health }: Pick<Container, 'status' | 'health'>): boolean {
  return status === 'running' && health !== 'unhealthy';
}

/** Records the stack. Reads only. */
export async function recordStack(engine: Engine, observed: Observed, now: Date): Promise<StackRecord> {
  const containers = observed.containers.flatMap(({ id }) => observed.inspects.get(id) ?? []);
  const images = new Map<string, RecordedImage>();
  const add = (id: string, facts: ImageFacts | null): void => {
    images.set(id, {
      id,
      names: (facts?.tags ?? []).filter((tag) => !tag.startsWith(pinRepository(observed.project.name))),
      digests: facts?.digests ?? [],
    });
  };
  for (const { imageId } of observed.containers)
    if (!images.has(imageId)) add(imageId, await engine.image(imageId));
  const mounted: [name: string, id: string][] = [];
  for (const name of new Set(containers.flatMap(imagesMountedIn))) {
    const facts = await engine.image(name);
    if (facts === null) continue;
    if (!images.has(facts.id)) add(facts.id, facts);
    if (!/@|^sha256:/.test(name)) mounted.push([name, facts.id]);
  }
  return {
    project: observed.project,
    engine: observed.engine,
    composeVersion: observed.composeVersion,
    model: observed.model,
    volumes: observed.volumes,
    notCovered: observed.notCovered,
    takenAt: now.toISOString(),
    containers,
    networks: observed.networks,
    images: [...images.values()],
    tags: Object.fromEntries([
      ...mounted,
      ...[...observed.images].flatMap(([service, image]) => {
        const name = observed.model.services[service]?.image ?? `${observed.project.name}-${service}`;
        return image === null || name.includes('@') ? [] : [[name, image.id] as const];
      }),
    ]),
    running: observed.containers.filter(({ running }) => running).map(({ id }) => id),
    green: observed.containers.filter(isGreen).map(({ id }) => id),
    done: observed.containers.filter(({ isDone }) => isDone === true).map(({ id }) => id),
    mayEnd: observed.containers.filter(({ mayEnd }) => mayEnd === true).map(({ id }) => id),
    injected: await readInjected(engine, observed),
    unset: unsetVariables(observed.warnings),
  };
}

/** Names of images that a container has mounted (`type: image`). */
function imagesMountedIn({ HostConfig }: ContainerInspect): string[] {
  return ((HostConfig.Mounts ?? []) as { Type: string; Source?: string }[]).flatMap(({ Type, Source }) =>
    Type === 'image' && Source !== undefined ? [Source] : [],
  );
}

/** Where the names that keep a running image from becoming nameless are: one repository a project. */
export function pinRepository(project: string): string {
  return `safe-update/pin-${project}`;
}

/**
 * Configs with `content:` or `environment:` and secrets from the environment are copied into the container by
 * compose; creating it again from its record would lose them.
 */
async function readInjected(engine: Engine, observed: Observed): Promise<StackRecord['injected']> {
  const injected: StackRecord['injected'] = [];
  const inline = (objects: Record<string, { file?: string }> | undefined, source: string): boolean => {
    const object = objects?.[source];
    return object !== undefined && object.file === undefined;
  };
  for (const container of observed.containers) {
    const service = observed.model.services[container.service];
    const paths = [
      ...(service?.configs ?? [])
        .filter(({ source }) => inline(observed.model.configs, source))
        .map(({ source, target }) => target ?? `/${source}`),
      ...(service?.secrets ?? [])
        .filter(({ source }) => inline(observed.model.secrets, source))
        .map(({ source, target }) =>
          target?.startsWith('/') === true ? target : `/run/secrets/${target ?? source}`,
        ),
    ];
    for (const path of paths) {
      if (container.mounts.some((mount) => mount.path === path)) continue;
      const stream = await engine.readPath(container.id, path);
      if (stream === null) continue;
      const chunks: Buffer[] = [];
      for await (const chunk of stream) chunks.push(Buffer.from(chunk as Buffer));
      injected.push({
        container: container.id,
        folder: path.slice(0, path.lastIndexOf('/')) || '/',
        tarBase64: Buffer.concat(chunks).toString('base64'),
      });
    }
  }
  return injected;
}

/** A container's dependencies as compose wrote them on its label: service:condition:restart, comma-separated. Pure. */
export function dependenciesOf(
  container: Pick<Container, 'labels'>,
): { service: string; condition: string }[] {
  return (container.labels['com.docker.compose.depends_on'] ?? '')
    .split(',')
    .filter((entry) => entry !== '')
    .map((entry) => {
      const [service = '', condition = 'service_started'] = entry.split(':');
      return { service, condition };
    });
}

/**
 * The services in groups: each needs only services of groups before it. A circle, which compose would not have
 * started, ends up in the last group. Pure.
 */
export function startOrder(containers: readonly Pick<Container, 'service' | 'labels'>[]): string[][] {
  const waiting = new Map<string, Set<string>>();
  for (const { service } of containers) waiting.set(service, new Set());
  for (const container of containers) {
    for (const { service } of dependenciesOf(container)) {
      if (waiting.has(service) && service !== container.service) waiting.get(container.service)?.add(service);
    }
  }
  const groups: string[][] = [];
  while (waiting.size > 0) {
    const free = [...waiting]
      .filter(([, needs]) => [...needs].every((need) => !waiting.has(need)))
      .map(([name]) => name);
    const group = (free.length > 0 ? free : [...waiting.keys()]).sort();
    groups.push(group);
    for (const service of group) waiting.delete(service);
  }
  return groups;
}

/** Stops containers, those that need others first. Ones that have stopped are left alone. */
export async function stopContainers(
  engine: Engine,
  containers: readonly Container[],
  hooks?: Pick<Hooks, 'beforeStop'>,
): Promise<void> {
  for (const group of startOrder(containers).reverse()) {
    const members = containers.filter(({ service }) => group.includes(service));
    await Promise.all(
      members.map(async (container) => {
        if (container.status === 'running') await hooks?.beforeStop(container, container.id);
        await engine.stop(container.id);
      }),
    );
  }
}

/**
 * On a container that was made again after it had exited: with which code. The engine says of it that it has never run,
 * so without this a one-shot that has done its work could not be told from a service that was never started.
 */
export const exitedLabel = 'safe-update.exited';

/** Recorded id → id now, for every container of the record. */
export type Recreated = Map<string, string>;

/**
 * Makes the project's containers, networks and volumes what the record says: removes containers that are newer than
 * the record, creates those that are gone, from the engine's own description of them, under their old names, on the
 * image ids they ran and with the volumes they had, anonymous ones by name. Starts nothing. Idempotent.
 *
 * Every project container must have been stopped before. Throws SafeUpdateError `engine` when an image is gone and
 * cannot be pulled by digest either; nothing has been removed then.
 */
export async function restoreContainers(engine: Engine, exec: Exec, record: StackRecord): Promise<Recreated> {
  await restoreImages(engine, exec, record);
  const recorded = new Set(record.containers.map(({ Id }) => Id));
  for (const inspect of await engine.projectContainers(record.project.name)) {
    if (recorded.has(inspect.Id) || readContainer(inspect).oneOff) continue;
    await engine.removeContainer(inspect.Id);
  }
  for (const volume of record.volumes.filter(onEngine)) await engine.createVolume(volume);
  await restoreNetworks(engine, record);

  const { apiVersion } = await engine.facts();
  const recreated: Recreated = new Map();
  for (const inspect of lendersFirst(record.containers)) {
    const existing = await engine.container(inspect.Id);
    const name = inspect.Name.replace(/^\//, '');
    const lenderIsNew = lendersOf(inspect).some((id) => (recreated.get(id) ?? id) !== id);
    if (existing !== null && lenderIsNew) await engine.removeContainer(inspect.Id);
    else if (existing !== null) {
      recreated.set(inspect.Id, inspect.Id);
      // A killed recreation leaves the old container under a prefixed name (compose#10460).
      if (existing.Name !== inspect.Name) await engine.rename(inspect.Id, name);
      continue;
    }
    const named = await engine.image(inspect.Config.Image);
    const image = named?.id === inspect.Image ? inspect.Config.Image : inspect.Image;
    const { options, connections } = creation(inspect, image, recreated, apiVersion, record.containers);
    if (inspect.State.Status === 'exited')
      options.Labels = { ...options.Labels, [exitedLabel]: String(inspect.State.ExitCode) };
    const id = await engine.createContainer(options);
    for (const { network, endpoint } of connections) await engine.connect(network, id, endpoint);
    for (const file of record.injected.filter(({ container }) => container === inspect.Id)) {
      await writeInto(engine, id, file.folder, Buffer.from(file.tarBase64, 'base64'));
    }
    recreated.set(inspect.Id, id);
  }
  return recreated;
}

/** Puts a tar into a folder of a container. Folders on the way that the image has not are made, as compose does. */
export async function writeInto(
  engine: Engine,
  containerId: string,
  folder: string,
  tar: Buffer,
): Promise<void> {
  try {
    await engine.writePath(containerId, folder, tar);
  } catch (error) {
    if (!isNotFound(error) || folder === '/') throw error;
    await writeInto(
      engine,
      containerId,
      path.posix.dirname(folder),
      tarOfFolder(path.posix.basename(folder)),
    );
    await engine.writePath(containerId, folder, tar);
  }
}

/** A tar archive (ustar) of one empty folder that belongs to root and that everybody may read. Pure. */
function tarOfFolder(name: string): Buffer {
  const header = Buffer.alloc(512);
  header.write(`${name}/`, 0);
  const numbers = ['0000755', '0000000', '0000000', '00000000000', '00000000000'];
  header.write(numbers.map((octal) => `${octal}\0`).join(''), 100);
  header.write('        5', 148);
  header.write('ustar\x0000', 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return Buffer.concat([header, Buffer.alloc(1024)]);
}

/** A volume that the engine keeps, and had when it was recorded. */
export function onEngine({ kind, exists }: Pick<Volume, 'kind' | 'exists'>): boolean {
  return kind !== 'bind' && exists;
}

/** Gives the names in the compose files back to the images they stood for. An image's other names are not ours to move. */
export async function restoreImages(engine: Engine, exec: Exec, record: StackRecord): Promise<void> {
  for (const image of record.images) {
    if ((await engine.image(image.id)) === null) await pullByDigest(engine, exec, image);
  }
  for (const [name, id] of Object.entries(record.tags)) {
    if ((await engine.image(name))?.id !== id && (await engine.image(id)) !== null)
      await engine.tag(id, name);
  }
}

async function pullByDigest(engine: Engine, exec: Exec, image: RecordedImage): Promise<void> {
  for (const digest of image.digests) {
    await exec.run({ argv: pullImageArgv(digest), timeout: 600_000 });
    if ((await engine.image(image.id)) !== null) return;
  }
  throw new SafeUpdateError(
    'engine',
    `The former image ${image.names[0] ?? image.id} (${image.id.slice(7, 19)}) is gone from the engine.`,
    {
      hint: 'Load or pull it again (docker load, docker pull), then run: safe-update recover',
    },
  );
}

/** Compose recreates a network whose definition changed; what differs from the record is made again. */
async function restoreNetworks(engine: Engine, record: StackRecord): Promise<void> {
  for (const network of record.networks) {
    const present = await engine.network(network.Name);
    if (present !== null && sameNetwork(present, network)) continue;
    try {
      if (present !== null) await engine.removeNetwork(network.Name);
      await engine.createNetwork({
        Name: network.Name,
        Driver: network.Driver,
        Internal: network.Internal,
        Attachable: network.Attachable,
        ...('EnableIPv4' in network ? { EnableIPv4: network.EnableIPv4 as boolean } : {}),
        EnableIPv6: network.EnableIPv6,
        ...(network.ConfigFrom?.Network ? { ConfigFrom: network.ConfigFrom } : {}),
        ...(network.ConfigOnly ? { ConfigOnly: true } : {}),
        ...(network.IPAM === undefined ? {} : { IPAM: network.IPAM }),
        Options: network.Options ?? {},
        Labels: network.Labels ?? {},
      });
    } catch (error) {
      throw new SafeUpdateError(
        'engine',
        `The network ${network.Name} could not be made as it was: ${messageOf(error)}`,
        {
          hint: `See who uses it: docker network inspect ${network.Name}`,
          cause: error,
        },
      );
    }
  }
}

function sameNetwork(a: NetworkInspect, b: NetworkInspect): boolean {
  const essence = (network: NetworkInspect): string =>
    JSON.stringify([
      network.Driver,
      network.Internal,
      network.Attachable,
      (network as { EnableIPv4?: boolean }).EnableIPv4 ?? true,
      network.EnableIPv6,
      network.Options ?? {},
      network.Labels?.['com.docker.compose.config-hash'] ?? '',
      network.IPAM?.Driver ?? '',
    ]);
  return a.Id === b.Id || essence(a) === essence(b);
}

/** The containers whose network, ipc or pid namespace or whose volumes this one uses: it names them by id. */
function lendersOf({ HostConfig }: ContainerInspect): string[] {
  const namespaces = [HostConfig.NetworkMode, HostConfig.IpcMode, HostConfig.PidMode];
  return [
    ...namespaces.flatMap((mode) =>
      mode?.startsWith('container:') === true ? [mode.slice('container:'.length)] : [],
    ),
    ...((HostConfig.VolumesFrom as string[] | null | undefined) ?? []).map((entry) =>
      entry.replace(/:.*$/, ''),
    ),
  ];
}

/** Those whose namespaces or volumes others use come before these. Pure. */
export function lendersFirst(containers: readonly ContainerInspect[]): ContainerInspect[] {
  const sorted: ContainerInspect[] = [];
  let waiting = [...containers];
  while (waiting.length > 0) {
    const ids = new Set(waiting.map(({ Id }) => Id));
    const free = waiting.filter((container) => !lendersOf(container).some((id) => ids.has(id)));
    const next = free.length > 0 ? free : waiting;
    sorted.push(...next);
    waiting = waiting.filter((container) => !next.includes(container));
  }
  return sorted;
}

/** Paths of a container that have an anonymous volume: it is given back by name, whatever asked for it. Pure. */
export function anonymousTargets({
  HostConfig,
  Mounts,
}: Pick<ContainerInspect, 'HostConfig' | 'Mounts'>): Set<string> {
  const named = new Set([
    ...(HostConfig.Binds ?? []).map((bind) => bind.split(':')[1] ?? ''),
    ...((HostConfig.Mounts ?? []) as { Source?: string; Target: string }[])
      .filter(({ Source }) => Source !== undefined && Source !== '')
      .map(({ Target }) => Target),
  ]);
  return new Set(
    Mounts.filter(
      ({ Type, Name, Destination }) => Type === 'volume' && Name !== undefined && !named.has(Destination),
    ).map(({ Destination }) => Destination),
  );
}

/**
 * The MAC address of a container in a network, where it is to be given back; undefined where it has none, as one that does
 * not run, or where the engine has made it from an address of its own choice (as it did before version 28): the next
 * container that is given that address would have the same. Pure.
 */
export function chosenMac(
  { NetworkSettings }: Pick<ContainerInspect, 'NetworkSettings'>,
  network: string,
): string | undefined {
  const endpoints = NetworkSettings.Networks as Docker.EndpointsConfig | null;
  const { MacAddress: mac = '', IPAddress: address = '', IPAMConfig: asked } = endpoints?.[network] ?? {};
  if (mac === '') return undefined;
  const bytes = address.split('.').map((part) => Number(part).toString(16).padStart(2, '0'));
  const isMade = mac.toLowerCase() === `02:42:${bytes.join(':')}` && (asked?.IPv4Address ?? '') === '';
  return isMade ? undefined : mac;
}

/**
 * What to give the engine to get a container like this one again. Pure.
 *
 * `docker inspect` shows what a container was created with, plus what the engine filled in; the latter must not be
 * given back: the host name made from the old id, addresses the engine chose. MAC addresses are. Anonymous volumes
 * are named, so that the new container has the same ones. `apiVersion`: the engine's, which decides how networks are joined.
 * What it has from another container (`others`) it gets from there again: only that one knows which folder of a volume it is.
 */
export function creation(
  inspect: ContainerInspect,
  image: string,
  recreated: Recreated,
  apiVersion = '1.42',
  others: readonly ContainerInspect[] = [],
): {
  options: Docker.ContainerCreateOptions;
  connections: { network: string; endpoint: Docker.EndpointSettings }[];
} {
  const { Config, HostConfig } = inspect;
  const shortId = inspect.Id.slice(0, 12);
  const namespace = (mode: string | undefined): string | undefined => {
    const id = /^container:(.+)$/.exec(mode ?? '')?.[1];
    return id === undefined ? mode : `container:${recreated.get(id) ?? id}`;
  };
  const networkMode = namespace(HostConfig.NetworkMode) ?? 'default';
  const volumesFrom = HostConfig.VolumesFrom as string[] | null | undefined;
  const sharesNetwork = networkMode === 'host' || networkMode.startsWith('container:');

  const targets = anonymousTargets(inspect);
  const lenders = lendersOf(inspect);
  const lent = others
    .filter(({ Id, Name }) => lenders.includes(Id) || lenders.includes(Name.replace(/^\//, '')))
    .flatMap(({ Mounts }) => Mounts);
  const anonymous = inspect.Mounts.filter(
    (mount) =>
      targets.has(mount.Destination) &&
      !lent.some(({ Name, Destination }) => Name === mount.Name && Destination === mount.Destination),
  );
  const mounts = ((HostConfig.Mounts ?? []) as unknown as { Target: string }[]).filter(
    ({ Target }) => !targets.has(Target),
  );

  const { Hostname, Domainname, ExposedPorts, MacAddress, ...config } = Config as typeof Config & {
    MacAddress?: string;
  };
  const mainMac = MacAddress === '' || sharesNetwork ? undefined : MacAddress;
  const options = {
    ...config,
    // Engines before API 1.44 read it here, later ones in the endpoint.
    ...(mainMac === undefined ? {} : { MacAddress: mainMac }),
    name: inspect.Name.replace(/^\//, ''),
    Image: image,
    ...(sharesNetwork || Hostname === shortId ? {} : { Hostname }),
    ...(sharesNetwork ? {} : { Domainname }),
    ...(sharesNetwork ? {} : { ExposedPorts }),
    HostConfig: {
      ...HostConfig,
      NetworkMode: networkMode,
      ...(HostConfig.IpcMode === undefined ? {} : { IpcMode: namespace(HostConfig.IpcMode) }),
      ...(HostConfig.PidMode === undefined ? {} : { PidMode: namespace(HostConfig.PidMode) }),
      ...(volumesFrom == null
        ? {}
        : {
            VolumesFrom: volumesFrom.map((entry) => entry.replace(/^[^:]+/, (id) => recreated.get(id) ?? id)),
          }),
      Mounts: [
        ...mounts,
        ...anonymous.map((mount) => ({
          Type: 'volume',
          Source: mount.Name,
          Target: mount.Destination,
          ReadOnly: !mount.RW,
          VolumeOptions: { NoCopy: true },
        })),
      ],
    },
  } as unknown as Docker.ContainerCreateOptions;

  const macOf = (network: string): { MacAddress?: string } => {
    const mac = chosenMac(inspect, network);
    return mac === undefined ? {} : { MacAddress: mac };
  };
  const networks = Object.entries((inspect.NetworkSettings.Networks as Docker.EndpointsConfig | null) ?? {});
  const endpoints =
    sharesNetwork || networkMode === 'none'
      ? []
      : networks.map(([network, endpoint]) => ({
          network,
          endpoint: {
            ...(endpoint.IPAMConfig == null ? {} : { IPAMConfig: endpoint.IPAMConfig }),
            ...(endpoint.Links == null ? {} : { Links: endpoint.Links }),
            ...(endpoint.DriverOpts == null ? {} : { DriverOpts: endpoint.DriverOpts }),
            // Which network's gateway is the way out; dockerode's types do not know it.
            ...('GwPriority' in endpoint && endpoint.GwPriority !== 0
              ? { GwPriority: endpoint.GwPriority }
              : {}),
            Aliases: (endpoint.Aliases ?? []).filter((alias) => alias !== shortId),
            ...macOf(network),
          } satisfies Docker.EndpointSettings,
        }));
  const first = endpoints.find(({ network }) => network === networkMode) ?? endpoints[0];
  // One that did not run has no address in any network; what was asked for is known of the first one only.
  if (first !== undefined && mainMac !== undefined)
    first.endpoint = { ...first.endpoint, MacAddress: mainMac };
  // Engines before API 1.44 take one network at creation, later ones all of them. They forget the MAC address of one that a
  // container is connected to before it runs.
  const atOnce =
    compareVersions(apiVersion, '1.44') >= 0 ? endpoints : endpoints.filter((each) => each === first);
  if (atOnce.length > 0)
    options.NetworkingConfig = {
      EndpointsConfig: Object.fromEntries(atOnce.map(({ network, endpoint }) => [network, endpoint])),
    };
  return { options, connections: endpoints.filter((endpoint) => !atOnce.includes(endpoint)) };
}

export interface StartOptions {
  /** Milliseconds to wait for a dependency to become healthy before its dependents start anyway. */
  dependencyTimeout: number;
  sleep(milliseconds: number): Promise<void>;
  now(): number;
  /** What compose would run inside of those that it starts. */
  hooks?: Pick<Hooks, 'followsStart' | 'afterStart'>;
}

/**
 * Starts the containers that ran when the record was made, dependencies first. What was stopped stays stopped, and a
 * one-shot that had done its work does not do it again.
 */
export async function startRecorded(
  engine: Engine,
  record: StackRecord,
  recreated: Recreated,
  options: StartOptions,
): Promise<void> {
  const containers = record.containers.map(readContainer);
  const toStart = containers.filter(({ id }) => record.running.includes(id));
  for (const group of startOrder(toStart)) {
    const members = toStart.filter(({ service }) => group.includes(service));
    const awaited = members.flatMap((container) =>
      dependenciesOf(container)
        .filter(({ condition }) => condition === 'service_healthy')
        .map(({ service }) => service),
    );
    const dependencies = toStart.filter(
      ({ service, id }) => awaited.includes(service) && record.green.includes(id),
    );
    const from = options.now();
    for (const { id, startPeriod = 0 } of dependencies) {
      const deadline = from + Math.max(options.dependencyTimeout, startPeriod);
      for (;;) {
        const inspect = await engine.container(recreated.get(id) ?? id);
        const health = inspect?.State.Health?.Status;
        if (inspect === null || health === undefined || health === 'healthy' || options.now() > deadline)
          break;
        await options.sleep(200);
      }
    }
    await Promise.all(
      members.map(async (container) => {
        const id = recreated.get(container.id) ?? container.id;
        const follows = options.hooks?.followsStart(container.service) === true;
        const ran = follows && (await engine.container(id))?.State.Running === true;
        await engine.start(id);
        if (!follows || ran) return;
        try {
          await options.hooks?.afterStart(container, id);
        } catch (error) {
          // Whoever tries again would take it for one that was started as a whole.
          await engine.stop(id);
          throw error;
        }
      }),
    );
  }
}
