import {
  forEachChild,
  parse,
  type Case,
  type CaseItem,
  type Command,
  type CommandNode,
  type Redirection,
  type Statement,
  type SyntaxNode,
  type Word,
  type WordPart,
} from 'unbash';
import { matches, resolvePath } from './data-paths.ts';
import { expandText, expandWord, product, texts, type Substitution } from './expand.ts';
import { commandNames, runCommand } from './command.ts';
import type { Container, Draft, Invocation, Machine, Route } from './invocation.ts';
import { rules } from './rules.ts';
import { Exhausted, limited, Names, Scope, type Alternatives } from './scope.ts';
import { isUnknown, known, SOME, unquoted, visible, WORDS } from './unknown.ts';
import type { Finding, Hint, Judgement, Span, Suspect } from './verdict.ts';
import { asWord, shownWords } from './words.ts';

export { asWord } from './words.ts';

/** What may be known of the place where the text would run. All of it may be missing. */
export interface Surroundings {
  cwd?: string;
  /** The text of a file, to see what a script, a Makefile or a package.json runs. Never throws. */
  read?: (path: string) => string | undefined;
  /** Where a path leads once links are followed; undefined if it leads nowhere. Never throws. */
  real?: (path: string) => string | undefined;
  /** Bind mounts that hold data, as absolute paths. */
  dataPaths?: readonly string[];
  /** How many times as much work as usual it may take: more than 1 where nobody waits for the verdict. */
  patience?: number;
}

/** More than this is not read; nobody types it. */
export const longestText = 64 * 1024;
const mostCommands = 6000;
/**
 * Characters that are read and copied, all in all: what bounds the time that a verdict takes. A text within a text is read
 * again, and so is a variable that grows.
 */
export const mostWork = 7 * longestText;
/** A command and a word cost more than their letters: in characters, what takes as long as to read so many. */
const commandCost = 80;
const wordCost = 50;
/** So does what ends one, while it is parsed. */
const endCost = 6;
/** Of a substitution, the parser looks for the end, and reads what is within once more: for each that is within another. */
const rereadingCost = 4;
/** Texts within the text: what `sh -c`, eval and their like are given. */
const mostTexts = 500;
const deepest = 24;
/** How often a file is followed within itself: a script may call itself. */
const mostWithin = 2;
/** Places of which others are asked whether there is data, in one text. */
const mostSuspects = 64;
/** So much cheaper than a text that is run is one that is only read. */
const readShare = 8;

/** Names that make a text worth a refusal when it cannot be read. */
const engineWord = /docker|podman|nerdctl|colima/i;

/** Whether an engine's command may be in a text, written with or without quotes inside. */
function mentionsEngine(text: string): boolean {
  return engineWord.test(text) || engineWord.test(text.replace(/\\\n|["'\\]/g, ''));
}

interface Frame {
  scope: Scope;
  /** Where the text comes from, if it is not the judged text itself. */
  fixed: Span | undefined;
  depth: number;
  guess: boolean;
  inside: Container | undefined;
  route: Route;
}

/** Variables that take docker's commands to another engine. */
const aiming = [
  'DOCKER_HOST',
  'DOCKER_CONTEXT',
  'DOCKER_CONFIG',
  'DOCKER_CERT_PATH',
  'DOCKER_TLS_VERIFY',
  'CONTAINER_HOST',
  'HOME',
];

const rereading = new Set([
  'CommandExpansion',
  'ProcessSubstitution',
  'ArithmeticCommand',
  'ArithmeticCommandExpansion',
  'ArithmeticExpansion',
  'ParameterExpansion',
  'DoubleQuoted',
]);

/** What may end a command, or begin one. */
const ending = /[;&|()\n]/g;

const declaring = new Set(['export', 'declare', 'local', 'readonly', 'typeset']);

/** Walks through shell text as the shell would, and has every command judged. */
class Shell implements Machine {
  readonly findings: Finding[] = [];
  readonly hints: Hint[] = [];
  readonly suspects: Suspect[] = [];
  readonly #surroundings: Surroundings;
  readonly #patience: number;
  readonly #seen = new Set<string>();
  readonly #places = new Map<string, number>();
  readonly #contents = new Map<string, string | undefined>();
  /** Files that are followed, each within the one before. */
  readonly #following: { path: string; depth: number }[] = [];
  #mentions = false;
  #commands = 0;
  #work = 0;
  #texts = 0;
  #substitutions = 0;
  #loops = 0;
  /** Commands of which nobody knows the name. */
  #unknown = 0;

  constructor(surroundings: Surroundings) {
    this.#surroundings = surroundings;
    this.#patience = surroundings.patience ?? 1;
  }

  /** Whether a file that was read mentions an engine. */
  get mentions(): boolean {
    return this.#mentions;
  }

  /** How many characters were read and copied. */
  get work(): number {
    return this.#work;
  }

  #spend(characters: number): void {
    this.#work += characters;
    if (this.#work > mostWork * this.#patience) throw new Exhausted();
  }

  /** The judged text itself. */
  judge(text: string): void {
    const scope = new Scope();
    scope.cwd = this.#surroundings.cwd;
    scope.binds.push(...(this.#surroundings.dataPaths ?? []));
    const route: Route = { elsewhere: [], through: [] };
    const frame: Frame = { scope, fixed: undefined, depth: 0, guess: false, inside: undefined, route };
    this.#text(text, frame, undefined);
  }

  /** `child`: it has a shell of its own, which ends with it. */
  #text(text: string, frame: Frame, stdin: string | undefined, child = false): string {
    const all = frame.fixed ?? { start: 0, end: text.length };
    if (text.length > longestText || frame.depth > deepest) {
      if (mentionsEngine(text)) this.#unreadable(all, text, frame);
      return SOME;
    }
    this.#texts += 1;
    if (this.#texts > mostTexts * this.#patience) throw new Exhausted();
    this.#spend(text.length + endCost * (text.match(ending)?.length ?? 0));
    // The parser looks for the end of each heredoc, and through all of them.
    const heredocs = text.split('<<').length - 1;
    this.#spend(Math.min((heredocs * heredocs) / 8, mostWork * this.#patience));
    // The parser reads it once for each level, up to hundreds of them, as soon as it is asked for a word's parts.
    if (deepestExpansion(text) > deepest) throw new Exhausted();
    const script = parse(text);
    const before = this.#unknown;
    const output = this.#block(script.commands, frame, stdin);
    const problem = script.errors?.[0];
    if (problem !== undefined && mentionsEngine(text))
      this.#unreadable(frame.fixed ?? { start: problem.pos, end: text.length }, text, frame);
    // What a child shell does not call, nobody calls any more.
    if (!child || this.#unknown > before) this.#leftOvers(frame);
    return output;
  }

  #unreadable(at: Span, text: string, frame: Frame): void {
    if (frame.guess) return;
    this.#add({
      rule: 'unreadable',
      command: visible(text.trim().slice(0, 200)),
      at,
      loses: rules.unreadable.loses,
      instead: rules.unreadable.instead,
    });
  }

  /** Functions that nobody called may still be called by what comes later. */
  #leftOvers(frame: Frame): void {
    for (const [, defined] of frame.scope.functions) {
      this.#spend(1);
      if (defined.called) continue;
      defined.called = true;
      const scope = new Scope(frame.scope);
      scope.params = undefined;
      this.#node(
        defined.body,
        { ...frame, scope, fixed: defined.isOurs ? undefined : frame.fixed },
        undefined,
      );
    }
  }

  #block(statements: readonly Statement[], frame: Frame, stdin: string | undefined): string {
    let output = '';
    for (const statement of statements) {
      output += this.#node(statement.command, frame, stdin);
      if (output.length > longestText) throw new Exhausted();
    }
    return output;
  }

  /** Something that may or may not happen: afterwards, a variable may hold what it held before, or what it was given. */
  #maybe<T>({ scope }: Frame, run: () => T): T {
    const { result, before } = scope.vars.changes(run);
    for (const [name, old] of before) {
      const values = scope.vars.get(name);
      if (values !== undefined && values !== old)
        scope.vars.set(name, limited([...(old ?? [['']]), ...values]));
    }
    return result;
  }

  #node(
    node: CommandNode | Statement['command'] | SyntaxNode,
    frame: Frame,
    stdin: string | undefined,
  ): string {
    switch (node.type) {
      case 'Statement':
        return this.#node(node.command, frame, stdin);
      case 'CompoundList':
      case 'Script':
        return this.#block(node.commands, frame, stdin);
      case 'Command':
        return this.#command(node, frame, stdin);
      case 'AndOr': {
        // `cd x && docker …` counts as one after the other; what follows `||` may or may not run.
        const [first, ...rest] = node.commands;
        const output = first === undefined ? '' : this.#node(first, frame, stdin);
        return this.#maybe(frame, () =>
          rest.reduce((before, part, index) => {
            const run = (): string => this.#node(part, frame, stdin);
            return before + (node.operators[index] === '||' ? this.#maybe(frame, run) : run());
          }, output),
        );
      }
      case 'Pipeline': {
        let input = stdin;
        const alone = node.commands.length === 1;
        for (const part of node.commands)
          input = this.#node(part, alone ? frame : { ...frame, scope: new Scope(frame.scope) }, input);
        return input ?? '';
      }
      case 'If':
        return [
          this.#block(node.clause.commands, frame, stdin),
          ...[node.then, ...node.elif.flatMap((branch) => [branch.clause, branch.then]), node.else].map(
            (branch) =>
              branch === undefined
                ? ''
                : this.#maybe(frame, () => this.#block(branch.commands, frame, stdin)),
          ),
        ].join('');
      case 'For':
      case 'Select': {
        const values =
          node.wordlist === undefined
            ? frame.scope.params
            : node.wordlist.flatMap((word) => this.#expand(word, frame).flat());
        frame.scope.vars.set(
          node.name.value,
          values === undefined ? [[SOME]] : limited(values.map((value) => [value.replaceAll(WORDS, SOME)])),
        );
        return this.#twice(frame, () => this.#block(node.body.commands, frame, stdin));
      }
      case 'While':
        return this.#twice(
          frame,
          () =>
            this.#block(node.clause.commands, frame, stdin) + this.#block(node.body.commands, frame, stdin),
        );
      case 'ArithmeticFor':
        this.#substituted(node.initialize, frame);
        this.#substituted(node.test, frame);
        this.#substituted(node.update, frame);
        return this.#twice(frame, () => this.#block(node.body.commands, frame, stdin));
      case 'Case':
        return this.#chosen(node, frame)
          .map((item) => this.#maybe(frame, () => this.#block(item.body.commands, frame, stdin)))
          .join('');
      case 'Subshell':
        return this.#block(node.body.commands, { ...frame, scope: new Scope(frame.scope) }, stdin);
      case 'BraceGroup':
        return this.#block(node.body.commands, frame, stdin);
      case 'Function':
        frame.scope.functions.set(node.name.value, {
          body: node.body,
          isOurs: frame.fixed === undefined,
          called: false,
          running: new Set(),
        });
        return '';
      case 'Coproc':
        return this.#node(node.body, frame, stdin);
      case 'Redirected': {
        const redirected = this.#redirects(node.redirects, frame, stdin);
        const output = this.#node(node.command, frame, redirected.stdin);
        return this.#written(output, redirected.files, frame);
      }
      default:
        this.#substituted(node, frame);
        return '';
    }
  }

  /**
   * The branches of a `case` that may run: all of them, unless its word is one that the script was called with, and is known.
   * In a loop it is not, as only the first turns are looked at.
   */
  #chosen(node: Case, frame: Frame): readonly CaseItem[] {
    const [words, ...others] = this.#expand(node.word, frame);
    const word = words?.length === 1 ? unquoted(words[0] ?? '') : undefined;
    if (word === undefined || others.length > 0 || isUnknown(word) || this.#loops > 0) return node.items;
    if (frame.scope.params?.includes(word) !== true && !isParameter(node.word, frame.scope))
      return node.items;
    // It may as well be a number that is not known here: `$?`, `$#`.
    if (/^[0-9]+$/.test(word)) return node.items;
    const found: CaseItem[] = [];
    for (const item of node.items) {
      const fits = item.pattern.map((pattern) => this.#fits(pattern, word, frame));
      if (!fits.some((fit) => fit !== false)) continue;
      found.push(item);
      // `;&` goes on with the next one.
      if (item.terminator !== undefined && item.terminator !== ';;') return node.items;
      if (fits.includes(true)) break;
    }
    return found;
  }

  /** Whether a word fits a pattern of a `case`; undefined: that is not certain. */
  #fits(pattern: Word, word: string, frame: Frame): boolean | undefined {
    const [texts, ...others] = this.#expand(pattern, frame);
    const text = texts?.length === 1 ? texts[0] : undefined;
    if (text === undefined || others.length > 0 || isUnknown(text)) return undefined;
    if (text === '*') return true;
    return /[*?[\\(]/.test(text) ? undefined : text === word;
  }

  /** What a loop sets at its end counts at its beginning, too. */
  #twice(frame: Frame, run: () => string): string {
    this.#loops += 1;
    try {
      // Not for loops in loops in loops: that doubles each time.
      return this.#maybe(frame, () => (this.#loops > 3 ? run() : run() + run()));
    } finally {
      this.#loops -= 1;
    }
  }

  /** Runs the substitutions in places whose value does not matter: tests, arithmetic. */
  #substituted(node: SyntaxNode | undefined, frame: Frame): void {
    if (node === undefined) return;
    // The parser reads what is in there when it is asked for: each level once more.
    if (rereading.has(node.type)) this.#spend(rereadingCost * (node.end - node.pos));
    if (
      node.type === 'CommandExpansion' ||
      node.type === 'ProcessSubstitution' ||
      node.type === 'ArithmeticCommandExpansion'
    ) {
      if (node.script !== undefined)
        this.#block(node.script.commands, { ...frame, scope: new Scope(frame.scope) }, undefined);
      return;
    }
    forEachChild(node, (child) => {
      this.#substituted(child, frame);
    });
  }

  #substitution(frame: Frame): Substitution {
    const inner = (part: WordPart): string[] => {
      const script =
        part.type === 'CommandExpansion' || part.type === 'ProcessSubstitution' ? part.script : undefined;
      if (script === undefined) {
        this.#substituted(part, frame);
        return [SOME];
      }
      this.#spend(rereadingCost * (part.end - part.pos) + commandCost);
      const at = { start: part.pos, end: part.end };
      // Positions in a script between escaped backticks are its own.
      const below: Frame = {
        ...frame,
        scope: new Scope(frame.scope),
        depth: frame.depth + 1,
        fixed: frame.fixed ?? (script.source === undefined ? undefined : at),
      };
      if (below.depth > deepest) throw new Exhausted();
      const only = script.commands.length === 1 ? script.commands[0]?.command : undefined;
      // `$(< file)` prints the file.
      if (only?.type === 'Command' && only.name === undefined && only.redirects.length === 1)
        return [this.#redirects(only.redirects, below, undefined).stdin ?? SOME];
      const output = this.#block(script.commands, below, undefined);
      if (script.errors !== undefined && mentionsEngine(part.text)) this.#unreadable(at, part.text, below);
      // `$(command -v docker-compose || echo docker compose)` is one of its lines.
      const lines = mayDiffer(script.commands) ? output.split('\n').filter((line) => line !== '') : [];
      return [...new Set([output, ...lines])];
    };
    return {
      spend: (characters) => {
        this.#spend(characters);
      },
      output: inner,
      path: (part) => {
        this.#substitutions += 1;
        const path = `/dev/fd/guard-${this.#substitutions}`;
        frame.scope.files.set(path, inner(part)[0] ?? '');
        return path;
      },
    };
  }

  #expand(word: Word, frame: Frame): Alternatives {
    return expandWord(word, frame.scope, this.#substitution(frame));
  }

  #textOf(word: Pick<Word, 'value' | 'parts'>, frame: Frame): readonly string[] {
    return expandText(word, frame.scope, this.#substitution(frame));
  }

  #command(node: Command, frame: Frame, stdin: string | undefined): string {
    const { scope } = frame;
    const env = new Map<string, string>();
    for (const part of node.prefix) {
      if (part.type !== 'Assignment') continue;
      this.#spend(wordCost);
      const values = this.#assigned(part.value, frame, part.append === true ? part.name : undefined);
      if (node.name === undefined)
        scope.assign(
          part.name,
          part.index === undefined ? values : this.#withElement(part.name, part.index, values, frame),
        );
      else env.set(part.name, values.length === 1 ? (values[0]?.join(' ') ?? '') : SOME);
    }
    const redirected = this.#redirects(node.redirects, frame, stdin);
    if (node.name === undefined) return this.#written('', redirected.files, frame);

    const declares = declaring.has(node.name.value);
    const lists: Alternatives[] = [];
    // Paid as it grows: what is too much should not be made first.
    const add = (list: Alternatives): void => {
      for (const one of list) this.#spend(wordCost * one.length);
      lists.push(list);
    };
    add(this.#expand(node.name, frame));
    for (const arg of node.args) {
      if (arg.type === 'Word') {
        const words = this.#expand(arg, frame);
        // `export $(cat .env)`
        if (declares && words.flat().some(isUnknown)) this.#mayAim(scope);
        add(words);
      } else if (declares)
        scope.assign(arg.name, this.#assigned(arg.value, frame, arg.append === true ? arg.name : undefined));
      else {
        const values = this.#assigned(arg.value, frame, undefined);
        add(values.map((value) => [`${arg.name}=${value.join(' ')}`]));
      }
    }
    const words = product(lists);
    const at = frame.fixed ?? { start: node.pos, end: node.end };
    const run = (): string[] =>
      words.map((one) =>
        this.run({
          words: one,
          stdin: redirected.stdin,
          env,
          cwd: scope.cwd,
          inside: frame.inside,
          route: frame.route,
          guess: frame.guess,
          at,
          depth: frame.depth,
          scope,
        }),
      );
    const outputs = words.length > 1 ? this.#maybe(frame, run) : run();
    return this.#written(outputs.join(''), redirected.files, frame);
  }

  /** `NAME[2]=value`. An element that nobody can tell makes all of it unknown. */
  #withElement(name: string, index: Word, values: Alternatives, frame: Frame): Alternatives {
    const at = Number(this.#textOf(index, frame)[0]);
    const before = frame.scope.vars.get(name) ?? [[]];
    if (!Number.isInteger(at) || at < 0 || at > 100) return [[WORDS]];
    return limited(
      before.flatMap((words) =>
        values.map((value) =>
          Array.from({ length: Math.max(words.length, at + 1) }, (_, place) =>
            place === at ? value.join(' ') : (words[place] ?? ''),
          ),
        ),
      ),
    );
  }

  #assigned(
    value: Word | { type: 'ArrayValue'; elements: readonly Word[] },
    frame: Frame,
    appendTo: string | undefined,
  ): Alternatives {
    const before = appendTo === undefined ? undefined : (frame.scope.vars.get(appendTo) ?? [[]]);
    for (const words of before ?? []) for (const word of words) this.#spend(word.length + 1);
    if (value.type === 'ArrayValue') {
      return product([before ?? [[]], ...value.elements.map((element) => this.#expand(element, frame))]);
    }
    const values = this.#textOf(value, frame).map((text) => [text]);
    if (before === undefined) return values;
    return limited(
      before.flatMap((words) => values.map(([text = '']) => [`${words[0] ?? ''}${text}`, ...words.slice(1)])),
    );
  }

  /** What a command's redirections give it to read, and the files that get what it prints. */
  #redirects(
    redirects: readonly Redirection[],
    frame: Frame,
    before: string | undefined,
  ): { stdin: string | undefined; files: { path: string; append: boolean }[] } {
    let stdin = before;
    const files: { path: string; append: boolean }[] = [];
    for (const redirect of redirects) {
      this.#spend(wordCost);
      const of = descriptorOf(redirect);
      if (redirect.type === 'HereDoc') {
        if (of !== 0) continue;
        const { parts, text } = redirect.body;
        const quoted = redirect.delimiter?.quoted === true;
        stdin =
          quoted || parts === undefined
            ? text
            : (texts(parts, frame.scope, this.#substitution(frame))[0] ?? text);
        continue;
      }
      const target = redirect.target === undefined ? '' : (this.#textOf(redirect.target, frame)[0] ?? '');
      if (redirect.type === 'HereString') stdin = of === 0 ? `${target}\n` : stdin;
      else if (redirect.operator === '<' && of === 0) {
        const path = resolvePath(target, frame.scope.cwd);
        stdin = frame.scope.files.get(path) ?? frame.scope.files.get(target) ?? `\uE000file:${path}\uE000`;
      } else if (/^(>|>>|>\||&>|&>>)$/.test(redirect.operator) && of === 1)
        files.push({ path: resolvePath(target, frame.scope.cwd), append: redirect.operator.endsWith('>>') });
    }
    return { stdin, files };
  }

  #written(output: string, files: { path: string; append: boolean }[], frame: Frame): string {
    for (const { path, append } of files) {
      const before = append ? (frame.scope.files.get(path) ?? '') : '';
      this.#spend(before.length + output.length);
      frame.scope.files.set(path, (before + output).slice(0, longestText + 1));
    }
    return files.length > 0 ? '' : output;
  }

  run(invocation: Invocation, bare = false): string {
    this.#commands += 1;
    if (this.#commands > mostCommands * this.#patience) throw new Exhausted();
    if (invocation.depth > deepest) throw new Exhausted();
    const [first, ...rest] = invocation.words;
    if (first === undefined) return '';
    this.#spend(commandCost);
    if (isUnknown(first)) this.#unknown += 1;
    for (const word of invocation.words) this.#spend(word.length + 4);
    const deeper = { ...invocation, depth: invocation.depth + 1 };
    const scope = invocation.scope as Scope;

    // `command docker` in a function called docker.
    const meant = first === 'command' || first === 'builtin' ? rest.filter((word) => word !== '-p') : [];
    if (meant[0] !== undefined && scope.functions.get(meant[0]) !== undefined)
      return this.run({ ...deeper, words: meant }, true);
    const alias = bare ? undefined : scope.aliases.get(first);
    if (alias !== undefined && !alias.used) {
      alias.used = true;
      const output = this.script([alias.text, ...rest.map(asWord)].join(' '), invocation);
      alias.used = false;
      return output;
    }
    const defined = bare ? undefined : scope.functions.get(first);
    const call = rest.join('\0');
    // One that calls itself with the same words does nothing that was not seen.
    if (defined?.running.has(call) === true) return SOME;
    if (defined !== undefined) {
      defined.called = true;
      defined.running.add(call);
      const inner = new Scope(scope);
      inner.params = rest;
      const frame: Frame = {
        scope: inner,
        fixed: defined.isOurs ? undefined : invocation.at,
        depth: invocation.depth + 1,
        guess: invocation.guess,
        inside: invocation.inside,
        route: invocation.route,
      };
      // `DOCKER_HOST=… work`
      for (const [variable, value] of invocation.env) inner.assign(variable, [[value]]);
      const output = this.#node(defined.body, frame, invocation.stdin);
      defined.running.delete(call);
      for (const [name, value] of inner.vars.own())
        if (!invocation.env.has(name)) scope.vars.set(name, value);
      scope.cwd = inner.cwd;
      return output;
    }
    const builtin = this.#builtin(first, rest, invocation, scope);
    if (builtin !== undefined) return builtin;
    const names = /[*?[]/.test(first)
      ? commandNames.filter((name) => matches(first.split('/').at(-1) ?? '', name))
      : [];
    for (const name of names) this.run({ ...deeper, words: [name, ...rest] });
    return names.length > 0 ? SOME : runCommand(deeper, this);
  }

  /** What changes the shell itself. Undefined: not one of those. */
  #builtin(name: string, words: readonly string[], invocation: Invocation, scope: Scope): string | undefined {
    const frame: Frame = {
      scope,
      fixed: invocation.at,
      depth: invocation.depth + 1,
      guess: invocation.guess,
      inside: invocation.inside,
      route: invocation.route,
    };
    switch (name) {
      case 'cd':
      case 'pushd': {
        const target = words.find((word) => !/^-[LPe@]+$/.test(word) && word !== '--') ?? '~';
        this.#spend(scope.cwd?.length ?? 0);
        scope.cwd = target === '-' ? undefined : resolvePath(target, scope.cwd);
        return '';
      }
      case 'popd':
        scope.cwd = undefined;
        return '';
      case 'eval':
        if (words.some(isUnknown)) this.#mayAim(scope);
        return this.#text(
          words.filter((word, index) => index > 0 || word !== '--').join(' '),
          frame,
          invocation.stdin,
        );
      case 'source':
      case '.': {
        const isInput = ['/dev/stdin', '/dev/fd/0', '/proc/self/fd/0'].includes(words[0] ?? '');
        const text = isInput ? invocation.stdin : this.file(words[0] ?? '', invocation);
        if (text === undefined) this.#mayAim(scope);
        if (text === undefined) return '';
        // Words behind the file are its own parameters, for as long as it runs.
        const { params } = scope;
        if (words.length > 1) scope.params = words.slice(1);
        const before = scope.vars.get('BASH_SOURCE');
        if (!isInput) scope.vars.set('BASH_SOURCE', [[resolvePath(words[0] ?? '', scope.cwd)]]);
        const output = this.#text(text, frame, invocation.stdin);
        if (before !== undefined) scope.vars.set('BASH_SOURCE', before);
        if (words.length > 1) scope.params = params;
        return output;
      }
      case 'set': {
        const at = words.findIndex((word) => word === '--' || !/^[-+]/.test(word));
        if (at === -1 || words[at - 1] === '-o') return '';
        scope.params = words.slice(words[at] === '--' ? at + 1 : at);
        return '';
      }
      case 'shift':
        scope.params = scope.params?.slice(Number(words[0] ?? 1) || 1);
        return '';
      case 'unset':
        for (const word of words) scope.vars.set(word, [['']]);
        return '';
      case 'read':
      case 'mapfile':
      case 'readarray':
        this.#read(name, words, invocation.stdin, scope);
        return '';
      case 'printf':
        if (words[0] !== '-v') return undefined;
        scope.assign(words[1] ?? '', [
          [runCommand({ ...invocation, words: ['printf', ...words.slice(2)] }, this)],
        ]);
        return '';
      case 'trap': {
        const [text = '', ...signals] = words[0] === '--' ? words.slice(1) : words;
        return signals.length > 0 && !text.startsWith('-')
          ? this.#text(text, { ...frame, scope: new Scope(scope) }, undefined)
          : '';
      }
      case 'alias':
        for (const word of words) {
          const [short = '', ...text] = word.split('=');
          if (text.length > 0) scope.aliases.set(short, { text: text.join('='), used: false });
        }
        return '';
      default:
        return undefined;
    }
  }

  /** What nobody can see here may say where the engine is. */
  #mayAim(scope: Scope): void {
    scope.assign('DOCKER_HOST', [[SOME]]);
  }

  #read(name: string, words: readonly string[], stdin: string | undefined, scope: Scope): void {
    const takes = name === 'read' ? /^-[a-zA-Z]*[pdnNtuia]$/ : /^-[a-zA-Z]*[dnOstuCc]$/;
    const names: string[] = [];
    for (let index = 0; index < words.length; index += 1) {
      const word = words[index] ?? '';
      if (takes.test(word) && !(name === 'read' && /^-[a-zA-Z]*a$/.test(word))) index += 1;
      else if (!word.startsWith('-')) names.push(word);
    }
    if (name !== 'read') {
      const lines = stdin?.split('\n').filter((line) => line !== '');
      scope.vars.set(names[0] ?? 'MAPFILE', [lines ?? [WORDS]]);
      return;
    }
    const lines =
      stdin === undefined || stdin.startsWith(SOME) ? undefined : stdin.split('\n').filter(Boolean);
    const isArray = words.some((word) => /^-[a-zA-Z]*a$/.test(word));
    for (const [index, variable] of names.entries()) {
      const values = lines?.map((line) => {
        const fields = line.trim().split(/\s+/);
        if (isArray) return fields;
        return [index === names.length - 1 ? fields.slice(index).join(' ') : (fields[index] ?? '')];
      });
      scope.vars.set(variable, values === undefined || values.length === 0 ? [[SOME]] : limited(values));
    }
    if (names.length === 0) scope.vars.set('REPLY', [[SOME]]);
  }

  script(text: string, invocation: Invocation, params: readonly string[] = [], self?: string): string {
    const scope = new Scope(invocation.scope as Scope);
    scope.params = params;
    scope.cwd = invocation.cwd;
    if (self !== undefined) for (const name of ['0', 'BASH_SOURCE']) scope.vars.set(name, [[self]]);
    for (const [name, value] of invocation.env) scope.vars.set(name, [[value]]);
    // What a child shell is given by name only.
    scope.aliases = new Names();
    return this.#text(
      unquotedText(text),
      {
        scope,
        fixed: invocation.at,
        depth: invocation.depth + 1,
        guess: invocation.guess,
        inside: invocation.inside,
        route: invocation.route,
      },
      invocation.stdin,
      true,
    );
  }

  file(path: string, invocation: Invocation): string | undefined {
    const full = resolvePath(path, invocation.cwd);
    const written = this.writtenFile(path, invocation);
    if (written !== undefined) return written;
    if (invocation.inside !== undefined) return undefined;
    // What was read as deep as this, or deeper, has come to its end.
    while ((this.#following.at(-1)?.depth ?? -1) >= invocation.depth) this.#following.pop();
    if (this.#following.filter((one) => one.path === full).length >= mostWithin) return undefined;
    const text = this.#contentOf(full);
    if (text === undefined) return undefined;
    this.#spend(Math.ceil(text.length / readShare));
    this.#following.push({ path: full, depth: invocation.depth });
    return text;
  }

  real(path: string, invocation: Invocation): string {
    const full = resolvePath(path, invocation.cwd);
    return (invocation.inside === undefined ? this.#surroundings.real?.(full) : undefined) ?? full;
  }

  #contentOf(path: string): string | undefined {
    if (this.#contents.has(path)) return this.#contents.get(path);
    const text = this.#surroundings.read?.(path);
    this.#contents.set(path, text);
    if (text !== undefined && mentionsEngine(text)) this.#mentions = true;
    return text;
  }

  writtenFile(path: string, invocation: Invocation): string | undefined {
    const { files } = invocation.scope as Scope;
    return files.get(path) ?? files.get(resolvePath(path, invocation.cwd));
  }

  write(path: string, text: string, invocation: Invocation): void {
    (invocation.scope as Scope).files.set(resolvePath(path, invocation.cwd), text.slice(0, longestText + 1));
  }

  variable(name: string, invocation: Invocation): string | undefined {
    const own = invocation.env.get(name);
    const values = (invocation.scope as Scope).vars.get(name);
    if (own !== undefined || values === undefined) return own;
    return values.length === 1 ? (values[0] ?? []).join(' ') : SOME;
  }

  assign(name: string, value: string, invocation: Invocation): void {
    (invocation.scope as Scope).assign(name, [[value]]);
  }

  bind(path: string, invocation: Invocation): void {
    const full = resolvePath(path, invocation.cwd);
    const { binds } = invocation.scope as Scope;
    this.#spend(binds.length);
    if (known(full) === full && !binds.includes(full)) binds.push(full);
  }

  binds(invocation: Invocation): readonly string[] {
    const { binds } = invocation.scope as Scope;
    this.#spend(4 * binds.length);
    return binds;
  }

  report(invocation: Invocation, draft: Draft): void {
    if (invocation.guess && draft.rule === 'unknown') return;
    this.#add(this.#findingOf(invocation, draft));
  }

  suspect(invocation: Invocation, about: Omit<Suspect, 'finding' | 'inside'>): void {
    const { inside, route } = invocation;
    // Nobody here knows the files of another machine.
    if (inside === undefined && route.elsewhere.length > 0) return;
    if (inside !== undefined && inside.of === undefined) return;
    const paths = about.paths.slice(0, mostSuspects - this.suspects.length);
    if (paths.length === 0) return;
    for (const path of paths) this.#spend(path.length);
    const rule = inside === undefined ? 'data-path' : 'payload-files';
    this.suspects.push({
      ...about,
      paths,
      finding: this.#findingOf(invocation, { rule }),
      ...(inside?.of === undefined ? {} : { inside: inside.of }),
    });
  }

  #findingOf(invocation: Invocation, draft: Draft): Finding {
    const about = rules[draft.rule];
    this.#spend(2 * commandCost);
    return {
      rule: draft.rule,
      command: shownWords(invocation.words),
      at: invocation.at,
      loses: draft.rule === 'unknown' ? about.loses : (draft.loses ?? about.loses),
      instead: draft.instead ?? about.instead,
      ...(draft.project === undefined ? {} : { project: draft.project }),
      ...(draft.volumes === undefined ? {} : { volumes: draft.volumes }),
      ...(draft.containers === undefined ? {} : { containers: draft.containers }),
      ...(draft.files === undefined || draft.files.length === 0 ? {} : { files: draft.files }),
      ...(draft.anonymous === true ? { anonymous: true } : {}),
      ...(draft.conditional === true ? { conditional: true } : {}),
      ...this.#placeOf(invocation, draft.folder),
    };
  }

  /** Where it would run, and what takes it somewhere else. */
  #placeOf(
    invocation: Invocation,
    folder: string | undefined,
  ): Pick<Finding, 'cwd' | 'folder' | 'elsewhere' | 'through' | 'within'> {
    const { route, guess, words } = invocation;
    const cwd = route.within === undefined ? invocation.cwd : route.cwd;
    const set = aiming.flatMap((name) => {
      const value = this.variable(name, invocation);
      return value === undefined ? [] : [`${name}=${value}`];
    });
    const elsewhere = [...route.elsewhere, ...set].map(visible);
    const through = [...route.through.map(visible), ...(guess ? [shownWords(words)] : [])];
    return {
      ...(cwd === undefined || isUnknown(cwd) ? {} : { cwd }),
      ...(folder === undefined || isUnknown(folder) ? {} : { folder }),
      ...(elsewhere.length === 0 ? {} : { elsewhere }),
      ...(through.length === 0 ? {} : { through }),
      ...(route.within === undefined ? {} : { within: route.within }),
    };
  }

  hint(invocation: Invocation, text: string): void {
    if (invocation.guess) return;
    const hint = {
      command: shownWords(invocation.words),
      at: invocation.at,
      text,
    };
    if (this.#isNew(`hint ${hint.at.start} ${hint.command} ${text}`)) this.hints.push(hint);
  }

  /** The same command at the same place is one finding, also where it runs twice: in a function, in a loop. */
  #add(finding: Finding): void {
    const key = `${finding.rule} ${finding.at.start} ${finding.command}`;
    const at = this.#places.get(key);
    const before = at === undefined ? undefined : this.findings[at];
    if (at !== undefined && before !== undefined) this.findings[at] = joined(before, finding);
    else {
      this.#places.set(key, this.findings.length);
      this.findings.push(finding);
    }
  }

  #isNew(key: string): boolean {
    if (this.#seen.has(key)) return false;
    this.#seen.add(key);
    return true;
  }
}

/** What a redirection is of: 0, standard input; 1, standard output; undefined: something else, such as what is printed as errors. */
function descriptorOf(redirect: Redirection): 0 | 1 | undefined {
  const usual = redirect.type !== 'Redirect' || redirect.operator.startsWith('<') ? 0 : 1;
  const { descriptor } = redirect;
  if (descriptor === undefined) return usual;
  return descriptor.type === 'FileDescriptor' && descriptor.value === usual ? usual : undefined;
}

/** Whether a word is `$1`, `"${1:-help}"` or the like, of a script that is called with known words. */
function isParameter({ parts = [] }: Pick<Word, 'parts'>, { params }: Pick<Scope, 'params'>): boolean {
  const [part, ...more] = parts;
  if (part === undefined || more.length > 0 || params === undefined) return false;
  if (part.type === 'DoubleQuoted') return isParameter(part, { params });
  if (part.type === 'SimpleExpansion') return /^\$[1-9]$/.test(part.text);
  return part.type === 'ParameterExpansion' && /^[1-9]$/.test(part.parameter) && part.prefix === undefined;
}

/** Whether only a part of a script may run: what it prints is then not all that its commands print. */
function mayDiffer(nodes: readonly (Statement | Statement['command'] | SyntaxNode)[]): boolean {
  return nodes.some((node) => {
    switch (node.type) {
      case 'If':
      case 'Case':
        return true;
      case 'AndOr':
        return node.operators.includes('||') || mayDiffer(node.commands);
      case 'Statement':
      case 'Redirected':
        return mayDiffer([node.command]);
      case 'Pipeline':
        return mayDiffer(node.commands.slice(-1));
      case 'Subshell':
      case 'BraceGroup':
        return mayDiffer(node.body.commands);
      default:
        return false;
    }
  });
}

/** One finding for the same command in two places: what is known of only one of them is known of neither. */
function joined(one: Finding, other: Finding): Finding {
  const isSame = (['cwd', 'folder', 'project', 'within'] as const).every((name) => one[name] === other[name]);
  const union = (...lists: (readonly string[] | undefined)[]): string[] => [
    ...new Set(lists.flatMap((list) => list ?? [])),
  ];
  const elsewhere = union(one.elsewhere, other.elsewhere, isSame ? [] : ['more than one place']);
  const through = union(one.through, other.through);
  return {
    ...one,
    ...(elsewhere.length === 0 ? {} : { elsewhere }),
    ...(through.length === 0 ? {} : { through }),
  };
}

/** How deep expansions like `${a:-${b}}` are within each other. */
function deepestExpansion(text: string): number {
  let most = 0;
  let depth = 0;
  for (let at = text.indexOf('${'); at !== -1; at += 1) {
    const letter = text[at];
    if (letter === undefined) break;
    if (letter === '$' && text[at + 1] === '{') most = Math.max(most, (depth += 1));
    else if (letter === '}') depth = Math.max(depth - 1, 0);
  }
  return most;
}

/** In text that a shell reads, what is unknown may be several words. */
function unquotedText(text: string): string {
  return unquoted(text);
}

/**
 * Given shell text, return every destructive command in it. Pure but for what `surroundings.read` reads. Never throws: what
 * cannot be followed to its end is a finding of its own.
 */
export function judge(text: string, surroundings: Surroundings = {}): Judgement {
  const shell = new Shell(surroundings);
  try {
    shell.judge(text);
  } catch (error) {
    // Too long or too deep is only suspicious around an engine's name. Anything else is a bug, and no bug allows anything.
    const tooMuch =
      error instanceof Exhausted || (error instanceof RangeError && error.message.includes('call stack'));
    if (!tooMuch || shell.mentions || mentionsEngine(text)) {
      shell.findings.push({
        rule: 'unreadable',
        command: visible(text.trim().slice(0, 200)),
        at: { start: 0, end: text.length },
        loses: rules.unreadable.loses,
        instead: rules.unreadable.instead,
      });
    }
  }
  // The parser takes a backslash at the very end for two characters.
  const suspected = shell.suspects.map(({ finding }) => finding);
  for (const { at } of [...shell.findings, ...suspected, ...shell.hints]) {
    at.end = Math.min(at.end, text.length);
    at.start = Math.min(at.start, at.end);
  }
  return {
    findings: shell.findings,
    hints: shell.hints,
    ...(shell.suspects.length === 0 ? {} : { suspects: shell.suspects }),
    work: shell.work,
  };
}
