import path from 'node:path';
import { isMap, isSeq, parseDocument, type Document } from 'yaml';
import type { Manifest } from '../backup/manifest.ts';
import { SafeUpdateError } from '../model/error.ts';
import { clash, publishedPorts, type HostPort } from '../model/ports.ts';
import type { ComposeModel, Container, Project } from '../model/project.ts';

/** The compose file that safe-update adds to a new project where it would share something with another one. */
export const overrideName = 'compose.safe-update.yaml';

/** Where a path of one folder is in another; undefined if it is not in it. Pure. */
export function moved(file: string, from: string, to: string): string | undefined {
  const inside = path.relative(from, file);
  return inside === '..' || inside.startsWith(`..${path.sep}`) || path.isAbsolute(inside)
    ? undefined
    : path.join(to, inside);
}

export interface NewProject {
  project: Project;
  /** Files to write, by part of the backup. */
  files: { part: string; to: string; mode: number; owner?: { uid: number; gid: number } }[];
  /** Files of the configuration that have no place in the new folder. */
  outside: string[];
}

/**
 * The project that a backup becomes under another name in another folder: every file keeps its place relative to the
 * project directory. Pure.
 */
export function newProject(
  { project, config }: Pick<Manifest, 'project' | 'config'>,
  name: string,
  directory: string,
): NewProject {
  const place = (file: string): string | undefined => moved(file, project.directory, directory);
  const kept = config.flatMap(({ part, from, mode, owner }) => {
    const to = place(from);
    return to === undefined ? [] : [{ part, to, mode, ...(owner === undefined ? {} : { owner }) }];
  });
  // What is mounted from elsewhere is named by its whole path, or it will be missing once the new folder is rendered.
  const mounted = new Set(config.filter(({ owner }) => owner !== undefined).map(({ from }) => from));
  const backedUp = new Set(config.map(({ from }) => from));
  const needed = [...project.files, ...project.envFiles];
  return {
    project: {
      name,
      directory,
      files: project.files.flatMap((file) => place(file) ?? []),
      envFiles: project.envFiles.flatMap((file) => place(file) ?? []),
      profiles: project.profiles,
      ...(project.environment === undefined ? {} : { environment: project.environment }),
    },
    files: kept,
    outside: [
      ...new Set([
        ...[...backedUp].filter((file) => place(file) === undefined && !mounted.has(file)),
        ...needed.filter((file) => !backedUp.has(file)),
      ]),
    ],
  };
}

/**
 * Lines for the `.env` of a new project's folder, by which compose and safe-update alike know which project it is,
 * whatever the files in it say of the first one. Pure.
 */
export function variablesOf({ name, directory, files, profiles }: Project): string {
  const separator = files.some((file) => file.includes(':')) ? '|' : ':';
  const relative = files.map((file) => path.relative(directory, file)).join(separator);
  return [
    '',
    '# Written by safe-update restore --as: which project this folder is.',
    `COMPOSE_PROJECT_NAME=${name}`,
    `COMPOSE_PATH_SEPARATOR='${separator}'`,
    `COMPOSE_FILE='${relative}'`,
    ...(profiles.length === 0 ? [] : [`COMPOSE_PROFILES='${profiles.join(',')}'`]),
    '',
  ].join('\n');
}

/** safe-update.yml for the new project: what names the first one names it, comments stay. Pure. */
export function settingsFor(text: string, name: string, extraFile: string | undefined): string {
  const document: Document = parseDocument(text);
  const environments = document.get('environments');
  const entries = isMap(environments)
    ? environments.items.map(({ key }) => ['environments', String(key)])
    : [];
  let changed = false;
  for (const at of [[], ...entries]) {
    if (document.hasIn([...at, 'project'])) {
      document.setIn([...at, 'project'], name);
      changed = true;
    }
    const files = document.getIn([...at, 'files']);
    if (extraFile !== undefined && isSeq(files)) {
      files.add(extraFile);
      changed = true;
    }
  }
  return changed ? document.toString() : text;
}

/** A value that was set when the backup was made. */
export interface Blank {
  /** Where in the rendered model: `services.app.environment.TOKEN`. */
  at: string;
  /** What of it would be gone: all of it, or a variable inside of it. */
  what: 'all' | 'part';
}

/** Values of these are meant one by one: one that is not there any more has become blank. */
const listsOfValues = new Set(['environment', 'labels', 'args']);

/**
 * Which values of a rendered model are blank in the same model rendered elsewhere, or lack what a variable stood for.
 * `unset`: whether compose has said of any variable that it is not set. Names and folders that differ anyway are to be
 * taken out of both before. Pure.
 */
export function blanks(before: unknown, now: unknown, unset: boolean, at: readonly string[] = []): Blank[] {
  const blank = (what: Blank['what']): Blank[] => [{ at: at.join('.'), what }];
  if (typeof before === 'string') {
    if (before.trim() === '' || before === now) return [];
    if (now === undefined || now === null)
      return unset || listsOfValues.has(at.at(-2) ?? '') ? blank('all') : [];
    if (typeof now !== 'string') return [];
    if (now.trim() === '') return blank('all');
    return unset && isCutFrom(now, before) ? blank('part') : [];
  }
  if (typeof before !== 'object' || before === null) return [];
  const other = (typeof now === 'object' ? now : null) as Record<string, unknown> | null;
  if (Array.isArray(before) && Array.isArray(now) && before.length !== now.length) return [];
  return Object.entries(before).flatMap(([key, value]) => blanks(value, other?.[key], unset, [...at, key]));
}

/** Whether a text is another one from which something was taken out. */
function isCutFrom(text: string, whole: string): boolean {
  let found = 0;
  for (const character of whole) if (character === text[found]) found += 1;
  return found === text.length && text.length < whole.length;
}

/**
 * safe-update.yml with these services as one-shots, unless it says something of them itself. In the new project they have
 * never run, so that nothing else tells them from services that were stopped. Pure.
 */
export function withOneShots(text: string, services: readonly string[]): string {
  const document: Document = parseDocument(text);
  const open = services.filter((service) => !document.hasIn(['services', service, 'oneShot']));
  for (const service of open) document.setIn(['services', service, 'oneShot'], true);
  return open.length === 0 ? text : document.toString();
}

/** What of the engine a new project has to keep clear of. */
export interface Taken {
  volumes: ReadonlySet<string>;
  containers: ReadonlySet<string>;
  networks: ReadonlySet<string>;
  /** Networks that the containers of the first project are connected to. */
  firstNetworks: ReadonlySet<string>;
  /** Ports of the host that are served, and by which container. */
  ports: readonly (HostPort & { container: string })[];
}

export interface Separation {
  /** A compose file to be merged over the others; undefined where none is needed. */
  override?: string;
  /** External volumes that are not there and keep their names. */
  externals: string[];
  /** What a person should know about it. */
  notices: string[];
  /** Reasons why it cannot be done here. */
  obstacles: Obstacle[];
}

export interface Obstacle {
  message: string;
  hint: string;
}

interface ModelNetwork {
  name?: string;
  external?: boolean;
}

/**
 * How a rendered project is kept apart from all that is on the engine already. Names that are free are kept; taken ones
 * are replaced by names of the new project. `images`: for services whose name of an image means another image here. Pure.
 */
export function separate(
  model: ComposeModel,
  services: readonly string[],
  taken: Taken,
  options: { ports: boolean; images: ReadonlyMap<string, string> },
): Separation {
  const { name: project } = model;
  const found: Separation = { externals: [], notices: [], obstacles: [] };
  const lines: string[] = [];
  const section = (title: string, entries: string[]): void => {
    if (entries.length > 0) lines.push(`${title}:`, ...entries);
  };
  const quoted = (text: string): string => JSON.stringify(text);

  const serviceLines: string[] = [];
  for (const service of services) {
    const { container_name, ports = [], network_mode } = model.services[service] ?? {};
    const own: string[] = [];
    if (container_name !== undefined && taken.containers.has(container_name)) {
      own.push('    container_name: !reset null');
      found.notices.push(`The name ${container_name} is taken: ${service} gets one of the new project.`);
    }
    if (!options.ports && ports.length > 0) own.push('    ports: !reset []');
    if (!options.ports && network_mode === 'host')
      found.notices.push(
        `${service} uses the network of the host: --no-ports does not keep its ports apart.`,
      );
    const image = options.images.get(service);
    if (image !== undefined) {
      own.push(`    image: ${quoted(image)}`, '    pull_policy: never');
      found.notices.push(
        `${model.services[service]?.image ?? service} is another image on this engine: ${service} uses that of the backup, as ${image}.`,
      );
    }
    if (own.length > 0) serviceLines.push(`  ${quoted(service)}:`, ...own);
    if (options.ports) {
      for (const wanted of publishedPorts(ports)) {
        const holders = wanted.map((port) => taken.ports.find((other) => clash(port, other)));
        const [holder] = holders;
        if (holder === undefined || holders.includes(undefined)) continue;
        found.obstacles.push({
          message: `${service} publishes the port ${holder.port}/${holder.protocol}, which ${holder.container} serves already.`,
          hint: 'Leave the ports out with --no-ports.',
        });
      }
    }
  }

  const volumeLines: string[] = [];
  for (const [key, volume] of Object.entries(model.volumes ?? {})) {
    const name = volume?.name ?? `${project}_${key}`;
    const elsewhere =
      Object.keys(volume?.driver_opts ?? {}).length > 0 || (volume?.driver ?? 'local') !== 'local';
    if (!taken.volumes.has(name) && !elsewhere) {
      if (volume?.external === true) found.externals.push(name);
      continue;
    }
    const own = `${project}_${key}`;
    found.notices.push(
      elsewhere
        ? `The volume ${key} lies elsewhere (driver or driver_opts): here it is an ordinary volume, ${own}.`
        : `The volume ${name} exists: the new project uses ${own} in its place.`,
    );
    found.obstacles.push(...occupied('volume', own, taken.volumes));
    volumeLines.push(`  ${quoted(key)}: !override { name: ${quoted(own)} }`);
  }

  const networkLines: string[] = [];
  for (const [key, value] of Object.entries(model.networks ?? {})) {
    const { name = `${project}_${key}`, external } = (value ?? {}) as ModelNetwork;
    const exists = taken.networks.has(name);
    if (external === true && !exists) {
      found.obstacles.push({
        message: `The external network ${name} is not on this engine.`,
        hint: `Make it first: docker network create ${name}`,
      });
    }
    // On a network that both are on, each would find the other's services under the names of its own.
    const shared = external === true ? taken.firstNetworks.has(name) : exists;
    if (!shared) continue;
    const own = `${project}_${key}`;
    found.notices.push(`The network ${name} is in use: the new project gets its own, ${own}.`);
    found.obstacles.push(...occupied('network', own, taken.networks));
    networkLines.push(`  ${quoted(key)}: !override { name: ${quoted(own)} }`);
  }

  section('services', serviceLines);
  section('volumes', volumeLines);
  section('networks', networkLines);
  if (lines.length > 0) {
    found.override = [
      '# Written by safe-update restore --as: what this project must not share with another one on the engine.',
      '# Merged over the other files by COMPOSE_FILE in .env; change it or take lines out as you like.',
      ...lines,
      '',
    ].join('\n');
  }
  return found;
}

function occupied(what: string, name: string, taken: ReadonlySet<string>): Obstacle[] {
  if (!taken.has(name)) return [];
  return [
    {
      message: `There is a ${what} ${name} on this engine already.`,
      hint: 'Choose another name for the new project.',
    },
  ];
}

/**
 * Which volume (or folder) of the new project takes the content of each volume of the backup, by its name there: the one
 * that serves the same path of the same service. Replicas are matched in their order. A volume that no container of the
 * new project has is not in the result. Throws where two would become one or one would become two. Pure.
 */
export function targetsOf(
  volumes: Manifest['volumes'],
  recorded: readonly Pick<Container, 'service' | 'number'>[],
  created: readonly Pick<Container, 'service' | 'number' | 'mounts'>[],
): Map<string, { name: string; kind: 'volume' | 'bind' }> {
  const replicas = <T extends { service: string; number: number }>(all: readonly T[], service: string): T[] =>
    all.filter((container) => container.service === service).sort((a, b) => a.number - b.number);
  const targets = new Map<string, { name: string; kind: 'volume' | 'bind' }>();
  for (const { name, servedAt } of volumes) {
    for (const { service, number, path: place, subpath } of servedAt) {
      const rank = replicas(recorded, service).findIndex((container) => container.number === number);
      const mount = replicas(created, service)[rank]?.mounts.find((candidate) => candidate.path === place);
      if (mount === undefined || (mount.type !== 'volume' && mount.type !== 'bind')) continue;
      const known = targets.get(name);
      if (known !== undefined && known.name !== mount.source)
        throw new Error(`${name} would become both ${known.name} and ${mount.source}`);
      if (subpath !== mount.subpath)
        throw new SafeUpdateError('refused', `${service} would have another folder of ${name} at ${place}.`, {
          hint: 'See which variable volume.subpath has in the compose files of the backup.',
        });
      targets.set(name, { name: mount.source, kind: mount.type });
    }
  }
  const names = [...targets.values()].map((target) => target.name);
  const twice = names.find((target, index) => names.indexOf(target) !== index);
  if (twice !== undefined) throw new Error(`two volumes of the backup would become ${twice}`);
  return targets;
}
