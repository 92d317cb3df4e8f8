import { createHash } from 'node:crypto';
import type { Manifest } from '../../../src/backup/manifest.ts';
import type { ImageFacts } from '../../../src/docker/engine.ts';
import type { Observed } from '../../../src/docker/observe.ts';
import type { ComposeService, Container, Mount, Project, Volume } from '../../../src/model/project.ts';

/** 64 hex digits that depend on nothing but the text: ids of containers, images and anonymous volumes. */
export function hex(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** The id of the image that a name stands for in these examples. */
export function imageIdOf(name: string): string {
  return `sha256:${hex(name)}`;
}

export function image(name: string, facts: Partial<ImageFacts> = {}): ImageFacts {
  return {
    id: imageIdOf(name),
    platform: 'linux/amd64',
    tags: [name],
    digests: [],
    volumePaths: [],
    labels: {},
    environment: [],
    entrypoint: [],
    command: [],
    size: 1_000_000,
    ...facts,
  };
}

export const project: Project = {
  name: 'shop',
  directory: '/srv/shop',
  files: ['/srv/shop/compose.yaml'],
  envFiles: [],
  profiles: [],
};

/** A running container of the shop, without a healthcheck and without mounts. */
export function container(service: string, facts: Partial<Container> = {}): Container {
  const number = facts.number ?? 1;
  const imageName = facts.imageName ?? `${service}:1`;
  return {
    id: hex(`${service} ${number}`),
    name: `shop-${service}-${number}`,
    service,
    number,
    oneOff: false,
    imageId: imageIdOf(imageName),
    imageName,
    configHash: `hash of ${service}`,
    running: true,
    status: 'running',
    exitCode: 0,
    restartCount: 0,
    restart: 'unless-stopped',
    health: 'none',
    startedAt: '2024-10-17T14:00:00.000000000Z',
    mounts: [],
    labels: {},
    environment: [],
    command: [service],
    publishesPorts: false,
    ...facts,
  };
}

/** What a container is when it has ended. */
export function exited(exitCode = 0): Partial<Container> {
  return { running: false, status: 'exited', exitCode };
}

export function mount(source: string, path: string, facts: Partial<Mount> = {}): Mount {
  return { type: 'volume', source, path, readOnly: false, ...facts };
}

/** A named volume of the shop: `uploads` is shop_uploads on the engine. */
export function volume(key: string, facts: Partial<Volume> = {}): Volume {
  return {
    kind: 'named',
    name: `shop_${key}`,
    key,
    driver: 'local',
    options: {},
    labels: { 'com.docker.compose.project': 'shop', 'com.docker.compose.volume': key },
    servedAt: [],
    exists: true,
    class: 'critical',
    ...facts,
  };
}

/** A volume without a name of its own, as the engine makes them. */
export function anonymousVolume(seed: string, facts: Partial<Volume> = {}): Volume {
  const { key: _, ...rest } = volume('', { kind: 'anonymous', name: hex(seed), ...facts });
  return { ...rest, labels: { 'com.docker.volume.anonymous': '' } };
}

/**
 * A project as it was observed, in which nothing would change: each service runs the image that its name stands for,
 * with the configuration that the files have. `containers` defaults to one running container a service.
 */
export function observed(
  services: Record<string, ComposeService>,
  facts: Partial<Omit<Observed, 'model'>> & { model?: Partial<Observed['model']> } = {},
): Observed {
  const named = Object.fromEntries(
    Object.entries(services).map(([name, service]) => [
      name,
      service.image === undefined && service.build === undefined
        ? { image: `${name}:1`, ...service }
        : service,
    ]),
  );
  const imageOf = (name: string): string => named[name]?.image ?? `shop-${name}`;
  const { model, ...rest } = facts;
  return {
    project,
    engine: {
      id: 'engine-1',
      host: 'machine',
      version: '28.5.2',
      apiVersion: '1.51',
      rootDirectory: '/var/lib/docker',
    },
    composeVersion: '2.40.3',
    model: { name: 'shop', services: named, ...model },
    warnings: [],
    hashes: new Map(Object.keys(named).map((name) => [name, `hash of ${name}`])),
    activeServices: Object.keys(named),
    containers: Object.keys(named).map((name) => container(name, { imageName: imageOf(name) })),
    oneOffs: [],
    absent: [],
    inspects: new Map(),
    networks: [],
    volumes: [],
    notCovered: [],
    images: new Map(Object.keys(named).map((name) => [name, image(imageOf(name))])),
    namesakes: [],
    foreign: [],
    servedPorts: [],
    ...rest,
  };
}

/** The manifest of a small sealed backup. */
export function manifest(id: string, facts: Partial<Manifest> = {}): Manifest {
  return {
    format: 1,
    tool: '0.1.0',
    id,
    kind: 'pre-update',
    sequence: 1,
    createdAt: '2024-10-17T14:30:22.000Z',
    run: '20241017-143000-4711',
    project: {
      name: 'shop',
      directory: '/srv/shop',
      files: ['/srv/shop/compose.yaml'],
      envFiles: [],
      profiles: [],
    },
    engine: { id: 'engine-1', version: '28.5.2', compose: '2.40.3' },
    consistency: 'cold',
    containers: [],
    volumes: [],
    databases: [],
    config: [],
    engineRecord: 'config/engine.json',
    notCovered: [],
    parts: [],
    ...facts,
  };
}
