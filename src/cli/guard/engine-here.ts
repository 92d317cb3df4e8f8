import { existsSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { discover } from '../../config/compose-files.ts';
import { endpointAtHand } from '../../docker/context.ts';
import type { Finding } from '../../guard/verdict.ts';
import type { Endpoint } from '../../model/project.ts';
import { EngineAtSocket, type Container, type EngineView, type Volume } from './engine-view.ts';
import { nameIn } from './project-name.ts';
import { readRegular } from './regular.ts';

/** All that is asked of the engine takes no longer than this, in milliseconds: an agent waits for its hook. */
const patience = 5_000;

const projectLabel = 'com.docker.compose.project';
const folderLabel = 'com.docker.compose.project.working_dir';
const filesLabel = 'com.docker.compose.project.config_files';

/** Milliseconds since this process started. What performance.now() belongs to takes longer to load than this is precise. */
export function sinceStart(): number {
  return process.uptime() * 1000;
}

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
  readonly #until = sinceStart() + patience;
  #late = false;
  readonly #known = new Map<string, Promise<unknown>>();

  constructor(env: Readonly<Record<string, string | undefined>>) {
    this.#env = env;
  }

  endpoint(): Promise<Endpoint> {
    return this.#once('endpoint', async () => {
      const known = endpointAtHand(this.#env);
      return known ?? (await import('./engine-elsewhere.ts')).endpointByDocker(this.#env);
    });
  }

  /** The engine's own id. */
  id(): Promise<string> {
    return this.#once('id', async () => (await this.#view()).id());
  }

  /** Null if there is none. */
  volume(name: string): ReturnType<EngineView['volume']> {
    return this.#once(`volume ${name}`, async () => (await this.#view()).volume(name));
  }

  containers(): Promise<Container[]> {
    return this.#once('containers', async () => (await this.#view()).containers());
  }

  volumes(): Promise<Volume[]> {
    return this.#once('volumes', async () => (await this.#view()).volumes());
  }

  /** The folder in which a container's commands run. */
  workdir(id: string): ReturnType<EngineView['workdir']> {
    return this.#once(`workdir ${id}`, async () => (await this.#view()).workdir(id));
  }

  async volumesOf(project: string): Promise<string[]> {
    return (await this.volumes())
      .filter(({ labels }) => labels[projectLabel] === project)
      .map(({ name }) => name);
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

  async containersOf(project: string): Promise<Container[]> {
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
   * The project that a compose command without a name means; undefined if nobody can say. Variables and files that could make
   * it mean another one from where it runs are not followed.
   */
  async projectMeant({
    files = [],
    cwd,
    folder,
  }: Pick<Finding, 'cwd' | 'folder' | 'files'>): Promise<string | undefined> {
    const set = (name: string): boolean => (this.#env[name] ?? '') !== '';
    if (set('COMPOSE_PROJECT_NAME')) return this.#env['COMPOSE_PROJECT_NAME'];
    if (files.length === 0 && (set('COMPOSE_FILE') || set('COMPOSE_ENV_FILES'))) return undefined;
    const found = folder !== undefined || cwd === undefined ? undefined : discover(cwd, []).found;
    const directory = folder ?? found?.folder;
    if (directory === undefined) return undefined;
    const variables = variablesIn(directory);
    if (files.length === 0 && mentions(variables ?? '', 'FILE|ENV_FILES')) return undefined;
    // Compose reads the .env of the folder where it runs first, and of the one where it finds its files after that.
    if (cwd !== undefined && real(cwd) !== real(directory)) {
      const ownVariables = variablesIn(cwd);
      if (ownVariables === undefined || mentions(ownVariables, 'PROJECT_NAME|FILE|ENV_FILES'))
        return undefined;
    }
    return this.#once(`meant ${directory} ${files.join(' ')}`, async () => {
      const read = files.length > 0 ? files : [found?.base, found?.override];
      const texts = read.flatMap((file) => (file === undefined ? [] : [readRegular(file)]));
      const isPlain = texts.length > 0 && variables !== undefined && !mentions(variables, 'PROJECT_NAME');
      const name = isPlain ? nameIn(directory, texts) : undefined;
      // What the files say by themselves is believed where a project of that name was started from there. Else compose is asked.
      if (name !== undefined && (await this.#projectsAt(directory)).includes(name)) return name;
      const { nameByCompose } = await import('./engine-elsewhere.ts');
      return nameByCompose(await this.endpoint(), { directory, files }, this.#env);
    });
  }

  /** The projects whose containers were started in a folder, or in the nearest one above it that has any. */
  async projectsSeenAt(folder: string): Promise<string[]> {
    for (let at = real(folder); ; at = dirname(at)) {
      const names = await this.#projectsAt(at);
      if (names.length > 0 || dirname(at) === at) return names;
    }
  }

  async #projectsAt(folder: string): Promise<string[]> {
    const place = real(folder);
    const all = (await this.containers()).filter(({ labels }) => real(labels[folderLabel] ?? '') === place);
    return [...new Set(all.flatMap(({ labels }) => labels[projectLabel] ?? []))];
  }

  async #view(): Promise<EngineView> {
    const endpoint = await this.endpoint();
    const socket = /^unix:\/\/(\/[^%?#]*)$/.exec(endpoint.host)?.[1];
    if (socket !== undefined) return new EngineAtSocket(socket, patience);
    return (await import('./engine-elsewhere.ts')).engineElsewhere(endpoint, patience);
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
    const left = this.#until - sinceStart();
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

/** What a folder's `.env` says; undefined if it has one that cannot be read, or is a pipe. */
function variablesIn(folder: string): string | undefined {
  const file = join(folder, '.env');
  return existsSync(file) ? readRegular(file) : '';
}

/** Whether a `.env` sets one of compose's own variables. */
function mentions(text: string, names: string): boolean {
  return new RegExp(String.raw`^\s*(?:export\s+)?COMPOSE_(?:${names})\s*[=:]`, 'm').test(text);
}

/** A path with its symlinks resolved, as far as it exists. */
function real(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
