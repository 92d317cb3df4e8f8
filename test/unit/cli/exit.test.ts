import { describe, expect, it } from 'vitest';
import { exitCodeOf } from '../../../src/cli/exit.ts';
import { SafeUpdateError, type ErrorCode } from '../../../src/model/error.ts';

/** Scripts rely on these numbers: 3 means that nothing was touched, 4 that all is as it was, 5 that it is not. */
const expected: Record<ErrorCode, number> = {
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
  'rolled-back': 4,
  'rollback-incomplete': 5,
  locked: 11,
  interrupted: 130,
};

describe('exitCodeOf', () => {
  it.each(Object.entries(expected))('%s: %i', (code, exitCode) => {
    expect(exitCodeOf(new SafeUpdateError(code as ErrorCode, 'x'))).toBe(exitCode);
  });

  it('is 1 for a bug, whatever was thrown', () => {
    for (const thrown of [new Error('x'), new TypeError('x'), 'x', undefined, null, { code: 'usage' }])
      expect(exitCodeOf(thrown)).toBe(1);
  });

  it('is never 0', () => {
    expect(Object.values(expected)).not.toContain(0);
  });
});
