import { applyEdits, modify, parse, type JSONPath, type ParseError } from 'jsonc-parser';
import { SafeUpdateError } from '../../../model/error.ts';

/**
 * Hooks in an agent's settings: `{"hooks": {EVENT: [ENTRY, …]}}`, where an entry is a hook or, with several under a matcher,
 * `{"matcher": …, "hooks": [HOOK, …]}`. The text is edited where it has to be; comments and the layout of the rest stay.
 */
export interface Layout {
  event: string;
  /** Whether a hook is the guard's. */
  isOurs: (hook: unknown) => boolean;
  /** What a file that does not exist yet starts with. */
  empty: Readonly<Record<string, unknown>>;
}

/** The guard's own hooks in a text, and the entries they stand in. Throws SafeUpdateError `refused` if it is no such file. */
export function hooksIn(text: string, path: string, layout: Layout): { entry: unknown; hook: unknown }[] {
  return entriesOf(text, path, layout).flatMap((entry) =>
    [entry, ...innerOf(entry)].filter(layout.isOurs).map((hook) => ({ entry, hook })),
  );
}

/** Given a text, or undefined for a file that does not exist, return it with this entry and no other one of the guard. */
export function withHook(text: string | undefined, path: string, layout: Layout, entry: unknown): string {
  if (text === undefined || text.trim() === '')
    return `${JSON.stringify({ ...layout.empty, hooks: { [layout.event]: [entry] } }, null, 2)}\n`;
  const without = cleared(text, path, layout);
  const at = entriesOf(without, path, layout).length;
  return edited(without, ['hooks', layout.event, at], entry);
}

/** Given a text, return it without the guard's hooks, and without what is empty then. */
export function withoutHook(text: string, path: string, layout: Layout): string {
  let left = cleared(text, path, layout);
  if (left === text) return text;
  const root = parsed(left, path);
  const hooks = root['hooks'] as Record<string, unknown[]>;
  if ((hooks[layout.event] ?? []).length > 0) return left;
  left = edited(left, Object.keys(hooks).length > 1 ? ['hooks', layout.event] : ['hooks'], undefined);
  return left;
}

function cleared(text: string, path: string, layout: Layout): string {
  let left = text;
  // From the end, so that what comes before keeps its place.
  for (const [at, entry] of [...entriesOf(text, path, layout).entries()].reverse()) {
    const inner = innerOf(entry);
    const ours = inner.flatMap((hook, index) => (layout.isOurs(hook) ? [index] : []));
    if (layout.isOurs(entry) || (ours.length > 0 && ours.length === inner.length))
      left = edited(left, ['hooks', layout.event, at], undefined);
    else
      for (const index of ours.reverse())
        left = edited(left, ['hooks', layout.event, at, 'hooks', index], undefined);
  }
  return left;
}

function edited(text: string, at: JSONPath, value: unknown): string {
  const indent = /^([ \t]+)\S/m.exec(text)?.[1] ?? '  ';
  return applyEdits(
    text,
    modify(text, at, value, {
      formattingOptions: {
        insertSpaces: !indent.startsWith('\t'),
        tabSize: indent.startsWith('\t') ? 1 : indent.length,
        eol: text.includes('\r\n') ? '\r\n' : '\n',
      },
    }),
  );
}

function entriesOf(text: string, path: string, { event }: Layout): unknown[] {
  const hooks = parsed(text, path)['hooks'];
  if (hooks === undefined) return [];
  if (!isObject(hooks)) throw strange(path, '"hooks" is no object');
  const entries = hooks[event];
  if (entries === undefined) return [];
  if (!Array.isArray(entries)) throw strange(path, `"${event}" is no list`);
  return entries;
}

function innerOf(entry: unknown): unknown[] {
  return isObject(entry) && Array.isArray(entry['hooks']) ? entry['hooks'] : [];
}

function parsed(text: string, path: string): Record<string, unknown> {
  const errors: ParseError[] = [];
  const root: unknown = parse(text.replace(/^\uFEFF/, ' '), errors, { allowTrailingComma: true });
  if (errors.length > 0) throw strange(path, 'it is no JSON');
  if (!isObject(root)) throw strange(path, 'it is no JSON object');
  return root;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function strange(path: string, what: string): SafeUpdateError {
  return new SafeUpdateError('refused', `${path} is not as expected: ${what}.`, {
    state: 'Nothing was touched.',
    hint: 'Put it right, and run the command again.',
  });
}
