import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { messageOf, SafeUpdateError } from '../../model/error.ts';
import { decrypt, encrypt } from '../age.ts';
import { zstd } from '../codec/zstd.ts';
import { parseListing, parseManifest, saysEncrypted, useAnother, type Outline } from '../manifest.ts';
import {
  checksums,
  hashing,
  inside,
  manifestName,
  requireAll,
  requireSum,
  settled,
  sumsName,
} from './folder.ts';
import type { BackupReader, BackupWriter, Part, Store } from './store.ts';

/** Who can read a backup, and what backups are read with. */
export interface Keys {
  /** Whom new backups are encrypted for. None: they are not encrypted. */
  recipients: readonly string[];
  /** One more for a backup that is about to be written, where its run has to read it without anybody's help. */
  ownRecipient?: () => Promise<string>;
  /**
   * Where identities come from, tried in this order. Each is asked when the ones before it have none that fits: a file that
   * cannot be used is no obstacle where it is not needed.
   */
  identities: readonly (() => Promise<readonly string[]>)[];
}

/** Which encrypted file is what: a line each, the file and its name. */
const namesFile = 'names.age';

/**
 * Backups of another store, encrypted: each of its files on its own, under a number, the manifest and the checksums too.
 * `names.age` says which is which. What is left to read without a key is an outline. Backups that are not encrypted are
 * read as they are; so is everything written as long as there are no recipients.
 */
export function encryptedStore(inner: Store, keys: Keys): Store {
  const encrypts = keys.recipients.length > 0;
  return {
    location: inner.location,
    below: inner.below ?? inner,
    // The helper is not to write anything there that is not encrypted, not even for a moment.
    folder: () => (encrypts ? Promise.resolve(undefined) : inner.folder()),
    list: () => inner.list(),
    remove: (id) => inner.remove(id),
    space: () => inner.space(),
    async begin(id) {
      if (!encrypts) return inner.begin(id);
      const own = keys.ownRecipient === undefined ? [] : [await keys.ownRecipient()];
      return encryptingWriter(await inner.begin(id), [...keys.recipients, ...own], keys);
    },
    async open(id) {
      const reader = await inner.open(id);
      // One without a manifest says so itself when it is read.
      const said = await reader.manifest().catch(() => '');
      return saysEncrypted(said) ? decryptingReader(reader, keys) : reader;
    },
  };
}

function encryptingWriter(inner: BackupWriter, recipients: readonly string[], keys: Keys): BackupWriter {
  const { id, location } = inner;
  const files = new Map<string, string>();
  const parts: Part[] = [];
  const decrypting = decryptingWith(id, keys);

  async function put(name: string, content: Readable): Promise<Part> {
    const file = `parts/${String(files.size + 1).padStart(4, '0')}.age`;
    try {
      inside(location, name);
      if (files.has(name)) throw new SafeUpdateError('store', `${name} is in the backup ${id} already.`);
      files.set(name, file);
      const meter = hashing();
      await inner.putFile(file, encrypt(meter.pass(content), recipients));
      return { path: name, bytes: meter.bytes(), sha256: meter.digest() };
    } catch (error) {
      // Whoever fills it would otherwise wait for ever for somebody to read on.
      content.destroy();
      throw named(error, files);
    }
  }

  async function putFile(name: string, content: Readable): Promise<Part> {
    const part = await put(name, content);
    parts.push(part);
    return part;
  }

  return {
    id,
    location,
    putFile,
    open: (name) => decrypting(name, () => inner.open(fileOf(files, id, name))),
    parts: () => parts,

    async putVolume(name, volume, progress) {
      const archive = `volumes/${name}.tar${zstd.suffix}`;
      const list = `volumes/${name}.files${zstd.suffix}`;
      const reading = volume.archive(zstd, (bytes) => {
        progress(volume.name, bytes);
      });
      const listing = volume.list(zstd);
      const [archived, filed, { exact, sent }, listed] = await settled([
        putFile(archive, reading.content),
        putFile(list, listing.content),
        reading.done,
        listing.done,
      ]);
      requireAll(archived, sent);
      requireAll(filed, listed.sent);
      return { archive, files: list, summary: listed.summary, exact: exact && listed.exact };
    },

    async seal(manifest, progress) {
      const { tool, kind, sequence, createdAt, run, volumes, parts: listed } = parseManifest(id, manifest);
      const write = (name: string, content: string): Promise<Part> =>
        put(name, Readable.from([Buffer.from(content)]));
      await write(manifestName, manifest);
      await write(sumsName, checksums(listed, manifest));
      const names = [...files].map(([name, file]) => `${file} ${escaped(name)}\n`).join('');
      await inner.putFile(namesFile, encrypt(Readable.from([Buffer.from(names)]), recipients));
      const outline: Outline = {
        format: 2,
        encrypted: 'age',
        ...{ tool, id, kind, sequence, createdAt, run },
        content: volumes.reduce((sum, { bytes }) => sum + bytes, 0),
        parts: [...inner.parts()],
      };
      const nameOf = new Map([...files].map(([name, file]) => [file, name]));
      try {
        await inner.seal(`${JSON.stringify(outline, null, 2)}\n`, (file, bytes) => {
          progress(nameOf.get(file) ?? file, bytes);
        });
      } catch (error) {
        throw named(error, files);
      }
    },

    abandon: () => inner.abandon(),
  };
}

function decryptingReader(raw: BackupReader, keys: Keys): BackupReader {
  const { id, location } = raw;
  const decrypting = decryptingWith(id, keys);
  let known: Promise<ReadonlyMap<string, string>> | undefined;
  const files = (): Promise<ReadonlyMap<string, string>> => (known ??= readFiles());

  async function readFiles(): Promise<ReadonlyMap<string, string>> {
    // First, because a damaged one may look as if it were for somebody else.
    await requireUnchanged(raw, namesFile);
    return readNames(id, await text(decrypting(namesFile, () => raw.open(namesFile))));
  }

  const open = (name: string): Readable => {
    inside(location, name);
    return decrypting(name, async () => raw.open(fileOf(await files(), id, name)));
  };
  return {
    id,
    location,
    encrypted: raw,
    proof: () => raw.proof(),
    keepProof: (proof) => raw.keepProof(proof),
    open,
    async manifest() {
      const [manifest, sums] = [await text(open(manifestName)), await text(open(sumsName))];
      requireSum(id, manifest, sums);
      return manifest;
    },
    async digest(name, onBytes) {
      const hash = createHash('sha256');
      let bytes = 0;
      for await (const piece of open(name) as AsyncIterable<Buffer>) {
        hash.update(piece);
        onBytes((bytes += piece.length));
      }
      return { bytes, sha256: hash.digest('hex') };
    },
    async files() {
      const nameOf = new Map([...(await files())].map(([name, file]) => [file, name]));
      const own = [manifestName, sumsName];
      return (await raw.files())
        .filter(({ path }) => path !== namesFile)
        .map(({ path, bytes }) => ({ path: nameOf.get(path) ?? path, bytes }))
        .filter(({ path }) => !own.includes(path));
    },
    async restoreVolume({ archive }, volume, progress, members) {
      const onBytes = (bytes: number): void => {
        progress(volume.name, bytes);
      };
      await volume.extract(zstd, open(archive), onBytes, members);
    },
  };
}

/** Throws SafeUpdateError `damaged` if an encrypted file is not what the outline says. */
async function requireUnchanged(raw: BackupReader, file: string): Promise<void> {
  const { parts } = parseListing(raw.id, await raw.manifest());
  const part = parts.find(({ path }) => path === file);
  const found = await raw.digest(file, () => undefined).catch((error: unknown) => messageOf(error));
  if (part !== undefined && typeof found !== 'string' && found.sha256 === part.sha256) return;
  const why = typeof found === 'string' ? `cannot be read: ${found}` : 'has changed: its checksum differs';
  throw new SafeUpdateError('damaged', `The backup ${raw.id} is damaged: ${file} ${why}.`, {
    hint: useAnother,
  });
}

/** Given a name for people and a file, what was encrypted into it. The file is opened again for each source of identities. */
type Decrypting = (name: string, encrypted: () => Readable | Promise<Readable>) => Readable;

/**
 * Opens encrypted files of one backup. The first that is opened says which identities fit: they do for all of them. The
 * stream fails with SafeUpdateError `refused` where none fits, and `damaged` where a file is not what was encrypted.
 */
function decryptingWith(id: string, keys: Keys): Decrypting {
  let fitting: readonly string[] | undefined;

  async function* pieces(...[name, encrypted]: Parameters<Decrypting>): AsyncGenerator<Buffer> {
    let some = false;
    for (const identitiesOf of fitting === undefined
      ? keys.identities
      : [() => Promise.resolve(fitting ?? [])]) {
      const identities = await identitiesOf();
      if (identities.length === 0) continue;
      some = true;
      const content = await encrypted();
      try {
        const plain = await decrypt(content as AsyncIterable<Buffer>, identities);
        if (plain === undefined) continue;
        fitting = identities;
        yield* plain;
        return;
      } catch (error) {
        if (content.errored !== null) throw content.errored;
        if (error instanceof SafeUpdateError) throw error;
        throw new SafeUpdateError(
          'damaged',
          `The backup ${id} is damaged: ${name} cannot be decrypted, because it has changed or is cut off (${messageOf(error)}).`,
          { hint: useAnother, cause: error },
        );
      } finally {
        content.destroy();
      }
    }
    throw some ? noneFits(id) : noKey(id);
  }

  return (name, encrypted) => Readable.from(pieces(name, encrypted), { objectMode: false });
}

function noKey(id: string): SafeUpdateError {
  return new SafeUpdateError(
    'refused',
    `The backup ${id} is encrypted, and there is no key to read it with.`,
    {
      state: 'Nothing was touched.',
      hint: 'Name the file that holds its identity: --identity FILE, the variable SAFE_UPDATE_IDENTITY_FILE, or backups.encryption.identityFile in safe-update.yml.',
    },
  );
}

function noneFits(id: string): SafeUpdateError {
  return new SafeUpdateError(
    'refused',
    `The backup ${id} was not encrypted for any of the identities given.`,
    {
      state: 'Nothing was touched.',
      hint: 'Name the file with the identity of one of the recipients it was made for: --identity FILE',
    },
  );
}

/** The file that a name stands for. Throws SafeUpdateError `damaged` if there is none. */
function fileOf(files: ReadonlyMap<string, string>, id: string, name: string): string {
  const file = files.get(name);
  if (file !== undefined) return file;
  throw new SafeUpdateError('damaged', `The backup ${id} has no part ${name}.`, { hint: useAnother });
}

function readNames(id: string, names: string): Map<string, string> {
  const lines = names.split('\n').filter((line) => line !== '');
  return new Map(
    lines.map((line) => {
      const [, file, name] = /^(parts\/\d+\.age) (.+)$/.exec(line) ?? [];
      if (file === undefined || name === undefined) {
        throw new SafeUpdateError(
          'damaged',
          `The backup ${id} is damaged: its list of names cannot be read.`,
          {
            hint: useAnother,
          },
        );
      }
      return [unescaped(name), file];
    }),
  );
}

/** A name in one line. Pure. */
function escaped(name: string): string {
  return name.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('\r', '\\r');
}

function unescaped(name: string): string {
  return name.replace(/\\(.)/g, (_, letter: string) => ({ n: '\n', r: '\r' })[letter] ?? letter);
}

/** An error of the store below, with the names that people know beside those of the files. */
function named(error: unknown, files: ReadonlyMap<string, string>): unknown {
  if (!(error instanceof SafeUpdateError)) return error;
  const [name, file = ''] = [...files].find(([, candidate]) => error.message.includes(candidate)) ?? [];
  if (name === undefined) return error;
  return new SafeUpdateError(error.code, error.message.replaceAll(file, `${name} (${file})`), {
    ...(error.state === undefined ? {} : { state: error.state }),
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    cause: error,
  });
}
