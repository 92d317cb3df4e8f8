import path from 'node:path';
import { z } from 'zod';
import { SafeUpdateError } from '../model/error.ts';
import type { Container, ServedPath } from '../model/project.ts';
import { backupKinds } from './id.ts';

/**
 * How many backups a project may have had. A number from a file that is higher was not counted; if it were gone on from, the
 * next one could not be read.
 */
export const mostBackups = 1_000_000;

const servedPath = z.object({
  service: z.string(),
  number: z.number(),
  path: z.string(),
  /** The folder of the volume that is mounted there, where it is not the volume itself. */
  subpath: z.string().optional(),
  readOnly: z.boolean(),
});
const count = z.number().int().min(0);
const part = z.object({ path: z.string(), bytes: count, sha256: z.string() });

/**
 * What a backup says of itself. It holds no secret: environments, labels and volume options are in the part named by
 * `engineRecord`. docs/backup-format.md explains each field to people.
 */
const manifestSchema = z.object({
  format: z.literal(1),
  /** The version of safe-update that wrote it. */
  tool: z.string(),
  id: z.string(),
  kind: z.enum(backupKinds),
  /** Counts up within a project: the order of backups, whatever the clock says. */
  sequence: z
    .number()
    .int()
    .min(0)
    .max(2 * mostBackups),
  createdAt: z.iso.datetime(),
  run: z.string(),
  project: z.object({
    name: z.string(),
    directory: z.string(),
    files: z.array(z.string()),
    envFiles: z.array(z.string()),
    profiles: z.array(z.string()),
    environment: z.string().optional(),
  }),
  engine: z.object({ id: z.string(), version: z.string(), compose: z.string() }),
  consistency: z.enum(['cold', 'hot']),
  containers: z.array(
    z.object({
      service: z.string(),
      number: z.number(),
      name: z.string(),
      image: z.string(),
      imageId: z.string(),
      configHash: z.string(),
      running: z.boolean(),
    }),
  ),
  volumes: z.array(
    z.object({
      name: z.string(),
      kind: z.enum(['named', 'external', 'anonymous', 'bind']),
      key: z.string().optional(),
      driver: z.string(),
      servedAt: z.array(servedPath),
      archive: z.string(),
      files: z.string(),
      entries: count,
      /** Regular files among them; absent in backups of older versions. */
      fileCount: count.optional(),
      bytes: count,
      sockets: count,
      /** sha256 over the list of files, uncompressed. */
      digest: z.string(),
      /** It holds, or may hold, attributes that only CAP_SYS_ADMIN sees or sets. */
      privileged: z.boolean().optional(),
      /** False: it was read while something wrote to it; a database in it comes back from its dump. */
      exact: z.boolean(),
    }),
  ),
  databases: z.array(
    z.object({
      service: z.string(),
      engine: z.string(),
      /** The volume its files are in, where one was found. */
      volume: z.string().optional(),
      /** Where its files are inside the container. */
      dataPath: z.string(),
      /** Parts of the dump; none for a file of SQLite whose archive is exact. */
      parts: z.array(z.string()),
      /** What is in no dump of it, by name; an exact archive of its volume has it. */
      notInDump: z.array(z.string()).optional(),
      /** What it held at about that time; absent where there was nobody to ask. */
      fingerprint: z
        .object({
          of: z.enum(['rows', 'documents', 'keys']),
          counts: z.record(z.string(), z.number()),
        })
        .optional(),
    }),
  ),
  /** Configuration files as they were, and where each came from. */
  config: z.array(
    z.object({
      part: z.string(),
      from: z.string(),
      mode: z.number(),
      /** Only of a file that is mounted into containers: a secret, a config, a file that they may only read. */
      owner: z.object({ uid: z.number(), gid: z.number() }).optional(),
    }),
  ),
  /** Folders that containers may only read, all of whose files are in `config`. */
  configFolders: z.array(z.string()).optional(),
  engineRecord: z.string(),
  /** What was not covered, in words. */
  notCovered: z.array(z.string()),
  parts: z.array(part),
});

export type Manifest = z.infer<typeof manifestSchema>;

/**
 * What an encrypted backup says of itself without a key: as much as listing, checking and removing it need, and no name of
 * anything in it. Its parts are the encrypted files.
 */
const outlineSchema = manifestSchema
  .pick({ tool: true, id: true, kind: true, sequence: true, createdAt: true, run: true, parts: true })
  .extend({
    format: z.literal(2),
    encrypted: z.literal('age'),
    /** Bytes of the volumes' content, before compression: how much room the next backup needs. */
    content: count,
  });

export type Outline = z.infer<typeof outlineSchema>;

/** What can be said of any backup without a key: of one that is not encrypted, everything. */
export type Listing =
  Manifest | (Outline & Partial<Record<Exclude<keyof Manifest, keyof Outline>, undefined>>);
export type ManifestVolume = Manifest['volumes'][number];
export type ManifestDatabase = Manifest['databases'][number];

/** Where a volume was mounted, as the rest of the program says it. Pure. */
export function placesOf({ servedAt }: Pick<ManifestVolume, 'servedAt'>): ServedPath[] {
  return servedAt.map(({ subpath, ...place }) => (subpath === undefined ? place : { ...place, subpath }));
}

/** Where a database's files are in its volume, from the volume's root: a folder, or for SQLite a file. Pure. */
export function placeInVolume(
  { service, dataPath }: Pick<ManifestDatabase, 'service' | 'dataPath'>,
  { servedAt }: Pick<ManifestVolume, 'servedAt'>,
): string {
  const mountedAt = servedAt
    .filter((served) => served.service === service)
    .filter((served) => isWithin(dataPath, served.path))
    .sort((a, b) => b.path.length - a.path.length)[0];
  if (mountedAt === undefined) return '';
  const place = path.posix.join(mountedAt.subpath ?? '', path.posix.relative(mountedAt.path, dataPath));
  return place === '.' ? '' : place;
}

/**
 * The other way round: which container sees a file that is at this place of a volume, and where. Of several the one that may
 * write to it, and then the one that has the least beside it; undefined if none does. Pure.
 */
export function seenAt(
  place: string,
  { servedAt }: Pick<ManifestVolume, 'servedAt'>,
): { service: string; number: number; dataPath: string } | undefined {
  const [seen] = servedAt
    .filter(({ subpath = '' }) => subpath === '' || isWithin(place, subpath))
    .map(({ subpath = '', ...served }) => ({
      ...served,
      subpath,
      dataPath: path.posix.join(served.path, path.posix.relative(subpath, place)),
    }))
    // Another mount may hide it.
    .filter((served) => placeInVolume(served, { servedAt }) === place)
    .sort((a, b) => Number(a.readOnly) - Number(b.readOnly) || b.subpath.length - a.subpath.length);
  return seen;
}

/**
 * The manifest of a backup from before it said which folder of a volume is mounted where: with what the engine's record of its
 * containers says. A SQLite file was then called by its place in the volume. Pure.
 */
export function withSubpaths(
  manifest: Manifest,
  containers: readonly Pick<Container, 'service' | 'number' | 'mounts'>[],
): Manifest {
  if (manifest.volumes.some(({ servedAt }) => servedAt.some(({ subpath }) => subpath !== undefined)))
    return manifest;
  const subpathOf = (served: ManifestVolume['servedAt'][number]): string | undefined =>
    containers
      .find(({ service, number }) => service === served.service && number === served.number)
      ?.mounts.find(({ path: at }) => at === served.path)?.subpath;
  const volumes = manifest.volumes.map((volume) => ({
    ...volume,
    servedAt: volume.servedAt.map((served) => ({ ...served, subpath: subpathOf(served) })),
  }));
  const databases = manifest.databases.map((database) => {
    const index = manifest.volumes.findIndex(({ name }) => name === database.volume);
    const [before, now] = [manifest.volumes[index], volumes[index]];
    if (database.engine !== 'sqlite' || before === undefined || now === undefined) return database;
    const seen = seenAt(placeInVolume(database, before), now);
    return seen === undefined ? database : { ...database, service: seen.service, dataPath: seen.dataPath };
  });
  return { ...manifest, volumes, databases };
}

/** Is it this folder, or in it? Pure. */
export function isWithin(place: string, folder: string): boolean {
  return place === folder || place.startsWith(folder.replace(/\/?$/, '/'));
}

/** What is left to do about a damaged backup. */
export const useAnother = 'Use another backup: safe-update backups';

/** Throws SafeUpdateError `damaged` when the text is no manifest that this version can read. */
export function parseManifest(id: string, text: string): Manifest {
  return parse(id, text, manifestSchema, 1);
}

/** The manifest as it lies in the backup, be it encrypted or not. Throws SafeUpdateError `damaged`. */
export function parseListing(id: string, text: string): Listing {
  return saysEncrypted(text) ? parse(id, text, outlineSchema, 2) : parseManifest(id, text);
}

/** Whether the text is what an encrypted backup says of itself. Pure. */
export function saysEncrypted(text: string): boolean {
  try {
    return (JSON.parse(text) as { encrypted?: unknown } | null)?.encrypted !== undefined;
  } catch {
    return false;
  }
}

function parse<T extends { id: string }>(id: string, text: string, schema: z.ZodType<T>, newest: number): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new SafeUpdateError('damaged', `The manifest of ${id} is not JSON.`, {
      hint: useAnother,
      cause: error,
    });
  }
  const format = (value as { format?: unknown } | null)?.format;
  if (typeof format === 'number' && format > newest) {
    throw new SafeUpdateError('damaged', `${id} was written by a newer safe-update (format ${format}).`, {
      hint: 'Upgrade safe-update on this machine.',
    });
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new SafeUpdateError(
      'damaged',
      `The manifest of ${id} is damaged: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`.trim(),
      { hint: useAnother },
    );
  }
  if (parsed.data.id !== id) {
    throw new SafeUpdateError('damaged', `The manifest in ${id} belongs to ${parsed.data.id}.`, {
      hint: useAnother,
    });
  }
  return parsed.data;
}

/** The part of a backup that holds what a container has printed. Pure. */
export function logPart(containerName: string): string {
  return `logs/${containerName.replace(/[^A-Za-z0-9_.-]/g, '-')}.log`;
}
