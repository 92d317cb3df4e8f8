import { readdirSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** In the order compose prefers them (compose-go, cli/options.go). */
export const composeFileNames = [
  'compose.yaml',
  'compose.yml',
  'docker-compose.yml',
  'docker-compose.yaml',
] as const;

/** In the order compose prefers them; compose takes the first one whatever the base file is called. */
const overrideFileNames = [
  'compose.override.yml',
  'compose.override.yaml',
  'docker-compose.override.yml',
  'docker-compose.override.yaml',
] as const;

/** Endings of env files and compose files that are no environments: `.env.example` holds no one's real values. */
const notEnvironments = new Set([
  'override',
  'example',
  'sample',
  'template',
  'tmpl',
  'dist',
  'defaults',
  'bak',
  'old',
  'orig',
  'swp',
  'vault',
  'enc',
]);

/** The compose files of a folder, found without anything being named. */
interface Discovered {
  folder: string;
  /** Absent: only a file of the environment is there (`docker-compose.prod.yml` alone). */
  base?: string;
  override?: string;
  /** Other files compose would have taken had `base` not been there. */
  passedOver: string[];
}

/** The names an environment's files may carry: `prod` and `production` mean the same. */
export function environmentNames(environment: string): string[] {
  if (environment === 'prod') return ['prod', 'production'];
  if (environment === 'production') return ['production', 'prod'];
  return [environment];
}

/** False for what cannot be an environment, although a file ends like that. */
export function canBeEnvironment(name: string): boolean {
  return !notEnvironments.has(name.toLowerCase());
}

/** The names an environment's compose file may have, the likeliest first, given the base file's name. */
export function environmentFileNames(names: readonly string[], baseName: string): string[] {
  const own = /^(.*)\.(ya?ml)$/.exec(baseName);
  const stems = new Set([own?.[1] ?? 'compose', 'compose', 'docker-compose']);
  const endings = new Set([own?.[2] ?? 'yml', 'yml', 'yaml']);
  return names.flatMap((name) =>
    [...stems].flatMap((stem) => [...endings].map((ending) => `${stem}.${name}.${ending}`)),
  );
}

/** The names an environment's env file may have, the likeliest first. */
export function environmentEnvNames(names: readonly string[]): string[] {
  return names.flatMap((name) => [`.env.${name}`, `env.${name}`]);
}

/**
 * Looks for compose files as compose does: in a folder, then in each folder above it. For an environment, a folder
 * that holds nothing but the environment's file ends the search too.
 *
 * Returns what was found, and every folder that was looked at.
 */
export function discover(
  start: string,
  environment: readonly string[],
): { found?: Discovered; searched: string[] } {
  const searched: string[] = [];
  for (let folder = start; ; folder = dirname(folder)) {
    searched.push(folder);
    const [base, ...passedOver] = filesIn(folder, composeFileNames);
    if (base !== undefined) {
      const [override] = filesIn(folder, overrideFileNames);
      return {
        searched,
        found: { folder, base, passedOver, ...(override === undefined ? {} : { override }) },
      };
    }
    const [own] = filesIn(folder, environmentFileNames(environment, composeFileNames[2]));
    if (own !== undefined) return { searched, found: { folder, passedOver: [] } };
    if (dirname(folder) === folder) return { searched };
  }
}

/** Which of these names are there and no folders: their absolute paths, in the order given. */
export function filesIn(folder: string, names: readonly string[]): string[] {
  return names.map((name) => join(folder, name)).filter(isFile);
}

/** True for whatever can be read like a file: secret managers put a named pipe where `.env` is. */
export function isFile(path: string): boolean {
  try {
    return !statSync(path).isDirectory();
  } catch {
    return false;
  }
}

/** Environments that have a file in one of these folders, by name, sorted. For messages. */
export function environmentsIn(folders: readonly string[], baseName: string): string[] {
  const found = new Set<string>();
  const stem = basename(baseName).replace(/\.ya?ml$/, '');
  for (const folder of new Set(folders)) {
    for (const name of namesIn(folder)) {
      const env = /^\.?env\.([A-Za-z0-9][A-Za-z0-9_-]*)$/.exec(name);
      const compose = /^(.+)\.([A-Za-z0-9][A-Za-z0-9_-]*)\.ya?ml$/.exec(name);
      const environment =
        env?.[1] ??
        (['compose', 'docker-compose', stem].includes(compose?.[1] ?? '') ? compose?.[2] : undefined);
      if (environment !== undefined && canBeEnvironment(environment)) found.add(environment);
    }
  }
  if (found.has('prod')) found.delete('production');
  return [...found].sort();
}

/** A folder that cannot be listed only makes a message shorter. */
function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
