import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import type { Outcome } from '../src/model/event.ts';
import { formatBytes } from '../src/model/units.ts';
import { downtime } from '../src/update/downtime.ts';
import { docker, fill, type Bench } from './bench-engine.ts';
import { timed, type Comparison } from './bench-measure.ts';

const root = fileURLToPath(new URL('../', import.meta.url));
const registry = `127.0.0.1:${process.env['SAFE_UPDATE_LAB_PORT'] ?? '5000'}`;
const services = ['db', 'cache', 'app'];

/** The shop of fixtures/shop, running, with some data beside its own. */
export interface Stack {
  project: string;
  folder: string;
  /** Other data than the shop's own, in bytes. */
  bytes: number;
}

export async function startStack(bench: Bench, folder: string, bytes: number, port: number): Promise<Stack> {
  const stack = { project: `safe-update-bench-${bytes}`, folder: path.join(folder, `stack-${bytes}`), bytes };
  await removeStack(stack);
  await mkdir(stack.folder, { recursive: true });
  await cp(path.join(root, 'fixtures/shop/compose.yaml'), path.join(stack.folder, 'compose.yaml'));
  const variables = {
    DB_PASSWORD: 'bench',
    CACHE_PASSWORD: 'bench',
    APP_PORT: String(port),
    APP_IMAGE: imageOf(stack),
  };
  await writeFile(
    path.join(stack.folder, '.env'),
    Object.entries(variables)
      .map(([name, value]) => `${name}=${value}\n`)
      .join(''),
  );
  await release(stack, '1.0.0');
  await compose(stack, ['up', '--detach', '--wait', '--quiet-pull']);
  if (bytes > 0) await fill(bench, `${stack.project}_uploads`, bytes);
  return stack;
}

/** Everything of a stack of ours, and nothing else. */
export async function removeStack({ project, folder }: Pick<Stack, 'project' | 'folder'>): Promise<void> {
  const each = async (list: string[], remove: string[]): Promise<void> => {
    for (const key of ['com.docker.compose.project', 'safe-update.project']) {
      const found = (await docker([...list, '--quiet', '--filter', `label=${key}=${project}`]))
        .split('\n')
        .filter((id) => id !== '');
      if (found.length > 0) await docker([...remove, ...found]);
    }
  };
  await each(['ps', '--all'], ['rm', '--force', '--volumes']);
  await each(['volume', 'ls'], ['volume', 'rm', '--force']);
  await each(['network', 'ls'], ['network', 'rm']);
  // Names only: what others run from the same image stays.
  const format = '{{.Repository}}{{if eq .Tag "<none>"}}@{{.Digest}}{{else}}:{{.Tag}}{{end}}';
  const names = await docker(['image', 'ls', '--digests', '--format', format]);
  for (const name of new Set(names.split('\n'))) {
    if (name.startsWith(`safe-update/pin-${project}:`) || name.startsWith(`${registry}/${project}/`))
      await docker(['image', 'rm', name]).catch(() => undefined);
  }
  await rm(folder, { recursive: true, force: true });
}

function imageOf({ project }: Pick<Stack, 'project'>): string {
  return `${registry}/${project}/app:latest`;
}

function compose({ project, folder }: Stack, args: string[]): Promise<string> {
  return docker(['compose', '--project-name', project, ...args], { cwd: folder });
}

/** A new release in the registry. What the engine itself has under that name stays, as after a push from elsewhere. */
async function release(stack: Pick<Stack, 'project'>, version: '1.0.0' | '1.1.0'): Promise<void> {
  const elsewhere = imageOf(stack).replace('127.0.0.1', 'localhost');
  await docker(['tag', `safe-update-fixtures/app:${version}`, elsewhere]);
  await docker(['push', '--quiet', elsewhere]);
  await docker(['image', 'rm', elsewhere]);
}

interface Run {
  outcome: Outcome;
  /** The most memory it ever had, in bytes: VmHWM of proc(5). */
  memory: number;
}

/** The program as it is built, with nobody to ask. Throws unless it ends well. */
export async function safeUpdate({ project, folder }: Stack, args: string[] = []): Promise<Run> {
  const flags = ['--project-name', project, '--yes', '--json', '--stable-for', '2s', '--keep', '1'];
  const child = execa(process.execPath, [path.join(root, 'dist/bin.cjs'), ...flags, ...args], {
    cwd: folder,
    stdin: 'ignore',
  });
  let memory = 0;
  const watching = (async () => {
    while (child.nodeChildProcess.exitCode === null && child.nodeChildProcess.signalCode === null) {
      const status = await readFile(`/proc/${child.pid ?? 0}/status`, 'utf8').catch(() => '');
      memory = Math.max(memory, Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024);
      await sleep(50);
    }
  })();
  try {
    const { stdout } = await child;
    const last = JSON.parse(stdout.split('\n').at(-1) ?? '') as { outcome: Outcome };
    return { outcome: last.outcome, memory };
  } finally {
    await watching;
  }
}

/** Milliseconds that the application was away, as the engine's own events tell it, and all that `work` took. */
async function awayDuring(bench: Bench, { project }: Stack, work: () => Promise<unknown>): Promise<number> {
  const { events, stop } = await bench.engine.watch(project);
  try {
    await work();
    // The last of the events may still be on its way.
    await sleep(500);
  } finally {
    stop();
  }
  const away = downtime(
    events,
    services.map((service) => ({ service, replicas: 1 })),
    Date.now(),
  )['app'];
  if (away === undefined) throw new Error('the application was never stopped');
  return away;
}

const bare = '`compose stop`, `rm -f`, `up -d --wait`';
const ours = 'safe-update';

/** Two stacks of the same data would wait for the disk at the same time; so one, and the ways take turns. */
export function downtimeComparison(bench: Bench, stack: Stack, memory: number[]): Comparison {
  let next = 0;
  const prepare = (): Promise<void> => release(stack, (next += 1) % 2 === 1 ? '1.1.0' : '1.0.0');
  const size = stack.bytes === 0 ? 'no other data' : formatBytes(stack.bytes);
  return {
    title: `Downtime, ${size}`,
    unit: 'milliseconds',
    baseline: bare,
    ways: [
      {
        name: bare,
        prepare: async () => {
          await prepare();
          await compose(stack, ['pull', '--quiet']);
        },
        run: async () => ({
          [bare]: await awayDuring(bench, stack, async () => {
            await compose(stack, ['stop']);
            await compose(stack, ['rm', '--force']);
            await compose(stack, ['up', '--detach', '--wait']);
          }),
        }),
      },
      {
        name: ours,
        prepare,
        run: async () => {
          let run: Run | undefined;
          const all = { took: 0 };
          const away = await awayDuring(bench, stack, async () => {
            all.took = await timed(async () => {
              run = await safeUpdate(stack);
            });
          });
          if (run?.outcome.result !== 'updated')
            throw new Error(`the update ended ${run?.outcome.result ?? 'badly'}`);
          memory.push(run.memory);
          return { [ours]: away, 'safe-update, from start to end': all.took };
        },
      },
    ],
  };
}

export function nothingComparison(stack: Stack): Comparison {
  const bareNothing = '`compose pull`, `compose up -d`';
  return {
    title: 'Nothing to do',
    unit: 'milliseconds',
    ways: [
      {
        name: bareNothing,
        run: async () => ({
          [bareNothing]: await timed(async () => {
            await compose(stack, ['pull', '--quiet']);
            await compose(stack, ['up', '--detach']);
          }),
        }),
      },
      {
        name: ours,
        run: async () => {
          let result = '';
          const took = await timed(async () => {
            ({ result } = (await safeUpdate(stack)).outcome);
          });
          if (result !== 'nothing-to-do') throw new Error(`there was something to do: ${result}`);
          return { [ours]: took };
        },
      },
    ],
  };
}
