import { describe, expect, it } from 'vitest';
import type { EngineEvent } from '../../../src/docker/engine.ts';
import { downtime } from '../../../src/update/downtime.ts';

function event(
  at: number,
  action: string,
  containerId: string,
  facts: Partial<EngineEvent> = {},
): EngineEvent {
  return { at, action, containerId, service: 'web', number: 1, ...facts };
}
const web = [{ service: 'web', replicas: 1 }];

describe('downtime', () => {
  it('goes from the stop to the start of a service without healthcheck', () => {
    const events = [
      event(1000, 'kill', 'old'),
      event(1200, 'die', 'old'),
      event(1201, 'stop', 'old'),
      event(3000, 'create', 'new'),
      event(3200.4, 'start', 'new'),
    ];
    expect(downtime(events, web, 9000)).toEqual({ web: 2000 });
  });

  it('goes to the first healthy answer where there is a healthcheck', () => {
    const events = [
      event(1000, 'die', 'old'),
      event(3000, 'start', 'new'),
      event(3500, 'exec_start: curl', 'new'),
      event(4500, 'health_status: healthy', 'new'),
      event(5000, 'health_status: unhealthy', 'new'),
      event(6000, 'health_status: healthy', 'new'),
    ];
    expect(downtime(events, web, 9000)).toEqual({ web: 3500 });
  });

  it('goes on while a container with a healthcheck is not healthy', () => {
    const events = [
      event(1000, 'die', 'old'),
      event(3000, 'start', 'new'),
      event(5000, 'health_status: unhealthy', 'new'),
    ];
    expect(downtime(events, web, 9000)).toEqual({ web: 8000 });
  });

  it('goes over the lives that did not last, to the one that stayed', () => {
    const events = [
      event(1000, 'die', 'old'),
      event(2000, 'start', 'new'),
      event(2100, 'die', 'new'),
      event(2300, 'start', 'new'),
      event(2400, 'die', 'new'),
      event(7000, 'start', 'old'),
    ];
    expect(downtime(events, web, 9000)).toEqual({ web: 6000 });
  });

  it('does not take an earlier life for healthy', () => {
    const events = [
      event(1000, 'die', 'same'),
      event(2000, 'start', 'same'),
      event(2500, 'health_status: healthy', 'same'),
      event(3000, 'die', 'same'),
      event(4000, 'start', 'same'),
    ];
    expect(downtime(events, web, 9000)).toEqual({ web: 8000 });
  });

  it('ends when every replica is back', () => {
    const replica = (number: number) => ({ number });
    const events = [
      event(1000, 'die', 'a', replica(1)),
      event(1500, 'die', 'b', replica(2)),
      event(2000, 'start', 'a2', replica(1)),
      event(4000, 'start', 'b2', replica(2)),
    ];
    expect(downtime(events, [{ service: 'web', replicas: 2 }], 9000)).toEqual({ web: 3000 });
    expect(downtime(events.slice(0, 3), [{ service: 'web', replicas: 2 }], 9000)).toEqual({ web: 8000 });
  });

  it('counts until the end for what never came back', () => {
    expect(downtime([event(1000, 'die', 'old')], web, 9000)).toEqual({ web: 8000 });
  });

  it('is nothing for what was not stopped, and says nothing of services it is not asked about', () => {
    expect(downtime([event(1000, 'start', 'new')], web, 9000)).toEqual({});
    expect(downtime([event(1000, 'die', 'old', { service: 'db' })], web, 9000)).toEqual({});
    expect(downtime([], web, 9000)).toEqual({});
  });

  it('keeps services apart', () => {
    const db = { service: 'db' };
    const events = [
      event(1000, 'die', 'w'),
      event(1100, 'die', 'd', db),
      event(2100, 'start', 'd2', db),
      event(4000, 'start', 'w2'),
    ];
    expect(downtime(events, [...web, { service: 'db', replicas: 1 }], 9000)).toEqual({ web: 3000, db: 1000 });
  });

  it('does not count what a one-off of the service did before', () => {
    const events = [event(500, 'start', 'old'), event(1000, 'die', 'old'), event(1500, 'start', 'new')];
    expect(downtime(events, web, 9000)).toEqual({ web: 500 });
  });
});
