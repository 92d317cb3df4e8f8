import { lstat, readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { parseEnv } from 'node:util';
import { parseAllDocuments } from 'yaml';
import { messageOf } from '../model/error.ts';
import type { ComposeModel, Configuration, Container, Project } from '../model/project.ts';
import { formatBytes } from '../model/units.ts';

export interface ConfigFile {
  /** Where it is, absolute. */
  from: string;
  /** What it is called in the backup: config/compose.yaml */
  part: string;
  mode: number;
  /** Absent: it is read by compose. Otherwise it is mounted into containers, whose users may have to be its owner. */
  owner?: { uid: number; gid: number };
  content: Buffer;
}

/** Texts with variables replaced as compose does it, from these env files (later ones win) and the environment. */
export type Interpolate = (texts: readonly string[], envFiles: readonly string[]) => Promise<string[]>;

/** A mounted file or folder of more bytes is no configuration any more: it is named, and not kept. */
const largestMount = 10_000_000;

/** Every shell sets these, so that they are never blank. */
const alwaysSet = ['HOME', 'PWD', 'USER'];

/** Where the names in a compose file start, and what replaces the variables in them. */
interface Scope {
  directory: string;
  envFiles: string[];
}

export interface ConfigurationOptions {
  /** Throws where compose cannot replace a variable; then the name counts as one that could not be followed. */
  interpolate: Interpolate;
  /** Folders that are no configuration whatever mounts them: that of the backups, and what is backed up as data. */
  except: readonly string[];
  containers: readonly Pick<Container, 'mounts'>[];
}

/**
 * The files that make the project's configuration: compose files and what they include or extend, env files, label files,
 * safe-update.yml; and what is mounted from the project's folder to be read only: secrets and configs from files, single
 * files and small folders. What belongs to it and cannot be had is in `missing`, in words. Reads only, and never throws.
 */
export async function findConfiguration(
  project: Project,
  model: ComposeModel,
  { interpolate, except, containers }: ConfigurationOptions,
): Promise<Configuration> {
  const files = new Set<string>();
  const missing: string[] = [];
  const used = new Set<string>();
  const setInFiles = new Set<string>();

  async function addEnvFile(file: string): Promise<boolean> {
    const text = await readFile(file, 'utf8').catch(() => undefined);
    if (text === undefined) return false;
    files.add(file);
    for (const name of Object.keys(parseEnv(text))) setInFiles.add(name);
    return true;
  }

  /** The names as compose would read them; what it cannot make out is undefined. */
  async function resolve(names: readonly string[], { envFiles }: Scope): Promise<(string | undefined)[]> {
    if (!names.some((name) => name.includes('$'))) return [...names];
    try {
      return await interpolate(names, envFiles);
    } catch {
      return names.map((name) => (name.includes('$') ? undefined : name));
    }
  }

  async function addCompose(file: string, scope: Scope): Promise<void> {
    if (files.has(file)) return;
    const text = await readFile(file, 'utf8').catch(() => undefined);
    if (text === undefined) return;
    files.add(file);
    for (const name of variablesIn(text)) used.add(name);
    const { included, named } = filesNamedBy(text);
    for (const include of included) await addIncluded(file, include, scope);
    const names = await resolve(
      named.map(({ name }) => name),
      scope,
    );
    for (const [index, { name, kind, optional }] of named.entries()) {
      const resolved = names[index];
      if (!follow(file, name, resolved)) continue;
      const absolute = path.resolve(scope.directory, resolved);
      if (kind === 'compose') {
        // What an extended file names starts at its own folder.
        if (await isThere(file, absolute))
          await addCompose(absolute, { ...scope, directory: path.dirname(absolute) });
      } else if (await isThere(file, absolute, optional)) files.add(absolute);
    }
  }

  async function addIncluded(file: string, include: NamedInclude, scope: Scope): Promise<void> {
    const names = [...include.paths, ...include.envFiles];
    const resolved = await resolve([...names, include.directory ?? ''], scope);
    const known: string[] = [];
    for (const [index, name] of names.entries()) {
      const result = resolved[index];
      if (!follow(file, name, result)) return;
      known.push(path.resolve(scope.directory, result));
    }
    const paths = known.slice(0, include.paths.length);
    const own = known.slice(include.paths.length);
    const [first = ''] = paths;
    const given = resolved.at(-1);
    const directory =
      include.directory === undefined || given === undefined
        ? path.dirname(first)
        : path.resolve(scope.directory, given);
    // Compose lets the files that include another one decide before that one's own variables.
    const envFiles: string[] = [];
    for (const envFile of own.length === 0 ? [path.join(directory, '.env')] : own) {
      if (await addEnvFile(envFile)) envFiles.push(envFile);
      else if (own.length > 0 && envFile !== '/dev/null') await isThere(file, envFile);
    }
    const inner = { directory, envFiles: [...envFiles, ...scope.envFiles] };
    for (const other of paths) if (await isThere(file, other)) await addCompose(other, inner);
  }

  function follow(file: string, name: string, resolved: string | undefined): resolved is string {
    if (resolved === undefined)
      missing.push(`${name}, named in ${file} (compose cannot tell which file that is)`);
    else if (isElsewhere(resolved)) missing.push(`${resolved}, named in ${file} (it is not on this machine)`);
    else if (resolved !== '') return true;
    return false;
  }

  async function isThere(file: string, named: string, optional = false): Promise<boolean> {
    try {
      return (await stat(named)).isFile();
    } catch (error) {
      const gone = (error as { code?: unknown }).code === 'ENOENT';
      if (!(gone && optional))
        missing.push(`${named}, named in ${file} (${gone ? 'it is not there' : messageOf(error)})`);
      return false;
    }
  }

  const defaultEnvFile = path.join(project.directory, '.env');
  const hasDefault = await addEnvFile(defaultEnvFile);
  for (const file of project.envFiles) await addEnvFile(file);
  const scope: Scope = {
    directory: project.directory,
    envFiles: project.envFiles.length > 0 ? project.envFiles : hasDefault ? [defaultEnvFile] : [],
  };
  for (const file of project.files) await addCompose(file, scope);
  missing.push(
    ...(await fromOutside(
      [...used].filter((name) => !setInFiles.has(name)),
      scope,
      interpolate,
    )),
  );
  for (const name of ['safe-update.yml', 'safe-update.yaml']) {
    const file = path.join(project.directory, name);
    if ((await stat(file).catch(() => undefined))?.isFile() === true) files.add(file);
  }

  const mounted = await findMounted(project, model, containers, except);
  return {
    files: [...files],
    mounted: mounted.files.filter((file) => !files.has(file)),
    folders: mounted.folders,
    missing: [...new Set([...missing, ...mounted.missing])],
  };
}

/** Variables that compose has a value for, and that no file sets: they are those of the shell that runs this. */
async function fromOutside(
  names: readonly string[],
  { envFiles }: Scope,
  interpolate: Interpolate,
): Promise<string[]> {
  const asked = names.filter((name) => !alwaysSet.includes(name)).sort();
  if (asked.length === 0) return [];
  const set = await interpolate(
    asked.map((name) => `\${${name}+set}`),
    envFiles,
  ).catch(() => undefined);
  // Left out in silence, one that is set would be blank in a restored project.
  if (set === undefined)
    return asked.map(
      (name) => `the value of ${name} (no file sets it, and compose does not say whether it is set)`,
    );
  return asked
    .filter((_, index) => set[index] === 'set')
    .map((name) => `the value of ${name} (from the environment; no file sets it)`);
}

/** Secrets and configs from files, wherever they are; and what is mounted from the project's folder, read-only everywhere. */
async function findMounted(
  project: Project,
  model: ComposeModel,
  containers: ConfigurationOptions['containers'],
  except: readonly string[],
): Promise<Omit<Configuration, 'mounted'>> {
  const found: Omit<Configuration, 'mounted'> = { files: [], folders: [], missing: [] };
  const objects = [...Object.values(model.secrets ?? {}), ...Object.values(model.configs ?? {})].flatMap(
    ({ file }) => file ?? [],
  );
  const binds = [
    ...Object.values(model.services).flatMap(({ volumes = [] }) =>
      volumes.flatMap(({ type, source, read_only }) =>
        type === 'bind' && source !== undefined ? [{ source, readOnly: read_only === true }] : [],
      ),
    ),
    ...containers.flatMap(({ mounts }) => mounts.filter(({ type }) => type === 'bind')),
  ];
  const written = new Set(binds.filter(({ readOnly }) => !readOnly).map(({ source }) => source));
  const read = binds
    .map(({ source }) => source)
    .filter((source) => !written.has(source) && isWithin(source, project.directory));
  for (const source of [...new Set([...objects, ...read])].sort()) {
    if (except.some((folder) => source === folder || isWithin(source, folder))) continue;
    try {
      const facts = await stat(source);
      if (facts.isFile()) {
        if (facts.size <= largestMount) found.files.push(source);
        else found.missing.push(tooLarge(source, facts.size));
      } else if (facts.isDirectory()) {
        const holds = except.find((folder) => isWithin(folder, source));
        if (holds === undefined) await addFolder(source);
        else found.missing.push(`${source} (mounted read-only; ${holds} is in it)`);
      }
    } catch (error) {
      found.missing.push(`${source} (${messageOf(error)})`);
    }
  }
  return found;

  async function addFolder(folder: string): Promise<void> {
    const inside: string[] = [];
    let bytes = 0;
    for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
      const file = path.join(entry.parentPath, entry.name);
      if (entry.isDirectory()) continue;
      if (!entry.isFile()) {
        found.missing.push(`${file} (mounted read-only; it is no ordinary file)`);
        continue;
      }
      bytes += (await lstat(file)).size;
      inside.push(file);
      if (bytes > largestMount || inside.length > 1000) {
        const size =
          bytes > largestMount ? tooLarge(folder) : `${folder} (mounted read-only; more than 1000 files)`;
        found.missing.push(size);
        return;
      }
    }
    found.files.push(...inside);
    found.folders.push(folder);
  }
}

function tooLarge(source: string, bytes?: number): string {
  const size = bytes === undefined ? '' : `${formatBytes(bytes)}, `;
  return `${source} (mounted read-only; ${size}more than ${formatBytes(largestMount)})`;
}

/** In the folder, and not the folder itself. */
function isWithin(file: string, folder: string): boolean {
  return file.startsWith(folder.replace(/\/*$/, '/')) && file !== folder;
}

/**
 * Reads what was found. A file that cannot be read any more, or that this user may not read, is in `missing`, in words.
 */
export async function readConfigFiles(
  project: Pick<Project, 'directory'>,
  configuration: Configuration,
): Promise<{ files: ConfigFile[]; missing: string[] }> {
  const found: ConfigFile[] = [];
  const missing: string[] = [];
  const names = new Set<string>();
  for (const file of [...configuration.files, ...configuration.mounted]) {
    try {
      const [content, { mode, uid, gid }] = await Promise.all([readFile(file), stat(file)]);
      // Two files of one name from two folders must not become one.
      const inside = path.relative(project.directory, file);
      const name = inside.startsWith('..') ? path.join('outside', file) : inside;
      let part = `config/files/${name.split(path.sep).join('/')}`;
      while (names.has(part)) part += '_';
      names.add(part);
      const owner = configuration.mounted.includes(file) ? { owner: { uid, gid } } : {};
      found.push({ from: file, part, mode: mode & 0o777, ...owner, content });
    } catch (error) {
      missing.push(`${file} (${messageOf(error)})`);
    }
  }
  return { files: found, missing };
}

interface NamedInclude {
  paths: string[];
  /** `project_directory`; absent: the folder of the first path. */
  directory?: string;
  envFiles: string[];
}

interface NamedFile {
  name: string;
  /** `compose`: a compose file, with names of its own. */
  kind: 'compose' | 'other';
  /** Compose does without it if it is not there. */
  optional: boolean;
}

/**
 * Files that a compose file names: include, extends, env_file and label_file, as they are written. Read from the text, not
 * from the rendered model, which no longer knows them. Pure.
 */
export function filesNamedBy(text: string): { included: NamedInclude[]; named: NamedFile[] } {
  const included: NamedInclude[] = [];
  const named: NamedFile[] = [];
  const list = (value: unknown): unknown[] =>
    Array.isArray(value) ? value : value === undefined || value === null ? [] : [value];
  const texts = (value: unknown): string[] => list(value).filter((item) => typeof item === 'string');
  const field = (value: unknown, name: string): unknown =>
    typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;

  for (const document of documentsIn(text)) {
    for (const include of list(field(document, 'include'))) {
      const [directory] = texts(field(include, 'project_directory'));
      included.push({
        paths: texts(typeof include === 'string' ? include : field(include, 'path')),
        ...(directory === undefined ? {} : { directory }),
        envFiles: texts(field(include, 'env_file')),
      });
    }
    const services = field(document, 'services');
    for (const service of typeof services === 'object' && services !== null ? Object.values(services) : []) {
      for (const name of texts(field(field(service, 'extends'), 'file')))
        named.push({ name, kind: 'compose', optional: false });
      for (const file of list(field(service, 'env_file'))) {
        const optional = field(file, 'required') === false;
        for (const name of texts(typeof file === 'string' ? file : field(file, 'path')))
          named.push({ name, kind: 'other', optional });
      }
      for (const name of texts(field(service, 'label_file')))
        named.push({ name, kind: 'other', optional: false });
    }
  }
  return { included, named };
}

/**
 * Names of the variables that a compose file takes a value from: `${NAME}` in any value, a variable that a service is handed
 * on without a value, and the `environment:` of a secret or config. Comments do not count. Pure.
 */
export function variablesIn(text: string): Set<string> {
  const found = new Set<string>();
  const entries = (value: unknown): [string, unknown][] =>
    typeof value === 'object' && value !== null ? Object.entries(value) : [];
  const field = (value: unknown, name: string): unknown => entries(value).find(([key]) => key === name)?.[1];
  const walk = (value: unknown): void => {
    if (typeof value === 'string') {
      for (const [, name = ''] of value.replaceAll('$$', '').matchAll(/\$\{?([A-Za-z_]\w*)/g))
        found.add(name);
    } else for (const [, item] of entries(value)) walk(item);
  };
  for (const document of documentsIn(text)) {
    walk(document);
    for (const [, service] of entries(field(document, 'services'))) {
      const environment = field(service, 'environment');
      for (const [key, value] of entries(environment)) {
        const entry = Array.isArray(environment) ? value : value === null ? key : undefined;
        if (typeof entry === 'string' && /^[A-Za-z_]\w*$/.test(entry)) found.add(entry);
      }
    }
    for (const section of ['secrets', 'configs'])
      for (const [, object] of entries(field(document, section))) {
        const name = field(object, 'environment');
        if (typeof name === 'string') found.add(name);
      }
  }
  return found;
}

/** What compose fetches from somewhere: an address, or a repository. */
function isElsewhere(name: string): boolean {
  return name.includes('://') || /^(?:git@|github\.com[/:])/.test(name);
}

/** A compose file may hold several documents, which compose merges. */
function documentsIn(text: string): unknown[] {
  try {
    const documents = parseAllDocuments(text, { merge: true, logLevel: 'silent' });
    return Array.isArray(documents) ? documents.map((document) => document.toJS() as unknown) : [];
  } catch {
    return [];
  }
}
