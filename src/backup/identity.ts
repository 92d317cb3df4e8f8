import { open } from 'node:fs/promises';
import { messageOf, SafeUpdateError } from '../model/error.ts';
import { recipientOf } from './age.ts';

/**
 * The identities in a file as age-keygen writes it: one a line, and comments. Throws SafeUpdateError `config` when it cannot
 * be read, others may read it too, or it holds something else. No message says what is in a line.
 */
export async function readIdentities(file: string): Promise<string[]> {
  const text = await readPrivate(file);
  if (/^(?:age-encryption\.org\/|-----BEGIN AGE ENCRYPTED FILE-----)/.test(text)) {
    throw unusable(file, 'is encrypted itself, with a passphrase', 'Decrypt it first: age --decrypt');
  }
  const identities: string[] = [];
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const valid = await recipientOf(line.trim()).then(
      () => line.trim().startsWith('AGE-SECRET-KEY-1'),
      () => false,
    );
    if (!valid) {
      throw unusable(
        file,
        `holds something in line ${index + 1} that is no identity of age`,
        'It holds lines that begin with AGE-SECRET-KEY-1, as age-keygen writes them, and comments; no ssh keys, no plugins.',
      );
    }
    identities.push(line.trim());
  }
  if (identities.length > 0) return identities;
  throw unusable(file, 'holds no identity', 'Make one on a machine of yours: age-keygen --output key.txt');
}

/** A file that its owner alone may read, or a pipe. */
async function readPrivate(file: string): Promise<string> {
  const handle = await open(file, 'r').catch((error: unknown) => {
    throw unusable(file, `cannot be read: ${messageOf(error)}`, 'Name it with: --identity FILE', error);
  });
  try {
    const found = await handle.stat();
    if (found.isFile() && (found.mode & 0o077) !== 0) {
      const mode = (found.mode & 0o7777).toString(8).padStart(4, '0');
      throw unusable(file, `may be used by others (mode ${mode})`, `Run: chmod 600 ${file}`);
    }
    return await handle.readFile('utf8').catch((error: unknown) => {
      throw unusable(file, `cannot be read: ${messageOf(error)}`, 'Name a file: --identity FILE', error);
    });
  } finally {
    await handle.close();
  }
}

function unusable(file: string, why: string, hint: string, cause?: unknown): SafeUpdateError {
  return new SafeUpdateError('config', `The identity file ${file} ${why}.`, {
    state: 'Nothing was touched.',
    hint,
    ...(cause === undefined ? {} : { cause }),
  });
}
