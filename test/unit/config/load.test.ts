import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadSettings, sharingAllowed, type LoadInput } from '../../../src/config/load.ts';
import type { Settings } from '../../../src/config/schema.ts';
import { configArgv } from '../../../src/docker/argv.ts';
import { SafeUpdateError } from '../../../src/model/error.ts';
import { folderWith, stack } from './folder.ts';

function load(cwd: string, input: Partial<LoadInput> = {}): Promise<Settings> {
  return loadSettings({ cwd, env: {}, flags: {}, ...input });
}

async function failure(cwd: string, input: Partial<LoadInput> = {}): Promise<SafeUpdateError> {
  const error: unknown = await load(cwd, input).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(SafeUpdateError);
  expect((error as SafeUpdateError).state).toBe('Nothing was touched.');
  return error as SafeUpdateError;
}

describe('without any configuration', () => {
  it('has defaults for everything', async () => {
    const folder = folderWith({ 'compose.yaml': stack });
    expect(await load(folder)).toEqual({
      project: { directory: folder, files: [join(folder, 'compose.yaml')], envFiles: [], profiles: [] },
      backups: {
        directory: join(folder, 'backups'),
        keep: { last: 5 },
        caches: false,
        encryption: { recipients: [] },
      },
      consistency: 'cold',
      pull: 'always',
      timeouts: { lock: 0, pull: 1_800_000, dump: 1_800_000, verify: 300_000, stableFor: 10_000 },
      helper: {},
      bindMounts: { include: [] },
      volumes: {},
      services: {},
      databases: {},
      space: { minimumFree: 10 },
      guard: {},
      warnings: [],
    });
  });

  it('does without a compose file where none is needed', async () => {
    const empty = folderWith({ 'safe-update.yml': 'backups: { keep: 9 }' });
    expect(await load(empty, { filesOptional: true })).toMatchObject({
      project: { directory: empty, files: [], envFiles: [] },
      backups: { directory: join(empty, 'backups'), keep: { last: 9 } },
    });
    expect((await failure(empty)).message).toContain('No compose file was found');
    const named = await failure(empty, { filesOptional: true, flags: { file: ['compose.yaml'] } });
    expect(named.message).toContain('does not exist');
    const folder = folderWith({ 'compose.yaml': stack });
    expect(await load(folder, { filesOptional: true })).toEqual(await load(folder));
  });

  it('leaves the name out, so that the first `config` asks compose for it', async () => {
    const { project } = await load(folderWith({ 'compose.yaml': stack }));
    expect(configArgv(project)).not.toContain('--project-name');
  });

  it.each([
    [['compose.yaml', 'compose.yml', 'docker-compose.yml', 'docker-compose.yaml'], ['compose.yaml']],
    [['docker-compose.yaml', 'docker-compose.yml', 'compose.yml'], ['compose.yml']],
    [['docker-compose.yaml', 'docker-compose.yml'], ['docker-compose.yml']],
    [
      ['docker-compose.yml', 'docker-compose.override.yaml'],
      ['docker-compose.yml', 'docker-compose.override.yaml'],
    ],
    [
      ['compose.yaml', 'docker-compose.override.yml', 'compose.override.yaml', 'compose.override.yml'],
      ['compose.yaml', 'compose.override.yml'],
    ],
  ])('of %j takes %j', async (present, taken) => {
    const folder = folderWith(Object.fromEntries(present.map((name) => [name, stack])));
    const { project, warnings } = await load(folder);
    expect(project.files).toEqual(taken.map((name) => join(folder, name)));
    const bases = present.filter((name) => !name.includes('override'));
    expect(warnings).toHaveLength(bases.length > 1 ? 1 : 0);
  });

  it('searches the folders above', async () => {
    const folder = folderWith({ 'compose.yaml': stack, 'a/b/readme': '' });
    const { project, backups } = await load(join(folder, 'a/b'));
    expect(project).toMatchObject({ directory: folder, files: [join(folder, 'compose.yaml')] });
    expect(backups.directory).toBe(join(folder, 'backups'));
  });

  it('says where it searched when there is no compose file', async () => {
    const folder = folderWith({ 'a/readme': '' });
    const error = await failure(join(folder, 'a'));
    expect(error.code).toBe('config');
    expect(error.message).toContain('compose.yaml, compose.yml, docker-compose.yml, docker-compose.yaml');
    expect(error.message).toContain(`\n  ${join(folder, 'a')}\n  ${folder}\n`);
    expect(error.hint).toContain('safe-update -f path/to/compose.yaml');
  });

  it('takes no folder for a compose file', async () => {
    const folder = folderWith({ 'compose.yaml/x': '', 'docker-compose.yml': stack });
    expect((await load(folder)).project.files).toEqual([join(folder, 'docker-compose.yml')]);
  });
});

describe('symbolic links', () => {
  it('keeps the folder as the shell shows it, because compose names the project after it', async () => {
    const folder = folderWith({ 'releases/42/compose.yaml': stack, 'releases/42/sub/x': '' });
    symlinkSync('releases/42', join(folder, 'shop'));
    const real = join(folder, 'releases/42');
    const shown = join(folder, 'shop');
    expect((await load(real, { env: { PWD: shown } })).project.directory).toBe(shown);
    expect((await load(join(real, 'sub'), { env: { PWD: join(shown, 'sub') } })).project.directory).toBe(
      shown,
    );
    expect((await load(real, { env: { PWD: folder } })).project.directory).toBe(real);
    expect((await load(real, { env: { PWD: join(folder, 'gone') } })).project.directory).toBe(real);
    expect((await load(real, { env: { PWD: '.' } })).project.directory).toBe(real);
  });

  it('does not resolve them in what flags name', async () => {
    const folder = folderWith({ 'real/compose.yaml': stack });
    symlinkSync('real', join(folder, 'link'));
    expect((await load(folder, { flags: { file: ['link/compose.yaml'] } })).project.directory).toBe(
      join(folder, 'link'),
    );
    expect((await load(folder, { flags: { projectDirectory: 'link' } })).project).toMatchObject({
      directory: join(folder, 'link'),
      files: [join(folder, 'link/compose.yaml')],
    });
  });
});

describe("compose's own flags", () => {
  it('takes -f relative to the working directory, and the first one decides the project directory', async () => {
    const folder = folderWith({
      'deploy/a.yml': stack,
      'b.yml': stack,
      'compose.yaml': stack,
      'compose.override.yml': stack,
    });
    const { project } = await load(folder, { flags: { file: ['deploy/a.yml', 'b.yml'] } });
    expect(project.files).toEqual([join(folder, 'deploy/a.yml'), join(folder, 'b.yml')]);
    expect(project.directory).toBe(join(folder, 'deploy'));
  });

  it('takes -p, --profile, --env-file and --project-directory', async () => {
    const folder = folderWith({
      'compose.yaml': stack,
      'sub/x': '',
      'my.env': '',
      '.env': 'COMPOSE_PROFILES=never',
    });
    const { project } = await load(folder, {
      flags: { projectName: 'shop', profile: ['a', 'b'], envFile: ['my.env'], projectDirectory: 'sub' },
    });
    expect(project).toEqual({
      name: 'shop',
      profiles: ['a', 'b'],
      envFiles: [join(folder, 'my.env')],
      directory: join(folder, 'sub'),
      files: [join(folder, 'compose.yaml')],
    });
  });

  it('takes empty lists for absent', async () => {
    const folder = folderWith({ 'compose.yaml': stack, 'safe-update.yml': 'profiles: [a]\n' });
    const { project } = await load(folder, { flags: { file: [], profile: [], envFile: [] } });
    expect(project).toMatchObject({ profiles: ['a'], files: [join(folder, 'compose.yaml')] });
  });

  it.each([
    [{ file: ['gone.yml'] }, 'config', /compose file .*gone\.yml \(-f\) does not exist/],
    [{ file: ['folder'] }, 'config', /\(-f\) is not a file/],
    [{ file: ['-'] }, 'config', /standard input/],
    [{ file: ['oci://registry/stack'] }, 'config', /remote compose file/],
    [{ envFile: ['gone.env'] }, 'config', /env file .*gone\.env \(--env-file\) does not exist/],
    [{ projectDirectory: 'gone' }, 'config', /project directory .*gone is not a folder/],
    [{ config: 'gone.yml' }, 'config', /gone\.yml cannot be read/],
    [{ projectName: 'My Shop' }, 'usage', /^--project-name: expected lowercase/],
    [{ consistency: 'colt' }, 'usage', /^--consistency: expected cold or hot/],
    [{ pull: 'sometimes' }, 'usage', /^--pull: expected always, missing or never/],
    [{ verifyTimeout: 'soon' }, 'usage', /^--verify-timeout: expected a duration/],
    [{ pullTimeout: '0' }, 'usage', /^--pull-timeout: expected more than zero/],
    [{ keep: 'all' }, 'usage', /^--keep: expected a whole number, or rules/],
    [{ keep: '0' }, 'usage', /^--keep: expected 1 or more/],
    [{ file: [''] }, 'usage', /^--file: expected a path/],
    [{ stableFor: '5m' }, 'config', /stableFor is not shorter than timeouts\.verify/],
  ] as const)('refuses %j', async (flags, code, message) => {
    const folder = folderWith({ 'compose.yaml': stack, 'folder/x': '' });
    const error = await failure(folder, { flags: flags as unknown as LoadInput['flags'] });
    expect(error.message).toMatch(message);
    expect(error.code).toBe(code);
    expect(error.hint).toBeTruthy();
  });
});

describe('COMPOSE_* variables', () => {
  it('reads COMPOSE_FILE, COMPOSE_PROFILES and COMPOSE_PROJECT_NAME from .env', async () => {
    const folder = folderWith({
      'a.yml': stack,
      'b.yml': stack,
      '.env':
        'COMPOSE_FILE=a.yml:b.yml\nCOMPOSE_PROFILES= web , jobs\nCOMPOSE_PROJECT_NAME=shop\nPASSWORD=hunter2\n',
    });
    const settings = await load(folder);
    expect(settings.project).toEqual({
      name: 'shop',
      directory: folder,
      files: [join(folder, 'a.yml'), join(folder, 'b.yml')],
      envFiles: [],
      profiles: ['web', 'jobs'],
    });
    expect(JSON.stringify(settings)).not.toContain('hunter2');
  });

  it('lets the process win over .env', async () => {
    const folder = folderWith({
      'a.yml': stack,
      'b.yml': stack,
      '.env': 'COMPOSE_FILE=a.yml\nCOMPOSE_PROFILES=a\n',
    });
    const { project } = await load(folder, { env: { COMPOSE_FILE: 'b.yml', COMPOSE_PROFILES: 'b' } });
    expect(project).toMatchObject({ files: [join(folder, 'b.yml')], profiles: ['b'] });
  });

  it('splits by COMPOSE_PATH_SEPARATOR', async () => {
    const folder = folderWith({
      'a.yml': stack,
      'b.yml': stack,
      '.env': 'COMPOSE_PATH_SEPARATOR=,\nCOMPOSE_FILE=a.yml,b.yml',
    });
    expect((await load(folder)).project.files).toHaveLength(2);
  });

  it('gives both .env files where compose would read both, so that the one of the working directory still wins', async () => {
    const above = folderWith({ 'compose.yaml': stack, '.env': 'A=1', 'sub/.env': 'COMPOSE_PROFILES=sub' });
    expect((await load(join(above, 'sub'))).project).toMatchObject({
      directory: above,
      envFiles: [join(above, '.env'), join(above, 'sub/.env')],
      profiles: ['sub'],
    });
    const beside = folderWith({
      'stack/compose.yaml': stack,
      'bin/.env': 'COMPOSE_FILE=../stack/compose.yaml',
    });
    expect((await load(join(beside, 'bin'))).project).toMatchObject({
      directory: join(beside, 'stack'),
      envFiles: [join(beside, 'bin/.env')],
    });
  });

  it('does not read the .env of the working directory when -f points elsewhere', async () => {
    const folder = folderWith({ 'stack/compose.yaml': stack, '.env': 'COMPOSE_PROJECT_NAME=wrong' });
    const { project } = await load(folder, { flags: { file: ['stack/compose.yaml'] } });
    expect(project).toMatchObject({ envFiles: [] });
    expect(project).not.toHaveProperty('name');
  });

  it('takes COMPOSE_ENV_FILES from the process, and not from .env', async () => {
    const files = {
      'compose.yaml': stack,
      'a.env': 'COMPOSE_PROFILES=a',
      '.env': 'COMPOSE_ENV_FILES=a.env\nCOMPOSE_PROFILES=dot',
    };
    const folder = folderWith(files);
    expect((await load(folder)).project).toMatchObject({ envFiles: [], profiles: ['dot'] });
    const { project } = await load(folder, { env: { COMPOSE_ENV_FILES: 'a.env' } });
    expect(project).toMatchObject({ envFiles: [join(folder, 'a.env')], profiles: ['a'] });
  });

  it('leaves .env alone when COMPOSE_DISABLE_ENV_FILE says so', async () => {
    const folder = folderWith({ 'compose.yaml': stack, '.env': 'COMPOSE_PROFILES=dot', '.env.prod': '' });
    const env = { COMPOSE_DISABLE_ENV_FILE: '1' };
    expect((await load(folder, { env })).project).toMatchObject({ envFiles: [], profiles: [] });
    expect((await load(folder, { env, environment: 'prod' })).project.envFiles).toEqual([
      join(folder, '.env.prod'),
    ]);
  });

  it.each([
    [{ COMPOSE_FILE: '' }, /COMPOSE_FILE in the environment is empty/],
    [{ COMPOSE_FILE: 'compose.yaml:' }, /has an empty entry/],
    [{ COMPOSE_FILE: 'gone.yml' }, /gone\.yml \(COMPOSE_FILE in the environment\) does not exist/],
    [{ COMPOSE_PROJECT_NAME: 'My.Shop' }, /COMPOSE_PROJECT_NAME in the environment is not a name/],
    [{ COMPOSE_ENV_FILES: 'gone.env' }, /gone\.env \(COMPOSE_ENV_FILES in the environment\) does not exist/],
  ])('refuses %j', async (env, message) => {
    const error = await failure(folderWith({ 'compose.yaml': stack }), { env });
    expect(error).toMatchObject({ code: 'config' });
    expect(error.message).toMatch(message);
  });
});

describe('environments by convention', () => {
  const prod = { environment: 'prod' };

  it('adds the compose file and the env file after the base ones', async () => {
    const folder = folderWith({
      'docker-compose.yml': stack,
      'docker-compose.prod.yml': stack,
      '.env': '',
      '.env.prod': '',
    });
    const { project, warnings } = await load(folder, prod);
    expect(project).toEqual({
      directory: folder,
      files: [join(folder, 'docker-compose.yml'), join(folder, 'docker-compose.prod.yml')],
      envFiles: [join(folder, '.env'), join(folder, '.env.prod')],
      profiles: [],
      environment: 'prod',
    });
    expect(warnings).toEqual([]);
  });

  it.each([
    ['compose.yaml', 'compose.prod.yaml'],
    ['compose.yaml', 'compose.prod.yml'],
    ['compose.yaml', 'docker-compose.prod.yml'],
    ['docker-compose.yaml', 'compose.prod.yaml'],
    ['docker-compose.yml', 'docker-compose.production.yml'],
  ])('finds beside %s: %s', async (base, own) => {
    const folder = folderWith({ [base]: stack, [own]: stack });
    expect((await load(folder, prod)).project.files).toEqual([join(folder, base), join(folder, own)]);
  });

  it.each(['.env.prod', 'env.prod', '.env.production', 'env.production'])('finds %s', async (own) => {
    const folder = folderWith({ 'compose.yaml': stack, [own]: 'COMPOSE_PROJECT_NAME=live' });
    const { project } = await load(folder, prod);
    expect(project).toMatchObject({ envFiles: [join(folder, own)], name: 'live' });
  });

  it('takes prod and production for the same, the one that was said first', async () => {
    const folder = folderWith({
      'compose.yaml': stack,
      'compose.prod.yaml': stack,
      'compose.production.yaml': stack,
    });
    const { project, warnings } = await load(folder, { environment: 'production' });
    expect(project.files.at(-1)).toBe(join(folder, 'compose.production.yaml'));
    expect(warnings).toEqual([expect.stringContaining('not used: compose.prod.yaml')]);
  });

  it('leaves the override out where the environment has a compose file, and says so', async () => {
    const files = { 'compose.yaml': stack, 'compose.override.yaml': stack, '.env.staging': '' };
    const without = folderWith(files);
    expect((await load(without, { environment: 'staging' })).project.files).toHaveLength(2);
    const folder = folderWith({ ...files, 'compose.staging.yaml': stack });
    const { project, warnings } = await load(folder, { environment: 'staging' });
    expect(project.files).toEqual([join(folder, 'compose.yaml'), join(folder, 'compose.staging.yaml')]);
    expect(warnings).toEqual([expect.stringContaining('compose.override.yaml is not merged')]);
  });

  it("takes the environment's compose file alone where there is no other", async () => {
    const folder = folderWith({ 'compose.yaml': stack, 'deploy/docker-compose.prod.yml': stack });
    const { project } = await load(join(folder, 'deploy'), prod);
    expect(project).toMatchObject({
      directory: join(folder, 'deploy'),
      files: [join(folder, 'deploy/docker-compose.prod.yml')],
    });
  });

  it('accepts prod and production with no file of their own: the stack as it is', async () => {
    const folder = folderWith({ 'compose.yaml': stack, 'compose.override.yaml': stack, '.env': '' });
    for (const environment of ['prod', 'production']) {
      const { project } = await load(folder, { environment });
      expect(project).toMatchObject({ environment, envFiles: [] });
      expect(project.files).toHaveLength(2);
    }
  });

  it('adds its file to what COMPOSE_FILE names, unless it is in there', async () => {
    const folder = folderWith({ 'a.yml': stack, 'a.prod.yml': stack, '.env': 'COMPOSE_FILE=a.yml' });
    const both = [join(folder, 'a.yml'), join(folder, 'a.prod.yml')];
    expect((await load(folder, prod)).project.files).toEqual(both);
    expect(
      (await load(folder, { ...prod, env: { COMPOSE_FILE: 'a.yml:a.prod.yml' } })).project.files,
    ).toEqual(both);
  });

  it('takes exactly what -f and --env-file name', async () => {
    const folder = folderWith({
      'compose.yaml': stack,
      'compose.prod.yaml': stack,
      '.env': '',
      '.env.prod': '',
      'my.env': '',
    });
    const { project } = await load(folder, {
      ...prod,
      flags: { file: ['compose.yaml'], envFile: ['my.env'] },
    });
    expect(project).toMatchObject({
      files: [join(folder, 'compose.yaml')],
      envFiles: [join(folder, 'my.env')],
    });
  });

  it('reads the COMPOSE_* variables of its env file', async () => {
    const folder = folderWith({
      'a.yml': stack,
      'b.yml': stack,
      '.env': 'COMPOSE_FILE=a.yml',
      '.env.prod': 'COMPOSE_FILE=a.yml:b.yml',
    });
    expect((await load(folder, prod)).project.files).toHaveLength(2);
    expect((await load(folder)).project.files).toHaveLength(1);
  });

  it('names the environments there are when asked for another', async () => {
    const folder = folderWith({
      'compose.yaml': stack,
      'compose.override.yaml': stack,
      'compose.staging.yaml': stack,
      '.env.example': '',
      '.env.demo': '',
      '.env.prod': '',
      'env.production': '',
      'other.test.yml': '',
      'safe-update.yml': 'environments: { eu: {} }\n',
    });
    const error = await failure(folder, { environment: 'stagign', commands: ['backup', 'status'] });
    expect(error.code).toBe('config');
    expect(error.message).toBe('There is no environment stagign. There are: eu, demo, prod, staging.');
    expect(error.hint).toMatch(/^Did you mean staging\?/);
    expect(error.hint).toContain(join(folder, 'compose.stagign.yml'));
  });

  it('knows prod also where nothing is named after it', async () => {
    const error = await failure(folderWith({ 'compose.yaml': stack }), { environment: 'prd' });
    expect(error.message).toBe(
      'There is no environment prd. There is only prod, which needs no file of its own.',
    );
    expect(error.hint).toMatch(/^Did you mean prod\?/);
  });

  it('recognises a mistyped command, with and without a compose file', async () => {
    const input = { environment: 'statsu', commands: ['backup', 'status'] };
    expect((await failure(folderWith({ 'compose.yaml': stack }), input)).hint).toMatch(
      /^Did you mean the command `safe-update status`\?/,
    );
    expect((await failure(folderWith({}), input)).hint).toMatch(
      /^Did you mean the command `safe-update status`\?/,
    );
  });

  it.each(['../x', 'a/b', 'example', 'override', '', '-x', 'a.b'])(
    'refuses the name %j',
    async (environment) => {
      const folder = folderWith({ 'compose.yaml': stack, '.env.example': '', 'compose.override.yml': stack });
      expect((await failure(folder, { environment })).message).toContain(
        'cannot be the name of an environment',
      );
    },
  );
});

describe('safe-update.yml', () => {
  const config = [
    'project: shop',
    'profiles: [top]',
    'backups: { directory: ../safe, keep: 3 }',
    'consistency: hot',
    'timeouts: { verify: 2m, stop: 30s }',
    'volumes: { db: { shared: allow } }',
    'bindMounts: { include: [./uploads, "/mnt/*"] }',
    'environments:',
    '  prod:',
    '    project: shop-live',
    '    consistency: cold',
    '    timeouts: { verify: 10m }',
    '    volumes: { media: { shared: allow } }',
    '',
  ].join('\n');

  it('lets flags win over the environment, and that over the top level', async () => {
    const folder = folderWith({
      'shop/compose.yaml': stack,
      'shop/safe-update.yml': config,
      'shop/.env': 'COMPOSE_PROJECT_NAME=dot\nCOMPOSE_PROFILES=dot\n',
    });
    const cwd = join(folder, 'shop');
    const top = await load(cwd);
    expect(top).toMatchObject({
      project: { name: 'shop', profiles: ['top'] },
      configFile: join(cwd, 'safe-update.yml'),
      backups: { directory: join(folder, 'safe'), keep: { last: 3 } },
      consistency: 'hot',
      timeouts: { verify: 120_000, stop: 30_000, dump: 1_800_000 },
      bindMounts: { include: [join(cwd, 'uploads'), '/mnt/*'] },
    });
    const prod = await load(cwd, { environment: 'production' });
    expect(prod).toMatchObject({
      project: { name: 'shop-live', profiles: ['top'], environment: 'prod' },
      consistency: 'cold',
      timeouts: { verify: 600_000, stop: 30_000 },
      volumes: { db: { shared: 'allow' }, media: { shared: 'allow' } },
    });
    const flags = {
      projectName: 'mine',
      profile: ['flag'],
      backups: 'there',
      keep: '9',
      consistency: 'hot',
      pull: 'never',
      verifyTimeout: '1m',
      stableFor: '0',
      stopTimeout: '5',
      upTimeout: '7m',
      helperImage: 'debian:12',
      minimumFree: '2.5',
    };
    expect(await load(cwd, { environment: 'prod', flags })).toMatchObject({
      project: { name: 'mine', profiles: ['flag'] },
      backups: { directory: join(cwd, 'there'), keep: { last: 9 } },
      consistency: 'hot',
      pull: 'never',
      timeouts: { verify: 60_000, stableFor: 0, stop: 5000, up: 420_000 },
      helper: { image: 'debian:12' },
      space: { minimumFree: 2.5 },
    });
  });

  it('names files relative to itself; an entry names them exactly, the top level as a base', async () => {
    const folder = folderWith({
      'ops/safe-update.yml':
        'files: [../a.yml]\nenvFiles: [../a.env]\nenvironments: { eu: { files: [../eu.yml], directory: .. }, us: {} }\n',
      'a.yml': stack,
      'a.us.yml': stack,
      'a.env': '',
      '.env': '',
      '.env.us': '',
      'eu.yml': stack,
    });
    const flags = { config: 'ops/safe-update.yml' };
    expect((await load(folder, { flags, environment: 'eu' })).project).toMatchObject({
      files: [join(folder, 'eu.yml')],
      directory: folder,
      envFiles: [join(folder, 'a.env')],
    });
    expect((await load(folder, { flags, environment: 'us' })).project).toMatchObject({
      files: [join(folder, 'a.yml'), join(folder, 'a.us.yml')],
      envFiles: [join(folder, 'a.env'), join(folder, '.env.us')],
    });
  });

  it('means the project beside it when a flag names it from elsewhere', async () => {
    const folder = folderWith({
      'shop/compose.yaml': stack,
      'shop/.env': 'COMPOSE_PROFILES=a',
      'shop/safe-update.yml': '',
      'else/compose.yaml': stack,
    });
    const settings = await load(join(folder, 'else'), { flags: { config: '../shop/safe-update.yml' } });
    expect(settings.project).toMatchObject({
      directory: join(folder, 'shop'),
      profiles: ['a'],
      envFiles: [],
    });
  });

  it.each([
    ['the working directory', '', 'safe-update.yml'],
    ['the folder of the compose file', 'a/b', 'safe-update.yml'],
    ['a folder between the two', 'a/b', 'a/safe-update.yaml'],
  ])('is found in %s', async (_, cwd, path) => {
    const folder = folderWith({ 'compose.yaml': stack, 'a/b/x': '', [path]: 'project: shop\n' });
    expect((await load(join(folder, cwd))).configFile).toBe(join(folder, path));
  });

  it('is found beside what COMPOSE_FILE and -f name', async () => {
    const folder = folderWith({
      'deploy/compose.yaml': stack,
      'deploy/safe-update.yml': '',
      'x/.env': 'COMPOSE_FILE=../deploy/compose.yaml',
    });
    const expected = join(folder, 'deploy/safe-update.yml');
    expect((await load(join(folder, 'x'))).configFile).toBe(expected);
    expect((await load(folder, { flags: { file: ['deploy/compose.yaml'] } })).configFile).toBe(expected);
    expect((await load(folder, { flags: { projectDirectory: 'deploy' } })).configFile).toBe(expected);
  });

  it('of the working directory counts for a compose file below it, and not for one elsewhere', async () => {
    const folder = folderWith({
      'shop/safe-update.yml': 'project: shop\n',
      'shop/docker/a.yml': stack,
      'other/a.yml': stack,
    });
    const cwd = join(folder, 'shop');
    expect((await load(cwd, { flags: { file: ['docker/a.yml'] } })).project.name).toBe('shop');
    expect((await load(cwd, { flags: { file: ['../other/a.yml'] } })).project).not.toHaveProperty('name');
  });

  it('may name files where there is nothing to discover', async () => {
    const folder = folderWith({ 'safe-update.yml': 'files: [stack.yml]\n', 'stack.yml': stack, 'sub/x': '' });
    expect((await load(join(folder, 'sub'))).project).toMatchObject({
      directory: folder,
      files: [join(folder, 'stack.yml')],
    });
  });

  it('replaces ~/ by the home folder', async () => {
    const folder = folderWith({
      'compose.yaml': stack,
      'safe-update.yml': 'backups: { directory: ~/backups }\n',
    });
    expect((await load(folder, { env: { HOME: '/home/me' } })).backups.directory).toBe('/home/me/backups');
  });

  it('names itself in its errors', async () => {
    const folder = folderWith({ 'compose.yaml': stack, 'safe-update.yml': 'files: [gone.yml]\n' });
    expect((await failure(folder)).message).toContain(
      `(files in ${join(folder, 'safe-update.yml')}) does not exist`,
    );
    const broken = folderWith({ 'compose.yaml': stack, 'safe-update.yml': 'pul: never\n' });
    expect((await failure(broken)).message).toContain(
      `${join(broken, 'safe-update.yml')}:1:1: pul: unknown key`,
    );
  });

  it('says which one is used where there are two', async () => {
    const folder = folderWith({ 'compose.yaml': stack, 'safe-update.yml': '', 'safe-update.yaml': '' });
    expect((await load(folder)).warnings).toEqual([expect.stringContaining('safe-update.yml is used')]);
  });

  it('knows no environment by the names every object has', async () => {
    const folder = folderWith({ 'compose.yaml': stack, 'safe-update.yml': 'environments: { eu: {} }\n' });
    expect((await failure(folder, { environment: 'constructor' })).message).toContain('There are: eu.');
  });

  it('is not read from a folder of that name', async () => {
    const folder = folderWith({ 'compose.yaml': stack });
    mkdirSync(join(folder, 'safe-update.yml'));
    expect(await load(folder)).not.toHaveProperty('configFile');
  });
});

describe('sharingAllowed', () => {
  it('goes by the key or by the name on the engine', () => {
    const settings = {
      volumes: { db: { shared: 'allow' as const }, shop_media: { shared: 'allow' as const }, cache: {} },
    };
    expect(sharingAllowed(settings, { key: 'db', name: 'shop_db' })).toBe(true);
    expect(sharingAllowed(settings, { key: 'media', name: 'shop_media' })).toBe(true);
    expect(sharingAllowed(settings, { key: 'cache', name: 'shop_cache' })).toBe(false);
    expect(sharingAllowed(settings, { name: 'toString' })).toBe(false);
  });
});

describe('encryption', () => {
  const one = 'age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p';
  const two = 'age1qenp3sr6sry0dzlk39a5gq2k6c6z600jfdg0zcwg633x79hf3akqlh8jm0';
  const secret = `AGE-SECRET-KEY-${'1QYQSZQGPQYQSZQGP'.repeat(3)}`;

  const of = (encryption: string, more: Record<string, string> = {}): string =>
    folderWith({
      'compose.yaml': stack,
      'safe-update.yml': `backups: { encryption: ${encryption} }`,
      ...more,
    });

  it('is for the recipients of the list and of the file, each once', async () => {
    const folder = of(`{ recipients: [${one}], recipientsFile: ./keys/all.txt }`, {
      'keys/all.txt': `# ours\n${two}\r\n\n  ${one}\n`,
    });
    expect((await load(folder)).backups.encryption).toEqual({ recipients: [one, two] });
  });

  it.each([one.slice(0, -1), `${one.slice(0, -1)}q`, 'ssh-ed25519 AAAA', 'age1yubikey1qqq'])(
    'refuses %s as a recipient, and says where it is',
    async (wrong) => {
      const listed = await failure(of(`{ recipients: [${one}, ${wrong}] }`));
      expect(listed.message).toMatch(
        /safe-update\.yml:1:.*recipients\[1\]: expected a recipient as age-keygen/,
      );
      expect(listed.message).toContain(wrong);
      const inFile = await failure(of('{ recipientsFile: all.txt }', { 'all.txt': `${one}\n${wrong}\n` }));
      expect(inFile.message).toMatch(/all\.txt:2: expected a recipient/);
    },
  );

  it('repeats no identity that stands in the place of a recipient', async () => {
    for (const folder of [
      of(`{ recipients: [${secret}] }`),
      of('{ recipientsFile: all.txt }', { 'all.txt': secret }),
    ]) {
      const { message, hint } = await failure(folder);
      expect(message).toContain('expected a recipient');
      expect(message + (hint ?? '')).not.toContain(secret.slice(16, 30));
    }
  });

  it('repeats no identity that stands in the place of its file', async () => {
    const folder = of('{ identityFile: key.txt }');
    for (const input of [
      { flags: { identity: secret } },
      { flags: { identity: `./${secret.toLowerCase()}` } },
      { env: { SAFE_UPDATE_IDENTITY_FILE: secret } },
    ]) {
      const { message, hint } = await failure(folder, input);
      expect(message).toContain('expected the path of a file, not the identity itself');
      expect((message + (hint ?? '')).toUpperCase()).not.toContain(secret.slice(16, 30));
    }
    const { message } = await failure(of(`{ identityFile: ${secret} }`));
    expect(message).toContain('not the identity itself');
    expect(message).not.toContain(secret.slice(16, 30));
  });

  it('refuses a file without recipients, and one that is not there: nothing would be encrypted', async () => {
    const empty = await failure(of('{ recipientsFile: all.txt }', { 'all.txt': '# none yet\n' }));
    expect(empty.message).toContain('holds no recipient');
    expect((await failure(of('{ recipientsFile: all.txt }'))).message).toContain('all.txt cannot be read');
    expect((await failure(of('{ recipients: [] }'))).message).toContain('at least one recipient');
  });

  it('takes the identity file from the flag, then from the variable, then from the file', async () => {
    const folder = of('{ identityFile: c.txt }');
    const identity = async (input: Partial<LoadInput>): Promise<string | undefined> =>
      (await load(folder, input)).backups.encryption.identityFile;
    const env = { SAFE_UPDATE_IDENTITY_FILE: 'b.txt' };
    expect(await identity({ flags: { identity: 'a.txt' }, env })).toBe(join(folder, 'a.txt'));
    expect(await identity({ env })).toBe(join(folder, 'b.txt'));
    expect(await identity({ env: { SAFE_UPDATE_IDENTITY_FILE: '' } })).toBe(join(folder, 'c.txt'));
    // A pipe of the shell.
    expect(await identity({ flags: { identity: '/dev/fd/63' } })).toBe('/dev/fd/63');
  });
});
