#!/usr/bin/env node
// An older Node.js fails on the first import with a stack trace that names a dependency.
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < 22 || (major === 22 && minor < 15)) {
  process.stderr.write(`safe-update needs Node.js 22.15 or newer; this is ${process.versions.node}.\n`);
  process.exitCode = 2;
} else {
  // Should Node.js have nothing more to do before there is an answer: a refusal of the guard, else a bug. Never 0.
  process.once('beforeExit', () => {
    process.exitCode ??= process.argv[2] === 'guard' ? 2 : 1;
  });
  void run().then((code) => (process.exitCode = code));
}

// Not awaited above: what is built of this is no module of ECMAScript, see scripts/bundle.ts.
async function run(): Promise<number> {
  if (process.argv[2] === 'guard') {
    const { startGuard } = await import('./start-guard.ts');
    return await startGuard(process.argv.slice(3));
  }
  const { main } = await import('./cli/main.ts');
  return await main();
}
