/**
 * Text from outside (names, messages, what an engine or a database printed) on its way to a terminal or a log.
 * A volume may be called anything and a container may print anything; none of it may move the cursor, retitle the
 * window, hide a line or reverse the reading direction. What could is shown instead of sent.
 */

/**
 * Control characters, invisible format characters (bidi overrides, zero-width), line separators, lone surrogates. Made when
 * some text needs it: V8 takes half a millisecond for these classes, and the guard's whole work is ten.
 */
let unprintable: RegExp | undefined;

function replaceUnprintable(text: string, replacement: (character: string) => string): string {
  if (/^[ -~]*$/.test(text)) return text;
  unprintable ??= /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;
  return text.replace(unprintable, replacement);
}

/**
 * Takes any text and returns it as one line that drives nothing: ESC becomes `\x1b`, a line feed `\n`, U+202E
 * `\u{202e}`. Printable text, in any script, stays as it is.
 */
export function visible(text: string): string {
  return replaceUnprintable(text, shown);
}

/**
 * Like `visible`, for text of several lines: line feeds end a line, tabs become spaces, blank lines at either end are
 * dropped. Returns at least one line.
 */
export function visibleLines(text: string): string[] {
  const lines = text.split(/\r?\n/).map((line) => visible(line.replaceAll('\t', '    ')).trimEnd());
  while (lines.length > 1 && lines.at(-1) === '') lines.pop();
  while (lines.length > 1 && lines[0] === '') lines.shift();
  return lines;
}

/**
 * What a command has laid out for people, with colours of its own, on its way to the terminal: whatever else could drive that,
 * and was not shown by `visible` where it came in, is shown now.
 */
export function visibleOutput(text: string): string {
  const ownColours = new RegExp(`(\u001b\\[(?:[0-2]|22|3\\d|9\\d)m)`);
  return text
    .split('\n')
    .map((line) =>
      line
        .split(ownColours)
        .map((part, index) => (index % 2 === 1 ? part : visible(part)))
        .join(''),
    )
    .join('\n');
}

/**
 * JSON as JSON.stringify returns it, with everything escaped that a terminal could still act on: JSON itself allows
 * C1 controls, DEL and bidi overrides inside strings. The value does not change.
 */
export function visibleJson(json: string): string {
  return replaceUnprintable(json, (character) =>
    // Per UTF-16 unit: JSON knows no \u{…}.
    Array.from({ length: character.length }, (_, at) => unicode(character.charCodeAt(at))).join(''),
  );
}

function shown(character: string): string {
  if (character === '\n') return String.raw`\n`;
  if (character === '\r') return String.raw`\r`;
  if (character === '\t') return String.raw`\t`;
  const code = character.codePointAt(0) ?? 0;
  return code <= 0xff ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
}

function unicode(unit: number): string {
  return `\\u${unit.toString(16).padStart(4, '0')}`;
}
