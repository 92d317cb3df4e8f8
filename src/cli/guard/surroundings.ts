import type { Surroundings } from '../../guard/shell.ts';
import { readRegular } from './regular.ts';

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
