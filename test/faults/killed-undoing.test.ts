import { it, vi } from 'vitest';
import { whole } from './campaign.ts';
import { killEverywhere, type KilledRunName } from './kills.ts';

vi.setConfig({ testTimeout: whole ? 7_200_000 : 600_000 });

it.each<KilledRunName>([
  'recover itself',
  'a rollback',
  'a bad update and its rollback, with encrypted backups',
])('%s, killed at the begin, in the middle and at the end of its steps', killEverywhere);
