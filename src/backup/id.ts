/** Why a backup was made; the first part of its id. */
export const backupKinds = ['pre-update', 'pre-restore', 'manual', 'failed'] as const;
export type BackupKind = (typeof backupKinds)[number];

const pattern = new RegExp(`^(${backupKinds.join('|')})-\\d{8}_\\d{6}(-\\d+)?$`);

/** True for a name that safe-update gives to backups: pre-update-20241017_143022. Pure. */
export function isBackupId(name: string): boolean {
  return pattern.test(name);
}

/**
 * A new backup's id, with the local time as people's scripts write it. `taken` are the ids that exist; two in one
 * second differ by a number. Order among backups is their manifests' sequence, never this name. Pure.
 */
export function backupId(kind: BackupKind, now: Date, taken: readonly string[]): string {
  const pad = (value: number, width = 2): string => String(value).padStart(width, '0');
  const date = `${pad(now.getFullYear(), 4)}${pad(now.getMonth() + 1)}${pad(now.getDate())}`;
  const time = `${pad(now.getHours())}${pad(now.getMinutes())}${pad(now.getSeconds())}`;
  const id = `${kind}-${date}_${time}`;
  for (let number = 1; ; number += 1) {
    const candidate = number === 1 ? id : `${id}-${number}`;
    if (!taken.includes(candidate)) return candidate;
  }
}
