import { PassThrough, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, createZstdCompress, createZstdDecompress } from 'node:zlib';
import { SafeUpdateError } from '../model/error.ts';
import { loadImagesArgv, saveImagesArgv } from './argv.ts';
import type { Exec } from './exec.ts';

/** Images as `docker save` prints them, compressed with zstd. The stream fails unless all of them came. */
export function saveImages(exec: Exec, images: readonly string[]): Readable {
  const content = async function* (): AsyncGenerator<Buffer> {
    const saving = exec.stream({ argv: saveImagesArgv(images) });
    const compress = createZstdCompress({
      params: { [constants.ZSTD_c_compressionLevel]: 1, [constants.ZSTD_c_checksumFlag]: 1 },
    });
    const compressing = pipeline(saving.stdout, compress).catch(() => undefined);
    try {
      yield* compress as AsyncIterable<Buffer>;
      await compressing;
      const { exitCode, stderr } = await saving.done;
      if (exitCode !== 0)
        throw new SafeUpdateError('engine', `The images cannot be saved: ${lastLine(stderr)}`);
    } finally {
      saving.kill();
    }
  };
  return Readable.from(content(), { objectMode: false });
}

/** Loads what `saveImages` gave. Names are given to none of them. Throws SafeUpdateError `engine`. */
export async function loadImages(exec: Exec, compressed: Readable): Promise<void> {
  const stdin = new PassThrough();
  const loading = exec.run({ argv: loadImagesArgv(), stdin });
  const feeding = pipeline(compressed, createZstdDecompress(), stdin).catch((error: unknown) => error);
  // Whichever of the two fails, the other one ends with it.
  const [{ exitCode, stderr }, failed] = await Promise.all([loading, feeding]);
  if (failed instanceof SafeUpdateError) throw failed;
  if (exitCode !== 0) throw new SafeUpdateError('engine', `The images cannot be loaded: ${lastLine(stderr)}`);
  if (failed !== undefined) throw failed as Error;
}

function lastLine(stderr: string): string {
  return stderr.trim().split('\n').at(-1) ?? '';
}
