import { explain } from '../../guard/explain.ts';
import { judge, type Surroundings } from '../../guard/shell.ts';
import { defaults, settle, type Judgement, type Settings, type Verdict } from '../../guard/verdict.ts';
import { visible } from '../view/escape.ts';
import type { Gate } from './approvals.ts';

/** Refused, and also every mistake in the command line: what is not understood is not allowed. */
export const refused = 2;

export const guardUsage = `Usage: safe-update guard check [--policy block|warn] [--json] -- COMMAND...
       safe-update guard check [--policy block|warn] [--json] --stdin
       safe-update guard scan [--markdown] [--json|--sarif] [--staged|PATH...]
       safe-update guard hook claude|codex|gemini|cursor|copilot|opencode
       safe-update guard approve [--for 10m] -- COMMAND...
       safe-update guard approve --list | --revoke ID
       safe-update guard install|uninstall PLACE [--dry-run] [--yes]
       safe-update guard status [--json]
       safe-update guard serve [--name NAME] [--socket PATH] [--host unix:///PATH] [--rules FILE] [--approvals DIR]

Keeps commands that delete volumes and data out of production. See docs/guard.md.

check     judge a command, or a script on standard input. Exit code 0: allowed, 2: refused, with the reason on stderr
scan      find such commands in scripts, Makefiles, package.json, CI workflows and the like. Exit code 1: found some
hook      answer a coding agent that asks before it runs a command
approve   let a command that is refused pass once; only at a terminal
install   put the guard somewhere, and prove that it works there; uninstall takes out what is its own. PLACE is
          shell [--dir DIR] [--system], git, claude, codex, gemini, cursor, copilot or opencode [--user], or
          engine [--name NAME] [--host unix:///PATH] [--daemon-json PATH] [--pidfile PATH] [--socket PATH]
status    where the guard stands, and whether it still refuses. Exit code 1: somewhere it is broken
serve     answer dockerd as its authorization plugin: what deletes volumes is refused, whoever asks
`;

/** Says what is wrong with the command line. Resolves with the exit code. */
export async function wrong(what: string): Promise<number> {
  await write('stderr', `safe-update guard: ${visible(what)}\n\n${guardUsage}`);
  return refused;
}

/** Who asks, and what holds whatever the files say. */
export interface Asking {
  gate: Gate;
  policy?: Settings['policy'];
}

/**
 * The verdict on a text. The rest of the program is asked about volumes, backups, policies and approvals, and loaded for it,
 * only where something stands against the text. An approval that lets it pass is used up.
 */
export async function verdictOn(
  text: string,
  surroundings: Surroundings,
  { gate, policy }: Asking,
): Promise<Verdict> {
  const judgement = await judgeHere(text, surroundings);
  if (judgement.findings.length === 0) return settle(judgement);
  const { Answers } = await import('./knowledge.ts');
  const answers = new Answers(gate);
  const { volume, losses, approval, warnings } = answers;
  if (policy === undefined) return settle(judgement, answers);
  return settle(judgement, { volume, losses, approval, warnings }, { ...defaults, policy });
}

/**
 * What a text would do, in this place: where it deletes something of which the text does not say whether it is data, the disk, the
 * compose files and the engine are asked.
 */
export async function judgeHere(text: string, surroundings: Surroundings): Promise<Judgement> {
  const { suspects = [], ...judgement } = judge(text, surroundings);
  if (suspects.length === 0) return judgement;
  const { dataAmong } = await import('./deletions.ts');
  const found = await dataAmong(suspects);
  if (found.length === 0) return judgement;
  // The same command is one finding.
  const more = found.filter(
    ({ command, at }) =>
      !judgement.findings.some((one) => one.command === command && one.at.start === at.start),
  );
  return { ...judgement, findings: [...judgement.findings, ...more] };
}

/** The lines of a reason, fit for a terminal. */
export function reason(verdict: Verdict): string {
  return explain(verdict)
    .map((line) => visible(line))
    .join('\n');
}

/** All of standard input. */
export async function readStdin(): Promise<string> {
  const { readSync } = process.getBuiltinModule('node:fs');
  const pieces: Buffer[] = [];
  try {
    for (;;) {
      const piece = Buffer.allocUnsafe(65_536);
      const length = readSync(0, piece);
      if (length === 0) return Buffer.concat(pieces).toString('utf8');
      pieces.push(piece.subarray(0, length));
    }
  } catch {
    // Of a stream that does not wait (EAGAIN): the rest comes this way, which takes as long to load as half a verdict.
  }
  for await (const piece of process.stdin) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString('utf8');
}

/**
 * Writes all of it before it resolves: what is not yet written is lost when a process ends. Standard output and error are
 * written to as files, since Node.js takes some milliseconds to make a stream of one.
 */
export async function write(stream: 'stdout' | 'stderr', text: string): Promise<void> {
  const { writeSync } = process.getBuiltinModule('node:fs');
  let rest = Buffer.from(text);
  try {
    while (rest.length > 0) rest = rest.subarray(writeSync(stream === 'stdout' ? 1 : 2, rest));
  } catch (error) {
    // Nobody reads it. The exit code says the same.
    if ((error as { code?: string }).code === 'EPIPE') return;
    // A pipe that is full and does not wait (EAGAIN): a stream waits.
    await new Promise<void>((resolve) => {
      process[stream].write(rest, () => {
        resolve();
      });
    });
  }
}
