import { stat } from 'node:fs/promises';
import { request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';

/** Every container, volume and network that a test makes by hand carries this label; its value is the stack's project. */
export const testLabel = 'safe-update-e2e';

/** Runs the docker command and returns what it printed, without the last line feed. Throws with its own words. */
export async function docker(
  args: readonly string[],
  options: { cwd?: string; input?: string; env?: Record<string, string> } = {},
): Promise<string> {
  const { stdout } = await execa(
    'docker',
    [...args],
    options.input === undefined ? { stdin: 'ignore', ...options } : options,
  );
  return stdout;
}

/** Like `docker`, for commands that print one thing a line. */
export async function dockerLines(args: readonly string[]): Promise<string[]> {
  return (await docker(args)).split('\n').filter((line) => line !== '');
}

let ofContext: Promise<string> | undefined;

/** The socket of the engine that the docker command would reach. */
async function socketPath(): Promise<string> {
  const asked = process.env['DOCKER_HOST'] ?? '';
  ofContext ??= docker(['context', 'inspect', '--format', '{{.Endpoints.docker.Host}}'], {
    env: { DOCKER_HOST: '' },
  });
  return (asked === '' ? await ofContext : asked).replace(/^unix:\/\//, '');
}

/** Asks the engine itself: what tests ask all the time, and the docker command takes three times as long for. */
export async function ask<T>(where: string, query: Readonly<Record<string, unknown>> = {}): Promise<T> {
  const search = new URLSearchParams(
    Object.entries(query).map(([name, value]): [string, string] => [
      name,
      typeof value === 'string' ? value : JSON.stringify(value),
    ]),
  );
  const path = search.size === 0 ? where : `${where}?${search.toString()}`;
  const socket = await socketPath();
  return new Promise<T>((resolve, reject) => {
    const asking = request({ socketPath: socket, path }, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (piece: string) => (text += piece));
      answer.on('error', reject);
      answer.on('end', () => {
        if (answer.statusCode === 200) resolve(JSON.parse(text) as T);
        else reject(new Error(`GET ${path}: ${answer.statusCode ?? 0} ${text}`));
      });
    });
    asking.on('error', reject);
    asking.end();
  });
}

/** What `docker inspect` says, as far as it is read here. */
export interface Inspect {
  Id: string;
  Name: string;
  Image: string;
  RestartCount: number;
  State: {
    Status: string;
    Running: boolean;
    StartedAt: string;
    ExitCode: number;
    Health?: { Status: string };
  };
  Config: { Image: string; Env: string[]; Labels: Record<string, string>; Cmd: string[] | null };
  HostConfig: { RestartPolicy: { Name: string } };
  Mounts: { Type: string; Name?: string; Source: string; Destination: string; RW: boolean }[];
}

/** The containers that match a filter of `docker ps` (name=value), running or not. */
export async function inspectWhere(filter: string): Promise<Inspect[]> {
  const [name = '', ...value] = filter.split('=');
  const filters = { [name]: [value.join('=')] };
  const found = await ask<{ Id: string }[]>('/containers/json', { all: '1', filters });
  // One that is removed meanwhile is no longer there.
  const each = found.map(({ Id }) =>
    ask<Inspect>(`/containers/${Id}/json`).catch((error: unknown) => {
      if (String(error).includes(': 404 ')) return undefined;
      throw error;
    }),
  );
  return (await Promise.all(each)).filter((one) => one !== undefined);
}

/** The id of the image that a name stands for; null where the engine has none. */
export async function imageId(name: string): Promise<string | null> {
  const image = await ask<{ Id: string }>(`/images/${encodeURIComponent(name)}/json`).catch(() => undefined);
  return image?.Id ?? null;
}

/** The volumes or networks that carry this label, `name=value`. */
export async function labelled(kind: 'volumes' | 'networks', label: string): Promise<string[]> {
  const filters = { label: [label] };
  const found = await ask<{ Volumes: { Name: string }[] | null } | { Name: string }[]>(`/${kind}`, {
    filters,
  });
  return (Array.isArray(found) ? found : (found.Volumes ?? [])).map(({ Name }) => Name).sort();
}

/** Where the engine keeps a volume's files, if that is a folder that this process can read; else undefined. */
export async function folderOfVolume(name: string): Promise<string | undefined> {
  // Of a bind mount it is the path.
  if (name.startsWith('/')) return name;
  const { Mountpoint, Driver, Options } = await ask<{
    Mountpoint: string;
    Driver: string;
    Options: Record<string, string> | null;
  }>(`/volumes/${encodeURIComponent(name)}`);
  const plain = Driver === 'local' && Object.keys(Options ?? {}).length === 0;
  if (!plain || process.getuid?.() !== 0) return undefined;
  const there = await stat(Mountpoint).catch(() => undefined);
  return there?.isDirectory() === true ? Mountpoint : undefined;
}

/** service-number, as compose names replicas. */
export function keyOf({ Config: { Labels } }: Pick<Inspect, 'Config'>): string {
  const oneOff = Labels['com.docker.compose.oneoff'] === 'True' ? 'run-' : '';
  return `${oneOff}${Labels['com.docker.compose.service'] ?? ''}-${Labels['com.docker.compose.container-number'] ?? ''}`;
}

/** Tries until it succeeds; throws the last error after `limit` milliseconds. */
export async function eventually<T>(attempt: () => Promise<T>, limit = 20_000): Promise<T> {
  const deadline = performance.now() + limit;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await sleep(200);
    }
  }
}
