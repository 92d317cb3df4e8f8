import { expect, it } from 'vitest';
import { nearest } from '../../../src/config/nearest.ts';

it.each([
  ['bakcup', ['backup', 'backups', 'plan'], 'backup'],
  ['stagging', ['prod', 'staging'], 'staging'],
  ['PROD', ['prod'], 'prod'],
  ['rpod', ['prod'], 'prod'],
  ['consistancy', ['consistency', 'pull'], 'consistency'],
  ['demo', ['prod', 'staging'], undefined],
  ['x', ['a', 'b'], undefined],
  ['prod', [], undefined],
])('%s among %j: %s', (word, candidates, expected) => {
  expect(nearest(word, candidates)).toBe(expected);
});
