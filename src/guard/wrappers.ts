import { flags, isOn, parseFlags, valueOf, type FlagTable } from './flags.ts';
import { startedThrough, takenElsewhere, type Invocation, type Machine } from './invocation.ts';

import { hostPlaces, namedBelow, resolvePath } from './data-paths.ts';
import { standardInput } from './interpreters.ts';
import { printedBy } from './printers.ts';
import { isAllUnknown, SOME, WORDS } from './unknown.ts';
import { shownWords } from './words.ts';

interface Wrapper {
  /** As flags.ts reads them. All of it is data: there are a hundred, and a command needs one or two. */
  flags: string[];
  /** Words between the flags and the command: timeout's duration. */
  skip?: number;
  /** So do numbers: how often to try. */
  counts?: boolean;
  /** `NAME=value` words come before the command. */
  assigns?: boolean;
  /** A flag whose value is shell text to run. */
  text?: string;
  /** That flag may come after words. */
  late?: boolean;
  /** The words after it go on with that text. */
  goesOn?: boolean;
  /** The words are joined and given to a shell, in this folder or who knows where; `alone`: only a single one is such text. */
  joins?: 'here' | 'there' | 'alone';
  /** Each word is text for a shell. */
  each?: boolean;
  /** A command comes after `--` only. */
  dashed?: boolean;
  /** Without a command it opens a shell, which reads standard input. */
  opens?: boolean;
  /** `-` and a user's name come before what is given to a shell. */
  logsIn?: boolean;
  /** With this flag it only tells something. */
  tells?: string[];
}

/** Commands that run the command they are given, and their flags. */
const wrappers: Record<string, Wrapper> = {
  sudo: {
    flags: [
      '-u --user=',
      '-g --group=',
      '-h --host=',
      '-p --prompt=',
      '-C --close-from=',
      '-r --role=',
      '-t --type=',
      '-T --command-timeout=',
      '-U --other-user=',
      '-D --chdir=',
      '-R --chroot=',
      '-l --list',
      '-V --version',
    ],
    assigns: true,
    opens: true,
    tells: ['list', 'version'],
  },
  doas: { flags: ['-u=', '-C=', '-n', '-s', '-a='], opens: true },
  pkexec: { flags: ['--user='], opens: true },
  env: {
    flags: [
      '-u --unset=',
      '-C --chdir=',
      '-S --split-string=',
      '-i --ignore-environment',
      '-0 --null',
      '-a --argv0=',
    ],
    assigns: true,
    text: 'split-string',
    goesOn: true,
  },
  nice: { flags: ['-n --adjustment='] },
  ionice: { flags: ['-c --class=', '-n --classdata=', '-t --ignore'] },
  timeout: {
    flags: ['-s --signal=', '-k --kill-after=', '--foreground', '--preserve-status', '-v'],
    skip: 1,
  },
  gtimeout: { flags: ['-s --signal=', '-k --kill-after='], skip: 1 },
  time: { flags: ['-f --format=', '-o --output=', '-a', '-p', '-v'] },
  nohup: { flags: [] },
  setsid: { flags: ['-c', '-f', '-w'] },
  command: { flags: ['-p', '-v', '-V'], tells: ['v', 'V'] },
  builtin: { flags: [] },
  exec: { flags: ['-a=', '-c', '-l'] },
  stdbuf: { flags: ['-i --input=', '-o --output=', '-e --error='] },
  unbuffer: { flags: ['-p'] },
  chronic: { flags: ['-v', '-e'] },
  caffeinate: { flags: ['-t=', '-w='] },
  chrt: { flags: ['-T=', '-P=', '-D='], skip: 1 },
  taskset: { flags: ['-c', '-a'], skip: 1 },
  numactl: { flags: ['-N --cpunodebind=', '-m --membind=', '-C --physcpubind='] },
  gosu: { flags: [], skip: 1 },
  'su-exec': { flags: [], skip: 1 },
  chroot: { flags: ['--userspec=', '--groups='], skip: 1, opens: true },
  setpriv: { flags: ['--reuid=', '--regid=', '--groups='] },
  nsenter: { flags: ['-t --target=', '-S --setuid=', '-G --setgid='], opens: true },
  unshare: { flags: ['-S --setuid=', '-G --setgid=', '-R --root=', '-w --wd='], opens: true },
  strace: { flags: ['-o=', '-e=', '-s=', '-E=', '-u=', '-O=', '-S=', '-a=', '-P='] },
  ltrace: { flags: ['-o=', '-e=', '-s=', '-u='] },
  watch: { flags: ['-n --interval=', '-d', '-t', '-x', '-c', '-g', '-e', '-b'], joins: 'here' },
  flock: {
    flags: ['-w --timeout= --wait=', '-E --conflict-exit-code=', '-c --command='],
    skip: 1,
    text: 'command',
  },
  script: { flags: ['-c --command=', '-I=', '-O=', '-B=', '-T=', '-t=', '-o='], text: 'command' },
  su: {
    flags: ['-c --command= --session-command=', '-s --shell=', '-g=', '-G=', '-w=', '-l --login', '-m', '-p'],
    text: 'command',
    late: true,
    logsIn: true,
  },
  runuser: {
    flags: ['-c --command= --session-command=', '-u --user=', '-s --shell=', '-g=', '-G=', '-w=', '-l'],
    text: 'command',
    late: true,
    logsIn: true,
  },
  newgrp: { flags: [], skip: 1, opens: true },
  sg: { flags: ['-c --command='], skip: 1, text: 'command', late: true, joins: 'alone', opens: true },
  'systemd-run': {
    flags: [
      '-u --unit=',
      '-p --property=',
      '--description=',
      '--slice=',
      '-E --setenv=',
      '-M --machine=',
      '-H --host=',
      '--uid=',
      '--gid=',
      '--nice=',
      '--working-directory=',
      '--on-active=',
      '--on-boot=',
      '--on-calendar=',
      '--on-unit-active=',
      '--timer-property=',
    ],
  },
  'systemd-inhibit': { flags: ['--what=', '--who=', '--why=', '--mode='] },
  'systemd-cat': { flags: ['-t --identifier=', '-p --priority='] },
  tini: { flags: ['-p=', '-e=', '-g', '-s', '-v', '-w'] },
  'dumb-init': { flags: ['-r=', '-c', '-v'] },
  eatmydata: { flags: [] },
  fakeroot: { flags: ['-i=', '-s=', '-l='], opens: true },
  torsocks: { flags: [] },
  proxychains4: { flags: ['-f=', '-q'] },
  rlwrap: { flags: [] },
  busybox: { flags: [] },
  toybox: { flags: [] },
  winpty: { flags: [] },
  wsl: {
    flags: ['-d --distribution=', '-u --user=', '-e --exec', '--cd=', '--shell-type='],
    opens: true,
  },
  sshpass: { flags: ['-p=', '-f=', '-d=', '-P=', '-e', '-v'] },
  ssh: {
    flags: [
      ...'b c D E e F I i J L l m O o p Q R S W w B P'.split(' ').map((letter) => `-${letter}=`),
      '-G',
      '-V',
    ],
    skip: 1,
    joins: 'there',
    opens: true,
    tells: ['G', 'V'],
  },
  autossh: {
    flags: [...'b c D E e F I i J L l m M O o p Q R S W w B'.split(' ').map((letter) => `-${letter}=`)],
    skip: 1,
    joins: 'there',
    opens: true,
  },
  mosh: { flags: ['--ssh=', '-p --port='], skip: 1 },
  // What tries again, waits, and watches.
  retry: { flags: ['-t --tries=', '-s --sleep=', '-d --delay='], counts: true, joins: 'alone' },
  entr: { flags: ['-c', '-d', '-n', '-p', '-r', '-s', '-z'], joins: 'alone' },
  watchexec: {
    flags: [
      '-w --watch=',
      '-e --exts=',
      '-f --filter=',
      '-i --ignore=',
      '-d --debounce=',
      '-s --signal=',
      '--shell=',
    ],
    joins: 'alone',
  },
  nodemon: {
    flags: ['-x --exec=', '-w --watch=', '-e --ext=', '-i --ignore=', '-d --delay=', '--config='],
    text: 'exec',
    goesOn: true,
  },
  concurrently: {
    flags: [
      '-n --names=',
      '-c --prefix-colors=',
      '-p --prefix=',
      '-l --prefix-length=',
      '-m --max-processes=',
      '-s --success=',
      '--restart-tries=',
      '--restart-after=',
    ],
    each: true,
  },
  'cross-env': { flags: [], assigns: true },
  'cross-env-shell': { flags: [], assigns: true, joins: 'here' },
  'env-cmd': { flags: ['-f --file=', '-e --environments=', '-r --rc-file='] },
  dotenv: { flags: ['-e=', '-f --file=', '-v=', '-c'] },
  dotenvx: { flags: ['-e=', '-f --file='] },
  'xvfb-run': { flags: ['-n --server-num=', '-s --server-args=', '-e --error-file=', '-f --auth-file='] },
};

/** Wrappers that have a subcommand before the command they run: `poetry run docker …`. */
const wrapperCommands: Record<string, Wrapper> = {
  'poetry run': { flags: [] },
  'pipenv run': { flags: [] },
  'uv run': { flags: [] },
  'bundle exec': { flags: [] },
  'pnpm exec': { flags: [] },
  'npm exec': { flags: [] },
  'npm x': { flags: [] },
  'pnpm dlx': { flags: [] },
  'yarn dlx': { flags: [] },
  'bun x': { flags: [] },
  'yarn exec': { flags: [] },
  'mise exec': { flags: [] },
  'op run': { flags: ['--env-file=', '--account='] },
  'doppler run': { flags: ['-p --project=', '-c --config=', '--command='], text: 'command', late: true },
  'infisical run': { flags: ['--env=', '--path=', '--projectId='] },
  'aws-vault exec': { flags: ['-d --duration='], skip: 1 },
  'chamber exec': { flags: [], skip: 1 },
  'direnv exec': { flags: [], skip: 1 },
  'dotenv run': { flags: ['-f --file='] },
  'dotenvx run': { flags: ['-f --env-file='] },
  'multipass exec': { flags: ['-d --working-directory='], skip: 1 },
  'multipass shell': { flags: [], skip: 1, opens: true },
  'limactl shell': { flags: ['--workdir=', '--shell='], skip: 1, opens: true },
  'colima ssh': { flags: ['-p --profile='], opens: true },
  'vagrant ssh': { flags: ['-c --command='], text: 'command', dashed: true, joins: 'there', opens: true },
  'docker-machine ssh': { flags: [], skip: 1, joins: 'there', opens: true },
  'lxc exec': { flags: ['--cwd=', '--env=', '--mode=', '--user=', '--group='], skip: 1 },
  'incus exec': { flags: ['--cwd=', '--env=', '--mode=', '--user=', '--group='], skip: 1 },
  'machinectl shell': { flags: ['-E --setenv=', '--uid='], skip: 1, opens: true },
  'gh codespace': { flags: ['-c --codespace='], skip: 1, joins: 'there', opens: true },
  'kubectl exec': { flags: ['-n --namespace=', '-c --container=', '-f --filename='], skip: 1 },
  'gcloud compute': { flags: ['--command='], text: 'command', dashed: true, joins: 'there', opens: true },
  'fly ssh': { flags: ['-C --command=', '-a --app='], skip: 1, text: 'command', late: true },
  'heroku run': { flags: ['-a --app='] },
};

/** Those that leave the machine, the user and the variables as they are. */
const transparent = new Set(
  (
    'env nice ionice timeout gtimeout time nohup command builtin exec stdbuf unbuffer chronic caffeinate chrt taskset ' +
    'numactl strace ltrace watch flock script systemd-inhibit systemd-cat tini dumb-init eatmydata rlwrap busybox toybox ' +
    'xargs find parallel setsid git'
  ).split(' '),
);

/** Those that run it on another machine, or with another root. */
const remote = new Set(
  (
    'ssh autossh mosh wsl multipass limactl colima vagrant docker-machine kubectl gcloud fly heroku chroot nsenter lxc ' +
    'incus machinectl gh'
  ).split(' '),
);

/** The command that a wrapper starts, with what the wrapper makes of its way to the engine. */
function onTheWay(name: string, invocation: Invocation): Invocation {
  if (transparent.has(name)) return invocation;
  const words = shownWords(invocation.words);
  return remote.has(name) ? takenElsewhere(invocation, words) : startedThrough(invocation, words);
}

const assignment = /^[A-Za-z_][A-Za-z0-9_]*=/;

/** If the command runs another one, judge that one and return what it would print; else undefined. */
export function unwrap(name: string, given: Invocation, machine: Machine): string | undefined {
  const words = given.words.slice(1);
  const invocation = onTheWay(name, given);
  const sub = wrapperCommands[`${name} ${words[0] ?? ''}`];
  if (sub !== undefined && Object.hasOwn(wrapperCommands, `${name} ${words[0] ?? ''}`))
    return through(sub, words.slice(1), invocation, machine);
  if (name === 'git') return git(words, invocation, machine);
  if (name === 'xargs') return xargs(words, invocation, machine);
  if (name === 'find') return find(words, invocation, machine);
  if (name === 'parallel') return parallel(words, invocation, machine);
  if (name === 'tmux' || name === 'screen' || name === 'at' || name === 'batch' || name === 'crontab')
    return later(name, words, invocation, machine);
  const wrapper = Object.hasOwn(wrappers, name) ? wrappers[name] : undefined;
  return wrapper === undefined ? undefined : through(wrapper, words, invocation, machine);
}

function through(
  wrapper: Wrapper,
  words: readonly string[],
  invocation: Invocation,
  machine: Machine,
): string {
  const end = wrapper.dashed === true ? words.indexOf('--') : -1;
  const own = end === -1 ? words : words.slice(0, end);
  const table = flags(...wrapper.flags);
  const parsed = parseFlags(table, own, { interspersed: wrapper.dashed === true });
  if (wrapper.tells?.some((flag) => isOn(parsed, flag) === 'yes') === true)
    return `${parsed.rest.at(-1) ?? ''}\n`;
  let rest =
    wrapper.dashed === true ? (end === -1 ? [] : words.slice(end + 1)) : commandOf(wrapper, parsed.rest);
  const env = new Map(invocation.env);
  while (wrapper.assigns === true && assignment.test(rest[0] ?? '')) {
    const [name = '', ...value] = (rest[0] ?? '').split('=');
    env.set(name, value.join('='));
    rest = rest.slice(1);
  }
  const directory = valueOf(parsed, 'chdir') ?? valueOf(parsed, 'working-directory');
  // `env -i`, `env -u DOCKER_HOST`
  const cleared = wrapper.assigns === true && [...parsed.given.keys()].some((flag) => flag !== 'chdir');
  const inner = {
    ...(cleared ? startedThrough(invocation, shownWords(invocation.words)) : invocation),
    env,
    cwd: directory === undefined ? invocation.cwd : resolvePath(directory, invocation.cwd),
  };
  const late = wrapper.late === true && !parsed.given.has('user');
  const text = wrapper.text === undefined ? undefined : valueOf(parsed, wrapper.text);
  // su takes its -c after the user's name, flock after the lock's.
  const after =
    text === undefined && wrapper.text !== undefined && wrapper.dashed !== true
      ? valueOf(parseFlags(table, rest, { interspersed: late }), wrapper.text)
      : undefined;
  if (text !== undefined)
    return machine.script([text, ...(wrapper.goesOn === true ? rest : [])].join(' '), inner);
  if (after !== undefined) return machine.script(after, inner);
  if (wrapper.logsIn === true && late) {
    const [, ...given] = parseFlags(table, rest, { interspersed: true }).rest.filter((word) => word !== '-');
    return machine.run({ ...inner, words: ['sh', ...given] });
  }
  return started(wrapper, rest, inner, machine);
}

/** The words of the command, after those that the wrapper keeps for itself. */
function commandOf(wrapper: Wrapper, words: readonly string[]): readonly string[] {
  let rest = words;
  if ((wrapper.skip ?? 0) > 0) {
    rest = rest.slice(wrapper.skip);
    // ssh reads flags after the host, too.
    while (wrapper.joins === 'there' && /^-[a-zA-Z]+$/.test(rest[0] ?? ''))
      rest = parseFlags(flags(...wrapper.flags), rest, { interspersed: false }).rest;
    if (rest[0] === '--') rest = rest.slice(1);
  }
  while (wrapper.counts === true && /^[\d.]+[smhd]?$/.test(rest[0] ?? '')) rest = rest.slice(1);
  return rest;
}

function started(
  wrapper: Omit<Wrapper, 'flags'>,
  words: readonly string[],
  invocation: Invocation,
  machine: Machine,
): string {
  const [first] = words;
  if (first === undefined)
    return wrapper.opens === true
      ? machine.run({
          ...invocation,
          ...(wrapper.joins === 'there' ? { cwd: undefined } : {}),
          words: ['sh'],
        })
      : SOME;
  if (wrapper.each === true) {
    for (const word of words)
      machine.script(word.replace(/^(npm|yarn|pnpm|bun):/, '$1 run '), { ...invocation, stdin: undefined });
    return SOME;
  }
  if (wrapper.joins === 'there') return machine.script(words.join(' '), { ...invocation, cwd: undefined });
  if (wrapper.joins === 'here') return machine.script(words.join(' '), invocation);
  if (wrapper.joins === 'alone' && words.length === 1 && /\s/.test(first))
    return machine.script(first, invocation);
  return machine.run({ ...invocation, words });
}

const xargsFlags = flags(
  '-I --replace=',
  '-i',
  '-n --max-args=',
  '-P --max-procs=',
  '-L --max-lines=',
  '-l',
  '-d --delimiter=',
  '-E=',
  '-s --max-chars=',
  '-a --arg-file=',
  '-J=',
  '-0 --null',
  '-r --no-run-if-empty',
  '-t --verbose',
  '-p --interactive',
  '-x --exit',
  '-o --open-tty',
);

function xargs(words: readonly string[], invocation: Invocation, machine: Machine): string {
  const parsed = parseFlags(xargsFlags, words, { interspersed: false });
  const command = parsed.rest.length === 0 ? ['echo'] : parsed.rest;
  const stdin = parsed.given.has('arg-file') ? undefined : invocation.stdin;
  const items = itemsOf(stdin);
  const replace =
    valueOf(parsed, 'replace') ?? valueOf(parsed, 'J') ?? (parsed.given.has('i') ? '{}' : undefined);
  const inner = { ...invocation, stdin: undefined };
  if (replace === undefined || replace === '')
    return machine.run({ ...inner, words: [...command, ...items] });
  const lines =
    stdin === undefined
      ? [SOME]
      : stdin
          .split('\n')
          .filter((line) => line.trim() !== '')
          .slice(0, 8);
  return lines
    .map((line) =>
      machine.run({ ...inner, words: command.map((word) => word.replaceAll(replace, line.trim())) }),
    )
    .join('');
}

/** The words of an input, as xargs splits them; unknown input may be several words. */
function itemsOf(stdin: string | undefined): string[] {
  if (stdin === undefined || isAllUnknown(stdin.trim())) return [WORDS];
  return stdin
    .split(/[\s\0]+/)
    .filter((item) => item !== '')
    .slice(0, 100)
    .map((item) => item.replace(/^(['"])(.*)\1$/, '$2'));
}

const findPaths = /^[^-(!]/;

/** Words of find that leave nothing out which matters. */
const takesAll = new Set(
  '-delete -depth -d -mindepth -maxdepth -xdev -mount -print -print0 -type'.split(' '),
);

function find(words: readonly string[], invocation: Invocation, machine: Machine): string {
  let index = 0;
  while (['-H', '-L', '-P'].includes(words[index] ?? '')) index += 1;
  const starts: string[] = [];
  while (index < words.length && findPaths.test(words[index] ?? '')) {
    starts.push(words[index] ?? '');
    index += 1;
  }
  if (starts.length === 0) starts.push('.');
  const rest = words.slice(index);
  const name = nameWanted(rest);
  // Whatever it finds is some of what is in there. Single files of a container's volume may matter as well.
  const found = starts.flatMap((start) =>
    name === undefined || invocation.inside !== undefined
      ? [`${start}/*`]
      : namedBelow(resolvePath(start, invocation.cwd), name, hostPlaces(machine.binds(invocation))),
  );
  if (rest.includes('-delete')) {
    // With a condition it takes files, not the folder: `find / -name core -delete` is no loss of a volume.
    const all = rest.every((word) => !word.startsWith('-') || takesAll.has(word));
    const removed = all ? ['-r', ...starts] : found;
    machine.run({ ...invocation, words: ['rm', ...removed], stdin: undefined });
  }
  for (let at = 0; at < rest.length; at += 1) {
    if (!/^-(exec|execdir|ok|okdir)$/.test(rest[at] ?? '')) continue;
    const end = rest.findIndex(
      (word, place) => place > at && (word === ';' || (word === '+' && rest[place - 1] === '{}')),
    );
    const command = rest.slice(at + 1, end === -1 ? undefined : end);
    const inner = { ...invocation, stdin: undefined };
    if (rest[end] === '+')
      machine.run({ ...inner, words: command.flatMap((word) => (word === '{}' ? found : [word])) });
    else
      for (const one of found)
        machine.run({ ...inner, words: command.map((word) => word.replaceAll('{}', one)) });
  }
  const format = rest.indexOf('-printf');
  return format === -1 ? `${found.join('\n')}\n` : printedBy(rest[format + 1] ?? '', found);
}

/** Words of find that let it find what has another name than the one it is given. */
const otherwise = new Set(['-o', '-or', '!', '-not', ',']);

/** The only name that find looks for. */
function nameWanted(words: readonly string[]): string | undefined {
  const at = words.indexOf('-name');
  return at === -1 || words.some((word) => otherwise.has(word)) ? undefined : words[at + 1];
}

const parallelFlags = flags(
  '-j --jobs=',
  '-a --arg-file=',
  '-I=',
  '-n --max-args=',
  '-N=',
  '-P=',
  '--timeout=',
  '--delay=',
  '--joblog=',
  '-C --colsep=',
  '-S --sshlogin=',
);

function parallel(words: readonly string[], invocation: Invocation, machine: Machine): string {
  const { rest, given } = parseFlags(parallelFlags, words, { interspersed: false });
  const mark = rest.findIndex((word) => word.startsWith(':::'));
  const command = (mark === -1 ? rest : rest.slice(0, mark)).join(' ');
  if (given.has('sshlogin')) invocation = takenElsewhere(invocation, shownWords(invocation.words));
  const items = mark === -1 ? itemsOf(invocation.stdin) : rest.slice(mark + 1);
  if (command === '') return machine.script(items.join('\n'), { ...invocation, stdin: undefined });
  for (const item of items.slice(0, 8)) {
    const text = command.includes('{}') ? command.replaceAll('{}', item) : `${command} ${item}`;
    machine.script(text, { ...invocation, stdin: undefined });
  }
  return SOME;
}

const gitFlags = flags('-C=', '-c=', '--git-dir=', '--work-tree=', '--namespace=', '--config-env=');

/** Settings of git that are commands. */
const gitCommands =
  /^(core\.(pager|editor|sshcommand|fsmonitor)|sequence\.editor|diff\.external|pager\.\w+)=/i;

/** Flags of git's subcommands whose values are text for a shell. */
const gitTexts: Record<string, FlagTable> = {
  rebase: flags('-x --exec=', '--onto=', '-s --strategy=', '-X --strategy-option='),
  difftool: flags('-x --extcmd=', '-t --tool='),
  'filter-branch': flags(
    '--exec --tree-filter --index-filter --env-filter --msg-filter --parent-filter --commit-filter --tag-name-filter=',
    '--setup=',
    '--subdirectory-filter=',
    '-d=',
  ),
};

/** What git runs: `bisect run`, `rebase -x`, `submodule foreach`, aliases. Undefined: it only does git's own work. */
function git(words: readonly string[], given: Invocation, machine: Machine): string | undefined {
  const parsed = parseFlags(gitFlags, words, { interspersed: false });
  const [sub = '', ...rest] = parsed.rest;
  const folder = valueOf(parsed, 'C');
  const invocation = folder === undefined ? given : { ...given, cwd: resolvePath(folder, given.cwd) };
  for (const setting of parsed.given.get('c') ?? []) {
    const value = setting.slice(setting.indexOf('=') + 1);
    if (value.startsWith('!')) machine.script([value.slice(1), ...rest].join(' '), invocation);
    else if (gitCommands.test(setting)) machine.script(value, invocation);
  }
  const [first = '', ...more] = rest.filter((word, index) => index > 0 || !word.startsWith('-'));
  switch (sub) {
    case 'clean':
      clean(rest, parsed.given.get('c') ?? [], invocation, machine);
      return undefined;
    case 'config': {
      const command = rest.find((word) => word.startsWith('!'));
      if (command !== undefined) machine.script(command.slice(1), invocation);
      return command === undefined ? undefined : '';
    }
    case 'rev-parse':
      return rest.includes('--show-toplevel') ? rootOf(invocation, machine) : undefined;
    case 'bisect':
      return first === 'run' ? machine.run({ ...invocation, words: more }) : undefined;
    case 'submodule': {
      const at = rest.indexOf('foreach');
      const command = rest.slice(at + 1).filter((word) => !/^--(recursive|quiet)$/.test(word));
      return at === -1 ? undefined : machine.script(command.join(' '), invocation);
    }
    default: {
      const table = Object.hasOwn(gitTexts, sub) ? gitTexts[sub] : undefined;
      if (table === undefined) return undefined;
      const texts = parseFlags(table, rest, { interspersed: true }).given;
      for (const name of ['exec', 'extcmd'])
        for (const text of texts.get(name) ?? []) machine.script(text, { ...invocation, stdin: undefined });
      return undefined;
    }
  }
}

const cleanFlags = flags(
  '-d',
  '-f --force',
  '-x',
  '-X',
  '-n --dry-run',
  '-q --quiet',
  '-i --interactive',
  '-e --exclude=',
);

/** What `git clean` deletes: what git does not know, and with -x or -X what it is told to ignore. */
function clean(
  words: readonly string[],
  settings: readonly string[],
  invocation: Invocation,
  machine: Machine,
): void {
  const parsed = parseFlags(cleanFlags, words, { interspersed: true });
  const on = (name: string): boolean => isOn(parsed, name) !== 'no';
  const forced = on('force') || settings.some((one) => /^clean\.requireforce=(false|no|off|0)$/i.test(one));
  // It asks a person with -i. Without -d folders that git does not know stay, unless they are named.
  if (!forced || on('dry-run') || on('interactive') || on('help')) return;
  if (parsed.rest.length === 0 && !on('d') && !on('x') && !on('X')) return;
  const named = parsed.rest.length === 0 ? ['.'] : parsed.rest;
  machine.suspect(invocation, {
    paths: named.map((path) => resolvePath(path.replace(/^:(\/|\(top\))/, ''), invocation.cwd)),
    whole: true,
    except: parsed.given.get('exclude') ?? [],
    cleans: on('x') || on('X') ? 'all' : 'known',
  });
}

/** How far up the root of a repository is looked for. */
const mostFoldersUp = 16;

/** The folder of the repository, as git prints it. Undefined if it is not found. */
function rootOf(invocation: Invocation, machine: Machine): string | undefined {
  if (invocation.cwd === undefined) return undefined;
  for (let folder = invocation.cwd, up = 0; up < mostFoldersUp; up += 1) {
    // In a worktree `.git` is a file.
    if (['.git/HEAD', '.git'].some((file) => machine.file(`${folder}/${file}`, invocation) !== undefined))
      return `${folder}\n`;
    const above = resolvePath('..', folder);
    if (above === folder) break;
    folder = above;
  }
  return undefined;
}

const atFlags = flags('-f --file=', '-q=', '-t=', '-l', '-d', '-r', '-c');
const crontabFlags = flags('-u --user=', '-l', '-e', '-r', '-i');
const screenFlags = flags('-S=', '-c=', '-e=', '-h=', '-p=', '-s=', '-t=', '-T=');
const tmuxFlags = flags('-L=', '-S=', '-f=', '-T=', '-c=');
const paneFlags = flags('-s=', '-n=', '-c=', '-t=', '-x=', '-y=', '-e=', '-F=', '-l=', '-p=', '-w=');

/** Commands of tmux that start another command. */
const panes = new Set(
  (
    'new new-session neww new-window splitw split-window respawnp respawn-pane respawnw respawn-window run run-shell ' +
    'popup display-popup pipep pipe-pane if if-shell'
  ).split(' '),
);

/** Commands that hand text to a shell that runs elsewhere or later. */
function later(name: string, words: readonly string[], invocation: Invocation, machine: Machine): string {
  const inner = { ...invocation, stdin: undefined };
  switch (name) {
    case 'at':
    case 'batch': {
      const file = valueOf(parseFlags(atFlags, words, { interspersed: true }), 'file');
      const text = file === undefined ? standardInput(invocation, machine) : machine.file(file, invocation);
      if (text !== undefined) machine.script(text, inner);
      return SOME;
    }
    case 'crontab':
      return crontab(words, invocation, machine);
    case 'screen': {
      const { rest } = parseFlags(screenFlags, words, { interspersed: false });
      if (rest.length > 0) started({ joins: 'alone' }, rest, inner, machine);
      break;
    }
    default: {
      const { rest } = parseFlags(tmuxFlags, words, { interspersed: false });
      for (let start = 0; start < rest.length; start += 1) {
        const end = rest.indexOf(';', start);
        const [sub = '', ...given] = rest.slice(start, end === -1 ? undefined : end);
        start += given.length + (sub === '' ? 0 : 1);
        if (!panes.has(sub)) continue;
        const command = parseFlags(paneFlags, given, { interspersed: false });
        started({ joins: 'alone' }, command.rest, { ...inner, guess: true }, machine);
      }
    }
  }
  // Keys that are sent to a shell.
  for (const word of words) if (/\s/.test(word)) machine.script(word, { ...inner, guess: true });
  return SOME;
}

/** A table for cron, in a file or on standard input. */
function crontab(words: readonly string[], invocation: Invocation, machine: Machine): string {
  const { rest, given } = parseFlags(crontabFlags, words, { interspersed: true });
  if (given.has('l') || given.has('e') || given.has('r')) return `${SOME}\n`;
  const [file = '-'] = rest;
  const table = file === '-' ? standardInput(invocation, machine) : machine.file(file, invocation);
  for (const line of (table ?? '').split('\n')) {
    const found = /^\s*(?:@\w+|(?:\S+\s+){5})(.*)$/.exec(line);
    if (found?.[1] !== undefined)
      machine.script(found[1].replaceAll('\\%', '%'), { ...invocation, stdin: undefined });
  }
  return SOME;
}
