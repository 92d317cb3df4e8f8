import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect } from 'vitest';
import { digests, type Digest } from './digest.ts';
import { ask, docker, eventually, imageId, inspectWhere, keyOf, labelled, type Inspect } from './docker.ts';
import type { Finished, Stack } from './stack.ts';

interface Service {
  id: string;
  startedAt: string;
  imageId: string;
  imageName: string;
  configHash: string;
  running: boolean;
  health: string;
  environment: string[];
  command: string[] | null;
  restart: string;
  /** Path → what serves it. */
  mounts: Record<string, string>;
}

/** A stack as the engine and its own services tell it. */
export interface Snapshot {
  services: Record<string, Service>;
  /** Names of the volumes that are labelled as the project's or mounted by it. */
  volumes: string[];
  /** Of each volume that no database has open. */
  digests: Record<string, Digest>;
  /** What pg_dump prints, of each running PostgreSQL; every document, of each running MongoDB. */
  rows: Record<string, string>;
  /** Key and sha1 of the value, of each running Redis. */
  keys: Record<string, string>;
  /** Names of images that the containers were made from → id. */
  tags: Record<string, string | null>;
  networks: string[];
  /** The files of the project's folder, backups apart. */
  files: Record<string, string>;
}

export async function snapshot(stack: Stack): Promise<Snapshot> {
  const containers = await stack.containers();
  const ofProject = `com.docker.compose.project=${stack.project}`;
  const taken: Snapshot = {
    services: {},
    volumes: [],
    digests: {},
    rows: {},
    keys: {},
    tags: {},
    networks: [],
    files: {},
  };
  const open = new Set<string>();
  for (const container of containers) {
    const key = keyOf(container);
    taken.services[key] = service(container);
    taken.tags[container.Config.Image] = await imageId(container.Config.Image);
    const kind = databaseKind(container);
    if (kind === undefined) continue;
    for (const { Type, Name } of container.Mounts)
      if (Type === 'volume' && Name !== undefined) open.add(Name);
    if (!container.State.Running) continue;
    if (kind === 'postgres') taken.rows[key] = await eventually(() => rows(container));
    else if (kind === 'mongo') taken.rows[key] = await eventually(() => documents(container));
    else taken.keys[key] = await eventually(() => keys(container, stack.secret));
  }
  const mounted = containers.flatMap(({ Mounts }) =>
    Mounts.flatMap(({ Type, Name }) => (Type === 'volume' ? [Name ?? ''] : [])),
  );
  taken.volumes = [...new Set([...(await labelled('volumes', ofProject)), ...mounted])].sort();
  taken.digests = await digests(
    stack.project,
    taken.volumes.filter((volume) => !open.has(volume)),
  );
  taken.networks = await labelled('networks', ofProject);
  for (const entry of await readdir(stack.directory, { withFileTypes: true })) {
    if (entry.isFile()) taken.files[entry.name] = await stack.read(entry.name);
  }
  return taken;
}

/** Everything is as it was; containers may be other ones than before, if they are made alike. */
export function expectSame(before: Snapshot, after: Snapshot): void {
  expect(lasting(after)).toEqual(lasting(before));
}

/** Not even a container was stopped. */
export function expectUntouched(before: Snapshot, after: Snapshot): void {
  expectSame(before, after);
  const lives = ({ services }: Snapshot): unknown =>
    Object.entries(services).map(([key, { id, startedAt }]) => [key, id, startedAt]);
  expect(lives(after)).toEqual(lives(before));
}

/** Without what a new container cannot have in common with the old one. */
function lasting({ services, digests, ...rest }: Snapshot): unknown {
  return {
    ...rest,
    services: Object.fromEntries(
      Object.entries(services).map(([key, { id: _, startedAt: __, ...same }]) => [key, same]),
    ),
    digests: Object.fromEntries(
      Object.entries(digests).map(([volume, { rootChanged: _, ...same }]) => [volume, same]),
    ),
  };
}

/**
 * After any run: no lock, no helper, no half-written backup, no record of secrets and no key beside the journal, every journal
 * ended, pins only of runs that a backup leads back to, and the stack's password in nothing that is shown or sent on.
 */
export async function expectNothingLeft(
  stack: Stack,
  ...runs: Pick<Finished, 'stdout' | 'stderr'>[]
): Promise<void> {
  const helpers = await inspectWhere(`label=safe-update.project=${stack.project}`);
  expect(
    helpers.map(({ Name }) => Name),
    'lock and helper containers',
  ).toEqual([]);
  expect(
    (await stack.containers()).map(({ Name }) => Name).filter((name) => /^\/[0-9a-f]{12}_/.test(name)),
    'containers of a broken recreation',
  ).toEqual([]);

  const files = await readdir(stack.backupFolder, { recursive: true }).catch(() => []);
  expect(
    files.filter((file) => /\.(partial|deleting|tmp|stack\.json|key)$|probe/.test(file)),
    'unfinished files',
  ).toEqual([]);
  const journals = files.filter((file) => file.endsWith('.jsonl'));
  for (const journal of journals) {
    expect(await readFile(path.join(stack.backupFolder, journal), 'utf8'), `the end of ${journal}`).toContain(
      '"type":"end"',
    );
  }

  const backups = await stack.backups();
  const repository = `safe-update/pin-${stack.project}`;
  const images = await ask<{ RepoTags: string[] | null }[]>('/images/json', {
    filters: { reference: [repository] },
  });
  const pins = images
    .flatMap(({ RepoTags }) => RepoTags ?? [])
    .flatMap((name) => (name.startsWith(`${repository}:`) ? [name.slice(repository.length + 1)] : []));
  const stray = pins.filter((pin) => !backups.some(({ manifest }) => pin.startsWith(`${manifest.run}-`)));
  expect(stray, 'pins that no backup leads to').toEqual([]);

  const shown = runs.map(({ stdout, stderr }) => stdout + stderr);
  const written = [...journals, ...backups.map(({ id }) => path.join(id, 'manifest.json'))];
  for (const file of written) shown.push(await readFile(path.join(stack.backupFolder, file), 'utf8'));
  expect(
    shown.filter((text) => text.includes(stack.secret)),
    'texts with the password in them',
  ).toEqual([]);
}

function service({ Id, Image, State, Config, HostConfig, Mounts }: Inspect): Service {
  return {
    id: Id,
    startedAt: State.StartedAt,
    imageId: Image,
    imageName: Config.Image,
    configHash: Config.Labels['com.docker.compose.config-hash'] ?? '',
    running: State.Running,
    health: State.Health?.Status ?? 'none',
    environment: [...Config.Env].sort(),
    command: Config.Cmd,
    restart: HostConfig.RestartPolicy.Name,
    mounts: Object.fromEntries(
      Mounts.map(
        ({ Type, Name, Source, Destination, RW }) =>
          [Destination, `${Type} ${Name ?? Source} ${RW ? 'rw' : 'ro'}`] as const,
      ).sort(),
    ),
  };
}

function databaseKind({ Config: { Env, Cmd } }: Inspect): 'postgres' | 'mongo' | 'redis' | undefined {
  // A client from the server's image.
  if (Cmd?.[0] === 'sh') return undefined;
  if (Env.some((entry) => entry.startsWith('MONGO_MAJOR='))) return 'mongo';
  if (Env.some((entry) => entry.startsWith('PGDATA='))) return 'postgres';
  return Cmd?.[0] === 'redis-server' ? 'redis' : undefined;
}

/** Schema, rows, sequences and owners. Newer versions of pg_dump print a random word on the lines left out. */
async function rows({ Id, Config: { Env } }: Inspect): Promise<string> {
  const variable = (name: string): string | undefined =>
    Env.find((entry) => entry.startsWith(`${name}=`))?.slice(name.length + 1);
  const user = variable('POSTGRES_USER') ?? 'postgres';
  const printed = await docker(['exec', Id, 'pg_dump', '-U', user, variable('POSTGRES_DB') ?? user]);
  return printed
    .split('\n')
    .filter((line) => !/^\\(un)?restrict /.test(line))
    .join('\n');
}

const everyDocument = `
const all = db.getSiblingDB('admin').adminCommand({ listDatabases: 1 }).databases.map(({ name }) => name)
  .filter((name) => !['admin', 'config', 'local'].includes(name)).sort().flatMap((name) => {
    const base = db.getSiblingDB(name);
    return base.getCollectionNames().sort().map((collection) => [name, collection,
      base.getCollection(collection).find().sort({ _id: 1 }).toArray(), base.getCollection(collection).getIndexes()]);
  });
print(EJSON.stringify(all, { relaxed: false }))`;

/** For a MongoDB without users. */
async function documents({ Id }: Inspect): Promise<string> {
  const shell = ['env', 'HOME=/tmp', 'mongosh', '--quiet', '--norc', '--eval', everyDocument];
  return docker(['exec', Id, ...shell]);
}

const digestOfKeys = `
local found = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  found[#found + 1] = key .. ' ' .. redis.sha1hex(redis.call('DUMP', key)) .. ' ' .. redis.call('PTTL', key)
end
table.sort(found)
return found`;

async function keys({ Id }: Inspect, password: string): Promise<string> {
  return docker(['exec', '--env', 'REDISCLI_AUTH', Id, 'redis-cli', 'EVAL', digestOfKeys, '0'], {
    env: { REDISCLI_AUTH: password },
  });
}
