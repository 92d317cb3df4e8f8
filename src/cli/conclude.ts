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
    if (!(error instanceof SafeUpdateError)) throw error;
    view.emit({
      type: 'outcome',
      outcome: {
        result: error.code === 'rolled-back' ? 'rolled-back' : 'failed',
        run: '',
        project: context.settings.project.name ?? '',
        milliseconds: context.clock.monotonic() - from,
        error: {
          code: error.code,
          message: messageOf(error),
          ...(error.state === undefined ? {} : { state: error.state }),
          ...(error.hint === undefined ? {} : { hint: error.hint }),
        },
      },
    });
    return error.code === 'interrupted' ? (signalExitCode() ?? 130) : exitCodeOf(error);
  } finally {
    await runtime.close();
  }
}
