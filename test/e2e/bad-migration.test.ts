import { once } from 'node:events';
import { createServer } from 'node:net';
import { expect, it } from 'vitest';
import { turn } from '../faults/campaign.ts';
import { docker, testLabel } from './docker.ts';
import { expectRolledBack, unpack } from './outcomes.ts';
import {
  digest,
  eventually,
  expectNothingLeft,
  expectSame,
  freePort,
  quick,
  shop,
  snapshot,
  type SealedBackup,
  type Stack,
} from './stack.ts';

it('drop-table: a migration that destroys rows and files is undone; what it left, and what came in since, is kept', async () => {
  const stack = await shop();
  const before = await snapshot(stack);
  await stack.push('drop-table');
  const running = stack.start(quick);
  await running.step('verify');
  await eventually(() => stack.post('/uploads/too-late', 'sent while the bad release ran'));
  await stack.post('/orders?member=1&item=too-late');
  const { failed } = await expectRolledBack(stack, before, await running.finished, /app-1 is unhealthy/);

  const kept = await uploadsIn(stack, failed);
  expect(kept).toContain('too-late');
  expect(pictures(kept)).toHaveLength(3);
  expect(await tablesIn(stack, failed)).toEqual(['orders 3', 'schema_version 1']);
});

it.runIf(turn(0, 3))(
  'drop-table-crash: a migration that fails half way is undone, and its work is kept',
  async () => {
    const stack = await shop();
    const before = await snapshot(stack);
    await stack.push('drop-table-crash');
    const reason = /app-1 (crashes again and again|is unhealthy)/;
    const { failed } = await expectRolledBack(stack, before, await stack.update(), reason);

    // Each restart has destroyed half of what was left.
    expect(pictures(await uploadsIn(stack, failed)).length).toBeLessThan(6);
    expect(await tablesIn(stack, failed)).toEqual(['orders 2', 'schema_version 1']);
  },
);

it.runIf(turn(0, 2))(
  'a rollback that is blocked says so, has put the data back to the byte, and is finished by recover',
  async () => {
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
  },
);

/** Names of the files in the archive of the uploads. */
async function uploadsIn(stack: Stack, backup: SealedBackup): Promise<string[]> {
  const { files } = await digest(stack.project, await unpack(stack, backup, `${stack.project}_uploads`));
  return files.flatMap((line) => /^(\S+) f /.exec(line)?.[1] ?? []);
}

/** Of the six that the shop had. */
function pictures(names: readonly string[]): string[] {
  return names.filter((name) => name.startsWith('picture-'));
}

/** The tables in the archive of the shop's database and how many rows each has, as PostgreSQL itself reads them. */
async function tablesIn(stack: Stack, backup: SealedBackup): Promise<string[]> {
  const volume = await unpack(stack, backup, `${stack.project}_db_data`);
  const id = await docker([
    ...['run', '--detach', '--network', 'none', '--label', `${testLabel}=${stack.project}`],
    ...['--volume', `${volume}:/var/lib/postgresql/data`, 'postgres:15'],
  ]);
  const psql = async (statement: string): Promise<string[]> =>
    (await docker(['exec', id, 'psql', '-U', 'shop', '-d', 'shop', '-AtXc', statement])).split('\n');
  const tables = await eventually(() =>
    psql("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"),
  );
  const counted = await psql(
    tables.map((table) => `SELECT '${table} ' || count(*) FROM ${table}`).join(' UNION ALL '),
  );
  return counted.sort();
}
