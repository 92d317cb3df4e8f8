import { flags, isOn, parseFlags, valueOf, type FlagTable } from './flags.ts';
import { startedThrough, takenElsewhere, type Invocation, type Machine } from './invocation.ts';

import { resolvePath } from './data-paths.ts';
import { isAllUnknown, SOME, WORDS } from './unknown.ts';
import { shownWords } from './words.ts';

interface Wrapper {
  flags: FlagTable;
  /** Words between the flags and the command: timeout's duration. */
  skip?: number;
  /** `NAME=value` words come before the command. */
  assigns?: boolean;
  /** A flag whose value is shell text to run. */
  text?: string;
  /** That flag may come after words. */
  late?: boolean;
  /** The words are joined and given to a shell. */
  joins?: boolean;
  /** With this flag it only tells something. */
  tells?: string[];
}

const plain = (...table: string[]): Wrapper => ({ flags: flags(...table) });

/** Commands that run the command they are given, and their flags. */
const wrappers: Record<string, Wrapper> = {
  sudo: {
    flags: flags(
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
    ),
    assigns: true,
    tells: ['list', 'version'],
  },
  doas: plain('-u=', '-C=', '-n', '-s', '-a='),
  pkexec: plain('--user='),
  env: {
    flags: flags(
      '-u --unset=',
      '-C --chdir=',
      '-S --split-string=',
      '-i --ignore-environment',
      '-0 --null',
      '-a --argv0=',
    ),
    assigns: true,
    text: 'split-string',
  },
  nice: plain('-n --adjustment='),
  ionice: plain('-c --class=', '-n --classdata=', '-t --ignore'),
  timeout: {
    flags: flags('-s --signal=', '-k --kill-after=', '--foreground', '--preserve-status', '-v'),
    skip: 1,
  },
  gtimeout: { flags: flags('-s --signal=', '-k --kill-after='), skip: 1 },
  time: plain('-f --format=', '-o --output=', '-a', '-p', '-v'),
  nohup: plain(),
  setsid: plain('-c', '-f', '-w'),
  command: { flags: flags('-p', '-v', '-V'), tells: ['v', 'V'] },
  builtin: plain(),
  exec: plain('-a=', '-c', '-l'),
  stdbuf: plain('-i --input=', '-o --output=', '-e --error='),
  unbuffer: plain('-p'),
  chronic: plain('-v', '-e'),
  caffeinate: plain('-t=', '-w='),
  chrt: { flags: flags('-T=', '-P=', '-D='), skip: 1 },
  taskset: { flags: flags('-c', '-a'), skip: 1 },
  numactl: plain('-N --cpunodebind=', '-m --membind=', '-C --physcpubind='),
  gosu: { flags: flags(), skip: 1 },
  'su-exec': { flags: flags(), skip: 1 },
  chroot: { flags: flags('--userspec=', '--groups='), skip: 1 },
  setpriv: plain('--reuid=', '--regid=', '--groups='),
  nsenter: plain('-t --target=', '-S --setuid=', '-G --setgid='),
  unshare: plain('-S --setuid=', '-G --setgid=', '-R --root=', '-w --wd='),
  strace: plain('-o=', '-e=', '-s=', '-E=', '-u=', '-O=', '-S=', '-a=', '-P='),
  ltrace: plain('-o=', '-e=', '-s=', '-u='),
  watch: { flags: flags('-n --interval=', '-d', '-t', '-x', '-c', '-g', '-e', '-b'), joins: true },
  flock: {
    flags: flags('-w --timeout= --wait=', '-E --conflict-exit-code=', '-c --command='),
    skip: 1,
    text: 'command',
  },
  script: { flags: flags('-c --command=', '-I=', '-O=', '-B=', '-T=', '-t=', '-o='), text: 'command' },
  su: {
    flags: flags(
      '-c --command= --session-command=',
      '-s --shell=',
      '-g=',
      '-G=',
      '-w=',
      '-l --login',
      '-m',
      '-p',
    ),
    text: 'command',
    late: true,
  },
  runuser: {
    flags: flags('-c --command= --session-command=', '-u --user=', '-s --shell=', '-g=', '-G=', '-w=', '-l'),
    text: 'command',
    late: true,
  },
  'systemd-run': plain(
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
  ),
  'systemd-inhibit': plain('--what=', '--who=', '--why=', '--mode='),
  'systemd-cat': plain('-t --identifier=', '-p --priority='),
  tini: plain('-p=', '-e=', '-g', '-s', '-v', '-w'),
  'dumb-init': plain('-r=', '-c', '-v'),
  eatmydata: plain(),
  fakeroot: plain('-i=', '-s=', '-l='),
  torsocks: plain(),
  proxychains4: plain('-f=', '-q'),
  rlwrap: plain(),
  busybox: plain(),
  toybox: plain(),
  winpty: plain(),
  wsl: plain('-d --distribution=', '-u --user=', '-e --exec', '--cd=', '--shell-type='),
  ssh: {
    flags: flags(
      ...'b c D E e F I i J L l m O o p Q R S W w B P'.split(' ').map((letter) => `-${letter}=`),
      '-G',
      '-V',
    ),
    skip: 1,
    joins: true,
    tells: ['G', 'V'],
  },
  autossh: {
    flags: flags(...'b c D E e F I i J L l m M O o p Q R S W w B'.split(' ').map((letter) => `-${letter}=`)),
    skip: 1,
    joins: true,
  },
  mosh: { flags: flags('--ssh=', '-p --port='), skip: 1 },
};

/** Wrappers that have a subcommand before the command they run: `poetry run docker …`. */
const wrapperCommands: Record<
  string,
  { words: string[]; skip?: number; joins?: boolean; text?: string; late?: boolean }
> = {
  'poetry run': { words: [] },
  'pipenv run': { words: [] },
  'uv run': { words: [] },
  'bundle exec': { words: [] },
  'pnpm exec': { words: [] },
  'npm exec': { words: [] },
  'yarn exec': { words: [] },
  'mise exec': { words: [] },
  'op run': { words: ['--env-file=', '--account='] },
  'doppler run': { words: ['-p --project=', '-c --config=', '--command='], text: 'command', late: true },
  'infisical run': { words: ['--env=', '--path=', '--projectId='] },
  'aws-vault exec': { words: ['-d --duration='], skip: 1 },
  'chamber exec': { words: [], skip: 1 },
  'direnv exec': { words: [], skip: 1 },
  'multipass exec': { words: ['-d --working-directory='], skip: 1 },
  'limactl shell': { words: ['--workdir=', '--shell='], skip: 1 },
  'colima ssh': { words: ['-p --profile='] },
  'vagrant ssh': { words: ['-c --command='], skip: 1, text: 'command', late: true },
  'docker-machine ssh': { words: [], skip: 1, joins: true },
  'kubectl exec': { words: ['-n --namespace=', '-c --container=', '-f --filename='], skip: 1 },
  'gcloud compute': { words: ['--zone=', '--project=', '--command='], skip: 2, text: 'command', late: true },
  'fly ssh': { words: ['-C --command=', '-a --app='], skip: 1, text: 'command', late: true },
  'heroku run': { words: ['-a --app='] },
};

/** Those that leave the machine, the user and the variables as they are. */
const transparent = new Set(
  (
    'env nice ionice timeout gtimeout time nohup command builtin exec stdbuf unbuffer chronic caffeinate chrt taskset ' +
    'numactl strace ltrace watch flock script systemd-inhibit systemd-cat tini dumb-init eatmydata rlwrap busybox toybox ' +
    'xargs find parallel setsid'
  ).split(' '),
);

/** Those that run it on another machine, or with another root. */
const remote = new Set(
  'ssh autossh mosh wsl multipass limactl colima vagrant docker-machine kubectl gcloud fly heroku chroot nsenter'.split(
    ' ',
  ),
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
    return through({ ...sub, flags: flags(...sub.words) }, words.slice(1), invocation, machine);
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
  const parsed = parseFlags(wrapper.flags, words, { interspersed: false });
  if (wrapper.tells?.some((flag) => isOn(parsed, flag) === 'yes') === true)
    return `${parsed.rest.at(-1) ?? ''}\n`;
  let rest = parsed.rest;
  const env = new Map(invocation.env);
  if ((wrapper.skip ?? 0) > 0) {
    rest = rest.slice(wrapper.skip);
    // ssh reads flags after the host, too.
    while (wrapper.joins === true && /^-[a-zA-Z]+$/.test(rest[0] ?? '')) {
      const again = parseFlags(wrapper.flags, rest, { interspersed: false });
      rest = again.rest;
    }
    if (rest[0] === '--') rest = rest.slice(1);
  }
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
    text === undefined && wrapper.text !== undefined
      ? valueOf(parseFlags(wrapper.flags, rest, { interspersed: late }), wrapper.text)
      : undefined;
  if (text !== undefined)
    return machine.script([text, ...(wrapper.assigns === true ? rest : [])].join(' '), inner);
  if (after !== undefined) return machine.script(after, inner);
  if (wrapper.joins === true) {
    if (rest.length > 0) return machine.script(rest.join(' '), { ...inner, cwd: undefined });
    return invocation.stdin === undefined
      ? SOME
      : machine.script(invocation.stdin, { ...inner, cwd: undefined, stdin: undefined });
  }
  return rest.length === 0 ? SOME : machine.run({ ...inner, words: rest });
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
  // Whatever it finds is some of what is in there.
  const found = starts.map((start) => `${start}/*`);
  const rest = words.slice(index);
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
    machine.run({
      ...invocation,
      stdin: undefined,
      words: command.flatMap((word) => (word === '{}' ? found : [word.replaceAll('{}', found[0] ?? '*')])),
    });
  }
  return `${found.join('\n')}\n`;
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

/** Commands that hand text to a shell that runs elsewhere or later. */
function later(name: string, words: readonly string[], invocation: Invocation, machine: Machine): string {
  const inner = { ...invocation, stdin: undefined };
  if (name === 'at' || name === 'batch') {
    if (invocation.stdin !== undefined) machine.script(invocation.stdin, inner);
  } else if (name === 'crontab') {
    for (const line of (invocation.stdin ?? '').split('\n')) {
      const found = /^\s*(?:@\w+|(?:\S+\s+){5})(.*)$/.exec(line);
      if (found?.[1] !== undefined) machine.script(found[1].replaceAll('\\%', '%'), inner);
    }
  } else {
    // tmux and screen take shell text as one word, or a command as words.
    for (const word of words) if (/\s/.test(word)) machine.script(word, { ...inner, guess: true });
    const at = words.findIndex((word) => /^(docker|podman|nerdctl|docker-compose|sudo|sh|bash)$/.test(word));
    if (at !== -1) machine.run({ ...inner, words: words.slice(at) });
  }
  return SOME;
}
