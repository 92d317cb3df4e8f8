import { parse, type ParameterExpansionPart, type Word, type WordPart } from 'unbash';
import { Exhausted, limited, mostAlternatives, type Alternatives, type Scope } from './scope.ts';
import { FLAGS, isUnknown, PASSED, quoted, SOME, unquoted, WORDS } from './unknown.ts';

/** What expansion needs of the shell: to run what stands in a substitution. */
export interface Substitution {
  /** Told before so many characters are read again. Throws Exhausted. */
  spend(characters: number): void;
  /** Runs the script of `$(…)` and returns what it may print, the most of it first. */
  output(part: WordPart): readonly string[];
  /** Runs the script of `<(…)` and returns the path of what it prints. */
  path(part: WordPart): string;
}

/** Words under construction: the last one may go on. */
interface Partial {
  words: string[];
  open: boolean;
}

const mostWords = 64;
/** A word of more parts is as good as unknown. */
const mostParts = 1000;
/** What a part costs, in characters that are read. */
const partCost = 16;
/** Each makes copies of all before it. */
const mostBraces = 12;
/** What is in them is read once more for each level. */
const deepestBraces = 8;

/** Given a word of the source, return what it may become: alternatives, each of them no, one or several words. */
export function expandWord(word: Word, scope: Scope, substitution: Substitution): Alternatives {
  if (word.parts === undefined) {
    // Quotes are gone in `value`, but a tilde is only one at the start.
    return [[word.value]];
  }
  if (word.parts.length > mostParts) return [[WORDS]];
  substitution.spend(partCost * word.parts.length);
  if (!word.parts.some((part) => part.type === 'BraceExpansion'))
    return expandParts(word.parts, scope, substitution);
  return product(braces(word.parts, substitution).map((parts) => expandParts(parts, scope, substitution)));
}

/** One alternative of each list after the other, in every combination. Too many of them become a word nobody knows. */
export function product(lists: readonly Alternatives[]): Alternatives {
  let rows: string[][] = [[]];
  for (const list of lists) {
    const [only] = list;
    if (only === undefined) continue;
    if (list.length === 1) for (const row of rows) row.push(...only);
    else if (rows.length * list.length > mostAlternatives * 2) for (const row of rows) row.push(WORDS);
    else rows = rows.flatMap((row) => list.map((words) => [...row, ...words]));
  }
  return rows;
}

/** The text of a word where it stays one: in an assignment, a here-string, a heredoc. */
export function expandText(
  word: Pick<Word, 'value' | 'parts'>,
  scope: Scope,
  substitution: Substitution,
): readonly string[] {
  if (word.parts === undefined) return [word.value];
  return texts(word.parts, scope, substitution);
}

/** The text of parts, as within double quotes. */
export function texts(
  parts: readonly WordPart[],
  scope: Scope,
  substitution: Substitution,
): readonly string[] {
  substitution.spend(partCost * parts.length);
  let found: string[] = [''];
  for (const part of parts) {
    const values = valuesOf(part, scope, substitution).map((words) => words.join(' '));
    const next = found.flatMap((before) => values.map((value) => before + value));
    found = next.length > mostAlternatives ? found.map((before) => before + SOME) : next;
  }
  return [...new Set(found)];
}

function expandParts(parts: readonly WordPart[], scope: Scope, substitution: Substitution): Alternatives {
  // What most words are.
  const [only] = parts;
  if (only !== undefined && parts.length === 1) {
    if (isPlain(only)) return [[only.value]];
    if (only.type === 'DoubleQuoted')
      return limited(quotedLists(only.parts, scope, substitution).map((words) => words.slice(0, mostWords)));
  }
  let partials: Partial[] = [{ words: [], open: false }];
  const each = (change: (partial: Partial) => Partial[]): void => {
    const next = partials.flatMap(change);
    partials = next.length > mostAlternatives ? partials.map((partial) => append(partial, [WORDS])) : next;
  };
  for (const part of parts) {
    const isQuoted = part.type === 'DoubleQuoted' || part.type === 'LocaleString';
    const values = isQuoted
      ? quotedLists(part.parts, scope, substitution)
      : valuesOf(part, scope, substitution);
    const splits =
      part.type === 'SimpleExpansion' ||
      part.type === 'ParameterExpansion' ||
      part.type === 'CommandExpansion';
    const add = splits ? split : append;
    const [partial] = partials;
    const [words] = values;
    // What is known needs no copies.
    if (partials.length === 1 && values.length === 1 && partial !== undefined && words !== undefined)
      add(partial, words, scope);
    else each((before) => values.map((some) => add(copied(before), some, scope)));
  }
  return limited(partials.map(({ words }) => words.slice(0, mostWords)));
}

function isPlain(part: WordPart): part is Extract<WordPart, { type: 'Literal' | 'Glob' | 'SingleQuoted' }> {
  return part.type === 'Literal' || part.type === 'Glob' || part.type === 'SingleQuoted';
}

/** Words of a double-quoted part: one, unless it holds "$@" or an array. */
function quotedLists(parts: readonly WordPart[], scope: Scope, substitution: Substitution): Alternatives {
  const [only] = parts;
  if (only === undefined) return [['']];
  if (parts.length === 1 && isPlain(only)) return [[quoted(only.value)]];
  substitution.spend(partCost * parts.length);
  let found: Partial[] = [{ words: [], open: false }];
  let isList = false;
  for (const part of parts) {
    const values = valuesOf(part, scope, substitution);
    const list = isListPart(part);
    isList ||= list;
    const lists = values.map((words) => (list ? words.map(quotedList) : [quoted(words.join(' '))]));
    const [partial] = found;
    const [words] = lists;
    if (found.length === 1 && lists.length === 1 && partial !== undefined && words !== undefined) {
      append(partial, words);
      continue;
    }
    const next = found.flatMap((before) => lists.map((some) => append(copied(before), some)));
    found = next.length > mostAlternatives ? found.map((before) => append(before, [SOME])) : next;
  }
  return found.map(({ words }) => (words.length === 0 && !isList ? [''] : words));
}

/** An array of which nobody knows the words stays several words within quotes. */
function quotedList(word: string): string {
  return word === WORDS || word === FLAGS ? word : quoted(word);
}

function isListPart(part: WordPart): boolean {
  if (part.type === 'SimpleExpansion') return part.text === '$@';
  return part.type === 'ParameterExpansion' && (part.parameter === '@' || part.index?.value === '@');
}

function copied({ words, open }: Partial): Partial {
  return { words: [...words], open };
}

/** Adds words; the first of them goes on with the last one before, if that is open. */
function append(partial: Partial, words: readonly string[]): Partial {
  const [first, ...rest] = words;
  if (first === undefined) return partial;
  if (partial.open && partial.words.length > 0) partial.words.push((partial.words.pop() ?? '') + first);
  else partial.words.push(first);
  partial.words.push(...rest);
  partial.open = true;
  return partial;
}

/** Adds words that fall into more where there is space in them. */
function split(partial: Partial, words: readonly string[], scope: Scope): Partial {
  // Whatever else separates; that spaces may not is left out, as it would only hide what is known.
  const separators = scope.vars.get('IFS')?.flat().join('').replace(/\s/g, '') ?? '';
  for (const [index, word] of words.entries()) {
    if (index > 0) partial.open = false;
    let text = unquoted(word);
    for (const separator of separators) text = text.replaceAll(separator, ' ');
    if (!/\s/.test(text)) {
      if (text !== '') append(partial, [text]);
      continue;
    }
    if (/^\s/.test(text)) partial.open = false;
    append(
      partial,
      text.split(/\s+/).filter((field) => field !== ''),
    );
    if (/\s$/.test(text)) partial.open = false;
  }
  return partial;
}

/** What a part may be, before it falls into words. */
function valuesOf(part: WordPart, scope: Scope, substitution: Substitution): Alternatives {
  switch (part.type) {
    case 'Literal':
    case 'Glob':
    case 'SingleQuoted':
    case 'AnsiCQuoted':
      return [[part.value]];
    case 'DoubleQuoted':
    case 'LocaleString':
      return texts(part.parts, scope, substitution).map((text) => [text]);
    case 'SimpleExpansion':
      return variable(part.text.slice(1), scope, undefined);
    case 'ParameterExpansion':
      // Each level within it is read once more.
      substitution.spend(part.end - part.pos);
      return parameter(part, scope, substitution);
    case 'CommandExpansion':
      return limited(substitution.output(part).map((text) => [text.replace(/\n+$/, '')]));
    case 'ArithmeticExpansion':
      substitution.output(part);
      return [['0']];
    case 'ProcessSubstitution':
      return [[substitution.path(part)]];
    case 'ExtendedGlob':
      return [[part.text]];
    case 'BraceExpansion':
      return [[part.text]];
  }
}

/** A variable's value by its name; `index` is what stands in its brackets. */
function variable(name: string, scope: Scope, index: string | undefined): Alternatives {
  if (/^[?$#!]$/.test(name)) return [['0']];
  if (name === '@' || name === '*') return scope.params === undefined ? [[PASSED]] : [scope.params];
  if (/^[1-9][0-9]*$/.test(name)) {
    if (scope.params === undefined) return [[PASSED]];
    return [[scope.params[Number(name) - 1] ?? '']];
  }
  const values = scope.vars.get(name);
  if (values !== undefined) {
    if (index === '@' || index === '*') return values;
    const at = index === undefined ? 0 : Number(index);
    return Number.isInteger(at)
      ? values.map((words) => [words.at(at) ?? ''])
      : [[values.length === 0 ? '' : SOME]];
  }
  switch (name) {
    case 'HOME':
      return [['~']];
    case 'PWD':
      return [[scope.cwd ?? '.']];
    case 'IFS':
      return [[' ']];
    case 'UID':
    case 'EUID':
    case 'RANDOM':
    case 'SECONDS':
    case 'LINENO':
    case 'PPID':
      return [['0']];
    default:
      return [
        [/FLAG|OPT|ARG|PARAM|SWITCH/i.test(name) ? FLAGS : index === '@' || index === '*' ? WORDS : SOME],
      ];
  }
}

function parameter(part: ParameterExpansionPart, scope: Scope, substitution: Substitution): Alternatives {
  const { parameter: name, prefix, operation } = part;
  if (prefix === '#') return [['0']];
  const index = part.index === undefined ? undefined : expandText(part.index, scope, substitution)[0];
  let values = variable(name, scope, index);
  if (prefix === '!') {
    if (operation?.type === 'Names' || index !== undefined) return [[SOME]];
    values = values.flatMap((words) => variable(words[0] ?? '', scope, undefined));
  }
  if (operation === undefined) return values;
  const isKnown = scope.vars.has(name) || (scope.params !== undefined && /^([1-9][0-9]*|[@*])$/.test(name));
  const operand = (word: Word | undefined): string | undefined =>
    word === undefined ? undefined : expandText(word, scope, substitution)[0];
  const mapped = (change: (text: string) => string): Alternatives => values.map((words) => words.map(change));
  switch (operation.type) {
    case 'Default': {
      const other = expandText(operation.operand, scope, substitution).map((text) => [text]);
      if (operation.operator.endsWith('+'))
        return isKnown
          ? values.flatMap((words) => (words.join('') === '' ? [['']] : other))
          : [[''], ...other];
      if (operation.operator.endsWith('?')) return values;
      const filled = isKnown
        ? values.flatMap((words) => (words.join('') === '' ? other : [words]))
        : [...values, ...other];
      if (operation.operator.endsWith('=') && isKnown) scope.assign(name, filled);
      return limited(filled);
    }
    case 'Remove': {
      const pattern = operand(operation.operand) ?? '';
      return mapped((text) => removed(text, pattern, operation.operator));
    }
    case 'Replace': {
      const pattern = operand(operation.pattern) ?? '';
      const by = operand(operation.replacement) ?? '';
      if (/[*?[]/.test(pattern)) return [[SOME]];
      if (pattern === '') return values;
      return mapped((text) => {
        // Paid before it is made.
        substitution.spend(text.length * Math.max(1, by.length / pattern.length));
        return operation.operator === '//' ? text.replaceAll(pattern, by) : text.replace(pattern, by);
      });
    }
    case 'CaseModification':
      return mapped((text) => {
        const change = (one: string): string =>
          operation.operator.startsWith('^') ? one.toUpperCase() : one.toLowerCase();
        return operation.operator.length === 2 ? change(text) : change(text.charAt(0)) + text.slice(1);
      });
    case 'Slice': {
      const from = Number(operand(operation.offset)?.trim());
      const length = operation.length === undefined ? undefined : Number(operand(operation.length)?.trim());
      if (!Number.isInteger(from) || (length !== undefined && !Number.isInteger(length))) return [[SOME]];
      if (name === '@' || name === '*' || index === '@' || index === '*') {
        if (!isKnown) return values;
        const start = name === '@' || name === '*' ? Math.max(from - 1, 0) : from;
        return values.map((words) => words.slice(start, length === undefined ? undefined : start + length));
      }
      return mapped((text) => text.slice(from, length === undefined ? undefined : from + length));
    }
    case 'Transform':
    case 'Names':
    case 'Unknown':
      return [[SOME]];
  }
}

function removed(text: string, pattern: string, operator: string): string {
  const front = operator.startsWith('#');
  if (!/[*?[]/.test(pattern)) {
    if (front) return text.startsWith(pattern) ? text.slice(pattern.length) : text;
    return text.endsWith(pattern) ? text.slice(0, text.length - pattern.length) : text;
  }
  // `${0%/*}`, `${path##*/}`: one star, at the end that stays open.
  const fixed = front ? /^\*([^*?[\\]+)$/.exec(pattern)?.[1] : /^([^*?[\\]+)\*$/.exec(pattern)?.[1];
  if (fixed === undefined || isUnknown(text) || isUnknown(fixed)) return SOME;
  const at = operator === '#' || operator === '%%' ? text.indexOf(fixed) : text.lastIndexOf(fixed);
  if (at === -1) return text;
  return front ? text.slice(at + fixed.length) : text.slice(0, at);
}

/** Braces make several words before anything else is expanded: `-{v,t1}`, `{docker,compose}`. */
function braces(parts: readonly WordPart[], substitution: Substitution, depth = 0): WordPart[][] {
  if (depth > deepestBraces) throw new Exhausted();
  if (parts.filter((part) => part.type === 'BraceExpansion').length > mostBraces) throw new Exhausted();
  let found: WordPart[][] = [[]];
  for (const part of parts) {
    if (part.type !== 'BraceExpansion') {
      for (const variant of found) variant.push(part);
      continue;
    }
    const elements = braceElements(part.text, substitution, depth);
    substitution.spend(partCost * found.length * elements.length);
    found = found
      .flatMap((variant) => elements.map((element) => [...variant, ...element]))
      .slice(0, mostWords);
  }
  return found;
}

function braceElements(text: string, substitution: Substitution, depth: number): WordPart[][] {
  substitution.spend(4 * text.length);
  const inner = text.slice(1, -1);
  const range = /^(-?\d+|[a-zA-Z])\.\.(-?\d+|[a-zA-Z])(\.\.-?\d+)?$/.exec(inner);
  const pieces = range === null ? splitBraces(inner) : ranged(range[1] ?? '', range[2] ?? '');
  return pieces.flatMap((piece) => {
    if (piece === '') return [[]];
    if (/^[\w./:=@,+-]+$/.test(piece)) return [[literal(piece)]];
    const statement = parse(`: ${piece}`).commands[0]?.command;
    const word = statement?.type === 'Command' ? statement.args[0] : undefined;
    if (word?.type !== 'Word') return [[literal(piece)]];
    return word.parts === undefined ? [[literal(word.value)]] : braces(word.parts, substitution, depth + 1);
  });
}

function literal(value: string): WordPart {
  return { type: 'Literal', pos: 0, end: 0, value, text: value };
}

function splitBraces(text: string): string[] {
  const pieces = [''];
  let depth = 0;
  let quote = '';
  for (let index = 0; index < text.length; index += 1) {
    const letter = text.charAt(index);
    if (quote === '' && letter === ',' && depth === 0) {
      pieces.push('');
      continue;
    }
    if (letter === '\\') {
      pieces.push(`${pieces.pop() ?? ''}${letter}${text.charAt(index + 1)}`);
      index += 1;
      continue;
    }
    if (quote !== '') quote = letter === quote ? '' : quote;
    else if (letter === '"' || letter === "'") quote = letter;
    else if (letter === '{') depth += 1;
    else if (letter === '}') depth -= 1;
    pieces.push(`${pieces.pop() ?? ''}${letter}`);
  }
  return pieces;
}

function ranged(from: string, to: string): string[] {
  const isNumber = /\d/.test(from) && /\d/.test(to);
  const [first, last] = isNumber ? [Number(from), Number(to)] : [from.charCodeAt(0), to.charCodeAt(0)];
  const step = first <= last ? 1 : -1;
  const count = Math.min(Math.abs(last - first) + 1, mostWords);
  return Array.from({ length: count }, (_, index) => {
    const value = first + index * step;
    return isNumber ? String(value) : String.fromCharCode(value);
  });
}
