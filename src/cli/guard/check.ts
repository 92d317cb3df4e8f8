import { asWord } from '../../guard/shell.ts';
import type { Settings } from '../../guard/verdict.ts';
import { visibleJson } from '../view/escape.ts';
import type { Gate } from './approvals.ts';
import { guardUsage, readStdin, reason, refused, verdictOn, write, wrong } from './common.ts';
import { readSurroundings } from './surroundings.ts';

/** Judges a command or a script. Resolves with the exit code: 0 allowed, 2 refused, or a mistake in the command line. */
export async function check(argv: readonly string[]): Promise<number> {
  let json = false;
  let stdin = false;
  let gate: Gate = 'check';
  let policy: Settings['policy'] | undefined;
  let words: readonly string[] | undefined;
  for (let index = 0; index < argv.length; index += 1) {
    const word = argv[index] ?? '';
    if (word === '--json') json = true;
    else if (word === '--stdin') stdin = true;
    // What the shim before docker says: its command may have passed a hook already.
    else if (word === '--shim') gate = 'shim';
    else if (word === '--policy' || word.startsWith('--policy=')) {
      const value = word === '--policy' ? argv[(index += 1)] : word.slice('--policy='.length);
      if (value !== 'block' && value !== 'warn') return wrong('--policy is block or warn');
      policy = value;
    } else if (word === '--help' || word === '-h') {
      await write('stdout', guardUsage);
      return 0;
    } else if (word === '--') {
      words = argv.slice(index + 1);
      break;
    } else return wrong(`check does not know ${word}; the command comes after --`);
  }
  const shim = gate === 'shim';
  if (stdin === (words !== undefined) || words?.length === 0)
    return wrong('check wants either a command after -- or --stdin');
  const verdict = await verdictOn(
    words === undefined ? await readStdin() : textOf(words, shim),
    readSurroundings(),
    { gate, ...(policy === undefined ? {} : { policy }) },
  );
  if (json) await write('stdout', `${visibleJson(JSON.stringify(verdict))}\n`);
  const why = reason(verdict);
  // What a command writes is read by programs; a note about one that is allowed is for people.
  const wanted = !shim || verdict.decision !== 'allow' || process.stderr.isTTY;
  // Who has called docker shall see that it was not docker who refuses.
  const who = shim && verdict.decision === 'deny' ? 'safe-update guard: ' : '';
  if (why !== '' && wanted) await write('stderr', `${who}${why}\n`);
  return verdict.decision === 'deny' ? refused : 0;
}

/** Words as they would be typed. A single one with a space in it is a command line already, as for ssh; not so from a shim. */
export function textOf(words: readonly string[], shim = false): string {
  const [only] = words;
  if (!shim && words.length === 1 && only !== undefined && /\s/.test(only)) return only;
  return words.map(asWord).join(' ');
}
