import type { EngineEvent } from '../docker/engine.ts';

/**
 * Milliseconds each service did not serve, from the engine's own events: from the first replica that stopped to the
 * moment at which every replica had come back, by its healthcheck where it has one, by its start where it has none.
 * A service that never came back counts until `until`. Pure.
 */
export function downtime(
  events: readonly EngineEvent[],
  services: readonly { service: string; replicas: number }[],
  until: number,
): Record<string, number> {
  const result: Record<string, number> = {};
  for (const { service, replicas } of services) {
    const own = events.filter((event) => event.service === service);
    const stopped = own.find(({ action }) => action === 'die');
    if (stopped === undefined) continue;
    const after = own.filter(({ at }) => at > stopped.at);
    // The last life of each replica is the one that stayed.
    const back = new Map<number, number>();
    for (const event of after) {
      if (event.action === 'start') {
        back.set(event.number, event.at);
        const healthy = after.find(
          (other) =>
            other.containerId === event.containerId &&
            other.at > event.at &&
            other.action === 'health_status: healthy',
        );
        const hasHealthcheck = events.some(
          (other) => other.containerId === event.containerId && other.action.startsWith('health_status'),
        );
        if (hasHealthcheck) back.set(event.number, healthy?.at ?? until);
      }
    }
    const end = back.size >= replicas ? Math.max(...back.values()) : until;
    result[service] = Math.max(0, Math.round(end - stopped.at));
  }
  return result;
}
