import { visible } from './escape.ts';
import type { Style } from './style.ts';
import { padEnd, padStart, textWidth, truncate } from './width.ts';

export interface Column {
  title: string;
  align?: 'left' | 'right';
  /** May be cut with an ellipsis when the table is wider than the terminal. Not for what is copied: ids, names. */
  shrink?: boolean;
}

/** Plain text, or text and how it is set apart. */
export type Cell = string | { text: string; paint: keyof Style };

/** No column is cut to less than this. */
const leastWidth = 6;

/**
 * Rows under their titles, two spaces between columns. Cells may hold anything; they are escaped here.
 *
 * Takes the columns of the terminal, or nothing where the reader is a program or a file: then nothing is cut. Returns
 * lines without a line feed at the end; only the titles if there are no rows.
 */
export function formatTable(columns: Column[], rows: Cell[][], style: Style, width = Infinity): string {
  const texts = rows.map((row) => columns.map((_, i) => visible(textOf(row[i] ?? ''))));
  const natural = columns.map(({ title }, i) =>
    Math.max(textWidth(title), ...texts.map((row) => textWidth(row[i] ?? ''))),
  );
  const widths = fit(columns, natural, width);

  function line(cells: string[], paintOf: (i: number) => (text: string) => string): string {
    return columns
      .map(({ align }, i) => {
        const room = widths[i] ?? 0;
        const text = truncate(cells[i] ?? '', room);
        // The last column is not filled up: no trailing spaces, also not coloured ones.
        if (align !== 'right' && i === columns.length - 1) return paintOf(i)(text);
        const padded = align === 'right' ? padStart(text, room) : padEnd(text, room);
        return padded.replace(text, () => paintOf(i)(text));
      })
      .join('  ')
      .trimEnd();
  }

  return [
    line(
      columns.map(({ title }) => title),
      () => style.bold,
    ),
    ...texts.map((cells, at) =>
      line(cells, (i) => {
        const cell = rows[at]?.[i];
        return typeof cell === 'object' ? style[cell.paint] : (text) => text;
      }),
    ),
  ].join('\n');
}

function textOf(cell: Cell): string {
  return typeof cell === 'string' ? cell : cell.text;
}

/** Takes from the widest column that may shrink until the table fits or nothing is left to take. */
function fit(columns: Column[], natural: number[], width: number): number[] {
  const widths = [...natural];
  let excess = widths.reduce((sum, w) => sum + w, 0) + 2 * (columns.length - 1) - width;
  while (excess > 0) {
    const candidates = columns
      .map(({ shrink }, i) => ({ i, width: shrink === true ? (widths[i] ?? 0) : 0 }))
      .filter((candidate) => candidate.width > leastWidth)
      .sort((a, b) => b.width - a.width);
    const [widest, next] = candidates;
    if (widest === undefined) break;
    const down = Math.max(leastWidth, Math.min(widest.width - 1, next?.width ?? 0), widest.width - excess);
    widths[widest.i] = down;
    excess -= widest.width - down;
  }
  return widths;
}
