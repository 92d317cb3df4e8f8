import { PassThrough, Readable } from 'node:stream';
import type { Finished } from '../docker/exec.ts';
import { messageOf, SafeUpdateError } from '../model/error.ts';
import type { Container } from '../model/project.ts';
import { formatDuration } from '../model/units.ts';
import type { DumpSink, DumpSource, RunningDatabase } from './database.ts';

/** A script for the database's own container. */
export interface ClientCommand {
  /** What it does, as the beginning of a sentence: `pg_dump of the database "shop"`. */
  what: string;
  script: string;
  env?: Readonly<Record<string, string>>;
  /** The user inside the container; default: the container's own. */
  user?: string;
  stdin?: ReadBack;
  /** Milliseconds; default: the database's time limit. */
  timeout?: number;
  /** What is wrong where it ends with another exit code than 0; default: what it said last. */
  failure?: (finished: Finished) => SafeUpdateError;
}

/** Runs the clients of one database. Whatever fails is a SafeUpdateError `database`, or `interrupted` after a signal. */
export interface Client {
  /** Returns what was printed. Throws unless the exit code is 0. */
  run(command: ClientCommand): Promise<string>;
  /** Returns what was printed, whatever the exit code. Throws only when it was cut off. */
  attempt(command: ClientCommand): Promise<Finished>;
  /**
   * What the script prints becomes a file of the dump. The sink sees the end of it only once the script has ended with
   * exit code 0; in any other case it sees an error.
   */
  dump(command: ClientCommand, sink: DumpSink, name: string, through?: Filter): Promise<void>;
}

export type Filter = (content: AsyncIterable<Buffer>) => AsyncIterable<Buffer>;

export interface ClientOptions {
  /** As in "PostgreSQL". */
  title: string;
  /** Runs after a script was cut off and killed, for what the kill left behind. Its own failure changes nothing. */
  afterCut?: () => Promise<unknown>;
}

export function clientOf(database: RunningDatabase, { title, afterCut }: ClientOptions): Client {
  const subject = `${title} in ${database.container.name}`;

  /** Why a script was cut off; undefined if it was not. */
  async function cutOff(command: ClientCommand, finished: Finished): Promise<SafeUpdateError | undefined> {
    const interrupted = database.signal?.aborted === true;
    if (!interrupted && !finished.timedOut) return undefined;
    await afterCut?.().catch(() => undefined);
    if (interrupted)
      return new SafeUpdateError('interrupted', `${subject}: ${command.what} was interrupted.`);
    const limit = formatDuration(command.timeout ?? database.timeout);
    return new SafeUpdateError(
      'database',
      `${subject}: ${command.what} took longer than ${limit} and was ended.`,
      {
        hint: 'Look for a session that holds a lock or a server that is overloaded, or raise timeouts.dump in safe-update.yml.',
      },
    );
  }

  /** Why a script that has ended does not count; undefined if it does. */
  async function objection(command: ClientCommand, finished: Finished): Promise<SafeUpdateError | undefined> {
    const cut = await cutOff(command, finished);
    if (cut !== undefined || finished.exitCode === 0) return cut;
    if (command.failure !== undefined) return command.failure(finished);
    const said = lastLines(finished.stderr, database.container);
    return new SafeUpdateError(
      'database',
      `${subject}: ${command.what} failed with exit code ${finished.exitCode}${said === '' ? '.' : `: ${said}`}`,
    );
  }

  /** The engine says so where the script's output would be. */
  function withoutShell({ exitCode, stdout, stderr }: Finished): SafeUpdateError | undefined {
    const said = /exec: "sh": (?:executable file not found|.*no such file or directory)/;
    if ((exitCode !== 126 && exitCode !== 127) || !said.test(stdout + stderr)) return undefined;
    return new SafeUpdateError(
      'database',
      `${subject} cannot be dumped: there is no shell (sh) in its container to run a client with.`,
      { hint: `Take an image that has one, or ${notDumped(database.container)}` },
    );
  }

  function optionsOf(command: ClientCommand) {
    return {
      ...(command.env === undefined ? {} : { env: command.env }),
      ...(command.user === undefined ? {} : { user: command.user }),
      ...(command.stdin === undefined ? {} : { stdin: command.stdin.stream }),
      timeout: command.timeout ?? database.timeout,
    };
  }

  async function attempt(command: ClientCommand): Promise<Finished> {
    const finished = await database.shell.run(command.script, {
      ...optionsOf(command),
      ...(database.signal === undefined ? {} : { signal: database.signal }),
    });
    const problem = (await cutOff(command, finished)) ?? withoutShell(finished);
    if (problem !== undefined) throw problem;
    // Standard input that broke off looks to the client like one that ended.
    command.stdin?.proveRead();
    return finished;
  }

  return {
    attempt,
    async run(command) {
      const finished = await attempt(command);
      const problem = await objection(command, finished);
      if (problem !== undefined) throw problem;
      return finished.stdout;
    },
    async dump(command, sink, name, through) {
      const cut = new AbortController();
      const streaming = database.shell.stream(command.script, {
        ...optionsOf(command),
        signal: database.signal === undefined ? cut.signal : AbortSignal.any([database.signal, cut.signal]),
      });
      let problem: SafeUpdateError | undefined;
      const content: AsyncIterable<Buffer> = streaming.stdout;
      async function* whole(): AsyncGenerator<Buffer> {
        yield* through === undefined ? content : through(content);
        problem = await objection(command, await streaming.done);
        if (problem !== undefined) throw problem;
      }
      try {
        await sink.write(name, Readable.from(whole(), { objectMode: false }));
      } catch (error) {
        // Without this the client would go on inside the container, holding its locks, until nobody reads it any more.
        cut.abort();
        await streaming.done;
        if (problem !== undefined) throw problem;
        await afterCut?.().catch(() => undefined);
        throw error;
      }
      problem ??= await objection(command, await streaming.done);
      if (problem !== undefined) throw problem;
    },
  };
}

/** A file of a dump on its way back into a client. */
export interface ReadBack {
  stream: Readable;
  /** Bytes that were read so far. */
  bytes(): number;
  /** Throws if reading it from the store failed, which the client takes for the file's end. */
  proveRead(): void;
}

export function readBack(source: DumpSource, name: string, onChunk?: (chunk: Buffer) => void): ReadBack {
  let bytes = 0;
  let failure: unknown;
  async function* content(): AsyncGenerator<Buffer> {
    try {
      for await (const chunk of source.open(name) as AsyncIterable<Buffer>) {
        bytes += chunk.length;
        onChunk?.(chunk);
        yield chunk;
      }
    } catch (error) {
      failure = error;
      throw error;
    }
  }
  return {
    stream: Readable.from(content(), { objectMode: false }),
    bytes: () => bytes,
    proveRead() {
      if (failure === undefined) return;
      if (failure instanceof SafeUpdateError) throw failure;
      throw new SafeUpdateError('store', `${name} could not be read back: ${messageOf(failure)}`, {
        cause: failure,
      });
    },
  };
}

/** Reads a small file of a dump. Throws SafeUpdateError `database` if it is not there, or larger than `limit` bytes. */
export async function readSmall(source: DumpSource, name: string, limit = 64_000_000): Promise<Buffer> {
  if (!source.names.includes(name)) {
    throw new SafeUpdateError('database', `The dump is incomplete: ${name} is missing.`);
  }
  const chunks: Buffer[] = [];
  let bytes = 0;
  const file = readBack(source, name, (chunk) => {
    bytes += chunk.length;
    if (bytes <= limit) chunks.push(chunk);
  });
  try {
    for await (const _ of file.stream) if (bytes > limit) break;
  } catch {
    file.proveRead();
  }
  if (bytes > limit) throw new SafeUpdateError('database', `The dump's ${name} is larger than it can be.`);
  return Buffer.concat(chunks);
}

/** Writes a small file of a dump. */
export async function writeSmall(sink: DumpSink, name: string, content: string): Promise<void> {
  const stream = new PassThrough();
  stream.end(content);
  await sink.write(name, stream);
}

// What a server adds to its errors: the statement, the row, the line of a COPY. They hold people's data.
const holdsData = /^\s*(?:DETAIL|CONTEXT|STATEMENT|LINE \d+|QUERY|Command was)\b/;
// MariaDB's client repeats the statement between two such lines, and the error follows.
const repeatedStatement = /^[\s\S]*^-{14}$/m;
// What MySQL and MariaDB quote in their errors.
const quotedData = /\b(Duplicate entry|value:?|near) '(?:[^]*'(?= (?:for|at)\b)|[^]*)/g;

/**
 * The last lines of a client's standard error that say something, as one line for a message. Without what holds data
 * or secrets, and without control characters.
 */
export function lastLines(stderr: string, container: Container, count = 4): string {
  const lines = withoutSecrets(
    stderr.replace(repeatedStatement, '').replace(quotedData, "$1 '***'"),
    container,
  )
    .split(/[\r\n]+/)
    // eslint-disable-next-line no-control-regex -- a database's name may hold what a terminal would obey
    .map((line) => line.replace(/[\u0000-\u001f\u007f-\u009f]/g, '?').trim())
    .filter((line) => line !== '' && line !== '^' && !holdsData.test(line));
  return [...new Set(lines)]
    .slice(-count)
    .map((line) => (line.length > 300 ? `${line.slice(0, 299)}…` : line))
    .join(' · ');
}

const passwordOption = /^--(?:requirepass|masterauth)$/i;

/** Given text that a program printed, replaces the secrets of the container's environment and command by `***`. */
export function withoutSecrets(text: string, container: Container): string {
  const secrets = new Set<string>();
  const others = new Set(['postgres', 'redis', 'default', 'root', 'mysql', 'mariadb']);
  for (const entry of container.environment) {
    const equals = entry.indexOf('=');
    const [name, value] = [entry.slice(0, equals), entry.slice(equals + 1)];
    const secret = /PASS|PWD|SECRET|TOKEN|CREDENTIAL|_?AUTH$/i.test(name) && !/_FILE$/i.test(name);
    (secret ? secrets : others).add(value);
  }
  container.command.forEach((word, index) => {
    if (passwordOption.test(container.command[index - 1] ?? '')) secrets.add(word);
  });
  for (const text of [...container.command, ...container.environment]) {
    for (const [, value = ''] of text.matchAll(/--(?:requirepass|masterauth)\s+["']?([^\s"']+)/gi))
      secrets.add(value);
  }
  let clean = text
    .replace(/SCRAM-SHA-256\$[^\s']+/g, '***')
    .replace(/\bmd5[0-9a-f]{32}\b/g, '***')
    .replace(/\*[0-9A-F]{40}\b|\b0x24[0-9A-F]{40,}/g, '***')
    .replace(/(PASSWORD\s+)'(?:[^']|'')*'/gi, "$1'***'");
  // The longest first: one may be part of another. A password that is also the user's name is no secret.
  for (const secret of [...secrets].sort((a, b) => b.length - a.length)) {
    if (secret.length > 2 && !others.has(secret)) clean = clean.replaceAll(secret, '***');
  }
  return clean;
}

/** The end of a hint: where a person can say with which login a database is reached, or that it is not to be. */
export function sayInConfiguration(container: Container): string {
  const { service } = container;
  return `name a login in safe-update.yml: databases.${service}.user and .passwordFile. If it is not to be dumped, ${notDumped(container)}`;
}

/** The end of a hint: how a database can be backed up of which no dump can be had. */
export function notDumped({ service }: Container): string {
  return `say databases.${service}.engine: none in safe-update.yml: then only cold backups have it, in the archive of its volume.`;
}

/** A name as it may stand in a message: quoted, and on one line. */
export function quoted(name: string): string {
  return JSON.stringify(name);
}
