import { mkdir, rm } from 'node:fs/promises';
import { folderStore } from '../src/backup/store/folder.ts';
import type { StoredVolume } from '../src/backup/store/store.ts';
import { volumeReader, volumeWriter } from '../src/backup/volume.ts';
import { startHelper, type Helper } from '../src/docker/helper.ts';
import { docker, emptyVolume, type Bench } from './bench-engine.ts';
import { timed, type Comparison } from './bench-measure.ts';

const handWritten = '`docker run debian tar czf`';
const bare = '`tar \\| zstd -T0`, nothing else';
const ours = 'safe-update';

const quiet = (): void => undefined;
const idOf = (number: number): string => `manual-20241017_${String(number).padStart(6, '0')}`;

async function withHelper<T>(
  bench: Bench,
  volume: string,
  access: 'read' | 'write',
  folder: string,
  use: (helper: Helper) => Promise<T>,
): Promise<T> {
  const helper = await startHelper(bench.engine, bench.exec, bench.helperImage, {
    project: 'safe-update-bench',
    run: 'bench',
    volumes: [{ name: volume, kind: 'named' }],
    access,
    folder,
  });
  try {
    return await use(helper);
  } finally {
    await helper.remove();
  }
}

/** Backs a volume up as a run does: helper, archive and list side by side, flushed, read back, sealed. */
async function keep(
  bench: Bench,
  folder: string,
  id: string,
  volume: string,
): Promise<{ stored: StoredVolume; sealing: number }> {
  return withHelper(bench, volume, 'read', folder, async (helper) => {
    const writer = await folderStore(folder).begin(id);
    const stored = await writer.putVolume('data', volumeReader(helper, volume), quiet);
    return { stored, sealing: await timed(() => writer.seal('{}\n', quiet)) };
  });
}

/** A container that has the volume and the folder, as scripts start one. */
function inContainer(image: string, volume: string, folder: string, script: string): Promise<string> {
  const mounts = ['--volume', `${volume}:/data`, '--volume', `${folder}:/backup`];
  return docker([
    'run',
    '--rm',
    '--network',
    'none',
    ...mounts,
    image,
    'bash',
    '-o',
    'pipefail',
    '-c',
    script,
  ]);
}

const makeGzip = 'tar czf /backup/data.tar.gz -C /data .';
const makeZstd = 'tar c -C /data . | zstd -q -f -T0 -o /backup/data.tar.zst';

export function backupComparison(bench: Bench, folder: string, volume: string): Comparison {
  let count = 0;
  const clear = async (): Promise<void> => {
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true });
  };
  return {
    title: 'Backup',
    unit: 'milliseconds',
    baseline: bare,
    ways: [
      {
        name: handWritten,
        prepare: clear,
        run: async () => ({
          [handWritten]: await timed(() => inContainer('debian:bookworm-slim', volume, folder, makeGzip)),
        }),
      },
      {
        name: bare,
        prepare: clear,
        run: async () => ({
          [bare]: await timed(() => inContainer(bench.helperImage, volume, folder, makeZstd)),
        }),
      },
      {
        name: ours,
        prepare: clear,
        run: async () => {
          let sealing = 0;
          const all = await timed(async () => {
            ({ sealing } = await keep(bench, folder, idOf((count += 1)), volume));
          });
          return { [ours]: all, '… of it reading back and sealing': sealing };
        },
      },
    ],
  };
}

export async function restoreComparison(bench: Bench, folder: string, volume: string): Promise<Comparison> {
  await mkdir(folder, { recursive: true });
  await inContainer('debian:bookworm-slim', volume, folder, makeGzip);
  await inContainer(bench.helperImage, volume, folder, makeZstd);
  const { stored } = await keep(bench, folder, idOf(999_999), volume);
  const reader = await folderStore(folder).open(idOf(999_999));
  const target = 'safe-update-bench-target';
  const prepare = (): Promise<void> => emptyVolume(target);
  const bareRestore = '`zstd -d \\| tar x`, nothing else';
  const handWrittenRestore = '`docker run debian tar xzf`';
  const unchecked = 'safe-update, without flushing and the comparison at its end';
  return {
    title: 'Restore',
    unit: 'milliseconds',
    baseline: bareRestore,
    ways: [
      {
        name: handWrittenRestore,
        prepare,
        run: async () => ({
          [handWrittenRestore]: await timed(() =>
            inContainer('debian:bookworm-slim', target, folder, 'tar xzf /backup/data.tar.gz -C /data'),
          ),
        }),
      },
      {
        name: bareRestore,
        prepare,
        run: async () => ({
          [bareRestore]: await timed(() =>
            inContainer(
              bench.helperImage,
              target,
              folder,
              'zstd -q -d -c /backup/data.tar.zst | tar x -C /data',
            ),
          ),
        }),
      },
      {
        name: ours,
        prepare,
        run: async () => {
          let comparing = 0;
          const all = await timed(() =>
            withHelper(bench, target, 'write', folder, async (helper) => {
              const writer = volumeWriter(helper, target);
              await writer.clear();
              await reader.restoreVolume(stored, writer, quiet);
              comparing = await timed(async () => {
                const [{ digest }] = await Promise.all([writer.summary(), writer.flush()]);
                if (digest !== stored.summary.digest)
                  throw new Error('what was put back is not what was kept');
              });
            }),
          );
          return { [ours]: all, [unchecked]: all - comparing };
        },
      },
    ],
  };
}
