/** What to say of a way back that is not finished: where the data is then, and what to run. */
import type { JournalEntry } from './journal.ts';
import { UnloadableDump } from './reload.ts';
import type { Session } from './session.ts';

/**
 * Where a person finds the data of a run that could not be undone: in volumes that nobody has begun to empty, and in backups.
 * Pure.
 */
export function whereTheDataIs(entries: readonly JournalEntry[]): string {
  const begun = new Set<string>();
  for (const entry of entries) {
    if (entry.type === 'restoring') begun.add(entry.volume);
    if (entry.type === 'restored') begun.delete(entry.volume);
  }
  if (begun.size === 0) return 'Nothing was deleted: its data is in its volumes and backups.';
  const sealed = entries.find((entry) => entry.type === 'backup-sealed')?.id;
  const failed = entries.find((entry) => entry.type === 'failed-backup-sealed')?.id;
  return [
    `${begun.size === 1 ? 'The volume' : 'The volumes'} ${[...begun].join(', ')} may be empty or half filled:`,
    `what belongs there is whole in the backup${sealed === undefined ? '' : ` ${sealed}`}.`,
    ...(failed === undefined ? [] : [`What the failed release had written is in ${failed}.`]),
    ...setAside(entries, [...begun]),
  ].join(' ');
}

/**
 * What to say where data could not be put back because of a dump that no server takes: where everything is then, as the
 * journal has it, and what to run. Of any other error `otherwise` is said. Pure.
 */
export function incompleteOf(
  { journal, context }: Pick<Session, 'journal' | 'context'>,
  error: unknown,
  otherwise: { state: string; hint: string },
): { state: string; hint: string } {
  if (!(error instanceof UnloadableDump)) return otherwise;
  const last = (volume: string): string | undefined =>
    journal.entries.findLast(
      (entry) => (entry.type === 'restoring' || entry.type === 'restored') && entry.volume === volume,
    )?.type;
  const begun = new Set(journal.entries.flatMap((entry) => (entry.type === 'restoring' ? entry.volume : [])));
  const half = [...begun].filter((volume) => last(volume) === 'restoring');
  const whole = [...begun].filter((volume) => last(volume) === 'restored');
  const failed = keptIn(journal.entries);
  return {
    state: [
      'The containers of the former release are back, and stopped.',
      begun.size === 0
        ? 'No volume was emptied or changed: each holds what it held when the rollback began.'
        : `Put back: ${whole.join(', ') || 'none'}. Not whole: ${half.join(', ') || 'none'}. Every other volume was not changed.`,
      ...setAside(journal.entries, half),
      ...(failed === undefined ? [] : [`The same is in the backup ${failed}.`]),
    ].join(' '),
    hint: [
      ...(error.hint === undefined ? [] : [error.hint]),
      `When the cause is gone, go on: ${context.again('recover')}`,
      `Or put a cold backup back, which needs no dump: ${context.again('backups')}, then ${context.again('restore BACKUP')}`,
    ].join('\n'),
  };
}

/** The sealed backup of what the volumes hold before this run puts data back. Pure. */
export function keptIn(entries: readonly JournalEntry[]): string | undefined {
  const failed = entries.find((entry) => entry.type === 'failed-backup-sealed')?.id;
  const sealed = entries.find((entry) => entry.type === 'backup-sealed')?.id;
  // That of an update is what is put back, and not what is there.
  const isUpdate = entries.some((entry) => entry.type === 'begin' && entry.kind === 'update');
  return failed ?? (isUpdate ? undefined : sealed);
}

/** Where whole copies are of what these volumes held before they were begun to be filled. */
function setAside(entries: readonly JournalEntry[], volumes: readonly string[]): string[] {
  return entries.flatMap((entry) =>
    entry.type === 'set-aside' && volumes.includes(entry.volume)
      ? [`What ${entry.volume} held is in the volume ${entry.into}.`]
      : [],
  );
}
