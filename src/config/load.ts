import { readFile, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { messageOf, SafeUpdateError } from '../model/error.ts';
import type { Volume } from '../model/project.ts';
import { isIdentity, isRecipient } from '../model/recipient.ts';
import type { Retention } from '../model/retention.ts';
import { discover, environmentNames, filesIn } from './compose-files.ts';
import { readEnvFiles } from './compose-variables.ts';
import { parseDuration } from './duration.ts';
import { parseConfig } from './parse.ts';
import { configError, pathText, problemsOf } from './problem.ts';
import {
  composeFileVariable,
  envFilesOf,
  localPath,
  requireEnvironmentName,
  resolveProject,
  type NamedPaths,
} from './project.ts';
import {
  defaults,
  expectedRecipient,
  optionsSchema,
  type ConfigFile,
  type Options,
  type Settings,
} from './schema.ts';

/** What the command line says; values are as typed. An empty list counts as absent. */
export interface Flags {
  file?: string[] | undefined;
  projectName?: string | undefined;
  profile?: string[] | undefined;
  envFile?: string[] | undefined;
  projectDirectory?: string | undefined;
  /** Path of safe-update.yml. */
  config?: string | undefined;
  /** The folder of the backups. */
  backups?: string | undefined;
  /** The file with what encrypted backups are read with. */
  identity?: string | undefined;
  keep?: string | undefined;
  caches?: boolean | undefined;
  consistency?: string | undefined;
  pull?: string | undefined;
  lockWait?: string | undefined;
  pullTimeout?: string | undefined;
  dumpTimeout?: string | undefined;
  stopTimeout?: string | undefined;
  upTimeout?: string | undefined;
  verifyTimeout?: string | undefined;
  stableFor?: string | undefined;
  helperImage?: string | undefined;
  minimumFree?: string | undefined;
}

export interface LoadInput {
  /** The process's working directory. */
  cwd: string;
  /** The process's environment. */
  env: Readonly<Record<string, string | undefined>>;
  flags: Flags;
  /** The name after `safe-update`. */
  environment?: string | undefined;
  /** Names of the subcommands, so that a mistyped one is recognised where an environment was expected. None where one was given. */
  commands?: readonly string[];
  /** True: a folder without a compose file will do. It then is the project's directory, with no files in it. */
  filesOptional?: boolean;
}

const configFileNames = ['safe-update.yml', 'safe-update.yaml'];

/**
 * Brings together, strongest first: flags, the environment's entry in safe-update.yml, its top level, COMPOSE_*
 * variables of the process, those of the project's `.env`, what is found in the folders, and the defaults.
 *
 * Reads files and changes nothing. Throws SafeUpdateError `usage` for a wrong flag and `config` for everything else
 * that is wrong; each says what to do.
 */
export async function loadSettings(input: LoadInput): Promise<Settings> {
  const { env, flags } = input;
  if (input.environment !== undefined) requireEnvironmentName(input.environment);
  const home = env['HOME'];
  const cwd = await logicalFolder(input.cwd, env['PWD']);
  const warnings: string[] = [];

  const configFile = await findConfigFile(cwd, input, warnings);
  const configFolder = configFile === undefined ? cwd : dirname(configFile);
  const config = configFile === undefined ? {} : parseConfig(await readConfig(configFile), configFile);
  const entry = environmentEntry(config, input.environment);
  const environment = entry?.name ?? input.environment;

  const fromFlags = anchored(optionsOf(flags), cwd, home, '-f');
  const fromEntry = anchored(entry?.options ?? {}, configFolder, home, configFile ?? '');
  const fromTop = anchored(config, configFolder, home, configFile ?? '');
  const layers = [fromFlags, fromEntry, fromTop];
  const pick = <T>(read: (options: Options) => T | undefined): T | undefined =>
    layers.map(read).find((value) => value !== undefined);

  const { project, warnings: projectWarnings } = await resolveProject({
    filesOptional: input.filesOptional === true,
    // With --config the project is the one beside that file, wherever the command is started: in a timer, say.
    start: flags.config === undefined ? cwd : configFolder,
    env,
    configured: entry !== undefined,
    configuredEnvironments: Object.keys(config.environments ?? {}),
    commands: input.commands ?? [],
    ...defined({
      environment,
      name: pick((options) => options.project),
      directory: pick((options) => options.directory),
      profiles: pick((options) => options.profiles),
      files:
        named(fromFlags.files, '-f') ??
        named(fromEntry.files, `environments.${environment ?? ''}.files in ${configFile ?? ''}`),
      envFiles:
        named(fromFlags.envFiles, '--env-file') ??
        named(fromEntry.envFiles, `environments.${environment ?? ''}.envFiles in ${configFile ?? ''}`),
      baseFiles: named(fromTop.files, `files in ${configFile ?? ''}`),
      baseEnvFiles: named(fromTop.envFiles, `envFiles in ${configFile ?? ''}`),
    }),
  });

  const time = (name: keyof typeof defaults.timeouts): number =>
    pick((options) => options.timeouts?.[name]) ?? parseDuration(defaults.timeouts[name]) ?? 0;
  const settings: Settings = {
    project,
    ...defined({ configFile }),
    backups: {
      directory:
        pick((options) => options.backups?.directory) ?? join(project.directory, defaults.backups.directory),
      keep: retentionOf(pick((options) => options.backups?.keep) ?? defaults.backups.keep),
      caches: pick((options) => options.backups?.caches) ?? defaults.backups.caches,
      encryption: {
        recipients: [
          ...new Set([
            ...(pick((options) => options.backups?.encryption?.recipients) ?? []),
            ...(await readRecipients(pick((options) => options.backups?.encryption?.recipientsFile))),
          ]),
        ],
        ...defined({
          identityFile:
            fromFlags.backups?.encryption?.identityFile ??
            identityFromEnvironment(env, cwd, home) ??
            pick((options) => options.backups?.encryption?.identityFile),
        }),
      },
    },
    consistency: pick((options) => options.consistency) ?? defaults.consistency,
    pull: pick((options) => options.pull) ?? defaults.pull,
    timeouts: {
      lock: time('lock'),
      pull: time('pull'),
      dump: time('dump'),
      verify: time('verify'),
      stableFor: time('stableFor'),
      ...defined({
        stop: pick((options) => options.timeouts?.stop),
        up: pick((options) => options.timeouts?.up),
      }),
    },
    helper: defined({ image: pick((options) => options.helper?.image) }),
    bindMounts: {
      include: (pick((options) => options.bindMounts?.include) ?? []).map((path) =>
        resolve(project.directory, withHome(path, home)),
      ),
    },
    volumes: merged(fromTop.volumes ?? {}, fromEntry.volumes ?? {}),
    services: merged(fromTop.services ?? {}, fromEntry.services ?? {}),
    databases: Object.fromEntries(
      Object.entries(merged(fromTop.databases ?? {}, fromEntry.databases ?? {})).map(([service, said]) => [
        service,
        said.passwordFile === undefined
          ? said
          : { ...said, passwordFile: resolve(project.directory, withHome(said.passwordFile, home)) },
      ]),
    ),
    space: { minimumFree: pick((options) => options.space?.minimumFree) ?? defaults.space.minimumFree },
    guard: defined({
      policy: pick((options) => options.guard?.policy),
      fresh: pick((options) => options.guard?.fresh),
    }),
    warnings: [...warnings, ...projectWarnings],
  };
  if (settings.timeouts.stableFor >= settings.timeouts.verify) {
    throw configError(
      'timeouts.stableFor is not shorter than timeouts.verify: no update could ever be verified.',
      'Make timeouts.verify (--verify-timeout) longer, or timeouts.stableFor (--stable-for) shorter.',
    );
  }
  return settings;
}

function identityFromEnvironment(
  env: LoadInput['env'],
  cwd: string,
  home: string | undefined,
): string | undefined {
  const file = env['SAFE_UPDATE_IDENTITY_FILE'];
  if (file !== undefined && isIdentity(file)) {
    throw configError(
      'SAFE_UPDATE_IDENTITY_FILE: expected the path of a file, not the identity itself.',
      'Write the identity into a file of mode 0600, and name that file.',
    );
  }
  return file === undefined || file === '' ? undefined : resolve(cwd, withHome(file, home));
}

/** The recipients in a file: one a line, and comments. No file, none. */
async function readRecipients(file: string | undefined): Promise<string[]> {
  if (file === undefined) return [];
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw configError(
      `The recipients file ${file} cannot be read: ${messageOf(error)}`,
      'Correct backups.encryption.recipientsFile in safe-update.yml.',
      error,
    );
  });
  const lines = text.split(/\r?\n/).map((line, index) => ({ said: line.trim(), number: index + 1 }));
  const recipients = lines.filter(({ said }) => said !== '' && !said.startsWith('#'));
  for (const { said, number } of recipients) {
    if (isRecipient(said)) continue;
    // An identity put there by mistake must not reach a log.
    const shown = /^age1\w+$/.test(said) ? `, not ${said}` : '';
    throw configError(`${file}:${number}: expected ${expectedRecipient}${shown}`, `Correct ${file}.`);
  }
  if (recipients.length > 0) return recipients.map(({ said }) => said);
  throw configError(
    `The recipients file ${file} holds no recipient: nothing would be encrypted.`,
    'Put at least one recipient into it, or remove backups.encryption from safe-update.yml.',
  );
}

/** Whether the settings allow containers of another project to have this volume mounted too. */
export function sharingAllowed(
  { volumes }: Pick<Settings, 'volumes'>,
  volume: Pick<Volume, 'name' | 'key'>,
): boolean {
  return [volume.key, volume.name].some(
    (name) => name !== undefined && Object.hasOwn(volumes, name) && volumes[name]?.shared === 'allow',
  );
}

function retentionOf(keep: NonNullable<NonNullable<Options['backups']>['keep']>): Retention {
  return typeof keep === 'number' ? { last: keep } : defined(keep);
}

/** What is said of a volume for one environment, over what is said of it for all. */
function merged<T extends Record<string, object>>(all: T, one: T): T {
  const names = new Set([...Object.keys(all), ...Object.keys(one)]);
  return Object.fromEntries([...names].map((name) => [name, { ...all[name], ...one[name] }])) as T;
}

/**
 * The working directory as the shell shows it. The system reports it with all symbolic links resolved; compose, as
 * every Go program, believes PWD when it is the same folder, and names the project after it. A stack started in
 * /srv/shop -> /srv/releases/42 is `shop`; as `42` it would get new, empty volumes.
 */
async function logicalFolder(cwd: string, shown: string | undefined): Promise<string> {
  if (shown === undefined || !isAbsolute(shown)) return resolve(cwd);
  try {
    const [real, other] = await Promise.all([stat(cwd, { bigint: true }), stat(shown, { bigint: true })]);
    return resolve(real.dev === other.dev && real.ino === other.ino ? shown : cwd);
  } catch {
    return resolve(cwd);
  }
}

/**
 * safe-update.yml: the one --config names; else beside the compose file, in the working directory, or between the
 * two. The one in the working directory says nothing about a project elsewhere that flags point to.
 */
async function findConfigFile(
  cwd: string,
  { env, flags, environment }: LoadInput,
  warnings: string[],
): Promise<string | undefined> {
  if (flags.config !== undefined) return resolve(cwd, withHome(flags.config, env['HOME']));
  const file = flags.file?.[0];
  const pointedTo = [
    ...(file === undefined ? [] : [dirname(resolve(cwd, file))]),
    ...(flags.projectDirectory === undefined ? [] : [resolve(cwd, flags.projectDirectory)]),
  ];
  let folders: string[];
  if (pointedTo.length > 0) {
    folders = [...pointedTo, ...(pointedTo.every((folder) => isWithin(folder, cwd)) ? [cwd] : [])];
  } else {
    const names = environment === undefined ? [] : environmentNames(environment);
    const envFiles = named(
      filled(flags.envFile)?.map((path) => resolve(cwd, path)),
      '--env-file',
    );
    const { read } = await envFilesOf({ start: cwd, env, ...defined({ envFiles }) }, [cwd], names);
    const first = composeFileVariable(cwd, env, await readEnvFiles(read))?.paths[0];
    folders = first === undefined ? discover(cwd, names).searched : [cwd, dirname(first)];
  }
  for (const folder of folders) {
    const [found, ...more] = filesIn(folder, configFileNames);
    if (found === undefined) continue;
    if (more.length > 0) warnings.push(`Of several configurations in ${folder}, ${basename(found)} is used.`);
    return found;
  }
  return undefined;
}

async function readConfig(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw configError(
      `The configuration ${path} cannot be read: ${messageOf(error)}`,
      'Correct the path, or run safe-update as a user who may read it.',
      error,
    );
  }
}

/** The environment's part of safe-update.yml; `prod` and `production` are the same. */
function environmentEntry(
  { environments = {} }: ConfigFile,
  environment: string | undefined,
): { name: string; options: Options } | undefined {
  if (environment === undefined) return undefined;
  for (const name of environmentNames(environment)) {
    const options = Object.hasOwn(environments, name) ? environments[name] : undefined;
    if (options !== undefined) return { name, options };
  }
  return undefined;
}

/** Which flag says what a path of the options says. */
const flagNames: Record<string, string> = {
  project: '--project-name',
  directory: '--project-directory',
  files: '--file',
  envFiles: '--env-file',
  profiles: '--profile',
  'backups.directory': '--backups',
  'backups.keep': '--keep',
  'backups.encryption.identityFile': '--identity',
  consistency: '--consistency',
  pull: '--pull',
  'timeouts.lock': '--lock-wait',
  'timeouts.pull': '--pull-timeout',
  'timeouts.dump': '--dump-timeout',
  'timeouts.stop': '--stop-timeout',
  'timeouts.up': '--up-timeout',
  'timeouts.verify': '--verify-timeout',
  'timeouts.stableFor': '--stable-for',
  'helper.image': '--helper-image',
  'space.minimumFree': '--minimum-free',
};

/** Throws SafeUpdateError `usage` for a value that is not accepted. */
function optionsOf(flags: Flags): Options {
  const parsed = optionsSchema.safeParse(
    {
      project: flags.projectName,
      directory: flags.projectDirectory,
      files: filled(flags.file),
      envFiles: filled(flags.envFile),
      profiles: filled(flags.profile),
      backups: {
        directory: flags.backups,
        keep: numberOr(flags.keep),
        caches: flags.caches,
        encryption: flags.identity === undefined ? undefined : { identityFile: flags.identity },
      },
      consistency: flags.consistency,
      pull: flags.pull,
      timeouts: {
        lock: flags.lockWait,
        pull: flags.pullTimeout,
        dump: flags.dumpTimeout,
        stop: flags.stopTimeout,
        up: flags.upTimeout,
        verify: flags.verifyTimeout,
        stableFor: flags.stableFor,
      },
      helper: { image: flags.helperImage },
      space: { minimumFree: numberOr(flags.minimumFree) },
    },
    { reportInput: true },
  );
  if (parsed.success) return parsed.data;
  const [problem] = problemsOf(parsed.error);
  const flag = flagNames[pathText((problem?.path ?? []).filter((part) => typeof part === 'string'))] ?? '';
  const meant = problem?.suggestion;
  throw new SafeUpdateError('usage', `${flag}: ${problem?.text ?? 'not accepted'}.`, {
    state: 'Nothing was touched.',
    hint:
      meant === undefined
        ? 'Correct the flag; safe-update --help lists them all.'
        : `Did you mean: ${flag} ${meant}`,
  });
}

/** A flag's value as a number, or as it was typed, to be refused. */
function numberOr(value: string | undefined): number | string | undefined {
  return value !== undefined && /^\d+(?:\.\d+)?$/.test(value) ? Number(value) : value;
}

function filled(values: string[] | undefined): string[] | undefined {
  return values === undefined || values.length === 0 ? undefined : values;
}

/** The same options with the paths made absolute, except those that are relative to the project directory. */
function anchored(options: Options, folder: string, home: string | undefined, from: string): Options {
  const absolute = (path: string): string => resolve(folder, withHome(path, home));
  const absoluteIf = (path: string | undefined): string | undefined =>
    path === undefined ? undefined : absolute(path);
  const encryption = options.backups?.encryption;
  return {
    ...options,
    directory: absoluteIf(options.directory),
    files: options.files?.map((path) => localPath(withHome(path, home), folder, from)),
    envFiles: options.envFiles?.map(absolute),
    backups: {
      ...options.backups,
      directory: absoluteIf(options.backups?.directory),
      encryption: encryption && {
        ...encryption,
        recipientsFile: absoluteIf(encryption.recipientsFile),
        identityFile: absoluteIf(encryption.identityFile),
      },
    },
  };
}

/** `~/` is the shell's to replace, and it does not do so in a file or after `--flag=`. */
function withHome(path: string, home: string | undefined): string {
  return home !== undefined && home !== '' && /^~(?:[\\/]|$)/.test(path) ? join(home, path.slice(1)) : path;
}

/** Whether a path is a folder, or lies below it. Both absolute. Pure. */
export function isWithin(folder: string, parent: string): boolean {
  const way = relative(parent, folder);
  return way === '' || (way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way));
}

function named(paths: string[] | undefined, from: string): NamedPaths | undefined {
  return paths === undefined ? undefined : { paths, from };
}

/** Without the keys that are undefined, as exact optional properties want it. */
function defined<T extends object>(values: T): { [Key in keyof T]?: Exclude<T[Key], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [Key in keyof T]?: Exclude<T[Key], undefined>;
  };
}
