import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';

/**
 * Encryption with age (https://age-encryption.org/v1), as the program `age` reads and writes it. Keys and headers are the
 * library's; it is loaded when it is needed, because that takes as long as the rest of a start. The content is encrypted
 * here, by OpenSSL: the stack stands still meanwhile, and the library takes three times as long.
 */
const library = () => import('age-encryption');

const cipher = 'chacha20-poly1305';
/** Bytes of content in a piece, and of what proves that it is unchanged. */
const pieceSize = 64 * 1024;
const tagSize = 16;
const nonceSize = 16;
/** Bytes. With a stanza of a hundred bytes for each recipient, nobody's header is longer. */
const longestHeader = 1 << 20;

/** A key pair of its own: the identity is the private half. */
export async function generateKey(): Promise<{ identity: string; recipient: string }> {
  const { generateX25519Identity, identityToRecipient } = await library();
  const identity = await generateX25519Identity();
  return { identity, recipient: await identityToRecipient(identity) };
}

/** Throws for what is no identity. */
export async function recipientOf(identity: string): Promise<string> {
  return (await library()).identityToRecipient(identity);
}

/**
 * The content encrypted, in pieces of 64 KiB, however long it is. Ending it early ends the content, if it has been begun to
 * be read.
 */
export function encrypt(content: AsyncIterable<Uint8Array>, recipients: readonly string[]): Readable {
  const pieces = async function* (): AsyncGenerator<Buffer> {
    const { header, fileKey } = await makeHeader(recipients);
    const nonce = randomBytes(nonceSize);
    yield Buffer.concat([header, nonce]);
    const key = payloadKey(fileKey, nonce);
    for await (const { piece, number, last } of inPieces(content, pieceSize)) {
      const encrypting = createCipheriv(cipher, key, pieceNonce(number, last), { authTagLength: tagSize });
      yield Buffer.concat([encrypting.update(piece), encrypting.final(), encrypting.getAuthTag()]);
    }
  };
  return Readable.from(pieces(), { objectMode: false });
}

/**
 * What was encrypted, piece by piece; each is checked before it comes. Undefined: it is not for one of these identities.
 * Throws, also while it is read, for what is no age file, has changed, or ends early.
 */
export async function decrypt(
  content: AsyncIterable<Uint8Array>,
  identities: readonly string[],
): Promise<AsyncIterable<Buffer> | undefined> {
  const { Decrypter } = await library();
  const decrypter = new Decrypter();
  for (const identity of identities) decrypter.addIdentity(identity);
  const source = content[Symbol.asyncIterator]();
  const { header, nonce, rest } = await readHeader(source);
  try {
    const fileKey = await decrypter.decryptHeader(header);
    return decryptPieces(payloadKey(fileKey, nonce), rest, source);
  } catch (error) {
    // The one thing that the library has no type for.
    if (error instanceof Error && error.message.startsWith('no identity matched')) return undefined;
    throw error;
  }
}

/** The header for these recipients, and the key that it brings them. */
async function makeHeader(recipients: readonly string[]): Promise<{ header: Buffer; fileKey: Uint8Array }> {
  const { Encrypter } = await library();
  const encrypter = new Encrypter();
  for (const recipient of recipients) encrypter.addRecipient(recipient);
  let fileKey: Uint8Array | undefined;
  // One more that is told the key and adds nothing.
  encrypter.addRecipient({
    wrapFileKey: (key) => {
      fileKey = Uint8Array.from(key);
      return [];
    },
  });
  const empty = await encrypter.encrypt(new Uint8Array());
  if (fileKey === undefined) throw new Error('the library has made no key');
  return { header: Buffer.from(empty.subarray(0, empty.length - nonceSize - tagSize)), fileKey };
}

/** Reads up to and with the nonce. */
async function readHeader(
  source: AsyncIterator<Uint8Array>,
): Promise<{ header: Buffer; nonce: Buffer; rest: Buffer }> {
  let read = Buffer.alloc(0);
  for (;;) {
    const end = /\n---[^\n]*\n/.exec(read.subarray(0, longestHeader).toString('latin1'));
    const length = end === null ? undefined : end.index + end[0].length;
    if (length !== undefined && read.length >= length + nonceSize) {
      const start = length + nonceSize;
      return {
        header: read.subarray(0, length),
        nonce: read.subarray(length, start),
        rest: read.subarray(start),
      };
    }
    if (length === undefined && read.length >= longestHeader)
      throw new Error('it does not begin as an age file');
    const next = await source.next();
    if (next.done === true) throw new Error('it ends before its content');
    read = Buffer.concat([read, next.value]);
  }
}

async function* decryptPieces(
  key: Buffer,
  rest: Buffer,
  source: AsyncIterator<Uint8Array>,
): AsyncGenerator<Buffer> {
  const content = async function* (): AsyncGenerator<Uint8Array> {
    yield rest;
    yield* { [Symbol.asyncIterator]: () => source };
  };
  for await (const { piece, number, last } of inPieces(content(), pieceSize + tagSize)) {
    const size = piece.length - tagSize;
    // An empty piece is the only one.
    if (size < 0 || (size === 0 && number > 0)) throw new Error('it ends within a piece');
    const decrypting = createDecipheriv(cipher, key, pieceNonce(number, last), { authTagLength: tagSize });
    decrypting.setAuthTag(piece.subarray(size));
    // OpenSSL says whether the tag is right in `final`, and nothing is given away before.
    yield Buffer.concat([decrypting.update(piece.subarray(0, size)), decrypting.final()]);
  }
}

/** The same content in pieces of this size. There is always a last one; it may be smaller, and empty if it is the only one. */
async function* inPieces(
  content: AsyncIterable<Uint8Array>,
  size: number,
): AsyncGenerator<{ piece: Buffer; number: number; last: boolean }> {
  let number = 0;
  let waiting: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of content) {
    if (chunk.length === 0) continue;
    waiting.push(chunk);
    bytes += chunk.length;
    if (bytes <= size) continue;
    let whole = Buffer.concat(waiting);
    // Whether a full piece is the last one is not known before something follows it.
    for (; whole.length > size; number += 1) {
      yield { piece: whole.subarray(0, size), number, last: false };
      whole = whole.subarray(size);
    }
    [waiting, bytes] = [[whole], whole.length];
  }
  yield { piece: Buffer.concat(waiting), number, last: true };
}

function payloadKey(fileKey: Uint8Array, nonce: Uint8Array): Buffer {
  return Buffer.from(hkdfSync('sha256', fileKey, nonce, 'payload', 32));
}

/** Eleven bytes count, the last one says whether it is the last piece. */
function pieceNonce(number: number, last: boolean): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUIntBE(number, 5, 6);
  nonce[11] = last ? 1 : 0;
  return nonce;
}
