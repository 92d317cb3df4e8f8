import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, it, onTestFinished } from 'vitest';
import { docker, eventually, imageId } from './docker.ts';
import { expectGoodUpdate, expectRefused } from './outcomes.ts';
import { releaseImage } from './releases.ts';
import { expectUntouched, freePort, shop, snapshot } from './stack.ts';

it('an image that no registry has is refused, and the tag of one that was pulled before it moves back', async () => {
  const stack = await shop();
  const release = await imageId(releaseImage('1.1.0'));
  await stack.push('1.1.0');
  let moved = false;
  const empty = await emptyRegistry(async () => {
    await eventually(async () => {
      expect(await imageId(stack.image)).toBe(release);
    });
    moved = true;
  });
  const good = await stack.read('compose.yaml');
  await stack.edit(({ services: { cache } }) => {
    if (cache !== undefined) cache['image'] = `${empty}/cache:missing`;
  });
  const before = await snapshot(stack);
  const run = await stack.update();
  expect(moved, 'the other image was pulled').toBe(true);
  await expectRefused(stack, before, run, { exitCode: 3, reason: /cache.*manifest unknown/ });
  expect(await imageId(stack.image)).toBe(await imageId(releaseImage('1.0.0')));

  await stack.write('compose.yaml', good);
  await expectGoodUpdate(stack);
});

it('a registry that does not answer is refused', async () => {
  const stack = await shop({ start: false });
  const gone = `127.0.0.1:${await freePort()}/${stack.repository}:latest`;
  await docker(['tag', releaseImage('1.0.0'), gone]);
  await stack.env({ APP_IMAGE: gone });
  await stack.up();
  await stack.fill();
  const before = await snapshot(stack);
  await expectRefused(stack, before, await stack.update(), { exitCode: 3, reason: /connection refused/ });
  const told = await stack.safeUpdate(['--yes']);
  expect(told.exitCode).toBe(3);
  expect(told.stderr).toMatch(
    /What failed\s[^]*connection refused[^]*State now\s[^]*Nothing was touched[^]*Next\s/,
  );
  expectUntouched(before, await snapshot(stack));

  await stack.env({ APP_IMAGE: stack.image });
  await expectGoodUpdate(stack);
});

/** A registry that has no image, and says so only after `first`. Returns its address. */
async function emptyRegistry(first: () => Promise<void>): Promise<string> {
  const server = createServer((request, response) => {
    void (async () => {
      if (request.url !== '/v2/') await first();
      response.writeHead(request.url === '/v2/' ? 200 : 404, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ errors: [{ code: 'MANIFEST_UNKNOWN', message: 'manifest unknown' }] }));
    })().catch(() => response.destroy());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}
