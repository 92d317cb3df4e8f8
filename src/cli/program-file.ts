import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The file that Node.js runs as safe-update, wherever this one has been put together with others. */
export const programFile = fileURLToPath(new URL(`../bin${extname(import.meta.url)}`, import.meta.url));
