/** What the folders of a project say about where data is on this machine. Nothing is asked but the disk. */
import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { coversBindMount } from '../../config/bind-mounts.ts';
import type { Settings } from '../../config/schema.ts';
import { isServiceFolder, matches } from '../../guard/data-paths.ts';
import { isUnknown } from '../../guard/unknown.ts';
import { readRegular } from './regular.ts';

/** A place on the host that holds data. */
export interface Source {
  path: string;
  /** What would be lost, as a part of a sentence. */
  loses: string;
  /** Each single file in it counts; else a file may be a log or a lock, and only the whole of a folder counts. */
  strict: boolean;
}

/** A bind mount, as compose files or the engine say it. */
export interface Bind {
  source: string;
  target: string;
  readOnly: boolean;
  service: string;
}

const composeFile = /^(docker-)?compose([.-].*)?\.ya?ml$/i;

const configFiles = ['safe-update.yml', 'safe-update.yaml'];

/** What is made again by the next build, wherever it is; `.git` and the like are looked into by nobody. */
const made = new Set(
  (
    'node_modules dist build target out coverage venv __pycache__ .cache .git .gradle .mypy_cache .next .nuxt .output ' +
    '.parcel-cache .pytest_cache .ruff_cache .svelte-kit .terraform .tox .turbo .venv .vite'
  ).split(' '),
);

/** Whether a folder of this name holds what a build or a package manager has made. */
export function isMade(path: string): boolean {
  return made.has(basename(path));
}

/** A folder with compose files, or with settings of this program. */
export interface Place {
  folder: string;
  composeFiles: string[];
}

/** No folder is looked for further away than this, and no more of them are read. */
const mostUp = 32;
const deepest = 3;
const mostFolders = 300;
const mostEntries = 2000;

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).slice(0, mostEntries);
  } catch {
    return [];
  }
}

function placeIn(folder: string): Place | undefined {
  const names = namesIn(folder);
  const composeFiles = names.filter((name) => composeFile.test(name)).map((name) => join(folder, name));
  const isPlace = composeFiles.length > 0 || names.some((name) => configFiles.includes(name));
  return isPlace ? { folder, composeFiles } : undefined;
}

/** The project in a folder, or in the nearest one above it. */
export function placeAbove(start: string): Place | undefined {
  let folder = start;
  for (let up = 0; up < mostUp; up += 1) {
    const found = placeIn(folder);
    if (found !== undefined) return found;
    if (dirname(folder) === folder) return undefined;
    folder = dirname(folder);
  }
  return undefined;
}

/** The projects in a folder and a few folders down. */
export function placesBelow(start: string): Place[] {
  const found: Place[] = [];
  let level = [start];
  let left = mostFolders;
  for (let depth = 0; depth <= deepest && level.length > 0; depth += 1) {
    const next: string[] = [];
    for (const folder of level) {
      left -= 1;
      if (left < 0) return found;
      const place = placeIn(folder);
      if (place !== undefined) found.push(place);
      if (depth < deepest) next.push(...foldersIn(folder));
    }
    level = next;
  }
  return found;
}

function foldersIn(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .slice(0, mostEntries)
      .filter((one) => one.isDirectory() && !made.has(one.name))
      .map((one) => join(folder, one.name));
  } catch {
    return [];
  }
}

/** The file with the settings of a folder: in it, or in the nearest folder above it. */
export function configFileOf(folder: string): string | undefined {
  for (let at = folder; ; at = dirname(at)) {
    const found = configFiles.map((name) => join(at, name)).find((file) => existsSync(file));
    if (found !== undefined || dirname(at) === at) return found;
  }
}

/**
 * Whether a bind mount holds data: what the settings include, a database's folder, and each folder of the project that a service
 * can write to, unless it is the code that people work on.
 */
export function heldBy(
  { source, target, readOnly, service }: Bind,
  folder: string,
  settings: readonly Pick<Settings, 'bindMounts'>[],
): Source | undefined {
  const found = (strict: boolean): Source => ({
    ...{ path: source, strict },
    loses: `what is at ${source}, which the service ${service} has at ${target}`,
  });
  if (settings.some(({ bindMounts }) => coversBindMount(bindMounts.include, source))) return found(true);
  if (isServiceFolder(target)) return found(true);
  const isOwn = source !== folder && source.startsWith(folder + sep);
  if (readOnly || !isOwn) return undefined;
  if (isFile(source)) return /\.(db|sqlite3?)$/.test(source) ? found(true) : undefined;
  return isMade(source) || isCode(source) ? undefined : found(false);
}

/** What is at a path. Never throws: what may not be looked at is hidden. */
export function kindOf(path: string): 'folder' | 'file' | 'nothing' | 'hidden' {
  try {
    const about = statSync(path, { throwIfNoEntry: false });
    if (about === undefined) return 'nothing';
    return about.isDirectory() ? 'folder' : 'file';
  } catch {
    return 'hidden';
  }
}

/** Whether a path is a file; of what is not there, whether its name is one of a file. */
function isFile(path: string): boolean {
  const kind = kindOf(path);
  return kind === 'nothing' ? /[^/]\.[A-Za-z]\w{0,6}$/.test(basename(path)) : kind === 'file';
}

/** What only lies where code is. */
const codeFiles = new Set(
  (
    '.git Cargo.toml CMakeLists.txt Dockerfile Gemfile build.gradle composer.json deno.json go.mod manage.py mix.exs ' +
    'package.json pom.xml pyproject.toml requirements.txt setup.py tsconfig.json'
  ).split(' '),
);

/** Whether people work on what is in a folder: git knows its files, or it is made like that. */
function isCode(folder: string): boolean {
  return (
    basename(folder) === 'src' || namesIn(folder).some((name) => codeFiles.has(name)) || isTracked(folder)
  );
}

const longestIndex = 32 * 1024 * 1024;

/** Whether git knows files in a folder, besides those that only keep it there: `.gitkeep`, `.gitignore`, a README. */
function isTracked(folder: string): boolean {
  const root = repositoryOf(folder);
  if (root === undefined) return false;
  const file = join(root, '.git', 'index');
  // Names stand in it as they are, each with a zero at its end (gitformat-index, versions 2 and 3).
  const index = contentOf(file);
  const below = `${relative(root, folder).split(sep).join('/')}/`;
  for (let at = index.indexOf(below); at !== -1; at = index.indexOf(below, at + 1)) {
    const end = index.indexOf(0, at);
    const name = index.toString('utf8', at + below.length, end === -1 ? undefined : end);
    const isWhole = at === 0 || isBeforeName(index, at);
    if (isWhole && !/^(\.|readme(\.|$))/i.test(name.split('/').at(-1) ?? '')) return true;
  }
  return false;
}

/** Empty if it cannot be read. */
function contentOf(file: string): Buffer {
  try {
    const about = statSync(file);
    return about.isFile() && about.size <= longestIndex ? readFileSync(file) : Buffer.alloc(0);
  } catch {
    return Buffer.alloc(0);
  }
}

/** Whether a name begins there: before it are its flags, whose lower 12 bits are its length. */
function isBeforeName(index: Buffer, at: number): boolean {
  const end = index.indexOf(0, at);
  const length = (end === -1 ? index.length : end) - at;
  const said = at < 2 ? 0 : index.readUInt16BE(at - 2) & 0x0fff;
  return said === Math.min(length, 0x0fff);
}

function repositoryOf(start: string): string | undefined {
  for (let at = start; ; at = dirname(at)) {
    if (existsSync(join(at, '.git'))) return at;
    if (dirname(at) === at) return undefined;
  }
}

/** Whether git is told to leave a folder alone, as far as the plain lines of its files say. */
export function isIgnored(path: string): boolean {
  const root = repositoryOf(dirname(path));
  if (root === undefined) return false;
  for (let at = dirname(path); ; at = dirname(at)) {
    const files = [join(at, '.gitignore'), ...(at === root ? [join(at, '.git', 'info', 'exclude')] : [])];
    const lines = files.flatMap((file) => (readRegular(file) ?? '').split(/\r?\n/));
    if (lines.some((line) => line !== '' && !/^[#!]/.test(line) && isNamed(line, relative(at, path))))
      return true;
    if (at === root) return false;
  }
}

/** Whether a pattern of git or rsync names a path or a folder that it is in. */
export function isNamed(pattern: string, path: string): boolean {
  const plain = pattern
    .trim()
    .replace(/^\*\*\//, '')
    .replace(/(\/\*{0,3})+$/, '');
  const parts = path.split(/[\\/]/);
  const wanted = plain.replace(/^\//, '').split('/');
  const isLike = (one: string, part: string | undefined): boolean =>
    part !== undefined && (one === part || matches(one, part));
  if (wanted.length === 1 && !plain.startsWith('/')) return parts.some((part) => isLike(plain, part));
  return wanted.every((one, index) => isLike(one, parts[index]));
}

/** The part of a path before its first wildcard or unknown part. */
export function stemOf(path: string): string {
  const parts = path.split('/');
  const end = parts.findIndex((part) => /[*?[]/.test(part) || isUnknown(part));
  return end === -1 ? path : parts.slice(0, end).join('/') || '/';
}

/** Whether there is something to lose; what only keeps an empty folder in git does not count. What cannot be read does. */
export function hasContent(path: string): boolean {
  const kind = kindOf(path);
  if (kind !== 'folder') return kind !== 'nothing';
  try {
    return readdirSync(path).some((name) => name !== '.gitkeep' && name !== '.gitignore');
  } catch {
    return true;
  }
}

const resolved = new Map<string, string>();

/** A path with its symlinks resolved, as far as it exists. Looked up once. */
export function real(path: string): string {
  const before = resolved.get(path);
  if (before !== undefined) return before;
  const found = lookedUp(path);
  resolved.set(path, found);
  return found;
}

function lookedUp(path: string): string {
  for (let at = path, rest = ''; ; rest = join(basename(at), rest), at = dirname(at)) {
    try {
      return join(realpathSync(at), rest).replace(/(.)\/$/, '$1');
    } catch {
      if (dirname(at) === at) return path;
    }
  }
}

/** What lies beside the backups of each project: the journals of its runs. */
const journals = '.safe-update';

/**
 * Backups of this program by what is in the folders: around a path, and, with `whole`, below it. For those that are where no
 * settings say so.
 */
export function backupsAround(path: string, whole: boolean): Source[] {
  const stem = stemOf(path);
  const found = (folder: string): Source => ({
    ...{ path: folder, strict: true },
    loses: `the backups of safe-update in ${folder}`,
  });
  for (let at = stem, up = 0; up < 4 && dirname(at) !== at; at = dirname(at), up += 1)
    if (isBackups(at)) return [found(at)];
  if (!whole) return [];
  return [stem, ...foldersIn(stem)]
    .slice(0, mostFolders)
    .flatMap((folder) =>
      isBackups(folder) ? [found(folder)] : foldersIn(folder).filter(isBackups).slice(0, 1).map(found),
    );
}

/** The folder with the backups of a project. */
function isBackups(folder: string): boolean {
  if (basename(folder) === journals) return false;
  return existsSync(join(folder, journals)) || namesOfBackups(folder).length > 0;
}

function namesOfBackups(folder: string): string[] {
  return namesIn(folder)
    .filter((name) => /^[a-z][\w-]*-\d{8}_\d{6}/.test(name))
    .slice(0, 1)
    .filter((name) => existsSync(join(folder, name, 'manifest.json')));
}

/** The backup folders that the settings name; the usual one if nobody says. */
export function backupsOf(folder: string, settings: readonly Pick<Settings, 'backups'>[]): Source[] {
  const said = settings.map(({ backups }) => backups.directory);
  return [...new Set(said.length === 0 ? [resolve(folder, 'backups')] : said)].map((path) => ({
    ...{ path, strict: true },
    loses: `the backups of safe-update in ${path}`,
  }));
}
