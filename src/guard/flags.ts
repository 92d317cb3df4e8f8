import { FLAGS, isUnknown, startsUnknown } from './unknown.ts';

/**
 * The flags of one command, as pflag (docker, compose, podman, nerdctl) and getopt_long (sudo, env, xargs) read them:
 * combined short flags, values attached or in the next word, `--flag=value`, the last one wins, `--` ends them.
 */
export interface FlagTable {
  /** By every name: the canonical name, and whether it takes a value. */
  names: ReadonlyMap<string, FlagKind>;
}

interface FlagKind {
  name: string;
  value: boolean;
  /** It may have a value, but only in the same word: `-psecret`. */
  attached: boolean;
}

/**
 * Given descriptions such as `-t --timeout=` (with a value), `-p --password=?` (perhaps with one, in the same word) or
 * `-v --volumes --volume` (a switch), return the table. The first long name, else the first name, is the canonical one.
 */
export function flags(...described: string[]): FlagTable {
  return whenNeeded(() => {
    const names = new Map<string, FlagKind>();
    for (const line of described) {
      const value = line.endsWith('=');
      const attached = line.endsWith('=?');
      const words = line.replace(/=\??/g, '').split(' ');
      const name = (words.find((word) => word.startsWith('--')) ?? words[0] ?? '').replace(/^-+/, '');
      for (const word of words) names.set(word, { name, value, attached });
    }
    return names;
  });
}

/** Both, the second winning. */
export function together(...tables: FlagTable[]): FlagTable {
  return whenNeeded(() => new Map(tables.flatMap((table) => [...table.names])));
}

/** There are a hundred tables, and a command needs two or three: making all of them would double what a verdict takes. */
function whenNeeded(make: () => FlagTable['names']): FlagTable {
  let names: FlagTable['names'] | undefined;
  return {
    get names() {
      return (names ??= make());
    },
  };
}

export interface Flags {
  /** By canonical name, or the name as written for one that the table does not have: values in order, '' for a switch. */
  given: Map<string, string[]>;
  /** What is no flag. */
  rest: string[];
  /** Words that may be flags, nobody knows which. */
  unknown: string[];
  /** Flags that the table does not have. */
  strange: string[];
}

export interface FlagRules {
  /** Flags count after other words, too. Not so for `docker run IMAGE …`, `sudo COMMAND …`. */
  interspersed: boolean;
  /** `--vol` for `--volumes`, as docopt and argparse allow. */
  abbreviated?: boolean;
}

/** Given a table and the words after the command, return what they say. Never throws. */
export function parseFlags(table: FlagTable, words: readonly string[], rules: FlagRules): Flags {
  const found: Flags = { given: new Map(), rest: [], unknown: [], strange: [] };
  const note = (name: string, value: string): void => {
    const before = found.given.get(name);
    if (before === undefined) found.given.set(name, [value]);
    else before.push(value);
  };
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] ?? '';
    if (word === '--') {
      found.rest.push(...words.slice(index + 1));
      break;
    }
    if (startsUnknown(word)) found.unknown.push(word);
    if (!word.startsWith('-') || word === '-') {
      if (!rules.interspersed) {
        found.rest.push(...words.slice(index));
        break;
      }
      found.rest.push(word);
      continue;
    }
    if (word.startsWith('--')) {
      const [name = '', ...after] = word.split('=');
      const flag = longFlag(table, name, rules.abbreviated === true);
      if (isUnknown(name)) found.unknown.push(word);
      else if (flag === undefined) {
        found.strange.push(name);
        note(name.slice(2), after.join('='));
      } else if (!flag.value || after.length > 0) note(flag.name, after.join('='));
      else {
        index += 1;
        note(flag.name, words[index] ?? '');
      }
      continue;
    }
    for (let letter = 1; letter < word.length; letter += 1) {
      const short = `-${word.charAt(letter)}`;
      if (isUnknown(short)) {
        found.unknown.push(word);
        break;
      }
      const flag = table.names.get(short);
      const after = word.slice(letter + 1);
      if (flag === undefined) found.strange.push(short);
      if (flag?.attached === true) {
        note(flag.name, after);
        break;
      }
      if (flag?.value === true) {
        if (after === '') index += 1;
        note(flag.name, after === '' ? (words[index] ?? '') : after.replace(/^=/, ''));
        break;
      }
      note(flag?.name ?? short.slice(1), after.startsWith('=') ? after.slice(1) : '');
      if (after.startsWith('=')) break;
    }
  }
  return found;
}

function longFlag(table: FlagTable, name: string, abbreviated: boolean): FlagKind | undefined {
  const exact = table.names.get(name);
  if (exact !== undefined || !abbreviated || name.length < 3) return exact;
  return [...table.names].find(([full]) => full.startsWith(name))?.[1];
}

/** Whether a switch is on: the last one wins. 'unknown': its value, or a word that may be it, is not known. */
export function isOn(found: Flags, name: string): 'yes' | 'no' | 'unknown' {
  const value = found.given.get(name)?.at(-1);
  if (value === undefined) return 'no';
  if (isUnknown(value)) return 'unknown';
  // strconv.ParseBool. Anything else is an error of the command, but who knows which version reads it.
  return /^(0|f|F|FALSE|false|False)$/.test(value) ? 'no' : 'yes';
}

/** The last value of a flag. */
export function valueOf(found: Flags, name: string): string | undefined {
  return found.given.get(name)?.at(-1);
}

/** Whether a word among these comes from a variable that is meant to hold flags. */
export function holdsFlags(words: readonly string[]): boolean {
  return words.some((word) => word.includes(FLAGS) || (word.startsWith('-') && isUnknown(word)));
}

/** Whether the command only prints its help or its version. */
export function isHarmless(found: Flags): boolean {
  return (['help', 'version', 'dry-run'] as const).some((name) => isOn(found, name) === 'yes');
}
