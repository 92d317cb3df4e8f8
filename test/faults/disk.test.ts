/** A disk under the backups that is full, failing, read-only, somebody else's or gone, at every write of a run. */
import { chmod, chown, mkdir, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { expectIntact } from '../e2e/outcomes.ts';
import { smallDisk } from '../e2e/small-disk.ts';
import { local } from '../e2e/stack-small.ts';
import {
  expectNothingLeft,
  expectSame,
  expectUntouched,
  quick,
  shop,
  snapshot,
  type Finished,
  type RunOptions,
  type Snapshot,
  type Stack,
} from '../e2e/stack.ts';
import { chosen, turn, whole } from './campaign.ts';
import { small } from './small.ts';
import { tool } from '../tools.ts';

vi.setConfig({ testTimeout: 1_800_000 });

const strace = tool('strace', ['--version'], 'a system call that fails');

/** One whose next release is in compose.yaml already. */
async function ready(): Promise<Stack> {
  const { stack, release } = await small();
  await release('two');
  return stack;
}

/** Whatever the run came to: it is wholly as it was or wholly new, and what it says of that is true. */
async function expectOneOrTheOther(
  stack: Stack,
  before: Snapshot,
  run: Finished,
  about: string,
  folder: string,
): Promise<void> {
  const after = await snapshot(stack);
  if (run.exitCode === 0) {
    expect(run.outcome?.result, about).toBe('updated');
  } else {
    expect([3, 4], `${about}: ${run.story}`).toContain(run.exitCode);
    expect(run.outcome?.error?.message, about).not.toBe('');
    expect(run.outcome?.error?.hint, about).toMatch(/\w{3}/);
    if (run.exitCode === 3) {
      expect(run.outcome?.error?.state ?? '', `${about}: ${run.story}`).toMatch(/^Nothing was touched/);
      expectUntouched(before, after);
    } else expectSame(before, after);
  }
  const left = await readdir(path.join(folder, stack.project)).catch(() => []);
  expect(
    left.filter((name) => /\.(partial|deleting)$/.test(name)),
    about,
  ).toEqual([]);
}

/** Sealed backups in another folder than the stack's own. */
async function backupsIn(stack: Stack, folder: string): Promise<string[]> {
  const names = await readdir(path.join(folder, stack.project)).catch(() => []);
  return names.filter((name) => /^(pre-update|failed|manual|pre-restore)-/.test(name)).sort();
}

/** Whether every run has noted its end. */
async function everyEnd(stack: Stack): Promise<boolean> {
  const folder = path.join(stack.backupFolder, '.safe-update');
  const names = (await readdir(folder)).filter((name) => name.endsWith('.jsonl'));
  const journals = await Promise.all(names.map((name) => readFile(path.join(folder, name), 'utf8')));
  return journals.every((journal) => journal.includes('"type":"end"'));
}

describe('no space left', () => {
  it('at every size of the disk: nothing is lost, and what ran runs again', async () => {
    const stack = await shop();
    await stack.push('1.1.0');
    const first = await stack.safeUpdate(['backup', '--consistency', 'hot', '--json']);
    expect(first.exitCode, first.story).toBe(0);
    const before = await snapshot(stack);
    // What a backup of it takes on a disk whose blocks are 4 KiB, folders and journal apart.
    const [{ manifest, folder: known } = never()] = await stack.backups();
    const blocks = (bytes: number): number => Math.ceil(bytes / 4096);
    const needed = manifest.parts.reduce((sum, { bytes }) => sum + blocks(bytes), 0) * 4;
    // For less than a dump, for less than an archive, and around all of it.
    const sizes = [
      16,
      ...(whole ? range(32, 64, 16) : []),
      ...(whole ? range(80, 128, 16) : []),
      ...chosen(range(256, needed - 256, Math.floor(needed / 8)), 1),
      ...chosen(range(needed - 128, needed + 256, whole ? 8 : 32), 1),
    ];
    const ends: Record<string, number> = {};
    for (const size of sizes) {
      const folder = await smallDisk(stack, `${size}k`, '', `disk-${size}`);
      const run = await stack.update(['--backups', folder, '--accept', 'space']);
      const about = `${size} KiB of about ${needed}`;
      await expectOneOrTheOther(stack, before, run, about, folder);
      if (run.exitCode !== 0) {
        expect(run.outcome?.error?.message, about).toMatch(/no space left|ENOSPC/i);
        expect(run.outcome?.error?.hint, about).toMatch(/space|prune|--backups/);
        expect(await backupsIn(stack, folder), about).toEqual([]);
      }
      ends[String(run.exitCode)] = (ends[String(run.exitCode)] ?? 0) + 1;
      // Of one that went well, the backup is in that folder, and so is what its pins are for.
      if (run.exitCode === 0) break;
      await expectNothingLeft(stack, run);
    }
    // Both before the stack was stopped and after it.
    expect(Object.keys(ends)).toEqual(expect.arrayContaining(['3', '4']));
    await expectIntact({ id: manifest.id, folder: known, manifest });
    const verify = await stack.safeUpdate(['verify', manifest.id]);
    expect(verify.exitCode, verify.stderr).toBe(0);

    // And with room, the same again ends well.
    if (ends['0'] === undefined) {
      const run = await stack.update();
      expect(run.exitCode, run.story).toBe(0);
    }
  });

  it.runIf(turn(0, 2))('no inodes left', async () => {
    const stack = await ready();
    const before = await snapshot(stack);
    for (const inodes of chosen(range(3, 20, 1), 1)) {
      const folder = await smallDisk(stack, '20m', `,nr_inodes=${inodes}`, `inodes-${inodes}`);
      const run = await stack.update([...local, '--backups', folder]);
      await expectOneOrTheOther(stack, before, run, `${inodes} inodes`, folder);
      if (run.exitCode === 0) break;
      await expectNothingLeft(stack, run);
      expect(await backupsIn(stack, folder)).toEqual([]);
    }
  });
});

/** strace with these calls failing, the Nth of each thread of safe-update. */
function failing(what: string, when: string): RunOptions {
  return {
    under: [
      'strace',
      '-f',
      '-qq',
      '--seccomp-bpf',
      '-o',
      '/dev/null',
      '-e',
      `trace=${what.split(':')[0] ?? ''}`,
    ].concat('-e', `inject=${what}:when=${when}`),
    // So that it is the same Nth each time.
    env: { UV_THREADPOOL_SIZE: '1' },
  };
}

describe.runIf(strace.present)(`a system call that fails${strace.without}`, () => {
  const faults = [
    // Flushing a part, the manifest, a folder, the journal.
    ...range(1, 34, 1).map((nth) => ['fsync:error=EIO', nth] as const),
    ...range(2, 34, 8).map((nth) => ['fsync:error=ENOSPC', nth] as const),
    // The record of the stack, the manifest, the backup.
    ...['EIO', 'ENOSPC', 'EROFS'].flatMap((error) =>
      range(1, 3, 1).map((nth) => [`rename:error=${error}`, nth] as const),
    ),
    ...range(1, 8, 1).map((nth) => ['mkdir:error=EROFS', nth] as const),
  ];

  it('at any moment: it ends as it was, or as it should, and older backups are whole', async () => {
    const stack = await ready();
    await stack.write('safe-update.yml', 'backups: { keep: 100 }\n');
    const first = await stack.safeUpdate(['backup', '--json', '--consistency', 'hot']);
    expect(first.exitCode, first.story).toBe(0);
    let before = await snapshot(stack);
    const ends: Record<string, number> = {};
    const tried = chosen(faults, 3);
    for (const [what, nth] of tried) {
      const about = `${what}, the ${nth}th`;
      const known = new Set((await stack.backups()).map(({ id }) => id));
      const run = await stack.update(local, failing(what, String(nth)));
      const recover = async (): Promise<void> => {
        const recovered = await stack.safeUpdate(['recover', '--json', '--stable-for', '1s']);
        expect(recovered.exitCode, `${about}: ${recovered.story}`).toBe(0);
        expect(recovered.outcome?.result, about).toBe('recovered');
        expectSame(before, await snapshot(stack));
      };
      // Two threads, two failures.
      if (run.exitCode === 5) {
        // The second one in the rollback itself. What it says to do does it.
        expect(run.steps, `${about}: ${run.story}`).toContain('up');
        expect(run.outcome?.error?.hint, about).toMatch(/safe-update recover/);
        await recover();
      } else {
        await expectOneOrTheOther(stack, before, run, about, path.join(stack.directory, 'backups'));
        // The second one where the end of an undone run is noted, which is said.
        if (!(await everyEnd(stack))) {
          expect(run.exitCode, about).not.toBe(0);
          const said = run.events.flatMap((event) => (event.type === 'notice' ? [event.message] : []));
          expect(said.join('\n'), about).toMatch(/^The journal in \S+ cannot be used/m);
          await recover();
        }
      }
      await expectNothingLeft(stack, run);
      const sealed = await stack.backups();
      for (const backup of sealed) await expectIntact(backup);
      ends[String(run.exitCode)] = (ends[String(run.exitCode)] ?? 0) + 1;
      if (run.exitCode === 0) {
        const back = await stack.safeUpdate([
          'rollback',
          '--confirm',
          stack.project,
          '--json',
          '--stable-for',
          '1s',
        ]);
        expect(back.exitCode, back.story).toBe(0);
        expectSame(before, await snapshot(stack));
      } else if (!run.steps.includes('remove')) {
        const added = sealed.filter(({ id }) => !known.has(id));
        expect(
          added.map(({ id }) => id),
          `${about}: nothing new is offered`,
        ).toEqual([]);
      }
      // Alike, but made anew.
      if (run.exitCode !== 3) before = await snapshot(stack);
    }
    // Of all of them, some before the stack was stopped and some after it.
    if (whole) expect(Object.keys(ends)).toEqual(expect.arrayContaining(['3', '4']));
    expect(ends['0'] ?? 0).toBeLessThan(tried.length);
    const verify = await stack.safeUpdate(['verify', first.outcome?.backup ?? '']);
    expect(verify.exitCode, verify.stderr).toBe(0);
  });
});

describe('a backup folder that is not as it should be', () => {
  it('read-only', async () => {
    const stack = await ready();
    const before = await snapshot(stack);
    const folder = await smallDisk(stack, '20m', ',ro');
    const run = await stack.update([...local, '--backups', folder]);
    expect(run.exitCode, run.story).toBe(3);
    expect(run.outcome?.error?.message).toMatch(/read-only/i);
    expectUntouched(before, await snapshot(stack));
    await expectNothingLeft(stack, run);
  });

  it.runIf(turn(0, 3))(
    'a symlink to a folder: the backup is where it leads, and an update and its rollback work',
    async () => {
      const stack = await ready();
      const before = await snapshot(stack);
      const real = path.join(stack.directory, 'elsewhere');
      const link = path.join(stack.directory, 'backups');
      await mkdir(real);
      await symlink(real, link);
      const run = await stack.update(local);
      expect(run.exitCode, run.story).toBe(0);
      expect(
        (await readdir(path.join(real, stack.project))).filter((name) => name.startsWith('pre-update')),
      ).toHaveLength(1);
      for (const backup of await stack.backups()) await expectIntact(backup);
      const back = await stack.safeUpdate([
        'rollback',
        '--confirm',
        stack.project,
        '--json',
        '--stable-for',
        '1s',
      ]);
      expect(back.exitCode, back.story).toBe(0);
      expectSame(before, await snapshot(stack));
      await expectNothingLeft(stack, run, back);
    },
  );

  it('a symlink to nowhere', async () => {
    const stack = await ready();
    const before = await snapshot(stack);
    await symlink(path.join(stack.directory, 'nowhere'), path.join(stack.directory, 'backups'));
    const run = await stack.update(local);
    expect(run.exitCode, run.story).toBe(3);
    expect(run.outcome?.error?.message).toMatch(/backups/);
    expectUntouched(before, await snapshot(stack));
    await expectNothingLeft(stack, run);
  });

  it('of another user who may write there while this one may not', async () => {
    const stack = await ready();
    const before = await snapshot(stack);
    const folder = path.join(stack.directory, 'theirs');
    await mkdir(folder, { mode: 0o700 });
    await chown(folder, 1234, 1234);
    await chmod(stack.directory, 0o755);
    const { gid } = await stat('/var/run/docker.sock');
    const somebody = [
      'setpriv',
      '--reuid=54321',
      '--regid=54321',
      `--groups=${gid}`,
      '--inh-caps=-all',
      '--bounding-set=-all',
    ];
    const run = await stack.update([...local, '--backups', folder], {
      under: somebody,
      env: { HOME: '/nonexistent' },
    });
    expect(run.exitCode, run.story).toBe(3);
    expect(run.outcome?.error?.message).toMatch(/belongs to the user 1234/);
    expect(run.outcome?.error?.hint).toMatch(/--backups/);
    // Who knows better is told what else is in the way.
    const accepted = await stack.update([...local, '--backups', folder, '--accept', `foreign:${folder}`], {
      under: somebody,
      env: { HOME: '/nonexistent' },
    });
    expect(accepted.exitCode, accepted.story).toBe(3);
    expect(accepted.outcome?.error?.message).toMatch(/permission denied|EACCES/i);
    expect(accepted.outcome?.error?.hint).toMatch(/write access|--backups/);
    expectUntouched(before, await snapshot(stack));
    expect(await readdir(folder)).toEqual([]);
    await expectNothingLeft(stack, run);
  });

  it.runIf(turn(1, 3))(
    'moved away while the stack is stopped: it runs again, and the next command tidies up when it is back',
    async () => {
      const stack = await ready();
      const folder = path.join(stack.directory, 'backups');
      const away = path.join(stack.directory, 'away');
      const first = await stack.safeUpdate(['backup', '--json', '--consistency', 'hot']);
      expect(first.exitCode, first.story).toBe(0);
      const before = await snapshot(stack);
      const running = stack.start([...quick, ...local]);
      await running.step('stop');
      await rename(folder, away);
      const run = await running.finished;
      expect(run.exitCode, run.story).toBe(4);
      expect(run.outcome?.error?.message).toMatch(/ENOENT|no such file/i);
      expectSame(before, await snapshot(stack));

      await rm(folder, { recursive: true, force: true });
      await rename(away, folder);
      expect((await stack.backups()).map(({ id }) => id)).toEqual([first.outcome?.backup]);
      const again = await stack.update(local);
      expect(again.exitCode, again.story).toBe(0);
      expect(again.story).toMatch(/was interrupted/);
      for (const backup of await stack.backups()) await expectIntact(backup);
      await expectNothingLeft(stack, run, again);
    },
  );

  it.runIf(turn(2, 3))(
    'removed with all that was in it while the stack is stopped: it runs again, and can be updated',
    async () => {
      const stack = await ready();
      const folder = path.join(stack.directory, 'backups');
      const before = await snapshot(stack);
      const running = stack.start([...quick, ...local]);
      await running.step('stop');
      await rm(folder, { recursive: true });
      const run = await running.finished;
      expect(run.exitCode, run.story).toBe(4);
      expectSame(before, await snapshot(stack));
      const again = await stack.update(local);
      expect(again.exitCode, again.story).toBe(0);
      await expectNothingLeft(stack, run, again);
    },
  );
});

function range(from: number, to: number, step: number): number[] {
  return Array.from(
    { length: Math.max(0, Math.floor((to - from) / step) + 1) },
    (_, index) => from + index * step,
  );
}

function never(): never {
  throw new Error('there is no backup');
}
