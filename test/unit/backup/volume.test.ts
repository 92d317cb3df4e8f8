import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import type { Codec } from '../../../src/backup/codec/codec.ts';
import { volumeReader, volumeWriter } from '../../../src/backup/volume.ts';
import type { Helper } from '../../../src/docker/helper.ts';
import { containerShell } from '../../../src/docker/shell.ts';
import { fakeExec } from '../docker/fake-exec.ts';

const codec: Codec = { name: 'none', suffix: '', compress: 'cat', decompress: 'cat' };
const summary = { entries: 3, files: 1, bytes: 10, sockets: 0, digest: 'abc' };
/** What went out of the helper. */
const sent = { bytes: 3, sha256: 'abc' };
const saysSent = `${JSON.stringify(sent)}\n`;
/** What the lister says at its end, beside the summary. */
const listed = `${JSON.stringify({ ...summary, longest: 20, changed: 0 })}\n${saysSent}`;
/** What every other script says when it has come to its end. */
const end = `${saysSent}safe-update: done\n`;

function helper(answer: Parameters<typeof fakeExec>[0]) {
  const exec = fakeExec(answer);
  return {
    commands: exec.commands,
    helper: {
      id: 'helper',
      shell: containerShell(exec, 'helper'),
      pathOf: () => '/volumes/0',
      reach: (file) => (file.startsWith('/backups/') ? `/shared/${file.slice(9)}` : undefined),
      remove: async () => undefined,
    } satisfies Helper,
  };
}
const quiet = (): void => undefined;

describe('reading a volume', () => {
  it('names the folder in a variable: no path is part of a script', async () => {
    const { helper: one, commands } = helper(({ env }) => ({
      stdout: 'tar',
      stderr: env?.['LIST'] === undefined ? end : listed,
    }));
    const reader = volumeReader(one, "it's a volume");
    const { content, done } = reader.archive(codec, quiet);
    expect(await text(content)).toBe('tar');
    expect(await done).toEqual({ exact: true, sent });
    expect(await reader.list(codec).done).toEqual({ summary, exact: true, sent });
    for (const { argv, env } of commands) {
      expect(argv.join(' ')).not.toContain('/volumes/0');
      expect(env?.['FOLDER']).toBe('/volumes/0');
    }
  });

  it.each([
    [0, { exact: true, sent }],
    // GNU tar: some files differed, as when one is written while it is read.
    [1, { exact: false, sent }],
  ])('tar ends with %i', async (exitCode, expected) => {
    const { helper: one } = helper(() => ({
      exitCode,
      stderr: 'tar: 1000\ntar: ./a: file changed as we read it\n' + end,
    }));
    expect(await volumeReader(one, 'shop_db').archive(codec, quiet).done).toEqual(expected);
  });

  it.each([0, 1])(
    'that ends with %i before its end has failed: docker exec does so when the machine shuts down',
    async (exitCode) => {
      const { helper: one } = helper(() => ({ exitCode, stderr: 'tar: 1000\n' }));
      await expect(volumeReader(one, 'shop_db').archive(codec, quiet).done).rejects.toMatchObject({
        code: 'store',
      });
      await expect(volumeReader(one, 'shop_db').list(codec).done).rejects.toMatchObject({ code: 'store' });
      await expect(volumeWriter(one, 'shop_db').clear()).rejects.toMatchObject({ code: 'store' });
      await expect(
        volumeWriter(one, 'shop_db').extract(codec, Readable.from(['tar']), quiet),
      ).rejects.toMatchObject({ code: 'store' });
    },
  );

  it.each([2, 3, 127, 137])(
    'fails when tar or the codec ends with %i, in their words and without progress',
    async (exitCode) => {
      const stderr = 'tar: 1000\ntar: 2000\ntar: ./a: Cannot open: Input/output error\n';
      const { helper: one } = helper(() => ({ exitCode, stderr }));
      await expect(volumeReader(one, 'shop_db').archive(codec, quiet).done).rejects.toMatchObject({
        code: 'store',
        message: 'Could not archive the volume shop_db: tar: ./a: Cannot open: Input/output error',
      });
    },
  );

  it('tells how much tar has read', async () => {
    const { helper: one, commands } = helper(() => ({ stderr: end }));
    const told: number[] = [];
    await volumeReader(one, 'shop_db').archive(codec, (bytes) => told.push(bytes)).done;
    for (const line of ['tar: 1000', 'tar: ./1000', 'tar: 2000 ', 'tar: 2000']) commands[0]?.onLine?.(line);
    expect(told).toEqual([10_240_000, 20_480_000]);
  });

  it('is written where it belongs by the helper itself, if it sees that', async () => {
    const { helper: one, commands } = helper(() => ({ stdout: '{"bytes":3,"sha256":"abc"}\n', stderr: end }));
    const reader = volumeReader(one, 'shop_db');
    expect(reader.archiveTo('/elsewhere/a.tar', codec, quiet)).toBeUndefined();
    expect(await reader.archiveTo("/backups/it's.tar", codec, quiet)).toEqual({ exact: true, sent });
    expect(commands.map(({ env }) => env?.['FILE'])).toEqual(["/shared/it's.tar"]);
    expect(commands[0]?.argv.join(' ')).not.toContain("it's");
  });

  it.each(['', 'Traceback\nOSError: [Errno 5]', '{}x\nno JSON'])(
    'has no list without its summary: %j',
    async (stderr) => {
      const { helper: one } = helper(() => ({ exitCode: stderr === '' ? 0 : 1, stderr }));
      await expect(volumeReader(one, 'shop_db').list(codec).done).rejects.toThrow(
        'Could not list the volume shop_db',
      );
    },
  );

  it('knows what went away while it was listed', async () => {
    const { helper: one } = helper(() => ({
      stderr: listed.replace('"changed":0', '"changed":2'),
    }));
    expect(await volumeReader(one, 'shop_db').list(codec).done).toEqual({ summary, exact: false, sent });
  });

  it('does not guess what was sent', async () => {
    const { helper: one } = helper(({ env }) => ({
      stderr: env?.['LIST'] === undefined ? 'safe-update: done\n' : listed.replace(saysSent, ''),
    }));
    for (const done of [
      volumeReader(one, 'v').archive(codec, quiet).done,
      volumeReader(one, 'v').list(codec).done,
    ])
      await expect(done).rejects.toThrow('The helper did not say how much it has read of the volume v.');
  });

  it('refuses a path that could not be put back', async () => {
    const { helper: one } = helper(() => ({
      stderr: JSON.stringify({ ...summary, longest: 4001, changed: 0 }),
    }));
    await expect(volumeReader(one, 'shop_db').list(codec).done).rejects.toThrow('a path of 4001 bytes');
  });

  it('was interrupted when the signal came, whatever tar said then', async () => {
    const { helper: one } = helper(() => ({ exitCode: 137 }));
    const reader = volumeReader(one, 'shop_db', AbortSignal.abort());
    await expect(reader.archive(codec, quiet).done).rejects.toMatchObject({ code: 'interrupted' });
  });
});

describe('writing a volume', () => {
  it.each<[string, (writer: ReturnType<typeof volumeWriter>) => Promise<unknown>]>([
    ['empty', (writer) => writer.clear()],
    ['unpack into', (writer) => writer.extract(codec, Readable.from(['tar']), quiet)],
    ['list', (writer) => writer.summary()],
  ])('fails when it cannot %s it', async (verb, use) => {
    const { helper: one } = helper(() => ({ exitCode: 1, stderr: 'Permission denied' }));
    await expect(use(volumeWriter(one, 'shop_db'))).rejects.toMatchObject({
      code: 'store',
      message: `Could not ${verb} the volume shop_db: Permission denied`,
    });
  });

  it('tells a full disk apart', async () => {
    const { helper: one } = helper(() => ({
      exitCode: 2,
      stderr: 'tar: ./a: Wrote only 512 bytes: No space left on device',
    }));
    await expect(
      volumeWriter(one, 'shop_db').extract(codec, Readable.from(['tar']), quiet),
    ).rejects.toMatchObject({
      code: 'space',
    });
  });

  it('empties what is in the volume, and neither the volume itself nor what is mounted inside it', async () => {
    const { helper: one, commands } = helper(() => ({ stderr: end }));
    await volumeWriter(one, 'shop_db').clear();
    // Not before all of it has been looked at.
    expect(commands[0]?.argv.at(-1)).toMatch(
      /^python3 .* --strict "\$FOLDER" \|\| exit\s+find "\$FOLDER" -xdev -mindepth 1 -delete /,
    );
  });

  it('says what cannot be deleted, and that nothing was', async () => {
    const found = [
      {
        readOnly: false,
        count: 7,
        found: [
          ['immutable', 'a/b'],
          ['append-only', '.'],
        ],
      },
    ];
    const { helper: one } = helper(() => ({ exitCode: 5, stdout: `${JSON.stringify(found)}\n` }));
    await expect(volumeWriter(one, 'shop_db').clear()).rejects.toThrow(
      'The volume shop_db cannot be emptied, and nothing in it was deleted: a/b cannot be deleted (chattr +i), the volume itself cannot be emptied (chattr +a), 5 more like that.',
    );
    const readOnly = [{ readOnly: true, count: 0, found: [] }];
    const { helper: other } = helper(() => ({ exitCode: 5, stdout: JSON.stringify(readOnly) }));
    await expect(volumeWriter(other, 'shop_db').clear()).rejects.toThrow('it is mounted read-only');
  });

  it('unpacks what it is given, and says when that breaks off', async () => {
    let unpacked = '';
    const { helper: one } = helper(async ({ stdin }) => {
      unpacked = await text(stdin ?? Readable.from([])).catch(String);
      return { stderr: end };
    });
    await volumeWriter(one, 'shop_db').extract(codec, Readable.from([Buffer.from('tar')]), quiet);
    expect(unpacked).toBe('tar');

    const broken = Readable.from([Buffer.from('half')]);
    broken.destroy(new Error('the disk failed'));
    await expect(volumeWriter(one, 'shop_db').extract(codec, broken, quiet)).rejects.toMatchObject({
      code: 'store',
      message: 'The archive of shop_db cannot be read: the disk failed',
    });
  });

  it('reads an archive itself where it sees it, and says so where it does not', async () => {
    const { helper: one, commands } = helper(() => ({ stderr: end }));
    const writer = volumeWriter(one, 'shop_db');
    expect(writer.extractFrom('/elsewhere/a.tar', codec, quiet)).toBeUndefined();
    await writer.extractFrom('/backups/a.tar', codec, quiet);
    expect(commands.map(({ env, stdin }) => [env?.['FILE'], stdin])).toEqual([['/shared/a.tar', undefined]]);
  });

  it('gives what is in it now', async () => {
    const { helper: one } = helper(() => ({ stderr: listed }));
    expect(await volumeWriter(one, 'shop_db').summary()).toEqual(summary);
  });
});
