/** What a run has to have come to: the ends that an update can have, each checked on the engine and on disk. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createZstdDecompress } from 'node:zlib';
import { execa } from 'execa';
import { expect } from 'vitest';
import { docker, testLabel } from './docker.ts';
import { releaseImage, type Release } from './releases.ts';
import { expectNothingLeft, expectSame, expectUntouched, snapshot, type Snapshot } from './snapshot.ts';
import { imageId, type Finished, type SealedBackup, type Stack } from './stack.ts';

/** Exit 4: everything is as it was, and what the failed release made of the data is kept. Returns where. */
export async function expectRolledBack(
  stack: Stack,
  before: Snapshot,
  run: Finished,
  reason: RegExp,
): Promise<{ backup: SealedBackup; failed: SealedBackup }> {
  expect(run.exitCode, run.story).toBe(4);
  expect(run.outcome?.result).toBe('rolled-back');
  expect(run.outcome?.error?.code).toBe('rolled-back');
  expect(run.outcome?.error?.message).toMatch(reason);
  expect(run.outcome?.error?.state).toMatch(/^Rolled back and verified/);

  expectSame(before, await snapshot(stack));
  await expectNothingLeft(stack, run);

  const [backup, failed, ...more] = (await stack.backups()).slice(-2);
  if (backup === undefined || failed === undefined || more.length > 0)
    throw new Error('there are not two backups');
  expect([backup.manifest.kind, failed.manifest.kind]).toEqual(['pre-update', 'failed']);
  await expectIntact(backup);
  await expectIntact(failed);
  expect([run.outcome?.backup, run.outcome?.failedBackup]).toEqual([backup.id, failed.id]);
  expect(run.outcome?.error?.state).toContain(failed.id);
  expect(run.outcome?.error?.hint).toContain(`safe-update show ${failed.id}`);
  return { backup, failed };
}

/** Exit 3, or 2 for a configuration that cannot be read: not a container was stopped, not a file written. */
export async function expectRefused(
  stack: Stack,
  before: Snapshot,
  run: Finished,
  expected: { exitCode: 2 | 3; reason: RegExp; backups?: readonly string[] },
): Promise<void> {
  expect(run.exitCode, run.story).toBe(expected.exitCode);
  expect(run.outcome?.result).toBe('failed');
  expect(run.outcome?.error?.message).toMatch(expected.reason);
  expect(run.outcome?.error?.state).toMatch(/^Nothing was touched/);
  expect(run.outcome?.error?.hint, 'what to do next').toMatch(/\w{3}/);
  expectUntouched(before, await snapshot(stack));
  await expectNothingLeft(stack, run);
  expect((await stack.backups()).map(({ id }) => id)).toEqual(expected.backups ?? []);
}

/** Updates to a release that is good, as everybody does after a bad one, and finds it running on the same data. */
export async function expectGoodUpdate(stack: Stack, release: Release = '1.1.0'): Promise<Finished> {
  const before = await snapshot(stack);
  const orders = 'SELECT id, member, item, ordered_at FROM orders ORDER BY id';
  const members = 'SELECT id, name, email FROM members ORDER BY id';
  const rows = [await stack.sql(members), await stack.sql(orders)];
  await stack.push(release);
  const run = await stack.update();
  expect(run.exitCode, run.story).toBe(0);
  expect(run.outcome?.result).toBe('updated');
  expect((await stack.get('/version')).trim()).toBe(release);
  expect((await stack.container('app')).Image).toBe(await imageId(releaseImage(release)));

  const after = await snapshot(stack);
  expect(withoutRootTime(after.digests)).toEqual(withoutRootTime(before.digests));
  expect(after.keys).toEqual(before.keys);
  expect(after.volumes).toEqual(before.volumes);
  for (const [key, { mounts, running }] of Object.entries(before.services)) {
    expect(after.services[key]?.mounts, key).toEqual(mounts);
    expect(after.services[key]?.running, key).toBe(running);
  }
  expect([await stack.sql(members), await stack.sql(orders)]).toEqual(rows);
  await expectNothingLeft(stack, run);
  return run;
}

function withoutRootTime(digests: Snapshot['digests']): unknown {
  return Object.fromEntries(
    Object.entries(digests).map(([volume, { rootChanged: _, ...same }]) => [volume, same]),
  );
}

/** Every part has the size and the sha256 that the manifest says, nothing else is there, and only the owner can read it. */
export async function expectIntact({ folder, manifest }: SealedBackup): Promise<void> {
  const found: { path: string; bytes: number; sha256: string }[] = [];
  const wrongModes: string[] = [];
  for (const name of ['', ...(await readdir(folder, { recursive: true }))]) {
    const facts = await stat(path.join(folder, name));
    const mode = (facts.mode & 0o7777).toString(8);
    if (mode !== (facts.isDirectory() ? '700' : '600')) wrongModes.push(`${mode} ${name}`);
    if (!facts.isFile()) continue;
    const hash = createHash('sha256');
    for await (const chunk of createReadStream(path.join(folder, name))) hash.update(chunk as Buffer);
    found.push({ path: name, bytes: facts.size, sha256: hash.digest('hex') });
  }
  expect(wrongModes).toEqual([]);

  const others = ['manifest.json', 'SHA256SUMS'];
  const byPath = (a: { path: string }, b: { path: string }): number => a.path.localeCompare(b.path);
  const parts = found.filter((file) => !others.includes(file.path)).sort(byPath);
  expect(parts).toEqual([...manifest.parts].sort(byPath));

  const sums = (await readFile(path.join(folder, 'SHA256SUMS'), 'utf8')).trimEnd().split('\n').sort();
  const summed = found.filter((file) => file.path !== 'SHA256SUMS');
  expect(sums).toEqual(summed.map((file) => `${file.sha256}  ${file.path}`).sort());
}

/** A volume's archive, unpacked with tar and zstd alone into a new volume, as somebody without safe-update would. */
export async function unpack(
  stack: Stack,
  { folder, manifest }: SealedBackup,
  volume: string,
): Promise<string> {
  const archive = manifest.volumes.find(({ name }) => name === volume)?.archive;
  if (archive === undefined) throw new Error(`${manifest.id} has no archive of ${volume}`);
  const label = `${testLabel}=${stack.project}`;
  const scratch = await docker(['volume', 'create', '--label', label]);
  const tar = execa('docker', [
    ...[
      'run',
      '--rm',
      '--interactive',
      '--network',
      'none',
      '--label',
      label,
      '--volume',
      `${scratch}:/volume`,
    ],
    ...[
      'debian:bookworm-slim',
      'tar',
      '--extract',
      '--numeric-owner',
      '--same-owner',
      '--same-permissions',
      '--acls',
    ],
    ...['--xattrs', '--xattrs-include=*', '--delay-directory-restore', '--directory=/volume'],
  ]);
  await pipeline(createReadStream(path.join(folder, archive)), createZstdDecompress(), tar.stdin);
  await tar;
  return scratch;
}
