import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { turn } from '../faults/campaign.ts';
import { docker, dockerLines, testLabel } from './docker.ts';
import { secondEngine, type SecondEngine } from './second-engine.ts';
import { shell } from './stack-small.ts';
import {
  eventually,
  expectNothingLeft,
  expectUntouched,
  project,
  shop,
  snapshot,
  type Finished,
  type Snapshot,
  type Stack,
} from './stack.ts';

const calm = ['--json', '--stable-for', '2s', '--verify-timeout', '60s'];

let stack: Stack;
/** A cold backup of it, and what the stack was then. */
let backup: string;
let first: Snapshot;

beforeAll(async () => {
  stack = await shop();
  first = await snapshot(stack);
  const run = await stack.safeUpdate(['backup', '--yes', ...calm]);
  expect(run.exitCode, run.story).toBe(0);
  backup = run.outcome?.backup ?? '';
});

/** The name and the empty folder of a project to be, removed with the test. */
async function place(of: Stack = stack): Promise<Stack> {
  return Object.assign(await project({}), { secret: of.secret, port: of.port });
}

async function restoreAs(to: Stack, id: string, ...flags: string[]): Promise<Finished> {
  return stack.safeUpdate(['restore', id, '--as', to.project, '--into', to.directory, ...calm, ...flags]);
}

/** What can be told of data wherever it is: rows, keys and files. */
function data({ rows, keys, digests }: Snapshot): unknown {
  const uploads = Object.entries(digests).find(([name]) => name.endsWith('_uploads'))?.[1];
  return { rows, keys, uploads: { ...uploads, rootChanged: '' } };
}

async function expectNothingMade(to: Stack): Promise<void> {
  const label = `label=com.docker.compose.project=${to.project}`;
  expect(await dockerLines(['ps', '--all', '--quiet', '--filter', label])).toEqual([]);
  expect(await dockerLines(['volume', 'ls', '--quiet', '--filter', label])).toEqual([]);
  expect(await dockerLines(['network', 'ls', '--quiet', '--filter', label])).toEqual([]);
  expect(await readdir(to.directory)).toEqual([]);
  expect(
    await dockerLines(['ps', '--all', '--quiet', '--filter', `label=safe-update.project=${to.project}`]),
  ).toEqual([]);
}

describe('restore --as, beside the first', () => {
  it('makes a second project with the data of the backup, and the first goes on as it was', async () => {
    await stack.post('/members?name=later&email=later@example.org');
    await stack.post('/uploads/later', 'later');
    await stack.redis(['SET', 'greeting', 'later']);
    const before = await snapshot(stack);
    const other = await place();
    const run = await restoreAs(other, backup, '--no-ports');
    expect(run.exitCode, run.story).toBe(0);
    expect(run.outcome).toMatchObject({ result: 'restored', project: other.project });
    expectUntouched(before, await snapshot(stack));

    const second = await snapshot(other);
    expect(data(second)).toEqual(data(first));
    expect(data(second)).not.toEqual(data(before));
    expect(second.volumes).toEqual(
      ['cache_data', 'db_data', 'uploads'].map((key) => `${other.project}_${key}`),
    );
    for (const [key, service] of Object.entries(second.services)) {
      expect(service.imageId, key).toBe(first.services[key]?.imageId);
      expect(service.health, key).toBe(first.services[key]?.health);
    }
    const ports = await dockerLines([
      ...['ps', '--format', '{{.Ports}}'],
      ...['--filter', `label=com.docker.compose.project=${other.project}`],
    ]);
    expect(ports.join()).not.toContain('->');
    await expectNothingLeft(other, run);
    await expectNothingLeft(stack, run);

    // Whoever goes into the new folder means the new project, with compose and with safe-update.
    const model = JSON.parse(
      await docker(['compose', 'config', '--format', 'json'], { cwd: other.directory }),
    ) as { name: string; services: Record<string, { ports?: unknown[] }> };
    expect(model.name).toBe(other.project);
    expect(model.services['app']?.ports ?? []).toEqual([]);
    const again = await other.safeUpdate(['--yes', '--pull', 'never', ...calm]);
    expect(again.outcome?.result, again.story).toBe('nothing-to-do');
    const history = await other.safeUpdate(['history', '--json']);
    expect(history.stdout).toContain('restore-as');
  });

  it.runIf(turn(0, 4))('fills databases from their dumps where the backup is hot', async () => {
    const made = await stack.safeUpdate(['backup', '--consistency', 'hot', ...calm]);
    expect(made.exitCode, made.story).toBe(0);
    const before = await snapshot(stack);
    const other = await place();
    const run = await restoreAs(other, made.outcome?.backup ?? '', '--no-ports');
    expect(run.exitCode, run.story).toBe(0);
    expectUntouched(before, await snapshot(stack));
    expect(data(await snapshot(other))).toEqual(data(before));
    await expectNothingLeft(other, run);
  });

  it.runIf(turn(1, 4))(
    'shares nothing that has a name of its own: containers, volumes, networks, folders',
    async () => {
      const named = await shop({
        edit: (model) => {
          const app = model.services['app']!;
          app['container_name'] = 'PROJECT-the-app';
          app['volumes'] = [
            'uploads:/app/uploads',
            'outside:/app/outside',
            '/app/anonymous',
            './data:/app/data',
            // One that is only read would belong to the configuration.
            './notice.txt:/app/notice.txt',
          ];
          model['volumes'] = {
            db_data: {},
            cache_data: {},
            uploads: { name: 'PROJECT-files' },
            outside: { name: 'PROJECT-outside', external: true },
          };
          model['networks'] = { default: { name: 'PROJECT-net' } };
        },
        start: false,
      });
      await named.write(
        'compose.yaml',
        (await named.read('compose.yaml')).replaceAll('PROJECT', named.project),
      );
      await named.write(
        'safe-update.yml',
        `project: ${named.project} # ours\nbindMounts: { include: [./data] }\n`,
      );
      await named.write('notice.txt', 'mounted, and in no backup\n');
      await mkdir(path.join(named.directory, 'data'));
      const outside = `${named.project}-outside`;
      await docker(['volume', 'create', '--label', `${testLabel}=${named.project}`, outside]);
      await named.up();
      await named.fill();
      const places = ['outside', 'anonymous', 'data', 'uploads'];
      const write = async (word: string): Promise<void> => {
        for (const where of places)
          await shell(await named.container('app'), `echo ${word} ${where} >/app/${where}/word`);
      };
      await write('first');
      const made = await named.safeUpdate(['backup', '--yes', ...calm]);
      expect(made.exitCode, made.story).toBe(0);
      await write('later');
      const before = await snapshot(named);

      const other = await place(named);
      const args = ['restore', made.outcome?.backup ?? '', '--as', other.project, '--into', other.directory];
      const refused = await named.safeUpdate([...args, '--no-ports', ...calm]);
      expect(refused.exitCode, refused.story).toBe(3);
      expect(refused.outcome?.error?.message).toMatch(/notice\.txt mounted, which is in no backup/);
      expect(refused.outcome?.error?.state).toBe('Nothing was touched.');
      await expectNothingMade(other);

      await writeFile(path.join(other.directory, 'notice.txt'), 'copied by hand\n');
      const run = await named.safeUpdate([...args, '--no-ports', ...calm]);
      expect(run.exitCode, run.story).toBe(0);
      expectUntouched(before, await snapshot(named));
      const app = await other.container('app');
      expect(app.Name).not.toContain(named.project);
      for (const where of places) {
        expect(await shell(app, `cat /app/${where}/word`)).toBe(`first ${where}`);
        expect(await shell(await named.container('app'), `cat /app/${where}/word`)).toBe(`later ${where}`);
      }
      const sources = app.Mounts.map(({ Name, Source }) => Name ?? Source);
      const theirs = (await named.containers()).flatMap(({ Mounts }) =>
        Mounts.map(({ Name, Source }) => Name ?? Source),
      );
      expect(sources.filter((source) => theirs.includes(source))).toEqual([]);
      expect(sources).toContain(path.join(other.directory, 'data'));
      const networks = JSON.parse(
        await docker(['inspect', '--format', '{{json .NetworkSettings.Networks}}', app.Id]),
      ) as Record<string, unknown>;
      expect(Object.keys(networks)).toEqual([`${other.project}_default`]);
      // Its own name for itself has moved with it, and so has the comment.
      expect(await other.read('safe-update.yml')).toContain(`project: ${other.project} # ours`);
      const settled = await other.safeUpdate(['--yes', '--pull', 'never', ...calm]);
      expect(settled.outcome?.result, settled.story).toBe('nothing-to-do');
      expectUntouched(before, await snapshot(named));
    },
  );

  it.runIf(turn(2, 4))(
    'leaves what it made, and says what that is, when the second does not come up',
    async () => {
      const picky = await shop({
        edit: ({ services }) => {
          const app = services['app']!;
          app['environment'] = { ...(app['environment'] as object), WHO: '${COMPOSE_PROJECT_NAME}' };
          app['command'] = ['sh', '-c', 'case $$WHO in e2e-*-second) exit 7;; esac; exec python3 app.py'];
          app['restart'] = 'no';
        },
      });
      const made = await picky.safeUpdate(['backup', '--yes', ...calm]);
      expect(made.exitCode, made.story).toBe(0);
      const before = await snapshot(picky);
      const other = Object.assign(await place(picky), { project: '' });
      Object.assign(other, { project: `${picky.project}-second` });
      const args = ['restore', made.outcome?.backup ?? '', '--as', other.project, '--into', other.directory];
      const run = await picky.safeUpdate([...args, '--no-ports', ...calm]);
      expect(run.exitCode, run.story).toBe(3);
      expect(run.outcome?.error?.message).toMatch(/exited with code 7/);
      const { state = '', hint = '' } = run.outcome?.error ?? {};
      expect(state).toContain(`${picky.project} was not touched`);
      for (const name of [`${other.project}-app-1`, `${other.project}_db_data`, other.directory])
        expect(state).toContain(name);
      expectUntouched(before, await snapshot(picky));
      expect((await other.containers()).length).toBe(3);

      const twice = await picky.safeUpdate([...args, '--no-ports', ...calm]);
      expect(twice.exitCode, twice.story).toBe(3);

      // The commands that it names take exactly that away.
      const commands = hint
        .split('\n')
        .filter((line) => /^(docker (rm|volume rm|network rm)|rm -r) /.test(line));
      expect(commands).toHaveLength(4);
      for (const command of commands) {
        const [program = '', ...words] = command.split(' ');
        if (program === 'docker') await docker(words);
        else await rm(words.at(-1) ?? '', { recursive: true });
      }
      expectUntouched(before, await snapshot(picky));
      await mkdir(other.directory);
      await expectNothingMade(other);
    },
  );

  it.runIf(turn(3, 4))('is never taken for whole when it was killed', async () => {
    const other = await place();
    const running = stack.start([
      ...['restore', backup, '--as', other.project, '--into', other.directory, '--no-ports'],
      ...calm,
    ]);
    await running.step('data');
    running.kill('SIGKILL');
    await running.finished;
    for (const args of [['recover'], ['--yes'], ['backup', '--yes']]) {
      const run = await other.safeUpdate([...args, ...calm]);
      expect(run.exitCode, run.story).toBe(3);
      expect(run.outcome?.error?.message).toMatch(/its data is not complete/);
      expect(run.outcome?.error?.hint).toContain(`docker volume rm`);
    }
    for (const { State } of await other.containers()) expect(State.Running).toBe(false);
  });
});

describe('restore --as is refused, and makes nothing', () => {
  it('where there is a project of that name', async () => {
    const before = await snapshot(stack);
    const other = await place();
    const run = await stack.safeUpdate([
      ...['restore', backup, '--as', stack.project, '--into', other.directory, '--no-ports'],
      ...calm,
    ]);
    expect(run.exitCode, run.story).toBe(3);
    expect(run.outcome?.error?.message).toMatch(/There is a project .* on this engine already/);
    await expectNothingMade(other);
    expectUntouched(before, await snapshot(stack));
  });

  it('where only a volume is left of one', async () => {
    const other = await place();
    const label = `com.docker.compose.project=${other.project}`;
    await docker(['volume', 'create', '--label', label, `${other.project}_something`]);
    const run = await restoreAs(other, backup, '--no-ports');
    expect(run.exitCode, run.story).toBe(3);
    expect(run.outcome?.error?.message).toContain(`the volume ${other.project}_something`);
    expect(await readdir(other.directory)).toEqual([]);
  });

  it('where a volume without a label has a name that it needs', async () => {
    const other = await place();
    const name = `${other.project}_uploads`;
    await docker(['volume', 'create', '--label', `${testLabel}=${other.project}`, name]);
    await docker(['run', '--rm', '--volume', `${name}:/v`, 'debian:bookworm-slim', 'touch', '/v/mine']);
    const run = await restoreAs(other, backup, '--no-ports', '--accept', `volume:${name}`);
    expect(run.exitCode, run.story).toBe(3);
    expect(run.outcome?.error?.message).toContain(`There is a volume ${name}`);
    expect(await docker(['run', '--rm', '--volume', `${name}:/v`, 'debian:bookworm-slim', 'ls', '/v'])).toBe(
      'mine',
    );
    await expectNothingMade(other);
  });

  it('where its ports are served already', async () => {
    const other = await place();
    const run = await restoreAs(other, backup);
    expect(run.exitCode, run.story).toBe(3);
    expect(run.outcome?.error?.message).toContain(`publishes the port ${stack.port}/tcp`);
    expect(run.outcome?.error?.hint).toContain('--no-ports');
    await expectNothingMade(other);
  });

  it('where its folder holds something', async () => {
    const other = await place();
    await other.write('compose.yaml', 'services: {}\n');
    const run = await restoreAs(other, backup, '--no-ports');
    expect(run.exitCode, run.story).toBe(3);
    expect(run.outcome?.error?.message).toMatch(/is not empty/);
    expect(await other.read('compose.yaml')).toBe('services: {}\n');
  });

  it.each<[string, string[], RegExp]>([
    ['for a name that compose does not accept', ['--as', 'No_Capitals'], /not a name compose accepts/],
    ['for a part of a backup', ['--as', 'x', '--only', 'config'], /--as takes no --only/],
    ['for a folder without a name', ['--into', 'x'], /go with --as/],
  ])('%s', async (_, flags, reason) => {
    const run = await stack.safeUpdate(['restore', backup, ...flags, ...calm]);
    expect(run.exitCode, run.story).toBe(2);
    expect(run.outcome?.error?.message).toMatch(reason);
  });
});

describe('export and import', () => {
  let file: string;
  let whole: Buffer;

  beforeAll(async () => {
    file = path.join(stack.directory, 'out.tar');
    const run = await stack.safeUpdate(['export', backup, file]);
    expect(run.exitCode, run.story).toBe(0);
    whole = await readFile(file);
  });

  async function importInto(folder: string, from: string): Promise<Finished> {
    return stack.safeUpdate(['import', from, '--backups', path.join(folder, 'backups'), '--json'], {
      cwd: folder,
    });
  }

  it('gives one file that tar can read, for its owner alone, and the same backup from it', async () => {
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const elsewhere = await project({});
    const run = await importInto(elsewhere.directory, file);
    expect(run.exitCode, run.story).toBe(0);
    expect(run.stdout).toContain(`restore ${backup} --as ${stack.project} --backups`);
    const [was, is] = [stack.backupFolder, path.join(elsewhere.directory, 'backups', stack.project)].map(
      (folder) => path.join(folder, backup),
    );
    const names = (await readdir(was!, { recursive: true, withFileTypes: true }))
      .filter((entry) => entry.isFile())
      .map((entry) => path.relative(was!, path.join(entry.parentPath, entry.name)));
    expect(names.length).toBeGreaterThan(10);
    for (const name of names)
      expect((await readFile(path.join(is!, name))).equals(await readFile(path.join(was!, name))), name).toBe(
        true,
      );

    const twice = await importInto(elsewhere.directory, file);
    expect(twice.exitCode, twice.story).toBe(3);
    expect(twice.outcome?.error?.message).toMatch(/There is a backup .* already/);
    const over = await stack.safeUpdate(['export', backup, file]);
    expect(over.exitCode, over.story).toBe(3);
    expect((await readFile(file)).equals(whole)).toBe(true);
  });

  it('goes through a pipe', async () => {
    const elsewhere = await project({});
    const out = path.join(elsewhere.directory, 'piped.tar');
    const program = path.resolve('src/bin.ts');
    const flags = `-p ${stack.project} --backups ${path.dirname(stack.backupFolder)}`;
    await execa(
      'bash',
      [
        '-o',
        'pipefail',
        '-c',
        `node ${program} export ${backup} - ${flags} | tee ${out} | node ${program} import - --backups ${elsewhere.directory}/b`,
      ],
      { cwd: elsewhere.directory, stdin: 'ignore' },
    );
    expect((await readFile(out)).equals(whole)).toBe(true);
    expect(await readdir(path.join(elsewhere.directory, 'b', stack.project))).toContain(backup);
  });

  it('does not export a backup that is damaged', async () => {
    const folder = path.join(stack.backupFolder, backup);
    const part = path.join(folder, 'volumes', `${stack.project}_uploads.tar.zst`);
    const good = await readFile(part);
    const bad = Buffer.from(good);
    bad[bad.length >> 1]! ^= 1;
    await writeFile(part, bad);
    try {
      const target = path.join(stack.directory, 'damaged.tar');
      const run = await stack.safeUpdate(['export', backup, target, '--json']);
      expect(run.exitCode, run.story).toBe(3);
      expect(run.outcome?.error?.message).toMatch(/uploads\.tar\.zst has changed/);
      expect((await readdir(stack.directory)).filter((name) => name.includes('damaged.tar'))).toEqual([]);
    } finally {
      await writeFile(part, good);
    }
  });

  it.each<[string, (whole: Buffer) => Buffer]>([
    ['ends after its first half', (bytes) => bytes.subarray(0, bytes.length >> 1)],
    ['lacks its last kilobytes', (bytes) => bytes.subarray(0, bytes.length - 40_960)],
    ['has another byte in an archive', (bytes) => flipped(bytes, bytes.length >> 1)],
    ['has another byte in its manifest', (bytes) => flipped(bytes, 700)],
    ['is no tar', () => Buffer.from('not a tar at all'.repeat(100))],
    ['is empty', () => Buffer.alloc(0)],
  ])('refuses a file that %s, and leaves nothing', async (_, change) => {
    const elsewhere = await project({});
    const bad = path.join(elsewhere.directory, 'bad.tar');
    await writeFile(bad, change(whole));
    const run = await importInto(elsewhere.directory, bad);
    expect(run.exitCode, run.story).toBe(3);
    expect(run.outcome?.error?.code, run.story).toBe('damaged');
    const left = await readdir(elsewhere.directory, { recursive: true, withFileTypes: true });
    expect(
      left.filter((entry) => entry.isFile() && entry.name !== '.gitignore').map(({ name }) => name),
    ).toEqual(['bad.tar']);
    expect(left.filter(({ name }) => name.startsWith('manual-'))).toEqual([]);
  });
});

describe('a new server', () => {
  let engine: SecondEngine | undefined;

  beforeAll(async () => {
    const started = await secondEngine();
    if (typeof started === 'string') process.stderr.write(`\nSKIPPED: a new server: ${started}\n\n`);
    else engine = started;
  });
  afterAll(async () => {
    await engine?.end();
  });

  it('gets the stack out of one file, images included, and has the same rows', async ({ skip }) => {
    if (engine === undefined) {
      skip('no second engine could be started; the reason is above');
      return;
    }
    const { env } = engine;
    const file = path.join(stack.directory, 'with-images.tar');
    const exported = await stack.safeUpdate(['export', backup, file, '--images', '--json']);
    expect(exported.exitCode, exported.story).toBe(0);
    const server = await project({});
    const there = { env, cwd: server.directory };

    const without = path.join(stack.directory, 'without-images.tar');
    await stack.safeUpdate(['export', backup, without, '--json']);
    await server.safeUpdate(['import', without, '--json', '--backups', 'first'], there);

    const run = await server.safeUpdate(['import', file, '--json'], there);
    expect(run.exitCode, run.story).toBe(0);
    // Nothing that was loaded has taken a name that somebody may be using.
    const names = await docker(['images', '--format', '{{.Repository}}'], { env });
    expect([...new Set(names.split('\n'))].sort()).toEqual([
      'safe-update/helper',
      `safe-update/pin-${stack.project}`,
    ]);

    const restored = await stack.safeUpdate(['restore', backup, '--as', stack.project, ...calm], there);
    expect(restored.exitCode, restored.story).toBe(0);
    const folder = path.join(server.directory, stack.project);
    const inside = async (service: string, ...command: string[]): Promise<string> =>
      eventually(() => docker(['compose', 'exec', '-T', service, ...command], { env, cwd: folder }));
    const dump = ['pg_dump', '-U', 'shop', 'shop'];
    const clean = (text: string): string => text.replaceAll(/^\\(un)?restrict .*$/gm, '');
    expect(
      clean(await inside('db', ...dump))
        .trim()
        .split('\n')
        .filter(Boolean),
    ).toEqual(first.rows['db-1']?.trim().split('\n').filter(Boolean));
    const cached = await inside('cache', 'sh', '-c', `REDISCLI_AUTH=${stack.secret} redis-cli GET greeting`);
    expect(cached).toBe('hello');
    expect(await inside('app', 'ls', '/app/uploads')).toContain('picture-5');
  });

  it('refuses, before it makes anything, what it has no images for', async ({ skip }) => {
    if (engine === undefined) {
      skip('no second engine could be started; the reason is above');
      return;
    }
    const { env } = engine;
    const small = await project({
      'compose.yaml': 'services: { web: { image: "PLACE", init: true, command: [sleep, infinity] } }\n',
    });
    const image = `${small.project}/web:latest`;
    await docker(['build', '--quiet', '--tag', image, '-'], {
      input: `FROM debian:bookworm-slim\nENV ONE=${small.project}\n`,
    });
    await small.write('compose.yaml', (await small.read('compose.yaml')).replace('PLACE', image));
    await small.up();
    const made = await small.safeUpdate(['backup', '--yes', ...calm]);
    expect(made.exitCode, made.story).toBe(0);
    const run = await small.safeUpdate(
      ['restore', made.outcome?.backup ?? '', '--as', 'elsewhere', ...calm],
      { env },
    );
    expect(run.exitCode, run.story).toBe(3);
    expect(run.outcome?.error?.message).toContain(image);
    expect(run.outcome?.error?.hint).toContain('--images');
    expect(await readdir(small.directory)).not.toContain('elsewhere');
    expect(await docker(['ps', '--all', '--format', '{{.Names}}'], { env })).not.toContain('elsewhere');
  });
});

function flipped(bytes: Buffer, at: number): Buffer {
  const other = Buffer.from(bytes);
  other[at]! ^= 4;
  return other;
}
