#!/usr/bin/env node
// An older Node.js fails on the first import with a stack trace that names a dependency.
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < 22 || (major === 22 && minor < 15)) {
  process.stderr.write(`safe-update needs Node.js 22.15 or newer; this is ${process.versions.node}.\n`);
  process.exitCode = 2;
} else if (process.argv[2] === 'guard') {
  const { startGuard } = await import('./cli/start-guard.ts');
  process.exitCode = await startGuard(process.argv.slice(3));
} else {
  const { main } = await import('./cli/main.ts');
  process.exitCode = await main();
}
