/**
 * How an archive is compressed: programs that run in the helper, beside the data. To add one, write a file beside
 * zstd.ts and name it in `codecs`.
 */
export interface Codec {
  readonly name: string;
  /** What file names end with: `.zst`. */
  readonly suffix: string;
  /** A command that compresses standard input to standard output, on all cores. */
  readonly compress: string;
  /** A command that decompresses standard input to standard output, and fails on a damaged or truncated stream. */
  readonly decompress: string;
}
