import type { ExpectedService, Probe, Sample } from './probe.ts';

/**
 * Every path that a volume served is served by the same volume: promise 3. A stack can be healthy on new and empty
 * volumes, which is how data seems gone after an update.
 */
export function servedProbe({ service, served }: ExpectedService): Probe {
  return {
    name: `${service} volumes`,
    look({ containers }: Sample) {
      for (const { number, path, volume, subpath } of served) {
        const container = containers.find(
          (other) => other.service === service && other.number === number && !other.oneOff,
        );
        if (container === undefined) continue;
        const mount = container.mounts.find((other) => other.path === path);
        if (mount?.source === volume && mount.subpath === subpath) continue;
        const found = mount === undefined ? 'nothing' : nameOf(mount.source, mount.subpath);
        return {
          is: 'failed',
          reason: `${container.name} has ${found} at ${path} instead of the volume ${nameOf(volume, subpath)}`,
        };
      }
      return { is: 'green' };
    },
  };
}

function nameOf(volume: string, subpath: string | undefined): string {
  return subpath === undefined ? volume : `${volume}/${subpath}`;
}
