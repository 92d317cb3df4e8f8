import type { Store } from '../backup/store/store.ts';
import type { Settings } from '../config/schema.ts';
import type { Compose } from '../docker/compose.ts';
import type { Engine } from '../docker/engine.ts';
import type { Exec } from '../docker/exec.ts';
import type { Emit } from '../model/event.ts';
import type { Owner } from './lock.ts';

/** Everything a run needs from outside. Made once by the command line; tests make their own. */
export interface Context {
  exec: Exec;
  engine: Engine;
  compose: Compose;
  settings: Settings;
  /**
   * Where the project's backups are. Known once the project's name is. With a run: as that run writes and reads them, with
   * its own key.
   */
  storeFor(project: string, run?: string): Store;
  /** Folder of the project's journals, beside its backups. */
  stateFor(project: string): string;
  emit: Emit;
  clock: Clock;
  /** Aborted by the first Ctrl-C. Undoing never looks at it. */
  signal: AbortSignal;
  /** This process, as a lock names it. */
  owner: Owner;
  /** Is that process of this host and boot still alive, and the same one? */
  isAlive: (pid: number, started: string) => boolean;
  /** safe-update's own version. */
  tool: string;
  /** Refusals the person has accepted by name (--accept). */
  accept: readonly string[];
  /**
   * The command line that means the same project again: `safe-update recover prod -f compose.yaml`. Options of the command come
   * behind the environment.
   */
  again(words: string, options?: readonly string[]): string;
  /**
   * For tests and for the curious: where the run waits for ever. `STEP` is before it is noted in the journal, `STEP:begin`
   * after that, `STEP:end` when its work is done and not noted yet; the steps of an undo have only the last two.
   */
  pauseAt?: string;
}

export interface Clock {
  now(): Date;
  /** Milliseconds that never jump. */
  monotonic(): number;
  sleep(milliseconds: number): Promise<void>;
}
