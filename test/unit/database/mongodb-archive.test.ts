import { Readable } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { Crc64, readArchive } from '../../../src/database/mongodb-archive.ts';
import { SafeUpdateError } from '../../../src/model/error.ts';

type Value = string | boolean | number | bigint;

/** A flat BSON document. */
function bson(fields: Record<string, Value>): Buffer {
  const parts = Object.entries(fields).map(([name, value]) => {
    const key = (kind: number) => Buffer.concat([Buffer.from([kind]), Buffer.from(`${name}\0`)]);
    const bytes = Buffer.alloc(8);
    if (typeof value === 'boolean') return Buffer.concat([key(8), Buffer.from([value ? 1 : 0])]);
    if (typeof value === 'number') {
      bytes.writeInt32LE(value);
      return Buffer.concat([key(16), bytes.subarray(0, 4)]);
    }
    if (typeof value === 'bigint') {
      bytes.writeBigUInt64LE(value);
      return Buffer.concat([key(18), bytes]);
    }
    const text = Buffer.from(`${value}\0`);
    bytes.writeInt32LE(text.length);
    return Buffer.concat([key(2), bytes.subarray(0, 4), text]);
  });
  const body = Buffer.concat(parts);
  const size = Buffer.alloc(4);
  size.writeInt32LE(body.length + 5);
  return Buffer.concat([size, body, Buffer.from([0])]);
}

const end = Buffer.from([0xff, 0xff, 0xff, 0xff]);
const magic = Buffer.from([0x6d, 0xe2, 0x99, 0x81]);
const prelude = (...collections: Record<string, Value>[]) =>
  Buffer.concat([
    magic,
    bson({ concurrent_collections: 4, version: '0.1', server_version: '7.0.14', tool_version: '100.6.1' }),
    ...collections.map((one) => bson({ metadata: '{}', size: 0, type: 'collection', ...one })),
    end,
  ]);
const body = (db: string, collection: string, ...documents: Buffer[]) =>
  Buffer.concat([bson({ db, collection, EOF: false, CRC: 0n }), ...documents, end]);
const eof = (db: string, collection: string, ...documents: Buffer[]) => {
  const crc = new Crc64();
  for (const one of documents) crc.update(one);
  return Buffer.concat([bson({ db, collection, EOF: true, CRC: crc.value }), end]);
};

const [a, b, c] = [bson({ _id: 1 }), bson({ _id: 2, text: 'ü' }), bson({ _id: 3n })];
const whole = [
  prelude(
    { db: 'shop', collection: 'a' },
    { db: 'shop', collection: 'empty' },
    { db: 'shop', collection: 'b.c' },
  ),
  body('shop', 'a', a),
  eof('shop', 'empty'),
  body('shop', 'b.c', c),
  // Collections take turns.
  body('shop', 'a', b),
  eof('shop', 'a', a, b),
  eof('shop', 'b.c', c),
];

/** As it comes from a disk, a few bytes at a time. */
function read(parts: Buffer[], size = 7) {
  const all = Buffer.concat(parts);
  const pieces = Array.from({ length: Math.ceil(all.length / size) }, (_, n) =>
    all.subarray(n * size, (n + 1) * size),
  );
  return readArchive(Readable.from(pieces, { objectMode: false }));
}

async function refusal(parts: Buffer[]): Promise<string> {
  const error: unknown = await read(parts).catch((thrown: unknown) => thrown);
  if (error instanceof SafeUpdateError && error.code === 'database') return error.message;
  throw new Error('it was accepted');
}

test('CRC-64 as the standard has it', () => {
  const crc = new Crc64();
  expect(crc.value).toBe(0n);
  crc.update(Buffer.from('1234'));
  crc.update(Buffer.from('56789'));
  expect(crc.value).toBe(0x995d_c9bb_df19_39fan);
});

describe('an archive', () => {
  test.each([1, 7, 100_000])('is read in pieces of %i bytes', async (size) => {
    const { serverVersion, namespaces } = await read(whole, size);
    expect(serverVersion).toBe('7.0.14');
    expect(namespaces.map(({ database, collection }) => `${database}.${collection}`)).toEqual([
      'shop.a',
      'shop.empty',
      'shop.b.c',
    ]);
  });

  test('without a collection is one', async () => {
    expect((await read([prelude()])).namespaces).toEqual([]);
  });

  test('cut off anywhere is none', async () => {
    const all = Buffer.concat(whole);
    for (let length = 0; length < all.length; length += 1) {
      expect(await refusal([all.subarray(0, length)])).toMatch(/damaged or incomplete/);
    }
  });

  test.each<[string, Buffer[], RegExp]>([
    ['a document changed', whole.with(1, body('shop', 'a', b)), /checksum of "shop.a"/],
    ['a document missing', whole.toSpliced(4, 1), /checksum of "shop.a"/],
    ['a collection missing', whole.toSpliced(2, 1), /"shop.empty" does not come to its end/],
    [
      'a collection that is not announced and not ended',
      [...whole, body('x', 'y', a)],
      /"x.y" does not come/,
    ],
    ['a collection that goes on after its end', [...whole, body('shop', 'a', a)], /"shop.a" goes on/],
    ['bytes after the end', [...whole, Buffer.from('x')], /ends early/],
    ['a block without a beginning', [...whole, end], /a block has no beginning/],
    ['another file', [Buffer.from('{"an": "archive"}')], /not an archive of mongodump/],
    ['what is longer than a document can be', [...whole, Buffer.from([0, 0, 0, 0x7f])], /no document/],
    ['a field of another kind', [...whole, Buffer.from([8, 0, 0, 0, 1, 0x61, 0, 0]), end], /cannot be read/],
  ])('with %s is none', async (_, parts, message) => {
    expect(await refusal(parts)).toMatch(message);
  });

  test('a time series ends where its buckets do, or where it does itself', async () => {
    const series = prelude({ db: 'shop', collection: 't', type: 'timeseries' });
    await read([series, body('shop', 'system.buckets.t', a), eof('shop', 'system.buckets.t', a)]);
    await read([series, body('shop', 't', a), eof('shop', 't', a)]);
    expect(await refusal([series])).toMatch(/"shop.t" does not come to its end/);
  });
});
