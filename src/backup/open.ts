import { messageOf, SafeUpdateError } from '../model/error.ts';
import { parseListing, parseManifest, useAnother, type Listing, type Manifest } from './manifest.ts';
import { readProof, type Proof } from './proof.ts';
import type { BackupReader, Progress, Store } from './store/store.ts';

export interface OpenBackup {
  reader: BackupReader;
  manifest: Manifest;
}

/** A backup as it lies in the store: of an encrypted one, its encrypted files. */
export interface KeptBackup {
  reader: BackupReader;
  manifest: Listing;
}

/**
 * Throws SafeUpdateError `usage` if there is none of that id, `damaged` if its manifest cannot be trusted, `refused` if it
 * is encrypted and there is no key, or none that fits.
 */
export async function openBackup(store: Store, id: string): Promise<OpenBackup> {
  const reader = await store.open(id);
  return { reader, manifest: parseManifest(id, await reader.manifest()) };
}

/** As `openBackup`, without a key. */
export async function openKept(store: Store, id: string): Promise<KeptBackup> {
  const opened = await store.open(id);
  const reader = opened.encrypted ?? opened;
  return { reader, manifest: parseListing(id, await reader.manifest()) };
}

export interface ListedBackup {
  id: string;
  /** Absent: never sealed, or damaged. */
  manifest?: Listing;
  problem?: string;
  /** How its last test-restore ended; absent if there was none. */
  proof?: Proof;
}

/** Every backup of a store, oldest first; what is not whole says why. */
export async function listBackups(store: Store): Promise<ListedBackup[]> {
  const listed = await Promise.all(
    (await store.list()).map(async ({ id, sealed }): Promise<ListedBackup> => {
      if (!sealed) return { id, problem: 'incomplete: it was never sealed' };
      try {
        const { manifest, reader } = await openKept(store, id);
        const proof = await readProof(reader);
        return { id, manifest, ...(proof === undefined ? {} : { proof }) };
      } catch (error) {
        if (error instanceof SafeUpdateError) return { id, problem: error.message };
        throw error;
      }
    }),
  );
  return listed.sort(
    (a, b) => (a.manifest?.sequence ?? 0) - (b.manifest?.sequence ?? 0) || a.id.localeCompare(b.id),
  );
}

/**
 * Reads every part (or those named) again and compares size and checksum with the manifest. Throws SafeUpdateError
 * `damaged` with every part that is missing, too many, too short or changed. Of an encrypted backup that was opened with a
 * key, what is compared is what was encrypted.
 */
export async function verifyBackup(
  { reader, manifest }: KeptBackup,
  progress: Progress = () => undefined,
  only?: readonly string[],
): Promise<void> {
  const problems: string[] = [];
  const present = new Map((await reader.files()).map(({ path, bytes }) => [path, bytes]));
  const known = new Set(manifest.parts.map(({ path }) => path));
  const named =
    manifest.format === 1
      ? [
          ...manifest.volumes.flatMap(({ archive, files }) => [archive, files]),
          ...manifest.databases.flatMap(({ parts }) => parts),
          manifest.engineRecord,
        ]
      : [];
  for (const path of named) if (!known.has(path)) problems.push(`${path} has no checksum in the manifest`);
  if (only === undefined) {
    for (const path of present.keys()) if (!known.has(path)) problems.push(`${path} is not in the manifest`);
  }
  for (const part of manifest.parts) {
    if (only !== undefined && !only.includes(part.path)) continue;
    const bytes = present.get(part.path);
    if (bytes === undefined) {
      problems.push(`${part.path} is missing`);
      continue;
    }
    try {
      const found = await reader.digest(part.path, (read) => {
        progress(part.path, read);
      });
      if (found.bytes !== part.bytes)
        problems.push(`${part.path} has ${found.bytes} bytes instead of ${part.bytes}`);
      else if (found.sha256 !== part.sha256) problems.push(`${part.path} has changed: its checksum differs`);
    } catch (error) {
      problems.push(`${part.path} cannot be read: ${messageOf(error)}`);
    }
  }
  if (problems.length > 0) {
    throw new SafeUpdateError('damaged', `The backup ${reader.id} is damaged: ${problems.join('; ')}.`, {
      hint: useAnother,
    });
  }
}
