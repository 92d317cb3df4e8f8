import type { Project } from '../model/project.ts';

/**
 * Every docker and docker compose command line of the program is built here, and nowhere else. The functions can not
 * express `down`, `-v`/`--volumes`, `-V`, `-y`, `volume rm` or any prune: promise 1. test/unit/docker/argv.test.ts
 * walks every builder.
 */

/** The project's own part of every compose command: the same project whatever the environment says. */
function compose(project: Project): string[] {
  return [
    'docker',
    'compose',
    '--project-name',
    project.name,
    '--project-directory',
    project.directory,
    ...project.files.flatMap((file) => ['--file', file]),
    ...project.envFiles.flatMap((file) => ['--env-file', file]),
    ...project.profiles.flatMap((profile) => ['--profile', profile]),
  ];
}

/** Renders the model as JSON. Secret values of env files are in what it prints. */
export function configArgv(project: Project | Omit<Project, 'name'>): string[] {
  return [...withoutName(project), 'config', '--format', 'json'];
}

/** The project's name may not be known before the first `config`. */
function withoutName(project: Project | Omit<Project, 'name'>): string[] {
  if ('name' in project) return compose(project);
  const argv = compose({ ...project, name: '' });
  argv.splice(argv.indexOf('--project-name'), 2);
  return argv;
}

/**
 * One line a service: name, space, the hash that the label com.docker.compose.config-hash of its containers holds.
 * `more`: standard input is merged over the project's files.
 */
export function configHashArgv(project: Project | Omit<Project, 'name'>, more: boolean): string[] {
  const files = more ? [...project.files, '-'] : project.files;
  return [...withoutName({ ...project, files }), 'config', '--hash', '*'];
}

/** One profile a line. */
export function configProfilesArgv(project: Project): string[] {
  return [...compose(project), 'config', '--profiles'];
}

/** One image a line. */
export function pullArgv(project: Project, services: readonly string[]): string[] {
  return [...compose(project), 'pull', ...named(services)];
}

export function buildArgv(project: Project, services: readonly string[]): string[] {
  return [...compose(project), 'build', ...named(services)];
}

export function stopArgv(project: Project, services: readonly string[]): string[] {
  return [...compose(project), 'stop', ...named(services)];
}

/** Removes stopped containers. Their volumes stay: `rm` without `-v` keeps anonymous ones too. */
export function removeArgv(project: Project, services: readonly string[]): string[] {
  return [...compose(project), 'rm', '--force', ...named(services)];
}

export interface UpOptions {
  /** Replicas of services whose number the compose files leave open. */
  scale: Readonly<Record<string, number>>;
}

/**
 * Creates, recreates and starts exactly these services. Nothing is pulled or built here: what runs is what the plan
 * was made with. `--no-deps` keeps a service that was stopped on purpose from being started as a dependency; the
 * order among the named services is kept.
 */
export function upArgv(project: Project, services: readonly string[], options: UpOptions): string[] {
  return [
    ...compose(project),
    'up',
    '--detach',
    '--no-build',
    '--pull',
    'never',
    '--no-deps',
    '--remove-orphans=false',
    ...scaled(options.scale),
    ...named(services),
  ];
}

function scaled(scale: UpOptions['scale']): string[] {
  return Object.entries(scale).flatMap(([service, count]) => ['--scale', `${service}=${count}`]);
}

/** Creates what `up` would, with networks and volumes, and starts nothing. */
export function createArgv(project: Project, services: readonly string[], { scale }: UpOptions): string[] {
  return [
    ...compose(project),
    'up',
    '--no-start',
    '--no-build',
    '--pull',
    'never',
    '--no-deps',
    '--remove-orphans=false',
    ...scaled(scale),
    ...named(services),
  ];
}

export interface ExecOptions {
  /** Names of variables whose values `docker exec` takes from its own environment. */
  env: readonly string[];
  stdin: boolean;
  user?: string;
  workingDirectory?: string;
  /** With all rights of the host. */
  privileged?: boolean;
}

export function execArgv(containerId: string, command: readonly string[], options: ExecOptions): string[] {
  return [
    'docker',
    'exec',
    ...(options.stdin ? ['--interactive'] : []),
    ...(options.user === undefined ? [] : ['--user', options.user]),
    ...(options.workingDirectory === undefined ? [] : ['--workdir', options.workingDirectory]),
    ...(options.privileged === true ? ['--privileged'] : []),
    ...options.env.flatMap((name) => ['--env', name]),
    '--',
    containerId,
    ...command,
  ];
}

export function composeVersionArgv(): string[] {
  return ['docker', 'compose', 'version', '--short'];
}

export function contextArgv(): string[] {
  return ['docker', 'context', 'inspect', '--format', '{{json .}}'];
}

/** The last lines a container wrote, with the time of each. */
export function logsArgv(containerId: string, lines: number, since?: string): string[] {
  const from = since === undefined ? [] : ['--since', since];
  return ['docker', 'logs', '--timestamps', '--tail', String(lines), ...from, '--', containerId];
}

/** Builds an image from a folder. */
export function buildImageArgv(tag: string, folder: string): string[] {
  return ['docker', 'build', '--quiet', '--tag', tag, '--', folder];
}

/** Pulls one image by digest or name. */
export function pullImageArgv(image: string): string[] {
  return ['docker', 'pull', '--quiet', '--', image];
}

/** Writes images as one tar to standard output. Named by id, they carry no name that could move one elsewhere. */
export function saveImagesArgv(images: readonly string[]): string[] {
  return ['docker', 'save', '--', ...images];
}

/** Reads such a tar from standard input. */
export function loadImagesArgv(): string[] {
  return ['docker', 'load', '--quiet'];
}

/** An empty list would mean every service, so it is refused here. `--` keeps a name from being read as a flag. */
function named(services: readonly string[]): string[] {
  if (services.length === 0) throw new Error('no services named: compose would take all of them');
  return ['--', ...services];
}
