import { expect, it } from 'vitest';
import { mayBecomeEmpty } from '../../../src/update/fingerprints.ts';

it.each([
  [['shop.public.jobs'], 'shop.public.jobs', true],
  [['shop.*.jobs'], 'shop.public.jobs', true],
  [['*'], 'shop.public.jobs', true],
  [['shop.public.job'], 'shop.public.jobs', false],
  [['jobs'], 'shop.public.jobs', false],
  [['shop.public.jobs'], 'shopXpublicXjobs', false],
  [['"a.b".(c)+'], '"a.b".(c)+', true],
  [[], 'shop.public.jobs', false],
])('%j lets %s become empty: %s', (patterns, name, expected) => {
  expect(mayBecomeEmpty(patterns, name)).toBe(expected);
});
