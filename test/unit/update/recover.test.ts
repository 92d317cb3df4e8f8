import { describe, expect, it } from 'vitest';
import type { StepName } from '../../../src/model/plan.ts';
import type { JournalEntry } from '../../../src/update/journal.ts';
import { whereTheDataIs } from '../../../src/update/incomplete.ts';
import { whereItStopped } from '../../../src/update/recover.ts';

const begin: JournalEntry = {
  ...{
    type: 'begin',
    run: 'run-1',
    kind: 'update',
    project: 'shop',
    consistency: 'cold',
    at: '',
    tool: '',
    host: '',
  },
};

function steps(...names: StepName[]): JournalEntry[] {
  return names.flatMap((step): JournalEntry[] => [
    { type: 'step', step, phase: 'begin', at: '' },
    { type: 'step', step, phase: 'done', at: '' },
  ]);
}

function inStep(step: StepName): JournalEntry {
  return { type: 'step', step, phase: 'begin', at: '' };
}

const sealed: JournalEntry = { type: 'backup-sealed', id: 'pre-update-20241017_143022' };

describe('whereItStopped', () => {
  it.each<[string, JournalEntry[], Partial<ReturnType<typeof whereItStopped>>]>([
    [
      'before its first step',
      [begin],
      { words: 'before its first step', touched: false, dataTouched: false },
    ],
    [
      'in a step that touches nothing',
      [begin, ...steps('pin'), inStep('pull')],
      { words: 'in the step pull', touched: false },
    ],
    ['after one', [begin, ...steps('pin', 'pull')], { words: 'after the step pull', touched: false }],
    [
      'in stop: some containers may have stopped',
      [begin, inStep('stop')],
      { words: 'in the step stop', touched: true, dataTouched: false },
    ],
    [
      'while it archived',
      [begin, ...steps('stop'), inStep('archive')],
      { words: 'in the step archive', touched: true, dataTouched: false },
    ],
    [
      'after it was sealed',
      [begin, ...steps('stop', 'archive'), sealed, ...steps('seal')],
      { touched: true, dataTouched: false, sealed: sealed.id },
    ],
    [
      'in remove: no new container has run yet',
      [begin, sealed, inStep('remove')],
      { words: 'in the step remove', touched: true, dataTouched: false },
    ],
    [
      'in up: the new release may have written',
      [begin, sealed, ...steps('remove'), inStep('up')],
      { words: 'in the step up', touched: true, dataTouched: true, sealed: sealed.id },
    ],
    [
      'in verify',
      [begin, sealed, ...steps('stop', 'up'), inStep('verify')],
      { words: 'in the step verify', dataTouched: true },
    ],
    [
      'while data was put back',
      [begin, sealed, { type: 'restoring', volume: 'shop_db' }],
      { dataTouched: true, touched: false },
    ],
    [
      'while it was rolled back',
      [
        begin,
        sealed,
        ...steps('stop'),
        inStep('up'),
        { type: 'rollback', reason: 'x', code: 'unhealthy', at: '' },
      ],
      { words: 'while it was rolled back (it had failed in the step up)', touched: true, dataTouched: true },
    ],
  ])('%s', (_, entries, expected) => {
    expect(whereItStopped(entries)).toMatchObject(expected);
  });

  it('knows no backup that was only begun, and not one of the failed state', () => {
    const entries: JournalEntry[] = [
      begin,
      { type: 'backup-begun', id: 'pre-update-20241017_143022' },
      { type: 'failed-backup-sealed', id: 'failed-20241017_143022' },
    ];
    expect(whereItStopped(entries).sealed).toBeUndefined();
  });
});

describe('whereTheDataIs', () => {
  it.each<[string, JournalEntry[], string]>([
    ['nothing begun', [], 'Nothing was deleted: its data is in its volumes and backups.'],
    [
      'all put back',
      [
        { type: 'restoring', volume: 'shop_db' },
        { type: 'restored', volume: 'shop_db' },
      ],
      'Nothing was deleted: its data is in its volumes and backups.',
    ],
    [
      'in the middle',
      [
        { type: 'backup-sealed', id: 'pre-update-1' },
        { type: 'failed-backup-sealed', id: 'failed-1' },
        { type: 'restoring', volume: 'shop_db' },
        { type: 'restored', volume: 'shop_db' },
        { type: 'restoring', volume: 'shop_files' },
      ],
      'The volume shop_files may be empty or half filled: what belongs there is whole in the backup pre-update-1. What the failed release had written is in failed-1.',
    ],
  ])('%s', (_, entries, words) => {
    expect(whereTheDataIs(entries)).toBe(words);
  });
});
