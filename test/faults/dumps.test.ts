/** Dumps that fail, lie or hang, servers that do not let anybody in, and a helper that is taken away. */
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import { beforeAll, describe, expect, it } from 'vitest';
import { docker, dockerLines, eventually, inspectWhere } from '../e2e/docker.ts';
import { expectIntact, expectRefused } from '../e2e/outcomes.ts';
import {
  expectNothingLeft,
  expectSame,
  project,
  quick,
  shop,
  snapshot,
  type Finished,
  type Running,
  type Stack,
} from '../e2e/stack.ts';
import { chosen, turn } from './campaign.ts';

/** Where the server's own programs are in its image. */
const programs = '/usr/lib/postgresql/15/bin';

/** In the place of pg_dump and pg_dumpall: does what /fault/mode says, and otherwise what the real one does. */
const fake = `#!/bin/sh
name=$(basename "$0")
case $(cat "/fault/mode-$name" 2>/dev/null) in
  half) "/fault/$name" "$@" | head -c 300; echo "connection to server was lost" >&2; exit 1 ;;
  signal) "/fault/$name" "$@" | head -c 1500; kill -9 $$ ;;
  truncated) "/fault/$name" "$@" | head -c 300 ;;
  short) "/fault/$name" "$@" | head -c -1 ;;
  empty) ;;
  html) echo '<html><body><h1>502 Bad Gateway</h1></body></html>' ;;
  hang) echo PGDMP; sleep 54321 ;;
  *) exec "/fault/$name" "$@" ;;
esac
`;

describe('pg_dump', () => {
  let stack: Stack;
  const mode = (name: string, said: string): Promise<void> =>
    writeFile(path.join(stack.directory, 'fault', `mode-${name}`), said);

  beforeAll(async () => {
    stack = await shop({
      edit({ services: { db } }) {
        (db?.['volumes'] as string[]).push(
          './fault:/fault:ro',
          ...['pg_dump', 'pg_dumpall'].map((name) => `./fault/fake:${programs}/${name}:ro`),
        );
      },
      start: false,
    });
    const folder = path.join(stack.directory, 'fault');
    await mkdir(folder);
    const label = `safe-update-e2e=${stack.project}`;
    const container = await docker(['create', '--label', label, 'postgres:15']);
    for (const name of ['pg_dump', 'pg_dumpall'])
      await docker(['cp', '--follow-link', `${container}:${programs}/${name}`, path.join(folder, name)]);
    await docker(['rm', '--volumes', container]);
    await writeFile(path.join(folder, 'fake'), fake);
    await chmod(path.join(folder, 'fake'), 0o755);
    await stack.write('safe-update.yml', 'timeouts:\n  dump: 20s\n');
    await stack.up();
    await stack.fill();
    await stack.push('1.1.0');
  });

  const lies: [name: string, said: string, reason: RegExp][] = [
    ['pg_dump', 'half', /connection to server was lost/],
    ['pg_dump', 'signal', /PostgreSQL/],
    ['pg_dump', 'truncated', /dump/],
    ['pg_dump', 'short', /dump/],
    ['pg_dump', 'empty', /dump/],
    ['pg_dump', 'html', /dump/],
    ['pg_dumpall', 'half', /connection to server was lost/],
    ['pg_dumpall', 'truncated', /globals|dump/],
    ['pg_dumpall', 'empty', /globals|dump/],
    ['pg_dumpall', 'html', /globals|dump/],
  ];

  it.each(chosen(lies, 3))('%s: %s', async (name, said, reason) => {
    const before = await snapshot(stack);
    await mode(name, said);
    const run = await stack.update();
    await mode(name, '');
    await expectRefused(stack, before, run, { exitCode: 3, reason });
    expect(run.outcome?.error?.code).toBe('database');
    expect(run.steps).not.toContain('stop');
  });

  it.runIf(turn(0, 2))('hangs: the limit ends it, and what it started in the container too', async () => {
    const before = await snapshot(stack);
    await mode('pg_dump', 'hang');
    const run = await stack.update();
    await mode('pg_dump', '');
    await expectRefused(stack, before, run, { exitCode: 3, reason: /took longer than 20/ });
    expect(await processes(stack, 'db')).not.toMatch(/54321|pg_dump/);
  });

  it.runIf(turn(1, 2))(
    'waits for a table that somebody has locked: the limit ends it, in the server too',
    async () => {
      const before = await snapshot(stack);
      const { Id } = await stack.container('db');
      const lock = 'BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600)';
      const holder = execa('docker', ['exec', Id, 'psql', '-U', 'shop', '-d', 'shop', '-c', lock], {
        reject: false,
      });
      const held =
        "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation = 'orders'::regclass";
      await eventually(async () => {
        expect(await stack.sql(held)).toBe('1');
      });
      const run = await stack.update();
      expect(await processes(stack, 'db')).not.toMatch(/pg_dump/);
      const ours =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'safe-update%' OR application_name = 'pg_dump'";
      expect(await stack.sql(ours)).toBe('0');
      await stack.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()",
      );
      await holder;
      await expectRefused(stack, before, run, { exitCode: 3, reason: /took longer than 20/ });
    },
  );

  it('works again: so does the update', async () => {
    const run = await stack.update();
    expect(run.exitCode, run.story).toBe(0);
    for (const backup of await stack.backups()) await expectIntact(backup);
    await expectNothingLeft(stack, run);
  });
});

async function processes(stack: Stack, service: string): Promise<string> {
  return docker(['top', (await stack.container(service)).Id, '-eo', 'pid,args']);
}

describe('logins', () => {
  const strict = '--auth-local=scram-sha-256 --auth-host=scram-sha-256';

  /** A PostgreSQL alone, with a row in a table. */
  async function server(
    environment: Record<string, string>,
    more: Record<string, unknown> = {},
  ): Promise<Stack> {
    const stack = await project({});
    const db = {
      image: 'postgres:15',
      environment,
      volumes: ['data:/var/lib/postgresql/data'],
      healthcheck: { test: ['CMD-SHELL', 'pg_isready -q -h 127.0.0.1'], interval: '1s', retries: 30 },
      ...more,
    };
    const secrets = more['secrets'] === undefined ? {} : { secrets: { password: { file: './password' } } };
    if (more['secrets'] !== undefined) await stack.write('password', `${stack.secret}\n`);
    await stack.write(
      'compose.yaml',
      JSON.stringify({ services: { db }, volumes: { data: {} }, ...secrets }),
    );
    await stack.up();
    return stack;
  }

  /** As somebody does who has the password. */
  async function sql(stack: Stack, password: string, statement: string): Promise<string> {
    const { Id } = await stack.container('db');
    const argv = [
      'exec',
      '--env',
      'PGPASSWORD',
      Id,
      'psql',
      '-U',
      'postgres',
      '-AtX',
      '-v',
      'ON_ERROR_STOP=1',
      '-c',
      statement,
    ];
    return eventually(() => docker(argv, { env: { PGPASSWORD: password } }));
  }

  const backup = (stack: Stack): Promise<Finished> =>
    stack.safeUpdate(['backup', '--yes', '--json', '--consistency', 'hot', '--stable-for', '1s']);

  /** Not an empty dump that counts as one. */
  async function expectDumped(stack: Stack, run: Finished): Promise<void> {
    expect(run.exitCode, run.story).toBe(0);
    const [sealed] = await stack.backups();
    if (sealed === undefined) throw new Error('no backup');
    await expectIntact(sealed);
    const { Id } = await stack.container('db');
    const dump = await readFile(path.join(sealed.folder, 'databases/db/postgres.dump'));
    const { stdout } = await execa(
      'docker',
      ['exec', '--interactive', Id, `${programs}/pg_restore`, '--list'],
      { input: dump },
    );
    expect(stdout).toMatch(/TABLE DATA public things/);
    expect(sealed.manifest.databases[0]?.fingerprint?.counts).toMatchObject({ 'postgres.public.things': 3 });
    await expectNothingLeft(stack, run);
  }

  async function expectNotDumped(
    stack: Stack,
    run: Finished,
    secrets: string[],
    hint = /POSTGRES_PASSWORD/,
  ): Promise<void> {
    expect(run.exitCode, run.story).toBe(3);
    expect(run.outcome?.error?.code).toBe('database');
    expect(run.outcome?.error?.message).toMatch(/does not let its own client in/);
    expect(run.outcome?.error?.state).toMatch(/^Nothing was touched/);
    expect(run.outcome?.error?.hint).toMatch(hint);
    for (const secret of secrets) expect(run.stdout + run.stderr).not.toContain(secret);
    expect(await stack.backups()).toEqual([]);
    await expectNothingLeft(stack, run);
  }

  const things = 'CREATE TABLE things AS SELECT generate_series(1, 3) AS id';

  it.runIf(turn(0, 3))(
    'a password that was rotated in the server, and then named in safe-update.yml',
    async () => {
      const stack = await server({ POSTGRES_PASSWORD: 'former-password', POSTGRES_INITDB_ARGS: strict });
      await sql(stack, 'former-password', things);
      await sql(stack, 'former-password', `ALTER ROLE postgres PASSWORD '${stack.secret}'`);
      const { Id, State } = await stack.container('db');
      await expectNotDumped(stack, await backup(stack), ['former-password', stack.secret]);

      await stack.write('safe-update.yml', 'databases: { db: { user: postgres, passwordFile: ./word } }\n');
      await expectNotDumped(stack, await backup(stack), [stack.secret]);
      await stack.write('word', 'wrong-password\n');
      await expectNotDumped(stack, await backup(stack), ['wrong-password', stack.secret]);
      const after = await stack.container('db');
      expect([after.Id, after.State.StartedAt]).toEqual([Id, State.StartedAt]);

      await stack.write('word', `${stack.secret}\n`);
      await expectDumped(stack, await backup(stack));
    },
  );

  it.runIf(turn(1, 3))('a password in a file', async () => {
    const stack = await server(
      { POSTGRES_PASSWORD_FILE: '/run/secrets/password', POSTGRES_INITDB_ARGS: strict },
      { secrets: ['password'] },
    );
    await sql(stack, stack.secret, things);
    await expectDumped(stack, await backup(stack));
  });

  it.runIf(turn(2, 3))('a password with everything in it that a shell or compose might read', async () => {
    const password = 'a$b $(id) `id` "q" \'s\' \\n $HOME ${x} ;|&<> %s é';
    const stack = await server({
      POSTGRES_PASSWORD: password.replaceAll('$', '$$$$'),
      POSTGRES_INITDB_ARGS: strict,
    });
    await sql(stack, password, things);
    const run = await backup(stack);
    expect(run.stdout + run.stderr).not.toContain('`id`');
    await expectDumped(stack, run);
  });

  it.runIf(turn(1, 3))('no password at all, for the server trusts everybody', async () => {
    const stack = await server({ POSTGRES_HOST_AUTH_METHOD: 'trust' });
    await sql(stack, '', things);
    await expectDumped(stack, await backup(stack));
  });

  it.runIf(turn(2, 3))(
    'a password that was changed in the compose file only, after the volume had been made',
    async () => {
      const stack = await server({ POSTGRES_PASSWORD: 'former-password', POSTGRES_INITDB_ARGS: strict });
      await sql(stack, 'former-password', things);
      await stack.write(
        'compose.yaml',
        (await stack.read('compose.yaml')).replace('former-password', stack.secret),
      );
      await stack.up();
      await expectNotDumped(stack, await backup(stack), ['former-password', stack.secret]);
    },
  );

  it('a Redis that lets nobody in', async () => {
    const stack = await shop();
    await stack.push('1.1.0');
    const before = await snapshot(stack);
    await stack.redis(['CONFIG', 'SET', 'requirepass', 'rotated-password']);
    const run = await stack.update();
    const { Id } = await stack.container('cache');
    await docker(
      ['exec', '--env', 'REDISCLI_AUTH', Id, 'redis-cli', 'CONFIG', 'SET', 'requirepass', stack.secret],
      {
        env: { REDISCLI_AUTH: 'rotated-password' },
      },
    );
    await eventually(async () => {
      expect((await stack.container('app')).State.Health?.Status).toBe('healthy');
    });
    await expectRefused(stack, before, run, { exitCode: 3, reason: /cache/ });
    expect(run.outcome?.error?.code).toBe('database');
    expect(run.stdout + run.stderr).not.toContain('rotated-password');
  });
});

describe('the helper', () => {
  let stack: Stack;
  /** A name of our own for its image: nobody else misses it. */
  let image: string;

  beforeAll(async () => {
    stack = await shop();
    image = `${stack.project}/helper:1`;
    const prepared = await stack.safeUpdate(['backup', '--json', '--consistency', 'hot']);
    expect(prepared.exitCode, prepared.story).toBe(0);
    await docker(['tag', await helperId(), image]);
    await stack.write('safe-update.yml', `helper: { image: ${image} }\n`);
    // Enough to be in the middle of.
    const { Id } = await stack.container('app');
    await docker(['exec', '--user', '0', Id, 'sh', '-c', 'head -c 400M /dev/urandom >/app/uploads/large']);
    await stack.push('drop-table');
  });

  async function killHelper(running: Running, step: string): Promise<void> {
    await running.until(
      (event) => event.type === 'step-progress' && event.step === step && (event.bytes ?? 0) > 0,
    );
    const [helper] = (await inspectWhere(`label=safe-update.project=${stack.project}`)).filter(
      ({ Config }) => Config.Labels['safe-update.role'] === 'helper',
    );
    if (helper === undefined) throw new Error('there is no helper');
    await docker(['kill', helper.Id]);
  }

  it.runIf(turn(1, 3))(
    'is killed while it archives: the stack runs again as before, and no backup is left',
    async () => {
      const before = await snapshot(stack);
      const known = (await stack.backups()).map(({ id }) => id);
      const running = stack.start(quick);
      await killHelper(running, 'archive');
      const run = await running.finished;
      expect(run.exitCode, run.story).toBe(4);
      expect(run.steps).not.toContain('seal');
      expectSame(before, await snapshot(stack));
      expect((await stack.backups()).map(({ id }) => id)).toEqual(known);
      await expectNothingLeft(stack, run);
    },
  );

  it.runIf(turn(2, 3))(
    'is killed while it puts data back: nothing runs on half of it, and recover completes it',
    async () => {
      const before = await snapshot(stack);
      const running = stack.start(quick);
      await killHelper(running, 'undo-data');
      const run = await running.finished;
      expect(run.exitCode, run.story).toBe(5);
      expect(run.outcome?.error?.hint).toMatch(/safe-update recover/);
      expect((await stack.containers()).filter(({ State }) => State.Running)).toEqual([]);
      for (const backup of await stack.backups()) await expectIntact(backup);

      const recovered = await stack.safeUpdate(['recover', '--json', '--stable-for', '1s']);
      expect(recovered.exitCode, recovered.story).toBe(0);
      expectSame(before, await snapshot(stack));
      await expectNothingLeft(stack, run, recovered);
    },
  );

  it('has no image from the beginning: refused', async () => {
    const before = await snapshot(stack);
    const known = (await stack.backups()).map(({ id }) => id);
    await docker(['image', 'rm', image]);
    const run = await stack.update();
    await docker(['tag', await helperId(), image]);
    await expectRefused(stack, before, run, { exitCode: 3, reason: /helper image/, backups: known });
  });

  it.runIf(turn(0, 3))(
    'has no image any more when it is needed to put data back: stopped safe, and completed when it is there again',
    async () => {
      const before = await snapshot(stack);
      const running = stack.start(quick);
      await running.step('verify');
      await docker(['image', 'rm', image]);
      const run = await running.finished;
      expect(run.exitCode, run.story).toBe(5);
      expect(run.outcome?.error?.hint).toMatch(/safe-update recover/);
      const blocked = await stack.safeUpdate(['recover', '--json', '--stable-for', '1s']);
      expect(blocked.exitCode, blocked.story).toBeGreaterThan(0);
      expect(blocked.outcome?.error?.message).toMatch(/image/i);
      for (const backup of await stack.backups()) await expectIntact(backup);

      await docker(['tag', await helperId(), image]);
      const recovered = await stack.safeUpdate(['recover', '--json', '--stable-for', '1s']);
      expect(recovered.exitCode, recovered.story).toBe(0);
      expectSame(before, await snapshot(stack));
      await expectNothingLeft(stack, run, blocked, recovered);
    },
  );
});

async function helperId(): Promise<string> {
  const [id] = await dockerLines(['image', 'ls', '--quiet', '--filter', 'reference=safe-update/helper']);
  if (id === undefined) throw new Error('there is no helper image');
  return id;
}

describe('a writer outside of the project', () => {
  const writers = {
    grows: 'while :; do head -c 100000 /dev/zero >>/x/outside-grows; sleep 0.02; done',
    comes_and_goes:
      'while :; do for i in 1 2 3 4 5 6 7 8; do echo $i >/x/outside-$i; done; rm -f /x/outside-*; done',
  };

  it.each(chosen(Object.entries(writers), 1))(
    'a file that %s: cold, it is an error; hot, it is said to be inexact',
    async (_, script) => {
      const stack = await shop();
      await stack.push('1.1.0');
      const uploads = `${stack.project}_uploads`;
      const label = `safe-update-e2e=${stack.project}`;
      const before = await snapshot(stack);
      const start = (): Promise<string> =>
        docker([
          'run',
          '--detach',
          '--label',
          label,
          '--volume',
          `${uploads}:/x`,
          'debian:bookworm-slim',
          'sh',
          '-c',
          script,
        ]);
      const writer = await start();
      const end = async (): Promise<void> => {
        await docker(['rm', '--force', writer]);
        await docker([
          'run',
          '--rm',
          '--label',
          label,
          '--volume',
          `${uploads}:/x`,
          'debian:bookworm-slim',
          'sh',
          '-c',
          'rm -f /x/outside-*',
        ]);
      };
      const refused = await stack.update();
      expect(refused.exitCode, refused.story).toBe(3);
      expect(refused.outcome?.error?.message).toMatch(/writes to the volume/);

      const accept = ['--accept', `shared-volume:${uploads}`];
      const cold = await stack.update(accept);
      expect(cold.exitCode, cold.story).toBe(4);
      expect(cold.outcome?.error?.message).toMatch(/outside the project wrote to the volume/);
      expect(await stack.backups()).toEqual([]);

      const hot = await stack.safeUpdate(['backup', '--yes', '--json', '--consistency', 'hot', ...accept]);
      expect(hot.exitCode, hot.story).toBe(0);
      const [backup] = await stack.backups();
      expect(backup?.manifest.volumes.find(({ name }) => name === uploads)?.exact).toBe(false);
      if (backup !== undefined) await expectIntact(backup);
      const verify = await stack.safeUpdate(['verify', backup?.id ?? '']);
      expect(verify.exitCode, verify.stderr).toBe(0);

      await end();
      const after = await snapshot(stack);
      for (const taken of [before, after]) taken.digests = {};
      expectSame(before, after);
      await expectNothingLeft(stack, refused, cold, hot);
    },
  );
});
