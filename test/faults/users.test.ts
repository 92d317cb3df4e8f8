/** Another user of the same machine, who may not see the data and may not have a word in what is done with it. */
import { chmod, lchown, mkdir, readdir, rename, stat, symlink } from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import { expect, it } from 'vitest';
import { local, shell } from '../e2e/stack-small.ts';
import { expectNothingLeft, expectUntouched, snapshot } from '../e2e/stack.ts';
import { small } from './small.ts';

const mallory = 54_321;
const asMallory = (line: string) =>
  execa('setpriv', [`--reuid=${mallory}`, `--regid=${mallory}`, '--clear-groups', 'sh', '-c', line], {
    reject: false,
  });

it('reads nothing of a backup, a journal or a configuration, wherever it looks', async () => {
  const { stack } = await small();
  await chmod(stack.directory, 0o755);
  await shell(await stack.container('keep'), 'echo canary-of-the-volume >/state/canary');
  const made = await stack.safeUpdate(['backup', '--yes', '--json', '--stable-for', '1s', ...local]);
  expect(made.exitCode, made.story).toBe(0);
  expect((await asMallory(`ls ${stack.directory}`)).stdout, 'it can look around').toContain('backups');
  for (const name of ['', ...(await readdir(stack.backupFolder, { recursive: true }))]) {
    const place = path.join(stack.backupFolder, name);
    const read = await asMallory(`ls '${place}' && cat '${place}'`);
    expect(read.exitCode, place).not.toBe(0);
    expect(read.stdout, place).toBe('');
  }
});

it('cannot plant a backup, a journal or a configuration that would be used', async () => {
  const { stack, release } = await small();
  const made = await stack.safeUpdate(['backup', '--yes', '--json', '--stable-for', '1s', ...local]);
  expect(made.exitCode, made.story).toBe(0);
  await release('two');
  const before = await snapshot(stack);
  const backups = path.dirname(stack.backupFolder);
  const commands = [
    ['update', '--yes', ...local],
    ['recover'],
    ['restore', made.outcome?.backup ?? '', '--confirm', stack.project],
    ['rollback', '--confirm', stack.project],
    ['verify', made.outcome?.backup ?? ''],
    ['backups'],
  ];
  const expectRefused = async (why: RegExp): Promise<void> => {
    for (const command of commands) {
      const run = await stack.safeUpdate(command);
      expect(run.exitCode, `${command.join(' ')}: ${run.stderr}`).toBe(3);
      // Wherever a long path has it break its lines.
      const said = run.stderr.replaceAll(/\s+/g, ' ');
      expect(said).toMatch(why);
      expect(said).toMatch(/Nothing was touched/);
    }
  };

  // Where everybody can write, anybody could have.
  await chmod(backups, 0o777);
  await expectRefused(/backups can be written by everybody/);
  await chmod(backups, 0o700);

  // A folder, or a way to one, that somebody else has put where ours would be.
  await rename(backups, `${backups}.kept`);
  await mkdir(backups);
  await lchown(backups, mallory, mallory);
  await expectRefused(new RegExp(`backups belongs to the user ${mallory}`));
  await rename(backups, `${backups}.theirs`);
  await symlink(`${backups}.kept`, backups);
  await lchown(backups, mallory, mallory);
  await expectRefused(new RegExp(`backups belongs to the user ${mallory}`));
  await lchown(backups, 0, 0);

  const config = path.join(stack.directory, 'safe-update.yml');
  await stack.write('safe-update.yml', 'helper: { image: "of-somebody-else" }\n');
  await lchown(config, mallory, mallory);
  await expectRefused(new RegExp(`safe-update.yml belongs to the user ${mallory}`));
  await lchown(config, 0, 0);
  await chmod(config, 0o666);
  await expectRefused(/safe-update.yml can be written by everybody/);
  await stack.write('safe-update.yml', '');
  await chmod(config, 0o644);

  expect((await stat(backups)).isDirectory()).toBe(true);
  const sound = await stack.safeUpdate(['verify', made.outcome?.backup ?? '']);
  expect(sound.exitCode, sound.stderr).toBe(0);
  const after = await snapshot(stack);
  expectUntouched({ ...before, files: after.files }, after);
  await expectNothingLeft(stack, sound);
});
