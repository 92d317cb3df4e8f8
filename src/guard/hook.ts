import { resolvePath } from './data-paths.ts';
import { asWord } from './shell.ts';

/** What a coding agent wants to run. */
export interface HookRequest {
  text: string;
  cwd: string | undefined;
}

export interface HookAnswer {
  stdout: string;
  stderr: string;
  exitCode: number;
}

/** One agent's way to ask and to be answered. */
interface Protocol {
  /** Given what the agent wrote, return where the name of the tool and its input are. */
  call: (input: Fields) => { tool: unknown; input: unknown };
  allow: HookAnswer;
  deny: (reason: string) => HookAnswer;
}

type Fields = Record<string, unknown>;

const silence: HookAnswer = { stdout: '', stderr: '', exitCode: 0 };
const says = (answer: unknown): HookAnswer => ({ ...silence, stdout: `${JSON.stringify(answer)}\n` });

/** A bare "allow" skips the agent's own questions, or is an error; so allowing is silent where silence is understood. */
const claude: Protocol = {
  call: (input) => ({ tool: input['tool_name'], input: input['tool_input'] }),
  allow: silence,
  deny: (reason) =>
    says({
      hookSpecificOutput: {
        hookEventName: 'PreToolUse',
        permissionDecision: 'deny',
        permissionDecisionReason: reason,
      },
    }),
};

export const hooks = {
  claude,
  codex: claude,
  gemini: { ...claude, deny: (reason) => says({ decision: 'deny', reason }) },
  // It asks about shell commands only, and wants an answer each time.
  cursor: {
    call: (input) => ({ tool: 'shell', input }),
    allow: says({ permission: 'allow' }),
    deny: (reason) => says({ permission: 'deny', user_message: reason, agent_message: reason }),
  },
  // The command line tool and VS Code read the same files, and name things differently.
  copilot: {
    call: (input) => ({
      tool: input['toolName'] ?? input['tool_name'],
      input: parsed(input['toolArgs'] ?? input['tool_input']),
    }),
    allow: silence,
    deny: (reason) => {
      const decision = { permissionDecision: 'deny', permissionDecisionReason: reason };
      return says({ ...decision, hookSpecificOutput: { hookEventName: 'PreToolUse', ...decision } });
    },
  },
  // Its plugin throws what stands on stderr if the exit code is not 0.
  opencode: {
    call: (input) => ({ tool: input['tool'], input: input['args'] }),
    allow: silence,
    deny: (reason) => ({ stdout: '', stderr: `${reason}\n`, exitCode: 2 }),
  },
} satisfies Record<string, Protocol>;

export type AgentName = keyof typeof hooks;

export function isAgent(name: string | undefined): name is AgentName {
  return name !== undefined && Object.hasOwn(hooks, name);
}

/** Names under which agents have a shell. */
const shellTool =
  /^(bash|shell|sh|zsh|powershell|pwsh|terminal|monitor|run_shell_command|run_in_terminal|run_terminal_cmd|exec_command|local_shell|unified_exec|container\.exec)$/i;

/** Names under which they type into a shell that runs already. */
const typingTool = /^(write_bash|write_powershell|write_stdin)$/i;

/**
 * Given what an agent wrote to a hook, return what it wants to run. 'other': a tool that is no shell. 'malformed': nobody
 * can tell, which is answered with a refusal.
 */
export function readRequest(agent: AgentName, text: string): HookRequest | 'other' | 'malformed' {
  const request = fields(parsed(text));
  if (request === undefined) return 'malformed';
  const { tool, input } = hooks[agent].call(request);
  if (typeof tool !== 'string') return 'malformed';
  const types = typingTool.test(tool);
  if (!types && !shellTool.test(tool)) return 'other';
  const given = fields(input);
  const command = types
    ? typed(given?.['input'] ?? given?.['chars'])
    : commandOf(given?.['command'] ?? given?.['cmd']);
  if (command === undefined) return 'malformed';
  const session = folderIn(request['cwd']);
  const own = folderIn(given?.['cwd'], given?.['workdir'], given?.['dir_path']);
  return { text: command, cwd: own === undefined ? session : resolvePath(own, session) };
}

function folderIn(...values: unknown[]): string | undefined {
  return values.find((value): value is string => typeof value === 'string' && value !== '');
}

/** A command is text for a shell, or words. */
function commandOf(command: unknown): string | undefined {
  if (typeof command === 'string') return command;
  if (!Array.isArray(command) || !command.every((word) => typeof word === 'string')) return undefined;
  return command.map(asWord).join(' ');
}

/** What keys come to, line by line: `{enter}` ends one. */
function typed(keys: unknown): string | undefined {
  return typeof keys === 'string' ? keys.replace(/\{(enter|return)\}|\r/gi, '\n') : undefined;
}

function fields(value: unknown): Fields | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;
}

/** JSON in text; what is no text is returned as it is. */
function parsed(value: unknown): unknown {
  if (typeof value !== 'string') return value;
  try {
    return JSON.parse(value);
  } catch {
    return undefined;
  }
}
