import type { Codec } from './codec.ts';

/** zstd at its default level. Its frames carry a checksum of the content. */
export const zstd = {
  name: 'zstd',
  suffix: '.zst',
  compress: 'zstd -q -T0 -c',
  decompress: 'zstd -q -d -c',
} satisfies Codec;
