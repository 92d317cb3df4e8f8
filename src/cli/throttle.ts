import type { Emit, RunEvent } from '../model/event.ts';

type Progress = Extract<RunEvent, { type: 'step-progress' }>;

/** Milliseconds between two events that only say how many bytes of an item are done. */
const interval = 100;

/**
 * Passes events on, but of those that only count bytes no more than ten a second for each item: they come with every
 * piece that is read. The last count of an item is never lost; it is passed on before whatever comes after it.
 */
export function throttled(emit: Emit, now: () => number): Emit {
  const passedAt = new Map<string, number>();
  const held = new Map<string, Progress>();
  return (event) => {
    if (event.type !== 'step-progress' || event.bytes === undefined || event.done === true) {
      for (const waiting of held.values()) emit(waiting);
      held.clear();
      emit(event);
      return;
    }
    const key = JSON.stringify([event.step, event.item]);
    for (const [other, waiting] of held) {
      if (other === key || waiting.step !== event.step) continue;
      emit(waiting);
      held.delete(other);
    }
    const at = now();
    if (at - (passedAt.get(key) ?? -Infinity) < interval) {
      held.set(key, event);
      return;
    }
    held.delete(key);
    passedAt.set(key, at);
    emit(event);
  };
}
