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
    read: (path) => readRegular(resolved(path, cwd)),
    real: (path) => {
      try {
        return process.getBuiltinModule('node:fs').realpathSync(resolved(path, cwd));
      } catch {
        return undefined;
      }
    },
  };
}

function resolved(path: string, cwd: string): string {
  const full = path.startsWith('~')
    ? path.replace(/^~/, process.getBuiltinModule('node:os').homedir())
    : path;
  return process.getBuiltinModule('node:path').resolve(cwd, full);
}
