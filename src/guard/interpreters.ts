import { flags, parseFlags } from './flags.ts';
import type { Invocation, Machine } from './invocation.ts';
import { isAllUnknown, SOME } from './unknown.ts';

/** Names of shells. `-bash` is how a login shell calls itself. */
const shells =
  /^-?(r?bash|sh|dash|zsh|ash|ksh|mksh|fish|rbash|csh|tcsh|pwsh|powershell|cmd|xonsh|nu)(\.exe)?$/;

export function isShell(name: string): boolean {
  return shells.test(name);
}

/** Judge what a shell is told to run: `-c TEXT`, a file, or its standard input. */
export function runShell(invocation: Invocation, machine: Machine): string {
  const words = invocation.words.slice(1);
  let takesText = false;
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
      if (word.startsWith('-') && word.includes('c')) takesText = true;
      if (/o$/i.test(word)) index += 1;
    } else if (/^-ExecutionPolicy$/i.test(word)) index += 1;
    else if (/^-(File|NoProfile|NonInteractive)$/i.test(word)) continue;
    else break;
  }
  const [first, ...rest] = words.slice(index);
  if (takesText) {
    if (first === undefined) return SOME;
    const isWindows = /^(cmd|pwsh|powershell)/.test(invocation.words[0] ?? '');
    return isWindows
      ? machine.script([first, ...rest].join(' '), invocation)
      : machine.script(first, invocation, rest.slice(1), rest[0]);
  }
  if (first !== undefined && first !== '-' && first !== '/dev/stdin') {
    const text = machine.file(first, invocation);
    return text === undefined ? SOME : runFile(text, invocation, machine, rest);
  }
  const { stdin } = invocation;
  if (stdin === undefined || isAllUnknown(stdin.trim())) return SOME;
  return machine.script(stdin, { ...invocation, stdin: undefined }, rest);
}

/** Judge the text of a script, whatever language its first line names. */
export function runFile(
  text: string,
  invocation: Invocation,
  machine: Machine,
  params: readonly string[],
): string {
  const interpreter = /^#!\s*(?:\S*\/)?(?:env\s+(?:-\S+\s+)*)?([\w.-]+)/.exec(text)?.[1]?.split('/').at(-1);
  if (interpreter !== undefined && language(interpreter) !== undefined) {
    judgeCode(text, invocation, machine);
    return SOME;
  }
  return machine.script(text, invocation, params);
}

const languages: Record<string, { code: string[]; takes: string[] }> = {
  python: { code: ['-c='], takes: ['-m=', '-W=', '-X='] },
  node: { code: ['-e --eval=', '-p --print='], takes: ['-r --require=', '--import='] },
  deno: { code: [], takes: [] },
  bun: { code: ['-e --eval=', '-p --print='], takes: [] },
  perl: { code: ['-e=', '-E='], takes: ['-I=', '-M='] },
  ruby: { code: ['-e='], takes: ['-r=', '-I='] },
  php: { code: ['-r=', '-B='], takes: ['-d='] },
  lua: { code: ['-e='], takes: ['-l='] },
  osascript: { code: ['-e='], takes: [] },
  awk: { code: [], takes: ['-F=', '-v=', '-f='] },
};

function language(name: string): { code: string[]; takes: string[] } | undefined {
  const base = name
    .replace(/^(pypy|python)[\d.]*$/, 'python')
    .replace(/^nodejs$/, 'node')
    .replace(/^(g|m|n)awk$/, 'awk')
    .replace(/^(perl|ruby|php|lua)[\d.]+$/, '$1');
  return Object.hasOwn(languages, base) ? languages[base] : undefined;
}

/** If the command is an interpreter, judge the code it is given in its words or on its standard input. */
export function runInterpreter(name: string, invocation: Invocation, machine: Machine): string | undefined {
  const found = language(name);
  if (found === undefined) return undefined;
  const words = invocation.words.slice(1);
  if (name === 'deno' && words[0] === 'eval') {
    judgeCode(words.slice(1).join(' '), invocation, machine);
    return SOME;
  }
  const parsed = parseFlags(flags(...found.code, ...found.takes), words, { interspersed: false });
  const codes = found.code.flatMap((flag) => {
    const named = flag.replace(/=$/, '').split(' ').at(-1)?.replace(/^-+/, '') ?? '';
    return parsed.given.get(named) ?? [];
  });
  if (name.endsWith('awk')) codes.push(parsed.rest[0] ?? '');
  for (const code of codes) judgeCode(code, invocation, machine);
  if (codes.length === 0) {
    const [file] = parsed.rest;
    if ((file === undefined || file === '-') && invocation.stdin !== undefined)
      judgeCode(invocation.stdin, invocation, machine);
    else if (file !== undefined) {
      const text = machine.file(file, invocation);
      if (text !== undefined) judgeCode(text, invocation, machine);
    }
  }
  return SOME;
}

const starts =
  /subprocess|os\s*\.\s*(system|popen|exec|spawn)|pexpect|child_process|\bexec(Sync|File|FileSync|a|v|vp)?\b|\bspawn(Sync)?\b|\bsystem\b|\bpopen\b|shell_exec|passthru|proc_open|\bqx\b|`|Deno\.Command|Bun\.spawn|\$`|do shell script|\bsh\s*[.(]|\|\s*getline|%x/;

/**
 * Judge code in a language that is not the shell's. What is read of it: text in quotes, where the code starts programs at
 * all; single words in quotes next to each other are taken to be one command.
 */
function judgeCode(code: string, invocation: Invocation, machine: Machine): void {
  const inner = { ...invocation, stdin: undefined, guess: true };
  const text = code.slice(0, 200_000);
  if (/\bvolumes\s*\.\s*prune\s*\(/.test(text)) machine.report(invocation, { rule: 'volume-prune' });
  if (!starts.test(text)) return;
  let words: string[] = [];
  let last = 0;
  const flush = (): void => {
    if (words.length > 1) machine.run({ ...inner, words });
    words = [];
  };
  const literals =
    /"""([\s\S]*?)"""|'''([\s\S]*?)'''|"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|`((?:[^`\\]|\\.)*)`|(?:qx|%x|%w|qw)\s*[{([/]([^\])}/]*)[\])}/]/g;
  for (const found of text.matchAll(literals)) {
    const value = // Only one of the groups took part.
      found.slice(1).join('').replace(/\\(.)/g, '$1');
    // Elements of one list have nothing but a comma, brackets and spaces between them.
    if (!/^[\s,[\](+]*$/.test(text.slice(last, found.index)) || text.slice(last, found.index).includes(')'))
      flush();
    const goesOn = words.length > 0 && /^\s*\+?\s*$/.test(text.slice(last, found.index)) && last > 0;
    // `"docker compose " + "down -v"` is one text, as are literals next to each other in Python.
    const joined = goesOn ? `${words.pop() ?? ''}${value}` : value;
    if (/\s/.test(joined.trim())) machine.script(joined, inner);
    words.push(joined);
    last = found.index + found[0].length;
  }
  flush();
}
