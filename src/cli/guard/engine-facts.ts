import { proofLabel, proofPattern } from '../../docker/engine.ts';
import { askSocket } from './ask.ts';

/** What the engine says of a volume, as far as it is read here. */
interface VolumeJson {
  Name: string;
  Driver: string;
  Labels: Record<string, string> | null;
  Options: Record<string, string> | null;
}

/** What the engine says of a container, as far as it is read here. */
interface ContainerJson {
  Name: string;
  Config: { Labels: Record<string, string> | null };
  HostConfig: {
    Binds: string[] | null;
    Mounts?: { Type: string; Source?: string; Target: string }[] | null;
  };
  Mounts: { Type: string; Name?: string; Destination: string }[];
}

/** The label by which compose says whose something is. */
const projectLabel = 'com.docker.compose.project';

/**
 * The engine, asked by the plugin that it asks itself. Only GET: dockerd asks about these requests too, and they are allowed
 * without asking anything, so that nobody waits for himself.
 */
export class EngineFacts {
  readonly #socket: string;

  /** `socket`: the path of dockerd's own socket. */
  constructor(socket: string) {
    this.#socket = socket;
  }

  /** Null: there is no such volume. Throws if the engine does not say. */
  async volume(name: string): Promise<VolumeJson | null> {
    return (await this.#get(`/volumes/${encodeURIComponent(name)}`)) as VolumeJson | null;
  }

  /** By id or name. Null: there is no such container. Throws if the engine does not say. */
  async container(idOrName: string): Promise<ContainerJson | null> {
    return (await this.#get(`/containers/${encodeURIComponent(idOrName)}/json`)) as ContainerJson | null;
  }

  /** The engine's own id. Throws if the engine does not say. */
  async id(): Promise<string | undefined> {
    return ((await this.#get('/info')) as { ID?: string } | null)?.ID;
  }

  async #get(path: string): Promise<unknown> {
    const { status, body } = await askSocket(this.#socket, 'GET', path);
    if (status === 404) return null;
    if (status !== 200) throw new Error(`the engine answers ${status}`);
    return JSON.parse(body) as unknown;
  }
}

/** The compose project of a volume or a container, if it has one. Pure. */
export function projectOf(labels: Record<string, string> | null | undefined): string | undefined {
  return labels?.[projectLabel];
}

/**
 * Whether a volume is one that a test-restore has made, by the very conditions under which safe-update removes one: its name,
 * and that the engine says, now, that it carries the label with the first part of that name and is an ordinary volume. Pure.
 */
export function isProofVolume(name: string, volume: VolumeJson): boolean {
  const proof = name.replace(/_[0-9]+$/, '');
  return (
    proof !== name &&
    proofPattern.test(proof) &&
    volume.Name === name &&
    volume.Labels?.[proofLabel] === proof &&
    volume.Driver === 'local' &&
    Object.keys(volume.Options ?? {}).length === 0
  );
}

/**
 * Whether a container has nothing that goes with it when it is removed with its volumes: each volume that it mounts was asked
 * for by its name. A volume that came from another container counts as nameless. Pure.
 */
export function hasNoAnonymousVolume({ Mounts, HostConfig }: ContainerJson): boolean {
  return Mounts.every(
    ({ Type, Name, Destination }) =>
      ['bind', 'tmpfs', 'npipe', 'image', 'cluster'].includes(Type) ||
      (Type === 'volume' &&
        Name !== undefined &&
        ((HostConfig.Binds ?? []).some((bind) => {
          const [source, target] = bind.split(':');
          return source === Name && target === Destination;
        }) ||
          (HostConfig.Mounts ?? []).some(
            (mount) => mount.Type === 'volume' && mount.Source === Name && mount.Target === Destination,
          ))),
  );
}
