import { matches } from './data-paths.ts';
import { judgeDatabase } from './databases.ts';
import { fileCommands, judgeFiles } from './files.ts';
import { judgeCompose } from './grammar/compose.ts';
import { judgeEngine, type EngineName } from './grammar/engine.ts';
import { judgeHttp } from './http.ts';
import { isShell, runFile, runInterpreter, runShell } from './interpreters.ts';
import { startedThrough, type Invocation, type Machine } from './invocation.ts';
import { parseMakefile, recipesOf } from './makefile.ts';
import { printed } from './printers.ts';
import { isAllUnknown, known, PASSED, SOME } from './unknown.ts';
import { shownWords } from './words.ts';
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
    'safe-update hadolint actionlint dockerfmt prettier eslint trivy go cargo'
  ).split(' '),
);

const scriptRunners = new Set(['npm', 'yarn', 'pnpm', 'bun']);

/** Given a command whose expansions are done, judge it and whatever it runs. Returns what it would print. */
export function runCommand(invocation: Invocation, machine: Machine): string {
  const [first = '', ...rest] = invocation.words;
  if (isAllUnknown(first)) return runUnknown(rest, invocation, machine);
  const name = nameOf(first);

  const engine = Object.hasOwn(engines, name) ? engines[name] : undefined;
  if (engine !== undefined) {
    judgeEngine(engine, rest, invocation, machine);
    return SOME;
  }
  const compose = Object.hasOwn(composes, name) ? composes[name] : undefined;
  if (compose !== undefined) {
    judgeCompose(rest, invocation, machine, compose);
    return SOME;
  }
  if (isShell(name)) return runShell({ ...invocation, stdin: fromFile(invocation, machine) }, machine);
  if (judgeOwn(name, rest, invocation, machine)) return '';
  const wrapped = unwrap(
    name,
    name === 'ssh' ? { ...invocation, stdin: fromFile(invocation, machine) } : invocation,
    machine,
  );
  if (wrapped !== undefined) return wrapped;
  const interpreted = runInterpreter(name, { ...invocation, stdin: fromFile(invocation, machine) }, machine);
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
  if (scriptRunners.has(name)) return runPackageScript(name, rest, invocation, machine);
  if (name === 'npx' || name === 'bunx' || name === 'pnpx') {
    const command = rest.slice(
      Math.max(
        rest.findIndex((word) => !word.startsWith('-')),
        0,
      ),
    );
    return machine.run({ ...invocation, words: command });
  }
  if (name === 'make' || name === 'gmake') return runMake(rest, invocation, machine);
  if (resets(name, rest)) {
    machine.report(invocation, { rule: 'engine-reset' });
    return SOME;
  }
  if (invocation.inside !== undefined) judgeDatabase(name, invocation, machine);

  const text = printed(name, invocation, (path) => machine.file(path, invocation));
  if (text !== undefined) {
    if (name === 'tee')
      for (const file of rest.filter((word) => !word.startsWith('-'))) machine.write(file, text, invocation);
    return text;
  }
  if (speaking.has(name)) return SOME;
  if (first.includes('/') || /\.(sh|bash|zsh|py|js|rb|pl)$/.test(first)) {
    const script = machine.file(first, invocation);
    if (script !== undefined) return runFile(script, invocation, machine, rest);
  }
  guessAt(rest, invocation, machine);
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

/** Commands of ours with which the guard lets itself be overruled. They are for people. */
const overruling = new Set(['uninstall', 'approve']);

/** `safe-update guard uninstall|approve`, also by node or npx. Returns whether it was reported. */
function judgeOwn(name: string, rest: readonly string[], invocation: Invocation, machine: Machine): boolean {
  const words = [name, ...rest];
  const own = words.findIndex((word) => /^(safe-update(@.*)?|bin\.[cm]?[jt]s)$/.test(nameOf(word)));
  if (own === -1 || (own > 0 && !runners.has(name))) return false;
  const [guard = '', verb = '', ...flags] = words.slice(own + 1).filter((word) => word !== '--');
  const unknown = isAllUnknown(verb) && !verb.startsWith(PASSED);
  if (guard !== 'guard' || !(overruling.has(verb) || unknown)) return false;
  if (flags.some((word) => word === '--dry-run' || word === '--help' || word === '-h')) return false;
  machine.report(invocation, { rule: 'guard-off' });
  return true;
}

/** The last part of a path, without what only Windows adds. A part nobody knows is left out: `$BIN/docker`. */
function nameOf(word: string): string {
  const name = known(word.split(/[/\\]/).at(-1) ?? '').replace(/\.exe$/i, '');
  return /^(docker|podman)(-compose)?$/i.test(name) ? name.toLowerCase() : name;
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
const mayStart = /docker|podman|nerdctl|finch|sudo|sh|nu|cmd|[*?[\uE000-\uE003]/i;

/** Arguments that are longer than this are no commands. */
const longestGuess = 4000;

/** A command nobody knows may run what it is given: `retry 3 docker volume rm x`, `with-env 'docker compose down -v'`. */
function guessAt(words: readonly string[], invocation: Invocation, machine: Machine): void {
  const guess = { ...invocation, stdin: undefined, guess: true };
  const takesText = words.includes('-c');
  const at = words.findIndex(
    (word) =>
      mayStart.test(word) &&
      /[a-z]/i.test(word) &&
      (isFront(nameOf(word)) || nameOf(word) === 'sudo' || (takesText && isShell(nameOf(word)))),
  );
  if (at !== -1) machine.run({ ...guess, words: words.slice(at) });
  for (const word of words) {
    if (!/\s/.test(word) || !mayStart.test(word)) continue;
    const text = word.replace(/^--?[\w-]+=/, '').slice(0, longestGuess);
    const starts = text.matchAll(/(?:^|[;&|({]|\n)\s*(?:sudo\s+)?([^\s;&|]+)(?=\s)/g);
    if (/\s/.test(text) && [...starts].some(([, start = '']) => isFront(nameOf(start))))
      machine.script(text, guess);
  }
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
    default:
      return false;
  }
}

/** Standard input from a file is only read where it is run. */
function fromFile(invocation: Invocation, machine: Machine): string | undefined {
  const path = /^\uE000file:(.*)\uE000$/s.exec(invocation.stdin ?? '')?.[1];
  return path === undefined ? invocation.stdin : (machine.file(path, invocation) ?? SOME);
}

function runPackageScript(
  name: string,
  words: readonly string[],
  given: Invocation,
  machine: Machine,
): string {
  const invocation = startedThrough(given, shownWords(given.words));
  const args = words.filter((word) => !word.startsWith('-'));
  const [first = '', second] = args;
  const direct =
    ['test', 'start', 'stop', 'restart'].includes(first) ||
    name === 'yarn' ||
    name === 'pnpm' ||
    name === 'bun';
  const script = ['run', 'run-script', 'rum'].includes(first) ? second : direct ? first : undefined;
  if (script === undefined) {
    guessAt(words, invocation, machine);
    return SOME;
  }
  const prefix = words.findIndex((word) => ['--prefix', '-C', '--cwd', '--dir'].includes(word));
  const folder = prefix === -1 ? '' : `${words[prefix + 1] ?? ''}/`;
  const text = machine.file(`${folder}package.json`, invocation);
  const scripts = text === undefined ? {} : packageScripts(text);
  const more = words.includes('--') ? words.slice(words.indexOf('--') + 1) : [];
  for (const each of [`pre${script}`, script, `post${script}`]) {
    const found = Object.hasOwn(scripts, each) ? scripts[each] : undefined;
    if (found !== undefined) machine.script([found, ...(each === script ? more : [])].join(' '), invocation);
  }
  if (text === undefined || !Object.hasOwn(scripts, script)) guessAt(words, invocation, machine);
  return SOME;
}

/** The scripts of a package.json; empty if it is none. */
function packageScripts(text: string): Record<string, string> {
  try {
    const { scripts } = JSON.parse(text) as { scripts?: unknown };
    if (typeof scripts !== 'object' || scripts === null) return {};
    return Object.fromEntries(
      Object.entries(scripts).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
    );
  } catch {
    return {};
  }
}

function runMake(words: readonly string[], invocation: Invocation, machine: Machine): string {
  const variables = new Map<string, string>();
  const targets: string[] = [];
  let folder = '';
  let file: string | undefined;
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] ?? '';
    const assigned = /^([\w.-]+)[:?+]?=(.*)$/s.exec(word);
    if (word === '-C' || word === '--directory') folder = `${words[(index += 1)] ?? ''}/`;
    else if (word === '-f' || word === '--file' || word === '--makefile') file = words[(index += 1)];
    else if (word === '-j' && /^\d+$/.test(words[index + 1] ?? '')) index += 1;
    else if (/^(-[a-zA-Z]*n[a-zA-Z]*|--dry-run|--just-print|--recon)$/.test(word)) return SOME;
    else if (assigned !== null) variables.set(assigned[1] ?? '', assigned[2] ?? '');
    else if (!word.startsWith('-')) targets.push(word);
  }
  const names = file === undefined ? ['GNUmakefile', 'makefile', 'Makefile'] : [file];
  const text =
    file === '-'
      ? invocation.stdin
      : names
          .map((name) => machine.file(`${folder}${name}`, invocation))
          .find((found) => found !== undefined);
  if (text === undefined) return SOME;
  // What is not there is left out, as with `-include`.
  const whole = text.replace(/^(?:-|s)?include[ \t]+(.+)$/gm, (_, names: string) =>
    names
      .trim()
      .split(/\s+/)
      .map((name) => machine.file(`${folder}${name}`, invocation) ?? '')
      .join('\n'),
  );
  const lines = recipesOf(parseMakefile(whole, variables), targets);
  // A Makefile may export variables.
  const within = startedThrough(invocation, shownWords(invocation.words));
  for (const line of lines)
    machine.script(line.text, { ...within, cwd: folder === '' ? invocation.cwd : folder });
  return SOME;
}
