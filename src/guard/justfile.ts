import type { RecipeLine } from './makefile.ts';
import { isUnknown, PASSED, WORDS } from './unknown.ts';

interface Parameter {
  name: string;
  /** It takes all words that are left. */
  isRest: boolean;
  /** Without a word for it, if that is known. */
  value: string | undefined;
}

/** A recipe that is run before or after another, with words of its own. */
interface Need {
  name: string;
  words: string[];
}

interface Recipe {
  parameters: Parameter[];
  needs: Need[];
  /** With what `{{…}}` stands for left as it is. */
  lines: RecipeLine[];
}

/** What a justfile says (https://just.systems/man/en/), as far as it is read here. */
export interface Justfile {
  recipes: Map<string, Recipe>;
  /** The recipe that plain `just` runs. */
  first: string | undefined;
  /** Other names of recipes. */
  aliases: Map<string, string>;
  /** Values that are known: plain texts. */
  variables: Map<string, string>;
  /** Files that it takes in, as they are named. */
  imports: string[];
  /** What runs whatever is asked for: a value in backticks. */
  always: RecipeLine[];
}

const header = /^@?([A-Za-z_][\w-]*)([^:]*):(?!=)(.*)$/;
/** Characters. */
const longestHeader = 1000;

const assignment = /^(?:export\s+)?([A-Za-z_][\w-]*)\s*:=\s*(.*)$/;
const plainText = /^(["'])([^"'\\]*)\1$/;

/** Given the text of a justfile, return its recipes. Never throws. */
export function parseJustfile(text: string): Justfile {
  const found: Justfile = {
    ...{ recipes: new Map<string, Recipe>(), first: undefined, aliases: new Map<string, string>() },
    ...{ variables: new Map<string, string>(), imports: [], always: [] },
  };
  let current: Recipe | undefined;
  let goesOn = false;
  let offset = 0;
  for (const line of text.split('\n')) {
    const at = offset;
    offset += line.length + 1;
    if (/^[ \t]/.test(line)) {
      const last = current?.lines.at(-1);
      const trimmed = line.trim();
      if (goesOn && last !== undefined) last.text += `\n${trimmed}`;
      else if (trimmed !== '') current?.lines.push({ text: trimmed, offset: at });
      goesOn = trimmed.endsWith('\\');
      continue;
    }
    goesOn = false;
    if (line === '' || line.startsWith('#')) continue;
    const alias = /^alias\s+([\w-]+)\s*:=\s*([\w-]+)/.exec(line);
    const assigned = assignment.exec(line);
    const imported = /^import\??\s+["'](.+)["']/.exec(line)?.[1];
    // No line that begins a recipe is longer; in one without a colon it is looked for again and again.
    const recipe = header.exec(line.slice(0, longestHeader));
    if (imported !== undefined) found.imports.push(imported);
    else if (alias !== null) found.aliases.set(alias[1] ?? '', alias[2] ?? '');
    else if (assigned !== null) {
      const [, name = '', value = ''] = assigned;
      const plain = plainText.exec(value.trim())?.[2];
      if (plain !== undefined) found.variables.set(name, plain);
      for (const [, command = ''] of value.matchAll(/`([^`]+)`/g))
        found.always.push({ text: command, offset: at });
    } else if (recipe !== null) {
      const [, name = '', parameters = '', needs = ''] = recipe;
      current = { parameters: parametersOf(parameters), needs: needsIn(needs), lines: [] };
      found.recipes.set(name, current);
      found.first ??= name;
    }
  }
  return found;
}

function parametersOf(text: string): Parameter[] {
  const pattern = /(?:^|\s)([*+]?)\$?([A-Za-z_][\w-]*)(?:=("[^"]*"|'[^']*'|\S+))?/g;
  return [...text.matchAll(pattern)].map(([, sign = '', name = '', value]) => ({
    name,
    isRest: sign !== '',
    value: value === undefined ? (sign === '*' ? '' : undefined) : plainText.exec(value)?.[2],
  }));
}

/** `build (push "x") && clean` */
function needsIn(text: string): Need[] {
  const pattern = /\(\s*([A-Za-z_][\w-]*)((?:"[^"]*"|'[^']*'|[^()"'])*)\)|#.*$|([A-Za-z_][\w-]*)/g;
  return [...text.matchAll(pattern)].flatMap(([, called, given = '', alone]) => {
    const words = given.match(/"[^"]*"|'[^']*'|[^\s"']+/g) ?? [];
    const name = called ?? alone;
    return name === undefined
      ? []
      : [{ name, words: words.map((word) => plainText.exec(word)?.[2] ?? WORDS) }];
  });
}

/** What a recipe runs: one text for each shell. */
export interface Ordered {
  lines: RecipeLine[];
  /** The words it is called with. */
  words: readonly string[];
}

/**
 * Given the words after `just` that are no flags, return what they run: everything, where the name of a recipe is not known.
 * `values` are set there. Pure.
 */
export function orderedFrom(
  justfile: Justfile,
  given: readonly string[],
  values: ReadonlyMap<string, string> = new Map(),
): Ordered[] {
  const found: Ordered[] = [{ lines: justfile.always, words: [] }];
  const seen = new Set<string>();
  const recipeOf = (name: string): Recipe | undefined =>
    justfile.recipes.get(justfile.aliases.get(name) ?? name);
  const run = (name: string, words: readonly string[]): void => {
    const recipe = recipeOf(name);
    const call = [name, ...words].join('\0');
    if (recipe === undefined || seen.has(call)) return;
    seen.add(call);
    for (const need of recipe.needs) run(need.name, need.words);
    const valueOf = (wanted: string): string => {
      const at = recipe.parameters.findIndex((parameter) => parameter.name === wanted);
      const { isRest = false, value } = recipe.parameters[at] ?? {};
      if (at === -1)
        return plainText.exec(wanted)?.[2] ?? values.get(wanted) ?? justfile.variables.get(wanted) ?? WORDS;
      return words.length > at ? words.slice(at, isRest ? undefined : at + 1).join(' ') : (value ?? PASSED);
    };
    const lines = recipe.lines.map((line) => ({
      ...line,
      text: line.text.replace(/\{\{([^{}]*)\}\}/g, (_, wanted: string) => valueOf(wanted.trim())),
    }));
    found.push({ lines, words });
  };
  let rest = given.length > 0 ? given : justfile.first === undefined ? [] : [justfile.first];
  while (rest.length > 0) {
    const [name = '', ...words] = rest;
    if (isUnknown(name) && !name.startsWith(PASSED))
      for (const each of justfile.recipes.keys()) run(each, []);
    const { parameters = [] } = recipeOf(name) ?? {};
    // A recipe takes as many words as it has parameters; the next one is a recipe again.
    const taken = parameters.some(({ isRest }) => isRest) ? words.length : parameters.length;
    run(name, words.slice(0, taken));
    rest = words.slice(taken);
  }
  return found;
}
