import { formatBytes, formatDuration } from '../../model/units.ts';
import { visible } from './escape.ts';
import {
  createProgress,
  formatRate,
  formatTimeLeft,
  isBare,
  type ItemProgress,
  type StepProgress,
} from './progress.ts';
import type { Style } from './style.ts';
import { padEnd, padStart, paragraph, textWidth, truncate, truncateMiddle, wrap } from './width.ts';

/** A step as the terminal shows it. */
export interface ShownStep {
  title: string;
  startedAt: number;
  progress: StepProgress;
  /** What was shown last of its progress. */
  snapshot: { at: number; items: ItemProgress[] };
}

/** How a step ended. */
export type Settled =
  | { state: 'done'; milliseconds: number; detail?: string | undefined }
  | { state: 'skipped'; reason: string }
  | { state: 'failed'; milliseconds: number; message: string }
  /** The run ended without a word about it. */
  | { state: 'abandoned' };

/** What the lines of a step are laid out with. */
export interface Layout {
  style: Style;
  /** Columns of the terminal. */
  columns: number;
  icons: { done: string; failed: string; skipped: string };
}

export function createStep(title: string, startedAt: number): ShownStep {
  return { title: visible(title), startedAt, progress: createProgress(), snapshot: { at: 0, items: [] } };
}

const margin = 4; // two spaces, an icon, a space
const durationWidth = 10; // 2 min 05 s
const titleWidth = 34;
const barWidth = 10;
const itemMargin = 6;
/** Milliseconds for which numbers stand still, so that they can be read. */
const calm = 400;

/**
 * The lines of a step that is running: what it is and since when, and under that a line for each thing it works on, at
 * most `limit` lines in all. Every number has its place and keeps it, so that nothing jumps while it changes.
 */
export function runningLines(
  step: ShownStep,
  now: number,
  spinner: string,
  layout: Layout,
  limit: number,
): string[] {
  const { style } = layout;
  const width = titleColumn(layout);
  const elapsed = formatElapsed(now - step.startedAt);
  const first = `  ${style.cyan(spinner)} ${padEnd(truncate(step.title, width), width)} ${style.dim(padStart(elapsed, durationWidth))}`;
  const items = itemsOf(step, now);
  const nameWidth = nameColumn(items, layout.columns);
  const room = Math.max(0, limit - 1);
  if (items.length <= room) return [first, ...items.map((item) => itemLine(item, nameWidth, layout))];
  if (room === 0) return [first];

  // More than there is room for: what goes on is shown, the rest is counted.
  const running = items.filter(({ state }) => state === 'running');
  const shown = running.slice(0, room - 1);
  const done = items.length - running.length;
  const counts = [
    running.length > shown.length ? `${running.length - shown.length} more` : '',
    done > 0 ? `${done} done` : '',
  ];
  return [
    first,
    ...shown.map((item) => itemLine(item, nameWidth, layout)),
    ' '.repeat(itemMargin) + style.dim(counts.filter((count) => count !== '').join(', ')),
  ];
}

function itemsOf(step: ShownStep, now: number): ItemProgress[] {
  const { at, items } = step.snapshot;
  if (items.length > 0 && now - at < calm) return items;
  step.snapshot = { at: now, items: step.progress.items(now) };
  return step.snapshot.items;
}

/** The lines that stay of a step that has ended: one, unless there is more to say than fits. */
export function settledLines(
  step: ShownStep,
  settled: Settled,
  layout: Layout,
  options: { items: boolean; now: number },
): string[] {
  const { style, icons } = layout;
  switch (settled.state) {
    case 'done': {
      const items = options.items ? itemSummaries(step, options.now, layout) : [];
      return [...titled(step.title, style.green(icons.done), settled, settled.detail, layout), ...items];
    }
    case 'skipped':
      return titled(step.title, style.dim(icons.skipped), undefined, settled.reason, layout);
    case 'failed': {
      const message = paragraph(settled.message, layout.columns - 1 - itemMargin, 12);
      return [
        ...titled(step.title, style.red(icons.failed), settled, undefined, layout),
        ...message.map((line) => ' '.repeat(itemMargin) + style.red(line)),
      ];
    }
    case 'abandoned':
      return titled(step.title, style.yellow(icons.failed), undefined, 'not finished', layout);
  }
}

/** Title, duration and detail in their columns; what does not fit goes onto lines of its own. */
function titled(
  title: string,
  icon: string,
  took: { milliseconds: number } | undefined,
  detail: string | undefined,
  { style, columns, ...rest }: Layout,
): string[] {
  const width = titleColumn({ style, columns, ...rest });
  const [first = '', ...more] = wrap(title, width);
  const duration = took === undefined ? '' : formatDuration(took.milliseconds);
  let line = `  ${icon} ${padEnd(first, width)} ${style.dim(padStart(duration, durationWidth))}`;
  const lines = more.map((part) => ' '.repeat(margin) + part);
  if (detail !== undefined && detail !== '') {
    const text = visible(detail);
    const room = columns - 1 - (margin + width + 1 + durationWidth + 2);
    if (textWidth(text) <= room) line += `  ${style.dim(text)}`;
    else {
      for (const part of wrap(text, columns - 1 - itemMargin)) {
        lines.push(' '.repeat(itemMargin) + style.dim(part));
      }
    }
  }
  return [line.trimEnd(), ...lines];
}

function itemSummaries(step: ShownStep, now: number, { style, columns }: Layout): string[] {
  const items = step.progress.items(now).filter((item) => !isBare(item) || item.state === 'finished');
  const nameWidth = nameColumn(items, columns);
  return items.map(({ item, bytes, text }) => {
    const name = padEnd(truncateMiddle(visible(item), nameWidth), nameWidth);
    const size = bytes === undefined ? '' : formatBytes(bytes);
    const rest = [size, text === undefined ? '' : visible(text)].filter((part) => part !== '').join('  ');
    const line = ' '.repeat(itemMargin) + name + (rest === '' ? '' : `  ${rest}`);
    return style.dim(truncate(line, columns - 1).trimEnd());
  });
}

/**
 * One thing a running step works on. The widest set of fields that fits is shown; which one that is depends on the
 * width of the terminal and of the names alone, never on the numbers.
 */
function itemLine(progress: ItemProgress, nameWidth: number, { style, columns, icons }: Layout): string {
  if (isBare(progress) && progress.state !== 'finished') {
    return ' '.repeat(itemMargin) + style.dim(truncate(visible(progress.item), columns - 1 - itemMargin));
  }
  const name = padEnd(truncateMiddle(visible(progress.item), nameWidth), nameWidth);
  const start = `${' '.repeat(itemMargin)}${name}  `;
  const room = columns - 1 - itemMargin - nameWidth - 2;
  const { bytes, totalBytes, text } = progress;
  if (progress.state !== 'running') {
    const icon = progress.state === 'finished' ? icons.done : ' ';
    const said = bytes === undefined ? visible(text ?? '') : formatBytes(bytes);
    return style.dim(`${' '.repeat(itemMargin - 2)}${icon} ${name}  ${truncate(said, room)}`.trimEnd());
  }
  if (bytes === undefined) {
    return start + style.dim(truncate(visible(text ?? ''), room));
  }
  const rate = padStart(progress.rate === undefined ? '' : formatRate(progress.rate), 9);
  const done = padStart(formatBytes(bytes), 7);
  if (totalBytes === undefined) {
    const said = text === undefined ? '' : `  ${visible(text)}`;
    return start + truncate(`${done}  ${rate}${said}`, room).trimEnd();
  }
  const amount = `${done} of ${padEnd(formatBytes(totalBytes), 7)}`;
  const percent = padStart(`${progress.percent ?? 0} %`, 5);
  const left = progress.left === undefined ? '' : `${formatTimeLeft(progress.left)} left`;
  const leftWidth = 11; // 59 min left
  const candidates = [[amount, percent, rate, left], [percent, rate, left], [percent, left], [percent]];
  const widths = (fields: string[]): number =>
    fields.reduce((sum, field) => sum + (field === left ? leftWidth : textWidth(field)) + 2, -2);
  const fields = candidates.find((candidate) => widths(candidate) <= room) ?? [percent];
  const bar = widths(fields) + barWidth + 2 <= room ? `${formatBar(progress.percent ?? 0, style)}  ` : '';
  return (start + bar + fields.join('  ')).trimEnd();
}

function formatBar(percent: number, style: Style): string {
  const full = Math.round((percent / 100) * barWidth);
  return style.cyan('━'.repeat(full)) + style.dim('─'.repeat(barWidth - full));
}

function titleColumn({ columns }: Layout): number {
  return Math.max(10, Math.min(titleWidth, columns - 1 - margin - 1 - durationWidth));
}

function nameColumn(items: ItemProgress[], columns: number): number {
  const named = items.filter((item) => !isBare(item) || item.state === 'finished');
  const widest = Math.max(8, ...named.map(({ item }) => textWidth(visible(item))));
  return Math.min(widest, Math.max(8, Math.floor(columns * 0.3)));
}

/** Whole seconds: a running clock with decimals is noise. */
function formatElapsed(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  return seconds < 60 ? `${seconds} s` : formatDuration(seconds * 1000);
}
