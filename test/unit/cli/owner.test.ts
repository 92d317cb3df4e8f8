import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { execa } from 'execa';
import { describe, expect, it, vi } from 'vitest';
import { isAlive, thisProcess } from '../../../src/cli/owner.ts';

/** When a process started, found out in another way: /proc/PID/stat, field 22, by shell. */
async function startOf(pid: number): Promise<string> {
  const { stdout } = await execa('sh', ['-c', `sed 's/.*) //' /proc/${pid}/stat | cut -d' ' -f20`]);
  return stdout.trim();
}

function stateOf(pid: number): string | undefined {
  return /^State:\t(\S)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
}

describe('thisProcess', () => {
  it('names this process so that nobody takes another for it', async () => {
    const owner = thisProcess();
    expect(owner).toMatchObject({ host: hostname(), pid: process.pid, started: await startOf(process.pid) });
    expect(owner.boot).toMatch(/^[0-9a-f-]{36}$/);
    expect(owner.namespace).toMatch(/^pid:\[\d+\]$/);
    expect(owner.person).toMatch(new RegExp(`^.+@${hostname()}$`));
    expect(thisProcess()).toEqual(owner);
  });

  it('is alive', () => {
    const { pid, started } = thisProcess();
    expect(isAlive(pid, started)).toBe(true);
  });
});

describe('isAlive', () => {
  it('is not so for another process with the same id', async () => {
    const started = await startOf(process.pid);
    expect(isAlive(process.pid, started)).toBe(true);
    expect(isAlive(process.pid, String(Number(started) + 1))).toBe(false);
  });

  it('cannot tell a reused id where the start is not known, and then takes it for the same', () => {
    expect(isAlive(process.pid, '')).toBe(true);
  });

  it('is not so once the process has ended', async () => {
    const child = execa('sleep', ['20'], { reject: false });
    const pid = child.pid ?? 0;
    const started = await startOf(pid);
    expect(isAlive(pid, started)).toBe(true);
    child.kill('SIGKILL');
    await child;
    expect(isAlive(pid, started)).toBe(false);
  });

  it('is not so for a process that ended and that nobody has reaped', async () => {
    // The shell starts a child and becomes a program that never waits for children.
    const parent = execa('sh', ['-c', 'sleep 0.2 & echo $!; exec sleep 20'], { reject: false });
    const [line] = (await once(parent.stdout, 'data')) as [Buffer];
    const pid = Number(line.toString().trim());
    await vi.waitFor(() => {
      expect(stateOf(pid)).toBe('Z');
    });
    expect(isAlive(pid, '')).toBe(false);
    expect(isAlive(pid, await startOf(pid))).toBe(false);
    parent.kill('SIGKILL');
    await parent;
  });

  it('reads the start of a program whose name has spaces and parentheses in it', async () => {
    const child = execa('sh', ['-c', 'printf "a) R 1 (b" >/proc/self/comm; echo; read line'], {
      reject: false,
    });
    await once(child.stdout, 'data');
    const pid = child.pid ?? 0;
    expect(readFileSync(`/proc/${pid}/stat`, 'utf8')).toContain('(a) R 1 (b)');
    const started = await startOf(pid);
    expect(isAlive(pid, started)).toBe(true);
    expect(isAlive(pid, '1')).toBe(false);
    child.kill('SIGKILL');
    await child;
  });

  it('is so for a process of somebody else', () => {
    expect(isAlive(1, '')).toBe(true);
  });
});
