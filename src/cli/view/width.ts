import { eastAsianWidth } from 'get-east-asian-width';
import { visibleLines } from './escape.ts';

const ascii = /^[ -~]*$/;
const marks = /^[\p{Mn}\p{Me}]$/u;

/**
 * How many columns a text takes on a terminal. Takes text without colours and control characters (see escape.ts).
 * Counts code points, not clusters: escaping has taken the joiners away that would make one sign of several.
 */
export function textWidth(text: string): number {
  if (ascii.test(text)) return text.length;
  let width = 0;
  for (const character of text) width += characterWidth(character);
  return width;
}

function characterWidth(character: string): number {
  return marks.test(character)
    ? 0
    : eastAsianWidth(character.codePointAt(0) ?? 0, { ambiguousAsWide: false });
}

/** `text` with spaces after it until it is `width` columns wide; unchanged if it is wider. */
export function padEnd(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - textWidth(text)));
}

/** `text` with spaces before it until it is `width` columns wide; unchanged if it is wider. */
export function padStart(text: string, width: number): string {
  return ' '.repeat(Math.max(0, width - textWidth(text))) + text;
}

/** `text`, or as much of it as fits into `width` columns with an ellipsis at its end. */
export function truncate(text: string, width: number): string {
  if (textWidth(text) <= width) return text;
  return `${head(text, width - 1)}…`;
}

/** Like `truncate`, with the ellipsis in the middle: the end of a path or an id tells more than its middle. */
export function truncateMiddle(text: string, width: number): string {
  if (textWidth(text) <= width) return text;
  const end = Math.floor((width - 1) / 2);
  return `${head(text, width - 1 - end)}…${tail(text, end)}`;
}

/**
 * Breaks a line at spaces so that no piece is wider than `width` columns; words that are wider are cut, paths after a
 * slash. Spaces at the
 * beginning stay, as they are somebody's indentation. Returns at least one piece.
 */
export function wrap(line: string, width: number): string[] {
  const pieces: string[] = [];
  let rest = line;
  for (;;) {
    const fitting = head(rest, width) || firstCharacter(rest);
    if (fitting.length === rest.length) break;
    const space = rest[fitting.length] === ' ' ? fitting.length : fitting.lastIndexOf(' ');
    // A space is a place to break only after a word: otherwise an indentation wider than the line would never end.
    const cut = fitting.slice(0, Math.max(0, space)).trim() === '' ? withinWord(fitting) : space;
    pieces.push(rest.slice(0, cut).trimEnd());
    rest = rest.slice(cut).trimStart();
  }
  if (rest !== '' || pieces.length === 0) pieces.push(rest);
  return pieces;
}

/** Where a word that is too wide is cut: after its last slash that is not its first character. */
function withinWord(fitting: string): number {
  const slash = fitting.lastIndexOf('/');
  return slash > 0 && fitting.slice(0, slash).trim() !== '' ? slash + 1 : fitting.length;
}

/**
 * Text from outside, of any number of lines, as lines that are safe to print and at most `width` columns wide. Beyond
 * `limit` lines the middle is left out, and says so: a message begins with what failed and ends with why.
 */
export function paragraph(text: string, width: number, limit = Infinity): string[] {
  const lines = visibleLines(text).flatMap((line) => wrap(line, width));
  if (lines.length <= limit) return lines;
  const end = Math.floor((limit - 1) / 2);
  const start = limit - 1 - end;
  const left = `… ${lines.length - start - end} lines left out …`;
  return [...lines.slice(0, start), left, ...lines.slice(lines.length - end)];
}

function head(text: string, width: number): string {
  let end = 0;
  let left = width;
  for (const character of text) {
    left -= characterWidth(character);
    if (left < 0) break;
    end += character.length;
  }
  return text.slice(0, end);
}

function tail(text: string, width: number): string {
  const characters = Array.from(text);
  let start = characters.length;
  let left = width;
  while (start > 0) {
    left -= characterWidth(characters[start - 1] ?? '');
    if (left < 0) break;
    start -= 1;
  }
  return characters.slice(start).join('');
}

function firstCharacter(text: string): string {
  return text === '' ? '' : String.fromCodePoint(text.codePointAt(0) ?? 0);
}
