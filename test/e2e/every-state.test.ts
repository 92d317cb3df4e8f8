/** A stack's data is its data whether it runs, stands still, is down, or has never been started. */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import type { Plan } from '../../src/model/plan.ts';
import { turn } from '../faults/campaign.ts';
import { docker, testLabel } from './docker.ts';
import { buildImage, keeper, local, shell } from './stack-small.ts';
import { project, type Finished, type Stack } from './stack.ts';

const fast = ['--stable-for', '1s', ...local];

/** A Redis whose files are in a folder of the project, an application with a volume, an anonymous one, and a folder. */
const compose = (image: string): string => `
services:
  cache:
    image: redis:7
    command: [redis-server, --appendonly, 'yes']
    stop_grace_period: 1s
    volumes: ['./cache:/data']
  app:
    image: ${image}
    stop_grace_period: 0s
    volumes: ['uploads:/uploads', './files:/files']
volumes:
  uploads: {}
`;

async function written(configuration = 'bindMounts:\n  include: [./files]\n'): Promise<Stack> {
  const stack = await project({ 'safe-update.yml': configuration });
  await stack.write(
    'compose.yaml',
    compose(await buildImage(stack, 'good', keeper({ volumes: ['/anonymous'] }))),
  );
  return stack;
}

async function filled(stack: Stack): Promise<void> {
  await stack.up();
  const app = await stack.container('app');
  await shell(app, 'for folder in uploads files anonymous; do echo first >/$folder/file; done');
  await docker(['exec', (await stack.container('cache')).Id, 'redis-cli', 'SET', 'key', 'first']);
}

async function planOf(stack: Stack, ...flags: string[]): Promise<Plan> {
  return JSON.parse((await stack.safeUpdate(['plan', '--json', ...local, ...flags])).stdout) as Plan;
}

const backUp = (stack: Stack, ...flags: string[]): Promise<Finished> =>
  stack.safeUpdate(['backup', '--yes', '--json', ...fast, ...flags]);

async function heldBy(stack: Stack): Promise<string[]> {
  const { manifest } = (await stack.backups()).at(-1) ?? {};
  return (manifest?.volumes ?? [])
    .map(({ kind, name }) =>
      kind === 'anonymous'
        ? kind
        : `${kind} ${name.replace(stack.directory, '.').replace(stack.project, '')}`,
    )
    .sort();
}

it('is found after `docker compose down` and before the first start, and none that is gone is passed over', async () => {
  const stack = await written();
  const places = ({ volumes, databases }: Plan): string[] => [
    ...volumes.filter(({ kind }) => kind !== 'anonymous').map(({ kind, name }) => `${kind} ${name}`),
    ...databases.map(({ service, engine }) => `${service} ${engine}`),
  ];
  const before = await planOf(stack);
  const never = await backUp(stack);
  expect(never.exitCode, never.story).toBe(3);
  expect(never.outcome?.error?.message).toContain('There is no data to back up');

  await filled(stack);
  expect(places(before)).toEqual(places(await planOf(stack)));
  expect((await backUp(stack)).exitCode).toBe(0);
  const whole = await heldBy(stack);
  expect(whole).toEqual(['bind ./cache', 'bind ./files', 'anonymous', 'named _uploads'].sort());
  const [first] = await stack.backups();

  await stack.compose(['down']);
  const down = await backUp(stack, '--keep', '1');
  expect(down.exitCode, down.story).toBe(0);
  expect(await heldBy(stack)).toEqual(whole);
  expect(down.story).toContain(
    `Not in this backup, but in ${first?.id ?? ''}: a dump of cache (it does not run)`,
  );

  // What is in it can be put back, and the stack stays as it was: down.
  const [second] = (await stack.backups()).slice(-1);
  await writeFile(path.join(stack.directory, 'files', 'file'), 'lost');
  const back = await stack.safeUpdate(['restore', second?.id ?? '', '--confirm', stack.project, ...fast]);
  expect(back.exitCode, back.story).toBe(0);
  expect(back.stdout).toContain('Nothing of it runs');
  await stack.up();
  expect(await shell(await stack.container('app'), 'cat /files/file /uploads/file')).toBe('first\nfirst');

  // Everything has gone: not "backed up", and no backup that held something goes for it.
  await stack.compose(['down', '--volumes']);
  // That one compose has lost sight of, and the backup has not.
  expect(whole).toContain('anonymous');
  const lost = second?.manifest.volumes.find(({ kind }) => kind === 'anonymous')?.name ?? '';
  await docker(['volume', 'rm', lost]);
  for (const folder of ['cache', 'files']) await rm(path.join(stack.directory, folder), { recursive: true });
  const gone = await backUp(stack);
  expect(gone.exitCode, gone.story).toBe(3);
  expect(gone.outcome?.error?.hint).toContain('--accept empty-backup');
  for (let night = 0; night < 2; night += 1)
    expect((await backUp(stack, '--accept', 'empty-backup', '--keep', '1')).exitCode).toBe(0);
  expect((await stack.backups()).map(({ id }) => id)).toContain(second?.id);
});

it.runIf(turn(0, 3))(
  'what the last update goes back to stays, however many backups come after it',
  async () => {
    const stack = await written();
    await filled(stack);
    await stack.write(
      'compose.yaml',
      compose(await buildImage(stack, 'better', keeper({ env: { RELEASE: '2' } }))),
    );
    const updated = await stack.update([...fast, '--accept', `volume-moved:app:/anonymous`]);
    expect(updated.exitCode, updated.story).toBe(0);
    for (let night = 0; night < 2; night += 1)
      expect((await backUp(stack, '--consistency', 'hot', '--keep', '1')).exitCode).toBe(0);
    expect((await stack.backups()).map(({ manifest }) => manifest.kind)).toEqual(['pre-update', 'manual']);
    const back = await stack.safeUpdate(['rollback', '--confirm', stack.project, ...fast]);
    expect(back.exitCode, back.story).toBe(0);
  },
);

it('a restore runs what has to run, also of a failed state and of a stack that stood still', async () => {
  const stack = await written(
    'bindMounts:\n  include: [./files]\nvolumes:\n  uploads: { mayBecomeEmpty: true }\n',
  );
  await filled(stack);
  await stack.compose(['stop']);
  expect((await backUp(stack)).exitCode).toBe(0);
  const [still] = await stack.backups();
  await stack.compose(['start']);
  const running = async (): Promise<string[]> =>
    (await stack.containers()).filter(({ State }) => State.Running).map(({ Name }) => Name.slice(1));
  const all = await running();
  const restored = async (id = ''): Promise<Finished> =>
    stack.safeUpdate(['restore', id, '--confirm', stack.project, '--verify-timeout', '20s', ...fast]);
  const awake = await restored(still?.id);
  expect(awake.exitCode, awake.story).toBe(0);
  expect(await running()).toEqual(all);

  // Healthy, but it fails because a file of a covered folder has gone.
  const image = await buildImage(
    stack,
    'deletes',
    keeper({ script: 'rm -f /files/file', volumes: ['/anonymous'] }),
  );
  await stack.write('compose.yaml', compose(image));
  const failed = await stack.update(fast);
  expect(failed.exitCode, failed.story).toBe(4);
  const kept = (await stack.backups()).at(-1);
  expect(kept?.manifest.kind).toBe('failed');
  const back = await restored(kept?.id);
  expect(back.exitCode, back.story).toBe(0);
  expect(await running()).toEqual(all);
  expect((await stack.container('app')).Config.Image).toBe(image);
});

it('files that a release deletes fail it; what becomes far less is said', async () => {
  const stack = await written();
  await filled(stack);
  await shell(await stack.container('app'), 'seq 50 | while read n; do echo $n >/uploads/$n; done');
  const release = async (name: string, script: string): Promise<Finished> => {
    const image = await buildImage(
      stack,
      name,
      keeper({ script, volumes: ['/anonymous'], env: { RELEASE: name } }),
    );
    await stack.write('compose.yaml', compose(image));
    return stack.update(fast);
  };
  const emptied = await release('emptied', 'rm -rf /uploads/*');
  expect(emptied.exitCode, emptied.story).toBe(4);
  expect(emptied.outcome?.error?.message).toMatch(
    /files are missing: the volume \S+_uploads has 0 files; it had 51 files/,
  );
  expect(emptied.outcome?.error?.hint).toMatch(
    /--accept files-gone:\S+_uploads, or volumes\.uploads\.mayBecomeEmpty/,
  );
  expect(await shell(await stack.container('app'), 'ls /uploads | wc -l')).toBe('51');

  const fewer = await release('fewer', 'rm -f /uploads/[2-5]*');
  expect(fewer.exitCode, fewer.story).toBe(0);
  expect(fewer.outcome?.notes).toEqual([expect.stringMatching(/_uploads has 16 files .* it had 51 files/)]);
});

it.runIf(turn(1, 3))('without its environment a stack that was started with it is refused', async () => {
  const image = 'debian:bookworm-slim';
  const stack = await project({
    'compose.yaml': `services:\n  app:\n    image: ${image}\n    command: [sleep, infinity]\n    stop_grace_period: 0s\n`,
    'compose.prod.yaml': "services:\n  app:\n    environment: { MODE: 'prod' }\n",
  });
  const files = ['-f', 'compose.yaml', '-f', 'compose.prod.yaml'];
  await stack.compose([...files, 'up', '--detach']);
  const before = await stack.container('app');
  const forgotten = await stack.safeUpdate(['--yes', '--quiet', ...fast]);
  expect(forgotten.exitCode, forgotten.story).toBe(3);
  expect(forgotten.stderr).toMatch(/--accept other-files/);
  expect((await stack.container('app')).Id).toBe(before.Id);
  const meant = await stack.safeUpdate(['prod', '--yes', ...fast]);
  expect(meant.exitCode, meant.story).toBe(0);
});

it.runIf(turn(2, 3))(
  'a folder of the project with a SQLite file in it is covered, and one without is named after a rollback',
  async () => {
    const stack = await project({});
    const both = (image: string): string =>
      `services:\n  app:\n    image: ${image}\n    stop_grace_period: 0s\n    volumes: ['./data:/data', './other:/other']\n`;
    await stack.write('compose.yaml', both(await buildImage(stack, 'good', keeper())));
    for (const folder of ['data', 'other']) {
      await mkdir(path.join(stack.directory, folder));
      await writeFile(path.join(stack.directory, folder, 'file'), 'first\n');
    }
    const empty = 'U1FMaXRlIGZvcm1hdCAzAA==';
    await writeFile(
      path.join(stack.directory, 'data', 'db.bin'),
      Buffer.concat([Buffer.from(empty, 'base64'), Buffer.alloc(4080)]),
    );
    await stack.up();
    const plan = await planOf(stack);
    expect(plan.volumes.map(({ name }) => path.basename(name))).toEqual(['data']);
    expect(plan.suggestions.join('\n')).toContain('- ./other');

    const ruin = 'for folder in data other; do echo ruined >/$folder/file; done; exit 1';
    await stack.write('compose.yaml', both(await buildImage(stack, 'bad', keeper({ script: ruin }))));
    const run = await stack.update(fast);
    expect(run.exitCode, run.story).toBe(4);
    expect(run.outcome?.error?.state).toMatch(
      /NOT covered, and as the failed release left it: \S+\/other \(app\)\./,
    );
    expect(await shell(await stack.container('app'), 'cat /data/file /other/file')).toBe('first\nruined');
    const doctor = await stack.safeUpdate(['doctor']);
    expect(doctor.stdout).toMatch(/⚠ coverage: \S+\/other/);
  },
);

it('a restore keeps first what it overwrites, also what the stack does not use any more, and spares what others use', async () => {
  const stack = await project({});
  const external = `${stack.project}-external`;
  await docker(['volume', 'create', '--label', `${testLabel}=${stack.project}`, external]);
  const service = (more: string): string =>
    `services:\n  app:\n    image: debian:bookworm-slim\n    command: [sleep, infinity]\n    stop_grace_period: 0s\n${more}`;
  const using = service(
    `    volumes: ['shared:/shared', './files:/files']\nvolumes:\n  shared: { external: true, name: ${external} }\n`,
  );
  await stack.write('safe-update.yml', 'bindMounts:\n  include: [./files]\n');
  await stack.write('compose.yaml', using);
  await stack.write('other.env', 'A=first\n');
  await stack.up();
  await shell(await stack.container('app'), 'echo first >/shared/file; echo first >/files/file');
  expect((await backUp(stack)).exitCode).toBe(0);
  const [backup] = await stack.backups();
  await shell(await stack.container('app'), 'echo since >/shared/file; echo since >/files/file');
  await stack.write('compose.yaml', service('    environment: { NOW: "without" }\n'));
  await stack.up();

  const restored = (id = '', ...more: string[]): Promise<Finished> =>
    stack.safeUpdate(['restore', id, '--confirm', stack.project, '--json', ...fast, ...more]);
  const user = await docker([
    ...['run', '--detach', '--label', `${testLabel}=${stack.project}`, '--stop-timeout', '0'],
    ...['--volume', `${external}:/there`, 'debian:bookworm-slim', 'sleep', 'infinity'],
  ]);
  const refused = await restored(backup?.id);
  expect(refused.exitCode, refused.story).toBe(3);
  expect(refused.outcome?.error?.message).toMatch(
    /would be emptied and filled from the backup, but the container \S+, which runs/,
  );
  expect(refused.outcome?.error?.hint).toContain(`--accept shared-volume:${external}`);
  expect(await docker(['exec', user, 'cat', '/there/file'])).toBe('since');
  await docker(['rm', '--force', user]);

  const done = await restored(backup?.id);
  expect(done.exitCode, done.story).toBe(0);
  expect(await shell(await stack.container('app'), 'cat /shared/file /files/file')).toBe('first\nfirst');
  const kept = (await stack.backups()).at(-1);
  expect(kept?.manifest.volumes.map(({ kind }) => kind)).toEqual(['bind', 'external']);
  const again = await restored(kept?.id, '--only', `volume:${external}`);
  expect(again.exitCode, again.story).toBe(0);
  expect(await shell(await stack.container('app'), 'cat /shared/file')).toBe('since');

  // A file of the configuration that the project does not read any more.
  await stack.write('compose.yaml', using.replace('    volumes:', '    env_file: other.env\n    volumes:'));
  expect((await backUp(stack)).exitCode).toBe(0);
  const withFile = (await stack.backups()).at(-1);
  await stack.write('compose.yaml', using);
  await stack.write('other.env', 'A=since\n');
  expect((await restored(withFile?.id, '--only', 'config')).exitCode).toBe(0);
  expect(await stack.read('other.env')).toBe('A=first\n');
  const before = (await stack.backups()).at(-1);
  expect((await restored(before?.id, '--only', 'config')).exitCode).toBe(0);
  expect(await stack.read('other.env')).toBe('A=since\n');
});
