import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import type { Plan } from '../../src/model/plan.ts';
import { docker } from './docker.ts';
import { buildImage, keeper, local, shell } from './stack-small.ts';
import { digest, project, type Stack } from './stack.ts';

const fast = ['--stable-for', '1s', ...local];

/** Five volumes: data, what can be made again, two caches, and one whose services say that it is none of our business. */
const compose = (image: string): string => `
services:
  web:
    image: ${image}
    stop_grace_period: 0s
    volumes: ['uploads:/uploads', 'models:/models', 'pip:/pip', 'modules:/modules']
  search:
    image: debian:bookworm-slim
    command: [sleep, infinity]
    stop_grace_period: 0s
    labels: { backup.enable: 'false', backup.schedule: '0 2 * * *' }
    volumes: ['index:/index']
volumes:
  uploads: {}
  models: {}
  pip: { labels: { safe-update.class: cache } }
  modules: {}
  index: {}
`;
const configuration = 'volumes:\n  modules: { class: cache }\n  models: { class: recreatable }\n';
const leftOut = ['index', 'modules', 'pip'];

async function started(): Promise<Stack> {
  const stack = await project({ 'safe-update.yml': configuration });
  await stack.write('compose.yaml', compose(await buildImage(stack, 'first', keeper())));
  await stack.up();
  for (const folder of ['uploads', 'models', 'pip', 'modules'])
    await shell(await stack.container('web'), `echo first > /${folder}/file`);
  return stack;
}

async function files(stack: Stack): Promise<string> {
  return shell(await stack.container('web'), 'cat /uploads/file /models/file /pip/file /modules/file');
}

it('a cache is in no backup and in no rollback unless that is asked for, and all that is left out is said', async () => {
  const stack = await started();
  const plan = JSON.parse((await stack.safeUpdate(['plan', '--json', ...local])).stdout) as Plan;
  const named = (names: string[]): string[] => names.map((name) => `${stack.project}_${name}`);
  expect((await stack.safeUpdate(['plan', ...local])).stdout).toContain(
    'NOT in the backup, nor in a rollback',
  );
  expect(plan.notCovered.map(({ source }) => source).sort()).toEqual(named(leftOut));

  const ruin = 'for folder in uploads models pip modules; do echo ruined >/$folder/file; done; exit 1';
  await stack.write('compose.yaml', compose(await buildImage(stack, 'bad', keeper({ script: ruin }))));
  const run = await stack.update(fast);
  expect(run.exitCode, run.story).toBe(4);
  expect(await files(stack)).toBe('first\nfirst\nruined\nruined');

  const made = await stack.backups();
  expect(made.map(({ manifest }) => manifest.kind)).toEqual(['pre-update', 'failed']);
  for (const { manifest } of made) {
    expect(manifest.volumes.map(({ name }) => name)).toEqual(named(['models', 'uploads']));
    for (const name of named(leftOut)) expect(manifest.notCovered.join('\n')).toContain(name);
  }

  const all = await stack.safeUpdate(['backup', '--yes', '--caches', ...fast]);
  expect(all.exitCode, all.story).toBe(0);
  const { manifest } = (await stack.backups()).at(-1) ?? {};
  expect(manifest?.volumes.map(({ name }) => name)).toEqual(named(['models', 'modules', 'pip', 'uploads']));

  // What a backup is about to overwrite is kept first, also of a cache.
  await shell(await stack.container('web'), 'echo later > /pip/file');
  const back = await stack.safeUpdate([
    ...['restore', manifest?.id ?? '', '--confirm', stack.project],
    ...fast,
  ]);
  expect(back.exitCode, back.story).toBe(0);
  expect(await files(stack)).toBe('first\nfirst\nruined\nruined');
  const kept = (await stack.backups()).at(-1);
  expect(kept?.manifest.volumes.map(({ name }) => name)).toContain(`${stack.project}_pip`);
});

it('volumes: what each holds, who uses it, and when it was last backed up', async () => {
  const stack = await started();
  expect((await stack.safeUpdate(['backup', '--yes', ...fast])).exitCode).toBe(0);
  const run = await stack.safeUpdate(['volumes', '--json']);
  const { volumes } = JSON.parse(run.stdout) as { volumes: Record<string, unknown>[] };
  const [{ id } = { id: '' }] = await stack.backups();
  expect(
    volumes.map(({ key, class: what, leftOut: why, usedBy, lastBackup }) => [
      ...[key, what, why === undefined, usedBy],
      (lastBackup as { id: string } | undefined)?.id,
    ]),
  ).toEqual([
    ['index', 'critical', false, ['search:/index'], undefined],
    ['models', 'recreatable', true, ['web:/models'], id],
    ['modules', 'cache', false, ['web:/modules'], undefined],
    ['pip', 'cache', false, ['web:/pip'], undefined],
    ['uploads', 'critical', true, ['web:/uploads'], id],
  ]);
  expect((await stack.safeUpdate(['volumes'])).stdout).toMatch(/_pip +cache, left out/);
});

it('volumes copy: into a new volume, and into none that is used, full, or written to meanwhile', async () => {
  const stack = await started();
  const copy = `${stack.project}_copy`;
  onTestFinished(async () => {
    await docker(['volume', 'rm', '--force', copy]);
  });
  const copying = (from: string, to: string, ...more: string[]) =>
    stack.safeUpdate(['volumes', 'copy', from, to, '--json', ...more]);

  const used = await copying('uploads', copy);
  expect(used.exitCode, used.story).toBe(3);
  expect(used.outcome?.error?.hint).toContain(`--accept source-in-use:${stack.project}_uploads`);
  expect(await docker(['volume', 'ls', '--quiet', '--filter', `name=${copy}`])).toBe('');

  await stack.compose(['stop', 'web']);
  const taken = await copying('uploads', 'models');
  expect(taken.exitCode, taken.story).toBe(3);
  expect(taken.outcome?.error?.message).toMatch(/is used by the container/);

  const done = await copying('uploads', copy);
  expect(done.exitCode, done.story).toBe(0);
  expect(JSON.parse(done.stdout)).toMatchObject({ to: copy, exact: true });
  expect(await digest(stack.project, copy)).toEqual(await digest(stack.project, `${stack.project}_uploads`));

  const full = await copying('models', copy);
  expect(full.exitCode, full.story).toBe(3);
  expect(full.outcome?.error?.message).toMatch(/is not empty/);
  expect(await digest(stack.project, copy)).toEqual(await digest(stack.project, `${stack.project}_uploads`));
  expect((await copying('nothing', copy)).exitCode).toBe(2);
});

it('init: writes what an update would do anyway, and never over a file that is there', async () => {
  const stack = await project({});
  await stack.write(
    'compose.yaml',
    compose('debian:bookworm-slim')
      .replace('uploads: {}', 'uploads: {}\n  pip_cache: {}')
      .replace("'modules:/modules'", "'modules:/modules', 'pip_cache:/c'"),
  );
  const file = path.join(stack.directory, 'safe-update.yml');
  const dry = await stack.safeUpdate(['init', '--dry-run']);
  expect(dry.exitCode, dry.story).toBe(0);
  await expect(readFile(file)).rejects.toThrow('ENOENT');
  const before = JSON.parse((await stack.safeUpdate(['plan', '--json', ...local])).stdout) as Plan;

  const written = await stack.safeUpdate(['init']);
  expect(written.exitCode, written.story).toBe(0);
  const text = await readFile(file, 'utf8');
  expect(`${dry.stdout}\n`).toContain(text.trimEnd());
  const after = JSON.parse((await stack.safeUpdate(['plan', '--json', ...local])).stdout) as Plan;
  expect(after.steps).toEqual(before.steps);
  // The volumes whose labels keep them out of backups are not let in by this.
  expect(after.volumes.find(({ key }) => key === 'pip')?.leftOut).toMatch(/a cache/);
  expect(after.volumes.find(({ key }) => key === 'index')?.leftOut).toMatch(/backup.enable/);

  const again = await stack.safeUpdate(['init', '--json']);
  expect(again.exitCode, again.story).toBe(2);
  expect(again.outcome?.error?.message).toContain('is there already');
  expect(await readFile(file, 'utf8')).toBe(text);
});

it('plan: a file that is mounted by itself is no folder to cover, and a socket is no data', async () => {
  const small = await project({
    'users.txt': 'ada\n',
    'read-only.txt': '',
    'compose.yaml': `
services:
  web:
    image: debian:bookworm-slim
    volumes:
      - './users.txt:/users.txt'
      - './read-only.txt:/read-only.txt:ro'
      - './media:/media'
      - '/var/run/docker.sock:/engine'
      - '/etc/localtime:/etc/localtime'
      - '/dev/null:/nothing'
`,
  });
  const { stdout } = await small.safeUpdate(['plan', '--json']);
  const { notCovered, suggestions } = JSON.parse(stdout) as Pick<Plan, 'notCovered' | 'suggestions'>;
  const reasons = notCovered.map(({ source, reason }) => [path.basename(source), reason]).sort();
  expect(reasons).toEqual([
    ['docker.sock', 'a socket'],
    ['localtime', 'a single file'],
    ['media', 'a bind mount'],
    ['null', 'a device'],
    ['users.txt', 'a single file'],
  ]);
  // Naming a file there would cover nothing.
  expect(suggestions.join('\n')).toMatch(/include:\n +- \.\/media$/m);
  expect(suggestions.join('\n')).not.toMatch(/users|localtime|null|sock/);
});
