/**
 * What can go wrong that is not a bug. Each code has one exit code, given in cli/exit.ts.
 */
export type ErrorCode =
  | 'usage' // the command line is wrong
  | 'config' // safe-update.yml, the compose files or an env file are wrong
  | 'engine' // the docker engine or the compose plugin cannot be reached or is too old
  | 'compose' // a docker compose command failed
  | 'database' // a database could not be dumped, or its dump does not prove complete
  | 'store' // the backup folder cannot be written or read
  | 'space' // not enough room
  | 'damaged' // a backup is not what its manifest says
  | 'unhealthy' // verification failed
  | 'timeout' // a time limit ran out
  | 'refused' // going on could lose data
  | 'unfinished' // an earlier run was interrupted and must be recovered first
  | 'locked' // another run holds the project's lock
  | 'declined' // the person said no
  | 'interrupted' // a signal arrived; what had begun was undone
  | 'rolled-back' // the run failed and everything is as it was
  | 'rollback-incomplete'; // the run failed and something is not as it was

/** What a service said before its release was given up. */
export interface LastWords {
  service: string;
  /** The last lines that it printed, the latest last. */
  lines: string[];
  /** What its healthcheck printed last, where that is what failed. */
  healthcheck?: string;
  /** Why the engine could not start it. */
  startError?: string;
}

/** What a failed run can still tell, for its outcome. */
export interface FailedRun {
  run: string;
  backup?: string;
  failedBackup?: string;
  downtime?: Record<string, number>;
  /** Of the services that it failed by, the likely cause first. */
  lastWords?: LastWords[];
}

export interface ErrorDetails {
  /** What state things are in now, as a sentence: "Nothing was touched." */
  state?: string;
  /** The next command to run, or the next thing to do. */
  hint?: string;
  /** The run that failed, where there was one. */
  failed?: FailedRun;
  cause?: unknown;
}

/** The only error class the program throws on purpose. Anything else is a bug and keeps its stack trace. */
export class SafeUpdateError extends Error {
  override readonly name = 'SafeUpdateError';
  readonly code: ErrorCode;
  readonly state: string | undefined;
  readonly hint: string | undefined;
  readonly failed: FailedRun | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.state = details.state;
    this.hint = details.hint;
    this.failed = details.failed;
  }
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
