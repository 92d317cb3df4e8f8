/** What must not come out (a canary in every place where stacks keep secrets), and names that are meant to do harm. */
import { mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { docker, inspectWhere } from '../e2e/docker.ts';
import {
  expectNothingLeft,
  expectSame,
  quick,
  shop,
  snapshot,
  type Finished,
  type Stack,
} from '../e2e/stack.ts';
import { turn } from './campaign.ts';
import { confirmed } from './kill.ts';

/** Everything that the run writes and starts, looked at again and again while it runs. */
async function watched(stack: Stack, args: readonly string[]): Promise<{ run: Finished; seen: Set<string> }> {
  const seen = new Set<string>();
  // Whatever the umask is.
  const running = stack.start(args, { under: ['sh', '-c', 'umask 000; exec "$@"', 'sh'] });
  const work = { ended: false };
  const finished = running.finished.finally(() => (work.ended = true));
  while (!work.ended) {
    for (const container of await inspectWhere(`label=safe-update.project=${stack.project}`).catch(() => []))
      seen.add(JSON.stringify(container));
    for (const name of await readdir(stack.backupFolder, { recursive: true }).catch(() => [])) {
      const facts = await stat(path.join(stack.backupFolder, name)).catch(() => undefined);
      if (facts !== undefined && (facts.mode & 0o077) !== 0) seen.add(`others can read ${name}`);
      if (/\.safe-update\/.*\.jsonl$/.test(name))
        seen.add(await readFile(path.join(stack.backupFolder, name), 'utf8').catch(() => ''));
    }
    await sleep(20);
  }
  const run = await finished;
  seen.add(run.stdout);
  seen.add(run.stderr);
  return { run, seen };
}

it('a secret in the environment, in an address, in a file and in a label: in nothing that a run writes, says or starts', async () => {
  const stack = await shop({
    edit(model) {
      const { app } = model.services;
      // A label is no place for a secret. People put them there all the same.
      app!['labels'] = { 'com.example.token': '${DB_PASSWORD}' };
      app!['secrets'] = ['token'];
      model['secrets'] = { token: { file: './token.txt' } };
    },
    start: false,
  });
  await stack.write('token.txt', stack.secret);
  await stack.up();
  await stack.fill();
  const before = await snapshot(stack);
  for (const [release, args, exitCode] of [
    ['drop-table', quick, 4],
    ['1.1.0', quick, 0],
    ['1.1.0', ['rollback', ...confirmed(stack)], 0],
  ] as const) {
    await stack.push(release);
    const { run, seen } = await watched(stack, args);
    expect(run.exitCode, run.story).toBe(exitCode);
    expect(seen.size).toBeGreaterThan(4);
    for (const text of seen) {
      expect(text.includes(stack.secret), text.slice(0, 300)).toBe(false);
      expect(text).not.toMatch(/^others can read/);
    }
    await expectNothingLeft(stack, run);
  }
  expectSame(before, await snapshot(stack));
  for (const args of [['status'], ['plan'], ['backups'], ['history'], ['volumes'], ['doctor'], ['show']]) {
    const id = args[0] === 'show' ? [(await stack.backups())[0]?.id ?? ''] : [];
    for (const json of [[], ['--json']]) {
      const { stdout, stderr } = await stack.safeUpdate([...args, ...id, ...json]);
      expect((stdout + stderr).includes(stack.secret), args.join()).toBe(false);
    }
  }
});

const escape = '\u001b';
/** Each of these would leave a file, or change what a terminal shows, if it were ever more than a name. */
const hostile = `$(touch canary);'\`touch canary\`"&& touch canary --privileged`;

it.runIf(turn(1, 2))(
  'a folder, a label, a path and a database whose names are commands: taken as names, and shown without their effect',
  async () => {
    const stack = await shop({
      edit({ services: { app, db } }) {
        app!['labels'] = { 'com.example.note': `${hostile.replaceAll('$', '$$$$')}${escape}[2J` };
        (db!['volumes'] as string[]).push(`odd:/srv/it's $$(touch canary); x`);
      },
      start: false,
    });
    await stack.edit((model) => {
      (model['volumes'] as Record<string, unknown>)['odd'] = {};
    });
    await stack.up();
    await stack.fill();
    // A folder name cannot hold a slash, and that is all that it cannot hold.
    const odd = path.join(stack.directory, hostile);
    await mkdir(odd);
    for (const file of ['compose.yaml', '.env'])
      await rename(path.join(stack.directory, file), path.join(odd, file));
    await stack.sql(`CREATE DATABASE "x'; $(touch canary) ""--privileged"`);
    const { Id } = await stack.container('db');
    const fill = `cd "/srv/it's \\$(touch canary); x" && echo kept > '-rf --privileged'`;
    await docker(['exec', '--user', '0', Id, 'sh', '-c', fill]);
    const files = [...(await stack.containers())].length;
    expect(files).toBeGreaterThan(0);

    await stack.push('drop-table');
    const there = { cwd: odd };
    const run = await stack.update(['--backups', path.join(stack.directory, 'backups')], there);
    expect(run.exitCode, run.story).toBe(4);
    expect(run.outcome?.error?.state).toMatch(/^Rolled back and verified/);
    expect(await stack.sql('SELECT count(*) FROM members')).toBe('3');
    const kept = await docker([
      'exec',
      (await stack.container('db')).Id,
      'sh',
      '-c',
      fill.replace(/&&.*/, "&& cat -- '-rf --privileged'"),
    ]);
    expect(kept).toBe('kept');
    const plan = await stack.safeUpdate(
      ['status', '--backups', path.join(stack.directory, 'backups')],
      there,
    );
    for (const text of [run.stdout, run.stderr, plan.stdout, plan.stderr]) expect(text).not.toContain(escape);

    const everywhere = await readdir(stack.directory, { recursive: true });
    expect(everywhere.filter((name) => path.basename(name) === 'canary')).toEqual([]);
    for (const container of await stack.containers()) {
      const found = await docker(['exec', container.Id, 'find', '/', '-xdev', '-name', 'canary']).catch(
        () => '',
      );
      expect(found, container.Name).toBe('');
    }
    await writeFile(path.join(stack.directory, '.env'), await readFile(path.join(odd, '.env')));
  },
);
