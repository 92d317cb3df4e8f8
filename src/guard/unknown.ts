/**
 * What an expansion leaves in a word when nobody can tell its value. The characters are from Unicode's private use area: if
 * a command holds them already, that part of it counts as unknown, which is the safe side.
 */

/** Some text, within one word. */
export const SOME = '\uE000';
/** Text that may be several words, or none: an expansion without quotes. */
export const WORDS = '\uE001';
/** What the caller of a script or function passes: `$1`, `"$@"`. */
export const PASSED = '\uE002';
/** Like WORDS, of a variable whose name says that it holds flags: `$FLAGS`, `$EXTRA_ARGS`. */
export const FLAGS = '\uE003';

const any = /[\uE000-\uE003]/;
const all = /[\uE000-\uE003]/g;

export function isUnknown(word: string): boolean {
  return any.test(word);
}

/** Whether nothing at all is known of it. */
export function isAllUnknown(word: string): boolean {
  return word !== '' && word.replace(all, '') === '';
}

export function startsUnknown(word: string): boolean {
  return any.test(word.charAt(0));
}

/** The known part of a word. */
export function known(word: string): string {
  return word.replace(all, '');
}

/** Within quotes it is one word, whatever it is. */
export function quoted(text: string): string {
  return text.replaceAll(WORDS, SOME).replaceAll(FLAGS, SOME);
}

/** Without quotes it may fall into several. */
export function unquoted(text: string): string {
  return text.replaceAll(SOME, WORDS);
}

/** For people: the unknown shown as what it is. */
export function visible(text: string): string {
  return text.replace(/[\uE000-\uE003]+/g, '?');
}
