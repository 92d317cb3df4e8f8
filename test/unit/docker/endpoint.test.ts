import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import path from 'node:path';
import type Docker from 'dockerode';
import { afterAll, describe, expect, it } from 'vitest';
import { dockerodeFor, endpointVariables, resolveEndpoint } from '../../../src/docker/endpoint.ts';
import { fakeExec } from './fake-exec.ts';

function contextExec(context: unknown) {
  return fakeExec(() => ({ stdout: `${JSON.stringify(context)}\n` }));
}

describe('resolveEndpoint', () => {
  it('takes DOCKER_HOST before any context, and asks nobody then', async () => {
    const exec = contextExec({ Endpoints: { docker: { Host: 'tcp://elsewhere:2375' } } });
    const endpoint = await resolveEndpoint(exec, {
      DOCKER_HOST: 'ssh://admin@example.org',
      DOCKER_CONTEXT: 'other',
    });
    expect(endpoint).toEqual({ host: 'ssh://admin@example.org', tlsVerify: false });
    expect(exec.commands).toEqual([]);
  });

  it('takes certificates with DOCKER_HOST', async () => {
    const environment = {
      DOCKER_HOST: 'tcp://example.org:2376',
      DOCKER_CERT_PATH: '/certs',
      DOCKER_TLS_VERIFY: '1',
    };
    expect(await resolveEndpoint(fakeExec(), environment)).toEqual({
      host: 'tcp://example.org:2376',
      certPath: '/certs',
      tlsVerify: true,
    });
  });

  it.each([
    [{}, path.join(homedir(), '.docker')],
    [{ DOCKER_CONFIG: '/etc/docker-cli' }, '/etc/docker-cli'],
  ])(
    'looks for certificates where docker does when it is only told to verify: %j',
    async (more, certPath) => {
      const environment = { DOCKER_HOST: 'tcp://example.org:2376', DOCKER_TLS_VERIFY: '1', ...more };
      expect(await resolveEndpoint(fakeExec(), environment)).toMatchObject({ certPath, tlsVerify: true });
    },
  );

  /** The environment of somebody whose docker has this configuration file. */
  const configured = (text?: string): { DOCKER_CONFIG: string } => {
    const DOCKER_CONFIG = mkdtempSync(path.join(tmpdir(), 'safe-update-endpoint-'));
    folders.push(DOCKER_CONFIG);
    if (text !== undefined) writeFileSync(path.join(DOCKER_CONFIG, 'config.json'), text);
    return { DOCKER_CONFIG };
  };
  const folders: string[] = [];
  afterAll(() => {
    for (const folder of folders) rmSync(folder, { recursive: true });
  });

  it.each([
    configured(),
    configured('{"auths":{}}'),
    configured('{"currentContext":"default"}'),
    { DOCKER_CONTEXT: 'default', ...configured('{"currentContext":"prod"}') },
  ])('asks nobody where no context was chosen: %j', async (environment) => {
    const exec = fakeExec();
    expect(await resolveEndpoint(exec, environment)).toEqual({
      host: 'unix:///var/run/docker.sock',
      tlsVerify: false,
    });
    expect(exec.commands).toEqual([]);
  });

  it.each([
    { ...configured('{"currentContext":"rootless"}'), DOCKER_HOST: '' },
    configured('what is no JSON'),
    { ...configured(), DOCKER_CONTEXT: 'prod' },
  ])('asks docker for the current context: %j', async (environment) => {
    const exec = contextExec({ Endpoints: { docker: { Host: 'unix:///run/user/1000/docker.sock' } } });
    expect(await resolveEndpoint(exec, environment)).toEqual({
      host: 'unix:///run/user/1000/docker.sock',
      tlsVerify: false,
    });
    expect(exec.commands.map(({ argv }) => argv)).toEqual([
      ['docker', 'context', 'inspect', '--format', '{{json .}}'],
    ]);
  });

  describe('given a context that docker keeps on disk', () => {
    const kept = (meta: unknown, more: { tls?: boolean } = {}): { DOCKER_CONFIG: string } => {
      const environment = configured('{"currentContext":"rootless"}');
      const contexts = path.join(environment.DOCKER_CONFIG, 'contexts');
      for (const [id, text] of [
        ['0a', JSON.stringify({ Name: 'other', Endpoints: { docker: { Host: 'unix:///other.sock' } } })],
        ['1b', JSON.stringify(meta)],
      ] as const) {
        mkdirSync(path.join(contexts, 'meta', id), { recursive: true });
        writeFileSync(path.join(contexts, 'meta', id, 'meta.json'), text);
      }
      if (more.tls === true) mkdirSync(path.join(contexts, 'tls', '1b'), { recursive: true });
      return environment;
    };
    const on = (Host: string, Name = 'rootless'): unknown => ({ Name, Endpoints: { docker: { Host } } });

    it("asks nobody for one on this machine's own socket", async () => {
      const exec = fakeExec();
      const environment = kept(on('unix:///run/user/1000/docker.sock'));
      expect(await resolveEndpoint(exec, environment)).toEqual({
        host: 'unix:///run/user/1000/docker.sock',
        tlsVerify: false,
      });
      expect(exec.commands).toEqual([]);
    });

    it.each([
      ['elsewhere', kept(on('tcp://example.org:2376'))],
      ['with certificates', kept(on('unix:///run/docker.sock'), { tls: true })],
      ['that is not there', kept(on('unix:///run/docker.sock', 'another'))],
      ['that is kept in another way', kept({ Name: 'rootless' })],
    ])('asks docker for one %s', async (_, environment) => {
      const exec = contextExec({ Endpoints: { docker: { Host: 'tcp://example.org:2375' } } });
      expect(await resolveEndpoint(exec, environment)).toMatchObject({ host: 'tcp://example.org:2375' });
      expect(exec.commands).toHaveLength(1);
    });
  });

  it("finds a context's certificates", async () => {
    const context = {
      Endpoints: { docker: { Host: 'tcp://example.org:2376', SkipTLSVerify: false } },
      TLSMaterial: { docker: ['ca.pem', 'cert.pem', 'key.pem'] },
      Storage: { TLSPath: '/home/ada/.docker/contexts/tls/0f3c' },
    };
    expect(await resolveEndpoint(contextExec(context), { DOCKER_CONTEXT: 'prod' })).toEqual({
      host: 'tcp://example.org:2376',
      certPath: '/home/ada/.docker/contexts/tls/0f3c/docker',
      tlsVerify: true,
    });
    context.Endpoints.docker.SkipTLSVerify = true;
    expect(await resolveEndpoint(contextExec(context), { DOCKER_CONTEXT: 'prod' })).toMatchObject({
      tlsVerify: false,
    });
  });

  it('takes the usual socket where the context names none', async () => {
    expect(await resolveEndpoint(contextExec({}), { DOCKER_CONTEXT: 'prod' })).toEqual({
      host: 'unix:///var/run/docker.sock',
      tlsVerify: false,
    });
  });

  it('says when the context cannot be read', async () => {
    const exec = fakeExec(() => ({ exitCode: 1, stderr: 'context "prod" does not exist\n' }));
    await expect(resolveEndpoint(exec, { DOCKER_CONTEXT: 'prod' })).rejects.toMatchObject({
      code: 'engine',
      message: expect.stringContaining('context "prod" does not exist') as string,
      state: 'Nothing was touched.',
    });
  });
});

describe('endpointVariables', () => {
  // Strictly: a variable that is not named would be inherited; one that is undefined is taken away.
  it('gives docker the same endpoint, and takes away what could lead elsewhere', () => {
    expect(
      endpointVariables({ host: 'tcp://example.org:2376', certPath: '/certs', tlsVerify: true }),
    ).toStrictEqual({
      DOCKER_HOST: 'tcp://example.org:2376',
      DOCKER_CONTEXT: undefined,
      DOCKER_CERT_PATH: '/certs',
      DOCKER_TLS_VERIFY: '1',
    });
    expect(endpointVariables({ host: 'unix:///var/run/docker.sock', tlsVerify: false })).toStrictEqual({
      DOCKER_HOST: 'unix:///var/run/docker.sock',
      DOCKER_CONTEXT: undefined,
      DOCKER_CERT_PATH: undefined,
      DOCKER_TLS_VERIFY: undefined,
    });
  });
});

describe('dockerodeFor', () => {
  const certificates = mkdtempSync(path.join(tmpdir(), 'certificates-'));
  for (const name of ['ca', 'cert', 'key'])
    writeFileSync(path.join(certificates, `${name}.pem`), `the ${name}`);
  afterAll(() => {
    rmSync(certificates, { recursive: true });
  });

  const modemOf = (docker: Docker): Record<string, unknown> =>
    docker.modem as unknown as Record<string, unknown>;

  it.each([
    ['unix:///var/run/docker.sock', { socketPath: '/var/run/docker.sock' }],
    ['unix:///run/a%20b/docker.sock', { socketPath: '/run/a b/docker.sock' }],
    ['tcp://example.org:4243', { protocol: 'http', host: 'example.org', port: 4243 }],
    ['tcp://example.org', { protocol: 'http', host: 'example.org', port: 2375 }],
    ['ssh://ada@example.org:2222', { protocol: 'ssh', host: 'example.org', port: 2222, username: 'ada' }],
    ['ssh://example.org', { protocol: 'ssh', host: 'example.org', port: 22 }],
    ['npipe:////./pipe/docker_engine', { socketPath: '//./pipe/docker_engine' }],
  ])('%s', (host, expected) => {
    expect(modemOf(dockerodeFor({ host }))).toMatchObject(expected);
  });

  it('speaks TLS where there are certificates', () => {
    expect(
      modemOf(dockerodeFor({ host: 'tcp://example.org', certPath: certificates, tlsVerify: true })),
    ).toMatchObject({
      ...{
        protocol: 'https',
        host: 'example.org',
        port: 2376,
        ca: 'the ca',
        cert: 'the cert',
        key: 'the key',
      },
    });
  });

  it('refuses what it cannot speak', () => {
    expect(() => dockerodeFor({ host: 'fd://' })).toThrow('of a kind that is not known');
  });
});
