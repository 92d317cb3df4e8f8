import { known, visible } from './unknown.ts';

/** Letters of a command that are shown. */
export const longestCommand = 300;

/** A word as it would have to be written to stay one word. */
export function asWord(word: string): string {
  return /^[\w@%+=:,./~*?-]+$/.test(known(word) || 'x') && word !== ''
    ? word
    : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** A command as people read it; `?` stands for what nobody knows. */
export function shownWords(words: readonly string[]): string {
  const some = words.slice(0, longestCommand).map((word) => asWord(word.slice(0, longestCommand)));
  return visible(some.join(' ')).slice(0, longestCommand);
}
