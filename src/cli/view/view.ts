import type { Emit } from '../../model/event.ts';
import { messageOf } from '../../model/error.ts';
import { visible } from './escape.ts';
import { createSink, type OutputStream, type Sink } from './sink.ts';
import { createStyle, type Style } from './style.ts';

/** Shows a run while it runs. */
export interface View {
  /** Never throws and never waits, whatever becomes of the terminal or the pipe. */
  emit: Emit;
  /** Resolves when all that was emitted so far is on the screen, as is wanted before a question. Never rejects. */
  shown(): Promise<void>;
  /**
   * Gives the terminal back, at once; resolves when everything said is written, or its reader does not read any more.
   * Never rejects. To be awaited before process.exit, which would drop what is not written yet.
   */
  close(): Promise<void>;
}

export interface ViewOptions {
  /** JSON lines on standard output, and nothing else. */
  json: boolean;
  /** Only warnings, failures and the outcome. */
  quiet?: boolean;
  /** Also what each step worked on. */
  verbose?: boolean;
  stdout: OutputStream;
  stderr: OutputStream;
  /** Standard error is a terminal that can be drawn on: a TTY, and TERM is not `dumb`. */
  isTerminal: boolean;
  /** Colours on standard error. On standard output they are used if it is a terminal as well. */
  colour: boolean;
  /** False: the caller has shown the plan already, for a question; only one that differs from it is shown then. */
  showPlan?: boolean;
  /** Milliseconds since 1970. */
  now: () => number;
}

/**
 * Makes the one view of a run: JSON lines, a drawn terminal, or plain lines. What is not used is not loaded. Progress
 * and failures go to standard error, a good outcome to standard output.
 */
export async function createView(options: ViewOptions): Promise<View> {
  const out = createSink(options.stdout);
  const err = createSink(options.stderr);
  const { emit, shown, close } = await create(options, out, err);
  let broken = false;

  // A mistake in showing a run must not end it; it is told, once.
  function tell(error: unknown): void {
    if (!broken) err.write(`The display failed: ${visible(messageOf(error))}\n`);
    broken = true;
  }

  return {
    emit(event) {
      try {
        emit(event);
      } catch (error) {
        tell(error);
      }
    },
    async shown() {
      await shown?.();
    },
    async close() {
      try {
        await close?.();
      } catch (error) {
        tell(error);
      }
      await Promise.all([out.flush(), err.flush()]);
    },
  };
}

async function create(
  options: ViewOptions,
  out: Sink,
  err: Sink,
): Promise<{ emit: Emit; shown?: () => Promise<void>; close?: () => Promise<void> }> {
  const { stdout, stderr, now, quiet = false, verbose = false, showPlan = true } = options;
  if (options.json) {
    const { createJsonView } = await import('./json.ts');
    return createJsonView({ out, now });
  }

  const style = await createStyle(options.colour && stdout.isTTY === true);
  function printResult(format: (style: Style, columns: number) => string): void {
    out.write(`${format(style, stdout.columns || 80)}\n`);
  }
  const common = { err, printResult, showPlan, quiet, verbose, now };

  if (options.isTerminal) {
    const { createTerminalView } = await import('./terminal.ts');
    return createTerminalView({ ...common, stream: stderr, style: await createStyle(options.colour) });
  }
  const { createPlainView } = await import('./plain.ts');
  return createPlainView(common);
}
