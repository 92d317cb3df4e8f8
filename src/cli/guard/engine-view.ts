import { messageOf } from '../../model/error.ts';
import { askSocket } from './ask.ts';

type Labels = Record<string, string>;

/** What the engine says of a container, as far as the guard reads it. */
export interface Container {
  id: string;
  name: string;
  running: boolean;
  labels: Labels;
  mounts: Mounted[];
}

export interface Mounted {
  /** Name of the volume; empty for what is none. */
  name: string;
  /** The folder of the host. */
  source: string;
  /** Where it is in the container. */
  path: string;
  readOnly: boolean;
}

export interface Volume {
  name: string;
  labels: Labels;
}

/** What the guard asks an engine. Each method throws when the engine does not answer. */
export interface EngineView {
  /** The engine's own id. */
  id(): Promise<string>;
  /** With when it was made, in milliseconds since the epoch by the engine's clock, if the engine says so. Null if there is none. */
  volume(name: string): Promise<(Volume & { madeAt: number | undefined }) | null>;
  containers(): Promise<Container[]>;
  volumes(): Promise<Volume[]>;
  /** The folder in which a container's commands run; undefined if the engine does not say. */
  workdir(id: string): Promise<string | undefined>;
}

/** No list of all containers or volumes is longer, in bytes. */
const longestList = 256 * 1024 * 1024;

interface VolumeJson {
  Name: string;
  Labels: Labels | null;
  CreatedAt?: string;
}

/** An engine on a socket of this machine, asked without the rest of the program, which takes longer to load than to ask. */
export class EngineAtSocket implements EngineView {
  readonly #socket: string;
  readonly #patience: number;

  /** `patience`: milliseconds that an answer may take. */
  constructor(socket: string, patience: number) {
    this.#socket = socket;
    this.#patience = patience;
  }

  async id(): Promise<string> {
    return ((await this.#ask('/info')) as { ID: string }).ID;
  }

  async volume(name: string): Promise<(Volume & { madeAt: number | undefined }) | null> {
    const found = (await this.#ask(`/volumes/${encodeURIComponent(name)}`)) as VolumeJson | null;
    if (found === null) return null;
    const at = Date.parse(found.CreatedAt ?? '');
    return { ...volumeOf(found), madeAt: Number.isNaN(at) ? undefined : at };
  }

  async containers(): Promise<Container[]> {
    const listed = (await this.#ask('/containers/json?all=1')) as {
      Id: string;
      Names: string[];
      State: string;
      Labels: Labels | null;
      Mounts: { Name?: string; Source?: string; Destination?: string; RW?: boolean }[] | null;
    }[];
    return listed.map(({ Id, Names, State, Labels, Mounts }) => ({
      id: Id,
      name: (Names[0] ?? Id).replace(/^\//, ''),
      running: State === 'running' || State === 'restarting',
      labels: Labels ?? {},
      mounts: (Mounts ?? []).map(({ Name = '', Source = '', Destination = '', RW }) => ({
        ...{ name: Name, source: Source, path: Destination, readOnly: RW === false },
      })),
    }));
  }

  async volumes(): Promise<Volume[]> {
    const { Volumes } = (await this.#ask('/volumes')) as { Volumes: VolumeJson[] | null };
    return (Volumes ?? []).map(volumeOf);
  }

  async workdir(id: string): Promise<string | undefined> {
    const found = (await this.#ask(`/containers/${id}/json`)) as { Config?: { WorkingDir?: string } } | null;
    return found === null ? undefined : found.Config?.WorkingDir || '/';
  }

  /** Null: there is no such thing. */
  async #ask(path: string): Promise<unknown> {
    const asking = { longest: longestList, patience: this.#patience };
    const { status, body } = await askSocket(this.#socket, 'GET', path, asking).catch((error: unknown) => {
      throw new Error(`The docker engine cannot be reached: ${messageOf(error)}`, { cause: error });
    });
    if (status === 404) return null;
    if (status !== 200) throw new Error(`The docker engine answers ${status}`);
    return JSON.parse(body) as unknown;
  }
}

function volumeOf({ Name, Labels }: VolumeJson): Volume {
  return { name: Name, labels: Labels ?? {} };
}
