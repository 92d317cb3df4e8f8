import { SafeUpdateError, messageOf } from '../model/error.ts';
import type { Outcome } from '../model/event.ts';
import { exitCodeOf } from './exit.ts';
import type { Runtime } from './runtime.ts';
import { signalExitCode } from './signals.ts';

/** Runs something that ends in an outcome, shows it, and returns the exit code. The outcome is the last event, also of a failure. */
export async function conclude(runtime: Runtime, work: () => Promise<Outcome>): Promise<number> {
  const { context, view } = runtime;
  const from = context.clock.monotonic();
  try {
    const outcome = await work();
    view.emit({ type: 'outcome', outcome });
    return 0;
  } catch (error) {
    view.emit({
      type: 'outcome',
      outcome: failure(error, runtime.project(), context.clock.monotonic() - from),
    });
    return error instanceof SafeUpdateError && error.code === 'interrupted'
      ? (signalExitCode() ?? 130)
      : exitCodeOf(error);
  } finally {
    await runtime.close();
  }
}

/** The outcome of something that threw. A bug's stack trace is part of its message. Pure. */
export function failure(error: unknown, project: string, milliseconds: number): Outcome {
  if (!(error instanceof SafeUpdateError)) {
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { result: 'failed', run: '', project, milliseconds, error: { code: 'bug', message } };
  }
  const undone =
    error.code === 'rolled-back' ||
    (error.code === 'interrupted' && error.failed?.failedBackup !== undefined);
  return {
    result: undone ? 'rolled-back' : 'failed',
    project,
    milliseconds,
    run: '',
    ...error.failed,
    error: {
      code: error.code,
      message: messageOf(error),
      ...(error.state === undefined ? {} : { state: error.state }),
      ...(error.hint === undefined ? {} : { hint: error.hint }),
    },
  };
}
