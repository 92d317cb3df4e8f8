import { describe, expect, it } from 'vitest';
import { hooksOf } from '../../../src/docker/hooks.ts';
import type { Command, Exec } from '../../../src/docker/exec.ts';
import type { ComposeHook } from '../../../src/model/project.ts';

const web = { name: 'shop-web-1', service: 'web' };

/** Runs the hooks of `web`, of which commands that begin with `false` fail. */
async function run(
  kind: 'post_start' | 'pre_stop',
  commands: ComposeHook[],
  privileged = true,
): Promise<{ commands: Command[]; warnings: string[]; error?: unknown }> {
  const ran: Command[] = [];
  const warnings: string[] = [];
  const exec = {
    run: async (command: Command) => {
      ran.push(command);
      const exitCode = command.argv.includes('false') ? 3 : 0;
      return { exitCode, stdout: 'first\nnot today\n', stderr: '', timedOut: false };
    },
  } as unknown as Exec;
  const warn = (message: string): number => warnings.push(message);
  const hooks = hooksOf(
    { services: { web: { [kind]: commands }, db: {} } },
    { exec, timeout: 1, warn, privileged },
  );
  expect([hooks.followsStart('web'), hooks.followsStart('db')]).toEqual([kind === 'post_start', false]);
  try {
    await (kind === 'post_start' ? hooks.afterStart(web, 'c1') : hooks.beforeStop(web, 'c1'));
    return { commands: ran, warnings };
  } catch (error) {
    return { commands: ran, warnings, error };
  }
}

describe('hooks', () => {
  it('run as compose runs them, one after the other; values are in no argument', async () => {
    const { commands } = await run('post_start', [
      {
        command: ['chown', '1000', '/data'],
        user: 'root',
        privileged: true,
        working_dir: '/var',
        environment: { TOKEN: 'secret', FROM_OUTSIDE: null },
      },
      { command: ['true'] },
    ]);
    expect(commands.map(({ argv }) => argv.join(' '))).toEqual([
      'docker exec --user root --workdir /var --privileged --env TOKEN -- c1 chown 1000 /data',
      'docker exec -- c1 true',
    ]);
    expect(commands[0]?.env).toEqual({ TOKEN: 'secret' });
  });

  it('that fail after a start are an error, and what would follow does not run', async () => {
    const { commands, error } = await run('post_start', [{ command: ['false'] }, { command: ['true'] }]);
    expect(error).toMatchObject({
      code: 'compose',
      message: 'The post_start command of shop-web-1 failed with exit code 3 (not today).',
    });
    expect(commands).toHaveLength(1);
  });

  it('that fail before a stop are said, and do not keep it running', async () => {
    const { warnings, error } = await run('pre_stop', [{ command: ['false'] }]);
    expect(error).toBeUndefined();
    expect(warnings).toEqual([
      'The pre_stop command of shop-web-1 failed with exit code 3 (not today). It is stopped all the same.',
    ]);
  });

  it('with all rights of the host are left out of a test-restore, and that is said', async () => {
    const { commands, warnings } = await run('post_start', [{ command: ['true'], privileged: true }], false);
    expect(commands).toEqual([]);
    expect(warnings.join()).toContain('is left out');
  });
});
