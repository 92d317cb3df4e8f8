import { isHarmless, parseFlags, type Flags, type FlagTable } from '../flags.ts';
import { PASSED, startsUnknown } from '../unknown.ts';

export type Subcommand =
  | { kind: 'none' } // only flags, help or the version
  | { kind: 'known'; name: string; words: string[]; globals: Flags }
  | { kind: 'other'; name: string; words: string[]; globals: Flags }
  | { kind: 'passed' } // whatever the caller passes
  | { kind: 'wrapped' } // words that nobody knows, and then whatever the caller passes
  | { kind: 'unknown' };

/**
 * Find the subcommand behind the globals. A word of which nobody knows the value is passed over if a known subcommand
 * follows: `docker compose $FILES up`. So is the value of a flag that the table does not have.
 */
export function subcommand(
  globals: FlagTable,
  words: readonly string[],
  isKnown: (name: string) => boolean,
): Subcommand {
  const found = parseFlags(globals, words, { interspersed: false });
  if (isHarmless(found)) return { kind: 'none' };
  const [name, ...rest] = found.rest;
  if (name === undefined) {
    if (found.unknown.length === 0) return { kind: 'none' };
    return found.unknown.every((word) => word.startsWith(PASSED)) ? { kind: 'passed' } : { kind: 'unknown' };
  }
  if (isKnown(name)) return { kind: 'known', name, words: rest, globals: found };
  if (startsUnknown(name) || found.strange.length > 0) {
    const next = subcommand(globals, rest, isKnown);
    if (next.kind === 'known') return { ...next, globals: merged(found, next.globals) };
    if (name.startsWith(PASSED)) return { kind: 'passed' };
    // `docker compose $COMPOSE_OPTS "$@"`
    if (startsUnknown(name))
      return { kind: next.kind === 'passed' || next.kind === 'wrapped' ? 'wrapped' : 'unknown' };
  }
  return { kind: 'other', name, words: rest, globals: found };
}

function merged(first: Flags, second: Flags): Flags {
  return {
    ...second,
    given: new Map([...first.given, ...second.given]),
    unknown: [...first.unknown, ...second.unknown],
    strange: [...first.strange, ...second.strange],
  };
}
