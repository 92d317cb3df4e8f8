import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { generateKey } from '../../../src/backup/age.ts';
import { isRecipient } from '../../../src/model/recipient.ts';

// The first of the examples in age's own documentation.
const known = 'age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p';

describe('isRecipient', () => {
  it('takes what age makes', async () => {
    expect(isRecipient(known)).toBe(true);
    for (let made = 0; made < 20; made += 1) expect(isRecipient((await generateKey()).recipient)).toBe(true);
  });

  it('notices any one letter that is another', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 4, max: known.length - 1 }),
        fc.constantFrom(...Array.from('qpzry9x8gf2tvdw0s3jn54khce6mua7l')),
        (at, letter) => {
          fc.pre(known[at] !== letter);
          return !isRecipient(known.slice(0, at) + letter + known.slice(at + 1));
        },
      ),
    );
  });

  it('notices two letters that have changed places', () => {
    for (let at = 4; at + 1 < known.length; at += 1) {
      const [a = '', b = ''] = [known[at], known[at + 1]];
      if (a !== b) expect(isRecipient(known.slice(0, at) + b + a + known.slice(at + 2))).toBe(false);
    }
  });

  it.each([
    '',
    'age1',
    known.slice(0, -1),
    `${known}q`,
    known.toUpperCase(),
    ` ${known}`,
    `ssh-ed25519 AAAA`,
  ])('takes nothing else: %j', (text) => {
    expect(isRecipient(text)).toBe(false);
  });
});
