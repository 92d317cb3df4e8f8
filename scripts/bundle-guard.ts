/**
 * Puts the guard into one file of dist: it stands in front of every command, and Node.js takes longer to find and load fifty
 * small files than to judge one. What is not the guard's stays outside, and is loaded when it is asked for.
 */
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const dist = fileURLToPath(new URL('../dist/', import.meta.url));
const folder = path.join(dist, 'cli', 'guard');
const inside = [
  folder + path.sep,
  path.join(dist, 'guard') + path.sep,
  path.join(dist, 'cli', 'view', 'escape.js'),
];

const bundle = await rolldown({
  input: path.join(folder, 'main.js'),
  platform: 'node',
  // Then what several parts of it need is in this one.
  preserveEntrySignatures: 'allow-extension',
  external: (id, from) => {
    if (!id.startsWith('.')) return id !== 'unbash' && !path.isAbsolute(id);
    const file = path.resolve(path.dirname(from ?? folder), id);
    return file.startsWith(dist) && !inside.some((place) => file.startsWith(place));
  },
});
await bundle.write({
  dir: folder,
  format: 'esm',
  minify: true,
  entryFileNames: '[name].js',
  chunkFileNames: '[name].js',
  banner: '// With unbash, (c) Lars Kappert, ISC licence.',
});
await bundle.close();
