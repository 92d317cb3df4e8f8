import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { generateKey } from '../../../src/backup/age.ts';
import { readIdentities } from '../../../src/backup/identity.ts';
import { SafeUpdateError } from '../../../src/model/error.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'identity-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function fileOf(text: string, mode = 0o600): Promise<string> {
  const file = path.join(folder, 'key.txt');
  await writeFile(file, text);
  await chmod(file, mode);
  return file;
}

async function failure(file: string): Promise<SafeUpdateError> {
  const error: unknown = await readIdentities(file).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(SafeUpdateError);
  expect((error as SafeUpdateError).code).toBe('config');
  return error as SafeUpdateError;
}

describe('an identity file', () => {
  it('is what age-keygen writes: comments and an identity a line', async () => {
    const [one, two] = [await generateKey(), await generateKey()];
    const text = `# created: 2026-11-20T12:00:00Z\n# public key: ${one.recipient}\n${one.identity}\n\n${two.identity}\r\n`;
    expect(await readIdentities(await fileOf(text))).toEqual([one.identity, two.identity]);
    expect(await readIdentities(await fileOf(one.identity, 0o400))).toEqual([one.identity]);
  });

  it.each([0o640, 0o604, 0o660, 0o601, 0o644])('that others have access to is refused: %o', async (mode) => {
    const { identity } = await generateKey();
    const { message, hint } = await failure(await fileOf(`${identity}\n`, mode));
    expect(message).toContain(`may be used by others (mode 0${mode.toString(8)})`);
    expect(hint).toBe(`Run: chmod 600 ${path.join(folder, 'key.txt')}`);
  });

  it('may be a pipe', async () => {
    const { identity } = await generateKey();
    const pipe = path.join(folder, 'pipe');
    await execa('mkfifo', ['--mode=0600', pipe]);
    const [read] = await Promise.all([readIdentities(pipe), writeFile(pipe, `${identity}\n`)]);
    expect(read).toEqual([identity]);
  });

  it('that holds something else is refused, and what it holds is not told', async () => {
    const { identity } = await generateKey();
    const damaged = identity.slice(0, -1) + (identity.endsWith('Q') ? 'P' : 'Q');
    for (const line of [damaged, `${identity} ${identity}`, 'AGE-PLUGIN-YUBIKEY-1QQQQ', 'hunter2']) {
      const { message, hint } = await failure(await fileOf(`# mine\n${line}\n`));
      expect(message).toContain('in line 2');
      expect(message + (hint ?? '')).not.toContain(line);
    }
  });

  it.each<[string, string, RegExp]>([
    ['only comments', '# nothing\n', /holds no identity/],
    ['nothing', '', /holds no identity/],
    ['itself, encrypted', 'age-encryption.org/v1\n-> scrypt x 18\n', /encrypted itself/],
    ['itself, encrypted as text', '-----BEGIN AGE ENCRYPTED FILE-----\n', /encrypted itself/],
  ])('that holds %s is refused', async (_, text, words) => {
    expect((await failure(await fileOf(text))).message).toMatch(words);
  });

  it('that is not there, or is a folder, is refused', async () => {
    expect((await failure(path.join(folder, 'none'))).message).toContain('cannot be read: ENOENT');
    expect((await failure(folder)).message).toContain('cannot be read: EISDIR');
  });
});
