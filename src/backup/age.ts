import { Readable } from 'node:stream';

/**
 * Encryption with age (https://age-encryption.org/v1), as the program `age` reads and writes it. The library is loaded when
 * it is needed: that takes as long as the rest of a start.
 */
const library = () => import('age-encryption');

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
 * The content encrypted, in a few pieces of 64 KiB at a time, however long it is. Ending it early ends the content, if it has
 * been begun to be read.
 */
export function encrypt(content: AsyncIterable<Uint8Array>, recipients: readonly string[]): Readable {
  const pieces = async function* (): AsyncGenerator<Buffer> {
    const { Encrypter } = await library();
    const encrypter = new Encrypter();
    for (const recipient of recipients) encrypter.addRecipient(recipient);
    yield* buffers(await encrypter.encrypt(streamOf(content)));
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
  try {
    return buffers(await decrypter.decrypt(streamOf(content)));
  } catch (error) {
    // The one thing that the library has no type for.
    if (error instanceof Error && error.message.startsWith('no identity matched')) return undefined;
    throw error;
  }
}

/** Asks for a piece when it is asked for one. */
function streamOf(content: AsyncIterable<Uint8Array>): ReadableStream<Uint8Array> {
  return ReadableStream.from<Uint8Array>(content);
}

async function* buffers(stream: ReadableStream<Uint8Array>): AsyncGenerator<Buffer> {
  for await (const piece of stream) yield Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
}
