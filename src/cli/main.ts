/** Runs the command line of this process. Resolves with the exit code and never rejects. */
export async function main(argv: readonly string[] = process.argv.slice(2)): Promise<number> {
  // It stands in front of other commands, so it is there without the rest of the program.
  if (argv[0] === 'guard') {
    keepCompiled();
    const { runGuard } = await import('./guard/main.ts');
    return runGuard(argv.slice(1));
  }
  // The one other answer that should not wait for the rest of the program to load.
  if (argv.length === 1 && (argv[0] === '--version' || argv[0] === '-V')) {
    const { version } = await import('./version.ts');
    process.stdout.write(`${version()}\n`);
    return 0;
  }
  await keepMemorySmall();
  // Whoever reads us may go away (| head, a lost ssh session); what has begun must still be finished.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  try {
    const { runProgram } = await import('./program.ts');
    return await runProgram(argv);
  } catch (error) {
    // Machines get an outcome as their last line, also of what failed before there was a run.
    if (argv.includes('--json')) {
      const { failure } = await import('./conclude.ts');
      process.stdout.write(
        `${JSON.stringify({ at: new Date().toISOString(), type: 'outcome', outcome: failure(error, '', 0) })}\n`,
      );
    }
    const { exitCodeOf } = await import('./exit.ts');
    const { formatError } = await import('./view/outcome.ts');
    const { createStyle } = await import('./view/style.ts');
    const { wantsColour } = await import('./terminal.ts');
    const style = await createStyle(wantsColour(process.stderr));
    process.stderr.write(`${formatError(error, style, process.stderr.columns || 80)}\n`);
    return exitCodeOf(error);
  }
}

/**
 * An archive passes through in pieces whose memory is outside of the heap and is freed when the young generation is
 * collected. That grows to 16 MB of heap, which hold 65 MB and more of such pieces; kept at 1 MB it is collected before
 * there are many.
 */
async function keepMemorySmall(): Promise<void> {
  const { setFlagsFromString } = await import('node:v8');
  setFlagsFromString('--semi-space-growth-factor=1');
}

/**
 * Has Node.js keep what it compiled, and read it from there the next time: a third of what a verdict adds to its start.
 * Compiled code is run as it is found, so it is kept only where nobody else can write; else it is compiled each time.
 */
function keepCompiled(): void {
  const { XDG_CACHE_HOME, HOME } = process.env;
  const cache = XDG_CACHE_HOME || (HOME ? `${HOME}/.cache` : '');
  if (!cache.startsWith('/')) return;
  const { existsSync, lstatSync, mkdirSync } = process.getBuiltinModule('node:fs');
  const isOurs = (folder: string): boolean => {
    const about = lstatSync(folder);
    return about.isDirectory() && about.uid === process.geteuid?.() && (about.mode & 0o022) === 0;
  };
  try {
    // Not in the home of somebody else, which sudo may have left in the environment.
    if (!isOurs(cache)) return;
    const folder = `${cache}/safe-update`;
    if (!existsSync(folder)) mkdirSync(folder, { mode: 0o700 });
    if (isOurs(folder)) process.getBuiltinModule('node:module').enableCompileCache(folder);
  } catch {
    // A home that cannot be read or written is no reason to fail.
  }
}
