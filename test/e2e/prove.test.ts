import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { networkInterfaces, tmpdir } from 'node:os';
import path from 'node:path';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { turn } from '../faults/campaign.ts';
import type { ListedBackup } from '../../src/backup/open.ts';
import type { Manifest } from '../../src/backup/manifest.ts';
import type { Proof } from '../../src/backup/proof.ts';
import { docker, dockerLines, inspectWhere, keyOf, testLabel, type Inspect } from './docker.ts';
import {
  eventually,
  expectNothingLeft,
  expectUntouched,
  shop,
  snapshot,
  type Finished,
  type RunOptions,
  type Stack,
} from './stack.ts';

const calm = ['--json', '--stable-for', '2s', '--verify-timeout', '60s'];

async function tryOut(
  of: Stack,
  id: string,
  flags: string[] = [],
  options: RunOptions = {},
): Promise<Finished> {
  return of.safeUpdate(['verify', id, '--restore', ...calm, ...flags], options);
}

async function backUp(of: Stack, ...flags: string[]): Promise<string> {
  const run = await of.safeUpdate(['backup', '--yes', ...calm, ...flags]);
  expect(run.exitCode, run.story).toBe(0);
  return run.outcome?.backup ?? '';
}

async function proofOf(of: Stack, id: string): Promise<Proof | undefined> {
  const listed = await of.safeUpdate(['backups', '--json']);
  return (JSON.parse(listed.stdout) as ListedBackup[]).find((backup) => backup.id === id)?.proof;
}

/** The test-restores that have anything on the engine, of whoever's. */
async function proofs(): Promise<string[]> {
  const filter = ['--filter', 'label=safe-update.proof', '--format', '{{.Label "safe-update.proof"}}'];
  const found = [
    ...(await dockerLines(['ps', '--all', ...filter])),
    ...(await dockerLines(['volume', 'ls', ...filter])),
    ...(await dockerLines(['network', 'ls', ...filter])),
  ];
  return [...new Set(found)];
}

/** Everything on the engine that is called after a test-restore or carries its label. */
async function tracesOf(proof: string): Promise<string[]> {
  const by = [
    ['--filter', `name=${proof}`],
    ['--filter', `label=safe-update.proof=${proof}`],
    ['--filter', `label=safe-update.project=${proof}`],
  ];
  const found: string[] = [];
  for (const filter of by) {
    found.push(
      ...(await dockerLines(['ps', '--all', '--format', '{{.Names}}', ...filter])),
      ...(await dockerLines(['volume', 'ls', '--quiet', ...filter])),
      ...(await dockerLines(['network', 'ls', '--format', '{{.Name}}', ...filter])),
    );
  }
  return [...new Set(found)];
}

/**
 * Containers, volumes and networks on the engine, of this stack and of nobody in particular: those of other stacks and
 * test-restores come and go meanwhile.
 */
async function everything(of: Stack): Promise<string[]> {
  const lines = [
    ...(await dockerLines(['ps', '--all', '--no-trunc', '--format', '{{.ID}} {{.Names}}'])),
    ...(await dockerLines(['volume', 'ls', '--format', '{{.Name}}'])),
    ...(await dockerLines(['network', 'ls', '--no-trunc', '--format', '{{.ID}} {{.Name}}'])),
  ];
  return lines.filter((line) => line.includes(of.project)).sort();
}

/** Runs something that includes a test-restore, and expects that nothing is there then that was not there before. */
async function withoutTrace<T>(of: Stack, run: () => Promise<T>): Promise<T> {
  const [engine, others] = [await everything(of), await proofs()];
  const result = await run();
  expect(await everything(of)).toEqual(engine);
  const left: string[] = [];
  for (const proof of (await proofs()).filter((one) => !others.includes(one))) {
    // Somebody else's, who is at it now.
    const [lock] = await inspectWhere(`name=^safe-update-lock-${proof}$`);
    if (lock?.Config.Labels['safe-update.proves']?.startsWith(`${of.project}/`) !== false) left.push(proof);
  }
  expect(left).toEqual([]);
  return result;
}

/** Waits at a step of a test-restore and returns its name. It is killed with the test. */
async function pausedAt(of: Stack, id: string, step: string) {
  const running = of.start(['verify', id, '--restore', ...calm], { env: { SAFE_UPDATE_PAUSE: step } });
  onTestFinished(async () => {
    running.kill('SIGKILL');
    await running.finished;
  });
  await running.until((event) => event.type === 'notice' && event.message.startsWith('Paused'));
  // Others have test-restores too, meanwhile.
  const locks = await inspectWhere('label=safe-update.proves');
  const [own] = locks.filter(({ Config }) => Config.Labels['safe-update.proves'] === `${of.project}/${id}`);
  const proof = own?.Config.Labels['safe-update.proof'] ?? '';
  expect(proof).toMatch(/^safe-update-proof-[0-9a-f]{12}$/);
  return { running, proof };
}

/** Changes a file of a backup and makes every checksum right again, as somebody would who knows how. */
async function tamper(
  of: Stack,
  id: string,
  file: string,
  change: (content: Buffer) => Buffer,
): Promise<void> {
  const folder = path.join(of.backupFolder, id);
  const changed = change(await readFile(path.join(folder, file)));
  await writeFile(path.join(folder, file), changed);
  const manifestFile = path.join(folder, 'manifest.json');
  const manifest = JSON.parse(await readFile(manifestFile, 'utf8')) as Manifest;
  for (const part of manifest.parts) {
    if (part.path === file) Object.assign(part, { bytes: changed.length, sha256: sha256(changed) });
  }
  const text = file === 'manifest.json' ? changed.toString() : `${JSON.stringify(manifest, null, 2)}\n`;
  await writeFile(manifestFile, text);
  const sums = await readFile(path.join(folder, 'SHA256SUMS'), 'utf8');
  const fixed = sums.split('\n').map((line) => {
    if (line.endsWith(`  ${file}`)) return `${sha256(file === 'manifest.json' ? text : changed)}  ${file}`;
    return line.endsWith('  manifest.json') ? `${sha256(text)}  manifest.json` : line;
  });
  await writeFile(path.join(folder, 'SHA256SUMS'), fixed.join('\n'));
}

function sha256(content: string | Buffer): string {
  return createHash('sha256').update(content).digest('hex');
}

/** Which of these addresses answer, asked from within a container that has Python. */
async function reachable(container: string, targets: readonly string[]): Promise<string[]> {
  const script = `import socket, sys
for target in sys.argv[1:]:
    host, port = target.rsplit(':', 1)
    try:
        socket.create_connection((host, int(port)), 1.5).close()
        print(target)
    except OSError:
        pass`;
  return dockerLines(['exec', container, 'python3', '-c', script, ...targets]);
}

/** Which of these addresses give an answer of HTTP, asked from within a container that has Python. */
async function answers(container: string, targets: readonly string[]): Promise<string[]> {
  const script = `import sys, urllib.request
for target in sys.argv[1:]:
    try:
        urllib.request.urlopen(target, timeout=2).read()
        print(target)
    except OSError:
        pass`;
  return dockerLines(['exec', container, 'python3', '-c', script, ...targets]);
}

function addressesOf(containers: readonly Inspect[]): string[] {
  return (
    containers as (Inspect & { NetworkSettings: { Networks: Record<string, { IPAddress: string }> } })[]
  ).flatMap(({ NetworkSettings }) =>
    Object.values(NetworkSettings.Networks).map(({ IPAddress }) => IPAddress),
  );
}

/** Runs a test-restore that must fail, and leave everything as it was. */
async function expectNotProven(of: Stack, id: string): Promise<Finished> {
  const before = await snapshot(of);
  const run = await withoutTrace(of, () => tryOut(of, id));
  expect(run.exitCode, run.story).toBe(3);
  expect(run.outcome?.result).toBe('failed');
  expectUntouched(before, await snapshot(of));
  await expectNothingLeft(of, run);
  return run;
}

describe('verify --restore', () => {
  let stack: Stack;
  let cold: string;
  let hot: string;
  beforeAll(async () => {
    stack = await shop();
    cold = await backUp(stack);
    hot = await backUp(stack, '--consistency', 'hot');
  });

  it('proves a cold backup, archives and dumps, while the stack serves on, and leaves no trace', async () => {
    await stack.post('/members?name=later&email=later@example.org');
    const before = await snapshot(stack);
    const run = await withoutTrace(stack, () => tryOut(stack, cold));
    expect(run.exitCode, run.story).toBe(0);
    expect(run.outcome).toMatchObject({ result: 'proven', backup: cold, project: stack.project });
    expect(run.outcome?.summary).toMatch(
      /^Proven: \S+ came up in .*: 3 services healthy, 3 volumes equal, 2 dumps loaded, \d+ rows in 3 tables, 4 keys in 1 database as recorded\.$/,
    );
    expectUntouched(before, await snapshot(stack));
    await expectNothingLeft(stack, run);

    const kept = await proofOf(stack, cold);
    expect(kept).toMatchObject({
      result: 'proven',
      services: ['app', 'cache', 'db'],
      without: [],
      volumes: 3,
    });
    expect(kept?.databases.map(({ service, from, differs }) => [service, from, differs])).toEqual([
      ['cache', 'archive', []],
      ['db', 'archive', []],
      ['cache', 'dump', []],
      ['db', 'dump', []],
    ]);
    expect((await stack.safeUpdate(['backups'])).stdout).toMatch(new RegExp(`${cold}.*proven 20`));
    expect((await stack.safeUpdate(['show', cold])).stdout).toContain('proven 20');
    expect((await stack.safeUpdate(['show', hot])).stdout).toContain(`safe-update verify ${hot} --restore`);
    expect((await stack.safeUpdate(['verify', cold])).exitCode).toBe(0);
  });

  it.runIf(turn(0, 3))('proves a hot backup from its dumps, and says it in plain words', async () => {
    const before = await snapshot(stack);
    const run = await withoutTrace(stack, () =>
      stack.safeUpdate(['verify', hot, '--restore', ...calm.slice(1)]),
    );
    expect(run.exitCode, run.story).toBe(0);
    expect((run.stdout + run.stderr).replace(/\s+/g, ' ')).toMatch(
      /Proven: \S+ came up in .*: 3 services healthy, 3 volumes filled, 2 dumps loaded/,
    );
    expectUntouched(before, await snapshot(stack));
    expect((await proofOf(stack, hot))?.databases.map(({ from }) => from)).toEqual(['dump', 'dump']);
  });

  it.runIf(turn(1, 3))(
    'needs neither the project nor its files, and leaves out what it is told to',
    async () => {
      const folder = await mkdtemp(path.join(tmpdir(), 'elsewhere-'));
      onTestFinished(() => rm(folder, { recursive: true }));
      const flags = ['--backups', path.dirname(stack.backupFolder), '--without', 'app'];
      const run = await tryOut(stack, cold, flags, { cwd: folder });
      expect(run.exitCode, run.story).toBe(0);
      const kept = await proofOf(stack, cold);
      expect(kept).toMatchObject({ result: 'proven', services: ['cache', 'db'], without: ['app'] });
      expect((await stack.safeUpdate(['backups'])).stdout).toContain('proven without app');
      const unknown = await tryOut(stack, cold, ['--without', 'nobody']);
      expect(unknown.exitCode, unknown.story).toBe(2);
    },
  );

  it.runIf(turn(2, 3))('retention keeps the last proven one, and what is being tried now', async () => {
    const other = await backUp(stack, '--consistency', 'hot');
    const { running } = await pausedAt(stack, other, 'data');
    const newest = await backUp(stack, '--consistency', 'hot');
    // Only where the test that has proven it had its turn.
    await rm(path.join(stack.backupFolder, hot, 'proven.json'), { force: true });
    const run = await stack.safeUpdate(['prune', '--keep', '1', '--dry-run', '--json']);
    expect(JSON.parse(run.stdout)).toEqual({ removed: [hot], dryRun: true });
    running.kill('SIGKILL');
    await running.finished;
    expect((await stack.safeUpdate(['recover', ...calm])).exitCode).toBe(0);
    const after = await stack.safeUpdate(['prune', '--keep', '1', '--json']);
    expect(JSON.parse(after.stdout)).toEqual({ removed: [hot, other], dryRun: false });
    expect((await stack.backups()).map(({ id }) => id)).toEqual([cold, newest]);
  });
});

describe('a test-restore that is under way', () => {
  it.runIf(turn(0, 2))(
    'has no way to the stack it is of, to the host, or to the world, and is removed after a kill',
    async () => {
      const stack = await shop({
        edit: (model) => {
          const app = model.services['app']!;
          app['container_name'] = 'PROJECT-the-app';
          app['labels'] = {
            'traefik.enable': 'true',
            'traefik.http.routers.shop.rule': 'Host(`shop.example.org`)',
          };
          app['networks'] = ['default', 'proxy'];
          (app['volumes'] as string[]).push(
            '/var/run/docker.sock:/var/run/docker.sock',
            './notice.txt:/notice.txt',
            '/app/anonymous',
          );
          app['cap_add'] = ['NET_ADMIN'];
          model.services['beside'] = {
            ...{ image: app['image'], entrypoint: ['sleep', '600'], init: true },
            ...{ network_mode: 'service:app', pid: 'service:app' },
          };
          model['networks'] = { default: {}, proxy: { name: 'PROJECT-proxy', external: true } };
        },
        start: false,
      });
      await stack.write('notice.txt', 'read me\n');
      await stack.write(
        'compose.yaml',
        (await stack.read('compose.yaml')).replaceAll('PROJECT', stack.project),
      );
      await docker([
        'network',
        'create',
        '--label',
        `${testLabel}=${stack.project}`,
        `${stack.project}-proxy`,
      ]);
      await stack.up();
      await stack.fill();
      const backup = await backUp(stack);
      const before = await snapshot(stack);
      const engine = await everything(stack);

      const { running, proof } = await pausedAt(stack, backup, 'proven');
      const doubles = await inspectWhere(`label=com.docker.compose.project=${proof}`);
      expect(doubles.map(keyOf).sort()).toEqual(['app-1', 'beside-1', 'cache-1', 'db-1']);
      const beside = doubles.find((double) => keyOf(double) === 'beside-1')!;
      const app = doubles.find((double) => keyOf(double) === 'app-1')!;
      expect(
        Object.keys(app.Config.Labels).filter(
          (label) => !/^(com\.docker\.compose|safe-update)\./.test(label),
        ),
      ).toEqual([]);
      expect(
        app.Mounts.filter(({ RW }) => RW).map(({ Type, Name = '' }) => [Type, Name.startsWith(`${proof}_`)]),
      ).toEqual([
        ['volume', true],
        ['volume', true],
      ]);
      expect(app.Mounts.filter(({ RW }) => !RW).map(({ Destination }) => Destination)).toEqual([
        '/notice.txt',
      ]);
      await expect(docker(['exec', app.Id, 'sh', '-c', 'echo x > /notice.txt'])).rejects.toThrow('Read-only');
      expect(await docker(['exec', app.Id, 'cat', '/notice.txt'])).toBe('read me');

      // Every address that the live stack, the host and its gateways have.
      const others = addressesOf(await stack.containers());
      const host = Object.values(networkInterfaces()).flatMap((all) =>
        (all ?? []).flatMap(({ family, address }) =>
          family === 'IPv4' && !address.startsWith('127.') ? [address] : [],
        ),
      );
      const own = addressesOf(doubles).map((address) => address.replace(/\.\d+$/, '.1'));
      const proofNetwork = JSON.parse(await docker(['network', 'inspect', `${proof}_net0`])) as unknown;
      expect(proofNetwork).toMatchObject([
        { Internal: true, Options: { 'com.docker.network.bridge.inhibit_ipv4': 'true' } },
      ]);
      const targets = [
        ...others.flatMap((address) => [8000, 5432, 6379].map((port) => `${address}:${port}`)),
        ...[...host, ...own].map((address) => `${address}:${stack.port}`),
        ...['host.docker.internal', 'example.org', `${stack.project}-the-app-2`].map((name) => `${name}:80`),
        ...['1.1.1.1:53', '8.8.8.8:53'],
      ];
      // What the live application reaches of these, so that this can fail at all.
      const controls = await reachable((await stack.container('app')).Id, targets);
      expect(controls.length).toBeGreaterThan(4);
      expect(controls).toContain(`${host[0] ?? ''}:${stack.port}`);
      expect(await reachable(app.Id, targets)).toEqual([]);
      expect(
        await reachable(app.Id, ['db:5432', 'cache:6379', `${stack.project}-the-app:8000`]),
      ).toHaveLength(3);
      const all = await dockerLines([
        'ps',
        '--format',
        '{{.Ports}}',
        '--filter',
        `label=safe-update.proof=${proof}`,
      ]);
      expect(all.join()).not.toContain('->');
      expect(await reachable(beside.Id, [...targets, '127.0.0.1:8000'])).toEqual(['127.0.0.1:8000']);
      // Nor the other way: nothing that is meant for the live stack is answered by its double.
      const doubled = addressesOf([app]).map((address) => `http://${address}:8000/members`);
      const { Id: live } = await stack.container('app');
      expect(await answers(live, ['http://127.0.0.1:8000/members'])).toHaveLength(1);
      expect(await answers(live, doubled)).toEqual([]);
      expect(await answers(app.Id, doubled)).toHaveLength(doubled.length);

      // Somebody else's command takes nothing from one that is alive.
      expect((await stack.safeUpdate(['recover', ...calm])).exitCode).toBe(0);
      expect(
        (await inspectWhere(`label=com.docker.compose.project=${proof}`)).map(({ State }) => State.Running),
      ).toEqual([true, true, true, true]);
      expectUntouched(before, await snapshot(stack));

      running.kill('SIGKILL');
      await running.finished;
      expect(await tracesOf(proof)).not.toEqual([]);
      const again = await tryOut(stack, backup);
      expect(again.exitCode, again.story).toBe(0);
      expect(again.story).toContain(`left was removed: ${proof}`);
      expect(again.story).toContain('app is tried without /var/run/docker.sock: it is of the machine.');
      expect(again.story).toMatch(/app is tried without: (CAP_)?NET_ADMIN\./);
      expect(await tracesOf(proof)).toEqual([]);
      expect(await everything(stack)).toEqual(engine);
      expectUntouched(before, await snapshot(stack));
      await expectNothingLeft(stack, again);
    },
  );

  it.runIf(turn(1, 2))('removes every trace when it is interrupted', async () => {
    const stack = await shop();
    const backup = await backUp(stack);
    for (const step of ['data', 'up', 'dumps']) {
      const run = await withoutTrace(stack, async () => {
        const running = stack.start(['verify', backup, '--restore', ...calm]);
        await running.step(step);
        running.kill('SIGTERM');
        return running.finished;
      });
      expect(run.exitCode, run.story).toBe(143);
      expect(run.outcome?.error).toMatchObject({
        code: 'interrupted',
        state: expect.stringContaining('Every trace of the test-restore was removed') as string,
      });
      await expectNothingLeft(stack, run);
    }
    expect(await proofOf(stack, backup)).toBeUndefined();
  });

  it('removes no volume but its own: none without its label, none of another name, none in use', async () => {
    const stack = await shop();
    const backup = await backUp(stack);
    const mine = ['--label', `${testLabel}=${stack.project}`];
    const named = 'safe-update-proof-aaaaaaaaaaaa_0';
    const forged = `${stack.project}-data`;
    const twice = 'safe-update-proof-cccccccccccc_1';
    await docker(['volume', 'create', ...mine, named]);
    await docker([
      'volume',
      'create',
      ...mine,
      '--label',
      'safe-update.proof=safe-update-proof-bbbbbbbbbbbb',
      forged,
    ]);
    await docker([
      'volume',
      'create',
      ...mine,
      '--label',
      'safe-update.proof=safe-update-proof-dddddddddddd',
      twice,
    ]);
    const { running, proof } = await pausedAt(stack, backup, 'data');
    running.kill('SIGKILL');
    await running.finished;
    const used = `${proof}_0`;
    const image = (await stack.container('cache')).Image;
    const user = `${stack.project}-user`;
    await docker([
      'run',
      '--detach',
      '--name',
      user,
      ...mine,
      '--volume',
      `${used}:/data`,
      image,
      'sleep',
      '300',
    ]);

    const first = await stack.safeUpdate(['recover', ...calm]);
    expect(first.exitCode, first.story).toBe(0);
    expect(first.story).toContain('volume is in use');
    const volumes = await dockerLines(['volume', 'ls', '--quiet']);
    expect(volumes).toEqual(expect.arrayContaining([named, forged, twice, used]));

    await docker(['rm', '--force', user]);
    const second = await stack.safeUpdate(['recover', ...calm]);
    expect(second.exitCode, second.story).toBe(0);
    const left = await dockerLines(['volume', 'ls', '--quiet']);
    expect(left).toEqual(expect.arrayContaining([named, forged, twice]));
    expect(await tracesOf(proof)).toEqual([]);
    for (const name of [named, forged, twice]) await docker(['volume', 'rm', name]);
  });
});

describe('a backup that does not come up', () => {
  let stack: Stack;
  beforeAll(async () => {
    stack = await shop();
  });

  it('is not proven where a part is damaged', async () => {
    const id = await backUp(stack, '--consistency', 'hot');
    const file = path.join(stack.backupFolder, id, 'volumes', `${stack.project}_uploads.tar.zst`);
    const content = await readFile(file);
    content[content.length >> 1]! ^= 1;
    await writeFile(file, content);
    const run = await expectNotProven(stack, id);
    expect(run.outcome?.error?.code).toBe('damaged');
    expect(run.steps).not.toContain('make');
    expect(await proofOf(stack, id)).toMatchObject({
      result: 'failed',
      reason: expect.stringContaining('uploads') as string,
    });
    expect((await stack.safeUpdate(['backups'])).stdout).toMatch(new RegExp(`${id}.*failed 20`));
  });

  it.runIf(turn(0, 3))(
    'is not proven where an archive holds something else than its list says, with every checksum right',
    async () => {
      const [id, other] = [await backUp(stack), await backUp(stack)];
      const name = `volumes/${stack.project}_uploads.tar.zst`;
      const archive = await readFile(
        path.join(stack.backupFolder, other, `volumes/${stack.project}_cache_data.tar.zst`),
      );
      await tamper(stack, id, name, () => archive);
      const run = await expectNotProven(stack, id);
      expect(run.outcome?.error?.message).toContain('is not equal to its backup');
    },
  );

  it.runIf(turn(1, 3))(
    'is not proven where only the dump is bad, which a restore would not need',
    async () => {
      const id = await backUp(stack);
      const before = await readFile(path.join(stack.backupFolder, id, 'manifest.json'), 'utf8');
      const { databases } = JSON.parse(before) as Manifest;
      const [dump = ''] = databases.find(({ service }) => service === 'cache')?.parts ?? [];
      // Without its end mark, which eight bytes of checksum follow: that it is not whole is then no matter of chance.
      await tamper(stack, id, dump, (content) => content.fill(0, content.length - 9));
      const run = await expectNotProven(stack, id);
      expect(run.steps).toContain('dumps');
      expect(run.outcome?.error?.message).toContain('The Redis dump cannot be put back');
      expect(await proofOf(stack, id)).toMatchObject({ result: 'failed' });
    },
  );

  it.runIf(turn(2, 3))('is not proven where something is not there that was counted', async () => {
    const id = await backUp(stack);
    await tamper(stack, id, 'manifest.json', (content) => {
      const manifest = JSON.parse(content.toString()) as Manifest;
      const counts = manifest.databases.find(({ service }) => service === 'db')?.fingerprint?.counts;
      Object.assign(counts ?? {}, { 'shop.public.invoices': 40 });
      return Buffer.from(JSON.stringify(manifest));
    });
    const run = await expectNotProven(stack, id);
    expect(run.outcome?.error?.message).toContain('shop.public.invoices is gone (it had 40 rows)');
    expect(run.steps).not.toContain('up');
    expect(run.outcome?.error?.state).toContain('Every trace of the test-restore was removed.');
  });

  it('is refused, and nothing kept about it, where an image is missing', async () => {
    const id = await backUp(stack, '--consistency', 'hot');
    const { Image } = await stack.container('app');
    await tamper(stack, id, 'config/engine.json', (content) =>
      Buffer.from(content.toString().replaceAll(Image, `sha256:${'0'.repeat(64)}`)),
    );
    const run = await expectNotProven(stack, id);
    expect(run.outcome?.error?.code).toBe('refused');
    expect(run.outcome?.error?.message).toContain('(000000000000)');
    expect(run.outcome?.error?.hint).toContain('docker pull ');
    expect(run.steps).not.toContain('make');
    expect(await proofOf(stack, id)).toBeUndefined();
  });

  it.runIf(turn(0, 3))(
    'says the last words of a service that needs what it cannot reach; without it the backup is proven',
    async () => {
      const needy = await shop({
        edit: (model) => {
          model.services['mail'] = {
            image: model.services['app']!['image'],
            entrypoint: ['sh', '-c', 'echo looking for somebody outside; exec sleep 600'],
            healthcheck: {
              test: ['CMD', 'python3', '-c', "import socket; socket.create_connection(('gate', 80), 2)"],
              // What it looks for comes up after it.
              ...{ interval: '1s', timeout: '3s', retries: 10 },
            },
            extra_hosts: ['gate:host-gateway'],
          };
          // Something of the host that answers.
          const check = model.services['mail']['healthcheck'] as { test: string[] };
          check.test[3] =
            "import socket, os; socket.create_connection(('gate', int(os.environ['APP_PORT'])), 2)";
          model.services['mail']['environment'] = { APP_PORT: '${APP_PORT}' };
        },
      });
      await eventually(async () => {
        expect((await needy.container('mail')).State.Health?.Status).toBe('healthy');
      });
      const id = await backUp(needy, '--consistency', 'hot');
      const run = await expectNotProven(needy, id);
      expect(run.outcome?.error?.code).toBe('unhealthy');
      expect(run.outcome?.error?.message).toMatch(
        /mail-1 is unhealthy[^]*last words of mail:[^]*looking for somebody outside/,
      );
      expect(run.outcome?.error?.hint).toContain('--without SERVICE');
      expect((await proofOf(needy, id))?.reason).not.toContain('somebody');
      const without = await tryOut(needy, id, ['--without', 'mail']);
      expect(without.exitCode, without.story).toBe(0);
      expect(await proofOf(needy, id)).toMatchObject({ result: 'proven', without: ['mail'] });
    },
  );
});
