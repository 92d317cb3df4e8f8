import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { execa } from 'execa';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { zstd } from '../../src/backup/codec/zstd.ts';
import { verifyContents } from '../../src/backup/contents.ts';
import type { ManifestVolume } from '../../src/backup/manifest.ts';
import type { OpenBackup } from '../../src/backup/open.ts';
import { volumeReader, volumeWriter } from '../../src/backup/volume.ts';
import type { Helper, VolumeSummary } from '../../src/docker/helper.ts';
import { SafeUpdateError } from '../../src/model/error.ts';
import { helperWith, newVolume, workbench, type Tree } from './volumes.ts';

const folder = await mkdtemp(path.join(tmpdir(), 'safe-update-fidelity-'));
afterAll(async () => {
  await rm(folder, { recursive: true });
});

const quiet = (): void => undefined;

const nasty = await readFile(new URL('nasty.py', import.meta.url), 'utf8');

/** Archives a volume into a file. Returns its path, whether it is exact, and the summary of the list. */
async function archive(
  helper: Helper,
  volume: string,
): Promise<{ file: string; exact: boolean; summary: VolumeSummary }> {
  const file = path.join(folder, `${randomBytes(6).toString('hex')}.tar.zst`);
  const reader = volumeReader(helper, volume);
  const tar = reader.archive(zstd, quiet);
  const [{ exact }] = await Promise.all([tar.done, pipeline(tar.content, createWriteStream(file))]);
  return { file, exact, summary: (await list(helper, volume)).summary };
}

async function list(helper: Helper, volume: string): Promise<{ summary: VolumeSummary; exact: boolean }> {
  const { content, done } = volumeReader(helper, volume).list(zstd);
  content.resume();
  return done;
}

async function extract(helper: Helper, volume: string, content: string | Buffer): Promise<void> {
  const stream = typeof content === 'string' ? createReadStream(content) : Readable.from([content]);
  await volumeWriter(helper, volume).extract(zstd, stream, quiet);
}

interface Entry {
  path: string;
  type: string;
  size?: number;
  links?: string[];
}

function entries({ files }: Tree): Entry[] {
  return files.map((line) => JSON.parse(line) as Entry);
}

/** A tar has no sockets, and FIFOs and devices that are linked come out of GNU tar as several. */
function withoutWhatNoTarHolds(tree: Tree): string[] {
  return entries(tree)
    .filter(({ type }) => type !== 's')
    .map((entry) => JSON.stringify('pcb'.includes(entry.type) ? { ...entry, links: [entry.path] } : entry));
}

/** Files at least this big in the nasty volume are mostly holes: bytes of content, by path. */
const sparse = { './sparse/holes': 14, './sparse/nothing-but-a-hole': 0, './sparse/hole-at-the-end': 20_000 };

describe('a volume with everything in it', async () => {
  const [volume, other] = [await newVolume(), await newVolume()];
  const bench = await workbench(volume, other);
  await bench.python(volume, nasty, '20000');
  const reading = await helperWith('read', volume);
  const writing = await helperWith('write', volume, other);
  const before = await bench.tree(volume);
  const expected = withoutWhatNoTarHolds(before);
  const { file, exact, summary } = await archive(reading, volume);

  test('is archived exactly, without changing it', async () => {
    expect(before.files.length).toBeGreaterThan(20_000);
    expect(exact).toBe(true);
    expect(await bench.tree(volume)).toEqual(before);
  });

  test('is counted; sockets are left out, and said to be', () => {
    const read = entries(before);
    const content = read.filter(({ type, links, path }) => type === '-' && links?.[0] === path);
    expect(summary.sockets).toBe(2);
    expect(summary.entries).toBe(read.length - 2);
    expect(summary.bytes).toBe(content.reduce((sum, { size }) => sum + (size ?? 0), 0));
  });

  test('its archive is found to hold what its list says, and another one is not', async () => {
    const helper = await helperWith('read', volume);
    const { content, done } = volumeReader(helper, volume).list(zstd);
    const [files] = await Promise.all([buffer(content), done]);
    const about = { name: volume, archive: 'archive', files: 'files', digest: summary.digest, exact: true };
    const verify = (archive: Buffer, list: Buffer): Promise<void> => {
      const open = (part: string): Readable => Readable.from([part === 'archive' ? archive : list]);
      const backup = { reader: { open }, manifest: { id: 'a backup' } } as unknown as OpenBackup;
      return verifyContents(backup, [about as unknown as ManifestVolume]);
    };
    const whole = await readFile(file);
    await verify(whole, files);

    const unpacked = zstdDecompressSync(whole);
    const again = (tar: Buffer): Buffer => zstdCompressSync(tar);
    await verify(again(unpacked), files);
    // Content of a file, and one of a file with holes.
    for (const text of ['\nend', 'hello']) {
      const at = unpacked.indexOf(text);
      if (at === -1) continue;
      const other = Buffer.from(unpacked);
      other[at]! ^= 1;
      await expect(verify(again(other), files)).rejects.toThrow(
        /does not hold what its list says|cannot be read/,
      );
    }
    const lines = zstdDecompressSync(files).toString('latin1').split('\n');
    const shorter = again(Buffer.from(lines.slice(1).join('\n'), 'latin1'));
    await expect(verify(whole, shorter)).rejects.toThrow(/list of the volume .* is not the one/);
    await expect(verify(again(unpacked.subarray(0, unpacked.length >> 1)), files)).rejects.toThrow(
      SafeUpdateError,
    );
    await expect(verify(again(Buffer.alloc(10_240)), files)).rejects.toThrow(/does not hold/);
    await expect(verify(Buffer.from('no zstd at all'), files)).rejects.toThrow(/cannot be read/);
  });

  test('comes back into the emptied volume as it was', async () => {
    const writer = volumeWriter(writing, volume);
    await writer.clear();
    expect((await bench.tree(volume)).files).toHaveLength(1);
    await extract(writing, volume, file);
    const after = await bench.tree(volume);
    expect(after.files).toEqual(expected);
    expect(await writer.summary()).toEqual({ ...summary, sockets: 0 });
    for (const [name, bytes] of Object.entries(sparse)) {
      expect(after.blocks.get(name), name).toBeLessThanOrEqual(before.blocks.get(name) ?? 0);
      expect((after.blocks.get(name) ?? 0) * 512, name).toBeLessThan(bytes + 20_000);
    }
  });

  test('comes back into another volume, root folder included', async () => {
    await bench.sh(other, 'touch old .hidden && mkdir -p in/the/way && chmod 2700 . && chown 5:5 .');
    await bench.python(other, "import os; os.setxattr('.', 'user.more', b'1')");
    const writer = volumeWriter(writing, other);
    await writer.clear();
    await extract(writing, other, file);
    expect((await bench.tree(other)).files).toEqual(expected);
    expect((await writer.summary()).digest).toBe(summary.digest);
  });

  test('goes to and from a file of this machine without a detour, and is the same', async () => {
    const reading = await helperWith({ access: 'read', folder }, volume);
    const own = path.join(folder, 'direct.tar.zst');
    await writeFile(own, 'what was there before', { mode: 0o600 });
    const told: number[] = [];
    const written = await volumeReader(reading, volume).archiveTo(own, zstd, (bytes) => told.push(bytes));
    const content = await readFile(own);
    expect(written).toEqual({
      exact: true,
      sent: { bytes: content.length, sha256: createHash('sha256').update(content).digest('hex') },
    });
    expect(told.length).toBeGreaterThan(0);

    const filling = await helperWith({ access: 'write', folder }, other);
    const writer = volumeWriter(filling, other);
    await writer.clear();
    await writer.extractFrom(own, zstd, quiet);
    await writer.flush();
    expect((await bench.tree(other)).files).toEqual(expected);
    expect((await writer.summary()).digest).toBe(summary.digest);
    // What fills a volume has no business in a backup.
    const { exitCode } = await filling.shell.run(`echo x >> ${filling.reach(own) ?? ''}`);
    expect(exitCode).not.toBe(0);
    expect(await readdir(folder)).not.toContainEqual(expect.stringContaining('safe-update'));
  });

  test('can be unpacked twice', async () => {
    await extract(writing, other, file);
    expect((await bench.tree(other)).files).toEqual(expected);
  });
});

test('an empty volume comes back empty, with its root folder’s mode, owner and time', async () => {
  const [volume, other] = [await newVolume(), await newVolume()];
  const bench = await workbench(volume, other);
  await bench.sh(volume, "chown 33:44 . && chmod 1770 . && touch -d '2001-02-03 04:05:06.789012345' .");
  const helper = await helperWith('write', volume, other);
  const before = await bench.tree(volume);
  const { file, exact } = await archive(helper, volume);
  expect(exact).toBe(true);
  for (const target of [volume, other]) {
    await bench.sh(target, 'echo x > new && chmod 0755 .');
    await volumeWriter(helper, target).clear();
    await extract(helper, target, file);
    expect((await bench.tree(target)).files).toEqual(before.files);
  }
});

/**
 * GNU tar archives longer ones and cannot unpack them: the kernel does not take so much at once. A backup that cannot be
 * restored must not be made.
 */
test('a path of almost 4,000 bytes comes back, and a longer one is refused', async () => {
  const volume = await newVolume();
  const bench = await workbench(volume);
  const down =
    "import os\nfor _ in range(19):\n os.makedirs('d' * 200, exist_ok=True); os.chdir('d' * 200)\n";
  const inside = "open(name, 'w').write('deep'); os.setxattr(name, 'user.x', b'1'); os.chmod(name, 0o4711)";
  // ./ and 19 times 201 bytes, and these 180: 4,000 and one less than the next test.
  await bench.python(volume, `${down}name = 'f' * 179; ${inside}`);
  const helper = await helperWith('write', volume);
  const before = await bench.tree(volume);
  const { file } = await archive(helper, volume);
  await volumeWriter(helper, volume).clear();
  await extract(helper, volume, file);
  expect((await bench.tree(volume)).files).toEqual(before.files);

  await bench.python(volume, `${down}name = 'f' * 180; ${inside}`);
  const error: unknown = await list(helper, volume).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(SafeUpdateError);
  expect((error as SafeUpdateError).message).toContain('a path of 4001 bytes');
  await volumeWriter(helper, volume).clear();
  expect((await bench.tree(volume)).files).toHaveLength(1);
});

describe('the digest of a volume', async () => {
  const volume = await newVolume();
  const bench = await workbench(volume);
  const helper = await helperWith('read', volume);
  const digest = async (): Promise<string> => (await volumeWriter(helper, volume).summary()).digest;
  const start = `
import os
os.umask(0)
def write(name, content): open(name, 'wb').write(content)
for name in ['a', 'b', 'c', 'd']: write(name, b'same')
write('zeros', bytes(100_000))
os.mkdir('folder'); write('folder/file', b'content'); os.symlink('a', 'link'); os.mkfifo('fifo'); os.mknod('device', 0o20600, os.makedev(1, 3))
os.setxattr('a', 'user.x', b'1'); os.setxattr('folder', 'user.x', b'1')
os.unlink('b'); os.link('a', 'b'); os.unlink('d'); os.link('c', 'd')
os.setxattr('c', 'user.x', b'1')
for name in ['a', 'c', 'zeros', 'folder/file', 'link', 'fifo', 'device', 'folder', '.']: os.utime(name, ns=(0, 10**18), follow_symlinks=False)
`;
  // user::rwx, group::r-x, other::r-x, as linux/posix_acl_xattr.h has it.
  const acl = "bytes.fromhex('02000000' '01000700ffffffff' '04000500ffffffff' '20000500ffffffff')";
  const empty = `
import os, shutil
for name in os.listdir('.'):
    if os.path.isdir(name) and not os.path.islink(name): shutil.rmtree(name)
    else: os.unlink(name)
os.chmod('.', 0o755); os.chown('.', 0, 0)
`;
  /** Puts the times back that a change of names moves: what differs is then the change alone. */
  const settle = "\nfor name in ['folder', '.']: os.utime(name, ns=(0, 10**18))\n";
  await bench.python(volume, empty + start);
  const before = await digest();

  test.each([
    ['one byte', "open('a', 'r+b').write(b'S'); os.utime('a', ns=(0, 10**18))"],
    ['one byte more', "open('a', 'ab').write(b'!'); os.utime('a', ns=(0, 10**18))"],
    ['a mode', "os.chmod('folder/file', 0o640)"],
    ['setuid', "os.chmod('folder/file', 0o4666)"],
    ['an owner', "os.chown('folder/file', 1, -1)"],
    ['a group', "os.chown('folder/file', -1, 1)"],
    ['the owner of a symlink', "os.chown('link', 1, 1, follow_symlinks=False)"],
    ['an attribute’s value', "os.setxattr('a', 'user.x', b'2')"],
    ['an attribute’s name', "os.removexattr('a', 'user.x'); os.setxattr('a', 'user.y', b'1')"],
    ['one attribute more', "os.setxattr('a', 'user.y', b'')"],
    ['an attribute less', "os.removexattr('folder', 'user.x')"],
    ['an access list', `os.setxattr('folder', 'system.posix_acl_default', ${acl})`],
    ['a nanosecond', "os.utime('folder/file', ns=(0, 10**18 + 1))"],
    ['a nanosecond of a symlink', "os.utime('link', ns=(0, 10**18 + 1), follow_symlinks=False)"],
    ['who is linked with whom', "os.unlink('b'); os.link('c', 'b'); os.unlink('d'); os.link('a', 'd')"],
    [
      'a link that becomes a copy',
      "os.unlink('b'); open('b', 'wb').write(b'same'); os.setxattr('b', 'user.x', b'1'); os.utime('b', ns=(0, 10**18))",
    ],
    [
      'a symlink’s target',
      "os.unlink('link'); os.symlink('b', 'link'); os.utime('link', ns=(0, 10**18), follow_symlinks=False)",
    ],
    [
      'a device’s number',
      "os.unlink('device'); os.mknod('device', 0o20600, os.makedev(1, 5)); os.utime('device', ns=(0, 10**18))",
    ],
    [
      'a kind of device',
      "os.unlink('device'); os.mknod('device', 0o60600, os.makedev(1, 3)); os.utime('device', ns=(0, 10**18))",
    ],
    ['a name', "os.rename('folder/file', 'folder/File')"],
    ['a file more', "open('folder/more', 'w')"],
    ['a file less', "os.unlink('folder/file')"],
    ['an empty folder', "os.mkdir('folder/empty')"],
    ['the root folder’s mode', "os.chmod('.', 0o700)"],
    ['the root folder’s owner', "os.chown('.', 5, 5)"],
  ])('differs after a change of: %s', async (_, what) => {
    await bench.python(volume, `${empty}${start}${what}${settle}`);
    expect(await digest()).not.toBe(before);
  });

  test('differs after a change of the root folder’s time', async () => {
    await bench.python(volume, `${empty}${start}os.utime('.', ns=(0, 10**18 + 1))`);
    expect(await digest()).not.toBe(before);
  });

  test.each([
    [
      'a folder that was filled in another order',
      "os.rename('a', 'x'); os.rename('folder', 'y'); os.rename('y', 'folder'); os.rename('x', 'a')",
    ],
    ['access times', "for name in ['a', 'folder', '.']: os.utime(name, ns=(5, 10**18))"],
    [
      'where the holes of a file are',
      "open('zeros', 'w').truncate(100_000); os.utime('zeros', ns=(0, 10**18))",
    ],
  ])('is the same for %s', async (_, what) => {
    await bench.python(volume, `${empty}${start}${what}${settle}`);
    expect(await digest()).toBe(before);
  });

  test.each([
    ['a line feed and its escape', "open('x\\ny', 'w')", "open('x\\\\x0ay', 'w')"],
    ['a byte and its escape', "open(b'\\xff', 'w')", "open('\\\\xff', 'w')"],
    [
      'a linked symlink and one whose target looks so',
      "os.symlink('t', 'p'); os.link('p', 'q', follow_symlinks=False)",
      "os.symlink('t', 'p'); os.symlink('t = ./p', 'q')",
    ],
  ])('tells names apart that look alike: %s', async (_, one, two) => {
    const found: string[] = [];
    for (const make of [one, two]) {
      await bench.python(
        volume,
        `${empty}${make}\nfor name in [*os.listdir(b'.'), b'.']: os.utime(name, ns=(0, 10**18), follow_symlinks=False)`,
      );
      found.push(await digest());
    }
    expect(found[0]).not.toBe(found[1]);
  });
});

describe('a damaged archive', async () => {
  const volume = await newVolume();
  const bench = await workbench(volume);
  await bench.python(volume, nasty, '500');
  // The last one in the archive, so that cutting it off at the end cuts through a file.
  await bench.sh(volume, 'head -c 400000 /dev/urandom > zz-random');
  const helper = await helperWith('write', volume);
  const { file, summary } = await archive(helper, volume);
  const whole = await readFile(file);
  const writer = volumeWriter(helper, volume);

  test.each([0, 1, 100, 0.3, 0.9, -1, -5])('is not accepted when it ends early (%d)', async (at) => {
    const end = at > 0 && at < 1 ? Math.floor(whole.length * at) : at < 0 ? whole.length + at : at;
    await writer.clear();
    await expect(extract(helper, volume, whole.subarray(0, end))).rejects.toThrow(SafeUpdateError);
  });

  test('is not accepted when its tar ends early, though the compression is whole', async () => {
    const tar = zstdDecompressSync(whole);
    await writer.clear();
    await expect(extract(helper, volume, zstdCompressSync(tar.subarray(0, -200_000)))).rejects.toThrow(
      SafeUpdateError,
    );
  });

  test('is not accepted with one bit flipped, unless that bit means nothing', async () => {
    const accepted: number[] = [];
    for (let count = 0; count < 24; count += 1) {
      // Every byte of the beginning, where the frame says what it is, then all over.
      const position = count < 8 ? count : Math.floor((whole.length * (count - 8)) / 16) + 8;
      const flipped = Buffer.from(whole);
      flipped[position] = (flipped[position] ?? 0) ^ (1 << (count % 8));
      await writer.clear();
      try {
        await extract(helper, volume, flipped);
      } catch (error) {
        expect(error).toBeInstanceOf(SafeUpdateError);
        continue;
      }
      accepted.push(position);
      expect((await writer.summary()).digest, `byte ${position}`).toBe(summary.digest);
    }
    expect(accepted.length).toBeLessThan(4);
  });

  test('is not accepted when the store stops reading half way', async () => {
    const broken = Readable.from(
      (async function* () {
        yield whole.subarray(0, -100_000);
        throw new Error('the disk is gone');
      })(),
    );
    await writer.clear();
    await expect(writer.extract(zstd, broken, quiet)).rejects.toThrow(/the disk is gone/);
  });

  test('is accepted whole afterwards', async () => {
    await writer.clear();
    await extract(helper, volume, whole);
    expect((await writer.summary()).digest).toBe(summary.digest);
  });
});

/** Members that would reach out of the folder they are unpacked in, as Python's tarfile writes them. */
const malicious: Record<string, string> = {
  'a path upwards': "file('../1/canary'); file('../1/new')",
  'a path upwards in the middle': "file('folder/../../1/canary')",
  'an absolute path': "file('/volumes/1/canary'); file('/volumes/1/new'); file('/tmp/new')",
  'a symlink that is written through': "link('out', '../1'); file('out/canary'); file('out/new')",
  'an absolute symlink that is written through':
    "link('out', '/volumes/1'); file('out/canary'); file('out/new')",
  'a symlink to a file that is written over': "link('out', '../1/canary'); file('out')",
  'symlinks in a chain': "link('a', '.'); link('a/b', '../1'); file('b/canary'); file('a/b/new')",
  'a symlink in the place of a folder':
    "folder('x'); link('x', '/volumes/1'); file('x/canary'); folder('x'); file('x/new')",
  'a hard link upwards': "hard('secret', '../1/canary'); file('secret')",
  'an absolute hard link': "hard('secret', '/volumes/1/canary'); file('secret')",
  'a hard link through a symlink': "link('out', '/volumes/1'); hard('secret', 'out/canary'); file('secret')",
  'a folder’s mode through a symlink': "link('out', '/volumes/1'); folder('out', 0o777)",
  'the root folder as a symlink': "link('.', '/volumes/1'); file('canary'); file('./new')",
};

describe('a malicious archive', async () => {
  const [volume, outside] = [await newVolume(), await newVolume()];
  const bench = await workbench(volume, outside);
  const helper = await helperWith('write', volume, outside);
  await bench.sh(
    outside,
    "echo untouched > canary && chmod 0600 canary && touch -d '2001-02-03' canary . && chmod 0750 .",
  );
  const before = await bench.tree(outside);

  test.each(Object.entries(malicious))('with %s changes nothing outside', async (_, members) => {
    const script = `
import io, sys, tarfile
tar = tarfile.open(fileobj=sys.stdout.buffer, mode='w|', format=tarfile.PAX_FORMAT)
def add(name, kind, mode=0o666, link='', content=b''):
    info = tarfile.TarInfo(name); info.type = kind; info.mode = mode; info.linkname = link; info.size = len(content)
    tar.addfile(info, io.BytesIO(content))
file = lambda name: add(name, tarfile.REGTYPE, content=b'changed')
link = lambda name, to: add(name, tarfile.SYMTYPE, 0o777, to)
hard = lambda name, to: add(name, tarfile.LNKTYPE, link=to)
folder = lambda name, mode=0o755: add(name, tarfile.DIRTYPE, mode)
file('first')
${members}
tar.close()`;
    const { stdout: tar } = await execa('python3', ['-c', script], { encoding: 'buffer' });
    await volumeWriter(helper, volume).clear();
    const error: unknown = await extract(helper, volume, zstdCompressSync(tar)).catch(
      (thrown: unknown) => thrown,
    );
    if (error !== undefined) expect(error).toBeInstanceOf(SafeUpdateError);
    expect(await bench.sh(volume, 'cat first'), 'that it was unpacked at all').toBe('changed');
    expect(await bench.tree(outside)).toEqual(before);
    expect(await bench.sh(volume, 'grep -rl untouched . || true')).toBe('');
  });
});

describe('a volume that changes while it is archived', async () => {
  const volume = await newVolume();
  const bench = await workbench(volume);
  const helper = await helperWith('read', volume);
  await bench.sh(volume, 'head -c 60000000 /dev/urandom > big');

  test.each([
    ['a file that grows', 'while :; do echo more >> big; done'],
    [
      'a file that is written in place',
      'while :; do printf x | dd of=big conv=notrunc bs=1 seek=7 2>/dev/null; done',
    ],
    ['files that come and go', 'while :; do i=$((i+1)); touch zz-$i; rm -f zz-$i; done'],
  ])('is not exact: %s', async (_, script) => {
    const writer = await bench.keepRunning(volume, script);
    try {
      expect((await archive(helper, volume)).exact).toBe(false);
      // What goes away while it is listed is no error: in a hot backup it is what running programs do.
      await list(helper, volume);
    } finally {
      await writer.stop();
    }
  });

  test.each([
    ['is written', 'printf x | dd of=a conv=notrunc bs=1 seek=3 2>/dev/null && touch -d @1 a'],
    ['gets another mode', 'chmod 0600 a'],
    ['is removed', 'rm a'],
  ])('is not exact: a file %s after tar has read it', async (_, script) => {
    // No longer than a pipe and the buffers on the way hold, so that tar is in the middle of the next file.
    await bench.sh(volume, 'rm -f zz-*; echo first > a; touch -d @1 a; sleep 0.1');
    const { content, done } = volumeReader(helper, volume).archive(zstd, quiet);
    await once(content, 'readable');
    await bench.sh(volume, script);
    content.resume();
    expect((await done).exact).toBe(false);
  });

  test('its list is not exact while a file changes that is yet to be listed', async () => {
    // Files that are read before it, each at once: a large one is read beside the walk.
    await bench.sh(
      volume,
      'for i in $(seq 100 199); do head -c 1000000 big > first-$i; done; echo last > zz; touch -d @1 zz',
    );
    // Not a program a change: on a busy machine fewer of those begin than the list takes.
    const program = `import os\nwhile True: os.chmod("zz", 0o600); os.chmod("zz", 0o644)`;
    const writer = await bench.keepRunning(volume, `exec python3 -c '${program}'`);
    try {
      expect((await list(helper, volume)).exact).toBe(false);
    } finally {
      await writer.stop();
    }
    expect((await list(helper, volume)).exact).toBe(true);
  });

  test('is exact again once nobody writes', async () => {
    expect((await archive(helper, volume)).exact).toBe(true);
  });
});

/** Sends a signal to the docker programs of this process that are at work in a helper. Returns how many there were. */
async function kill({ id }: Helper, signal: NodeJS.Signals): Promise<number> {
  let killed = 0;
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const read = (file: string): Promise<string> => readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '');
    const parent = / [A-Z] (\d+) /.exec(await read('stat'))?.[1];
    if (parent !== String(process.pid) || !(await read('cmdline')).includes(id)) continue;
    process.kill(Number(pid), signal);
    killed += 1;
  }
  return killed;
}

describe('work in a helper that is cut off', async () => {
  const volume = await newVolume();
  const bench = await workbench(volume);
  const size = 100_000_000;
  await bench.sh(volume, `head -c ${size} /dev/urandom > big`);
  const helper = await helperWith('read', volume);

  test('ends with an error instead of waiting for ever', async () => {
    const { content, done } = volumeReader(helper, volume).archive(zstd, quiet);
    content.destroy();
    await expect(done).rejects.toThrow(SafeUpdateError);
  });

  test('is not taken for whole when its docker exec is told to end', async () => {
    const { content, done } = volumeReader(helper, volume).archive(zstd, quiet);
    const outcome = expect(done).rejects.toMatchObject({ code: 'store' });
    let bytes = 0;
    content.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      // So that it is not at its end by the time its program is found.
      if (bytes === chunk.length) content.pause();
    });
    await once(content, 'data');
    expect(await kill(helper, 'SIGTERM')).toBe(1);
    content.resume();
    await outcome;
    expect(bytes).toBeLessThan(size);
  });

  test('ends when it is interrupted, inside the helper too', async () => {
    const controller = new AbortController();
    const own = await helperWith('read', volume);
    const { content, done } = volumeReader(own, volume, controller.signal).archive(zstd, quiet);
    content.on('error', () => undefined);
    content.once('data', () => {
      content.pause();
      controller.abort();
    });
    await expect(done).rejects.toMatchObject({ code: 'interrupted' });
    const { stdout } = await own.shell.run("grep -l '^tar' /proc/[0-9]*/cmdline 2>/dev/null || true");
    expect(stdout).toBe('');
  });

  test('is not taken for unpacked when its docker exec is told to end', async () => {
    const [whole, target] = [await archive(helper, volume), await newVolume()];
    const writing = await helperWith('write', target);
    const slow = Readable.from(
      (async function* () {
        for await (const chunk of createReadStream(whole.file)) {
          yield chunk as Buffer;
          await sleep(20);
        }
      })(),
    );
    const unpacked = volumeWriter(writing, target).extract(zstd, slow, quiet);
    const outcome = expect(unpacked).rejects.toMatchObject({ code: 'store' });
    await vi.waitUntil(async () => (await kill(writing, 'SIGTERM')) === 1, 10_000);
    await outcome;
  });
});

test('a full volume is an error that says so', async () => {
  const volume = await newVolume();
  const bench = await workbench(volume);
  await bench.sh(volume, 'head -c 3000000 /dev/urandom > big');
  const helper = await helperWith('write', volume);
  const { file } = await archive(helper, volume);
  const small: Helper = { ...helper, pathOf: () => '/tmp/full' };
  // The helper's own /tmp is a tmpfs with a limit.
  await helper.shell.run('mkdir /tmp/full; head -c 66000000 /dev/zero > /tmp/filler');
  const error: unknown = await extract(small, volume, file).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'space' });
});

test('the list is one that people can read', async () => {
  const volume = await newVolume();
  const bench = await workbench(volume);
  await bench.sh(
    volume,
    "printf hello > 'a\tb' && chmod 0640 'a\tb' && chown 7:8 'a\tb' && ln -s 'x y' link && touch -hd @1.5 'a\tb' link && touch -d @2 .",
  );
  const helper = await helperWith('read', volume);
  const { content, done } = volumeReader(helper, volume).list(zstd);
  const chunks: Buffer[] = [];
  for await (const chunk of content as AsyncIterable<Buffer>) chunks.push(chunk);
  const { summary, exact } = await done;
  expect(summary).toMatchObject({ entries: 3, bytes: 5, sockets: 0 });
  expect(exact).toBe(true);
  expect(zstdDecompressSync(Buffer.concat(chunks)).toString()).toBe(
    [
      'd\t0755\t0:0\t-\t2.000000000\t-\t.',
      'f\t0640\t7:8\t5\t1.500000000\t2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\t./a\\x09b',
      'l\t0777\t0:0\t-\t1.500000000\t-\t./link\t-> x y',
      '',
    ].join('\n'),
  );
});

describe('an archive that the helper writes itself', async () => {
  const volume = await newVolume();
  const bench = await workbench(volume);
  await bench.sh(volume, 'head -c 5000000 /dev/urandom > big');

  test('on a full disk is an error that says so', async () => {
    const small = path.join(folder, 'small');
    await mkdir(small);
    await execa('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'none', small]);
    try {
      const helper = await helperWith({ access: 'read', folder: small }, volume);
      const file = path.join(small, 'a.tar.zst');
      await writeFile(file, '');
      await expect(volumeReader(helper, volume).archiveTo(file, zstd, quiet)).rejects.toMatchObject({
        code: 'space',
        message: expect.stringContaining('No space left on device') as string,
      });
      await helper.remove();

      // A backup on such a disk, and on one that has become read-only, can still be put back.
      await writeFile(path.join(small, 'filler'), Buffer.alloc(2_000_000)).catch(() => undefined);
      for (const options of ['remount,rw', 'remount,ro']) {
        await execa('mount', ['-o', options, small]);
        const writing = await helperWith({ access: 'write', folder: small }, await newVolume());
        expect((await writing.shell.run('true')).exitCode).toBe(0);
        expect(writing.reach(file)).toBeUndefined();
        await writing.remove();
      }
    } finally {
      await execa('umount', [small]);
    }
  });

  test('ends when it is interrupted, inside the helper too', async () => {
    const controller = new AbortController();
    const helper = await helperWith({ access: 'read', folder }, volume);
    const file = path.join(folder, 'interrupted.tar.zst');
    await writeFile(file, '');
    await bench.sh(volume, 'head -c 2000000000 /dev/zero > zero');
    const done = volumeReader(helper, volume, controller.signal).archiveTo(file, zstd, () => {
      controller.abort();
    });
    await expect(done).rejects.toMatchObject({ code: 'interrupted' });
    const { stdout } = await helper.shell.run("grep -l '^tar' /proc/[0-9]*/cmdline 2>/dev/null || true");
    expect(stdout).toBe('');
  });
});
