import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { SafeUpdateError } from '../../../model/error.ts';
import { blockIn, onlyBlock, withBlock, withoutBlock } from './block.ts';
import { guardCommand, isCurrent } from './command.ts';
import { isExecutable, readText } from './files.ts';
import type { Place, PlaceKind, Plan, Proof, World } from './place.ts';

export const git: PlaceKind = {
  options: {},
  variants: [{}],
  at: (_, world) => new GitHook(world),
};

const shebang = '#!/bin/sh\n';

/** A pre-commit hook that looks at what is staged. */
class GitHook implements Place {
  readonly name = 'git';
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  async install(): Promise<Plan> {
    const found = await this.#hook();
    if (found === undefined)
      throw new SafeUpdateError('refused', `${this.#world.cwd} is in no git repository.`, {
        state: 'Nothing was touched.',
        hint: 'Call it in the repository.',
      });
    const { path, shared, foreign } = found;
    const before = await readText(path);
    const lines = this.#lines(await guardCommand(this.#world, shared));
    if (before === undefined)
      return {
        changes: [{ path, before, after: onlyBlock(lines, shebang), mode: 0o755 }],
        notes: notesOn(foreign),
      };
    const [, now] = blockIn(before) ?? [];
    if (now !== undefined && isCurrent(now, this.#world)) return { changes: [] };
    const byHand = `Add this line to it by hand: ${lines[1] ?? ''}`;
    if (!isShell(before))
      throw new SafeUpdateError('refused', `${path} is there already, and is no shell script.`, {
        state: 'Nothing was touched.',
        hint: byHand,
      });
    if (!(await isExecutable(path)) && !isHusky(path))
      throw new SafeUpdateError(
        'refused',
        `${path} is there already, but git passes over it, as it cannot be run.`,
        {
          state: 'Nothing was touched.',
          hint: `Remove it, or make it executable: chmod +x ${path}`,
        },
      );
    return { changes: [{ path, before, after: withBlock(before, lines, 'top') }], notes: notesOn(foreign) };
  }

  async uninstall(): Promise<Plan> {
    // Where there is no git, nothing runs its hooks.
    const found = await this.#hook().catch((error: unknown) => {
      if (error instanceof SafeUpdateError) return undefined;
      throw error;
    });
    const before = found === undefined ? undefined : await readText(found.path);
    const lines = before === undefined ? undefined : blockIn(before);
    if (found === undefined || before === undefined || lines === undefined) return { changes: [] };
    const after = before === onlyBlock(lines, shebang) ? undefined : withoutBlock(before);
    return { changes: [{ path: found.path, before, after }] };
  }

  /** Runs the hook's lines with an index of its own, in which a script is staged that must be refused. Nothing of it stays. */
  async prove(): Promise<Proof> {
    const { exec, cwd } = this.#world;
    const tried = 'git commit of a script with docker volume prune';
    const found = await this.#hook();
    const lines = blockIn((found === undefined ? undefined : await readText(found.path)) ?? '') ?? [];
    const top = (await this.#ask('rev-parse', '--show-toplevel')) ?? cwd;
    const objects = resolve(cwd, (await this.#ask('rev-parse', '--git-path', 'objects')) ?? '');
    const folder = await mkdtemp(join(tmpdir(), 'safe-update-canary-'));
    try {
      await mkdir(join(folder, 'objects'));
      const env = {
        GIT_INDEX_FILE: join(folder, 'index'),
        GIT_OBJECT_DIRECTORY: join(folder, 'objects'),
        GIT_ALTERNATE_OBJECT_DIRECTORIES: objects,
      };
      const blob = await exec.run({
        argv: ['git', 'hash-object', '-w', '--stdin'],
        cwd: top,
        env,
        stdin: Readable.from(['docker volume prune\n']),
      });
      await exec.run({
        argv: ['git', 'update-index', '--add', '--cacheinfo', `100755,${blob.stdout.trim()},canary.sh`],
        cwd: top,
        env,
      });
      const { stdout, stderr, exitCode } = await exec.run({
        argv: ['/bin/sh', '-c', lines.join('\n')],
        cwd: top,
        env,
        timeout: 60_000,
      });
      return {
        denied: exitCode !== 0 && stdout.includes('volume-prune'),
        tried,
        answer: stdout === '' ? stderr : stdout,
      };
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  #lines(command: string): string[] {
    return [
      '# What is staged must not hold commands that delete volumes and data.',
      `${command} scan --staged || { echo 'safe-update guard: no commit. A line may stay with a comment beside it: # safe-update-guard: allow REASON' >&2; exit 1; }`,
    ];
  }

  /** Where git looks for the hook; undefined outside of repositories. */
  async #hook(): Promise<{ path: string; shared: boolean; foreign: boolean } | undefined> {
    const { cwd } = this.#world;
    const given = await this.#ask('rev-parse', '--git-path', 'hooks');
    const common = await this.#ask('rev-parse', '--git-common-dir');
    if (given === undefined || common === undefined) return undefined;
    const top = (await this.#ask('rev-parse', '--show-toplevel')) ?? cwd;
    const folder = resolve(cwd, given);
    // husky's own folder is made anew by husky; what people write is in the one above.
    const hooks = basename(folder) === '_' && isHusky(folder) ? dirname(folder) : folder;
    const inGit = isBelow(hooks, resolve(cwd, common));
    const inTree = isBelow(hooks, top);
    return { path: join(hooks, 'pre-commit'), shared: inTree && !inGit, foreign: !inTree && !inGit };
  }

  async #ask(...args: string[]): Promise<string | undefined> {
    const { exitCode, stdout } = await this.#world.exec.run({
      argv: ['git', ...args],
      cwd: this.#world.cwd,
    });
    return exitCode === 0 ? stdout.replace(/\n$/, '') : undefined;
  }
}

function notesOn(foreign: boolean): string[] {
  return foreign
    ? ['core.hooksPath leads out of this repository: the hook holds wherever it is set so.']
    : [];
}

function isHusky(path: string): boolean {
  return basename(dirname(path)) === '.husky';
}

function isBelow(path: string, folder: string): boolean {
  const way = relative(folder, path);
  return way !== '..' && !way.startsWith('../');
}

/** Whether a script is for a shell that reads the block as sh does. Without a first line that says so, git uses sh. */
function isShell(text: string): boolean {
  return !text.startsWith('#!') || /^#!\s*(\S*\/)?(env\s+(-\S+\s+)*)?(ba|da|z|k|a|mk)?sh\b/.test(text);
}
