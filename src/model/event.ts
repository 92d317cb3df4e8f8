import type { ErrorCode, LastWords } from './error.ts';
import type { Plan } from './plan.ts';

/** What a run is for. */
export type RunKind = 'update' | 'backup' | 'restore' | 'restore-as' | 'prove' | 'rollback' | 'recover';

/**
 * Everything a run says while it runs. Views are listeners of this stream and nothing else: the terminal, plain
 * lines and JSON lines show the same events.
 */
export type RunEvent =
  | { type: 'run-started'; run: string; kind: RunKind; project: string; at: string }
  | { type: 'planned'; plan: Plan }
  /** A step of the run begins. `step` is unique within the run; `title` is for people. */
  | { type: 'step-started'; step: string; title: string }
  /**
   * A step goes on. `item` is the thing worked on now (a volume, a database, a service). `bytes` is how much of it
   * is done, `totalBytes` how much there is where that is known; both count what is read, before compression. `done`:
   * the item is finished; needed where that is not told by `bytes` having reached `totalBytes`.
   */
  | {
      type: 'step-progress';
      step: string;
      item: string;
      bytes?: number;
      totalBytes?: number;
      text?: string;
      done?: boolean;
    }
  | { type: 'step-done'; step: string; milliseconds: number; detail?: string }
  | { type: 'step-skipped'; step: string; title: string; reason: string }
  | { type: 'step-failed'; step: string; milliseconds: number; message: string }
  /** Something a person should know that is not the fate of a step. */
  | { type: 'notice'; level: 'info' | 'warning'; message: string }
  /** The rollback begins: the steps after this one undo those before it. */
  | { type: 'rollback-started'; reason: string }
  | { type: 'outcome'; outcome: Outcome };

/** How a run ended. The last event of every run, also of a failed one. */
export interface Outcome {
  result:
    | 'updated'
    | 'nothing-to-do'
    | 'backed-up'
    | 'restored'
    | 'proven'
    | 'rolled-back'
    | 'recovered'
    | 'failed';
  run: string;
  project: string;
  /** What it has come to, as one sentence, where the result alone does not say it. */
  summary?: string;
  /** What a person should look at after a run that went well: data that has become far less. */
  notes?: string[];
  /** The sealed backup of the state before the run, if one was made; for a test-restore the one that was tried. */
  backup?: string;
  /** The backup that keeps the failed state, if there was one to keep. */
  failedBackup?: string;
  /** Milliseconds each service was not serving, by service name, from the engine's own events. */
  downtime?: Record<string, number>;
  /** Milliseconds the whole run took. */
  milliseconds: number;
  /** What to run to go back to before this run, as one shell line. */
  rollbackCommand?: string;
  /** What the services said by which a release failed, the likely cause first. */
  lastWords?: LastWords[];
  error?: { code: ErrorCode | 'bug'; message: string; state?: string; hint?: string };
}

export type Emit = (event: RunEvent) => void;
