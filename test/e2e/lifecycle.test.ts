import { expect, it } from 'vitest';
import { docker, type Inspect } from './docker.ts';
import { push } from './releases.ts';
import { buildImage, keeper, local, shell } from './stack-small.ts';
import { expectNothingLeft, project, type Finished, type Stack } from './stack.ts';

const fast = [...local, '--stable-for', '2s'];

function expectDone(run: Finished, result: string): void {
  expect(run.exitCode, run.story).toBe(0);
  expect(run.outcome?.result).toBe(result);
}

async function stateOf(stack: Stack, service: string): Promise<Inspect['State']> {
  return (await stack.container(service)).State;
}

/** Waits until a service has ended, and for long enough that the engine has said so. */
async function ended(stack: Stack, service: string): Promise<void> {
  await docker(['wait', (await stack.container(service)).Id]);
}

it('one-shots run again, what was stopped stays so, what crashed is replaced, what ends well may end', async () => {
  const stack = await project({});
  const release = async (name: string): Promise<void> => {
    const check = `HEALTHCHECK --interval=1s CMD test -f /tmp/up\n`;
    await buildImage(stack, 'app', keeper({ env: { RELEASE: name }, script: 'touch /tmp/up' }) + check);
  };
  const service = (command: string, rest = ''): string =>
    `{ image: ${stack.project}/app, stop_grace_period: 5s, volumes: ['data:/data'], command: ${JSON.stringify(['sh', '-c', command])} ${rest} }`;
  const compose = (more = ''): string => `services:
  app: ${service('touch /tmp/up; exec sleep infinity', ', init: true, depends_on: [migrate]')}
  migrate: ${service('echo $$RELEASE >>/data/migrated')}
  server: ${service("trap 'exit 0' TERM; sleep infinity & wait", ', healthcheck: { disable: true }')}
  jobs: ${service('date >>/data/jobs; sleep 1', ', restart: always')}
  broken: ${service('[ $$RELEASE = second ] || exit 3; exec sleep infinity', ', init: true, healthcheck: { disable: true }')}
${more}volumes: { data: {} }`;
  await release('first');
  await stack.write('compose.yaml', compose());
  await stack.compose(['up', '--detach']);
  await ended(stack, 'migrate');
  await ended(stack, 'broken');
  await stack.compose(['stop', 'server']);
  expect(await stateOf(stack, 'broken')).toMatchObject({ ExitCode: 3 });

  await release('second');
  await stack.write('compose.yaml', compose(`  buckets: ${service('exit 0')}\n`));
  const run = await stack.update(fast);
  expectDone(run, 'updated');
  expect(await shell(await stack.container('app'), 'cat /data/migrated')).toBe('first\nsecond');
  expect(await stateOf(stack, 'server')).toMatchObject({ Running: false });
  expect(await stateOf(stack, 'broken')).toMatchObject({ Running: true });
  expect(await stateOf(stack, 'buckets')).toMatchObject({ Running: false, ExitCode: 0 });
  expectDone(await stack.safeUpdate(['backup', '--yes', '--json', '--stable-for', '2s']), 'backed-up');
  await expectNothingLeft(stack, run);
});

it('commands after a start and before a stop run in a backup and in a rollback; a sealed backup is said to be there', async () => {
  const stack = await project({});
  const script = 'if [ $RELEASE = bad ]; then exit 1; fi';
  const image = await buildImage(stack, 'app', keeper({ env: { RELEASE: 'good' }, script }));
  await stack.write(
    'compose.yaml',
    `services:
  app:
    image: ${image}
    stop_grace_period: 0s
    tmpfs: [/run/app]
    volumes: ['data:/data']
    post_start: [{ command: [sh, -c, 'echo started >>/data/log; [ ! -e /data/fail ] || { rm /data/fail; exit 7; }; echo token >/run/app/token'] }]
    pre_stop: [{ command: [sh, -c, 'echo stopped >>/data/log'] }]
    healthcheck: { test: [CMD, test, -s, /run/app/token], interval: 1s, retries: 2 }
volumes: { data: {} }`,
  );
  await stack.compose(['up', '--detach', '--wait']);
  const log = async (): Promise<string> => shell(await stack.container('app'), 'tr "\\n" " " </data/log');
  const flags = ['--yes', '--json', '--stable-for', '1s'];

  expectDone(await stack.safeUpdate(['backup', ...flags]), 'backed-up');
  expect(await log()).toBe('started stopped started ');

  await buildImage(stack, 'app', keeper({ env: { RELEASE: 'bad' }, script }));
  const bad = await stack.update(fast);
  expect(bad.outcome?.result, bad.story).toBe('rolled-back');
  expect((await stateOf(stack, 'app')).Health?.Status).toBe('healthy');

  // The first start after the backup fails, the second one does not.
  await docker(['tag', (await stack.container('app')).Image, image]);
  await shell(await stack.container('app'), 'touch /data/fail');
  const failed = await stack.safeUpdate(['backup', ...flags]);
  const said = failed.stdout + failed.stderr;
  expect(said).toContain('post_start command');
  expect(said).not.toContain('No backup was made');
  const [newest] = (await stack.backups()).slice(-1);
  expect(said).toContain(`The backup ${newest?.id ?? ''} was sealed`);
});

it('an image that is published is pulled, and built only where no registry has it; providers are left to up', async () => {
  const stack = await project({
    'compose.yaml': '',
    Dockerfile: keeper({ env: { RELEASE: 'old checkout' } }),
  });
  const publish = async (name: string): Promise<void> =>
    push(await buildImage(stack, name, keeper({ env: { RELEASE: name } })), stack.repository);
  const own = `${stack.project}/own`;
  await stack.write(
    'compose.yaml',
    `services:
  web: { image: '${stack.image}', build: ., stop_grace_period: 0s, depends_on: [cloud] }
  own: { image: '${own}', build: ., stop_grace_period: 0s }
  cloud: { provider: { type: 'true' } }`,
  );
  await publish('first');
  await stack.compose(['pull', '--quiet', 'web']);
  await stack.compose(['build', '--quiet', 'own']);
  await stack.compose(['up', '--detach', '--no-build', '--no-deps', 'web', 'own']);
  await publish('second');
  await stack.write('Dockerfile', keeper({ env: { RELEASE: 'new checkout' } }));
  const run = await stack.update(['--stable-for', '1s']);
  expectDone(run, 'updated');
  const releaseOf = async (service: string): Promise<string | undefined> =>
    (await stack.container(service)).Config.Env.find((entry) => entry.startsWith('RELEASE='));
  expect(await releaseOf('web')).toBe('RELEASE=second');
  expect(await releaseOf('own')).toBe('RELEASE=new checkout');
});
