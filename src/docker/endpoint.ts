import { readFileSync } from 'node:fs';
import path from 'node:path';
import type Docker from 'dockerode';
import { SafeUpdateError } from '../model/error.ts';
import type { Endpoint } from '../model/project.ts';
import { contextArgv } from './argv.ts';
import { defaultHost, endpointAtHand } from './context.ts';
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
  const known = endpointAtHand(environment);
  if (known !== undefined) return known;
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
