import type { Flags } from '../flags.ts';
import { takenElsewhere, type Invocation } from '../invocation.ts';

/** Globals that leave a command with the engine, the user and the settings that it would have without them. */
const neutral = new Set(
  (
    'debug log-level help version ansi no-ansi verbose progress parallel dry-run compatibility all-resources profile ' +
    'env-file file project-directory workdir project-name'
  ).split(' '),
);

/** The command, taken elsewhere by every global that names another engine, or that nobody knows. */
export function aimed(invocation: Invocation, globals: Flags): Invocation {
  const flags = [...globals.given].flatMap(([name, values]) =>
    neutral.has(name) ? [] : [`--${name} ${values.at(-1) ?? ''}`.trim()],
  );
  const strange = [...globals.unknown, ...globals.strange];
  return takenElsewhere(invocation, ...flags, ...strange);
}
