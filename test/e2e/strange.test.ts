/** Whatever compose accepts, a plan explains, and forgets nothing that a container could write to. */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { expect, it } from 'vitest';
import { parse } from 'yaml';
import type { Plan } from '../../src/model/plan.ts';
import { local } from './stack-small.ts';
import { project, type Stack } from './stack.ts';

const sleeper = '{ image: debian:bookworm-slim, command: [sleep, infinity], stop_grace_period: 0s';

/** The files of a project. A name with a slash is in a folder. */
const projects: Record<string, Record<string, string>> = {
  'profiles, one of which is never active by itself': {
    'compose.yaml': `services:
  web: ${sleeper}, volumes: ['web:/data'] }
  debug: ${sleeper}, profiles: [debug, tools], volumes: ['debug:/data', /scratch] }
volumes: { web: {}, debug: {} }
`,
  },
  'include, also of a file with an env file and a folder of its own': {
    'compose.yaml': `include:
  - part/compose.yaml
  - { path: other/compose.yaml, project_directory: other, env_file: other/its.env }
services:
  web: ${sleeper}, volumes: ['shared:/data'] }
volumes: { shared: {} }
`,
    'part/compose.yaml': `services:\n  part: ${sleeper}, volumes: ['of_part:/data'] }\nvolumes: { of_part: {} }\n`,
    'other/compose.yaml': `services:\n  other: ${sleeper}, volumes: ['\${NAME}:/data', './files:/files'] }\nvolumes: { from_env: {} }\n`,
    'other/its.env': 'NAME=from_env\n',
  },
  'extends, from this file and from another': {
    'compose.yaml': `services:
  base: ${sleeper}, volumes: ['base:/data'] }
  web: { extends: { service: base }, volumes: ['web:/more'] }
  far: { extends: { file: common/services.yaml, service: common }, volumes: [/anonymous] }
volumes: { base: {}, web: {}, common: {} }
`,
    'common/services.yaml': `services:\n  common: ${sleeper}, volumes: ['common:/data', './files:/files'] }\n`,
  },
  'anchors, merge keys and extension fields': {
    'compose.yaml': `x-service: &service
  image: debian:bookworm-slim
  command: [sleep, infinity]
  stop_grace_period: 0s
x-volumes: &volumes ['one:/data', './bound:/bound']
services:
  a: { <<: *service, volumes: *volumes }
  b: { <<: [*service, { labels: { tier: "2" } }], volumes: *volumes }
volumes: { one: &plain {}, two: *plain }
`,
  },
  'an override that resets and overrides': {
    'compose.yaml': `services:\n  web: ${sleeper}, volumes: ['old:/old', 'kept:/kept'], ports: ['8080:80'] }\nvolumes: { old: {}, kept: {}, new: {} }\n`,
    'compose.override.yaml': `services:\n  web: { ports: !reset [], volumes: !override ['new:/new', 'kept:/kept'] }\nvolumes: { old: !reset null }\n`,
  },
  'volumes_from, read-only too, and the namespaces of another service': {
    'compose.yaml': `services:
  lender: ${sleeper}, volumes: ['lent:/lent', /anonymous, './bound:/bound'] }
  borrower: ${sleeper}, volumes_from: [lender], network_mode: 'service:lender', pid: 'service:lender' }
  reader: ${sleeper}, volumes_from: ['lender:ro'] }
volumes: { lent: {} }
`,
  },
  'replicas with anonymous volumes, none, and a global service': {
    'compose.yaml': `services:
  many: ${sleeper}, volumes: [/anonymous, 'shared:/data'], deploy: { replicas: 3 } }
  none: ${sleeper}, volumes: ['unused:/data'], deploy: { replicas: 0 } }
  scaled: ${sleeper}, volumes: [/anonymous], scale: 2 }
volumes: { shared: {}, unused: {} }
`,
  },
  'configs and secrets of every origin': {
    'compose.yaml': `services:
  web: ${sleeper}, volumes: ['data:/data'], configs: [inline, { source: file, target: /etc/file, mode: 0440 }, env], secrets: [word, { source: token, target: other }] }
configs: { inline: { content: "a=\${NAME}" }, file: { file: ./file.conf }, env: { environment: NAME } }
secrets: { word: { file: ./word.txt }, token: { environment: NAME } }
volumes: { data: {} }
`,
    'file.conf': 'x\n',
    'word.txt': 'x\n',
    '.env': 'NAME=value\n',
  },
  'a name at the top, and volumes that are named after it': {
    'compose.yaml': `name: another
services:
  web: ${sleeper}, container_name: '\${COMPOSE_PROJECT_NAME}-web', volumes: ['data:/data', 'plain:/plain'] }
volumes: { data: { name: '\${COMPOSE_PROJECT_NAME}.of-its-own' }, plain: }
`,
  },
  'long syntax: options of volumes, a tmpfs volume, bind mounts by a detour': {
    'compose.yaml': `services:
  web:
    image: debian:bookworm-slim
    command: [sleep, infinity]
    stop_grace_period: 0s
    tmpfs: [/run, '/var/tmp:size=1m']
    read_only: true
    volumes:
      - { type: volume, source: data, target: /data, volume: { nocopy: true, labels: { made: by-hand } } }
      - { type: volume, source: memory, target: /memory, read_only: true }
      - { type: volume, target: /nameless }
      - { type: bind, source: ./one/../beside, target: /beside, bind: { create_host_path: true, propagation: rprivate } }
      - { type: tmpfs, target: /fast, tmpfs: { size: 1m, mode: 01777 } }
      - ./one:/one:z
      - ./one/two:/one/two:ro
volumes: { data: { labels: [a=b] }, memory: { driver_opts: { type: tmpfs, device: tmpfs, o: size=1m } } }
`,
  },
  'names that need care, and keys that few know': {
    'compose.yaml': `services:
  a.b_c-1: ${sleeper}, volumes: ['Data.1-x_y:/data', '1:/one'], environment: { EMPTY: , QUOTED: '"$$HOME"' }, labels: ['üñï=«»', 'line=a\\nb'] }
  "2": ${sleeper}, depends_on: { a.b_c-1: { condition: service_started, required: false } }, extra_hosts: ['x=127.0.0.1'], init: true, ulimits: { nofile: 100 }, healthcheck: { disable: true }, logging: { driver: none }, post_start: [{ command: ['true'] }], develop: { watch: [{ path: ., action: rebuild }] }, attach: false }
volumes: { Data.1-x_y: , "1": }
`,
  },
  'volumes that nobody uses, and a single letter': {
    'compose.yaml': `services:\n  web: ${sleeper}, volumes: [/srv] }\nvolumes: { idle: {}, x: { driver: local } }\n`,
  },
};

it.each(Object.entries(projects))('%s', async (_, files) => {
  const stack = await project({});
  for (const [file, text] of Object.entries(files)) {
    await mkdir(path.dirname(path.join(stack.directory, file)), { recursive: true });
    await stack.write(file, text);
  }
  // Not started: the containers are there, with all that is mounted into them.
  await stack.compose(['--profile', '*', 'create', '--quiet-pull']);
  const [run, said] = await Promise.all([
    stack.safeUpdate(['plan', '--json', ...local]),
    stack.safeUpdate(['plan', ...local]),
  ]);
  expect(run.exitCode, run.story).toBe(0);
  expect(said.exitCode, said.story).toBe(0);
  const plan = JSON.parse(run.stdout) as Plan;
  const known = [...plan.volumes.map(({ name }) => name), ...plan.notCovered.map(({ source }) => source)];
  expect(known).toEqual(expect.arrayContaining(await writable(stack)));
  expect(known).toEqual(expect.arrayContaining(await declared(stack)));
  expect(plan.services.map(({ service }) => service)).toEqual(expect.arrayContaining(await services(stack)));
  for (const { name, kind } of plan.volumes)
    expect(said.stdout).toContain(kind === 'anonymous' ? name.slice(0, 12) : path.basename(name));
});

/** What the engine has mounted: every volume, and every folder of the host that can be written to. */
async function writable(stack: Stack): Promise<string[]> {
  const mounts = (await stack.containers()).flatMap(({ Mounts }) => Mounts);
  expect(mounts.length).toBeGreaterThan(0);
  return [
    ...new Set(
      mounts
        .filter(({ Type, RW }) => Type === 'volume' || (Type === 'bind' && RW))
        .map(({ Name, Source }) => Name ?? Source),
    ),
  ];
}

/** Every volume of compose's own model, by its name on the engine. */
async function declared(stack: Stack): Promise<string[]> {
  const model = parse(await stack.compose(['--profile', '*', 'config'])) as {
    volumes?: Record<string, { name: string }>;
  };
  return Object.values(model.volumes ?? {}).map(({ name }) => name);
}

async function services(stack: Stack): Promise<string[]> {
  return [
    ...new Set(
      (await stack.containers()).map(({ Config }) => Config.Labels['com.docker.compose.service'] ?? ''),
    ),
  ];
}
