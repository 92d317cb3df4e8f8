import { stat } from 'node:fs/promises';
import { basename, delimiter, dirname, join, resolve } from 'node:path';
import {
  canBeEnvironment,
  composeFileNames,
  discover,
  environmentEnvNames,
  environmentFileNames,
  environmentNames,
  environmentsIn,
  filesIn,
  isFile,
} from './compose-files.ts';
import { composeVariable, readEnvFiles, type EnvFile } from './compose-variables.ts';
import { projectNamePattern } from '../model/project.ts';
import { nearest } from './nearest.ts';
import { configError } from './problem.ts';
import { environmentNamePattern, type Settings } from './schema.ts';

/** Absolute paths, and who named them, for messages: "-f", "files in /srv/shop/safe-update.yml". */
export interface NamedPaths {
  paths: string[];
  from: string;
}

interface ProjectRequest {
  /** The folder compose would have been started in: absolute, symbolic links as the user sees them. */
  start: string;
  env: Readonly<Record<string, string | undefined>>;
  environment?: string;
  /** safe-update.yml has an entry for the environment. */
  configured: boolean;
  /** Names of the environments in safe-update.yml. */
  configuredEnvironments: readonly string[];
  /** Subcommands, to tell a mistyped one from an environment; none where a command was given before it. */
  commands: readonly string[];
  /** Without a compose file there is a project all the same, without files. */
  filesOptional?: boolean;
  name?: string;
  /** Absolute. */
  directory?: string;
  profiles?: string[];
  /** Named by a flag or by the environment's entry: taken exactly as they are. */
  files?: NamedPaths;
  envFiles?: NamedPaths;
  /** Named for every environment: the environment's own files are added. */
  baseFiles?: NamedPaths;
  baseEnvFiles?: NamedPaths;
}

/**
 * Works out which project is meant, as `docker compose` in the same folder would, and adds the files of the
 * environment.
 *
 * Returns the project, ready to be given to every compose command, and what a person should know about it.
 * Throws SafeUpdateError `config` when there is no compose file, when a named file is missing, and for an
 * environment that nothing knows.
 */
export async function resolveProject(
  request: ProjectRequest,
): Promise<{ project: Settings['project']; warnings: string[] }> {
  const { start, env, environment } = request;
  const names = environment === undefined ? [] : environmentNames(environment);
  const warnings: string[] = [];
  if (request.directory !== undefined && !(await isFolder(request.directory))) {
    throw configError(`The project directory ${request.directory} is not a folder.`, 'Correct the path.');
  }

  // Compose reads the `.env` of the folder it starts in before it knows its files, because COMPOSE_FILE may be in
  // there, and afterwards the one beside the files it found (docker/compose, cmd/compose/compose.go).
  const named = request.files ?? request.baseFiles;
  const firstNamed = named?.paths[0];
  const before = request.directory ?? (firstNamed === undefined ? start : dirname(firstNamed));
  const early = await readEnvFiles((await envFilesOf(request, [before], names)).read);

  const chosen = await composeFilesOf(request, names, early, warnings);
  const [firstFile] = chosen.files;
  const directory = request.directory ?? (firstFile === undefined ? start : dirname(firstFile));
  const folders = [...new Set([directory, before])];
  const envFiles = await envFilesOf(request, folders, names);
  warnings.push(...envFiles.warnings);

  const isKnown = request.configured || names.includes('prod') || chosen.hasOwnFile || envFiles.hasOwnFile;
  if (environment !== undefined && !isKnown) {
    throw unknownEnvironment(request, environment, chosen.files, folders);
  }

  const final = await readEnvFiles(envFiles.read);
  const name = request.name ?? projectName(env, final);
  return {
    warnings,
    project: {
      ...(name === undefined ? {} : { name }),
      directory,
      files: chosen.files,
      envFiles: envFiles.given,
      profiles: request.profiles ?? list(composeVariable('COMPOSE_PROFILES', env, final)?.value),
      ...(environment === undefined ? {} : { environment }),
    },
  };
}

/** Throws SafeUpdateError `config` for what cannot be the name of an environment. */
export function requireEnvironmentName(environment: string): void {
  if (environmentNamePattern.test(environment) && canBeEnvironment(environment)) return;
  throw configError(
    `${JSON.stringify(environment)} cannot be the name of an environment.`,
    'An environment has a name like prod or staging: safe-update prod',
  );
}

interface ChosenFiles {
  files: string[];
  /** The environment has a compose file of its own beside the others. */
  hasOwnFile: boolean;
}

async function composeFilesOf(
  request: ProjectRequest,
  names: readonly string[],
  envFiles: readonly EnvFile[],
  warnings: string[],
): Promise<ChosenFiles> {
  const named =
    request.files ?? request.baseFiles ?? composeFileVariable(request.start, request.env, envFiles);
  if (named !== undefined) {
    await requireFiles(named, 'compose file');
    const [first = ''] = named.paths;
    const own = filesIn(dirname(first), environmentFileNames(names, basename(first)));
    const isExact = request.files !== undefined;
    if (!isExact) warnAboutSeveral(own, warnings);
    // COMPOSE_FILE on a production server often names the environment's file already.
    const isThere = own.some((file) => named.paths.includes(file));
    return {
      files: isExact || isThere ? named.paths : [...named.paths, ...own.slice(0, 1)],
      hasOwnFile: own.length > 0,
    };
  }

  const { found, searched } = discover(request.directory ?? request.start, names);
  if (found === undefined && request.filesOptional === true) return { files: [], hasOwnFile: false };
  if (found === undefined) throw noComposeFile(request, names, searched);
  if (found.base !== undefined && found.passedOver.length > 0) {
    const others = found.passedOver.map((file) => basename(file)).join(', ');
    warnings.push(
      `Of several compose files in ${found.folder}, ${basename(found.base)} is used, as compose does; not used: ${others}.`,
    );
  }
  const base = found.base === undefined ? [] : [found.base];
  const own = filesIn(found.folder, environmentFileNames(names, basename(found.base ?? composeFileNames[2])));
  warnAboutSeveral(own, warnings);
  const [ownFile] = own;
  if (ownFile === undefined) {
    return { files: [...base, ...(found.override === undefined ? [] : [found.override])], hasOwnFile: false };
  }
  // `docker compose -f base -f prod`, which this stands for, leaves the override out: compose merges it only as long
  // as no file is named. It holds what development needs (mounted sources, debug ports), so that is wanted here too.
  if (found.override !== undefined) {
    warnings.push(
      `${basename(found.override)} is not merged, because ${basename(ownFile)} is: list it under files if it belongs to ${request.environment ?? ''}.`,
    );
  }
  return { files: [...base, ownFile], hasOwnFile: true };
}

interface ChosenEnvFiles {
  /** For --env-file. Empty: compose comes to the same files by itself. */
  given: string[];
  /** The files compose reads in the end, whether they are given or not. */
  read: string[];
  hasOwnFile: boolean;
  warnings: string[];
}

/**
 * The env files of a project: those that were named, else the `.env` of these folders and the environment's own.
 * `folders`: the project directory first, then the folder compose was started in, where that is another one.
 */
export async function envFilesOf(
  request: Pick<ProjectRequest, 'start' | 'env' | 'envFiles' | 'baseEnvFiles'>,
  folders: readonly string[],
  names: readonly string[],
): Promise<ChosenEnvFiles> {
  const warnings: string[] = [];
  const own: string[] = [];
  for (const folder of folders) {
    const [first, ...more] = filesIn(folder, environmentEnvNames(names));
    if (first !== undefined) own.push(first);
    if (first !== undefined && more.length > 0) {
      warnings.push(
        `Of several env files in ${folder}, ${basename(first)} is used; not used: ${more.map((file) => basename(file)).join(', ')}.`,
      );
    }
  }
  const hasOwnFile = own.length > 0;
  if (request.envFiles !== undefined) {
    await requireFiles(request.envFiles, 'env file');
    const { paths } = request.envFiles;
    return { given: paths, read: paths, hasOwnFile, warnings: [] };
  }
  const base = request.baseEnvFiles ?? envFilesVariable(request);
  if (base !== undefined) {
    await requireFiles(base, 'env file');
    const paths = [...base.paths, ...own.filter((file) => !base.paths.includes(file))];
    return { given: paths, read: paths, hasOwnFile, warnings };
  }
  // With --env-file compose reads no `.env` by itself, so that comes first. Of the two `.env` compose may read, the
  // one of the folder it was started in wins; of several --env-file the last one does.
  const dotEnvs = ignoresDotEnv(request.env) ? [] : folders.flatMap((folder) => filesIn(folder, ['.env']));
  const paths = [...dotEnvs, ...own];
  const composeFindsThem = own.length === 0 && dotEnvs.every((file) => dirname(file) === folders[0]);
  return { given: composeFindsThem ? [] : paths, read: paths, hasOwnFile, warnings };
}

/**
 * The files COMPOSE_FILE names, relative to the folder compose is started in, wherever the variable was set.
 * Returns undefined where it is not set. Throws SafeUpdateError `config` for an empty name.
 */
export function composeFileVariable(
  start: string,
  env: ProjectRequest['env'],
  envFiles: readonly EnvFile[],
): NamedPaths | undefined {
  const variable = composeVariable('COMPOSE_FILE', env, envFiles);
  if (variable === undefined) return undefined;
  const separator = composeVariable('COMPOSE_PATH_SEPARATOR', env, envFiles)?.value ?? '';
  const parts = variable.value.split(separator === '' ? delimiter : separator);
  const from = `COMPOSE_FILE in ${variable.from}`;
  if (parts.includes('')) {
    throw configError(
      `${from} ${variable.value === '' ? 'is empty' : 'has an empty entry'}: compose takes that for a folder and fails.`,
      'Unset COMPOSE_FILE, or correct it.',
    );
  }
  return { paths: parts.map((part) => localPath(part, start, from)), from };
}

/** COMPOSE_ENV_FILES counts in the process's environment only: compose reads it before any env file. */
function envFilesVariable({ env, start }: Pick<ProjectRequest, 'env' | 'start'>): NamedPaths | undefined {
  const paths = list(env['COMPOSE_ENV_FILES']);
  if (paths.length === 0) return undefined;
  return { paths: paths.map((path) => resolve(start, path)), from: 'COMPOSE_ENV_FILES in the environment' };
}

/** As Go's strconv.ParseBool reads it. */
function ignoresDotEnv(env: ProjectRequest['env']): boolean {
  return ['1', 't', 'T', 'true', 'TRUE', 'True'].includes(env['COMPOSE_DISABLE_ENV_FILE'] ?? '');
}

function projectName(env: ProjectRequest['env'], envFiles: readonly EnvFile[]): string | undefined {
  const variable = composeVariable('COMPOSE_PROJECT_NAME', env, envFiles);
  if (variable === undefined || variable.value === '') return undefined;
  if (projectNamePattern.test(variable.value)) return variable.value;
  throw configError(
    `COMPOSE_PROJECT_NAME in ${variable.from} is not a name compose accepts.`,
    'Use lowercase letters, digits, - and _, beginning with a letter or digit.',
  );
}

function list(text: string | undefined): string[] {
  return (text ?? '')
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

/**
 * A compose file's path made absolute.
 * Throws SafeUpdateError `config` for what compose takes but cannot be read again later, as every run needs to.
 */
export function localPath(path: string, folder: string, from: string): string {
  if (path !== '-' && !/^(?:oci|https?|git|ssh):\/\/|^git@/.test(path)) return resolve(folder, path);
  throw configError(
    `${from} names ${path === '-' ? 'standard input' : 'a remote compose file'}; safe-update needs files on disk.`,
    'Save it first: docker compose -f … config --no-interpolate > compose.yaml',
  );
}

async function requireFiles({ paths, from }: NamedPaths, kind: 'compose file' | 'env file'): Promise<void> {
  for (const path of paths) {
    if (kind === 'env file' ? isFile(path) : await isRegularFile(path)) continue;
    throw configError(
      `The ${kind} ${path} (${from}) ${(await exists(path)) ? 'is not a file' : 'does not exist'}.`,
      kind === 'env file' ? 'Correct the path, or create the file.' : 'Correct the path.',
    );
  }
}

/** Compose files are read many times in a run; what a pipe held is gone after the first. */
async function isRegularFile(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

function warnAboutSeveral(own: readonly string[], warnings: string[]): void {
  const [first, ...more] = own.map((file) => basename(file));
  if (first === undefined || more.length === 0) return;
  warnings.push(
    `Of several compose files of the environment, ${first} is used; not used: ${more.join(', ')}.`,
  );
}

function noComposeFile(request: ProjectRequest, names: readonly string[], searched: readonly string[]) {
  const lookedFor = [...composeFileNames, ...environmentFileNames(names, composeFileNames[2]).slice(0, 1)];
  return configError(
    `No compose file was found. Looked for ${lookedFor.join(', ')} in:\n${searched.map((folder) => `  ${folder}`).join('\n')}`,
    `${mistypedCommand(request)}Run it in the folder of the compose file, or name the file: safe-update -f path/to/compose.yaml`,
  );
}

function unknownEnvironment(
  request: ProjectRequest,
  environment: string,
  files: readonly string[],
  folders: readonly string[],
) {
  const [first = join(folders[0] ?? request.start, 'compose.yaml')] = files;
  const known = [
    ...new Set([
      ...request.configuredEnvironments,
      ...environmentsIn([dirname(first), ...folders], basename(first)),
    ]),
  ];
  // `prod` may just be the stack there is, without a file of its own.
  const meant = nearest(environment, [...known, 'prod']);
  const stem = basename(first).replace(/\.ya?ml$/, '');
  return configError(
    `There is no environment ${environment}. ${known.length === 0 ? 'There is only prod, which needs no file of its own.' : `There are: ${known.join(', ')}.`}`,
    [
      mistypedCommand(request),
      meant === undefined ? '' : `Did you mean ${meant}? `,
      `An environment is a file ${join(dirname(first), `${stem}.${environment}.yml`)} or .env.${environment} beside it, or an entry under environments in safe-update.yml.`,
    ].join(''),
  );
}

/** Empty, or the beginning of a hint. */
function mistypedCommand({ environment, commands }: ProjectRequest): string {
  const command = environment === undefined ? undefined : nearest(environment, commands);
  return command === undefined ? '' : `Did you mean the command \`safe-update ${command}\`? `;
}
