import { Transform, pipeline, type Readable } from 'node:stream';

/**
 * The same content, telling how many bytes have passed. A `data` listener would do the counting too, but it makes
 * the stream flow at once, and what flows before a reader is there is lost.
 */
export function metered(content: Readable, onBytes: (bytes: number) => void): Readable {
  let bytes = 0;
  const meter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      onBytes(bytes);
      done(null, chunk);
    },
  });
  // An error of the content destroys the meter, whose reader then sees it.
  pipeline(content, meter, () => undefined);
  return meter;
}
