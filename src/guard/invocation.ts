import type { RuleName } from './rules.ts';
import type { Inhabited, Span, Suspect } from './verdict.ts';

/** A command inside a container, and what is known of its volumes. */
export interface Container {
  /** Paths at which it mounts volumes; undefined: nobody knows. */
  volumes: readonly string[] | undefined;
  /** Whose mounts those are who can be asked may know. */
  of?: Inhabited;
  /** Folders of the host that the command itself mounts. */
  binds?: readonly { source: string; target: string }[];
}

/** What lies between the text and the engine that the guard can ask. The parts are those of a Finding. */
export interface Route {
  elsewhere: readonly string[];
  through: readonly string[];
  within?: string;
  /** The folder outside of the container, with `within`. */
  cwd?: string | undefined;
}

/** One command, all expansions done. */
export interface Invocation {
  /** The first is the command's name. */
  words: readonly string[];
  /** What it reads on standard input; undefined: whatever there is. */
  stdin: string | undefined;
  /** Variables set for it alone. */
  env: ReadonlyMap<string, string>;
  cwd: string | undefined;
  /** Where it runs, if not on the host. */
  inside: Container | undefined;
  route: Route;
  /** Only guessed at: `$X down -v` might be docker. What is unknown then does not count. */
  guess: boolean;
  at: Span;
  depth: number;
  /** Variables, functions and the like. Only the shell looks inside. */
  scope: object;
}

/** What the rules say of one command; where it stands is added. */
export interface Draft {
  rule: RuleName;
  loses?: string;
  instead?: readonly string[];
  project?: string | undefined;
  /** The folder of the compose project, and its files. */
  folder?: string | undefined;
  files?: readonly string[];
  anonymous?: boolean;
  volumes?: readonly string[];
  /** Containers that a command or a request names. */
  containers?: readonly string[];
  conditional?: boolean;
}

/** What the files about single commands can ask of the whole. */
export interface Machine {
  /** Another command, as a wrapper starts it. Returns what it would print. */
  run(invocation: Invocation): string;
  /** Shell text, as `sh -c` reads it, with its `$1` and so on and its `$0`. Returns what it would print. */
  script(text: string, invocation: Invocation, params?: readonly string[], self?: string): string;
  report(invocation: Invocation, draft: Draft): void;
  /** Something is deleted where others know whether there is data. */
  suspect(invocation: Invocation, about: Omit<Suspect, 'finding' | 'inside'>): void;
  hint(invocation: Invocation, text: string): void;
  /** The text of a file that is run: one that this text wrote, or one on disk. */
  file(path: string, invocation: Invocation): string | undefined;
  /** A path with its links followed, where they are at hand. */
  real(path: string, invocation: Invocation): string;
  /** The text of a file that this text wrote. */
  writtenFile(path: string, invocation: Invocation): string | undefined;
  write(path: string, text: string, invocation: Invocation): void;
  /** The value of a variable for this command; undefined if the text says nothing about it. */
  variable(name: string, invocation: Invocation): string | undefined;
  /** Sets a variable for this command and those after it. */
  assign(name: string, value: string, invocation: Invocation): void;
  /** A bind mount that holds a service's data. */
  bind(path: string, invocation: Invocation): void;
  /** Places where bind mounts keep data. */
  binds(invocation: Invocation): readonly string[];
}

/** One is enough to know that nothing is known. */
const mostSteps = 4;

/** The same command, taken to another engine, or to who knows which, by `what`. */
export function takenElsewhere(invocation: Invocation, ...what: string[]): Invocation {
  const { route } = invocation;
  return { ...invocation, route: { ...route, elsewhere: [...route.elsewhere, ...what].slice(0, mostSteps) } };
}

/** The same command, started by `what`, which may give it other settings. */
export function startedThrough(invocation: Invocation, what: string): Invocation {
  const { route } = invocation;
  return { ...invocation, route: { ...route, through: [...route.through, what].slice(0, mostSteps) } };
}

/** Reports `rule` if `on` is yes, and the unknown if it is unknown. Returns whether it reported. */
export function reportIf(
  machine: Machine,
  invocation: Invocation,
  on: 'yes' | 'no' | 'unknown',
  draft: Draft,
): boolean {
  if (on === 'no') return false;
  machine.report(invocation, on === 'yes' ? draft : { ...draft, rule: 'unknown' });
  return true;
}
