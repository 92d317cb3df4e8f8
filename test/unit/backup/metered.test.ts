import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setImmediate } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { metered } from '../../../src/backup/metered.ts';

it('passes everything on and tells how much has passed', async () => {
  const told: number[] = [];
  const content = Readable.from([Buffer.from('abc'), Buffer.from('de')]);
  expect(await text(metered(content, (bytes) => told.push(bytes)))).toBe('abcde');
  expect(told).toEqual([3, 5]);
});

it('loses nothing of what flows before somebody reads', async () => {
  const meter = metered(Readable.from([Buffer.from('early')]), () => undefined);
  await setImmediate();
  expect(await text(meter)).toBe('early');
});

it('lets the reader see that the content broke off', async () => {
  async function* broken() {
    yield Buffer.from('half');
    await setImmediate();
    throw new Error('the disk failed');
  }
  await expect(text(metered(Readable.from(broken()), () => undefined))).rejects.toThrow('the disk failed');
});
