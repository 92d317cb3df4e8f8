import { spawnSync } from 'node:child_process';
import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { composeEnvironment } from '../../../src/cli/runtime.ts';
import { loadSettings, type Flags } from '../../../src/config/load.ts';
import { configArgv } from '../../../src/docker/argv.ts';
import { folderWith } from './folder.ts';

/** A stack that shows in its rendered form which files, variables and profiles it was made of. */
function service(name: string, profile?: string): string {
  return [
    'services:',
    `  ${name}:`,
    '    image: "nginx:${TAG:-none}-${OTHER:-none}"',
    ...(profile === undefined ? [] : [`    profiles: [${profile}]`]),
    '',
  ].join('\n');
}

interface Scenario {
  files: Record<string, string>;
  /** Where compose is started, below the folder with the files. */
  cwd?: string;
  flags?: Flags;
  /** The same flags for docker compose. */
  argv?: string[];
  env?: Record<string, string>;
  environment?: string;
}

const base = { 'compose.yaml': service('web'), '.env': 'TAG=dot\nOTHER=dot\n' };

/** Each of these, resolved here, must render as what compose makes of it by itself. */
const scenarios: Record<string, Scenario> = {
  'a plain folder': { files: base },
  'an override': { files: { ...base, 'docker-compose.override.yml': service('debug') } },
  'every name there is': {
    files: {
      ...base,
      'compose.yml': service('b'),
      'docker-compose.yml': service('c'),
      'docker-compose.yaml': service('d'),
      'compose.override.yaml': service('e'),
      'docker-compose.override.yml': service('f'),
    },
  },
  'a folder below, with an .env of its own': { files: { ...base, 'sub/.env': 'TAG=sub\n' }, cwd: 'sub' },
  '-f from elsewhere': {
    files: { ...base, 'bin/.env': 'TAG=wrong\n' },
    cwd: 'bin',
    flags: { file: ['../compose.yaml'] },
    argv: ['-f', '../compose.yaml'],
  },
  '--project-directory': {
    files: { ...base, 'sub/.env': 'TAG=sub\n' },
    flags: { projectDirectory: 'sub' },
    argv: ['--project-directory', 'sub'],
  },
  'several --env-file': {
    files: { ...base, 'a.env': 'TAG=a\nOTHER=${TAG}\n', 'b.env': 'TAG=b\n' },
    flags: { envFile: ['a.env', 'b.env'] },
    argv: ['--env-file', 'a.env', '--env-file', 'b.env'],
  },
  'COMPOSE_FILE in .env, interpolated': {
    files: {
      ...base,
      'compose.eu.yaml': service('eu'),
      '.env': 'STAGE=eu\nCOMPOSE_FILE=compose.yaml:compose.${STAGE}.yaml\n',
    },
  },
  'COMPOSE_FILE that leads to another folder': {
    files: { ...base, 'bin/.env': 'COMPOSE_FILE=../compose.yaml\nTAG=bin\n' },
    cwd: 'bin',
  },
  COMPOSE_PATH_SEPARATOR: {
    files: { ...base, 'b.yaml': service('b') },
    env: { COMPOSE_FILE: 'compose.yaml,b.yaml', COMPOSE_PATH_SEPARATOR: ',' },
  },
  COMPOSE_PROFILES: {
    files: { ...base, 'compose.override.yml': service('jobs', 'jobs'), '.env': 'COMPOSE_PROFILES=x, jobs\n' },
  },
  'a variable that refers to itself': {
    files: {
      ...base,
      '.env': 'TAG=${TAG:-web}\nCOMPOSE_PROFILES=${TAG}\nOTHER=${NO:-${TAG}}\n',
      'compose.override.yml': service('jobs', 'web'),
    },
  },
  'COMPOSE_PROFILES in a compose file': {
    files: {
      'compose.yaml': 'services: { web: { image: "x:${COMPOSE_PROFILES:-none}-${COMPOSE_FILE:-none}" } }',
      '.env': 'COMPOSE_PROFILES=jobs\n',
    },
  },
  'COMPOSE_PROFILES and COMPOSE_FILE of the process in a compose file': {
    files: {
      'other.yaml': 'services: { web: { image: "x:${COMPOSE_PROFILES:-none}-${COMPOSE_FILE:-none}" } }',
      '.env': 'COMPOSE_PROFILES=jobs\n',
    },
    env: { COMPOSE_PROFILES: 'a,b', COMPOSE_FILE: 'other.yaml' },
  },
  'profiles by flag and by variable': {
    files: { ...base, 'compose.override.yml': service('jobs', 'jobs') },
    env: { COMPOSE_PROFILES: 'jobs' },
    flags: { profile: ['other'] },
    argv: ['--profile', 'other'],
  },
  'COMPOSE_PROJECT_NAME in .env': { files: { ...base, '.env': 'COMPOSE_PROJECT_NAME=shop-${TAG:-x}\n' } },
  COMPOSE_ENV_FILES: { files: { ...base, 'a.env': 'TAG=a\n' }, env: { COMPOSE_ENV_FILES: 'a.env' } },
  COMPOSE_DISABLE_ENV_FILE: { files: base, env: { COMPOSE_DISABLE_ENV_FILE: 'true' } },
  'a name in the file': { files: { 'compose.yaml': `name: named\n${service('web')}` } },
  'a symbolic link': { files: { 'releases/42/compose.yaml': service('web') }, cwd: 'shop' },
  'prod, as it is written by hand': {
    files: {
      ...base,
      'compose.override.yaml': service('debug'),
      'compose.prod.yaml': service('extra'),
      '.env.prod': 'TAG=prod\n',
    },
    environment: 'prod',
    argv: ['-f', 'compose.yaml', '-f', 'compose.prod.yaml', '--env-file', '.env', '--env-file', '.env.prod'],
  },
};

const hasCompose = spawnSync('docker', ['compose', 'version']).status === 0;

/** `docker compose config` needs no engine. */
const without = hasCompose ? '' : ' (SKIPPED: docker compose is not installed)';

describe.skipIf(!hasCompose)(`the project resolved here is the one compose means${without}`, () => {
  it.each(Object.entries(scenarios))('%s', async (_, scenario) => {
    const folder = folderWith(scenario.files);
    if (scenario.cwd === 'shop') symlinkSync('releases/42', join(folder, 'shop'));
    const cwd = join(folder, scenario.cwd ?? '');
    const env = {
      PATH: process.env['PATH'] ?? '',
      HOME: process.env['HOME'] ?? '',
      PWD: cwd,
      ...scenario.env,
    };
    const render = (argv: string[], of: Record<string, string | undefined> = env): unknown => {
      const [program = '', ...args] = argv;
      const { status, stdout, stderr } = spawnSync(program, args, { cwd, env: of, encoding: 'utf8' });
      expect(status, stderr).toBe(0);
      return JSON.parse(stdout);
    };
    const { project } = await loadSettings({
      cwd:
        process.platform === 'win32'
          ? cwd
          : spawnSync('pwd', ['-P'], { cwd, encoding: 'utf8' }).stdout.trim(),
      env,
      flags: scenario.flags ?? {},
      environment: scenario.environment,
    });
    expect(render(configArgv(project), composeEnvironment(env))).toEqual(
      render(['docker', 'compose', ...(scenario.argv ?? []), 'config', '--format', 'json']),
    );
  });
});
