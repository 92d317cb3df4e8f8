import { SafeUpdateError } from '../model/error.ts';

/** What a mongodump archive holds, once all of it has been read and proven whole. */
export interface Archive {
  /** As the server said: 7.0.14. */
  serverVersion: string;
  namespaces: { database: string; collection: string; type: string }[];
}

/**
 * Reads an archive of mongodump from the first byte to the last. Throws SafeUpdateError `database` unless every
 * collection that it announces has been written to its end, with the checksum that mongodump computed.
 *
 * The format (mongo-tools, common/archive/spec.md): a magic number, then blocks of BSON documents, each ended by -1. The
 * first block is the server's version and the collections with their indexes; each other one begins with the collection
 * its documents are of. The last of a collection says EOF and the CRC-64 of all its documents. `mongorestore --dryRun`
 * reads the first block only, and accepts half a file with exit code 0.
 */
export async function readArchive(content: AsyncIterable<Buffer>): Promise<Archive> {
  const reader = new Reader(content);
  if ((await reader.take(4))?.readUInt32LE() !== magic) throw damaged('it is not an archive of mongodump.');
  const header = await reader.document('its first block');
  if (header === undefined) throw damaged('its first block is empty.');
  const namespaces: Archive['namespaces'] = [];
  for (
    let one = await reader.document('its first block');
    one;
    one = await reader.document('its first block')
  ) {
    const { db, collection, type } = fieldsOf(one);
    namespaces.push({ database: text(db), collection: text(collection), type: text(type) });
  }

  const sums = new Map<string, Crc64>();
  const ended = new Set<string>();
  for (let start = await reader.blockStart(); start; start = await reader.blockStart()) {
    const { db, collection, EOF: end, CRC: expected } = fieldsOf(start);
    const name = `${text(db)}.${text(collection)}`;
    if (ended.has(name)) throw damaged(`${quoted(name)} goes on after its end.`);
    const sum = sums.get(name) ?? new Crc64();
    sums.set(name, sum);
    for (let one = await reader.document(quoted(name)); one; one = await reader.document(quoted(name))) {
      sum.update(one);
    }
    if (end !== true) continue;
    if (expected !== sum.value) throw damaged(`the checksum of ${quoted(name)} is another.`);
    ended.add(name);
  }
  const announced = namespaces.map(({ database, collection, type }) => {
    // Where the documents of a time series really are; since 8.2 they may be in the collection itself.
    const buckets = `${database}.system.buckets.${collection}`;
    return type === 'timeseries' && sums.has(buckets) ? buckets : `${database}.${collection}`;
  });
  const open = [...announced, ...sums.keys()].find((name) => !ended.has(name));
  if (open !== undefined) throw damaged(`${quoted(open)} does not come to its end.`);
  return { serverVersion: text(fieldsOf(header)['server_version']), namespaces };
}

const magic = 0x8199_e26d;
const terminator = -1;
// mongo-tools, db.MaxBSONSize: 16 MB and some room.
const largestDocument = 16 * 1024 * 1024 + 16 * 1024;

function damaged(why: string): SafeUpdateError {
  return new SafeUpdateError('database', `The MongoDB dump is damaged or incomplete: ${why}`);
}

const quoted = (name: string): string => JSON.stringify(name);

/** Bytes in the portions in which they are asked for. */
class Reader {
  readonly #content: AsyncIterator<Buffer>;
  #held: Buffer = Buffer.alloc(0);

  constructor(content: AsyncIterable<Buffer>) {
    this.#content = content[Symbol.asyncIterator]();
  }

  /** The next bytes; undefined where there are none left. Throws if there are some, but fewer. */
  async take(bytes: number): Promise<Buffer | undefined> {
    if (this.#held.length < bytes) await this.#fill(bytes);
    if (this.#held.length === 0) return undefined;
    if (this.#held.length < bytes) throw damaged('it ends early.');
    const taken = this.#held.subarray(0, bytes);
    this.#held = this.#held.subarray(bytes);
    return taken;
  }

  async #fill(bytes: number): Promise<void> {
    const chunks = [this.#held];
    let length = this.#held.length;
    while (length < bytes) {
      const next = await this.#content.next();
      if (next.done === true) break;
      chunks.push(next.value);
      length += next.value.length;
    }
    this.#held = Buffer.concat(chunks);
  }

  /** The first document of a block; undefined at the end of the archive. */
  async blockStart(): Promise<Buffer | undefined> {
    const size = await this.take(4);
    if (size === undefined) return undefined;
    const found = await this.#rest(size, 'between two collections');
    if (found === undefined) throw damaged('a block has no beginning.');
    return found;
  }

  /** The next document of a block; undefined at the block's end. */
  async document(where: string): Promise<Buffer | undefined> {
    const size = await this.take(4);
    if (size === undefined) throw damaged(`it ends early, in ${where}.`);
    return this.#rest(size, `in ${where}`);
  }

  async #rest(prefix: Buffer, where: string): Promise<Buffer | undefined> {
    const size = prefix.readInt32LE();
    if (size === terminator) return undefined;
    if (size < 5 || size > largestDocument) throw damaged(`what is ${where} is no document.`);
    const rest = await this.take(size - 4);
    if (rest === undefined) throw damaged(`it ends early, ${where}.`);
    if (rest.at(-1) !== 0) throw damaged(`what is ${where} is no document.`);
    return Buffer.concat([prefix, rest]);
  }
}

type Field = string | boolean | number | bigint;

function text(field: Field | undefined): string {
  return typeof field === 'string' ? field : '';
}

/** The fields of a flat BSON document, of the few kinds that mongodump writes about an archive (bsonspec.org). */
function fieldsOf(document: Buffer): Record<string, Field> {
  const fields: Record<string, Field> = {};
  let at = 4;
  try {
    while (document[at] !== 0) {
      const kind = document[at];
      const end = document.indexOf(0, at + 1);
      const name = document.toString('utf8', at + 1, end);
      at = end + 1;
      switch (kind) {
        case 0x02: {
          const length = document.readInt32LE(at);
          if (length < 1) throw new RangeError('a string without an end');
          fields[name] = document.toString('utf8', at + 4, at + 3 + length);
          at += 4 + length;
          break;
        }
        case 0x08:
          fields[name] = document.readUInt8(at) === 1;
          at += 1;
          break;
        case 0x10:
          fields[name] = document.readInt32LE(at);
          at += 4;
          break;
        case 0x12:
          fields[name] = document.readBigUInt64LE(at);
          at += 8;
          break;
        default:
          throw new RangeError(`a field of kind ${kind}`);
      }
    }
  } catch (cause) {
    if (cause instanceof RangeError) throw damaged('what it says about a collection cannot be read.');
    throw cause;
  }
  return fields;
}

// Halves of 64 bits: numbers are much quicker than bigints.
const tableLow = new Int32Array(256);
const tableHigh = new Int32Array(256);
for (let index = 0; index < 256; index += 1) {
  let value = BigInt(index);
  for (let bit = 0; bit < 8; bit += 1) {
    value = (value & 1n) === 1n ? (value >> 1n) ^ 0xc96c_5795_d787_0f42n : value >> 1n;
  }
  tableLow[index] = Number(BigInt.asIntN(32, value));
  tableHigh[index] = Number(BigInt.asIntN(32, value >> 32n));
}

/** CRC-64 with the ECMA polynomial, as Go's hash/crc64 has it, which mongodump uses. */
export class Crc64 {
  #low = -1;
  #high = -1;

  update(bytes: Buffer): void {
    let [low, high] = [this.#low, this.#high];
    for (const byte of bytes) {
      const index = (low ^ byte) & 0xff;
      low = ((low >>> 8) | (high << 24)) ^ (tableLow[index] ?? 0);
      high = (high >>> 8) ^ (tableHigh[index] ?? 0);
    }
    [this.#low, this.#high] = [low, high];
  }

  get value(): bigint {
    return (BigInt(~this.#high >>> 0) << 32n) | BigInt(~this.#low >>> 0);
  }
}
