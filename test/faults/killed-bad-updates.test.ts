import { it, vi } from 'vitest';
import { whole } from './campaign.ts';
import { killEverywhere } from './kills.ts';

vi.setConfig({ testTimeout: whole ? 7_200_000 : 600_000 });

it('a bad update and its rollback, killed at the begin, in the middle and at the end of its steps', () =>
  killEverywhere('a bad update and its rollback'));
