import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { filesNamedBy, readConfigFiles } from '../../../src/backup/config-files.ts';
import type { Project } from '../../../src/model/project.ts';

const compose = (name: string) => ({ path: name, isCompose: true });
const other = (name: string) => ({ path: name, isCompose: false });

describe('filesNamedBy', () => {
  it.each<[string, string, ReturnType<typeof compose>[]]>([
    [
      'include, short',
      'include: [db.yaml, ../mail/compose.yaml]',
      [compose('db.yaml'), compose('../mail/compose.yaml')],
    ],
    [
      'include, long',
      'include:\n  - path: db.yaml\n    env_file: db.env\n  - path: [a.yaml, b.yaml]\n    env_file: [a.env, b.env]',
      [
        compose('db.yaml'),
        other('db.env'),
        compose('a.yaml'),
        compose('b.yaml'),
        other('a.env'),
        other('b.env'),
      ],
    ],
    ['extends', 'services: { web: { extends: { file: base.yaml, service: web } } }', [compose('base.yaml')]],
    [
      'extends from the same file',
      'services: { web: { extends: base }, api: { extends: { service: web } } }',
      [],
    ],
    ['env_file, one', 'services: { web: { env_file: web.env } }', [other('web.env')]],
    [
      'env_file, several',
      'services: { web: { env_file: [a.env, { path: b.env, required: false }] } }',
      [other('a.env'), other('b.env')],
    ],
    [
      'anchors and merge keys',
      'x-base: &base { env_file: base.env }\nservices: { web: { <<: *base }, api: { <<: *base } }',
      [other('base.env'), other('base.env')],
    ],
    [
      'tags of compose',
      'services: { web: { ports: !reset [], env_file: !override [web.env] } }',
      [other('web.env')],
    ],
    [
      'several documents',
      'include: [db.yaml]\n---\nservices: { web: { env_file: web.env } }',
      [compose('db.yaml'), other('web.env')],
    ],
    ['variables', 'include: ["${DIR}/db.yaml"]\nservices: { web: { env_file: $HOME/web.env } }', []],
    ['addresses', 'include: ["https://example.org/compose.yaml", "oci://example.org/db"]', []],
    ['a service without anything', 'services: { web: }', []],
    ['nothing', '', []],
    ['a list', '- a', []],
    ['what is no YAML', 'services: [', []],
  ])('%s', (_, text, expected) => {
    expect(filesNamedBy(text)).toEqual(expected);
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
    const found = await readConfigFiles(project({ envFiles: [prod] }));
    expect(found.map(({ part }) => part).sort()).toEqual([
      'config/files/.env',
      'config/files/.env.prod',
      'config/files/compose.yaml',
      'config/files/mail/compose.yaml',
      'config/files/mail/mail.env',
      'config/files/safe-update.yml',
      'config/files/web.env',
    ]);
    expect(found[0]).toMatchObject({ from: file, mode: 0o644 });
    expect(found[0]?.content.toString()).toBe(text);
    expect(found.find(({ part }) => part.endsWith('web.env'))?.mode).toBe(0o600);
  });

  it('leaves out what is not there, and what names itself', async () => {
    write(
      'shop/compose.yaml',
      'include: [compose.yaml, missing.yaml]\nservices: { web: { env_file: missing.env } }',
    );
    expect((await readConfigFiles(project())).map(({ part }) => part)).toEqual(['config/files/compose.yaml']);
    expect(await readConfigFiles(project({ files: [path.join(folder, 'none.yaml')] }))).toEqual([]);
  });

  it('keeps files from outside of the folder apart, each under a name inside the backup', async () => {
    write('shop/compose.yaml', 'include: [../common/compose.yaml]');
    write('common/compose.yaml', 'services: {}');
    const parts = (await readConfigFiles(project())).map(({ part }) => part);
    expect(new Set(parts).size).toBe(2);
    for (const part of parts) expect(path.posix.normalize(part)).toMatch(/^config\/files\//);
  });

  it('takes each file once', async () => {
    const env = write('shop/.env', 'A=1');
    write('shop/compose.yaml', 'services: { web: { env_file: .env }, api: { env_file: [.env] } }');
    expect((await readConfigFiles(project({ envFiles: [env] }))).map(({ part }) => part)).toEqual([
      'config/files/compose.yaml',
      'config/files/.env',
    ]);
  });
});
