import type { Readable } from 'node:stream';
import type { Members, VolumeReader, VolumeWriter } from '../volume.ts';
import type { VolumeSummary } from '../../docker/helper.ts';

/** A file of a backup, as the manifest names it. */
export interface Part {
  /** Relative to the backup, with forward slashes: volumes/shop_db.tar.zst */
  path: string;
  bytes: number;
  sha256: string;
}

/** How a store kept one volume. */
export interface StoredVolume {
  /** The parts that hold the volume's content; what they are is the store's business. */
  archive: string;
  files: string;
  summary: VolumeSummary;
  /** False: something was written to the volume while it was read. */
  exact: boolean;
}

export type Progress = (item: string, bytes: number) => void;

/** A backup being written. Nothing of it is offered as a backup before `seal`. */
export interface BackupWriter {
  readonly id: string;
  /** Where a person finds it: a path or an address. */
  readonly location: string;
  /**
   * Keeps one volume. It is the store that decides how: the folder store takes one archive; a deduplicating one can
   * read the volume itself through `volume.shell` and take only what differs. `name` is unique within the backup.
   */
  putVolume(name: string, volume: VolumeReader, progress: Progress): Promise<StoredVolume>;
  putFile(path: string, content: Readable): Promise<Part>;
  /** Reads back a part that was put. */
  open(path: string): Readable;
  /** Every part that was put so far. */
  parts(): readonly Part[];
  /**
   * Makes it a backup: flushes everything, reads every part back and compares checksums, puts the manifest in place
   * last. After it resolves, a power failure cannot take the backup away.
   */
  seal(manifest: string, progress: Progress): Promise<void>;
  /** Removes what was written. For a backup that will not be sealed. */
  abandon(): Promise<void>;
}

/** A sealed backup. */
export interface BackupReader {
  readonly id: string;
  readonly location: string;
  /** The same backup as it lies there, of one that is encrypted: what can be done without a key. Absent: it is not. */
  readonly encrypted?: BackupReader;
  /** The manifest as it was sealed. Throws SafeUpdateError `damaged` if it is not there or has changed. */
  manifest(): Promise<string>;
  open(path: string): Readable;
  /** Size and checksum of a part as it is now. */
  digest(path: string, onBytes: (bytes: number) => void): Promise<{ bytes: number; sha256: string }>;
  /** Every file that is there, for comparison with the manifest. */
  files(): Promise<{ path: string; bytes: number }[]>;
  /** What `keepProof` kept last; undefined if nothing. */
  proof(): Promise<string | undefined>;
  /**
   * Keeps the result of a test-restore beside the backup, in place of the one before. It is no part of the backup: not in
   * `files`, and neither the manifest nor a checksum knows it. Whole or not at all, also after a power failure.
   */
  keepProof(text: string): Promise<void>;
  /** Puts a volume's content back, or some of it. `progress` counts what is read, before compression. */
  restoreVolume(
    stored: Pick<StoredVolume, 'archive'>,
    volume: VolumeWriter,
    progress: Progress,
    members?: Members,
  ): Promise<void>;
}

export interface Listed {
  id: string;
  /** False: it was never sealed, or its removal was interrupted. */
  sealed: boolean;
}

/**
 * Where backups are kept. To add one, write a file beside folder.ts and run it through
 * test/conformance/store.test.ts. All methods throw SafeUpdateError `store`, or `space` when there is no room.
 */
export interface Store {
  /** Where a person finds the backups. */
  readonly location: string;
  /** The same place without encryption on the way: backups as they lie there. Absent: this is it. */
  readonly below?: Store;
  /**
   * The folder of this machine that holds the backups, made if it is not there, which a helper can then share; undefined
   * for a store that has none.
   */
  folder(): Promise<string | undefined>;
  /** Newest last, by name. */
  list(): Promise<Listed[]>;
  /** Throws if a backup with this id exists. */
  begin(id: string): Promise<BackupWriter>;
  /** Throws SafeUpdateError `usage` if there is no sealed backup with this id. A damaged one is opened. */
  open(id: string): Promise<BackupReader>;
  /** Removes a backup, or the remains of one that was never sealed. Interrupted, it leaves nothing that looks whole. */
  remove(id: string): Promise<void>;
  /** Bytes free for new backups, and of the whole disk; undefined where the store cannot tell. */
  space(): Promise<{ free: number; total: number } | undefined>;
}
