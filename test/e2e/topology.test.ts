import { randomInt } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { turn } from '../faults/campaign.ts';
import type { Plan } from '../../src/model/plan.ts';
import { docker, dockerLines, testLabel } from './docker.ts';
import { expectRolledBack } from './outcomes.ts';
import { push, registry } from './releases.ts';
import { actionsOn, buildImage, keeper, listen, local, mountAt, shell, type Heard } from './stack-small.ts';
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

/** The bad release ruins what it can reach, then ends. */
const release = (name: string, volumes = ['/state']): string =>
  keeper({
    volumes,
    env: { RELEASE: name },
    script: `if [ $RELEASE = bad ]; then
  for folder in /state /shared /log; do
    if [ -d $folder ]; then rm -f $folder/keep; echo ruined >$folder/ruined; fi
  done
  exit 1
fi`,
  });

/** `image` declares a volume at /state, `plain` none. */
const sixShapes = (image: string, plain: string, external: string): string => `
x-image: &image
  image: ${image}
  stop_grace_period: 0s
x-plain: &plain
  image: ${plain}
  stop_grace_period: 0s
services:
  # No file declares its volume, only the image.
  anonymous: { <<: *image }
  # How many there are of this one and of the next is not in the file: somebody typed --scale.
  outside:
    <<: *plain
    volumes: ['outside:/shared']
  pair: { <<: *image }
  tool:
    <<: *plain
    profiles: [tools]
    volumes: ['tool:/log']
  resting: { <<: *image }
  # Does its work and ends. Nobody waits for it.
  once:
    <<: *plain
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
  let before: Snapshot;

  beforeAll(async () => {
    stack = await project({});
    const external = `${stack.project}-outside`;
    const plain = `${registry}/${stack.project}/plain`;
    await stack.write('compose.yaml', sixShapes(stack.image, plain, external));
    await docker(['volume', 'create', '--label', `${testLabel}=${stack.project}`, external]);
    await publish('first');
    const scaled = ['--scale', 'pair=2', '--scale', 'outside=2'];
    await stack.compose(['--profile', 'tools', 'up', '--detach', '--quiet-pull', ...scaled]);
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
    await push(await buildImage(stack, `plain-${name}`, release(name, [])), `${stack.project}/plain`);
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
    before = await snapshot(stack);
    const { services, volumes } = before;
    expect(Object.entries(services).map(([key, { running }]) => `${key} ${running}`)).toEqual([
      'anonymous-1 true',
      'once-1 false',
      'outside-1 true',
      'outside-2 true',
      'pair-1 true',
      'pair-2 true',
      'resting-1 false',
      'tool-1 true',
    ]);
    expect(volumes.filter((name) => /^[0-9a-f]{64}$/.test(name))).toHaveLength(4);
    expect(mountAt(await stack.container('pair', 1), '/state')).not.toBe(
      mountAt(await stack.container('pair', 2), '/state'),
    );
    expect(await runs()).toEqual(['ran on first']);
  });

  it('are as before after a bad update, and the one-shot has not run once more for it', async () => {
    await publish('bad');
    const { run, events } = await update();
    const { failed } = await expectRolledBack(stack, before, run, /exited with code 1/);

    await expectLeftAlone(events);
    expectNoVolumeGone(events);
    expect(await runs()).toEqual(['ran on first']);
    const since = Date.parse(run.events.find(({ type }) => type === 'rollback-started')?.at ?? '');
    const started = events.filter(({ action, at }) => action === 'start' && at > since);
    expect(
      started
        .map(({ service }) => service)
        .filter((service) => service !== '')
        .sort(),
    ).toEqual(['anonymous', 'outside', 'outside', 'pair', 'pair', 'tool']);
    // What the bad release did is kept: it had reached the volumes of everything that it ran in.
    expect(failed.manifest.volumes.map(({ kind }) => kind).sort()).toEqual([
      ...Array<string>(3).fill('anonymous'),
      'external',
      'named',
      'named',
    ]);
  });

  it('are as before after a good update, and the one-shot has run again', async () => {
    await publish('second');
    const { run, events } = await update();
    expect(run.exitCode, run.stdout + run.stderr).toBe(0);

    const after = await snapshot(stack);
    expect(shapeOf(after)).toEqual(shapeOf(before));
    expect(await runs()).toEqual(['ran on first', 'ran on second']);
    await expectLeftAlone(events);
    expectNoVolumeGone(events);
    const newer = ['anonymous-1', 'once-1', 'outside-1', 'outside-2', 'pair-1', 'pair-2', 'tool-1'];
    expect(
      Object.entries(after.services).flatMap(([key, { imageId }]) =>
        imageId === before.services[key]?.imageId ? [] : [key],
      ),
    ).toEqual(newer);
    await expectNothingLeft(stack, run);
  });

  it('are as before once that update is rolled back by hand', async () => {
    const listening = listen(stack);
    const run = await stack.safeUpdate([
      'rollback',
      '--confirm',
      stack.project,
      '--json',
      '--stable-for',
      '1s',
    ]);
    const events = await listening.end();
    expect(run.exitCode, run.stdout + run.stderr).toBe(0);
    expectSame(before, await snapshot(stack));
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
    containers: Object.entries(services).map(([key, { running, mounts, command }]) => [
      key,
      running,
      mounts,
      command,
    ]),
    volumes,
    digests: Object.entries(digests)
      .filter(([volume]) => !volume.endsWith('_log'))
      .map(([volume, { tar, root }]) => [volume, tar, root]),
  };
}

const everything = (
  { image, project: name, port }: Stack,
  [first, second]: readonly [string, string],
): string => `
x-common: &common
  image: ${image}
  stop_grace_period: 0s
services:
  front:
    <<: *common
    container_name: ${name}.by-name
    hostname: front-host
    domainname: example.org
    user: '0:0'
    working_dir: /srv
    init: true
    tmpfs: ['/scratch:size=8m,mode=1777']
    cap_drop: [ALL]
    cap_add: [NET_BIND_SERVICE, DAC_OVERRIDE]
    security_opt: ['no-new-privileges:true']
    sysctls: { net.ipv4.ip_unprivileged_port_start: '80' }
    ulimits: { nofile: { soft: 1024, hard: 2048 } }
    extra_hosts: ['elsewhere:192.0.2.7']
    dns: [192.0.2.53]
    shm_size: 16m
    mem_limit: 256m
    oom_score_adj: 100
    stop_signal: SIGINT
    logging: { driver: json-file, options: { max-size: 1m, max-file: '2' } }
    labels: { org.example.purpose: 'a b=c,d', org.example.empty: '' }
    annotations: { org.example.note: kept }
    environment: { PRICE: '5$$ a "piece"', EMPTY: '', LINES: "one\\ntwo" }
    healthcheck: { test: ['CMD', 'test', '-e', '/etc/front.conf'], interval: 1s, timeout: 2s, retries: 3 }
    ports: ['127.0.0.1:${port}:80', '127.0.0.1::81/udp']
    networks:
      inside: { aliases: [www, web.internal], ipv4_address: ${first}.10 }
      outside: { aliases: [www-outside], gw_priority: 1 }
    configs:
      - { source: inline, target: /etc/front.conf }
      - { source: variable, target: /etc/variable.conf, mode: 0440 }
    secrets: [token, { source: token, target: /etc/token }]
    volumes:
      - { type: volume, source: named, target: /named, volume: { nocopy: true } }
      - { type: volume, source: named, target: /readonly, read_only: true }
      - ./file.conf:/etc/file.conf:ro
  beside:
    <<: *common
    network_mode: service:front
    pid: service:front
    depends_on: { front: { condition: service_healthy } }
  borrower:
    <<: *common
    volumes_from: ['front:ro']
    networks: { inside: { ipv4_address: ${first}.11 } }
  # Nothing of it changes with a release.
  constant:
    image: debian:bookworm-slim
    command: [sleep, infinity]
    stop_grace_period: 0s
    networks: [outside]
networks:
  inside: { internal: true, ipam: { config: [{ subnet: ${first}.0/24 }] } }
  outside: { ipam: { config: [{ subnet: ${second}.0/24 }] } }
volumes:
  named: { labels: { org.example.kept: always } }
configs:
  inline: { content: "listen 80\\nname \${NAME}\\n" }
  variable: { environment: VARIABLE }
secrets:
  token: { environment: TOKEN }
`;

describe('names, addresses, ports, limits, labels, inline configs, secrets and borrowed namespaces', () => {
  it.runIf(turn(0, 3))('are as before after a bad release that also changes a network', async () => {
    const stack = await project({ 'file.conf': 'from the folder\n' });
    const subnet = (): string => `10.${randomInt(64, 128)}.${randomInt(256)}`;
    await stack.write('compose.yaml', everything(stack, [subnet(), subnet()]));
    await stack.env({ NAME: 'first', VARIABLE: 'from a variable', TOKEN: stack.secret });
    await push(await buildImage(stack, 'first', release('first')), stack.repository);
    await stack.up();
    const before = await snapshot(stack);
    const portraits = await portraitsOf(stack);
    const networks = await networksOf(stack);

    await push(await buildImage(stack, 'bad', release('bad')), stack.repository);
    await stack.edit((model) => {
      (model['networks'] as Record<string, Record<string, unknown>>)['inside']!['internal'] = false;
      model.services['front']!['hostname'] = 'another';
    });
    await stack.env({ NAME: 'bad', VARIABLE: 'bad' });
    const run = await stack.update(['--stable-for', '1s']);
    // The files of the folder stay as somebody has just edited them.
    const edited = (await snapshot(stack)).files;
    await expectRolledBack(stack, { ...before, files: edited }, run, /by-name exited/);

    expect(await portraitsOf(stack)).toEqual(portraits);
    expect(await networksOf(stack)).toEqual(networks);

    const front = await stack.container('front');
    expect(front.Name).toBe(`/${stack.project}.by-name`);
    expect(await shell(front, 'cat /etc/front.conf /etc/file.conf /etc/variable.conf')).toBe(
      'listen 80\nname first\nfrom the folder\nfrom a variable',
    );
    expect(
      await shell(front, 'stat -c %a /etc/variable.conf; cat /run/secrets/token; echo; cat /etc/token'),
    ).toBe(`440\n${stack.secret}\n${stack.secret}`);
    expect(await shell(front, 'hostname -f; grep elsewhere /etc/hosts')).toMatch(
      /^front-host\.example\.org\n192\.0\.2\.7/,
    );
    expect(
      await shell(
        await stack.container('borrower'),
        'getent hosts www web.internal; cat /readonly/x || true',
      ),
    ).toContain('.10');
    expect(await shell(await stack.container('beside'), 'hostname')).toBe('front-host');
  });

  it.runIf(turn(1, 3))(
    'a service that lives in the network of another follows it when that one has to be made again',
    async () => {
      const stack = await project({});
      // The first has no volume, so it is removed; the second is kept for `up` to replace, for the sake of its volume.
      const [plain, keeping] = [keeper(), keeper({ volumes: ['/state'] })];
      await stack.write(
        'compose.yaml',
        `
services:
  front: { image: ${await buildImage(stack, 'plain', plain)}, stop_grace_period: 0s, hostname: front-host }
  beside:
    image: ${await buildImage(stack, 'keeping', keeping)}
    stop_grace_period: 0s
    network_mode: service:front
`,
      );
      await stack.up();
      await shell(await stack.container('beside'), 'echo kept >/state/keep');
      await stack.edit(({ services }) => {
        // No machine has that many, and the engine says so only when the container is made.
        services['front']!['cpus'] = 9999;
      });
      const before = await snapshot(stack);
      const run = await stack.update([...local, '--stable-for', '1s']);
      await expectRolledBack(stack, before, run, /CPUs/);
      expect(await shell(await stack.container('beside'), 'hostname; cat /state/keep')).toBe(
        'front-host\nkept',
      );
    },
  );

  // Compose's label holds a hash in which the other service is a container's id; `config --hash` has its name there.
  it.runIf(turn(2, 3))(
    'a service that refers to the container of another is changed when that one is, and else not',
    async () => {
      const stack = await project({});
      const common = 'command: [sleep, infinity], stop_grace_period: 0s';
      const compose = (image: string): string => `services:
  front: { image: ${image}, ${common}, volumes: ['data:/data'] }
  beside: { image: debian:bookworm-slim, ${common}, network_mode: 'service:front' }
  lent: { image: debian:bookworm-slim, ${common}, pid: 'service:front', volumes_from: ['front:ro'] }
volumes: { data: {} }
`;
      await stack.write('compose.yaml', compose('debian:bookworm-slim'));
      await stack.up();
      const planned = async (): Promise<Plan> =>
        JSON.parse((await stack.safeUpdate(['plan', '--json', ...local])).stdout) as Plan;
      expect((await planned()).nothingToDo).toBe(true);

      await stack.write('compose.yaml', compose(await buildImage(stack, 'next', keeper({}))));
      expect((await planned()).services.map(({ service, fate }) => `${service}: ${fate}`)).toEqual([
        'beside: replace',
        'front: replace',
        'lent: replace',
      ]);
      expect((await stack.update(['--stable-for', '1s', ...local])).exitCode).toBe(0);
      const front = (await stack.container('front')).Id;
      const beside = (await stack.container('beside')).Id;
      expect(await docker(['inspect', '--format', '{{.HostConfig.NetworkMode}}', beside])).toBe(
        `container:${front}`,
      );
      expect((await planned()).nothingToDo).toBe(true);
    },
  );
});

const onFolder = ({ image }: Stack): string => `
services:
  db:
    image: ${image}
    environment: { POSTGRES_PASSWORD: '\${PASSWORD}' }
    stop_grace_period: 10s
    volumes: ['./data:/var/lib/postgresql/data', './notes:/notes', './settings:/settings:ro']
    healthcheck:
      test: ['CMD-SHELL', 'pg_isready -q -h 127.0.0.1 -U postgres']
      interval: 1s
      timeout: 3s
      retries: 30
`;

describe('a bind mount', () => {
  it('with a database in it is put back to the byte; one with something else is named as not covered', async () => {
    const stack = await project({});
    await stack.write('compose.yaml', onFolder(stack));
    await stack.env({ PASSWORD: stack.secret });
    const folder = (name: string): string => path.join(stack.directory, name);
    for (const name of ['data', 'notes', 'settings']) await mkdir(folder(name));
    await push('postgres:15', stack.repository);
    await stack.up();
    const sql = async (statement: string): Promise<string> =>
      shell(await stack.container('db'), `psql -U postgres -AtXc "${statement}"`);
    await sql("CREATE TABLE members AS SELECT i, 'member ' || i AS name FROM generate_series(1, 1000) i");

    const plan = JSON.parse((await stack.safeUpdate(['plan', '--json'])).stdout) as Plan;
    expect(plan.volumes.map(({ kind, name }) => [kind, name])).toEqual([['bind', folder('data')]]);
    expect(plan.notCovered).toEqual([
      { source: folder('notes'), services: ['db'], path: '/notes', reason: 'a bind mount' },
    ]);
    expect((await stack.safeUpdate(['plan'])).stdout).toContain(folder('notes'));

    // It runs: the rows come back.
    const before = await snapshot(stack);
    const ruined = 'cd /var/lib/postgresql/data && rm -rf base PG_VERSION && echo ruined >ruined && ls -A';
    const bad = await buildImage(
      stack,
      'bad',
      `FROM postgres:15\nENTRYPOINT ["sh", "-c", "${ruined}; exit 1"]\n`,
    );
    await push(bad, stack.repository);
    const { backup } = await expectRolledBack(stack, before, await stack.update(), /exited with code 1/);
    expect(backup.manifest.volumes).toMatchObject([{ kind: 'bind', name: folder('data'), exact: true }]);
    expect(backup.manifest.notCovered).toEqual([`${folder('notes')} (db: /notes; a bind mount)`]);
    expect(await sql('SELECT count(*) FROM members')).toBe('1000');

    // It is stopped, so nothing but the update writes to the folder.
    await stack.compose(['stop']);
    const [stopped, bytes] = [await snapshot(stack), await digest(stack.project, folder('data'))];
    // What a healthcheck said last before its container was stopped; one that is made again has not been asked.
    stopped.services['db-1']!.health = 'none';
    const { failed } = await expectRolledBack(stack, stopped, await stack.update(), /exited with code 1/);
    expect(await digest(stack.project, folder('data'))).toEqual(bytes);
    expect(failed.manifest.volumes.map(({ name }) => name)).toEqual([folder('data')]);
    await stack.up();
    expect(await sql('SELECT count(*) FROM members')).toBe('1000');
  });
});

/** What `docker inspect` says of each container, without what no two containers have in common. */
async function portraitsOf(stack: Stack): Promise<Record<string, unknown>> {
  const containers = await stack.containers();
  let text = await docker(['inspect', ...containers.map(({ Id }) => Id)]);
  for (const { Id, Name } of containers) {
    text = text.replaceAll(Id, `the id of ${Name}`).replaceAll(Id.slice(0, 12), `the id of ${Name}`);
  }
  const inspects = JSON.parse(text) as Inspected[];
  return Object.fromEntries(inspects.map((inspect) => [inspect.Name, portraitOf(inspect)]));
}

function portraitOf(inspect: Inspected): unknown {
  const {
    Created: _,
    GraphDriver: __,
    ExecIDs: ___,
    NetworkSettings,
    HostConfig,
    State,
    Mounts,
    Config,
    ...rest
  } = inspect;
  const volumes = Mounts.filter(({ Type }) => Type === 'volume').map(({ Destination }) => Destination);
  return {
    ...rest,
    // The engine repeats there a MAC address that it is given for a network.
    Config: { ...Config, MacAddress: undefined },
    State: [State.Status, State.Health?.Status],
    // An anonymous volume comes back by its name; what is mounted in the end is compared below.
    HostConfig: {
      ...HostConfig,
      Mounts: HostConfig.Mounts?.filter(({ Target }) => !volumes.includes(Target)) ?? [],
    },
    Mounts: Mounts.map((mount) => ({ ...mount, Mode: '' })).sort((a, b) =>
      a.Destination.localeCompare(b.Destination),
    ),
    Networks: Object.fromEntries(
      Object.entries(NetworkSettings.Networks).map(([name, endpoint]) => [
        name,
        {
          ...endpoint,
          // The engine chooses it anew each time, and an address too where none is given.
          ...{ MacAddress: '', EndpointID: '', NetworkID: '' },
          IPAddress: endpoint.IPAMConfig?.IPv4Address === undefined ? '' : endpoint.IPAddress,
          DNSNames: [...(endpoint.DNSNames ?? [])].sort(),
        },
      ]),
    ),
    Port80: NetworkSettings.Ports['80/tcp'],
  };
}

/** What is read of it here; all that the engine says is compared, unless it is left out above. */
interface Inspected extends Omit<Inspect, 'HostConfig'> {
  Created: string;
  GraphDriver: unknown;
  ExecIDs: unknown;
  HostConfig: { Mounts?: { Target: string }[] };
  NetworkSettings: { Networks: Record<string, Endpoint>; Ports: Record<string, unknown> };
}

interface Endpoint {
  IPAddress: string;
  IPAMConfig: { IPv4Address?: string } | null;
  DNSNames: string[] | null;
}

async function networksOf(stack: Stack): Promise<unknown> {
  const filter = `label=com.docker.compose.project=${stack.project}`;
  const names = await dockerLines(['network', 'ls', '--format', '{{.Name}}', '--filter', filter]);
  const networks = JSON.parse(await docker(['network', 'inspect', ...names.sort()])) as Record<
    string,
    unknown
  >[];
  return networks.map(({ Id: _, Created: __, Containers: ___, Status: ____, ...rest }) => rest);
}
