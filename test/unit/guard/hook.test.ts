import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { answerTo } from '../../../src/cli/guard/hook.ts';
import { judge } from '../../../src/guard/shell.ts';
import { settle } from '../../../src/guard/verdict.ts';
import { hooks, readRequest, type AgentName } from '../../../src/guard/hook.ts';
import { readCorpus } from './corpus.ts';

const agents = Object.keys(hooks) as AgentName[];
const corpus = readCorpus();
const bad = corpus.find((one) => one.rule === 'system-prune')!.text;

/** What each agent writes to its hook before it runs a command, as its documentation shows it. */
const requests: Record<AgentName, (command: string) => unknown> = {
  claude: (command) => ({
    session_id: 'x',
    hook_event_name: 'PreToolUse',
    tool_name: 'Bash',
    tool_input: { command, description: 'x' },
    cwd: '/nowhere',
  }),
  codex: (command) => ({
    hook_event_name: 'PreToolUse',
    tool_name: 'Bash',
    tool_input: { command },
    cwd: '/nowhere',
    turn_id: 'x',
  }),
  gemini: (command) => ({
    hook_event_name: 'BeforeTool',
    tool_name: 'run_shell_command',
    tool_input: { command },
    cwd: '/nowhere',
  }),
  cursor: (command) => ({
    hook_event_name: 'beforeShellExecution',
    conversation_id: 'x',
    workspace_roots: ['/nowhere'],
    command,
    cwd: '/nowhere',
  }),
  copilot: (command) => ({
    timestamp: 1,
    cwd: '/nowhere',
    toolName: 'bash',
    toolArgs: JSON.stringify({ command }),
  }),
  opencode: (command) => ({ tool: 'bash', args: { command }, cwd: '/nowhere' }),
};

/** The verdict as it is where nobody can be asked. */
const unasked: Parameters<typeof answerTo>[2] = async (text, surroundings) =>
  settle(judge(text, surroundings));

type Answer = Awaited<ReturnType<typeof answerTo>>;

/** What stands in an answer, by the names on the way to it. Undefined: nothing was said. */
function read({ stdout }: Answer, ...names: string[]): unknown {
  if (stdout === '') return undefined;
  return names.reduce<unknown>((value, name) => (value as Record<string, unknown>)[name], JSON.parse(stdout));
}

/** How each agent reads an answer. Undefined: the call goes through without a word. */
const readers: Record<AgentName, (answer: Answer) => unknown> = {
  claude: (answer) => read(answer, 'hookSpecificOutput', 'permissionDecision'),
  codex: (answer) => read(answer, 'hookSpecificOutput', 'permissionDecision'),
  gemini: (answer) => read(answer, 'decision'),
  cursor: (answer) => read(answer, 'permission'),
  copilot: (answer) => read(answer, 'permissionDecision'),
  opencode: ({ exitCode, stderr }) => (exitCode === 2 && stderr !== '' ? 'deny' : undefined),
};

const allowed = (agent: AgentName): string | undefined => (agent === 'cursor' ? 'allow' : undefined);

describe.each(agents)('the hook of %s', (agent) => {
  const decided = async (text: string): Promise<unknown> =>
    readers[agent](await answerTo(agent, text, unasked));

  it('passes the whole corpus', async () => {
    for (const one of corpus)
      expect(await decided(JSON.stringify(requests[agent](one.text))), one.text).toBe(
        one.expected === 'allow' ? allowed(agent) : 'deny',
      );
  });

  it('says why, and what to do instead', async () => {
    const answer = await answerTo(agent, JSON.stringify(requests[agent](bad)), unasked);
    const said = answer.stdout + answer.stderr;
    expect(said).toContain('system-prune');
    expect(said).toContain('docker image prune');
  });

  it.each(['', '{', 'null', '[]', '"x"', '7', '{}', '{"tool_name":7,"toolName":7,"tool":7,"command":7}'])(
    'refuses what it cannot read: %s',
    async (text) => {
      expect(await decided(text)).toBe('deny');
    },
  );

  it('refuses a shell without a command', async () => {
    const request = JSON.stringify(requests[agent]('x')).replace(/command(\\?":)/, 'comand$1');
    expect(await decided(request)).toBe('deny');
  });

  it('reads words as well as text', async () => {
    const words = JSON.stringify(['bash', '-lc', bad]);
    const request = JSON.stringify(requests[agent]('PLACE'));
    const asWords =
      agent === 'copilot'
        ? request.replace('\\"PLACE\\"', JSON.stringify(words).slice(1, -1))
        : request.replace('"PLACE"', words);
    expect(await decided(asWords)).toBe('deny');
  });
});

describe('the hooks', () => {
  it.each(agents.filter((agent) => agent !== 'cursor'))('of %s has no say in other tools', (agent) => {
    const request = JSON.stringify(requests[agent](bad)).replace(
      /"(Bash|bash|run_shell_command)"/,
      '"apply_patch"',
    );
    expect(readRequest(agent, request)).toBe('other');
  });
});

describe('what the documentation of the agents says besides', () => {
  const decided = async (agent: AgentName, request: unknown): Promise<unknown> =>
    readers[agent](await answerTo(agent, JSON.stringify(request)));

  it.each([
    [
      'Copilot, typing into a shell that runs',
      'copilot',
      { toolName: 'write_bash', toolArgs: { input: `${bad}{enter}` } },
    ],
    [
      'Copilot, in several keys',
      'copilot',
      { toolName: 'write_bash', toolArgs: { input: `ls{enter}${bad}{enter}` } },
    ],
    ['Copilot in PowerShell', 'copilot', { toolName: 'powershell', toolArgs: { command: bad } }],
    ["Copilot in VS Code's names", 'copilot', { tool_name: 'bash', tool_input: { command: bad } }],
    [
      'Codex, typing into a shell that runs',
      'codex',
      { tool_name: 'write_stdin', tool_input: { chars: `${bad}\n` } },
    ],
    [
      'Codex, in the words of its shell tool',
      'codex',
      { tool_name: 'shell', tool_input: { command: ['bash', '-lc', bad] } },
    ],
    ['Codex, with its unified exec', 'codex', { tool_name: 'exec_command', tool_input: { cmd: bad } }],
    ['Claude Code, watching a command', 'claude', { tool_name: 'Monitor', tool_input: { command: bad } }],
    ['Claude Code in PowerShell', 'claude', { tool_name: 'PowerShell', tool_input: { command: bad } }],
    ['Gemini CLI', 'gemini', { tool_name: 'run_shell_command', tool_input: { command: bad, dir_path: 'x' } }],
  ] as const)('is refused: %s', async (_, agent, request) => {
    expect(await decided(agent, request)).toBe('deny');
  });

  it("answers Copilot in VS Code's way as well", async () => {
    const answer = await answerTo('copilot', JSON.stringify(requests.copilot(bad)));
    expect(read(answer, 'hookSpecificOutput', 'permissionDecision')).toBe('deny');
  });

  it('lets harmless keys through', async () => {
    expect(
      await decided('copilot', { toolName: 'write_bash', toolArgs: { input: '{down}{enter}' } }),
    ).toBeUndefined();
    expect(await decided('codex', { tool_name: 'write_stdin', tool_input: { chars: '' } })).toBeUndefined();
  });
});

/** Requests that the agents sent when they were run, with their ids and paths replaced. */
const sent = JSON.parse(
  readFileSync(new URL('../../../fixtures/guard/requests.json', import.meta.url), 'utf8'),
) as { from: string; hook: AgentName; request: unknown }[];

describe('what the agents really send', () => {
  it.each(sent)('$from', async ({ hook, request }) => {
    const text = JSON.stringify(request);
    expect(readRequest(hook, text)).toEqual({ text: 'docker compose -p shop down -v', cwd: '/srv/shop' });
    expect(readers[hook](await answerTo(hook, text, unasked))).toBe('deny');
    const harmless = text.replace('down -v', 'ps');
    expect(readers[hook](await answerTo(hook, harmless, unasked))).toBe(allowed(hook));
  });

  // A server of opencode runs in another folder than its sessions.
  it.each([
    ['gemini', { tool_name: 'run_shell_command', tool_input: { command: 'x', dir_path: 'sub' } }],
    ['opencode', { tool: 'bash', args: { command: 'x', workdir: './sub' } }],
    ['codex', { tool_name: 'shell', tool_input: { command: 'x', workdir: '/srv/shop/sub' } }],
  ] as const)('a folder is one of the session: %s', (agent, request) => {
    expect(readRequest(agent, JSON.stringify({ ...request, cwd: '/srv/shop' }))).toMatchObject({
      cwd: '/srv/shop/sub',
    });
  });
});
