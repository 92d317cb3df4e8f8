import { containerPlaces, hostPlaces, placeAt, resolvePath } from './data-paths.ts';
import { flags, isOn, parseFlags, valueOf, type FlagTable } from './flags.ts';
import type { Invocation, Machine } from './invocation.ts';

const tables = {
  rm: flags(
    '-r -R --recursive',
    '-f --force',
    '-i',
    '-I',
    '-v --verbose',
    '-d --dir',
    '-x',
    '-P',
    '--help',
    '--version',
  ),
  mv: flags('-t --target-directory=', '-S --suffix=', '-f', '-n', '-v', '-u', '-T', '--help', '--version'),
  shred: flags(
    '-n --iterations=',
    '-s --size=',
    '--random-source=',
    '-u',
    '-z',
    '-v',
    '-f',
    '--help',
    '--version',
  ),
  truncate: flags('-s --size=', '-r --reference=', '-c', '-o', '--help', '--version'),
  rsync: flags(
    '-e --rsh=',
    '-f --filter=',
    '--exclude=',
    '--include=',
    '-T',
    '-B',
    '--delete',
    '-n --dry-run',
    '--help',
  ),
} satisfies Record<string, FlagTable>;

/** Commands on files that lose what they are given. */
export const fileCommands = new Set(['rm', 'unlink', 'shred', 'srm', 'wipe', 'mv', 'truncate', 'rsync']);

/** Given one of `fileCommands`, report it if it removes a place that holds data. */
export function judgeFiles(name: string, invocation: Invocation, machine: Machine): void {
  const table = Object.hasOwn(tables, name) ? tables[name as keyof typeof tables] : tables.rm;
  const parsed = parseFlags(table, invocation.words.slice(1), { interspersed: true });
  if (isOn(parsed, 'help') === 'yes' || isOn(parsed, 'version') === 'yes') return;
  const recursive = name === 'mv' || isOn(parsed, 'recursive') === 'yes';
  const except = parsed.given.get('exclude') ?? [];
  let paths = parsed.rest;
  if (name === 'mv' && valueOf(parsed, 'target-directory') === undefined) paths = paths.slice(0, -1);
  if (name === 'rsync') {
    const deletes = [...parsed.given.keys()].some((flag) => flag.startsWith('delete'));
    if (!deletes || isOn(parsed, 'dry-run') === 'yes') return;
    paths = paths.slice(-1).map((path) => path.replace(/^[^/:]*:/, ''));
  }
  judgePaths(paths, invocation, machine, { recursive, whole: recursive || name === 'rsync', except });
}

/** Report the first of these paths that takes a place with data along. Of the others, others may know more. */
function judgePaths(
  paths: readonly string[],
  invocation: Invocation,
  machine: Machine,
  { recursive, whole, except }: { recursive: boolean; whole: boolean; except: readonly string[] },
): void {
  const { inside, cwd } = invocation;
  const places =
    inside === undefined ? hostPlaces(machine.binds(invocation)) : containerPlaces(inside.volumes);
  const others: string[] = [];
  for (const path of paths) {
    const full = resolvePath(path, cwd);
    // A single file in a container may be a lock file; the whole of a folder may not.
    if (inside !== undefined && !whole && !/(^|\/)\*$/.test(full)) continue;
    const place = placeAt(full, places, recursive);
    if (place === undefined) {
      others.push(full);
      continue;
    }
    machine.report(invocation, {
      rule: inside === undefined ? 'data-path' : 'payload-files',
      loses: inside === undefined ? `what is at ${place}` : `the files on the volume at ${place}`,
    });
    return;
  }
  if (others.length === 0) return;
  machine.suspect(invocation, { paths: others, whole, except });
  const mounted = onHost(others, inside?.binds ?? [], whole);
  if (mounted.length === 0) return;
  const { route } = invocation;
  // What is mounted by its path here is gone here as well.
  const outside = { ...invocation, inside: undefined, cwd: route.cwd };
  machine.suspect(outside, { paths: mounted, whole, except });
}

/** Paths in a container as paths of the host, as far as they lead into what is mounted from there. */
function onHost(
  paths: readonly string[],
  binds: readonly { source: string; target: string }[],
  whole: boolean,
): string[] {
  return paths.flatMap((path) =>
    binds.flatMap(({ source, target }) => {
      const folder = target.replace(/\/+$/, '');
      if (path === folder || path.startsWith(`${folder}/`)) return [source + path.slice(folder.length)];
      return whole && placeAt(path, { roots: [target] }, true) !== undefined ? [source] : [];
    }),
  );
}
