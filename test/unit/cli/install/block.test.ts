import { describe, expect, it } from 'vitest';
import { blockIn, onlyBlock, withBlock, withoutBlock } from '../../../../src/cli/guard/install/block.ts';

const lines = ['one', 'two'];
const texts = [
  '',
  '\n',
  'alias x=y',
  'alias x=y\n',
  'alias x=y\n\n\n',
  '#!/bin/sh\n',
  '#!/bin/sh',
  '#!/bin/bash\nset -e\nexit 0\n',
  '#!/bin/bash\nset -e\nexit 0',
  'npm test\n',
  'a\r\nb\r\n',
  '# >>> safe-update guard >>>\nnever ended\n',
];

describe('the block', () => {
  describe.each(['top', 'end'] as const)('at the %s', (where) => {
    it.each(texts)('goes in and out again without a trace: %j', (text) => {
      const after = withBlock(text, lines, where);
      expect(after).not.toBe(text);
      expect(blockIn(after)).toEqual(lines);
      expect(withoutBlock(after)).toBe(text);
    });

    it.each(texts)('is there once, with the newest lines: %j', (text) => {
      const after = withBlock(withBlock(text, ['old'], where), lines, where);
      expect(after).toBe(withBlock(text, lines, where));
    });
  });

  it('stands behind #!, before anything that could end the script', () => {
    const after = withBlock('#!/bin/sh\nexit 0\n', lines, 'top').split('\n');
    expect(after[0]).toBe('#!/bin/sh');
    expect(after.indexOf('one')).toBeLessThan(after.indexOf('exit 0'));
  });

  it('can be a whole file', () => {
    expect(blockIn(onlyBlock(lines, '#!/bin/sh\n'))).toEqual(lines);
  });
});
