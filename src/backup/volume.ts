import { PassThrough, type Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import type { Finished, Streaming } from '../docker/exec.ts';
import { listScript, lookScript, writeScript, type Helper, type VolumeSummary } from '../docker/helper.ts';
import { messageOf, SafeUpdateError } from '../model/error.ts';
import type { Codec } from './codec/codec.ts';
import { cannotEmpty, foundObstacles, readObstacles } from './obstacles.ts';

/**
 * How GNU tar is called on both ways. posix: nanoseconds and names of any length. Owners are numbers: names differ
 * between images. ACLs are in --acls, everything else a file carries in --xattrs.
 */
const fidelity = "--format=posix --numeric-owner --acls --xattrs --xattrs-include='*'";

/** Nanoseconds. The times that the kernel gives to files lag behind its clock by as much as a tick. */
const clockTick = 10_000_000;

/**
 * tar prints a line of progress each time it has passed this many of its records. They have tar's usual size: of larger
 * ones `zstd -dc … | tar t`, as a person types it, leaves the last unread, and zstd then ends with an error.
 */
const recordsPerLine = 1000;
const bytesPerRecord = 10_240;
const progress = `--checkpoint=${recordsPerLine} --checkpoint-action=echo=%u`;

/** How much the helper has sent: what arrives is compared with it. */
export interface Sent {
  bytes: number;
  sha256: string;
}

/** A volume that a store can read. */
export interface VolumeReader {
  readonly name: string;
  /**
   * The volume as a compressed tar. `onBytes` is called with the bytes read so far, before compression. `done`
   * rejects with SafeUpdateError unless tar and the codec both ended well; `exact` is false when a file changed
   * while it was read.
   */
  archive(
    codec: Codec,
    onBytes: (bytes: number) => void,
  ): { content: Readable; done: Promise<{ exact: boolean; sent: Sent }> };
  /**
   * The same, written by the helper itself over a file of this machine, which exists; undefined where the helper does
   * not see it. Resolves when the file has been flushed, with the size and checksum of what was written to it.
   */
  archiveTo(
    file: string,
    codec: Codec,
    onBytes: (bytes: number) => void,
  ): Promise<{ exact: boolean; sent: Sent }> | undefined;
  /** The list of the volume (see helper/list.py), compressed, and its summary. `exact`: nothing went away meanwhile. */
  list(codec: Codec): {
    content: Readable;
    done: Promise<{ summary: VolumeSummary; exact: boolean; sent: Sent }>;
  };
}

/** Which files of an archive are unpacked, by path from the volume's root: `data/pg`. */
export type Members =
  | /** All but what is in these folders. */ { except: readonly string[] }
  | /** Files of this folder whose names match one of these; with `mayBeAbsent` there may be none. */ {
      in: string;
      named: readonly string[];
      mayBeAbsent?: boolean;
    }
  | /** This folder and those it is in, without what is in them. */ { folder: string };

/** A volume that a store can write. */
export interface VolumeWriter {
  readonly name: string;
  /**
   * Takes everything out of the volume; the volume itself and its root folder stay. Throws SafeUpdateError `store`, before
   * anything is deleted, where something in it cannot be.
   */
  clear(): Promise<void>;
  /** Unpacks a compressed tar into the volume. `onBytes` is called with the bytes written so far. */
  extract(
    codec: Codec,
    content: Readable,
    onBytes: (bytes: number) => void,
    members?: Members,
  ): Promise<void>;
  /** The same from a file of this machine, read by the helper itself; undefined where it does not see it. */
  extractFrom(
    file: string,
    codec: Codec,
    onBytes: (bytes: number) => void,
    members?: Members,
  ): Promise<void> | undefined;
  /** Returns when the volume's file system has everything on disk. */
  flush(): Promise<void>;
  /** What is in the volume now. */
  summary(): Promise<VolumeSummary>;
}

/** Given a helper that has the volume mounted, reads it. */
export function volumeReader(helper: Helper, volume: string, signal?: AbortSignal): VolumeReader {
  const env = { FOLDER: helper.pathOf(volume) };
  const cancel = signal === undefined ? {} : { signal };
  const read = (codec: Codec, onBytes: (bytes: number) => void, file?: string): Streaming => {
    // tar notices what changes while it reads it, not what changes after it has read it, when the lister may still see it.
    const script = `since=$(($(date +%s%N) - ${clockTick}))
        tar --create ${fidelity} --pax-option=delete=atime,delete=ctime --sort=name --sparse ${progress} \\
          --directory="$FOLDER" . | ${codec.compress} | python3 -I -S -c "$WRITE" ${file === undefined ? '' : '"$FILE"'}
        status=("\${PIPESTATUS[@]}"); code=\${status[0]}
        for other in "\${status[@]:1}"; do [ "$other" = 0 ] || exit 3; done; [ "$code" -lt 2 ] || exit "$code"
        since=@\${since:0:-9}.\${since: -9}
        [ -z "$(find "$FOLDER" -xdev -newerct "$since" -print -quit)" ] || code=1
        ${sayDone}; exit "$code"`;
    return helper.shell.stream(bash(script), {
      env: { ...env, WRITE: writeScript, ...(file === undefined ? {} : { FILE: file }) },
      ...cancel,
      onLine: counting(onBytes),
    });
  };
  const ended = (finished: Finished): { exact: boolean } => {
    // 1, as GNU tar says it: some files changed, or went away. 2 is fatal.
    const well = finished.exitCode === 0 || finished.exitCode === 1;
    if (!well || !saidDone(finished)) throw failed('archive', volume, finished, signal);
    return { exact: finished.exitCode === 0 };
  };
  return {
    name: volume,
    archive(codec, onBytes) {
      const { stdout, done } = read(codec, onBytes);
      return {
        content: stdout,
        done: done.then((finished) => ({ ...ended(finished), sent: readSent(volume, finished.stderr) })),
      };
    },
    archiveTo(file, codec, onBytes) {
      const inside = helper.reach(file);
      if (inside === undefined) return undefined;
      const { stdout, done } = read(codec, onBytes, inside);
      return Promise.all([text(stdout), done.then(ended)]).then(([said, { exact }]) => ({
        exact,
        sent: readSent(volume, said),
      }));
    },
    list(codec) {
      const script = `python3 -I -S -c "$LIST" "$FOLDER" | ${codec.compress} | python3 -I -S -c "$WRITE"
        status=("\${PIPESTATUS[@]}"); [ "\${status[1]}\${status[2]}" = 00 ] || exit 3; exit "\${status[0]}"`;
      const { stdout, done } = helper.shell.stream(bash(script), {
        env: { ...env, LIST: listScript, WRITE: writeScript },
        ...cancel,
      });
      return {
        content: stdout,
        done: done.then((finished) => {
          const { summary, longest, changed } = readSummary(volume, finished, signal);
          if (longest > longestPath) throw tooLong(volume, longest);
          return { summary, exact: changed === 0, sent: readSent(volume, finished.stderr) };
        }),
      };
    },
  };
}

/** Given a helper that has the volume mounted for writing, fills it. */
export function volumeWriter(helper: Helper, volume: string): VolumeWriter {
  const env = { FOLDER: helper.pathOf(volume) };
  const unpack = (
    codec: Codec,
    onBytes: (bytes: number) => void,
    from: { stdin: Readable } | { file: string },
    members: Members | undefined,
  ): Promise<Finished> => {
    const { choice, chosen } = choose(members);
    const script = `python3 -I -S -c "$PREPARE" "$FOLDER" || exit 4
        if [ -n "$FILE" ]; then exec < "$FILE" || exit 3; fi
        ${codec.decompress} | tar --extract ${fidelity} --same-owner --same-permissions ${progress} \\
          --delay-directory-restore --warning=no-timestamp --directory="$FOLDER" ${choice}
        status=("\${PIPESTATUS[@]}"); [ "\${status[0]}" = 0 ] || exit 3; [ "\${status[1]}" = 0 ] || exit 2
        ${sayDone}`;
    return helper.shell.run(bash(script), {
      env: { ...env, PREPARE: prepareRoot, FILE: 'file' in from ? from.file : '', ...chosen },
      ...('stdin' in from ? { stdin: from.stdin } : {}),
      onLine: counting(onBytes),
    });
  };
  const requireUnpacked = (finished: Finished, members: Members | undefined): void => {
    if (finished.exitCode === 0 && saidDone(finished)) return;
    const optional = members !== undefined && 'in' in members && members.mayBeAbsent === true;
    if (!optional || !saidAbsent(finished)) throw failed('unpack into', volume, finished);
  };
  return {
    name: volume,
    async clear() {
      // -xdev: what somebody mounted inside the folder is not part of the volume.
      const script = `python3 -I -S -c "$LOOK" --strict "$FOLDER" || exit
        find "$FOLDER" -xdev -mindepth 1 -delete && ${sayDone}`;
      const finished = await helper.shell.run(script, { env: { ...env, LOOK: lookScript } });
      const [obstacles] = finished.exitCode === foundObstacles ? readObstacles(finished.stdout) : [];
      if (obstacles !== undefined) throw cannotEmpty(volume, obstacles);
      if (finished.exitCode !== 0 || !saidDone(finished)) throw failed('empty', volume, finished);
    },
    async extract(codec, content, onBytes, members) {
      // A store's stream may fail half way; execa would then never see its end.
      const stdin = new PassThrough();
      content.once('error', (error) => stdin.destroy(error));
      content.pipe(stdin);
      const finished = await unpack(codec, onBytes, { stdin }, members);
      const lost = content.errored;
      content.destroy();
      if (lost !== null) {
        throw new SafeUpdateError('store', `The archive of ${volume} cannot be read: ${messageOf(lost)}`, {
          cause: lost,
        });
      }
      requireUnpacked(finished, members);
    },
    extractFrom(file, codec, onBytes, members) {
      const inside = helper.reach(file);
      if (inside === undefined) return undefined;
      return unpack(codec, onBytes, { file: inside }, members).then((finished) => {
        requireUnpacked(finished, members);
      });
    },
    async flush() {
      const finished = await helper.shell.run(`sync --file-system "$FOLDER" && ${sayDone}`, { env });
      if (finished.exitCode !== 0 || !saidDone(finished)) throw failed('flush', volume, finished);
    },
    async summary() {
      const finished = await helper.shell.run('python3 -I -S -c "$LIST" "$FOLDER" >/dev/null', {
        env: { ...env, LIST: listScript },
      });
      return readSummary(volume, finished).summary;
    },
  };
}

/**
 * Makes one volume equal to another one, both of which the helper has, and returns what both hold then. What was in `to` is
 * gone from the first moment on. Throws SafeUpdateError `store` or `space`, also where the two are not equal afterwards.
 */
export async function copyVolume(helper: Helper, from: string, to: string): Promise<VolumeSummary> {
  const writer = volumeWriter(helper, to);
  await writer.clear();
  const script = `python3 -I -S -c "$PREPARE" "$FOLDER" && cp --archive --sparse=always "$FROM/." "$FOLDER" && ${sayDone}`;
  const env = { FOLDER: helper.pathOf(to), FROM: helper.pathOf(from), PREPARE: prepareRoot };
  const finished = await helper.shell.run(script, { env });
  if (finished.exitCode !== 0 || !saidDone(finished)) throw failed('copy into', to, finished);
  await writer.flush();
  const [copied, wanted] = await Promise.all([writer.summary(), volumeWriter(helper, from).summary()]);
  if (copied.digest === wanted.digest) return copied;
  throw new SafeUpdateError('store', `The volume ${to} is not equal to ${from} after it was copied.`);
}

/** Arguments of tar, and the values of the variables in them. */
function choose(members: Members | undefined): { choice: string; chosen: Record<string, string> } {
  if (members === undefined) return { choice: '', chosen: {} };
  const literal = (name: string): string => name.replace(/[\\*?[\]]/g, '\\$&');
  const naming = (options: string, option: string, values: readonly string[]) => ({
    choice: [options, ...values.map((_, index) => `${option}"$CHOSEN_${index}"`)].join(' '),
    chosen: Object.fromEntries(values.map((value, index) => [`CHOSEN_${index}`, value])),
  });
  if ('except' in members) {
    const within = members.except.map((folder) => `./${literal(folder)}/?*`);
    return naming('--anchored --wildcards --wildcards-match-slash', '--exclude=', within);
  }
  if ('folder' in members) {
    const parts = members.folder.split('/');
    const folders = parts.map((_, index) => `./${parts.slice(0, index + 1).join('/')}`);
    return naming('--no-recursion --no-wildcards', '', folders);
  }
  const folder = members.in === '' ? '' : `${literal(members.in)}/`;
  const within = members.named.map((name) => `./${folder}${name}`);
  return naming('--wildcards --no-wildcards-match-slash', '', within);
}

/**
 * tar gives the root folder what it had and takes nothing from it that it has got since; and what is made inside a
 * folder with setgid has setgid too, which tar does not always take off.
 */
const prepareRoot = `
import os, stat, sys
root = sys.argv[1]
for name in os.listxattr(root):
    try:
        os.removexattr(root, name)
    except PermissionError:
        if not name.startswith("security."):
            raise
os.chmod(root, stat.S_IMODE(os.stat(root).st_mode) & 0o1777)
`;

/**
 * What a script writes last, to its standard error. The exit code alone does not tell that a script came to its end:
 * `docker exec` that is sent SIGTERM, as everything is when the machine shuts down, ends early with 0.
 */
const doneMark = 'safe-update: done';
const sayDone = `echo "${doneMark}" >&2`;

function saidDone({ stderr }: Finished): boolean {
  return stderr.trimEnd().endsWith(doneMark);
}

/** tar has read the whole archive, and what was asked for was not in it; nothing else was wrong. Pure. */
function saidAbsent({ exitCode, stderr }: Finished): boolean {
  const lines = stderr.split('\n').filter((line) => line.trim() !== '' && !/^tar: \d+$/.test(line));
  return (
    exitCode === 2 &&
    lines.at(-1) === 'tar: Exiting with failure status due to previous errors' &&
    lines.slice(0, -1).every((line) => line.endsWith(': Not found in archive'))
  );
}

/**
 * Bytes of a path inside a volume, `./` included. GNU tar unpacks by whole paths, and the kernel takes 4,095 bytes at
 * once; what tar puts before a path to set its attributes must fit in too, or they would be lost without an error.
 */
const longestPath = 4000;

function tooLong(volume: string, longest: number): SafeUpdateError {
  return new SafeUpdateError(
    'store',
    `The volume ${volume} holds a path of ${longest} bytes. No more than ${longestPath} can be put back.`,
    { hint: 'Find it (find . -regextype posix-extended -regex ".{4001,}") and make it shorter.' },
  );
}

/** Calls `onBytes` with what tar's lines of progress say. */
function counting(onBytes: (bytes: number) => void): (line: string) => void {
  return (line) => {
    const records = /^tar: (\d+)$/.exec(line)?.[1];
    if (records !== undefined) onBytes(Number(records) * bytesPerRecord);
  };
}

/** The helper's `sh` knows no PIPESTATUS. */
function bash(script: string): string {
  return `exec bash -c '${script.replaceAll("'", `'\\''`)}'`;
}

/** The line that helper/write.py ends with. */
function readSent(volume: string, said: string): Sent {
  const line = said.split('\n').findLast((one) => one.startsWith('{"bytes":'));
  if (line !== undefined) return JSON.parse(line) as Sent;
  throw new SafeUpdateError('store', `The helper did not say how much it has read of the volume ${volume}.`);
}

function readSummary(
  volume: string,
  finished: Finished,
  signal?: AbortSignal,
): { summary: VolumeSummary; longest: number; changed: number } {
  const line = finished.stderr.split('\n').findLast((one) => one.startsWith('{"entries":'));
  if (finished.exitCode !== 0 || line === undefined) throw failed('list', volume, finished, signal);
  const { longest, changed, ...summary } = JSON.parse(line) as VolumeSummary & {
    longest: number;
    changed: number;
  };
  return { summary, longest, changed };
}

function failed(verb: string, volume: string, finished: Finished, signal?: AbortSignal): SafeUpdateError {
  if (signal?.aborted === true)
    return new SafeUpdateError('interrupted', `Reading ${volume} was interrupted.`);
  const lines = finished.stderr.split('\n').filter((line) => line.trim() !== '' && !/^tar: \d+$/.test(line));
  const said = lines.slice(-3).join(' · ');
  const reason = said === '' && finished.exitCode === 0 ? 'it ended early' : said;
  const code = /No space left|Disk quota|Wrote only \d+ of/i.test(reason) ? 'space' : 'store';
  return new SafeUpdateError(
    code,
    `Could not ${verb} the volume ${volume}: ${reason === '' ? `exit code ${finished.exitCode}` : reason}`,
  );
}
