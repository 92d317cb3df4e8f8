import { it, vi } from 'vitest';
import { chosen, whole } from './campaign.ts';
import { killEverywhere, type KilledRunName } from './kills.ts';

vi.setConfig({ testTimeout: whole ? 7_200_000 : 600_000 });

// Of the kinds of restore one each time, another one for every commit.
const restores: KilledRunName[] = ['a restore', 'a restore of one volume', 'a restore of one database'];

it.each<KilledRunName>(['a backup', ...chosen(restores, 1)])(
  '%s, killed at the begin, in the middle and at the end of its steps',
  killEverywhere,
);
