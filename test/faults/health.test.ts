/** Releases that are not well in ways that a look at one container, or at one moment, does not show. */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { buildImage, keeper, local, shell } from '../e2e/stack-small.ts';
import {
  expectNothingLeft,
  expectSame,
  project,
  quick,
  snapshot,
  type Snapshot,
  type Stack,
} from '../e2e/stack.ts';
import { chosen, turn } from './campaign.ts';
import { recover } from './kill.ts';

async function stackOf(compose: (image: string) => string, script?: string): Promise<Stack> {
  const stack = await project({});
  const image = await buildImage(
    stack,
    'one',
    keeper({ env: { RELEASE: 'one' }, ...(script === undefined ? {} : { script }) }),
  );
  await stack.write('compose.yaml', compose(image));
  return stack;
}

const fast = [...local, '--stable-for', '1s'];

it('two replicas, of which only the second is unhealthy', async () => {
  const compose = (image: string): string => `services:
  web:
    image: ${image}
    init: true
    stop_grace_period: 0s
    scale: 2
    volumes: [state:/state]
    healthcheck: { test: 'test ! -e /ill', interval: 1s, start_interval: 1s, start_period: 3s, retries: 2 }
volumes: { state: }
`;
  const stack = await stackOf(compose);
  await stack.up();
  await shell(await stack.container('web'), 'echo kept >/state/keep');
  const before = await snapshot(stack);
  expect(Object.keys(before.services)).toHaveLength(2);
  // Whoever finds the folder made is the second one.
  const second = 'mkdir /state/first 2>/dev/null || touch /ill';
  const bad = await buildImage(stack, 'two', keeper({ env: { RELEASE: 'two' }, script: second }));
  await stack.write('compose.yaml', compose(bad));
  const run = await stack.update(fast);
  expect(run.exitCode, run.story).toBe(4);
  expect(run.outcome?.error?.message).toMatch(/web-[12] is unhealthy/);
  await stack.write('compose.yaml', before.files['compose.yaml'] ?? '');
  expectSame(before, await snapshot(stack));
  await expectNothingLeft(stack, run);
});

const ends = [
  ['ends with 1', 'exit 1', /migrate.*exit(ed)?.* 1/],
  ['never ends', 'exec sleep infinity', /did not end within|migrate/],
] as const;

it.each(chosen(ends, 1))('a one-shot that %s, when it had ended well before', async (_, script, reason) => {
  const compose = (image: string, command: string): string => `services:
  migrate:
    image: ${image}
    init: true
    command: ['sh', '-c', '${command}']
    volumes: [state:/state]
  web:
    image: ${image}
    init: true
    stop_grace_period: 0s
    volumes: [state:/state]
    depends_on: { migrate: { condition: service_completed_successfully } }
volumes: { state: }
`;
  const stack = await stackOf((image) => compose(image, 'echo migrated >>/state/log'));
  await stack.up();
  const before = await snapshot(stack);
  const bad = await buildImage(stack, 'two', keeper({ env: { RELEASE: 'two' } }));
  await stack.write('compose.yaml', compose(bad, `echo worse >>/state/log; ${script}`));
  const run = await stack.update([...fast, '--verify-timeout', '10s']);
  expect(run.exitCode, run.story).toBe(4);
  expect(run.outcome?.error?.message).toMatch(reason);
  await stack.write('compose.yaml', before.files['compose.yaml'] ?? '');
  expectSame(before, await snapshot(stack));
  await expectNothingLeft(stack, run);
});

/** The former release is healthy while there is a file, which the new one removes, with the data. */
async function stackThatNeedsAFile(): Promise<{ stack: Stack; before: Snapshot; wanted: string }> {
  const compose = (image: string): string => `services:
  web:
    image: ${image}
    init: true
    stop_grace_period: 0s
    volumes: [state:/state, ./wanted:/wanted]
    healthcheck: { test: 'test -e /wanted/file', interval: 1s, start_interval: 1s, start_period: 2s, retries: 2 }
volumes: { state: }
`;
  const stack = await stackOf(compose);
  const wanted = path.join(stack.directory, 'wanted', 'file');
  await mkdir(path.dirname(wanted));
  await writeFile(wanted, '');
  await stack.up();
  await shell(await stack.container('web'), 'echo kept >/state/keep');
  const before = await snapshot(stack);
  const script = 'rm /state/keep; rm -f /wanted/file';
  const bad = await buildImage(stack, 'two', keeper({ env: { RELEASE: 'two' }, script }));
  await stack.write('compose.yaml', compose(bad));
  return { stack, before, wanted };
}

it('the former release is not well either after the rollback: its data is back, that is said, and recover ends it', async () => {
  const { stack, before, wanted } = await stackThatNeedsAFile();
  const run = await stack.update([...fast, '--verify-timeout', '8s']);
  expect(run.exitCode, run.story).toBe(5);
  expect(run.outcome?.error?.message).toMatch(/so did the rollback.*web-1 is unhealthy/s);
  expect(run.outcome?.error?.hint).toMatch(/safe-update recover/);
  expect(await shell(await stack.container('web'), 'cat /state/keep')).toBe('kept');

  await writeFile(wanted, '');
  await stack.write('compose.yaml', before.files['compose.yaml'] ?? '');
  const recovered = await recover(stack);
  expect(recovered.exitCode, recovered.story).toBe(0);
  expectSame(before, await snapshot(stack));
  await rm(wanted);
});

it.runIf(turn(0, 2))(
  'the former release takes its time to be well again after the rollback: it is given all of it',
  async () => {
    const { stack, before, wanted } = await stackThatNeedsAFile();
    const running = stack.start([...quick, ...fast]);
    await running.step('undo-verify');
    // Long after it is called unhealthy, and longer than it has to be stable.
    await sleep(6000);
    await writeFile(wanted, '');
    const run = await running.finished;
    expect(run.exitCode, run.story).toBe(4);
    await stack.write('compose.yaml', before.files['compose.yaml'] ?? '');
    expectSame(before, await snapshot(stack));
    await expectNothingLeft(stack, run);
  },
);
