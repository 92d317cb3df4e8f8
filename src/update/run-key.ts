import { open, readFile } from 'node:fs/promises';
import { generateKey, recipientOf } from '../backup/age.ts';
import { syncFolder } from '../backup/store/folder.ts';
import type { Keys } from '../backup/store/encrypted.ts';
import { messageOf, SafeUpdateError } from '../model/error.ts';
import { keyFile } from './journal.ts';

/**
 * The keys of a run: those of the settings, and one of its own, which it can read its backups with, also after it was killed,
 * on a server that has nobody's identity. It is made when the first backup is begun, lies beside the journal, and goes when
 * the run has ended: `dropStack`.
 */
export function keysOfRun(keys: Keys, folder: string, run: string): Keys {
  const file = keyFile(folder, run);
  return {
    recipients: keys.recipients,
    ownRecipient: async () => {
      const present = await readKey(file);
      return present === undefined ? writeKey(file, folder) : recipientOf(present);
    },
    // Its own first: an identity file that cannot be used does not stop a rollback.
    identities: [
      async () => {
        const present = await readKey(file);
        return present === undefined ? [] : [present];
      },
      ...keys.identities,
    ],
  };
}

async function readKey(file: string): Promise<string | undefined> {
  try {
    const text = await readFile(file, 'utf8');
    // A crash may have torn it: nothing was encrypted for it then.
    return text.endsWith('\n') ? text.trimEnd() : undefined;
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOENT') return undefined;
    throw keyError(file, error);
  }
}

/** On disk before anything is encrypted for it. */
async function writeKey(file: string, folder: string): Promise<string> {
  const { identity, recipient } = await generateKey();
  try {
    const handle = await open(file, 'w', 0o600);
    try {
      await handle.writeFile(`${identity}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await syncFolder(folder);
  } catch (error) {
    throw keyError(file, error);
  }
  return recipient;
}

function keyError(file: string, error: unknown): SafeUpdateError {
  const { code } = error as { code?: string };
  const full = code === 'ENOSPC' || code === 'EDQUOT';
  return new SafeUpdateError(
    full ? 'space' : 'store',
    `The run's key ${file} cannot be used: ${messageOf(error)}`,
    {
      hint: full
        ? 'Free some space: safe-update prune removes old backups.'
        : 'Give yourself write access to the folder.',
      cause: error,
    },
  );
}
