import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { formatBytes, formatDuration } from '../src/model/units.ts';

/** What one run of a way gave: the way's own number under its name, and parts of it under theirs. */
export type Measured = Record<string, number>;

/** One way to do the thing that is compared. */
export interface Way {
  name: string;
  /** Not counted: what must be so before. */
  prepare?: () => Promise<void>;
  run: () => Promise<Measured>;
}

export interface Comparison {
  title: string;
  unit: 'milliseconds' | 'bytes';
  /** The name that the others are divided by; absent: nothing is. */
  baseline?: string;
  ways: Way[];
}

export interface Row {
  name: string;
  values: number[];
  /** The median by the baseline's median. */
  ratio?: number;
}

export interface Result {
  title: string;
  unit: Comparison['unit'];
  rows: Row[];
}

const run = promisify(execFile);

/**
 * Runs every way once a round, in turn: what slows the machine down for a while slows all of them down, and the cache
 * of a way is not that of its own last run.
 */
export async function compare(comparison: Comparison, rounds: number): Promise<Result> {
  const { title, unit, baseline, ways } = comparison;
  const rows = new Map<string, number[]>();
  for (let round = 1; round <= rounds; round += 1) {
    for (const way of ways) {
      await way.prepare?.();
      await emptyPageCache();
      const measured = await way.run();
      for (const [name, value] of Object.entries(measured))
        rows.set(name, [...(rows.get(name) ?? []), value]);
      say(`${title}, round ${round} of ${rounds}: ${way.name} ${format(measured[way.name] ?? NaN, unit)}`);
    }
  }
  const base = baseline === undefined ? undefined : median(rows.get(baseline) ?? []);
  return {
    title,
    unit,
    rows: [...rows].map(([name, values]) => ({
      name,
      values,
      ...(base === undefined || name === baseline ? {} : { ratio: median(values) / base }),
    })),
  };
}

let cacheStays: string | undefined;

/** What was written must not be flushed on the next one's time, and what was read must not be there for it. */
async function emptyPageCache(): Promise<void> {
  await run('sync');
  try {
    await writeFile('/proc/sys/vm/drop_caches', '3');
  } catch (error) {
    cacheStays = (error as { code?: string }).code ?? 'it cannot be emptied';
  }
}

/** False: this user may not empty the page cache, so what is measured reads from memory. */
export function pageCacheEmptied(): boolean {
  return cacheStays === undefined;
}

export async function timed(work: () => Promise<unknown>): Promise<number> {
  const from = performance.now();
  await work();
  return performance.now() - from;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const [low, high] = [sorted[Math.ceil(middle) - 1], sorted[Math.floor(middle)]];
  return ((low ?? NaN) + (high ?? NaN)) / 2;
}

/** A result as a table in Markdown. */
export function tableOf({ title, unit, rows }: Result): string {
  const ratios = rows.some(({ ratio }) => ratio !== undefined);
  const line = (...cells: string[]): string => `| ${(ratios ? cells : cells.slice(0, 3)).join(' | ')} |`;
  return [
    line(title, 'median', 'from – to', 'ratio'),
    line('---', '---:', '---:', '---:'),
    ...rows.map(({ name, values, ratio }) =>
      line(
        name,
        format(median(values), unit),
        values.length === 1
          ? ''
          : `${format(Math.min(...values), unit)} – ${format(Math.max(...values), unit)}`,
        ratio === undefined ? (ratios ? '1' : '') : ratio.toFixed(2),
      ),
    ),
  ].join('\n');
}

function format(value: number, unit: Comparison['unit']): string {
  if (Number.isNaN(value)) return '?';
  if (unit === 'bytes') return formatBytes(value);
  return value < 99.95 ? `${value.toFixed(1)} ms` : formatDuration(value);
}

export function say(text: string): void {
  process.stderr.write(`${text}\n`);
}
