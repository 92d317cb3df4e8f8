/**
 * Puts the program and what it is made with into few files of dist, and the guard into others. To find and load five hundred small
 * files takes Node.js 0.2 s, half of what a start takes.
 *
 * The guard is apart because it stands in front of every command, and Node.js takes longer to find and load fifty
 * small files than to judge one. What is not the guard's stays outside, and is loaded when it is asked for.
 *
 * What a verdict needs is in dist/cli/guard/front.cjs, which src/start-guard.ts starts, and what is asked where something
 * stands against a command in knowledge.cjs beside it. These are no modules of ECMAScript: of those Node.js cannot keep all
 * that it compiled. Nor is the program itself, dist/bin.cjs: what loads such modules takes over a millisecond to start.
 */
import { createHash } from 'node:crypto';
import { chmod, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { isBuiltin } from 'node:module';
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
const isPackage = (id: string): boolean => !id.startsWith('.') && id !== 'unbash' && !path.isAbsolute(id);

/**
 * All that a command needs, from where the command line is read. dockerode looks for files of its own, so it stays a package.
 * Written at the end: what is the guard's is made of the same files.
 */
const command = await rolldown({
  input: path.join(dist, 'cli', 'main.js'),
  platform: 'node',
  external: (id) => id === 'dockerode' || isBuiltin(id),
});
const commandFiles = {
  dir: path.join(dist, 'cli'),
  format: 'esm',
  entryFileNames: 'main.js',
  chunkFileNames: 'main-[name]-[hash].js',
} as const;
const ofCommand = (await command.generate(commandFiles)).output;

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
} as const;
const chunkOf = new Map(
  (await modules.generate(output)).output.flatMap((chunk) =>
    chunk.type === 'chunk' && chunk.facadeModuleId !== null ? [[chunk.facadeModuleId, chunk.fileName]] : [],
  ),
);

/** What is started from the code that V8 made of it: a verdict, and what is asked about it. */
const started = new Map([
  [main, 'front.cjs'],
  [path.join(folder, 'knowledge.js'), 'knowledge.cjs'],
  [path.join(folder, 'deletions.js'), 'deletions.cjs'],
  [path.join(folder, 'compose-text.js'), 'compose-text.cjs'],
  [path.join(folder, 'project-files.js'), 'project-files.cjs'],
  [path.join(dist, 'config', 'parse.js'), 'parse.cjs'],
]);

/** The folders of the packages that are put into a file. */
const packages = new Set<string>();

/** Notes the packages that these files are of. */
function note(files: readonly string[]): void {
  for (const id of files) {
    const folder = /^.*[/\\]node_modules[/\\](?:@[^/\\]+[/\\])?[^/\\]+/.exec(id)?.[0];
    if (folder !== undefined) packages.add(folder);
  }
}

/** Puts all that a file needs into one that is run with `load` for what it imports when it needs it, and `require`. */
async function bundled(input: string): Promise<string> {
  const asked = new Set<string>();
  const bundle = await rolldown({
    input,
    platform: 'node',
    external: /^node:/,
    plugins: [
      {
        name: 'what is loaded when it is asked for',
        resolveDynamicImport: (id, from) => {
          const file = path.resolve(path.dirname(from ?? main), id);
          // What is not the guard's is where it always is.
          const chunk = started.get(file) ?? chunkOf.get(file) ?? path.relative(folder, file);
          asked.add(chunk);
          return { id: chunk, external: true };
        },
      },
    ],
  });
  const [{ code, moduleIds }] = (await bundle.generate({ format: 'cjs', minify: true, codeSplitting: false }))
    .output;
  await bundle.close();
  note(moduleIds);
  // A script has no import() of its own without a warning; whoever runs it gives it one.
  for (const [, name = ''] of code.matchAll(/\bimport\((.*?)\)/g))
    if (!asked.has(name.replace(/^[`"'](.*)[`"']$/, '$1')))
      throw new Error(`${name} looks like something that is imported`);
  for (const [, name = ''] of code.matchAll(/\brequire\((.*?)\)/g))
    if (!isBuiltin(name.slice(1, -1)))
      throw new Error(`the guard needs ${name}, which is no part of Node.js`);
  // V8 reads a text of nothing but ASCII faster, and takes half the memory for it.
  if (/\bString\.raw`[^`]*[^\0-\x7f]/.test(code)) throw new Error('a raw text cannot be escaped');
  const loads = code
    .replaceAll(/\bimport\(/g, 'load(')
    .replaceAll(/[^\0-\x7f]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`);
  const contents = createHash('sha256').update(loads).digest('hex').slice(0, 32);
  return `// ${contents}\n(function (exports, load, require) {${loads}\n})`;
}

const texts = new Map<string, string>();
for (const [input, file] of started) texts.set(file, await bundled(input));
// Made of the same files, which the other overwrites.
const written = await modules.write(output);
// A path from there leads elsewhere once files are put together.
for (const text of [
  ...texts.values(),
  ...written.output.map((chunk) => (chunk.type === 'chunk' ? chunk.code : '')),
])
  if (text.includes('import.meta')) throw new Error('the guard asks where one of its files is');
for (const [file, text] of texts) await writeFile(path.join(folder, file), text);
await modules.close();
for (const chunk of ofCommand) if (chunk.type === 'chunk') note(chunk.moduleIds);
await command.write(commandFiles);
await command.close();

// Their licences ask to be with every copy.
const licences = await Promise.all(
  [...packages].sort().map(async (package_) => {
    const [name] = (await readdir(package_)).filter((file) => /^licen[cs]e/i.test(file));
    if (name === undefined) throw new Error(`${package_} has no licence to put into dist`);
    return `${path.basename(package_)}\n\n${await readFile(path.join(package_, name), 'utf8')}`;
  }),
);
await writeFile(path.join(dist, 'licences.txt'), licences.join('\n---\n\n'));

const program = await rolldown({
  input: path.join(dist, 'bin.js'),
  platform: 'node',
  // What starts the guard is in it, all else is loaded from where it is.
  external: (id) => id.startsWith('./cli/'),
});
const bin = path.join(dist, 'bin.cjs');
await program.write({ file: bin, format: 'cjs', codeSplitting: false });
await program.close();
await chmod(bin, 0o755);
for (const name of ['bin.js', 'start-guard.js']) await rm(path.join(dist, name));
