/** An engine and a Compose that are older than those of the machine: scripts/lab/older.sh brings them. */
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ownEngine, type OwnEngine } from '../e2e/second-engine.ts';
import { expectRolledBack } from '../e2e/outcomes.ts';
import { docker, expectNothingLeft, expectSame, snapshot } from '../e2e/stack.ts';
import { tool } from '../tools.ts';
import { turn } from './campaign.ts';
import { confirmed, goodRelease } from './kill.ts';
import { shopOn } from './old-or-new.ts';

const older = path.join(process.env['SAFE_UPDATE_LAB'] ?? '/var/lib/safe-update-lab', 'older');
const docker26 = tool(path.join(older, 'usr/bin/docker'), ['--version'], 'Engine 26 with Compose 2.26');

describe.runIf(docker26.present)(`Engine 26 with Compose 2.26${docker26.without}`, () => {
  let engine: OwnEngine;
  const former = { PATH: process.env['PATH'], DOCKER_CONFIG: process.env['DOCKER_CONFIG'] };
  const useThoseOfTheMachine = (): void => {
    for (const [name, value] of Object.entries(former)) {
      if (value === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = value;
    }
  };

  beforeAll(async () => {
    const started = await ownEngine({ programs: path.join(older, 'usr/sbin') });
    if (typeof started === 'string') throw new Error(`an engine of its own is needed: ${started}`);
    engine = started;
    process.env['PATH'] = `${path.join(older, 'usr/bin')}:${former.PATH ?? ''}`;
    process.env['DOCKER_CONFIG'] = path.join(older, 'config');
    expect(await docker(['version', '--format', '{{.Server.Version}} {{.Client.Version}}'])).toMatch(
      /^26\.1\S* 26\.1/,
    );
    expect(await docker(['compose', 'version', '--short'])).toMatch(/^v?2\.26\./);
  });
  afterAll(async () => {
    useThoseOfTheMachine();
    await engine.end();
  });

  it.runIf(turn(0, 2))('a release that destroys data is rolled back', async () => {
    const stack = await shopOn(engine);
    await stack.push('drop-table');
    const before = await snapshot(stack);
    const run = await stack.update();
    await expectRolledBack(stack, before, run, /unhealthy/);
  });

  it.runIf(turn(1, 3))(
    'an update goes well, engine and Compose are upgraded, and a rollback leads back all the same',
    async () => {
      const stack = await shopOn(engine);
      await stack.push('1.1.0');
      const before = await snapshot(stack);
      const updated = await stack.update();
      expect(updated.exitCode, updated.story).toBe(0);
      await goodRelease(before).check(stack);
      const again = await stack.update();
      expect(again.outcome?.result, again.story).toBe('nothing-to-do');

      useThoseOfTheMachine();
      await engine.upgrade();
      const server = await docker(['version', '--format', '{{.Server.Version}}']);
      expect(server, 'the engine of the machine is newer').not.toMatch(/^26\./);
      await stack.up();
      const back = await stack.safeUpdate(['rollback', ...confirmed(stack)]);
      expect(back.exitCode, back.story).toBe(0);
      expectSame(before, await snapshot(stack));
      await expectNothingLeft(stack, back);
    },
  );
});
