import { Readable } from 'node:stream';
import { SafeUpdateError } from '../model/error.ts';
import type { ComposeModel, Project } from '../model/project.ts';
import {
  buildArgv,
  composeVersionArgv,
  configArgv,
  configHashArgv,
  configProfilesArgv,
  createArgv,
  pullArgv,
  removeArgv,
  stopArgv,
  upArgv,
  type UpOptions,
} from './argv.ts';
import { compareVersions } from './engine.ts';
import type { Exec, Finished } from './exec.ts';

/** Oldest Compose that has `--pull never` on `up`, `--no-deps` that keeps the order, and JSON `config`. */
const oldestCompose = '2.20.0';

export interface ComposeOptions {
  /** Milliseconds. */
  timeout?: number;
  signal?: AbortSignal;
  onLine?: (line: string) => void;
}

/** The docker compose command, for one exec. Every method throws SafeUpdateError `compose` when compose fails. */
export class Compose {
  readonly #exec: Exec;

  constructor(exec: Exec) {
    this.#exec = exec;
  }

  #version: Promise<string> | undefined;

  /** Throws SafeUpdateError `engine` if the plugin is missing or too old. Asked once: the plugin stays what it is. */
  version(): Promise<string> {
    return (this.#version ??= this.#askVersion());
  }

  async #askVersion(): Promise<string> {
    const result = await this.#exec.run({ argv: composeVersionArgv(), timeout: 20_000 });
    const version = result.stdout.trim().replace(/^v/, '');
    if (result.exitCode !== 0 || version === '') {
      throw new SafeUpdateError('engine', 'docker compose (version 2 or newer) is not installed.', {
        state: 'Nothing was touched.',
        hint: 'Install the compose plugin: on Debian and Ubuntu the package docker-compose-plugin or docker-compose.',
      });
    }
    if (compareVersions(version, oldestCompose) < 0) {
      throw new SafeUpdateError(
        'engine',
        `docker compose ${version} is too old; ${oldestCompose} is needed.`,
        {
          state: 'Nothing was touched.',
          hint: 'Upgrade the compose plugin.',
        },
      );
    }
    return version;
  }

  /**
   * The rendered model, and the warnings compose printed on the way ("variable is not set").
   * Throws SafeUpdateError `config` with compose's own words when the files do not render.
   */
  async model(
    project: Project | Omit<Project, 'name'>,
  ): Promise<{ model: ComposeModel; warnings: string[] }> {
    const result = await this.#exec.run({
      argv: configArgv(project),
      cwd: project.directory,
      timeout: 60_000,
    });
    if (result.exitCode !== 0) {
      throw new SafeUpdateError('config', `The compose files are not valid: ${lastWords(result)}`, {
        state: 'Nothing was touched.',
        hint: `Check them with: docker compose ${project.files.map((file) => `-f ${file}`).join(' ')} config`,
      });
    }
    const model = JSON.parse(result.stdout, plain) as Omit<ComposeModel, 'services'> & {
      services?: ComposeModel['services'] | null;
    };
    return { model: { ...model, services: model.services ?? {} }, warnings: warningsIn(result.stderr) };
  }

  /**
   * The config hash of each active service: what the label com.docker.compose.config-hash of an up-to-date container
   * holds. `more`: a compose file that is merged over the project's own.
   */
  async hashes(project: Project | Omit<Project, 'name'>, more?: string): Promise<Map<string, string>> {
    const result = await this.#run('config', configHashArgv(project, more !== undefined), project, {
      timeout: 60_000,
      ...(more === undefined ? {} : { stdin: Readable.from([more]) }),
    });
    return new Map(
      result.stdout
        .split('\n')
        .map((line) => line.trim().split(/\s+/))
        .flatMap(([service, hash]) =>
          service !== undefined && hash !== undefined ? [[service, hash] as const] : [],
        ),
    );
  }

  /**
   * Texts with the variables in them replaced as compose does it, from these env files (later ones win, all before the
   * project's own `.env`) and the environment.
   */
  async interpolate(
    project: Project,
    texts: readonly string[],
    envFiles: readonly string[],
  ): Promise<string[]> {
    const asked = { name: project.name, services: { none: { image: 'none' } }, 'x-texts': texts };
    const argv = configArgv({ ...project, files: ['-'], envFiles: [...envFiles], profiles: [] });
    const { stdout } = await this.#run('config', argv, project, {
      timeout: 60_000,
      stdin: Readable.from([JSON.stringify(asked)]),
    });
    return (JSON.parse(stdout, plain) as { 'x-texts': string[] })['x-texts'];
  }

  async profiles(project: Project): Promise<string[]> {
    const result = await this.#run('config', configProfilesArgv(project), project, { timeout: 60_000 });
    return result.stdout.split('\n').filter((line) => line.trim() !== '');
  }

  async pull(project: Project, services: readonly string[], options: ComposeOptions): Promise<void> {
    try {
      await this.#run('pull', pullArgv(project, services), project, options);
    } catch (error) {
      if (!(error instanceof SafeUpdateError) || error.code !== 'compose') throw error;
      throw new SafeUpdateError('compose', error.message, {
        hint: 'Check the name, the tag and the registry (docker login). For an image that is only on this engine: pull_policy: missing in the compose file, or --pull missing. For one that is to be built here: pull_policy: build.',
        cause: error,
      });
    }
  }

  async build(project: Project, services: readonly string[], options: ComposeOptions): Promise<void> {
    await this.#run('build', buildArgv(project, services), project, options);
  }

  async stop(project: Project, services: readonly string[], options: ComposeOptions): Promise<void> {
    await this.#run('stop', stopArgv(project, services), project, options);
  }

  async remove(project: Project, services: readonly string[], options: ComposeOptions): Promise<void> {
    await this.#run('rm', removeArgv(project, services), project, options);
  }

  async up(
    project: Project,
    services: readonly string[],
    up: UpOptions,
    options: ComposeOptions,
  ): Promise<void> {
    await this.#run('up', upArgv(project, services, up), project, options);
  }

  /** Creates containers, networks and volumes as `up` would, and starts nothing. */
  async create(
    project: Project,
    services: readonly string[],
    up: UpOptions,
    options: ComposeOptions,
  ): Promise<void> {
    await this.#run('up --no-start', createArgv(project, services, up), project, options);
  }

  async #run(
    verb: string,
    argv: string[],
    project: Pick<Project, 'directory'>,
    options: ComposeOptions & { stdin?: Readable },
  ): Promise<Finished> {
    const result = await this.#exec.run({ argv, cwd: project.directory, ...options });

    if (options.signal?.aborted === true)
      throw new SafeUpdateError('interrupted', `docker compose ${verb} was interrupted.`);
    if (result.timedOut) {
      throw new SafeUpdateError('timeout', `docker compose ${verb} did not end within its time limit.`, {
        hint: 'Look what it waits for, then run again. timeouts in safe-update.yml allow it more time.',
      });
    }
    if (result.exitCode !== 0) {
      // Nobody is told to run what changes the stack: after a rollback it would start the release that has failed.
      const hint = onlyReads.has(verb)
        ? {
            hint: `When the cause is gone, run again. To see all that compose says: ${argv.join(' ')}`,
          }
        : {};
      throw new SafeUpdateError('compose', `docker compose ${verb} failed: ${lastWords(result)}`, hint);
    }
    return result;
  }
}

/** What stops, removes and starts no container. */
const onlyReads: ReadonlySet<string> = new Set(['config', 'pull', 'build']);

/** Compose doubles each dollar sign, so that what it prints could be read as a compose file again. */
function plain(_: string, value: unknown): unknown {
  return typeof value === 'string' ? value.replaceAll('$$', () => '$') : value;
}

/** The lines of compose's standard error that say why it failed: without progress lines and log prefixes. */
function lastWords({ stderr, stdout, exitCode }: Finished): string {
  const lines = `${stdout.length < 2000 ? stdout : ''}\n${stderr}`
    .split('\n')
    .map((line) =>
      line
        .replace(/^time="[^"]*" level=\w+ msg="?/, '')
        .replace(/"$/, '')
        .trim()
        .replace(/^Container \S+ {2,}(?=\S+ )/, ''),
    )
    .filter((line) => line !== '' && !/^(Container|Network|Volume|Image) \S+ +\w+$/.test(line));
  const telling = lines.filter((line) =>
    /error|fail|denied|invalid|unhealthy|not found|required|unknown|refused|no such/i.test(line),
  );
  const chosen = (telling.length > 0 ? telling : lines).slice(-3);
  return chosen.length > 0 ? [...new Set(chosen)].join(' · ') : `exit code ${exitCode}`;
}

function warningsIn(stderr: string): string[] {
  const warnings = [...stderr.matchAll(/level=warning msg="((?:[^"\\]|\\.)*)"/g)].map((match) =>
    (match[1] ?? '').replaceAll('\\"', '"'),
  );
  // Compose says this of every file that still has the once required `version:`. Nothing can come of it.
  return [...new Set(warnings)].filter((warning) => !warning.includes('`version` is obsolete'));
}
