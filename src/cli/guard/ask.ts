interface Answer {
  status: number;
  body: string;
}

/**
 * Sends a request without a body to the engine's socket. Rejects if there is no answer within `patience` milliseconds, one that
 * is not whole, or one that is longer than `longest` bytes.
 *
 * node:http takes longer to load than a verdict to find, and is more than this needs: what is asked in HTTP/1.0 is answered in
 * one piece that ends with the connection (RFC 9112, 2.3 and 6.3).
 */
export async function askSocket(
  socketPath: string,
  method: 'GET' | 'POST' | 'DELETE',
  path: string,
  { longest = 4 * 1024 * 1024, patience = 3000 }: { longest?: number; patience?: number } = {},
): Promise<Answer> {
  const net = process.getBuiltinModule('node:net');
  const bytes = await new Promise<Buffer>((resolve, reject) => {
    const connection = net.connect(socketPath);
    const pieces: Buffer[] = [];
    let length = 0;
    const late = setTimeout(() => connection.destroy(new Error('it has not answered in time')), patience);
    connection.on('data', (piece) => {
      pieces.push(piece);
      length += piece.length;
      if (length > longest) connection.destroy(new Error('an answer without end'));
    });
    connection.on('end', () => {
      resolve(Buffer.concat(pieces));
    });
    connection.on('error', reject);
    connection.on('close', () => {
      clearTimeout(late);
      reject(new Error('it has hung up'));
    });
    // Not end(): to the engine, whoever has nothing more to say has gone away.
    const empty = method === 'GET' ? '' : 'Content-Length: 0\r\n';
    connection.write(`${method} ${path} HTTP/1.0\r\nHost: docker\r\n${empty}\r\n`);
  });
  return readAnswer(bytes);
}

/** Given all that came back, return the answer. Throws if it is none, or not whole. Pure. */
function readAnswer(bytes: Buffer): Answer {
  const end = bytes.indexOf('\r\n\r\n');
  const [first = '', ...headers] = bytes.toString('latin1', 0, Math.max(0, end)).split('\r\n');
  const status = /^HTTP\/1\.[01] ([1-5][0-9]{2})(?: |$)/.exec(first)?.[1];
  if (status === undefined) throw new Error('it does not answer as an engine does');
  const body = bytes.subarray(end + 4);
  for (const header of headers) {
    const [, name = '', value = ''] = /^([^:]+):[ \t]*(.*?)[ \t]*$/.exec(header) ?? [];
    if (name.toLowerCase() === 'transfer-encoding') throw new Error('it does not answer in one piece');
    if (name.toLowerCase() === 'content-length' && Number(value) !== body.length)
      throw new Error('its answer is not whole');
  }
  return { status: Number(status), body: body.toString('utf8') };
}
