/** Writes schema/safe-update.schema.json. Run with node after changing src/config/schema.ts. */
import { mkdir, writeFile } from 'node:fs/promises';
import { jsonSchema } from '../src/config/schema.ts';

const folder = new URL('../schema/', import.meta.url);
await mkdir(folder, { recursive: true });
await writeFile(new URL('safe-update.schema.json', folder), `${JSON.stringify(jsonSchema(), null, 2)}\n`);
