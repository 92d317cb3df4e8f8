import { mkdir, readdir } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { turn } from '../faults/campaign.ts';
import { docker, dockerLines, keyOf, testLabel, type Inspect } from './docker.ts';
import { expectRefused, expectRolledBack } from './outcomes.ts';
import { push, registry } from './releases.ts';
import { actionsOn, buildImage, keeper, listen, local, mountAt, shell } from './stack-small.ts';
import {
  expectNothingLeft,
  expectSame,
  expectUntouched,
  imageId,
  project,
  snapshot,
  type Finished,
  type Snapshot,
  type Stack,
} from './stack.ts';

const fast = ['--stable-for', '1s'];

/** A stack whose services all run IMAGE, which is in its registry. */
async function stackOf(compose: string): Promise<Stack> {
  const stack = await project({});
  await stack.write('compose.yaml', compose.replaceAll('IMAGE', stack.image));
  await release(stack, 'first');
  return stack;
}

type Release = 'first' | 'second' | 'bad';

async function release(stack: Stack, name: Release): Promise<void> {
  await push(await releaseOf(stack, name), stack.repository);
}

/** The bad release ruins its data, then ends. */
async function releaseOf(stack: Stack, name: Release): Promise<string> {
  const script = `if [ $RELEASE = bad ]; then
  if [ -d /data ]; then rm -f /data/*; echo ruined >/data/ruined; fi
  exit 1
fi`;
  return buildImage(stack, name, keeper({ env: { RELEASE: name }, script }));
}

function expectUpdated(run: Finished): void {
  expect(run.exitCode, run.stdout + run.stderr).toBe(0);
  expect(run.outcome?.result).toBe('updated');
}

function expectNothingToDo(run: Finished): void {
  expect(run.exitCode, run.stdout + run.stderr).toBe(0);
  expect(run.outcome?.result).toBe('nothing-to-do');
}

/** service-number → which release it runs, or that it does not. */
async function running(stack: Stack): Promise<Record<string, string>> {
  const releaseIn = ({ Config: { Env } }: Inspect): string =>
    Env.find((entry) => entry.startsWith('RELEASE='))?.slice('RELEASE='.length) ?? '';
  return Object.fromEntries(
    (await stack.containers()).map((container) => [
      keyOf(container),
      container.State.Running ? releaseIn(container) : 'stopped',
    ]),
  );
}

/** What is in a volume's files, one after the other. */
async function contentOf(stack: Stack, volume: string): Promise<string> {
  const mount = ['--volume', `${stack.project}_${volume}:/data:ro`];
  return docker([
    ...['run', '--rm', '--label', `${testLabel}=${stack.project}`, ...mount, 'debian:bookworm-slim'],
    ...['sh', '-c', 'cat /data/*'],
  ]);
}

it.runIf(turn(0, 3))('a project without volumes: looked at, updated, and put back', async () => {
  const stack = await stackOf('services: { web: { image: IMAGE, stop_grace_period: 0s } }');
  await stack.up();
  let before = await snapshot(stack);

  // Nothing to do: the registry is asked, and that is all; without it, not a thing happens on the engine.
  const asked = await stack.update(fast);
  expectNothingToDo(asked);
  expect(asked.steps).toEqual(['lock', 'pin', 'pull']);
  const idle = listen(stack);
  expectNothingToDo(await stack.update([...fast, ...local]));
  expect(await idle.end()).toEqual([]);
  expectUntouched(before, await snapshot(stack));
  await expectNothingLeft(stack, asked);

  // Looking does nothing either.
  await release(stack, 'second');
  await stack.compose(['pull', '--quiet']);
  before = await snapshot(stack);
  const journals = await files(stack);
  const looking = listen(stack);
  for (const args of [['--dry-run', '--json', '--yes'], ['plan']]) {
    const run = await stack.safeUpdate(args);
    expect(run.exitCode, run.stderr).toBe(0);
    expect(run.stdout).toMatch(/web[^]* →\s/);
  }
  expect(await looking.end()).toEqual([]);
  expectUntouched(before, await snapshot(stack));
  expect(await files(stack)).toEqual(journals);

  const run = await stack.update(fast);
  expectUpdated(run);
  expect(await running(stack)).toEqual({ 'web-1': 'second' });
  expect((await stack.backups()).map(({ manifest }) => manifest.volumes)).toEqual([[]]);

  before = await snapshot(stack);
  await release(stack, 'bad');
  await expectRolledBack(stack, before, await stack.update(fast), /web-1 exited with code 1/);

  // Somebody has moved the name to the bad release himself: that is how it was before, so that is how it stays.
  const { Image } = await stack.container('web');
  await docker(['tag', await releaseOf(stack, 'bad'), stack.image]);
  const moved = await stack.update([...fast, ...local]);
  expect(moved.exitCode, moved.stdout + moved.stderr).toBe(4);
  expect((await stack.container('web')).Image).toBe(Image);
  expect(await imageId(stack.image)).toBe(await imageId(await releaseOf(stack, 'bad')));
  await expectNothingLeft(stack, run, moved);
});

/** Everything in the folder, that of the backups included. */
async function files({ directory }: Stack): Promise<string[]> {
  return (await readdir(directory, { recursive: true })).sort();
}

it('a project that was never started: a bad release leaves no container, a good one is brought up', async () => {
  const stack = await stackOf(
    `services: { web: { image: IMAGE, stop_grace_period: 0s, volumes: ['data:/data'] } }\nvolumes: { data: {} }`,
  );
  await release(stack, 'bad');
  const bad = await stack.update(fast);
  expect(bad.exitCode, bad.stdout + bad.stderr).toBe(4);
  expect(await stack.containers()).toEqual([]);
  await expectNothingLeft(stack, bad);
  // Nothing of ours removes a volume; what the bad release wrote into it is kept twice.
  const failed = (await stack.backups()).at(-1);
  expect(failed?.manifest).toMatchObject({
    kind: 'failed',
    volumes: [{ name: `${stack.project}_data`, exact: true }],
  });
  expect(await contentOf(stack, 'data')).toBe('ruined');

  await release(stack, 'second');
  const good = await stack.update(fast);
  expectUpdated(good);
  expect(await running(stack)).toEqual({ 'web-1': 'second' });
  await expectNothingLeft(stack, good);
});

it('a project of which everything is stopped is brought up', async () => {
  const stack = await stackOf(
    `services:
  web: { image: IMAGE, stop_grace_period: 0s, volumes: ['data:/data'] }
  other: { image: IMAGE, stop_grace_period: 0s }
volumes: { data: {} }`,
  );
  await stack.up();
  await shell(await stack.container('web'), 'echo kept >/data/keep');
  await stack.compose(['stop']);
  const run = await stack.update(fast);
  expectUpdated(run);
  expect(run.steps).not.toContain('stop');
  expect(await running(stack)).toEqual({ 'other-1': 'first', 'web-1': 'first' });
  expect(await contentOf(stack, 'data')).toBe('kept');
  await expectNothingLeft(stack, run);
});

it.runIf(turn(1, 3))('a project that builds its image', async () => {
  const stack = await stackOf(
    `services: { web: { build: ./web, stop_grace_period: 0s, volumes: ['data:/data'] } }\nvolumes: { data: {} }`,
  );
  const image = `${stack.project}-web`;
  await mkdir(path.join(stack.directory, 'web'));
  const build = async (dockerfile: string): Promise<void> => stack.write('web/Dockerfile', dockerfile);
  await build(keeper({ env: { RELEASE: 'first' } }));
  await stack.compose(['up', '--detach', '--build', '--quiet-build']);
  await shell(await stack.container('web'), 'echo kept >/data/keep');

  // The same image comes out.
  let before = await snapshot(stack);
  const same = await stack.update(['--stable-for', '1s']);
  expectNothingToDo(same);
  expect(same.steps).toContain('build');
  expectUntouched(before, await snapshot(stack));

  await build(keeper({ env: { RELEASE: 'bad' } }) + 'RUN echo the build is broken >&2; exit 7\n');
  before = await snapshot(stack);
  await expectRefused(stack, before, await stack.update(['--stable-for', '1s']), {
    exitCode: 3,
    reason: /build failed/,
  });

  await build(keeper({ env: { RELEASE: 'bad' }, script: 'rm /data/keep; exit 1' }));
  before = await snapshot(stack);
  await expectRolledBack(
    stack,
    before,
    await stack.update(['--stable-for', '1s']),
    /web-1 exited with code 1/,
  );
  expect(await contentOf(stack, 'data')).toBe('kept');

  await build(keeper({ env: { RELEASE: 'second' } }));
  const run = await stack.update(['--stable-for', '1s']);
  expectUpdated(run);
  expect(await running(stack)).toEqual({ 'web-1': 'second' });
  expect((await stack.container('web')).Image).toBe(await imageId(image));
  expect(await contentOf(stack, 'data')).toBe('kept');
  await expectNothingLeft(stack, run);
});

it.runIf(turn(2, 3))('services and volumes with dots, dashes and capitals in their names', async () => {
  const stack = await stackOf(`
services:
  web.front: { image: IMAGE, stop_grace_period: 0s, volumes: ['data.v1:/data'], depends_on: [Web-back_2] }
  Web-back_2: { image: IMAGE, stop_grace_period: 0s, volumes: ['data-v1:/data'] }
volumes:
  data.v1: {}
  data-v1: {}
`);
  await stack.up();
  await shell(await stack.container('web.front'), 'echo dot >/data/keep');
  await shell(await stack.container('Web-back_2'), 'echo dash >/data/keep');
  const before = await snapshot(stack);
  await release(stack, 'bad');
  const { backup } = await expectRolledBack(stack, before, await stack.update(fast), /exited with code 1/);
  expect(new Set(backup.manifest.volumes.map(({ archive }) => archive)).size).toBe(2);
  await release(stack, 'second');
  expectUpdated(await stack.update(fast));
  expect(await running(stack)).toEqual({ 'Web-back_2-1': 'second', 'web.front-1': 'second' });
  expect([await contentOf(stack, 'data.v1'), await contentOf(stack, 'data-v1')]).toEqual(['dot', 'dash']);
});

it.runIf(turn(0, 3))(
  'a project of nothing but one-shots: each release runs them once, also the one after a bad one',
  async () => {
    const stack = await stackOf(`
x-once: &once
  image: IMAGE
  volumes: ['data:/data']
services:
  migrate:
    <<: *once
    command: ['sh', '-c', 'echo migrate $\${RELEASE} >>/data/runs']
  seed:
    <<: *once
    command: ['sh', '-c', 'echo seed $\${RELEASE} >>/data/runs; test $\${RELEASE} != bad']
    depends_on: { migrate: { condition: service_completed_successfully } }
volumes: { data: {} }
`);
    await stack.compose(['up']);
    const first = 'migrate first\nseed first';
    expect(await contentOf(stack, 'data')).toBe(first);
    expectNothingToDo(await stack.update(fast));
    expect(await contentOf(stack, 'data')).toBe(first);

    await release(stack, 'bad');
    const before = await snapshot(stack);
    const bad = await stack.update(fast);
    await expectRolledBack(stack, before, bad, /seed-1 exited with code 1/);
    expect(await contentOf(stack, 'data')).toBe(first);
    await release(stack, 'first');
    expectNothingToDo(await stack.update(fast));

    await release(stack, 'second');
    const run = await stack.update(fast);
    expectUpdated(run);
    expect(await contentOf(stack, 'data')).toBe(`${first}\nmigrate second\nseed second`);
    await expectNothingLeft(stack, bad, run);
  },
);

it.runIf(turn(1, 3))(
  'more replicas, then fewer: each keeps its own volume, and a bad release brings the number back',
  async () => {
    const stack = await stackOf(`
services:
  web: { image: IMAGE, stop_grace_period: 0s, volumes: [/state], deploy: { replicas: 1 } }
`);
    await stack.up();
    await shell(await stack.container('web', 1), 'echo one >/state/keep');
    const replicas = (number: number): Promise<void> =>
      stack.edit(({ services }) => {
        services['web']!['deploy'] = { replicas: number };
      });
    const volumes = async (): Promise<string[]> =>
      (await stack.containers()).map((container) => mountAt(container, '/state'));
    const [one] = await volumes();

    await replicas(2);
    expectUpdated(await stack.update(fast));
    expect(await running(stack)).toEqual({ 'web-1': 'first', 'web-2': 'first' });
    const two = await volumes();
    expect(two).toEqual([one, expect.stringMatching(/^[0-9a-f]{64}$/)]);
    await shell(await stack.container('web', 2), 'echo two >/state/keep');

    await replicas(1);
    await release(stack, 'bad');
    const before = await snapshot(stack);
    await expectRolledBack(stack, before, await stack.update(fast), /exited with code 1/);
    expect(await volumes()).toEqual(two);

    await release(stack, 'second');
    expectUpdated(await stack.update(fast));
    // Which of the two goes is compose's choice, where both are of a former release; its volume is left where it is.
    expect(Object.values(await running(stack))).toEqual(['second']);
    expect(two).toEqual(expect.arrayContaining(await volumes()));
    expect(await dockerLines(['volume', 'inspect', '--format', '{{.Name}}', ...two])).toEqual(two);
  },
);

const swapped = (image: string, added: string): string => `
services:
  stays: { image: ${image}, stop_grace_period: 0s, volumes: ['kept:/data'] }
  added: { image: ${added}, stop_grace_period: 0s, volumes: ['new:/data'] }
volumes:
  kept:
  new:
`;

it.runIf(turn(2, 3))('a service that a release adds, and one that it no longer has', async () => {
  const stack = await stackOf(`
services:
  stays: { image: IMAGE, stop_grace_period: 0s, volumes: ['kept:/data'] }
  removed: { image: IMAGE, stop_grace_period: 0s, volumes: ['old:/data'] }
volumes:
  kept:
  old:
`);
  await stack.up();
  for (const service of ['stays', 'removed'])
    await shell(await stack.container(service), `echo ${service} >/data/keep`);
  const before = await snapshot(stack);
  const app = stack.image;

  const bad = await buildImage(stack, 'added-bad', keeper({ script: 'echo written >/data/file; exit 1' }));
  await push(bad, `${stack.project}/added`);
  await stack.write('compose.yaml', swapped(app, `${registry}/${stack.project}/added`));
  const failed = await stack.update(fast);
  const after = await snapshot(stack);
  expect(failed.exitCode, failed.stdout + failed.stderr).toBe(4);
  // The volume that it brought stays, with what was written: nothing of ours removes one.
  const added = `${stack.project}_new`;
  expectSame({ ...before, files: after.files }, withoutVolume(after, added));
  expect(after.volumes).toContain(added);
  const kept = (await stack.backups()).at(-1)?.manifest;
  expect(kept?.volumes.map(({ name }) => name)).toContain(added);
  await expectNothingLeft(stack, failed);

  const { Id } = await stack.container('removed');
  await stack.write('compose.yaml', swapped(app, app));
  await release(stack, 'second');
  const listening = listen(stack);
  const run = await stack.update(fast);
  const events = await listening.end();
  expectUpdated(run);
  // Compose is never asked to remove what it does not know any more: that container is only stopped for the backup.
  expect(await running(stack)).toEqual({ 'added-1': 'second', 'removed-1': 'first', 'stays-1': 'second' });
  expect((await stack.container('removed')).Id).toBe(Id);
  expect(new Set(actionsOn(events, 'removed'))).toEqual(new Set(['kill', 'die', 'stop', 'start']));
  expect([await contentOf(stack, 'kept'), await contentOf(stack, 'old')]).toEqual(['stays', 'removed']);
  expectNothingToDo(await stack.update(fast));
  await expectNothingLeft(stack, run);
});

function withoutVolume(taken: Snapshot, volume: string): Snapshot {
  const { [volume]: _, ...digests } = taken.digests;
  return { ...taken, digests, volumes: taken.volumes.filter((name) => name !== volume) };
}

// Two PostgreSQL servers on one folder destroy it.
it('a service that a release gives another name is refused while the former one writes to its volume', async () => {
  const compose = (name: string): string =>
    `services: { ${name}: { image: IMAGE, stop_grace_period: 0s, volumes: ['data:/data'] } }\nvolumes: { data: {} }`;
  const stack = await stackOf(compose('former'));
  await stack.up();
  const [former] = await stack.containers();
  await stack.write('compose.yaml', compose('latter').replaceAll('IMAGE', stack.image));
  const run = await stack.update([...fast, ...local]);
  expect(run.exitCode, run.stdout + run.stderr).toBe(3);
  expect(run.outcome?.error?.hint).toContain(`--accept orphan-writes:former:${stack.project}_data`);

  await docker(['stop', former?.Id ?? '']);
  expectUpdated(await stack.update([...fast, ...local]));
  const writers = (await stack.containers()).filter(({ State }) => State.Running);
  expect(writers.map((container) => mountAt(container, '/data'))).toEqual([`${stack.project}_data`]);
});
