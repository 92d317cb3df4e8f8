import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { execa } from 'execa';
import { expect, it } from 'vitest';
import { expectGoodUpdate, expectIntact } from './outcomes.ts';
import { expectNothingLeft, expectUntouched, shop, snapshot } from './stack.ts';

it('a good release runs on the same data, with a sealed backup; a second run has nothing to do', async () => {
  const stack = await shop();
  const watch = watchContainers(stack.project);
  const run = await expectGoodUpdate(stack, '1.1.0');
  const changes = watch.stop().filter(({ action }) => ['create', 'destroy', 'rename'].includes(action));

  for (const line of run.stdout.split('\n')) expect(() => JSON.parse(line) as unknown, line).not.toThrow();
  expect(run.events.at(-1)?.type).toBe('outcome');
  expect(run.events.filter(({ type }) => type === 'outcome')).toHaveLength(1);

  const downtime = run.outcome?.downtime ?? {};
  expect(Object.keys(downtime).sort()).toEqual(['app', 'cache', 'db']);
  for (const [service, milliseconds] of Object.entries(downtime)) {
    expect(milliseconds, service).toBeGreaterThan(0);
    expect(milliseconds, service).toBeLessThan(run.outcome?.milliseconds ?? 0);
  }

  const backups = await stack.backups();
  expect(backups.map(({ id }) => id)).toEqual([run.outcome?.backup]);
  const [backup] = backups;
  if (backup === undefined) throw new Error('no backup');
  await expectIntact(backup);
  expect(((await stat(stack.backupFolder)).mode & 0o777).toString(8)).toBe('700');
  expect(backup.manifest.kind).toBe('pre-update');
  expect(backup.manifest.databases.map(({ service }) => service).sort()).toEqual(['cache', 'db']);
  const volumes = ['cache_data', 'db_data', 'uploads'].map((volume) => `${stack.project}_${volume}`);
  expect(backup.manifest.volumes.map(({ name, exact }) => ({ name, exact }))).toEqual(
    volumes.map((name) => ({ name, exact: true })),
  );

  // The engine's own record of the run: no container was removed or made before the manifest was in place.
  const sealed = (await stat(path.join(backup.folder, 'manifest.json'))).mtimeMs;
  expect(changes.map(({ action }) => action)).toContain('destroy');
  expect(changes.filter(({ at }) => at < sealed)).toEqual([]);

  const journal = await readFile(
    path.join(stack.backupFolder, '.safe-update', `${run.outcome?.run ?? ''}.jsonl`),
    'utf8',
  );
  expect(journal).toContain('"result":"updated"');
  expect(journal).toContain(JSON.stringify(downtime));

  const before = await snapshot(stack);
  const again = await stack.update();
  expect(again.exitCode, again.story).toBe(0);
  expect(again.outcome?.result).toBe('nothing-to-do');
  expect(again.steps).not.toContain('stop');
  expectUntouched(before, await snapshot(stack));
  expect(await stack.backups()).toHaveLength(1);
  await expectNothingLeft(stack, again);
});

it('says what it did and how to go back, on a line of its own at the end', async () => {
  const stack = await shop({ fill: false });
  await stack.push('1.1.0');
  const run = await stack.safeUpdate(['--yes', '--stable-for', '2s']);
  expect(run.exitCode, run.stderr).toBe(0);
  const [backup] = await stack.backups();
  expect(run.stdout + run.stderr).toContain(backup?.id);
  expect(run.stdout.trimEnd().split('\n').at(-1)).toMatch(/safe-update rollback/);
});

interface EngineEvent {
  action: string;
  /** Milliseconds since 1970. */
  at: number;
}

/** What becomes of the project's containers, as it happens: the engine remembers no more than its last 256 events. */
function watchContainers(project: string): { stop: () => EngineEvent[] } {
  const child = execa(
    'docker',
    [
      ...[
        'events',
        '--since',
        String(Date.now() / 1000),
        '--format',
        '{{json .}}',
        '--filter',
        'type=container',
      ],
      ...['--filter', `label=com.docker.compose.project=${project}`],
    ],
    { reject: false, stdin: 'ignore' },
  );
  const events: EngineEvent[] = [];
  void (async () => {
    for await (const line of child) {
      const { Action, timeNano } = JSON.parse(line) as { Action: string; timeNano: number };
      events.push({ action: Action, at: timeNano / 1e6 });
    }
  })().catch(() => undefined);
  return {
    stop() {
      child.kill();
      return events;
    },
  };
}
