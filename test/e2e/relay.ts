/**
 * Runs in the network namespace of another engine and leads out of it and into it, over unix sockets, which no namespace
 * keeps apart:
 *
 *     node relay.ts PORT OUT IN
 *
 * Whoever connects to 127.0.0.1:PORT in there talks to the socket OUT. Whoever connects to the socket IN and sends a line with a
 * number talks to that port in there.
 */
import { connect, createServer, type Socket } from 'node:net';

const [port = '', out = '', into = ''] = process.argv.slice(2);

function join(one: Socket, other: Socket): void {
  for (const socket of [one, other]) {
    socket.on('error', () => {
      one.destroy();
      other.destroy();
    });
  }
  one.pipe(other);
  other.pipe(one);
}

createServer((socket) => {
  join(socket, connect(out));
}).listen(Number(port), '127.0.0.1');

createServer((socket) => {
  socket.once('data', (first) => {
    socket.pause();
    const end = first.indexOf('\n');
    const inside = connect(Number(first.subarray(0, end).toString()), '127.0.0.1');
    inside.write(first.subarray(end + 1));
    join(socket, inside);
  });
}).listen(into, () => {
  process.stdout.write('ready\n');
});
