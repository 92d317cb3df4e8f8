import { resolvePath } from './data-paths.ts';
import { flags, parseFlags, valueOf } from './flags.ts';
import { runFile } from './interpreters.ts';
import { startedThrough, type Invocation, type Machine } from './invocation.ts';
import { orderedFrom as recipesFrom, parseJustfile } from './justfile.ts';
import { parseMakefile, recipesOf } from './makefile.ts';
import { Exhausted } from './scope.ts';
import { orderedFrom, parseTaskfile } from './taskfile.ts';
import { isAllUnknown, isUnknown, PASSED, SOME } from './unknown.ts';
import { asWord, shownWords } from './words.ts';

const makeFlags = flags(
  '-C --directory=',
  '-f --file= --makefile=',
  '-E --eval=',
  '-I --include-dir=',
  '-o --old-file= --assume-old=',
  '-W --what-if= --new-file= --assume-new=',
  '-j --jobs=?',
  '-l --load-average --max-load=?',
  '-O --output-sync=?',
  '-n --dry-run --just-print --recon',
  '-h --help',
  '-v --version',
);

/** Judges what `make` runs, as far as its Makefile is at hand. */
export function runMake(words: readonly string[], given: Invocation, machine: Machine): string {
  const parsed = parseFlags(makeFlags, words, { interspersed: true, abbreviated: true });
  if (['help', 'version'].some((flag) => parsed.given.has(flag))) return SOME;
  // Each -C starts from the one before.
  const cwd = (parsed.given.get('directory') ?? []).reduce<string | undefined>(
    (before, folder) => resolvePath(folder, before),
    given.cwd,
  );
  const invocation = { ...given, cwd };
  const variables = new Map<string, string>();
  const targets: string[] = [];
  for (const word of parsed.rest) {
    const assigned = /^([\w.-]+)[:?+]?=(.*)$/s.exec(word);
    if (assigned !== null) variables.set(assigned[1] ?? '', assigned[2] ?? '');
    // `-j 4`
    else if (!/^\d+$/.test(word)) targets.push(word);
  }
  const files = parsed.given.get('file')?.slice(0, 8);
  const read = (name: string): string | undefined =>
    name === '-' ? given.stdin : machine.file(name, invocation);
  const texts =
    files === undefined
      ? ['GNUmakefile', 'makefile', 'Makefile']
          .map(read)
          .filter((text) => text !== undefined)
          .slice(0, 1)
      : files.map(read);
  // What is not there is left out, as with `-include`.
  const whole = [...(parsed.given.get('eval') ?? []), ...texts]
    .join('\n')
    .replace(/^(?:-|s)?include[ \t]+(.+)$/gm, (_, names: string) =>
      names
        .trim()
        .split(/\s+/)
        .map((name) => machine.file(name, invocation) ?? '')
        .join('\n'),
    );
  // A Makefile may export variables.
  const within = startedThrough(invocation, shownWords(invocation.words));
  const makefile = parseMakefile(whole, variables);
  const isAny = targets.some((word) => isUnknown(word) && !word.startsWith(PASSED));
  const wanted = isAny ? [...makefile.targets.keys()] : targets;
  // It shows what it would run, but what it needs to know for that it runs.
  for (const line of parsed.given.has('dry-run') ? makefile.always : recipesOf(makefile, wanted))
    machine.script(line.text, within);
  return SOME;
}

const justFlags = flags(
  '-f --justfile=',
  '-d --working-directory=',
  '-E --dotenv-path=',
  '--dotenv-filename=',
  '--shell=',
  '--shell-arg=',
  '--color=',
  '--command-color=',
  '--dump-format=',
  '--list-heading=',
  '--list-prefix=',
  '--chooser=',
  '--tempdir=',
  '--timestamp-format=',
  '-c --command',
  '-n --dry-run',
  '-l --list',
  '-s --show',
  '-h --help',
  '-V --version',
);

/** With these it only tells something. */
const justTells =
  'dry-run list show help version summary dump evaluate variables fmt init edit man completions'.split(' ');

/** How far up a justfile or a Taskfile is looked for. */
const mostFoldersUp = 8;

/** Judges what `just` runs, as far as its justfile is at hand. */
export function runJust(words: readonly string[], given: Invocation, machine: Machine): string {
  const parsed = parseFlags(justFlags, words, { interspersed: false });
  if (justTells.some((flag) => parsed.given.has(flag))) return SOME;
  if (parsed.given.has('command')) return machine.run({ ...given, words: parsed.rest });
  const values = new Map<string, string>();
  const asked = [...parsed.rest];
  while (asked[0] !== undefined && /^[A-Za-z_][\w-]*=/.test(asked[0])) {
    const [name = '', ...value] = asked.shift()?.split('=') ?? [];
    values.set(name, value.join('='));
  }
  // `just deploy/reset`: of the justfile in that folder.
  const [, below = '', recipe] = /^(.*\/)(.*)$/.exec(asked[0] ?? '') ?? [];
  if (recipe !== undefined) asked.splice(0, 1, ...(recipe === '' ? [] : [recipe]));
  const named = valueOf(parsed, 'justfile');
  const start = resolvePath(below === '' ? '.' : below, given.cwd);
  const places =
    named !== undefined
      ? [named]
      : foldersFrom(start).flatMap((folder) =>
          ['justfile', 'Justfile', '.justfile'].map((name) => `${folder}/${name}`),
        );
  for (const place of places) {
    const text = machine.file(place, given);
    if (text === undefined) continue;
    const folder = valueOf(parsed, 'working-directory') ?? resolvePath(`${place}/..`, undefined);
    const invocation = { ...given, cwd: resolvePath(folder, given.cwd) };
    const own = parseJustfile(text);
    const others = own.imports.map((file) => machine.file(file, invocation) ?? '');
    const justfile = others.length === 0 ? own : parseJustfile([text, ...others].join('\n'));
    const within = startedThrough(invocation, shownWords(invocation.words));
    for (const { lines, words } of recipesFrom(justfile, asked, values)) {
      // A first line with `#!` makes it one script; else each line is one of its own.
      const texts = lines.map((line) => line.text);
      if (texts[0]?.startsWith('#!') === true) runFile(texts.join('\n'), within, machine, words);
      else for (const line of texts) machine.script(line.replace(/^[@-]+/, ''), within, words);
    }
    return SOME;
  }
  return SOME;
}

/** A folder and those above it. */
function foldersFrom(start: string): string[] {
  return Array.from({ length: mostFoldersUp }, (_, up) =>
    resolvePath(`${start}/${'../'.repeat(up)}`, undefined),
  );
}

const taskFlags = flags(
  '-t --taskfile=',
  '-d --dir=',
  '-o --output=',
  '--output-group-begin=',
  '--output-group-end=',
  '-C --concurrency=',
  '-I --interval=',
  '--sort=',
  '--completion=',
  '--timeout=',
  '--expiry=',
  '-n --dry',
  '-l --list',
  '-a --list-all',
  '-g --global',
  '-i --init',
  '-h --help',
);

/** With these it runs no task. */
const taskTells = 'list list-all summary status init version help completion'.split(' ');

const taskfileNames = ['Taskfile', 'taskfile', 'Taskfile.dist', 'taskfile.dist'].flatMap((name) =>
  // In this order (https://taskfile.dev/docs/guide/running-tasks).
  ['yml', 'yaml'].map((ending) => `${name}.${ending}`),
);

/** How deep Taskfiles include each other, as far as it is followed, and how many are read. */
const mostIncludes = 4;
const mostTaskfiles = 100;

interface File {
  path: string;
  text: string;
}

/** Judges what `task` runs, as far as its Taskfile is at hand. Undefined: there is none, as for another program of that name. */
export function runTask(words: readonly string[], given: Invocation, machine: Machine): string | undefined {
  const end = words.indexOf('--');
  const args = end === -1 ? [] : words.slice(end + 1).map(asWord);
  const parsed = parseFlags(taskFlags, end === -1 ? words : words.slice(0, end), { interspersed: true });
  const variables = new Map<string, string>();
  const names: string[] = [];
  for (const word of parsed.rest) {
    const [, name, value = ''] = /^([A-Za-z_]\w*)=(.*)$/s.exec(word) ?? [];
    if (name === undefined) names.push(word);
    else variables.set(name, value);
  }
  const start = parsed.given.has('global')
    ? resolvePath('~', given.cwd)
    : resolvePath(valueOf(parsed, 'dir') ?? '.', given.cwd);
  const named = valueOf(parsed, 'taskfile');
  const first = named === undefined ? undefined : resolvePath(named, given.cwd);
  const root = first === undefined ? nearest(start) : fileAt(first);
  if (root === undefined) return undefined;
  if (taskTells.some((flag) => parsed.given.has(flag))) return SOME;
  const folder = valueOf(parsed, 'dir') === undefined ? resolvePath(`${root.path}/..`, undefined) : start;
  const within = startedThrough(given, shownWords(given.words));
  let taskfiles = 0;
  run(root, names.length === 0 ? ['default'] : names, variables, folder, 0);
  return SOME;

  function run(
    { path, text }: File,
    wanted: readonly string[],
    set: ReadonlyMap<string, string>,
    dir: string,
    depth: number,
  ): void {
    taskfiles += 1;
    if (taskfiles > mostTaskfiles) throw new Exhausted();
    const taskfile = parseTaskfile(text);
    // What it has by itself (https://taskfile.dev/docs/reference/templating).
    const beside = resolvePath(`${path}/..`, undefined);
    for (const [name, value] of [
      ['USER_WORKING_DIR', given.cwd],
      ['ROOT_DIR', resolvePath(`${root?.path ?? path}/..`, undefined)],
      ['TASKFILE_DIR', beside],
    ] as const)
      if (value !== undefined && !taskfile.variables.has(name)) taskfile.variables.set(name, value);
    const others: [string, ReadonlyMap<string, string>][] = [];
    const ordered = orderedFrom(taskfile, { names: wanted, variables: set, args }, (name, more) => {
      others.push([name, more]);
    });
    // It shows what it would run, but what it needs to know for that it runs.
    for (const { texts, dir: own } of parsed.given.has('dry') ? ordered.slice(0, 1) : ordered)
      for (const one of texts)
        machine.script(one, {
          ...within,
          cwd: own !== undefined && isUnknown(own) ? undefined : resolvePath(own ?? '.', dir),
        });
    for (const [name, more] of others) {
      if (depth >= mostIncludes) continue;
      const [space = '', ...rest] = name.split(':');
      const below = [rest.join(':') || 'default'];
      // `docs:build`, and `:build` of the first one.
      if (space === '' && root !== undefined) run(root, below, more, dir, depth + 1);
      for (const [own, include] of taskfile.includes) {
        const wantedOf =
          own === space || include.aliases.includes(space)
            ? below
            : include.isFlat || isAllUnknown(space)
              ? [name]
              : [];
        const file = wantedOf.length === 0 ? undefined : fileAt(resolvePath(include.file, beside));
        if (file !== undefined)
          run(
            file,
            wantedOf,
            more,
            include.dir === undefined ? dir : resolvePath(include.dir, beside),
            depth + 1,
          );
      }
    }
  }

  /** A Taskfile by its own name, or in a folder. */
  function fileAt(path: string): File | undefined {
    const text = /\.ya?ml$/.test(path) ? machine.file(path, given) : undefined;
    return text === undefined ? fileIn(path) : { path, text };
  }

  function fileIn(folder: string): File | undefined {
    for (const name of taskfileNames) {
      const path = `${folder}/${name}`;
      const text = machine.file(path, given);
      if (text !== undefined) return { path, text };
    }
    return undefined;
  }

  function nearest(start: string): File | undefined {
    for (const folder of foldersFrom(start)) {
      const file = fileIn(folder);
      if (file !== undefined) return file;
    }
    return undefined;
  }
}
