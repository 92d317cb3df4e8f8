import { formatPatch, structuredPatch } from 'diff';
import { visible } from '../../view/escape.ts';
import type { Style } from '../../view/style.ts';
import type { FileChange } from './place.ts';

/** The changes as a unified diff, fit for a terminal. Files that are only ours are named, not shown. */
export function formatChanges(changes: readonly FileChange[], style: Style): string[] {
  return changes.flatMap((change) => {
    const { path, before, after, ours = false } = change;
    if (ours) {
      const what = after === undefined ? 'gone' : before === undefined ? 'new' : 'anew';
      return [style.bold(`${what.padEnd(4)} ${visible(path)}`)];
    }
    return [
      style.bold(`--- ${before === undefined ? '/dev/null' : visible(path)}`),
      style.bold(`+++ ${after === undefined ? '/dev/null' : visible(path)}`),
      ...hunks(before ?? '', after ?? '').map((line) => painted(visible(line), style)),
      '',
    ];
  });
}

function hunks(before: string, after: string): string[] {
  const lines = formatPatch(structuredPatch('a', 'b', before, after, '', '')).split('\n');
  return lines.slice(
    lines.findIndex((line) => line.startsWith('@@')),
    -1,
  );
}

function painted(line: string, style: Style): string {
  if (line.startsWith('+')) return style.green(line);
  if (line.startsWith('-')) return style.red(line);
  return line.startsWith('@@') ? style.cyan(line) : line;
}
