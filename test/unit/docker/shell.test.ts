import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { containerShell } from '../../../src/docker/shell.ts';
import { fakeExec } from './fake-exec.ts';

describe('containerShell', () => {
  it('runs a script with sh in the container, values in the environment and only their names in argv', async () => {
    const exec = fakeExec(() => ({ stdout: 'done' }));
    const finished = await containerShell(exec, 'c0ffee').run('psql "$URL"', {
      env: { PGPASSWORD: 'canary-1', URL: 'postgres://canary-2' },
      user: 'postgres',
    });
    expect(finished).toMatchObject({ exitCode: 0, stdout: 'done' });
    const [command] = exec.commands;
    expect(command?.argv.join(' ')).not.toContain('canary');
    expect(command?.argv).toEqual([
      ...['docker', 'exec', '--user', 'postgres', '--env', 'PGPASSWORD', '--env', 'URL'],
      ...['--env', 'SAFE_UPDATE_SCRIPT', '--', 'c0ffee', 'sh', '-c', 'psql "$URL"'],
    ]);
    expect(command?.env).toMatchObject({ PGPASSWORD: 'canary-1', URL: 'postgres://canary-2' });
    expect(command).not.toHaveProperty('stdin');
  });

  it('hands over standard input only where there is some', async () => {
    const exec = fakeExec();
    const stdin = Readable.from(['SELECT 1']);
    await containerShell(exec, 'c0ffee').run('psql', { stdin });
    expect(exec.commands[0]?.argv).toContain('--interactive');
    expect(exec.commands[0]?.stdin).toBe(stdin);
  });

  it('marks each script anew', async () => {
    const exec = fakeExec();
    const shell = containerShell(exec, 'c0ffee');
    await shell.run('true');
    await shell.run('true');
    const markers = exec.commands.map(({ env }) => env?.['SAFE_UPDATE_SCRIPT']);
    expect(new Set(markers).size).toBe(2);
    expect(markers.every((marker) => (marker?.length ?? 0) >= 32)).toBe(true);
  });

  it('kills what a time limit leaves running inside the container, and says that time ran out', async () => {
    const exec = fakeExec(({ argv }) => ({ timedOut: argv.includes('pg_dump'), exitCode: 137 }));
    const finished = await containerShell(exec, 'c0ffee').run('pg_dump', { timeout: 10, user: 'postgres' });
    expect(finished.timedOut).toBe(true);
    const [first, second] = exec.commands;
    expect(exec.commands).toHaveLength(2);
    expect(second?.env).toEqual({ VICTIM: first?.env?.['SAFE_UPDATE_SCRIPT'] });
    expect(second?.argv.slice(0, 9)).toEqual([
      ...['docker', 'exec', '--user', 'postgres', '--env', 'VICTIM', '--', 'c0ffee', 'sh'],
    ]);
    expect(second?.argv.at(-1)).toContain('kill -9');
    expect(second?.timeout).toBeGreaterThan(0);
  });

  it('kills what an abort leaves running, also of a stream', async () => {
    const controller = new AbortController();
    const exec = fakeExec();
    const { done } = containerShell(exec, 'c0ffee').stream('tar', { signal: controller.signal });
    controller.abort();
    await done;
    expect(exec.commands).toHaveLength(2);
  });

  it('kills nothing after a script that ended by itself, whatever its exit code', async () => {
    const exec = fakeExec(() => ({ exitCode: 2 }));
    const shell = containerShell(exec, 'c0ffee');
    expect((await shell.run('false')).exitCode).toBe(2);
    expect((await shell.stream('false').done).exitCode).toBe(2);
    expect(exec.commands).toHaveLength(2);
  });
});
