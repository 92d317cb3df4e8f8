import { readFileSync, readlinkSync } from 'node:fs';
import { hostname, userInfo } from 'node:os';
import type { Owner } from '../update/lock.ts';

/** This process, as a lock names it. */
export function thisProcess(): Owner {
  return {
    host: hostname(),
    boot: attempt(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()),
    namespace: attempt(() => readlinkSync('/proc/self/ns/pid')),
    pid: process.pid,
    started: startOf(process.pid),
    person: `${attempt(() => userInfo().username)}@${hostname()}`,
  };
}

/** Is there a process with this id that started then? One that ended but was not reaped yet is not alive. */
export function isAlive(pid: number, started: string): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: it is there and belongs to somebody else.
    if ((error as { code?: string }).code !== 'EPERM') return false;
  }
  const state = fieldsOf(pid)[0];
  if (state === 'Z' || state === 'X') return false;
  return started === '' || startOf(pid) === '' || startOf(pid) === started;
}

/** When a process started, in clock ticks since boot: field 22 of /proc/PID/stat (proc(5)); empty where there is no /proc. */
function startOf(pid: number): string {
  return fieldsOf(pid)[19] ?? '';
}

/** The fields of /proc/PID/stat from the third on. The second, the program's name, may hold spaces and parentheses. */
function fieldsOf(pid: number): string[] {
  const text = attempt(() => readFileSync(`/proc/${pid}/stat`, 'utf8'));
  return text === '' ? [] : text.slice(text.lastIndexOf(')') + 2).split(' ');
}

function attempt(read: () => string): string {
  try {
    return read();
  } catch {
    return '';
  }
}
