import { expect, it } from 'vitest';
import { docker, imageId } from './docker.ts';
import { expectGoodUpdate, expectRefused } from './outcomes.ts';
import { releaseImage } from './releases.ts';
import { expectUntouched, freePort, shop, snapshot } from './stack.ts';

it('an image that the registry does not have is refused, and what was pulled before it changes no tag', async () => {
  const stack = await shop();
  // The application's new release is there and may be pulled first.
  await stack.push('1.1.0');
  const good = await stack.read('compose.yaml');
  const missing = stack.image.replace(':latest', ':missing');
  await stack.edit(({ services: { cache } }) => {
    if (cache !== undefined) cache['image'] = missing;
  });
  const before = await snapshot(stack);
  await expectRefused(stack, before, await stack.update(), {
    exitCode: 3,
    reason: /missing.*(not found|manifest unknown)/s,
  });
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
