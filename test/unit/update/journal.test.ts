import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { StackRecord } from '../../../src/docker/record.ts';
import {
  continueJournal,
  dropRemains,
  dropStack,
  hasUnfinishedFiles,
  readRuns,
  readStack,
  startJournal,
  unfinishedRun,
  type JournalEntry,
} from '../../../src/update/journal.ts';

let folder: string;
beforeEach(() => {
  folder = path.join(mkdtempSync(path.join(tmpdir(), 'journal-')), 'shop', '.safe-update');
});
afterEach(() => {
  rmSync(path.dirname(path.dirname(folder)), { recursive: true });
});

function begin(run: string, at = '2024-10-17T14:30:00.000Z'): JournalEntry & { type: 'begin' } {
  return {
    type: 'begin',
    run,
    kind: 'update',
    project: 'shop',
    consistency: 'cold',
    at,
    tool: '0.1.0',
    host: 'here',
  };
}
const step: JournalEntry = { type: 'step', step: 'stop', phase: 'begin', at: '2024-10-17T14:31:00.000Z' };
const end: JournalEntry = { type: 'end', result: 'updated', at: '2024-10-17T14:32:00.000Z' };
const stack = { project: { name: 'shop' }, running: ['a'] } as StackRecord;

describe('a journal', () => {
  it('has on disk what was written, when write returns', async () => {
    const journal = await startJournal(folder, begin('run-1'));
    journal.write(step);
    expect(journal.entries).toEqual([{ ...begin('run-1'), sequence: 1 }, step]);
    expect(await readRuns(folder)).toEqual([
      { run: 'run-1', entries: [{ ...begin('run-1'), sequence: 1 }, step] },
    ]);
  });

  it('is for its owner alone', async () => {
    const journal = await startJournal(folder, begin('run-1'));
    await journal.record(stack);
    const modeOf = (file: string): string => (statSync(file).mode & 0o777).toString(8);
    expect(modeOf(folder)).toBe('700');
    expect(modeOf(path.join(folder, 'run-1.jsonl'))).toBe('600');
    expect(modeOf(path.join(folder, 'run-1.stack.json'))).toBe('600');
  });

  it('is never begun twice', async () => {
    await startJournal(folder, begin('run-1'));
    await expect(startJournal(folder, begin('run-1'))).rejects.toMatchObject({ code: 'store' });
  });

  it('whose first line a kill cut short is none, and goes with the next run that has the lock', async () => {
    await startJournal(folder, begin('run-1'));
    for (const name of ['run-2.jsonl.tmp', 'run-1.stack.json.tmp'])
      writeFileSync(path.join(folder, name), '\n{"type":"beg');
    expect((await readRuns(folder)).map(({ run }) => run)).toEqual(['run-1']);
    expect(await hasUnfinishedFiles(folder)).toBe(true);
    await dropRemains(folder, 'run-3');
    expect(readdirSync(folder)).toEqual(['run-1.jsonl']);
    expect(await hasUnfinishedFiles(folder)).toBe(false);
  });

  it('that cannot be begun leaves nothing', async () => {
    mkdirSync(path.join(folder, 'run-1.jsonl.tmp'), { recursive: true });
    await expect(startJournal(folder, begin('run-1'))).rejects.toMatchObject({ code: 'store' });
    expect(readdirSync(folder)).toEqual(['run-1.jsonl.tmp']);
  });

  it('records the stack first, then says so', async () => {
    const journal = await startJournal(folder, begin('run-1'));
    await journal.record(stack);
    expect(journal.entries.at(-1)).toEqual({ type: 'recorded' });
    expect(await readStack(folder, 'run-1')).toEqual(stack);
  });

  it('goes on after an interruption, also behind a line that was torn', async () => {
    const journal = await startJournal(folder, begin('run-1'));
    journal.write(step);
    appendFileSync(path.join(folder, 'run-1.jsonl'), '\n{"type":"step","step":"rem');
    const [found] = await readRuns(folder);
    expect(found?.entries).toEqual([{ ...begin('run-1'), sequence: 1 }, step]);

    const next = continueJournal(folder, 'run-1', found?.entries ?? []);
    next.write(end);
    expect(next.entries).toEqual([{ ...begin('run-1'), sequence: 1 }, step, end]);
    expect((await readRuns(folder))[0]?.entries).toEqual([{ ...begin('run-1'), sequence: 1 }, step, end]);
    expect(found?.entries).toHaveLength(2);
  });

  it('that somebody removes in the middle is written again, with the record of the stack', async () => {
    const journal = await startJournal(folder, begin('1'));
    await journal.record(stack);
    for (const removed of [folder, path.join(folder, '1.jsonl')]) {
      rmSync(removed, { recursive: true });
      journal.write(step);
      expect((await unfinishedRun(folder))?.entries).toEqual(journal.entries);
      expect(await readStack(folder, '1')).toEqual(stack);
      expect(statSync(folder).mode & 0o777).toBe(0o700);
      for (const name of ['1.jsonl', '1.stack.json'])
        expect(statSync(path.join(folder, name)).mode & 0o777).toBe(0o600);
    }
    expect(journal.entries).toHaveLength(4);
  });

  it('cannot be written where a file is in the way, and says so', async () => {
    writeFileSync(path.dirname(path.dirname(folder)) + '/shop', '');
    await expect(startJournal(folder, begin('run-1'))).rejects.toMatchObject({
      code: 'store',
      message: expect.stringContaining(folder) as string,
    });
  });

  it('that cannot be written any more says so, and does not count the entry as written', async () => {
    const journal = await startJournal(folder, begin('run-1'));
    rmSync(folder, { recursive: true });
    writeFileSync(folder, 'in the way');
    expect(() => {
      journal.write(step);
    }).toThrow(expect.objectContaining({ code: 'store' }) as Error);
    expect(journal.entries).toHaveLength(1);
  });
});

describe('a run that was rolled back after its end could not be flushed', () => {
  it('has not ended before the rollback has', async () => {
    const journal = await startJournal(folder, begin('run-1'));
    journal.write(end);
    expect(await unfinishedRun(folder)).toBeUndefined();
    journal.write({ type: 'rollback', reason: 'no space', code: 'space', at: '2024-10-17T14:32:00.000Z' });
    expect((await unfinishedRun(folder))?.run).toBe('run-1');
    journal.write(end);
    expect(await unfinishedRun(folder)).toBeUndefined();
  });
});

describe('readRuns', () => {
  it('finds none where there is no folder', async () => {
    expect(await readRuns(folder)).toEqual([]);
    expect(await unfinishedRun(folder)).toBeUndefined();
  });

  it('has them in the order in which they began, whatever the clock said', async () => {
    await startJournal(folder, begin('b', '2024-10-17T10:00:00.000Z'));
    await startJournal(folder, begin('a', '2023-10-17T12:00:00.000Z'));
    await startJournal(folder, begin('c', '2024-10-17T09:00:00.000Z'));
    expect((await readRuns(folder)).map(({ run }) => run)).toEqual(['b', 'a', 'c']);
  });

  it('has those of older versions first, by when each began', async () => {
    await startJournal(folder, begin('new', '2020-10-17T10:00:00.000Z'));
    for (const [run, at] of [
      ['x', '2024-10-17T12:00:00.000Z'],
      ['y', '2024-10-17T11:00:00.000Z'],
    ] as const)
      writeFileSync(path.join(folder, `${run}.jsonl`), `${JSON.stringify(begin(run, at))}\n`);
    expect((await readRuns(folder)).map(({ run }) => run)).toEqual(['y', 'x', 'new']);
  });

  it('takes no other file for a journal', async () => {
    const journal = await startJournal(folder, begin('run-1'));
    await journal.record(stack);
    writeFileSync(path.join(folder, 'notes.txt'), 'hello');
    expect((await readRuns(folder)).map(({ run }) => run)).toEqual(['run-1']);
  });
});

describe('unfinishedRun', () => {
  it('is the newest run without an end', async () => {
    await startJournal(folder, begin('first', '2024-10-17T10:00:00.000Z'));
    const second = await startJournal(folder, begin('second', '2024-10-17T11:00:00.000Z'));
    expect((await unfinishedRun(folder))?.run).toBe('second');
    second.write(end);
    expect((await unfinishedRun(folder))?.run).toBe('first');
  });

  it('is none when every run ended, whichever way', async () => {
    const journal = await startJournal(folder, begin('run-1'));
    journal.write({ type: 'end', result: 'failed', at: 'x', reason: 'why' });
    expect(await unfinishedRun(folder)).toBeUndefined();
  });

  it('is not one whose end was torn', async () => {
    const journal = await startJournal(folder, begin('run-1'));
    appendFileSync(path.join(folder, 'run-1.jsonl'), `\n${JSON.stringify(end).slice(0, -4)}`);
    expect((await unfinishedRun(folder))?.entries).toEqual(journal.entries);
  });

  it('is not a journal of which nothing was written: nothing was begun', async () => {
    await startJournal(folder, begin('run-1'));
    writeFileSync(path.join(folder, 'run-1.jsonl'), '\n{"type":"beg');
    expect(await unfinishedRun(folder)).toBeUndefined();
  });
});

describe('the record of a stack', () => {
  it('that cannot be read says what to do instead', async () => {
    await startJournal(folder, begin('run-1'));
    await expect(readStack(folder, 'run-1')).rejects.toMatchObject({
      code: 'damaged',
      hint: expect.stringContaining('restore') as string,
    });
    writeFileSync(path.join(folder, 'run-1.stack.json'), '{"project":');
    await expect(readStack(folder, 'run-1')).rejects.toMatchObject({ code: 'damaged' });
  });

  it('goes when the run has ended: it holds secrets', async () => {
    const journal = await startJournal(folder, begin('run-1'));
    await journal.record(stack);
    await dropStack(folder, 'run-1');
    expect(() => readFileSync(path.join(folder, 'run-1.stack.json'))).toThrow('ENOENT');
    await dropStack(folder, 'run-1');
  });
});
