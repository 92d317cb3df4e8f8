import { judge } from '../shell.ts';
import type { Finding } from '../verdict.ts';
import { fencesOf, kindOf, piecesOf, typedIn, type Piece } from './sources.ts';
import { yamlPieces } from './yaml.ts';

/** A destructive command in a file. Lines and columns count from 1, columns in UTF-16 units. */
export interface Occurrence {
  path: string;
  line: number;
  column: number;
  endLine: number;
  endColumn: number;
  finding: Finding;
  /** Why it may stay, as a comment beside it says. */
  ignored?: string;
}

export interface ScanOptions {
  /** Read the fenced blocks of Markdown files, too. */
  markdown: boolean;
}

const shellFences = new Set(['bash', 'sh', 'shell', 'zsh', 'shellscript', 'ksh', 'fish']);
const sessionFences = new Set(['console', 'shell-session', 'terminal', 'text', 'plaintext', 'txt', '']);

/** Given a file, return the destructive commands in it, in their order. Never throws. */
export function scanText(path: string, text: string, options: ScanOptions): Occurrence[] {
  const kind = kindOf(path, text.slice(0, 200));
  if (kind === undefined || (kind === 'markdown' && !options.markdown)) return [];
  const pieces =
    kind === 'markdown'
      ? markdownPieces(text)
      : kind === 'yaml'
        ? safely(() => yamlPieces(text))
        : piecesOf(kind, text);
  const places = placesIn(text);
  const found: Occurrence[] = [];
  const binds: string[] = [];
  for (const piece of pieces) {
    for (const finding of judge(piece.text, { dataPaths: binds, patience: 8 }).findings) {
      if (piece.inside === true && finding.rule === 'data-path') continue;
      // People leave gaps for others to fill in: `docker logs <container>`.
      if (kind === 'markdown' && finding.rule === 'unreadable') continue;
      if (piece.perhaps === true && ['unknown', 'unreadable'].includes(finding.rule)) continue;
      const start = piece.at(finding.at.start);
      const end = Math.max(piece.at(finding.at.end), start);
      const [line, column] = places(start);
      const [endLine, endColumn] = places(end);
      const ignored = ignoredAt(text, line);
      found.push({
        path,
        line,
        column,
        endLine,
        endColumn,
        finding,
        ...(ignored === undefined ? {} : { ignored }),
      });
    }
  }
  return found.sort((one, other) => one.line - other.line || one.column - other.column);
}

function markdownPieces(text: string): Piece[] {
  return fencesOf(text).flatMap((fence): Piece[] => {
    const inner = (pieces: Piece[]): Piece[] =>
      pieces.map((piece) => ({ ...piece, at: (offset) => fence.at(piece.at(offset)) }));
    if (shellFences.has(fence.language)) return [{ text: typedIn(fence.text), at: fence.at }];
    if (sessionFences.has(fence.language))
      return [{ text: typedIn(fence.text), at: fence.at, perhaps: true }];
    if (fence.language === 'yaml' || fence.language === 'yml')
      return inner(safely(() => yamlPieces(fence.text)));
    if (fence.language === 'dockerfile' || fence.language === 'docker')
      return inner(piecesOf('dockerfile', fence.text));
    if (fence.language === 'makefile' || fence.language === 'make')
      return inner(piecesOf('makefile', fence.text));
    return [];
  });
}

function safely(read: () => Piece[]): Piece[] {
  try {
    return read();
  } catch {
    return [];
  }
}

/** Offsets to lines and columns. */
function placesIn(text: string): (offset: number) => [number, number] {
  const starts = [0];
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) starts.push(at + 1);
  return (offset) => {
    let low = 0;
    let high = starts.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((starts[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return [low + 1, offset - (starts[low] ?? 0) + 1];
  };
}

/**
 * The reason for which a comment lets a line stay: `# safe-update-guard: allow REASON`, on the line or alone on the one
 * before. Without a reason it does not count.
 */
function ignoredAt(text: string, line: number): string | undefined {
  const lines = text.split('\n', line);
  const same = reasonIn(lines[line - 1] ?? '');
  const before = lines[line - 2] ?? '';
  return same ?? (/^\s*(#|\/\/|<!--|"\/\/"|;)/.test(before) ? reasonIn(before) : undefined);
}

function reasonIn(line: string): string | undefined {
  const found = /safe-update-guard:\s*allow\b[\s:,-]*(.*?)(?:-->|",?)?\s*$/.exec(line)?.[1]?.trim();
  return found === undefined || found === '' ? undefined : found;
}
