import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fileNames } from '../../../src/database/file-names.ts';

describe('names of files', () => {
  test('plain ones stay as they are, others are encoded', () => {
    expect(fileNames(['shop', `a/b "c"'`, '../é', '.'], 'dump')).toEqual([
      { name: 'shop', file: 'shop.dump' },
      { name: `a/b "c"'`, file: 'a%2Fb%20%22c%22%27.dump' },
      { name: '../é', file: '%2E%2E%2F%C3%A9.dump' },
      { name: '.', file: '%2E.dump' },
    ]);
  });

  test('two that differ in letter case only do not fall together', () => {
    expect(fileNames(['shop', 'Shop', 'SHOP'], 'dump').map(({ file }) => file)).toEqual([
      'shop.dump',
      'Shop~2.dump',
      'SHOP~3.dump',
    ]);
  });

  test('nor one with a file that is no database', () => {
    expect(fileNames(['Users', 'shop'], 'sql', ['users.sql'])).toEqual([
      { name: 'Users', file: 'Users~2.sql' },
      { name: 'shop', file: 'shop.sql' },
    ]);
  });

  test('whatever the databases are called', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 15 })), (names) => {
        const files = fileNames(names, 'dump').map(({ file }) => file);
        expect(new Set(files.map((file) => file.toLowerCase())).size).toBe(names.length);
        for (const file of files) expect(file).toMatch(/^[A-Za-z0-9_%~-]+\.dump$/);
      }),
    );
  });
});
