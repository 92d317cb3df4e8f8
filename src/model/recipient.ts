const alphabet = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l';

/**
 * Whether this is a recipient as age-keygen prints it, every letter of it: the last six are a checksum (Bech32, BIP 173).
 * What it is encrypted for by mistake could never be read again. Pure.
 */
export function isRecipient(text: string): boolean {
  const data = /^age1([qpzry9x8gf2tvdw0s3jn54khce6mua7l]{58})$/.exec(text)?.[1];
  if (data === undefined) return false;
  const prefix = [...Buffer.from('age')];
  const values = [
    ...prefix.map((code) => code >> 5),
    0,
    ...prefix.map((code) => code & 31),
    ...Array.from(data, (letter) => alphabet.indexOf(letter)),
  ];
  return checksum(values) === 1;
}

/** Whether the text has an identity in it, which nobody but its owner must see. Pure. */
export function isIdentity(text: string): boolean {
  return /AGE-SECRET-KEY-/i.test(text);
}

function checksum(values: readonly number[]): number {
  const generator = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3];
  let sum = 1;
  for (const value of values) {
    const top = sum >> 25;
    sum = ((sum & 0x1ffffff) << 5) ^ value;
    for (const [bit, term] of generator.entries()) if ((top >> bit) & 1) sum ^= term;
  }
  return sum;
}
