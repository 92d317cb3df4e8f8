import { homedir, platform } from 'node:os';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { Endpoint } from '../model/project.ts';

type Environment = Readonly<Record<string, string | undefined>>;

export const defaultHost = 'unix:///var/run/docker.sock';

/**
 * Where the engine is, by the docker command's own rules: DOCKER_HOST, else the context that was chosen. Undefined where only
 * the docker command can say: of a context that is not on this machine's own socket, or cannot be read.
 */
export function endpointAtHand(env: Environment): Endpoint | undefined {
  const host = env['DOCKER_HOST'] ?? '';
  if (host !== '') {
    const tlsVerify = (env['DOCKER_TLS_VERIFY'] ?? '') !== '';
    // Where the docker command looks for certificates when it is told to use them and not where they are.
    const certPath = env['DOCKER_CERT_PATH'] ?? (tlsVerify ? configFolder(env) : undefined);
    return { host, ...(certPath === undefined ? {} : { certPath }), tlsVerify };
  }
  if (platform() === 'win32') return undefined;
  const context = chosenContext(env);
  if (context === undefined) return undefined;
  const chosen = context === '' || context === 'default' ? defaultHost : socketOf(context, env);
  return chosen === undefined ? undefined : { host: chosen, tlsVerify: false };
}

/** Empty: none was chosen. Undefined: anything else than a missing file is for the docker command to judge. */
function chosenContext(env: Environment): string | undefined {
  if ((env['DOCKER_CONTEXT'] ?? '') !== '') return env['DOCKER_CONTEXT'];
  try {
    const text = readFileSync(path.join(configFolder(env), 'config.json'), 'utf8');
    return (JSON.parse(text) as { currentContext?: string }).currentContext ?? '';
  } catch (error) {
    return (error as { code?: string }).code === 'ENOENT' ? '' : undefined;
  }
}

/**
 * The address of a context on a socket of this machine, from where the docker command keeps it (docker/cli, cli/context/store):
 * in a folder that is called after a checksum of its name, which is in the file too.
 */
function socketOf(context: string, env: Environment): string | undefined {
  const contexts = path.join(configFolder(env), 'contexts');
  try {
    for (const id of readdirSync(path.join(contexts, 'meta'))) {
      const text = readFileSync(path.join(contexts, 'meta', id, 'meta.json'), 'utf8');
      const { Name, Endpoints } = JSON.parse(text) as {
        Name?: string;
        Endpoints?: { docker?: { Host?: string } };
      };
      if (Name !== context) continue;
      const host = Endpoints?.docker?.Host;
      const isPlain = !existsSync(path.join(contexts, 'tls', id));
      return isPlain && host?.startsWith('unix://') === true ? host : undefined;
    }
  } catch {
    // As the docker command will say.
  }
  return undefined;
}

function configFolder(env: Environment): string {
  return env['DOCKER_CONFIG'] ?? path.join(homedir(), '.docker');
}
