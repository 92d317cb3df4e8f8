/** A backup that is not what it was: whatever was done to it is found out before a volume is touched. */
import { createHash } from 'node:crypto';
import {
  appendFile,
  cp,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { Manifest } from '../../src/backup/manifest.ts';
import { listBackups, openBackup, verifyBackup } from '../../src/backup/open.ts';
import { folderStore } from '../../src/backup/store/folder.ts';
import { SafeUpdateError } from '../../src/model/error.ts';
import { inspectWhere } from '../e2e/docker.ts';
import { digests } from '../e2e/digest.ts';
import { listen } from '../e2e/stack-small.ts';
import {
  expectNothingLeft,
  expectSame,
  expectUntouched,
  quick,
  shop,
  snapshot,
  type Finished,
  type Snapshot,
  type Stack,
} from '../e2e/stack.ts';
import { amount, chosen, randomNumbers, turn } from './campaign.ts';

const calm = ['--json', '--stable-for', '1s', '--verify-timeout', '60s'];

let stack: Stack;
let before: Snapshot;
/** Of the backup that everything here begins with, and where it lies whole. */
let id: string;
let whole: string;

beforeAll(async () => {
  stack = await shop();
  const run = await stack.safeUpdate(['backup', '--yes', ...calm]);
  expect(run.exitCode, run.story).toBe(0);
  id = run.outcome?.backup ?? '';
  whole = path.join(stack.directory, 'whole');
  await cp(path.join(stack.backupFolder, id), whole, { recursive: true });
  before = await snapshot(stack);
});

/** A store that holds a copy of the backup, and nothing else. */
async function copyOfIt(): Promise<string> {
  const directory = await mkdtemp(path.join(tmpdir(), `${stack.project}-`));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  await cp(whole, path.join(directory, id), { recursive: true });
  return directory;
}

async function filesOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
    .sort();
}

/** What is said of a damaged backup; undefined where it passes for whole. */
async function found(directory: string): Promise<string | undefined> {
  try {
    await verifyBackup(await openBackup(folderStore(directory), id));
    return undefined;
  } catch (error) {
    if (error instanceof SafeUpdateError && error.code === 'damaged') return error.message;
    throw error;
  }
}

/** Writes the manifest and SHA256SUMS anew, so that every checksum is that of the file that now has the name. */
async function sumAgain(
  folder: string,
  change: (manifest: Manifest) => void = () => undefined,
): Promise<void> {
  const file = path.join(folder, 'manifest.json');
  const manifest = JSON.parse(await readFile(file, 'utf8')) as Manifest;
  change(manifest);
  const sha256 = (content: Buffer | string): string => createHash('sha256').update(content).digest('hex');
  for (const part of manifest.parts) {
    const content = await readFile(path.join(folder, part.path));
    Object.assign(part, { bytes: content.length, sha256: sha256(content) });
  }
  const text = `${JSON.stringify(manifest, null, 2)}\n`;
  await writeFile(file, text);
  const lines = [...manifest.parts, { path: 'manifest.json', sha256: sha256(text) }];
  await writeFile(
    path.join(folder, 'SHA256SUMS'),
    lines.map((line) => `${line.sha256}  ${line.path}\n`).join(''),
  );
}

const volume = (key: string): string => `${stack.project}_${key}`;

async function swap(folder: string, one: string, other: string): Promise<void> {
  const at = (name: string): string => path.join(folder, name);
  await rename(at(one), at('swapping'));
  await rename(at(other), at(one));
  await rename(at('swapping'), at(other));
}

describe('looked at by the code alone', () => {
  it('the backup as it is, is whole', async () => {
    expect(await found(await copyOfIt())).toBeUndefined();
  });

  it('one bit, anywhere in any of its files', async () => {
    const directory = await copyOfIt();
    const names = await filesOf(whole);
    const random = randomNumbers(12);
    const missed: string[] = [];
    for (let seed = 0; seed < amount({ some: 150, all: 1000 }); seed += 1) {
      // By turns, so that the smallest file and each kind has its share; the ends of files, too.
      const name = names[seed % names.length] ?? '';
      const file = path.join(directory, id, name);
      const content = await readFile(file);
      const at =
        seed % 10 === 0 ? (seed % 20 === 0 ? 0 : content.length - 1) : Math.floor(random() * content.length);
      const flipped = Buffer.from(content);
      flipped[at]! ^= 1 << Math.floor(random() * 8);
      await writeFile(file, flipped);
      const said = await found(directory);
      if (said?.includes(name) !== true)
        missed.push(`${name} at ${at} of ${content.length}: ${said ?? 'nothing'}`);
      await writeFile(file, content);
    }
    // A manifest and its line in SHA256SUMS that no longer fit: which of them is wrong cannot be known.
    expect(missed.filter((line) => !/^SHA256SUMS .*manifest\.json has changed/.test(line))).toEqual([]);
    expect(await found(directory)).toBeUndefined();
  });

  it('every region of the manifest', async () => {
    const directory = await copyOfIt();
    const file = path.join(directory, id, 'manifest.json');
    const content = await readFile(file);
    const missed: number[] = [];
    const step = Math.max(1, Math.floor(content.length / amount({ some: 100, all: 2000 })));
    for (let at = 0; at < content.length; at += step) {
      const flipped = Buffer.from(content);
      flipped[at]! ^= 1;
      await writeFile(file, flipped);
      if ((await found(directory)) === undefined) missed.push(at);
    }
    expect(missed).toEqual([]);
  });

  it('each file cut short, emptied, longer, or gone', async () => {
    for (const name of await filesOf(whole)) {
      const directory = await copyOfIt();
      const file = path.join(directory, id, name);
      const { size } = await stat(file);
      const content = await readFile(file);
      const named =
        name === 'SHA256SUMS' ? /SHA256SUMS|manifest\.json/ : new RegExp(name.replaceAll('.', '\\.'));
      for (const [what, damage] of [
        ['its last byte gone', () => truncate(file, size - 1)],
        ['half of it gone', () => truncate(file, size >> 1)],
        ['empty', () => truncate(file, 0)],
        ['a byte too many', () => appendFile(file, '\0')],
        ['garbage at the end', () => appendFile(file, Buffer.alloc(10_240, 'x'))],
        // What tar and zstd take without a word: more of the same.
        ['itself once more at the end', () => appendFile(file, content)],
        ['missing', () => rm(file)],
      ] as const) {
        await damage();
        expect(await found(directory), `${name}: ${what}`).toMatch(named);
        await writeFile(file, content, { mode: 0o600 });
      }
      await rm(directory, { recursive: true });
    }
  });

  it('any two of its files, one in the place of the other', async () => {
    const directory = await copyOfIt();
    const folder = path.join(directory, id);
    const names = (await filesOf(whole)).filter((name) => name !== 'SHA256SUMS');
    for (const [index, one] of names.entries()) {
      for (const other of names.slice(index + 1)) {
        if ((await readFile(path.join(whole, one))).equals(await readFile(path.join(whole, other)))) continue;
        await swap(folder, one, other);
        expect(await found(directory), `${one} and ${other}`).toBeDefined();
        await swap(folder, one, other);
      }
    }
    expect(await found(directory)).toBeUndefined();
  });

  it('a manifest that is missing, empty, newer, another’s or no longer complete, and files too many', async () => {
    for (const [damage, said] of [
      [(folder) => rm(path.join(folder, 'manifest.json')), /manifest\.json is missing/],
      [(folder) => rm(path.join(folder, 'SHA256SUMS')), /SHA256SUMS is missing/],
      [(folder) => truncate(path.join(folder, 'manifest.json'), 0), /manifest\.json has changed/],
      [
        (folder) => sumAgain(folder, (to) => Object.assign(to, { format: 2 })),
        /newer safe-update \(format 2\)/,
      ],
      [
        (folder) => sumAgain(folder, (to) => Object.assign(to, { id: 'manual-20200101_000000' })),
        /belongs to manual/,
      ],
      [(folder) => sumAgain(folder, (to) => Object.assign(to, { volumes: undefined })), /damaged: volumes/],
      [(folder) => sumAgain(folder, (to) => (to.parts.length -= 1)), /no checksum|not in the manifest/],
      [
        (folder) => writeFile(path.join(folder, 'volumes', 'more.tar.zst'), 'x'),
        /more\.tar\.zst is not in the/,
      ],
      [(folder) => writeFile(path.join(folder, '.hidden'), ''), /\.hidden is not in the manifest/],
    ] as [(folder: string) => Promise<unknown>, RegExp][]) {
      const directory = await copyOfIt();
      await damage(path.join(directory, id));
      expect(await found(directory)).toMatch(said);
      const [listed] = await listBackups(folderStore(directory));
      // What is too many is found by looking into it; everything else by looking at it.
      if (!said.source.includes('not in the')) expect(listed?.problem).toMatch(said);
    }
  });

  it('one whose folder says that it was never finished is not offered at all', async () => {
    const directory = await copyOfIt();
    await rename(path.join(directory, id), path.join(directory, `${id}.partial`));
    const store = folderStore(directory);
    expect(await listBackups(store)).toEqual([
      { id, problem: expect.stringMatching(/^incomplete/) as string },
    ]);
    await expect(openBackup(store, id)).rejects.toThrow(/There is no backup/);
  });
});

describe('with the stack that it is of', () => {
  const damages: [string, (folder: string) => Promise<unknown>, RegExp][] = [
    [
      'a bit of an archive',
      (folder) => flip(folder, `volumes/${volume('db_data')}.tar.zst`, 0.5),
      /db_data\.tar\.zst/,
    ],
    [
      'the first bit of an archive',
      (folder) => flip(folder, `volumes/${volume('uploads')}.tar.zst`, 0),
      /uploads\.tar/,
    ],
    [
      'a bit of a list',
      (folder) => flip(folder, `volumes/${volume('uploads')}.files.zst`, 0.7),
      /uploads\.files/,
    ],
    ['a bit of a dump', (folder) => flip(folder, 'databases/db/shop.dump', 0.9), /shop\.dump/],
    ['a bit of the engine’s record', (folder) => flip(folder, 'config/engine.json', 0.3), /engine\.json/],
    ['a bit of the manifest', (folder) => flip(folder, 'manifest.json', 0.4), /manifest\.json/],
    ['a bit of the checksums', (folder) => flip(folder, 'SHA256SUMS', 0.1), /SHA256SUMS/],
    [
      'an archive cut short',
      (folder) => truncate(path.join(folder, `volumes/${volume('cache_data')}.tar.zst`), 100),
      /cache_data\.tar\.zst has 100 bytes/,
    ],
    [
      'garbage behind an archive',
      (folder) => appendFile(path.join(folder, `volumes/${volume('cache_data')}.tar.zst`), 'garbage'),
      /cache_data\.tar\.zst has \d+ bytes/,
    ],
    [
      'a volume’s archive under the name of another one’s',
      (folder) => swapArchives(folder, 'db_data', 'uploads'),
      /db_data\.tar\.zst.*uploads\.tar\.zst/,
    ],
    [
      'the same, with every checksum computed again',
      async (folder) => {
        await swapArchives(folder, 'cache_data', 'uploads');
        await sumAgain(folder);
      },
      /archive of the volume \S+ does not hold what its list says/,
    ],
    [
      'the same, with the lists swapped as well',
      async (folder) => {
        await swapArchives(folder, 'cache_data', 'uploads');
        await swap(
          folder,
          `volumes/${volume('cache_data')}.files.zst`,
          `volumes/${volume('uploads')}.files.zst`,
        );
        await sumAgain(folder);
      },
      /list of the volume \S+ is not the one that the manifest says/,
    ],
    ['the manifest gone', (folder) => rm(path.join(folder, 'manifest.json')), /manifest\.json is missing/],
    [
      'a file too many',
      (folder) => writeFile(path.join(folder, 'volumes/x'), ''),
      /volumes\/x is not in the/,
    ],
  ];

  it.each(chosen(damages, 3))(
    '%s: verify says so, and a restore touches nothing',
    async (_, damage, said) => {
      const folder = path.join(stack.backupFolder, id);
      const listening = listen(stack);
      await damage(folder);
      try {
        const verify = await stack.safeUpdate(['verify', id]);
        expect(verify.exitCode, verify.stderr).toBe(3);
        expect(verify.stderr).toMatch(said);
        const run = await stack.safeUpdate(['restore', id, '--confirm', stack.project, ...calm]);
        expect(run.exitCode, run.story).toBe(3);
        expect(run.outcome?.error?.code).toBe('damaged');
        expect(run.outcome?.error?.message).toMatch(said);
        expect(run.outcome?.error?.state).toMatch(/^Nothing was touched/);
        expect(run.outcome?.error?.hint).toMatch(/safe-update backups/);
        // Nothing was so much as looked at.
        expect(await listening.end()).toEqual([]);
      } finally {
        await rm(folder, { recursive: true });
        await cp(whole, folder, { recursive: true });
      }
    },
  );

  it('and afterwards it is as it was, and the backup as good as ever', async () => {
    expectUntouched(before, await snapshot(stack));
    const verify = await stack.safeUpdate(['verify', id]);
    expect(verify.exitCode, verify.stderr).toBe(0);
    await expectNothingLeft(stack, verify);
  });

  it('backups says of each what is wrong with it', async () => {
    const folder = path.join(stack.backupFolder, id);
    await rm(path.join(folder, 'manifest.json'));
    const half = path.join(stack.backupFolder, 'pre-update-20200101_000000.partial');
    await cp(whole, half, { recursive: true });
    try {
      const run = await stack.safeUpdate(['backups', '--json']);
      expect(run.exitCode, run.stderr).toBe(0);
      const listed = JSON.parse(run.stdout) as { id: string; problem?: string }[];
      const problems = Object.fromEntries(listed.map((backup) => [backup.id, backup.problem]));
      expect(problems['pre-update-20200101_000000']).toMatch(/^incomplete/);
      expect(problems[id]).toMatch(/manifest\.json is missing/);
    } finally {
      await rm(half, { recursive: true });
      await rm(folder, { recursive: true });
      await cp(whole, folder, { recursive: true });
    }
  });

  /** An update that was killed with a bad release up, when its backup is no longer what it was. */
  const spoilt: [string, (folder: string) => Promise<unknown>, RegExp][] = [
    [
      'has a bit flipped',
      (folder) => flip(folder, `volumes/${volume('uploads')}.tar.zst`, 0.5),
      /uploads\.tar\.zst has changed/,
    ],
    [
      'has two archives swapped, and the checksums made to fit',
      async (folder) => {
        await swapArchives(folder, 'cache_data', 'uploads');
        await sumAgain(folder);
      },
      /does not hold what its list says/,
    ],
  ];

  it.runIf(turn(1, 2)).each(chosen(spoilt, 1))(
    'a rollback whose backup %s overwrites no volume, and is finished when the backup is whole again',
    async (_, damage, said) => {
      await stack.push('drop-table');
      const first = await snapshot(stack);
      const running = stack.start(quick, { env: { SAFE_UPDATE_PAUSE: 'verify:end' } });
      // The release has dropped its table by then, and deleted uploads.
      await running.step('verify');
      await waitForDrop();
      running.kill('SIGKILL');
      await running.finished;
      const [backup] = (await stack.backups())
        .filter(({ manifest }) => manifest.kind === 'pre-update')
        .slice(-1);
      if (backup === undefined) throw new Error('no backup was made');
      const copy = path.join(stack.directory, 'copy');
      await cp(backup.folder, copy, { recursive: true });
      await damage(backup.folder);

      await stack.compose(['stop']);
      const volumes = ['db_data', 'cache_data', 'uploads'].map(volume);
      const live = await digests(stack.project, volumes);
      const recover = (): Promise<Finished> => stack.safeUpdate(['recover', ...calm]);
      const blocked = await recover();
      expect(blocked.exitCode, blocked.story).toBe(5);
      expect(blocked.outcome?.error?.message).toMatch(said);
      expect(blocked.outcome?.error?.hint).toMatch(/safe-update recover/);
      expect(await digests(stack.project, volumes)).toEqual(live);
      expect((await stack.containers()).filter(({ State }) => State.Running)).toEqual([]);
      expect(await inspectWhere(`label=safe-update.project=${stack.project}`), 'lock and helpers').toEqual(
        [],
      );

      await rm(backup.folder, { recursive: true });
      await rename(copy, backup.folder);
      const run = await recover();
      expect(run.exitCode, run.story).toBe(0);
      expectSame(first, await snapshot(stack));
      await expectNothingLeft(stack, blocked, run);
    },
  );
});

async function flip(folder: string, name: string, where: number): Promise<void> {
  const file = path.join(folder, name);
  const content = await readFile(file);
  content[Math.floor((content.length - 1) * where)]! ^= 1;
  await writeFile(file, content);
}

async function swapArchives(folder: string, one: string, other: string): Promise<void> {
  await swap(folder, `volumes/${volume(one)}.tar.zst`, `volumes/${volume(other)}.tar.zst`);
}

async function waitForDrop(): Promise<void> {
  await expect
    .poll(() => stack.sql('SELECT count(*) FROM members').catch(String), { timeout: 60_000 })
    .toMatch(/does not exist/);
}
