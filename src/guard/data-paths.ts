import { isUnknown, known } from './unknown.ts';

/** Where engines keep volumes by default. `~` is anybody's home. */
const engineRoots = [
  '/var/lib/docker',
  '/var/lib/containers',
  '/var/lib/containerd',
  '/var/lib/nerdctl',
  '/var/lib/rancher',
  '/var/snap/docker',
  '~/.local/share/docker',
  '~/.local/share/containers',
  '~/.local/share/nerdctl',
  '~/.docker/desktop',
  '~/.colima',
  '~/.lima',
  '~/.orbstack',
  '~/Library/Containers/com.docker.docker',
  '~/Library/Group Containers/group.com.docker',
];

/** Where images of databases and the like keep their data, in the container. */
const containerFolders = [
  '/bitnami',
  '/data',
  '/opt/couchdb/data',
  '/prometheus',
  '/uploads',
  '/app/uploads',
  '/app/data',
  '/usr/share/elasticsearch/data',
  '/var/lib/cassandra',
  '/var/lib/clickhouse',
  '/var/lib/docker',
  '/var/lib/elasticsearch',
  '/var/lib/grafana',
  '/var/lib/influxdb',
  '/var/lib/influxdb2',
  '/var/lib/mariadb',
  '/var/lib/mongo',
  '/var/lib/mongodb',
  '/var/lib/mysql',
  '/var/lib/postgresql',
  '/var/lib/rabbitmq',
  '/var/lib/redis',
  '/var/opt/mssql',
  '/var/www/html/wp-content/uploads',
];

/** Whether a path, on the host or in a container, is one where data is kept. */
export function isDataFolder(path: string): boolean {
  const parsed = parse(path);
  return [engineRoots, containerFolders].some((roots) =>
    roots.some((root) => relation(parsed, root) === 'inside'),
  );
}

/** The engine's folders below a folder of the host, as paths from there: `/var/lib` has `/docker`. */
export function engineFoldersBelow(path: string): string[] {
  const parsed = parse(path);
  return engineRoots
    .filter((root) => relation(parsed, root) === 'around')
    .map((root) => `/${folderParts(root).parts.slice(parsed.parts.length).join('/')}`);
}

export interface Places {
  /** What may not go. */
  roots: readonly string[];
}

/** What may not go on the host: the engine's own folders, and the bind mounts that are known to hold data. */
export function hostPlaces(binds: readonly string[]): Places {
  return { roots: [...engineRoots, ...binds] };
}

/** What may not go in a container: its volumes, or where volumes usually are. */
export function containerPlaces(volumes: readonly string[] | undefined): Places {
  return { roots: volumes ?? containerFolders };
}

/** Join and tidy a path; `.` and `..` go. A relative one stays relative if the folder is not known. Pure. */
export function resolvePath(path: string, cwd: string | undefined): string {
  const home = path.replace(/^~[^/]*/, '~');
  const absolute =
    /^[/~]/.test(home) || home.startsWith('\uE000') || cwd === undefined ? home : `${cwd}/${home}`;
  const parts: string[] = [];
  for (const part of absolute.split('/')) {
    if (part === '' || part === '.') continue;
    if (part === '..' && parts.length > 0 && parts.at(-1) !== '..') parts.pop();
    else parts.push(part);
  }
  return `${absolute.startsWith('/') ? '/' : ''}${parts.join('/')}` || '.';
}

/** What a path starts from (the root, a home, or some folder), and what it goes through. */
interface ParsedPath {
  root: string;
  parts: readonly string[];
}

/**
 * How a path, which may hold wildcards and unknown parts, lies to a folder: it is that folder or in it, it is around it, or
 * neither. An unknown part is taken to be something else: `/var/lib/$APP` is not the engine's folder.
 */
function relation(path: ParsedPath, folder: string): 'inside' | 'around' | 'elsewhere' {
  const { root, parts } = folderParts(folder);
  if (path.root !== root) return 'elsewhere';
  for (const [index, part] of parts.entries()) {
    const mine = path.parts[index];
    if (mine === undefined) return 'around';
    if (mine === part) continue;
    if (isUnknown(mine) || !/[*?[]/.test(mine) || !wildcard(mine).test(part)) return 'elsewhere';
  }
  return 'inside';
}

function parse(path: string): ParsedPath {
  const text = homeless(path);
  return {
    root: /^[/~]/.exec(text)?.[0] ?? '',
    parts: text.split('/').filter((part) => part !== '' && part !== '.'),
  };
}

const folders = new Map<string, ParsedPath>();

/** A folder that paths are compared with, over and over. */
function folderParts(folder: string): ParsedPath {
  const before = folders.get(folder);
  if (before !== undefined) return before;
  if (folders.size >= 1000) folders.clear();
  const parsed = parse(folder);
  folders.set(folder, parsed);
  return parsed;
}

/** `/home/anna/.local` and `/root/.local` are homes, too. */
function homeless(path: string): string {
  return path.replace(/^(\/root|\/home\/[^/]+|\/Users\/[^/]+|\$HOME)(?=\/|$)/, '~');
}

const wildcards = new Map<string, RegExp>();

/** Linear in the length of what it is tested on, as `*` is the only repetition and what it tests is short. */
function wildcard(pattern: string): RegExp {
  const before = wildcards.get(pattern);
  if (before !== undefined) return before;
  const made = compiled(pattern);
  // A text that has hundreds of them has no use for the first ones.
  if (wildcards.size >= 200) wildcards.clear();
  wildcards.set(pattern, made);
  return made;
}

function compiled(pattern: string): RegExp {
  const source = known(pattern)
    .slice(0, 200)
    .replace(/\*+/g, '*')
    .replace(/[.+^${}()|\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.')
    .replace(/\[([^\]]*)\]/g, (_, set: string) => `[${set.replace(/^!/, '^').replace(/[[\]\\]/g, '\\$&')}]`)
    .replace(/\[(?![^[]*\])/g, '\\[');
  try {
    return new RegExp(`^${source}$`);
  } catch {
    return /^$/;
  }
}

/** Whether a shell pattern matches a name. */
export function matches(pattern: string, name: string): boolean {
  return /[*?[]/.test(pattern) && pattern.split('*').length <= 6 && wildcard(pattern).test(name);
}

/** The place that goes if a path goes; with `whole`, also if the path is around it. */
export function placeAt(path: string, places: Places, whole: boolean): string | undefined {
  // The engine's log files are not data.
  if (/^\/var\/lib\/docker\/containers\/.*(\.log|\*)$/.test(path)) return undefined;
  const parsed = parse(path);
  return places.roots.find((root) => {
    const how = relation(parsed, root);
    return how === 'inside' || (how === 'around' && whole);
  });
}
