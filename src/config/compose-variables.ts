import { readFile } from 'node:fs/promises';
import { parseEnv } from 'node:util';
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
 * `${NAME}` in an env file is replaced as compose does it, from the process and from the env files.
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
  const merged = new Map<string, Variable>();
  for (const { path, text } of envFiles) {
    for (const [key, value] of Object.entries(parseEnv(text.replace(/^\uFEFF/, '')))) {
      merged.set(key, { value: value ?? '', from: path });
    }
  }
  const written = merged.get(name);
  if (written === undefined) return undefined;
  const value = expand(written.value, (other) => env[other] ?? merged.get(other)?.value, 0);
  if (value !== undefined) return { value, from: written.from };
  throw configError(
    `${name} in ${written.from} refers to variables in a way that cannot be followed.`,
    `Write the value of ${name} out, or set files, profiles and project in safe-update.yml.`,
  );
}

/** References that refer to themselves end here. */
const deepestReference = 10;

const reference =
  /\$(?:(?<dollar>\$)|(?<bare>\w+)|\{(?<braced>\w+)(?:(?<colon>:?)(?<operator>[-+?])(?<word>[^${}]*))?\}|)/g;

/**
 * Replaces $NAME, ${NAME} and ${NAME:-default} with its relatives -, :+, +, :? and ?. Returns undefined for anything
 * else that begins like a reference, and for a required variable that is not set.
 */
function expand(
  text: string,
  lookup: (name: string) => string | undefined,
  depth: number,
): string | undefined {
  let expanded = '';
  let end = 0;
  for (const match of text.matchAll(reference)) {
    const { dollar, bare, braced, colon, operator, word = '' } = match.groups ?? {};
    expanded += text.slice(end, match.index);
    end = match.index + match[0].length;
    if (dollar !== undefined) {
      expanded += '$';
      continue;
    }
    const name = bare ?? braced;
    if (name === undefined || depth === deepestReference) return undefined;
    const found = lookup(name);
    const value = expand(found ?? '', lookup, depth + 1);
    if (value === undefined) return undefined;
    const isSet = colon === ':' ? value !== '' : found !== undefined;
    if (operator === '?' && !isSet) return undefined;
    if (operator === '+') expanded += isSet ? word : '';
    else expanded += operator === '-' && !isSet ? word : value;
  }
  return expanded + text.slice(end);
}
