import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import path from 'node:path';
import { isInMemory } from '../model/driver-options.ts';
import { SafeUpdateError } from '../model/error.ts';
import type { HostPort } from '../model/ports.ts';
import type {
  ComposeModel,
  Container,
  Mount,
  Project,
  ServedPath,
  Uncovered,
  Volume,
} from '../model/project.ts';
import { absentContainers } from './absent.ts';
import type { Compose } from './compose.ts';
import {
  orElse,
  startPeriodOf,
  type ContainerInspect,
  type Engine,
  type EngineEvent,
  type EngineFacts,
  type ImageFacts,
  type ListedContainer,
  type NetworkInspect,
} from './engine.ts';
import { resolvedReferences } from './references.ts';

/** Everything a plan is made of. Read once; a plan is a pure function of it. */
export interface Observed {
  project: Project;
  engine: EngineFacts;
  composeVersion: string;
  model: ComposeModel;
  /** What compose warned about while it rendered the model. */
  warnings: string[];
  /** Config hash of each service as the files have it now. */
  hashes: Map<string, string>;
  /** Services that compose would start by itself: no profile, or an active one. */
  activeServices: string[];
  /** The project's containers; one-off ones (`docker compose run`) are in `oneOffs`. */
  containers: Container[];
  oneOffs: Container[];
  /** What the containers of services would be that have none; see absentContainers. */
  absent: Container[];
  inspects: Map<string, ContainerInspect>;
  networks: NetworkInspect[];
  volumes: Volume[];
  notCovered: Uncovered[];
  /** The image each service's name stands for now; null where the engine has none. */
  images: Map<string, ImageFacts | null>;
  /** Other projects that are this one under another name: started in this folder, or in one that has been moved here. */
  namesakes: { name: string; directory: string }[];
  /** Containers of other projects, or of none, that mount a volume of this one. */
  foreign: { volume: string; container: string; project: string; running: boolean; readOnly: boolean }[];
  /** Ports of the host that containers of any project serve now. */
  servedPorts: ServedPort[];
  /** What the configuration says of services: whether they do their work and end. */
  oneShots?: ReadonlyMap<string, boolean>;
}

/** A port of the host, and who serves it. */
export interface ServedPort extends HostPort {
  container: string;
  /** Empty: of none. */
  project: string;
  service: string;
}

/** Why a folder of the host is in no backup: nobody has said that it should be. */
export const bindMountReason = 'a bind mount';
/** Why a socket of the host is in no backup: there is nothing in it. */
export const socketReason = 'a socket';
/** As with a socket. */
export const deviceReason = 'a device';
/** Why a file of the host that is mounted by itself is in no backup: an archive is of a folder. */
export const fileReason = 'a single file';

/** Whether what is mounted there can hold data at all. Pure. */
export function holdsNoData({ reason }: Pick<Uncovered, 'reason'>): boolean {
  return reason === socketReason || reason === deviceReason;
}

/** What a volume's class is told by. */
export interface ClassifiedBy {
  name: string;
  /** Its key in the compose files. */
  key?: string;
  /** The volume's own labels, as the files have them before what the engine has. */
  labels: Record<string, string>;
  /** The labels of each service that mounts it. */
  services: Record<string, string>[];
}

export interface ObserveOptions {
  /**
   * Given a container and one of its bind mounts: is the folder covered like a volume? True for a database's files
   * and for what the configuration names. Absolute paths of the project's folder and of the mount's source.
   */
  coversBind(container: Container, mount: Mount, project: Project): boolean | Promise<boolean>;
  /** Why a bind mount that services write to is not covered: one of the reasons above. Given its path on the host. */
  whyUncovered(source: string): string | Promise<string>;
  /** What a volume holds, whether it is left out of backups, and what its labels say besides. */
  classify(about: ClassifiedBy): Pick<Volume, 'class' | 'assumed' | 'leftOut' | 'schedule'>;
  /**
   * True: the compose files are not read, because they may be the very thing that is wrong; the model has no services
   * and only what the engine itself knows is observed. Needs a project name.
   */
  engineOnly?: boolean;
}

/**
 * Reads the project: rendered model, containers, images, volumes and networks. Read-only.
 *
 * Volumes are found by mount and by label, and only then by model: `docker compose config` leaves out the volumes of
 * inactive profiles and knows no anonymous ones.
 */
export async function observe(
  engine: Engine,
  compose: Compose,
  unresolved: Omit<Project, 'name'> & { name?: string },
  options: ObserveOptions,
): Promise<Observed> {
  const engineOnly = options.engineOnly === true;
  // Asked for at once, as each compose command takes a while; `model` says what is wrong with the files.
  const early = engineOnly
    ? Promise.resolve(new Map<string, string>())
    : compose.hashes(unresolved).catch(() => undefined);
  const [facts, composeVersion, first] = await Promise.all([
    engine.facts(),
    compose.version(),
    engineOnly && unresolved.name !== undefined
      ? { model: { name: unresolved.name, services: {} }, warnings: [] }
      : compose.model(unresolved),
  ]);
  const { warnings } = first;
  let { model } = first;
  let project: Project = { ...unresolved, name: unresolved.name ?? model.name };
  const activeServices = Object.keys(model.services);

  const [inspects, events] = await Promise.all([
    engine.projectContainers(project.name),
    engine.pastEvents(project.name),
  ]);
  const everyContainer = readContainers(inspects)
    .map((container) => withPast(container, events))
    .sort(byServiceAndNumber);
  const containers = everyContainer.filter((container) => !container.oneOff);

  // A container whose service is not active was started with a profile: from here on the profile is active too, so
  // that the service means the same in every command. Only named services are ever acted on.
  const unknown = new Set(containers.map((c) => c.service).filter((service) => !(service in model.services)));
  if (unknown.size > 0 && !engineOnly) {
    for (const profile of await compose.profiles(project)) {
      if (project.profiles.includes(profile)) continue;
      const candidate = { ...project, profiles: [...project.profiles, profile] };
      const rendered = await compose.model(candidate).catch(() => null);
      if (rendered === null) continue;
      if (![...unknown].some((service) => service in rendered.model.services && !(service in model.services)))
        continue;
      project = candidate;
      ({ model } = rendered);
    }
  }

  const more = resolvedReferences(model, containers);
  const final = more === undefined && project.profiles === unresolved.profiles;
  const [hashes, labelled, networks, everyone] = await Promise.all([
    (final ? await early : undefined) ?? compose.hashes(project, more),
    engine.projectVolumes(project.name),
    engine.projectNetworks(project.name),
    engine.allContainers(),
  ]);
  const images = new Map<string, ImageFacts | null>();
  for (const [service, { image }] of Object.entries(model.services)) {
    images.set(service, await engine.image(image ?? `${project.name}-${service}`));
  }

  const whole: ComposeModel = engineOnly
    ? model
    : await withEveryProfile(compose, project, model, containers);
  const imagesOfAbsent = new Map(images);
  for (const [service, { image }] of Object.entries(whole.services)) {
    if (!images.has(service))
      imagesOfAbsent.set(service, image === undefined ? null : await engine.image(image));
  }
  const absent = absentContainers(whole, containers, imagesOfAbsent);
  const found = await findVolumes(engine, project, whole, [...everyContainer, ...absent], labelled, options);
  const privileged = new Set(inspects.filter(isPrivileged).flatMap(sourcesOf));
  const volumes = found.volumes.map((volume) =>
    privileged.has(volume.name) ? { ...volume, privileged: true as const } : volume,
  );
  const { notCovered } = found;
  return {
    project,
    engine: facts,
    composeVersion,
    model,
    warnings,
    hashes,
    activeServices,
    containers,
    oneOffs: everyContainer.filter((container) => container.oneOff),
    absent,
    inspects: new Map(inspects.map((inspect) => [inspect.Id, inspect])),
    networks,
    volumes,
    notCovered,
    images,
    namesakes: findNamesakes(project, Object.keys(model.services), everyone, facts.host),
    foreign: findForeign(project.name, volumes, everyone),
    servedPorts: everyone.flatMap(({ name, labels, ports }) =>
      ports.map((port) => ({
        ...port,
        container: name,
        project: labels['com.docker.compose.project'] ?? '',
        service: labels['com.docker.compose.service'] ?? '',
      })),
    ),
  };
}

/**
 * The model with the services of every profile, where a service has no container: one that was started with a profile and
 * taken down has left its data behind.
 */
async function withEveryProfile(
  compose: Compose,
  project: Project,
  model: ComposeModel,
  containers: readonly Container[],
): Promise<ComposeModel> {
  if (Object.keys(model.services).every((name) => containers.some(({ service }) => service === name)))
    return model;
  const profiles = await compose.profiles(project);
  if (profiles.every((profile) => project.profiles.includes(profile))) return model;
  const rendered = await compose.model({ ...project, profiles }).catch(() => null);
  return rendered?.model ?? model;
}

/** A container as `docker inspect` prints it → what the rest of the program reads. Pure. */
export function readContainer(inspect: ContainerInspect): Container {
  const labels = (inspect.Config.Labels as Record<string, string> | null) ?? {};
  const restart = inspect.HostConfig.RestartPolicy?.Name;
  const health = inspect.State.Health?.Status;
  return {
    id: inspect.Id,
    name: inspect.Name.replace(/^\//, ''),
    service: labels['com.docker.compose.service'] ?? '',
    number: Number(labels['com.docker.compose.container-number'] ?? '1'),
    oneOff: labels['com.docker.compose.oneoff'] === 'True',
    imageId: inspect.Image,
    imageName: inspect.Config.Image,
    configHash: labels['com.docker.compose.config-hash'] ?? '',
    // A container that the engine is about to restart counts as running: nobody stopped it.
    running: inspect.State.Running || inspect.State.Restarting,
    status: inspect.State.Status,
    exitCode: inspect.State.ExitCode,
    restartCount: inspect.RestartCount,
    restart: restart === undefined || restart === '' ? 'no' : restart,
    ...(inspect.State.Error === '' ? {} : { startError: inspect.State.Error }),
    ...(inspect.State.OOMKilled ? { outOfMemory: true } : {}),
    ...lastWords(inspect.State.Health),
    ...(orElse(inspect.State.Health?.Log, []).some(({ ExitCode }) => ExitCode === 0)
      ? { wasHealthy: true }
      : {}),
    health: health === 'healthy' || health === 'unhealthy' || health === 'starting' ? health : 'none',
    startedAt: inspect.State.StartedAt,
    ...startPeriodOf(inspect.Config),
    mounts: inspect.Mounts.map((mount) => readMount(mount, subpathAt(inspect, mount.Destination))),
    labels,
    environment: orElse(inspect.Config.Env, []),
    command: [inspect.Path, ...inspect.Args],
    publishesPorts: Object.values(
      (inspect.HostConfig.PortBindings as Record<string, unknown[] | null> | null) ?? {},
    ).some((bindings) => (bindings ?? []).length > 0),
  };
}

/** Signals that programs take for a message, not for an order to end: HUP, USR1, USR2, WINCH. */
const messages = [1, 10, 12, 28];

/**
 * What the engine's events say of a container that `docker inspect` does not: whether somebody ended it, or with what it ended
 * before the engine started it again. `docker stop` is there as `stop` after `die`; `docker kill` as `kill` before it. Pure.
 */
export function withPast(container: Container, events: readonly EngineEvent[]): Container {
  const own = events.filter(({ containerId }) => containerId === container.id);
  const died = own.findLastIndex(({ action }) => action === 'die');
  if (died === -1) return container;
  const { exitCode } = own[died] ?? {};
  if (container.running) {
    const restarted = container.restartCount > 0 && exitCode !== undefined;
    return restarted ? { ...container, restartedAfter: exitCode } : container;
  }
  if (container.status !== 'exited') return container;
  const began = own.findLastIndex(({ action }, index) => action === 'start' && index < died);
  const somebody = own.some(
    ({ action, signal = 0 }, index) =>
      (action === 'stop' && index > died) ||
      (action === 'kill' && index > began && index < died && !messages.includes(signal)),
  );
  return { ...container, endedBy: somebody ? 'somebody' : 'itself' };
}

/**
 * The containers of a project. Of a mount that one has from another (`volumes_from`), the engine says only of the other
 * which folder of the volume it is. Pure.
 */
export function readContainers(inspects: readonly ContainerInspect[]): Container[] {
  return inspects.map((inspect) => {
    const container = readContainer(inspect);
    const mounts = container.mounts.map((mount): Mount => {
      const subpath = mount.type === 'volume' ? subpathAt(inspect, mount.path, inspects) : undefined;
      return subpath === undefined ? mount : { ...mount, subpath };
    });
    return { ...container, mounts };
  });
}

/**
 * The folder of a volume that a container has at a path, from the volume's root; undefined: the volume itself. `others`:
 * containers that it may have its volumes from. Pure.
 */
export function subpathAt(
  { HostConfig }: ContainerInspect,
  target: string,
  others: readonly ContainerInspect[] = [],
): string | undefined {
  const { Mounts, VolumesFrom } = HostConfig as {
    Mounts?: { Target: string; VolumeOptions?: { Subpath?: string } }[] | null;
    VolumesFrom?: string[] | null;
  };
  const plain = (place: string): string => path.posix.join('/', place, '/');
  const own = (Mounts ?? []).find(({ Target }) => plain(Target) === plain(target));
  if (own !== undefined) return plainSubpath(own.VolumeOptions?.Subpath);
  const lenders = (VolumesFrom ?? []).map((entry) => entry.replace(/:.*$/, ''));
  const lent = others
    .filter(({ Id, Name }) => lenders.includes(Id) || lenders.includes(Name.replace(/^\//, '')))
    .map((lender) => subpathAt(lender, target, others));
  return lent.find((subpath) => subpath !== undefined);
}

/** A folder of a volume as people write it (`./data/redis/`) → `data/redis`; undefined: the volume itself. Pure. */
export function plainSubpath(written: string | undefined): string | undefined {
  const subpath = path.posix.join('/', written ?? '', '/').slice(1, -1);
  return subpath === '' ? undefined : subpath;
}

/** The last output of a healthcheck, for people: why it is unhealthy. */
function lastWords(health: ContainerInspect['State']['Health']): Pick<Container, 'healthOutput'> {
  const [last] = orElse(health?.Log, []).slice(-1);
  const line = (last?.Output ?? '').split('\n').findLast((text) => text.trim() !== '');
  return line === undefined ? {} : { healthOutput: line.trim().slice(0, 200) };
}

function readMount(mount: ContainerInspect['Mounts'][number], subpath: string | undefined): Mount {
  const common = { path: mount.Destination, readOnly: !mount.RW };
  switch (mount.Type) {
    case 'volume':
    case 'cluster':
      return {
        type: 'volume',
        source: mount.Name ?? mount.Source,
        ...common,
        ...(subpath === undefined ? {} : { subpath }),
      };
    case 'bind':
      return { type: 'bind', source: mount.Source, ...common };
    case 'tmpfs':
      return { type: 'tmpfs', source: '', ...common };
    default:
      return { type: 'other', source: mount.Source, ...common };
  }
}

/** Has CAP_SYS_ADMIN: sees and sets attributes of files that are hidden from everybody else. */
function isPrivileged({ HostConfig }: ContainerInspect): boolean {
  const added = ((HostConfig.CapAdd as string[] | null | undefined) ?? []).map((name) => name.toUpperCase());
  return HostConfig.Privileged === true || added.some((name) => /^(CAP_)?(SYS_ADMIN|ALL)$/.test(name));
}

/** The volumes, and folders of the host, that a container has. */
function sourcesOf(inspect: ContainerInspect): string[] {
  return readContainer(inspect).mounts.map(({ source }) => source);
}

function byServiceAndNumber(a: Container, b: Container): number {
  return a.service.localeCompare(b.service) || a.number - b.number;
}

async function findVolumes(
  engine: Engine,
  project: Project,
  model: ComposeModel,
  containers: Container[],
  labelled: {
    name: string;
    driver: string;
    options: Record<string, string>;
    labels: Record<string, string>;
  }[],
  options: ObserveOptions,
): Promise<{ volumes: Volume[]; notCovered: Uncovered[] }> {
  const servedAt = new Map<string, ServedPath[]>();
  const binds = new Map<string, ServedPath[]>();
  const uncovered = new Map<string, Uncovered>();
  for (const container of containers) {
    for (const mount of container.mounts) {
      const { path, readOnly, subpath } = mount;
      const served = {
        ...{ service: container.service, number: container.number, path, readOnly },
        ...(subpath === undefined ? {} : { subpath }),
      };
      if (mount.type === 'volume') {
        servedAt.set(mount.source, [...(servedAt.get(mount.source) ?? []), served]);
      } else if (mount.type === 'bind' && (await options.coversBind(container, mount, project))) {
        binds.set(mount.source, [...(binds.get(mount.source) ?? []), served]);
      } else if (mount.type === 'bind' && !readOnly) {
        const known = uncovered.get(mount.source);
        uncovered.set(mount.source, {
          source: mount.source,
          services: [...new Set([...(known?.services ?? []), container.service])],
          path,
          reason: known?.reason ?? (await options.whyUncovered(mount.source)),
        });
      }
    }
  }

  const declared = new Map<
    string,
    {
      key: string;
      external: boolean;
      driver?: string;
      options?: Record<string, string>;
      labels: Record<string, string>;
    }
  >();
  for (const [key, volume] of Object.entries(model.volumes ?? {})) {
    declared.set(volume?.name ?? `${project.name}_${key}`, {
      key,
      external: volume?.external === true,
      labels: volume?.labels ?? {},
      ...(volume?.driver === undefined ? {} : { driver: volume.driver }),
      ...(volume?.driver_opts === undefined ? {} : { options: volume.driver_opts }),
    });
  }

  const names = new Set([...servedAt.keys(), ...labelled.map(({ name }) => name), ...declared.keys()]);
  const volumes: Volume[] = [];
  // Whoever puts something into it sees it gone before the containers start.
  const inMemory = { leftOut: 'it is in memory: what is in it is gone when its last container stops' };
  for (const name of [...names].sort()) {
    const onEngine = labelled.find((volume) => volume.name === name) ?? (await engine.volume(name));
    const declaration = declared.get(name);
    const key = declaration?.key ?? onEngine?.labels['com.docker.compose.volume'];
    const driver = onEngine?.driver ?? declaration?.driver ?? 'local';
    const driverOptions = onEngine?.options ?? declaration?.options ?? {};
    const ownLabel = onEngine?.labels['com.docker.compose.project'] === project.name;
    volumes.push({
      kind:
        declaration?.external === true
          ? 'external'
          : key !== undefined && (ownLabel || declaration !== undefined)
            ? 'named'
            : isAnonymous(name, onEngine?.labels ?? {})
              ? 'anonymous'
              : 'external',
      name,
      ...(key === undefined ? {} : { key }),
      driver,
      options: driverOptions,
      labels: onEngine?.labels ?? {},
      servedAt: servedAt.get(name) ?? [],
      exists: onEngine !== null,
      ...options.classify({
        name,
        ...(key === undefined ? {} : { key }),
        labels: { ...onEngine?.labels, ...declaration?.labels },
        services: usersOf(model, key, servedAt.get(name) ?? []).map(
          (service) => model.services[service]?.labels ?? {},
        ),
      }),
      ...(isInMemory({ driver, options: driverOptions }) ? inMemory : {}),
    });
  }
  for (const [source, served] of binds) {
    volumes.push({
      kind: 'bind',
      name: source,
      driver: 'bind',
      options: {},
      labels: {},
      servedAt: served,
      // A container that is there has its folders.
      exists: containers.some(hasId(source)) || (await engine.hasPath(source)),
      ...options.classify({ name: source, labels: {}, services: [] }),
    });
  }
  const leftOut = volumes.flatMap(({ name, servedAt: places, leftOut: reason }) =>
    reason === undefined
      ? []
      : [
          {
            source: name,
            services: [...new Set(places.map(({ service }) => service))],
            path: places[0]?.path ?? '',
            reason,
          },
        ],
  );
  return { volumes, notCovered: [...uncovered.values(), ...leftOut] };
}

/** Whether a container that is there mounts this folder. */
function hasId(source: string): (container: Container) => boolean {
  return ({ id, mounts }) => id !== '' && mounts.some((mount) => mount.source === source);
}

/** Services that mount a volume, or will: as containers have it and as the files do. */
function usersOf({ services }: ComposeModel, key: string | undefined, servedAt: ServedPath[]): string[] {
  const declared = Object.keys(services).filter(
    (service) =>
      key !== undefined &&
      (services[service]?.volumes ?? []).some(({ type, source }) => type === 'volume' && source === key),
  );
  return [...new Set([...declared, ...servedAt.map(({ service }) => service)])];
}

/** The engine names anonymous volumes with 64 hex digits; since 23.0 it labels them too. */
function isAnonymous(name: string, labels: Record<string, string>): boolean {
  return 'com.docker.volume.anonymous' in labels || /^[0-9a-f]{64}$/.test(name);
}

/**
 * Projects of another name that are this one, by the folder they were started in; or whose folder is gone, and which have
 * the same files and no service that this one has not: it has been moved. Whether a folder is gone can be told only of the
 * engine's own machine.
 */
function findNamesakes(
  project: Project,
  services: readonly string[],
  everyone: readonly ListedContainer[],
  engineHost: string,
): Observed['namesakes'] {
  const others = new Map<string, { directory: string; files: string; services: Set<string> }>();
  for (const { labels } of everyone) {
    const name = labels['com.docker.compose.project'] ?? '';
    if (name === '' || name === project.name) continue;
    const other = others.get(name) ?? {
      directory: labels['com.docker.compose.project.working_dir'] ?? '',
      files: baseNames((labels['com.docker.compose.project.config_files'] ?? '').split(',')),
      services: new Set(),
    };
    other.services.add(labels['com.docker.compose.service'] ?? '');
    others.set(name, other);
  }
  const isMoved = (other: { directory: string; files: string; services: Set<string> }): boolean =>
    engineHost === hostname() &&
    other.directory !== '' &&
    !existsSync(other.directory) &&
    other.files === baseNames(project.files) &&
    [...other.services].every((service) => services.includes(service));
  return [...others]
    .filter(([, other]) => other.directory === project.directory || isMoved(other))
    .map(([name, { directory }]) => ({ name, directory }));
}

function baseNames(files: readonly string[]): string {
  return files.map((file) => path.basename(file)).join();
}

function findForeign(project: string, volumes: Volume[], everyone: ListedContainer[]): Observed['foreign'] {
  return everyone
    .filter((container) => container.labels['com.docker.compose.project'] !== project)
    .filter((container) => !('safe-update.project' in container.labels))
    .flatMap((container) =>
      container.mounts.flatMap((mount) => {
        const volume = volumes.find(
          ({ name, kind }) => name === (kind === 'bind' ? mount.source : mount.name),
        );
        return volume === undefined
          ? []
          : [
              {
                volume: volume.name,
                container: container.name,
                project: container.labels['com.docker.compose.project'] ?? '',
                running: container.running,
                readOnly: mount.readOnly,
              },
            ];
      }),
    );
}

/** Throws SafeUpdateError `config` if the model has no services: there is nothing to update. */
export function requireServices(observed: Observed): void {
  if (Object.keys(observed.model.services).length === 0 && observed.containers.length === 0) {
    throw new SafeUpdateError('config', `The project ${observed.project.name} has no services.`, {
      state: 'Nothing was touched.',
      hint: 'Check which files are read: safe-update doctor',
    });
  }
}
