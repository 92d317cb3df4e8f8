import type { Emit } from '../../model/event.ts';
import { visibleJson } from './escape.ts';
import type { Sink } from './sink.ts';

/**
 * One event a line on standard output, as JSON, with the time it was said at (`at`, ISO 8601, UTC); `run-started`
 * brings its own. The last line is the outcome.
 */
export function createJsonView(options: { out: Sink; now: () => number }): { emit: Emit } {
  return {
    emit(event) {
      const at = new Date(options.now()).toISOString();
      options.out.write(`${visibleJson(JSON.stringify({ at, ...event }))}\n`);
    },
  };
}
