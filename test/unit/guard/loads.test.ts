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
async function loadedBy(argv: string[], { code = 0 } = {}): Promise<string[]> {
  const { stderr, exitCode } = await execa(process.execPath, ['--import', telling, 'src/bin.ts', ...argv], {
    cwd: root,
    // No engine is there.
    env: { DOCKER_HOST: 'unix:///dev/null' },
    stdin: 'ignore',
    reject: false,
  });
  expect(exitCode, stderr).toBe(code);
  return stderr
    .split('\n')
    .filter((line) => line.startsWith('LOADS '))
    .map((line) => line.slice('LOADS '.length).replace(`file://${root}`, ''));
}

describe('a command that is harmless', () => {
  it('is allowed without any of the rest of the program', async () => {
    const loaded = await loadedBy(['guard', 'check', '--', 'docker', 'compose', 'ps']);
    expect(loaded).toContain('src/guard/shell.ts');
    const guard =
      /^src\/(bin\.ts|start-guard\.ts|cli\/view\/escape\.ts|guard\/.*|model\/units\.ts|cli\/guard\/\w+\.ts)$|^node_modules\/unbash\//;
    expect(loaded.filter((place) => !guard.test(place))).toEqual([]);
  });

  it('and without what only scans, installs or serves', async () => {
    const loaded = await loadedBy(['guard', 'check', '--', 'docker', 'compose', 'ps']);
    expect(loaded.filter((place) => /scan|install|serve|shim/.test(place))).toEqual([]);
  });
});

describe('a command that deletes what a build has made', () => {
  it('is allowed without packages, an engine, settings and backups', async () => {
    const loaded = await loadedBy(['guard', 'check', '--', 'rm', '-rf', 'node_modules']);
    expect(loaded).toContain('src/cli/guard/deletions.ts');
    expect(
      loaded.filter((place) => /^src\/(backup|config\/(load|parse)|docker\/engine)|compose-text/.test(place)),
    ).toEqual([]);
  });
});

describe('a command that is refused', () => {
  it('is looked up without packages, and without what reads backups and settings', async () => {
    const loaded = await loadedBy(['guard', 'check', '--', 'docker', 'compose', 'down', '-v'], { code: 2 });
    expect(loaded).toContain('src/cli/guard/engine-here.ts');
    expect(loaded.filter((place) => /^node_modules\/(?!unbash\/)/.test(place))).toEqual([]);
    expect(
      loaded.filter((place) => /^src\/(backup|config\/(load|parse)|docker\/engine)/.test(place)),
    ).toEqual([]);
  });
});
