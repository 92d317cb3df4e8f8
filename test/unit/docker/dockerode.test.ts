import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../../', import.meta.url));

/** Runs a script that has `Dockerode`, and says which files of which packages are loaded afterwards. */
async function loadedBy(script: string): Promise<{ said: string; packages: string[] }> {
  const whole = `
    import { createRequire } from 'node:module';
    const { Dockerode } = await import('./src/docker/dockerode.ts');
    ${script}
    const { cache } = createRequire(import.meta.url);
    const real = Object.values(cache).filter((one) => one.children.length > 0 || one.loaded);
    console.log(JSON.stringify(real.map((one) => /node_modules\\/((?:@[^/]+\\/)?[^/]+)/.exec(one.filename)?.[1])));`;
  const { stdout } = await execa(process.execPath, ['--input-type=module', '--eval', whole], { cwd: root });
  const lines = stdout.split('\n');
  const packages = [...new Set(JSON.parse(lines.pop() ?? '') as string[])];
  return { said: lines.join('\n'), packages };
}

describe('Dockerode', () => {
  it('is there without what building by session and ssh need', async () => {
    const { said, packages } = await loadedBy(
      `console.log(typeof new Dockerode({ socketPath: '/none' }).getVolume);`,
    );
    expect(said).toBe('function');
    expect(packages).toEqual(expect.arrayContaining(['dockerode', 'docker-modem']));
    expect(packages.filter((name) => /grpc|protobuf|ssh2/.test(name))).toEqual([]);
  });

  it('goes by ssh where it is told to', async () => {
    const { said, packages } = await loadedBy(`
      const far = new Dockerode({ protocol: 'ssh', host: '127.0.0.1', port: 1, username: 'nobody' });
      await far.version().catch((error) => console.log(error.message));`);
    expect(said).toContain('ECONNREFUSED');
    expect(packages).toContain('ssh2');
  });

  it('opens a session where it is told to', async () => {
    const { said, packages } = await loadedBy(`
      const none = new Dockerode({ socketPath: '/none' });
      const { PassThrough } = await import('node:stream');
      const options = { version: '2', authconfig: { username: 'u', password: 'p' } };
      await none.buildImage(new PassThrough(), options).catch((error) => console.log(error.message));`);
    expect(said).toContain('ENOENT');
    expect(packages).toContain('@grpc/grpc-js');
  });
});
