import { describe, expect, it } from 'vitest';
import type { BackupKind } from '../../../src/backup/id.ts';
import type { Manifest } from '../../../src/backup/manifest.ts';
import type { ListedBackup } from '../../../src/backup/open.ts';
import { lastHolding } from '../../../src/update/held.ts';
import { manifest } from '../model/examples.ts';

function backup(kind: BackupKind, id: string, volumes: readonly string[]): ListedBackup {
  const held = volumes.map((name) => ({ name }) as Manifest['volumes'][number]);
  return { id, manifest: manifest(id, { kind, volumes: held }) };
}

describe('the last backup of a volume', () => {
  const backups: ListedBackup[] = [
    backup('manual', 'manual-1', ['shop_db', 'shop_media']),
    backup('pre-update', 'pre-update-2', ['shop_db']),
    backup('failed', 'failed-3', ['shop_db', 'shop_media', 'shop_new']),
    backup('pre-restore', 'pre-restore-4', ['shop_db', 'shop_new']),
    { id: 'manual-5', problem: 'incomplete: it was never sealed' },
  ];

  it.each([
    ['shop_db', 'pre-update-2'],
    ['shop_media', 'manual-1'],
    // Nobody goes back to a state that failed, nor to one that a restore was to end.
    ['shop_new', undefined],
    ['shop_other', undefined],
  ])('of %s is %s', (volume, id) => {
    expect(lastHolding(backups, volume)?.id).toBe(id);
  });
});
