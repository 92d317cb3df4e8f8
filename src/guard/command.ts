import { matches, resolvePath } from './data-paths.ts';
import { judgeDatabase } from './databases.ts';
import { fileCommands, judgeFiles } from './files.ts';
import { flags, parseFlags, valueOf, type FlagTable } from './flags.ts';
import { judgeCompose } from './grammar/compose.ts';
import { judgeEngine, type EngineName } from './grammar/engine.ts';
import { judgeHttp, judgeRaw, rawClients } from './http.ts';
import { isShell, runFile, runInterpreter, runShell, standardInput } from './interpreters.ts';
import { startedThrough, type Invocation, type Machine } from './invocation.ts';
import { formatted, printed } from './printers.ts';
import { runJust, runMake, runTask } from './task-files.ts';
import { isAllUnknown, isUnknown, known, PASSED, SOME } from './unknown.ts';
import { asWord, shownWords } from './words.ts';
import { unwrap } from './wrappers.ts';

/** Front ends by the name of their binary. */
const engines: Record<string, EngineName> = {
  docker: 'docker',
  podman: 'podman',
  'podman-remote': 'podman',
  nerdctl: 'nerdctl',
  'nerdctl.lima': 'nerdctl',
  finch: 'nerdctl',
};

const composes: Record<string, { name: string; abbreviated: boolean }> = {
  'docker-compose': { name: 'docker-compose', abbreviated: true },
  'docker-compose-v1': { name: 'docker-compose', abbreviated: true },
  'podman-compose': { name: 'podman-compose', abbreviated: true },
  'podman-docker-compose': { name: 'docker-compose', abbreviated: true },
  // Laravel's wrapper passes everything on.
  sail: { name: 'sail', abbreviated: false },
  dc: { name: 'docker compose', abbreviated: true },
  dco: { name: 'docker compose', abbreviated: true },
};

/** Commands that a pattern such as `/usr/bin/d?cker` may mean. */
export const commandNames = [
  ...Object.keys(engines),
  'docker-compose',
  'podman-compose',
  'sh',
  'bash',
  'sudo',
  'env',
  'rm',
];

/** Commands that only speak of what they are given. */
const speaking = new Set(
  (
    ': [ test true false alias apropos apt apt-get ack ag aptitude asciinema brew bat cat chmod chown cheat code compgen ' +
    'complete cp curl-config cut cal date diff df dirname dnf dpkg du echo ed egrep emacs env-vars exit expr false fgrep ' +
    'file gh git glab grep groff hash head help hexdump history info install jira journalctl jq kill killall less ln ' +
    'local locate logger ls lsof mail man md5sum mkdir more msgfmt nano nc ncal notify-send nvim od open pacman pgrep pip ' +
    'pip3 pkill printf ps pwd readlink return rg say sed seq service sha256sum shellcheck shfmt sleep snap sort ssh-add ' +
    'stat strings systemctl tail tar tee terraform tldr touch tput tr tree type umask uniq vi vim wall wc wget whatis ' +
    'whereis which whoami write xdg-open yq yum zcat zgrep zip unzip gzip gunzip read unalias let continue break ' +
    'safe-update hadolint actionlint dockerfmt prettier eslint trivy go cargo ' +
    // Messages of scripts.
    'log log_info log_warn log_error info warn warning error err die fatal fail debug notice success abort panic ' +
    // Tests by name, agents that are asked something, searches.
    'vitest jest mocha pytest ava playwright claude codex gemini aider llm fzf sd ast-grep semgrep atuin ugrep'
  ).split(' '),
);

/** Given a command whose expansions are done, judge it and whatever it runs. Returns what it would print. */
export function runCommand(invocation: Invocation, machine: Machine): string {
  const [first = '', ...rest] = invocation.words;
  if (isAllUnknown(first)) return runUnknown(rest, invocation, machine);
  const name = nameOf(first);

  const engine = Object.hasOwn(engines, name) ? engines[name] : undefined;
  if (engine !== undefined) {
    const output = judgeEngine(engine, rest, invocation, machine);
    return formatted(rest) ?? output;
  }
  const compose = Object.hasOwn(composes, name) ? composes[name] : undefined;
  if (compose !== undefined) {
    judgeCompose(rest, invocation, machine, compose);
    return SOME;
  }
  if (isShell(name)) return runShell({ ...invocation, stdin: standardInput(invocation, machine) }, machine);
  if (judgeOwn(name, rest, invocation, machine)) return '';
  if (resets(name, rest)) {
    machine.report(invocation, { rule: 'engine-reset' });
    return SOME;
  }
  const wrapped = unwrap(name, invocation, machine);
  if (wrapped !== undefined) return wrapped;
  if (invocation.inside !== undefined && Object.hasOwn(packagers, name))
    judgeDatabase(name, invocation, machine);
  const packaged = runPackage(name, rest, invocation, machine);
  if (packaged !== undefined) return packaged;
  const interpreted = runInterpreter(
    name,
    { ...invocation, stdin: standardInput(invocation, machine) },
    machine,
  );
  if (interpreted !== undefined) {
    if (invocation.inside !== undefined) judgeDatabase(name, invocation, machine);
    return interpreted;
  }
  if (fileCommands.has(name)) {
    judgeFiles(name, invocation, machine);
    return '';
  }
  if (name === 'curl' || name === 'wget' || name === 'http' || name === 'xh') {
    judgeHttp(name, invocation, machine);
    return SOME;
  }
  if (rawClients.has(name)) {
    judgeRaw(invocation, machine);
    return SOME;
  }
  if (name === 'make' || name === 'gmake') return runMake(rest, invocation, machine);
  if (name === 'just') return runJust(rest, invocation, machine);
  if (name === 'task' || name === 'go-task') {
    const ran = runTask(rest, invocation, machine);
    if (ran !== undefined) return ran;
  }
  if (invocation.inside !== undefined) judgeDatabase(name, invocation, machine);

  const text = printed(name, invocation, machine);
  if (text !== undefined) {
    if (name === 'tee')
      for (const file of rest.filter((word) => !word.startsWith('-'))) machine.write(file, text, invocation);
    return text;
  }
  if (speaking.has(name)) return SOME;
  if (first.includes('/') || /\.(sh|bash|zsh|py|js|rb|pl)$/.test(first)) {
    const script = machine.file(first, invocation);
    if (script !== undefined) return runFile(script, invocation, machine, rest, first);
  }
  if (!isOurs(name, rest)) guessAt(rest, invocation, machine);
  return SOME;
}

/** What runs this program, besides its own name: node with its file, package managers with its package. */
const runners = new Set([
  'node',
  'nodejs',
  'bun',
  'deno',
  'tsx',
  'npx',
  'bunx',
  'pnpx',
  'npm',
  'pnpm',
  'yarn',
]);

const ownName = /^(safe-update(@.*)?|bin\.[cm]?[jt]s)$/;

/** Commands of ours with which the guard lets itself be overruled. They are for people. */
const overruling = new Set(['uninstall', 'approve']);

/** `./dist/bin.js guard check -- docker compose down -v` asks, and runs nothing. */
function isOurs(name: string, rest: readonly string[]): boolean {
  return ownName.test(name) && rest[0] === 'guard' && !isUnknown(rest[1] ?? '');
}

/** `safe-update guard uninstall|approve`, also by node or npx. Returns whether it was reported. */
function judgeOwn(name: string, rest: readonly string[], invocation: Invocation, machine: Machine): boolean {
  const words = [name, ...rest];
  const own = words.findIndex((word) => ownName.test(nameOf(word)));
  if (own === -1 || (own > 0 && !runners.has(name))) return false;
  const [guard = '', verb = '', ...flags] = words.slice(own + 1).filter((word) => word !== '--');
  const unknown = isAllUnknown(verb) && !verb.startsWith(PASSED);
  if (guard !== 'guard' || !(overruling.has(verb) || unknown)) return false;
  if (flags.some((word) => word === '--dry-run' || word === '--help' || word === '-h')) return false;
  machine.report(invocation, { rule: 'guard-off' });
  return true;
}

/** As it is packaged and downloaded: `docker.compose`, `docker-compose-1.29.2`, `docker-compose-linux-x86_64`. */
const composeBinary = /^docker[-.]compose(-v?\d[\w.]*|-(linux|darwin|windows)-\w+)?$/;

/** The last part of a path, without what only Windows adds. A part nobody knows is left out: `$BIN/docker`. */
function nameOf(word: string): string {
  const name = known(word.split(/[/\\]/).at(-1) ?? '');
  // Not by patterns with the flag i: the first of those takes V8 as long as half of a verdict.
  const lower = name.toLowerCase();
  const length = lower.endsWith('.exe') ? -4 : undefined;
  const plain = lower.slice(0, length);
  if (composeBinary.test(plain)) return 'docker-compose';
  return plain === 'docker' || plain === 'podman' || plain === 'podman-compose'
    ? plain
    : name.slice(0, length);
}

/** A command of which not even the name is known: nothing but the rest, or one of the engines. */
function runUnknown(rest: readonly string[], invocation: Invocation, machine: Machine): string {
  if (rest.length === 0) return SOME;
  machine.run({ ...startedThrough(invocation, shownWords(invocation.words)), words: rest });
  const guess = { ...invocation, guess: true };
  if (!isAllUnknown(rest[0] ?? '')) {
    machine.run({ ...guess, words: ['docker', ...rest] });
    machine.run({ ...guess, words: ['docker', 'compose', ...rest] });
  }
  return SOME;
}

/** Cheap, for commands with thousands of arguments: nothing else can be the name of a front end, a shell or sudo. */
const mayStart = /docker|podman|nerdctl|finch|sudo|sh|nu|cmd|make|npm|yarn|bun|[*?[\uE000-\uE003]/i;

/** Arguments that are longer than this are no commands. */
const longestGuess = 4000;

/** Flags whose value speaks of something: the name of a test, a message. */
const mentioning =
  /^(-t|-k|--(message|title|body|summary|description|subject|comment|query|grep|prompt|text|testNamePattern))$/;

/** A command nobody knows may run what it is given: `retry 3 docker volume rm x`, `with-env 'docker compose down -v'`. */
function guessAt(words: readonly string[], invocation: Invocation, machine: Machine): void {
  const guess = { ...invocation, stdin: undefined, guess: true };
  const runAt = (at: number, stdin: string | undefined): void => {
    if (at !== -1) machine.run({ ...guess, stdin, words: words.slice(at) });
  };
  const maybe = (word: string): boolean => mayStart.test(word) && /[a-z]/i.test(word);
  const at = words.findIndex((word, index) => maybe(word) && mayBegin(nameOf(word), words[index + 1]));
  runAt(at, undefined);
  // Not `--lang bash`.
  const shell = words.findIndex(
    (word, index) =>
      maybe(word) && (word === 'ssh' || isShell(nameOf(word))) && !/^--?\w/.test(words[index - 1] ?? ''),
  );
  if (shell < at || at === -1) runAt(shell, invocation.stdin);
  for (const [index, word] of words.entries()) {
    if (!/\s/.test(word) || !mayStart.test(word) || mentioning.test(words[index - 1] ?? '')) continue;
    const text = word.replace(/^--?[\w-]+=/, '').slice(0, longestGuess);
    const starts = text.matchAll(/(?:^|[;&|({\n])[ \t]*(?:sudo[ \t]+)?([^\s;&|({]+)(?=\s)/g);
    if (/\s/.test(text) && [...starts].some(([, start = '']) => isFront(nameOf(start))))
      machine.script(text, guess);
  }
}

/** Whether a command may begin with this word, in the middle of another. */
function mayBegin(name: string, next: string | undefined): boolean {
  if (isFront(name) || name === 'sudo') return true;
  if (name === 'make' || name === 'gmake') return next !== undefined && !next.startsWith('-');
  return Object.hasOwn(packagers, name) && next === 'run';
}

function isFront(name: string): boolean {
  return (
    Object.hasOwn(engines, name) ||
    /^(docker|podman)-compose$/.test(name) ||
    // A pattern without a letter may be anything, and is meant to be nothing of this.
    (/[a-z]/i.test(name) && commandNames.some((one) => matches(name, one)))
  );
}

/** Commands that delete the machine in which an engine runs. */
function resets(name: string, words: readonly string[]): boolean {
  if (words.includes('--help') || words.includes('-h')) return false;
  const [first, second] = words.filter((word) => !word.startsWith('-'));
  switch (name) {
    case 'colima':
    case 'limactl':
    case 'lima':
    case 'orb':
    case 'orbctl':
      return (
        ['delete', 'remove', 'rm', 'prune', 'reset', 'factory-reset'].includes(first ?? '') &&
        !(name === 'colima' && first === 'prune')
      );
    case 'rdctl':
      return first === 'factory-reset' || (first === 'reset' && second !== 'cache');
    case 'docker-machine':
      return first === 'rm';
    case 'wsl': {
      const machine = words[words.indexOf('--unregister') + 1] ?? '';
      return words.includes('--unregister') && /docker|podman|rancher/i.test(machine);
    }
    case 'snap':
      return first === 'remove' && words.includes('--purge') && words.includes('docker');
    default:
      return false;
  }
}

interface Packager {
  flags: FlagTable;
  /** Its flags count after the script's name, too. Else they are the script's. */
  interspersed?: boolean;
  /** Scripts that need no `run` before them. Without this, whatever is no command of its own. */
  direct?: readonly string[];
  /** Every word is a script. */
  all?: boolean;
  /** What is no script may be a file of code. */
  interprets?: boolean;
  /** Where its scripts are, if not in package.json. */
  file?: string;
}

/** Package managers, and what else runs the scripts of a package.json. */
const packagers: Record<string, Packager> = {
  npm: {
    flags: flags(
      '-C --prefix=',
      '-w --workspace=',
      '--loglevel=',
      '--script-shell=',
      '--registry=',
      '--cache=',
    ),
    interspersed: true,
    direct: ['test', 't', 'tst', 'start', 'stop', 'restart'],
  },
  yarn: { flags: flags('--cwd=', '--registry=', '--cache-folder=') },
  pnpm: {
    flags: flags('-C --dir --prefix=', '-F --filter=', '--filter-prod=', '--loglevel=', '--reporter='),
  },
  bun: {
    flags: flags(
      '--cwd=',
      '-F --filter=',
      '--env-file=',
      '-c --config=',
      '-r --preload=',
      '-e --eval=',
      '-p --print=',
    ),
    interprets: true,
  },
  deno: { flags: flags('--cwd=', '-c --config='), direct: [], interprets: true },
  node: { flags: flags('--run='), direct: [], interprets: true },
  composer: { flags: flags('-d --working-dir='), file: 'composer.json' },
  'npm-run-all': { flags: flags('--max-parallel='), all: true },
  'run-s': { flags: flags(), all: true },
  'run-p': { flags: flags('--max-parallel='), all: true },
};

const npxFlags = flags('-p --package=', '-c --call=', '-w --workspace=');

const running = new Set(['run', 'run-script', 'rum', 'task']);

/** Commands of package managers that are no scripts. */
const managing = new Set(
  (
    'add audit bin cache ci config create dedupe env fetch help import info init install link list ls outdated pack ' +
    'patch prune publish rebuild remove rm search store unlink update up upgrade version why x'
  ).split(' '),
);

/** What a package manager is told to run. */
interface Order {
  /** Scripts by name; empty if it is told something else. */
  scripts: string[];
  args: string[];
  /** The folder of the project, as a beginning of paths. */
  folder: string;
  /** Packages of the project, by name or folder. */
  members: string[];
  /** It may be a program as well as a script. */
  isProgram: boolean;
  /** Where the scripts are. */
  files: readonly string[];
}

function orderOf(name: string, packager: Packager, words: readonly string[]): Order {
  const end = words.indexOf('--');
  const rules = { interspersed: packager.interspersed === true };
  const first = parseFlags(packager.flags, end === -1 ? words : words.slice(0, end), rules);
  const members = name === 'yarn' && first.rest[0] === 'workspace' ? first.rest.splice(0, 2).slice(1) : [];
  const isRun = running.has(first.rest[0] ?? '');
  const then = parseFlags(packager.flags, isRun ? first.rest.slice(1) : [], rules);
  const valuesOf = (...flagNames: string[]): string[] =>
    flagNames.flatMap((flag) => [...(first.given.get(flag) ?? []), ...(then.given.get(flag) ?? [])]);
  const [script = '', ...args] = isRun ? then.rest : first.rest;
  const isScript = isRun || (packager.direct?.includes(script) ?? !managing.has(script));
  const passed = end === -1 ? [] : words.slice(end + 1);
  const folder = valuesOf('prefix', 'cwd', 'dir', 'working-dir').at(-1);
  const named = { t: 'test', tst: 'test' }[script] ?? script;
  return {
    scripts: [
      ...valuesOf('run'),
      ...(script === '' || !isScript ? [] : packager.all === true ? [script, ...args] : [named]),
    ],
    args: packager.all === true ? passed : [...args, ...passed],
    folder: folder === undefined ? '' : `${folder}/`,
    members: [...members, ...valuesOf('workspace', 'filter')],
    isProgram: !isRun && packager.direct === undefined,
    files: packager.file === undefined ? ['package.json', 'deno.json'] : [packager.file],
  };
}

/** What runs a script of a package.json, or a program of a package. Undefined if it is nothing of the kind. */
function runPackage(
  name: string,
  words: readonly string[],
  given: Invocation,
  machine: Machine,
): string | undefined {
  if (name === 'npx' || name === 'bunx' || name === 'pnpx') {
    const parsed = parseFlags(npxFlags, words, { interspersed: false });
    const text = valueOf(parsed, 'call');
    return text === undefined ? machine.run({ ...given, words: parsed.rest }) : machine.script(text, given);
  }
  const packager = Object.hasOwn(packagers, name) ? packagers[name] : undefined;
  if (packager === undefined) return undefined;
  const order = orderOf(name, packager, words);
  const invocation = startedThrough(given, shownWords(given.words));
  const isFound = foldersOf(order, invocation, machine)
    .map((folder) => runScripts(order, folder, invocation, machine))
    .includes(true);
  if (isFound) return SOME;
  if (packager.interprets === true) return undefined;
  const [program] = order.scripts;
  if (order.isProgram && program !== undefined)
    machine.run({ ...invocation, guess: true, words: [program, ...order.args] });
  else guessAt(words, invocation, machine);
  return SOME;
}

/** Where packages of a project are, besides where its package.json says. */
const usualPlaces = ['*', 'packages/*', 'apps/*', 'services/*'];

/** Folders whose scripts are meant. */
function foldersOf(order: Order, invocation: Invocation, machine: Machine): string[] {
  const { scripts, folder, members } = order;
  if (scripts.length === 0) return [];
  if (members.length === 0) return [folder];
  const root = parsed(machine.file(`${folder}package.json`, invocation))['workspaces'];
  const listed = Array.isArray(root) ? root : namesOf(root)['packages'];
  const places = [...(Array.isArray(listed) ? listed.slice(0, 8).map(String) : []), ...usualPlaces];
  return members.slice(0, 8).flatMap((member) => {
    const plain = member.replace(/\.{3}|[{}]/g, '');
    const last = plain.split('/').at(-1) ?? plain;
    return [`${plain}/`, ...places.map((place) => `${place.replace('*', last)}/`)].map(
      (place) => `${folder}${place}`,
    );
  });
}

/** Runs these scripts of the package in a folder. Returns whether there are any. */
function runScripts(order: Order, folder: string, invocation: Invocation, machine: Machine): boolean {
  const scripts = order.files.reduce<Record<string, unknown>>((all, file) => {
    const content = parsed(machine.file(`${folder}${file}`, invocation));
    return { ...all, ...namesOf(content['scripts']), ...namesOf(content['tasks']) };
  }, {});
  const inner = folder === '' ? invocation : { ...invocation, cwd: resolvePath(folder, invocation.cwd) };
  const wanted = order.scripts.slice(0, 100).flatMap((name) => namedScripts(name, scripts));
  for (const name of wanted)
    for (const each of [`pre${name}`, name, `post${name}`]) {
      const text = Object.hasOwn(scripts, each) ? scripts[each] : undefined;
      const args = each === name ? order.args.map(asWord) : [];
      for (const one of Array.isArray(text) ? text : [text])
        if (typeof one === 'string') machine.script([composed(one), ...args].join(' '), inner);
    }
  return wanted.length > 0;
}

/** What Composer means by `@php x`, `@putenv X=y` and `@other-script`, as a shell would say it. */
function composed(text: string): string {
  return text.replace(/^@(putenv |(?:php|composer)\b)?/, (_, word?: string) =>
    word === undefined ? 'composer ' : word === 'putenv ' ? 'export ' : word,
  );
}

/** `build:*` are all scripts whose names begin so. Words after the name are given to the script. */
function namedScripts(wanted: string, scripts: Record<string, unknown>): string[] {
  const [name = ''] = wanted.split(' ');
  const star = name.indexOf('*');
  return star === -1
    ? Object.keys(scripts).filter((each) => each === name)
    : Object.keys(scripts).filter((each) => each.startsWith(name.slice(0, star)));
}

/** A file in JSON; empty if it is none. */
function parsed(text: string | undefined): Record<string, unknown> {
  if (text === undefined) return {};
  try {
    return namesOf(JSON.parse(text));
  } catch {
    return {};
  }
}

function namesOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
