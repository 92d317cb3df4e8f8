import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import { onTestFinished } from 'vitest';
import type { Stack } from './stack.ts';

/** A folder with a disk of its own, of this size; further options as tmpfs takes them: `,ro`. Gone after the test. */
export async function smallDisk(
  stack: Pick<Stack, 'directory'>,
  size: string,
  options = '',
  name = 'small-disk',
): Promise<string> {
  const folder = path.join(stack.directory, name);
  await mkdir(folder);
  await execa('mount', ['-t', 'tmpfs', '-o', `size=${size},mode=0700${options}`, 'tmpfs', folder]);
  onTestFinished(async () => {
    await execa('umount', ['--lazy', folder]);
    await rm(folder, { recursive: true });
  });
  return folder;
}
