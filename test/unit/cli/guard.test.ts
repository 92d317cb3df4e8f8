import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const program = fileURLToPath(new URL('../../../src/bin.ts', import.meta.url));
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'safe-update-guard-'));
  writeFileSync(join(folder, 'reset.sh'), '#!/bin/sh\ndocker compose down --volumes\n');
  writeFileSync(join(folder, 'calm.sh'), '#!/bin/sh\ndocker compose stop\n');
  writeFileSync(join(folder, 'page.md'), '~~~sh\ndocker volume prune\n~~~\n');
});

afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** The guard itself is run, with the command as an argument that nothing evaluates. */
const guard = (args: string[], input = '', env: Record<string, string> = {}) =>
  execa(process.execPath, [program, 'guard', ...args], {
    cwd: folder,
    env,
    input,
    reject: false,
    stripFinalNewline: false,
  });

describe('guard install engine', () => {
  it('names no plugin to another engine than the one that was meant', async () => {
    for (const [words, env] of [
      [['--host', 'unix:///run/user/1001/docker.sock'], {}],
      [[], { DOCKER_HOST: 'unix:///run/user/1001/docker.sock' }],
    ] as const) {
      const { exitCode, stdout, stderr } = await guard(['install', 'engine', '--dry-run', ...words], '', env);
      expect([exitCode, stdout]).toEqual([3, '']);
      const text = stderr.replace(/\s+/g, ' ');
      expect(text).toContain('/run/user/1001/docker.sock does not read /etc/docker/daemon.json');
      expect(text).toContain('--daemon-json PATH --pidfile PATH');
    }
  });
});

describe('guard check', () => {
  it('refuses with exit code 2, and the reason on stderr', async () => {
    const { exitCode, stdout, stderr } = await guard(['check', '--', 'docker', 'compose', 'down', '-v']);
    expect(exitCode).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain('refused: docker compose down -v');
    expect(stderr).toContain('safe-update prod');
  });

  it('says who refuses, where docker was called', async () => {
    const { exitCode, stderr } = await guard(['check', '--shim', '--', 'docker', 'compose', 'down', '-v']);
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/^safe-update guard: refused: docker compose down -v\n/);
  });

  it('allows with exit code 0 and without a word', async () => {
    expect(await guard(['check', '--', 'docker', 'compose', 'ps'])).toMatchObject({
      exitCode: 0,
      stdout: '',
      stderr: '',
    });
  });

  it('takes words as words, and a single text as a command line', async () => {
    const words = await guard(['check', '--', 'echo', '; docker volume prune']);
    expect(words.exitCode).toBe(0);
    const text = await guard(['check', '--', 'echo x; docker volume prune']);
    expect(text.exitCode).toBe(2);
  });

  it('reads a script on standard input', async () => {
    expect((await guard(['check', '--stdin'], 'set -e\ndocker volume prune -f\n')).exitCode).toBe(2);
    expect((await guard(['check', '--stdin'], 'set -e\ndocker image prune -f\n')).exitCode).toBe(0);
  });

  it('reads the scripts that a command runs', async () => {
    expect((await guard(['check', '--', './reset.sh'])).exitCode).toBe(2);
    expect((await guard(['check', '--', './calm.sh'])).exitCode).toBe(0);
  });

  it('--json prints the verdict', async () => {
    const { stdout, exitCode } = await guard(['check', '--json', '--', 'docker', 'volume', 'rm', 'x']);
    expect(exitCode).toBe(2);
    expect(JSON.parse(stdout)).toMatchObject({
      decision: 'deny',
      findings: [{ rule: 'volume-rm', volumes: ['x'], conditional: true }],
    });
  });

  it('--policy warn says so and allows', async () => {
    const { exitCode, stderr } = await guard([
      'check',
      '--policy',
      'warn',
      '--',
      'docker',
      'volume',
      'prune',
    ]);
    expect(exitCode).toBe(0);
    expect(stderr).toContain('would be refused: docker volume prune');
  });

  it('shows what would drive a terminal', async () => {
    const { stderr } = await guard(['check', '--stdin'], 'docker volume rm "$(printf x)\u001b[2J"');
    expect(stderr).not.toContain('\u001b');
    expect(stderr).toContain('volume-rm');
  });

  it.each([
    [['check']],
    [['check', 'docker', 'ps']],
    [['check', '--']],
    [['check', '--stdin', '--', 'true']],
    [['check', '--nonsense', '--', 'true']],
    [['check', '--policy', 'off', '--', 'true']],
    [['nonsense']],
    [['hook', 'nobody']],
    [[]],
  ])('is not understood, and so not allowed: %j', async (args) => {
    const { exitCode, stderr } = await guard(args);
    expect(exitCode).toBe(2);
    expect(stderr).toContain('Usage:');
  });
});

describe('guard hook', () => {
  it('answers on standard output', async () => {
    const request = { tool_name: 'Bash', tool_input: { command: './reset.sh' }, cwd: folder };
    const { stdout, exitCode } = await guard(['hook', 'claude'], JSON.stringify(request));
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ hookSpecificOutput: { permissionDecision: 'deny' } });
  });
});

describe('guard scan', () => {
  it('prints file, line and column, with exit code 1', async () => {
    const { stdout, exitCode } = await guard(['scan']);
    expect(exitCode).toBe(1);
    expect(stdout.split('\n').filter(Boolean)).toEqual([
      expect.stringMatching(/^reset\.sh:2:1: down-volumes: /),
    ]);
  });

  it('exit code 0 when there is nothing', async () => {
    expect(await guard(['scan', 'calm.sh'])).toMatchObject({ exitCode: 0, stdout: '' });
  });

  it('reads Markdown with --markdown, and prints JSON lines', async () => {
    const { stdout } = await guard(['scan', '--markdown', '--json', 'page.md']);
    expect(JSON.parse(stdout)).toMatchObject({
      path: 'page.md',
      line: 2,
      column: 1,
      finding: { rule: 'volume-prune' },
    });
  });

  it('prints SARIF', async () => {
    const { stdout, exitCode } = await guard(['scan', '--sarif', '.']);
    expect(exitCode).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({
      version: '2.1.0',
      runs: [{ results: [{ ruleId: 'down-volumes' }] }],
    });
  });

  it('says what it cannot read', async () => {
    const { stderr, exitCode } = await guard(['scan', 'missing']);
    expect(exitCode).toBe(2);
    expect(stderr).toContain('missing');
  });
});

describe('the guard', () => {
  it('loads nothing of the rest of the program', async () => {
    const { stderr } = await execa(process.execPath, [program, 'guard', 'check', '--', 'ls'], {
      env: { NODE_DEBUG: 'esm' },
    });
    const loaded = [...stderr.matchAll(/file:\/\/\/[^\s']+/g)].map(([url]) => url);
    expect(loaded.some((url) => url.includes('/src/guard/'))).toBe(true);
    const strange = loaded.filter(
      (url) =>
        !/\/src\/(guard\/|model\/|bin\.ts|start-guard|cli\/(guard\/|view\/escape))|\/unbash\//.test(url),
    );
    expect(strange).toEqual([]);
    expect(loaded.filter((url) => url.includes('/scan'))).toEqual([]);
  });

  it('loads no settings where there are none, even to refuse', { timeout: 30_000 }, async () => {
    const words = ['guard', 'check', '--', 'docker', 'compose', '-p', 'nobody-has-it', 'down', '-v'];
    const { stderr, exitCode } = await execa(process.execPath, [program, ...words], {
      cwd: folder,
      env: { NODE_DEBUG: 'esm' },
      reject: false,
    });
    expect(exitCode).toBe(2);
    expect(stderr).toContain('/src/cli/guard/knowledge.ts');
    expect(stderr).not.toMatch(/node_modules\/(zod|yaml|age-encryption|listr2|commander)\//);
  });
});
