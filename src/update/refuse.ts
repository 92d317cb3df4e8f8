import path from 'node:path';
import { mountHolding } from '../backup/create.ts';
import { isWithin, placeInVolume } from '../backup/manifest.ts';
import { recogniseDatabase } from '../database/engines.ts';
import { environmentAfter } from '../docker/absent.ts';
import { otherDatabaseOnNoVolume } from '../database/unknown.ts';
import { plainSubpath, type Observed } from '../docker/observe.ts';
import { boundFolder } from '../model/driver-options.ts';
import { SafeUpdateError } from '../model/error.ts';
import type { Plan } from '../model/plan.ts';
import { clash, publishedPorts, type HostPort } from '../model/ports.ts';
import type { Container, Volume } from '../model/project.ts';
import { archived } from './classes.ts';
import { startedFrom } from './plan.ts';

/** A reason not to go on, found before anything is touched. */
export interface Refusal {
  /** What --accept takes: `volume-moved:web:/app/uploads`. */
  accept: string;
  /** What would be lost and how it was found out. */
  message: string;
  /** The way on. */
  hint: string;
}

export interface RefusalOptions {
  /** May another project's containers write to this volume too? */
  sharingAllowed: (volume: Pick<Volume, 'name' | 'key'>) => boolean;
  /** Where backups go. */
  backupDirectory: string;
}

/**
 * Reasons not to update, from what was observed: whatever would make a path that a volume serves be served by
 * something else afterwards, or a database find files it cannot read. Pure.
 */
export function refusals(observed: Observed, options: RefusalOptions): Refusal[] {
  return [
    ...renamedProject(observed),
    ...otherFiles(observed),
    ...sharedVolumes(observed, options),
    ...backupsInside(observed, options),
    ...missingExternals(observed),
    ...changedDefinitions(observed),
    ...observed.containers.flatMap((container) => [
      ...movedVolumes(observed, container),
      ...databaseTrouble(observed, container),
    ]),
    ...orphansWriting(observed),
    ...oneOffs(observed),
  ].filter((refusal, index, all) => all.findIndex(({ accept }) => accept === refusal.accept) === index);
}

/** Throws SafeUpdateError `refused` with every refusal that was not accepted by name. */
export function refuse(found: readonly Refusal[], accepted: readonly string[]): void {
  const open = found.filter(({ accept }) => !accepted.includes(accept));
  if (open.length === 0) return;
  throw new SafeUpdateError('refused', open.map(({ message }) => message).join('\n'), {
    state: 'Nothing was touched.',
    hint: open.map(({ hint, accept }) => `${hint} If you are sure: --accept ${accept}`).join('\n'),
  });
}

/** The stack runs under another name: `up` would make a second one beside it, on new and empty volumes. */
function renamedProject({ project, containers, namesakes }: Observed): Refusal[] {
  const [former] = namesakes;
  if (containers.length > 0 || former === undefined) return [];
  return [
    {
      accept: `renamed-project:${former.name}`,
      message: `The stack ${former.directory === project.directory ? `in ${project.directory}` : `that was in ${former.directory}`} runs as the project ${former.name}; as ${project.name} it would start again on new, empty volumes.`,
      hint: `Keep its name: --project-name ${former.name}, or name: ${former.name} in the compose file.`,
    },
  ];
}

/**
 * The stack was started from a file that this run does not read: without its `prod` an update would take away what only that
 * environment's file says. A project that has been moved has files of the same names elsewhere. Pure.
 */
function otherFiles({ containers, project }: Observed): Refusal[] {
  const started = startedFrom(containers);
  const read = new Set(project.files.flatMap((file) => [file, path.basename(file)]));
  const isMoved = !started.some((file) => project.files.includes(file));
  const left = started.filter((file) => !read.has(isMoved ? path.basename(file) : file));
  if (left.length === 0) return [];
  return [
    {
      accept: 'other-files',
      message: `The stack was started from ${started.join(', ')}. This run reads ${project.files.join(', ')}, and so nothing that ${left.join(', ')} ${left.length === 1 ? 'says' : 'say'}.`,
      hint: 'Name the environment (safe-update prod), or the files: -f, or COMPOSE_FILE in .env.',
    },
  ];
}

/** A backup must not contain itself. */
function backupsInside({ volumes }: Observed, { backupDirectory }: RefusalOptions): Refusal[] {
  return archived(volumes)
    .filter((volume) => {
      const folder = volume.kind === 'bind' ? volume.name : boundFolder(volume);
      return folder !== undefined && `${backupDirectory}/`.startsWith(`${folder.replace(/\/$/, '')}/`);
    })
    .map(({ name, key }) => ({
      accept: `backups-inside:${name}`,
      message: `The backup folder ${backupDirectory} is inside ${name}, which is to be backed up itself.`,
      hint: `Choose a folder outside it: --backups, or backups.directory in safe-update.yml. Or leave ${key ?? name} out of backups: volumes.${key ?? name}.class: cache.`,
    }));
}

function sharedVolumes({ foreign, volumes }: Observed, { sharingAllowed }: RefusalOptions): Refusal[] {
  return foreign
    .filter(({ running, readOnly }) => running && !readOnly)
    .filter(({ volume }) => {
      const own = volumes.find(({ name }) => name === volume);
      return own !== undefined && !sharingAllowed(own);
    })
    .map(({ volume, container, project }) => ({
      accept: `shared-volume:${volume}`,
      message: `The container ${container}${project === '' ? '' : ` of the project ${project}`} writes to the volume ${volume} too; stopping this project does not stop it.`,
      hint: `Stop ${container} during the update, or set volumes.${volume}.shared: allow in safe-update.yml.`,
    }));
}

function missingExternals({ volumes }: Observed): Refusal[] {
  return volumes
    .filter(({ kind, exists }) => kind === 'external' && !exists)
    .map(({ name }) => ({
      accept: `missing-volume:${name}`,
      message: `The external volume ${name} does not exist on this engine.`,
      hint: `Create it (docker volume create ${name}) or correct its name; check that this is the right engine.`,
    }));
}

/** Compose asks "Recreate (data will be lost)?" about such a volume; nobody must ever say yes to that. */
function changedDefinitions({ model, project, volumes }: Observed): Refusal[] {
  return Object.entries(model.volumes ?? {}).flatMap(([key, declared]) => {
    if (declared?.external === true) return [];
    const name = declared?.name ?? `${project.name}_${key}`;
    const present = volumes.find((volume) => volume.name === name && volume.exists);
    // A volume without compose's label was made by hand; compose warns about it and uses it.
    if (present?.labels['com.docker.compose.project'] === undefined) return [];
    const changes = [
      ...((declared?.driver ?? 'local') === present.driver
        ? []
        : [`driver ${present.driver} → ${declared?.driver ?? 'local'}`]),
      ...(sameEntries(declared?.driver_opts ?? {}, present.options) ? [] : ['driver options']),
    ];
    if (changes.length === 0) return [];
    return [
      {
        accept: `volume-changed:${name}`,
        message: `The definition of the volume ${name} differs from the volume that exists (${changes.join(', ')}); compose would want to delete and recreate it.`,
        hint: 'Undo that change, or move the data to a volume with another name first.',
      },
    ];
  });
}

/** The paths a container's volumes serve must be served by the same volumes in the new model. */
function movedVolumes(
  { model, project, images, containers, volumes }: Observed,
  container: Container,
): Refusal[] {
  const service = model.services[container.service];
  if (service === undefined) return [];
  const declarations = service.volumes ?? [];
  const lenders = (service.volumes_from ?? []).map((entry) => entry.split(':')[0]);
  return container.mounts.flatMap((mount) => {
    if (mount.type !== 'volume') return [];
    const { path, source } = mount;
    const refusal = (then: string, hint: string): Refusal[] => [
      {
        accept: `volume-moved:${container.service}:${path}`,
        message: `${container.service} has the volume ${source} at ${path}; after the update it would have ${then}.`,
        hint,
      },
    ];
    const anonymous = volumes.find(({ name }) => name === source)?.kind === 'anonymous';
    const declared = declarations.find(({ target }) => target.replace(/\/$/, '') === path.replace(/\/$/, ''));
    if (declared !== undefined && declared.type !== 'volume') {
      return refusal(`a ${declared.type} mount there`, 'Copy the data over first.');
    }
    if (declared?.source !== undefined) {
      const name = model.volumes?.[declared.source]?.name ?? `${project.name}_${declared.source}`;
      const hint = `Give the volume its former name (name: ${source}), or copy the data over first.`;
      if (name !== source) return refusal(`${name} there, without the data`, hint);
      const folder = plainSubpath(declared.volume?.subpath);
      if (folder === mount.subpath) return [];
      const words = (place?: string): string => (place === undefined ? 'all of it' : `its folder ${place}`);
      return refusal(
        `${words(folder)} there instead of ${words(mount.subpath)}`,
        'Undo that change (volume.subpath in the compose file), or copy the data over first.',
      );
    }
    const lent = containers.some(
      (other) =>
        lenders.includes(other.service) && other.mounts.some((m) => m.source === source && m.path === path),
    );
    if (lent) return [];
    const image = images.get(container.service);
    const stays = declared !== undefined || image?.volumePaths.includes(path) === true;
    // `up` carries an anonymous volume over to a new container whose files or image still declare the path.
    if (anonymous && (stays || image == null)) return [];
    const hint = `Declare the volume ${source} at ${path} for ${container.service}, or copy the data over first.`;
    return refusal(stays ? 'a new, empty volume there' : 'no volume there', hint);
  });
}

function databaseTrouble({ images, model }: Observed, container: Container): Refusal[] {
  const engine = recogniseDatabase(container);
  if (engine === undefined) {
    const other = otherDatabaseOnNoVolume(container);
    if (other === undefined) return [];
    const folder = other.folders[0] ?? 'what it keeps';
    return [
      {
        accept: `no-volume:${container.service}`,
        message: `${container.service} looks like ${other.title}, and its data is on no volume: replacing the container deletes it.`,
        hint: `Copy its data out and put ${folder} on a named volume first.`,
      },
    ];
  }
  const found: Refusal[] = [];
  const dataPath = engine.dataPath(container);
  const holding = mountHolding(container, dataPath);
  if (holding === undefined) {
    found.push({
      accept: `no-volume:${container.service}`,
      message: `${container.service} keeps its ${engine.title} files at ${dataPath}, which is on no volume: replacing the container deletes them.`,
      hint: `Put ${dataPath} on a named volume first.`,
    });
  }
  const image = images.get(container.service);
  if (image == null || model.services[container.service] === undefined) return found;
  const environment = environmentAfter(image, model.services[container.service]);
  const nextPath = engine.dataPath({ ...container, environment });
  if (holding !== undefined && nextPath !== dataPath) {
    found.push({
      accept: `data-path:${container.service}`,
      message: `After the update ${container.service} would keep its files at ${nextPath} instead of ${dataPath}: it would start with an empty database.`,
      hint: 'Mount the volume where the new image looks for it, after a dump and restore where the version changes.',
    });
  }
  const versions = engine.unreadable?.(container.environment, image.environment);
  if (image.id !== container.imageId && versions !== undefined) {
    const { former, next } = versions;
    found.push({
      accept: `database-version:${container.service}`,
      message: `The new image of ${container.service} is ${engine.title} ${next}; it cannot read the files of ${engine.title} ${former}.`,
      hint: `Stay on ${engine.title} ${former}, or move with a dump: safe-update backup, then restore the dump into the new version.`,
    });
  }
  return found;
}

/**
 * After a hot backup a server is filled from its dump, into what must be empty first: nothing else may lie in between its files. Pure.
 */
export function mixedVolumes({ containers, volumes }: Observed): Refusal[] {
  return containers.flatMap((container) => {
    const engine = recogniseDatabase(container);
    if (engine?.restorer.into !== 'running server') return [];
    const { service } = container;
    const mount = mountHolding(container, engine.dataPath(container));
    const volume = volumes.find(({ name }) => name === mount?.source);
    if (volume === undefined) return [];
    const place = placeInVolume({ service, dataPath: engine.dataPath(container) }, volume);
    const inside = volume.servedAt.filter(
      ({ subpath }) =>
        subpath !== undefined && subpath !== place && (place === '' || isWithin(subpath, place)),
    );
    const others = [...new Set(inside.map((served) => `${served.service}: ${served.subpath ?? ''}`))];
    if (others.length === 0) return [];
    return [
      {
        accept: `mixed-volume:${service}`,
        message: `In the volume ${volume.name}, other services have folders in between the files of ${service} (${others.join(', ')}): a rollback from a hot backup would not bring them back.`,
        hint: `Take a cold backup: --consistency cold. Or give ${service} a folder of its own (volume.subpath).`,
      },
    ];
  });
}

/**
 * Given what was pulled and built, reasons why the new containers could not even start. `former`: the platform of each image
 * that runs now, by its id. Another one may run by emulation, so that can be accepted. Pure.
 */
export function imageRefusals(
  { images, containers, model }: Observed,
  { services }: Pick<Plan, 'services'>,
  former: ReadonlyMap<string, string>,
): Refusal[] {
  const next = services.filter(({ fate }) => fate === 'replace' || fate === 'create' || fate === 'run-again');
  return next.flatMap(({ service }) => {
    const image = images.get(service);
    const name = model.services[service]?.image ?? `the one that is built for it`;
    if (image === null) {
      return [
        {
          accept: `image-missing:${service}`,
          message: `${service} has no image to start from: ${name} is not on this engine, and nothing here pulls or builds it.`,
          hint: `Pull it (docker pull ${name}), or let it be pulled: pull_policy in the compose file, --pull.`,
        },
      ];
    }
    const platforms = containers
      .filter((own) => own.service === service)
      .map(({ imageId }) => former.get(imageId));
    const [platform] = platforms;
    if (image === undefined || platform === undefined || platforms.includes(image.platform)) return [];
    return [
      {
        accept: `image-platform:${service}`,
        message: `The new image of ${service} is for ${image.platform}; the one that runs is for ${platform}.`,
        hint: `Take one that was made for ${platform}, or say which: platform in the compose file.`,
      },
    ];
  });
}

/**
 * Ports of the host that services are to get and that somebody else has: found out after the stop, that would be a downtime
 * for nothing. `isFree`: whether nothing outside of containers serves it, as far as that can be told. Pure.
 */
export function portRefusals(
  { model, project, servedPorts }: Pick<Observed, 'model' | 'project' | 'servedPorts'>,
  services: readonly string[],
  isFree: (port: HostPort) => boolean,
): Refusal[] {
  const wantedBy = (service: string): HostPort[][] => publishedPorts(model.services[service]?.ports ?? []);
  /** One that is served by what will be stopped, or comes up later than this anyway, is free by then. */
  const holderOf = (service: string, port: HostPort): string | undefined => {
    const served = servedPorts.filter((other) => clash(port, other));
    for (const { container, project: name, service: other } of served) {
      if (name !== project.name)
        return `the container ${container}${name === '' ? '' : ` of the project ${name}`}`;
      if (other === service) continue;
      const keeps =
        model.services[other] === undefined ||
        wantedBy(other)
          .flat()
          .some((kept) => clash(kept, port));
      if (keeps) return `the container ${container}, of the service ${other}`;
    }
    return served.length > 0 || isFree(port) ? undefined : 'something that is no container';
  };
  return services.flatMap((service) =>
    wantedBy(service).flatMap((wanted): Refusal[] => {
      const holders = wanted.map((port) => holderOf(service, port));
      const [holder] = holders;
      const [first] = wanted;
      if (first === undefined || holder === undefined || holders.includes(undefined)) return [];
      const range = wanted.length > 1 ? `-${first.port + wanted.length - 1}` : '';
      const name = `${first.port}${range}${first.protocol === 'tcp' ? '' : `/${first.protocol}`}`;
      return [
        {
          accept: `port-taken:${name}`,
          message: `${service} publishes the port ${name}, which ${holder} has already.`,
          hint: `Stop what has it, or publish another port for ${service}.`,
        },
      ];
    }),
  );
}

/**
 * A service that the files have under another name now, most likely: `up` leaves the former container where it is, and
 * both would write to one volume at once.
 */
function orphansWriting({ containers, model, project }: Observed): Refusal[] {
  return containers
    .filter(({ service, running }) => running && model.services[service] === undefined)
    .flatMap((container) =>
      container.mounts
        .filter(({ type, readOnly }) => type === 'volume' && !readOnly)
        .flatMap(({ source }) => {
          const writers = Object.entries(model.services).filter(
            ([service, { volumes = [] }]) =>
              !containers.some((other) => other.service === service && usesVolume(other, source)) &&
              volumes.some(
                ({ type, source: key, read_only }) =>
                  type === 'volume' &&
                  key !== undefined &&
                  read_only !== true &&
                  (model.volumes?.[key]?.name ?? `${project.name}_${key}`) === source,
              ),
          );
          return writers.map(([service]) => ({
            accept: `orphan-writes:${container.service}:${source}`,
            message: `${container.service} is not in the compose files any more, but ${container.name} runs and writes to the volume ${source}; ${service} would write to it at the same time.`,
            hint: `If ${service} takes its place, stop it first: docker stop ${container.name}.`,
          }));
        }),
    );
}

function usesVolume({ mounts }: Container, volume: string): boolean {
  return mounts.some(({ source }) => source === volume);
}

function oneOffs({ oneOffs: running }: Observed): Refusal[] {
  return running
    .filter((container) => container.running)
    .map((container) => ({
      accept: `one-off:${container.name}`,
      message: `The one-off container ${container.name} (docker compose run ${container.service}) is still running.`,
      hint: `Let it end, or stop it: docker stop ${container.name}.`,
    }));
}

function sameEntries(a: Record<string, string>, b: Record<string, string>): boolean {
  const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...keys].every((key) => a[key] === b[key]);
}
