import { isUnknown, known, quoted, SOME } from './unknown.ts';

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
const serviceFolders = [
  '/bitnami',
  '/data/db',
  '/home/node/.n8n',
  '/meili_data',
  '/nexus-data',
  '/opt/couchdb/data',
  '/prometheus',
  '/qdrant/storage',
  '/usr/share/elasticsearch/data',
  '/var/jenkins_home',
  '/var/lib/cassandra',
  '/var/lib/clickhouse',
  '/var/lib/docker',
  '/var/lib/elasticsearch',
  '/var/lib/ghost/content',
  '/var/lib/grafana',
  '/var/lib/influxdb',
  '/var/lib/influxdb2',
  '/var/lib/kafka',
  '/var/lib/mariadb',
  '/var/lib/mongo',
  '/var/lib/mongodb',
  '/var/lib/mysql',
  '/var/lib/neo4j',
  '/var/lib/postgresql',
  '/var/lib/rabbitmq',
  '/var/lib/redis',
  '/var/lib/registry',
  '/var/opt/gitlab',
  '/var/opt/mssql',
  '/var/www/html/data',
  '/var/www/html/wp-content/uploads',
];

/** Data are kept here as well, but as often whatever is worked on. */
const commonFolders = ['/data', '/uploads', '/app/uploads', '/app/data'];

const containerFolders = [...serviceFolders, ...commonFolders];

/** Whether a path, on the host or in a container, is one where data is kept. */
export function isDataFolder(path: string): boolean {
  return isServiceFolder(path) || isInside(path, commonFolders);
}

/** Whether a path is one where nothing but data is kept. */
export function isServiceFolder(path: string): boolean {
  return isInside(path, engineRoots) || isInside(path, serviceFolders);
}

function isInside(path: string, roots: readonly string[]): boolean {
  const parsed = parse(path);
  return roots.some((root) => relation(parsed, root) === 'inside');
}

/** Where containers usually have their data, but for what is in these folders. */
export function dataFoldersBut(folders: readonly string[]): string[] {
  return containerFolders.filter((folder) => !isInside(folder, folders));
}

/** The engine's folders below a folder of the host, as paths from there: `/var/lib` has `/docker`. */
export function engineFoldersBelow(path: string): string[] {
  const parsed = parse(path);
  return engineRoots
    .filter((root) => relation(parsed, root) === 'around')
    .map((root) => `/${folderParts(root).parts.slice(parsed.parts.length).join('/')}`);
}

/**
 * What find may find by a name below a folder: there, anywhere further down, and, as it may be around a place with data,
 * each folder by this name on the way to one.
 */
export function namedBelow(folder: string, name: string, { roots }: Places): string[] {
  const from = folder.replace(/\/$/, '');
  const parsed = parse(folder);
  const above = roots
    .filter((root) => relation(parsed, root) === 'around')
    .flatMap((root) => {
      const { parts } = folderParts(root);
      const below = parts.slice(parsed.parts.length);
      return below.flatMap((part, index) =>
        part === name || matches(name, part) ? [[from, ...below.slice(0, index + 1)].join('/')] : [],
      );
    });
  return [`${from}/${name}`, `${from}/${SOME}/${name}`, ...new Set(above)];
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
  // What starts with something unknown may start anywhere, but where the engine's folders are it is one of them.
  const isFree = home.startsWith(SOME) && !isInside(cwd ?? '', engineRoots);
  const absolute = /^[/~]/.test(home) || isFree || cwd === undefined ? home : `${cwd}/${home}`;
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
  /** It has no wildcards and nothing unknown. */
  isPlain: boolean;
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
    if (path.isPlain) return 'elsewhere';
    // Both unknown: `-v "$VOLUME:$DIR"`, and then `rm -rf "$DIR"`.
    if (isUnknown(mine) && isUnknown(part) && quoted(mine) === quoted(part)) continue;
    if (isUnknown(mine) || !isPattern(mine) || !fits(mine, part)) return 'elsewhere';
  }
  return 'inside';
}

function parse(path: string): ParsedPath {
  const text = homeless(path);
  return {
    root: /^[/~]/.exec(text)?.[0] ?? '',
    parts: text.split('/').filter((part) => part !== '' && part !== '.'),
    isPlain: !isUnknown(text) && !isPattern(text),
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

/** A letter of a pattern, as what it stands for; a star stands for any number of them. */
type Letter = '*' | ((letter: string) => boolean);

const patterns = new Map<string, readonly Letter[]>();

function isPattern(text: string): boolean {
  return /[*?[]/.test(text);
}

/** Whether a shell pattern is one for this text. Each star is tried once, so that it takes no longer than both are long. */
function fits(pattern: string, text: string): boolean {
  const letters = lettersOf(pattern);
  let at = 0;
  let letter = 0;
  let star = -1;
  let afterStar = 0;
  while (at < text.length) {
    const one = letters[letter];
    if (one === '*') {
      star = letter;
      letter += 1;
      afterStar = at;
    } else if (one?.(text.charAt(at)) === true) {
      at += 1;
      letter += 1;
    } else {
      if (star === -1) return false;
      afterStar += 1;
      at = afterStar;
      letter = star + 1;
    }
  }
  return letters.slice(letter).every((one) => one === '*');
}

function lettersOf(pattern: string): readonly Letter[] {
  const before = patterns.get(pattern);
  if (before !== undefined) return before;
  const made = compiled(known(pattern).slice(0, 200));
  // A text that has hundreds of them has no use for the first ones.
  if (patterns.size >= 200) patterns.clear();
  patterns.set(pattern, made);
  return made;
}

function compiled(pattern: string): Letter[] {
  return [...pattern.matchAll(/\*+|\[[^\]]+\]|./gs)].map(([piece]) => {
    if (piece.startsWith('*')) return '*';
    if (piece === '?') return () => true;
    return piece.length > 1 ? setOf(piece.slice(1, -1)) : (letter) => letter === piece;
  });
}

/** `a-z` or `!a-z`, without its brackets. */
function setOf(letters: string): Letter {
  try {
    const set = new RegExp(`[${letters.replace(/^!/, '^').replace(/[[\]\\]/g, '\\$&')}]`);
    return (letter) => set.test(letter);
  } catch {
    return () => false;
  }
}

/** Whether a shell pattern matches a name. */
export function matches(pattern: string, name: string): boolean {
  return isPattern(pattern) && fits(pattern, name);
}

/** The place that goes if a path goes; with `whole`, also if the path is around it. */
export function placeAt(path: string, places: Places, whole: boolean): string | undefined {
  if (isWithoutData(path)) return undefined;
  const parsed = parse(path);
  return places.roots.find((root) => {
    const how = relation(parsed, root);
    return how === 'inside' || (how === 'around' && whole);
  });
}

/** The engine's log files, what it has half done, and what builds have cached. */
function isWithoutData(path: string): boolean {
  // Somewhere below: what find has found by that name.
  if (/^\/var\/lib\/docker\/(\uE000\/)?\*-json\.log$/.test(path)) return true;
  return /^\/var\/lib\/docker\/(containers\/.*(\.log|\*)$|(tmp|buildkit)(\/|$))/.test(path);
}
