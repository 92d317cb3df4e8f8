import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { backupId, backupKinds, isBackupId } from '../../../src/backup/id.ts';

const at = new Date(2024, 9, 7, 4, 3, 2);

describe('backupId', () => {
  it('is kind and local time, as people write it', () => {
    expect(backupId('pre-update', at, [])).toBe('pre-update-20241007_040302');
    expect(backupId('failed', new Date(2024, 11, 31, 23, 59, 59), [])).toBe('failed-20241231_235959');
  });

  it('is counted on within one second', () => {
    const first = 'manual-20241007_040302';
    expect(backupId('manual', at, [first])).toBe(`${first}-2`);
    expect(backupId('manual', at, [first, `${first}-2`, `${first}-3`])).toBe(`${first}-4`);
    expect(backupId('failed', at, [first])).toBe('failed-20241007_040302');
  });

  it('is a name that is recognised, and new, whatever there is', () => {
    const kind = fc.constantFrom(...backupKinds);
    const date = fc.date({ min: new Date('1990-01-01'), max: new Date('2199-12-31'), noInvalidDate: true });
    fc.assert(
      fc.property(kind, date, fc.nat(4), (one, when, count) => {
        const taken: string[] = [];
        for (let index = 0; index <= count; index += 1) {
          const id = backupId(one, when, taken);
          expect(isBackupId(id)).toBe(true);
          expect(taken).not.toContain(id);
          taken.push(id);
        }
      }),
    );
  });
});

describe('isBackupId', () => {
  it.each([
    'pre-update-20241017_143022.partial',
    'pre-update-20241017_143022.deleting',
    'pre-update-20241017_143022-',
    'pre-update-2024-10-17',
    'backup-20241017_143022',
    'pre-update',
    '../pre-update-20241017_143022',
    'pre-update-20241017_143022/..',
    ' pre-update-20241017_143022',
    'pre-update-20241017_143022\n',
    '.safe-update',
    '',
  ])('%j is none: it is never listed, opened or removed', (name) => {
    expect(isBackupId(name)).toBe(false);
  });

  it.each(backupKinds)('%s is a kind', (kind) => {
    expect(isBackupId(`${kind}-20241017_143022`)).toBe(true);
    expect(isBackupId(`${kind}-20241017_143022-12`)).toBe(true);
  });
});
