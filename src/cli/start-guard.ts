import type { runGuard, warmUp } from './guard/main.ts';

interface Guard {
  runGuard: typeof runGuard;
  warmUp: typeof warmUp;
}

/** The guard in one file, which scripts/bundle-guard.ts makes. Its first line names its contents. */
const builtFile = `${import.meta.dirname}/guard/front.cjs`;

/**
 * Runs `safe-update guard …`. It stands in front of every command of a person or an agent, so it is started without the rest
 * of the program, and from the code that V8 made of it before. Resolves with the exit code and never rejects.
 */
export async function startGuard(argv: readonly string[]): Promise<number> {
  try {
    const built = readBuilt();
    // From the sources there is none.
    if (built === undefined) return await (await import('./guard/main.ts')).runGuard(argv);
    const code = await built.guard.runGuard(argv);
    if (argv[0] === 'check' || argv[0] === 'hook') built.keep();
    return code;
  } catch (error) {
    // Not 1, with which Node.js would end: to an agent that is a hook that failed, and no reason to stop.
    process.stderr.write(`safe-update guard: refused, as it could not be loaded: ${String(error)}\n`);
    return 2;
  }
}

function readBuilt(): { guard: Guard; keep: () => void } | undefined {
  const { existsSync, readFileSync } = process.getBuiltinModule('node:fs');
  if (!existsSync(builtFile)) return undefined;
  const { Script } = process.getBuiltinModule('node:vm');
  const source = readFileSync(builtFile, 'utf8');
  const kept = fileForCode(/^\/\/ (\w+)\n/.exec(source)?.[1]);
  // Node.js can keep what it compiled by itself, but that leaves out every function that is compiled when it is first called:
  // most of what a verdict needs. V8 refuses what another version of it made; of the source it checks no more than the length.
  const script = new Script(`(function (exports, load) {${source}\n})`, {
    filename: builtFile,
    cachedData: kept === undefined ? undefined : contentsOf(kept),
  });
  const guard = {} as Guard;
  const load = (file: string): Promise<unknown> => import(`${import.meta.dirname}/guard/${file}`);
  (script.runInThisContext() as (exports: Guard, load: (file: string) => Promise<unknown>) => void)(
    guard,
    load,
  );
  return {
    guard,
    keep: () => {
      if (kept === undefined || script.cachedDataRejected === false) return;
      try {
        guard.warmUp();
        replace(kept, script.createCachedData());
      } catch {
        // A full disk is no reason to fail, nor to refuse: it is compiled again.
      }
    },
  };
}

/**
 * Where the code made of a source with these contents is kept: in a folder of the cache that only we can write to, since what
 * is there is run. Undefined if there is none.
 */
function fileForCode(contents: string | undefined): string | undefined {
  const { XDG_CACHE_HOME, HOME } = process.env;
  const cache = XDG_CACHE_HOME || (HOME ? `${HOME}/.cache` : '');
  if (contents === undefined || !cache.startsWith('/')) return undefined;
  const { existsSync, lstatSync, mkdirSync } = process.getBuiltinModule('node:fs');
  const isOurs = (folder: string): boolean => {
    const about = lstatSync(folder);
    return about.isDirectory() && about.uid === process.geteuid?.() && (about.mode & 0o022) === 0;
  };
  try {
    // Not in the home of somebody else, which sudo may have left in the environment.
    if (!isOurs(cache)) return undefined;
    const folder = `${cache}/safe-update`;
    if (!existsSync(folder)) mkdirSync(folder, { mode: 0o700 });
    return isOurs(folder) ? `${folder}/guard-${contents}.code` : undefined;
  } catch {
    // A home that cannot be read or written is no reason to fail.
    return undefined;
  }
}

/** Undefined also of one that somebody else owns: it may have been moved here. */
function contentsOf(file: string): Buffer | undefined {
  const { fstatSync, openSync, closeSync, readFileSync, constants } = process.getBuiltinModule('node:fs');
  let open: number | undefined;
  try {
    open = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW);
    return fstatSync(open).uid === process.geteuid?.() ? readFileSync(open) : undefined;
  } catch {
    return undefined;
  } finally {
    if (open !== undefined) closeSync(open);
  }
}

/** Puts a file in the place of the ones of other versions. */
function replace(file: string, contents: Buffer): void {
  const { closeSync, fsyncSync, openSync, readdirSync, renameSync, rmSync, writeFileSync } =
    process.getBuiltinModule('node:fs');
  const folder = file.slice(0, file.lastIndexOf('/'));
  const name = file.slice(folder.length + 1);
  const written = `${file}.${process.pid}`;
  const open = openSync(written, 'wx', 0o600);
  try {
    try {
      writeFileSync(open, contents);
      fsyncSync(open);
    } finally {
      closeSync(open);
    }
    renameSync(written, file);
  } catch (error) {
    rmSync(written, { force: true });
    throw error;
  }
  for (const other of readdirSync(folder))
    if (/^guard-\w+\.code(?:\.\d+)?$/.test(other) && other !== name) rmSync(`${folder}/${other}`);
}
