import { execaSync } from 'execa';

/** A program that the machine may lack; scripts/lab/tools.sh installs it where it can. */
export interface Tool {
  present: boolean;
  /** For the name of a test that is skipped for want of it. */
  or: string;
}

/** Looks for a program, and says loudly when the tests that need it cannot run. */
export function tool(name: string, purpose: string): Tool {
  const present = execaSync('sh', ['-c', 'command -v "$1"', 'sh', name], { reject: false }).exitCode === 0;
  const or = present ? '' : ` (SKIPPED: there is no ${name} on this machine; scripts/setup --only tools)`;
  if (!present) console.warn(`There is no ${name}, ${purpose}: these tests are skipped.${or}`);
  return { present, or };
}
