import Module, { createRequire } from 'node:module';
import type Docker from 'dockerode';

const require = createRequire(import.meta.url);

/**
 * dockerode loads gRPC, to build images within a session, and ssh2, for engines that are reached by ssh: most of the time that
 * it takes to load, a fifth of what a start of this program takes. Here each is loaded when it is called. They are a file of
 * dockerode and one of docker-modem that export one function each; where a version has no such file, nothing is put off.
 */
function putOff(from: string, file: string): void {
  try {
    const name = createRequire(require.resolve(from)).resolve(file);
    if (require.cache[name] !== undefined) return;
    const later = new Module(name);
    later.filename = name;
    later.loaded = true;
    later.exports = (...given: unknown[]): unknown => {
      if (require.cache[name] === later) Reflect.deleteProperty(require.cache, name);
      return (require(name) as (...given: unknown[]) => unknown)(...given);
    };
    require.cache[name] = later;
  } catch {
    // It is loaded at once, as dockerode does it.
  }
}

putOff('dockerode', './session');
putOff(createRequire(require.resolve('dockerode')).resolve('docker-modem'), './ssh');

/** The class that dockerode exports. */
export const Dockerode = require('dockerode') as typeof Docker;
