import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const program = `${root}src/bin.ts`;
const { version } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as { version: string };

const run = (...args: string[]) => execa(process.execPath, [program, ...args], { reject: false, cwd: '/' });

describe('safe-update', () => {
  it.each(['--version', '-V'])('%s prints the version and nothing else', async (flag) => {
    expect(await run(flag)).toMatchObject({ stdout: version, stderr: '', exitCode: 0 });
  });

  it('--version does not wait for the rest of the program to load', async () => {
    const { stderr } = await execa(process.execPath, [program, '--version'], { env: { NODE_DEBUG: 'esm' } });
    const loaded = new Set([...stderr.matchAll(/file:\/\/\/[^\s']+/g)].map(([url]) => url));
    expect([...loaded].some((url) => url.endsWith('/src/cli/main.ts'))).toBe(true);
    expect([...loaded].filter((url) => url.includes('/node_modules/'))).toEqual([]);
    expect(loaded.size).toBeLessThanOrEqual(6);
  });

  it('--help goes to standard output', async () => {
    const { stdout, stderr, exitCode } = await run('--help');
    expect(stdout).toContain('safe-update prod');
    expect(stderr).toBe('');
    expect(exitCode).toBe(0);
  });

  it('a flag that is not known is an error of usage, said once, without a stack trace', async () => {
    const { stdout, stderr, exitCode } = await run('--nonsense');
    expect(exitCode).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain('--nonsense');
    expect(stderr).not.toMatch(/^\s+at /m);
  });

  it.each(['restore', 'show', 'export'])('%s without a backup says where to find one', async (command) => {
    const { stderr, exitCode } = await run(command);
    expect(exitCode).toBe(2);
    expect(stderr).toContain("missing required argument 'backup'");
    expect(stderr).toContain('safe-update backups');
  });
});
