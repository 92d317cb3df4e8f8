import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readMachineRules } from '../../../src/cli/guard/policy.ts';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'safe-update-policy-'));
  file = join(folder, 'guard.yml');
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

const strict = { policy: 'block', freshSeconds: 86_400, projects: {}, volumes: {} };

describe("the machine's file", () => {
  it('says nothing when it is not there', async () => {
    expect(await readMachineRules(file)).toEqual({ rules: { projects: {}, volumes: {} } });
    expect(await readMachineRules(join(folder, 'none', 'guard.yml'))).toEqual({
      rules: { projects: {}, volumes: {} },
    });
  });

  it('is read', async () => {
    writeFileSync(
      file,
      'policy: warn\nfresh: 6h\nprojects:\n  shop: block\n  test-*: off\nvolumes:\n  "*_scratch": off\n',
    );
    expect(await readMachineRules(file)).toEqual({
      rules: {
        policy: 'warn',
        freshSeconds: 6 * 3600,
        projects: { shop: 'block', 'test-*': 'off' },
        volumes: { '*_scratch': 'off' },
      },
    });
  });

  it.each([
    ['no YAML', 'policy: [', /not valid YAML/],
    ['another policy', 'policy: allow', /policy: expected/],
    ['another key', 'projekts: {}', /unknown key/],
    ['no age', 'fresh: soon', /a duration/],
    ['a pattern that is not followed', 'projects: { "*a*b*c*d*e*f": block }', /five \*/],
  ])('blocks everything and says why if it is %s', async (_, text, why) => {
    writeFileSync(file, text);
    const { rules, warning } = await readMachineRules(file);
    expect(rules).toEqual(strict);
    expect(warning).toMatch(why);
    expect(warning).toContain(file);
    expect(warning).not.toContain('\n');
  });

  it('blocks everything if somebody else could have written it', async () => {
    writeFileSync(file, 'policy: off\n');
    chmodSync(file, 0o666);
    expect(await readMachineRules(file)).toEqual({
      rules: strict,
      warning: `${file} is not read, as it can be written by everybody: everything is blocked`,
    });
    chmodSync(file, 0o644);
    chmodSync(folder, 0o777);
    expect((await readMachineRules(file)).warning).toContain('its folder can be written by everybody');
    chmodSync(folder, 0o755);
    expect((await readMachineRules(file)).rules.policy).toBe('off');
  });

  it('blocks everything if it cannot be read', async () => {
    mkdirSync(file);
    expect((await readMachineRules(file)).rules).toEqual(strict);
  });

  it('counts what a symlink leads to', async () => {
    writeFileSync(join(folder, 'real.yml'), 'policy: off\n');
    symlinkSync(join(folder, 'real.yml'), file);
    expect((await readMachineRules(file)).rules.policy).toBe('off');
    chmodSync(join(folder, 'real.yml'), 0o666);
    expect((await readMachineRules(file)).rules).toEqual(strict);
  });

  it.skipIf(userInfo().uid !== 0)('blocks everything if it belongs to somebody else', async () => {
    writeFileSync(file, 'policy: off\n');
    chownSync(file, 12345, 12345);
    expect((await readMachineRules(file)).warning).toContain('it belongs to the user 12345');
    // To whom it belongs, it is the own one.
    chownSync(folder, 12345, 12345);
    expect((await readMachineRules(file, 12345)).rules.policy).toBe('off');
  });
});
