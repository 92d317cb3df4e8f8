import { appendFile, mkdtemp, readdir, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type Docker from 'dockerode';
import { afterAll, describe, expect, it } from 'vitest';
import type { Engine } from '../../../src/docker/engine.ts';
import {
  helperImage,
  measureVolumes,
  removeProbes,
  startHelper,
  type HelperOptions,
} from '../../../src/docker/helper.ts';
import { fakeExec } from './fake-exec.ts';

const options: HelperOptions = {
  project: 'shop',
  run: 'run-1',
  volumes: [
    { name: 'shop_db', kind: 'named' },
    { name: '/srv/shop/data', kind: 'bind' },
  ],
  access: 'read',
};

function fakeEngine(images: string[] = [], failing: { start?: boolean | string; mount?: boolean } = {}) {
  const created: Docker.ContainerCreateOptions[] = [];
  const removed: string[] = [];
  const engine = {
    image: async (name: string) => (images.includes(name) ? { id: name } : null),
    createContainer: async (about: Docker.ContainerCreateOptions) => {
      const shared = about.HostConfig?.Mounts?.some(({ Target }) => Target === '/shared');
      if (failing.mount === true && shared === true) throw new Error('bind source path does not exist');
      created.push(about);
      return 'helper';
    },
    start: async () => {
      if (typeof failing.start === 'string') throw new Error(failing.start);
      if (failing.start === true) throw new Error('no such volume');
    },
    removeContainer: async (id: string) => {
      removed.push(id);
    },
  };
  return { engine: engine as unknown as Engine, created, removed };
}

describe('startHelper', () => {
  it.each([
    ['no such device', ':/srv/archive', 'addr=127.0.0.1,soft'],
    ['no such file or directory', '/srv/gone', ''],
  ])('says which volume the engine cannot mount, and why: %s', async (reason, device, data) => {
    const place = '/var/lib/docker/volumes/shop_db/_data';
    const { engine, created, removed } = fakeEngine([], {
      start: `error while mounting volume '${place}': failed to mount local volume: mount ${device}:${place}, data: ${data}: ${reason}`,
    });
    const starting = startHelper(engine, fakeExec(), 'helper:1', { ...options, folder: tmpdir() });
    await expect(starting).rejects.toMatchObject({
      code: 'engine',
      message: `The volume shop_db cannot be mounted: ${reason}.`,
      hint: expect.stringContaining('volumes.shop_db.class: cache') as string,
    });
    // It is not tried again without the shared folder, which is not to blame.
    expect(created).toHaveLength(1);
    expect(removed).toEqual(['helper']);
  });

  it('has no network, a read-only root, few capabilities, and labels to be found by', async () => {
    const { engine, created } = fakeEngine();
    await startHelper(engine, fakeExec(), 'helper:1', options);
    expect(created[0]).toMatchObject({
      Image: 'helper:1',
      Labels: { 'safe-update.project': 'shop', 'safe-update.run': 'run-1', 'safe-update.role': 'helper' },
      HostConfig: {
        NetworkMode: 'none',
        ReadonlyRootfs: true,
        CapDrop: ['ALL'],
        CapAdd: ['DAC_READ_SEARCH'],
        SecurityOpt: ['no-new-privileges'],
      },
    });
    // A container that removes itself takes its anonymous volumes with it.
    expect(created[0]?.HostConfig).not.toHaveProperty('AutoRemove');
  });

  it('mounts volumes by name and folders by path, read-only to read', async () => {
    const { engine, created } = fakeEngine();
    const helper = await startHelper(engine, fakeExec(), 'helper:1', options);
    expect(created[0]?.HostConfig?.Mounts).toMatchObject([
      {
        Type: 'volume',
        Source: 'shop_db',
        Target: helper.pathOf('shop_db'),
        ReadOnly: true,
        VolumeOptions: { NoCopy: true },
      },
      { Type: 'bind', Source: '/srv/shop/data', Target: helper.pathOf('/srv/shop/data'), ReadOnly: true },
    ]);
    expect(helper.pathOf('shop_db')).not.toBe(helper.pathOf('/srv/shop/data'));
    expect(() => helper.pathOf('other')).toThrow('not mounted');
  });

  it('can write, and give files their owners back, only where that is wanted', async () => {
    const { engine, created } = fakeEngine();
    await startHelper(engine, fakeExec(), 'helper:1', { ...options, access: 'write' });
    expect(created[0]?.HostConfig?.Mounts).toMatchObject([{ ReadOnly: false }, { ReadOnly: false }]);
    expect(created[0]?.HostConfig?.CapAdd).toContain('CHOWN');
  });

  it.each(['read', 'write'] as const)(
    'can %s attributes of root where a volume may have some',
    async (access) => {
      const { engine, created } = fakeEngine();
      await startHelper(engine, fakeExec(), 'helper:1', { ...options, access });
      expect(created[0]?.HostConfig?.CapAdd).not.toContain('SYS_ADMIN');
      const volumes = [{ name: 'shop_db', kind: 'named' as const, privileged: true }];
      await startHelper(engine, fakeExec(), 'helper:1', { ...options, access, volumes });
      expect(created[1]?.HostConfig?.CapAdd).toContain('SYS_ADMIN');
    },
  );

  describe('with a folder to share', async () => {
    const folder = await realpath(await mkdtemp(path.join(tmpdir(), 'safe-update-helper-')));
    afterAll(async () => rm(folder, { recursive: true }));
    const sharing: HelperOptions = { ...options, folder };
    /** What a container that has this very folder answers. */
    const seeing = (written = true) =>
      fakeExec(async ({ env }) => {
        const file = path.join(folder, path.basename(env?.['FILE'] ?? ''));
        const token = await readFile(file, 'utf8');
        if (written) await appendFile(file, env?.['ANSWER'] ?? '');
        return { stdout: token };
      });

    it('sees what is in it, and nothing beside it', async () => {
      const { engine, created } = fakeEngine();
      const helper = await startHelper(engine, seeing(), 'helper:1', sharing);
      expect(created).toHaveLength(1);
      expect(created[0]?.HostConfig?.Mounts?.at(-1)).toEqual({
        Type: 'bind',
        Source: folder,
        Target: '/shared',
        ReadOnly: false,
      });
      expect(helper.reach(path.join(folder, 'a/b.tar'))).toBe('/shared/a/b.tar');
      expect(helper.reach(`${folder}-other/b.tar`)).toBeUndefined();
      expect(helper.reach('/etc/passwd')).toBeUndefined();
      expect(await readdir(folder)).toEqual([]);
    });

    it('only reads it when it writes volumes', async () => {
      const { engine, created } = fakeEngine();
      const helper = await startHelper(engine, seeing(false), 'helper:1', { ...sharing, access: 'write' });
      expect(created[0]?.HostConfig?.Mounts?.at(-1)).toMatchObject({ ReadOnly: true });
      expect(helper.reach(path.join(folder, 'b.tar'))).toBe('/shared/b.tar');
    });

    it('leaves nothing of a look that was cut short', async () => {
      for (const name of ['.safe-update-shared-0f', 'backup', '.safe-update'])
        await writeFile(path.join(folder, name), '');
      await removeProbes(folder);
      expect((await readdir(folder)).sort()).toEqual(['.safe-update', 'backup']);
      for (const name of await readdir(folder)) await rm(path.join(folder, name));
      await removeProbes(path.join(folder, 'none'));
    });

    it.each([
      ['one of the same name on another machine', fakeExec(() => ({ stdout: '', exitCode: 1 }))],
      ['one that it may not write to', seeing(false)],
    ])('does without %s', async (_, exec) => {
      const { engine, created, removed } = fakeEngine();
      const helper = await startHelper(engine, exec, 'helper:1', sharing);
      expect(created.map(({ HostConfig }) => HostConfig?.Mounts?.length)).toEqual([3, 2]);
      expect(removed).toEqual(['helper']);
      expect(helper.reach(path.join(folder, 'b.tar'))).toBeUndefined();
    });

    it.each(['none', 'a file'])('does without one that cannot be written to here: %s', async (kind) => {
      const place = path.join(folder, 'place');
      if (kind === 'a file') await writeFile(place, '');
      const { engine } = fakeEngine();
      const helper = await startHelper(engine, seeing(), 'helper:1', { ...sharing, folder: place });
      expect(helper.reach(path.join(place, 'b.tar'))).toBeUndefined();
      await rm(place, { force: true });
    });

    it('does without one that its engine does not have', async () => {
      const { engine, created } = fakeEngine([], { mount: true });
      const helper = await startHelper(engine, fakeExec(), 'helper:1', sharing);
      expect(created).toHaveLength(1);
      expect(helper.reach(path.join(folder, 'b.tar'))).toBeUndefined();
    });
  });

  it('leaves nothing behind when it does not start', async () => {
    const { engine, removed } = fakeEngine([], { start: true });
    await expect(startHelper(engine, fakeExec(), 'helper:1', options)).rejects.toThrow('no such volume');
    expect(removed).toEqual(['helper']);
  });
});

describe('helperImage', () => {
  it('takes the image that a person names, pulling it once', async () => {
    const exec = fakeExec();
    expect(await helperImage(fakeEngine(['own:1']).engine, exec, 'own:1')).toBe('own:1');
    expect(exec.commands).toEqual([]);
    expect(await helperImage(fakeEngine().engine, exec, 'own:1')).toBe('own:1');
    expect(exec.commands.map(({ argv }) => argv[1])).toEqual(['pull']);
  });

  it('builds its own where it is missing, and only then', async () => {
    const exec = fakeExec();
    const name = await helperImage(fakeEngine().engine, exec, undefined);
    expect(name).toMatch(/^safe-update\/helper:[0-9a-f]{12}$/);
    expect(exec.commands.map(({ argv }) => argv.slice(0, 5))).toEqual([
      ['docker', 'build', '--quiet', '--tag', name],
    ]);
    await helperImage(fakeEngine([name]).engine, exec, undefined);
    expect(exec.commands).toHaveLength(1);
  });

  it.each([
    ['own:1', 'cannot be had'],
    [undefined, 'cannot be built'],
  ])('says so when it cannot have one: %s', async (named, words) => {
    const exec = fakeExec(() => ({ exitCode: 1, stderr: 'no route to host' }));
    await expect(helperImage(fakeEngine().engine, exec, named)).rejects.toMatchObject({
      code: 'engine',
      message: expect.stringMatching(`${words}.*no route to host`) as string,
      state: 'Nothing was touched.',
    });
  });
});

describe('measureVolumes', () => {
  it('reads what du says of each', async () => {
    const { engine } = fakeEngine();
    const exec = fakeExec(() => ({ stdout: '4096\t/volumes/0\n123456789\t/volumes/1\n' }));
    const helper = await startHelper(engine, exec, 'helper:1', options);
    expect(await measureVolumes(helper, ['shop_db', '/srv/shop/data'])).toEqual(
      new Map([
        ['shop_db', 4096],
        ['/srv/shop/data', 123_456_789],
      ]),
    );
  });

  it.each<[string, { stdout?: string; stderr?: string; exitCode?: number }]>([
    ['says nothing of one', { stdout: '4096\t/volumes/0\n' }],
    [
      'may not read a folder',
      { stderr: "du: cannot read directory '/volumes/0/x': Permission denied\n", exitCode: 1 },
    ],
    ['is ended', { exitCode: 137 }],
  ])('throws where du %s', async (_, finished) => {
    const stdout = '4096\t/volumes/0\n123\t/volumes/1\n';
    const exec = fakeExec(() => ({ stdout, ...finished }));
    const helper = await startHelper(fakeEngine().engine, exec, 'helper:1', options);
    await expect(measureVolumes(helper, ['shop_db', '/srv/shop/data'])).rejects.toMatchObject({
      code: 'store',
    });
  });

  it('does not mind files that go away meanwhile', async () => {
    const stderr = "du: cannot access '/volumes/0/x': No such file or directory\n";
    const exec = fakeExec(() => ({ stdout: '4096\t/volumes/0\n', stderr, exitCode: 1 }));
    const helper = await startHelper(fakeEngine().engine, exec, 'helper:1', { ...options });
    expect(await measureVolumes(helper, ['shop_db'])).toEqual(new Map([['shop_db', 4096]]));
  });

  it('asks nobody about no volumes', async () => {
    const exec = fakeExec();
    const helper = await startHelper(fakeEngine().engine, exec, 'helper:1', { ...options, volumes: [] });
    expect(await measureVolumes(helper, [])).toEqual(new Map());
    expect(exec.commands).toEqual([]);
  });
});
