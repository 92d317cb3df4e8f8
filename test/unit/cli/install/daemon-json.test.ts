import { describe, expect, it } from 'vitest';
import { withoutPlugin, withPlugin } from '../../../../src/cli/guard/install/daemon-json.ts';

const guard = 'safe-update-guard';
const put = (text: string | undefined): string => withPlugin(text, 'daemon.json', guard);
const out = (text: string): string => withoutPlugin(text, 'daemon.json', guard);

describe('daemon.json', () => {
  it.each([
    ['', '{\n  "authorization-plugins": [\n    "safe-update-guard"\n  ]\n}\n'],
    ['{}\n', '{"authorization-plugins":["safe-update-guard"]}\n'],
    [
      '{\n\t"debug":   true\n}\n',
      '{\n\t"debug":   true,\n\t"authorization-plugins": [\n\t\t"safe-update-guard"\n\t]\n}\n',
    ],
    ['{"authorization-plugins":["opa"]}', '{"authorization-plugins":["opa", "safe-update-guard"]}'],
  ])('%j gets the plugin and keeps the rest as it is', (text, expected) => {
    const after = put(text);
    expect(after).toBe(expected);
    const before = text === '' ? {} : (JSON.parse(text) as Record<string, string[] | undefined>);
    expect(JSON.parse(after)).toEqual({
      ...before,
      'authorization-plugins': [...(before['authorization-plugins'] ?? []), guard],
    });
    expect(put(after)).toBe(after);
  });

  it.each([
    '{\n    "debug": true\n}\n',
    '{}\n',
    '{\n  "debug":   true,\n  "authorization-plugins": [\n    "opa"\n  ]\n}\n',
  ])('%j is the same again when the plugin has been put in and taken out', (text) => {
    expect(out(put(text))).toBe(text);
    expect(out(text)).toBe(text);
  });

  it('makes a file where there is none', () => {
    expect(JSON.parse(put(undefined))).toEqual({ 'authorization-plugins': [guard] });
  });

  it.each([
    ['no JSON', '{'],
    ['comments, which dockerd does not read', '{ // here\n}'],
    ['a list', '[]'],
    ['another kind of value', '{"authorization-plugins":"opa"}'],
    ['the same key twice', '{"authorization-plugins":["a"],"authorization-plugins":["b"]}'],
  ])('is left alone if it holds %s', (_, text) => {
    expect(() => put(text)).toThrow('cannot be edited');
  });
});
