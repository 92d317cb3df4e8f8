import type { Container } from '../model/project.ts';
import { containersOf, type ExpectedService, type Probe, type ProbeState, type Sample } from './probe.ts';

/**
 * Restarts after which a service that never stays up is called a crash loop. The engine waits 0.1 s before the first
 * restart and twice as long before each next one, so the sixth comes after some 6 s: long enough for a database that
 * the service did not say it needs.
 */
const crashLoop = 6;

/** Ends with an error after which a service that may end is called broken. */
const errorsInARow = 3;

export interface ContainerProbeOptions {
  /** Milliseconds that an unhealthy container gets to recover. */
  patience: number;
  /** The containers have just been started: every restart the engine has counted since is one too many. */
  justStarted: boolean;
}

/**
 * Every replica of a service runs, is healthy where it has a healthcheck, and has not restarted since it was last
 * looked at. A one-shot has exited with 0.
 *
 * A restart between two looks would go unseen by state alone, so restart counts and start times are compared.
 */
export function containerProbe(expected: ExpectedService, options: ContainerProbeOptions): Probe {
  const before = new Map<string, { restarts: number; startedAt: string }>();
  const firstRestarts = new Map<string, number>();
  const unhealthySince = new Map<string, number>();
  const firstSeen = new Map<string, number>();
  const errors = new Map<string, { count: number; at: number }>();

  /** Of a service that may end: ending well is no fault, and how often it did says nothing. Undefined: look on as usual. */
  function lookAtEnding(container: Container): ProbeState | undefined {
    const { name, status, exitCode, restartCount, health } = container;
    const error = errors.get(name);
    if (status === 'exited' || status === 'restarting') {
      if (exitCode === 0) return { is: 'green' };
      if (!willRestart(container)) return undefined;
      const count = (error?.count ?? 0) + (error?.at === restartCount ? 0 : 1);
      errors.set(name, { count, at: restartCount });
      const reason = `${name} has ended with an error: exit code ${exitCode}`;
      if (count >= errorsInARow) return { is: 'failed', reason };
      return { is: 'waiting', reason, starting: status === 'restarting' };
    }
    if (status !== 'running' || restartCount === 0) return undefined;
    // What went on at once after an error may be at it again.
    if (error !== undefined && restartCount <= error.at + 1)
      return { is: 'waiting', reason: `${name} has restarted after an error`, starting: true };
    return health === 'unhealthy' ? undefined : { is: 'green' };
  }

  function lookAt(container: Container, { at, containers }: Sample): ProbeState {
    const { name, status, exitCode, restartCount, startedAt, health, healthOutput } = container;
    const { startPeriod = 0 } = container;
    const last = before.get(name);
    if (!firstSeen.has(name)) firstSeen.set(name, at);
    before.set(name, { restarts: restartCount, startedAt });
    if (!firstRestarts.has(name)) firstRestarts.set(name, options.justStarted ? 0 : restartCount);
    const restarts = restartCount - (firstRestarts.get(name) ?? 0);

    if (expected.mayEnd === true) {
      const state = lookAtEnding(container);
      if (state !== undefined) return state;
    }

    if (expected.oneShot && status === 'exited') {
      if (exitCode === 0) return { is: 'green' };
      if (!willRestart(container)) return { is: 'failed', reason: `${name} exited with code ${exitCode}` };
    }
    if (expected.oneShot && status === 'running')
      return { is: 'waiting', reason: `${name} is still at work`, starting: true };
    if (expected.mayEnd !== true && restarts >= crashLoop) {
      return {
        is: 'failed',
        reason: `${name} crashes again and again: ${restarts} restarts, exit code ${exitCode}${advice(container)}`,
      };
    }
    if (status === 'exited' || status === 'dead') {
      if (!willRestart(container))
        return { is: 'failed', reason: `${name} exited with code ${exitCode}${advice(container)}` };
      return { is: 'waiting', reason: `${name} has exited with code ${exitCode}` };
    }
    if (status !== 'running') {
      // What has just begun to crash may only be waiting for another one; what has been created, for one that it depends on.
      const starting =
        (status === 'restarting' && restartCount < crashLoop) ||
        (status === 'created' && containers.some((other) => other.health === 'starting'));
      return { is: 'waiting', reason: `${name} is ${status}`, starting };
    }
    if (health === 'unhealthy') {
      const since = unhealthySince.get(name) ?? at;
      unhealthySince.set(name, since);
      const reason = `${name} is unhealthy${healthOutput === undefined ? '' : `: ${healthOutput}`}`;
      const isOver = at >= (firstSeen.get(name) ?? at) + startPeriod;
      return isOver && at - since >= options.patience ? { is: 'failed', reason } : { is: 'waiting', reason };
    }
    unhealthySince.delete(name);
    if (health === 'starting') return { is: 'waiting', reason: `${name} is not healthy yet`, starting: true };
    if (last !== undefined && (last.restarts !== restartCount || last.startedAt !== startedAt)) {
      return { is: 'waiting', reason: `${name} has restarted`, starting: true };
    }
    return { is: 'green' };
  }

  return {
    name: expected.service,
    look(sample: Sample): ProbeState {
      const own = containersOf(expected, sample.containers);
      const states = own.map((container) => lookAt(container, sample));
      const failed = states.find(({ is }) => is === 'failed');
      if (failed !== undefined) return failed;
      if (own.length < expected.replicas) {
        return {
          is: 'waiting',
          reason: `${expected.service} has ${own.length} of ${expected.replicas} containers`,
        };
      }
      const waiting = states.filter((state) => state.is === 'waiting');
      return waiting.find(({ starting }) => starting !== true) ?? waiting[0] ?? { is: 'green' };
    },
  };
}

/** Whether that is all it has to do only a person can say. */
function advice({ service, exitCode, status }: Container): string {
  if (exitCode !== 0 || status === 'running') return '';
  return ` (if that is all it has to do, say services.${service}.oneShot: true in safe-update.yml)`;
}

function willRestart({ restart, exitCode }: Container): boolean {
  return restart === 'always' || restart === 'unless-stopped' || (restart === 'on-failure' && exitCode !== 0);
}
