import { chmod, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterEach, beforeEach, expect, it } from 'vitest';

const program = fileURLToPath(new URL('../../../src/bin.ts', import.meta.url));
let home: string;
beforeEach(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'home-'));
});
afterEach(async () => {
  await rm(home, { recursive: true, force: true });
});

/** Judges a harmless command; resolves with what is in the home afterwards. */
async function left(): Promise<string[]> {
  const env = { HOME: home, XDG_CACHE_HOME: '', NODE_COMPILE_CACHE: '' };
  const { exitCode } = await execa(process.execPath, [program, 'guard', 'check', '--', 'docker', 'ps'], {
    env,
  });
  expect(exitCode).toBe(0);
  return readdir(home, { recursive: true });
}

it('what Node.js compiled is kept where only its owner can write', async () => {
  await mkdir(path.join(home, '.cache'), { mode: 0o700 });
  expect((await left()).length).toBeGreaterThan(3);
});

it('a home without a cache stays so', async () => {
  expect(await left()).toEqual([]);
});

it('nothing is kept where others can write', async () => {
  await mkdir(path.join(home, '.cache', 'safe-update'), { recursive: true });
  await chmod(path.join(home, '.cache', 'safe-update'), 0o777);
  expect(await left()).toEqual(['.cache', '.cache/safe-update']);
});
