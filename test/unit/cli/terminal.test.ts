import { afterEach, describe, expect, it, vi } from 'vitest';
import { ask, canDraw, wantsColour } from '../../../src/cli/terminal.ts';

const names = ['NO_COLOR', 'FORCE_COLOR', 'TERM', 'CI'];

/** The variables of the process, and none of those that the machine happens to have. */
function environment(variables: Record<string, string>): void {
  for (const name of names) vi.stubEnv(name, variables[name]);
}
afterEach(() => {
  vi.unstubAllEnvs();
});

const terminal = { isTTY: true };
const file = {};

describe('wantsColour', () => {
  it.each<[Record<string, string>, boolean, boolean]>([
    [{ TERM: 'xterm' }, true, false],
    [{}, true, false],
    [{ TERM: 'dumb' }, false, false],
    [{ NO_COLOR: '1' }, false, false],
    [{ NO_COLOR: '' }, true, false],
    [{ FORCE_COLOR: '1' }, true, true],
    [{ FORCE_COLOR: '1', NO_COLOR: '1' }, true, true],
    [{ FORCE_COLOR: '1', TERM: 'dumb' }, true, true],
    [{ FORCE_COLOR: '0' }, false, false],
    [{ FORCE_COLOR: 'false' }, false, false],
    [{ FORCE_COLOR: '' }, true, false],
  ])('%j: on a terminal %s, in a file %s', (variables, onTerminal, inFile) => {
    environment(variables);
    expect(wantsColour(terminal)).toBe(onTerminal);
    expect(wantsColour(file)).toBe(inFile);
  });
});

describe('canDraw', () => {
  it.each<[Record<string, string>, boolean]>([
    [{ TERM: 'xterm' }, true],
    [{}, true],
    [{ TERM: 'dumb' }, false],
    [{ CI: 'true' }, false],
    [{ CI: '' }, true],
    [{ NO_COLOR: '1' }, true],
  ])('%j: %s', (variables, draws) => {
    environment(variables);
    expect(canDraw(terminal)).toBe(draws);
    expect(canDraw(file)).toBe(false);
    expect(canDraw({ isTTY: false })).toBe(false);
  });
});

it('ask asks nobody off a terminal', async () => {
  expect(process.stdin.isTTY).not.toBe(true);
  expect(await ask('Sure? ')).toBeUndefined();
});
