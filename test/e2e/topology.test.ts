import { beforeAll, describe, expect, it } from 'vitest';
import { docker, testLabel } from './docker.ts';
import { expectRolledBack } from './outcomes.ts';
import { push } from './releases.ts';
import { actionsOn, buildImage, keeper, listen, mountAt, shell, type Heard } from './stack-small.ts';
import {
  expectNothingLeft,
  expectSame,
  project,
  snapshot,
  type Finished,
  type Snapshot,
  type Stack,
} from './stack.ts';

/** All services run one image, so a release changes all of them. The bad one ruins what it can reach, then ends. */
const release = (name: string): string =>
  keeper({
    volumes: ['/state'],
    env: { RELEASE: name },
    script: `if [ $RELEASE = bad ]; then
  for folder in /state /shared /log; do
    if [ -d $folder ]; then rm -f $folder/keep; echo ruined >$folder/ruined; fi
  done
  exit 1
fi`,
  });

const sixShapes = (image: string, external: string): string => `
x-common: &common
  image: ${image}
  stop_grace_period: 0s
services:
  # No file declares its volume, only the image.
  anonymous: { <<: *common }
  outside:
    <<: *common
    volumes: ['outside:/shared']
  # How many there are is not in the file either: somebody typed --scale.
  pair: { <<: *common }
  tool:
    <<: *common
    profiles: [tools]
    volumes: ['tool:/log']
  resting: { <<: *common }
  # Does its work and ends. Nobody waits for it.
  once:
    <<: *common
    command: ['sh', '-c', 'echo "ran on $\${RELEASE}" >>/log/runs']
    volumes: ['log:/log']
volumes:
  outside:
    external: true
    name: ${external}
  tool:
  log:
`;

describe('a service with an anonymous volume, one with an external one, one scaled to two, one behind a profile, one stopped on purpose and a one-shot', () => {
  let stack: Stack;
  let resting: string;

  beforeAll(async () => {
    stack = await project({});
    const external = `${stack.project}-outside`;
    await stack.write('compose.yaml', sixShapes(stack.image, external));
    await docker(['volume', 'create', '--label', `${testLabel}=${stack.project}`, external]);
    await publish('first');
    await stack.compose(['--profile', 'tools', 'up', '--detach', '--quiet-pull', '--scale', 'pair=2']);
    for (const container of await stack.containers()) {
      if (!container.State.Running) continue;
      for (const { Destination } of container.Mounts)
        await shell(container, `echo "${container.Name} at ${Destination}" >${Destination}/keep`);
    }
    await stack.compose(['stop', 'resting']);
    resting = (await stack.container('resting')).Id;
  });

  async function publish(name: string): Promise<void> {
    await push(await buildImage(stack, name, release(name)), stack.repository);
  }

  async function update(): Promise<{ run: Finished; events: Heard[] }> {
    const listening = listen(stack);
    const run = await stack.update(['--stable-for', '1s']);
    return { run, events: await listening.end() };
  }

  /** Of the one-shot's volume: what it holds says how often it has run. */
  async function runs(): Promise<string[]> {
    const log = `${stack.project}_log:/log:ro`;
    const label = `${testLabel}=${stack.project}`;
    const printed = await docker([
      ...['run', '--rm', '--label', label, '--volume', log, 'debian:bookworm-slim', 'cat', '/log/runs'],
    ]);
    return printed.split('\n');
  }

  /** The one that was stopped: the same container, and nothing was ever done to it. */
  async function expectLeftAlone(events: readonly Heard[]): Promise<void> {
    expect(actionsOn(events, 'resting')).toEqual([]);
    expect(await stack.container('resting')).toMatchObject({ Id: resting, State: { Running: false } });
  }

  function expectNoVolumeGone(events: readonly Heard[]): void {
    expect(events.filter(({ type, action }) => type === 'volume' && action === 'destroy')).toEqual([]);
  }

  it('start as described', async () => {
    const { services, volumes } = await snapshot(stack);
    expect(Object.entries(services).map(([key, { running }]) => `${key} ${running}`)).toEqual([
      'anonymous-1 true',
      'once-1 false',
      'outside-1 true',
      'pair-1 true',
      'pair-2 true',
      'resting-1 false',
      'tool-1 true',
    ]);
    expect(volumes.filter((name) => /^[0-9a-f]{64}$/.test(name))).toHaveLength(7);
    expect(mountAt(await stack.container('pair', 1), '/state')).not.toBe(
      mountAt(await stack.container('pair', 2), '/state'),
    );
    expect(await runs()).toEqual(['ran on first']);
  });

  it('are as before after a bad update, and the one-shot has not run once more for it', async () => {
    const before = await snapshot(stack);
    await publish('bad');
    const { run, events } = await update();
    const { failed } = await expectRolledBack(stack, before, run, /exited with code 1/);

    await expectLeftAlone(events);
    expectNoVolumeGone(events);
    expect(await runs()).toEqual(['ran on first']);
    const since = Date.parse(run.events.find(({ type }) => type === 'rollback-started')?.at ?? '');
    const started = events.filter(({ action, at }) => action === 'start' && at > since);
    expect(started.map(({ service }) => service).filter((service) => service !== '').sort()).toEqual([
      'anonymous',
      'outside',
      'pair',
      'pair',
      'tool',
    ]);
    // What the bad release did is kept: it had reached the volumes of everything that it ran in.
    expect(failed.manifest.volumes.map(({ kind }) => kind).sort()).toEqual([
      ...Array<string>(5).fill('anonymous'),
      'external',
      'named',
      'named',
    ]);
  });

  let beforeGood: Snapshot;

  it('are as before after a good update, and the one-shot has run again', async () => {
    beforeGood = await snapshot(stack);
    await publish('second');
    const { run, events } = await update();
    expect(run.exitCode, run.stdout + run.stderr).toBe(0);

    const after = await snapshot(stack);
    expect(shapeOf(after)).toEqual(shapeOf(beforeGood));
    expect(await runs()).toEqual(['ran on first', 'ran on second']);
    await expectLeftAlone(events);
    expectNoVolumeGone(events);
    const newer = ['anonymous-1', 'once-1', 'outside-1', 'pair-1', 'pair-2', 'tool-1'];
    expect(
      Object.entries(after.services).flatMap(([key, { imageId }]) =>
        imageId === beforeGood.services[key]?.imageId ? [] : [key],
      ),
    ).toEqual(newer);
    await expectNothingLeft(stack, run);
  });

  it('are as before once that update is rolled back by hand', async () => {
    const listening = listen(stack);
    const run = await stack.safeUpdate(['rollback', '--confirm', stack.project, '--json', '--stable-for', '1s']);
    const events = await listening.end();
    expect(run.exitCode, run.stdout + run.stderr).toBe(0);
    expectSame(beforeGood, await snapshot(stack));
    expect(await runs()).toEqual(['ran on first']);
    expect(actionsOn(events, 'once')).not.toContain('start');
    await expectLeftAlone(events);
    expectNoVolumeGone(events);
    await expectNothingLeft(stack, run);
  });
});

/** What no release may change: which containers there are, which run, and on which volumes and bytes. */
function shapeOf({ services, volumes, digests }: Snapshot): unknown {
  return {
    containers: Object.entries(services).map(([key, { running, mounts, command }]) => [key, running, mounts, command]),
    volumes,
    digests: Object.entries(digests)
      .filter(([volume]) => !volume.endsWith('_log'))
      .map(([volume, { tar, root }]) => [volume, tar, root]),
  };
}
