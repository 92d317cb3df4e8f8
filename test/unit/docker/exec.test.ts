import { Readable } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { createExec } from '../../../src/docker/exec.ts';

const exec = createExec({ PATH: process.env['PATH'], GIVEN: 'yes', GONE: undefined });
const sh = (script: string): string[] => ['sh', '-c', script];

describe('createExec', () => {
  it('gives what was printed and the exit code, whatever it is', async () => {
    expect(await exec.run({ argv: sh('echo out; echo err >&2; exit 3') })).toEqual({
      exitCode: 3,
      stdout: 'out\n',
      stderr: 'err\n',
      timedOut: false,
    });
  });

  it('lets no program read an answer: standard input is at its end', async () => {
    const script = 'if [ -t 0 ]; then echo terminal; fi; read answer && echo "said $answer"; echo end';
    expect((await exec.run({ argv: sh(script) })).stdout).toBe('end\n');
    expect((await exec.run({ argv: ['readlink', '/proc/self/fd/0'] })).stdout).toBe('/dev/null\n');
  });

  it('hands over standard input where it is given', async () => {
    const finished = await exec.run({ argv: ['cat'], stdin: Readable.from([Buffer.from('hello')]) });
    expect(finished.stdout).toBe('hello');
  });

  it('starts programs with the environment it was given and nothing of its own', async () => {
    const { stdout } = await exec.run({ argv: ['env'], env: { SECRET: 'canary' } });
    const names = stdout.split('\n').map((line) => line.split('=')[0]);
    expect(names).toEqual(expect.arrayContaining(['PATH', 'GIVEN', 'SECRET']));
    expect(names).not.toContain('GONE');
    expect(names).not.toContain('HOME');
  });

  it('says which program is missing', async () => {
    await expect(exec.run({ argv: ['no-such-program'] })).rejects.toMatchObject({
      code: 'engine',
      message: 'The program no-such-program was not found.',
    });
  });

  it('ends a program whose time is over', async () => {
    const finished = await exec.run({ argv: ['sleep', '20'], timeout: 50 });
    expect(finished.timedOut).toBe(true);
    expect(finished.exitCode).not.toBe(0);
  });

  it('ends a program when the signal comes', async () => {
    const controller = new AbortController();
    const running = exec.run({ argv: ['sleep', '20'], signal: controller.signal });
    controller.abort();
    const finished = await running;
    expect(finished.exitCode).not.toBe(0);
    expect(finished.timedOut).toBe(false);
  });

  it('runs programs in a group of their own, so that Ctrl-C on the terminal does not reach them', async () => {
    const { stdout } = await exec.run({ argv: sh('cut -d" " -f5 /proc/self/stat; echo $$') });
    const [group, self] = stdout.trim().split('\n');
    expect(group).toBe(self);
  });

  it('tells each line of standard error as it comes', async () => {
    const lines: string[] = [];
    await exec.run({ argv: sh('echo one >&2; echo out; echo two >&2'), onLine: (line) => lines.push(line) });
    await expect.poll(() => lines).toEqual(['one', 'two']);
  });

  it('streams standard output, and tells how it ended without ever rejecting', async () => {
    const { stdout, done } = exec.stream({ argv: sh('printf 12345; exit 4') });
    expect(await text(stdout)).toBe('12345');
    expect(await done).toMatchObject({ exitCode: 4, stdout: '' });
  });

  // Whoever stores it may first have to open a file, load a library, wait for a slow disk.
  it.each([100, 3_000_000])('loses nothing of %i bytes that are read late', async (bytes) => {
    const { stdout, done } = exec.stream({ argv: sh(`head -c ${bytes} /dev/zero`) });
    await sleep(300);
    expect((await buffer(stdout)).length).toBe(bytes);
    expect(await done).toMatchObject({ exitCode: 0 });
  });

  it('makes a program wait for whoever reads it', async () => {
    const { stdout, done } = exec.stream({ argv: ['head', '-c', '3000000', '/dev/zero'] });
    await sleep(300);
    expect(await Promise.race([done, sleep(0, 'waits')])).toBe('waits');
    stdout.destroy();
    expect((await done).exitCode).not.toBe(0);
  });

  it('ends also where nobody reads: when it is killed', async () => {
    const streaming = exec.stream({ argv: ['head', '-c', '3000000', '/dev/zero'] });
    await sleep(100);
    streaming.kill();
    expect((await streaming.done).exitCode).toBe(137);
    expect((await buffer(streaming.stdout)).length).toBeLessThan(3_000_000);
  });

  it('ends also where nobody reads: when the signal comes, also where it ends by itself then', async () => {
    const controller = new AbortController();
    const script = 'trap "exit 0" TERM; head -c 3000000 /dev/zero & wait';
    const streaming = exec.stream({ argv: sh(script), signal: controller.signal });
    await sleep(100);
    controller.abort();
    expect((await streaming.done).exitCode).toBe(137);
    expect((await buffer(streaming.stdout)).length).toBeLessThan(3_000_000);
  });

  it('can kill a stream', async () => {
    const streaming = exec.stream({ argv: ['sleep', '20'] });
    streaming.kill();
    expect((await streaming.done).exitCode).toBe(137);
  });
});
