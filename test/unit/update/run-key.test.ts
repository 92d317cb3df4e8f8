import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { recipientOf } from '../../../src/backup/age.ts';
import {
  dropRemains,
  dropStack,
  keyFile,
  startJournal,
  type JournalEntry,
} from '../../../src/update/journal.ts';
import { keysOfRun } from '../../../src/update/run-key.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'run-key-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

const asked: string[] = [];
const configured = async (): Promise<string[]> => {
  asked.push('configured');
  return Promise.resolve(['of the settings']);
};
const keysFor = (run: string) => keysOfRun({ recipients: ['age1…'], identities: [configured] }, folder, run);
const all = async (run: string): Promise<(readonly string[])[]> =>
  Promise.all(keysFor(run).identities.map((identities) => identities()));

function begin(run: string): JournalEntry & { type: 'begin' } {
  const at = '2026-11-20T12:00:00.000Z';
  return {
    type: 'begin',
    run,
    kind: 'update',
    project: 'shop',
    consistency: 'cold',
    at,
    tool: '0',
    host: 'h',
  };
}
const end: JournalEntry = { type: 'end', result: 'updated', at: '2026-11-20T12:01:00.000Z' };

describe('the key of a run', () => {
  it('is not there before the run writes a backup', async () => {
    expect(await all('run-1')).toEqual([[], ['of the settings']]);
    expect(await readdir(folder)).toEqual([]);
  });

  it('is made once, for its owner alone, and found again by whoever recovers the run', async () => {
    const recipient = await keysFor('run-1').ownRecipient?.();
    expect((await stat(keyFile(folder, 'run-1'))).mode & 0o777).toBe(0o600);
    expect(await keysFor('run-1').ownRecipient?.()).toBe(recipient);
    const [[own = ''] = []] = await all('run-1');
    expect(await recipientOf(own)).toBe(recipient);
    expect(await all('run-2')).toEqual([[], ['of the settings']]);
    expect(await keysFor('run-2').ownRecipient?.()).not.toBe(recipient);
  });

  it('comes before those of the settings, which are not looked at meanwhile', async () => {
    await keysFor('run-1').ownRecipient?.();
    asked.length = 0;
    const [first] = keysFor('run-1').identities;
    expect(await first?.()).toHaveLength(1);
    expect(asked).toEqual([]);
  });

  it('that was torn by a crash is made anew: nothing is encrypted for it', async () => {
    await writeFile(keyFile(folder, 'run-1'), 'AGE-SECRET-KEY-1QQ', { mode: 0o600 });
    expect((await all('run-1'))[0]).toEqual([]);
    const recipient = await keysFor('run-1').ownRecipient?.();
    expect(await recipientOf((await readFile(keyFile(folder, 'run-1'), 'utf8')).trim())).toBe(recipient);
  });

  it('that cannot be written is an error before anything is encrypted', async () => {
    await mkdir(keyFile(folder, 'run-1'));
    await expect(keysFor('run-1').ownRecipient?.()).rejects.toMatchObject({ code: 'store' });
  });

  it('goes with the end of the run, and with the next run where it did not', async () => {
    for (const run of ['run-1', 'run-2', 'run-3', 'run-4']) {
      const journal = await startJournal(folder, begin(run));
      await keysFor(run).ownRecipient?.();
      await writeFile(path.join(folder, `${run}.stack.json`), '{}');
      if (run === 'run-2' || run === 'run-4') journal.write(end);
    }
    await dropStack(folder, 'run-1');
    // run-3 was killed and is to be recovered; run-4 is the one that asks.
    await dropRemains(folder, 'run-4');
    expect((await readdir(folder)).filter((name) => !name.endsWith('.jsonl')).sort()).toEqual([
      'run-3.key',
      'run-3.stack.json',
      'run-4.key',
      'run-4.stack.json',
    ]);
  });
});
