import { lstatSync, mkdirSync, unlinkSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import path from 'node:path';
import { allowed, denied } from '../../guard/authz.ts';
import { visible } from '../view/escape.ts';
import { authorize, type Authority } from './authorize.ts';
import { guardUsage, write, wrong } from './common.ts';
import { EngineFacts } from './engine-facts.ts';
import { readMachineRules } from './policy.ts';

/** By this name daemon.json knows the plugin. */
export const pluginName = 'safe-update-guard';

/** Where dockerd looks for plugins, as NAME.sock. */
export const pluginFolder = '/run/docker/plugins';

/** What dockerd takes in daemon.json and as a file name alike. */
export function isPluginName(name: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(name);
}

const engineSocket = '/var/run/docker.sock';

/**
 * How much is kept of one question. dockerd sends a body of at most 1 MB, in base64, after the address, of which it takes at
 * most 1 MB.
 */
const longestQuestion = 4 * 1024 * 1024;

/**
 * Answers dockerd as an authorization plugin until it is told to end. Resolves with the exit code: 0 after SIGTERM or SIGINT, 2
 * for a mistake in the command line, 3 if it cannot listen.
 */
export async function serve(argv: readonly string[]): Promise<number> {
  const given: Record<string, string> = {};
  for (let index = 0; index < argv.length; index += 1) {
    const word = argv[index] ?? '';
    if (word === '--help' || word === '-h') {
      await write('stdout', guardUsage);
      return 0;
    }
    const [, flag, attached] = /^--(name|socket|host|rules|approvals)(?:=(.*))?$/s.exec(word) ?? [];
    if (flag === undefined) return wrong(`serve does not know ${word}`);
    const value = attached ?? argv[(index += 1)] ?? '';
    if (value === '') return wrong(`--${flag} wants a value`);
    given[flag] = value;
  }
  const { name = pluginName, host = `unix://${engineSocket}`, rules, approvals } = given;
  if (!isPluginName(name)) return wrong('--name is a name without slashes');
  if (!host.startsWith('unix:///')) return wrong('--host is the engine of this machine: unix:///PATH');
  const socket = given['socket'] ?? `${pluginFolder}/${name}.sock`;

  const log = (line: string): void => {
    process.stderr.write(`${visible(line)}\n`);
  };
  // Whoever reads the log may go away; dockerd still wants answers.
  process.stderr.on('error', () => undefined);
  const server = createPlugin(
    {
      engine: new EngineFacts(host.slice('unix://'.length)),
      rules: () => readMachineRules(rules),
      ...(approvals === undefined ? {} : { approvals }),
    },
    log,
  );
  const why = await listen(server, socket);
  if (why !== undefined) {
    log(`safe-update guard: cannot listen at ${socket}: ${why}`);
    return 3;
  }
  log(`safe-update guard: listening at ${socket}`);
  const { warning } = await readMachineRules(rules);
  if (warning !== undefined) log(`safe-update guard: ${warning}`);
  await untilTold(server);
  log('safe-update guard: ended; dockerd refuses everything as long as its plugin is not there');
  return 0;
}

/** The plugin, not yet listening. `log` gets a line for each refusal. */
function createPlugin(authority: Authority, log: (line: string) => void): Server {
  const answer = async (request: IncomingMessage): Promise<unknown> => {
    const { text, cut } = await read(request);
    switch (request.url) {
      case '/Plugin.Activate':
        return { Implements: ['authz'] };
      // By then it has happened.
      case '/AuthZPlugin.AuthZRes':
        return allowed;
      case '/AuthZPlugin.AuthZReq': {
        const { answer: said, log: line } = await authorize(text, authority, { cut });
        if (line !== undefined) log(`safe-update guard: ${line}`);
        return said;
      }
      default:
        return undefined;
    }
  };
  const server = createServer((request, response) => {
    answer(request).then(
      (said) => {
        if (said === undefined) reply(response, 404, denied('no such call'));
        else reply(response, 200, said);
      },
      (error: unknown) => {
        log(`safe-update guard: a question could not be read: ${String(error)}`);
        reply(response, 200, denied('refused by safe-update guard: the question could not be read'));
      },
    );
  });
  // dockerd keeps its connections; one that is closed in the very moment it is used costs it a second.
  server.keepAliveTimeout = 0;
  server.on('clientError', (_, socket) => {
    socket.destroy();
  });
  return server;
}

/** All of a question, or its beginning: what is longer is read and thrown away, so that dockerd gets its answer. */
async function read(request: IncomingMessage): Promise<{ text: string; cut: boolean }> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of request as AsyncIterable<Buffer>) {
    if (length < longestQuestion) pieces.push(piece);
    length += piece.length;
  }
  const cut = length > longestQuestion;
  const kept = Buffer.concat(pieces);
  return { text: kept.toString('utf8', 0, longestQuestion), cut };
}

function reply(response: ServerResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body);
  response.writeHead(status, {
    'Content-Type': 'application/vnd.docker.plugins.v1.1+json',
    'Content-Length': Buffer.byteLength(text),
  });
  response.end(text);
}

/**
 * Makes the server listen at a socket that only its owner can use. One that a dead process has left is replaced. Resolves with
 * the reason if it cannot.
 */
async function listen(server: Server, socket: string): Promise<string | undefined> {
  try {
    mkdirSync(path.dirname(socket), { recursive: true, mode: 0o700 });
    if (lstatSync(socket, { throwIfNoEntry: false }) !== undefined) {
      if (!lstatSync(socket).isSocket()) return 'something else is there';
      if (await answers(socket)) return 'another one is listening there';
      unlinkSync(socket);
    }
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  // There is no moment in which others could connect: the mode is there from the first.
  const mask = process.umask(0o177);
  try {
    return await new Promise((resolve) => {
      server.once('error', (error) => {
        resolve(error.message);
      });
      server.listen(socket, () => {
        resolve(undefined);
      });
    });
  } finally {
    process.umask(mask);
  }
}

/** Whether somebody listens at a socket. Who cannot be asked may be somebody. */
async function answers(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = connect(socket);
    connection.on('connect', () => {
      connection.destroy();
      resolve(true);
    });
    connection.on('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT');
    });
  });
}

/** Until SIGTERM or SIGINT: then it takes no more questions, answers those it has, and the socket is gone. */
async function untilTold(server: Server): Promise<void> {
  await new Promise<void>((resolve) => {
    const end = (): void => {
      server.close(() => {
        resolve();
      });
      server.closeIdleConnections();
      // Nobody waits longer than the engine is asked.
      setTimeout(() => {
        server.closeAllConnections();
      }, 5000).unref();
    };
    process.once('SIGTERM', end);
    process.once('SIGINT', end);
  });
}
