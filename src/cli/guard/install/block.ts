/**
 * The guard's own lines in a file that is somebody else's. They stand at the end, or at the top behind `#!`, between two marks,
 * and go again without a trace: where the file did not end with a line feed, neither does the block, and so it tells who added
 * the one before it.
 */

const begin = '# >>> safe-update guard >>>';
const end = '# <<< safe-update guard <<<';

/** Given a text and the lines of the block, return the text with this block in it, and with no other. Pure. */
export function withBlock(text: string, lines: readonly string[], where: 'top' | 'end' = 'end'): string {
  const block = [begin, ...lines, end].join('\n');
  const found = find(text);
  if (found !== undefined) return text.slice(0, found.start) + block + text.slice(found.end);
  if (text === '') return block;
  const head = /^#![^\n]*\n/.exec(text)?.[0] ?? '';
  if (where === 'top' && (head !== '' || !text.startsWith('#!')))
    return text === head ? `${text}${block}\n` : `${head}${block}\n${text.slice(head.length)}`;
  return text.endsWith('\n') ? `${text}${block}\n` : `${text}\n${block}`;
}

/** Given a text, return it without the block. Pure. */
export function withoutBlock(text: string): string {
  const found = find(text);
  if (found === undefined) return text;
  const before = text.slice(0, found.start);
  const after = text.slice(found.end);
  return after === '' ? before.replace(/\n$/, '') : before + after.replace(/^\n/, '');
}

/** The lines of the block in a text; undefined: there is none. */
export function blockIn(text: string): string[] | undefined {
  const found = find(text);
  return found && text.slice(found.start, found.end).split('\n').slice(1, -1);
}

/** A file that holds nothing but the block: what is written where there was none. */
export function onlyBlock(lines: readonly string[], before = ''): string {
  return `${before}${[begin, ...lines, end].join('\n')}\n`;
}

function find(text: string): { start: number; end: number } | undefined {
  const lines = text.split('\n');
  const last = lines.indexOf(end);
  const first = lines.lastIndexOf(begin, last);
  if (last === -1 || first === -1) return undefined;
  const start = lines.slice(0, first).join('\n').length + (first === 0 ? 0 : 1);
  return { start, end: start + lines.slice(first, last + 1).join('\n').length };
}
