import { describe, expect, it } from 'vitest';
import { messageOf, SafeUpdateError } from '../../../src/model/error.ts';

describe('SafeUpdateError', () => {
  it('says what failed, what state things are in, and what to do', () => {
    const cause = new Error('why');
    const error = new SafeUpdateError('space', 'No room.', {
      state: 'Nothing was touched.',
      hint: 'Make some.',
      cause,
    });
    expect(error).toMatchObject({
      code: 'space',
      message: 'No room.',
      state: 'Nothing was touched.',
      hint: 'Make some.',
    });
    expect(error.cause).toBe(cause);
    expect(error).toBeInstanceOf(Error);
    expect(String(error)).toBe('SafeUpdateError: No room.');
  });

  it('has nothing that it was not given', () => {
    const error = new SafeUpdateError('usage', 'What?');
    expect(error.hint).toBeUndefined();
    expect('cause' in error).toBe(false);
  });
});

describe('messageOf', () => {
  it.each([
    [new Error('no'), 'no'],
    [new SafeUpdateError('usage', 'what?'), 'what?'],
    ['text', 'text'],
    [undefined, 'undefined'],
    [7, '7'],
  ])('%s', (thrown, text) => {
    expect(messageOf(thrown)).toBe(text);
  });
});
