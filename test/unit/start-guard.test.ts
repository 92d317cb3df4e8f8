import { chmod, chown, cp, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterEach, beforeAll, beforeEach, expect, it } from 'vitest';

// As it is installed: from its sources nothing is kept.
const root = fileURLToPath(new URL('../../', import.meta.url));
const dist = path.join(root, 'dist');
let home: string;
beforeAll(() => {
  if (!existsSync(path.join(dist, 'cli', 'guard', 'front.cjs'))) throw new Error('First run: npm run build');
});
beforeEach(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'home-'));
});
afterEach(async () => {
  await rm(home, { recursive: true, force: true });
});

/** Judges a command; resolves with the exit code and what is in the home afterwards. */
async function judged(
  command: string,
  program = path.join(dist, 'bin.cjs'),
): Promise<{ exitCode: number | undefined; stderr: string; left: string[] }> {
  const { exitCode, stderr } = await execa(
    process.execPath,
    [program, 'guard', 'check', '--', ...command.split(' ')],
    // No engine is asked.
    { env: { HOME: home, XDG_CACHE_HOME: '', DOCKER_HOST: 'unix:///dev/null' }, reject: false, cwd: '/' },
  );
  return { exitCode, stderr, left: await readdir(home, { recursive: true }) };
}

const harmless = 'docker compose ps';
const destructive = 'docker compose down -v';

/** What is kept of a verdict, and of what is asked about a command that something stands against. */
async function keptFiles(): Promise<string[]> {
  const folder = path.join(home, '.cache', 'safe-update');
  const files = (await readdir(folder)).sort();
  expect(files).toEqual(
    ['front', 'knowledge'].map(
      (name) => expect.stringMatching(new RegExp(`^guard-${name}-[0-9a-f]{32}\\.code$`)) as string,
    ),
  );
  return files.map((file) => path.join(folder, file));
}

/** Both verdicts are right, and nothing is said about the way there. */
async function expectJudges(): Promise<void> {
  expect(await judged(harmless)).toMatchObject({ exitCode: 0, stderr: '' });
  const refused = await judged(destructive);
  expect(refused).toMatchObject({ exitCode: 2 });
  expect(refused.stderr).toMatch(/^refused: docker compose down -v\n[^]*rule {8}down-volumes$/);
}

it('what was compiled is kept where only its owner can write, and used again', async () => {
  await mkdir(path.join(home, '.cache'), { mode: 0o700 });
  await expectJudges();
  const files = await keptFiles();
  const before = await Promise.all(files.map((file) => stat(file)));
  expect(before.map(({ mode }) => mode & 0o777)).toEqual([0o600, 0o600]);
  await expectJudges();
  for (const [index, { ino, mtimeMs }] of before.entries())
    expect(await stat(files[index] ?? '')).toMatchObject({ ino, mtimeMs });
});

it.each([
  ['nothing', () => Buffer.alloc(0)],
  ['half of it', (kept: Buffer) => kept.subarray(0, kept.length / 2)],
  [
    'what another version of Node.js made',
    (kept: Buffer) => Buffer.concat([kept.subarray(0, 4), Buffer.alloc(4, 7), kept.subarray(8)]),
  ],
])('where %s was kept, it is compiled and kept anew', async (_, damaged) => {
  await mkdir(path.join(home, '.cache'), { mode: 0o700 });
  await expectJudges();
  const files = await keptFiles();
  const before = await Promise.all(files.map((file) => readFile(file)));
  for (const [index, kept] of before.entries()) await writeFile(files[index] ?? '', damaged(kept));
  await expectJudges();
  for (const [index, file] of (await keptFiles()).entries())
    expect((await readFile(file)).length).toBeGreaterThan(0.9 * (before[index]?.length ?? 0));
});

it('what was kept of another release is removed', async () => {
  await mkdir(path.join(home, '.cache', 'safe-update'), { recursive: true, mode: 0o700 });
  for (const name of ['guard', 'guard-front', 'guard-knowledge'])
    await writeFile(path.join(home, '.cache', 'safe-update', `${name}-${'0'.repeat(32)}.code`), 'old');
  await expectJudges();
  await keptFiles();
});

const isRoot = process.getuid?.() === 0;
const rootOnly = isRoot
  ? ''
  : ' (SKIPPED: only root can give a file to somebody else, or mount a small disk)';

it.runIf(isRoot)(`what somebody else owns is not run${rootOnly}`, async () => {
  await mkdir(path.join(home, '.cache'), { mode: 0o700 });
  await expectJudges();
  for (const file of await keptFiles()) await chown(file, 12_345, 12_345);
  await expectJudges();
  for (const file of await keptFiles()) expect((await stat(file)).uid).toBe(0);
});

it.runIf(isRoot)(`on a full disk it judges as well, and no half of a file is left${rootOnly}`, async () => {
  const cache = path.join(home, '.cache');
  await mkdir(cache);
  await execa('mount', ['-t', 'tmpfs', '-o', 'size=40k,mode=700', 'tmpfs', cache]);
  try {
    await expectJudges();
    expect(await readdir(cache, { recursive: true })).toEqual(['safe-update']);
  } finally {
    await execa('umount', ['--lazy', cache]);
  }
});

it('what was kept of each file of another release goes with it, and nothing else', async () => {
  const folder = path.join(home, '.cache', 'safe-update');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const old = '0'.repeat(32);
  // Of a file that was not loaded, and of none of the guard's.
  const stay = [`guard-project-files-${old}.code`, 'guard-notes.txt', 'other.code'];
  for (const name of [...stay, `guard-front-${old}.code.1234`, `guard-knowledge-${old}.code`])
    await writeFile(path.join(folder, name), 'old');
  await expectJudges();
  const left = await readdir(folder);
  expect(left.filter((name) => name.includes(old) || stay.includes(name)).sort()).toEqual(stay.sort());
});

it('a home without a cache stays so', async () => {
  expect(await judged(harmless)).toMatchObject({ exitCode: 0, left: [] });
});

it('nothing is kept where others can write', async () => {
  await mkdir(path.join(home, '.cache', 'safe-update'), { recursive: true });
  await chmod(path.join(home, '.cache', 'safe-update'), 0o777);
  expect(await judged(harmless)).toMatchObject({ exitCode: 0, left: ['.cache', '.cache/safe-update'] });
});

it('refuses when it cannot be loaded', async () => {
  // Where the packages that it imports are found.
  const cache = path.join(root, 'node_modules', '.cache');
  await mkdir(cache, { recursive: true });
  const copy = await mkdtemp(path.join(cache, 'dist-'));
  try {
    await cp(dist, copy, { recursive: true });
    await writeFile(path.join(copy, 'package.json'), '{ "type": "module" }');
    await writeFile(path.join(copy, 'cli', 'guard', 'front.cjs'), 'not JavaScript');
    const { exitCode, stderr } = await judged(harmless, path.join(copy, 'bin.cjs'));
    expect(stderr).toMatch(/^safe-update guard: refused, as it could not be loaded: SyntaxError/);
    expect(exitCode).toBe(2);
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
});

it('refuses when Node.js ends before there is a verdict', async () => {
  const copy = path.join(home, 'dist');
  await cp(dist, copy, { recursive: true });
  const front = path.join(copy, 'cli', 'guard', 'front.cjs');
  await writeFile(front, '// 0\n(function (exports) { exports.runGuard = () => new Promise(() => {}); })');
  const { exitCode } = await judged(harmless, path.join(copy, 'bin.cjs'));
  expect(exitCode).toBe(2);
});
