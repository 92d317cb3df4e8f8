import { createCipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { Decrypter, Encrypter } from 'age-encryption';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { decrypt, encrypt, generateKey } from '../../../src/backup/age.ts';

let key: Awaited<ReturnType<typeof generateKey>>;
let other: Awaited<ReturnType<typeof generateKey>>;
beforeAll(async () => {
  [key, other] = [await generateKey(), await generateKey()];
});

/** The content in chunks that end at these places. */
async function* chunks(content: Buffer, ends: readonly number[] = []): AsyncGenerator<Buffer> {
  const places = [...new Set(ends.map((end) => end % (content.length + 1)))].sort((a, b) => a - b);
  let from = 0;
  for (const to of [...places, content.length]) {
    yield await Promise.resolve(content.subarray(from, to));
    from = to;
  }
}

async function whole(pieces: AsyncIterable<unknown> | undefined): Promise<Buffer> {
  if (pieces === undefined) throw new Error('not for this identity');
  const read: Buffer[] = [];
  for await (const piece of pieces) read.push(piece as Buffer);
  return Buffer.concat(read);
}

const byLibrary = async (content: Buffer): Promise<Buffer> => {
  const encrypter = new Encrypter();
  encrypter.addRecipient(other.recipient);
  encrypter.addRecipient(key.recipient);
  return Buffer.from(await encrypter.encrypt(content));
};
const readByLibrary = async (encrypted: Buffer): Promise<Buffer> => {
  const decrypter = new Decrypter();
  decrypter.addIdentity(key.identity);
  return Buffer.from(await decrypter.decrypt(encrypted));
};

const piece = 64 * 1024;
const sizes = [0, 1, 15, piece - 1, piece, piece + 1, 2 * piece - 1, 2 * piece, 2 * piece + 1, 5 * piece + 7];

describe('the age format', () => {
  it.each(sizes)('of %i bytes is read by the library, and the library’s is read', async (size) => {
    const content = randomBytes(size);
    const ours = await whole(encrypt(chunks(content), [other.recipient, key.recipient]));
    expect((await readByLibrary(ours)).equals(content)).toBe(true);
    expect(ours.length).toBe((await byLibrary(content)).length);
    const back = await whole(await decrypt(chunks(await byLibrary(content)), [key.identity]));
    expect(back.equals(content)).toBe(true);
  });

  it('is the same, whatever chunks it comes in', { timeout: 60_000 }, async () => {
    const places = fc.array(fc.nat({ max: 4 * piece }), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: 3 * piece }), places, places, async (size, one, two) => {
        const content = randomBytes(size);
        const encrypted = await whole(encrypt(chunks(content, one), [key.recipient]));
        const back = await whole(await decrypt(chunks(encrypted, two), [key.identity]));
        return back.equals(content);
      }),
      { numRuns: 40 },
    );
    const content = randomBytes(300);
    const encrypted = await whole(encrypt(chunks(content), [key.recipient]));
    const bytes = Array.from(encrypted.keys());
    expect(await whole(await decrypt(chunks(encrypted, bytes), [key.identity]))).toEqual(content);
  });

  it('has a key and a nonce of its own each time', async () => {
    const content = Buffer.alloc(piece);
    const [one, two] = [
      await whole(encrypt(chunks(content), [key.recipient])),
      await whole(encrypt(chunks(content), [key.recipient])),
    ];
    expect(one.subarray(-piece).equals(two.subarray(-piece))).toBe(false);
  });

  it('is not for somebody else', async () => {
    const encrypted = await whole(encrypt(chunks(randomBytes(10)), [key.recipient]));
    expect(await decrypt(chunks(encrypted), [other.identity])).toBeUndefined();
    expect(await decrypt(chunks(encrypted), [other.identity, key.identity])).toBeDefined();
  });

  it.each(sizes)(
    'of %i bytes gives nothing that is not proven, and fails where it ends early',
    async (size) => {
      const content = randomBytes(size);
      const encrypted = await byLibrary(content);
      const start = encrypted.length - size - 16 * Math.max(1, Math.ceil(size / piece));
      const ends = [start, start + 1, start + 16, start + piece, start + piece + 16, encrypted.length - 1];
      for (const end of ends.filter((place) => place < encrypted.length)) {
        const read: Buffer[] = [];
        const reading = (async () => {
          const pieces = await decrypt(chunks(encrypted.subarray(0, end)), [key.identity]);
          for await (const chunk of pieces ?? []) read.push(chunk);
        })();
        await expect(reading, `cut at ${end - start}`).rejects.toThrow();
        const given = Buffer.concat(read);
        expect(given.equals(content.subarray(0, given.length))).toBe(true);
      }
      await expect(
        decrypt(chunks(Buffer.concat([encrypted, Buffer.alloc(1)])), [key.identity]).then(whole),
      ).rejects.toThrow();
    },
  );

  it('pieces that have changed places, or are there twice, are noticed', async () => {
    const content = randomBytes(3 * piece);
    const encrypted = await byLibrary(content);
    const full = piece + 16;
    const start = encrypted.length - 3 * full;
    const at = (number: number): Buffer =>
      encrypted.subarray(start + number * full, start + (number + 1) * full);
    for (const order of [[1, 0, 2], [0, 2], [0, 0, 2], [0, 1, 1], [2], [0, 1, 2, 2]]) {
      const changed = Buffer.concat([encrypted.subarray(0, start), ...order.map(at)]);
      await expect(decrypt(chunks(changed), [key.identity]).then(whole), String(order)).rejects.toThrow();
    }
  });

  it('an empty piece after others is refused, although its tag is right', async () => {
    const encrypted = await byLibrary(randomBytes(piece));
    const start = encrypted.length - piece - 16;
    const [header, nonce] = [encrypted.subarray(0, start - 16), encrypted.subarray(start - 16, start)];
    const decrypter = new Decrypter();
    decrypter.addIdentity(key.identity);
    const fileKey = await decrypter.decryptHeader(header);
    const payload = Buffer.from(hkdfSync('sha256', fileKey, nonce, 'payload', 32));
    const sealed = (content: Buffer, number: number, last: number): Buffer => {
      const counted = Buffer.from([...Buffer.alloc(10), number, last]);
      const cipher = createCipheriv('chacha20-poly1305', payload, counted, { authTagLength: 16 });
      return Buffer.concat([cipher.update(content), cipher.final(), cipher.getAuthTag()]);
    };
    const content = randomBytes(piece);
    const read = (pieces: Buffer[]): Promise<Buffer> =>
      decrypt(chunks(Buffer.concat([header, nonce, ...pieces])), [key.identity]).then(whole);
    const one = Buffer.from('x');
    expect(await read([sealed(content, 0, 0), sealed(one, 1, 1)])).toEqual(Buffer.concat([content, one]));
    await expect(read([sealed(content, 0, 0), sealed(Buffer.alloc(0), 1, 1)])).rejects.toThrow();
  });

  it.each<[string, Buffer]>([
    ['nothing', Buffer.alloc(0)],
    ['text', Buffer.from('hello\n')],
    ['much of something else', Buffer.alloc(3 << 20, 'x')],
    ['a header without an end', Buffer.from(`age-encryption.org/v1\n${'-> x\n\n'.repeat(1000)}`)],
  ])('is not %s', async (_, bytes) => {
    await expect(decrypt(chunks(bytes), [key.identity])).rejects.toThrow();
  });
});
