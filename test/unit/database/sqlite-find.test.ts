import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { expect, it } from 'vitest';

const script = await readFile(fileURLToPath(new URL('../../../helper/sqlite.py', import.meta.url)), 'utf8');

/** What is seen in a folder may be gone when it is looked at. */
const listsWhatHasGone = `
import os
class Gone:
    def __init__(self, folder): self.path = os.path.join(folder, "gone")
    def stat(self, follow_symlinks): return os.lstat(self.path)
scandir = os.scandir
os.scandir = lambda folder: [Gone(folder), *scandir(folder)]
`;

it('a file that goes away while volumes are searched is no error', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'search-'));
  try {
    const page = Buffer.alloc(512);
    page.write('SQLite format 3\0');
    await writeFile(path.join(folder, 'app.db'), page);
    const { stdout } = await execa('python3', ['-c', listsWhatHasGone + script, 'find', folder]);
    expect(JSON.parse(stdout)).toEqual([[0, 'app.db']]);
  } finally {
    await rm(folder, { recursive: true });
  }
});
