import type { Piece } from './sources.ts';

/**
 * A `sh` step up to its text: `sh '…'`, `sh("…")`, `sh(label: 'x', script: """…""")`. Groovy's own strings
 * (https://groovy-lang.org/syntax.html#all-strings); dollar-slashy and slashy ones are not read.
 */
const step =
  /(?<![\w.$'"])sh(?:[ \t]*\(\s*|[ \t]+)(?:\w+\s*:\s*(?:true|false|'[^'\n]*'|"[^"\n]*")\s*,\s*)*(?:script\s*:\s*)?('''|"""|'|")/g;

const signs: Record<string, string> = { n: '\n', t: '\t', r: '\r', b: '\b', f: '\f', s: ' ' };

/** Given the text of a Jenkinsfile, return what its `sh` steps run. What Groovy puts in is unknown. Never throws. */
export function jenkinsPieces(text: string): Piece[] {
  const found: Piece[] = [];
  const steps = new RegExp(step);
  const comment = /[ \t]*(?:\/\/|\*|\/\*)/y;
  let lineStart = 0;
  let lineEnd = text.indexOf('\n');
  for (let match = steps.exec(text); match !== null; match = steps.exec(text)) {
    while (lineEnd !== -1 && lineEnd < match.index) {
      lineStart = lineEnd + 1;
      lineEnd = text.indexOf('\n', lineStart);
    }
    comment.lastIndex = lineStart;
    if (comment.test(text)) continue;
    const mark = match[1] ?? '';
    const { content, offsets, end } = literal(text, steps.lastIndex, mark);
    steps.lastIndex = end;
    found.push({ text: content, at: (offset) => offsets[offset] ?? end });
  }
  return found;
}

/** A string of Groovy from behind its mark: what it holds, where in the file each sign of that stands, and where it ends. */
function literal(
  text: string,
  from: number,
  mark: string,
): { content: string; offsets: number[]; end: number } {
  let content = '';
  const offsets: number[] = [];
  const add = (sign: string, offset: number): void => {
    offsets.push(...Array<number>(sign.length).fill(offset));
    content += sign;
  };
  let at = from;
  while (at < text.length && !text.startsWith(mark, at)) {
    const sign = text.charAt(at);
    if (sign === '\n' && mark.length === 1) break;
    if (sign === '\\') {
      const next = text.charAt(at + 1);
      // A line that is continued for Groovy, not for the shell.
      if (next !== '\n') add(signs[next] ?? next, at);
      at += 2;
    } else if (mark.startsWith('"') && text.startsWith('${', at)) {
      const close = closing(text, at + 2);
      add(`\${${'_'.repeat(Math.max(close - at - 2, 1))}}`, at);
      at = close + 1;
    } else {
      add(sign, at);
      at += 1;
    }
  }
  return { content, offsets, end: Math.min(at + mark.length, text.length) };
}

/** Where the brace ends whose inside begins here. */
function closing(text: string, from: number): number {
  let depth = 1;
  for (let at = from; at < text.length; at += 1) {
    if (text[at] === '{') depth += 1;
    else if (text[at] === '}') depth -= 1;
    if (depth === 0) return at;
  }
  return text.length;
}
