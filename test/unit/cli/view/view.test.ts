import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { createView, type ViewOptions } from '../../../../src/cli/view/view.ts';
import type { RunEvent } from '../../../../src/model/event.ts';
import { plan, rolledBack, updated } from './examples.ts';
import { FakeStream, FakeTerminal } from './fake-terminal.ts';

const everyEvent: RunEvent[] = [
  {
    type: 'run-started',
    run: '20241017_120000',
    kind: 'update',
    project: 'shop',
    at: '2024-10-17T12:00:00.000Z',
  },
  { type: 'planned', plan },
  { type: 'step-started', step: 'a', title: 'Archive' },
  { type: 'step-progress', step: 'a', item: 'uploads', bytes: 1, totalBytes: 2 },
  { type: 'step-done', step: 'a', milliseconds: 5 },
  { type: 'step-skipped', step: 'b', title: 'Build', reason: 'nothing to build' },
  { type: 'step-started', step: 'c', title: 'Verify' },
  { type: 'step-failed', step: 'c', milliseconds: 5, message: 'unhealthy' },
  { type: 'notice', level: 'info', message: 'x\u009b2J' },
  { type: 'rollback-started', reason: 'unhealthy' },
  { type: 'outcome', outcome: rolledBack },
];

function streams(isTerminal: boolean): Pick<
  ViewOptions,
  'stdout' | 'stderr' | 'isTerminal' | 'colour' | 'now'
> & {
  stdout: FakeStream;
  stderr: FakeStream;
} {
  const size = { columns: 80, rows: 24 };
  return {
    stdout: new FakeStream(),
    stderr: isTerminal ? new FakeTerminal(size) : new FakeStream(),
    isTerminal,
    colour: isTerminal,
    now: () => Date.UTC(2024, 9, 17, 12),
  };
}

describe('the JSON view', () => {
  it('is one event a line, each with its time, the outcome last, and nothing on standard error', async () => {
    const options = streams(false);
    const view = await createView({ ...options, json: true });
    for (const event of everyEvent) view.emit(event);
    await view.close();
    const lines = options.stdout.lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines).toEqual(everyEvent.map((event) => ({ at: '2024-10-17T12:00:00.000Z', ...event })));
    expect(options.stdout.text).toContain(String.raw`x\u009b2J`);
    expect(options.stderr.text).toBe('');
  });
});

describe('every view', () => {
  it.each([
    ['json', true, false],
    ['plain', false, false],
    ['terminal', false, true],
  ])('goes on without a reader: %s', async (_, json, isTerminal) => {
    for (const behaviour of ['fails', 'throws'] as const) {
      const options = streams(isTerminal);
      const view = await createView({ ...options, json });
      options.stdout.behaviour = behaviour;
      options.stderr.behaviour = behaviour;
      for (const event of everyEvent) view.emit(event);
      await view.close();
      view.emit({ type: 'notice', level: 'info', message: 'after the end' });
      await view.close();
    }
  });

  it('tells when it fails itself, and does not fail the run', async () => {
    for (const isTerminal of [false, true]) {
      const options = streams(isTerminal);
      const view = await createView({ ...options, json: false });
      view.emit({ type: 'planned', plan: { ...plan, services: null as never } });
      view.emit({ type: 'step-started', step: 'a', title: 'Archive' });
      view.emit({ type: 'step-progress', step: 'a', item: null as never });
      view.emit({ type: 'step-done', step: 'a', milliseconds: null as never });
      view.emit({ type: 'notice', level: 'warning', message: 'still here' });
      await new Promise((resolve) => setTimeout(resolve, 150));
      await view.close();
      expect(options.stderr.text).toContain('The display failed');
      expect(options.stderr.text).toContain('still here');
    }
  });

  it('colours standard output only if that is a terminal too', async () => {
    const options = streams(true);
    const view = await createView({ ...options, json: false });
    view.emit({ type: 'outcome', outcome: updated });
    await view.close();
    expect(options.stdout.text).toContain('✔ shop is updated');
    expect(options.stdout.text).not.toContain('\x1b');
  });

  it('can be waited for before a question is asked', async () => {
    for (const isTerminal of [false, true]) {
      const options = streams(isTerminal);
      const view = await createView({ ...options, json: false });
      view.emit({ type: 'planned', plan });
      await view.shown();
      expect(options.stderr.text).toContain('Steps');
      await view.close();
    }
  });

  it('takes the plan for shown when told that it was', async () => {
    const options = streams(true);
    const view = await createView({ ...options, json: false, showPlan: false });
    view.emit({ type: 'planned', plan });
    view.emit({ type: 'planned', plan: { ...plan, warnings: ['new'] } });
    await view.close();
    expect(options.stderr.text).not.toContain('Steps');
    expect(options.stderr.text).toContain('The plan has changed');
  });
});

it.each(['json', 'plain'])('neither listr2 nor chalk is loaded for %s output', async (kind) => {
  const program = `
    import { registerHooks } from 'node:module';
    const loaded = [];
    registerHooks({ resolve(name, context, next) { loaded.push(name); return next(name, context); } });
    const { createView } = await import(${JSON.stringify(new URL('../../../../src/cli/view/view.ts', import.meta.url).href)});
    const { stdout, stderr } = process;
    await createView({ json: ${String(kind === 'json')}, stdout, stderr, isTerminal: false, colour: false, now: Date.now });
    console.log(loaded.filter((name) => name === 'listr2' || name === 'chalk').join());
    console.log(loaded.includes('./${kind}.ts'));
  `;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program]);
  expect(stdout).toBe('\ntrue\n');
});
