/** No more of a file is read, in bytes: so much more than what is judged that a longer one is seen to be too long. */
export const longestRead = 256 * 1024;

/** The text of a regular file; undefined if it is none. A pipe is not waited for. Of one that is longer than `longestRead` only the beginning is read. */
export function readRegular(path: string): string | undefined {
  const { closeSync, constants, fstatSync, openSync, readSync } = process.getBuiltinModule('node:fs');
  let file: number | undefined;
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const about = fstatSync(file);
    if (!about.isFile()) return undefined;
    const bytes = Buffer.alloc(Math.min(about.size, longestRead));
    const text = bytes.toString('utf8', 0, readSync(file, bytes));
    // A program, not a text.
    return text.includes('\0') ? undefined : text;
  } catch {
    return undefined;
  } finally {
    if (file !== undefined) closeSync(file);
  }
}
