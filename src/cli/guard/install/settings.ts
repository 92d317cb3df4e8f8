import { findNodeAtLocation, getNodeValue, parseTree, type Node, type ParseError } from 'jsonc-parser';
import { SafeUpdateError } from '../../../model/error.ts';

/**
 * Hooks in an agent's settings: `{"hooks": {EVENT: [ENTRY, …]}}`, where an entry is a hook or, with several under a matcher,
 * `{"matcher": …, "hooks": [HOOK, …]}`. Text is put in and taken out around what is there, so that comments, layout and order
 * of all else stay as they are to the byte.
 */
export interface Layout {
  event: string;
  /** Whether a hook is the guard's. */
  isOurs: (hook: unknown) => boolean;
  /** What a file that does not exist yet starts with. */
  empty: Readonly<Record<string, unknown>>;
}

/** One of the guard's own hooks, the entry that it stands in, and the place of both: which entry, and which hook in it. */
export interface FoundHook {
  entry: unknown;
  hook: unknown;
  at: string;
}

/** The guard's own hooks in a text. Throws SafeUpdateError `refused` if it is no such file. */
export function hooksIn(text: string, path: string, layout: Layout): FoundHook[] {
  return entriesOf(text, path, layout).flatMap((node, group) => {
    const entry: unknown = getNodeValue(node);
    const inner = innerOf(node).map((each, index) => ({ node: each, at: `${group}:${index}` }));
    return [{ node, at: `${group}` }, ...inner]
      .map((each) => ({ entry, hook: getNodeValue(each.node) as unknown, at: each.at }))
      .filter(({ hook }) => layout.isOurs(hook));
  });
}

/** Given a text, or undefined for a file that does not exist, return it with this entry and no other one of the guard. */
export function withHook(text: string | undefined, path: string, layout: Layout, entry: unknown): string {
  if (text === undefined || text.trim() === '')
    return `${JSON.stringify({ ...layout.empty, hooks: { [layout.event]: [entry] } }, null, 2)}\n`;
  const without = withoutHook(text, path, layout);
  const root = parsed(without, path);
  const hooks = findNodeAtLocation(root, ['hooks']);
  if (hooks === undefined) return inserted(without, root, 'hooks', { [layout.event]: [entry] });
  const event = findNodeAtLocation(root, ['hooks', layout.event]);
  if (event === undefined) return inserted(without, hooks, layout.event, [entry]);
  return inserted(without, event, undefined, entry);
}

/** Given a text, return it without the guard's hooks, and without what only stood around them. */
export function withoutHook(text: string, path: string, layout: Layout): string {
  const at = entriesOf(text, path, layout).findIndex(
    (node) =>
      layout.isOurs(getNodeValue(node)) || innerOf(node).some((each) => layout.isOurs(getNodeValue(each))),
  );
  if (at === -1) return text;
  const root = parsed(text, path);
  const event = findNodeAtLocation(root, ['hooks', layout.event]);
  const entry = event?.children?.[at];
  if (event === undefined || entry === undefined) return text;
  const inner = innerOf(entry);
  const others = inner.some((each) => !layout.isOurs(getNodeValue(each)));
  const left = others
    ? removed(text, inner.find((each) => layout.isOurs(getNodeValue(each))) ?? entry)
    : removed(text, entry);
  return withoutHook(left, path, layout);
}

/**
 * Puts a value at the end of a list or an object: on a line of its own if the one before it has one. In what was empty it
 * stands right behind the bracket, so that `removed` can tell that from what was made for it.
 */
export function inserted(text: string, container: Node, key: string | undefined, value: unknown): string {
  const eol = text.includes('\r\n') ? '\r\n' : '\n';
  const name = key === undefined ? '' : `${JSON.stringify(key)}:`;
  const last = container.children?.at(-1);
  if (last === undefined) {
    const at = container.offset + 1;
    return `${text.slice(0, at)}${name}${JSON.stringify(value)}${text.slice(at)}`;
  }
  const end = last.offset + last.length;
  const margin = marginOf(text, last.offset);
  if (margin === undefined) return `${text.slice(0, end)}, ${name}${JSON.stringify(value)}${text.slice(end)}`;
  const unit = /^([ \t]+)\S/m.exec(text)?.[1] ?? '  ';
  const body = JSON.stringify(value, null, unit).replaceAll('\n', `${eol}${margin}`);
  // A comment beside the last one stays beside it.
  const beside =
    /^[ \t]*(\/\/[^\r\n]*)?/.exec(text.slice(end))?.[1] === undefined ? '' : restOfLine(text, end);
  return `${text.slice(0, end)},${beside}${eol}${margin}${name === '' ? '' : `${name} `}${body}${text.slice(end + beside.length)}`;
}

/** Takes a value out of its list, or a property out of its object, with the comma that goes with it. */
export function removed(text: string, node: Node): string {
  const { parent } = node;
  const siblings = parent?.children ?? [];
  const at = siblings.indexOf(node);
  const end = node.offset + node.length;
  const next = siblings[at + 1];
  if (next !== undefined) return text.slice(0, node.offset) + text.slice(next.offset);
  const previous = siblings[at - 1];
  if (previous !== undefined) {
    const comma = text.indexOf(',', previous.offset + previous.length);
    const start = text.slice(0, node.offset).trimEnd().length;
    return text.slice(0, comma) + text.slice(comma + 1, Math.max(start, comma + 1)) + text.slice(end);
  }
  const around = parent?.parent;
  // Made for this one, so it goes, too: over several lines, or without a space. The outermost object stays.
  if (
    parent !== undefined &&
    around?.type === 'property' &&
    (marginOf(text, node.offset) !== undefined || around.colonOffset === parent.offset - 1)
  )
    return removed(text, around);
  const start = parent === undefined ? node.offset : parent.offset + 1;
  return text.slice(0, start) + text.slice(end);
}

/** What stands before something on its line, if that is only space; undefined: something else does. */
function marginOf(text: string, offset: number): string | undefined {
  return /(?:^|\n)([ \t]*)$/.exec(text.slice(0, offset))?.[1];
}

function restOfLine(text: string, from: number): string {
  return /^[^\r\n]*/.exec(text.slice(from))?.[0] ?? '';
}

function entriesOf(text: string, path: string, { event }: Layout): Node[] {
  const root = parsed(text, path);
  const hooks = findNodeAtLocation(root, ['hooks']);
  if (hooks === undefined) return [];
  if (hooks.type !== 'object') throw strange(path, '"hooks" is no object');
  const entries = findNodeAtLocation(root, ['hooks', event]);
  if (entries === undefined) return [];
  if (entries.type !== 'array') throw strange(path, `"${event}" is no list`);
  return entries.children ?? [];
}

function innerOf(entry: Node): Node[] {
  const inner = entry.type === 'object' ? findNodeAtLocation(entry, ['hooks']) : undefined;
  return inner?.type === 'array' ? (inner.children ?? []) : [];
}

function parsed(text: string, path: string): Node {
  const errors: ParseError[] = [];
  // A byte order mark is as wide as a space.
  const root = parseTree(text.replace(/^\uFEFF/, ' '), errors, { allowTrailingComma: true });
  if (root === undefined || errors.length > 0) throw strange(path, 'it is no JSON');
  if (root.type !== 'object') throw strange(path, 'it is no JSON object');
  return root;
}

function strange(path: string, what: string): SafeUpdateError {
  return new SafeUpdateError('refused', `${path} is not as expected: ${what}.`, {
    state: 'Nothing was touched.',
    hint: 'Put it right, and run the command again.',
  });
}
