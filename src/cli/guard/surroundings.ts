import { longestText, type Surroundings } from '../../guard/shell.ts';

/*
 * Importing node:fs, node:os and node:path takes longer than a verdict, and most verdicts need none of them: they are
 * fetched when a file is read.
 */

/** What the guard may know of the place where a command would run: the folder, and the scripts that are run there. */
export function readSurroundings(given: string = process.cwd()): Surroundings {
  // A hook may be told a relative one.
  const cwd = given.startsWith('/') ? given : process.getBuiltinModule('node:path').resolve(given);
  return {
    cwd,
    read: (path) => {
      const paths = process.getBuiltinModule('node:path');
      const { homedir } = process.getBuiltinModule('node:os');
      const full = path.startsWith('~') ? path.replace(/^~/, homedir()) : path;
      return readRegular(paths.resolve(cwd, full));
    },
  };
}

/** The text of a regular file; undefined if it is none. A pipe is not waited for. Of one that is too long to judge only the beginning is read. */
export function readRegular(path: string): string | undefined {
  const { closeSync, constants, fstatSync, openSync, readSync } = process.getBuiltinModule('node:fs');
  let file: number | undefined;
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const about = fstatSync(file);
    if (!about.isFile()) return undefined;
    const bytes = Buffer.alloc(Math.min(about.size, 4 * longestText));
    const text = bytes.toString('utf8', 0, readSync(file, bytes));
    // A program, not a text.
    return text.includes('\0') ? undefined : text;
  } catch {
    return undefined;
  } finally {
    if (file !== undefined) closeSync(file);
  }
}
