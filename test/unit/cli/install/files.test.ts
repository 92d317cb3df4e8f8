import {
  chmodSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { apply, readText } from '../../../../src/cli/guard/install/files.ts';

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'safe-update-files-'));
  path = join(folder, 'file');
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

describe('a change to a file', () => {
  it('keeps the mode, and leaves nothing else behind', async () => {
    writeFileSync(path, 'old');
    chmodSync(path, 0o640);
    await apply({ path, before: 'old', after: 'new' });
    expect(readFileSync(path, 'utf8')).toBe('new');
    expect(statSync(path).mode & 0o777).toBe(0o640);
    expect(readdirSync(folder)).toEqual(['file']);
  });

  it('makes a file with its folders, and takes it away', async () => {
    const deep = join(folder, 'a', 'b');
    await apply({ path: deep, before: undefined, after: 'new', mode: 0o755 });
    expect(statSync(deep).mode & 0o777).toBe(0o755);
    await apply({ path: deep, before: 'new', after: undefined });
    expect(readdirSync(join(folder, 'a'))).toEqual([]);
  });

  it('goes where a link leads', async () => {
    writeFileSync(path, 'old');
    const link = join(folder, 'link');
    symlinkSync('file', link);
    await apply({ path: link, before: 'old', after: 'new' });
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
    expect(readFileSync(path, 'utf8')).toBe('new');
  });

  it('is refused when the file is no longer what it was', async () => {
    writeFileSync(path, 'somebody else');
    await expect(apply({ path, before: 'old', after: 'new' })).rejects.toThrow('by somebody else');
    await expect(apply({ path, before: undefined, after: 'new' })).rejects.toThrow('by somebody else');
    expect(readFileSync(path, 'utf8')).toBe('somebody else');
  });

  it('is refused for what could not be given back byte for byte', async () => {
    writeFileSync(path, Buffer.from([0x61, 0xff]));
    await expect(readText(path)).rejects.toThrow('not UTF-8');
    symlinkSync('nowhere', join(folder, 'link'));
    await expect(readText(join(folder, 'link'))).rejects.toThrow('leads nowhere');
    await expect(readText(folder)).rejects.toThrow('cannot be read');
  });
});
