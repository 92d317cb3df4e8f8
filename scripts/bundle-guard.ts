/**
 * Puts the guard into few files of dist: it stands in front of every command, and Node.js takes longer to find and load fifty
 * small files than to judge one. What is not the guard's stays outside, and is loaded when it is asked for.
 *
 * What a verdict needs is in dist/cli/guard/front.cjs, which src/cli/start-guard.ts starts. It is not a module of ECMAScript:
 * of those Node.js cannot keep all that it compiled.
 */
import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const dist = fileURLToPath(new URL('../dist/', import.meta.url));
const folder = path.join(dist, 'cli', 'guard');
const main = path.join(folder, 'main.js');
const inside = [
  folder + path.sep,
  path.join(dist, 'guard') + path.sep,
  path.join(dist, 'cli', 'view', 'escape.js'),
];
const banner = '// With unbash, (c) Lars Kappert, ISC licence.';
const isPackage = (id: string): boolean => !id.startsWith('.') && id !== 'unbash' && !path.isAbsolute(id);

const modules = await rolldown({
  input: main,
  platform: 'node',
  // Then what several parts of it need is in this one.
  preserveEntrySignatures: 'allow-extension',
  external: (id, from) => {
    if (!id.startsWith('.')) return isPackage(id);
    const file = path.resolve(path.dirname(from ?? folder), id);
    return file.startsWith(dist) && !inside.some((place) => file.startsWith(place));
  },
});
const output = {
  dir: folder,
  format: 'esm',
  minify: true,
  entryFileNames: '[name].js',
  chunkFileNames: '[name].js',
  banner,
} as const;
const chunkOf = new Map(
  (await modules.generate(output)).output.flatMap((chunk) =>
    chunk.type === 'chunk' && chunk.facadeModuleId !== null ? [[chunk.facadeModuleId, chunk.fileName]] : [],
  ),
);

const asked = new Set<string>();
const front = await rolldown({
  input: main,
  platform: 'node',
  external: isPackage,
  plugins: [
    {
      name: 'what is loaded when it is asked for',
      resolveDynamicImport: (id, from) => {
        const chunk = chunkOf.get(path.resolve(path.dirname(from ?? main), id));
        if (chunk === undefined) throw new Error(`${id}, which the guard imports, is no chunk`);
        asked.add(chunk);
        return { id: `./${chunk}`, external: true };
      },
    },
  ],
});
const [{ code }] = (await front.generate({ format: 'cjs', minify: true, banner, codeSplitting: false }))
  .output;
// A script has no import() of its own without a warning; whoever runs it gives it one.
const loads = code.replaceAll(/\bimport\(/g, 'load(');
if (code.split(/\bimport\(/).length - 1 !== asked.size)
  throw new Error('not all that looks like import() is one');
const contents = createHash('sha256').update(loads).digest('hex').slice(0, 32);
// Made of the same files, which the other overwrites.
const written = await modules.write(output);
// A path from there leads elsewhere once files are put together.
for (const text of [code, ...written.output.map((chunk) => (chunk.type === 'chunk' ? chunk.code : ''))])
  if (text.includes('import.meta')) throw new Error('the guard asks where one of its files is');
await writeFile(path.join(folder, 'front.cjs'), `// ${contents}\n${loads}`);
await front.close();
await modules.close();
