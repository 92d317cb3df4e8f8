/**
 * Volumes of any content: trees that nobody thought of, through a backup, a restore, an export and an import, and back to
 * the byte. What is made is said by a seed; a failure prints it.
 */
import fc from 'fast-check';
import path from 'node:path';
import { execa } from 'execa';
import { expect, it } from 'vitest';
import { docker } from '../e2e/docker.ts';
import { local } from '../e2e/stack-small.ts';
import { digest, expectNothingLeft } from '../e2e/stack.ts';
import { amount } from './campaign.ts';
import { small } from './small.ts';

/** A name of up to 255 bytes: whatever a kernel takes, which is all but a slash and a zero. */
const name = fc
  .oneof(
    fc.uint8Array({ minLength: 1, maxLength: 40 }),
    fc.uint8Array({ minLength: 255, maxLength: 255 }),
    fc
      .constantFrom('-rf', '--', '*', ' ', '\n', '\\', '\\n', '"', "'", '$(touch canary)', '.hidden', '...')
      .map((text) => new TextEncoder().encode(text)),
  )
  .map((bytes) => {
    const allowed = Array.from(bytes, (byte) => (byte === 0 || byte === 0x2f ? 0x5f : byte));
    return Buffer.from(allowed).toString('hex');
  })
  .filter((hex) => hex !== '2e' && hex !== '2e2e');

const owner = fc.constantFrom(0, 1, 999, 65_534, 4_000_000_000);
const time = fc.bigInt({ min: -1_000_000_000n * 10n ** 9n, max: 6_000_000_000n * 10n ** 9n }).map(String);
const common = { name, uid: owner, gid: owner, mtime: time };

const file = fc.record({
  ...common,
  type: fc.constant('file'),
  mode: fc.nat(0o7777),
  /** Pieces of content and holes. */
  pieces: fc.array(
    fc.oneof(
      fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes).toString('hex')),
      fc.nat(3_000_000),
    ),
    { maxLength: 4 },
  ),
  attributes: fc.dictionary(fc.stringMatching(/^[a-z]{1,8}$/), fc.stringMatching(/^([0-9a-f]{2}){0,20}$/), {
    maxKeys: 2,
  }),
});
const other = fc.oneof(
  fc.record({ ...common, type: fc.constant('link'), target: name }),
  fc.record({ ...common, type: fc.constant('fifo'), mode: fc.nat(0o777) }),
  fc.record({
    ...common,
    type: fc.constant('device'),
    mode: fc.nat(0o777),
    major: fc.nat(250),
    minor: fc.nat(250),
  }),
  /** A further name of a file that came before. */
  fc.record({ ...common, type: fc.constant('hard'), of: fc.nat(100) }),
);
const tree = fc.letrec((tie) => ({
  entry: fc.oneof({ depthSize: 'small' }, file, other, tie('folder')),
  folder: fc.record({
    ...common,
    type: fc.constant('folder'),
    mode: fc.nat(0o7777),
    entries: fc.array(tie('entry'), { maxLength: 6 }),
  }),
})).folder;

/** Makes what it is told on standard input, in the folder where it is. */
const maker = `
import json, os, stat, sys
files = []
def make(entry, at):
    name = os.path.join(at, bytes.fromhex(entry['name']))
    kind = entry['type']
    try:
        if kind == 'folder':
            os.mkdir(name)
            for inner in entry['entries']: make(inner, name)
        elif kind == 'file':
            with open(name, 'xb') as handle:
                for piece in entry['pieces']:
                    if isinstance(piece, int): handle.seek(piece, 1)
                    else: handle.write(bytes.fromhex(piece))
                handle.truncate()
            for key, value in entry['attributes'].items(): os.setxattr(name, 'user.' + key, bytes.fromhex(value))
            files.append(name)
        elif kind == 'link': os.symlink(bytes.fromhex(entry['target']), name)
        elif kind == 'fifo': os.mkfifo(name)
        elif kind == 'device': os.mknod(name, 0o600 | stat.S_IFCHR, os.makedev(entry['major'], entry['minor']))
        elif kind == 'hard':
            if not files: return
            os.link(files[entry['of'] % len(files)], name)
            return
    except FileExistsError:
        return
    os.lchown(name, entry['uid'], entry['gid'])
    if kind != 'link': os.chmod(name, entry['mode'])
    os.utime(name, ns=(0, int(entry['mtime'])), follow_symlinks=False)
tree = json.load(sys.stdin)
os.umask(0)
for entry in tree['entries']: make(entry, b'.')
`;

it('any tree comes back: backup, restore over something else, export, import, restore again', async () => {
  const { stack } = await small();
  await stack.compose(['stop', '--timeout', '0']);
  const volume = `${stack.project}_state`;
  const label = `safe-update-e2e=${stack.project}`;
  const inside = async (input: string, ...command: string[]): Promise<unknown> =>
    docker(
      [
        ...['run', '--rm', '--interactive', '--network', 'none', '--label', label, '--cap-add', 'MKNOD'],
        ...['--volume', `${volume}:/volume`, '--workdir', '/volume', '--entrypoint', command[0] ?? ''],
        ...[await helperImage(), ...command.slice(1)],
      ],
      { input },
    );
  const calm = ['--json', '--stable-for', '1s'];
  const exported = path.join(stack.directory, 'exported.tar');
  await fc.assert(
    fc.asyncProperty(tree, async (made) => {
      await inside('', 'find', '.', '-mindepth', '1', '-delete');
      await inside(JSON.stringify(made), 'python3', '-c', maker);
      const before = await digest(stack.project, volume);
      const backup = await stack.safeUpdate(['backup', '--yes', ...calm, ...local]);
      expect(backup.exitCode, backup.story).toBe(0);
      const id = backup.outcome?.backup ?? '';

      const restore = async (): Promise<void> => {
        await inside('', 'sh', '-c', 'find . -mindepth 1 -delete; mkdir -p in/the/way; echo other > -rf');
        const run = await stack.safeUpdate(['restore', id, '--confirm', stack.project, ...calm]);
        expect(run.exitCode, run.story).toBe(0);
        expect((await digest(stack.project, volume)).tar).toBe(before.tar);
        await expectNothingLeft(stack, run);
      };
      await restore();
      await execa('rm', ['-f', exported]);
      const out = await stack.safeUpdate(['export', id, exported, '--json']);
      expect(out.exitCode, out.story).toBe(0);
      await execa('rm', ['-r', path.join(stack.backupFolder, id)]);
      const back = await stack.safeUpdate(['import', exported, '--json']);
      expect(back.exitCode, back.story).toBe(0);
      await restore();
    }),
    { numRuns: amount({ some: 2, all: 60 }), endOnFailure: true },
  );
});

/** GNU find and Python, which the helper's image has. */
async function helperImage(): Promise<string> {
  const names = await docker(['image', 'ls', '--format', '{{.Repository}}:{{.Tag}}', 'safe-update/helper']);
  return names.split('\n')[0] ?? '';
}
