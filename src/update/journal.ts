import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  writeFileSync,
} from 'node:fs';
import { open, readdir, readFile, rename, unlink } from 'node:fs/promises';
import path from 'node:path';
import { makeFolder, syncFolder } from '../backup/store/folder.ts';
import type { StackRecord } from '../docker/record.ts';
import { messageOf, SafeUpdateError, type ErrorCode } from '../model/error.ts';
import type { RunKind } from '../model/event.ts';
import type { StepName } from '../model/plan.ts';

/**
 * What a run did, line by line, each flushed to disk before the thing it announces is done. What is needed to undo a
 * run is in here and in the stack record beside it, never in the memory of the process.
 */
export type JournalEntry =
  | {
      type: 'begin';
      run: string;
      /** Counts up within a project: the order of runs, whatever the clock says. Absent in journals of older versions. */
      sequence?: number;
      kind: RunKind;
      project: string;
      environment?: string;
      consistency: 'cold' | 'hot';
      at: string;
      tool: string;
      host: string;
      /** Refusals that the person has accepted by name. */
      accepted?: string[];
    }
  /** The stack as it was has been written to `<run>.stack.json`. */
  | { type: 'recorded' }
  | { type: 'step'; step: StepName; phase: 'begin' | 'done'; at: string }
  /** A backup is being written; not sealed yet. */
  | { type: 'backup-begun'; id: string }
  | { type: 'backup-sealed'; id: string }
  /** For a restore or a rollback: the backup that is put back, and what of it. */
  | { type: 'source'; backup: string; only: string[] }
  | { type: 'rollback'; reason: string; code: ErrorCode | 'bug'; at: string }
  /** The failed state is being kept; then it is kept. */
  | { type: 'failed-backup-begun'; id: string }
  | { type: 'failed-backup-sealed'; id: string }
  /** What the volume held has been copied into another one, whole, where it stays until the rollback is verified. */
  | { type: 'set-aside'; volume: string; into: string }
  /** The volume is being emptied and filled: until `restored` its content is neither old nor new. */
  | { type: 'restoring'; volume: string }
  | { type: 'restored'; volume: string }
  | {
      type: 'end';
      result: EndResult;
      at: string;
      backup?: string;
      downtime?: Record<string, number>;
      images?: Record<string, string>;
      reason?: string;
    };

export type EndResult =
  | 'updated'
  | 'nothing-to-do'
  | 'backed-up'
  | 'restored'
  | 'rolled-back'
  | 'recovered'
  | 'failed'
  /** It was interrupted and could not be undone; a restore of everything took its place. */
  | 'superseded'
  /** It was interrupted, and a person gave it up. */
  | 'given-up';

/** A run's journal, open for writing. Synchronous on purpose: an entry is on disk when `write` returns. */
export interface Journal {
  readonly run: string;
  readonly entries: readonly JournalEntry[];
  write(entry: JournalEntry): void;
  /** Writes the stack record beside the journal, flushed, then says so in the journal. */
  record(stack: StackRecord): Promise<void>;
}

const suffix = '.jsonl';
const stackSuffix = '.stack.json';
const keySuffix = '.key';
const unfinishedSuffix = '.tmp';

/** Starts the journal of a new run. Throws SafeUpdateError `store` or `space`. */
export async function startJournal(
  folder: string,
  begin: JournalEntry & { type: 'begin' },
): Promise<Journal> {
  try {
    await makeFolder(folder);
    const sequence = Math.max(0, ...(await readRuns(folder)).map(sequenceOf)) + 1;
    const entry = { ...begin, sequence };
    const file = path.join(folder, begin.run + suffix);
    if (existsSync(file)) throw new Error(`${file} is there already`);
    // Whoever is killed here leaves no journal of a run that never began.
    await writeWhole(file, lineOf(entry));
    return journalOn(folder, begin.run, [entry]);
  } catch (error) {
    if (error instanceof SafeUpdateError) throw error;
    throw journalError(folder, error);
  }
}

/** Goes on with the journal of a run that was interrupted. */
export function continueJournal(folder: string, run: string, entries: readonly JournalEntry[]): Journal {
  return journalOn(folder, run, [...entries]);
}

function journalOn(folder: string, run: string, entries: JournalEntry[]): Journal {
  const file = path.join(folder, run + suffix);
  const stackFile = path.join(folder, run + stackSuffix);
  let recorded: string | undefined;

  /** Somebody has removed it in the middle of the run: without it nobody could finish what this run does not. */
  function writeAgain(): void {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (recorded !== undefined && !existsSync(stackFile))
      writeFileSync(stackFile, recorded, { mode: 0o600, flush: true });
    const text = entries.map(lineOf).join('');
    writeFileSync(file, text, { mode: 0o600, flush: true });
    const descriptor = openSync(folder, 'r');
    fsyncSync(descriptor);
    closeSync(descriptor);
  }

  return {
    run,
    entries,
    write(entry) {
      try {
        if (entries.length > 0 && !existsSync(file)) writeAgain();
        const descriptor = openSync(file, 'a', 0o600);
        const { size } = fstatSync(descriptor);
        try {
          // Unlike write, which stops where the disk is full, this writes all of it or throws.
          writeFileSync(descriptor, lineOf(entry));
          fsyncSync(descriptor);
        } catch (error) {
          takeBack(descriptor, size);
          throw error;
        } finally {
          closeSync(descriptor);
        }
      } catch (error) {
        throw journalError(folder, error);
      }
      entries.push(entry);
    },
    async record(stack) {
      recorded = JSON.stringify(stack);
      try {
        await writeWhole(stackFile, recorded);
      } catch (error) {
        throw journalError(folder, error);
      }
      this.write({ type: 'recorded' });
    },
  };
}

/** A leading newline ends a line that a crash tore, so that this one can be read. */
function lineOf(entry: JournalEntry): string {
  return `\n${JSON.stringify(entry)}\n`;
}

/** Writes a file that is there whole, and flushed, or not at all. */
async function writeWhole(file: string, text: string): Promise<void> {
  const written = file + unfinishedSuffix;
  try {
    const handle = await open(written, 'w', 0o600);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(written, file);
    await syncFolder(path.dirname(file));
  } catch (error) {
    for (const left of [written, file]) await unlink(left).catch(() => undefined);
    throw error;
  }
}

/** An entry that could not be flushed may be there all the same; whoever reads it must not take it for what happened. */
function takeBack(descriptor: number, size: number): void {
  try {
    ftruncateSync(descriptor, size);
  } catch {
    // What is read is then told by what comes after it.
  }
}

export interface PastRun {
  run: string;
  entries: JournalEntry[];
}

function sequenceOf({ entries }: PastRun): number {
  return entries.find((entry) => entry.type === 'begin')?.sequence ?? 0;
}

/** Every run of the project, oldest first, whatever the clock was. Lines that cannot be read, as a crash tears them, are left out. */
export async function readRuns(folder: string): Promise<PastRun[]> {
  const names = await readdir(folder).catch((error: unknown) => {
    if ((error as { code?: string }).code === 'ENOENT') return [];
    throw journalError(folder, error);
  });
  const runs = names.filter((name) => name.endsWith(suffix)).map((name) => name.slice(0, -suffix.length));
  const read = await Promise.all(
    runs.map(async (run) => ({ run, entries: await readEntries(path.join(folder, run + suffix)) })),
  );
  const startOf = ({ entries }: PastRun): string => entries.find((entry) => entry.type === 'begin')?.at ?? '';
  return read.sort(
    (a, b) =>
      sequenceOf(a) - sequenceOf(b) || startOf(a).localeCompare(startOf(b)) || a.run.localeCompare(b.run),
  );
}

async function readEntries(file: string): Promise<JournalEntry[]> {
  const entries: JournalEntry[] = [];
  for (const line of (await readFile(file, 'utf8')).split('\n')) {
    if (line === '') continue;
    try {
      entries.push(JSON.parse(line) as JournalEntry);
    } catch {
      // The torn last line of a run that was killed.
    }
  }
  return entries;
}

/** The newest run that never ended; undefined if every run did. */
export async function unfinishedRun(folder: string): Promise<PastRun | undefined> {
  return newestUnfinished(await readRuns(folder));
}

/** The newest of these runs that never ended; undefined if every one did. Pure. */
export function newestUnfinished(oldestFirst: readonly PastRun[]): PastRun | undefined {
  return oldestFirst.findLast(({ entries }) => entries.length > 0 && !hasEnded(entries));
}

/**
 * The backup that `rollback` goes back to: the one that the last update made that ended well. `rolledBack`: that has been
 * done already. Undefined: no update has ended well. Pure.
 */
export function wayBack(
  oldestFirst: readonly PastRun[],
): { backup: string } | { rolledBack: string | undefined } | undefined {
  for (const { entries } of oldestFirst.toReversed()) {
    const begin = entries.find((entry) => entry.type === 'begin');
    const end = entries.find((entry) => entry.type === 'end');
    if (begin?.kind === 'rollback' && end?.result === 'restored')
      return { rolledBack: entries.find((entry) => entry.type === 'source')?.backup };
    if (begin?.kind === 'update' && end?.result === 'updated' && end.backup !== undefined)
      return { backup: end.backup };
  }
  return undefined;
}

/** A rollback that began after an end takes it back: the end could not be flushed. Pure. */
function hasEnded(entries: readonly JournalEntry[]): boolean {
  return entries.findLast(({ type }) => type === 'end' || type === 'rollback')?.type === 'end';
}

/** The step that a run is in, or was in last, in words. Pure. */
export function placeOf(entries: readonly JournalEntry[]): string {
  const last = entries.findLast((entry) => entry.type === 'step');
  if (last === undefined) return 'before its first step';
  return `${last.phase === 'begin' ? 'in' : 'after'} the step ${last.step}`;
}

/** How far a run has come that is under way, in words. Pure. */
export function whereItStands(entries: readonly JournalEntry[]): string {
  const last = entries.findLast(({ type }) => type === 'end' || type === 'rollback');
  if (last?.type === 'end') return 'at its end';
  return last === undefined ? placeOf(entries) : `being rolled back (it failed ${placeOf(entries)})`;
}

/** The stack as it was before a run. Throws SafeUpdateError `damaged` if it cannot be read. */
export async function readStack(folder: string, run: string): Promise<StackRecord> {
  try {
    return JSON.parse(await readFile(path.join(folder, run + stackSuffix), 'utf8')) as StackRecord;
  } catch (error) {
    throw new SafeUpdateError(
      'damaged',
      `The record of the stack before the run ${run} cannot be read: ${messageOf(error)}`,
      {
        hint: 'Put the stack back from its backup: safe-update backups, then safe-update restore',
        cause: error,
      },
    );
  }
}

/** The record holds secrets, and the key opens the run's backups. Both are needed only until the run has ended. */
export async function dropStack(folder: string, run: string): Promise<void> {
  const stackFile = path.join(folder, run + stackSuffix);
  for (const file of [keyFile(folder, run), stackFile, stackFile + unfinishedSuffix])
    await unlink(file).catch(() => undefined);
}

/** Where the key of a run is, as long as the run has not ended. */
export function keyFile(folder: string, run: string): string {
  return path.join(folder, run + keySuffix);
}

/** Whether a run was killed while it wrote a file of the journal's, or one is writing it now. */
export async function hasUnfinishedFiles(folder: string): Promise<boolean> {
  return (await readdir(folder).catch(() => [])).some((name) => name.endsWith(unfinishedSuffix));
}

/**
 * What runs left that were killed after their end had been noted, and files that they were killed in the middle of. With the
 * lock in hand no run is at its begin or its end.
 */
export async function dropRemains(folder: string, except: string): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  for (const name of names)
    if (name.endsWith(unfinishedSuffix)) await unlink(path.join(folder, name)).catch(() => undefined);
  const left = [stackSuffix, keySuffix].flatMap((end) =>
    names.filter((name) => name.endsWith(end)).map((name) => name.slice(0, -end.length)),
  );
  for (const run of new Set(left)) {
    if (run === except) continue;
    const entries = await readEntries(path.join(folder, run + suffix)).catch(() => []);
    if (entries.some(({ type }) => type === 'end')) await dropStack(folder, run);
  }
}

function journalError(folder: string, error: unknown): SafeUpdateError {
  const code = (error as { code?: string }).code;
  const full = code === 'ENOSPC' || code === 'EDQUOT';
  return new SafeUpdateError(
    full ? 'space' : 'store',
    `The journal in ${folder} cannot be used: ${messageOf(error)}`,
    {
      hint: full
        ? 'Free some space: safe-update prune removes old backups.'
        : 'Give yourself write access to the folder.',
      cause: error,
    },
  );
}
