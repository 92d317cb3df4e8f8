import type { Exec } from '../../../docker/exec.ts';

/** What a place may know of the machine it is installed on. */
export interface World {
  /** The home folder of whoever installs. */
  home: string;
  /** The folder in which the command was called. */
  cwd: string;
  env: Readonly<Record<string, string | undefined>>;
  exec: Exec;
  /** The node that runs this program, and the program's own file: absolute paths. */
  node: string;
  bin: string;
}

/** Options of a place as they were given, by name: `{ user: true, dir: '/opt/shims' }`. */
export type Options = Readonly<Record<string, string | true>>;

/** A change to one file. */
export interface FileChange {
  /** Absolute. If it is a symlink, what it leads to is changed. */
  path: string;
  /** What is there now; undefined: no such file. */
  before: string | undefined;
  /** What shall be there; undefined: the file goes. */
  after: string | undefined;
  /** Mode of a file that is made anew; one that exists keeps its own. 0o644 if nothing is said. */
  mode?: number;
  /** The whole file is the guard's: people need not read all of it before they say yes. */
  ours?: boolean;
  /** Carried out once it is written, before the next file is. Throws SafeUpdateError. */
  afterwards?: () => Promise<void>;
}

/** What installing or uninstalling would do. Nothing was touched yet. */
export interface Plan {
  /** In the order in which they are written. Empty: there is nothing to do. */
  changes: readonly FileChange[];
  /** What a person has to do afterwards: "Open a new shell." */
  notes?: readonly string[];
  /** Folders of ours that are removed afterwards if nothing is left in them, the inner ones first. */
  folders?: readonly string[];
  /** What happens beside the files, one line each, shown with them: "reload dockerd". */
  actions?: readonly string[];
  /** Carried out before and after the files are written. They throw SafeUpdateError. */
  before?: () => Promise<void>;
  after?: () => Promise<void>;
}

/** What came of a command that must be refused, run through what is installed. */
export interface Proof {
  denied: boolean;
  /** What was tried, for people: "docker volume prune". It must be harmless even where nothing refuses it. */
  tried: string;
  /** What was answered. */
  answer: string;
}

/** Somewhere the guard can stand: a shell, a repository, an agent, an engine. */
export interface Place {
  /** As it is named on the command line: `shell`, `claude --user`. */
  name: string;
  /** What changes to install it. Throws SafeUpdateError where that is not possible. */
  install(): Promise<Plan>;
  /** What changes to take it out: only what is ours. */
  uninstall(): Promise<Plan>;
  /** Tries the canary. Throws SafeUpdateError where it cannot be tried. */
  prove(): Promise<Proof>;
  /** What a person has still to do before whoever is guarded asks what is installed; undefined: nothing that can be seen. */
  waitsFor?(): Promise<string | undefined>;
}

/** A kind of place, as src/cli/guard/install/places.ts lists it. */
export interface PlaceKind {
  /** Its own options besides --dry-run and --yes, without dashes; whether they take a value. */
  options: Readonly<Record<string, 'switch' | 'value'>>;
  /** The options with which `guard status` looks for it. */
  variants: readonly Options[];
  at(options: Options, world: World): Place;
}

/**
 * Whether a place is installed, from its own plans: there is nothing to install, nothing to take out, or some of both. What
 * cannot be installed is not there if there is nothing to take out.
 */
export async function stateOf(place: Place): Promise<'installed' | 'not installed' | 'incomplete'> {
  if (isEmpty(await place.uninstall())) return 'not installed';
  return isEmpty(await place.install()) ? 'installed' : 'incomplete';
}

/** Nothing to write and nothing to do. */
export function isEmpty(plan: Plan): boolean {
  return plan.changes.length === 0 && (plan.actions ?? []).length === 0;
}
