import type { ExpectedService, Probe, Sample } from './probe.ts';

/**
 * Every path that a volume served is served by the same volume: promise 3. A stack can be healthy on new and empty
 * volumes, which is how data seems gone after an update.
 */
export function servedProbe({ service, served }: ExpectedService): Probe {
  return {
    name: `${service} volumes`,
    look({ containers }: Sample) {
      for (const { number, path, volume } of served) {
        const container = containers.find(
          (other) => other.service === service && other.number === number && !other.oneOff,
        );
        if (container === undefined) continue;
        const mount = container.mounts.find((other) => other.path === path);
        if (mount?.source === volume) continue;
        const found = mount === undefined ? 'nothing' : mount.source;
        return {
          is: 'failed',
          reason: `${container.name} has ${found} at ${path} instead of the volume ${volume}`,
        };
      }
      return { is: 'green' };
    },
  };
}
