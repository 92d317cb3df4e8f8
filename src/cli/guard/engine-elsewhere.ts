/** What takes the rest of the program, or the docker command, to know: loaded only where it is needed. */
import { Compose } from '../../docker/compose.ts';
import { dockerodeFor, endpointVariables, resolveEndpoint } from '../../docker/endpoint.ts';
import { Engine } from '../../docker/engine.ts';
import { createExec } from '../../docker/exec.ts';
import type { Endpoint } from '../../model/project.ts';
import type { EngineView } from './engine-view.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** The engine of a context that only the docker command can read. Throws SafeUpdateError `engine`. */
export function endpointByDocker(env: Environment): Promise<Endpoint> {
  return resolveEndpoint(createExec(env), env);
}

/** An engine that is not on a socket of this machine. `timeout`: milliseconds that an answer may take. */
export function engineElsewhere(endpoint: Endpoint, timeout: number): EngineView {
  const engine = new Engine(dockerodeFor(endpoint, timeout));
  return {
    id: async () => (await engine.facts()).id,
    volume: async (name) => {
      const volume = await engine.volume(name);
      return volume === null ? null : { ...volume, madeAt: await engine.volumeMadeAt(name) };
    },
    containers: () => engine.allContainers(),
    volumes: () => engine.allVolumes(),
    workdir: async (id) => {
      const found = await engine.container(id);
      return found === null ? undefined : found.Config.WorkingDir || '/';
    },
  };
}

/** The name that compose gives to the project of these files. Throws SafeUpdateError if it does not render them. */
export async function nameByCompose(
  endpoint: Endpoint,
  { directory, files }: { directory: string; files: readonly string[] },
  env: Environment,
): Promise<string | undefined> {
  const exec = createExec({ ...env, ...endpointVariables(endpoint) });
  const project = { directory, files: [...files], envFiles: [], profiles: [] };
  return (await new Compose(exec).model(project)).model.name;
}
