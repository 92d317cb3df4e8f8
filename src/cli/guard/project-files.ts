import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readIdentities } from '../../backup/identity.ts';
import type { Manifest } from '../../backup/manifest.ts';
import { listBackups, openBackup, verifyBackup, type OpenBackup } from '../../backup/open.ts';
import { encryptedStore } from '../../backup/store/encrypted.ts';
import { folderStore } from '../../backup/store/folder.ts';
import type { Store } from '../../backup/store/store.ts';
import { loadSettings } from '../../config/load.ts';
import { parseConfig } from '../../config/parse.ts';
import type { Settings } from '../../config/schema.ts';
import { strictest, type ProjectRules } from '../../guard/policy.ts';
import type { VolumeKnowledge } from '../../guard/verdict.ts';
import { messageOf, SafeUpdateError } from '../../model/error.ts';
import { requireTrusted } from '../trust.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** What the folder of a project says about it. */
export interface ProjectFiles {
  /** For each environment that may be meant. None: the folder is about another project, or cannot be read. */
  settings: Settings[];
  rules: ProjectRules;
  warnings: string[];
}

/**
 * Reads what the folders in which a project was started say about it. Where several environments may be the one that runs, all
 * of them are returned, and the strictest rules. Never throws: what cannot be read, or could be somebody else's, says nothing
 * and is warned of.
 */
export async function readProject(
  project: string,
  places: readonly { folder: string; files: readonly string[] }[],
  env: Environment,
): Promise<ProjectFiles> {
  const settings: Settings[] = [];
  const warnings: string[] = [];
  let broken = false;
  for (const { folder, files } of places) {
    try {
      const own = (await readFolder(folder, env)).filter(
        (one) => one.project.name === undefined || one.project.name === project,
      );
      const same = own.filter((one) => sameFiles(one.project.files, files));
      for (const one of same.length > 0 ? same : own) {
        await requireTrusted(one, []);
        settings.push(one);
      }
    } catch (error) {
      broken = true;
      warnings.push(`${folder}: ${firstLine(error)}`);
    }
  }
  const rules = settings.map(({ guard: { policy, fresh } }): ProjectRules => ({
    ...(policy === undefined ? {} : { policy }),
    ...(fresh === undefined ? {} : { freshSeconds: fresh / 1000 }),
  }));
  // What could not be read may have asked for more.
  return broken
    ? { settings: [], rules: { policy: 'block' }, warnings }
    : { settings, rules: strictest(rules), warnings };
}

/**
 * The settings of a folder, without and with each of its environments; undefined if they cannot be read, or somebody else could
 * have written them. Never throws.
 */
export async function settingsIn(folder: string, env: Environment): Promise<Settings[] | undefined> {
  try {
    const found = await readFolder(folder, env);
    for (const one of found) await requireTrusted(one, []);
    return found;
  } catch {
    return undefined;
  }
}

/** The settings of a folder, without and with each of its environments. Throws if it has none that can be read. */
async function readFolder(folder: string, env: Environment): Promise<Settings[]> {
  const own = Object.fromEntries(
    Object.entries(env).filter(([name]) => !name.startsWith('COMPOSE_') && name !== 'PWD'),
  );
  const load = (environment?: string): Promise<Settings> =>
    loadSettings({ cwd: folder, env: own, flags: {}, environment, filesOptional: true });
  const plain = await load();
  const { configFile } = plain;
  const { environments = {} } =
    configFile === undefined ? {} : parseConfig(await readFile(configFile, 'utf8'), configFile);
  return [plain, ...(await Promise.all(Object.keys(environments).map((name) => load(name))))];
}

function sameFiles(some: readonly string[], others: readonly string[]): boolean {
  return others.length > 0 && some.length === others.length && some.every((file) => others.includes(file));
}

/** What a backup has to be so that it makes up for a volume. */
export interface Wanted {
  volume: string;
  project: string;
  /** The engine's own id. */
  engine: string;
  /** When the volume was made, in milliseconds since the epoch. */
  madeAt: number | undefined;
  freshSeconds: number;
  /** Milliseconds that reading it again may take. */
  limit: number;
}

/**
 * The newest sealed backup with an archive of this very volume, if it can be relied on: its parts have just been read again,
 * and have the right checksums. Else why not. One that is too old is returned without being read.
 */
export async function reliableBackup(
  { settings }: ProjectFiles,
  wanted: Wanted,
): Promise<Pick<VolumeKnowledge, 'backup' | 'why'>> {
  const stores = storesOf(settings, wanted.project);
  if (stores.length === 0) return { why: "what its project's folder says cannot be used" };
  let newest: OpenBackup | undefined;
  for (const store of stores) {
    const found = await newestOf(store, wanted.volume);
    if (typeof found === 'string') return { why: found };
    if (found !== undefined && !(newest !== undefined && madeOf(newest) > madeOf(found))) newest = found;
  }
  if (newest === undefined) {
    const where = stores.map(({ location }) => location).join(', ');
    return { why: `no backup of it is in ${where}; make one: safe-update backup` };
  }
  return relyOn(newest, wanted);
}

async function relyOn(
  open: OpenBackup,
  { volume, project, engine, madeAt, freshSeconds, limit }: Wanted,
): Promise<Pick<VolumeKnowledge, 'backup' | 'why'>> {
  const { manifest } = open;
  const { id } = manifest;
  const made = Date.parse(manifest.createdAt);
  const ageSeconds = (Date.now() - made) / 1000;
  const parts = partsFor(manifest, volume);
  if (manifest.engine.id !== engine) return { why: `the backup ${id} is of another engine` };
  if (manifest.project.name !== project)
    return { why: `the backup ${id} is of the project ${manifest.project.name}` };
  if (ageSeconds < -60) return { why: `the backup ${id} is dated in the future` };
  if (madeAt !== undefined && madeAt > made) return { why: `it was made anew after the backup ${id}` };
  if (parts === undefined) {
    return {
      why: `something wrote to it while the backup ${id} was made, and it holds no database with a dump; make one without --consistency hot: safe-update backup`,
    };
  }
  const backup = { id, ageSeconds: Math.max(0, ageSeconds) };
  if (ageSeconds > freshSeconds) return { backup };
  try {
    const done = await inTime(verifyBackup(open, undefined, parts), limit);
    if (done) return { backup };
    return { why: `the backup ${id} takes too long to be read again; check it: safe-update verify ${id}` };
  } catch (error) {
    return { why: reasonOf(error) };
  }
}

/** The newest of a store that holds the volume; a text: why that cannot be said. */
async function newestOf(store: Store, volume: string): Promise<OpenBackup | string | undefined> {
  for (const { id, manifest } of (await listBackups(store)).reverse()) {
    // What a failed release left is not what is there now.
    if (manifest === undefined || manifest.kind === 'failed') continue;
    try {
      const open = await openBackup(store, id);
      if (open.manifest.volumes.some(({ name, kind }) => name === volume && kind !== 'bind')) return open;
    } catch (error) {
      return reasonOf(error);
    }
  }
  return undefined;
}

/** What has to be whole for the volume to come back; undefined if that is not all of it. */
function partsFor({ volumes, databases }: Manifest, name: string): string[] | undefined {
  const volume = volumes.find((one) => one.name === name && one.kind !== 'bind');
  if (volume === undefined) return undefined;
  const dumps = databases.filter((database) => database.volume === name && database.parts.length > 0);
  if (!volume.exact && dumps.length === 0) return undefined;
  return [volume.archive, volume.files, ...dumps.flatMap(({ parts }) => parts)];
}

function madeOf({ manifest }: OpenBackup): number {
  return Date.parse(manifest.createdAt);
}

/** Bytes of each volume at the newest backup that can be read without a key; undefined if there is none. */
export async function sizesAtBackup(
  { settings }: ProjectFiles,
  project: string,
): Promise<{ ageSeconds: number; bytes: Map<string, number> } | undefined> {
  let newest: Manifest | undefined;
  for (const store of storesOf(settings, project)) {
    for (const { manifest } of await listBackups(store)) {
      if (manifest?.format !== 1 || manifest.kind === 'failed') continue;
      if (newest === undefined || manifest.createdAt > newest.createdAt) newest = manifest;
    }
  }
  if (newest === undefined) return undefined;
  return {
    ageSeconds: Math.max(0, (Date.now() - Date.parse(newest.createdAt)) / 1000),
    bytes: new Map(newest.volumes.map(({ name, bytes }) => [name, bytes])),
  };
}

/** Where backups of the project may be, each place once. */
function storesOf(settings: readonly Settings[], project: string): Store[] {
  const places = new Map(
    settings.map(({ backups }) => [
      [backups.directory, backups.encryption.identityFile ?? ''].join('\0'),
      backups,
    ]),
  );
  return [...places.values()].map(({ directory, encryption: { recipients, identityFile } }) =>
    encryptedStore(folderStore(join(directory, project)), {
      recipients,
      identities: [() => (identityFile === undefined ? Promise.resolve([]) : readIdentities(identityFile))],
    }),
  );
}

/** False if it takes longer; it then goes on, with nobody waiting for it. Rejects as it does. */
async function inTime(work: Promise<void>, milliseconds: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => {
      resolve(false);
    }, milliseconds);
  });
  work.catch(() => undefined);
  try {
    return await Promise.race([work.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** What went wrong and what to do, to stand after the name of the volume. */
function reasonOf(error: unknown): string {
  const said = firstLine(error).replace(/\.$/, '');
  const text = said.charAt(0).toLowerCase() + said.slice(1);
  const isLocked = error instanceof SafeUpdateError && error.code === 'refused';
  return isLocked ? `${text}; name the file with it in SAFE_UPDATE_IDENTITY_FILE` : text;
}

function firstLine(error: unknown): string {
  return messageOf(error).split('\n')[0] ?? '';
}
