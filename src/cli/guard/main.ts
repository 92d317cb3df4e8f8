import { explain } from '../../guard/explain.ts';
import { asWord, judge, type Surroundings } from '../../guard/shell.ts';
import { defaults, settle, type Settings, type Verdict } from '../../guard/verdict.ts';
import { visible, visibleJson } from '../view/escape.ts';
import { readSurroundings } from './surroundings.ts';

/** Refused, and also every mistake in the command line: what is not understood is not allowed. */
const refused = 2;

export const guardUsage = `Usage: safe-update guard check [--policy block|warn] [--json] -- COMMAND...
       safe-update guard check [--policy block|warn] [--json] --stdin
       safe-update guard scan [--markdown] [--json|--sarif] [PATH...]
       safe-update guard hook claude|codex|gemini|cursor|copilot|opencode

Keeps commands that delete volumes and data out of production. See docs/guard.md.

check   judge a command, or a script on standard input. Exit code 0: allowed, 2: refused, with the reason on stderr
scan    find such commands in scripts, Makefiles, package.json, CI workflows and the like. Exit code 1: found some
hook    answer a coding agent that asks before it runs a command
`;

/**
 * Runs `safe-update guard …`. Loads nothing of the rest of the program: it stands in front of every command of a person
 * or an agent. Resolves with the exit code and never rejects.
 */
export async function runGuard(argv: readonly string[]): Promise<number> {
  try {
    const [command, ...rest] = argv;
    switch (command) {
      case 'check':
        return await check(rest);
      case 'hook': {
        const { hook } = await import('./hook.ts');
        return await hook(rest);
      }
      case 'scan': {
        const { scan } = await import('./scan.ts');
        return await scan(rest);
      }
      case '--help':
      case '-h':
        await write(process.stdout, guardUsage);
        return 0;
      default:
        return await wrong(command === undefined ? 'guard what?' : `guard has no ${command}`);
    }
  } catch (error) {
    await write(
      process.stderr,
      `safe-update guard: refused, as this went wrong: ${visible(String(error))}\n`,
    );
    return refused;
  }
}

/** Says what is wrong with the command line. Resolves with the exit code. */
export async function wrong(what: string): Promise<number> {
  await write(process.stderr, `safe-update guard: ${visible(what)}\n\n${guardUsage}`);
  return refused;
}

/** The verdict on a text. The place where the rest of the program will be asked about volumes, backups and approvals. */
export async function verdictOn(
  text: string,
  surroundings: Surroundings,
  settings: Settings = defaults,
): Promise<Verdict> {
  return settle(judge(text, surroundings), {}, settings);
}

/** The lines of a reason, fit for a terminal. */
export function reason(verdict: Verdict): string {
  return explain(verdict)
    .map((line) => visible(line))
    .join('\n');
}

async function check(argv: readonly string[]): Promise<number> {
  let json = false;
  let stdin = false;
  let policy: Settings['policy'] = defaults.policy;
  let words: readonly string[] | undefined;
  for (let index = 0; index < argv.length; index += 1) {
    const word = argv[index] ?? '';
    if (word === '--json') json = true;
    else if (word === '--stdin') stdin = true;
    else if (word === '--policy' || word.startsWith('--policy=')) {
      const value = word === '--policy' ? argv[(index += 1)] : word.slice('--policy='.length);
      if (value !== 'block' && value !== 'warn') return wrong('--policy is block or warn');
      policy = value;
    } else if (word === '--help' || word === '-h') {
      await write(process.stdout, guardUsage);
      return 0;
    } else if (word === '--') {
      words = argv.slice(index + 1);
      break;
    } else return wrong(`check does not know ${word}; the command comes after --`);
  }
  if (stdin === (words !== undefined) || words?.length === 0)
    return wrong('check wants either a command after -- or --stdin');
  const verdict = await verdictOn(
    words === undefined ? await readStdin() : textOf(words),
    readSurroundings(),
    {
      ...defaults,
      policy,
    },
  );
  if (json) await write(process.stdout, `${visibleJson(JSON.stringify(verdict))}\n`);
  const why = reason(verdict);
  if (why !== '') await write(process.stderr, `${why}\n`);
  return verdict.decision === 'deny' ? refused : 0;
}

/** Words as they would be typed. A single one with a space in it is a command line already, as for ssh. */
function textOf(words: readonly string[]): string {
  const [only] = words;
  if (words.length === 1 && only !== undefined && /\s/.test(only)) return only;
  return words.map(asWord).join(' ');
}

/** All of standard input. */
export async function readStdin(): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of process.stdin) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString('utf8');
}

/** Writes and waits: what is not yet written is lost when a process ends. */
export async function write(stream: NodeJS.WritableStream, text: string): Promise<void> {
  await new Promise<void>((resolve) => {
    stream.write(text, () => {
      resolve();
    });
  });
}
