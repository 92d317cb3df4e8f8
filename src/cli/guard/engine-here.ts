import { readFileSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { discover } from '../../config/compose-files.ts';
import { Compose } from '../../docker/compose.ts';
import { dockerodeFor, endpointVariables, resolveEndpoint } from '../../docker/endpoint.ts';
import { Engine, type ListedContainer, type VolumeSpec } from '../../docker/engine.ts';
import { createExec } from '../../docker/exec.ts';
import type { Finding } from '../../guard/verdict.ts';
import type { Endpoint } from '../../model/project.ts';

/** All that is asked of the engine takes no longer than this, in milliseconds: an agent waits for its hook. */
const patience = 5_000;

const projectLabel = 'com.docker.compose.project';
const folderLabel = 'com.docker.compose.project.working_dir';
const filesLabel = 'com.docker.compose.project.config_files';

/** A compose project as its containers tell of it. */
export interface SeenProject {
  folder: string;
  files: readonly string[];
}

/**
 * The engine that docker's commands reach from here, and what it knows of projects and volumes. Read-only. Each question is
 * asked once; a method throws when the engine does not answer, and all of them once it has not answered in time.
 */
export class EngineHere {
  readonly #env: Readonly<Record<string, string | undefined>>;
  readonly #until = performance.now() + patience;
  #late = false;
  readonly #known = new Map<string, Promise<unknown>>();

  constructor(env: Readonly<Record<string, string | undefined>>) {
    this.#env = env;
  }

  endpoint(): Promise<Endpoint> {
    return this.#once('endpoint', () => resolveEndpoint(createExec(this.#env), this.#env));
  }

  /** The engine's own id. */
  id(): Promise<string> {
    return this.#once('id', async () => (await (await this.#engine()).facts()).id);
  }

  /** Null if there is none. */
  volume(name: string): Promise<VolumeSpec | null> {
    return this.#once(`volume ${name}`, async () => (await this.#engine()).volume(name));
  }

  volumeMadeAt(name: string): Promise<number | undefined> {
    return this.#once(`made ${name}`, async () => (await this.#engine()).volumeMadeAt(name));
  }

  containers(): Promise<ListedContainer[]> {
    return this.#once('containers', async () => (await this.#engine()).allContainers());
  }

  volumesOf(project: string): Promise<string[]> {
    return this.#once(`volumes of ${project}`, async () =>
      (await (await this.#engine()).projectVolumes(project)).map(({ name }) => name),
    );
  }

  volumeNames(): Promise<Set<string>> {
    return this.#once('volume names', async () => (await this.#engine()).volumeNames());
  }

  /** The project a volume belongs to: by its label, else the one project whose containers mount it. */
  async projectOfVolume(name: string): Promise<string | undefined> {
    const own = (await this.volume(name))?.labels[projectLabel];
    if (own !== undefined) return own;
    const users = (await this.containers())
      .filter(({ mounts }) => mounts.some((mount) => mount.name === name))
      .map(({ labels }) => labels[projectLabel]);
    return users.length > 0 && new Set(users).size === 1 ? users[0] : undefined;
  }

  async containersOf(project: string): Promise<ListedContainer[]> {
    return (await this.containers()).filter(({ labels }) => labels[projectLabel] === project);
  }

  /** Where a project's containers were started, each place once. */
  async placesOf(project: string): Promise<SeenProject[]> {
    const seen = new Map<string, SeenProject>();
    for (const { labels } of await this.containersOf(project)) {
      const folder = labels[folderLabel];
      if (folder === undefined) continue;
      const files = (labels[filesLabel] ?? '').split(',').filter((file) => file !== '');
      seen.set([folder, ...files].join('\0'), { folder, files });
    }
    return [...seen.values()];
  }

  /**
   * The project that a compose command without a name means, as compose itself says; undefined if it does not. Variables and
   * files that could make it mean another one from where it runs are not followed.
   */
  async projectMeant(finding: Pick<Finding, 'cwd' | 'folder' | 'files'>): Promise<string | undefined> {
    const { files = [], cwd } = finding;
    const set = (name: string): boolean => (this.#env[name] ?? '') !== '';
    if (set('COMPOSE_PROJECT_NAME')) return this.#env['COMPOSE_PROJECT_NAME'];
    if (files.length === 0 && (set('COMPOSE_FILE') || set('COMPOSE_ENV_FILES'))) return undefined;
    const directory = finding.folder ?? (await composeFolder(cwd));
    if (directory === undefined || (files.length === 0 && mentionsFiles(join(directory, '.env'))))
      return undefined;
    return this.#once(`meant ${directory} ${files.join(' ')}`, async () => {
      const exec = createExec({ ...this.#env, ...endpointVariables(await this.endpoint()) });
      const { model } = await new Compose(exec).model({
        directory,
        files: [...files],
        envFiles: [],
        profiles: [],
      });
      return model.name;
    });
  }

  /** The projects whose containers were started in a folder, or in the nearest one above it that has any. */
  async projectsSeenAt(folder: string): Promise<string[]> {
    const all = await this.containers();
    for (let at = real(folder); ; at = dirname(at)) {
      const found = all.filter(({ labels }) => real(labels[folderLabel] ?? '') === at);
      const names = new Set(found.flatMap(({ labels }) => labels[projectLabel] ?? []));
      if (names.size > 0) return [...names];
      if (dirname(at) === at) return [];
    }
  }

  async #engine(): Promise<Engine> {
    return new Engine(dockerodeFor(await this.endpoint(), patience));
  }

  #once<T>(question: string, ask: () => Promise<T>): Promise<T> {
    const before = this.#known.get(question);
    if (before !== undefined) return before as Promise<T>;
    const answer = this.#inTime(ask);
    // Whoever asks handles it; nobody may have.
    answer.catch(() => undefined);
    this.#known.set(question, answer);
    return answer;
  }

  async #inTime<T>(ask: () => Promise<T>): Promise<T> {
    const left = this.#until - performance.now();
    if (this.#late || left <= 0) throw new Error('the engine has not answered in time');
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        this.#late = true;
        reject(new Error('the engine has not answered in time'));
      }, left);
    });
    try {
      return await Promise.race([ask(), late]);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** The folder in which compose would find its files. */
async function composeFolder(cwd: string | undefined): Promise<string | undefined> {
  return cwd === undefined ? undefined : (await discover(cwd, [])).found?.folder;
}

/** Whether a `.env` says which compose files there are. */
function mentionsFiles(envFile: string): boolean {
  try {
    return /^\s*(?:export\s+)?COMPOSE_(?:FILE|ENV_FILES)\s*=/m.test(readFileSync(envFile, 'utf8'));
  } catch {
    return false;
  }
}

/** A path with its symlinks resolved, as far as it exists. */
function real(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
