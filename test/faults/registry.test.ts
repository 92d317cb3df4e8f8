/** A registry that refuses, fails, breaks off or stalls, and images that cannot be had: nothing was touched. */
import { once } from 'node:events';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { execa } from 'execa';
import { beforeAll, describe, expect, it } from 'vitest';
import { docker, imageId, testLabel } from '../e2e/docker.ts';
import { expectRefused } from '../e2e/outcomes.ts';
import { registry, releaseImage } from '../e2e/releases.ts';
import { shop, snapshot, type Stack } from '../e2e/stack.ts';

type Fault = 'none' | 401 | 429 | 500 | 'drops' | 'drops a layer' | 'stalls' | 'stalls in a layer';

/** The lab's registry by way of a proxy that can fail. Docker takes every port of 127.0.0.1 without TLS. */
interface Proxy {
  /** Where it listens, as it stands in names of images. */
  address: string;
  fault: Fault;
  /** How often it has failed. */
  faults: number;
}

async function proxy(): Promise<Proxy & { close(): void }> {
  const [host = '', port = ''] = registry.split(':');
  const state: Proxy = { address: '', fault: 'none', faults: 0 };
  const server = createServer((asked, answer) => {
    const { fault } = state;
    const isLayer = asked.method === 'GET' && asked.url?.includes('/blobs/') === true;
    const fails = fault === 'drops a layer' || fault === 'stalls in a layer' ? isLayer : fault !== 'none';
    if (fails) state.faults += 1;
    if (typeof fault === 'number') {
      const codes = { 401: 'UNAUTHORIZED', 429: 'TOOMANYREQUESTS', 500: 'UNKNOWN' } as const;
      answer.writeHead(fault, { 'content-type': 'application/json' });
      answer.end(JSON.stringify({ errors: [{ code: codes[fault], message: `it says ${fault}` }] }));
    } else if (fault === 'drops') asked.socket.destroy();
    else if (fault === 'stalls') asked.resume();
    else {
      const passed = request(
        { host, port, path: asked.url, method: asked.method, headers: { ...asked.headers, host: registry } },
        (came) => {
          answer.writeHead(came.statusCode ?? 500, came.headers);
          if (!fails) came.pipe(answer);
          else {
            came.once('data', (chunk: Buffer) => {
              answer.write(chunk.subarray(0, Math.ceil(chunk.length / 2)), () => {
                if (fault === 'drops a layer') asked.socket.destroy();
              });
              came.pause();
            });
          }
        },
      );
      passed.on('error', () => asked.socket.destroy());
      asked.pipe(passed);
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  state.address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return Object.assign(state, {
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  });
}

/** A new release with a layer that this engine does not have. Its content is random, so that no cache has it either. */
async function pushUnknown(stack: Stack): Promise<void> {
  const label = ['--label', `${testLabel}=${stack.project}`];
  const script = 'head -c 3000000 /dev/urandom >/random';
  const container = await docker([
    'create',
    ...label,
    '--user',
    '0',
    releaseImage('1.1.0'),
    'sh',
    '-c',
    script,
  ]);
  await docker(['start', '--attach', container]);
  const name = `${registry.replace('127.0.0.1', 'localhost')}/${stack.repository}:latest`;
  const config = ['USER app', 'CMD ["python3", "app.py"]'];
  await docker(['commit', ...config.flatMap((line) => ['--change', line]), container, name]);
  await docker(['rm', container]);
  await docker(['push', '--quiet', name]);
  await docker(['image', 'rm', name]);
}

let between: Awaited<ReturnType<typeof proxy>>;
let stack: Stack;

beforeAll(async () => {
  between = await proxy();
  stack = await shop({ start: false });
  const image = `${between.address}/${stack.repository}:latest`;
  await docker(['tag', releaseImage('1.0.0'), image]);
  await stack.env({ APP_IMAGE: image });
  await stack.write('safe-update.yml', 'timeouts:\n  pull: 10s\n');
  await stack.up();
  await stack.fill();
  await pushUnknown(stack);
  return () => {
    between.close();
  };
});

describe('a registry', () => {
  it.each<[Fault, RegExp]>([
    [401, /unauthorized|401/i],
    [429, /toomanyrequests|429/i],
    [500, /500|unknown/i],
    ['drops', /EOF|reset|connection/i],
    ['drops a layer', /EOF|reset|connection/i],
    ['stalls', /docker compose pull did not end within its time limit/],
    ['stalls in a layer', /docker compose pull did not end within its time limit/],
  ])('that says or does this: %s', async (fault, reason) => {
    const image = `${between.address}/${stack.repository}:latest`;
    const former = await imageId(image);
    const before = await snapshot(stack);
    between.fault = fault;
    between.faults = 0;
    const run = await stack.update();
    between.fault = 'none';
    expect(between.faults, 'it failed').toBeGreaterThan(0);
    await expectRefused(stack, before, run, { exitCode: 3, reason });
    expect(await imageId(image)).toBe(former);
    // Nothing is dumped before it is certain that there is a new image.
    if (!String(fault).endsWith('layer')) expect(run.steps).not.toContain('dump');
    expect(run.outcome?.error?.code).toBe(String(fault).startsWith('stalls') ? 'timeout' : 'compose');
  });

  it('that stalls in a layer: the databases are dumped meanwhile, and a dump that fails ends the pull', async () => {
    const before = await snapshot(stack);
    between.fault = 'stalls in a layer';
    const slow = await stack.update();
    const ends = slow.events.flatMap((event) =>
      event.type === 'step-done' || event.type === 'step-failed' ? [`${event.step} ${event.type}`] : [],
    );
    expect(ends, slow.story).toEqual([
      ...['lock step-done', 'pin step-done'],
      ...['measure step-done', 'dump step-done', 'pull step-failed'],
    ]);
    await expectRefused(stack, before, slow, { exitCode: 3, reason: /pull did not end within/ });

    const { Id } = await stack.container('db');
    const programs = '/usr/lib/postgresql/15/bin';
    await docker(['exec', '--user', '0', Id, 'mv', `${programs}/pg_dump`, `${programs}/gone`]);
    const run = await stack.update();
    await docker(['exec', '--user', '0', Id, 'mv', `${programs}/gone`, `${programs}/pg_dump`]);
    between.fault = 'none';
    expect(run.outcome?.error?.code, run.story).toBe('database');
    const pull = run.events.find((event) => event.type === 'step-failed' && event.step === 'pull');
    expect(pull).toMatchObject({ message: 'docker compose pull was interrupted.' });
    await expectRefused(stack, before, run, { exitCode: 3, reason: /pg_dump/ });
  });

  it('that works again: the same update ends well', async () => {
    const run = await stack.update();
    expect(run.exitCode, run.story).toBe(0);
    expect((await stack.get('/version')).trim()).toBe('1.1.0');
  });
});

describe('an image that cannot be had', () => {
  it('no tag of that name', async () => {
    await refuses(
      (services) => (services['app']!['image'] = `${registry}/${stack.repository}:nothing`),
      [/app.*(manifest unknown|not found)|(manifest unknown|not found).*nothing/],
    );
  });

  it('not for this machine: an index without it', async () => {
    await pushForeign(stack, 'index');
    await refuses(
      (services) => (services['app']!['image'] = `${registry}/${stack.repository}:foreign-index`),
      [/no matching manifest/],
    );
  });

  it('not for this machine: the only one that there is', async () => {
    await pushForeign(stack, 'manifest');
    await refuses(
      (services) => (services['app']!['image'] = `${registry}/${stack.repository}:foreign`),
      [/app.*is for linux\/s390x.*linux\/\w+/],
    );
  });

  it('pull_policy: never, and it is not here', async () => {
    await refuses(
      (services) => {
        services['app']!['image'] = `${stack.project}/not-here:1`;
        services['app']!['pull_policy'] = 'never';
        services['cache']!['image'] = `${stack.project}/nor-this:1`;
        services['cache']!['pull_policy'] = 'never';
      },
      [/app.*not-here:1/, /cache.*nor-this:1/],
    );
  });

  it('built here, from a Dockerfile that fails', async () => {
    await stack.write(
      'Dockerfile',
      `FROM ${releaseImage('1.1.0')}\nRUN echo this cannot be built >&2; exit 7\n`,
    );
    await refuses(
      (services) => {
        delete services['app']!['image'];
        services['app']!['build'] = '.';
      },
      [/app.*exit code: 7|exit code: 7/],
    );
  });

  async function refuses(
    change: (services: Record<string, Record<string, unknown>>) => unknown,
    reasons: RegExp[],
  ): Promise<void> {
    const good = await stack.read('compose.yaml');
    const backups = (await stack.backups()).map(({ id }) => id);
    await stack.edit(({ services }) => {
      change(services);
    });
    try {
      const before = await snapshot(stack);
      const run = await stack.update();
      for (const reason of reasons) await expectRefused(stack, before, run, { exitCode: 3, reason, backups });
      expect(run.steps).not.toContain('stop');
    } finally {
      await stack.write('compose.yaml', good);
    }
  }
});

/** An image of another machine's architecture, alone or in an index. */
async function pushForeign({ repository, project }: Stack, as: 'manifest' | 'index'): Promise<void> {
  const at = `http://${registry}/v2/${repository}/manifests`;
  const local = `${registry.replace('127.0.0.1', 'localhost')}/${repository}:foreign`;
  const { stdout: id } = await execa(
    'docker',
    ['import', '--platform', 'linux/s390x', '--change', `LABEL ${testLabel}=${project}`, '-', local],
    {
      input: Buffer.alloc(10_240),
    },
  );
  await docker(['push', '--quiet', local]);
  await docker(['image', 'rm', local]);
  expect(id).toMatch(/^sha256:/);
  if (as === 'manifest') return;
  const accept = [
    'application/vnd.docker.distribution.manifest.v2+json',
    'application/vnd.oci.image.manifest.v1+json',
  ].join();
  const found = await fetch(`${at}/foreign`, { headers: { accept } });
  const body = await found.text();
  const index = {
    schemaVersion: 2,
    mediaType: 'application/vnd.docker.distribution.manifest.list.v2+json',
    manifests: [
      {
        mediaType: found.headers.get('content-type'),
        digest: found.headers.get('docker-content-digest'),
        size: Buffer.byteLength(body),
        platform: { os: 'linux', architecture: 's390x' },
      },
    ],
  };
  const put = await fetch(`${at}/foreign-index`, {
    method: 'PUT',
    headers: { 'content-type': index.mediaType },
    body: JSON.stringify(index),
  });
  expect(put.status, await put.text()).toBe(201);
}
