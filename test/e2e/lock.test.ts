import { readFileSync, readlinkSync } from 'node:fs';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { turn } from '../faults/campaign.ts';
import { docker, inspectWhere } from './docker.ts';
import { buildImage, keeper, listen, local, shell } from './stack-small.ts';
import {
  expectNothingLeft,
  expectUntouched,
  project,
  quick,
  snapshot,
  type Finished,
  type Stack,
} from './stack.ts';

const lockOf = (stack: Stack): string => `safe-update-lock-${stack.project}`;

/** One service with a volume, running a release; another release is there. */
async function small(): Promise<Stack> {
  const stack = await project({});
  await stack.write(
    'compose.yaml',
    `
services:
  web: { image: '${stack.project}/web', stop_grace_period: 0s, volumes: ['data:/data'] }
volumes:
  data:
`,
  );
  await release(stack, 'first');
  await stack.up();
  await shell(await stack.container('web'), 'echo kept >/data/keep');
  return stack;
}

async function release(stack: Stack, name: string): Promise<void> {
  const image = await buildImage(stack, name, keeper({ env: { RELEASE: name } }));
  await docker(['tag', image, `${stack.project}/web:latest`]);
}

/** Exit 11: who holds it, since when and why, and what to do. */
function expectLocked(run: Finished, holder: { pid: number | string; purpose?: string }): void {
  expect(run.exitCode, run.stdout + run.stderr).toBe(11);
  expect(run.outcome?.result).toBe('failed');
  expect(run.outcome?.error?.code).toBe('locked');
  expect(run.outcome?.error?.state).toBe('Nothing was touched.');
  expect(run.outcome?.error?.message).toMatch(
    new RegExp(`is locked by .+@.+ \\(pid ${holder.pid}\\), ${holder.purpose ?? 'update'} since 20\\d\\d-`),
  );
  expect(run.outcome?.error?.hint).toMatch(/^Wait until it has ended/);
}

describe('several updates at once', () => {
  it('two: one runs to its end, the other is told who holds the lock', async () => {
    const stack = await small();
    await release(stack, 'second');
    const listening = listen(stack);
    // Long enough for the other one to have begun, however slow the machine is.
    const both = [1, 2].map(() => stack.start([...quick, ...local, '--stable-for', '6s']));
    const runs = await Promise.all(both.map(({ finished }) => finished));
    const events = await listening.end();

    expect(runs.map(({ exitCode }) => exitCode).sort(), runs.map(({ stdout }) => stdout).join('\n')).toEqual([
      0, 11,
    ]);
    const winner = runs.findIndex(({ exitCode }) => exitCode === 0);
    expectLocked(runs[1 - winner]!, { pid: both[winner]!.pid });
    expect(runs[winner]!.outcome?.result).toBe('updated');

    const made = (role: string): string[] =>
      events
        .filter(({ action, attributes }) => action === 'create' && attributes['safe-update.role'] === role)
        .map(({ attributes }) => attributes['safe-update.run'] ?? '');
    expect(made('lock')).toEqual([runs[winner]!.outcome?.run]);
    expect(made('helper')).toEqual([runs[winner]!.outcome?.run]);
    expect(events.filter(({ action, service }) => service === 'web' && action === 'die')).toHaveLength(1);
    expect(await stack.backups()).toHaveLength(1);
    await expectNothingLeft(stack, ...runs);
  });

  it.runIf(turn(0, 2))(
    'every command beside it says that it is under way, and which step it is in',
    async () => {
      const stack = await small();
      await stack.safeUpdate(['backup', '--yes', '--json', '--stable-for', '1s']);
      await release(stack, 'second');
      const running = stack.start([...quick, ...local], { env: { SAFE_UPDATE_PAUSE: 'verify:begin' } });
      await running.until((event) => event.type === 'notice' && event.message === 'Paused at verify:begin.');
      const id = (await stack.backups())[0]?.id ?? '';
      const said = new RegExp(
        `update since 20\\S+Z, in the step verify, by \\S+@\\S+ \\(pid ${running.pid}\\)`,
      );
      for (const args of [
        ...[['status'], ['doctor'], ['backups'], ['history'], ['volumes'], ['plan'], ['show', id]],
        ...[
          ['health', '--stable-for', '1s'],
          ['init', '--dry-run'],
        ],
      ]) {
        const { exitCode, stdout, stderr } = await stack.safeUpdate(args);
        const words = (stdout + stderr).replaceAll(/\s+/g, ' ');
        expect(exitCode, `${args.join(' ')}: ${words}`).toBe(0);
        expect(words, args.join(' ')).toMatch(said);
        expect(words, args.join(' ')).toMatch('under way');
        expect(words, args.join(' ')).not.toMatch(/safe-update recover|(?<!none )was interrupted|unfinished/);
      }
      const lines = async (args: string[]): Promise<unknown> =>
        JSON.parse((await stack.safeUpdate([...args, '--json'])).stdout);
      const underWay = { kind: 'update', result: 'under-way', reason: 'in the step verify' };
      expect(await lines(['status'])).toMatchObject({ lastRun: underWay });
      expect(await lines(['history'])).toMatchObject([underWay, { kind: 'backup', result: 'backed-up' }]);
      for (const args of [
        [...quick, ...local],
        ['backup', '--yes', '--json'],
        ['restore', id, '--confirm', stack.project, '--json'],
        ['recover', '--json'],
        ['prune', '--json'],
      ]) {
        const run = await stack.safeUpdate(args);
        expectLocked(run, { pid: running.pid });
        expect(run.outcome?.error?.message, args.join(' ')).toMatch(/, in the step verify\.$/);
        expect(run.story, args.join(' ')).not.toMatch(/interrupted|safe-update recover/);
      }
      running.kill('SIGKILL');
      await running.finished;
    },
  );

  it.runIf(turn(0, 2))(
    'one that waits looks again once the other has ended, and gives up after its time',
    async () => {
      const stack = await small();
      await release(stack, 'second');
      const first = stack.start([...quick, ...local, '--stable-for', '6s']);
      await first.step('measure');
      const [short, long] = [
        stack.start([...quick, ...local, '--lock-wait', '1s']),
        stack.start([...quick, ...local, '--lock-wait', '2m']),
      ];
      expectLocked(await short.finished, { pid: first.pid });
      const [done, waited] = [await first.finished, await long.finished];
      expect(done.exitCode, done.story).toBe(0);
      expect(waited.exitCode, waited.story).toBe(0);
      expect(waited.outcome?.result).toBe('nothing-to-do');
      expect(waited.events).toContainEqual(
        expect.objectContaining({ message: expect.stringMatching(/^Waiting for .* for 2 min/) as string }),
      );
      expect(await stack.backups()).toHaveLength(1);
      await expectNothingLeft(stack, done, waited);
    },
  );

  it.runIf(turn(1, 2))(
    'six, from other folders and with other flags: one holds the lock, and when it is killed the next one takes over',
    async () => {
      const stack = await small();
      const elsewhere = await mkdtemp(path.join(tmpdir(), `${stack.project}-elsewhere-`));
      const link = path.join(elsewhere, 'link');
      await symlink(stack.directory, link);
      await release(stack, 'second');
      const before = await snapshot(stack);
      try {
        const file = path.join(stack.directory, 'compose.yaml');
        const flags = [...quick, ...local];
        const env = { SAFE_UPDATE_PAUSE: 'measure' };
        const all = [
          stack.start(flags, { env }),
          stack.start(flags, { env }),
          stack.start(flags, { env, cwd: link }),
          stack.start(['-f', file, ...flags], { env, cwd: elsewhere }),
          stack.start(['--project-directory', stack.directory, ...flags, '-f', file], { env, cwd: '/' }),
          stack.start(
            ['--backups', path.join(stack.directory, 'backups'), ...flags, '--consistency', 'hot'],
            {
              env,
            },
          ),
        ];
        const paused = all.map((run) =>
          run
            .until((event) => event.type === 'notice' && event.message === 'Paused at measure.')
            .then(() => run),
        );
        const holder = await Promise.any(paused);
        const losers = all.filter((run) => run !== holder);
        for (const { finished } of losers) expectLocked(await finished, { pid: holder.pid });
        await Promise.allSettled(paused.filter((_, index) => all[index] !== holder));
        expect(await inspectWhere(`label=safe-update.project=${stack.project}`)).toHaveLength(1);

        // With nobody else about: not a single thing happens on the engine, whatever the command.
        const listening = listen(stack);
        for (const args of [
          ['backup', '--yes', '--json'],
          [...quick, ...local],
        ])
          expectLocked(await stack.safeUpdate(args), { pid: holder.pid });
        expect(await listening.end()).toEqual([]);
        expectUntouched(before, await snapshot(stack));

        holder.kill('SIGKILL');
        await holder.finished;
        const next = await stack.update([...local, '--stable-for', '1s']);
        expect(next.exitCode, next.stdout + next.stderr).toBe(0);
        expect(next.outcome?.result).toBe('updated');
        const notices = next.events.flatMap((event) => (event.type === 'notice' ? [event.message] : []));
        expect(notices).toContainEqual(
          expect.stringMatching(`The lock of .* \\(pid ${holder.pid}\\), .* was taken over`),
        );
        expect(notices).toContainEqual(
          expect.stringMatching(/update of 20.* was interrupted after the step pin/),
        );
        await expectNothingLeft(stack, next);
      } finally {
        await rm(elsewhere, { recursive: true });
      }
    },
  );
});

describe('the lock of', () => {
  let stack: Stack;
  let gone: { pid: number; started: string };
  /** Lives as long as these tests. */
  const living = execa('sleep', ['infinity'], { reject: false, stdin: 'ignore' });

  beforeAll(async () => {
    stack = await small();
    const ended = execa('true');
    await ended;
    gone = { pid: ended.pid ?? 0, started: '1' };
  });
  afterAll(async () => {
    living.kill();
    await living;
  });

  const here = {
    host: hostname(),
    boot: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
    namespace: readlinkSync('/proc/self/ns/pid'),
    person: 'somebody@somewhere',
    purpose: 'update',
    at: '2024-10-17T14:30:22.000Z',
  };

  /** Field 22 of /proc/PID/stat; none of the fields before it has a blank in it for a program called sleep. */
  const startOf = (pid: number): string => readFileSync(`/proc/${pid}/stat`, 'utf8').split(' ')[21] ?? '';

  async function forge(
    owner: Partial<typeof here> & { pid: number; started: string },
    running = true,
  ): Promise<void> {
    const labels = Object.entries({ ...here, ...owner }).map(
      ([key, value]) => `--label=safe-update.lock.${key}=${value}`,
    );
    await docker([
      ...[running ? 'run' : 'create', ...(running ? ['--detach'] : []), '--name', lockOf(stack), ...labels],
      ...['--label', `safe-update.project=${stack.project}`, '--label', 'safe-update.role=lock'],
      ...['--stop-timeout', '0', 'debian:bookworm-slim', 'sleep', 'infinity'],
    ]);
  }

  const backup = (): Promise<Finished> =>
    stack.safeUpdate(['backup', '--yes', '--json', '--stable-for', '1s']);

  async function expectTakenOver(pid: number): Promise<void> {
    const run = await backup();
    expect(run.exitCode, run.stdout + run.stderr).toBe(0);
    const notices = run.events.flatMap((event) => (event.type === 'notice' ? [event.message] : []));
    expect(notices).toEqual([
      `The lock of somebody@somewhere (pid ${pid}), update since ${here.at} was taken over: that process is gone.`,
    ]);
    await expectNothingLeft(stack, run);
  }

  async function expectRespected(pid: number): Promise<Finished> {
    const [lock] = await inspectWhere(`name=${lockOf(stack)}`);
    const { stdout, stderr } = await stack.safeUpdate(['status']);
    expect(stdout + stderr).toMatch(
      new RegExp(`A run is under way: update since ${here.at}, by somebody@somewhere .*\\(pid ${pid}\\)`),
    );
    const before = await snapshot(stack);
    const listening = listen(stack);
    const run = await backup();
    expect(await listening.end()).toEqual([]);
    expectLocked(run, { pid });
    expectUntouched(before, await snapshot(stack));
    expect(await inspectWhere(`name=${lockOf(stack)}`)).toEqual([lock]);
    await docker(['rm', '--force', lockOf(stack)]);
    return run;
  }

  it('a process that has ended is taken over', async () => {
    await forge(gone);
    await expectTakenOver(gone.pid);
  });

  it('a process whose number has been given to another one is taken over', async () => {
    await forge({ pid: process.pid, started: '1' });
    await expectTakenOver(process.pid);
  });

  it('a process from before the machine was started again is taken over, also when its container has stopped', async () => {
    // Everything else about it is as of a process that lives.
    const pid = living.pid ?? 0;
    await forge({ boot: '00000000-0000-4000-8000-000000000000', pid, started: startOf(pid) }, false);
    await expectTakenOver(pid);
  });

  it('a living process is never taken over', async () => {
    const pid = living.pid ?? 0;
    await forge({ pid, started: startOf(pid) });
    const run = await expectRespected(pid);
    expect(run.outcome?.error?.hint).toBe(
      'Wait until it has ended, then run again; --lock-wait 10m waits by itself.',
    );
  });

  it('a process in another container of this machine is not taken over: nobody can tell from here', async () => {
    await forge({ ...gone, namespace: 'pid:[1]' });
    const run = await expectRespected(gone.pid);
    expect(run.outcome?.error?.hint).toContain(`docker rm -f ${lockOf(stack)}, then: safe-update recover`);
  });

  it('another machine is not taken over, and the way on is told', async () => {
    await forge({ ...gone, host: 'build.example.org' });
    const run = await expectRespected(gone.pid);
    expect(run.outcome?.error?.hint).toContain(`docker rm -f ${lockOf(stack)}, then: safe-update recover`);
  });
});
