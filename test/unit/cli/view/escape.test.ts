import { stripVTControlCharacters } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { visible, visibleJson, visibleLines, visibleOutput } from '../../../../src/cli/view/escape.ts';

const hostile = [
  ['\x1b[2J\x1b[1;1H', String.raw`\x1b[2J\x1b[1;1H`],
  ['\x1b]0;root\x07', String.raw`\x1b]0;root\x07`],
  ['\x9b31m', String.raw`\x9b31m`],
  ['a\rb', String.raw`a\rb`],
  ['a\nb\tc', String.raw`a\nb\tc`],
  ['\x08\x7f\x00', String.raw`\x08\x7f\x00`],
  ['gpj.\u202eexe', String.raw`gpj.\u{202e}exe`],
  ['a\u200bb\ufeff', String.raw`a\u{200b}b\u{feff}`],
  ['\u2028', String.raw`\u{2028}`],
  ['\ud800', String.raw`\u{d800}`],
];

describe('visible', () => {
  it.each(hostile)('shows %j instead of sending it', (text, shown) => {
    expect(visible(text)).toBe(shown);
  });

  it('leaves every printable script as it is', () => {
    for (const text of ['db_data', '/srv/Über uns/été', '数据', 'база', 'بيانات', '🚀 ✔ ━', '100 % \\ "x"']) {
      expect(visible(text)).toBe(text);
    }
  });

  it('never lets a control character through', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const shown = visible(text);
        expect(shown).not.toMatch(/\p{Cc}|\p{Cf}|\p{Zl}|\p{Zp}|\p{Cs}/u);
        expect(stripVTControlCharacters(shown)).toBe(shown);
      }),
    );
  });
});

describe('visibleOutput', () => {
  it('keeps lines and colours of our own, and nothing else that drives a terminal', () => {
    expect(visibleOutput('\x1b[1mshop\x1b[22m\n\x1b[32mgood\x1b[39m')).toBe(
      '\x1b[1mshop\x1b[22m\n\x1b[32mgood\x1b[39m',
    );
    expect(visibleOutput('a\x1b[2Jb\x1b[8mc\rd\u202ee\x1b]0;title\x07')).toBe(
      String.raw`a\x1b[2Jb\x1b[8mc\rd\u{202e}e\x1b]0;title\x07`,
    );
  });
});

describe('visibleLines', () => {
  it('keeps the lines of a message, and nothing else of its layout', () => {
    expect(visibleLines('\none\r\n\ttwo\n\n\x1b[31mthree\n\n')).toEqual([
      'one',
      '    two',
      '',
      String.raw`\x1b[31mthree`,
    ]);
  });

  it('returns one line for nothing', () => {
    expect(visibleLines('')).toEqual(['']);
    expect(visibleLines('\n\n')).toEqual(['']);
  });
});

describe('visibleJson', () => {
  it('changes what is sent, but not what is read', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const json = visibleJson(JSON.stringify({ text }));
        expect(json).not.toMatch(/\p{Cc}|\p{Cf}|\p{Zl}|\p{Zp}|\p{Cs}/u);
        expect(JSON.parse(json)).toEqual({ text });
      }),
    );
  });
});
