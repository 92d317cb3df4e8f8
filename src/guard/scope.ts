import type { Function as ShellFunction } from 'unbash';
import { WORDS } from './unknown.ts';

/** What a variable may hold: every alternative is a list of words, one for a plain variable. */
export type Alternatives = readonly (readonly string[])[];

/** More alternatives than this are as good as unknown. */
export const mostAlternatives = 12;

/** Thrown and caught within the guard: the text is too much to follow. */
export class Exhausted extends Error {}

export interface DefinedFunction {
  body: ShellFunction['body'];
  /** Whether its positions are in the text that is judged. */
  isOurs: boolean;
  called: boolean;
  /** The words of the calls that are being looked through. */
  running: Set<string>;
}

/** So many shells within each other are looked through one by one. */
const mostLayers = 16;

/**
 * What has a name in a shell: what it has set itself, above what it was given. A subshell costs nothing that way, and a script
 * may have thousands. What is below must not change before what is above is done with.
 */
export class Names<T> {
  readonly #own: Map<string, T>;
  readonly #given: Names<T> | undefined;
  readonly #layers: number;
  /** What names meant before they were set, since `changes` was called; the last one called is the last. */
  readonly #before: Map<string, T | undefined>[] = [];

  constructor(given?: Names<T>) {
    const isDeep = given !== undefined && given.#layers >= mostLayers;
    this.#own = isDeep ? new Map(given) : new Map<string, T>();
    this.#given = isDeep ? undefined : given;
    this.#layers = this.#given === undefined ? 1 : this.#given.#layers + 1;
  }

  get(name: string): T | undefined {
    return this.#own.get(name) ?? this.#given?.get(name);
  }

  has(name: string): boolean {
    return this.#own.has(name) || this.#given?.has(name) === true;
  }

  set(name: string, value: T): void {
    const before = this.#before.at(-1);
    if (before !== undefined && !before.has(name)) before.set(name, this.get(name));
    this.#own.set(name, value);
  }

  /** Runs something. `before` is what each name that was set meanwhile meant before. */
  changes<R>(run: () => R): { result: R; before: ReadonlyMap<string, T | undefined> } {
    const before = new Map<string, T | undefined>();
    this.#before.push(before);
    const result = run();
    this.#before.pop();
    const outer = this.#before.at(-1);
    if (outer !== undefined) for (const [name, value] of before) if (!outer.has(name)) outer.set(name, value);
    return { result, before };
  }

  /** What was set here, not what was given. */
  own(): Iterable<[string, T]> {
    return this.#own;
  }

  *[Symbol.iterator](): Generator<[string, T]> {
    yield* this.#own;
    for (const one of this.#given ?? []) if (!this.#own.has(one[0])) yield one;
  }
}

/** What the commands of a shell leave to those after them. */
export class Scope {
  readonly vars: Names<Alternatives>;
  readonly functions: Names<DefinedFunction>;
  aliases: Names<{ text: string; used: boolean }>;
  /** Texts of files written so far, by path; shared by all. */
  readonly files: Map<string, string>;
  /** Bind mounts that hold data, seen so far; shared by all. */
  readonly binds: string[];
  /** `$1` and so on; undefined: whatever the caller passes. */
  params: readonly string[] | undefined;
  cwd: string | undefined;

  constructor(from?: Scope) {
    this.vars = new Names(from?.vars);
    this.functions = new Names(from?.functions);
    this.aliases = new Names(from?.aliases);
    this.files = from?.files ?? new Map<string, string>();
    this.binds = from?.binds ?? [];
    this.params = from?.params;
    this.cwd = from?.cwd;
  }

  /** Sets a variable to one of these. */
  assign(name: string, values: Alternatives): void {
    this.vars.set(name, limited(values));
  }
}

/** Each once; too many become one that is unknown. */
export function limited(values: Alternatives): Alternatives {
  if (values.length < 2) return values;
  const seen = new Map(values.map((words) => [words.join('\0'), words]));
  return seen.size > mostAlternatives ? [[WORDS]] : [...seen.values()];
}
