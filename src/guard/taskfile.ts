import { Exhausted } from './scope.ts';
import { isUnknown, PASSED, visible, WORDS } from './unknown.ts';

interface Task {
  /** Shell texts, each for a shell of its own; with what `{{…}}` stands for left as it is. */
  texts: string[];
  /** Names of tasks that it runs, with what it sets for them. */
  calls: Call[];
  /** Where it runs, seen from the Taskfile. */
  dir: string | undefined;
  /** What it sets for itself: plain texts. */
  variables: Map<string, string>;
}

interface Call {
  name: string;
  variables: Map<string, string>;
}

/** Another Taskfile, whose tasks have a name in front of theirs. */
interface Include {
  /** A file or a folder, seen from this one. */
  file: string;
  dir: string | undefined;
  /** What else may stand in front. */
  aliases: string[];
  /** Its tasks are known without a name in front, too. */
  isFlat: boolean;
}

/** What a Taskfile says (https://taskfile.dev/docs/reference/schema; compared with Task 3.54), as far as it is read here. */
export interface Taskfile {
  tasks: Map<string, Task>;
  /** Other names of tasks. */
  aliases: Map<string, string>;
  includes: Map<string, Include>;
  /** Plain texts. */
  variables: Map<string, string>;
  /** What runs whatever is asked for: variables that are the output of a command. */
  always: string[];
}

/** Keys of a task under which there are commands. */
const commandKeys = new Set(['cmds', 'cmd', 'sh', 'status', 'preconditions', 'defer', 'if']);

/**
 * Given the text of a Taskfile, return its tasks. Never throws. Of YAML it reads what people write there: blocks by their
 * indentation, lists and maps in brackets on one line, texts in quotes and below `|`. The package that reads all of YAML takes
 * longer to load than a verdict takes.
 */
export function parseTaskfile(text: string): Taskfile {
  const found: Taskfile = {
    ...{ tasks: new Map<string, Task>(), aliases: new Map<string, string>(), always: [] },
    ...{ includes: new Map<string, Include>(), variables: new Map<string, string>() },
  };
  for (const [path, value] of scalars(text)) {
    const [section, name = '', ...below] = path;
    const keys = below.filter((key) => key !== '-');
    if (section === 'vars' || section === 'env') {
      if (keys.at(-1) === 'sh') found.always.push(value);
      else if (keys.length === 0) found.variables.set(name, value);
    } else if (section === 'includes') {
      const include = found.includes.get(name) ?? { file: '', dir: undefined, aliases: [], isFlat: false };
      found.includes.set(name, include);
      if (keys.length === 0 || keys[0] === 'taskfile') include.file = value;
      else if (keys[0] === 'dir') include.dir = value;
      else if (keys[0] === 'aliases') include.aliases.push(value);
      else if (keys[0] === 'flatten') include.isFlat = value === 'true';
    } else if (section === 'tasks') note(taskOf(found, name), name, below, value);
  }
  return found;

  function note(task: Task, name: string, below: readonly string[], value: string): void {
    const keys = below.filter((key) => key !== '-');
    const key = keys.at(-1);
    if (key === undefined || commandKeys.has(key)) task.texts.push(value);
    else if (key === 'task' || key === 'deps') task.calls.push({ name: value, variables: new Map() });
    else if (keys.length === 1 && key === 'dir') task.dir = value;
    else if (keys.length === 1 && key === 'aliases') found.aliases.set(value, name);
    else if (keys.at(-2) === 'vars') {
      // Behind `task:` they are that one's.
      const call = keys.length > 2 ? task.calls.at(-1) : undefined;
      (call ?? task).variables.set(key, value);
    }
  }
}

function taskOf(found: Taskfile, name: string): Task {
  const before = found.tasks.get(name);
  if (before !== undefined) return before;
  const task: Task = { texts: [], calls: [], dir: undefined, variables: new Map<string, string>() };
  found.tasks.set(name, task);
  return task;
}

const keyText = /^("[^"]*"|'[^']*'|[^\s"'#[\]{},&*!|>%@`-][^\s"'#]*):(?:[ \t]+|$)/;
/** Characters. */
const longestKey = 200;
/** Lists within lists; nobody writes more. */
const deepest = 12;
/** Characters of a list in brackets. */
const longestList = 4000;
/** Tasks that one command runs, each with what is set for it. */
const mostCalls = 1000;
/** Characters that are put in for variables. */
const mostFilled = 128 * 1024;

/** The key that a text starts with, and what comes behind it; undefined: it starts with none. */
function keyed(text: string): { key: string; value: string } | undefined {
  const [whole = '', key] = keyText.exec(text.slice(0, longestKey)) ?? [];
  return key === undefined ? undefined : { key: plain(key), value: text.slice(whole.length).trim() };
}

/** Every text in a YAML text, with the keys that lead to it; `-` stands for an item of a list. */
function* scalars(text: string): Generator<[string[], string]> {
  const lines = text.split(/\r?\n/);
  const stack: { column: number; key: string }[] = [];
  const to = (column: number): void => {
    while ((stack.at(-1)?.column ?? -1) >= column) stack.pop();
  };
  for (let at = 0; at < lines.length; at += 1) {
    const line = lines[at] ?? '';
    let column = /^ */.exec(line)?.[0].length ?? 0;
    let rest = line.slice(column);
    if (rest === '' || rest.startsWith('#') || /^(?:---|\.\.\.)\s*$/.test(line)) continue;
    for (let item = /^-(?:[ \t]+|$)/.exec(rest); item !== null; item = /^-(?:[ \t]+|$)/.exec(rest)) {
      // An item may be as far to the left as the key that it belongs to.
      to(column + 0.5);
      stack.push({ column: column + 0.5, key: '-' });
      if (stack.length > deepest) return;
      column += item[0].length;
      rest = rest.slice(item[0].length);
    }
    const pair = keyed(rest);
    to(column);
    if (pair !== undefined) stack.push({ column, key: pair.key });
    const written = pair?.value ?? rest;
    // An anchor or a tag, before what it is about.
    const own = written.replace(/^(?:[&!]\S*[ \t]*)+/, '').replace(/^#.*/s, '');
    const outer = stack.at(-1)?.column ?? 0;
    const more: string[] = [];
    const isBlock = /^[|>][-+0-9]*[ \t]*(?:#.*)?$/.test(own);
    // What is further to the right goes on with it.
    while (own !== '' && at + 1 < lines.length) {
      const next = lines[at + 1] ?? '';
      const indent = /^ */.exec(next)?.[0].length ?? 0;
      if (next.trim() !== '' && indent <= outer) break;
      more.push(next);
      at += 1;
    }
    const path = stack.map((one) => one.key);
    if (isBlock) {
      const joined = own.startsWith('>') ? more.map((one) => one.trim()).join(' ') : more.join('\n');
      yield [path, joined];
    } else if (own !== '') {
      const further = more.map((one) => one.trim()).filter((one) => !one.startsWith('#'));
      yield* inBrackets(path, [own, ...further].join(' ').trim());
    }
  }
}

/** A text, or what is in `[a, b]` and `{a: b}`. */
function* inBrackets(path: readonly string[], text: string): Generator<[string[], string]> {
  if (path.length > deepest) return;
  // `{{.NAME}} down` is no map.
  const inner =
    text.length > longestList ? undefined : /^(?:\[|\{(?!\{))(.*)[\]}][ \t]*(?:#.*)?$/s.exec(text)?.[1];
  if (inner === undefined) {
    yield [[...path], plain(text)];
    return;
  }
  for (const part of parts(inner)) {
    const pair = keyed(part);
    if (pair === undefined) yield* inBrackets([...path, '-'], part);
    else yield* inBrackets([...path, pair.key], pair.value);
  }
}

/** What commas separate, outside of quotes and brackets. */
function parts(text: string): string[] {
  const found: string[] = [];
  let depth = 0;
  let from = 0;
  // A quote that does not end goes on to the end of the text.
  const tokens = /"(?:[^"\\]|\\.)*"?|'[^']*'?|[[\]{},]/gs;
  for (const { 0: token, index } of text.matchAll(tokens)) {
    if (token === '[' || token === '{') depth += 1;
    else if (token === ']' || token === '}') depth -= 1;
    else if (token === ',' && depth === 0) {
      found.push(text.slice(from, index).trim());
      from = index + 1;
    }
  }
  found.push(text.slice(from).trim());
  return found.filter((part) => part !== '');
}

/** A text as it is meant: without quotes, or without the comment behind it. */
function plain(text: string): string {
  const [, double, single] = /^(?:"((?:[^"\\]|\\.)*)"|'((?:[^']|'')*)')[ \t]*(?:#.*)?$/s.exec(text) ?? [];
  if (double !== undefined)
    return double.replace(/\\(.)/gs, (_, letter: string) =>
      letter === 'n' ? '\n' : letter === 't' ? '\t' : letter,
    );
  if (single !== undefined) return single.replaceAll("''", "'");
  return text.replace(/(?<=[ \t])#.*$/s, '').trim();
}

/** What a task runs. */
export interface Ordered {
  texts: readonly string[];
  /** Seen from the Taskfile. */
  dir: string | undefined;
}

/** What was asked for: tasks by name, the variables that are set for them, and the words behind `--`. */
export interface Order {
  names: readonly string[];
  variables: ReadonlyMap<string, string>;
  args: readonly string[];
}

/**
 * Given what was asked of `task`, return what it runs of this Taskfile: all that it may, where the name of a task is not known.
 * Names that are not here, of an included Taskfile say, are given to `other`. Throws Exhausted where that is too much to follow.
 * Pure.
 */
export function orderedFrom(
  taskfile: Taskfile,
  { names, variables, args }: Order,
  other: (name: string, variables: ReadonlyMap<string, string>) => void = () => undefined,
): Ordered[] {
  const seen = new Set<string>();
  let filled = 0;
  const found: Ordered[] = [
    { texts: filledIn(taskfile.always, [taskfile.variables, variables]), dir: undefined },
  ];
  for (const name of names) if (!name.startsWith(PASSED)) run(name, variables);
  return found;

  function run(wanted: string, given: ReadonlyMap<string, string>): void {
    const call = JSON.stringify([wanted, ...given]);
    if (seen.has(call)) return;
    seen.add(call);
    if (seen.size > mostCalls) throw new Exhausted();
    if (isUnknown(wanted)) {
      // `deploy-{{.STAGE}}` may be any of them that begins and ends so.
      const parts = visible(wanted).split('?');
      const [before = ''] = parts;
      const after = parts.at(-1) ?? '';
      for (const each of [...taskfile.tasks.keys(), ...taskfile.aliases.keys()])
        if (each.startsWith(before) && each.endsWith(after)) run(each, given);
      other(wanted, given);
      return;
    }
    const name = taskfile.aliases.get(wanted) ?? wanted;
    const task = taskfile.tasks.get(name) ?? matching(name);
    if (task === undefined) {
      other(wanted, given);
      return;
    }
    // What a task sets itself counts more than what it is given (https://taskfile.dev/docs/guide/variables).
    const known = [taskfile.variables, given, task.variables];
    const [dir] = filledIn(task.dir === undefined ? [] : [task.dir], known);
    found.push({ texts: filledIn(task.texts, known), dir });
    for (const { name: next, variables: own } of task.calls) {
      const values = [...own].map(([key, value]) => [key, filledIn([value], known)[0] ?? ''] as const);
      run(filledIn([next], known)[0] ?? '', new Map(values));
    }
  }

  /** `start:*` */
  function matching(name: string): Task | undefined {
    for (const [pattern, task] of taskfile.tasks) {
      const [before = '', ...after] = pattern.split('*');
      const end = after.at(-1);
      if (end !== undefined && name.startsWith(before) && name.endsWith(end)) return task;
    }
    return undefined;
  }

  function filledIn(texts: readonly string[], known: readonly ReadonlyMap<string, string>[]): string[] {
    return texts.map((text) =>
      text.replace(/\{\{([^{}]*)\}\}/g, (_, inner: string) => {
        const [, name = '', fallback] =
          /^-?\s*\.(\w+)\s*(?:\|\s*default\s+"([^"]*)"\s*)?-?$/.exec(inner.trim()) ?? [];
        const value =
          name === 'CLI_ARGS'
            ? args.join(' ')
            : known.reduce<string | undefined>((before, one) => one.get(name) ?? before, undefined);
        // A value that is made of others is not followed.
        const text = (value?.includes('{{') === true ? undefined : value) ?? fallback ?? WORDS;
        filled += text.length;
        if (filled > mostFilled) throw new Exhausted();
        return text;
      }),
    );
  }
}
