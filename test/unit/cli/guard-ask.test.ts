import { mkdtempSync, rmSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { askSocket } from '../../../src/cli/guard/ask.ts';

let folder: string;
let socket: string;
let server: Server | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'safe-update-ask-'));
  socket = join(folder, 'engine.sock');
});

afterEach(async () => {
  await new Promise((resolve) => (server === undefined ? resolve(0) : server.close(resolve)));
  server = undefined;
  rmSync(folder, { recursive: true });
});

async function listen(one: Server): Promise<void> {
  server = one;
  await new Promise<void>((resolve) => {
    one.listen(socket, resolve);
  });
}

/** A server that says this to whoever connects, and hangs up. */
const saying = (text: string): Promise<void> =>
  listen(
    createServer((connection) => {
      connection.once('data', () => connection.end(text));
    }),
  );

describe('a question to a socket', () => {
  it.each(['GET', 'POST', 'DELETE'] as const)('is understood by an HTTP server: %s', async (method) => {
    await listen(
      createHttpServer((request, response) => {
        response.statusCode = 203;
        response.end(`${request.method ?? ''} ${request.url ?? ''} ‚ö'`.repeat(20_000));
      }),
    );
    const { status, body } = await askSocket(socket, method, '/volumes/a%20b?force=1');
    expect(status).toBe(203);
    expect(body).toBe(`${method} /volumes/a%20b?force=1 ‚ö'`.repeat(20_000));
  });

  it('takes an answer whose length is only said by its end', async () => {
    await saying('HTTP/1.0 200 OK\r\nApi-Version: 1.51\r\n\r\n[]\n');
    expect(await askSocket(socket, 'GET', '/')).toEqual({ status: 200, body: '[]\n' });
  });

  it.each([
    ['HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n[]', /not whole/],
    ['HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n', /not answer in one piece/],
    ['HTTP/1.0 200 OK\r\nContent-Type: a', /not answer as an engine/],
    ['SSH-2.0-OpenSSH_9.2\r\n', /not answer as an engine/],
    ['', /not answer as an engine/],
  ])('does not take %j', async (text, why) => {
    await saying(text);
    await expect(askSocket(socket, 'GET', '/')).rejects.toThrow(why);
  });

  it('is given up when nobody answers, or without end', async () => {
    await listen(createServer((connection) => connection.resume()));
    await expect(askSocket(socket, 'GET', '/', { patience: 50 })).rejects.toThrow(/in time/);
  });

  it('is given up when the answer is too long', async () => {
    await saying(`HTTP/1.0 200 OK\r\n\r\n${'x'.repeat(1000)}`);
    await expect(askSocket(socket, 'GET', '/', { longest: 900 })).rejects.toThrow(/without end/);
  });

  it('fails where there is no socket', async () => {
    await expect(askSocket(join(folder, 'none'), 'GET', '/')).rejects.toThrow(/ENOENT/);
  });
});
