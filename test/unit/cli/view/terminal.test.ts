import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createView, type View, type ViewOptions } from '../../../../src/cli/view/view.ts';
import type { RunEvent } from '../../../../src/model/event.ts';
import { plan, rolledBack, updated } from './examples.ts';
import { FakeTerminal } from './fake-terminal.ts';

beforeEach(() => {
  vi.useFakeTimers({ now: 0 });
});
afterEach(() => {
  vi.useRealTimers();
});

async function open(
  size: { columns: number; rows: number },
  options: Partial<ViewOptions> = {},
): Promise<{ view: View; terminal: FakeTerminal; say: (...events: RunEvent[]) => Promise<void> }> {
  const terminal = new FakeTerminal(size);
  const view = await createView({
    json: false,
    stdout: terminal,
    stderr: terminal,
    isTerminal: true,
    colour: true,
    now: Date.now,
    ...options,
  });
  async function say(...events: RunEvent[]): Promise<void> {
    for (const event of events) view.emit(event);
    await vi.advanceTimersByTimeAsync(200);
  }
  return { view, terminal, say };
}

const wide = { columns: 80, rows: 24 };

const start = (step: string, title: string): RunEvent => ({ type: 'step-started', step, title });
const done = (step: string, milliseconds: number, detail: string): RunEvent => ({
  type: 'step-done',
  step,
  milliseconds,
  detail,
});
const progress = (item: string, bytes: number, totalBytes: number): RunEvent => ({
  type: 'step-progress',
  step: 'archive',
  item,
  bytes,
  totalBytes,
});

/** Two volumes for `seconds`, told five times a second. */
async function archive(say: (...events: RunEvent[]) => Promise<void>, seconds: number): Promise<void> {
  for (let i = 0; i <= seconds * 5; i += 1) {
    await say(progress('uploads', i * 20e6, 3.4e9), progress('db_data', Math.min(i * 40e6, 400e6), 400e6));
  }
}

describe('the terminal view', () => {
  it('shows a running step with what it works on, how fast, and how long still', async () => {
    const { terminal, say, view } = await open(wide);
    await say({ type: 'run-started', run: '20241017_120000', kind: 'update', project: 'shop', at: '' });
    await say(
      start('stop', 'Stop the stack'),
      done('stop', 1_500, '6 containers'),
      start('archive', 'Archive 2 volumes'),
    );
    await archive(say, 4);
    expect(terminal.shown.join('\n')).toMatchInlineSnapshot(`
      "Updating shop · 20241017_120000
        ✔ Stop the stack                          1.5 s  6 containers
        ⠴ Archive 2 volumes                         4 s
            uploads   ━─────────   400 MB of 3.4 GB    11 %  97.6 MB/s  31 s left
          ✔ db_data   400 MB"
    `);
    expect(terminal.cursorVisible).toBe(false);
    await view.close();
  });

  it('leaves one line of each step, in the order of the events, and nothing else', async () => {
    const { terminal, say, view } = await open(wide);
    await say(start('archive', 'Archive 2 volumes'));
    await archive(say, 3);
    await say({ type: 'notice', level: 'warning', message: 'Two sockets were left out.' });
    await archive(say, 5);
    // All at once: what ends first is printed first.
    await say(
      done('archive', 8_200, '4.6 GB → 1.9 GB'),
      { type: 'step-skipped', step: 'build', title: 'Build', reason: 'nothing is built' },
      start('up', 'Start'),
      done('up', 20, ''),
      { type: 'outcome', outcome: updated },
    );
    await view.close();
    expect(terminal.shown.join('\n')).toMatchInlineSnapshot(`
      "  ⚠ Two sockets were left out.
        ✔ Archive 2 volumes                       8.2 s  4.6 GB → 1.9 GB
        – Build                                          nothing is built
        ✔ Start                                   20 ms

      ✔ shop is updated · in 1 min 42 s
        Downtime      web 14.3 s · app 14.2 s · db 13.1 s
        Backup        pre-update-20241017_143022

      To go back: safe-update rollback prod --to pre-update-20241017_143022"
    `);
    expect(terminal.cursorVisible).toBe(true);
  });

  it('makes a rollback impossible to miss', async () => {
    const { terminal, say, view } = await open(wide);
    const message = 'app did not become healthy within 60 s\n\x1b[31mapp-1 | FATAL\x1b[0m';
    await say(start('verify', 'Verify'), {
      type: 'step-failed',
      step: 'verify',
      milliseconds: 61_000,
      message,
    });
    await say(
      { type: 'rollback-started', reason: message },
      start('back', 'Put the volumes back'),
      done('back', 4_000, '4.6 GB'),
    );
    await say({ type: 'outcome', outcome: rolledBack });
    await view.close();
    expect(terminal.shown.slice(0, 8).join('\n')).toMatchInlineSnapshot(`
      "  ✖ Verify                             1 min 01 s
            app did not become healthy within 60 s
            \\x1b[31mapp-1 | FATAL\\x1b[0m

      ← Rolling back
          app did not become healthy within 60 s
        ✔ Put the volumes back                    4.0 s  4.6 GB
      "
    `);
  });

  it('leaves no pieces behind on a small terminal that scrolls', async () => {
    const { terminal, say, view } = await open({ columns: 40, rows: 8 });
    for (let i = 1; i <= 20; i += 1) {
      await say(start('archive', `Archive ${i}`));
      await archive(say, 2);
      await say(done('archive', 2_000, ''));
    }
    await view.close();
    expect(terminal.shown).toEqual(
      Array.from({ length: 20 }, (_, i) => `  ✔ ${`Archive ${i + 1}`.padEnd(24)}      2.0 s`),
    );
  });

  it('is not confused by somebody who presses Enter', async () => {
    const { terminal, say, view } = await open(wide);
    await say(start('archive', 'Archive'));
    for (let i = 0; i < 10; i += 1) {
      terminal.write('\n');
      await archive(say, 1);
    }
    await say(done('archive', 2_000, ''));
    await view.close();
    expect(terminal.shown).toHaveLength(1);
  });

  it('leaves it to the terminal where the cursor is after a resize', async () => {
    const { terminal, say, view } = await open(wide);
    await say(start('archive', 'Archive'), progress('uploads', 1, 2));
    const drawn = (): string => terminal.text.slice(terminal.text.lastIndexOf('\x1b[?2026h'));
    expect(drawn()).toContain('\x1b8');
    terminal.columns = 40;
    terminal.say('resize');
    expect(drawn()).not.toContain('\x1b8');
    expect(drawn()).toContain('\x1b[J');
    await say();
    expect(drawn()).toContain('\x1b8');
    await view.close();
  });

  it('keeps what a step worked on when it is to be verbose', async () => {
    const { terminal, say, view } = await open(wide, { verbose: true });
    await say(start('archive', 'Archive 2 volumes'), progress('uploads', 3.4e9, 3.4e9));
    await say(progress('db', 400e6, 400e6), done('archive', 8_200, '1.9 GB'));
    await view.close();
    expect(terminal.shown.join('\n')).toMatchInlineSnapshot(`
      "  ✔ Archive 2 volumes                       8.2 s  1.9 GB
            uploads   3.4 GB
            db        400 MB"
    `);
  });

  it('shows the latest of what is no more than a name, whole', async () => {
    const { terminal, say, view } = await open(wide);
    await say(start('pull', 'Pull'));
    for (const item of ['app Pulling', 'a1b2c3 \x1b[32mDownloading 3 of 9 layers, and more of such']) {
      await say({ type: 'step-progress', step: 'pull', item });
      await say();
      await say();
    }
    expect(terminal.shown.slice(1)).toEqual([
      String.raw`      a1b2c3 \x1b[32mDownloading 3 of 9 layers, and more of such`,
    ]);
    await view.close();
  });

  it('draws several steps and many items within the screen', async () => {
    const { terminal, say, view } = await open({ columns: 60, rows: 10 });
    await say(start('archive', 'Archive'), start('dump', 'Dump'));
    await say(...Array.from({ length: 30 }, (_, i) => progress(`volume_${i + 1}`, i < 9 ? 100 : 50, 100)));
    await vi.advanceTimersByTimeAsync(6_000);
    expect(terminal.shown.join('\n')).toMatchInlineSnapshot(`
      "  ⠼ Archive                                   6 s
            volume_10  ━━━━━─────   50 %      0 B/s
            volume_11  ━━━━━─────   50 %      0 B/s
            19 more, 9 done
        ⠼ Dump                                      6 s"
    `);
    await view.close();
    expect(terminal.shown).toEqual([]);
  });

  it('does not draw while nothing runs, so that a question can be asked', async () => {
    const { terminal, say, view } = await open(wide);
    await say(start('look', 'Look'), done('look', 700, ''));
    const before = terminal.text;
    terminal.write('Go on? ');
    await vi.advanceTimersByTimeAsync(5_000);
    expect(terminal.text).toBe(`${before}Go on? `);
    expect(terminal.cursorVisible).toBe(true);
    expect(terminal.listeners('resize')).toBe(0);
    await view.close();
  });

  it('gives the terminal back at once when it is closed in the middle', async () => {
    const { terminal, say, view } = await open(wide);
    await say(start('archive', 'Archive'), progress('uploads', 1, 2));
    const closed = view.close();
    expect(terminal.cursorVisible).toBe(true);
    expect(terminal.shown).toEqual([]);
    await closed;
    await say({ type: 'notice', level: 'warning', message: 'still told' });
    expect(terminal.shown).toEqual(['  ⚠ still told']);
  });

  it('says which step was not finished when the run ends without a word about it', async () => {
    const { terminal, say, view } = await open(wide);
    await say(start('up', 'Start the new release'), { type: 'outcome', outcome: rolledBack });
    await view.close();
    expect(terminal.shown[0]).toMatch(/✖ Start the new release +not finished/);
  });

  it('cannot be driven by a name', async () => {
    const { terminal, say, view } = await open(wide);
    const hostile = 'a\x1b[2J\x1b[1;1H\x9b31m\rb\nc\u202e';
    await say({ type: 'run-started', run: hostile, kind: 'update', project: hostile, at: '' });
    await say(start('archive', hostile), progress(hostile, 1, 2), done('archive', 1, hostile));
    await say({ type: 'step-skipped', step: hostile, title: hostile, reason: hostile });
    await say(
      { type: 'notice', level: 'info', message: hostile },
      { type: 'rollback-started', reason: hostile },
    );
    await say({ type: 'step-failed', step: hostile, milliseconds: 1, message: hostile });
    await say({
      type: 'outcome',
      outcome: { ...updated, project: hostile, backup: hostile, rollbackCommand: hostile },
    });
    await view.close();
    // The fake terminal throws on any sequence that is not the view's own.
    for (const sequence of ['\x1b[2J', '\x1b[1;1H', '\x9b', '\u202e'])
      expect(terminal.text).not.toContain(sequence);
    expect(terminal.shown[0]).toContain(String.raw`a\x1b[2J\x1b[1;1H\x9b31m\rb\nc\u{202e}`);
  });

  it('tells only what matters when it is to be quiet, and does not draw', async () => {
    const { terminal, say, view } = await open(wide, { quiet: true });
    await say(
      { type: 'run-started', run: 'r', kind: 'update', project: 'shop', at: '' },
      start('archive', 'Archive'),
    );
    await say(progress('uploads', 1, 2), done('archive', 1, ''), {
      type: 'notice',
      level: 'info',
      message: 'hm',
    });
    expect(terminal.text).toBe('');
    const planned: RunEvent = { type: 'planned', plan: { ...plan, warnings: ['taken'] } };
    await say(planned, planned, start('v', 'Verify'), {
      type: 'step-failed',
      step: 'v',
      milliseconds: 1_000,
      message: 'unhealthy',
    });
    await view.close();
    expect(terminal.shown).toEqual([
      expect.stringContaining('taken'),
      expect.stringMatching(/✖ Verify +1\.0 s/),
      '      unhealthy',
    ]);
  });
});
