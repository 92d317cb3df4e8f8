/**
 * For stacks that are about the shape of a project rather than about an application: images of a line or two, what the
 * engine said meanwhile, and containers seen from inside.
 *
 *     const image = await buildImage(stack, 'good', keeper());          // e2e-…/good:latest, removed with the stack
 *     const listening = listen(stack);                                  // from here on
 *     const events = await listening.end();                             // every event that names the stack
 *     await shell(container, 'cat /state/keep');
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { docker, testLabel, type Inspect } from './docker.ts';
import type { Stack } from './stack.ts';

/** Flags for stacks whose images are in no registry. */
export const local = ['--pull', 'never'];

/** Builds an image that goes away with the stack. There is no build context: the Dockerfile is all of it. */
export async function buildImage(stack: Stack, name: string, dockerfile: string): Promise<string> {
  const image = `${stack.project}/${name}:latest`;
  await docker(['build', '--quiet', '--tag', image, '-'], { input: dockerfile });
  return image;
}

export interface Kept {
  /** VOLUME of the image. */
  volumes?: readonly string[];
  env?: Readonly<Record<string, string>>;
  /** What it does before it sleeps for ever; `exit 1` for a release that fails. */
  script?: string;
}

/** The Dockerfile of a service that runs until it is stopped. Two with different variables are two releases. */
export function keeper({ volumes = [], env = {}, script = 'true' }: Kept = {}): string {
  return [
    'FROM debian:bookworm-slim',
    ...Object.entries(env).map(([name, value]) => `ENV ${name}="${value}"`),
    ...(volumes.length === 0 ? [] : [`VOLUME ${JSON.stringify(volumes)}`]),
    `CMD ${JSON.stringify(['sh', '-c', `${script}; exec sleep infinity`])}`,
    '',
  ].join('\n');
}

/** An event of the engine. */
export interface Heard {
  type: string;
  action: string;
  /** The compose service; empty for what is no container of a project. */
  service: string;
  /** Of the container, volume, network or image. */
  name: string;
  attributes: Record<string, string>;
  /** Milliseconds since the epoch, on the engine's clock. */
  at: number;
}

/**
 * Listens to all that the engine says of a stack: of everything that has the project's name anywhere in it, so that a
 * volume or a tag that somebody makes under a name of its own is heard too. The engine keeps only its last 256 events,
 * so asking afterwards would not do.
 */
export function listen(stack: Stack): { end(): Promise<Heard[]> } {
  const child = execa('docker', ['events', '--since', String(Date.now() / 1000), '--format', 'json'], {
    stdin: 'ignore',
    reject: false,
    buffer: false,
  });
  const lines: string[] = [];
  void (async () => {
    for await (const line of child.iterable()) lines.push(line);
  })().catch(() => undefined);
  return {
    async end() {
      // Whatever happened before this volume was made is heard before it.
      const last = `${stack.project}-last-${randomBytes(4).toString('hex')}`;
      const isLast = (line: string): boolean => line.includes(last);
      await docker(['volume', 'create', '--label', `${testLabel}=${stack.project}`, last]);
      for (let tries = 0; tries < 200 && !lines.some(isLast); tries += 1) await sleep(50);
      await docker(['volume', 'rm', last]);
      child.kill();
      await child;
      if (!lines.some(isLast)) throw new Error('the engine did not say what happened');
      return lines
        .slice(0, lines.findIndex(isLast))
        .filter((line) => line.includes(stack.project))
        .map(readEvent)
        .filter(({ action }) => !/^(exec_|health_status)/.test(action));
    },
  };
}

function readEvent(line: string): Heard {
  const { Type, Action, Actor, timeNano } = JSON.parse(line) as {
    Type: string;
    Action: string;
    Actor: { ID: string; Attributes?: Record<string, string> };
    timeNano: number;
  };
  const attributes = Actor.Attributes ?? {};
  return {
    type: Type,
    action: Action,
    service: attributes['com.docker.compose.service'] ?? '',
    name: attributes['name'] ?? Actor.ID,
    attributes,
    at: timeNano / 1e6,
  };
}

/** What happened to the containers of a service, in order: create, start, kill, die … */
export function actionsOn(events: readonly Heard[], service: string): string[] {
  return events.filter((event) => event.service === service).map(({ action }) => action);
}

/** Runs a line in a running container, as root. Returns what it printed. */
export async function shell({ Id }: Pick<Inspect, 'Id'>, line: string): Promise<string> {
  return docker(['exec', '--user', '0', Id, 'sh', '-ec', line]);
}

/** Name of the volume at a path, or the folder of a bind mount. Throws if there is nothing. */
export function mountAt({ Name, Mounts }: Inspect, path: string): string {
  const mount = Mounts.find(({ Destination }) => Destination === path);
  if (mount === undefined) throw new Error(`${Name} has nothing mounted at ${path}`);
  return mount.Name ?? mount.Source;
}
