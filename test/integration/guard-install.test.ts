import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const program = fileURLToPath(new URL('../../src/bin.ts', import.meta.url));
/** What a person has, in which files are put together: made by `npm run build`. */
const built = fileURLToPath(new URL('../../dist/bin.cjs', import.meta.url));
let folder: string;
let home: string;
let repository: string;

beforeEach(async () => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'safe-update-install-')));
  home = join(folder, 'home');
  repository = join(folder, 'a repository');
  for (const path of [home, repository]) mkdirSync(path);
  await git('init', '--quiet');
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

/** Nothing of whoever runs the tests: neither their home, nor their git, nor their XDG folders. */
const environment = (more: Record<string, string> = {}): Record<string, string> => ({
  PATH: '/usr/local/bin:/usr/bin:/bin',
  HOME: home,
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_AUTHOR_NAME: 'x',
  GIT_AUTHOR_EMAIL: 'x@example.com',
  GIT_COMMITTER_NAME: 'x',
  GIT_COMMITTER_EMAIL: 'x@example.com',
  ...more,
});

const run = (file: string, args: readonly string[], more: Record<string, string> = {}, cwd = repository) =>
  execa(file, args, {
    cwd,
    env: environment(more),
    extendEnv: false,
    reject: false,
    stdin: 'ignore',
    stripFinalNewline: false,
  });

const guard = (...args: string[]) => run(process.execPath, [program, 'guard', ...args]);
const git = (...args: string[]) => run('git', args);

/** Writes a file, with its folders. */
function put(path: string, text: string, mode = 0o644): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

const read = (path: string): string => readFileSync(path, 'utf8');

/** Is there a shell of this name here? */
const has = async (name: string): Promise<boolean> =>
  (await run('/bin/sh', ['-c', `command -v ${name}`])).exitCode === 0;

describe('guard install shell', () => {
  it.each([
    ['from its sources', program],
    ['as it is built', built],
  ])(
    'stands before docker in every shell that is opened from then on, and goes without a trace, %s',
    async (_, file) => {
      const guard = (...args: string[]) => run(process.execPath, [file, 'guard', ...args]);
      const files = {
        '.bashrc': 'alias ll="ls -l"\n',
        '.zshrc': 'setopt nobeep',
        '.profile': '# mine\n',
      };
      for (const [name, text] of Object.entries(files)) put(join(home, name), text, 0o600);
      mkdirSync(join(home, '.config', 'fish'), { recursive: true });

      const { exitCode, stdout } = await guard('install', 'shell', '--yes');
      expect(exitCode).toBe(0);
      expect(stdout).toContain('"docker volume prune" was refused through it');
      for (const name of Object.keys(files)) expect(statSync(join(home, name)).mode & 0o777).toBe(0o600);

      for (const [shell, args] of [
        ['bash', ['-ic']],
        ['zsh', ['-ic']],
        ['sh', ['-lc']],
        ['fish', ['-c']],
      ] as const) {
        if (!(await has(shell))) continue;
        const refused = await run(shell, [...args, 'docker volume prune -f']);
        expect(refused.exitCode, shell).toBe(2);
        expect(refused.stderr, shell).toContain('refused: docker volume prune -f');
      }
      expect((await guard('status')).stdout).toMatch(/shell +installed/);

      const again = await guard('install', 'shell', '--yes');
      expect(again.stdout).toContain('already installed, and "docker volume prune" was refused');

      expect((await guard('uninstall', 'shell', '--yes')).exitCode).toBe(0);
      for (const [name, text] of Object.entries(files)) expect(read(join(home, name))).toBe(text);
      expect(existsSync(join(home, '.local/share/safe-update'))).toBe(false);
      expect(readdirSync(join(home, '.config/fish/conf.d'))).toEqual([]);
    },
  );

  it('follows a link to where the file really is', async () => {
    const target = put(join(folder, 'dotfiles', 'bashrc'), '# mine\n');
    symlinkSync(target, join(home, '.bashrc'));
    expect((await guard('install', 'shell', '--yes')).exitCode).toBe(0);
    expect(lstatSync(join(home, '.bashrc')).isSymbolicLink()).toBe(true);
    expect(read(target)).toContain('safe-update guard');
    await guard('uninstall', 'shell', '--yes');
    expect(lstatSync(join(home, '.bashrc')).isSymbolicLink()).toBe(true);
    expect(read(target)).toBe('# mine\n');
  });

  it('takes another folder, finds it again, and makes a start file where there is none', async () => {
    const dir = join(folder, 'my $shims "here"');
    expect((await guard('install', 'shell', '--dir', dir, '--yes')).exitCode).toBe(0);
    expect(existsSync(join(dir, 'docker'))).toBe(true);
    expect((await run('sh', ['-lc', 'docker system prune --volumes'])).exitCode).toBe(2);
    expect((await guard('status')).stdout).toMatch(/shell +installed/);
    expect((await guard('uninstall', 'shell', '--yes')).exitCode).toBe(0);
    expect(existsSync(dir)).toBe(false);
    expect(existsSync(join(home, '.profile'))).toBe(false);
  });

  it('leaves a folder alone in which there is another docker', async () => {
    const docker = put(join(folder, 'bin', 'docker'), '#!/bin/sh\n', 0o755);
    const { exitCode, stderr } = await guard('install', 'shell', '--dir', dirname(docker), '--yes');
    expect(exitCode).toBe(3);
    expect(stderr).toContain('is no shim');
    expect(read(docker)).toBe('#!/bin/sh\n');
  });

  it('is broken, says status, when a part of it is gone', async () => {
    await guard('install', 'shell', '--yes');
    rmSync(join(home, '.local/share/safe-update/shims/podman'));
    const { exitCode, stdout } = await guard('status');
    expect(exitCode).toBe(1);
    expect(stdout).toMatch(/shell +broken +part of it is missing.*safe-update guard install shell/);
  });
});

describe('guard install', () => {
  it('touches nothing without a yes: off a terminal, or with --dry-run', async () => {
    put(join(home, '.bashrc'), '# mine\n');
    const silent = await guard('install', 'shell');
    expect(silent.exitCode).toBe(2);
    expect(silent.stderr).toContain('--yes');
    const dry = await guard('install', 'shell', '--dry-run');
    expect(dry.exitCode).toBe(0);
    expect(dry.stdout).toContain('+# >>> safe-update guard >>>');
    expect(dry.stdout).toContain('Nothing was touched.');
    expect(readdirSync(home)).toEqual(['.bashrc']);
    expect(read(join(home, '.bashrc'))).toBe('# mine\n');
  });

  it.each([
    [['install']],
    [['install', 'nonsense']],
    [['install', 'toString']],
    [['install', 'shell', '--nonsense']],
    [['install', 'shell', '--dir']],
    [['install', 'git', '--user']],
    [['uninstall', 'shell', 'extra']],
    [['status', 'shell']],
  ])('is not understood: %j', async (args) => {
    const { exitCode, stderr } = await guard(...args);
    expect(exitCode).toBe(2);
    expect(stderr).toContain('Usage:');
  });

  it('says so, with exit code 1, when what is installed refuses nothing', async () => {
    // A safe-update in PATH that is none: what the file names is what is tried.
    put(join(folder, 'bin', 'safe-update'), '#!/bin/sh\nexit 0\n', 0o755);
    const { exitCode, stderr } = await run(
      process.execPath,
      [program, 'guard', 'install', 'claude', '--yes'],
      { PATH: `${join(folder, 'bin')}:/usr/bin:/bin` },
    );
    expect(exitCode).toBe(1);
    expect(stderr).toContain('the guard does not work there');
    expect(stderr).toContain('safe-update guard uninstall claude');
    const status = await run(process.execPath, [program, 'guard', 'status', '--json'], {
      PATH: `${join(folder, 'bin')}:/usr/bin:/bin`,
    });
    expect(status.exitCode).toBe(1);
    const rows = status.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { place: string; state: string });
    expect(rows.find(({ place }) => place === 'claude')?.state).toBe('broken');
    expect(rows.find(({ place }) => place === 'git')?.state).toBe('not installed');
  });
});

describe('guard install git', () => {
  const hook = (): string => join(repository, '.git/hooks/pre-commit');
  const commit = () => git('commit', '--quiet', '--message', 'x');

  it('refuses a commit that would bring in such a command, whatever the work tree says', async () => {
    const { exitCode, stdout } = await guard('install', 'git', '--yes');
    expect(exitCode, stdout).toBe(0);
    expect(readdirSync(join(repository, '.git/objects')).length).toBe(2);

    const script = put(join(repository, 'deploy.sh'), 'docker compose up -d\n');
    await git('add', '.');
    expect((await commit()).exitCode).toBe(0);

    writeFileSync(script, 'docker compose down -v\n');
    await git('add', '.');
    writeFileSync(script, 'docker compose stop\n');
    const refused = await commit();
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toContain('deploy.sh:1:1: down-volumes');

    await git('add', '.');
    writeFileSync(script, 'docker compose down -v\n');
    expect((await commit()).exitCode).toBe(0);
  });

  it('reads files of any name, and scripts without an ending', async () => {
    await guard('install', 'git', '--yes');
    put(join(repository, 'sub dir', 'a\nb "c".sh'), 'docker volume prune\n');
    put(join(repository, 'sub dir', '-v.sh'), 'docker volume prune\n');
    put(join(repository, 'reset'), '#!/bin/sh\ndocker system prune --volumes\n', 0o755);
    put(join(repository, 'binary'), '\0docker volume prune\n');
    symlinkSync('reset', join(repository, 'link.sh'));
    await git('add', '.');
    // git gives all that a hook prints to standard error.
    const { exitCode, stderr } = await commit();
    expect(exitCode).toBe(1);
    expect(
      stderr
        .split('\n')
        .filter((line) => line.includes('instead: '))
        .map((line) => line.split(': ')[0]),
    ).toEqual(['reset:2:1', 'sub dir/-v.sh:1:1', String.raw`sub dir/a\nb "c".sh:1:1`]);
  });

  it('reads what `commit --all` and `commit PATH` stage, from a folder below', async () => {
    await guard('install', 'git', '--yes');
    const script = put(join(repository, 'sub', 'a.sh'), 'true\n');
    await git('add', '.');
    await commit();
    writeFileSync(script, 'docker volume prune\n');
    for (const args of [['--all'], ['a.sh']]) {
      const { exitCode } = await run(
        'git',
        ['commit', '--message', 'x', ...args],
        {},
        join(repository, 'sub'),
      );
      expect(exitCode, args.join()).toBe(1);
    }
  });

  it('keeps a hook that is there, runs before it, and goes without a trace', async () => {
    const mine = '#!/usr/bin/env bash\nset -euo pipefail\ntouch mine\nexit 0';
    put(hook(), mine, 0o750);
    expect((await guard('install', 'git', '--yes')).exitCode).toBe(0);
    expect(statSync(hook()).mode & 0o777).toBe(0o750);
    put(join(repository, 'a.sh'), 'docker volume prune\n');
    await git('add', '.');
    expect((await commit()).exitCode).toBe(1);
    expect(existsSync(join(repository, 'mine'))).toBe(false);
    writeFileSync(join(repository, 'a.sh'), 'true\n');
    await git('add', '.');
    expect((await commit()).exitCode).toBe(0);
    expect(existsSync(join(repository, 'mine'))).toBe(true);
    expect((await guard('uninstall', 'git', '--yes')).exitCode).toBe(0);
    expect(read(hook())).toBe(mine);
  });

  it('refuses a hook in another language, with the line to add', async () => {
    put(hook(), '#!/usr/bin/env python3\nprint(1)\n', 0o755);
    const { exitCode, stderr } = await guard('install', 'git', '--yes');
    expect(exitCode).toBe(3);
    expect(stderr).toContain('scan --staged');
    expect(read(hook())).toBe('#!/usr/bin/env python3\nprint(1)\n');
  });

  it('goes where git looks: in work trees, core.hooksPath, husky', async () => {
    put(join(repository, 'a.txt'), 'x');
    await git('add', '.');
    await commit();
    const other = join(folder, 'other');
    await git('worktree', 'add', '--quiet', other);
    await run(process.execPath, [program, 'guard', 'install', 'git', '--yes'], {}, other);
    expect(existsSync(hook())).toBe(true);
    put(join(other, 'a.sh'), 'docker volume prune\n');
    await run('git', ['add', '.'], {}, other);
    expect((await run('git', ['commit', '--message', 'x'], {}, other)).exitCode).toBe(1);

    await git('config', 'core.hooksPath', '.githooks');
    expect((await guard('install', 'git', '--yes')).exitCode).toBe(0);
    expect(read(join(repository, '.githooks/pre-commit'))).toContain('scan --staged');

    await git('config', 'core.hooksPath', '.husky/_');
    put(join(repository, '.husky/pre-commit'), 'npm test\n');
    expect((await guard('install', 'git', '--yes')).exitCode).toBe(0);
    expect(read(join(repository, '.husky/pre-commit'))).toMatch(
      /^# >>> safe-update guard >>>\n[^]*\nnpm test\n$/,
    );
  });

  it('needs a repository', async () => {
    const { exitCode, stderr } = await run(
      process.execPath,
      [program, 'guard', 'install', 'git', '--yes'],
      { GIT_CEILING_DIRECTORIES: folder },
      home,
    );
    expect(exitCode).toBe(3);
    expect(stderr.replaceAll(/\s+/g, ' ')).toContain('no git repository');
  });
});

describe('guard install of an agent', () => {
  const files = {
    claude: ['.claude/settings.json', '.claude/settings.json'],
    codex: ['.codex/hooks.json', '.codex/hooks.json'],
    gemini: ['.gemini/settings.json', '.gemini/settings.json'],
    cursor: ['.cursor/hooks.json', '.cursor/hooks.json'],
    copilot: ['.github/hooks/safe-update-guard.json', '.copilot/hooks/safe-update-guard.json'],
    opencode: ['.opencode/plugins/safe-update-guard.js', '.config/opencode/plugins/safe-update-guard.js'],
  };

  it.each(Object.entries(files))(
    'proves itself in a repository and for a user, and goes again: %s',
    async (agent, [own, users]) => {
      for (const [path, flags] of [
        [join(repository, own!), []],
        [join(home, users!), ['--user']],
      ] as const) {
        const { exitCode, stdout } = await guard('install', agent, ...flags, '--yes');
        expect(exitCode, stdout).toBe(0);
        expect(stdout).toContain('"docker volume prune" was refused through it');
        const text = read(path);
        const again = await guard('install', agent, ...flags, '--yes');
        expect(again.stdout).toContain('already installed');
        expect(read(path)).toBe(text);
      }
      const { stdout } = await guard('status');
      const state = agent === 'codex' ? 'waiting' : 'installed';
      expect(stdout).toMatch(new RegExp(`^${agent} +${state}`, 'm'));
      expect(stdout).toMatch(new RegExp(`^${agent} --user +${state}`, 'm'));
      for (const flags of [[], ['--user']]) await guard('uninstall', agent, ...flags, '--yes');
      expect(existsSync(join(repository, own!))).toBe(false);
      expect(existsSync(join(home, users!))).toBe(false);
    },
  );

  it.each([
    ['claude', 'CLAUDE_CONFIG_DIR', 'settings.json'],
    ['codex', 'CODEX_HOME', 'hooks.json'],
    ['gemini', 'GEMINI_CLI_HOME', '.gemini/settings.json'],
    ['copilot', 'COPILOT_HOME', 'hooks/safe-update-guard.json'],
    ['opencode', 'XDG_CONFIG_HOME', 'opencode/plugins/safe-update-guard.js'],
  ])('goes where the agent looks that was given another folder: %s, %s', async (agent, name, path) => {
    const elsewhere = join(folder, 'elsewhere');
    const inPlace = (...args: string[]) =>
      run(process.execPath, [program, 'guard', ...args, agent, '--user', '--yes'], { [name]: elsewhere });
    expect((await inPlace('install')).exitCode).toBe(0);
    expect(read(join(elsewhere, path))).toContain('guard');
    expect(readdirSync(home)).toEqual([]);
    expect((await inPlace('uninstall')).exitCode).toBe(0);
    expect(existsSync(join(elsewhere, path))).toBe(false);

    // An empty name is none.
    await run(process.execPath, [program, 'guard', 'install', agent, '--user', '--yes'], { [name]: '' });
    expect(existsSync(join(home, files[agent as keyof typeof files][1]!))).toBe(true);
  });

  it('refuses in a session of opencode in another folder than its server', async () => {
    await guard('install', 'opencode', '--user', '--yes');
    const plugin = join(home, files.opencode[1]!);
    put(join(repository, 'sub/deploy.sh'), 'docker compose down -v\n');
    const calls = `
      const { SafeUpdateGuard } = await import(${JSON.stringify(plugin)});
      const hooks = await SafeUpdateGuard({ directory: ${JSON.stringify(repository)} });
      const said = (args) => hooks['tool.execute.before']({ tool: 'bash' }, { args }).then(() => 'allowed', ({ message }) => message);
      console.log(JSON.stringify([
        await said({ command: 'sh deploy.sh', workdir: 'sub' }),
        await said({ command: 'sh sub/deploy.sh' }),
        await said({ command: 'sh deploy.sh', workdir: ${JSON.stringify(join(repository, 'sub'))} }),
        await said({ command: 'docker compose ps', workdir: 'sub' }),
      ]));`;
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', calls], {}, folder);
    const [relative, none, absolute, harmless] = JSON.parse(stdout) as string[];
    for (const refusal of [relative, none, absolute]) expect(refusal).toContain('down-volumes');
    expect(harmless).toBe('allowed');

    writeFileSync(plugin, read(plugin).replace(program, `${program}.gone`));
    const gone = await run(process.execPath, ['--input-type=module', '-e', calls], {}, folder);
    expect(JSON.parse(gone.stdout)).toEqual(Array(4).fill(expect.stringContaining('the guard cannot run')));
  });

  // Codex, Gemini CLI and Copilot run the command when a hook takes too long. Reading a backup again takes up to 30 seconds.
  it('gives the guard more time than it takes', async () => {
    for (const [agent, [path]] of Object.entries(files)) {
      await guard('install', agent, '--yes');
      const [, name, given] = /"?(timeout|timeoutSec)"?: (\d+)/.exec(read(join(repository, path!)))!;
      const milliseconds = agent === 'gemini' || agent === 'opencode';
      expect(Number(given) / (milliseconds ? 1000 : 1), `${agent}: ${name}`).toBeGreaterThanOrEqual(60);
    }
  });

  it('says of Codex that a hook waits until Codex was told to trust it', async () => {
    const path = join(repository, '.codex/hooks.json');
    const { stdout } = await guard('install', 'codex', '--yes');
    expect(stdout).toContain('codex exec');
    const waiting = await guard('status');
    expect(waiting.exitCode).toBe(1);
    expect(waiting.stdout).toMatch(/^codex +waiting +.*trust/m);

    const config = put(
      join(home, '.codex/config.toml'),
      `model = "x"\n\n[hooks.state]\n\n[hooks.state."${path}:pre_tool_use:0:0"]\ntrusted_hash = "sha256:00"\n`,
    );
    const trusted = await guard('status');
    expect(trusted.exitCode, trusted.stdout).toBe(0);
    expect(trusted.stdout).toMatch(/^codex +installed/m);

    writeFileSync(config, `${read(config)}enabled = false\n`);
    expect((await guard('status')).stdout).toMatch(/^codex +waiting +.*off/m);
    writeFileSync(config, read(config).replace(path, '/elsewhere/hooks.json'));
    expect((await guard('status')).stdout).toMatch(/^codex +waiting +.*trust/m);
  });

  it.each(['claude', 'gemini', 'copilot'])(
    'says in which sessions a hook of a repository counts: %s',
    async (agent) => {
      const { stdout } = await guard('install', agent, '--yes');
      expect(stdout).toContain(`safe-update guard install ${agent} --user`);
      expect((await guard('install', agent, '--user', '--yes')).stdout).not.toContain('For every folder');
    },
  );

  it('refuses everything when the guard is gone, in the way the agent takes for a refusal', async () => {
    put(
      join(folder, 'bin', 'safe-update'),
      `#!/bin/sh\nexec '${process.execPath}' '${program}' "$@"\n`,
      0o755,
    );
    const path = { PATH: `${join(folder, 'bin')}:/usr/bin:/bin` };
    for (const agent of ['claude', 'codex', 'gemini', 'cursor', 'copilot'] as const) {
      const installed = await run(process.execPath, [program, 'guard', 'install', agent, '--yes'], path);
      expect(installed.exitCode, installed.stdout).toBe(0);
      const command = /"(?:command|bash)": ("safe-update .*?[^\\]")/.exec(
        read(join(repository, files[agent][0]!)),
      )?.[1];
      const { exitCode, stdout, stderr } = await run('/bin/sh', ['-c', JSON.parse(command!) as string]);
      if (agent === 'copilot') expect(JSON.parse(stdout)).toMatchObject({ permissionDecision: 'deny' });
      else expect(exitCode).toBe(2);
      expect(stdout + stderr).toContain('the guard cannot run');
    }
  });

  it('keeps what else stands in the file, and replaces an older form of itself', async () => {
    const path = put(
      join(repository, '.claude/settings.json'),
      '{\n    // mine\n    "model": "x", "hooks": {"PreToolUse": [\n        {"matcher": "Bash", "hooks": [{"type": "command", "command": "safe-update guard hook claude"}]},\n        {"matcher": "Edit", "hooks": [{"type": "command", "command": "./lint"}]}\n    ]}\n}\n',
    );
    expect((await guard('install', 'claude', '--yes')).exitCode).toBe(0);
    const text = read(path);
    expect(text).toContain(
      '    // mine\n    "model": "x", "hooks": {"PreToolUse": [\n        {"matcher": "Edit"',
    );
    expect(text.match(/guard hook claude/g)).toHaveLength(1);
    await guard('uninstall', 'claude', '--yes');
    expect(read(path)).toBe(
      '{\n    // mine\n    "model": "x", "hooks": {"PreToolUse": [\n        {"matcher": "Edit", "hooks": [{"type": "command", "command": "./lint"}]}\n    ]}\n}\n',
    );
  });

  it('leaves a file alone that is no JSON', async () => {
    const path = put(join(repository, '.claude/settings.json'), '{ not json');
    const { exitCode, stderr } = await guard('install', 'claude', '--yes');
    expect(exitCode).toBe(3);
    expect(stderr).toContain('Nothing was touched');
    expect(read(path)).toBe('{ not json');
  });
});
