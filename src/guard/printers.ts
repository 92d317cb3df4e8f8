import { remade, saidBy } from './interpreters.ts';
import type { Invocation, Machine } from './invocation.ts';
import { isAllUnknown, isUnknown, SOME, WORDS } from './unknown.ts';

/** Commands that only pass text on, or find some of its lines. */
const passing = new Set([
  'grep',
  'egrep',
  'fgrep',
  'rg',
  'head',
  'tail',
  'sort',
  'uniq',
  'tac',
  'nl',
  'pv',
  'sponge',
  'ts',
  'fold',
  'expand',
  'iconv',
  'dos2unix',
  'unix2dos',
  'column',
]);

/** Scripts among the arguments of a command: what it reads instead of its standard input. */
function scripts(words: readonly string[], read: (path: string) => string | undefined): string | undefined {
  const texts = words.filter((word) => /^[^-].*\.(ba|da|z|k)?sh$/.test(word)).map(read);
  return texts.length === 0 ? undefined : texts.join('\n');
}

/**
 * What a command prints, if that can be told: it may go into a shell. Undefined if it is not one of those known here.
 */
export function printed(name: string, invocation: Invocation, machine: Machine): string | undefined {
  const words = invocation.words.slice(1);
  const input = invocation.stdin;
  const read = (path: string): string | undefined => machine.file(path, invocation);
  switch (name) {
    case 'echo': {
      let index = 0;
      while (/^-[neE]+$/.test(words[index] ?? '')) index += 1;
      const text = words.slice(index).join(' ');
      const escapes = words.slice(0, index).some((word) => word.includes('e'));
      return `${escapes ? unescaped(text) : text}\n`;
    }
    case 'printf':
      return words[0] === '-v' ? '' : printf(words);
    case 'cat':
    case 'bat':
    case 'tee': {
      const files = words.filter((word) => word === '-' || !word.startsWith('-'));
      if (name === 'tee' || files.length === 0) return input ?? SOME;
      return files.map((file) => (file === '-' ? (input ?? SOME) : (read(file) ?? SOME))).join('');
    }
    case 'yes':
      return `${words.length === 0 ? 'y' : words.join(' ')}\n`;
    case 'pwd':
      return `${invocation.cwd ?? '.'}\n`;
    case 'realpath':
    case 'readlink':
    case 'dirname':
    case 'basename': {
      const [path, suffix = ''] = words.filter((word) => !word.startsWith('-'));
      return path === undefined ? `${SOME}\n` : `${partOf(path, name, suffix, invocation, machine)}\n`;
    }
    case 'which':
    case 'type':
      return `${words.find((word) => !word.startsWith('-')) ?? SOME}\n`;
    case 'ls':
      return words.filter((word) => !word.startsWith('-')).length === 0
        ? `${SOME}\n`
        : `${words
            .filter((word) => !word.startsWith('-'))
            .map((word) => (/[*?]/.test(word) ? word : `${word}/${SOME}`))
            .join('\n')}\n`;
    case 'base64':
    case 'openssl':
      if (input === undefined || !words.some((word) => /^(-d|-D|--decode|-di|-id)$/.test(word))) return SOME;
      return isUnknown(input) ? SOME : Buffer.from(input, 'base64').toString('utf8');
    case 'xxd':
      if (input === undefined || !words.some((word) => /^-.*r/.test(word)) || isUnknown(input)) return SOME;
      return Buffer.from(input.replace(/\s/g, ''), 'hex').toString('utf8');
    case 'rev':
      return (input ?? SOME)
        .split('\n')
        .map((line) => line.split('').reverse().join(''))
        .join('\n');
    case 'tr':
      // `tr -d '\\r'`
      if (words[0] === '-d') return input ?? SOME;
      return remade(input ?? '') || SOME;
    case 'sed': {
      const text = [...words, input ?? '', scripts(words, read) ?? ''].join('\n');
      return remade(text.replace(/[/|#,]\^?/g, ' ')) || SOME;
    }
    case 'jq':
      return `${words.map(saidBy).join('')}${remade(input ?? '')}` || SOME;
    case 'cut':
    case 'envsubst':
      return remade(input ?? '') || undefined;
    default:
      return passing.has(name) ? (scripts(words, read) ?? input ?? SOME) : undefined;
  }
}

/** A path as one of these commands prints it. */
function partOf(
  path: string,
  command: string,
  suffix: string,
  invocation: Invocation,
  machine: Machine,
): string {
  const [, folder = '', last = ''] = /^(.*\/)?([^/]*)\/*$/.exec(path) ?? [];
  switch (command) {
    case 'basename':
      return suffix !== '' && last !== suffix && last.endsWith(suffix) ? last.slice(0, -suffix.length) : last;
    case 'dirname':
      // Of what is not known at all, nothing is.
      return isAllUnknown(path) ? path : folder === '' ? '.' : folder.replace(/(?<=[^/])\/+$/, '');
    default:
      return isUnknown(path) ? path : machine.real(path, invocation);
  }
}

/** Commands that an engine prints by a template: `--format 'docker volume rm {{.Name}}'`. Undefined if it prints none. */
export function formatted(words: readonly string[]): string | undefined {
  const given = words.flatMap((word, index) =>
    word.startsWith('--format=')
      ? [word.slice('--format='.length)]
      : /^(--format|-f)$/.test(word)
        ? words.slice(index + 1, index + 2)
        : [],
  );
  const format = given.find((one) => remade(one) !== '');
  return format === undefined ? undefined : `${unescaped(format.replace(/\{\{[^{}]*\}\}/g, WORDS))}\n`;
}

/** What `find -printf` prints of the paths it finds. */
export function printedBy(format: string, found: readonly string[]): string {
  return found
    .slice(0, 20)
    .map((path) => unescaped(format).replace(/%(.)/g, (_, kind: string) => (kind === 'p' ? path : SOME)))
    .join('');
}

/** Backslash escapes as echo -e and printf read them. */
function unescaped(text: string): string {
  return text.replace(
    /\\(?:x([0-9a-fA-F]{1,2})|0([0-7]{1,3})|([0-7]{1,3})|u([0-9a-fA-F]{1,4})|(.))/g,
    (all, hex?: string, octal?: string, digits?: string, unicode?: string, letter?: string) => {
      if (hex !== undefined || unicode !== undefined)
        return String.fromCharCode(parseInt(hex ?? unicode ?? '', 16));
      if (octal !== undefined || digits !== undefined)
        return String.fromCharCode(parseInt(octal ?? digits ?? '', 8));
      const plain: Record<string, string> = { n: '\n', t: '\t', r: '\r', '\\': '\\', '"': '"', a: '', c: '' };
      return plain[letter ?? ''] ?? all;
    },
  );
}

function printf(words: readonly string[]): string {
  const [format = '', ...values] = words[0] === '--' ? words.slice(1) : words;
  const next = [...values];
  let text = '';
  // The format is used again while there are values left.
  for (let round = 0; round < 50; round += 1) {
    const before = next.length;
    text += unescaped(format).replace(/%[-+ #0]*\d*(?:\.\d+)?([sbdiouxXqc%])/g, (_, kind: string) =>
      kind === '%' ? '%' : kind === 'b' ? unescaped(next.shift() ?? '') : (next.shift() ?? ''),
    );
    if (next.length === 0 || next.length === before) break;
  }
  return text;
}
