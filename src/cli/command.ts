import type { GlobalFlags } from './runtime.ts';

/** What a command's file exports: runs it and returns the exit code. */
export interface CommandModule {
  run(input: CommandInput): Promise<number>;
}

export interface CommandInput {
  args: (string | undefined)[];
  flags: GlobalFlags;
  /** Names of all commands: an environment that looks like one is probably mistyped. */
  commands: readonly string[];
}
