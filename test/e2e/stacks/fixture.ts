/** The stacks of fixtures/, each in a folder, a project, ports and images of its own. Removed like every other one. */
import { cp } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import type { Plan } from '../../../src/model/plan.ts';
import { docker } from '../docker.ts';
import { push, registry } from '../releases.ts';
import { project, type Finished, type Stack } from '../stack.ts';

/** No question, events as JSON, and little to wait for. */
export const brisk = ['--yes', '--json', '--stable-for', '1s', '--verify-timeout', '30s'];

export function fixtureFolder(name: string): string {
  return fileURLToPath(new URL(`../../../fixtures/${name}`, import.meta.url));
}

/** A copy of fixtures/NAME with these variables in its .env. Nothing is started. */
export async function fixture(
  name: string,
  variables: (stack: Stack) => Record<string, string>,
): Promise<Stack> {
  const stack = await project({});
  await cp(fixtureFolder(name), stack.directory, { recursive: true });
  await stack.write('docker-compose.yml', hurried(await stack.read('docker-compose.yml')));
  await stack.env(variables(stack));
  return stack;
}

/** Healthchecks that are asked often until they are good, and seldom then: each costs as much as a command. As in stack.ts. */
function hurried(compose: string): string {
  return compose.replace(
    /^( +)interval: 1s\n( +timeout: \w+\n) +retries: (\d+)$/gm,
    (_, indent: string, timeout: string, retries: string) => {
      const [period, interval] = Number(retries) > 10 ? ['60s', '30s'] : ['5s', '4s'];
      const lines = [
        'start_interval: 500ms',
        `start_period: ${period}`,
        `interval: ${interval}`,
        'retries: 2',
      ];
      return timeout + lines.map((line) => indent + line).join('\n');
    },
  );
}

/** Puts an image into the registry as one of the stack's own. Returns its name there. */
export async function publish(stack: Stack, image: string, name: string, tag = 'latest'): Promise<string> {
  await push(image, `${stack.project}/${name}`, tag);
  return `${registry}/${stack.project}/${name}:${tag}`;
}

/** A command that has to succeed. */
export async function succeed(stack: Stack, args: readonly string[]): Promise<Finished> {
  const run = await stack.safeUpdate(args);
  expect(run.exitCode, run.story).toBe(0);
  expect(run.stdout + run.stderr).not.toContain(stack.secret);
  return run;
}

/** The result of a command that only looks. */
export async function look<T>(stack: Stack, args: readonly string[]): Promise<T> {
  const { stdout } = await succeed(stack, [...args, '--json']);
  return JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as T;
}

export async function planOf(stack: Stack, args: readonly string[] = []): Promise<Plan> {
  return look(stack, ['plan', ...args]);
}

/** Puts a backup back, or what --only names of it. */
export async function restore(stack: Stack, id: string, ...flags: string[]): Promise<Finished> {
  const calm = ['--json', '--stable-for', '1s', '--verify-timeout', '30s'];
  return succeed(stack, ['restore', id, '--confirm', stack.project, ...calm, ...flags]);
}

/** Runs a line in a service's container, as root. */
export async function inside(stack: Stack, service: string, line: string): Promise<string> {
  const { Id } = await stack.container(service);
  return docker(['exec', '--user', '0', Id, 'sh', '-ec', line]);
}

/** One statement in the database that the service was made with; a row a line, fields with | between. */
export async function query(stack: Stack, service: string, statement: string): Promise<string> {
  const { Id } = await stack.container(service);
  return queryIn(Id, statement);
}

export async function queryIn(container: string, statement: string): Promise<string> {
  const line = 'psql -U "${POSTGRES_USER:-postgres}" -d "$POSTGRES_DB" -AtX -v ON_ERROR_STOP=1 -c "$0"';
  return docker(['exec', container, 'sh', '-c', line, statement]);
}

/** Names of the parts of a backup, as its manifest has them. */
export function partsOf(backup: Awaited<ReturnType<Stack['backups']>>[number]): string[] {
  return backup.manifest.parts.map((part) => part.path).sort();
}

/** A path below the project's folder. */
export function within(stack: Stack, ...parts: string[]): string {
  return path.join(stack.directory, ...parts);
}
