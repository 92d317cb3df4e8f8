import { describe, expect, it } from 'vitest';
import { chosen, turn } from '../faults/campaign.ts';
import { docker, testLabel } from './docker.ts';
import { expectGoodUpdate, expectRefused, expectRolledBack } from './outcomes.ts';
import { freePort, shop, snapshot, type ComposeFile, type Stack } from './stack.ts';

/** The shop, as somebody runs it who has never heard of safe-update, or after its first update. */
async function shopAfter(history: 'docker compose up' | 'a first update'): Promise<Stack> {
  const stack = await shop();
  if (history === 'a first update') await expectGoodUpdate(stack, '1.1.0');
  return stack;
}

interface BadEdit {
  is: string;
  after: Parameters<typeof shopAfter>[0];
  edit: (services: ComposeFile['services']) => void;
  reason: RegExp;
}

/** They differ in one thing: one of them each time. */
const badEdits: BadEdit[] = [
  {
    is: 'a command that does not exist',
    after: 'docker compose up',
    edit: nonsenseCommand,
    reason: /nonsense.*executable file not found/s,
  },
  {
    is: 'a setting that PostgreSQL refuses',
    after: 'a first update',
    edit: ({ db }) => {
      if (db !== undefined) db['command'] = ['postgres', '-c', 'shared_buffers=nonsense'];
    },
    reason: /db-1/,
  },
  {
    is: 'a database address that is wrong',
    after: 'docker compose up',
    edit: ({ app }) => {
      (app?.['environment'] as Record<string, string>)['DATABASE_URL'] =
        'postgresql://shop:wrong@nowhere:5432/shop';
    },
    reason: /app-1 is unhealthy/,
  },
  {
    is: 'a command that does not exist',
    after: 'a first update',
    edit: nonsenseCommand,
    reason: /nonsense.*executable file not found/s,
  },
];

function nonsenseCommand({ app }: ComposeFile['services']): void {
  if (app !== undefined) app['command'] = ['nonsense'];
}

describe.each(badEdits.filter((_, place) => turn(place, badEdits.length)))(
  '$is, after $after',
  ({ after, edit, reason }) => {
    it('is rolled back, and the next good update works', async () => {
      const stack = await shopAfter(after);
      const good = await stack.read('compose.yaml');
      await stack.edit(({ services }) => {
        edit(services);
      });
      const before = await snapshot(stack);
      await expectRolledBack(stack, before, await stack.update(), reason);

      await stack.write('compose.yaml', good);
      await expectGoodUpdate(stack, after === 'a first update' ? '1.0.0' : '1.1.0');
    });
  },
);

it.runIf(turn(0, 2))('a port that another container holds is rolled back to the former one', async () => {
  const stack = await shop();
  const port = await freePort();
  const holder = await docker([
    ...['run', '--detach', '--label', `${testLabel}=${stack.project}`, '--publish', `${port}:8000`],
    ...['debian:bookworm-slim', 'sleep', 'infinity'],
  ]);
  await stack.env({ APP_PORT: String(port) });
  const before = await snapshot(stack);
  await expectRolledBack(
    stack,
    before,
    // Such a port is seen before the stop. Accepted, it stands for one that somebody takes a moment later.
    await stack.update(['--accept', `port-taken:${port}`]),
    /port is already allocated|address already in use/,
  );
  expect(await docker(['inspect', '--format', '{{.State.Running}}', holder])).toBe('true');
});

const histories: BadEdit['after'][] = ['docker compose up', 'a first update'];

it.runIf(turn(1, 2)).each(chosen(histories, 1))(
  'a compose file that is no YAML, after %s, is refused',
  async (after) => {
    const stack = await shopAfter(after);
    const good = await stack.read('compose.yaml');
    await stack.write('compose.yaml', `${good}\n  - this: [is not\nYAML`);
    const before = await snapshot(stack);
    const backups = (await stack.backups()).map(({ id }) => id);
    await expectRefused(stack, before, await stack.update(), {
      exitCode: 2,
      reason: /compose.yaml/,
      backups,
    });
  },
);
