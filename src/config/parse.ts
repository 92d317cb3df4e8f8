import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  visit,
  type Document,
  type Node,
} from 'yaml';
import type { z } from 'zod';
import { messageOf, type SafeUpdateError } from '../model/error.ts';
import { configError, pathText, problemsOf } from './problem.ts';
import { configSchema, guardFileSchema, type ConfigFile } from './schema.ts';

/** Where something stands in a text: offsets of its first character and of the one after its last. */
type Span = readonly [start: number, end: number];

/** More than these at once would hide the first. */
const shownProblems = 5;

/**
 * Takes the text of safe-update.yml and the path to show for it; returns its content.
 *
 * Throws SafeUpdateError `config`: with file, line and column, the path of the key, what was expected there and the
 * lines around it.
 */
export function parseConfig(text: string, path: string): ConfigFile {
  return parse(text, path, configSchema);
}

/** The same for the guard's own file. */
export function parseGuardFile(text: string, path: string): z.output<typeof guardFileSchema> {
  return parse(text, path, guardFileSchema);
}

function parse<T>(text: string, path: string, schema: z.ZodType<T>): T {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, merge: true });
  const failure = (found: readonly { message: string; span: Span }[]): SafeUpdateError => {
    const inOrder = found.toSorted((one, other) => one.span[0] - other.span[0]);
    const shown = inOrder.slice(0, shownProblems).map(({ message, span }) => {
      const { line, col } = lines.linePos(span[0]);
      return `${path}:${line}:${col}: ${message}\n${excerpt(text, line, col, span[1] - span[0])}`;
    });
    if (found.length > shown.length) shown.push(`and ${found.length - shown.length} more`);
    return configError(shown.join('\n\n'), `Correct ${path} and run the same command again.`);
  };

  if (document.errors.length > 0) {
    throw failure(
      document.errors.map(({ code, message, pos }) => ({
        message:
          code === 'MULTIPLE_DOCS'
            ? 'expected one document: what follows a line of --- would be ignored'
            : `not valid YAML: ${message}`,
        span: pos,
      })),
    );
  }
  let content: unknown;
  try {
    content = document.toJS() ?? {};
  } catch (error) {
    // An alias without an anchor, or aliases that unfold to an absurd size.
    throw failure([
      { message: `not valid YAML: ${messageOf(error)}`, span: danglingAlias(document) ?? [0, 0] },
    ]);
  }
  const parsed = schema.safeParse(content, { reportInput: true });
  if (parsed.success) return parsed.data;
  throw failure(
    problemsOf(parsed.error).map(({ path: keys, atKey, text: problem, suggestion }) => ({
      message: `${keys.length === 0 ? '' : `${pathText(keys)}: `}${problem}${suggestion === undefined ? '' : `. Did you mean ${suggestion}?`}`,
      span: locate(document, keys, atKey),
    })),
  );
}

/** Where the value a path leads to stands, or its key; where the path ends early, the last part that is there. */
function locate(document: Document.Parsed, path: readonly (string | number)[], atKey: boolean): Span {
  let node: Node | null | undefined = document.contents;
  let span: Span = spanOf(node) ?? [0, 0];
  for (const [index, part] of path.entries()) {
    if (isAlias(node)) node = node.resolve(document);
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === String(part));
      if (pair === undefined) return span;
      const key = spanOf(pair.key as Node);
      const value = spanOf(pair.value as Node | null);
      const last = index === path.length - 1;
      span = (last && atKey ? key : (value ?? key)) ?? span;
      node = pair.value as Node | null;
    } else if (isSeq(node)) {
      node = node.items[Number(part)] as Node | undefined;
      span = spanOf(node) ?? span;
    } else {
      return span;
    }
  }
  return span;
}

function danglingAlias(document: Document.Parsed): Span | undefined {
  let found: Span | undefined;
  visit(document, {
    Alias(_, alias) {
      if (alias.resolve(document) !== undefined) return undefined;
      found = spanOf(alias);
      return visit.BREAK;
    },
  });
  return found;
}

/** Undefined for a value that was not written: `keep:` with nothing behind it. */
function spanOf(node: Node | null | undefined): Span | undefined {
  const range = node?.range;
  return range === null || range === undefined || range[0] === range[1] ? undefined : [range[0], range[1]];
}

/**
 * The line with what is wrong underlined, and the line before it. `line` and `column` count from 1.
 */
function excerpt(text: string, line: number, column: number, length: number): string {
  const all = text.split(/\r?\n/);
  const width = String(line).length;
  const row = (number: number): string =>
    `  ${String(number).padStart(width)} | ${withoutSecret(all[number - 1] ?? '')}`;
  const own = all[line - 1] ?? '';
  // Tabs stay tabs, so that the caret stands under the same column on every terminal.
  const indent = own.slice(0, column - 1).replace(/[^\t]/g, ' ');
  const carets = '^'.repeat(Math.max(1, Math.min(length, own.length - column + 1)));
  return [
    ...(line > 1 ? [row(line - 1)] : []),
    row(line),
    `  ${' '.repeat(width)} | ${indent}${carets}`,
  ].join('\n');
}

/** No key of this file holds a secret; a misplaced one must not reach a log through its error message. */
function withoutSecret(line: string): string {
  return line
    .replace(/([\w.-]*(?:pass|secret|token|credential|api[_-]?key)[\w.-]*["']?\s*[:=]\s*)\S.*/i, '$1…')
    .replace(/(:\/\/[^/\s:@]*:)[^@\s]+@/g, '$1…@')
    .replace(/(AGE-SECRET-KEY-)\S+/gi, '$1…');
}
