import { expect, it } from 'vitest';
import { turn } from '../faults/campaign.ts';
import { recover } from '../faults/kill.ts';
import { quick, shop } from './stack.ts';

it.runIf(turn(0, 2))(
  'every command that only looks says first that a run was interrupted, and how to go on',
  async () => {
    const stack = await shop();
    await stack.push('1.1.0');
    const made = await stack.safeUpdate(['backup', '--consistency', 'hot', '--json']);
    const id = made.outcome?.backup ?? '';
    const first = await stack.safeUpdate(['status']);
    expect(first.stderr).not.toMatch(/interrupted/);

    const running = stack.start(quick, { env: { SAFE_UPDATE_PAUSE: 'verify:begin' } });
    await running.until((event) => event.type === 'notice' && event.message.startsWith('Paused'));
    const meanwhile = await stack.safeUpdate(['status']);
    expect(meanwhile.stderr, 'while it runs it is not interrupted').not.toMatch(/interrupted/);
    running.kill('SIGKILL');
    await running.finished;

    const told =
      /The update of \S+ was interrupted in the step verify\. To put everything back: safe-update recover/;
    for (const args of [
      ...[
        ['status'],
        ['backups'],
        ['show', id],
        ['verify', id],
        ['history'],
        ['health', '--stable-for', '1s'],
      ],
      ...[['volumes'], ['export', id, '/dev/null/nowhere'], ['init', '--dry-run']],
    ]) {
      const { stderr, stdout } = await stack.safeUpdate(args);
      expect(stderr, args.join(' ')).toMatch(told);
      const json = await stack.safeUpdate([...args, '--json']);
      expect(json.stderr + json.stdout, `${args.join(' ')} --json`).toMatch(told);
      if (args[0] !== 'export' && args[0] !== 'health' && args[0] !== 'verify')
        expect(
          () => JSON.parse(json.stdout) as unknown,
          `${args.join(' ')} --json is one document`,
        ).not.toThrow();
      expect(stdout).not.toMatch(told);
    }
    const plan = await stack.safeUpdate(['plan']);
    expect(plan.stdout.replaceAll(/\s+/g, ' ')).toMatch(told);
    const prune = await stack.safeUpdate(['prune']);
    expect(prune.stderr).toMatch(/interrupted.*recover/s);
    expect((await recover(stack)).exitCode).toBe(0);
    const last = await stack.safeUpdate(['status']);
    expect(last.stderr).not.toMatch(/interrupted/);
  },
);
