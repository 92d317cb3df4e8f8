import { expect, it } from 'vitest';
import { turn } from '../faults/campaign.ts';
import { expectRolledBack } from './outcomes.ts';
import { eventually, shop, snapshot, type Stack } from './stack.ts';

/** The shop, with a table that no health check looks at. */
async function shopWithCarts(): Promise<Stack> {
  const stack = await shop();
  await stack.sql('CREATE TABLE carts AS SELECT 7 AS member');
  return stack;
}

it('a release that is healthy, but whose migration has emptied tables and keys, is rolled back', async () => {
  const stack = await shopWithCarts();
  const before = await snapshot(stack);
  await stack.push('empty');
  const run = await stack.update();
  await expectRolledBack(stack, before, run, /^healthy, but data is missing: /);
  const message = run.outcome?.error?.message ?? '';
  expect(message).toContain('db: shop.public.carts is gone (it had 1 row)');
  expect(message).toContain('db: shop.public.orders is empty (it had 2 rows)');
  expect(message).toMatch(/cache: db0 is gone \(it had \d+ keys\)/);
  expect(message).not.toContain('members');
  expect(run.outcome?.error?.hint).toContain('--accept data-gone:cache --accept data-gone:db');
});

it.runIf(turn(0, 2))(
  'it stays if that was accepted by name for each database, and not if only for one',
  async () => {
    const stack = await shopWithCarts();
    await stack.push('empty');
    const one = await stack.update(['--accept', 'data-gone:cache']);
    expect(one.exitCode, one.story).toBe(4);
    expect(one.outcome?.error?.message).not.toContain('cache: ');
    expect(await stack.sql('SELECT count(*) FROM orders')).toBe('2');

    // What may become empty is said in the configuration, once and for all; names are as the message had them.
    await stack.write(
      'safe-update.yml',
      'databases:\n  db: { mayBecomeEmpty: [shop.public.orders, "shop.*.carts"] }\n',
    );
    const both = await stack.update(['--accept', 'data-gone:cache']);
    expect(both.exitCode, both.story).toBe(0);
    const history = await stack.safeUpdate(['history']);
    expect(history.stdout).toContain('accepted: data-gone:cache');
    expect(await stack.sql('SELECT count(*) FROM orders')).toBe('0');
    expect(both.events).toContainEqual(
      expect.objectContaining({
        type: 'notice',
        message: expect.stringMatching(/^cache: db0 is gone/) as string,
      }),
    );
  },
);

it.runIf(turn(1, 2))(
  'rows that come and go meanwhile, and an empty table that goes, are no reason',
  async () => {
    const stack = await shop();
    await stack.sql('CREATE TABLE never_used (id int)');
    await stack.push('1.1.0');
    const running = stack.start(['--yes', '--json', '--stable-for', '3s', '--verify-timeout', '30s']);
    await running.step('verify');
    await stack.sql('DROP TABLE never_used; DELETE FROM orders WHERE id = 1');
    await eventually(() => stack.post('/members?name=Zoe&email=zoe@example.com'));
    const run = await running.finished;
    expect(run.exitCode, run.story).toBe(0);
    const verified = run.events.find((event) => event.type === 'step-done' && event.step === 'verify');
    expect(verified).toMatchObject({
      detail: expect.stringMatching(/data in \d+ places? is still there/) as string,
    });
    const [backup] = await stack.backups();
    expect(backup?.manifest.databases.find(({ service }) => service === 'db')?.fingerprint).toMatchObject({
      of: 'rows',
      counts: { 'shop.public.members': 3, 'shop.public.orders': 2, 'shop.public.never_used': 0 },
    });
  },
);
