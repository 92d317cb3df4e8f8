import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ContainerInspect } from '../../../src/docker/engine.ts';
import type { StackRecord } from '../../../src/docker/record.ts';
import type { ManifestVolume } from '../../../src/backup/manifest.ts';
import type { RunKind } from '../../../src/model/event.ts';
import type { Context } from '../../../src/update/context.ts';
import { startJournal, type EndResult, type JournalEntry } from '../../../src/update/journal.ts';
import { lastUpdate, readSelection, stackAfter } from '../../../src/update/restore.ts';
import { inspect, withId } from '../docker/inspects.ts';
import { manifest } from '../model/examples.ts';

function stored(name: string, key?: string): ManifestVolume {
  return {
    ...{ name, kind: 'named', driver: 'local', servedAt: [], archive: '', files: '', entries: 0, bytes: 0 },
    ...{ sockets: 0, digest: '', exact: true },
    ...(key === undefined ? {} : { key }),
  };
}

describe('what runs after a restore', () => {
  const [web, db] = [inspect('web'), inspect('store')];
  const stack = (containers: ContainerInspect[], running: ContainerInspect[]): StackRecord =>
    ({
      containers,
      running: running.map(({ Id }) => Id),
      green: [],
      volumes: [],
      notCovered: [],
    }) as unknown as StackRecord;
  const ran = (recorded: StackRecord, present: StackRecord): string[] =>
    stackAfter(recorded, present).running;
  const renewed = withId(web, 'f'.repeat(64));

  it('is what ran when the backup was made', () => {
    expect(ran(stack([web, db], [db]), stack([web, db], [web, db]))).toEqual([db.Id]);
  });

  it('is what runs now, where nothing ran then: the services, in the containers of that time', () => {
    expect(ran(stack([web, db], []), stack([renewed], [renewed]))).toEqual([web.Id]);
    expect(ran(stack([web, db], []), stack([renewed], []))).toEqual([]);
  });

  it('is the present stack, where the backup is of data alone', () => {
    const after = stackAfter(stack([], []), stack([web], [web]));
    expect([after.containers, after.running]).toEqual([[web], [web.Id]]);
  });
});

describe('readSelection', () => {
  const held = manifest('manual-20241017_143022', {
    volumes: [stored('shop_uploads', 'uploads'), stored('/srv/a:b')],
    databases: [{ service: 'db', engine: 'postgres', dataPath: '/data', parts: [] }],
  });

  it('is everything where nothing is named', () => {
    expect(readSelection([], held)).toEqual({ what: 'all' });
  });

  it('finds volumes by either name, databases by service, and the configuration', () => {
    expect(readSelection(['volume:uploads', 'database:db', 'config', 'volume:/srv/a:b'], held)).toEqual({
      what: 'some',
      volumes: ['shop_uploads', '/srv/a:b'],
      databases: [{ service: 'db' }],
      config: true,
    });
    expect(readSelection(['database:db/a/b:c'], held)).toMatchObject({
      databases: [{ service: 'db', name: 'a/b:c' }],
    });
    expect(readSelection(['volume:shop_uploads'], held)).toMatchObject({
      volumes: ['shop_uploads'],
      config: false,
    });
  });

  it.each([
    ['volume:nothing', 'The backup holds no volume nothing.', 'It holds: shop_uploads, /srv/a:b'],
    ['database:web/shop', 'The backup holds no database web.', 'It holds: db'],
    ['database:web', 'The backup holds no database web.', 'It holds: db'],
    [
      'uploads',
      '--only takes volume:NAME, database:SERVICE, database:SERVICE/NAME or config, not uploads.',
      'See what the backup holds: safe-update show manual-20241017_143022',
    ],
    [
      'config:x',
      '--only takes volume:NAME, database:SERVICE, database:SERVICE/NAME or config, not config:x.',
      'See what the backup holds: safe-update show manual-20241017_143022',
    ],
    ['volume:', 'The backup holds no volume .', 'It holds: shop_uploads, /srv/a:b'],
  ])('%s', (word, message, hint) => {
    expect(() => readSelection([word], held)).toThrow(
      expect.objectContaining({ code: 'usage', message, hint, state: 'Nothing was touched.' }) as Error,
    );
  });
});

describe('lastUpdate', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'last-update-'));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  let hour = 0;
  async function ran(kind: RunKind, result: EndResult | undefined, ...more: JournalEntry[]): Promise<void> {
    hour += 1;
    const at = new Date(hour * 3_600_000).toISOString();
    const run = `run-${hour}`;
    const about = { project: 'shop', consistency: 'cold', tool: '', host: '' } as const;
    const journal = await startJournal(folder, { type: 'begin', run, kind, at, ...about });
    for (const entry of more) journal.write(entry);
    if (result !== undefined)
      journal.write({
        type: 'end',
        result,
        at,
        ...(result === 'failed' ? {} : { backup: `pre-update-${run}` }),
      });
  }
  const last = (): Promise<string> => lastUpdate({ stateFor: () => folder } as unknown as Context, 'shop');

  it('is the backup of the newest update that ended well', async () => {
    await ran('update', 'updated');
    await ran('update', 'updated');
    const wanted = `pre-update-run-${hour}`;
    await ran('update', 'rolled-back');
    await ran('update', 'failed');
    await ran('backup', 'backed-up');
    await ran('update', 'nothing-to-do');
    expect(await last()).toBe(wanted);
  });

  it('is none after a rollback: going on would go further back than anybody asked for', async () => {
    await ran('update', 'updated');
    await ran('rollback', 'restored', { type: 'source', backup: 'pre-update-x', only: [] });
    await expect(last()).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringContaining('already, to pre-update-x') as string,
    });
  });

  it('is that update again when the rollback did not succeed', async () => {
    await ran('update', 'updated');
    const wanted = `pre-update-run-${hour}`;
    await ran('rollback', 'rolled-back');
    expect(await last()).toBe(wanted);
  });

  it('is an update after a rollback', async () => {
    await ran('rollback', 'restored');
    await ran('update', 'updated');
    expect(await last()).toBe(`pre-update-run-${hour}`);
  });

  it('is none where there was none', async () => {
    await expect(last()).rejects.toMatchObject({ code: 'usage', state: 'Nothing was touched.' });
    await ran('backup', 'backed-up');
    await expect(last()).rejects.toMatchObject({ code: 'usage' });
  });
});
