import { mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { expect, it } from 'vitest';
import { docker, inspectWhere } from './docker.ts';
import { buildImage, keeper, local, shell } from './stack-small.ts';
import { freePort, project, quick, type Stack } from './stack.ts';

const ofProject = (name: string): string => `label=com.docker.compose.project=${name}`;

async function container(name: string, service: string) {
  const found = (await inspectWhere(ofProject(name))).find(
    ({ Config }) => Config.Labels['com.docker.compose.service'] === service,
  );
  if (found === undefined) throw new Error(`no container of ${service}`);
  return found;
}

/** A project with files in folders. */
async function projectOf(files: Readonly<Record<string, string>>): Promise<Stack> {
  const stack = await project({});
  for (const [file, text] of Object.entries(files)) {
    await mkdir(path.dirname(path.join(stack.directory, file)), { recursive: true });
    await stack.write(file, text);
  }
  return stack;
}

/** Everything that the configuration is made of beside the compose file itself. */
async function manyFiles(): Promise<Stack> {
  const stack = await projectOf({
    'compose.yaml': `
include: ['parts/\${STAGE}.yaml']
services:
  app:
    image: IMAGE
    stop_grace_period: 0s
    env_file: ['env/\${STAGE}.env']
    label_file: \${STAGE}.labels
    environment: { TOKEN: 'a-\${TOKEN}-b', WHOLE: '\${WHOLE}' }
    secrets: [password]
    volumes: ['./site.conf:/etc/site.conf:ro', './init:/init:ro', './large:/large:ro', 'data:/data']
secrets: { password: { file: ./password.txt } }
volumes: { data: {} }
`,
    '.env': 'STAGE=prod\n',
    'env/prod.env': 'KEY=kept\n',
    'prod.labels': 'kept.label=yes\n',
    'parts/prod.yaml':
      'services: { side: { image: IMAGE, stop_grace_period: 0s, environment: { OWN: "${OWN}" } } }\n',
    'parts/.env': 'OWN=beside\n',
    'password.txt': 'open sesame\n',
    'site.conf': 'one\n',
    'init/1.sql': 'select 1;\n',
    'large/file': 'x'.repeat(10_000_001),
  });
  const image = await buildImage(stack, 'good', keeper());
  for (const file of ['compose.yaml', 'parts/prod.yaml']) {
    const name = path.join(stack.directory, file);
    await writeFile(name, (await readFile(name, 'utf8')).replaceAll('IMAGE', image));
  }
  return stack;
}

it('keeps all of the configuration, names what it cannot keep, and makes a project of it without a blank value', async () => {
  const stack = await manyFiles();
  const outside = { TOKEN: 'hidden', WHOLE: 'all' };
  await docker(['compose', '--project-name', stack.project, 'up', '--detach'], {
    cwd: stack.directory,
    env: outside,
  });
  const run = await stack.safeUpdate(['backup', ...quick], { env: outside });
  expect(run.exitCode, run.story).toBe(0);
  const id = run.outcome?.backup ?? '';
  const shown = await stack.safeUpdate(['show', id]);
  for (const said of [run.story, shown.stdout.replace(/\s+/g, ' ')]) {
    expect(said).toContain('the value of TOKEN (from the environment; no file sets it)');
    expect(said).toContain('the value of WHOLE');
    expect(said).toContain(`${stack.directory}/large (mounted read-only; more than 10.0 MB)`);
    expect(said).not.toContain('STAGE (from');
    expect(said).not.toContain('OWN (from');
  }

  // As on another server, where there is nothing but the backup, and what it is said not to hold.
  const other = await projectOf({ 'large/file': 'x' });
  const into = ['--into', other.directory];
  const as = ['restore', id, '--as', other.project, ...into, '--json', '--stable-for', '2s'];
  const refused = await stack.safeUpdate(as);
  expect(refused.exitCode, refused.story).toBe(3);
  expect(refused.outcome?.error?.message).toContain('services.app.environment.WHOLE');
  expect(refused.outcome?.error?.message).toContain('services.app.environment.TOKEN');
  expect(refused.outcome?.error?.hint).toContain('TOKEN, WHOLE');
  expect(await inspectWhere(ofProject(other.project))).toEqual([]);

  const restored = await stack.safeUpdate(as, { env: outside });
  expect(restored.exitCode, restored.story).toBe(0);
  const app = await container(other.project, 'app');
  expect(app.Config.Env).toEqual(expect.arrayContaining(['KEY=kept', 'TOKEN=a-hidden-b', 'WHOLE=all']));
  expect(app.Config.Labels['kept.label']).toBe('yes');
  const read = await shell(app, 'cat /run/secrets/password /etc/site.conf /init/1.sql');
  expect(read.trim()).toBe('open sesame\none\nselect 1;');
  expect((await container(other.project, 'side')).Config.Env).toContain('OWN=beside');

  // And written back where it was; a link is still one.
  await rm(path.join(stack.directory, 'init'), { recursive: true });
  await mkdir(path.join(stack.directory, 'shared'));
  const real = path.join(stack.directory, 'shared/site.conf');
  await writeFile(real, 'two\n');
  await rm(path.join(stack.directory, 'site.conf'));
  await symlink(real, path.join(stack.directory, 'site.conf'));
  const back = await stack.safeUpdate(
    ['restore', id, '--only', 'config', '--confirm', stack.project, '--json', '--stable-for', '2s'],
    { env: outside },
  );
  expect(back.exitCode, back.story).toBe(0);
  expect(await readFile(path.join(stack.directory, 'init/1.sql'), 'utf8')).toBe('select 1;\n');
  expect(await readFile(real, 'utf8')).toBe('one\n');
});

it('puts back MAC addresses, networks without IPv4 and mounted images, and says what of the configuration is not as it was', async () => {
  const stack = await project({});
  const [good, bad] = await Promise.all([
    buildImage(stack, 'good', keeper()),
    buildImage(stack, 'bad', keeper({ script: 'exit 1' })),
  ]);
  await stack.write(
    'compose.yaml',
    `
services:
  app:
    image: \${IMAGE}
    stop_grace_period: 0s
    mac_address: 02:42:0a:63:00:99
    networks:
      lan: { aliases: [bee], priority: 1 }
      other: { mac_address: 02:42:0a:64:00:77 }
      six: {}
    volumes: ['data:/data', { type: image, source: '${good}', target: /image }]
networks:
  lan: {}
  other: {}
  six: { enable_ipv4: false, enable_ipv6: true, labels: { image: '\${IMAGE}' } }
volumes: { data: {} }
`,
  );
  await stack.env({ IMAGE: good });
  await stack.up();
  const described = async () => {
    const [{ Networks }] = JSON.parse(
      await docker(['inspect', '--format', '[{{json .NetworkSettings}}]', `${stack.project}-app-1`]),
    ) as [{ Networks: Record<string, { MacAddress: string; Aliases: string[] }> }];
    return Object.entries(Networks)
      .map(([name, { MacAddress, Aliases }]) => [name, MacAddress, Aliases.slice(0, 2)])
      .sort();
  };
  const before = await described();
  expect(before.map(([, mac]) => mac)).toEqual(
    expect.arrayContaining(['02:42:0a:63:00:99', '02:42:0a:64:00:77']),
  );
  await stack.env({ IMAGE: bad });
  const run = await stack.update(local);
  expect(run.exitCode, run.story).toBe(4);
  expect(run.story).not.toContain('Not as it was');
  expect(run.outcome?.error?.state).toContain('the former images, configuration and data are back.');
  expect(await described()).toEqual(before);
  expect(await docker(['network', 'inspect', '--format', '{{.EnableIPv4}}', `${stack.project}_six`])).toBe(
    'false',
  );
});

it('looks whether ports are free before anything stops, and so do plan and doctor', async () => {
  const stack = await project({});
  const image = await buildImage(stack, 'good', keeper());
  const holder = `${stack.project}-holder`;
  const byProcess = await freePort();
  await stack.write(
    'compose.yaml',
    `
services:
  app:
    image: ${image}
    stop_grace_period: 0s
    ports: ['\${FIRST}', '\${SECOND}']
`,
  );
  await stack.env({ FIRST: '80', SECOND: '81' });
  await stack.up();
  await docker(['run', '--detach', '--name', holder, '--publish', `${stack.port}:80`, image]);
  const server = createServer().listen(byProcess, '0.0.0.0');
  try {
    await stack.env({ FIRST: `${stack.port}:80`, SECOND: `${byProcess}:81` });
    const before = await inspectWhere(ofProject(stack.project));
    const run = await stack.update(local);
    expect(run.exitCode, run.story).toBe(3);
    expect(run.outcome?.error?.message).toContain(
      `app publishes the port ${stack.port}, which the container ${holder} has already.`,
    );
    expect(run.outcome?.error?.message).toContain(
      `the port ${byProcess}, which something that is no container`,
    );
    expect(run.outcome?.error?.hint).toContain(`--accept port-taken:${stack.port}`);
    expect(run.outcome?.downtime ?? {}).toEqual({});
    expect(await inspectWhere(ofProject(stack.project))).toEqual(before);
    for (const command of ['plan', 'doctor']) {
      const said = (await stack.safeUpdate([command])).stdout.replace(/\s+/g, ' ');
      expect(said, command).toContain(`port ${stack.port}, which the container ${holder} has already`);
    }
    const full = await stack.safeUpdate(['plan', '--minimum-free', '99']);
    expect(full.stdout.replace(/\s+/g, ' ')).toContain('would be refused: There is too little space');
  } finally {
    server.close();
    await docker(['rm', '--force', holder]);
  }
});
