import { beforeAll, describe, expect, it } from 'vitest';
import { docker, testLabel } from './docker.ts';
import { expectRefused } from './outcomes.ts';
import { push } from './releases.ts';
import { buildImage, keeper, local, mountAt, shell, type Kept } from './stack-small.ts';
import {
  expectNothingLeft,
  expectSame,
  project,
  snapshot,
  type ComposeFile,
  type Finished,
  type Snapshot,
  type Stack,
} from './stack.ts';

const pgData = '/var/lib/postgresql/data';
const fast = [...local, '--stable-for', '1s'];

/** Refused, with the way on by name; and that nothing was touched is told by the engine. */
async function expectRefusal(
  stack: Stack,
  before: Snapshot,
  run: Finished,
  { reason, accept }: { reason: RegExp; accept: string },
): Promise<void> {
  await expectRefused(stack, before, run, { exitCode: 3, reason });
  expect(run.outcome?.error?.code).toBe('refused');
  expect(run.outcome?.error?.hint).toContain(`--accept ${accept}`);
}

describe('a stack with a volume of its image, a named one and a database', () => {
  let stack: Stack;
  let before: Snapshot;

  beforeAll(async () => {
    stack = await project({});
    const image = await buildImage(stack, 'web', keeper({ volumes: ['/old'] }));
    const db = await buildImage(stack, 'postgres', fakePostgres());
    await stack.write(
      'compose.yaml',
      `
services:
  web: { image: ${image}, stop_grace_period: 0s, volumes: ['data:/data'] }
  db: { image: ${db}, stop_grace_period: 0s, volumes: ['pg:/var/lib/postgresql/data'] }
volumes:
  data:
  pg:
`,
    );
    await stack.up();
    const web = await stack.container('web');
    await shell(web, 'echo kept >/old/keep; echo kept >/data/keep');
    before = await snapshot(stack);
  });

  /** Refused after this edit of the compose file, which is taken back. */
  async function refusedAfter(
    edit: (model: ComposeFile, volumes: Record<string, unknown>) => void,
    reason: RegExp,
    accept: string,
  ): Promise<void> {
    await stack.edit((model) => {
      edit(model, model['volumes'] as Record<string, unknown>);
    });
    const edited = await stack.read('compose.yaml');
    const run = await stack.update(fast);
    try {
      await expectRefusal(stack, { ...before, files: { 'compose.yaml': edited } }, run, { reason, accept });
    } finally {
      await stack.write('compose.yaml', before.files['compose.yaml'] ?? '');
    }
  }

  it('an image that has moved its VOLUME', async () => {
    const moved = await buildImage(stack, 'moved', keeper({ volumes: ['/new'] }));
    await refusedAfter(
      ({ services }) => (services['web']!['image'] = moved),
      /web has the volume [0-9a-f]{64} at \/old; after the update it would have no volume there/,
      'volume-moved:web:/old',
    );
  });

  it('a volume with another name', async () => {
    await refusedAfter(
      (_, volumes) => (volumes['data'] = { name: `${stack.project}-another` }),
      /web has the volume e2e-\w+_data at \/data; after the update it would have e2e-\w+-another there, without the data/,
      'volume-moved:web:/data',
    );
  });

  it('a volume with other driver options', async () => {
    await refusedAfter(
      (_, volumes) => (volumes['data'] = { driver_opts: { type: 'tmpfs', device: 'tmpfs', o: 'size=1m' } }),
      /definition of the volume e2e-\w+_data differs from the volume that exists \(driver options\)/,
      `volume-changed:${stack.project}_data`,
    );
  });

  it('a folder in the place of a volume', async () => {
    await refusedAfter(
      ({ services }) => (services['web']!['volumes'] = ['./folder:/data']),
      /web has the volume e2e-\w+_data at \/data; after the update it would have a bind mount there/,
      'volume-moved:web:/data',
    );
  });

  it('an external volume that is missing', async () => {
    const name = `${stack.project}-missing`;
    await refusedAfter(
      ({ services }, volumes) => {
        volumes['outside'] = { external: true, name };
        (services['web']!['volumes'] as string[]).push('outside:/outside');
      },
      /external volume e2e-\w+-missing does not exist on this engine/,
      `missing-volume:${name}`,
    );
  });

  it('a PostgreSQL of another major version', async () => {
    const newer = await buildImage(stack, 'postgres16', fakePostgres({ major: '16' }));
    await refusedAfter(
      ({ services }) => (services['db']!['image'] = newer),
      /new image of db is PostgreSQL 16; it cannot read the files of PostgreSQL 15/,
      'database-version:db',
    );
  });

  it('a PostgreSQL that keeps its files elsewhere', async () => {
    const elsewhere = await buildImage(
      stack,
      'postgres-moved',
      fakePostgres({ env: { PGDATA: '/var/lib/postgresql/15/docker' } }),
    );
    await refusedAfter(
      ({ services }) => (services['db']!['image'] = elsewhere),
      /db would keep its files at \/var\/lib\/postgresql\/15\/docker instead of \/var\/lib\/postgresql\/data/,
      'data-path:db',
    );
  });
});

it('a database whose files are in its container’s layer is refused', async () => {
  const stack = await project({});
  const image = await buildImage(stack, 'postgres', fakePostgres({ volumes: [] }));
  await stack.write('compose.yaml', `services: { db: { image: ${image}, stop_grace_period: 0s } }`);
  await stack.up();
  await stack.edit(({ services }) => (services['db']!['environment'] = { CHANGED: '1' }));
  const before = await snapshot(stack);
  await expectRefusal(stack, before, await stack.update(fast), {
    reason:
      /db keeps its PostgreSQL files at \/var\/lib\/postgresql\/data, which is on no volume: replacing the container deletes them/,
    accept: 'no-volume:db',
  });
});

/** What a look at it takes for PostgreSQL; it is refused before anybody would want to dump it. */
function fakePostgres({
  major = '15',
  volumes = [pgData],
  env = {},
}: { major?: string } & Kept = {}): string {
  const image = keeper({ volumes, env: { PG_MAJOR: major, ...env } });
  return `${image}RUN printf '#!/bin/sh\\nexec sleep infinity\\n' >/usr/bin/postgres && chmod +x /usr/bin/postgres
CMD ["postgres"]
`;
}

describe('who else writes to a volume', () => {
  let stack: Stack;

  beforeAll(async () => {
    stack = await project({});
    await stack.write(
      'compose.yaml',
      `
services:
  web: { image: ${stack.image}, stop_grace_period: 0s, volumes: ['data:/data'] }
volumes:
  data:
`,
    );
    await push(await buildImage(stack, 'first', keeper({ env: { RELEASE: 'first' } })), stack.repository);
    await stack.up();
    await shell(await stack.container('web'), 'echo kept >/data/keep');
    await push(await buildImage(stack, 'second', keeper({ env: { RELEASE: 'second' } })), stack.repository);
  });

  it('a container of nobody’s: refused, until it only reads, or the configuration knows of it', async () => {
    const start = (mode: string): Promise<string> =>
      docker([
        ...['run', '--detach', '--label', `${testLabel}=${stack.project}`, '--stop-timeout', '0'],
        ...['--volume', `${stack.project}_data:/there:${mode}`, 'debian:bookworm-slim', 'sleep', 'infinity'],
      ]);
    const writer = await start('rw');
    const reason = /writes to the volume e2e-\w+_data too; stopping this project does not stop it/;
    await expectRefusal(stack, await snapshot(stack), await stack.update(), {
      reason,
      accept: `shared-volume:${stack.project}_data`,
    });
    const warnings = async (): Promise<unknown> =>
      (JSON.parse((await stack.safeUpdate(['plan', '--json'])).stdout) as { warnings: unknown }).warnings;
    expect(await warnings()).toEqual([expect.stringMatching(reason)]);
    await docker(['rm', '--force', writer]);

    const reader = await start('ro');
    expect(await warnings()).toEqual([]);
    await docker(['rm', '--force', reader]);

    const known = await start('rw');
    await stack.write('safe-update.yml', 'volumes: { data: { shared: allow } }\n');
    expect(await warnings()).toEqual([]);
    await docker(['rm', '--force', known]);
  });

  it('a container that somebody runs once: refused, unless that is accepted by its name', async () => {
    await stack.compose(['run', '--detach', '--name', `${stack.project}-once`, 'web', 'sleep', 'infinity']);
    const accept = `one-off:${stack.project}-once`;
    const reason = /one-off container e2e-\w+-once \(docker compose run web\) is still running/;
    const before = await snapshot(stack);
    const refused = await stack.update(['--accept', `one-off:${stack.project}`]);
    await expectRefusal(stack, before, refused, { reason, accept });

    const run = await stack.update(['--stable-for', '1s', '--accept', accept]);
    expect(run.exitCode, run.stdout + run.stderr).toBe(0);
    expect((await stack.container('web')).Image).not.toBe(before.services['web-1']?.imageId);
    expect(mountAt(await stack.container('web'), '/data')).toBe(`${stack.project}_data`);
    await expectNothingLeft(stack, run);
  });
});

it('a VOLUME that is found to have moved only after the pull is refused, and the name means the former image again', async () => {
  const stack = await project({});
  await stack.write('compose.yaml', `services: { web: { image: ${stack.image}, stop_grace_period: 0s } }`);
  await push(await buildImage(stack, 'first', keeper({ volumes: ['/old'] })), stack.repository);
  await stack.up();
  await shell(await stack.container('web'), 'echo kept >/old/keep');
  const before = await snapshot(stack);
  await push(await buildImage(stack, 'moved', keeper({ volumes: ['/new'] })), stack.repository);
  const run = await stack.update(['--stable-for', '1s']);
  expect(run.steps).toContain('pull');
  await expectRefusal(stack, before, run, {
    reason: /at \/old; after the update it would have no volume there/,
    accept: 'volume-moved:web:/old',
  });

  // Somebody who has made sure goes on; the volume stays, so there is a way back.
  const accepted = await stack.update(['--stable-for', '1s', '--accept', 'volume-moved:web:/old']);
  expect(accepted.exitCode, accepted.stdout + accepted.stderr).toBe(0);
  expect(mountAt(await stack.container('web'), '/new')).toMatch(/^[0-9a-f]{64}$/);
  const back = await stack.safeUpdate([
    'rollback',
    '--confirm',
    stack.project,
    '--json',
    '--stable-for',
    '1s',
  ]);
  expect(back.exitCode, back.stdout + back.stderr).toBe(0);
  const after = await snapshot(stack);
  expect(await shell(await stack.container('web'), 'cat /old/keep')).toBe('kept');
  expectSame({ ...before, volumes: after.volumes, digests: after.digests }, after);
});
