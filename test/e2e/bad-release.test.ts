import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectGoodUpdate, expectRolledBack } from './outcomes.ts';
import { releaseImage, type Release } from './releases.ts';
import { rotation, turn } from '../faults/campaign.ts';
import { docker, imageId, quick, shop, snapshot, type Stack } from './stack.ts';

interface BadRelease {
  release: Release;
  is: string;
  reason: RegExp;
  flags?: string[];
  /** What its container wrote last. */
  said: string;
}

const badReleases: BadRelease[] = [
  {
    release: 'crash',
    is: 'crashes at once, again and again',
    reason: /app-1 crashes again and again.*exit code 1/,
    said: '(crash)',
  },
  {
    release: 'exit0',
    is: 'ends at once, saying that all is well',
    reason: /app-1 crashes again and again.*exit code 0/,
    said: '(exit0)',
  },
  { release: 'unhealthy', is: 'never becomes healthy', reason: /app-1 is unhealthy/, said: '(unhealthy)' },
  {
    release: 'flaky',
    is: 'is healthy for 5 s, then dies',
    reason: /app-1/,
    flags: ['--stable-for', '8s', '--verify-timeout', '14s'],
    said: '(flaky)',
  },
];

it.runIf(turn(1, 2))(
  'puts back the names that its own project uses, and no name that others have given to the same image meanwhile',
  async () => {
    const stack = await shop({ fill: false });
    const others = `${stack.project}/of-another-project`;
    await docker(['tag', releaseImage('1.0.0'), `${others}:moved`]);
    await docker(['tag', releaseImage('1.0.0'), `${others}:removed`]);
    await stack.push('crash');
    const running = stack.start(quick);
    await running.step('stop');
    await docker(['tag', releaseImage('1.1.0'), `${others}:moved`]);
    await docker(['image', 'rm', `${others}:removed`]);

    expect((await running.finished).exitCode).toBe(4);
    expect(await imageId(stack.image)).toBe(await imageId(releaseImage('1.0.0')));
    expect(await imageId(`${others}:moved`)).toBe(await imageId(releaseImage('1.1.0')));
    expect(await imageId(`${others}:removed`)).toBeNull();
  },
);

describe('one bad release after the other', () => {
  let stack: Stack;

  beforeAll(async () => {
    stack = await shop();
  });

  // One that ends well and one that does not are one crash to the engine, and one that is never healthy is waited for as long as
  // one that is so for a while: in turns.
  const turns: Partial<Record<Release, number>> = { exit0: 0, unhealthy: 0, flaky: 1 };
  const tried = badReleases.filter(({ release }) => turn(turns[release] ?? rotation, 2));

  it.each(tried)('$release: a release that $is is rolled back', async ({ release, reason, flags, said }) => {
    const before = await snapshot(stack);
    await stack.push(release);
    const run = await stack.update(flags);
    const { failed } = await expectRolledBack(stack, before, run, reason);
    expect(run.outcome?.lastWords?.[0]).toMatchObject({ service: 'app' });
    expect(run.outcome?.lastWords?.[0]?.lines.join('\n')).toContain(said);
    const shown = await stack.safeUpdate(['show', failed.id, '--logs', 'app']);
    expect(shown.exitCode, shown.story).toBe(0);
    expect(shown.stdout).toContain(said);

    const log = `logs/${stack.project}-app-1.log`;
    expect(failed.manifest.parts.map((part) => part.path)).toContain(log);
    expect(await readFile(path.join(failed.folder, log), 'utf8')).toContain(said);
  });

  it('and then a good one is an update like any other', async () => {
    await expectGoodUpdate(stack);
  });
});
