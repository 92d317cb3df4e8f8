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
}

/** What the commands of a shell leave to those after them. */
export class Scope {
  readonly vars: Map<string, Alternatives>;
  readonly functions: Map<string, DefinedFunction>;
  readonly aliases: Map<string, { text: string; used: boolean }>;
  /** Texts of files written so far, by path; shared by all. */
  readonly files: Map<string, string>;
  /** Bind mounts that hold data, seen so far; shared by all. */
  readonly binds: string[];
  /** `$1` and so on; undefined: whatever the caller passes. */
  params: readonly string[] | undefined;
  cwd: string | undefined;

  constructor(from?: Scope) {
    this.vars = new Map(from?.vars);
    this.functions = new Map(from?.functions);
    this.aliases = new Map(from?.aliases);
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
