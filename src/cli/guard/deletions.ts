import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, join, relative, resolve } from 'node:path';
import type { Settings } from '../../config/schema.ts';
import { placeAt } from '../../guard/data-paths.ts';
import { isUnknown } from '../../guard/unknown.ts';
import type { Finding, Inhabited, Suspect } from '../../guard/verdict.ts';
import { isCache } from './cache.ts';
import type { StackText } from './compose-text.ts';
import { EngineHere } from './engine-here.ts';
import type { Container } from './engine-view.ts';
import {
  backupsAround,
  backupsOf,
  configFileOf,
  hasContent,
  heldBy,
  isIgnored,
  isMade,
  isNamed,
  kindOf,
  placeAbove,
  placesBelow,
  real,
  stemOf,
  type Place,
  type Source,
} from './places.ts';
import { readRegular } from './regular.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** What is asked of the engine: EngineHere. */
export type Asked = Pick<EngineHere, 'containers' | 'volume' | 'projectsSeenAt' | 'workdir'>;

const projectLabel = 'com.docker.compose.project';
const serviceLabel = 'com.docker.compose.service';
const folderLabel = 'com.docker.compose.project.working_dir';

/** Milliseconds that reading the settings of a folder may take. */
const patience = 3_000;

/** What would be lost, and of which project. */
interface Loss {
  loses: string;
  project?: string | undefined;
}

/** Given what may delete data, return what does, with what would be lost. */
export function dataAmong(suspects: readonly Suspect[]): Promise<Finding[]> {
  return new Deletions(new EngineHere(process.env), process.env).among(suspects);
}

/** Something that is mounted in a container. */
interface Inside {
  target: string;
  /** Asked only of what is hit. Undefined: it holds no data. */
  loss: () => Promise<Loss | undefined>;
}

/** What a command in a container sees. */
interface Room {
  mounts: Inside[];
  /** Where a relative path starts; asked only if there is one. */
  workdir: () => Promise<string | undefined>;
}

/**
 * Whether commands that delete something delete data: asked where the text alone does not say, of the disk, of compose files and
 * of the engine, in this order. Read-only.
 */
export class Deletions {
  readonly #env: Environment;
  readonly #engine: Asked;
  readonly #settings = new Map<string, Promise<Settings[]>>();
  readonly #stacks = new Map<string, Promise<StackText>>();
  readonly #haystacks = new Map<string, string>();
  readonly #sources = new Map<string, Promise<Source[]>>();

  constructor(engine: Asked, env: Environment) {
    this.#engine = engine;
    this.#env = env;
  }

  /** Those that delete data, as what stands against them. */
  async among(suspects: readonly Suspect[]): Promise<Finding[]> {
    const found: Finding[] = [];
    for (const suspect of suspects) {
      const { finding } = suspect;
      const isSaid = found.some(
        ({ command, at }) => command === finding.command && at.start === finding.at.start,
      );
      if (isSaid) continue;
      const loss = await this.#lossOf(suspect);
      if (loss === undefined) continue;
      const { loses, project } = loss;
      found.push({
        ...finding,
        loses,
        instead: [await wayOn(finding)],
        ...(project === undefined ? {} : { project }),
      });
    }
    return found;
  }

  async #lossOf(suspect: Suspect): Promise<Loss | undefined> {
    for (const path of suspect.paths) {
      const loss =
        suspect.inside === undefined
          ? await this.#onHost(path, suspect)
          : await this.#inside(path, suspect.inside, suspect);
      if (loss !== undefined) return loss;
    }
    return undefined;
  }

  async #onHost(path: string, suspect: Suspect): Promise<Loss | undefined> {
    const full = path.replace(/^~(?=\/|$)/, () => homedir());
    if (!full.startsWith('/')) return undefined;
    const { whole, finding } = suspect;
    const stem = stemOf(full);
    const places = new Map<string, Place>();
    const add = (place: Place | undefined): void => {
      if (place !== undefined) places.set(place.folder, place);
    };
    add(placeAbove(stem));
    if (finding.cwd !== undefined) add(placeAbove(finding.cwd));
    if (whole && !isMade(stem)) for (const place of placesBelow(stem)) add(place);
    for (const place of places.values()) {
      if (!this.#mayKnow(place, full)) continue;
      for (const source of await this.#sourcesOf(place))
        if (isHit(full, source, suspect)) return { loses: source.loses };
    }
    for (const source of isMade(stem) ? [] : backupsAround(full, whole))
      if (isHit(full, source, suspect)) return { loses: source.loses };
    const isFolder = kindOf(stem) === 'folder';
    return whole && isFolder && !isMade(stem) ? this.#boundByEngine(full, suspect) : undefined;
  }

  /** Bind mounts as containers have them. */
  async #boundByEngine(path: string, suspect: Suspect): Promise<Loss | undefined> {
    for (const { labels, mounts } of await this.#containers()) {
      const folder = labels[folderLabel];
      if (folder === undefined) continue;
      for (const { name, source, path: target, readOnly } of mounts) {
        if (name !== '' || !isHit(path, { path: source, strict: true }, suspect)) continue;
        const settings = await this.#settingsOf(folder);
        const bind = { source, target, readOnly, service: labels[serviceLabel] ?? '' };
        const held = heldBy(bind, folder, settings) ?? heldBy(bind, real(folder), settings);
        if (held !== undefined && isHit(path, held, suspect))
          return { loses: held.loses, project: labels[projectLabel] };
      }
    }
    return undefined;
  }

  /** Cheap, before anything is parsed: whether the files of a place could speak of a path at all. */
  #mayKnow({ folder, composeFiles }: Place, path: string): boolean {
    const below = relative(folder, path);
    if (below === '' || below.startsWith('..')) {
      // It is around the place, or somewhere else.
      const isAround = relative(path, folder) === '' || !relative(path, folder).startsWith('..');
      if (isAround || stemOf(path) !== path) return true;
    }
    const words = (below.startsWith('..') ? path : below).split('/').filter((part) => part !== '');
    if (!below.startsWith('..') && words[0] === 'backups') return true;
    const text = this.#haystackOf(folder, composeFiles);
    if (/^\s*["']?(include|extends)["']?\s*:/m.test(text)) return true;
    const [first = ''] = words;
    if (!below.startsWith('..')) return /[*?[]/.test(first) || isUnknown(first) || text.includes(first);
    return words.some((word) => word.length > 2 && text.includes(word));
  }

  /** All that the files of a place say, and what their variables may stand for. */
  #haystackOf(folder: string, composeFiles: readonly string[]): string {
    const before = this.#haystacks.get(folder);
    if (before !== undefined) return before;
    const config = configFileOf(folder);
    const files = [...composeFiles, ...this.#namedFiles(folder), ...(config === undefined ? [] : [config])];
    const texts = files.map((file) => readRegular(file) ?? '');
    // Whatever a variable stands for, it stands in the environment or in one of these.
    const variables = texts.some((text) => text.includes('$')) ? this.#variablesOf(folder, texts) : [];
    const text = [...texts, ...variables].join('\n');
    this.#haystacks.set(folder, text);
    return text;
  }

  #variablesOf(folder: string, texts: readonly string[]): string[] {
    const names = texts.flatMap((text) => [...text.matchAll(/\$\{?(\w+)/g)].map(([, name = '']) => name));
    const envFiles = ['.env', '.env.prod', '.env.production', '.env.staging', '.env.local'];
    return [
      ...new Set(names.flatMap((name) => this.#env[name] ?? [])),
      ...envFiles.flatMap((name) => readRegular(join(folder, name)) ?? []),
    ];
  }

  /** Compose files that have other names than usual, as variables say them. */
  #namedFiles(folder: string): string[] {
    const own = /^\s*COMPOSE_FILE\s*=\s*["']?([^"'\n]*)/m.exec(readRegular(join(folder, '.env')) ?? '')?.[1];
    return [this.#env['COMPOSE_FILE'], own]
      .flatMap((said) => said?.split(':') ?? [])
      .filter((file) => file !== '')
      .map((file) => resolve(folder, file))
      .filter((file) => existsSync(file));
  }

  #sourcesOf(place: Place): Promise<Source[]> {
    return once(this.#sources, place.folder, async () => {
      const { folder } = place;
      const settings = await this.#settingsOf(folder);
      const stack = await this.#stackOf(place);
      const binds = [...stack.services].flatMap(([service, { mounts }]) =>
        mounts.flatMap(({ kind, ...mount }) => (kind === 'bind' ? [{ ...mount, service }] : [])),
      );
      const included = settings.flatMap(({ bindMounts }) =>
        bindMounts.include.filter((path) => !/[*?]/.test(path)),
      );
      return [
        ...binds.flatMap((bind) => heldBy(bind, folder, settings) ?? []),
        ...[...stack.volumes].flatMap(([key, { device }]) =>
          device === undefined
            ? []
            : [{ path: device, strict: true, loses: `what is at ${device}: the volume ${key}` }],
        ),
        ...included.map((path) => ({
          path,
          strict: true,
          loses: `what is at ${path}, of which backups are made`,
        })),
        ...backupsOf(folder, settings),
      ];
    });
  }

  #settingsOf(folder: string): Promise<Settings[]> {
    return once(this.#settings, folder, async () => {
      if (configFileOf(folder) === undefined) return [];
      const { settingsIn } = await import('./project-files.ts');
      // One of its files may be a pipe that nobody writes to.
      return (await Promise.race([settingsIn(folder, this.#env), later(patience)])) ?? [];
    });
  }

  #stackOf({ folder, composeFiles }: Place, more: readonly string[] = []): Promise<StackText> {
    return once(this.#stacks, [folder, ...more].join('\0'), async () => {
      const { readStack } = await import('./compose-text.ts');
      const named = (await this.#settingsOf(folder)).flatMap(({ project }) => project.files);
      const files = new Set([...composeFiles, ...this.#namedFiles(folder), ...named, ...more]);
      return readStack(folder, [...files], this.#env);
    });
  }

  async #containers(): Promise<Container[]> {
    // No engine, no containers: what compose files say counts then.
    return this.#engine.containers().catch(() => []);
  }

  async #inside(path: string, inhabited: Inhabited, { whole, finding }: Suspect): Promise<Loss | undefined> {
    const place = (inhabited.kind === 'service' ? inhabited.folder : undefined) ?? finding.cwd;
    const isHere = finding.elsewhere === undefined;
    const running = isHere ? await this.#roomsByEngine(inhabited, place) : [];
    for (const room of running) {
      const loss = await lossIn(room, path, whole);
      if (loss !== undefined) return loss;
    }
    // What is running is what `exec` meets. What comes up by `run` is written in the files.
    const comesUp = inhabited.kind === 'service' && inhabited.comesUp === true;
    if (running.length > 0 && !comesUp) return undefined;
    if (place === undefined) return undefined;
    for (const room of await this.#roomsByFiles(inhabited, place)) {
      const loss = await lossIn(room, path, whole);
      if (loss !== undefined) return loss;
    }
    return undefined;
  }

  async #roomsByEngine(inhabited: Inhabited, place: string | undefined): Promise<Room[]> {
    const all = await this.#containers();
    const projects = async (): Promise<string[]> => {
      const said =
        (inhabited.kind === 'service' ? inhabited.project : undefined) ?? this.#env['COMPOSE_PROJECT_NAME'];
      if (said !== undefined && said !== '') return [said];
      return place === undefined ? [] : this.#engine.projectsSeenAt(place).catch(() => []);
    };
    let found: Container[];
    if (inhabited.kind === 'container' && inhabited.names !== undefined) {
      const { names } = inhabited;
      found = all.filter(({ id, name }) =>
        names.some((one) => one === name || (one.length > 2 && id.startsWith(one))),
      );
    } else {
      const service = inhabited.kind === 'service' ? inhabited.service : undefined;
      const wanted = await projects();
      found = all.filter(
        ({ labels }) =>
          wanted.includes(labels[projectLabel] ?? '') &&
          (service === undefined || labels[serviceLabel] === service),
      );
    }
    return found.map((container) => this.#roomOf(container));
  }

  #roomOf({ id, labels, mounts }: Container): Room {
    const project = labels[projectLabel];
    const folder = labels[folderLabel];
    return {
      workdir: () => this.#engine.workdir(id).catch(() => undefined),
      mounts: mounts.map(({ name, source, path: target, readOnly }) => ({
        target,
        loss: async () => {
          if (name === '') {
            if (folder === undefined) return undefined;
            const bind = { source, target, readOnly, service: labels[serviceLabel] ?? '' };
            const settings = await this.#settingsOf(folder);
            const held = heldBy(bind, folder, settings) ?? heldBy(bind, real(folder), settings);
            return held === undefined
              ? undefined
              : { loses: `the files of ${source}, mounted at ${target}`, project };
          }
          if (readOnly || isMade(target)) return undefined;
          const volume = await this.#engine.volume(name).catch(() => null);
          return this.#ofVolume(name, target, { labels: volume?.labels ?? {}, folder, project });
        },
      })),
    };
  }

  async #roomsByFiles(inhabited: Inhabited, start: string): Promise<Room[]> {
    const place = placeAbove(start);
    if (place === undefined) return [];
    const { folder } = place;
    const more = inhabited.kind === 'service' ? (inhabited.files ?? []) : [];
    const stack = await this.#stackOf(place, more);
    const services = [...stack.services].filter(([service, { containerName }]) => {
      if (inhabited.kind === 'service')
        return inhabited.service === undefined || inhabited.service === service;
      return (
        inhabited.names?.some(
          (name) => name === containerName || new RegExp(`[-_]${escaped(service)}[-_]\\d+$`).test(name),
        ) ?? true
      );
    });
    return services.map(([service, { mounts, workdir }]) => ({
      workdir: () => Promise.resolve(workdir),
      mounts: mounts.map(({ kind, source, target, readOnly }) => ({
        target,
        loss: async () => {
          if (kind === 'tmpfs') return undefined;
          if (kind === 'bind') {
            const held = heldBy(
              { source, target, readOnly, service },
              folder,
              await this.#settingsOf(folder),
            );
            return held === undefined ? undefined : { loses: `the files of ${source}, mounted at ${target}` };
          }
          if (readOnly || isMade(target)) return undefined;
          const { labels = {}, name = source } = stack.volumes.get(source) ?? {};
          return this.#ofVolume(name, target, { labels, folder, key: source });
        },
      })),
    }));
  }

  async #ofVolume(
    name: string,
    target: string,
    about: {
      labels: Record<string, string>;
      folder?: string | undefined;
      project?: string | undefined;
      key?: string;
    },
  ): Promise<Loss | undefined> {
    const settings = about.folder === undefined ? [] : await this.#settingsOf(about.folder);
    const key = about.key === undefined ? {} : { 'com.docker.compose.volume': about.key };
    if (isCache({ settings }, { name, labels: { ...key, ...about.labels } })) return undefined;
    const called =
      name === '' || /^[0-9a-f]{64}$/.test(name) ? 'a volume without a name' : `the volume ${name}`;
    return { loses: `the files on ${called} at ${target}`, project: about.project };
  }
}

/** What goes with a path in a container: what is mounted nearest to it, and with `whole` what is mounted further down. */
async function lossIn(room: Room, path: string, whole: boolean): Promise<Loss | undefined> {
  const workdir = path.startsWith('/') ? undefined : await room.workdir();
  const full = path.startsWith('/') || workdir === undefined ? path : resolve(workdir, path);
  const mounts = room.mounts.map((mount) => ({
    ...mount,
    at: full.startsWith('/') ? mount.target : tailOf(mount.target, full),
  }));
  const [nearest] = mounts
    .filter(({ at }) => isIn(stemOf(full), at))
    .toSorted((one, other) => other.target.length - one.target.length);
  // A pattern may mean what is mounted further down.
  const below = mounts.filter(
    (mount) =>
      mount !== nearest &&
      !isIn(stemOf(full), mount.at) &&
      (whole ? isAround(full, mount.at) : isIn(full, mount.at)),
  );
  for (const mount of [...(nearest === undefined ? [] : [nearest]), ...below]) {
    const loss = await mount.loss();
    if (loss !== undefined) return loss;
  }
  return undefined;
}

function isAround(path: string, place: string): boolean {
  return placeAt(path, { roots: [place] }, true) !== undefined;
}

/** Where nobody knows in which folder it runs, `uploads/x` may be in whatever ends with `uploads`. */
function tailOf(target: string, path: string): string {
  const [first = ''] = path.split('/');
  const parts = target.split('/');
  const at = parts.lastIndexOf(first);
  return at === -1 || first === '' ? target : parts.slice(at).join('/');
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}

/** Whether a source goes with a path. */
function isHit(
  given: string,
  { path: source, strict }: Pick<Source, 'path' | 'strict'>,
  suspect: Suspect,
): boolean {
  const { whole, except, cleans } = suspect;
  const stem = stemOf(given);
  const resolved = `${real(stem)}${given.slice(stem.length)}`;
  const place = [source, real(source)].find((one) =>
    [given, resolved].some((path) => isAround(path, one) && (whole || isIn(path, one))),
  );
  if (place === undefined) return false;
  const path = isAround(given, place) ? given : resolved;
  if (isIn(path, place)) {
    const isSingle = !/[*?[]/.test(basename(path)) && (!whole || kindOf(path) === 'file');
    if (!strict && isSingle && path !== place) return false;
  }
  // What is around it, or means it by a pattern, takes nothing along where there is nothing.
  if (!isIn(stemOf(path), place) && !hasContent(place)) return false;
  if (except.some((pattern) => isNamed(pattern, relative(stemOf(path), place) || basename(place))))
    return false;
  return !(cleans === 'known' && isIgnored(place));
}

function isIn(path: string, place: string): boolean {
  return placeAt(path, { roots: [place] }, false) !== undefined;
}

/** The one way to do it all the same. */
async function wayOn(finding: Finding): Promise<string> {
  const { unapprovable } = await import('./knowledge.ts');
  const { command, within, through } = finding;
  const whole = through?.[0] ?? within ?? command;
  return unapprovable(finding) === undefined
    ? `safe-update guard approve -- ${whole} # a person, at a terminal; lets it through once`
    : 'the command with its paths written out, which a person can let through once: safe-update guard approve -- COMMAND';
}

function later(milliseconds: number): Promise<undefined> {
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds, undefined).unref();
  });
}

function once<T>(known: Map<string, Promise<T>>, key: string, find: () => Promise<T>): Promise<T> {
  const before = known.get(key);
  if (before !== undefined) return before;
  const found = find();
  known.set(key, found);
  return found;
}
