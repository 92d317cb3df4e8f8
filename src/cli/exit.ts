import { SafeUpdateError, type ErrorCode } from '../model/error.ts';

/** The exit code of each way to fail. docs/commands.md explains them. */
const exitCodes = {
  usage: 2,
  config: 2,
  engine: 3,
  compose: 3,
  database: 3,
  store: 3,
  space: 3,
  damaged: 3,
  unhealthy: 3,
  timeout: 3,
  refused: 3,
  unfinished: 3,
  declined: 3,
  locked: 11,
  interrupted: 130,
  'rolled-back': 4,
  'rollback-incomplete': 5,
} satisfies Record<ErrorCode, number>;

/** 1 for anything that is not a SafeUpdateError: a bug. Pure. */
export function exitCodeOf(error: unknown): number {
  return error instanceof SafeUpdateError ? exitCodes[error.code] : 1;
}
