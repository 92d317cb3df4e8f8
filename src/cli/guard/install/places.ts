import { hooks, type AgentName } from '../../../guard/hook.ts';
import type { PlaceKind } from './place.ts';

const agentNames = Object.keys(hooks) as AgentName[];

/** By the name on the command line. Each is loaded only when it is asked for. */
export const places: Readonly<Record<string, () => Promise<PlaceKind>>> = {
  shell: async () => (await import('./shell.ts')).shell,
  git: async () => (await import('./git.ts')).git,
  ...Object.fromEntries(
    agentNames.map((name) => [name, async () => (await import('./agents.ts')).agentPlace(name)]),
  ),
};
