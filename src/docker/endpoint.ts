import { readFileSync } from 'node:fs';
import { homedir, platform } from 'node:os';
import path from 'node:path';
import type Docker from 'dockerode';
import { SafeUpdateError } from '../model/error.ts';
import type { Endpoint } from '../model/project.ts';
import { contextArgv } from './argv.ts';
import { Dockerode } from './dockerode.ts';
import type { Exec } from './exec.ts';

/** What `docker context inspect --format '{{json .}}'` prints, as far as it is read here. */
interface Context {
  Endpoints?: { docker?: { Host?: string; SkipTLSVerify?: boolean } };
  TLSMaterial?: { docker?: string[] };
  Storage?: { TLSPath?: string };
}

/**
 * Finds the engine once, by the docker command's own rules: DOCKER_HOST, else the current context. dockerode knows
 * no contexts and compose does; without this a backup could come from one engine and the update go to another.
 */
export async function resolveEndpoint(
  exec: Exec,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<Endpoint> {
  const fromVariables = environment['DOCKER_HOST'];
  if (fromVariables !== undefined && fromVariables !== '') {
    const tlsVerify = (environment['DOCKER_TLS_VERIFY'] ?? '') !== '';
    // Where the docker command looks for certificates when it is told to use them and not where they are.
    const usual = environment['DOCKER_CONFIG'] ?? path.join(homedir(), '.docker');
    const certPath = environment['DOCKER_CERT_PATH'] ?? (tlsVerify ? usual : undefined);
    return { host: fromVariables, ...(certPath === undefined ? {} : { certPath }), tlsVerify };
  }
  if (usesDefaultContext(environment)) return { host: defaultHost, tlsVerify: false };
  const { exitCode, stdout, stderr } = await exec.run({ argv: contextArgv(), timeout: 20_000 });
  if (exitCode !== 0) {
    throw new SafeUpdateError('engine', `The docker context cannot be read: ${stderr.trim()}`, {
      state: 'Nothing was touched.',
      hint: 'Run: docker context ls',
    });
  }
  const context = JSON.parse(stdout) as Context;
  const host = context.Endpoints?.docker?.Host ?? defaultHost;
  const hasTls = (context.TLSMaterial?.docker ?? []).length > 0;
  const tlsPath = context.Storage?.TLSPath;
  return {
    host,
    ...(hasTls && tlsPath !== undefined ? { certPath: path.join(tlsPath, 'docker') } : {}),
    tlsVerify: hasTls && context.Endpoints?.docker?.SkipTLSVerify !== true,
  };
}

const defaultHost = 'unix:///var/run/docker.sock';

/** Whether nobody has chosen a context: then the answer is known without starting the docker command. */
function usesDefaultContext(environment: Readonly<Record<string, string | undefined>>): boolean {
  if (platform() === 'win32') return false;
  if ((environment['DOCKER_CONTEXT'] ?? '') !== '') return environment['DOCKER_CONTEXT'] === 'default';
  const folder = environment['DOCKER_CONFIG'] ?? path.join(homedir(), '.docker');
  try {
    const { currentContext = '' } = JSON.parse(readFileSync(path.join(folder, 'config.json'), 'utf8')) as {
      currentContext?: string;
    };
    return currentContext === '' || currentContext === 'default';
  } catch (error) {
    // Anything else than a missing file is for the docker command to judge.
    return (error as { code?: string }).code === 'ENOENT';
  }
}

/** The variables that make the docker command use this endpoint and no context. */
export function endpointVariables(endpoint: Endpoint): Record<string, string | undefined> {
  return {
    DOCKER_HOST: endpoint.host,
    DOCKER_CONTEXT: undefined,
    DOCKER_CERT_PATH: endpoint.certPath,
    DOCKER_TLS_VERIFY: endpoint.tlsVerify === true ? '1' : undefined,
  };
}

/**
 * The same endpoint for dockerode; `timeout`, in milliseconds, is how long an answer may take to begin, and without it there
 * is no limit. Throws SafeUpdateError `engine` for a scheme it cannot speak.
 */
export function dockerodeFor(endpoint: Endpoint, timeout?: number): Docker {
  return new Dockerode({ ...addressFor(endpoint), ...(timeout === undefined ? {} : { timeout }) });
}

function addressFor(endpoint: Endpoint): Docker.DockerOptions {
  // A named pipe's \\.\ is a step to nowhere for a URL.
  const pipe = /^npipe:\/+(.+)$/.exec(endpoint.host)?.[1];
  if (pipe !== undefined) return { socketPath: `//${pipe}` };
  if (!URL.canParse(endpoint.host)) throw unknownAddress(endpoint);
  const url = new URL(endpoint.host);
  switch (url.protocol) {
    case 'unix:':
      return { socketPath: decodeURIComponent(url.pathname) };
    case 'ssh:':
      return {
        protocol: 'ssh',
        host: url.hostname,
        port: url.port === '' ? 22 : Number(url.port),
        ...(url.username === '' ? {} : { username: url.username }),
      };
    case 'tcp:':
    case 'http:':
    case 'https:': {
      const tls = endpoint.certPath;
      const port = Number(url.port === '' ? (tls === undefined ? 2375 : 2376) : url.port);
      if (tls === undefined) return { protocol: 'http', host: url.hostname, port };
      const read = (name: string): Buffer => readFileSync(path.join(tls, name));
      return {
        protocol: 'https',
        host: url.hostname,
        port,
        ca: read('ca.pem').toString(),
        cert: read('cert.pem').toString(),
        key: read('key.pem').toString(),
      };
    }
    default:
      throw unknownAddress(endpoint);
  }
}

function unknownAddress({ host }: Endpoint): SafeUpdateError {
  return new SafeUpdateError('engine', `The engine's address ${host} is of a kind that is not known.`, {
    state: 'Nothing was touched.',
    hint: 'DOCKER_HOST takes unix://, tcp:// and ssh:// addresses.',
  });
}
