import { kindOf } from '../../guard/scan/sources.ts';
import { createExec } from '../../docker/exec.ts';
import { SafeUpdateError } from '../../model/error.ts';

/** A file as it is staged. */
export interface StagedFile {
  /** In the repository, with `/`. */
  path: string;
  text: string;
}

/**
 * What a commit would put into the repository, as far as it may hold commands: the files that are new or changed in the index,
 * read from git's own store, whatever the work tree looks like. Throws SafeUpdateError `refused` where git cannot tell.
 */
export async function stagedFiles(
  environment: Readonly<Record<string, string | undefined>>,
): Promise<StagedFile[]> {
  const exec = createExec(environment);
  const { exitCode, stdout, stderr } = await exec.run({
    argv: ['git', 'diff', '--cached', '--raw', '-z', '--no-renames', '--no-abbrev', '--diff-filter=ACMT'],
  });
  if (exitCode !== 0) throw new SafeUpdateError('refused', `git cannot say what is staged: ${stderr.trim()}`);
  const wanted = parseRaw(stdout).filter(({ path, mode }) => isWorthReading(path, mode));
  if (wanted.length === 0) return [];

  // By their ids: names may hold anything, and no filter has a say.
  const { Readable } = await import('node:stream');
  const git = exec.stream({
    argv: ['git', 'cat-file', '--batch'],
    stdin: Readable.from([wanted.map(({ id }) => `${id}\n`).join('')]),
  });
  const pieces: Buffer[] = [];
  for await (const piece of git.stdout) pieces.push(piece as Buffer);
  const ended = await git.done;
  if (ended.exitCode !== 0)
    throw new SafeUpdateError('refused', `git cannot read what is staged: ${ended.stderr.trim()}`);
  const contents = parseBatch(Buffer.concat(pieces));
  return wanted.flatMap(({ path }, index) => {
    const text = contents[index]?.toString('utf8');
    if (text === undefined) throw new SafeUpdateError('refused', `git cannot read ${path} as it is staged.`);
    return text.includes('\0') ? [] : [{ path, text }];
  });
}

interface RawEntry {
  mode: string;
  id: string;
  path: string;
}

/** `git diff --raw -z`: `:OLDMODE NEWMODE OLDID NEWID STATUS`, NUL, the path, NUL. Pure. */
export function parseRaw(text: string): RawEntry[] {
  const fields = text.split('\0');
  const found: RawEntry[] = [];
  for (let index = 0; index + 1 < fields.length; index += 2) {
    const [, mode = '', , id = ''] = (fields[index] ?? '').split(' ');
    found.push({ mode, id, path: fields[index + 1] ?? '' });
  }
  return found;
}

/** `git cat-file --batch`: `ID TYPE SIZE`, LF, the bytes, LF. What is missing is undefined. Pure. */
export function parseBatch(bytes: Buffer): (Buffer | undefined)[] {
  const found: (Buffer | undefined)[] = [];
  let at = 0;
  while (at < bytes.length) {
    const end = bytes.indexOf('\n', at);
    if (end === -1) break;
    const size = / blob (\d+)$/.exec(bytes.toString('utf8', at, end))?.[1];
    at = end + 1;
    if (size === undefined) {
      found.push(undefined);
      continue;
    }
    found.push(bytes.subarray(at, at + Number(size)));
    at += Number(size) + 1;
  }
  return found;
}

/** Regular files that scan reads by their names, and those that may be scripts: without an ending, or executable. */
function isWorthReading(path: string, mode: string): boolean {
  if (!mode.startsWith('100')) return false;
  return kindOf(path, '') !== undefined || mode === '100755' || !/[^/]\.[^/]*$/.test(path);
}
