import { expect, it } from 'vitest';
import { hasGone, isFarLess } from '../../../src/update/files.ts';

it.each<[string, [number, number], [number, number], boolean, boolean]>([
  ['all files', [40, 4000], [0, 0], true, true],
  ['all but one of 400', [400, 4000], [1, 10], true, true],
  ['a hundredth is left', [2000, 4000], [20, 40], false, true],
  ['the content, but not the files', [3, 4000], [3, 0], true, true],
  ['more than half', [51, 4000], [16, 4000], false, true],
  ['half of the content', [10, 4001], [10, 2000], false, true],
  ['a few', [40, 4000], [30, 3000], false, false],
  ['nothing', [40, 4000], [40, 4000], false, false],
  ['nothing of nothing', [0, 0], [0, 0], false, false],
  ['files that were empty', [3, 0], [3, 0], false, false],
])('of a volume that has lost %s', (_, [files, bytes], [left, leftBytes], gone, farLess) => {
  const volume = { before: { files, bytes }, after: { files: left, bytes: leftBytes } };
  expect([hasGone(volume), isFarLess(volume)]).toEqual([gone, farLess]);
});
