import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { ListedBackup } from '../../src/backup/open.ts';
import type { Manifest } from '../../src/backup/manifest.ts';
import { expectIntact } from './outcomes.ts';
import { listen } from './stack-small.ts';
import {
  expectNothingLeft,
  expectSame,
  expectUntouched,
  project,
  shop,
  snapshot,
  type Finished,
  type Stack,
} from './stack.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await shop();
});

/** Runs a command that prints a result, and returns what it printed as its last line of JSON. */
async function json<T>(args: readonly string[], exitCode = 0): Promise<T> {
  const run = await stack.safeUpdate([...args, '--json']);
  expect(run.exitCode, run.story).toBe(exitCode);
  const lines = run.stdout.trimEnd().split('\n');
  for (const line of lines) expect(() => JSON.parse(line) as unknown, line).not.toThrow();
  expect(run.stdout).not.toContain(stack.secret);
  return JSON.parse(lines.at(-1) ?? '') as T;
}

/** Runs a command for people; returns what it said, without colours. */
async function text(args: readonly string[], exitCode = 0): Promise<string> {
  const run = await stack.safeUpdate(args);
  expect(run.exitCode, run.story).toBe(exitCode);
  expect(run.stdout).not.toContain('\u001b');
  expect(run.stdout + run.stderr).not.toContain(stack.secret);
  return run.stdout;
}

const backUp = (...flags: string[]): Promise<Finished> =>
  stack.safeUpdate(['backup', '--json', '--stable-for', '1s', ...flags]);

describe('before there is a backup', () => {
  it('status, history, backups and prune say so', async () => {
    expect(await text(['status'])).toMatch(/No run of safe-update yet\.\nNo backup yet\./);
    expect(await text(['history'])).toMatch(/no run for/i);
    expect(await text(['backups'])).toContain('There are no backups of');
    expect(await json(['backups'])).toEqual([]);
    expect(await json(['history'])).toEqual([]);
    expect(await json(['prune'])).toEqual({ removed: [], dryRun: false });
  });

  it('verify has nothing to verify', async () => {
    const run = await stack.safeUpdate(['verify', '--json']);
    expect(run.exitCode, run.story).toBe(2);
    expect(run.outcome?.error?.hint).toContain('safe-update backup');
  });
});

describe('backup', () => {
  it('cold: asks first, then the very same containers run again', async () => {
    const before = await snapshot(stack);
    const asked = await backUp();
    expect(asked.exitCode, asked.story).toBe(2);
    expect(asked.outcome?.error?.hint).toContain('--yes');
    expectUntouched(before, await snapshot(stack));

    const run = await backUp('--yes');
    expect(run.exitCode, run.story).toBe(0);
    expect(run.outcome?.result).toBe('backed-up');
    expect(Object.keys(run.outcome?.downtime ?? {}).sort()).toEqual(['app', 'cache', 'db']);
    const after = await snapshot(stack);
    expectSame(before, after);
    for (const [key, { id }] of Object.entries(before.services))
      expect(after.services[key]?.id, key).toBe(id);

    const [backup] = await stack.backups();
    if (backup === undefined) throw new Error('no backup');
    expect(run.outcome?.backup).toBe(backup.id);
    expect(backup.manifest).toMatchObject({ kind: 'manual', consistency: 'cold', sequence: 1 });
    expect(backup.manifest.volumes.map(({ exact }) => exact)).toEqual([true, true, true]);
    expect(backup.manifest.databases.map(({ service }) => service).sort()).toEqual(['cache', 'db']);
    await expectIntact(backup);
    await expectNothingLeft(stack, run);
  });

  it('hot: stops nothing, and so asks nothing', async () => {
    const before = await snapshot(stack);
    const run = await backUp('--consistency', 'hot');
    expect(run.exitCode, run.story).toBe(0);
    expectUntouched(before, await snapshot(stack));
    const backup = (await stack.backups()).at(-1);
    if (backup === undefined) throw new Error('no backup');
    expect(backup.manifest).toMatchObject({ kind: 'manual', consistency: 'hot', sequence: 2 });
    expect(backup.manifest.databases.map(({ service }) => service).sort()).toEqual(['cache', 'db']);
    await expectIntact(backup);
    await expectNothingLeft(stack, run);
  });
});

describe('commands that only look', () => {
  let listening: ReturnType<typeof listen>;
  let before: Awaited<ReturnType<typeof snapshot>>;
  let first: Manifest;
  let second: Manifest;
  beforeAll(async () => {
    before = await snapshot(stack);
    const [cold, hot] = await stack.backups();
    if (cold === undefined || hot === undefined) throw new Error('there are not two backups');
    first = cold.manifest;
    second = hot.manifest;
    listening = listen(stack);
  });

  it('backups: the newest first, with their manifests', async () => {
    const listed = await json<ListedBackup[]>(['backups']);
    expect(listed).toEqual([
      { id: second.id, manifest: second },
      { id: first.id, manifest: first },
    ]);
    const said = await text(['backups']);
    expect(said.indexOf(second.id)).toBeLessThan(said.indexOf(first.id));
    expect(said).toContain(stack.backupFolder);
  });

  it('backups: what is not whole says why', async () => {
    const damaged = path.join(stack.backupFolder, first.id, 'manifest.json');
    const partial = path.join(stack.backupFolder, 'pre-update-20200101_000000.partial');
    const whole = await readFile(damaged);
    await mkdir(partial);
    await writeFile(damaged, '{');
    const listed = await json<ListedBackup[]>(['backups']);
    expect(listed.map(({ id, problem }) => [id, problem])).toEqual([
      [second.id, undefined],
      ['pre-update-20200101_000000', expect.stringContaining('never sealed')],
      [first.id, expect.stringContaining('manifest.json has changed')],
    ]);
    expect(await text(['backups'])).toContain('manifest.json has changed');
    await writeFile(damaged, whole);
    await rm(partial, { recursive: true });
  });

  it('show: all that is in it', async () => {
    expect(await json(['show', first.id])).toEqual(first);
    const said = await text(['show', first.id]);
    for (const volume of ['cache_data', 'db_data', 'uploads'])
      expect(said).toContain(`${stack.project}_${volume}`);
    for (const word of ['postgres', 'redis', 'shop.dump', 'compose.yaml', stack.image])
      expect(said).toContain(word);
    const run = await stack.safeUpdate(['show', 'manual-20200101_000000', '--json']);
    expect(run.exitCode).toBe(2);
    expect(run.outcome?.error?.hint).toContain('safe-update backups');
  });

  it('verify: a good one, the newest one, and a damaged one', async () => {
    const bytes = (manifest: Manifest): number => manifest.parts.reduce((sum, part) => sum + part.bytes, 0);
    const sound = (manifest: Manifest): unknown => ({
      backup: manifest.id,
      sound: true,
      parts: manifest.parts.length,
      bytes: bytes(manifest),
    });
    expect(await json(['verify', first.id])).toEqual(sound(first));
    expect(await json(['verify'])).toEqual(sound(second));
    expect(await text(['verify', first.id])).toContain(`${first.id} is sound`);

    const part = `volumes/${stack.project}_db_data.tar.zst`;
    const file = path.join(stack.backupFolder, first.id, part);
    const whole = await readFile(file);
    await writeFile(file, whole.subarray(0, -1));
    const run = await stack.safeUpdate(['verify', first.id, '--json']);
    await writeFile(file, whole);
    expect(run.exitCode, run.story).toBe(3);
    expect(run.outcome?.error?.code).toBe('damaged');
    expect(run.outcome?.error?.message).toContain(part);
    expect(run.outcome?.error?.hint).toContain('safe-update backups');
  });

  it('status: what runs, and what was last', async () => {
    const status = await json<{
      project: string;
      containers: Record<string, unknown>[];
      lastRun: Record<string, unknown>;
      lastBackup: string;
    }>(['status']);
    expect(status.project).toBe(stack.project);
    expect(status.containers.map(({ service, status: state, health }) => [service, state, health])).toEqual([
      ['app', 'running', 'healthy'],
      ['cache', 'running', 'none'],
      ['db', 'running', 'healthy'],
    ]);
    expect(status.containers.map(({ configurationChanged }) => configurationChanged)).toEqual([
      false,
      false,
      false,
    ]);
    expect(status.containers[0]?.['imageId']).toBe(before.services['app-1']?.imageId);
    expect(status.lastRun).toMatchObject({ kind: 'backup', result: 'backed-up', backup: second.id });
    expect(status.lastBackup).toBe(second.id);
    const said = await text(['status']);
    expect(said).toContain(`${stack.project}-app-1`);
    expect(said).toContain(second.id);
  });

  it('history: every run and how it ended', async () => {
    const runs = await json<Record<string, unknown>[]>(['history']);
    expect(runs.map(({ kind, result, backup }) => [kind, result, backup])).toEqual([
      ['backup', 'backed-up', second.id],
      ['backup', 'backed-up', first.id],
    ]);
    expect(runs.every(({ milliseconds }) => Number(milliseconds) > 0)).toBe(true);
    expect(await text(['history'])).toContain(first.id);
  });

  it('health: good', async () => {
    expect(await json(['health', '--stable-for', '1s'])).toEqual({ project: stack.project, healthy: true });
    expect(await text(['health', '--stable-for', '1s'])).toContain('is healthy');
  });

  it('doctor: nothing to complain of', async () => {
    const findings = await json<{ check: string; good: boolean; says: string }[]>(['doctor']);
    expect(findings.filter(({ good }) => !good)).toEqual([]);
    const checks = ['engine', 'compose', 'configuration', 'backup folder', 'helper image', 'earlier runs'];
    expect(findings.map(({ check }) => check)).toEqual(expect.arrayContaining(checks));
    expect(await text(['doctor'])).toMatch(/✔ engine: docker \d+/);
  });

  it('doctor: names what is wrong, all of it at once, and exits with 3', async () => {
    const compose = await stack.read('compose.yaml');
    await stack.write('compose.yaml', 'services: [');
    const file = path.join(stack.directory, 'a-file');
    await writeFile(file, '');
    const findings = await json<{ check: string; good: boolean; hint?: string }[]>(
      ['doctor', '--backups', file],
      3,
    );
    await stack.write('compose.yaml', compose);
    await rm(file);
    const bad = findings.filter(({ good }) => !good);
    expect(bad.map(({ check }) => check).sort()).toEqual(['backup folder', 'configuration', 'earlier runs']);
    expect(findings.find(({ check }) => check === 'engine')?.good).toBe(true);
  });

  it('plan and --dry-run: what an update would do', async () => {
    const plan = await json<{ project: string; steps: { name: string }[] }>(['plan']);
    expect(plan.project).toBe(stack.project);
    expect(plan.steps.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['pull', 'dump', 'stop', 'archive', 'seal']),
    );
    expect(await json(['update', '--dry-run'])).toEqual(plan);
    expect(await json(['--dry-run'])).toEqual(plan);
  });

  it('plan of a hot update: what no dump holds, as the servers themselves say, which are only asked', async () => {
    await stack.sql("SELECT pg_create_physical_replication_slot('standby')");
    try {
      const lost = 'No dump of PostgreSQL in db holds the replication slot "standby"';
      const hot = ['plan', '--consistency', 'hot'];
      const warningsOf = async (args: string[]): Promise<string[]> =>
        (await json<{ warnings: string[] }>(args)).warnings;
      expect(await warningsOf(hot)).toContainEqual(
        expect.stringContaining(`This update would be refused: ${lost}`),
      );
      expect(await warningsOf([...hot, '--accept', 'not-in-dump:db'])).toContainEqual(
        expect.stringMatching(new RegExp(`^${lost}.* That was accepted\\.$`)),
      );
      expect((await warningsOf(['plan'])).join()).not.toContain('standby');
      await stack.write('safe-update.yml', 'databases: { cache: { engine: none } }\n');
      expect((await warningsOf(hot)).join('\n')).toMatch(/refused: cache \(Redis\) is not dumped/);
    } finally {
      await rm(path.join(stack.directory, 'safe-update.yml'), { force: true });
      await stack.sql("SELECT pg_drop_replication_slot('standby')");
    }
  });

  it('prune --dry-run: names, and removes nothing', async () => {
    expect(await json(['prune', '--keep', '1', '--dry-run'])).toEqual({ removed: [first.id], dryRun: true });
    expect(await text(['prune', '--keep', '1', '--dry-run'])).toContain(`Would be removed: ${first.id}`);
  });

  it('what only reads backups needs no compose file where it is called, as after an import', async () => {
    const elsewhere = await project({});
    const there = { cwd: elsewhere.directory };
    const from = ['--backups', path.join(stack.directory, 'backups')];
    for (const args of [['backups'], ['show', second.id], ['verify', second.id], ['history']]) {
      const run = await stack.safeUpdate([...args, ...from], there);
      expect(run.exitCode, `${args.join(' ')}: ${run.stderr}`).toBe(0);
      expect(run.stdout + run.stderr).toMatch(args[0] === 'history' ? 'backed-up' : second.id);
    }
    const update = await stack.safeUpdate(['plan', ...from], there);
    expect([update.exitCode, update.stderr]).toEqual([2, expect.stringMatching(/No compose file was found/)]);
  });

  it('and nothing has been touched by any of them', async () => {
    expect(await listening.end()).toEqual([]);
    expectUntouched(before, await snapshot(stack));
    expect((await stack.backups()).map(({ manifest }) => manifest)).toEqual([first, second]);
  });
});

describe('health', () => {
  it('bad: says what, and exits with 3', async () => {
    await stack.compose(['stop', 'app']);
    const short = ['health', '--stable-for', '1s'];
    const from = performance.now();
    const { healthy, problem } = await json<{ healthy: boolean; problem: string }>(short, 3);
    // What nothing is starting is not waited for, and not for as long as an update would.
    expect(performance.now() - from).toBeLessThan(30_000);
    expect(healthy).toBe(false);
    expect(problem).toMatch(/app/);
    expect(await text(short, 3)).toMatch(/is not healthy: .*app/);

    const waiting = stack.start([...short, '--wait', '1m', '--json']);
    await waiting.until((event) => event.type === 'notice' && event.message.startsWith('Not healthy yet: '));
    await stack.compose(['start', 'app']);
    const { exitCode, story, stdout } = await waiting.finished;
    expect(exitCode, story).toBe(0);
    const lines = stdout.match(/Not healthy yet: [^"]*/g) ?? [];
    expect(lines.filter((line, index) => line === lines[index - 1])).toEqual([]);
    const wrong = await stack.safeUpdate(['health', '--wait', 'soon']);
    expect([wrong.exitCode, wrong.stderr]).toEqual([2, expect.stringMatching(/--wait: expected a duration/)]);
  });
});

describe('prune', () => {
  it('removes what is beyond the number kept, and nothing that is not a backup', async () => {
    for (const mode of ['hot', 'hot']) {
      const run = await backUp('--consistency', mode);
      expect(run.exitCode, run.story).toBe(0);
    }
    const [a, b, c, d] = (await stack.backups()).map(({ id }) => id);
    const foreign = ['notes.txt', 'old', 'pre-update-yesterday', 'manual-20200101_000000.tar'];
    for (const name of foreign) await mkdir(path.join(stack.backupFolder, name));
    const strange = path.join(path.dirname(stack.backupFolder), 'manual-20200101_000000');
    await mkdir(strange);

    expect(await json(['prune', '--keep', '2'])).toEqual({ removed: [a, b], dryRun: false });
    expect((await stack.backups()).map(({ id }) => id)).toEqual([c, d]);
    expect(await readdir(stack.backupFolder)).toEqual(expect.arrayContaining(foreign));
    expect((await stat(strange)).isDirectory()).toBe(true);

    // What was damaged is for a person to look at; the last good one stays whatever is asked for.
    const damaged = path.join(stack.backupFolder, d ?? '', 'manifest.json');
    const whole = await readFile(damaged);
    await writeFile(damaged, '{');
    expect(await json(['prune', '--keep', '1'])).toEqual({ removed: [], dryRun: false });
    await writeFile(damaged, whole);
    expect(await json(['prune', '--keep', '1'])).toEqual({ removed: [c], dryRun: false });
    expect(await json(['prune', '--keep', '1'])).toEqual({ removed: [], dryRun: false });
    expect((await stack.backups()).map(({ id }) => id)).toEqual([d]);
    await expectNothingLeft(stack);
  });

  it.each(['0', '-1', 'all'])('refuses --keep %s', async (keep) => {
    const known = (await stack.backups()).map(({ id }) => id);
    const run = await stack.safeUpdate(['prune', `--keep=${keep}`, '--json']);
    expect(run.exitCode, run.story).toBe(2);
    expect((await stack.backups()).map(({ id }) => id)).toEqual(known);
  });
});

describe('help', () => {
  const commands =
    'update plan backup backups show verify restore export import rollback recover status health volumes history prune init doctor guard'.split(
      ' ',
    );

  it('names every command', async () => {
    const said = await text(['--help']);
    for (const command of commands) expect(said).toMatch(new RegExp(`^  ${command}\\b`, 'm'));
    expect(said).toMatch(/Examples:\n {2}safe-update prod/);
    const own = [...said.matchAll(/^ {2}([a-z]+) /gm)]
      .map(([, name]) => name)
      .filter((name) => name !== 'help');
    expect(own.filter((name) => name !== 'safe').sort()).toEqual([...commands].sort());
  });

  it.each(commands)('%s: what it does, its options, and examples that it understands', async (command) => {
    const said = await text([command, '--help']);
    expect(said).toMatch(new RegExp(`^Usage: safe-update ${command} `));
    const examples = said.split('Examples:\n')[1]?.trim().split(/\n\s*/) ?? [];
    expect(examples.length).toBeGreaterThan(0);
    for (const example of examples) {
      expect(example).toMatch(
        command === 'update' ? /^safe-update / : new RegExp(`^safe-update ${command}\\b`),
      );
      for (const [flag] of example.matchAll(/(?<= )--[a-z-]+/g)) expect(said, example).toContain(flag);
    }
  });

  it('does not need an engine, a project or a configuration', async () => {
    const empty = await project({ 'safe-update.yml': 'nonsense: [' });
    const env = { DOCKER_HOST: 'unix:///nowhere.sock' };
    for (const args of [['--help'], ['restore', '--help'], ['--version'], ['help', 'prune']]) {
      const run = await empty.safeUpdate(args, { env });
      expect(run.exitCode, run.story).toBe(0);
      expect(run.stdout).not.toBe('');
    }
  });

  it.each([
    [['--nonsense'], /--nonsense/, 'Run: safe-update --help'],
    [['restore'], /backup/, 'See which there are: safe-update backups'],
    [['show'], /backup/, 'See which there are: safe-update backups'],
    [['--consistency', 'warm'], /hot/, 'Run: safe-update --help'],
    [['prune', '--keep'], /--keep/, 'Run: safe-update --help'],
  ])('what it does not understand is exit code 2: %j', async (args, reason, next) => {
    const run = await stack.safeUpdate(args);
    expect(run.exitCode, run.story).toBe(2);
    expect(run.stderr).toMatch(reason);
    expect(run.stderr.split(/Next\n\s+/)[1]).toContain(next);
  });
});
