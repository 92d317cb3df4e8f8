import type { Readable } from 'node:stream';
import type { Finished } from '../docker/exec.ts';
import type { ContainerShell, ScriptOptions } from '../docker/shell.ts';
import type { Container, EngineName } from '../model/project.ts';
import type { Fingerprint } from './fingerprint.ts';
import type { Login } from './logins.ts';

/** A database container that runs. */
export interface RunningDatabase {
  container: Container;
  shell: ContainerShell;
  /** Milliseconds a single client command may take. */
  timeout: number;
  signal?: AbortSignal;
  /** Logins from elsewhere than the container, to be tried where those of its own environment do not do. */
  logins?: readonly Login[];
}

/** Receives the files of a dump as they are made. Resolves when the file is on disk. */
export interface DumpSink {
  /** `name` is a plain file name, unique within the dump. */
  write(name: string, content: Readable): Promise<{ bytes: number }>;
}

/** The files of a dump, read back. */
export interface DumpSource {
  names: readonly string[];
  open(name: string): Readable;
}

/** The folder in which a stopped database keeps its files, with a shell beside it. */
export interface DataFolder {
  /** Runs a POSIX sh script as root, with the folder's path in `$DATA`. GNU coreutils are at hand. */
  run(script: string, options?: ScriptOptions): Promise<Finished>;
}

/** How dumps of this engine come back. */
export type Restorer =
  /**
   * Into a running server, by its client. What the server holds of the dumped databases is replaced; with `only`, of
   * these. No other client may be connected.
   */
  | {
      into: 'running server';
      restore(database: RunningDatabase, source: DumpSource, only?: readonly string[]): Promise<void>;
      /** Names of the databases in a dump. Each can be restored without the others, and without users and roles. */
      databasesIn(source: DumpSource): Promise<string[]>;
      /** Files of the data folder that hold settings and are in no dump, where they are there, as patterns: `*.conf`. */
      settings?: readonly string[];
    }
  /** As files of a stopped server. Files that would win over the dump at start are removed. */
  | { into: 'stopped data folder'; restore(folder: DataFolder, source: DumpSource): Promise<void> };

/**
 * A kind of database: everything safe-update knows of it. To add one, write a file beside postgres.ts, name it in
 * engines.ts, and write a test beside test/conformance/database/postgres.test.ts.
 */
export interface DatabaseEngine {
  readonly name: EngineName | 'sqlite';
  /** What people call it: "PostgreSQL". */
  readonly title: string;
  /** Given a container as the engine has it, is it a server of this kind? Pure. */
  recognise(container: Container): boolean;
  /** The folder inside the container that holds the server's files, as its environment and image say. Pure. */
  dataPath(container: Container): string;
  /** The same folder, as the running server itself says. Throws SafeUpdateError `database` if it does not say. */
  askDataPath(database: RunningDatabase): Promise<string>;
  /** Does the server answer its own client? */
  ready(database: RunningDatabase): Promise<boolean>;
  /**
   * Dumps the whole server with the client inside its container. Throws SafeUpdateError `database` when a client
   * fails, ends early or takes longer than the time limit. A dump counts only once `check` has accepted it.
   */
  dump(database: RunningDatabase, sink: DumpSink): Promise<void>;
  /** Reads a dump back from the store and proves it complete. Throws SafeUpdateError `database` if it is not. */
  check(database: RunningDatabase, source: DumpSource): Promise<void>;
  readonly restorer: Restorer;
  /**
   * Counts what the server holds: of everything that is people's and not the server's own. Undefined where the container
   * has no client that could. Throws SafeUpdateError `database`.
   */
  fingerprint(database: RunningDatabase): Promise<Fingerprint | undefined>;
  /**
   * What a restore from a dump would not bring back, each by its name: `the replication slot "debezium"`. What is asked of
   * the server is independent of what is dumped. Throws SafeUpdateError `database`.
   */
  notInDump?(database: RunningDatabase): Promise<string[]>;
  /**
   * Given a server's environment, returns the one with which it begins on an empty volume and lets its own client in: with
   * `password` as the administrator's first, where none is in it any more, or a random one is asked for. Pure.
   */
  firstStart?(environment: readonly string[], password: string): string[];
  /**
   * Given the environments of two images, returns their versions if the next one's server cannot read the former one's
   * files. Undefined if it can, or if they do not say. Pure.
   */
  unreadable?(
    former: readonly string[],
    next: readonly string[],
  ): { former: string; next: string } | undefined;
}
