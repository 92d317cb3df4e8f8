/** A line of a recipe. */
export interface RecipeLine {
  /** With make's variables filled in as far as they are known, and without its prefixes. */
  text: string;
  /** Where it starts in the file. */
  offset: number;
}

export interface Target {
  needs: string[];
  recipe: RecipeLine[];
}

export interface Makefile {
  targets: Map<string, Target>;
  /** The target that plain `make` makes. */
  first: string | undefined;
  /** What runs whatever is made: `X := $(shell …)`. */
  always: RecipeLine[];
}

/** Characters that variables are filled in with, all in all: each may hold many others, and so may those. */
const mostFilled = 128 * 1024;

/** Given the text of a Makefile, and variables set on the command line, return its targets. Never throws. */
export function parseMakefile(text: string, given: ReadonlyMap<string, string> = new Map()): Makefile {
  const variables = new Map<string, string>();
  const targets = new Map<string, Target>();
  const always: RecipeLine[] = [];
  let first: string | undefined;
  let current: Target[] = [];
  let defined: { name: string; lines: string[] } | undefined;
  let filledIn = 0;
  for (const { line, offset } of logicalLines(text)) {
    if (defined !== undefined) {
      if (/^\s*endef\b/.test(line)) {
        variables.set(defined.name, defined.lines.join('\n'));
        defined = undefined;
      } else defined.lines.push(line.replace(prefixes, ''));
      continue;
    }
    if (line.startsWith('\t')) {
      for (const target of current) target.recipe.push({ text: line, offset });
      continue;
    }
    const trimmed = line.replace(/(^|\s)#.*$/, '').trim();
    if (trimmed === '') continue;
    const name = /^(?:export\s+|override\s+)*define\s+([\w.-]+)/.exec(trimmed)?.[1];
    if (name !== undefined) {
      defined = { name, lines: [] };
      continue;
    }
    const assigned = /^(?:export\s+|override\s+)*([\w.-]+)\s*(\?|\+|:{1,3}|!)?=\s*(.*)$/s.exec(trimmed);
    if (assigned !== null) {
      const [, name = '', how = '', value = ''] = assigned;
      if (name === '.DEFAULT_GOAL') first = value;
      if (how === '!') always.push({ text: value, offset });
      if (how.startsWith(':') && value.includes('$(shell')) always.push({ text: value, offset });
      if (how === '+') variables.set(name, `${variables.get(name) ?? ''} ${value}`.trim());
      else if (how !== '?' || !variables.has(name)) variables.set(name, value);
      continue;
    }
    const rule = /^([^:=]+?)\s*(?:&?::?)(?!=)\s*([^;]*)(?:;(.*))?$/.exec(trimmed);
    if (rule === null) continue;
    const [, names = '', needs = '', inline] = rule;
    current = [];
    for (const name of filled(names).split(/\s+/)) {
      const target = targets.get(name) ?? { needs: [], recipe: [] };
      target.needs.push(
        ...filled(needs.replace('|', ' '))
          .split(/\s+/)
          .filter((need) => need !== ''),
      );
      if (inline !== undefined) target.recipe.push({ text: inline, offset });
      targets.set(name, target);
      current.push(target);
      if (first === undefined && !name.startsWith('.')) first = name;
    }
  }
  for (const [name, target] of targets)
    for (const line of target.recipe) line.text = filled(line.text.replace(prefixes, ''), name);
  for (const line of always) line.text = filled(line.text);
  return { targets, first: first === undefined ? undefined : filled(first), always };

  function filled(value: string, target = '%', depth = 0): string {
    if (depth > 8 || value.length > 20_000) return value;
    return value.replace(
      /\$(?:\$|\(([^()]*)\)|\{([^{}]*)\}|([\w@%<?^+|*]))/g,
      (all, round?: string, curly?: string, one?: string) => {
        if (all === '$$') return '$';
        const name = round ?? curly ?? one ?? '';
        if (name === '@' && !target.includes('%')) return target;
        // What the shell calls the same.
        if (name.startsWith('shell ')) return `$(${name.slice('shell '.length)})`;
        const found = called(name) ?? given.get(name) ?? variables.get(name) ?? defaults.get(name);
        // Left for the shell to find unknown: other functions, a variable from the environment.
        if (found === undefined) return /^[A-Za-z_]\w*$/.test(name) ? `\${${name}}` : unknownValue;
        filledIn += found.length + name.length;
        return filledIn > mostFilled ? unknownValue : filled(found, target, depth + 1);
      },
    );
  }

  /** `call NAME,VALUE,…`: the variable, with the values put into it. */
  function called(text: string): string | undefined {
    if (!text.startsWith('call ')) return undefined;
    const [name = '', ...values] = text.slice('call '.length).split(',');
    return variables
      .get(name.trim())
      ?.replace(/\$(?:(\d)|\((\d)\)|\{(\d)\})/g, (_, ...digits: (string | undefined)[]) => {
        const digit = digits.slice(0, 3).find((one) => one !== undefined);
        return values[Number(digit) - 1] ?? '';
      });
  }
}

/** Before a command: make is not to show it, to run it always, to go on if it fails. */
const prefixes = /^[\t @+-]+/;

/** A variable that nobody has. */
const unknownValue = '${MAKE_UNKNOWN}';

const defaults = new Map([
  ['MAKE', 'make'],
  ['SHELL', '/bin/sh'],
  ['CURDIR', '.'],
  ['RM', 'rm -f'],
]);

function logicalLines(text: string): { line: string; offset: number }[] {
  const found: { line: string; offset: number }[] = [];
  let offset = 0;
  let open = false;
  for (const line of text.split('\n')) {
    const last = found.at(-1);
    if (open && last !== undefined) last.line += `\n${line}`;
    else found.push({ line, offset });
    open = /(^|[^\\])(\\\\)*\\$/.test(line);
    offset += line.length + 1;
  }
  return found;
}

/** The recipe lines that making these targets runs, what they need first. */
export function recipesOf({ targets, first, always }: Makefile, wanted: readonly string[]): RecipeLine[] {
  const seen = new Set<string>();
  const lines: RecipeLine[] = [...always];
  const make = (name: string): void => {
    if (seen.has(name)) return;
    seen.add(name);
    const target = targets.get(name) ?? pattern(name);
    for (const need of target?.needs ?? []) make(need);
    lines.push(...(target?.recipe ?? []));
  };
  const pattern = (name: string): Target | undefined =>
    [...targets].find(([key]) => {
      const [before, after] = key.split('%');
      return after !== undefined && name.startsWith(before ?? '') && name.endsWith(after);
    })?.[1];
  for (const name of wanted.length > 0 ? wanted : first === undefined ? [] : [first]) make(name);
  return lines;
}
