import path from 'node:path';
import { readIdentities } from '../backup/identity.ts';
import { encryptedStore } from '../backup/store/encrypted.ts';
import { folderStore } from '../backup/store/folder.ts';
import { loadSettings, type Flags } from '../config/load.ts';
import type { Settings } from '../config/schema.ts';
import { Compose } from '../docker/compose.ts';
import { dockerodeFor, endpointVariables, resolveEndpoint } from '../docker/endpoint.ts';
import { Engine } from '../docker/engine.ts';
import { createExec } from '../docker/exec.ts';
import type { Context } from '../update/context.ts';
import { keysOfRun } from '../update/run-key.ts';
import { interruption } from '../update/situation.ts';
import { version } from './version.ts';
import { isAlive, thisProcess } from './owner.ts';
import { canDraw, wantsColour } from './terminal.ts';
import { visible } from './view/escape.ts';
import { createView, type View } from './view/view.ts';
import { watchSignals } from './signals.ts';
import { throttled } from './throttle.ts';
import { requireTrusted } from './trust.ts';

/** Options that every command takes. */
export interface GlobalFlags extends Flags {
  json?: boolean;
  quiet?: boolean;
  verbose?: boolean;
  yes?: boolean;
  accept?: string[];
  dryRun?: boolean;
  /** The project's name, where a command would ask for it. */
  confirm?: string;
  giveUp?: boolean;
  only?: string[];
  logs?: boolean | string;
  images?: boolean;
  /** The command reads backups: a folder without a compose file will do. No flag that anybody types. */
  filesOptional?: boolean;
  /** health --wait, as typed. */
  wait?: string;
  /** verify --restore. */
  restore?: boolean;
  /** Services that a test-restore leaves out. */
  without?: string[];
  /** The name of a new project to restore into. */
  as?: string;
  /** Its folder. */
  into?: string;
  /** False: --no-ports. */
  ports?: boolean;
}

export interface Runtime {
  context: Context;
  settings: Settings;
  view: View;
  /** The project's name, as far as it is known by now; else empty. */
  project(): string;
  /** The context that this command would have if it were called in another folder, without flags that name a project. */
  contextAt(directory: string, environment?: string): Promise<Context>;
  /** Says so, before anything else, if a run of the project is under way or was interrupted. */
  tellInterrupted(project: string): Promise<void>;
  /** Ends the view and stops listening for signals. */
  close(): Promise<void>;
}

/** The engine and compose as this process reaches them, for a check that has no settings. Touches neither. */
export async function createDocker(): Promise<Pick<Context, 'engine' | 'compose'>> {
  const base = composeEnvironment(process.env);
  const endpoint = await resolveEndpoint(createExec(base), process.env);
  const exec = createExec({ ...base, ...endpointVariables(endpoint) });
  return { engine: new Engine(dockerodeFor(endpoint)), compose: new Compose(exec) };
}

/** Makes the context of a command out of this process and its flags. Reads the configuration; does not touch the engine. */
export async function createRuntime(
  environment: string | undefined,
  flags: GlobalFlags,
  commands: readonly string[],
  /** True: a folder without a compose file will do. */
  filesOptional = false,
): Promise<Runtime> {
  const settings = await loadSettings({
    cwd: process.cwd(),
    env: process.env,
    flags,
    environment,
    commands,
    filesOptional: filesOptional || flags.filesOptional === true,
  });
  await requireTrusted(settings, flags.accept ?? []);
  const view = await createView({
    json: flags.json === true,
    quiet: flags.quiet === true,
    verbose: flags.verbose === true,
    stdout: process.stdout,
    stderr: process.stderr,
    isTerminal: canDraw(process.stderr),
    colour: wantsColour(process.stderr),
    now: Date.now,
  });
  const signals = watchSignals((message) => {
    view.emit({ type: 'notice', level: 'warning', message });
  });
  const base = composeEnvironment(process.env);
  const endpoint = await resolveEndpoint(createExec(base), process.env);
  const exec = createExec({ ...base, ...endpointVariables(endpoint) });
  let project = settings.project.name ?? '';
  const show = throttled(view.emit, () => performance.now());
  const context: Context = {
    exec,
    engine: new Engine(dockerodeFor(endpoint)),
    compose: new Compose(exec),
    ...foldersOf(settings),
    emit: (event) => {
      if (event.type === 'planned') ({ project } = event.plan);
      if (event.type === 'run-started') ({ project } = event);
      show(event);
    },
    clock: {
      now: () => new Date(),
      monotonic: () => performance.now(),
      sleep: (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds)),
    },
    signal: signals.signal,
    owner: thisProcess(),
    isAlive,
    tool: version(),
    accept: flags.accept ?? [],
    again: (words, options) => commandLine(words, environment, flags, options),
    ...(process.env['SAFE_UPDATE_PAUSE'] === undefined ? {} : { pauseAt: process.env['SAFE_UPDATE_PAUSE'] }),
  };
  return {
    context,
    settings,
    view,
    project: () => project,
    async contextAt(directory, name) {
      const there = await loadSettings({
        cwd: directory,
        env: withoutProject(process.env),
        flags: { ...flags, ...anyProject },
        environment: name,
      });
      const moved = quoted(directory);
      return {
        ...context,
        ...foldersOf(there),
        again: (words, options) => `cd ${moved} && ${commandLine(words, name, {}, options)}`,
      };
    },
    async tellInterrupted(name) {
      const message = await interruption(context, name);
      if (message === undefined) return;
      // With --json standard output is one document.
      if (flags.json === true) process.stderr.write(`${visible(message)}\n`);
      else view.emit({ type: 'notice', level: 'warning', message });
    },
    async close() {
      signals.stop();
      await view.close();
    },
  };
}

function foldersOf(settings: Settings): Pick<Context, 'settings' | 'storeFor' | 'stateFor'> {
  const folderOf = (name: string): string => path.join(settings.backups.directory, name);
  const stateFor = (name: string): string => path.join(folderOf(name), '.safe-update');
  const { recipients, identityFile } = settings.backups.encryption;
  let read: Promise<string[]> | undefined;
  // Once: it may be a pipe.
  const identities = (): Promise<string[]> =>
    (read ??= identityFile === undefined ? Promise.resolve([]) : readIdentities(identityFile));
  const keys = { recipients, identities: [identities] };
  return {
    settings,
    storeFor: (name, run) =>
      encryptedStore(
        folderStore(folderOf(name)),
        run === undefined ? keys : keysOfRun(keys, stateFor(name), run),
      ),
    stateFor,
  };
}

/** No flag that says which project is meant, or where things are. */
const anyProject: Flags = {
  file: undefined,
  projectName: undefined,
  profile: undefined,
  envFile: undefined,
  projectDirectory: undefined,
  config: undefined,
  backups: undefined,
  identity: undefined,
};

function withoutProject(environment: NodeJS.ProcessEnv): Record<string, string | undefined> {
  return Object.fromEntries(
    Object.entries(environment).filter(([name]) => !name.startsWith('COMPOSE_') && name !== 'PWD'),
  );
}

/**
 * A command line to be copied: these words of safe-update for the same project, found by the same flags. Flags that
 * only say how a run is done are not repeated. Pure.
 */
export function commandLine(
  words: string,
  environment: string | undefined,
  flags: GlobalFlags,
  options: readonly string[] = [],
): string {
  const given: [string, string | string[] | undefined][] = [
    ['--file', flags.file],
    ['--project-name', flags.projectName],
    ['--profile', flags.profile],
    ['--env-file', flags.envFile],
    ['--project-directory', flags.projectDirectory],
    ['--config', flags.config],
    ['--backups', flags.backups],
    ['--identity', flags.identity],
  ];
  return [
    `safe-update ${words}`,
    ...(environment === undefined ? [] : [environment]),
    ...options.map(quoted),
    ...given.flatMap(([flag, values = []]) => [values].flat().flatMap((value) => [flag, quoted(value)])),
  ].join(' ');
}

/** For a shell; as it is where that is the same. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/**
 * The environment of every docker command: the person's own, for what the compose files interpolate, without COMPOSE_*
 * variables that would choose another project than the flags do. COMPOSE_FILE and COMPOSE_PROFILES stay: flags are stronger,
 * and compose files refer to them. A `.env` may set COMPOSE_* too; a variable of the process is stronger, so those that would
 * change what a command does are set here. Pure.
 */
export function composeEnvironment(
  given: Readonly<Record<string, string | undefined>>,
): Record<string, string | undefined> {
  const { COMPOSE_PROJECT_NAME: _name, COMPOSE_ENV_FILES: _files, ...environment } = given;
  return {
    ...environment,
    COMPOSE_REMOVE_ORPHANS: '0',
    COMPOSE_IGNORE_ORPHANS: '1',
    COMPOSE_ANSI: 'never',
    COMPOSE_PROGRESS: 'plain',
    COMPOSE_MENU: '0',
    DOCKER_CLI_HINTS: 'false',
  };
}
