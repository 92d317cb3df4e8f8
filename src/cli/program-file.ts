import { fileURLToPath } from 'node:url';

/** The file that Node.js runs as safe-update, wherever this one has been put together with others. */
export const programFile = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? '../bin.ts' : '../bin.cjs', import.meta.url),
);
