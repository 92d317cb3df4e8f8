import { it, vi } from 'vitest';
import { whole } from './campaign.ts';
import { killEverywhere, type KilledRunName } from './kills.ts';

vi.setConfig({ testTimeout: whole ? 7_200_000 : 600_000 });

it.each<KilledRunName>(['a good update', 'a bad update and its rollback'])(
  '%s, killed at the begin, in the middle and at the end of its steps',
  killEverywhere,
);
