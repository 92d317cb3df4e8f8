import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { shimMarker, shimNames, shimText } from '../../src/guard/shim.ts';
import { buildImage } from './stack-small.ts';
import { docker, eventually, project, type Stack } from './stack.ts';

/** The real engine behind the shim: what goes in and comes out is what docker itself takes and gives. */

const bin = fileURLToPath(new URL('../../src/bin.ts', import.meta.url));
let stack: Stack;
let folder: string;
let image: string;
let path: string;

const compose = (label: string): string => `
services:
  web:
    image: ${image}
    command: ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"]
    volumes: [data:/data]
volumes:
  data: { labels: { version: "${label}" } }
`;

beforeAll(async () => {
  stack = await project({ 'compose.yaml': 'services: {}\n' });
  image = await buildImage(stack, 'sh', 'FROM debian:bookworm-slim\n');
  await stack.write('compose.yaml', compose('1'));
  folder = mkdtempSync(join(tmpdir(), 'safe-update-e2e-shim-'));
  const shims = join(folder, 'shims');
  mkdirSync(shims);
  for (const name of shimNames) {
    writeFileSync(join(shims, name), shimText(name, { node: process.execPath, bin }));
    chmodSync(join(shims, name), 0o755);
  }
  writeFileSync(join(shims, shimMarker), '');
  path = `${shims}${delimiter}${process.env['PATH'] ?? ''}`;
});

afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await stack.remove();
});

/** A line in a shell, with the shim ahead in PATH, in the project's folder. */
const line = (text: string, options: { input?: string; reject?: boolean } = {}) =>
  execa('/bin/sh', ['-c', text], {
    cwd: stack.directory,
    env: { PATH: path, COMPOSE_PROJECT_NAME: stack.project },
    reject: false,
    stripFinalNewline: false,
    ...(options.input === undefined ? { stdin: 'ignore' as const } : { input: options.input }),
  });

const contents = () =>
  docker(['run', '--rm', '--volume', `${stack.project}_data:/data`, image, 'cat', '/data/kept']);

describe('the shim before a real docker', () => {
  it('passes standard input, output, errors and exit codes on, byte by byte', async () => {
    const bytes = 'a\0b\r\n\u001b[31mé\n';
    const cat = await line(`docker run --rm -i ${image} cat`, { input: bytes });
    expect(cat).toMatchObject({ exitCode: 0, stdout: bytes, stderr: '' });
    const both = await line(`docker run --rm ${image} sh -c 'echo out; echo err >&2; exit 42'`);
    expect(both).toMatchObject({ exitCode: 42, stdout: 'out\n', stderr: 'err\n' });
    const args = await line(`docker run --rm ${image} printf '[%s]' '' '*' 'a b' -- -x 'c
d'`);
    expect(args.stdout).toBe('[][*][a b][--][-x][c\nd]');
    expect((await line('docker nonsense')).exitCode).toBe(
      (await execa('docker', ['nonsense'], { reject: false })).exitCode,
    );
  });

  it('keeps volumes: refuses down -v, whatever a person meant', async () => {
    expect((await line('docker compose up -d --quiet-pull')).exitCode).toBe(0);
    expect((await line("docker compose exec -T web sh -c 'echo yes >/data/kept'")).exitCode).toBe(0);
    const refused = await line('docker compose down -v');
    expect(refused.exitCode).toBe(2);
    expect(refused.stderr).toContain('rule        down-volumes');
    expect((await line('docker compose ps --services')).stdout).toBe('web\n');
    expect((await line('docker compose down --timeout 1')).exitCode).toBe(0);
    expect(await contents()).toBe('yes');
  });

  it('keeps a pipe from answering yes when the definition of a volume has changed', async () => {
    expect((await line('docker compose up -d')).exitCode).toBe(0);
    await line("docker compose exec -T web sh -c 'echo yes >/data/kept'");
    await stack.write('compose.yaml', compose('2'));
    await line('yes | docker compose up -d');
    await line('yes | docker compose scale web=2');
    expect(await contents()).toBe('yes');
    // From the same pipe, compose files still come.
    const piped = await line('docker compose -f - config --services', { input: compose('2') });
    expect(piped.stdout).toBe('web\n');
    await stack.write('compose.yaml', compose('1'));
    expect((await line('docker compose up -d')).exitCode).toBe(0);
  });

  it('is a terminal to a command in a container, for one line and for a whole session', async () => {
    const typescript = join(folder, 'typescript');
    const { exitCode } = await line(`script -qec 'docker compose exec web sh' ${typescript}`, {
      input: 'test -t 0 && test -t 1 && echo it is a t""erminal\nexit 7\n',
    });
    expect(exitCode).toBe(7);
    expect(readFileSync(typescript, 'utf8')).toContain('it is a terminal');
  });

  it.each(['SIGINT', 'SIGTERM'] as const)(
    'lets %s through to docker, which is in its place',
    async (signal) => {
      const name = `${stack.project}-${signal.toLowerCase()}`;
      const child = line(
        `exec docker run --rm --name ${name} --label safe-update-e2e=${stack.project} ${image} sh -c 'trap "echo got it; exit 43" INT TERM; echo ready; while :; do sleep 0.1; done'`,
      );
      await eventually(async () => {
        expect(await docker(['logs', name])).toContain('ready');
      });
      child.kill(signal);
      const { exitCode, stdout } = await child;
      expect(exitCode).toBe(43);
      expect(stdout).toContain('got it');
    },
  );
});
