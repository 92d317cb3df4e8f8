import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  padEnd,
  padStart,
  paragraph,
  textWidth,
  truncate,
  truncateMiddle,
  wrap,
} from '../../../../src/cli/view/width.ts';

describe('textWidth', () => {
  it.each([
    ['', 0],
    ['db_data', 7],
    ['数据', 4],
    ['été', 3],
    ['e\u0301', 1],
    ['🚀', 2],
    ['━─✔…', 4],
  ])('%j takes %i columns', (text, width) => {
    expect(textWidth(text)).toBe(width);
  });
});

describe('padding and cutting', () => {
  it('counts columns, not characters', () => {
    expect(padEnd('数据', 6)).toBe('数据  ');
    expect(padStart('数据', 6)).toBe('  数据');
    expect(truncate('数据库备份', 6)).toBe('数据…');
    expect(truncateMiddle('/var/lib/docker/volumes/shop_db_data', 15)).toBe('/var/li…db_data');
  });

  it('leaves alone what fits', () => {
    expect(truncate('uploads', 7)).toBe('uploads');
    expect(truncateMiddle('uploads', 7)).toBe('uploads');
    expect(padEnd('uploads', 3)).toBe('uploads');
  });
});

describe('wrap', () => {
  it('breaks between words, and inside one only if it is wider than the line', () => {
    expect(wrap('the volume is in use', 10)).toEqual(['the volume', 'is in use']);
    expect(wrap('a verylongword here', 8)).toEqual(['a', 'verylong', 'word', 'here']);
    expect(wrap('  indented text goes on', 12)).toEqual(['  indented', 'text goes on']);
    expect(wrap('', 10)).toEqual(['']);
  });

  it('loses nothing, ends, and is never too wide', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom('a', 'b', ' ', '数', 'e\u0301') }),
        fc.integer({ min: 2, max: 9 }),
        (text, width) => {
          const pieces = wrap(text, width);
          expect(pieces.every((piece) => textWidth(piece) <= width)).toBe(true);
          expect(pieces.join('').replaceAll(' ', '')).toBe(text.replaceAll(' ', ''));
        },
      ),
    );
  });

  it('takes a message of a megabyte', () => {
    expect(wrap('word '.repeat(200_000), 80).length).toBeGreaterThan(10_000);
  });
});

describe('paragraph', () => {
  it('keeps both ends of a message that is too long', () => {
    const message = Array.from({ length: 100 }, (_, i) => `line ${i + 1}`).join('\n');
    expect(paragraph(message, 80, 5)).toEqual([
      'line 1',
      'line 2',
      '… 96 lines left out …',
      'line 99',
      'line 100',
    ]);
  });
});
