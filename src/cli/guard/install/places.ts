import type { PlaceKind } from './place.ts';

/** By the name on the command line. Each is loaded only when it is asked for. */
export const places: Readonly<Record<string, () => Promise<PlaceKind>>> = {
  shell: async () => (await import('./shell.ts')).shell,
};
