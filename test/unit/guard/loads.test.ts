import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../../', import.meta.url));

/** Has Node.js say on stderr what it loads. */
const telling = `data:text/javascript,${encodeURIComponent(`
  import { registerHooks } from 'node:module';
  registerHooks({ load(url, context, next) { process.stderr.write('LOADS ' + url + '\\n'); return next(url, context); } });
`)}`;

/** What a command of safe-update loads, as paths within the project. */
async function loadedBy(...argv: string[]): Promise<string[]> {
  const { stderr, exitCode } = await execa(process.execPath, ['--import', telling, 'src/bin.ts', ...argv], {
    cwd: root,
    stdin: 'ignore',
    reject: false,
  });
  expect(exitCode, stderr).toBe(0);
  return stderr
    .split('\n')
    .filter((line) => line.startsWith('LOADS '))
    .map((line) => line.slice('LOADS '.length).replace(`file://${root}`, ''));
}

describe('a command that is harmless', () => {
  it('is allowed without any of the rest of the program', async () => {
    const loaded = await loadedBy('guard', 'check', '--', 'docker', 'compose', 'ps');
    expect(loaded).toContain('src/guard/shell.ts');
    const guard =
      /^src\/(bin\.ts|cli\/start-guard\.ts|cli\/view\/escape\.ts|guard\/.*|model\/units\.ts|cli\/guard\/\w+\.ts)$|^node_modules\/unbash\//;
    expect(loaded.filter((place) => !guard.test(place))).toEqual([]);
  });

  it('and without what only scans, installs or serves', async () => {
    const loaded = await loadedBy('guard', 'check', '--', 'docker', 'compose', 'ps');
    expect(loaded.filter((place) => /scan|install|serve|shim/.test(place))).toEqual([]);
  });
});
