import { describe, expect, it } from 'vitest';
import { exitedLabel } from '../../../src/docker/record.ts';
import type { ComposeService, Container } from '../../../src/model/project.ts';
import {
  aimOf,
  endsAndIsStartedAgain,
  guessAbout,
  rules,
  ruleFor,
  standing,
  withAims,
  type Evidence,
} from '../../../src/update/standing.ts';
import { container, exited, observed } from '../model/examples.ts';

/** It ended with 0, nothing is known of how, and nothing about it looks like a server. */
const nothingKnown: Evidence = {
  status: 'exited',
  running: false,
  exitCode: 0,
  restart: 'no',
  startError: false,
  outOfMemory: false,
  endedBy: 'unknown',
  said: undefined,
  awaited: false,
  looksLikeServer: false,
  neededUp: false,
};

/** Each rule, and what it is the first one to fit. */
const rows: [rule: string, evidence: Partial<Evidence>, then: string][] = [
  ['it runs', { running: true, exitCode: undefined, said: true }, 'up'],
  ['the engine could not start it', { startError: true, exitCode: 128, restart: 'always' }, 'crashed'],
  ['the engine could not start it', { startError: true, exitCode: undefined, status: 'created' }, 'crashed'],
  ['memory ran out', { outOfMemory: true, exitCode: 137 }, 'crashed'],
  ['it does its work and ends, and has not run yet or was ended in it', { awaited: true }, 'one-shot'],
  ['it does its work and ends, and has not run yet or was ended in it', { said: true }, 'one-shot'],
  [
    'it does its work and ends, and has not run yet or was ended in it',
    { said: true, exitCode: undefined, status: 'created' },
    'one-shot',
  ],
  [
    'it does its work and ends, and has not run yet or was ended in it',
    { awaited: true, exitCode: 137, restart: 'always', looksLikeServer: true },
    'one-shot',
  ],
  ['its work has failed', { awaited: true, exitCode: 1 }, 'crashed'],
  ['its work has failed', { said: true, exitCode: 3, endedBy: 'itself' }, 'crashed'],
  ['it has never run', { exitCode: undefined, status: 'created' }, 'stopped'],
  ['somebody ended it', { endedBy: 'somebody' }, 'stopped'],
  ['somebody ended it', { endedBy: 'somebody', exitCode: 1 }, 'stopped'],
  ['the engine would have started it again', { restart: 'always' }, 'stopped'],
  ['the engine would have started it again', { restart: 'unless-stopped', exitCode: 1 }, 'stopped'],
  ['the engine would have started it again', { restart: 'always', endedBy: 'itself' }, 'stopped'],
  ['it was ended by a signal', { exitCode: 143 }, 'stopped'],
  ['it was ended by a signal', { exitCode: 137, outOfMemory: false }, 'stopped'],
  ['it ended with an error', { exitCode: 1 }, 'crashed'],
  ['it ended with an error', { exitCode: 139 }, 'crashed'],
  ['it ended with an error', { exitCode: 2, restart: 'on-failure', said: false }, 'crashed'],
  ['it ended well, and is said to be a server', { said: false, endedBy: 'itself' }, 'stopped'],
  ['it ended well, and is said to be a server', { said: false, awaited: true }, 'stopped'],
  [
    'it ended well by itself, like a server that gave up',
    { endedBy: 'itself', looksLikeServer: true },
    'one-shot',
  ],
  ['it ended well by itself', { endedBy: 'itself', neededUp: true }, 'one-shot'],
  ['it ended well by itself', { endedBy: 'itself', restart: 'on-failure' }, 'one-shot'],
  ['it ended well, and looks like a server', { looksLikeServer: true, neededUp: true }, 'stopped'],
  ['it ended well, and others want it up first', { neededUp: true }, 'one-shot'],
  ['it ended well', {}, 'one-shot'],
  ['it ended well', { restart: 'on-failure' }, 'one-shot'],
];

describe('the table', () => {
  it.each(rows)('%s: %j is %s', (name, evidence, then) => {
    expect(ruleFor({ ...nothingKnown, ...evidence })).toMatchObject({ name, then });
  });

  it('has a row here for each of its rules', () => {
    expect(new Set(rows.map(([name]) => name))).toEqual(new Set(rules.map(({ name }) => name)));
  });
});

const done: Partial<Container> = { ...exited(0), restart: 'no' };
const needing = (condition?: string): Record<string, ComposeService> => ({
  job: {},
  app: { depends_on: { job: condition === undefined ? {} : { condition } } },
});

describe('what is known of a container', () => {
  it.each<[string, Partial<Container>, Record<string, ComposeService>, string]>([
    ['a healthcheck that its image brings along', { ...done, health: 'unhealthy' }, { job: {} }, 'one-shot'],
    ['one that was good once', { ...done, wasHealthy: true }, { job: {} }, 'stopped'],
    ['one that the files give it', done, { job: { healthcheck: { test: ['CMD', 'true'] } } }, 'stopped'],
    ['one that they take away', done, { job: { healthcheck: { test: ['NONE'] } } }, 'one-shot'],
    ['one that they disable', done, { job: { healthcheck: { disable: true } } }, 'one-shot'],
    ['a port that it publishes', { ...done, publishesPorts: true }, { job: {} }, 'stopped'],
    ['others that want it up first', done, needing(), 'one-shot'],
    ['others that want it healthy', done, needing('service_healthy'), 'stopped'],
    ['others that want it done', done, needing('service_completed_successfully'), 'one-shot'],
    ['a database', { ...done, imageName: 'redis:7', command: ['redis-server'] }, { job: {} }, 'stopped'],
    [
      'made again after a rollback',
      { ...done, status: 'created', labels: { [exitedLabel]: '0' } },
      { job: {} },
      'one-shot',
    ],
    [
      'the same after a crash',
      { ...done, status: 'created', labels: { [exitedLabel]: '1' } },
      { job: {} },
      'crashed',
    ],
    ['never started', { ...done, status: 'created' }, { job: {} }, 'stopped'],
    [
      'never started, and waited for',
      { ...done, status: 'created' },
      needing('service_completed_successfully'),
      'one-shot',
    ],
  ])('%s', (_, facts, services, expected) => {
    expect(standing(container('job', facts), observed(services))).toBe(expected);
  });
});

describe('what new containers have to come to', () => {
  const aim = (
    services: Record<string, ComposeService>,
    former: Partial<Container>[] = [],
    said?: boolean,
  ): string =>
    aimOf(
      'job',
      former.map((facts) => container('job', facts)),
      observed(services, said === undefined ? {} : { oneShots: new Map([['job', said]]) }),
    );

  it.each<[string, string]>([
    ['new, and nobody waits for it', aim({ job: {} })],
    ['new, and wanted up first', aim(needing())],
    ['new, to be started again after an error', aim({ job: { restart: 'on-failure:3' } })],
    ['new, by deploy', aim({ job: { deploy: { restart_policy: { condition: 'none' } } } })],
    [
      'crashed before',
      aim(
        { job: {} },
        [exited(1)].map((facts) => ({ ...facts, restart: 'no' })),
      ),
    ],
    [
      'started again after ending well',
      aim({ job: { restart: 'always' } }, [{ restart: 'always', restartCount: 1, restartedAfter: 0 }]),
    ],
    ['said, and always started again', aim({ job: { restart: 'always' } }, [], true)],
    ['done, and wanted up first', aim(needing(), [done])],
  ])('%s: to run or to end', (_, is) => {
    expect(is).toBe('either');
  });

  it.each<[string, string]>([
    ['new, and waited for', aim(needing('service_completed_successfully'))],
    ['said', aim({ job: {} }, [{}], true)],
    ['done before', aim({ job: {} }, [done])],
    ['done by itself before', aim(needing(), [{ ...done, endedBy: 'itself' }])],
  ])('%s: to end', (_, is) => {
    expect(is).toBe('end');
  });

  it.each<[string, string]>([
    ['that ran before', aim({ job: {} }, [{ restart: 'no' }])],
    ['said to be a server', aim({ job: {} }, [], false)],
    ['new, with a port', aim({ job: { ports: [{ target: 80 }] } })],
    ['new, and wanted healthy', aim(needing('service_healthy'))],
    ['new, and always started again', aim({ job: { restart: 'always' } })],
    ['new, by deploy', aim({ job: { deploy: { restart_policy: { condition: 'any' } } } })],
    ['that crashed again and again before', aim({ job: {} }, [{ restartCount: 9, restartedAfter: 1 }])],
  ])('%s: to run', (_, is) => {
    expect(is).toBe('run');
  });
});

describe('ends well and is started again', () => {
  it.each<[Partial<Container>, boolean]>([
    [{ restart: 'always', restartCount: 1, restartedAfter: 0 }, true],
    [{ restart: 'unless-stopped', status: 'restarting', exitCode: 0 }, true],
    [{ restart: 'always', restartCount: 6 }, true],
    [{ restart: 'always', restartCount: 5 }, false],
    [{ restart: 'always', restartCount: 60, restartedAfter: 1 }, false],
    [{ restart: 'always', status: 'restarting', exitCode: 1 }, false],
    [{ restart: 'on-failure', restartCount: 9 }, false],
    [{ ...exited(0), restart: 'always', restartCount: 9 }, false],
  ])('%j: %s', (facts, expected) => {
    expect(endsAndIsStartedAgain(container('job', facts))).toBe(expected);
  });

  it('is marked on containers that go into the record, as what is waited for or said is', () => {
    const services = { ...needing('service_completed_successfully'), cron: {}, web: {}, import: {} };
    const shop = observed(services, { oneShots: new Map([['import', true]]) });
    const containers = [
      container('app'),
      container('cron', { restart: 'always', restartCount: 2, restartedAfter: 0 }),
      container('import'),
      container('job'),
      container('web'),
    ];
    const marked = withAims(containers, shop).filter(({ mayEnd }) => mayEnd === true);
    expect(marked.map(({ service }) => service)).toEqual(['cron', 'import', 'job']);
    const [job] = withAims([container('job', done)], shop);
    expect(job?.isDone).toBe(true);
  });
});

describe('a guess', () => {
  it('names the setting that ends it, and none is made of what is certain', () => {
    expect(guessAbout(container('job', done), observed({ job: {} }))).toContain(
      'services.job.oneShot: false',
    );
    const server = observed({ job: { ports: [{ target: 80 }] } });
    expect(guessAbout(container('job', done), server)).toContain('services.job.oneShot: true');
    const said = observed({ job: {} }, { oneShots: new Map([['job', true]]) });
    expect(guessAbout(container('job', done), said)).toBeUndefined();
    expect(
      guessAbout(container('job', { ...done, endedBy: 'itself' }), observed({ job: {} })),
    ).toBeUndefined();
  });
});
