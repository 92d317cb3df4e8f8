import { describe, expect, it } from 'vitest';
import { formerLabel, type Engine } from '../../../src/docker/engine.ts';
import { dropFormer } from '../../../src/update/reload.ts';
import type { Session } from '../../../src/update/session.ts';

describe('dropFormer', () => {
  it('removes what this very run has set aside, and not the only copy that another one has left', async () => {
    const former = (name: string, project: string, run: string) => ({
      ...{ name, driver: 'local', options: {} },
      labels: { [formerLabel]: name, 'safe-update.project': project, 'safe-update.run': run },
    });
    const removed: string[] = [];
    const engine: Pick<Engine, 'volumesLabelled' | 'removeProofVolume'> = {
      volumesLabelled: () =>
        Promise.resolve([
          former('own', 'shop', 'r2'),
          former('given-up', 'shop', 'r1'),
          former('other', 'club', 'r2'),
        ]),
      removeProofVolume: (name) => {
        removed.push(name);
        return Promise.resolve();
      },
    };
    await dropFormer({ context: { engine }, project: 'shop', run: 'r2' } as unknown as Session);
    expect(removed).toEqual(['own']);
  });
});
