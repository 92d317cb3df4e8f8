import { describe, expect, it } from 'vitest';
import { createView } from '../../../../src/cli/view/view.ts';
import type { RunEvent } from '../../../../src/model/event.ts';
import { plan, rolledBack, updated } from './examples.ts';
import { FakeStream } from './fake-terminal.ts';

const noon = new Date(2024, 9, 17, 12, 0, 0).getTime();

async function log(
  events: (RunEvent | number)[],
  options: { quiet?: boolean; verbose?: boolean; showPlan?: boolean } = {},
): Promise<{ err: string[]; out: string }> {
  const stdout = new FakeStream();
  const stderr = new FakeStream();
  let now = noon;
  const view = await createView({
    json: false,
    stdout,
    stderr,
    isTerminal: false,
    colour: false,
    now: () => now,
    ...options,
  });
  for (const event of events) {
    if (typeof event === 'number') now += event;
    else view.emit(event);
  }
  await view.close();
  return { err: stderr.lines, out: stdout.text };
}

const progress = (bytes: number): RunEvent => ({
  type: 'step-progress',
  step: 'a',
  item: 'uploads',
  bytes,
  totalBytes: 100e6,
});

const run: RunEvent[] = [
  { type: 'run-started', run: '20241017_120000', kind: 'update', project: 'shop', at: '' },
  { type: 'step-started', step: 'a', title: 'Archive 1 volume' },
  { type: 'step-done', step: 'a', milliseconds: 14_200, detail: '100 MB' },
  { type: 'step-skipped', step: 'b', title: 'Build', reason: 'no service is built' },
  { type: 'notice', level: 'info', message: 'Two sockets were left out.' },
  { type: 'notice', level: 'warning', message: 'An external volume.' },
  { type: 'step-started', step: 'c', title: 'Verify' },
  {
    type: 'step-failed',
    step: 'c',
    milliseconds: 61_000,
    message: 'app is unhealthy\n\x1b[31mapp-1 | FATAL\x1b[0m',
  },
  { type: 'rollback-started', reason: 'app is unhealthy' },
];

describe('the plain view', () => {
  it('is a line an event, with the time of day', async () => {
    expect((await log(run)).err.join('\n')).toMatchInlineSnapshot(`
      "12:00:00  Update of shop, run 20241017_120000
      12:00:00  Archive 1 volume …
      12:00:00  Archive 1 volume: done in 14.2 s, 100 MB
      12:00:00  Build: skipped, no service is built
      12:00:00  Two sockets were left out.
      12:00:00  Warning: An external volume.
      12:00:00  Verify …
      12:00:00  Verify: FAILED after 1 min 01 s: app is unhealthy
                \\x1b[31mapp-1 | FATAL\\x1b[0m
      12:00:00  ROLLING BACK: app is unhealthy"
    `);
  });

  it('says only what matters when it is to be quiet', async () => {
    const { err } = await log([...run, { type: 'outcome', outcome: rolledBack }], { quiet: true });
    expect(err.filter((line) => line.startsWith('12:'))).toEqual([
      '12:00:00  Warning: An external volume.',
      '12:00:00  Verify: FAILED after 1 min 01 s: app is unhealthy',
      '12:00:00  ROLLING BACK: app is unhealthy',
    ]);
    expect(err).toContain('✖ shop: the run failed and was rolled back · in 1 min 42 s');
  });

  it('says the warnings of a plan once, also when it is to be quiet', async () => {
    const planned: RunEvent = { type: 'planned', plan: { ...plan, warnings: ['The port is taken.'] } };
    const { err } = await log([planned, planned], { quiet: true });
    expect(err.filter((line) => line.startsWith('12:'))).toEqual(['12:00:00  Warning: The port is taken.']);
  });

  it('reports progress every ten seconds, and not more often', async () => {
    const events: (RunEvent | number)[] = [{ type: 'step-started', step: 'a', title: 'Archive' }];
    for (let second = 0; second <= 35; second += 1)
      events.push(progress(second * 2e6), 500, progress(second * 2e6 + 1e6), 500);
    const lines = (await log(events)).err.slice(1);
    expect(lines).toEqual([
      '12:00:10  Archive: uploads 20.0 MB of 100 MB, 20 %, 2.0 MB/s, 40 s left',
      '12:00:20  Archive: uploads 40.0 MB of 100 MB, 40 %, 2.0 MB/s, 30 s left',
      '12:00:30  Archive: uploads 60.0 MB of 100 MB, 60 %, 2.0 MB/s, 20 s left',
    ]);
  });

  it('names what a step worked on when it is to be verbose', async () => {
    const { err } = await log(
      [
        { type: 'step-started', step: 'a', title: 'Archive' },
        progress(100e6),
        { type: 'step-done', step: 'a', milliseconds: 10 },
      ],
      { verbose: true },
    );
    expect(err.at(-1)).toBe('12:00:00  Archive: uploads 100 MB of 100 MB, 100 %');
  });

  it('puts a good outcome on standard output and a bad one on standard error', async () => {
    const good = await log([{ type: 'outcome', outcome: updated }]);
    expect(good.out).toMatch(/rollback prod --to pre-update-20241017_143022\n$/);
    expect(good.err).toEqual(['']);
    const bad = await log([{ type: 'outcome', outcome: rolledBack }]);
    expect(bad.out).toBe('');
    expect(bad.err.join('\n')).toContain('What failed');
  });

  it('shows a plan once, and later only what has changed', async () => {
    const changed = { ...plan, warnings: [...plan.warnings, 'The new image moves a volume.'] };
    const { err } = await log([
      { type: 'planned', plan },
      { type: 'planned', plan },
      { type: 'planned', plan: changed },
    ]);
    expect(err.filter((line) => line.includes('Steps'))).toHaveLength(1);
    expect(err.slice(-2)).toEqual([
      '12:00:00  The plan has changed:',
      '            ⚠ The new image moves a volume.',
    ]);
    const hidden = await log([{ type: 'planned', plan }], { showPlan: false });
    expect(hidden.err).toEqual(['']);
  });

  it('cannot be made to say what was not said', async () => {
    const { err } = await log([
      { type: 'step-started', step: 'a', title: 'Archive x\n12:00:00  Verify: done in 1 s' },
      { type: 'notice', level: 'info', message: 'a\n12:00:00  Verify: done in 1 s\r\x1b[1A\u202e' },
    ]);
    expect(err).toEqual([
      String.raw`12:00:00  Archive x\n12:00:00  Verify: done in 1 s …`,
      '12:00:00  a',
      String.raw`          12:00:00  Verify: done in 1 s\r\x1b[1A\u{202e}`,
    ]);
  });
});
