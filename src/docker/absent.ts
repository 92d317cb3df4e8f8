import type { ComposeModel, ComposeService, Container, Mount } from '../model/project.ts';
import type { ImageFacts } from './engine.ts';
import { plainSubpath } from './observe.ts';

/**
 * The containers that `up` would make for services that have none: after `docker compose down`, or before the first start.
 * What a stack's data is has to be known then too. They have no id and do not run. A volume without a name gets a new one with
 * each container, so none is listed. Pure.
 */
export function absentContainers(
  { name: project, services, volumes = {} }: ComposeModel,
  containers: readonly Pick<Container, 'service'>[],
  images: ReadonlyMap<string, ImageFacts | null>,
): Container[] {
  return Object.entries(services)
    .filter(([service]) => !containers.some((container) => container.service === service))
    .map(([service, definition]) => {
      const image = images.get(service) ?? undefined;
      const number = 1;
      return {
        id: '',
        name: definition.container_name ?? `${project}-${service}-${number}`,
        service,
        number,
        oneOff: false,
        imageId: image?.id ?? '',
        imageName: definition.image ?? `${project}-${service}`,
        configHash: '',
        running: false,
        status: 'absent',
        exitCode: 0,
        restartCount: 0,
        restart: definition.restart ?? 'no',
        health: 'none',
        startedAt: '',
        mounts: (definition.volumes ?? []).flatMap((volume) => mountOf(volume, project, volumes)),
        labels: definition.labels ?? {},
        environment: environmentAfter(image, definition),
        command: commandAfter(image, definition),
        publishesPorts: (definition.ports ?? []).length > 0,
      };
    });
}

function mountOf(
  {
    type,
    source,
    target,
    read_only: readOnly = false,
    volume,
  }: NonNullable<ComposeService['volumes']>[number],
  project: string,
  volumes: NonNullable<ComposeModel['volumes']>,
): Mount[] {
  const common = { path: target, readOnly };
  switch (type) {
    case 'volume': {
      if (source === undefined) return [];
      const subpath = plainSubpath(volume?.subpath);
      const name = volumes[source]?.name ?? `${project}_${source}`;
      return [{ type: 'volume', source: name, ...common, ...(subpath === undefined ? {} : { subpath }) }];
    }
    case 'bind':
      return source === undefined ? [] : [{ type: 'bind', source, ...common }];
    case 'tmpfs':
      return [{ type: 'tmpfs', source: '', ...common }];
    default:
      return [];
  }
}

/** The variables that a container of this image and definition would have, as NAME=value. Pure. */
export function environmentAfter(
  image: Pick<ImageFacts, 'environment'> | undefined,
  service: Pick<ComposeService, 'environment'> | undefined,
): string[] {
  const stated = Object.entries(service?.environment ?? {});
  const nameOf = (entry: string): string => entry.slice(0, entry.indexOf('='));
  return [
    ...(image?.environment ?? []).filter((entry) => !stated.some(([name]) => name === nameOf(entry))),
    ...stated.flatMap(([name, value]) => (value === null ? [] : [`${name}=${value}`])),
  ];
}

/** As compose has it: an entrypoint in the files takes the image's command away too. */
function commandAfter(image: ImageFacts | undefined, { entrypoint, command }: ComposeService): string[] {
  if (entrypoint != null) return [...entrypoint, ...(command ?? [])];
  // An image that is not on this engine yet has an entrypoint of its own, most likely.
  const own = image ?? { entrypoint: ['docker-entrypoint.sh'], command: [] };
  return [...own.entrypoint, ...(command ?? own.command)];
}
