import type { GlobalFlags } from './runtime.ts';

/** What a command's file exports: runs it and returns the exit code. */
export interface CommandModule {
  run(input: CommandInput): Promise<number>;
}

export interface CommandInput {
  args: (string | undefined)[];
  flags: GlobalFlags;
  /** Names of all commands, where none was given: an environment that looks like one is probably a mistyped one. */
  commands: readonly string[];
}
