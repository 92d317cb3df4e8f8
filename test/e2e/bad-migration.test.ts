import { once } from 'node:events';
import { createServer } from 'node:net';
import { expect, it } from 'vitest';
import { docker, testLabel } from './docker.ts';
import { expectGoodUpdate, expectRolledBack, unpack } from './outcomes.ts';
import {
  digest,
  eventually,
  expectNothingLeft,
  expectSame,
  freePort,
  quick,
  shop,
  snapshot,
  type Stack,
} from './stack.ts';

it.each([
  { release: 'drop-table', reason: /app-1 is unhealthy/ },
  { release: 'drop-table-crash', reason: /app-1 (crashes again and again|is unhealthy)/ },
] as const)(
  '$release: a migration that destroys rows and files is undone, and its work is kept',
  async ({ release, reason }) => {
    const stack = await shop();
    const before = await snapshot(stack);
    await stack.push(release);
    const { failed } = await expectRolledBack(stack, before, await stack.update(), reason);

    // What was thrown away is what the bad release had left behind, not a copy of the good state.
    const uploads = `${stack.project}_uploads`;
    const kept = await digest(stack.project, await unpack(stack, failed, uploads));
    const pictures = (files: string[]): number => files.filter((line) => /^picture-\d /.test(line)).length;
    expect(pictures(before.digests[uploads]?.files ?? [])).toBe(6);
    expect(pictures(kept.files)).toBeLessThan(6);
    expect(await tablesIn(stack, await unpack(stack, failed, `${stack.project}_db_data`))).toEqual([
      'orders',
      'schema_version',
    ]);

    await expectGoodUpdate(stack);
  },
);

it('a rollback that is blocked says so, has put the data back to the byte, and is finished by recover', async () => {
  const port = await freePort();
  const stack = await shop({
    edit({ services: { db } }) {
      if (db !== undefined) db['ports'] = [`${port}:5432`];
    },
  });
  const before = await snapshot(stack);
  await stack.push('drop-table');
  const running = stack.start(quick);

  // While the stack is down, somebody else takes the database's port.
  await running.step('undo-keep');
  const thief = createServer().listen(port, '0.0.0.0');
  await once(thief, 'listening');
  try {
    const run = await running.finished;
    expect(run.exitCode, run.story).toBe(5);
    expect(run.outcome?.error?.code).toBe('rollback-incomplete');
    expect(run.outcome?.error?.message).toMatch(
      /app-1 is unhealthy.*(address already in use|port is already allocated)/s,
    );
    expect(run.outcome?.error?.hint).toContain('safe-update recover');

    // Nothing has started on them since they were put back: the one moment at which a database's files can be compared.
    const [backup] = await stack.backups();
    if (backup === undefined) throw new Error('no backup');
    expect(run.outcome?.error?.state).toContain(backup.id);
    expect((await stack.container('db')).State.Running).toBe(false);
    expect((await stack.container('app')).State.Running).toBe(false);
    for (const volume of ['db_data', 'uploads'].map((key) => `${stack.project}_${key}`)) {
      const inBackup = await digest(stack.project, await unpack(stack, backup, volume));
      expect(await digest(stack.project, volume), volume).toEqual(inBackup);
    }
  } finally {
    thief.close();
    await once(thief, 'close');
  }

  const recovered = await stack.safeUpdate(['recover', '--json', '--stable-for', '2s']);
  expect(recovered.exitCode, recovered.story).toBe(0);
  expect(recovered.outcome?.result).toBe('recovered');
  expectSame(before, await snapshot(stack));
  await expectNothingLeft(stack, await running.finished, recovered);
  expect((await stack.backups()).map(({ manifest }) => manifest.kind)).toEqual(['pre-update', 'failed']);
});

/** The tables of the shop's database in a data folder, as PostgreSQL itself reads it. */
async function tablesIn(stack: Stack, volume: string): Promise<string[]> {
  const id = await docker([
    ...['run', '--detach', '--network', 'none', '--label', `${testLabel}=${stack.project}`],
    ...['--volume', `${volume}:/var/lib/postgresql/data`, 'postgres:15'],
  ]);
  const list = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1";
  const printed = await eventually(() =>
    docker(['exec', id, 'psql', '-U', 'shop', '-d', 'shop', '-AtXc', list]),
  );
  await docker(['rm', '--force', id]);
  return printed.split('\n');
}
