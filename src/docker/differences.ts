import type { ContainerInspect, NetworkInspect } from './engine.ts';
import { anonymousTargets, chosenMac, exitedLabel, type Recreated, type StackRecord } from './record.ts';

type Fields = Record<string, unknown>;

/**
 * What a container always has anew, or what the engine works out from the rest: ids, times, its state, files and layers of
 * its own, addresses that nobody asked for.
 */
const ownOfContainer = new Set([
  ...['Id', 'Created', 'Path', 'Args', 'State', 'Name', 'RestartCount', 'ExecIDs', 'Driver', 'GraphDriver'],
  ...['ResolvConfPath', 'HostnamePath', 'HostsPath', 'LogPath', 'MountLabel', 'ProcessLabel', 'Storage'],
  ...['AppArmorProfile', 'ImageManifestDescriptor', 'SizeRw', 'SizeRootFs', 'Mounts', 'NetworkSettings'],
]);
const ownOfHostConfig = new Set(['ContainerIDFile', 'ConsoleSize']);
const ownOfNetwork = new Set(['Id', 'Created', 'Containers', 'Services', 'Peers', 'Status']);
const ofEndpoint = ['IPAMConfig', 'Links', 'DriverOpts', 'GwPriority'];
const ofMount = ['Type', 'Name', 'Source', 'Driver', 'RW', 'Propagation'];

/** Fields whose values may be secret: only where they differ is said. */
const secret = /^(?:Config|HostConfig\.(?:LogConfig|Mounts))\b/;

/**
 * What is not as it was recorded, in words, one entry a field; none if all is. Containers are found by `recreated`. All
 * fields of `docker inspect` are compared but those that always differ. Values of environments and labels are not shown. Pure.
 */
export function differences(
  record: Pick<StackRecord, 'containers' | 'networks'>,
  now: { containers: readonly ContainerInspect[]; networks: readonly NetworkInspect[] },
  recreated: Recreated,
): string[] {
  const ofContainers = record.containers.flatMap((before) => {
    const name = before.Name.replace(/^\//, '');
    const id = recreated.get(before.Id) ?? before.Id;
    const after = now.containers.find(({ Id }) => Id === id);
    if (after === undefined) return [`${name} is not there`];
    return compare(essence(before, before, recreated), essence(after, before, recreated)).map(
      (what) => `${name}: ${what}`,
    );
  });
  const ofNetworks = record.networks.flatMap((before) => {
    const after = now.networks.find(({ Name }) => Name === before.Name);
    if (after === undefined) return [`the network ${before.Name} is not there`];
    const fields = (network: NetworkInspect): Fields => without(network as unknown as Fields, ownOfNetwork);
    return compare(fields(before), fields(after)).map((what) => `the network ${before.Name}: ${what}`);
  });
  return [...ofContainers, ...ofNetworks];
}

/** What of a container is compared. `recorded` is what it was, of which some things are known that it need not say itself. */
function essence(inspect: ContainerInspect, recorded: ContainerInspect, recreated: Recreated): Fields {
  const { Id, Config, HostConfig, Mounts, NetworkSettings } = inspect;
  const shortId = Id.slice(0, 12);
  const labels = { ...(Config.Labels as Record<string, string> | null) };
  Reflect.deleteProperty(labels, exitedLabel);
  // By the ids of now: those of the record have become these.
  const current = (value: unknown): unknown =>
    typeof value === 'string'
      ? value.replace(/^(container:)?([0-9a-f]{64})/, (whole, prefix: string | undefined, id: string) =>
          recreated.has(id) ? `${prefix ?? ''}${recreated.get(id) ?? ''}` : whole,
        )
      : value;
  const anonymous = anonymousTargets(recorded);
  const hostMounts = ((HostConfig.Mounts ?? []) as unknown as { Target: string }[]).filter(
    ({ Target }) => !anonymous.has(Target),
  );
  const networks = (NetworkSettings.Networks as Record<string, Fields> | null) ?? {};
  return {
    ...without(inspect as unknown as Fields, ownOfContainer),
    Config: {
      // What was asked for in any way shows here; each network's own is compared below.
      ...without(Config, new Set(['MacAddress'])),
      Hostname: Config.Hostname === shortId ? '' : Config.Hostname,
      Labels: labels,
    },
    HostConfig: {
      ...without(HostConfig as unknown as Fields, ownOfHostConfig),
      NetworkMode: current(HostConfig.NetworkMode),
      IpcMode: current(HostConfig.IpcMode),
      PidMode: current(HostConfig.PidMode),
      VolumesFrom: ((HostConfig.VolumesFrom as string[] | null | undefined) ?? []).map(current),
      Mounts: hostMounts,
    },
    Mounts: Object.fromEntries(
      Mounts.map((mount) => {
        const fields = only(mount, ofMount);
        // Where the layers of a mounted image lie is the engine's own business.
        return [mount.Destination, (mount.Type as string) === 'image' ? { ...fields, Source: '' } : fields];
      }),
    ),
    Networks: Object.fromEntries(
      Object.entries(networks).map(([name, endpoint]) => [
        name,
        {
          ...only(endpoint, ofEndpoint),
          Aliases: ((endpoint['Aliases'] as string[] | null | undefined) ?? [])
            .filter((alias) => alias !== shortId)
            .sort(),
          // The very container keeps one that was asked for; any other one is chosen anew with each start.
          MacAddress:
            (recreated.get(recorded.Id) ?? recorded.Id) === recorded.Id ||
            chosenMac(recorded, name) === undefined
              ? ''
              : endpoint['MacAddress'],
        },
      ]),
    ),
  };
}

function compare(before: unknown, after: unknown, at = ''): string[] {
  if (isEmpty(before) && isEmpty(after)) return [];
  const plainObjects = [before, after].every((value) => isEmpty(value) || isPlain(value));
  if (plainObjects) {
    const [was, is] = [before, after].map((value) => (isPlain(value) ? value : {}));
    const keys = new Set([...Object.keys(was ?? {}), ...Object.keys(is ?? {})]);
    return [...keys].flatMap((key) => compare(was?.[key], is?.[key], at === '' ? key : `${at}.${key}`));
  }
  if (JSON.stringify(before) === JSON.stringify(after)) return [];
  const show = (value: unknown): string =>
    isEmpty(value) ? 'nothing' : typeof value === 'string' ? value : JSON.stringify(value);
  return [secret.test(at) ? `${at} differs` : `${at} was ${show(before)}, is ${show(after)}`];
}

function isPlain(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The engine says null, an empty list or nothing at all for the same thing. */
function isEmpty(value: unknown): boolean {
  return (
    value === undefined ||
    value === null ||
    value === '' ||
    value === 0 ||
    value === false ||
    (typeof value === 'object' && Object.values(value).every(isEmpty))
  );
}

function without(fields: Fields, names: ReadonlySet<string>): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([name]) => !names.has(name)));
}

function only(fields: Fields, names: readonly string[]): Fields {
  return Object.fromEntries(names.map((name) => [name, fields[name]]));
}
