import { SafeUpdateError, messageOf, type LastWords } from '../../model/error.ts';
import type { Outcome } from '../../model/event.ts';
import { formatDuration } from '../../model/units.ts';
import { visible, visibleLines } from './escape.ts';
import { plain, type Style } from './style.ts';
import { paragraph, textWidth, truncate, wrap } from './width.ts';

type Results = Record<Outcome['result'], string>;

const wentWell: Results = {
  updated: 'is updated',
  'nothing-to-do': 'is up to date, there was nothing to do',
  'backed-up': 'is backed up',
  restored: 'is restored',
  proven: 'can be restored from its backup',
  'rolled-back': 'is rolled back',
  recovered: 'is recovered',
  failed: 'failed',
};

/** Lines of a message that are shown before its middle is left out. */
const messageLimit = 30;

/**
 * What a run has come to: for a good one what was done and where the backup is; for a failed one what failed, what
 * state things are in and what to do next. If there is a way back, its command is the whole end of the last line, never
 * broken, to be copied.
 *
 * Takes the columns it may use; returns lines without a line feed at the end.
 */
export function formatOutcome(outcome: Outcome, style: Style, columns = 80): string {
  const { error } = outcome;
  const lines = headline(outcome, style, columns);
  if (error !== undefined) {
    const words = (outcome.lastWords ?? []).flatMap((one) => spoken(one, style, columns));
    lines.push(...parts({ ...error, ...whatIsKnown(outcome, error) }, style, columns, words));
  }
  const known = facts(outcome, style, columns);
  if (known.length > 0) lines.push(...(error === undefined ? [] : ['']), ...known);
  if (outcome.rollbackCommand !== undefined) {
    lines.push('', `To go back: ${style.bold(style.cyan(visible(outcome.rollbackCommand)))}`);
  }
  return lines.join('\n');
}

/**
 * An error that ends the program outside a run. Takes anything that was thrown: an error made for people is shown in
 * three parts and without a stack; anything else is a bug and shown with everything that helps to find it.
 */
export function formatError(error: unknown, style: Style = plain, columns = 80): string {
  if (error instanceof SafeUpdateError) {
    const { code, message, state, hint, cause } = error;
    const because = cause === undefined ? '' : messageOf(cause);
    const whole = because === '' || message.includes(because) ? message : `${message}\n${because}`;
    const [first = '', ...more] = paragraph(whole, columns - 1 - 2, messageLimit);
    return [
      `${style.red('✖')} ${style.bold(first)}`,
      ...more.map((line) => `  ${line}`),
      ...parts({ code, state, hint }, style, columns),
    ].join('\n');
  }
  return [
    `${style.red('✖')} ${style.bold('safe-update has a bug')}`,
    ...parts({ code: 'bug', message: stackOf(error), state: undefined, hint: undefined }, style, columns),
  ].join('\n');
}

function headline(
  { result, project, milliseconds, error, summary }: Outcome,
  style: Style,
  columns: number,
): string[] {
  const took = `in ${formatDuration(milliseconds)}`;
  const name = visible(project);
  const icon = error === undefined ? style.green('✔') : style.red('✖');
  const how = error?.code === 'interrupted' ? 'was interrupted' : 'failed';
  const back = result === 'rolled-back' ? ' and was rolled back' : '';
  const well = summary === undefined ? `${name} ${wentWell[result]}` : visible(summary);
  // Before it is known which project it is.
  const whose = name === '' ? 'The run' : `${name}: the run`;
  const text = error === undefined ? well : `${whose} ${how}${back}`;
  const [first = '', ...more] = wrap(text, columns - 1 - 2);
  const lines = [`${icon} ${style.bold(first)}`, ...more.map((line) => `  ${style.bold(line)}`)];
  const fits = textWidth(text) + 3 + took.length <= columns - 1 - 2;
  return fits ? [`${lines[0] ?? ''}${style.dim(` · ${took}`)}`] : [...lines, `  ${style.dim(took)}`];
}

interface Parts {
  code: SafeUpdateError['code'] | 'bug';
  message?: string;
  state: string | undefined;
  hint: string | undefined;
}

/** What a service printed last. A line of a log is not broken: what is cut off is in the backup. */
function spoken(
  { service, lines, healthcheck, startError }: LastWords,
  style: Style,
  columns: number,
): string[] {
  const quoted = (text: string): string => {
    const [line = ''] = visibleLines(text);
    return `      ${style.dim('│')} ${truncate(line, columns - 1 - 8)}`;
  };
  return [
    '',
    ...paragraph(`${service} said last:`, columns - 1 - 4).map((line) => `    ${line}`),
    ...(lines.length === 0 ? [quoted('(nothing)')] : lines.map(quoted)),
    ...(startError === undefined
      ? []
      : paragraph(`The engine: ${startError}`, columns - 1 - 4).map((line) => `    ${line}`)),
    ...(healthcheck === undefined
      ? []
      : paragraph(`Its healthcheck said: ${healthcheck}`, columns - 1 - 4).map((line) => `    ${line}`)),
  ];
}

/** Three paragraphs under titles of their own; one that has nothing to say is left out. `words`: what follows what failed. */
function parts(
  { code, message, state, hint }: Parts,
  style: Style,
  columns: number,
  words: readonly string[] = [],
): string[] {
  const next =
    hint ??
    (code === 'bug'
      ? 'This is a bug in safe-update. Please report it, with all that is printed here.'
      : undefined);
  // A stack is for whoever looks for the bug: whole, and not broken.
  const body = (text: string): string[] =>
    code === 'bug' ? visibleLines(text) : paragraph(text, columns - 1 - 4, messageLimit);
  const blocks: [string, string | undefined, (text: string) => string][] = [
    ['What failed', message, style.red],
    ['State now', state, style.yellow],
    ['Next', next, style.cyan],
  ];
  return blocks.flatMap(([title, text, paint], index) =>
    text === undefined
      ? []
      : [
          ...['', `  ${style.bold(paint(title))}`, ...body(text).map((line) => `    ${line}`)],
          ...(index === 0 ? words : []),
        ],
  );
}

/** The state and the next step, as far as the result alone tells them when the error does not. */
function whatIsKnown(
  { result }: Outcome,
  { code, state, hint }: NonNullable<Outcome['error']>,
): { state: string | undefined; hint: string | undefined } {
  if (result === 'rolled-back') {
    return {
      state: state ?? 'Everything is as it was before the run: images, configuration and data.',
      hint,
    };
  }
  if (code === 'rollback-incomplete') {
    return {
      state: state ?? 'Something is not as it was before the run.',
      hint: hint ?? 'Run `safe-update recover`: it goes on where this run ended.',
    };
  }
  return { state, hint };
}

function facts(
  { notes = [], downtime, backup, failedBackup }: Outcome,
  style: Style,
  columns: number,
): string[] {
  const rows: [string, string][] = notes.map((note) => ['Look at', note]);
  if (downtime !== undefined) rows.push(['Downtime', formatDowntime(downtime)]);
  if (backup !== undefined) rows.push(['Backup', backup]);
  if (failedBackup !== undefined)
    rows.push(['Failed state', `${failedBackup} (kept, nothing of it is lost)`]);
  // Names of backups are copied: where there is no room for them beside their titles, they go below.
  const narrow = columns < 60;
  return rows.flatMap(([title, text]) => {
    const parts = wrap(visible(text), columns - 1 - (narrow ? 4 : 16));
    if (narrow) return [`  ${style.dim(title)}`, ...parts.map((part) => `    ${part}`)];
    return parts.map((part, i) => `  ${style.dim((i === 0 ? title : '').padEnd(12))}  ${part}`);
  });
}

/** Longest first; services that served all the time are not worth a word. */
function formatDowntime(downtime: Record<string, number>): string {
  const down = Object.entries(downtime)
    .filter(([, milliseconds]) => milliseconds > 0)
    .sort(([, a], [, b]) => b - a);
  if (down.length === 0) return 'none';
  return down.map(([service, milliseconds]) => `${service} ${formatDuration(milliseconds)}`).join(' · ');
}

function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return `Thrown: ${messageOf(error)}`;
  const stack = error.stack ?? `${error.name}: ${error.message}`;
  return error.cause === undefined ? stack : `${stack}\nCaused by: ${stackOf(error.cause)}`;
}
