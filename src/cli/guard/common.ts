import { explain } from '../../guard/explain.ts';
import { judge, type Surroundings } from '../../guard/shell.ts';
import { defaults, settle, type Settings, type Verdict } from '../../guard/verdict.ts';
import { visible } from '../view/escape.ts';

/** Refused, and also every mistake in the command line: what is not understood is not allowed. */
export const refused = 2;

export const guardUsage = `Usage: safe-update guard check [--policy block|warn] [--json] -- COMMAND...
       safe-update guard check [--policy block|warn] [--json] --stdin
       safe-update guard scan [--markdown] [--json|--sarif] [--staged|PATH...]
       safe-update guard hook claude|codex|gemini|cursor|copilot|opencode
       safe-update guard install|uninstall PLACE [--dry-run] [--yes]
       safe-update guard status [--json]

Keeps commands that delete volumes and data out of production. See docs/guard.md.

check     judge a command, or a script on standard input. Exit code 0: allowed, 2: refused, with the reason on stderr
scan      find such commands in scripts, Makefiles, package.json, CI workflows and the like. Exit code 1: found some
hook      answer a coding agent that asks before it runs a command
install   put the guard somewhere, and prove that it works there; uninstall takes out what is its own. PLACE is
          shell [--dir DIR] [--system], git, or claude, codex, gemini, cursor, copilot or opencode [--user]
status    where the guard stands, and whether it still refuses. Exit code 1: somewhere it is broken
`;

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
