import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
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

  it('can kill a stream', async () => {
    const streaming = exec.stream({ argv: ['sleep', '20'] });
    streaming.kill();
    expect((await streaming.done).exitCode).toBe(137);
  });
});
