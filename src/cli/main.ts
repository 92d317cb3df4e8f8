/** Runs the command line of this process. Resolves with the exit code and never rejects. */
export async function main(argv: readonly string[] = process.argv.slice(2)): Promise<number> {
  // An answer that should not wait for the rest of the program to load.
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
