import { delimiter, join } from 'node:path';
import { asWord } from '../../../guard/shell.ts';
import { isExecutable } from './files.ts';
import type { World } from './place.ts';

/**
 * How a file that is written now will start the guard: shell text, as far as `guard`. In a file that goes to other machines
 * with a repository, by its name in PATH, if it is there; else by the paths of this machine.
 */
export async function guardCommand(world: World, shared: boolean): Promise<string> {
  return shared && (await isInPath('safe-update', world)) ? named : located(world);
}

/** Whether a text starts the guard in one of the ways in which it would be written now. */
export function isCurrent(text: string, world: World): boolean {
  return text.startsWith(`${named} `) || text.startsWith(`${located(world)} `);
}

const named = 'safe-update guard';

function located({ node, bin }: World): string {
  return `${asWord(node)} ${asWord(bin)} guard`;
}

async function isInPath(name: string, { env }: World): Promise<boolean> {
  for (const folder of (env['PATH'] ?? '').split(delimiter)) {
    if (folder !== '' && (await isExecutable(join(folder, name)))) return true;
  }
  return false;
}
