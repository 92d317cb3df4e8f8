import { basename } from 'node:path';
import { longestRead } from './regular.ts';

/** What starts a line that is not indented, where a file is as people write them: a key, an item, a comment. */
const plainLine = /^(?:#.*|- .*|-|[A-Za-z_][\w.-]*[ \t]*:(?:[ \t].*)?)$/;

const nameLine =
  /^name[ \t]*:[ \t]*(?:"([^"\\$]*)"|'([^'$]*)'|([^\s"'$#&*!|>{[%@`?:,-][\w-]*))[ \t]*(?:#.*)?$/;

/**
 * Given the folder of a compose project and its files, in the order in which they are merged, return the name that compose gives
 * it: what the last of them says that says one, else what the folder is called (compose-spec, 04-version-and-name.md).
 * Undefined where it takes compose to know: a name with variables in it, a file that is written in another way or could not be
 * read (undefined). Pure.
 */
export function nameIn(folder: string, files: readonly (string | undefined)[]): string | undefined {
  let name: string | undefined;
  for (const text of files) {
    // Of a long one only the beginning was read.
    if (text === undefined || Buffer.byteLength(text) >= longestRead) return undefined;
    // What comes before its first line.
    const lines = text.replace(/^\uFEFF/, '').replace(/^(?:#.*\r?\n|\r?\n)*---[ \t]*\r?\n/, '');
    for (const line of lines.split(/\r?\n/)) {
      if (line === '' || line.startsWith(' ')) continue;
      if (!plainLine.test(line)) return undefined;
      if (!/^name[ \t]*:/.test(line)) continue;
      const [, double, single, plain] = nameLine.exec(line) ?? [];
      name = double ?? single ?? plain;
      if (name === undefined) return undefined;
    }
  }
  // As compose-go does it (loader.NormalizeProjectName); a name that is written down has to be like that already.
  const usual = (name ?? basename(folder))
    .toLowerCase()
    .replace(/[^-_a-z0-9]/g, '')
    .replace(/^[-_]+/, '');
  return usual === '' || (name !== undefined && name !== usual) ? undefined : usual;
}
