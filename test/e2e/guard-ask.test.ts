/** What the guard asks of the engine, the folders of projects, the backups and the approvals. It deletes nothing itself. */
import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa, execaSync } from 'execa';
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { generateKey } from '../../src/backup/age.ts';
import type { Manifest } from '../../src/backup/manifest.ts';
import { checksums } from '../../src/backup/store/folder.ts';
import { approvalsFolder, useForApi } from '../../src/cli/guard/approvals.ts';
import type { Verdict } from '../../src/guard/verdict.ts';
import { small } from '../faults/small.ts';
import { docker, testLabel } from './docker.ts';
import { local } from './stack-small.ts';
import { eventually, type SealedBackup, type Stack } from './stack.ts';

const program = fileURLToPath(new URL('../../src/bin.ts', import.meta.url));
const backing = ['backup', '--yes', '--json', '--stable-for', '1s', ...local];

let stack: Stack;
let volume: string;
let keys: string;

/** The environment of whoever calls the guard. */
const inherited = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^(COMPOSE_|DOCKER_|SAFE_UPDATE_|NODE_|VITEST)/.test(name)),
);

interface Asked {
  cwd?: string;
  env?: Record<string, string>;
  under?: string[];
}

interface Judged {
  exitCode: number | undefined;
  verdict: Verdict;
  stderr: string;
}

/** What `guard check` says about a line of shell. */
async function check(
  text: string,
  { cwd = stack.directory, env = {}, under = [] }: Asked = {},
): Promise<Judged> {
  const words = [...under, process.execPath, program, 'guard', 'check', '--json', '--stdin'];
  const { exitCode, stdout, stderr } = await execa(words[0] ?? '', words.slice(1), {
    ...{ cwd, input: text, reject: false, extendEnv: false },
    env: { ...inherited, PWD: cwd, ...env },
  });
  if (stdout === '') throw new Error(stderr);
  return { exitCode, verdict: JSON.parse(stdout) as Verdict, stderr };
}

const said = ({ verdict }: Judged): string =>
  [
    ...verdict.excused.map(({ because }) => because),
    ...verdict.findings.flatMap((one) => one.unexcused ?? []),
  ].join('\n');

async function expectRefused(text: string, why: RegExp, asked?: Asked): Promise<void> {
  const judged = await check(text, asked);
  expect(judged.exitCode, judged.stderr).toBe(2);
  expect(said(judged)).toMatch(why);
}

async function expectAllowed(text: string, why: RegExp, asked?: Asked): Promise<void> {
  const judged = await check(text, asked);
  expect(judged.exitCode, judged.stderr).toBe(0);
  expect(said(judged)).toMatch(why);
}

async function newest(): Promise<SealedBackup> {
  const made = (await stack.backups()).at(-1);
  if (made === undefined) throw new Error('no backup');
  return made;
}

/** Runs with another text in the project's safe-update.yml. */
async function configured(text: string, run: () => Promise<void>): Promise<void> {
  const file = path.join(stack.directory, 'safe-update.yml');
  await writeFile(file, text, { mode: 0o644 });
  try {
    await run();
  } finally {
    await rm(file);
  }
}

/** Runs with a manifest that says something else, with the right checksum of its own. */
async function retold(change: (manifest: Manifest) => void, run: () => Promise<void>): Promise<void> {
  const { folder } = await newest();
  const [file, sums] = [path.join(folder, 'manifest.json'), path.join(folder, 'SHA256SUMS')];
  const before = [await readFile(file, 'utf8'), await readFile(sums, 'utf8')] as const;
  const manifest = JSON.parse(before[0]) as Manifest;
  change(manifest);
  const text = `${JSON.stringify(manifest, null, 2)}\n`;
  await writeFile(file, text);
  await writeFile(sums, checksums(manifest.parts, text));
  try {
    await run();
  } finally {
    await writeFile(file, before[0]);
    await writeFile(sums, before[1]);
  }
}

beforeAll(async () => {
  ({ stack } = await small());
  volume = `${stack.project}_state`;
  // As a folder usually is: its compose file names the project.
  await stack.edit((model) => {
    model['name'] = stack.project;
  });
  keys = await mkdtemp(path.join(tmpdir(), 'safe-update-keys-'));
});

afterAll(async () => {
  await rm(keys, { recursive: true, force: true });
});

describe('without a backup', () => {
  it('a volume is not to be deleted, and the reason says what to do', async () => {
    await expectRefused(
      `docker volume rm ${volume}`,
      /no backup of it is known here; make one: safe-update backup/,
    );
    await expectRefused('docker volume rm nosuch-volume', /the engine has no such volume/);
  });

  it('and where no engine answers, neither', async () => {
    for (const host of ['unix:///nowhere.sock', 'tcp://127.0.0.1:1'])
      await expectRefused(`docker volume rm ${volume}`, /: The docker engine cannot be reached: /, {
        env: { DOCKER_HOST: host },
      });
    // One that takes the question and never answers.
    const socket = path.join(keys, 'silent.sock');
    const silent = createServer().listen(socket);
    for (const text of [`docker volume rm ${volume}`, `docker compose -p ${stack.project} down -v`]) {
      const judged = await check(text, { env: { DOCKER_HOST: `unix://${socket}` } });
      expect(judged.exitCode, judged.stderr).toBe(2);
      expect(judged.verdict.findings[0]?.losses).toBeUndefined();
    }
    silent.close();
  });
});

describe('with a fresh backup', () => {
  beforeAll(async () => {
    const run = await stack.safeUpdate(backing);
    expect(run.exitCode, run.story).toBe(0);
  });

  it('its volume may be deleted, and the backup is named', async () => {
    const { id } = await newest();
    await expectAllowed(
      `docker volume rm ${volume}`,
      new RegExp(`${volume} is in the backup ${id}, \\d+ (s|min) old`),
    );
    // Also when it is called from somewhere else.
    await expectAllowed(`docker volume rm ${volume}`, new RegExp(id), { cwd: tmpdir() });
  });

  it('but not together with one that has none', async () => {
    await expectRefused(
      `docker volume rm ${volume} nosuch-volume`,
      /nosuch-volume: the engine has no such volume/,
    );
  });

  it('but not when a bit of its archive has changed', async () => {
    const { folder, manifest } = await newest();
    const archive = path.join(folder, manifest.volumes[0]?.archive ?? '');
    const whole = await readFile(archive);
    const changed = Buffer.from(whole);
    changed.writeUInt8(changed.readUInt8(changed.length >> 1) ^ 1, changed.length >> 1);
    await writeFile(archive, changed);
    await expectRefused(`docker volume rm ${volume}`, /is damaged: .*its checksum differs/);
    await writeFile(archive, whole);
    await expectAllowed(`docker volume rm ${volume}`, /is in the backup/);
  });

  it('but not when that is older than it may be', async () => {
    await configured('guard:\n  fresh: 1ms\n', () =>
      expectRefused(`docker volume rm ${volume}`, /the backup manual-\S+ is .* old, more than 0 s/),
    );
    await configured('guard:\n  fresh: 1h\n', () =>
      expectAllowed(`docker volume rm ${volume}`, /is in the backup/),
    );
  });

  it.each<[string, (manifest: Manifest) => void, RegExp]>([
    ['another engine', ({ engine }) => Object.assign(engine, { id: 'another' }), /is of another engine/],
    [
      'another project',
      ({ project }) => Object.assign(project, { name: 'another' }),
      /is of the project another/,
    ],
    [
      'another volume',
      ({ volumes }) => Object.assign(volumes[0] ?? {}, { name: `${volume}2` }),
      /no backup of it is in .*; make one/,
    ],
    [
      'tomorrow',
      (manifest) => Object.assign(manifest, { createdAt: new Date(Date.now() + 86_400_000).toISOString() }),
      /dated in the future/,
    ],
    [
      'a moment at which something wrote to it',
      ({ volumes }) => Object.assign(volumes[0] ?? {}, { exact: false }),
      /something wrote to it/,
    ],
    [
      'a former volume of that name',
      (manifest) => Object.assign(manifest, { createdAt: '2020-01-01T00:00:00.000Z' }),
      /was made anew after the backup/,
    ],
    [
      'a failed release',
      (manifest) => Object.assign(manifest, { kind: 'failed' }),
      /no backup of it is in .*; make one/,
    ],
  ])('but not when that is of %s', async (_, change, why) => {
    await retold(change, () => expectRefused(`docker volume rm ${volume}`, why));
  });

  it.each([
    'docker -H tcp://127.0.0.1:1 volume rm VOLUME',
    'docker --context elsewhere volume rm VOLUME',
    'DOCKER_HOST=tcp://127.0.0.1:1 docker volume rm VOLUME',
    'export DOCKER_CONTEXT=elsewhere; docker volume rm VOLUME',
    'ssh elsewhere docker volume rm VOLUME',
    'podman volume rm VOLUME',
    'docker context use elsewhere && docker volume rm VOLUME',
  ])('but not by a command that goes to another engine: %s', async (text) => {
    await expectRefused(text.replace('VOLUME', volume), /another engine/);
  });

  it('but not when the folder of the backups can be written by everybody', async () => {
    await execa('chmod', ['0777', path.join(stack.directory, 'backups')]);
    await expectRefused(`docker volume rm ${volume}`, /cannot be used/);
    await execa('chmod', ['0700', path.join(stack.directory, 'backups')]);
    await expectAllowed(`docker volume rm ${volume}`, /is in the backup/);
  });

  it('down -v is refused whatever there is, and names the project, the volumes and their sizes', async () => {
    for (const [text, cwd] of [
      [`docker compose -p ${stack.project} down -v`, tmpdir()],
      ['docker compose down -v', stack.directory],
      [`cd ${stack.directory} && docker-compose down -v`, tmpdir()],
      [`docker compose -f ${path.join(stack.directory, 'compose.yaml')} down -v`, tmpdir()],
    ] as const) {
      const { exitCode, verdict, stderr } = await check(text, { cwd });
      expect(exitCode).toBe(2);
      expect(verdict.findings[0]?.losses, text).toMatchObject({
        project: stack.project,
        volumes: [{ name: volume, sizeBytes: expect.any(Number) as number }],
        sizesAgeSeconds: expect.any(Number) as number,
      });
      expect(stderr).toMatch(new RegExp(`${volume} \\d+ kB \\(at the last backup, \\d+ (s|min) ago\\)`));
    }
    const elsewhere = await check('docker compose --context other down -v');
    expect(elsewhere.verdict.findings[0]?.losses).toBeUndefined();
  });

  it.each<[string, string, string]>([
    ['the file has another name by now', 'compose.yaml', 'name: guard-another\n'],
    ['… by a variable', 'compose.yaml', 'name: ${NOSUCH:-guard-another}\n'],
    ['… by a file that is merged over it', 'compose.override.yml', 'name: guard-another\n'],
    ['… by .env', '.env', 'COMPOSE_PROJECT_NAME=guard-another\n'],
  ])('down -v is of the project that compose would take, where %s', async (_, name, text) => {
    const file = path.join(stack.directory, name);
    const before = await readFile(file, 'utf8').catch(() => undefined);
    await writeFile(file, name === 'compose.yaml' ? (before ?? '').replace(/^name: .*\n/m, text) : text);
    try {
      const { verdict } = await check('docker compose down -v');
      expect(verdict.findings[0]?.losses).toEqual({ project: 'guard-another', volumes: [] });
    } finally {
      if (before === undefined) await rm(file);
      else await writeFile(file, before);
    }
  });

  it('an engine that is not on a socket of this machine is asked the same', async () => {
    const relay = createServer((connection) => {
      const engine = connect('/var/run/docker.sock');
      for (const end of [connection, engine]) end.on('error', () => connection.destroy());
      connection.pipe(engine).pipe(connection);
    });
    await new Promise<void>((resolve) => {
      relay.listen(0, '127.0.0.1', resolve);
    });
    const env = { DOCKER_HOST: `tcp://127.0.0.1:${(relay.address() as AddressInfo).port}` };
    try {
      const { verdict } = await check('docker compose down -v', { env });
      expect(verdict.findings[0]?.losses).toMatchObject({
        project: stack.project,
        volumes: [{ name: volume }],
      });
      await expectAllowed(`docker volume rm ${volume}`, /is in the backup/, { env });
      await expectRefused('docker volume rm nosuch-volume', /the engine has no such volume/, { env });
    } finally {
      relay.close();
    }
  });

  it('and so is the one of a context', async () => {
    const folder = await mkdtemp(path.join(keys, 'docker-'));
    const env = { DOCKER_CONFIG: folder, DOCKER_CONTEXT: 'here' };
    const host = (address: string): string[] => ['context', 'create', '--docker', `host=${address}`, 'here'];
    await execa('docker', host('unix:///var/run/docker.sock'), { env: { DOCKER_CONFIG: folder } });
    // What docker's own commands say is not needed to find it.
    await expectAllowed(`docker volume rm ${volume}`, /is in the backup/, {
      env: { ...env, PATH: '/nowhere' },
    });
    await execa('docker', ['context', 'rm', 'here'], { env: { DOCKER_CONFIG: folder } });
    await execa('docker', host('unix:///nowhere.sock'), { env: { DOCKER_CONFIG: folder } });
    await expectRefused(`docker volume rm ${volume}`, /cannot be reached: .*ENOENT/, { env });
  });

  it('prune names the volumes that nobody uses', async () => {
    const unused = `${stack.project}-unused`;
    await docker(['volume', 'create', '--label', `${testLabel}=${stack.project}`, unused]);
    const { verdict } = await check('docker volume prune -a');
    const names = verdict.findings[0]?.losses?.volumes.map(({ name }) => name);
    expect(names).toContain(unused);
    expect(names).not.toContain(volume);
    const some = await check('docker volume prune');
    expect(some.verdict.findings[0]?.losses?.volumes.map(({ name }) => name)).not.toContain(unused);
  });

  it('what deletes data at any path is refused, on its volume, in its folder and in its backups', async () => {
    const { id } = await newest();
    const { Name } = await stack.container('keep');
    const own = `the files on the volume ${volume} at /state`;
    for (const [text, loses] of [
      ['docker compose exec keep rm -rf /state', own],
      ["docker compose exec -T keep sh -c 'rm -rf /state/*'", own],
      [`docker exec ${Name.slice(1)} rm -rf /state/1`, own],
      ['docker exec $(docker compose ps -q keep) find /state -delete', own],
      ['rm -rf backups', `the backups of safe-update in ${path.join(stack.directory, 'backups')}`],
      [`rm -rf ./backups/${stack.project}/${id}`, 'the backups of safe-update in'],
      [`rm -rf ${stack.directory}`, 'the backups of safe-update in'],
      ['git clean -fdx', 'the backups of safe-update in'],
    ] as const) {
      const { exitCode, verdict, stderr } = await check(text);
      expect(exitCode, text).toBe(2);
      expect(verdict.findings[0]?.loses, text).toContain(loses);
      expect(stderr.match(/instead .*\n/g), text).toEqual([
        expect.stringContaining('safe-update guard approve'),
      ]);
    }
    for (const text of [
      'docker compose exec keep rm -rf /tmp/x /var/cache/apt',
      `docker exec ${Name.slice(1)} rm -rf /statement`,
      'rm -rf node_modules build',
      'git clean -fdxn',
      'git clean -fd src',
    ])
      expect((await check(text)).exitCode, text).toBe(0);
  });

  it('and in a folder that only a container of the project knows', async () => {
    for (const name of ['live', 'code', 'other']) {
      await mkdir(path.join(stack.directory, name));
      await stack.write(path.join(name, name === 'code' ? 'package.json' : 'x'), '{}');
    }
    const label = (name: string, value: string): string[] => ['--label', `${name}=${value}`];
    const made = await docker([
      ...[
        'create',
        ...label(testLabel, stack.project),
        ...label('com.docker.compose.project', stack.project),
      ],
      ...label('com.docker.compose.project.working_dir', stack.directory),
      ...['-v', `${path.join(stack.directory, 'live')}:/srv/live`, '-v', '/srv/nameless'],
      ...['-v', `${path.join(stack.directory, 'code')}:/srv/code`],
      ...['-v', `${path.join(stack.directory, 'other')}:/srv/other:ro`, 'debian:bookworm-slim'],
    ]);
    const container = made.trim();
    try {
      for (const text of [
        'rm -rf live',
        `docker exec ${container} rm -rf /srv/live`,
        `docker exec ${container} rm -rf /srv/nameless`,
        `docker run --rm --volumes-from ${container} debian:bookworm-slim rm -rf /srv/nameless/x`,
      ])
        expect((await check(text)).exitCode, text).toBe(2);
      for (const text of ['rm -rf code', 'rm -rf other', `docker exec ${container} rm -rf /srv/code/dist`])
        expect((await check(text)).exitCode, text).toBe(0);
    } finally {
      await docker(['rm', '-fv', container]);
    }
  });

  it('an agent is told the same by its hook', async () => {
    const ask = async (command: string): Promise<string> => {
      const request = { tool_name: 'Bash', tool_input: { command }, cwd: stack.directory };
      const { stdout } = await execa(process.execPath, [program, 'guard', 'hook', 'claude'], {
        input: JSON.stringify(request),
        env: inherited,
        extendEnv: false,
      });
      return stdout;
    };
    expect(await ask(`docker volume rm ${volume}`)).toBe('');
    expect(await ask('docker compose down -v')).toContain(`project ${stack.project}`);
  });
});

describe('a cache', () => {
  it('is one by its label', async () => {
    const name = `${stack.project}-labelled`;
    const label = `${testLabel}=${stack.project}`;
    await docker(['volume', 'create', '--label', label, '--label', 'safe-update.class=cache', name]);
    await expectAllowed(`docker volume rm ${name}`, new RegExp(`${name} holds a cache`));
    await expectRefused(`docker --context other volume rm ${name}`, /another engine/);
  });

  it("is one by its project's safe-update.yml, by key and by name", async () => {
    for (const key of ['state', volume])
      await configured(`volumes:\n  ${key}:\n    class: cache\n`, () =>
        expectAllowed(`docker volume rm ${volume}`, /holds a cache/),
      );
  });

  it('is none when only one of the environments that may be meant says so', async () => {
    const [cache, critical] = ['cache', 'critical'].map((word) => `volumes: { state: { class: ${word} } }`);
    await configured(
      `guard: { fresh: 1ms }\nenvironments:\n  prod: { ${critical ?? ''} }\n${cache ?? ''}\n`,
      () => expectRefused(`docker volume rm ${volume}`, /more than 0 s/),
    );
    await configured(`guard: { fresh: 1ms }\nenvironments:\n  prod: { ${cache ?? ''} }\n`, () =>
      expectRefused(`docker volume rm ${volume}`, /more than 0 s/),
    );
  });
});

describe('the policy', () => {
  const down = (): string => `docker compose -p ${stack.project} down -v`;

  it("of a project's own file counts for that project", async () => {
    await configured('guard:\n  policy: warn\n', async () => {
      const { exitCode, stderr, verdict } = await check(down(), { cwd: tmpdir() });
      expect([exitCode, verdict.decision]).toEqual([0, 'warn']);
      expect(stderr).toContain(`would be refused: ${down()}`);
      await expectRefused('docker compose -p another down -v', /^$/);
      await expectRefused(`docker --context other compose -p ${stack.project} down -v`, /^$/);
    });
    await configured('guard:\n  policy: off\n', () =>
      expectAllowed(down(), /not guarded \(safe-update.yml: off\)/),
    );
  });

  it('of an environment counts where that is the one that runs, or may be', async () => {
    const other = 'environments:\n  staging:\n    project: another\n    guard:\n      policy: off\n';
    await configured(other, () => expectRefused(down(), /^$/));
    const mine = `project: another\nenvironments:\n  staging:\n    project: ${stack.project}\n    guard:\n      policy: off\n`;
    await configured(mine, () => expectAllowed(down(), /not guarded/));
    const unclear = 'environments:\n  prod:\n    guard:\n      policy: off\n';
    await configured(unclear, () => expectRefused(down(), /^$/));
  });

  it('of a project is not for one that the .env of a folder below it names', async () => {
    const below = path.join(stack.directory, 'below');
    await mkdir(below);
    try {
      await configured('guard:\n  policy: off\n', async () => {
        await expectAllowed('docker compose down -v', /not guarded/, { cwd: below });
        await writeFile(path.join(below, '.env'), 'COMPOSE_PROJECT_NAME=another\n');
        await expectRefused('docker compose down -v', /^$/, { cwd: below });
      });
    } finally {
      await rm(below, { recursive: true });
    }
  });

  it('of a file that is wrong is block, with a warning', async () => {
    await configured('guard:\n  policy: perhaps\n', async () => {
      const { exitCode, stderr } = await check(down());
      expect(exitCode).toBe(2);
      expect(stderr).toMatch(/warning: .*safe-update\.yml.*guard\.policy/);
    });
  });

  it('of check --policy counts before all of them', async () => {
    await configured('guard:\n  policy: off\n', async () => {
      const words = ['guard', 'check', '--policy', 'block', '--', ...down().split(' ')];
      const { exitCode } = await execa(process.execPath, [program, ...words], {
        ...{ cwd: stack.directory, env: inherited, extendEnv: false, reject: false },
      });
      expect(exitCode).toBe(2);
    });
  });

  // A file system over /etc that only one process sees.
  const overEtc =
    'd=$(mktemp -d) && mount -t tmpfs none "$d" && mkdir "$d/u" "$d/w" && ' +
    'mount -t overlay overlay -o "lowerdir=/etc,upperdir=$d/u,workdir=$d/w" /etc && mkdir /etc/safe-update && ' +
    'printf %s "$POLICY" >/etc/safe-update/guard.yml && chmod "$MODE" /etc/safe-update/guard.yml ; ';
  const possible =
    execaSync('unshare', ['--mount', 'sh', '-ec', `${overEtc} test -s /etc/safe-update/guard.yml`], {
      env: { POLICY: 'policy: off\n', MODE: '644' },
      reject: false,
    }).exitCode === 0;
  const ruled = (policy: string, mode = '644'): Asked => ({
    env: { POLICY: policy, MODE: mode },
    under: ['unshare', '--mount', 'sh', '-c', `${overEtc} exec "$@"`, 'sh'],
  });

  // Root can always do it, so there it runs, and fails aloud where it cannot.
  const untested =
    possible || process.getuid?.() === 0
      ? ''
      : ' (SKIPPED: only root can put a file system over /etc for one process)';

  it.skipIf(untested !== '')(`of the machine's file is stronger than the project's${untested}`, async () => {
    const name = stack.project;
    await expectAllowed(
      down(),
      /not guarded \(projects\.e2e-\*: off\)/,
      ruled('policy: block\nprojects: { "e2e-*": off }\n'),
    );
    await expectRefused(down(), /^$/, ruled(`projects: { "e2e-*": off, ${name}: block }\n`));
    await expectRefused(down(), /^$/, ruled(`projects: { "e2e-*": off }\nvolumes: { ${volume}: block }\n`));
    await configured('guard:\n  policy: off\n', async () => {
      await expectRefused(down(), /^$/, ruled('policy: block\n'));
      await expectAllowed(down(), /not guarded/, ruled('fresh: 1h\n'));
      // Wrong, or somebody else's: as strict as can be.
      await expectRefused(down(), /^$/, ruled('policy: [off\n'));
      await expectRefused(down(), /^$/, ruled('policy: off\n', '666'));
    });
    const backup = await stack.safeUpdate(backing);
    expect(backup.exitCode, backup.story).toBe(0);
    await configured('guard:\n  fresh: 20d\n', () =>
      expectRefused(`docker volume rm ${volume}`, /more than 0 s/, ruled('fresh: 1ms\n')),
    );
    const warned = await check(down(), ruled('policy: off\n', '666'));
    expect(warned.stderr).toContain('warning: /etc/safe-update/guard.yml is not read');
  });
});

describe('an approval', () => {
  const down = (): string => `docker compose -p ${stack.project} down -v`;
  const made: string[] = [];
  afterEach(async () => {
    for (const id of made.splice(0)) await guard(['approve', '--revoke', id]);
  });

  const guard = (args: string[], cwd = stack.directory) =>
    execa(process.execPath, [program, 'guard', ...args], {
      ...{ cwd, env: inherited, extendEnv: false, reject: false, stdin: 'ignore' },
    });

  /** At a terminal of its own, with an answer when it is asked. */
  async function atTerminal(
    args: string[],
    answer: string,
  ): Promise<{ exitCode: number | undefined; shown: string }> {
    const line = [process.execPath, program, 'guard', ...args].map((word) => `'${word}'`).join(' ');
    const child = execa('script', ['--quiet', '--return', '--command', line, '/dev/null'], {
      ...{ cwd: stack.directory, env: { ...inherited, TERM: 'xterm' }, extendEnv: false, reject: false },
      stdin: 'pipe',
    });
    let shown = '';
    child.stdout.on('data', (piece: Buffer) => {
      const before = shown;
      shown += piece.toString('utf8');
      if (!before.includes('to approve it:') && shown.includes('to approve it:'))
        child.stdin.write(`${answer}\r`);
    });
    const { exitCode } = await child;
    return { exitCode, shown };
  }

  async function approved(text: string, ...flags: string[]): Promise<string> {
    const { exitCode, shown } = await atTerminal(['approve', ...flags, '--', text], stack.project);
    expect(exitCode, shown).toBe(0);
    const id = /Approved: ([0-9a-f]{8})\b/.exec(shown)?.[1] ?? '';
    made.push(id);
    return id;
  }

  it('is only given at a terminal', async () => {
    const { exitCode, stderr } = await guard(['approve', '--', ...down().split(' ')]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain('only a person at a terminal');
  });

  it('shows what would be lost and wants the name of the project', async () => {
    const { exitCode, shown } = await atTerminal(['approve', '--', down()], 'yes');
    expect(exitCode).toBe(2);
    expect(shown).toMatch(new RegExp(`${volume} \\d+ kB`));
    expect(shown).toContain('nothing was approved');
    expect((await check(down())).exitCode).toBe(2);
  });

  it('is used up by the first who asks, and says so', { retry: 2 }, async () => {
    const id = await approved(down());
    onTestFinished(async () => {
      await guard(['approve', '--revoke', id]);
    });
    await expectAllowed(down(), new RegExp(`approval ${id}, which is used up now`));
    await expectRefused(down(), /^$/);
    expect((await guard(['approve', '--list'])).stdout).toMatch(
      new RegExp(`${id}  ${down()}, in .*: used up`),
    );
  });

  // Whoever has no answer of the engine in time is refused: on a machine that is busy that may be all of them.
  it('is used up by one of two who ask at once', { retry: 2 }, async () => {
    const id = await approved(down());
    try {
      const all = await Promise.all([check(down()), check(down()), check(down())]);
      expect(all.map(({ exitCode }) => exitCode).sort()).toEqual([0, 2, 2]);
    } finally {
      await guard(['approve', '--revoke', id]);
    }
  });

  it('lets what deletes files of a volume through once, as the refusal says', async () => {
    const text = 'docker compose exec keep rm -rf /state';
    const { verdict } = await check(text);
    expect(verdict.findings[0]?.instead[0]).toContain(`safe-update guard approve -- ${text} #`);
    await approved(text);
    await expectAllowed(text, /approval/);
    await expectRefused(text, /^$/);
  });

  it('is for no other command, folder, engine or volume', async () => {
    await approved(down());
    await expectRefused(`${down()} --rmi all`, /^$/);
    await expectRefused(down(), /^$/, { cwd: tmpdir() });
    await expectRefused(`docker --context other compose -p ${stack.project} down -v`, /^$/);
    await expectRefused(down(), /^$/, { env: { DOCKER_HOST: 'unix:///nowhere.sock' } });
    const more = `${stack.project}_more`;
    const labels = [`${testLabel}=${stack.project}`, `com.docker.compose.project=${stack.project}`];
    await docker(['volume', 'create', ...labels.flatMap((label) => ['--label', label]), more]);
    // It is in the way of another attempt.
    await expectRefused(down(), /^$/).finally(() => docker(['volume', 'rm', more]));
    // Refused where the engine answers late, it is not used up.
    await eventually(() => expectAllowed(down(), /approval/));
  });

  it('holds no longer than was said, and can be taken back', async () => {
    const id = await approved(down(), '--for', '2s');
    await eventually(async () => {
      expect((await guard(['approve', '--list'])).stdout).not.toContain(id);
    });
    await expectRefused(down(), /^$/);
    const other = await approved(down());
    expect((await guard(['approve', '--revoke', other])).exitCode).toBe(0);
    await expectRefused(down(), /^$/);
    expect((await guard(['approve', '--revoke', other])).exitCode).toBe(2);
  });

  it('is not given for what nobody can see beforehand', async () => {
    const { exitCode, shown } = await atTerminal(['approve', '--', 'docker volume rm "$X"'], 'volume-rm');
    expect(exitCode).toBe(2);
    expect(shown).toContain('cannot be approved');
    const allowed = await atTerminal(['approve', '--', 'docker compose ps'], '');
    expect(allowed.exitCode).toBe(0);
    expect(allowed.shown).toContain('There is nothing to approve');
  });

  it('lets the engine delete each volume once', async () => {
    const id = await approved(down());
    const folder = approvalsFolder();
    expect(useForApi({ kind: 'volume', name: volume }, { folder })).toBe(id);
    expect(useForApi({ kind: 'volume', name: volume }, { folder })).toBeUndefined();
    expect(useForApi({ kind: 'container', project: stack.project }, { folder })).toBe(id);
    expect(useForApi({ kind: 'container', project: `${stack.project}2` }, { folder })).toBeUndefined();
    expect(readdirSync(folder).some((name) => name.startsWith(`${id}.volume-`))).toBe(true);
  });
});

describe('with an encrypted backup', () => {
  it('a volume may be deleted by who has the key, and the reason names what is missing', async () => {
    const { identity, recipient } = await generateKey();
    const key = path.join(keys, `${randomBytes(4).toString('hex')}.txt`);
    await mkdir(keys, { recursive: true });
    await writeFile(key, `${identity}\n`, { mode: 0o600 });
    await configured(`backups:\n  encryption:\n    recipients: [${recipient}]\n`, async () => {
      const run = await stack.safeUpdate(backing);
      expect(run.exitCode, run.story).toBe(0);
      await expectRefused(`docker volume rm ${volume}`, /is encrypted, .*SAFE_UPDATE_IDENTITY_FILE/);
      await expectAllowed(`docker volume rm ${volume}`, /is in the backup manual-/, {
        env: { SAFE_UPDATE_IDENTITY_FILE: key },
      });
      const { folder } = await newest();
      const [part = ''] = readdirSync(path.join(folder, 'parts'));
      await writeFile(path.join(folder, 'parts', part), 'changed');
      await expectRefused(`docker volume rm ${volume}`, /damaged/, {
        env: { SAFE_UPDATE_IDENTITY_FILE: key },
      });
    });
  });
});
