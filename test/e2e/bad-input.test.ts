import { readdirSync, readFileSync } from 'node:fs';
import { readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { smallDisk } from './small-disk.ts';
import {
  eventually,
  expectNothingLeft,
  expectSame,
  expectUntouched,
  project,
  quick,
  shop,
  snapshot,
  type Finished,
  type Stack,
} from './stack.ts';
import { turn } from '../faults/campaign.ts';

/** What failed, what state things are in, and what to do next: all three, and the exit code. */
function expectError(run: Finished, exitCode: number, message: RegExp, hint = /\w{3}/): void {
  expect(run.exitCode, run.story).toBe(exitCode);
  expect(run.outcome?.result).toBe('failed');
  expect(run.outcome?.error?.message).toMatch(message);
  expect(run.outcome?.error?.state).toMatch(/^Nothing was (touched|removed)/);
  expect(run.outcome?.error?.hint).toMatch(hint);
  expect(run.stdout + run.stderr).not.toMatch(/\n\s+at .+\.ts:\d+/);
}

describe('before there is a stack', () => {
  it('no compose file', async () => {
    const stack = await project({});
    expectError(await stack.update(), 2, /no compose file/i);
  });

  it('broken YAML', async () => {
    const stack = await project({ 'compose.yaml': 'services:\n  web: [image: x\n' });
    expectError(await stack.update(), 2, /compose\.yaml|yaml/);
  });

  it('a variable that must be set', async () => {
    const stack = await project({
      'compose.yaml': 'services:\n  web:\n    image: "${RELEASE_TAG:?say which}"\n',
    });
    expectError(await stack.update(), 2, /RELEASE_TAG.*say which/);
  });

  it('an environment that does not exist, and a mistyped command', async () => {
    const stack = await project({ 'compose.yaml': 'services:\n  web:\n    image: debian:bookworm-slim\n' });
    expectError(await stack.safeUpdate(['staging', ...quick]), 2, /no environment staging/i);
    expectError(await stack.safeUpdate(['rolback', ...quick]), 2, /rolback/, /rollback/);
    // Whoever asks for a plan is not led to an update, and a word that is nothing is said to be, also off a terminal.
    for (const args of [['plan', 'prd'], ['prd'], ['update', 'prd'], ['backups', 'prd'], ['sttus']]) {
      const { exitCode, stderr, stdout } = await stack.safeUpdate(args);
      expect(exitCode).toBe(2);
      const words = (stdout + stderr).replaceAll(/\s+/g, ' ');
      expect(words).toMatch(`There is no environment ${args.at(-1)}. There is only prod`);
      expect(words, args.join(' ')).toMatch(
        args[0] === 'sttus' ? 'Did you mean the command `safe-update status`?' : 'Next Did you mean prod?',
      );
      expect(words).not.toMatch(/safe-update (update|prod)|terminal/);
    }
    const unknown = await stack.safeUpdate(['--no-such-flag']);
    expect(unknown.exitCode).toBe(2);
    expect(unknown.stderr).toMatch(/no-such-flag/);
  });

  it('safe-update.yml with a mistake in it', async () => {
    const stack = await project({
      'compose.yaml': 'services:\n  web:\n    image: debian:bookworm-slim\n',
      'safe-update.yml': 'backups:\n  directroy: ./elsewhere\n',
    });
    const run = await stack.update();
    expectError(run, 2, /safe-update\.yml:2:3/);
    expect(run.outcome?.error?.message).toMatch(/directory/);
  });

  it('an engine that does not answer', async () => {
    const stack = await project({ 'compose.yaml': 'services:\n  web:\n    image: debian:bookworm-slim\n' });
    const run = await stack.update([], { env: { DOCKER_HOST: `unix://${stack.directory}/none.sock` } });
    expect(run.exitCode, run.story).toBe(3);
    expect(run.outcome?.error?.code).toBe('engine');
    expect(run.outcome?.error?.message).toMatch(/cannot be reached/);

    const nonsense = await stack.update([], { env: { DOCKER_HOST: 'nonsense' } });
    expectError(nonsense, 3, /nonsense is of a kind that is not known/, /DOCKER_HOST/);
  });

  it.each([
    ['a value that compose cannot read', 'POSTGRES_PASSWORD: "SECRET${"'],
    ['a place that compose does not know', '- POSTGRES_PASSWORD=SECRET\n      nonsense'],
    ['a variable that is not set', 'POSTGRES_PASSWORD: "SECRET${NOT_SET:?set it}"'],
  ])('%s: the message does not repeat the password beside it', async (_, line) => {
    const stack = await project({});
    const text = `services:\n  db:\n    image: postgres:15\n    environment:\n      ${line}\n`;
    await stack.write('compose.yaml', text.replace('SECRET', stack.secret));
    const run = await stack.update();
    expectError(run, 2, /compose files are not valid/);
    expect(run.stdout + run.stderr).not.toContain(stack.secret);
  });
});

describe('with a stack that runs', () => {
  let stack: Stack;
  beforeAll(async () => {
    stack = await shop();
    await stack.push('1.1.0');
  }, 120_000);

  it('nobody to ask, and no --yes', async () => {
    const before = await snapshot(stack);
    expectError(await stack.safeUpdate(['--json']), 2, /no terminal/i, /--yes/);
    expectUntouched(before, await snapshot(stack));
  });

  it('a backup folder that is a file', async () => {
    const file = path.join(stack.directory, 'a-file');
    await writeFile(file, '');
    onTestFinished(() => rm(file));
    const before = await snapshot(stack);
    expectError(await stack.update(['--backups', file]), 3, /a-file/);
    expectUntouched(before, await snapshot(stack));
  });

  it('a backup folder that cannot be written', async () => {
    const folder = await smallDisk(stack, '1m', ',ro');
    const before = await snapshot(stack);
    expectError(await stack.update(['--backups', folder]), 3, /small-disk/, /--backups/);
    expectUntouched(before, await snapshot(stack));
  });

  it('too little space, found out before anything stops', async () => {
    const folder = await smallDisk(stack, '20m');
    const before = await snapshot(stack);
    const run = await stack.update(['--backups', folder]);
    expectError(run, 3, /too little space/i, /--accept space/);
    expectUntouched(before, await snapshot(stack));
    expect(await readdir(path.join(folder, stack.project))).not.toContainEqual(
      expect.stringMatching(/partial$/),
    );
    await expectNothingLeft(stack, run);
  });

  it.runIf(turn(0, 2))('no space left in the middle of the archive: the stack runs again', async () => {
    const folder = await smallDisk(stack, '3m');
    const before = await snapshot(stack);
    const run = await stack.update(['--backups', folder, '--accept', 'space']);
    expect(run.exitCode, run.story).toBe(4);
    expect(run.steps).toContain('archive');
    expect(run.outcome?.error?.message).toMatch(/no space left/);
    expectSame(before, await snapshot(stack));
    const left = await readdir(path.join(folder, stack.project));
    expect(left.filter((name) => /^(pre-update|failed)/.test(name))).toEqual([]);
    await expectNothingLeft(stack, run);
  });

  it.runIf(turn(1, 2))(
    'a backup folder that can no longer be written when the stack has stopped: it runs again all the same',
    async () => {
      const folder = await smallDisk(stack, '100m');
      const before = await snapshot(stack);
      const running = stack.start([...quick, '--backups', folder, '--accept', 'space']);
      await running.step('stop');
      await eventually(() => execa('mount', ['-o', 'remount,ro', folder]));
      const run = await running.finished;
      expect(run.exitCode, run.story).toBe(4);
      expect(run.outcome?.error?.message).toMatch(/read-only file system/i);
      expectSame(before, await snapshot(stack));

      // What could not be noted is done again, and does no harm.
      await execa('mount', ['-o', 'remount,rw', folder]);
      const recovered = await stack.safeUpdate([
        'recover',
        '--json',
        '--stable-for',
        '1s',
        '--backups',
        folder,
      ]);
      expect(recovered.exitCode, recovered.story).toBe(0);
      expect(recovered.outcome?.result).toBe('recovered');
      expectSame(before, await snapshot(stack));
      expect(await readdir(path.join(folder, stack.project))).toEqual(['.gitignore', '.safe-update']);
      const again = await stack.safeUpdate(['recover', '--json', '--backups', folder]);
      expect(again.outcome?.result).toBe('nothing-to-do');
      await expectNothingLeft(stack, run, recovered);
    },
  );

  it('no password in any command line while it works', async () => {
    const lines = new Set<string>();
    const running = stack.start([...quick, '--stable-for', '1s']);
    const work = { ended: false };
    const finished = running.finished.finally(() => (work.ended = true));
    while (!work.ended) {
      // All at once: what runs for a tenth of a second must be seen too.
      for (const name of readdirSync('/proc')) {
        if (!/^\d+$/.test(name)) continue;
        try {
          lines.add(readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' '));
        } catch {
          // It has ended.
        }
      }
      await sleep(5);
    }
    const run = await finished;
    expect(run.exitCode, run.story).toBe(0);
    for (const word of ['pg_dump', 'redis-cli', 'compose']) {
      expect(
        [...lines].some((line) => line.includes(word)),
        `${word} was seen`,
      ).toBe(true);
    }
    // The stack's own server is started with it; that is its author's choice.
    const withSecret = [...lines].filter((line) => line.includes(stack.secret));
    expect(withSecret.filter((line) => !line.includes('redis-server'))).toEqual([]);
    await expectNothingLeft(stack, run);
  });
});
