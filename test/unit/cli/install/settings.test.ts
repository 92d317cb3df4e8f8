import { describe, expect, it } from 'vitest';
import { hooksIn, withHook, withoutHook, type Layout } from '../../../../src/cli/guard/install/settings.ts';

const layout: Layout = {
  event: 'PreToolUse',
  isOurs: (hook) => (hook as { command?: string } | null)?.command === 'ours',
  empty: {},
};
const entry = { matcher: 'Bash', hooks: [{ type: 'command', command: 'ours' }] };

const put = (text: string): string => withHook(text, 'x.json', layout, entry);
const take = (text: string): string => withoutHook(text, 'x.json', layout);

const files = {
  'an empty object': '{}',
  'an empty object with space': '{ }\n',
  'an empty object over two lines': '{\n}\n',
  'no hooks': '{\n  "model": "x"\n}\n',
  'no hooks, and a comment beside the last value': '{\n  "model": "x" // the good, cheap one\n}\n',
  'empty hooks': '{\n  "hooks": {}\n}\n',
  'an empty event': '{\n  "hooks": {\n    "PreToolUse": []\n  }\n}\n',
  'another event': '{\n\t"hooks": {\n\t\t"Stop": [{"hooks": []}]\n\t}\n}',
  'another hook, in one line':
    '{\n    // mine\n    "hooks": {\n        "PreToolUse": [\n            { "matcher": "Bash", "hooks": [ { "type": "command", "command": "./x.sh" } ] }\n        ]\n    }\n}\n',
  'all in one line': '{"a":[1,2],"hooks":{"PreToolUse":[{"matcher":"Bash","hooks":[]}]}}',
  'Windows line ends':
    '{\r\n  "hooks": {\r\n    "PreToolUse": [\r\n      {"hooks": []}\r\n    ]\r\n  }\r\n}\r\n',
  'a trailing comma': '{\n  "hooks": {\n    "PreToolUse": [\n      {"hooks": []}, // one\n    ],\n  },\n}\n',
  'a byte order mark': '\uFEFF{\n  "a": 1\n}\n',
};

describe('hooks in settings', () => {
  it.each(Object.entries(files))('go in and out again without a trace: %s', (_, text) => {
    const after = put(text);
    const everything = { ...layout, isOurs: () => true };
    const entries = hooksIn(text, 'x.json', everything).filter(({ at }) => !at.includes(':'));
    const at = `${entries.length}:0`;
    expect(hooksIn(after, 'x.json', layout)).toEqual([{ entry, hook: entry.hooks[0], at }]);
    expect(take(after)).toBe(text);
  });

  it.each(Object.entries(files))('are never there twice: %s', (_, text) => {
    expect(put(put(text))).toBe(put(text));
  });

  it.each(Object.entries(files))('leave every other line as it is: %s', (_, text) => {
    const after = put(text).split('\n');
    const kept = text.split('\n').filter((line) => after.includes(line));
    // Only the last one before ours may get a comma, or ours itself.
    expect(text.split('\n').length - kept.length).toBeLessThanOrEqual(1);
  });

  it('make a file of their own', () => {
    expect(JSON.parse(withHook(undefined, 'x.json', { ...layout, empty: { version: 1 } }, entry))).toEqual({
      version: 1,
      hooks: { PreToolUse: [entry] },
    });
  });

  it('replace an older form wherever it stands, and leave its neighbours', () => {
    const old = JSON.stringify({
      hooks: {
        PreToolUse: [{ matcher: '*', hooks: [{ command: 'a' }, { command: 'ours' }, { command: 'b' }] }],
      },
    });
    expect(JSON.parse(put(old))).toEqual({
      hooks: { PreToolUse: [{ matcher: '*', hooks: [{ command: 'a' }, { command: 'b' }] }, entry] },
    });
  });

  it('go from between others', () => {
    const text = put('{\n  "hooks": {\n    "PreToolUse": [\n      {"a": 1}\n    ]\n  }\n}\n').replace(
      /\n {4}\]/,
      ',\n      {"b": 2}\n    ]',
    );
    expect(take(text)).toBe(
      '{\n  "hooks": {\n    "PreToolUse": [\n      {"a": 1},\n      {"b": 2}\n    ]\n  }\n}\n',
    );
  });

  it.each(['{', '[]', '"x"', '{"hooks": []}', '{"hooks": {"PreToolUse": {}}}', '{"a": 1} x'])(
    'are not written into what is no settings file: %s',
    (text) => {
      expect(() => put(text)).toThrow('is not as expected');
    },
  );
});
