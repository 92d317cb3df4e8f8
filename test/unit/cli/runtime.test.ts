import { expect, it } from 'vitest';
import { commandLine } from '../../../src/cli/runtime.ts';

it.each([
  [undefined, {}, 'safe-update recover'],
  ['prod', {}, 'safe-update recover prod'],
  [
    'prod',
    { file: ['a.yml', 'b c.yml'], projectName: 'shop' },
    "safe-update recover prod --file a.yml --file 'b c.yml' --project-name shop",
  ],
  [
    undefined,
    { backups: "/mnt/it's", stableFor: '1s', yes: true },
    "safe-update recover --backups '/mnt/it'\\''s'",
  ],
])('repeats what says which project: %j %j', (environment, flags, line) => {
  expect(commandLine('recover', environment, flags)).toBe(line);
});
