import { setTimeout } from 'node:timers/promises';
import type Docker from 'dockerode';
import { messageOf, SafeUpdateError } from '../model/error.ts';
import type { HostPort } from '../model/ports.ts';

export type ContainerInspect = Docker.ContainerInspectInfo;
export type NetworkInspect = Docker.NetworkInspectInfo;

/** With the pauses between them 3 s: networks of others are made in less. */
const networkAttempts = 6;

export interface EngineFacts {
  /** The engine's own id: two endpoints with the same id are one engine. */
  id: string;
  /** The name of its machine. */
  host: string;
  version: string;
  apiVersion: string;
  /** Where it keeps volumes and images, on its own host. */
  rootDirectory: string;
}

export interface ImageFacts {
  id: string;
  tags: string[];
  /** repo@sha256:… for each registry the image was pulled from or pushed to. */
  digests: string[];
  /** Paths the image declares with VOLUME. */
  volumePaths: string[];
  labels: Record<string, string>;
  environment: string[];
  entrypoint: string[];
  command: string[];
  /** Milliseconds that its healthcheck gives a container to start; absent: none. */
  startPeriod?: number;
  /** What it was made for: linux/amd64 */
  platform: string;
  /** Bytes on the engine. */
  size: number;
}

export interface VolumeSpec {
  name: string;
  driver: string;
  options: Record<string, string>;
  labels: Record<string, string>;
}

/** A container of any project, as a list has it. */
export interface ListedContainer {
  id: string;
  name: string;
  running: boolean;
  labels: Record<string, string>;
  mounts: { name: string; source: string; path: string; readOnly: boolean }[];
  /** Ports of the host that it serves now. */
  ports: HostPort[];
  /** Names of the networks it is connected to. */
  networks: string[];
}

export interface EngineEvent {
  /** Milliseconds since the epoch, from the engine's clock. */
  at: number;
  action: string;
  containerId: string;
  service: string;
  number: number;
  /** Of `die`. */
  exitCode?: number;
  /** Of `kill`: its number. */
  signal?: number;
}

/** Oldest engine this works with: before API 1.42 `volume prune` takes every unused volume. */
const oldestApiVersion = '1.42';

/** Volumes, networks and containers of test-restores are called so, and nothing else is. */
export const proofPattern = /^safe-update-proof-[0-9a-f]{12}$/;

/** What says that a volume, a network or a container belongs to a test-restore, and to which. */
export const proofLabel = 'safe-update.proof';

/** How a volume is called that holds what another one held before it was filled anew, until that is verified. */
const formerPattern = /^safe-update-former-[0-9a-f]{12}$/;

/** What says so of a volume, and which one it is. */
export const formerLabel = 'safe-update.former';

/**
 * The docker engine, with only the operations a run needs. There is no way through it to remove a user's volume, to
 * remove a container with its volumes, or to prune: promise 1. `removeProofVolume` is the only one that removes a volume,
 * and takes none but those that a test-restore, or a rollback for a copy of its own, has made.
 */
export class Engine {
  readonly #docker: Docker;

  constructor(docker: Docker) {
    this.#docker = docker;
  }

  /** Throws SafeUpdateError `engine` if the engine does not answer or is too old. */
  async facts(): Promise<EngineFacts> {
    const [version, info] = await this.#call('reach the engine', async () =>
      Promise.all([
        this.#docker.version(),
        this.#docker.info() as Promise<{ ID: string; Name: string; DockerRootDir: string }>,
      ]),
    );
    if (compareVersions(version.ApiVersion, oldestApiVersion) < 0) {
      throw new SafeUpdateError('engine', `The docker engine ${version.Version} is too old.`, {
        state: 'Nothing was touched.',
        hint: 'Upgrade to docker 23.0 or newer: older engines can lose named volumes to a plain `volume prune`.',
      });
    }
    return {
      id: info.ID,
      host: info.Name,
      version: version.Version,
      apiVersion: version.ApiVersion,
      rootDirectory: info.DockerRootDir,
    };
  }

  /** Every container of a compose project, running or not, one-off ones included. */
  async projectContainers(project: string): Promise<ContainerInspect[]> {
    const listed = await this.#call('list containers', () =>
      this.#docker.listContainers({
        all: true,
        filters: { label: [`com.docker.compose.project=${project}`] },
      }),
    );
    const inspected = await Promise.all(listed.map(({ Id }) => this.container(Id)));
    return inspected.filter((container) => container !== null);
  }

  /** Every container on the engine. */
  async allContainers(): Promise<ListedContainer[]> {
    const listed = await this.#call('list containers', () => this.#docker.listContainers({ all: true }));
    return listed.map((container) => ({
      id: container.Id,
      name: (container.Names[0] ?? container.Id).replace(/^\//, ''),
      running: container.State === 'running' || container.State === 'restarting',
      labels: container.Labels,
      mounts: container.Mounts.map((mount) => ({
        name: mount.Name ?? '',
        source: mount.Source,
        path: mount.Destination,
        readOnly: !mount.RW,
      })),
      ports: container.Ports.flatMap(({ IP, PublicPort, Type }) =>
        (PublicPort as number | undefined) === undefined
          ? []
          : [{ ip: orElse(IP as string | undefined, ''), port: PublicPort, protocol: Type }],
      ),
      networks: Object.keys(orElse<Record<string, unknown>>(container.NetworkSettings.Networks, {})),
    }));
  }

  /** Ids and states of the containers with a label `name=value`. */
  async containersLabelled(label: string): Promise<{ id: string; labels: Record<string, string> }[]> {
    const listed = await this.#call('list containers', () =>
      this.#docker.listContainers({ all: true, filters: { label: [label] } }),
    );
    return listed.map(({ Id, Labels }) => ({ id: Id, labels: Labels }));
  }

  /** By id or name; null if there is none. */
  async container(idOrName: string): Promise<ContainerInspect | null> {
    return this.#orNull('inspect a container', () => this.#docker.getContainer(idOrName).inspect());
  }

  /** By id or name; null if there is none. */
  async image(idOrName: string): Promise<ImageFacts | null> {
    const image = await this.#orNull('inspect an image', () => this.#docker.getImage(idOrName).inspect());
    if (image === null) return null;
    const config = (image as { Config?: Partial<Docker.ImageInspectInfo['Config']> }).Config ?? {};
    return {
      id: image.Id,
      tags: orElse(image.RepoTags, []),
      digests: orElse(image.RepoDigests, []),
      volumePaths: Object.keys((config.Volumes as Record<string, unknown> | null | undefined) ?? {}),
      labels: orElse(config.Labels as Record<string, string> | null | undefined, {}),
      environment: (config.Env as string[] | null | undefined) ?? [],
      entrypoint: words(config.Entrypoint),
      command: words(config.Cmd),
      ...startPeriodOf(config),
      platform: `${image.Os}/${image.Architecture}`,
      size: image.Size,
    };
  }

  /** Gives an image a further name. `name` is repository:tag. */
  async tag(imageId: string, name: string): Promise<void> {
    const { repository, tag } = splitImageName(name);
    await this.#call(`tag ${imageId} as ${name}`, () =>
      this.#docker.getImage(imageId).tag({ repo: repository, tag }),
    );
  }

  /** Every image that has a tag in this repository. */
  async tagsIn(repository: string): Promise<{ name: string; imageId: string }[]> {
    const images = await this.#call('list images', () =>
      this.#docker.listImages({ filters: { reference: [repository] } }),
    );
    return images.flatMap((image) =>
      ((image.RepoTags as string[] | null | undefined) ?? [])
        .filter((name) => name.startsWith(`${repository}:`))
        .map((name) => ({ name, imageId: image.Id })),
    );
  }

  /**
   * Takes a name away from an image. The engine deletes an image with its last name, so this is for names that
   * safe-update gave. Nothing happens when there is no such name, or when a container still needs the image.
   */
  async untag(name: string): Promise<void> {
    try {
      await this.#docker.getImage(name).remove({ force: false, noprune: true });
    } catch (error) {
      if (statusOf(error) !== 404 && statusOf(error) !== 409) throw this.#failed(`untag ${name}`, error);
    }
  }

  async volume(name: string): Promise<VolumeSpec | null> {
    const volume = await this.#inspectVolume(name);
    if (volume === null) return null;
    return {
      name: volume.Name,
      driver: volume.Driver,
      options: volume.Options ?? {},
      labels: orElse(volume.Labels, {}),
    };
  }

  #inspectVolume(name: string): Promise<Docker.VolumeInspectInfo | null> {
    return this.#orNull('inspect a volume', () => this.#docker.getVolume(name).inspect());
  }

  /** When a volume was made, in milliseconds since the epoch by the engine's clock; undefined if the engine does not say. */
  async volumeMadeAt(name: string): Promise<number | undefined> {
    const volume = await this.#inspectVolume(name);
    const at = Date.parse((volume as { CreatedAt?: string } | null)?.CreatedAt ?? '');
    return Number.isNaN(at) ? undefined : at;
  }

  projectVolumes(project: string): Promise<VolumeSpec[]> {
    return this.#volumes({ filters: JSON.stringify({ label: [`com.docker.compose.project=${project}`] }) });
  }

  allVolumes(): Promise<VolumeSpec[]> {
    return this.#volumes({});
  }

  async #volumes(options: Docker.VolumeListOptions): Promise<VolumeSpec[]> {
    const { Volumes } = await this.#call('list volumes', () => this.#docker.listVolumes(options));
    return orElse(Volumes, []).map((volume) => ({
      name: volume.Name,
      driver: volume.Driver,
      options: volume.Options ?? {},
      labels: orElse(volume.Labels, {}),
    }));
  }

  /** Names of every network on the engine. */
  async networkNames(): Promise<Set<string>> {
    const listed = await this.#call('list networks', () => this.#docker.listNetworks());
    return new Set(listed.map(({ Name }) => Name));
  }

  /** Bytes each volume of the engine takes, as `docker system df -v` counts them. Slow where there is much data. */
  async volumeSizes(): Promise<Map<string, number>> {
    // dockerode's types do not know the option that keeps the engine from measuring images and containers too.
    const df = this.#docker.df.bind(this.#docker) as unknown as (options: {
      type: string;
    }) => Promise<unknown>;
    const usage = (await this.#call('measure volumes', () => df({ type: 'volume' }))) as {
      Volumes?: { Name: string; UsageData?: { Size: number } }[] | null;
    };
    return new Map((usage.Volumes ?? []).map(({ Name, UsageData }) => [Name, UsageData?.Size ?? 0]));
  }

  /** Makes a volume. One that exists with this name is left as it is. */
  async createVolume(volume: VolumeSpec): Promise<void> {
    await this.#call(`create the volume ${volume.name}`, () =>
      this.#docker.createVolume({
        Name: volume.name,
        Driver: volume.driver,
        DriverOpts: volume.options,
        Labels: volume.labels,
      }),
    );
  }

  /** Names of the volumes with a label, `name` or `name=value`. */
  async volumesLabelled(label: string): Promise<VolumeSpec[]> {
    const { Volumes } = await this.#call('list volumes', () =>
      this.#docker.listVolumes({ filters: JSON.stringify({ label: [label] }) }),
    );
    return ((Volumes as typeof Volumes | null) ?? []).map((volume) => ({
      name: volume.Name,
      driver: volume.Driver,
      options: volume.Options ?? {},
      labels: orElse(volume.Labels, {}),
    }));
  }

  /**
   * Removes a volume that the test-restore `proof` has made, or a copy that a rollback has set aside, and throws for any
   * other: its name must begin with the maker's own name, of which 48 bits are random or a checksum, and the engine must
   * say, now, that it carries the label with that name and is an ordinary volume. Never by force, and the engine itself
   * refuses while a container uses it.
   */
  async removeProofVolume(name: string, proof: string): Promise<void> {
    const about = `remove the volume ${name}: it was not made by the test-restore ${proof}`;
    const isFormer = formerPattern.test(proof);
    if (
      !(proofPattern.test(proof) || isFormer) ||
      !/^_[0-9]+$/.test(name.slice(proof.length)) ||
      !name.startsWith(proof)
    )
      throw new Error(`safe-update will not ${about}`);
    const volume = await this.volume(name);
    if (volume === null) return;
    const own =
      volume.name === name &&
      volume.labels[isFormer ? formerLabel : proofLabel] === proof &&
      volume.driver === 'local' &&
      Object.keys(volume.options).length === 0;
    if (!own) throw new Error(`safe-update will not ${about}`);
    await this.#call(
      `remove the volume ${name}`,
      () => this.#docker.getVolume(name).remove({ force: false }) as Promise<void>,
    );
  }

  /** Networks with a label, `name` or `name=value`. */
  async networksLabelled(label: string): Promise<{ name: string; labels: Record<string, string> }[]> {
    const listed = await this.#call('list networks', () =>
      this.#docker.listNetworks({ filters: { label: [label] } }),
    );
    return listed.map(({ Name, Labels }) => ({ name: Name, labels: orElse(Labels, {}) }));
  }

  async projectNetworks(project: string): Promise<NetworkInspect[]> {
    const listed = await this.#call('list networks', () =>
      this.#docker.listNetworks({ filters: { label: [`com.docker.compose.project=${project}`] } }),
    );
    return Promise.all(
      listed.map(async ({ Id }) => this.#call('inspect a network', () => this.networkById(Id))),
    );
  }

  /** Null if there is none, or more than one of that name. */
  async network(name: string): Promise<NetworkInspect | null> {
    return this.#orNull('inspect a network', () => this.networkById(name));
  }

  private networkById(id: string): Promise<NetworkInspect> {
    return this.#docker.getNetwork(id).inspect();
  }

  /** Two that are made at once can be given the same addresses, and one of them fails. Then it is asked for again. */
  async createNetwork(options: Docker.NetworkCreateOptions): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        await this.#docker.createNetwork(options);
        return;
      } catch (error) {
        if (attempt === networkAttempts || !isAddressConflict(error))
          throw this.#failed(`create the network ${options.Name}`, error);
        await setTimeout(attempt * 200);
      }
    }
  }

  /** Fails if a container is still connected. */
  async removeNetwork(name: string): Promise<void> {
    await this.#call(
      `remove the network ${name}`,
      () => this.#docker.getNetwork(name).remove() as Promise<void>,
    );
  }

  async connect(network: string, containerId: string, endpoint: Docker.EndpointSettings): Promise<void> {
    await this.#call(
      `connect a container to ${network}`,
      () =>
        this.#docker
          .getNetwork(network)
          .connect({ Container: containerId, EndpointConfig: endpoint }) as Promise<void>,
    );
  }

  /** Returns the id. Throws SafeUpdateError `engine`; `isNameTaken` tells a name conflict. */
  async createContainer(options: Docker.ContainerCreateOptions): Promise<string> {
    const container = await this.#call(`create the container ${options.name ?? ''}`, () =>
      this.#docker.createContainer(options),
    );
    return container.id;
  }

  /**
   * Whether there is a file or a folder of this path on the engine's machine, which may be another one than this. The engine
   * looks at a mount before it looks at the image; of this name there is none, so nothing is made.
   */
  async hasPath(path: string): Promise<boolean> {
    try {
      await this.createContainer({
        Image: 'safe-update/none:none',
        HostConfig: { Mounts: [{ Type: 'bind', Source: path, Target: '/path', ReadOnly: true }] },
      });
    } catch (error) {
      if (isNotFound(error)) return true;
      if (messageOf(error).includes('bind source path does not exist')) return false;
      throw error;
    }
    throw new Error('there is an image safe-update/none:none');
  }

  /** Starting a container that runs does nothing. */
  async start(containerId: string): Promise<void> {
    await this.#ignoring304('start a container', () => this.#docker.getContainer(containerId).start());
  }

  /** Stops with the container's own signal and grace period. Stopping one that has stopped does nothing. */
  async stop(containerId: string): Promise<void> {
    await this.#ignoring304('stop a container', () => this.#docker.getContainer(containerId).stop());
  }

  async pause(containerId: string): Promise<void> {
    await this.#ignoring304('pause a container', () => this.#docker.getContainer(containerId).pause());
  }

  /** Removes a container and keeps its volumes, anonymous ones included. One that is gone is gone. */
  async removeContainer(containerId: string): Promise<void> {
    try {
      await this.#docker.getContainer(containerId).remove({ force: true, v: false });
    } catch (error) {
      // 409: "removal is already in progress".
      if (statusOf(error) !== 404 && statusOf(error) !== 409) throw this.#failed('remove a container', error);
    }
  }

  async rename(containerId: string, name: string): Promise<void> {
    await this.#call(
      `rename a container to ${name}`,
      () => this.#docker.getContainer(containerId).rename({ name }) as Promise<void>,
    );
  }

  /** A tar stream of one path inside a container, running or not; null if the path is not there. */
  async readPath(containerId: string, path: string): Promise<NodeJS.ReadableStream | null> {
    return this.#orNull('read a file of a container', () =>
      this.#docker.getContainer(containerId).getArchive({ path }),
    );
  }

  /** Puts a tar stream into a folder inside a container. */
  async writePath(containerId: string, folder: string, tar: NodeJS.ReadableStream | Buffer): Promise<void> {
    await this.#call('write a file of a container', () =>
      this.#docker.getContainer(containerId).putArchive(tar, { path: folder }),
    );
  }

  /**
   * How a project's containers ended and were started, as far as the engine remembers: it keeps some hundred events, of all
   * projects together, and none from before it was started. Oldest first.
   */
  async pastEvents(project: string): Promise<EngineEvent[]> {
    // The engine ends its answer when its own clock has come to `until`, and another machine's may be late.
    const { SystemTime } = await this.#call(
      'reach the engine',
      () => this.#docker.info() as Promise<{ SystemTime: string }>,
    );
    const stream = await this.#call('read past events', () =>
      this.#docker.getEvents({
        since: 1,
        until: Date.parse(SystemTime) / 1000,
        filters: {
          type: ['container'],
          event: ['start', 'kill', 'die', 'stop'],
          label: [`com.docker.compose.project=${project}`],
        },
      }),
    );
    const text: string[] = [];
    for await (const chunk of stream) text.push(String(chunk));
    return text
      .join('')
      .split('\n')
      .filter((line) => line.trim() !== '')
      .map(parseEvent);
  }

  /** What the engine says of a project's containers from now on, until `stop` is called. */
  async watch(project: string): Promise<{ events: EngineEvent[]; stop: () => void }> {
    const stream = await this.#call('watch events', () =>
      this.#docker.getEvents({
        filters: { type: ['container'], label: [`com.docker.compose.project=${project}`] },
      }),
    );
    const events: EngineEvent[] = [];
    let rest = '';
    stream.setEncoding('utf8');
    stream.on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (line.trim() !== '') events.push(parseEvent(line));
      }
    });
    // An engine that restarts ends the stream; downtime is then measured from what was seen.
    stream.on('error', () => undefined);
    return {
      events,
      stop: () => {
        (stream as unknown as { destroy(): void }).destroy();
      },
    };
  }

  async #orNull<T>(what: string, call: () => Promise<T>): Promise<T | null> {
    try {
      return await call();
    } catch (error) {
      if (statusOf(error) === 404) return null;
      throw this.#failed(what, error);
    }
  }

  async #ignoring304(what: string, call: () => Promise<unknown>): Promise<void> {
    try {
      await call();
    } catch (error) {
      if (statusOf(error) !== 304) throw this.#failed(what, error);
    }
  }

  async #call<T>(what: string, call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      throw this.#failed(what, error);
    }
  }

  #failed(what: string, error: unknown): SafeUpdateError {
    if (error instanceof SafeUpdateError) return error;
    const code = (error as { code?: unknown }).code;
    if (code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'EACCES' || code === 'ENOTFOUND') {
      return new SafeUpdateError('engine', `The docker engine cannot be reached: ${messageOf(error)}`, {
        hint:
          code === 'EACCES'
            ? 'Run as root or as a member of the group docker.'
            : 'Start the engine, or check DOCKER_HOST and: docker context ls',
        cause: error,
      });
    }
    const reason = (error as { json?: { message?: string } }).json?.message ?? messageOf(error);
    return new SafeUpdateError('engine', `The engine would not ${what}: ${reason}`, { cause: error });
  }
}

/** The engine says null for an empty list or map where its types promise one. */
export function orElse<T>(value: T | null | undefined, otherwise: T): T {
  return value ?? otherwise;
}

/** What an image says of its program: a list, or one word, or nothing. */
function words(said: string | readonly string[] | null | undefined): string[] {
  return typeof said === 'string' ? [said] : [...(said ?? [])];
}

/** True if creating a container failed because another one has its name: the engine's atomic test-and-set. */
export function isNameTaken(error: unknown): boolean {
  return error instanceof SafeUpdateError && statusOf(error.cause) === 409;
}

/** True if the engine said that what it was asked about is not there. */
export function isNotFound(error: unknown): boolean {
  return error instanceof SafeUpdateError && statusOf(error.cause) === 404;
}

/** True if the addresses that a new network was given are those of another one. */
function isAddressConflict(error: unknown): boolean {
  return /overlapping IPv4|conflicts with network|Pool overlaps with other one/i.test(messageOf(error));
}

function statusOf(error: unknown): number | undefined {
  return (error as { statusCode?: number } | undefined)?.statusCode;
}

function parseEvent(line: string): EngineEvent {
  const event = JSON.parse(line) as {
    Action?: string;
    timeNano?: number;
    Actor?: { ID?: string; Attributes?: Record<string, string> };
  };
  const attributes = event.Actor?.Attributes ?? {};
  const { exitCode, signal } = attributes;
  return {
    at: (event.timeNano ?? 0) / 1e6,
    action: event.Action ?? '',
    containerId: event.Actor?.ID ?? '',
    service: attributes['com.docker.compose.service'] ?? '',
    number: Number(attributes['com.docker.compose.container-number'] ?? '1'),
    ...(exitCode === undefined ? {} : { exitCode: Number(exitCode) }),
    ...(signal === undefined ? {} : { signal: Number(signal) }),
  };
}

/** Given the configuration of a container or an image: the start period of its healthcheck, in milliseconds. Pure. */
export function startPeriodOf(config: object): { startPeriod?: number } {
  const { Healthcheck } = config as { Healthcheck?: { StartPeriod?: number } | null };
  const nanoseconds = Healthcheck?.StartPeriod ?? 0;
  return nanoseconds === 0 ? {} : { startPeriod: nanoseconds / 1e6 };
}

/** registry:5000/shop/app:1.0 → registry:5000/shop/app and 1.0; without a tag: latest. */
export function splitImageName(name: string): { repository: string; tag: string } {
  const withoutDigest = name.replace(/@.*$/, '');
  const colon = withoutDigest.lastIndexOf(':');
  if (colon === -1 || withoutDigest.includes('/', colon)) return { repository: withoutDigest, tag: 'latest' };
  return { repository: withoutDigest.slice(0, colon), tag: withoutDigest.slice(colon + 1) };
}

/** 1.42 against 1.9: negative, zero or positive, part by part. */
export function compareVersions(a: string, b: string): number {
  const left = a.replace(/^v/, '').split(/[.+-]/);
  const right = b.replace(/^v/, '').split(/[.+-]/);
  for (let index = 0; index < Math.max(left.length, right.length); index += 1) {
    const difference = Number.parseInt(left[index] ?? '0', 10) - Number.parseInt(right[index] ?? '0', 10);
    if (difference !== 0 && !Number.isNaN(difference)) return difference;
  }
  return 0;
}
