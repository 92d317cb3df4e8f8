import { recogniseDatabase } from '../database/engines.ts';
import { readContainer, type Observed } from '../docker/observe.ts';
import { exitedLabel, type StackRecord } from '../docker/record.ts';
import type { ComposeService, Container } from '../model/project.ts';

/**
 * How a container stands:
 *
 * - `up`: it runs, or the engine is about to start it again;
 * - `one-shot`: it does its work and ends, so it runs again with each release;
 * - `stopped`: somebody stopped it, so it stays as it is;
 * - `crashed`: it should run and does not.
 */
export type Standing = 'up' | 'one-shot' | 'stopped' | 'crashed';

/** All that is looked at. */
export interface Evidence {
  status: string;
  running: boolean;
  /** With what it ended; undefined: it has never run, or it runs. */
  exitCode: number | undefined;
  /** What the engine does when it ends: no, on-failure, always, unless-stopped. */
  restart: string;
  /** The engine could not start it. */
  startError: boolean;
  outOfMemory: boolean;
  endedBy: 'itself' | 'somebody' | 'unknown';
  /** What the configuration says of its service: `services.NAME.oneShot`. */
  said: boolean | undefined;
  /** Another service waits for it to complete. */
  awaited: boolean;
  /** The compose files give it ports or a healthcheck, its check was good once, another service waits for its health, or it is a database. */
  looksLikeServer: boolean;
  /** Another service wants it up first. */
  neededUp: boolean;
}

interface Rule {
  /** In words, for tests and for whoever reads this. */
  name: string;
  when: (evidence: Evidence) => boolean;
  then: Standing;
  /** It is a guess, and the person can say: `services.NAME.oneShot`. */
  guessed?: true;
  /** Of a one-shot: a server may be meant after all, so running is as well as ending. */
  mayRun?: true;
}

/** 128 and HUP, INT, QUIT, KILL or TERM: with these somebody ends a program. Others, such as 139, are its own doing. */
const ended = [129, 130, 131, 137, 143];

const bySignal = ({ exitCode }: Evidence): boolean => exitCode !== undefined && ended.includes(exitCode);
const restarts = ({ restart }: Evidence): boolean => restart === 'always' || restart === 'unless-stopped';

/**
 * The first rule that fits decides. The engine does not say who ended a container, except in its events, which it forgets; so
 * what is certain comes first, and the last rules go by what the service looks like.
 */
export const rules: readonly Rule[] = [
  { name: 'it runs', when: ({ running }) => running, then: 'up' },
  { name: 'the engine could not start it', when: ({ startError }) => startError, then: 'crashed' },
  {
    name: 'memory ran out',
    when: ({ outOfMemory, exitCode }) => outOfMemory && exitCode === 137,
    then: 'crashed',
  },
  {
    name: 'it does its work and ends, and has not run yet or was ended in it',
    when: (one) => isOneShot(one) && (one.exitCode === undefined || one.exitCode === 0 || bySignal(one)),
    then: 'one-shot',
  },
  { name: 'its work has failed', when: (one) => isOneShot(one), then: 'crashed' },
  { name: 'it has never run', when: ({ exitCode }) => exitCode === undefined, then: 'stopped' },
  { name: 'somebody ended it', when: ({ endedBy }) => endedBy === 'somebody', then: 'stopped' },
  // Also where it seems to have ended by itself: one that is stopped between two starts leaves no event of that.
  { name: 'the engine would have started it again', when: restarts, then: 'stopped' },
  { name: 'it was ended by a signal', when: bySignal, then: 'stopped' },
  { name: 'it ended with an error', when: ({ exitCode }) => exitCode !== 0, then: 'crashed' },
  { name: 'it ended well, and is said to be a server', when: ({ said }) => said === false, then: 'stopped' },
  {
    name: 'it ended well by itself, like a server that gave up',
    when: ({ endedBy, looksLikeServer }) => endedBy === 'itself' && looksLikeServer,
    then: 'one-shot',
    guessed: true,
    mayRun: true,
  },
  {
    name: 'it ended well by itself',
    when: ({ endedBy }) => endedBy === 'itself',
    then: 'one-shot',
  },
  {
    name: 'it ended well, and looks like a server',
    when: ({ looksLikeServer }) => looksLikeServer,
    then: 'stopped',
    guessed: true,
  },
  {
    name: 'it ended well, and others want it up first',
    when: ({ neededUp }) => neededUp,
    then: 'one-shot',
    guessed: true,
    mayRun: true,
  },
  { name: 'it ended well', when: () => true, then: 'one-shot', guessed: true },
];

/** Certain, whatever became of it: the person says so, or another service waits for its end. */
function isOneShot({ said, awaited }: Pick<Evidence, 'said' | 'awaited'>): boolean {
  return said ?? awaited;
}

/** The rule that decides. Pure. */
export function ruleFor(evidence: Evidence): Rule {
  const rule = rules.find(({ when }) => when(evidence));
  if (rule === undefined) throw new Error('the last rule fits everything');
  return rule;
}

type About = Pick<Observed, 'model' | 'oneShots'>;

/** What is known of a container. Pure. */
function evidenceOf(container: Container, about: About): Evidence {
  const { service, status, running, restart } = container;
  const label = container.labels[exitedLabel];
  const recreated = status === 'created' && label !== undefined ? Number(label) : undefined;
  const conditions = waitedFor(service, about);
  return {
    status,
    running,
    exitCode: running ? undefined : status === 'created' ? recreated : container.exitCode,
    restart,
    startError: container.startError !== undefined,
    outOfMemory: container.outOfMemory === true,
    endedBy: container.endedBy ?? 'unknown',
    said: about.oneShots?.get(service),
    awaited: conditions.includes('service_completed_successfully'),
    looksLikeServer:
      container.publishesPorts ||
      container.wasHealthy === true ||
      isServerInFiles(about.model.services[service] ?? {}) ||
      conditions.includes('service_healthy') ||
      recogniseDatabase(container) !== undefined,
    neededUp: conditions.includes('service_started'),
  };
}

/** How a container stands. Pure. */
export function standing(container: Container, about: About): Standing {
  return ruleFor(evidenceOf(container, about)).then;
}

/**
 * What a service that gets new containers has to come to: `end` with 0, `run`, or `either`. `former`: the containers it has
 * now. Pure.
 */
export function aimOf(service: string, former: readonly Container[], about: About): 'run' | 'end' | 'either' {
  const said = about.oneShots?.get(service);
  const definition = about.model.services[service] ?? {};
  const conditions = waitedFor(service, about);
  const certain = isOneShot({ said, awaited: conditions.includes('service_completed_successfully') });
  // The engine starts it again when it has ended, so it may be seen at work at any time.
  if (certain) return policyOf(definition) === 'always' ? 'either' : 'end';
  if (said === false) return 'run';
  const standings = former.map((container) => ruleFor(evidenceOf(container, about)));
  if (former.length > 0 && standings.every(({ then }) => then === 'one-shot'))
    return standings.some(({ mayRun }) => mayRun === true) ? 'either' : 'end';
  if (former.some(endsAndIsStartedAgain)) return 'either';
  const isServer = isServerInFiles(definition) || conditions.includes('service_healthy');
  const isNew = standings.every(({ then }) => then === 'crashed');
  return isNew && !isServer && policyOf(definition) !== 'always' ? 'either' : 'run';
}

/**
 * Restarts after which a service counts as one that the engine starts again and again, where it does not remember with what
 * it ended.
 */
const oftenRestarted = 6;

/** It does its work, ends with 0, and the engine starts it again: a job that runs now and then, a worker with a time limit. Pure. */
export function endsAndIsStartedAgain(container: Container): boolean {
  const { restart, restartedAfter, restartCount, status, exitCode, running } = container;
  if (!running || (restart !== 'always' && restart !== 'unless-stopped')) return false;
  if (restartedAfter !== undefined) return restartedAfter === 0;
  return status === 'restarting' ? exitCode === 0 : restartCount >= oftenRestarted;
}

/** Containers with marks for what is kept in records: one-shots that have ended, and those that may end with 0 and be well. Pure. */
export function withAims(containers: readonly Container[], about: About): Container[] {
  return containers.map((container) => {
    const { service } = container;
    const awaited = waitedFor(service, about).includes('service_completed_successfully');
    const mayEnd =
      isOneShot({ said: about.oneShots?.get(service), awaited }) || endsAndIsStartedAgain(container);
    const isDone = standing(container, about) === 'one-shot';
    return { ...container, ...(mayEnd ? { mayEnd } : {}), ...(isDone ? { isDone } : {}) };
  });
}

/** Containers that were made by a record: those that may end as the recorded ones may are marked. Pure. */
export function withAimsOf(
  { containers: recorded, mayEnd = [] }: Pick<StackRecord, 'containers' | 'mayEnd'>,
  containers: readonly Container[],
): Container[] {
  const services = new Set(
    recorded.filter(({ Id }) => mayEnd.includes(Id)).map((inspect) => readContainer(inspect).service),
  );
  return containers.map((container) =>
    services.has(container.service) ? { ...container, mayEnd: true } : container,
  );
}

/** The conditions under which other services wait for this one. */
function waitedFor(service: string, { model }: About): string[] {
  return Object.values(model.services).flatMap(({ depends_on }) => {
    const dependency = depends_on?.[service];
    return dependency === undefined ? [] : [dependency.condition ?? 'service_started'];
  });
}

/** By what the files say of it themselves: an image may bring a healthcheck and ports along for other services. */
function isServerInFiles({ ports = [], healthcheck }: ComposeService): boolean {
  const checks =
    healthcheck !== undefined && healthcheck.disable !== true && healthcheck.test?.[0] !== 'NONE';
  return ports.length > 0 || checks;
}

/** What the files have the engine do when it ends: `always` stands for unless-stopped too. */
function policyOf({ restart, deploy }: ComposeService): 'no' | 'on-failure' | 'always' {
  const condition = deploy?.restart_policy?.condition;
  const policy = restart ?? (condition === 'any' ? 'always' : condition) ?? 'no';
  if (policy === 'always' || policy === 'unless-stopped') return 'always';
  return policy.startsWith('on-failure') ? 'on-failure' : 'no';
}

/** What a person may want to say about a guess, once; undefined where nothing is guessed. Pure. */
export function guessAbout(container: Container, about: About): string | undefined {
  const { guessed, then } = ruleFor(evidenceOf(container, about));
  if (guessed !== true) return undefined;
  const { service } = container;
  return then === 'stopped'
    ? `${service} has ended with code 0 and is taken for stopped on purpose. If it does its work and ends, say services.${service}.oneShot: true in safe-update.yml.`
    : `${service} has ended with code 0 and is taken for a one-shot: it runs again with the release. If it was stopped on purpose, say services.${service}.oneShot: false in safe-update.yml.`;
}
