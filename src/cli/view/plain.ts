import type { Emit, RunKind } from '../../model/event.ts';
import type { Plan } from '../../model/plan.ts';
import { formatDuration } from '../../model/units.ts';
import { visible } from './escape.ts';
import { formatOutcome } from './outcome.ts';
import { changedLines, formatPlan } from './plan.ts';
import { createProgress, formatItem, type StepProgress } from './progress.ts';
import type { Sink } from './sink.ts';
import { plain, type Style } from './style.ts';
import { paragraph } from './width.ts';

export interface PlainOptions {
  err: Sink;
  /** Takes the text of a good outcome, which is a result and not progress. */
  printResult: (format: (style: Style, columns: number) => string) => void;
  showPlan: boolean;
  quiet: boolean;
  verbose: boolean;
  now: () => number;
}

interface LoggedStep {
  title: string;
  progress: StepProgress;
  reportedAt: number;
}

/** Milliseconds between two progress lines of a step. */
const progressInterval = 10_000;
/** Logs have no width; this is for the blocks that are laid out, and for messages of many lines. */
const columns = 100;
/** Further lines begin where the text of the first does: none of them can pass for a line with a time. */
const margin = ' '.repeat(10);

const kindTexts: Record<RunKind, string> = {
  update: 'Update',
  backup: 'Backup',
  restore: 'Restore',
  'restore-as': 'Restore',
  prove: 'Test-restore',
  rollback: 'Rollback',
  recover: 'Recovery',
};

/**
 * The view for logs and CI: a line an event, with the local time of day before it; no colours, no control characters,
 * nothing that is drawn over.
 */
export function createPlainView(options: PlainOptions): { emit: Emit } {
  const { err, now, quiet } = options;
  const steps = new Map<string, LoggedStep>();
  let plan: Plan | undefined;

  /** What safe-update says, on one line whatever is in the names; and what others said, on as many as it has. */
  function log(text: string, message = ''): void {
    const [first = '', ...more] = paragraph(message, Infinity, options.verbose ? Infinity : 40);
    const lines = [
      `${timeOfDay(now())}  ${visible(text)}${first}`.trimEnd(),
      ...more.map((line) => margin + line),
    ];
    err.write(`${lines.join('\n')}\n`);
  }

  function end(step: string): string {
    const title = steps.get(step)?.title ?? step;
    steps.delete(step);
    return title;
  }

  return {
    emit(event) {
      switch (event.type) {
        case 'run-started':
          if (!quiet) log(`${kindTexts[event.kind]} of ${event.project}, run ${event.run}`);
          return;
        case 'planned': {
          const said = plan?.warnings ?? [];
          const before = plan ?? (options.showPlan ? undefined : event.plan);
          plan = event.plan;
          if (quiet) {
            for (const warning of event.plan.warnings) if (!said.includes(warning)) log('Warning: ', warning);
            return;
          }
          const lines =
            before === undefined
              ? formatPlan(event.plan, plain, columns).split('\n')
              : changedLines(before, event.plan, plain, columns);
          if (lines.length === 0) return;
          log(before === undefined ? 'The plan:' : 'The plan has changed:');
          err.write(lines.map((line) => `${(margin + line).trimEnd()}\n`).join(''));
          return;
        }
        case 'step-started':
          steps.set(event.step, { title: event.title, progress: createProgress(), reportedAt: now() });
          if (!quiet) log(`${event.title} …`);
          return;
        case 'step-progress': {
          const step = steps.get(event.step);
          if (step === undefined || quiet) return;
          step.progress.update(event, now());
          const active = step.progress.items(now()).filter(({ state }) => state === 'running');
          if (active.length === 0 || now() - step.reportedAt < progressInterval) return;
          step.reportedAt = now();
          const items = active.map((item) => `${item.item} ${formatItem(item)}`.trimEnd());
          log(`${step.title}: ${items.join(' · ')}`);
          return;
        }
        case 'step-done': {
          const step = steps.get(event.step);
          const title = end(event.step);
          if (quiet) return;
          const detail = event.detail === undefined ? '' : `, ${event.detail}`;
          log(`${title}: done in ${formatDuration(event.milliseconds)}${detail}`);
          if (options.verbose) {
            for (const item of step?.progress.items(now()) ?? []) {
              log(`${title}: ${item.item} ${formatItem(item)}`);
            }
          }
          return;
        }
        case 'step-skipped':
          if (!quiet) log(`${event.title}: skipped, `, event.reason);
          return;
        case 'step-failed':
          log(`${end(event.step)}: FAILED after ${formatDuration(event.milliseconds)}: `, event.message);
          return;
        case 'notice':
          if (event.level === 'warning') log('Warning: ', event.message);
          else if (!quiet) log('', event.message);
          return;
        case 'rollback-started':
          log('ROLLING BACK: ', event.reason);
          return;
        case 'outcome': {
          const { outcome } = event;
          if (outcome.error === undefined) {
            options.printResult((style, width) => formatOutcome(outcome, style, width));
          } else {
            err.write(`${formatOutcome(outcome, plain, columns)}\n`);
          }
        }
      }
    },
  };
}

function timeOfDay(at: number): string {
  const date = new Date(at);
  return [date.getHours(), date.getMinutes(), date.getSeconds()]
    .map((part) => String(part).padStart(2, '0'))
    .join(':');
}
