import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { execa } from 'execa';
import { afterAll } from 'vitest';
import { dockerodeFor, resolveEndpoint } from '../../src/docker/endpoint.ts';
import { Engine } from '../../src/docker/engine.ts';
import { createExec } from '../../src/docker/exec.ts';
import { helperImage, startHelper, type Helper, type HelperOptions } from '../../src/docker/helper.ts';

/** Everything that these tests put on an engine carries this label; the value is theirs alone. */
const owner = `volumes-${randomBytes(4).toString('hex')}`;
const label = `safe-update.test=${owner}`;

const exec = createExec(process.env);
const engine = new Engine(dockerodeFor(await resolveEndpoint(exec, process.env)));
const image = await helperImage(engine, exec, undefined);

const volumes: string[] = [];
const helpers: Helper[] = [];
const containers: string[] = [];

async function docker(argv: readonly string[], input = ''): Promise<string> {
  const { stdout } = await execa('docker', argv, { input, maxBuffer: 200_000_000 });
  return stdout;
}

afterAll(async () => {
  for (const helper of helpers) await helper.remove();
  if (containers.length > 0) await docker(['rm', '--force', ...containers]);
  if (volumes.length > 0) await docker(['volume', 'rm', '--force', ...volumes]);
});

/** A new, empty volume. */
export async function newVolume(): Promise<string> {
  const name = await docker(['volume', 'create', '--label', label]);
  volumes.push(name);
  return name;
}

type Access = HelperOptions['access'];

/** The product's own helper, with these volumes, and with a folder of this machine if one is named. */
export async function helperWith(
  options: Access | { access: Access; folder: string },
  ...names: string[]
): Promise<Helper> {
  const helper = await startHelper(engine, exec, image, {
    project: owner,
    run: 'test',
    volumes: names.map((name) => ({ name, kind: 'named' })),
    ...(typeof options === 'string' ? { access: options } : options),
  });
  helpers.push(helper);
  return helper;
}

/** A container of the test's own, through which volumes are filled, changed and listed. */
export interface Workbench {
  /** Runs Python in a volume's root folder and returns what it printed. */
  python(volume: string, script: string, ...args: string[]): Promise<string>;
  /** Runs sh there. */
  sh(volume: string, script: string): Promise<string>;
  /** What is in the volume, one file a line, by tree.py. */
  tree(volume: string): Promise<Tree>;
  /** Starts sh there and does not wait for it; `stop` ends it. */
  keepRunning(volume: string, script: string): Promise<{ stop(): Promise<void> }>;
}

export interface Tree {
  /** All that makes a file, apart from how many blocks it takes. */
  files: string[];
  /** Blocks of 512 bytes on disk, by path. */
  blocks: Map<string, number>;
}

const treeScript = await readFile(new URL('tree.py', import.meta.url), 'utf8');

export async function workbench(...names: string[]): Promise<Workbench> {
  const id = await docker([
    ...['run', '--detach', '--network', 'none', '--label', label, '--entrypoint', 'sleep'],
    ...names.flatMap((name, index) => ['--volume', `${name}:/volumes/${index}`]),
    ...[image, 'infinity'],
  ]);
  containers.push(id);
  const inside = (volume: string, argv: string[], input?: string): Promise<string> =>
    docker(['exec', '--interactive', '--workdir', `/volumes/${names.indexOf(volume)}`, id, ...argv], input);
  return {
    python: (volume, script, ...args) => inside(volume, ['python3', '-', ...args], script),
    sh: (volume, script) => inside(volume, ['sh', '-ec', script]),
    async tree(volume) {
      const printed = await inside(volume, ['python3', '-', '.'], treeScript);
      const entries = printed.split('\n').map((line) => JSON.parse(line) as { path: string; blocks: number });
      return {
        files: entries.map(({ blocks: _, ...rest }) => JSON.stringify(rest)),
        blocks: new Map(entries.map(({ path, blocks }) => [path, blocks])),
      };
    },
    async keepRunning(volume, script) {
      const running = inside(volume, ['sh', '-c', `echo $$ > /tmp/running; ${script}`]).catch(() => '');
      await inside(volume, ['sh', '-c', 'until [ -s /tmp/running ]; do sleep 0.1; done']);
      return {
        async stop() {
          await inside(volume, ['sh', '-c', 'kill -9 "$(cat /tmp/running)"; rm /tmp/running']);
          await running;
        },
      };
    },
  };
}
