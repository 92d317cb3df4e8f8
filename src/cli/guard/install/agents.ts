import { realpath } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import type { AgentName } from '../../../guard/hook.ts';
import { SafeUpdateError } from '../../../model/error.ts';
import { guardCommand, isCurrent } from './command.ts';
import { readText } from './files.ts';
import type { FileChange, Options, Place, PlaceKind, Plan, Proof, World } from './place.ts';
import { hooksIn, withHook, withoutHook, type Layout } from './settings.ts';

type Fields = Record<string, unknown>;

/** How an agent is told of a hook. What each is taken from is in docs/guard.md. */
interface Agent {
  /** Its file: in a repository, and for one user in all of them. */
  file: { project: string; user: (world: World) => string };
  event: string;
  empty?: Fields;
  /** What stands in the list of the event. */
  entry: (command: string) => unknown;
  /** Where in a hook the command stands. */
  key: 'command' | 'bash';
  /** Shell text for when the guard itself cannot run: refuses in the agent's way. */
  otherwise: string;
  /** The agent's request for a command. */
  request: (command: string, cwd: string) => unknown;
  isDenied: (answer: Fields) => boolean;
  note?: string;
  /** What is so only of the file in a repository. */
  sharedNote?: string;
  /** Given its file, and which hook in it: what the agent still wants before it calls it. */
  waitsFor?: (path: string, at: string, world: World) => Promise<string | undefined>;
}

/**
 * Seconds after which an agent gives a hook up, and most then run the command. A verdict takes a tenth of one, but where a
 * backup is read again, and the engine is slow, more than 30.
 */
const limit = 60;

const cannotRun =
  'safe-update guard: refused, as the guard cannot run. Install safe-update, or install this hook again.';
/** What agents with exit codes take for a refusal: 2, and the reason on stderr. Any other one lets the command through. */
const exitTwo = `{ echo '${cannotRun}' >&2; exit 2; }`;

const inHome =
  (...parts: string[]) =>
  ({ home }: World): string =>
    join(home, ...parts);

/** A folder that a variable may name instead of the usual one. An empty name is none. */
const named =
  (variable: string, usual: (world: World) => string) =>
  (world: World): string =>
    world.env[variable] || usual(world);

const below =
  (folder: (world: World) => string, ...parts: string[]) =>
  (world: World): string =>
    join(folder(world), ...parts);

const codexHome = named('CODEX_HOME', inHome('.codex'));

const everywhere = (agent: string): string => `For every folder: safe-update guard install ${agent} --user`;

const agents = {
  claude: {
    file: {
      project: '.claude/settings.json',
      user: below(named('CLAUDE_CONFIG_DIR', inHome('.claude')), 'settings.json'),
    },
    event: 'PreToolUse',
    entry: (command) => ({
      matcher: 'Bash|PowerShell|Monitor',
      hooks: [{ type: 'command', command, timeout: limit, onFailure: 'block' }],
    }),
    key: 'command',
    otherwise: exitTwo,
    request: (command, cwd) => ({
      hook_event_name: 'PreToolUse',
      tool_name: 'Bash',
      tool_input: { command },
      cwd,
    }),
    isDenied: ({ hookSpecificOutput }) =>
      (hookSpecificOutput as Fields | undefined)?.['permissionDecision'] === 'deny',
    note: 'Claude Code reads it when a session starts.',
    sharedNote: `A session that starts in a folder below this one does not have it. ${everywhere('claude')}`,
  },
  codex: {
    file: { project: '.codex/hooks.json', user: below(codexHome, 'hooks.json') },
    event: 'PreToolUse',
    entry: (command) => ({ matcher: 'Bash', hooks: [{ type: 'command', command, timeout: limit }] }),
    key: 'command',
    otherwise: exitTwo,
    request: (command, cwd) => ({
      hook_event_name: 'PreToolUse',
      tool_name: 'Bash',
      tool_input: { command },
      cwd,
    }),
    isDenied: ({ hookSpecificOutput }) =>
      (hookSpecificOutput as Fields | undefined)?.['permissionDecision'] === 'deny',
    note: 'Codex does not run it before it is trusted: start a session, or /hooks in one. Until then "codex exec" goes without it, and does not say so.',
    sharedNote: 'The project has to be trusted, too.',
    waitsFor: codexTrust,
  },
  gemini: {
    file: {
      project: '.gemini/settings.json',
      user: below(named('GEMINI_CLI_HOME', inHome()), '.gemini', 'settings.json'),
    },
    event: 'BeforeTool',
    entry: (command) => ({
      matcher: 'run_shell_command',
      hooks: [{ type: 'command', name: 'safe-update guard', command, timeout: limit * 1000 }],
    }),
    key: 'command',
    otherwise: exitTwo,
    request: (command, cwd) => ({
      hook_event_name: 'BeforeTool',
      tool_name: 'run_shell_command',
      tool_input: { command },
      cwd,
    }),
    isDenied: ({ decision }) => decision === 'deny',
    note: 'Gemini CLI reads it when a session starts.',
    sharedNote: `Only in a trusted folder, for which --skip-trust does not count, and not in a session that starts in a folder below this one. ${everywhere('gemini')}`,
  },
  cursor: {
    file: { project: '.cursor/hooks.json', user: inHome('.cursor', 'hooks.json') },
    event: 'beforeShellExecution',
    empty: { version: 1 },
    entry: (command) => ({ command, timeout: limit, failClosed: true }),
    key: 'command',
    otherwise: exitTwo,
    request: (command, cwd) => ({ hook_event_name: 'beforeShellExecution', command, cwd }),
    isDenied: ({ permission }) => permission === 'deny',
  },
  copilot: {
    file: {
      project: '.github/hooks/safe-update-guard.json',
      user: below(named('COPILOT_HOME', inHome('.copilot')), 'hooks', 'safe-update-guard.json'),
    },
    event: 'preToolUse',
    empty: { version: 1 },
    entry: (command) => ({ type: 'command', bash: command, timeoutSec: limit }),
    key: 'bash',
    otherwise: `echo '${JSON.stringify({ permissionDecision: 'deny', permissionDecisionReason: cannotRun })}'`,
    request: (command, cwd) => ({ cwd, toolName: 'bash', toolArgs: JSON.stringify({ command }) }),
    isDenied: ({ permissionDecision }) => permissionDecision === 'deny',
    note: 'Copilot reads it when a session starts.',
    sharedNote: `Only in a trusted folder: "copilot -p" in another one goes without it, and does not say so. ${everywhere('copilot')}\nCopilot's cloud agent has no safe-update and would be refused everything: there, install it in copilot-setup-steps.yml.`,
  },
} satisfies Record<Exclude<AgentName, 'opencode'>, Agent>;

/** The canary is only ever a text in a request: no agent and no shell gets to run it. */
const tried = 'docker volume prune';

class HookFile implements Place {
  readonly name: string;
  readonly #agent: Agent;
  readonly #agentName: string;
  readonly #world: World;
  readonly #path: string;
  readonly #shared: boolean;

  constructor(agentName: keyof typeof agents, options: Options, world: World) {
    const user = options['user'] === true;
    this.name = user ? `${agentName} --user` : agentName;
    this.#agentName = agentName;
    this.#agent = agents[agentName];
    this.#world = world;
    this.#shared = !user;
    this.#path = user ? this.#agent.file.user(world) : join(world.cwd, this.#agent.file.project);
  }

  async install(): Promise<Plan> {
    const { entry, otherwise, note, sharedNote } = this.#agent;
    const before = await readText(this.#path);
    if (before !== undefined && this.#isCurrent(before)) return { changes: [] };
    const command = `${await guardCommand(this.#world, this.#shared)} hook ${this.#agentName} || ${otherwise}`;
    const after = withHook(before, this.#path, this.#layout(), entry(command));
    const changes: FileChange[] = [{ path: this.#path, before, after }];
    const foreign =
      this.#shared && !command.startsWith('safe-update ')
        ? [
            'The file names paths of this machine. To share it, install safe-update globally, and install the hook again.',
          ]
        : [];
    const told = [note, this.#shared ? sharedNote : undefined].filter((text) => text !== undefined);
    return { changes, notes: [...told.flatMap((text) => text.split('\n')), ...foreign] };
  }

  async uninstall(): Promise<Plan> {
    const before = await readText(this.#path);
    if (before === undefined) return { changes: [] };
    const [first] = hooksIn(before, this.#path, this.#layout());
    if (first === undefined) return { changes: [] };
    // A file that holds what was written where there was none goes as a whole.
    const made = withHook(undefined, this.#path, this.#layout(), first.entry);
    const after = before === made ? undefined : withoutHook(before, this.#path, this.#layout());
    return { changes: [{ path: this.#path, before, after }], folders: foldersOf(this.#path, after) };
  }

  async prove(): Promise<Proof> {
    const text = (await readText(this.#path)) ?? '{}';
    const [found] = hooksIn(text, this.#path, this.#layout());
    const command = commandOf(found?.hook, this.#agent.key) ?? '';
    const request = this.#agent.request(tried, this.#world.cwd);
    const { stdout, stderr, exitCode } = await this.#world.exec.run({
      argv: ['/bin/sh', '-c', command],
      cwd: this.#world.cwd,
      stdin: Readable.from([JSON.stringify(request)]),
      timeout: limit * 1000,
    });
    let denied: boolean;
    try {
      // A refusal because the guard cannot run is no proof that it judges.
      denied =
        exitCode === 0 &&
        this.#agent.isDenied(JSON.parse(stdout) as Fields) &&
        stdout.includes('volume-prune');
    } catch {
      denied = false;
    }
    return { denied, tried, answer: stdout === '' ? stderr : stdout };
  }

  async waitsFor(): Promise<string | undefined> {
    const { waitsFor } = this.#agent;
    const [found] = hooksIn((await readText(this.#path)) ?? '{}', this.#path, this.#layout());
    return found === undefined ? undefined : waitsFor?.(this.#path, found.at, this.#world);
  }

  #layout(): Layout {
    const { event, empty = {}, key } = this.#agent;
    const ours = new RegExp(`(safe-update|bin\\.[jt]s)['"]? guard hook ${this.#agentName}\\b`);
    return { event, empty, isOurs: (hook) => ours.test(commandOf(hook, key) ?? '') };
  }

  #isCurrent(text: string): boolean {
    const { key, entry } = this.#agent;
    const [found, ...more] = hooksIn(text, this.#path, this.#layout());
    const command = commandOf(found?.hook, key);
    if (command === undefined || more.length > 0 || !isCurrent(command, this.#world)) return false;
    return JSON.stringify(found?.entry) === JSON.stringify(entry(command));
  }
}

/**
 * Whether Codex runs a hook: it keeps in its configuration which ones a person has trusted or switched off, under the path of
 * the file, the event, and the place in it. Whether what was trusted is still what stands there, only Codex can tell.
 */
async function codexTrust(path: string, at: string, world: World): Promise<string | undefined> {
  const config = (await readText(join(codexHome(world), 'config.toml'))) ?? '';
  const real = await realpath(path);
  for (const [head = '', text, literal] of config.matchAll(
    /^\[hooks\.state\.(?:("(?:[^"\\]|\\.)*")|'([^']*)')\][ \t]*\r?$/gm,
  )) {
    const key = text === undefined ? literal : unquoted(text);
    if (key !== `${path}:pre_tool_use:${at}` && key !== `${real}:pre_tool_use:${at}`) continue;
    const [table = ''] = config.slice(config.indexOf(head) + head.length).split(/^\[/m);
    if (/^[ \t]*enabled[ \t]*=[ \t]*false/m.test(table))
      return 'it is switched off in Codex: /hooks in a session';
    if (/^[ \t]*trusted_hash[ \t]*=/m.test(table)) return undefined;
  }
  return 'Codex does not run it before it is trusted: /hooks in a session';
}

/** A quoted key of TOML, as far as it is written as in JSON. */
function unquoted(text: string): string | undefined {
  try {
    return JSON.parse(text) as string;
  } catch {
    return undefined;
  }
}

/** Folders that may have been made for a file: they go with it. */
function foldersOf(path: string, after: string | undefined): string[] {
  return after === undefined ? [dirname(path), dirname(dirname(path))] : [];
}

function commandOf(hook: unknown, key: string): string | undefined {
  const command = (hook as Fields | null | undefined)?.[key];
  return typeof command === 'string' ? command : undefined;
}

/** opencode loads a plugin: a file of our own. */
class Plugin implements Place {
  readonly name: string;
  readonly #world: World;
  readonly #path: string;

  constructor(options: Options, world: World) {
    const user = options['user'] === true;
    this.name = user ? 'opencode --user' : 'opencode';
    this.#world = world;
    const config = named('XDG_CONFIG_HOME', inHome('.config'))(world);
    this.#path = join(
      user ? join(config, 'opencode') : join(world.cwd, '.opencode'),
      'plugins',
      'safe-update-guard.js',
    );
  }

  async install(): Promise<Plan> {
    const before = await readText(this.#path);
    const after = pluginText(this.#world);
    if (before === after) return { changes: [] };
    if (before !== undefined && !before.startsWith(pluginHead))
      throw new SafeUpdateError('refused', `${this.#path} is there already, and is not the guard's.`, {
        state: 'Nothing was touched.',
        hint: 'Give that file another name.',
      });
    return {
      changes: [{ path: this.#path, before, after }],
      notes: ['opencode loads it when it starts.'],
    };
  }

  async uninstall(): Promise<Plan> {
    const before = await readText(this.#path);
    if (before?.startsWith(pluginHead) !== true) return { changes: [] };
    return {
      changes: [{ path: this.#path, before, after: undefined }],
      folders: foldersOf(this.#path, undefined),
    };
  }

  async prove(): Promise<Proof> {
    const url = pathToFileURL(this.#path).href;
    const script = `
      const { SafeUpdateGuard } = await import(${JSON.stringify(url)});
      const hooks = await SafeUpdateGuard({ directory: process.cwd() });
      await hooks['tool.execute.before']({ tool: 'bash' }, { args: { command: ${JSON.stringify(tried)} } }).then(
        () => { process.exitCode = 3; },
        (error) => { console.log(error.message); },
      );`;
    const { stdout, stderr, exitCode } = await this.#world.exec.run({
      argv: [this.#world.node, '--input-type=module', '-e', script],
      cwd: this.#world.cwd,
      timeout: limit * 1000,
    });
    return {
      denied: exitCode === 0 && stdout.includes('volume-prune'),
      tried,
      answer: stdout === '' ? stderr : stdout,
    };
  }
}

const pluginHead = '// safe-update guard: ';

function pluginText({ node, bin }: World): string {
  return `${pluginHead}refuses shell commands that delete volumes and data.
// Made by "safe-update guard install opencode", taken out by "safe-update guard uninstall opencode".
import { spawnSync } from 'node:child_process';

export const SafeUpdateGuard = async ({ directory }) => ({
  'tool.execute.before': async ({ tool }, { args }) => {
    if (tool !== 'bash' && typeof args?.command !== 'string') return;
    const { status, stderr } = spawnSync(
      ${JSON.stringify(node)},
      [${JSON.stringify(bin)}, 'guard', 'hook', 'opencode'],
      { input: JSON.stringify({ tool: 'bash', args, cwd: directory }), encoding: 'utf8', timeout: ${limit * 1000} },
    );
    if (status === 2) throw new Error(stderr);
    if (status !== 0) throw new Error(${JSON.stringify(cannotRun)});
  },
});
`;
}

/** The place of an agent. */
export function agentPlace(name: AgentName): PlaceKind {
  return {
    options: { user: 'switch' },
    variants: [{}, { user: true }],
    at: (options, world) =>
      name === 'opencode' ? new Plugin(options, world) : new HookFile(name, options, world),
  };
}
