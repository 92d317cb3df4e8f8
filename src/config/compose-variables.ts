import { readFile } from 'node:fs/promises';
import { messageOf } from '../model/error.ts';
import { configError } from './problem.ts';

/** The COMPOSE_* variables that decide which project is meant. Nothing else is taken out of an env file. */
type VariableName = 'COMPOSE_FILE' | 'COMPOSE_PATH_SEPARATOR' | 'COMPOSE_PROFILES' | 'COMPOSE_PROJECT_NAME';

/** A variable, and where it was set, for messages. */
interface Variable {
  value: string;
  /** "the environment", or the path of an env file. */
  from: string;
}

/** An env file's path and its text. */
export interface EnvFile {
  path: string;
  text: string;
}

/** Throws SafeUpdateError `config` for a file that cannot be read. */
export async function readEnvFiles(paths: readonly string[]): Promise<EnvFile[]> {
  return Promise.all(
    paths.map(async (path) => {
      try {
        return { path, text: await readFile(path, 'utf8') };
      } catch (error) {
        throw configError(
          `The env file ${path} cannot be read: ${messageOf(error)}`,
          'Run safe-update as a user who may read it.',
          error,
        );
      }
    }),
  );
}

/**
 * A COMPOSE_* variable as compose sees it: the process's own wins, then later env files over earlier ones.
 * `${NAME}` in an env file is replaced as compose does it: line by line, from the process, from earlier files and from what
 * stands further up. So `MODE=${MODE:-web}` gives MODE a value that may come from outside.
 *
 * Returns undefined where it is not set. Throws SafeUpdateError `config` for a reference that cannot be followed.
 */
export function composeVariable(
  name: VariableName,
  env: Readonly<Record<string, string | undefined>>,
  envFiles: readonly EnvFile[],
): Variable | undefined {
  const own = env[name];
  if (own !== undefined) return { value: own, from: 'the environment' };
  // Undefined: set, to what cannot be followed.
  const before = new Map<string, string | undefined>();
  let from = '';
  for (const { path, text } of envFiles) {
    const here = new Map<string, string | undefined>();
    for (const { key, written, literal } of assignments(text)) {
      const outside = (other: string): boolean => env[other] !== undefined || before.has(other);
      const isSet = (other: string): boolean => outside(other) || here.has(other);
      const valueOf = (other: string): string | undefined =>
        env[other] ?? (before.has(other) ? before : here).get(other);
      here.set(key, literal ? written : expand(written, { isSet, valueOf }));
      if (key === name) from = path;
    }
    for (const [key, value] of here) before.set(key, value);
  }
  if (!before.has(name)) return undefined;
  const value = before.get(name);
  if (value !== undefined) return { value, from };
  throw configError(
    `${name} in ${from} refers to variables in a way that cannot be followed.`,
    `Write the value of ${name} out, or set files, profiles and project in safe-update.yml.`,
  );
}

/** KEY=value, KEY: value, with `export` before it; the value in single or double quotes, or up to a comment. */
const assignment =
  /^[ \t]*(?:export[ \t]+)?(?<key>[\w.-]+)[ \t]*[=:][ \t]*(?:'(?<single>[^']*)'|"(?<double>(?:\\[^]|[^"\\])*)"|(?<bare>[^\n]*))/gm;

const escapes: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', $: '$$' };

/** The assignments of an env file, in their order. `literal`: nothing in it is replaced. */
function* assignments(text: string): Generator<{ key: string; written: string; literal: boolean }> {
  for (const { groups } of text
    .replace(/^\uFEFF/, '')
    .replaceAll('\r\n', '\n')
    .matchAll(assignment)) {
    const { key = '', single, double, bare = '' } = groups ?? {};
    if (single !== undefined) yield { key, written: single, literal: true };
    else if (double !== undefined) {
      const written = double.replaceAll(/\\([^])/g, (_, letter: string) => escapes[letter] ?? letter);
      yield { key, written, literal: false };
    } else yield { key, written: bare.replace(/(?:^|[ \t])#.*$/, '').trim(), literal: false };
  }
}

interface Known {
  isSet(name: string): boolean;
  /** Undefined: not set, or set to what cannot be followed. */
  valueOf(name: string): string | undefined;
}

const reference = /\$(?:(?<dollar>\$)|(?<bare>[A-Za-z_]\w*)|(?<open>\{(?<braced>[A-Za-z_]\w*)))/;
const operator = /^(?:\}|(?<colon>:?)(?<sign>[-+?]))/;

/**
 * Replaces $NAME, ${NAME} and ${NAME:-default} with its relatives -, :+, +, :? and ?, one inside of the other too. Returns
 * undefined for anything else that begins like a reference, and for a required variable that is not set.
 */
function expand(text: string, known: Known): string | undefined {
  const match = reference.exec(text);
  if (match === null) return text.includes('${') ? undefined : text;
  const before = text.slice(0, match.index);
  const rest = text.slice(match.index + match[0].length);
  const { dollar, bare, open, braced = bare ?? '' } = match.groups ?? {};
  if (before.includes('${')) return undefined;
  const joined = (value: string | undefined, after: string): string | undefined => {
    const end = expand(after, known);
    return value === undefined || end === undefined ? undefined : before + value + end;
  };
  if (dollar !== undefined) return joined('$', rest);
  const isKnown = known.isSet(braced);
  const value = isKnown ? known.valueOf(braced) : '';
  if (open === undefined) return joined(value, rest);
  const operation = operator.exec(rest);
  if (operation === null || value === undefined) return undefined;
  const inside = rest.slice(operation[0].length);
  const { sign, colon } = operation.groups ?? {};
  if (sign === undefined) return joined(value, inside);
  const end = closing(inside);
  if (end === -1) return undefined;
  const word = (): string | undefined => expand(inside.slice(0, end), known);
  const after = inside.slice(end + 1);
  const counts = colon === ':' ? value !== '' : isKnown;
  if (sign === '+') return joined(counts ? word() : '', after);
  if (counts) return joined(value, after);
  return sign === '-' ? joined(word(), after) : undefined;
}

/** Where the brace is closed that was opened just before this text; -1 if nowhere. */
function closing(text: string): number {
  let depth = 1;
  for (const { 0: brace, index } of text.matchAll(/\$\{|\}/g)) {
    depth += brace === '}' ? -1 : 1;
    if (depth === 0) return index;
  }
  return -1;
}
