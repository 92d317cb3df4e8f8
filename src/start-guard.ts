import type { Script } from 'node:vm';
import type { runGuard, warmUp } from './cli/guard/main.ts';

interface Guard {
  runGuard: typeof runGuard;
  warmUp: typeof warmUp;
}

/**
 * What scripts/bundle.ts makes of the guard: files with the extension .cjs, of which the first line names the contents,
 * and the rest is a function.
 */
const folder = `${import.meta.dirname}/cli/guard`;

/**
 * Runs `safe-update guard …`. It stands in front of every command of a person or an agent, so it is started without the rest
 * of the program, and from the code that V8 made of it before. Resolves with the exit code and never rejects.
 */
export async function startGuard(argv: readonly string[]): Promise<number> {
  try {
    // From the sources there is none.
    if (!process.getBuiltinModule('node:fs').existsSync(`${folder}/front.cjs`))
      return await (await import('./cli/guard/main.ts')).runGuard(argv);
    const built = new Built();
    const guard = built.load('front.cjs') as Guard;
    const code = await guard.runGuard(argv);
    if (argv[0] !== 'check' && argv[0] !== 'hook') return code;
    built.keep(guard.warmUp);
    // All has been said and written. To end by itself, Node.js first tidies up what it has of sockets, for some milliseconds.
    process.exit(code);
  } catch (error) {
    // Not 1, with which Node.js would end: to an agent that is a hook that failed, and no reason to stop.
    process.stderr.write(`safe-update guard: refused, as it could not be loaded: ${String(error)}\n`);
    return 2;
  }
}

/** The files that were built, and the code of those that were loaded. */
class Built {
  readonly #loaded = new Map<string, { script: Script; kept: string | undefined; exports: object }>();

  /** What a file exports. */
  load(file: string): object {
    const before = this.#loaded.get(file);
    if (before !== undefined) return before.exports;
    const { Script } = process.getBuiltinModule('node:vm');
    // All of it is ASCII.
    const source = process.getBuiltinModule('node:fs').readFileSync(`${folder}/${file}`, 'latin1');
    const kept = fileForCode(file, /^\/\/ (\w+)\n/.exec(source)?.[1]);
    // Node.js can keep what it compiled by itself, but that leaves out every function that is compiled when it is first called:
    // most of what a verdict needs. V8 refuses what another version of it made; of the source it checks no more than the length.
    const script = new Script(source, {
      filename: `${folder}/${file}`,
      cachedData: kept === undefined ? undefined : contentsOf(kept),
    });
    const exports = {};
    this.#loaded.set(file, { script, kept, exports });
    const load = (other: string): unknown =>
      other.endsWith('.cjs') ? this.load(other) : import(`${folder}/${other}`);
    const run = script.runInThisContext() as (
      exports: object,
      load: (file: string) => unknown,
      require: (builtin: string) => unknown,
    ) => void;
    run(exports, load, (builtin) => process.getBuiltinModule(builtin));
    return exports;
  }

  /** Keeps the code of what was loaded, where that is not what is kept already. */
  keep(warmUp: () => void): void {
    const made = [...this.#loaded.values()].filter(
      ({ script, kept }) => kept !== undefined && script.cachedDataRejected !== false,
    );
    if (made.length === 0) return;
    try {
      warmUp();
      for (const { script, kept } of made) if (kept !== undefined) replace(kept, script.createCachedData());
    } catch {
      // A full disk is no reason to fail, nor to refuse: it is compiled again.
    }
  }
}

/**
 * Where the code made of a file with these contents is kept: in a folder of the cache that only we can write to, since what
 * is there is run. Undefined if there is none.
 */
function fileForCode(file: string, contents: string | undefined): string | undefined {
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
    const own = `${cache}/safe-update`;
    if (!existsSync(own)) mkdirSync(own, { mode: 0o700 });
    return isOurs(own) ? `${own}/guard-${file.split('.')[0]}-${contents}.code` : undefined;
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
  const own = file.slice(0, file.lastIndexOf('/'));
  const name = file.slice(own.length + 1);
  const kind = name.slice(0, name.lastIndexOf('-'));
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
  for (const other of readdirSync(own)) {
    // Before there was more than one file, its name said only what was in it.
    const isFormer = [kind, 'guard'].some(
      (one) =>
        other.startsWith(`${one}-`) && /^[0-9a-f]{32}\.code(?:\.\d+)?$/.test(other.slice(one.length + 1)),
    );
    if (isFormer && other !== name) rmSync(`${own}/${other}`);
  }
}
