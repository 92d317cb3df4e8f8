/** An engine whose disk is full: of its own, so that no other is. */
import { rm, statfs } from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { docker } from '../e2e/docker.ts';
import { registry, releaseImage } from '../e2e/releases.ts';
import { ownEngine, type OwnEngine } from '../e2e/second-engine.ts';
import { shell } from '../e2e/stack-small.ts';
import {
  expectNothingLeft,
  expectSame,
  expectUntouched,
  quick,
  shop,
  snapshot,
  type Stack,
} from '../e2e/stack.ts';
import { turn } from './campaign.ts';
import { recover } from './kill.ts';

/** The engine that has the releases, before this file goes to another one. */
const lab = { DOCKER_HOST: process.env['DOCKER_HOST'] ?? '' };

let engine: OwnEngine;
let filler: string;

beforeAll(async () => {
  const started = await ownEngine({ disk: '4G' });
  if (typeof started === 'string') throw new Error(`an engine of its own is needed: ${started}`);
  engine = started;
  filler = path.join(engine.dataRoot, 'filler');
});
afterAll(async () => {
  await engine.end();
});

async function shopThere(): Promise<Stack> {
  const stack = await shop({ start: false });
  await engine.serve(stack.port);
  await stack.up();
  await stack.fill();
  return stack;
}

/** Leaves this much of the engine's disk. */
async function fillUpTo(megabytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(engine.dataRoot);
  const bytes = bavail * bsize - megabytes * 1_000_000;
  await execa('fallocate', ['--length', String(Math.max(1, Math.floor(bytes))), filler]);
}

/** A release that is 150 MB larger than the one before. */
async function pushLarge(stack: Stack): Promise<void> {
  const [made, name] = [
    `${stack.project}/large:latest`,
    `${registry.replace('127.0.0.1', 'localhost')}/${stack.repository}:latest`,
  ];
  const input = `FROM ${releaseImage('1.1.0')}\nUSER root\nRUN head -c 150000000 /dev/urandom >/large\n`;
  try {
    await docker(['build', '--quiet', '--tag', made, '--tag', name, '-'], { env: lab, input });
    await docker(['push', '--quiet', name], { env: lab });
  } finally {
    await docker(['image', 'rm', name, made], { env: lab });
  }
}

it.runIf(turn(0, 2))(
  'too little space for images is refused before they are pulled; accepted, the pull fails, and nothing is touched',
  async () => {
    const stack = await shopThere();
    await pushLarge(stack);
    const before = await snapshot(stack);
    await fillUpTo(60);
    try {
      const refused = await stack.update();
      expect(refused.exitCode, refused.story).toBe(3);
      expect(refused.outcome?.error?.message).toMatch(/too little space on the engine/i);
      expect(refused.outcome?.error?.hint).toMatch(/--accept space/);
      expectUntouched(before, await snapshot(stack));

      const run = await stack.update(['--accept', 'space']);
      expect(run.exitCode, run.story).toBe(3);
      expect(run.outcome?.error?.message).toMatch(/no space left/i);
      expect(run.outcome?.error?.state).toMatch(/^Nothing was touched/);
      expectUntouched(before, await snapshot(stack));
      await expectNothingLeft(stack, refused, run);
    } finally {
      await rm(filler);
    }
    const run = await stack.update();
    expect(run.exitCode, run.story).toBe(0);
  },
);

it.runIf(turn(1, 2))(
  'no space left while data is put back: nothing starts on half of it, and recover completes it when there is room',
  async () => {
    const stack = await shopThere();
    // The bad release deletes the first file; there must be room for it again.
    await shell(await stack.container('app'), 'head -c 200000000 /dev/urandom >/app/uploads/AAA');
    await stack.push('drop-table');
    const before = await snapshot(stack);
    const running = stack.start([...quick, '--accept', 'space']);
    await running.step('undo-containers');
    await fillUpTo(40);
    const run = await running.finished;
    try {
      expect(run.exitCode, run.story).toBe(5);
      expect(run.outcome?.error?.message).toMatch(/no space left/i);
      expect(run.outcome?.error?.hint).toMatch(/safe-update recover/);
      expect(
        (await stack.containers()).filter(({ State }) => State.Running),
        run.story,
      ).toEqual([]);
      const blocked = await recover(stack);
      expect(blocked.exitCode, blocked.story).toBe(5);
    } finally {
      await rm(filler);
    }
    const recovered = await recover(stack);
    expect(recovered.exitCode, recovered.story).toBe(0);
    expectSame(before, await snapshot(stack));
    await expectNothingLeft(stack, run, recovered);
  },
);
