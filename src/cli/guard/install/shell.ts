import { existsSync } from 'node:fs';
import { isAbsolute, join, resolve } from 'node:path';
import { shimMarker, shimNames, shimText } from '../../../guard/shim.ts';
import { SafeUpdateError } from '../../../model/error.ts';
import { blockIn, onlyBlock, withBlock, withoutBlock } from './block.ts';
import { readText } from './files.ts';
import type { FileChange, Options, Place, PlaceKind, World } from './place.ts';

export const shell: PlaceKind = {
  options: { dir: 'value', system: 'switch' },
  variants: [{}, { system: true }],
  at: (options, world) => new Shell(options, world),
};

/** How a shell puts a folder ahead in PATH. `folder` is written for that shell already. */
const dialects = {
  posix: (folder: string) => [
    'case $PATH: in',
    `  ${folder}:*) ;;`,
    `  *) PATH=${folder}:$PATH; export PATH ;;`,
    'esac',
  ],
  fish: (folder: string) => [`if test "$PATH[1]" != ${folder}`, `  set -gx PATH ${folder} $PATH`, 'end'],
};

interface StartFile {
  path: string;
  dialect: keyof typeof dialects;
  /** All of it is ours: a file in a folder of fragments. */
  own?: boolean;
}

const markerText = 'Commands in this folder are shims of "safe-update guard". Other shims pass over it.\n';

/** The folder of shims, and the lines in the shells' start files that put it ahead in PATH. */
class Shell implements Place {
  readonly name: string;
  readonly #options: Options;
  readonly #world: World;

  constructor(options: Options, world: World) {
    this.#options = options;
    this.#world = world;
    this.name = options['system'] === true ? 'shell --system' : 'shell';
  }

  async install() {
    const { node, bin } = this.#world;
    if (bin.includes('/_npx/'))
      throw new SafeUpdateError(
        'refused',
        'safe-update runs from the cache of npx, which may be cleaned up.',
        {
          state: 'Nothing was touched.',
          hint: 'Install it first, and call that one: npm install --global safe-update',
        },
      );
    const folder = await this.#folder();
    const files = [
      { path: join(folder, shimMarker), after: markerText, mode: 0o644 },
      ...shimNames.map((name) => ({
        path: join(folder, name),
        after: shimText(name, { node, bin }),
        mode: 0o755,
      })),
    ];
    const changes: FileChange[] = [];
    for (const file of files) {
      const before = await readText(file.path);
      if (before === file.after) continue;
      if (before !== undefined && !isOurs(before))
        throw new SafeUpdateError('refused', `${file.path} is there already, and is no shim.`, {
          state: 'Nothing was touched.',
          hint: 'Choose a folder that holds nothing else: --dir DIR',
        });
      changes.push({ ...file, before, ours: true });
    }
    for (const file of this.#startFiles()) {
      const before = await readText(file.path);
      const lines = dialects[file.dialect](written(folder, this.#world.home));
      const after = before === undefined ? onlyBlock(lines) : withBlock(before, lines);
      if (before !== after) changes.push({ path: file.path, before, after });
    }
    const shadowing = (this.#world.env['PATH'] ?? '').split(':')[0] === folder;
    return {
      changes,
      notes: [
        ...(shadowing
          ? []
          : ['It holds in every shell that is opened from now on. In this one: exec $SHELL -l']),
        'sudo, cron, systemd units and commands over ssh have a PATH of their own, without the guard.',
      ],
    };
  }

  async uninstall() {
    const folder = await this.#folder();
    const changes: FileChange[] = [];
    for (const { path, dialect } of this.#startFiles(true)) {
      const before = await readText(path);
      if (before === undefined || blockIn(before) === undefined) continue;
      const made = onlyBlock(dialects[dialect](written(folder, this.#world.home)));
      changes.push({ path, before, after: before === made ? undefined : withoutBlock(before) });
    }
    for (const name of [...shimNames, shimMarker]) {
      const before = await readText(join(folder, name));
      if (before !== undefined && isOurs(before))
        changes.push({ path: join(folder, name), before, after: undefined, ours: true });
    }
    const plain = this.#options['dir'] === undefined && this.#options['system'] !== true;
    return {
      changes,
      folders: [folder, ...(plain ? [join(folder, '..')] : [])],
      notes: [
        'Shells that are open keep the folder in their PATH. Where one does not find docker any more: hash -r',
      ],
    };
  }

  async prove() {
    const { exec } = this.#world;
    const folder = await this.#folder();
    const tried = 'docker volume prune';
    // Should nothing refuse it: there is no docker in this PATH, and no engine behind this address.
    const { exitCode, stderr } = await exec.run({
      argv: [join(folder, 'docker'), 'volume', 'prune'],
      env: { PATH: folder, DOCKER_HOST: 'unix:///nonexistent.sock' },
      timeout: 30_000,
    });
    return { denied: exitCode === 2 && stderr.includes('volume-prune'), tried, answer: stderr };
  }

  /** Where the shims are or will be: as the options say, else as an installed block says, else the usual place. */
  async #folder(): Promise<string> {
    const { home, cwd, env } = this.#world;
    const given = this.#options['dir'];
    if (typeof given === 'string') {
      const folder = resolve(cwd, given);
      if (/[:\n]/.test(folder))
        throw new SafeUpdateError('usage', 'A folder with ":" in its name cannot be in PATH.');
      return folder;
    }
    if (this.#options['system'] === true) return '/usr/local/share/safe-update/shims';
    for (const { path } of this.#startFiles(true)) {
      const text = await readText(path);
      const line = (text === undefined ? undefined : blockIn(text))?.find((each) => /PATH[= ]/.test(each));
      const found = /PATH[= ](.+?)(?::\$PATH;| \$PATH$)/.exec(line ?? '')?.[1];
      if (found !== undefined) return read(found, home);
    }
    const data = env['XDG_DATA_HOME'];
    return join(
      data !== undefined && isAbsolute(data) ? data : join(home, '.local', 'share'),
      'safe-update',
      'shims',
    );
  }

  /** The start files to write to; with `all`, every one that may ever have been written to. */
  #startFiles(all = false): StartFile[] {
    const { home, env } = this.#world;
    if (this.#options['system'] === true) {
      // profile.d is for shells of a login; the others are for those that are opened within one, or by a program.
      const interactive = ['/etc/bash.bashrc', '/etc/bashrc', '/etc/zsh/zshrc', '/etc/zshrc'];
      return [
        { path: '/etc/profile.d/safe-update-guard.sh', dialect: 'posix' },
        ...interactive
          .filter((path) => all || existsSync(path))
          .map((path) => ({ path, dialect: 'posix' }) as const),
        ...(all || existsSync('/etc/fish/conf.d')
          ? [{ path: '/etc/fish/conf.d/safe-update-guard.fish', dialect: 'fish' } as const]
          : []),
      ];
    }
    const config = env['XDG_CONFIG_HOME'] ?? join(home, '.config');
    const zsh = env['ZDOTDIR'] ?? home;
    const profile = join(home, '.profile');
    const known: StartFile[] = [
      ...['.bashrc', '.bash_profile', '.bash_login'].map(
        (name) => ({ path: join(home, name), dialect: 'posix' }) as const,
      ),
      { path: join(zsh, '.zshrc'), dialect: 'posix' },
      { path: profile, dialect: 'posix' },
    ];
    const fish = join(config, 'fish');
    const found = known.filter(({ path }) => all || existsSync(path));
    return [
      ...(found.length > 0 ? found : [{ path: profile, dialect: 'posix' } as const]),
      ...(all || existsSync(fish)
        ? [{ path: join(fish, 'conf.d', 'safe-update-guard.fish'), dialect: 'fish' } as const]
        : []),
    ];
  }
}

function isOurs(text: string): boolean {
  return text === markerText || text.startsWith('#!/bin/sh\n# safe-update guard: ');
}

/** A folder as a shell reads it: below the home folder by "$HOME", so that start files can be shared between machines. */
function written(folder: string, home: string): string {
  const below = home !== '/' && folder.startsWith(`${home}/`);
  const text = (below ? folder.slice(home.length) : folder).replace(/[\\"$`]/g, '\\$&');
  return `"${below ? '$HOME' : ''}${text}"`;
}

/** The folder that `written` wrote. */
function read(text: string, home: string): string {
  return text
    .slice(1, -1)
    .replace(/^\$HOME/, () => home)
    .replace(/\\([\\"$`])/g, '$1');
}
