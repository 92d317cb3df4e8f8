import { describe, expect, it } from 'vitest';
import { Compose } from '../../../src/docker/compose.ts';
import type { Finished } from '../../../src/docker/exec.ts';
import { project } from '../model/examples.ts';
import { fakeExec } from './fake-exec.ts';

function compose(answer: Partial<Finished>) {
  const exec = fakeExec(() => answer);
  return { compose: new Compose(exec), commands: exec.commands };
}

describe('version', () => {
  it.each([
    ['2.40.3-3\n', '2.40.3-3'],
    ['v2.20.0\n', '2.20.0'],
    ['5.5.0', '5.5.0'],
  ])('reads %j', async (stdout, version) => {
    expect(await compose({ stdout }).compose.version()).toBe(version);
  });

  it.each([
    [{ exitCode: 1, stderr: "docker: 'compose' is not a docker command." }, 'is not installed'],
    [{ stdout: '\n' }, 'is not installed'],
    [{ stdout: '2.19.1\n' }, '2.19.1 is too old'],
  ])('refuses %j', async (answer, words) => {
    await expect(compose(answer).compose.version()).rejects.toMatchObject({
      code: 'engine',
      message: expect.stringContaining(words) as string,
      state: 'Nothing was touched.',
    });
  });
});

describe('model', () => {
  it('gives the model and what compose warned about, each once, in its own words', async () => {
    const warning =
      'time="2024-10-17T14:30:22Z" level=warning msg="The \\"A\\" variable is not set. Defaulting to a blank string."';
    const { compose: reader, commands } = compose({
      stdout: '{"name":"shop","services":{"web":{"image":"web:1"}}}',
      stderr: `${warning}\n${warning}\ntime="x" level=warning msg="/srv/compose.yaml: the attribute \`version\` is obsolete"\n`,
    });
    expect(await reader.model(project)).toEqual({
      model: { name: 'shop', services: { web: { image: 'web:1' } } },
      warnings: ['The "A" variable is not set. Defaulting to a blank string.'],
    });
    expect(commands[0]).toMatchObject({ cwd: '/srv/shop' });
  });

  it('reads a project without services', async () => {
    const { model } = await compose({ stdout: '{"name":"shop","services":null}' }).compose.model(project);
    expect(model.services).toEqual({});
  });

  it("says why the files are not valid, in compose's words", async () => {
    const stderr =
      'time="x" level=warning msg="the A variable is not set"\nyaml: line 3: mapping values are not allowed\n';
    await expect(compose({ exitCode: 15, stderr }).compose.model(project)).rejects.toMatchObject({
      code: 'config',
      message: expect.stringContaining('mapping values are not allowed') as string,
      hint: 'Check them with: docker compose -f /srv/shop/compose.yaml config',
    });
  });
});

describe('hashes and profiles', () => {
  it('reads one a line', async () => {
    expect(await compose({ stdout: 'db 0a1b\nweb 2c3d\n\n' }).compose.hashes(project)).toEqual(
      new Map([
        ['db', '0a1b'],
        ['web', '2c3d'],
      ]),
    );
    expect(await compose({ stdout: 'debug\nmail\n' }).compose.profiles(project)).toEqual(['debug', 'mail']);
  });
});

describe('commands', () => {
  it.each(['pull', 'build', 'stop', 'remove'] as const)('%s works on the named services', async (verb) => {
    const { compose: runner, commands } = compose({});
    await runner[verb](project, ['web'], { timeout: 5 });
    expect(commands).toHaveLength(1);
    expect(commands[0]).toMatchObject({ cwd: '/srv/shop', timeout: 5 });
    expect(commands[0]?.argv.slice(-2)).toEqual(['--', 'web']);
    await expect(runner[verb](project, [], {})).rejects.toThrow('no services named');
  });

  it('tells why a command failed, without its progress', async () => {
    const stderr = [
      ' Container shop-web-1  Creating',
      ' Container shop-web-1  Error',
      'time="x" level=error msg="driver failed programming external connectivity: port is already allocated"',
      'Error response from daemon: port is already allocated',
    ].join('\n');
    await expect(
      compose({ exitCode: 1, stderr }).compose.up(project, ['web'], { scale: {} }, {}),
    ).rejects.toMatchObject({
      code: 'compose',
      message:
        'docker compose up failed: driver failed programming external connectivity: port is already allocated · Error response from daemon: port is already allocated',
    });
  });

  it('says it once, and gives no command that would start what has failed', async () => {
    const why = `service "migrate" didn't complete successfully: exit 1`;
    const { compose: runner } = compose({
      exitCode: 1,
      stderr: ` Container shop-migrate-1  ${why}\n${why}\n`,
    });
    await expect(runner.up(project, ['web'], { scale: {} }, {})).rejects.toMatchObject({
      message: `docker compose up failed: ${why}`,
      hint: undefined,
    });
    await expect(runner.build(project, ['web'], {})).rejects.toMatchObject({
      hint: expect.stringContaining('docker compose') as string,
    });
  });

  it('says the exit code where compose says nothing', async () => {
    await expect(compose({ exitCode: 7 }).compose.stop(project, ['web'], {})).rejects.toThrow(
      'docker compose stop failed: exit code 7',
    );
  });

  it('tells a time limit and an interruption apart from a failure', async () => {
    await expect(
      compose({ exitCode: 1, timedOut: true }).compose.pull(project, ['web'], {}),
    ).rejects.toMatchObject({
      code: 'timeout',
    });
    await expect(
      compose({ exitCode: 1 }).compose.pull(project, ['web'], { signal: AbortSignal.abort() }),
    ).rejects.toMatchObject({ code: 'interrupted' });
  });

  it('names the command that failed, whatever the project is called', async () => {
    const up = { ...project, name: 'up' };
    await expect(compose({ exitCode: 1 }).compose.pull(up, ['web'], {})).rejects.toThrow(
      'docker compose pull failed',
    );
  });
});
