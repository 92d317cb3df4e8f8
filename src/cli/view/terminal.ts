import { Listr, figures, Spinner, type ListrRenderer } from 'listr2';
import { messageOf } from '../../model/error.ts';
import type { RunEvent, RunKind } from '../../model/event.ts';
import type { Plan } from '../../model/plan.ts';
import { visible, visibleLines } from './escape.ts';
import { formatOutcome } from './outcome.ts';
import { changedLines, formatPlan } from './plan.ts';
import { createScreen } from './screen.ts';
import type { OutputStream, Sink } from './sink.ts';
import { createStep, runningLines, settledLines, type Layout, type Settled, type ShownStep } from './step.ts';
import type { Style } from './style.ts';
import type { View } from './view.ts';
import { paragraph, truncate } from './width.ts';

export interface TerminalOptions {
  /** The terminal, and the sink that writes to it. */
  stream: OutputStream;
  err: Sink;
  style: Style;
  /** Takes the text of a good outcome, which is a result and not progress. */
  printResult: (format: (style: Style, columns: number) => string) => void;
  /** False: the caller has shown the first plan already. */
  showPlan: boolean;
  /** True: only warnings, failures and the outcome. */
  quiet: boolean;
  /** True: what a step worked on is kept under it. */
  verbose: boolean;
  now: () => number;
}

/** A step on the screen, and how the event that ends it reaches the listr2 task that waits for it. */
interface LiveStep {
  shown: ShownStep;
  settle: (settled: Settled) => void;
  /** Resolves when the task has ended and its last lines are printed. */
  ended: Promise<unknown>;
}

/** The most lines a running step takes. */
const stepLimit = 8;

const headers: Record<RunKind, (project: string) => string> = {
  update: (project) => `Updating ${project}`,
  backup: (project) => `Backing up ${project}`,
  restore: (project) => `Restoring ${project}`,
  'restore-as': (project) => `Restoring into ${project}`,
  prove: (project) => `Test-restoring ${project}`,
  rollback: (project) => `Rolling back ${project}`,
  recover: (project) => `Recovering ${project}`,
};

/**
 * The view for people at a terminal. Steps that run are drawn live at the end of the screen; what is over is printed
 * above, once, and belongs to the terminal from then on: it scrolls away as any text, and survives any resize.
 *
 * Events are shown one after the other, each when the one before is on the screen. `close` gives the cursor back at
 * once, before it first waits, so that it can also be called while the process exits.
 */
export function createTerminalView(options: TerminalOptions): View {
  const { style, now } = options;
  const steps = new Map<string, LiveStep>();
  const titles = new Map<string, string>();
  const spinner = createSpinner(now);
  const screen = createScreen(options.stream, options.err, drawSteps);
  let plan: Plan | undefined;
  let failure: Error | undefined;
  let queue: Promise<unknown> = Promise.resolve();

  function layout(): Layout {
    return {
      style,
      columns: screen.columns,
      icons: { done: figures.tick, failed: figures.cross, skipped: '–' },
    };
  }

  function drawSteps({ rows }: { rows: number }): string[] {
    if (steps.size === 0) return [];
    const frame = spinner();
    const limit = Math.max(1, Math.min(stepLimit, Math.floor(rows / steps.size)));
    try {
      return [...steps.values()].flatMap(({ shown }) => runningLines(shown, now(), frame, layout(), limit));
    } catch (error) {
      // This is called by a timer, where throwing would end the process.
      fail(error);
      return [];
    }
  }

  function fail(error: unknown): void {
    failure ??= new Error(messageOf(error), { cause: error });
  }

  /**
   * A step is a listr2 task in a list of its own: a list cannot grow while it runs, and the steps of a rollback are not
   * known before there is one. The task does nothing but wait for the event that ends the step.
   */
  function start(step: string, title: string): LiveStep {
    let settleTask: (settled: Settled) => void = () => undefined;
    const end = new Promise<Settled>((resolve) => (settleTask = resolve));
    const shown = createStep(title, now());
    let settled: Settled = { state: 'abandoned' };
    const list = new Listr<undefined, typeof StepRenderer>(
      [
        {
          title: shown.title,
          task: async (_, task) => {
            settled = await end;
            if (settled.state === 'skipped') task.skip(settled.reason);
            if (settled.state === 'failed') throw new Error(settled.message);
          },
        },
      ],
      {
        renderer: StepRenderer,
        rendererOptions: {
          begin: () => {
            screen.draw();
          },
          end: () => {
            steps.delete(step);
            screen.print(settledLines(shown, settled, layout(), { items: options.verbose, now: now() }));
          },
        },
        exitOnError: false,
        registerSignalListeners: false,
      },
    );
    const live = { shown, settle: settleTask, ended: Promise.resolve<unknown>(undefined) };
    steps.set(step, live);
    live.ended = list.run().catch(fail);
    return live;
  }

  async function settle(step: string, settled: Settled): Promise<void> {
    if (options.quiet && settled.state !== 'failed') return;
    const live = steps.get(step) ?? start(step, titles.get(step) ?? step);
    live.settle(settled);
    await live.ended;
  }

  async function show(event: RunEvent): Promise<void> {
    switch (event.type) {
      case 'run-started':
        if (options.quiet) return;
        screen.print([
          `${style.bold(visible(headers[event.kind](event.project)))}${style.dim(` · ${visible(event.run)}`)}`,
        ]);
        return;
      case 'planned': {
        const said = plan?.warnings ?? [];
        const before = plan ?? (options.showPlan ? undefined : event.plan);
        plan = event.plan;
        if (options.quiet) {
          for (const warning of event.plan.warnings)
            if (!said.includes(warning)) await show({ type: 'notice', level: 'warning', message: warning });
          return;
        }
        if (before === undefined) {
          screen.print(['', ...formatPlan(event.plan, style, screen.columns).split('\n'), '']);
          return;
        }
        const lines = changedLines(before, event.plan, style, screen.columns - 2);
        if (lines.length === 0) return;
        screen.print([
          ...marked(figures.info, style.cyan, 'The plan has changed:'),
          ...lines.map((line) => `  ${line}`),
        ]);
        return;
      }
      case 'step-started':
        titles.set(event.step, event.title);
        if (!options.quiet) start(event.step, event.title);
        return;
      case 'step-progress':
        steps.get(event.step)?.shown.progress.update(event, now());
        return;
      case 'step-done':
        return settle(event.step, { state: 'done', ...event });
      case 'step-skipped':
        titles.set(event.step, event.title);
        return settle(event.step, { state: 'skipped', ...event });
      case 'step-failed':
        return settle(event.step, { state: 'failed', ...event });
      case 'notice': {
        const warning = event.level === 'warning';
        if (options.quiet && !warning) return;
        const icon = warning ? figures.warning : figures.info;
        screen.print(marked(icon, warning ? style.yellow : style.cyan, event.message));
        return;
      }
      case 'rollback-started': {
        // One line: the step that failed has just said it in full, and the outcome will say it again.
        const [reason = ''] = visibleLines(event.reason);
        screen.print([
          '',
          style.bold(style.yellow(`${figures.arrowLeft} Rolling back`)),
          `    ${style.yellow(truncate(reason, screen.columns - 1 - 4))}`,
        ]);
        return;
      }
      case 'outcome': {
        for (const step of [...steps.keys()]) await settle(step, { state: 'abandoned' });
        const { outcome } = event;
        if (outcome.error === undefined) {
          if (!options.quiet) screen.print(['']);
          options.printResult((target, columns) => formatOutcome(outcome, target, columns));
        } else {
          screen.print(['', ...formatOutcome(outcome, style, screen.columns).split('\n')]);
        }
      }
    }
  }

  function marked(icon: string, paint: (text: string) => string, message: string): string[] {
    const [first = '', ...more] = paragraph(message, screen.columns - 1 - 4, 12);
    return [`  ${paint(icon)} ${first}`, ...more.map((line) => `    ${line}`)];
  }

  return {
    emit(event) {
      // One event that cannot be shown must not keep the others from it.
      queue = queue.then(() => show(event)).catch(fail);
    },
    async shown() {
      await queue;
    },
    async close() {
      screen.release();
      await queue;
      if (failure !== undefined) throw failure;
    },
  };
}

/** Draws nothing itself: tells the screen, which all steps share, that a step begins or ends. */
class StepRenderer implements ListrRenderer {
  // Listr2 asks process.stdout whether it is a terminal; here it is standard error that was found to be one.
  static nonTTY = true;
  static rendererOptions: { begin: () => void; end: () => void };
  static rendererTaskOptions: never;
  render: () => void;
  end: () => void;

  constructor(_tasks: unknown, options: typeof StepRenderer.rendererOptions) {
    this.render = options.begin;
    this.end = options.end;
  }
}

/** Listr2's spinner, turned by the clock rather than by how often it is drawn. */
function createSpinner(now: () => number): () => string {
  const spinner = new Spinner();
  let turnedAt = 0;
  return () => {
    if (now() - turnedAt >= 90) {
      spinner.spin();
      turnedAt = now();
    }
    return spinner.fetch();
  };
}
