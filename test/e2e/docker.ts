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

/** The containers that match a filter of `docker ps`, running or not. */
export async function inspectWhere(filter: string): Promise<Inspect[]> {
  const ids = await dockerLines(['ps', '--all', '--quiet', '--no-trunc', '--filter', filter]);
  return ids.length === 0 ? [] : (JSON.parse(await docker(['inspect', ...ids])) as Inspect[]);
}

/** The id of the image that a name stands for; null where the engine has none. */
export async function imageId(name: string): Promise<string | null> {
  const [id] = await dockerLines(['image', 'inspect', '--format', '{{.Id}}', name]).catch(() => []);
  return id ?? null;
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
