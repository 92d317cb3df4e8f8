import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { table } from '../../faults/table.ts';

it('has every fault once', () => {
  expect(table.map(({ number }) => number)).toEqual(Array.from({ length: 56 }, (_, index) => index + 1));
});

it.each(table.map((fault) => [fault.number, fault] as const))(
  'fault %i has tests, which are there',
  (_, { tests }) => {
    expect(tests.length).toBeGreaterThan(0);
    for (const [file, name = ''] of tests) {
      const text = readFileSync(fileURLToPath(new URL(`../../../${file}`, import.meta.url)), 'utf8');
      // A name of a table of tests has its parts in several places.
      for (const word of name.split(' ')) expect(text, `${word} in ${file}`).toContain(word);
    }
  },
);
