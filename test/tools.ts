import { existsSync } from 'node:fs';
import { execaSync } from 'execa';
import { test } from 'vitest';

/** A program that tests are run with, and that a machine may lack. */
export interface Tool {
  present: boolean;
  /** What titles of tests end with that are left out without it; empty where it is there. */
  without: string;
}

/**
 * Looks for a program by running it. Where it is missing, a test says so under the name of what is not tested: it fails on a
 * Debian machine that root works on, where scripts/setup could have installed it, and is skipped on others.
 */
export function tool(name: string, args: readonly string[], untested: string): Tool {
  const present = execaSync(name, args, { reject: false }).exitCode === 0;
  const without = present ? '' : ` (SKIPPED: there is no ${name} that works on this machine)`;
  if (present) return { present, without };
  if (existsSync('/etc/debian_version') && process.getuid?.() === 0) {
    test(untested, () => {
      throw new Error(
        `${name} is missing or does not work, although scripts/setup can install it: its log says why`,
      );
    });
  } else test.skip(`${untested}, none of it was tested${without}`);
  return { present, without };
}
