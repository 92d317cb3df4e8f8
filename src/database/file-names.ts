/** A database and the file of a dump that holds it. */
export interface NamedFile {
  name: string;
  file: string;
}

/**
 * A file for each database: safe as a file name whatever the database is called, and unique in any letter case. Pure.
 * `others`: names of files that are no database's.
 */
export function fileNames(
  names: readonly string[],
  extension: string,
  others: readonly string[] = [],
): NamedFile[] {
  const taken = new Set(others);
  return names.map((name) => {
    const safe = [...Buffer.from(name)]
      .map((byte) => {
        const character = String.fromCharCode(byte);
        return /[A-Za-z0-9_-]/.test(character)
          ? character
          : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
      })
      .join('');
    let file = `${safe}.${extension}`;
    for (let n = 2; taken.has(file.toLowerCase()); n += 1) file = `${safe}~${n}.${extension}`;
    taken.add(file.toLowerCase());
    return { name, file };
  });
}
