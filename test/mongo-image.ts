import { execa } from 'execa';
import { test } from 'vitest';

export const mongoImage = 'mongo:7';

async function succeeds(program: string, ...args: string[]): Promise<boolean> {
  const { failed } = await execa(program, args, { reject: false });
  return !failed;
}

/** What titles of tests end with that are left out without the image; empty where it is there. */
export let withoutMongo = '';

/**
 * Whether the image is there. Where it is not, a test says so under the name of what is not tested: it fails on a machine
 * with Go, on which scripts/setup could have built the image, and is skipped on others.
 */
export async function hasMongo(untested: string): Promise<boolean> {
  if (await succeeds('docker', 'image', 'inspect', mongoImage)) return true;
  withoutMongo = ` (SKIPPED: there is no ${mongoImage})`;
  if (await succeeds('go', 'version')) {
    test(untested, () => {
      throw new Error(`scripts/setup could not make ${mongoImage}, although Go is here: its log says why`);
    });
  } else {
    test.skip(
      `${untested} (SKIPPED, none of it was tested: no ${mongoImage} to pull, and no Go to build it with)`,
    );
  }
  return false;
}
