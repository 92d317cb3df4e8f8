import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { keepApprovals } from '../../src/cli/guard/approvals.ts';
import { small } from '../faults/small.ts';
import { spellings } from '../unit/guard/spellings.ts';
import { docker, dockerLines, eventually } from './docker.ts';
import { expectRolledBack } from './outcomes.ts';
import { ownEngine, type OwnEngine } from './second-engine.ts';
import { buildImage, keeper, mountAt, shell } from './stack-small.ts';
import { expectNothingLeft, project, quick, snapshot, type Stack } from './stack.ts';

const program = fileURLToPath(new URL('../../src/bin.ts', import.meta.url));

/** The engine of the machine looks into the same folder: it must not find this one by the usual name. */
const name = `safe-update-guard-${randomBytes(4).toString('hex')}`;
const socket = `/run/docker/plugins/${name}.sock`;

const image = 'debian:bookworm-slim';

let engine: OwnEngine;
let folder: string;
let plugin: { process: ReturnType<typeof start>; log: string[] };

const at = (file: string): string => path.join(folder, file);

async function guard(...words: string[]) {
  return execa(process.execPath, [program, 'guard', ...words], { reject: false, stdin: 'ignore' });
}

const there = (plugin = name): string[] => [
  ...['--name', plugin, '--host', engine.env.DOCKER_HOST, '--daemon-json', at('daemon.json')],
  ...['--pidfile', path.join(path.dirname(engine.dataRoot), 'pid')],
];

function start(plugin = name, ...more: string[]) {
  const words = ['guard', 'serve', '--name', plugin, '--host', engine.env.DOCKER_HOST, ...more];
  return execa(
    process.execPath,
    [program, ...words, '--rules', at('guard.yml'), '--approvals', at('approvals')],
    { reject: false, stdin: 'ignore', stdout: 'ignore', buffer: false },
  );
}

async function serve(): Promise<void> {
  const child = start();
  const log: string[] = [];
  plugin = { process: child, log };
  void (async () => {
    for await (const line of child.iterable({ from: 'stderr' })) log.push(line);
  })().catch(() => undefined);
  await eventually(async () => {
    expect(log.join('\n')).toContain(`listening at ${socket}`);
  });
}

/** Sends a request as it is written, and returns what came back. */
async function send(
  method: string,
  target: string,
  more: readonly string[] = [],
): Promise<{ status: number; body: string }> {
  const { stdout } = await execa('curl', [
    ...['--silent', '--max-time', '60', '--path-as-is', '--write-out', '\n%{http_code}'],
    ...['--unix-socket', engine.env.DOCKER_HOST.slice('unix://'.length)],
    ...['--request', method, '--request-target', target, ...more, 'http://docker/'],
  ]);
  const [body = '', status = ''] = stdout.split(/\n(?=\d+$)/);
  return { status: Number(status), body };
}

async function rules(text: string): Promise<void> {
  await writeFile(at('guard.yml'), text, { mode: 0o600 });
}

/** Where compose finds the stack by itself. */
function placeOf(stack: Stack): { cwd: string; env: Record<string, string> } {
  return { cwd: stack.directory, env: { COMPOSE_PROJECT_NAME: stack.project } };
}

/** Runs the docker command, which must be refused by the guard. */
async function expectDenied(words: readonly string[], stack?: Stack): Promise<string> {
  const { exitCode, stdout, stderr } = await execa('docker', [...words], {
    reject: false,
    stdin: 'ignore',
    ...(stack === undefined ? {} : placeOf(stack)),
  });
  expect(exitCode, `${words.join(' ')}: ${stdout}`).not.toBe(0);
  expect(stderr).toMatch(/denied by plugin safe-update-guard-\w+: refused by safe-update guard/);
  return stderr;
}

const volumes = (): Promise<string[]> => dockerLines(['volume', 'ls', '--quiet']);

/** A stack with a named and an anonymous volume, both with something in them. */
async function keeping({ anonymous = true } = {}): Promise<{ stack: Stack; kept: string[] }> {
  const stack = await project({ 'compose.yaml': '' });
  lookAwayAfterwards();
  const built = await buildImage(stack, 'keep', keeper());
  const places = ['state:/state', ...(anonymous ? ['/loose'] : [])];
  await stack.write(
    'compose.yaml',
    `services:
  keep:
    image: ${built}
    init: true
    stop_grace_period: 1s
    volumes: ${JSON.stringify(places)}
volumes:
  state:
`,
  );
  await stack.up();
  const container = await stack.container('keep');
  const paths = ['/state', ...(anonymous ? ['/loose'] : [])];
  for (const place of paths) await shell(container, `echo precious >${place}/file`);
  return { stack, kept: paths.map((place) => mountAt(container, place)) };
}

async function expectKept(kept: readonly string[]): Promise<void> {
  for (const volume of kept) {
    const text = await docker(['run', '--rm', '-v', `${volume}:/v:ro`, image, 'cat', '/v/file']);
    expect(text).toBe('precious');
  }
}

/** What tests leave is removed while nothing is guarded. */
function lookAwayAfterwards(): void {
  onTestFinished(() => rules('policy: off\n'));
}

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'e2e-guard-'));
  await writeFile(at('daemon.json'), '{\n    "debug": false,\n    "log-level": "info"\n}\n');
  await rules('policy: block\n');
  const started = await ownEngine({ flags: ['--config-file', at('daemon.json')] });
  if (typeof started === 'string') throw new Error(`an engine of its own is needed: ${started}`);
  engine = started;
});
afterAll(async () => {
  plugin.process.kill('SIGTERM');
  await plugin.process;
  await engine.end();
  await rm(folder, { recursive: true, force: true });
});
beforeEach(async () => {
  await rules('policy: block\n');
});

describe('guard install engine', () => {
  it('does not touch daemon.json as long as the plugin does not answer', async () => {
    const before = await readFile(at('daemon.json'), 'utf8');
    const run = await guard('install', 'engine', '--yes', ...there());
    expect(run.exitCode, run.stderr).toBe(3);
    expect(run.stderr).toContain('The plugin does not answer at');
    expect(run.stderr).toContain('Start it first');
    expect(await readFile(at('daemon.json'), 'utf8')).toBe(before);
  });

  it('adds the plugin, reloads dockerd, and is refused the deletion of a volume that cannot exist', async () => {
    await serve();
    expect((await stat(socket)).mode & 0o777).toBe(0o600);
    const run = await guard('install', 'engine', '--yes', ...there());
    expect(run.exitCode, run.stderr + run.stdout).toBe(0);
    expect(run.stdout).toContain('~safe-update-guard-canary" was refused through it');
    expect(await readFile(at('daemon.json'), 'utf8')).toBe(
      `{\n    "debug": false,\n    "log-level": "info",\n    "authorization-plugins": [\n        "${name}"\n    ]\n}\n`,
    );
  });

  it('does nothing the second time', async () => {
    const before = await readFile(at('daemon.json'), 'utf8');
    const run = await guard('install', 'engine', '--yes', ...there());
    expect(run.exitCode, run.stderr).toBe(0);
    expect(run.stdout).toContain('already installed');
    expect(await readFile(at('daemon.json'), 'utf8')).toBe(before);
  });
});

describe('under the plugin', () => {
  it('`docker compose down -v` ends before it has removed anything where there is an anonymous volume', async () => {
    const { stack, kept } = await keeping();
    const stderr = await expectDenied(['compose', 'down', '-v'], stack);
    expect(stderr).toContain(
      `(rm-volumes); would lose the anonymous volumes of the containers (project ${stack.project})`,
    );
    expect(await stack.containers()).toHaveLength(1);
    await expectKept(kept);
    await stack.up();
    expect(await shell(await stack.container('keep'), 'cat /state/file /loose/file')).toBe(
      'precious\nprecious',
    );
  });

  it('`docker compose down -v` has removed containers, but no volume, where all volumes have names', async () => {
    const { stack, kept } = await keeping({ anonymous: false });
    const stderr = await expectDenied(['compose', 'down', '-v'], stack);
    expect(stderr).toContain(`would lose the volume ${kept[0]!} (project ${stack.project})`);
    expect(await stack.containers()).toHaveLength(0);
    await expectKept(kept);
    await stack.up();
    expect(await shell(await stack.container('keep'), 'cat /state/file')).toBe('precious');
  });

  it('every other docker command that deletes volumes is refused, and they are all there', async () => {
    const { stack, kept } = await keeping();
    await stack.compose(['stop']);
    const { Name } = await stack.container('keep');
    for (const words of [
      ['volume', 'rm', kept[0]!],
      ['volume', 'rm', '-f', ...kept],
      ['volume', 'prune', '-f'],
      ['volume', 'prune', '-f', '-a'],
      ['rm', '-v', Name.slice(1)],
      ['container', 'rm', '-fv', Name.slice(1)],
      ['compose', 'rm', '-fsv'],
    ])
      await expectDenied(words, stack);
    await expectKept(kept);
    // Asks for volumes only after it has removed the containers.
    await expectDenied(['system', 'prune', '-f', '--volumes']);
    await expectKept(kept);
    expect(plugin.log.filter((line) => line.includes('volume-prune')).length).toBeGreaterThanOrEqual(3);
  });

  it.each(spellings)('$method $target loses nothing', async ({ method, target, deletes }) => {
    lookAwayAfterwards();
    await docker(['volume', 'create', 'VV']);
    await docker(['rm', '-f', 'CC']).catch(() => undefined);
    await docker(['create', '--name', 'CC', '-v', '/loose', image]);
    const [{ Name: loose } = { Name: '' }] = JSON.parse(
      await docker(['inspect', '--format', '{{json .Mounts}}', 'CC']),
    ) as { Name: string }[];
    const { status } = await send(method, target);
    expect(await volumes()).toEqual(expect.arrayContaining(['VV', loose]));
    if (deletes === undefined) return;
    expect(status).toBe(403);
    // And would have, if nobody had refused it.
    await rules('policy: off\n');
    await send(method, target);
    expect(await volumes()).not.toContain(deletes === 'volume' ? 'VV' : loose);
  });

  it('what loses no volume that somebody has named, or none that was not asked to go, goes on as ever', async () => {
    const { stack, kept } = await keeping();
    const run = async (...words: string[]): Promise<string> =>
      (await execa('docker', words, { ...placeOf(stack), stdin: 'ignore' })).stdout;
    expect(await run('run', '--rm', '-v', '/loose', image, 'echo', 'hello')).toBe('hello');
    expect(await run('compose', 'run', '--rm', '-T', 'keep', 'cat', '/state/file')).toBe('precious');
    await run('compose', 'up', '-d', '--force-recreate');
    await run('compose', 'stop');
    await run('compose', 'rm', '-f');
    await run('compose', 'up', '-d');
    await run('compose', 'down');
    await run('image', 'prune', '-f');
    await run('container', 'prune', '-f');
    await run('network', 'prune', '-f');
    await run('builder', 'prune', '-f');
    await run('system', 'prune', '-f');
    // Nothing goes with it.
    await run('run', '--name', `${stack.project}-named`, '-v', `${kept[0]!}:/v`, image, 'true');
    await run('rm', '-v', `${stack.project}-named`);
    await expectKept(kept);
  });

  it('a long body, an empty one and none make no difference', async () => {
    lookAwayAfterwards();
    const volume = `${name}-bodies`;
    const long = at('long.json');
    const labels = { filler: 'x'.repeat(1500 * 1024) };
    await writeFile(long, JSON.stringify({ Name: volume, Labels: labels }));
    const json = ['--header', 'Content-Type: application/json'];
    const bodies = [
      [],
      [...json, '--data', ''],
      [...json, '--header', 'Content-Length: 0'],
      [...json, '--header', 'Transfer-Encoding: chunked', '--data', ''],
      [...json, '--data-binary', '{}'],
      [...json, '--data-binary', `@${long}`],
      [...json, '--header', 'Transfer-Encoding: chunked', '--data-binary', `@${long}`],
    ];
    expect((await send('POST', '/volumes/create', bodies.at(-2))).status).toBe(201);
    for (const body of bodies) {
      expect((await send('DELETE', `/volumes/${volume}`, body)).status).toBe(403);
      expect((await send('POST', '/volumes/prune', body)).status).toBe(403);
      expect((await send('POST', '/containers/prune', body)).status).toBe(200);
    }
    expect(await volumes()).toContain(volume);
    expect((await send('POST', '/volumes/create', [...json, '--data', ''])).status).not.toBe(403);
  });

  it('lists let go of what they name, even when many ask at once, and of nothing else', async () => {
    const { stack, kept } = await keeping();
    const many = Array.from({ length: 30 }, (_, index) => `${stack.project}-${index}`);
    for (const one of many)
      await docker(['volume', 'create', '--label', 'com.docker.compose.project=scratch', one]);
    await docker(['volume', 'create', `${stack.project}-cache`]);
    await rules(`projects:\n  scratch: off\nvolumes:\n  '*-cache': warn\n`);
    const answers = await Promise.all(many.map((one) => send('DELETE', `/volumes/${one}`)));
    expect(answers.map(({ status }) => status)).toEqual(many.map(() => 204));
    expect((await send('DELETE', `/volumes/${stack.project}-cache`)).status).toBe(204);
    expect(plugin.log.at(-1)).toContain('only warned of');
    await expectDenied(['volume', 'rm', kept[0]!]);
    await expectDenied(['volume', 'prune', '-f']);
    await rules(`policy: off\nprojects:\n  ${stack.project}: block\n`);
    await expectDenied(['volume', 'rm', kept[0]!]);
    // It could be one of those that are listed.
    await expectDenied(['volume', 'prune', '-f']);
    await expectDenied(['compose', 'down', '-v'], stack);
    await rules('policy: of\n');
    const stderr = await expectDenied(['volume', 'rm', kept[0]!]);
    expect(stderr).toContain('everything is blocked');
    await expectKept(kept);
  });

  it('an approval lets one volume go, once', async () => {
    lookAwayAfterwards();
    const [one, other] = [`${name}-one`, `${name}-other`];
    for (const volume of [one, other]) await docker(['volume', 'create', volume]);
    keepApprovals(
      [
        {
          rule: 'volume-rm',
          command: `docker volume rm ${one}`,
          endpoint: engine.env.DOCKER_HOST,
          engine: await docker(['info', '--format', '{{.ID}}']),
          volumes: [one],
        },
      ],
      60_000,
      at('approvals'),
    );
    await expectDenied(['volume', 'rm', other]);
    await docker(['volume', 'rm', one]);
    await docker(['volume', 'create', one]);
    await expectDenied(['volume', 'rm', one]);
  });

  it('of volumes called after a test-restore, only those that safe-update would remove may go', async () => {
    lookAwayAfterwards();
    const proof = 'safe-update-proof-0123456789ab';
    const label = ['--label', `safe-update.proof=${proof}`];
    const bind = ['-o', 'type=none', '-o', 'o=bind', '-o', `device=${folder}`];
    for (const [number, more] of [
      ['_0', []],
      ['_1', ['--label', 'safe-update.proof=safe-update-proof-000000000000']],
      ['_2', [...label, ...bind]],
      ['', label],
      ['_x', label],
    ] as const) {
      await docker(['volume', 'create', ...more, `${proof}${number}`]);
      await expectDenied(['volume', 'rm', `${proof}${number}`]);
    }
    await docker(['volume', 'create', ...label, `${proof}_3`]);
    await expectDenied(['volume', 'rm', '--force', `${proof}_3`]);
    await docker(['volume', 'rm', `${proof}_3`]);
  });
});

describe('safe-update itself, under the plugin', () => {
  it('updates', async () => {
    const { stack, release } = await small();
    lookAwayAfterwards();
    const before = await snapshot(stack);
    await release('two');
    const run = await stack.update(['--pull', 'never']);
    expect(run.exitCode, run.story).toBe(0);
    expect((await stack.container('keep')).Config.Env).toContain('RELEASE=two');
    const after = await snapshot(stack);
    expect(after.digests).toEqual(before.digests);
    await expectNothingLeft(stack, run);
  });

  it('rolls back', async () => {
    const { stack } = await small();
    lookAwayAfterwards();
    const broken = await buildImage(stack, 'broken', keeper({ script: 'rm -f /state/1; exit 1' }));
    const compose = await readFile(path.join(stack.directory, 'compose.yaml'), 'utf8');
    await stack.write('compose.yaml', compose.replace(/image: .*/, `image: ${broken}`));
    const before = await snapshot(stack);
    const run = await stack.update(['--pull', 'never']);
    await expectRolledBack(stack, before, run, /keep/);
  });

  it('restores a backup as a test, and removes what it made for that', async () => {
    const { stack } = await small();
    lookAwayAfterwards();
    const backup = await stack.safeUpdate(['backup', ...quick]);
    expect(backup.exitCode, backup.story).toBe(0);
    const before = await volumes();
    const id = backup.outcome?.backup ?? '';
    const run = await stack.safeUpdate(['verify', id, '--restore', '--json', '--stable-for', '2s']);
    expect(run.exitCode, run.story).toBe(0);
    expect(await volumes()).toEqual(before);
    expect(plugin.log.join('\n')).toMatch(/allowed: DELETE \/volumes\/safe-update-proof-\w+: a test-restore/);
  });
});

describe('the plugin', () => {
  it('does not take the place of one that is there', async () => {
    const { exitCode, stderr } = await guard('serve', '--name', name, '--host', engine.env.DOCKER_HOST);
    expect(exitCode).toBe(3);
    expect(stderr).toContain('another one is listening there');
    expect((await send('GET', '/volumes')).status).toBe(200);
  });

  it('when it is killed, everything is refused until it is there again', async () => {
    plugin.process.kill('SIGKILL');
    await plugin.process;
    expect(existsSync(socket)).toBe(true);
    const { status, body } = await send('GET', '/volumes');
    expect(status).toBe(500);
    expect(body).toMatch(new RegExp(`plugin ${name} failed with error: .*connect: connection refused`));
    await serve();
    expect((await send('GET', '/volumes')).status).toBe(200);
    await expectDenied(['volume', 'prune', '-f']);
  });

  it('answers whatever is sent to it', async () => {
    const post = async (body: string): Promise<unknown> => {
      const { stdout } = await execa(
        'curl',
        [
          ...['--silent', '--unix-socket', socket, '--data-binary', '@-'],
          'http://plugin/AuthZPlugin.AuthZReq',
        ],
        { input: body },
      );
      return JSON.parse(stdout);
    };
    for (const body of ['', '{', 'null', '[]', '\0', '{"RequestMethod":"GET"}', '['.repeat(100_000)])
      expect(await post(body)).toMatchObject({ Allow: false });
    const filler = 'A'.repeat(32 * 1024 * 1024);
    const request = (method: string, address: string): string =>
      JSON.stringify({ RequestMethod: method, RequestUri: address, RequestBody: filler });
    expect(await post(request('GET', '/volumes'))).toMatchObject({ Allow: true });
    expect(await post(request('DELETE', '/volumes/x'))).toMatchObject({ Allow: false });
    expect(await post(filler)).toMatchObject({ Allow: false });
    expect(await post(request('GET', `/${filler}`))).toMatchObject({ Allow: false });
    expect((await send('GET', '/volumes')).status).toBe(200);
  });

  it('when it is ended, its socket is gone', async () => {
    plugin.process.kill('SIGTERM');
    expect((await plugin.process).exitCode).toBe(0);
    expect(existsSync(socket)).toBe(false);
    await serve();
  });

  it('is taken out of daemon.json first, and may then end', async () => {
    const run = await guard('uninstall', 'engine', '--yes', ...there());
    expect(run.exitCode, run.stderr).toBe(0);
    expect(await readFile(at('daemon.json'), 'utf8')).toBe(
      '{\n    "debug": false,\n    "log-level": "info"\n}\n',
    );
    plugin.process.kill('SIGTERM');
    await plugin.process;
    await eventually(async () => {
      expect((await send('GET', '/volumes')).status).toBe(200);
    });
    await docker(['volume', 'create', `${name}-last`]);
    await docker(['volume', 'rm', `${name}-last`]);
  });
});

describe('a plugin that listens elsewhere', () => {
  const other = `${name}elsewhere`;
  const specs = '/etc/docker/plugins';

  it('is installed by the socket it is told of, refuses, and is taken out again', async () => {
    const where = at('guard.sock');
    const words = [...there(other), '--socket', where];
    // dockerd finds it by a file that says where it is.
    const made = await mkdir(specs, { recursive: true });
    onTestFinished(async () => {
      await rm(path.join(specs, `${other}.spec`), { force: true });
      if (made !== undefined) await rmdir(specs);
    });
    await writeFile(path.join(specs, `${other}.spec`), `unix://${where}`);
    const before = await readFile(at('daemon.json'), 'utf8');
    const early = await guard('install', 'engine', '--yes', ...words);
    expect(early.exitCode, early.stderr).toBe(3);
    expect(early.stderr.replaceAll(/\s+/g, ' ')).toContain(`The plugin does not answer at ${where}`);
    expect(await readFile(at('daemon.json'), 'utf8')).toBe(before);

    const child = start(other, '--socket', where);
    onTestFinished(async () => {
      child.kill('SIGTERM');
      await child;
    });
    await eventually(() => {
      expect(existsSync(where)).toBe(true);
      return Promise.resolve();
    });
    const run = await guard('install', 'engine', '--yes', ...words);
    expect(run.exitCode, run.stderr + run.stdout).toBe(0);
    expect(run.stdout).toContain('~safe-update-guard-canary" was refused through it');
    const volume = `${other}-last`;
    await docker(['volume', 'create', volume]);
    await expectDenied(['volume', 'rm', volume]);
    expect(await volumes()).toContain(volume);

    const back = await guard('uninstall', 'engine', '--yes', ...words);
    expect(back.exitCode, back.stderr).toBe(0);
    expect(await readFile(at('daemon.json'), 'utf8')).toBe(before);
    await docker(['volume', 'rm', volume]);
    expect(await volumes()).not.toContain(volume);
  });
});
