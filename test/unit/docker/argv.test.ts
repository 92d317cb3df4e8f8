import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as builders from '../../../src/docker/argv.ts';
import type { Project } from '../../../src/model/project.ts';
import { readCommandLine } from './command-line.ts';

const project: Project = {
  name: 'shop',
  directory: '/srv/shop',
  files: ['/srv/shop/compose.yaml', '/srv/shop/compose.prod.yaml'],
  envFiles: ['/srv/shop/.env.prod'],
  profiles: ['mail'],
};

const compose = [
  ...['docker', 'compose', '--project-name', 'shop', '--project-directory', '/srv/shop'],
  ...['--file', '/srv/shop/compose.yaml', '--file', '/srv/shop/compose.prod.yaml'],
  ...['--env-file', '/srv/shop/.env.prod', '--profile', 'mail'],
];

/** What can be called from outside, for each builder: with one name everywhere a name goes. */
const calls: Record<keyof typeof builders, (name: string) => string[][]> = {
  configArgv: (name) => {
    const { name: _, ...nameless } = projectOf(name);
    return [builders.configArgv(projectOf(name)), builders.configArgv(nameless)];
  },
  configHashArgv: (name) => [builders.configHashArgv(projectOf(name), true)],
  configProfilesArgv: (name) => [builders.configProfilesArgv(projectOf(name))],
  pullArgv: (name) => [builders.pullArgv(projectOf(name), [name, name])],
  buildArgv: (name) => [builders.buildArgv(projectOf(name), [name])],
  stopArgv: (name) => [builders.stopArgv(projectOf(name), [name])],
  removeArgv: (name) => [builders.removeArgv(projectOf(name), [name])],
  upArgv: (name) => [
    builders.upArgv(projectOf(name), [name], { scale: {} }),
    builders.upArgv(projectOf(name), ['db', name], { scale: { [name]: 3, db: 2 } }),
  ],
  createArgv: (name) => [builders.createArgv(projectOf(name), ['db', name], { scale: { [name]: 3, db: 2 } })],
  execArgv: (name) => [
    builders.execArgv(name, [name], { env: [], stdin: false }),
    builders.execArgv(name, ['sh', '-c', name], { env: [name], stdin: true, user: name }),
  ],
  composeVersionArgv: () => [builders.composeVersionArgv()],
  contextArgv: () => [builders.contextArgv()],
  logsArgv: (name) => [builders.logsArgv(name, 100)],
  buildImageArgv: (name) => [builders.buildImageArgv(name, name)],
  pullImageArgv: (name) => [builders.pullImageArgv(name)],
  saveImagesArgv: (name) => [builders.saveImagesArgv([name, name])],
  loadImagesArgv: () => [builders.loadImagesArgv()],
};

function projectOf(name: string): Project {
  return { name, directory: name, files: [name], envFiles: [name, name], profiles: [name] };
}

/** The only flags that the docker command may ever read from us. What is not here cannot delete. */
const allowed: Record<string, string[]> = {
  'compose config': ['--format', '--hash', '--profiles'],
  'compose pull': [],
  'compose build': [],
  'compose stop': [],
  'compose rm': ['--force'],
  'compose up': [
    '--detach',
    '--no-start',
    '--no-build',
    '--pull',
    '--no-deps',
    '--remove-orphans',
    '--scale',
  ],
  'compose version': ['--short'],
  'context inspect': ['--format'],
  exec: ['--interactive', '--user', '--env'],
  logs: ['--timestamps', '--tail'],
  build: ['--quiet', '--tag'],
  pull: ['--quiet'],
  save: [],
  load: ['--quiet'],
};
const global = ['--project-name', '--project-directory', '--file', '--env-file', '--profile'];

/** Words with which docker and docker compose delete volumes, or say yes to deleting them. */
const deleting = [
  ...[
    '-v',
    '--volume',
    '--volumes',
    '-V',
    '--renew-anon-volumes',
    '-y',
    '--yes',
    '--rmi',
    '-fv',
    '-sv',
    '-vf',
  ],
  ...['down', 'prune', 'volume', 'system'],
];
const hostile = [...deleting, 'rm', 'up', 'stop', '--', '-', '', '-f', '--force', '--help', '--file=x'];

function everyArgv(name: string): string[][] {
  return Object.values(calls).flatMap((call) => call(name));
}

describe('every builder', () => {
  it('is walked here', () => {
    expect(Object.keys(calls).sort()).toEqual(Object.keys(builders).sort());
  });

  it('makes commands of the docker program that can be read', () => {
    for (const argv of everyArgv('web')) {
      expect(argv[0]).toBe('docker');
      expect(Object.keys(allowed)).toContain(readCommandLine(argv).verb);
    }
  });

  it('never says a word that deletes a volume', () => {
    for (const argv of everyArgv('web')) {
      const { verb, flags, operands } = readCommandLine(argv);
      for (const word of [...verb.split(' '), ...flags, ...operands]) expect(deleting).not.toContain(word);
    }
  });

  it.each(hostile)('takes the name %j for a name and nothing else', (name) => {
    const ordinary = everyArgv('web');
    for (const [index, argv] of everyArgv(name).entries()) {
      const { verb, flags, operands } = readCommandLine(argv);
      const meant = readCommandLine(ordinary[index] ?? []);
      expect(verb).toBe(meant.verb);
      expect(flags).toEqual(meant.flags);
      expect(operands).toEqual(meant.operands.map((word) => (word === 'web' ? name : word)));
    }
  });

  it('lets the docker command read no flag but the known ones, whatever the names', () => {
    const word = fc.oneof(
      fc.string({ maxLength: 12 }),
      fc.constantFrom(...hostile),
      fc.string({ maxLength: 8 }).map((text) => `-${text}`),
      fc.string({ maxLength: 8 }).map((text) => `--${text}`),
    );
    fc.assert(
      fc.property(word, (name) => {
        for (const argv of everyArgv(name)) {
          const { verb, flags } = readCommandLine(argv);
          expect(Object.keys(allowed)).toContain(verb);
          const known = verb.startsWith('compose ') ? [...global, ...(allowed[verb] ?? [])] : allowed[verb];
          for (const flag of flags) expect(known).toContain(flag);
        }
      }),
    );
  });
});

describe('what would be run', () => {
  it('config', () => {
    expect(builders.configArgv(project)).toEqual([...compose, 'config', '--format', 'json']);
  });

  it('config, before the name is known: compose finds it in the files', () => {
    const { name: _, ...nameless } = project;
    expect(builders.configArgv(nameless)).toEqual([
      ...['docker', 'compose', '--project-directory', '/srv/shop'],
      ...compose.slice(6),
      ...['config', '--format', 'json'],
    ]);
  });

  it('config --hash', () => {
    expect(builders.configHashArgv(project, false)).toEqual([...compose, 'config', '--hash', '*']);
  });

  it('config --profiles', () => {
    expect(builders.configProfilesArgv(project)).toEqual([...compose, 'config', '--profiles']);
  });

  it('pull', () => {
    expect(builders.pullArgv(project, ['web', 'db'])).toEqual([...compose, 'pull', '--', 'web', 'db']);
  });

  it('build', () => {
    expect(builders.buildArgv(project, ['web'])).toEqual([...compose, 'build', '--', 'web']);
  });

  it('stop', () => {
    expect(builders.stopArgv(project, ['web'])).toEqual([...compose, 'stop', '--', 'web']);
  });

  it('rm, without -v and without --stop', () => {
    expect(builders.removeArgv(project, ['web', 'db'])).toEqual([
      ...compose,
      'rm',
      '--force',
      '--',
      'web',
      'db',
    ]);
  });

  it('up', () => {
    expect(builders.upArgv(project, ['db', 'web'], { scale: { web: 3 } })).toEqual([
      ...compose,
      ...['up', '--detach', '--no-build', '--pull', 'never', '--no-deps', '--remove-orphans=false'],
      ...['--scale', 'web=3', '--', 'db', 'web'],
    ]);
  });

  it('exec, with the names of variables and not their values', () => {
    const options = { env: ['PGPASSWORD'], stdin: true, user: 'postgres' };
    expect(builders.execArgv('c0ffee', ['sh', '-c', 'pg_dump'], options)).toEqual([
      ...['docker', 'exec', '--interactive', '--user', 'postgres', '--env', 'PGPASSWORD'],
      ...['--', 'c0ffee', 'sh', '-c', 'pg_dump'],
    ]);
    expect(builders.execArgv('c0ffee', ['true'], { env: [], stdin: false })).toEqual([
      ...['docker', 'exec', '--', 'c0ffee', 'true'],
    ]);
  });

  it('everything else', () => {
    expect(builders.composeVersionArgv()).toEqual(['docker', 'compose', 'version', '--short']);
    expect(builders.contextArgv()).toEqual(['docker', 'context', 'inspect', '--format', '{{json .}}']);
    expect(builders.logsArgv('c0ffee', 1000)).toEqual([
      ...['docker', 'logs', '--timestamps', '--tail', '1000', '--', 'c0ffee'],
    ]);
    expect(builders.buildImageArgv('helper:1', '/opt/helper/')).toEqual([
      ...['docker', 'build', '--quiet', '--tag', 'helper:1', '--', '/opt/helper/'],
    ]);
    expect(builders.pullImageArgv('debian@sha256:0')).toEqual([
      ...['docker', 'pull', '--quiet', '--', 'debian@sha256:0'],
    ]);
  });
});

it.each([
  ['pull', () => builders.pullArgv(project, [])],
  ['build', () => builders.buildArgv(project, [])],
  ['stop', () => builders.stopArgv(project, [])],
  ['rm', () => builders.removeArgv(project, [])],
  ['up', () => builders.upArgv(project, [], { scale: {} })],
])('%s of no services is refused, because compose would take all of them', (_, build) => {
  expect(build).toThrow('no services named');
});
