import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseEnv } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  filesNamedBy,
  findConfiguration,
  readConfigFiles,
  variablesIn,
  type ConfigurationOptions,
} from '../../../src/backup/config-files.ts';
import type { ComposeModel, Project } from '../../../src/model/project.ts';

const include = (...paths: string[]) => ({ paths, envFiles: [] as string[] });
const compose = (name: string) => ({ name, kind: 'compose', optional: false });
const other = (name: string, optional = false) => ({ name, kind: 'other', optional });
const nothing = { included: [], named: [] };

describe('filesNamedBy', () => {
  it.each<[string, string, unknown]>([
    [
      'include, short',
      'include: [db.yaml, ../mail/compose.yaml]',
      { included: [include('db.yaml'), include('../mail/compose.yaml')], named: [] },
    ],
    [
      'include, long',
      'include:\n  - path: db.yaml\n    env_file: db.env\n    project_directory: db\n  - path: [a.yaml, b.yaml]\n    env_file: [a.env, b.env]',
      {
        included: [
          { paths: ['db.yaml'], envFiles: ['db.env'], directory: 'db' },
          { paths: ['a.yaml', 'b.yaml'], envFiles: ['a.env', 'b.env'] },
        ],
        named: [],
      },
    ],
    [
      'extends',
      'services: { web: { extends: { file: base.yaml, service: web } } }',
      { included: [], named: [compose('base.yaml')] },
    ],
    [
      'extends from the same file',
      'services: { web: { extends: base }, api: { extends: { service: web } } }',
      nothing,
    ],
    [
      'env_file, one',
      'services: { web: { env_file: web.env } }',
      { included: [], named: [other('web.env')] },
    ],
    [
      'env_file, several',
      'services: { web: { env_file: [a.env, { path: b.env, required: false }] } }',
      { included: [], named: [other('a.env'), other('b.env', true)] },
    ],
    [
      'label_file',
      'services: { web: { label_file: [a.labels, b.labels] } }',
      { included: [], named: [other('a.labels'), other('b.labels')] },
    ],
    [
      'anchors and merge keys',
      'x-base: &base { env_file: base.env }\nservices: { web: { <<: *base }, api: { <<: *base } }',
      { included: [], named: [other('base.env'), other('base.env')] },
    ],
    [
      'tags of compose',
      'services: { web: { ports: !reset [], env_file: !override [web.env] } }',
      { included: [], named: [other('web.env')] },
    ],
    [
      'several documents',
      'include: [db.yaml]\n---\nservices: { web: { env_file: web.env } }',
      { included: [include('db.yaml')], named: [other('web.env')] },
    ],
    [
      'variables, as they are written',
      'include: ["${DIR}/db.yaml"]\nservices: { web: { env_file: $HOME/web.env } }',
      { included: [include('${DIR}/db.yaml')], named: [other('$HOME/web.env')] },
    ],
    ['a service without anything', 'services: { web: }', nothing],
    ['nothing', '', nothing],
    ['a list', '- a', nothing],
    ['what is no YAML', 'services: [', nothing],
  ])('%s', (_, text, expected) => {
    expect(filesNamedBy(text)).toEqual(expected);
  });
});

describe('variablesIn', () => {
  it.each<[string, string, string[]]>([
    ['in any value', 'services: { a: { image: "a:${TAG:-1}", command: [echo, $WHAT] } }', ['TAG', 'WHAT']],
    ['not in comments', '# $NOTE\nservices: { a: { image: a } } # ${OTHER}', []],
    ['not what is escaped', 'services: { a: { command: "echo $$HOME" } }', []],
    ['in the words of a default', 'services: { a: { image: "${A:-${B}}" } }', ['A', 'B']],
    ['handed on, as a list', 'services: { a: { environment: [TOKEN, "B=1"] } }', ['TOKEN']],
    ['handed on, as a map', 'services: { a: { environment: { TOKEN: , B: 1 } } }', ['TOKEN']],
    ['of a secret', 'secrets: { s: { environment: PASSWORD } }', ['PASSWORD']],
  ])('%s', (_, text, expected) => {
    expect([...variablesIn(text)]).toEqual(expected);
  });
});

describe('readConfigFiles', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'config-files-'));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  function write(name: string, text: string, mode = 0o644): string {
    const file = path.join(folder, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, text);
    chmodSync(file, mode);
    return file;
  }

  function project(facts: Partial<Project> = {}): Project {
    const directory = path.join(folder, 'shop');
    return {
      ...{
        name: 'shop',
        directory,
        files: [path.join(directory, 'compose.yaml')],
        envFiles: [],
        profiles: [],
      },
      ...facts,
    };
  }

  /** Compose in a word: `${NAME}` and `${NAME+set}`, of these variables and of the last env file that has it. */
  function compose(environment: Record<string, string> = {}): ConfigurationOptions['interpolate'] {
    return async (texts, envFiles) => {
      const values = { ...environment };
      for (const file of envFiles) Object.assign(values, parseEnv(readFileSync(file, 'utf8')));
      Object.assign(values, environment);
      return Promise.resolve(
        texts.map((text) =>
          text.replace(/\$\{(\w+)(\+set)?\}/g, (_, name: string, plus?: string) => {
            if (name === 'BROKEN') throw new Error('compose would not');
            return plus === undefined ? (values[name] ?? '') : name in values ? 'set' : '';
          }),
        ),
      );
    };
  }

  async function keep(
    facts: Partial<Project> = {},
    options: Partial<ConfigurationOptions> = {},
    model: Partial<ComposeModel> = {},
  ) {
    const found = await findConfiguration(
      project(facts),
      { name: 'shop', services: {}, ...model },
      { interpolate: compose(), except: [path.join(folder, 'shop/backups')], containers: [], ...options },
    );
    const { files, missing } = await readConfigFiles(project(facts), found);
    return {
      files,
      folders: found.folders,
      parts: files.map(({ part }) => part.replace('config/files/', '')).sort(),
      missing: [...found.missing, ...missing].map((what) => what.replaceAll(folder, '')),
    };
  }

  it('has every file of the configuration as it is written, with where it was and its mode', async () => {
    const text = 'include: [mail/compose.yaml]\nservices: { web: { env_file: web.env } }\n';
    const file = write('shop/compose.yaml', text);
    write('shop/mail/compose.yaml', 'services: { mail: { env_file: mail.env } }');
    write('shop/mail/mail.env', 'A=1');
    write('shop/web.env', 'SECRET=1', 0o600);
    write('shop/.env', 'B=2');
    const prod = write('shop/.env.prod', 'C=3');
    write('shop/safe-update.yml', 'backups: {}');
    write('shop/README.md', 'not configuration');
    const { files, parts, missing } = await keep({ envFiles: [prod] });
    expect(parts).toEqual([
      '.env',
      '.env.prod',
      'compose.yaml',
      'mail/compose.yaml',
      'mail/mail.env',
      'safe-update.yml',
      'web.env',
    ]);
    const written = files.find(({ from }) => from === file);
    expect(written).toMatchObject({ mode: 0o644 });
    expect(written?.content.toString()).toBe(text);
    expect(files.find(({ part }) => part.endsWith('web.env'))?.mode).toBe(0o600);
    expect(missing).toEqual([]);
  });

  it('names what is not there, unless compose does without it, and takes what names itself once', async () => {
    write(
      'shop/compose.yaml',
      'include: [compose.yaml, missing.yaml]\nservices: { web: { env_file: [missing.env, { path: may.env, required: false }] } }',
    );
    const { parts, missing } = await keep();
    expect(parts).toEqual(['compose.yaml']);
    expect(missing).toEqual([
      '/shop/missing.yaml, named in /shop/compose.yaml (it is not there)',
      '/shop/missing.env, named in /shop/compose.yaml (it is not there)',
    ]);
    expect((await keep({ files: [path.join(folder, 'none.yaml')] })).parts).toEqual([]);
  });

  it('follows names with variables in them, those of an included file by its own env file too', async () => {
    write('shop/.env', 'STAGE=prod');
    write(
      'shop/compose.yaml',
      'include: ["parts/${STAGE}.yaml", { path: mail/m.yaml, project_directory: "${STAGE}", env_file: mail.env }]\nservices: { web: { env_file: "${STAGE}.env", label_file: "${STAGE}.labels", extends: { file: "base/${STAGE}.yaml", service: b } } }',
    );
    write('shop/prod.env', 'A=1');
    write('shop/prod.labels', 'a=1');
    write('shop/base/prod.yaml', 'services: { b: { env_file: beside.env } }');
    write('shop/base/beside.env', 'A=1');
    write('shop/parts/.env', 'KIND=small\nSTAGE=other');
    write('shop/parts/prod.yaml', 'services: { x: { env_file: "${KIND}-${STAGE}.env" } }');
    write('shop/parts/small-prod.env', 'A=1');
    write('shop/mail.env', 'HOSTS=two');
    write('shop/mail/m.yaml', 'services: { x: { env_file: "${HOSTS}.env" } }');
    write('shop/prod/two.env', 'A=1');
    const { parts, missing } = await keep();
    expect(missing).toEqual([]);
    expect(parts).toEqual([
      '.env',
      'base/beside.env',
      'base/prod.yaml',
      'compose.yaml',
      'mail.env',
      'mail/m.yaml',
      'parts/.env',
      'parts/prod.yaml',
      'parts/small-prod.env',
      'prod.env',
      'prod.labels',
      'prod/two.env',
    ]);
  });

  it('starts at the project’s folder with the names in a compose file that lies elsewhere', async () => {
    const file = write('shop/docker/compose.yaml', 'services: { web: { env_file: web.env } }');
    write('shop/web.env', 'A=1');
    expect((await keep({ files: [file] })).parts).toEqual(['docker/compose.yaml', 'web.env']);
  });

  it('names what it cannot follow, what is elsewhere, and values that no file has', async () => {
    write('shop/.env', 'OWN=1');
    write(
      'shop/compose.yaml',
      'include: ["https://example.org/c.yaml", "oci://example.org/db"]\nservices: { web: { image: "a:${TAG}${OWN}${HOME}${NOT}", env_file: "${BROKEN}.env" } }',
    );
    const { missing } = await keep({}, { interpolate: compose({ TAG: '7', HOME: '/root' }) });
    expect(missing).toEqual([
      'https://example.org/c.yaml, named in /shop/compose.yaml (it is not on this machine)',
      'oci://example.org/db, named in /shop/compose.yaml (it is not on this machine)',
      '${BROKEN}.env, named in /shop/compose.yaml (compose cannot tell which file that is)',
      ...['BROKEN', 'NOT', 'TAG'].map(
        (name) => `the value of ${name} (no file sets it, and compose does not say whether it is set)`,
      ),
    ]);
    write('shop/compose.yaml', 'services: { web: { image: "a:${TAG}${OWN}${HOME}${NOT}" } }');
    expect((await keep({}, { interpolate: compose({ TAG: '7', HOME: '/root' }) })).missing).toEqual([
      'the value of TAG (from the environment; no file sets it)',
    ]);
  });

  it('has secrets and configs from files, and what containers may only read in the project’s folder', async () => {
    write('shop/compose.yaml', 'services: {}');
    const at = (name: string, text = 'x', mode?: number): string => write(name, text, mode);
    const bind = (source: string, read_only: boolean) => ({ type: 'bind', source, target: '/x', read_only });
    const nginx = at('shop/nginx.conf');
    at('shop/init/1.sql');
    at('shop/init/more/2.sql');
    const both = at('shop/both.conf');
    at('shop/backups/one');
    at('shop/data/rows');
    at('shop/big/file', 'x'.repeat(10_000_001));
    const { parts, folders, missing, files } = await keep(
      {},
      { except: [path.join(folder, 'shop/backups'), path.join(folder, 'shop/data')] },
      {
        services: {
          web: {
            volumes: [
              bind(nginx, true),
              bind(path.join(folder, 'shop/init'), true),
              bind(both, true),
              bind(path.join(folder, 'shop/big'), true),
              bind(path.join(folder, 'shop/data'), true),
              bind(path.join(folder, 'shop'), true),
              bind(at('etc/hosts'), true),
              bind('/var/run/docker.sock', true),
            ],
          },
          other: { volumes: [bind(both, false)] },
        },
        secrets: { s: { file: at('etc/secret', 'x', 0o400) }, e: { environment: 'E' } },
        configs: { c: { file: path.join(folder, 'shop/none.conf') } },
      },
    );
    expect(parts.map((part) => part.replace(folder, ''))).toEqual([
      'compose.yaml',
      'init/1.sql',
      'init/more/2.sql',
      'nginx.conf',
      'outside/etc/secret',
    ]);
    expect(folders).toEqual([path.join(folder, 'shop/init')]);
    expect(files.find(({ from }) => from.endsWith('secret'))).toMatchObject({
      mode: 0o400,
      owner: { uid: process.getuid?.() },
    });
    expect(missing).toEqual([
      '/shop/big (mounted read-only; more than 10.0 MB)',
      expect.stringContaining('/shop/none.conf (ENOENT'),
    ]);
  });

  it('keeps files from outside of the folder apart, each under a name inside the backup', async () => {
    write('shop/compose.yaml', 'include: [../common/compose.yaml]');
    write('common/compose.yaml', 'services: {}');
    const { files } = await keep();
    expect(new Set(files.map(({ part }) => part)).size).toBe(2);
    for (const { part } of files) expect(path.posix.normalize(part)).toMatch(/^config\/files\//);
  });

  it('takes each file once', async () => {
    const env = write('shop/.env', 'A=1');
    write('shop/compose.yaml', 'services: { web: { env_file: .env }, api: { env_file: [.env] } }');
    expect((await keep({ envFiles: [env] })).parts).toEqual(['.env', 'compose.yaml']);
  });
});
