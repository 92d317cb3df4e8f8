import { resolvePath } from './data-paths.ts';
import { flags, parseFlags, valueOf } from './flags.ts';
import type { Invocation, Machine } from './invocation.ts';
import { isAllUnknown, SOME, WORDS } from './unknown.ts';

/** Names of shells. `-bash` is how a login shell calls itself. */
const shells =
  /^-?(r?bash|sh|dash|zsh|ash|ksh|mksh|fish|rbash|csh|tcsh|pwsh|powershell|cmd|xonsh|nu)(\.exe)?$/;

export function isShell(name: string): boolean {
  return shells.test(name);
}

/** Standard input as text. A file is only read where it is run. */
export function standardInput(invocation: Invocation, machine: Machine): string | undefined {
  const path = /^\uE000file:(.*)\uE000$/s.exec(invocation.stdin ?? '')?.[1];
  return path === undefined ? invocation.stdin : (machine.file(path, invocation) ?? SOME);
}

/** Of these, -n means something else. */
const neverOnlyReads = /^-?(pwsh|powershell|cmd|xonsh|nu)(\.exe)?$/;

/** Judge what a shell is told to run: `-c TEXT`, a file, or its standard input. */
export function runShell(invocation: Invocation, machine: Machine): string {
  const [name = '', ...words] = invocation.words;
  let takesText = false;
  let takesInput = false;
  let onlyReads = false;
  let index = 0;
  for (; index < words.length; index += 1) {
    const word = words[index] ?? '';
    if (word === '--') {
      index += 1;
      break;
    }
    if (/^(-c|\/c|\/k|-command|--command)$/i.test(word)) takesText = true;
    else if (/^--(rcfile|init-file)$/.test(word)) index += 1;
    else if (word.startsWith('--')) continue;
    else if (
      /^[-+][a-zA-Z]+$/.test(word) &&
      !/^-(File|NoProfile|NonInteractive|ExecutionPolicy)$/i.test(word)
    ) {
      const isOn = word.startsWith('-');
      if (isOn && word.includes('c')) takesText = true;
      if (isOn && word.includes('s')) takesInput = true;
      if (word.includes('n')) onlyReads = isOn && !word.includes('i');
      if (/o$/i.test(word)) index += 1;
    } else if (/^-ExecutionPolicy$/i.test(word)) index += 1;
    else if (/^-(File|NoProfile|NonInteractive)$/i.test(word)) continue;
    else break;
  }
  // `bash -n x.sh` looks for mistakes and runs nothing.
  if (onlyReads && !neverOnlyReads.test(name.split('/').at(-1) ?? '')) return SOME;
  // With -s, all that follows is `$1` and so on.
  const params = words.slice(index);
  const [first, ...rest] = params;
  if (takesText) {
    if (first === undefined) return SOME;
    const isWindows = /^(cmd|pwsh|powershell)/.test(name);
    return isWindows
      ? machine.script([first, ...rest].join(' '), invocation)
      : machine.script(first, invocation, rest.slice(1), rest[0]);
  }
  if (!takesInput && first !== undefined && first !== '-' && first !== '/dev/stdin') {
    const text = machine.file(first, invocation);
    return text === undefined ? SOME : runFile(text, invocation, machine, rest, first);
  }
  const { stdin } = invocation;
  if (stdin === undefined || isAllUnknown(stdin.trim())) return SOME;
  return machine.script(stdin, { ...invocation, stdin: undefined }, takesInput ? params : rest);
}

/** Judge the text of a script, whatever language its first line names. `path`: where it is. */
export function runFile(
  text: string,
  invocation: Invocation,
  machine: Machine,
  params: readonly string[],
  path?: string,
): string {
  const interpreter = /^#!\s*(?:\S*\/)?(?:env\s+(?:-\S+\s+)*)?([\w.-]+)/.exec(text)?.[1]?.split('/').at(-1);
  const found = interpreter === undefined ? undefined : language(interpreter);
  if (found !== undefined) {
    judgeCode(text, found, invocation, machine);
    return SOME;
  }
  const self = path === undefined ? undefined : resolvePath(path, invocation.cwd);
  return machine.script(text, invocation, params, self);
}

interface Language {
  /** Flags whose value is code. */
  code: string[];
  /** Other flags with a value. */
  takes: string[];
  /** Flags whose value is a file of code. */
  file?: string[];
  /** With one of these it looks for mistakes and runs nothing. */
  checks?: string[];
  /** Words before the file: `deno run x.ts`. */
  verbs?: string[];
  /** The first word is code. */
  takesWord?: boolean;
  /** What starts a program, besides what does so in every language. */
  starts?: RegExp;
  /** A line starts a program by its name, without quotes. */
  bare?: boolean;
}

/** Backticks where a value stands: not those of a document that is edited, as in s/`x`/`y`/. */
const backtick = /(?:^|[=({[;,.&|!]|\b(?:print|say|return|puts|p|echo|and|or|do|then|if|unless))[ \t]*`/m;
const script: Language = {
  code: ['-e --eval=', '-p --print='],
  takes: [
    '-r --require=',
    '--import=',
    '--env-file=',
    '--tsconfig=',
    '-P --project=',
    '-O --compiler-options=',
  ],
  verbs: ['watch'],
};

const languages: Record<string, Language> = {
  python: { code: ['-c='], takes: ['-m=', '-W=', '-X='] },
  node: {
    code: ['-e --eval=', '-p --print='],
    takes: [
      '-r --require=',
      '--import=',
      '--loader --experimental-loader=',
      '--env-file --env-file-if-exists=',
      '-C --conditions=',
      '--input-type=',
      '--test-name-pattern=',
      '--test-reporter=',
      '--title=',
      '--watch-path=',
    ],
    checks: ['-c', '--check'],
  },
  deno: {
    code: [],
    takes: ['-c --config=', '--import-map=', '-L --log-level=', '--cert='],
    verbs: ['run'],
  },
  bun: {
    code: ['-e --eval=', '-p --print='],
    takes: ['-r --preload=', '--cwd=', '--env-file=', '-c --config=', '--filter='],
    verbs: ['run'],
  },
  tsx: script,
  'ts-node': script,
  'ts-node-esm': script,
  'vite-node': { ...script, takes: ['-c --config=', '-m --mode=', '-r --root='] },
  zx: { ...script, takes: ['--shell=', '--prefix=', '--postfix=', '--cwd=', '--ext=', '--env='] },
  jiti: script,
  esno: script,
  perl: { code: ['-e=', '-E='], takes: ['-I=', '-M='], checks: ['-c', '-wc'], starts: backtick },
  ruby: { code: ['-e='], takes: ['-r=', '-I='], checks: ['-c', '-wc'], starts: backtick },
  php: { code: ['-r=', '-B='], takes: ['-d='], file: ['-f --file='], checks: ['-l'], starts: backtick },
  lua: { code: ['-e='], takes: ['-l='] },
  osascript: { code: ['-e='], takes: [] },
  awk: { code: [], takes: ['-F=', '-v='], file: ['-f --file='], takesWord: true, starts: /\|\s*"/ },
  Rscript: { code: ['-e='], takes: [], starts: /\bsystem2?\s*\(/ },
  julia: { code: ['-e --eval=', '-E --print='], takes: ['-L --load=', '-p=', '-t='], starts: backtick },
  elixir: { code: ['-e --eval='], takes: ['-r=', '-S='], starts: /System\.(cmd|shell)|:os\.cmd|Port\.open/ },
  expect: { code: ['-c='], takes: [], file: ['-f='], bare: true },
  tclsh: { code: [], takes: [], bare: true },
};

function language(name: string): Language | undefined {
  const base = name
    .replace(/^(pypy|python)[\d.]*$/, 'python')
    .replace(/^nodejs$/, 'node')
    .replace(/^(g|m|n)awk$/, 'awk')
    .replace(/^(perl|ruby|php|lua|tclsh)[\d.]+$/, '$1');
  return Object.hasOwn(languages, base) ? languages[base] : undefined;
}

/** Modules of Python that run the file they are given. */
const runningModules = new Set(['pdb', 'cProfile', 'profile', 'trace', 'runpy']);

/**
 * If the command is an interpreter, judge the code it is given in its words or on its standard input. Returns what that
 * would print.
 */
export function runInterpreter(name: string, invocation: Invocation, machine: Machine): string | undefined {
  const found = language(name);
  if (found === undefined) return undefined;
  const words = invocation.words.slice(1);
  const codes: string[] = [];
  const judge = (code: string | undefined): void => {
    if (code === undefined) return;
    codes.push(code);
    judgeCode(code, found, invocation, machine);
  };
  if (name === 'deno' && words[0] === 'eval') judge(words.slice(1).join(' '));
  else for (const code of codesOf(found, words, invocation, machine)) judge(code);
  const { stdin = '' } = invocation;
  return `${codes.map(saidBy).join('')}${codes.includes(stdin) ? '' : remade(stdin)}` || SOME;
}

/** The code that an interpreter would run: from its words, a file or its standard input. */
function codesOf(
  found: Language,
  given: readonly string[],
  invocation: Invocation,
  machine: Machine,
): (string | undefined)[] {
  const files = found.file ?? [];
  const table = flags(...found.code, ...found.takes, ...files);
  const words = found.verbs?.includes(given[0] ?? '') === true ? given.slice(1) : given;
  const parsed = parseFlags(table, words, { interspersed: false });
  const valuesOf = (described: string): string[] => parsed.given.get(nameOf(described)) ?? [];
  const before = words.slice(0, words.length - parsed.rest.length);
  if (found.checks?.some((flag) => before.includes(flag)) === true) return [];
  const codes = [
    ...found.code.flatMap(valuesOf),
    ...files.flatMap(valuesOf).map((file) => machine.file(file, invocation)),
  ];
  if (codes.length > 0) return codes;
  if (found.takesWord === true) return parsed.rest.slice(0, 1);
  const [file] = parsed.rest;
  const module = found === languages['python'] ? valueOf(parsed, 'm') : undefined;
  if (module !== undefined && !runningModules.has(module))
    return [machine.file(`${module.replaceAll('.', '/')}.py`, invocation)];
  if (file === undefined || file === '-') return [invocation.stdin];
  return [machine.file(file, invocation)];
}

/** The canonical name of a flag, as it is described. */
function nameOf(described: string): string {
  const names = described.replace(/=$/, '').split(' ');
  return (names.find((name) => name.startsWith('--')) ?? names[0] ?? '').replace(/^-+/, '');
}

/** A command of an engine, or the beginning of one. */
const engineCommand = /(?:^|[^\w./-])(?:docker|podman|nerdctl)(?:-compose)?\s/;

/** Marks in a text for what is put there when it is printed. */
const marks = /\\\([^()]*\)|[$#]?\{\{?[^{}]*\}?\}|%[sdrv]|\$\w+/g;

/** What code may print that is a command of an engine: it may go into a shell. Empty if there is nothing like it. */
export function saidBy(code: string): string {
  if (!/docker|podman|nerdctl/.test(code)) return '';
  return textsIn(code)
    .map((one) => (typeof one === 'string' ? one : one.join(' ')))
    .filter((text) => engineCommand.test(text))
    .map((text) => `${filled(text.replace(marks, WORDS))}\n`)
    .join('');
}

/** What a program makes of a text: of a command of an engine, it may be one still. */
export function remade(input: string): string {
  return /(docker|podman|nerdctl)(-compose)?\s/.test(input) ? `docker ${WORDS}\n` : '';
}

/** After a text that ends in a space, something follows. */
function filled(text: string): string {
  return /\S[ \t]+$/.test(text) ? `${text}${WORDS}` : text;
}

/** What starts a program in most languages. */
const starts =
  /subprocess|os\s*\.\s*(system|popen|exec|spawn)|pexpect|child_process|(?<![.\w-])exec(a|v|vp)?\s*(['"`([{$@]|[q%]w)|\bexec(Sync|File|FileSync|a|v|vp|_command|Command)\b|\bspawn(Sync)?\b|\bsystem\s*(['"`([{$@]|[q%]w)|\bpopen\b|shell_exec|passthru|proc_open|\bqx\b|Deno\.Command|Bun\.spawn|\$`|do shell script|\bsh\s*[.(]|\|\s*getline|%x/;

/**
 * Judge code in a language that is not the shell's. What is read of it: text in quotes, where the code starts programs at
 * all; single words in quotes next to each other are taken to be one command.
 */
function judgeCode(code: string, language: Language, invocation: Invocation, machine: Machine): void {
  const inner = { ...invocation, stdin: undefined, guess: true };
  const text = code.slice(0, 200_000);
  if (/\bvolumes\s*\.\s*prune\s*\(/.test(text)) machine.report(invocation, { rule: 'volume-prune' });
  if (language.bare === true)
    for (const [, command = ''] of text.matchAll(
      /(?:^|[;{[\n])[ \t]*(?:spawn|exec|system)[ \t]([^;\]}\n]*)/g,
    ))
      machine.script(command.replace(/^(?:[ \t]*-\w+)+/, ''), inner);
  if (!starts.test(text) && language.starts?.test(text) !== true) return;
  for (const one of textsIn(text)) {
    if (typeof one === 'string') machine.script(filled(one), inner);
    else machine.run({ ...inner, words: one });
  }
}

/**
 * What may be between two elements of one list: a comma, brackets, spaces, and the letter before a text of Python's. R begins
 * a list with `c(`, Deno with `{args: [`.
 */
const between = /^[\s,[\](+]*(?:\bc\(|\{\s*args\s*:[\s[]*)?[fbru]*$/i;

/** A script by its name alone. */
const scriptPath = /^[\w./~-]{1,200}\.(ba|da|z|k)?sh$/;

/** Texts in quotes that have spaces or are a script's name, and lists of words in quotes. */
function textsIn(code: string): (string | string[])[] {
  const found: (string | string[])[] = [];
  let words: string[] = [];
  let parts = 0;
  let last = 0;
  const add = (text: string): void => {
    if (/\S\s/.test(text.trimStart()) || scriptPath.test(text)) found.push(text);
  };
  const endText = (): void => {
    if (parts > 1) add(words.at(-1) ?? '');
    parts = 0;
  };
  const endList = (): void => {
    endText();
    // `execvp('docker', ['docker', 'ps'])`
    if (words.length > 1) found.push(words[0] === words[1] ? words.slice(1) : words);
    words = [];
  };
  for (const { value, start, end } of literalsIn(code)) {
    const gap = code.slice(last, start);
    // `['compose', '-f', file, 'down']`
    const isUnknown = words.length > 0 && /^\s*,\s*[\w.]+\s*,\s*$/.test(gap);
    if (!isUnknown && (!between.test(gap) || gap.includes(')'))) endList();
    // `"docker compose " + "down -v"` is one text, as are literals next to each other in Python.
    if (words.length > 0 && /^\s*\+?\s*[fbru]?$/i.test(gap)) {
      words.push(`${words.pop() ?? ''}${value}`);
      parts += 1;
    } else {
      endText();
      if (isUnknown) words.push(SOME);
      add(value);
      if (code.startsWith('.split(', end)) words.push(...value.split(/\s+/));
      else words.push(value);
      parts = 1;
    }
    last = end;
  }
  endList();
  return found;
}

interface Literal {
  value: string;
  start: number;
  end: number;
}

/** Texts in quotes. It is read once, whatever is not closed. */
function literalsIn(code: string): Literal[] {
  const opening = /"""|'''|["'`]|(?:qx|%x|%w|qw)\s*[{([/]/g;
  const found: Literal[] = [];
  const unclosed = new Set<string>();
  for (let match = opening.exec(code); match !== null; match = opening.exec(code)) {
    const [mark] = match;
    const isList = /[{([/]$/.test(mark);
    const quote = isList ? '' : unclosed.has(mark) ? mark.charAt(0) : mark;
    const from = match.index + (isList ? mark : quote).length;
    const end = unclosed.has(quote) ? -1 : isList ? endOfList(code, from) : endOfQuote(code, from, quote);
    opening.lastIndex = end === -1 ? match.index + 1 : end + Math.max(quote.length, 1);
    if (end === -1) {
      unclosed.add(quote);
      continue;
    }
    const value = code
      .slice(from, end)
      .replace(/\\([^(])/gs, (_, letter: string) => escapes[letter] ?? letter);
    found.push({ value, start: match.index, end: opening.lastIndex });
  }
  return found;
}

const escapes: Record<string, string> = { n: '\n', r: '\n', t: '\t', '\n': '' };

function endOfQuote(code: string, from: number, quote: string): number {
  for (let at = from; at < code.length; at += 1) {
    if (code[at] === '\\') at += 1;
    else if (code.startsWith(quote, at)) return at;
  }
  return -1;
}

function endOfList(code: string, from: number): number {
  const closing = /[\])}/]/g;
  closing.lastIndex = from;
  return closing.exec(code)?.index ?? -1;
}
