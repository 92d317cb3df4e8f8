import { chmod, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { distrusted, requireTrusted } from '../../../src/cli/trust.ts';
import type { Settings } from '../../../src/config/schema.ts';

describe('distrusted', () => {
  it.each<[string, number, number, string | undefined]>([
    ['one of its own', 1000, 0o40700, undefined],
    ['one of root', 0, 0o40755, undefined],
    ['one that the group can write', 1000, 0o40775, undefined],
    ['one of somebody else', 1001, 0o40700, 'belongs to the user 1001'],
    ['one that everybody can write', 1000, 0o40777, 'can be written by everybody'],
    ['the same with a sticky bit: new files can be put there', 0, 0o41777, 'can be written by everybody'],
  ])('%s', (_, uid, mode, why) => {
    expect(distrusted({ uid, mode }, [0, 1000])).toBe(why);
  });
});

describe('requireTrusted', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'trust-'));
  });
  afterEach(async () => {
    await rm(folder, { recursive: true });
  });
  const settings = (backups: string, configFile?: string): Parameters<typeof requireTrusted>[0] =>
    ({
      backups: { directory: backups },
      project: { directory: folder },
      ...(configFile === undefined ? {} : { configFile }),
    }) as Settings;

  it('asks nothing of what is not there', async () => {
    await requireTrusted(settings(path.join(folder, 'none')), []);
  });

  it('refuses a folder and a configuration that everybody can write, by the name that --accept takes', async () => {
    const config = path.join(folder, 'safe-update.yml');
    await writeFile(config, '');
    await requireTrusted(settings(folder, config), []);
    await chmod(config, 0o666);
    await expect(requireTrusted(settings(folder, config), [])).rejects.toMatchObject({
      code: 'refused',
      message: expect.stringContaining(`${config} can be written by everybody`) as string,
      hint: expect.stringContaining(`--accept foreign:${config}`) as string,
    });
    await requireTrusted(settings(folder, config), [`foreign:${config}`]);
  });

  it('looks at where a symlink leads', async () => {
    const link = path.join(folder, 'backups');
    await symlink(folder, link);
    await requireTrusted(settings(link), []);
    await chmod(folder, 0o777);
    await expect(requireTrusted(settings(link), [])).rejects.toMatchObject({ code: 'refused' });
  });
});
