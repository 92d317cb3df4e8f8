import { describe, expect, it } from 'vitest';
import { parseBatch, parseRaw } from '../../../src/cli/guard/staged.ts';

describe('what git says of the index', () => {
  it('names each file by its mode, its id and its path, whatever is in the path', () => {
    expect(parseRaw(':000000 100755 000 abc A\0a\nb c.sh\0:100644 120000 abc def T\0:x\0')).toEqual([
      { mode: '100755', id: 'abc', path: 'a\nb c.sh' },
      { mode: '120000', id: 'def', path: ':x' },
    ]);
    expect(parseRaw('')).toEqual([]);
  });

  it('gives contents by their length in bytes; what is missing is undefined', () => {
    const found = parseBatch(Buffer.from('abc blob 4\né\n\n\ndef missing\n012 blob 0\n\n345 blob 1\nx\n'));
    expect(found.map((each) => each?.toString())).toEqual(['é\n\n', undefined, '', 'x']);
    expect(parseBatch(Buffer.alloc(0))).toEqual([]);
  });
});
