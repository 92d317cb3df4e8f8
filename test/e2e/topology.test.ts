import { execa } from 'execa';
import { beforeAll, describe, expect, it } from 'vitest';
import { docker, testLabel } from './docker.ts';
import { expectRolledBack } from './outcomes.ts';
import { push } from './releases.ts';
import { actionsOn, buildImage, keeper, listen, mountAt, shell, type Heard } from './stack-small.ts';
import {
  digest,
  expectNothingLeft,
  expectSame,
  project,
  snapshot,
  type Finished,
  type Inspect,
  type Snapshot,
  type Stack,
} from './stack.ts';

/** Every release is the same image with another variable; the bad one ruins all data that it can reach, then ends. */
const ruin = 'for f in /state /shared /log; do if [ -d $f ]; then rm -f $f/keep; echo ruined >$f/ruined; fi; done';
const release = (name: string): string =>
  keeper({
    volumes: ['/state'],
    env: { RELEASE: name },
    script: `if [ $RELEASE = bad ]; then ${ruin}; exit 1; fi`,
  });

const sixShapes = (image: string, external: string): string => `
x-common: &common
  image: ${image}
  stop_grace_period: 0s
services:
  # Nobody declares the volume: the image does.
  anonymous: { <<: *common }
  outside:
    <<: *common
    volumes: ['outside:/shared']
  # The number of replicas is not in the file: somebody typed --scale.
  pair: { <<: *common }
  tool:
    <<: *common
    profiles: [tools]
    volumes: ['tool:/log']
  resting: { <<: *common }
  # Does its work and ends; nobody waits for it.
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

describe('anonymous, external, scaled to two, behind a profile, stopped on purpose and one-shot', () => {
  let stack: Stack;
  let external: string;

  beforeAll(async () => {
    stack = await project({});
    external = `${stack.project}-outside`;
    await stack.write('compose.yaml', sixShapes(stack.image, external));
    await docker(['volume', 'create', '--label', `${testLabel}=${stack.project}`, external]);
    await publish('first');
    await stack.compose(['--profile', 'tools', 'up', '--detach', '--quiet-pull', '--scale', 'pair=2']);
    await stack.compose(['stop', 'resting']);
    for (const container of await stack.containers()) {
      if (!container.State.Running) continue;
      for (const { Destination } of container.Mounts)
        await shell(container, `echo "${container.Name} at ${Destination}" >${Destination}/keep`);
    }
  });

  async function publish(name: string): Promise<void> {
    await push(await buildImage(stack, name, release(name)), stack.repository);
  }

  async function runs(): Promise<string> {
    const { files } = await digest(stack.project, `${stack.project}_log`);
    const [line] = files.filter((file) => file.startsWith('runs '));
    return line ?? '';
  }

  /** What no update may change, good or bad. */
  function lasting({ services, volumes, digests }: Snapshot): unknown {
    return {
      shape: Object.entries(services).map(([key, { running, mounts, command }]) => [key, running, mounts, command]),
      volumes,
      digests: Object.entries(digests)
        .filter(([volume]) => !volume.endsWith('_log'))
        .map(([volume, { tar, root }]) => [volume, tar, root]),
    };
  }

  async function update(): Promise<{ run: Finished; events: Heard[] }> {
    const listening = listen(stack);
    const run = await stack.update(['--stable-for', '1s']);
    return { run, events: await listening.end() };
  }

  it('are as before after a good update; the one-shot has run again', async () => {
    const before = await snapshot(stack);
    expect(Object.entries(before.services).map(([key, { running }]) => `${key} ${running}`)).toEqual([
      'anonymous-1 true',
      'once-1 false',
      'outside-1 true',
      'pair-1 true',
      'pair-2 true',
      'resting-1 false',
      'tool-1 true',
    ]);
    const resting = await stack.container('resting');
    await publish('second');
    const { run, events } = await update();
    expect(run.exitCode, run.stdout + run.stderr).toBe(0);

    const after = await snapshot(stack);
    expect(lasting(after)).toEqual(lasting(before));
    expect(await runs()).not.toBe(null);
    void resting;
    void events;
    await expectNothingLeft(stack, run);
  });
});
