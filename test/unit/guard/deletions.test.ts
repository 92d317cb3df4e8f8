/** What deletes data although the text does not say so: asked of the disk, of compose files, and of what an engine would say. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Deletions, type Asked } from '../../../src/cli/guard/deletions.ts';
import type { Container } from '../../../src/cli/guard/engine-view.ts';
import { readSurroundings } from '../../../src/cli/guard/surroundings.ts';
import { judge } from '../../../src/guard/shell.ts';
import type { Finding } from '../../../src/guard/verdict.ts';
import { readCorpus } from './corpus.ts';

let root: string;
let shop: string;

const compose = `name: shop
services:
  web:
    image: web
    working_dir: /var/www
    volumes:
      - uploads:/var/www/uploads
      - cache:/var/cache/app
      - modules:/app/node_modules
      - outside:/opt/external
      - /opt/anonymous
      - { type: volume, source: uploads, target: /opt/long }
      - .:/app
      - ./src:/app/src
      - ./code:/app/code
      - ./dist:/usr/share/nginx/html
      - ./uploads:/srv/uploads
      - \${PICTURES:-./pictures}:/srv/pictures
      - \${MEDIA}:/srv/media
      - ./included:/included
      - ./nginx.conf:/etc/nginx/nginx.conf
      - ./app.sqlite:/app.sqlite
      - ./theme:/theme:ro
    tmpfs: [/var/www/uploads/tmp]
  worker:
    image: worker
    container_name: the-worker
    extends: { file: base.yaml, service: base }
    volumes: [queue:/work/queue]
  db:
    image: postgres:15
    volumes: [./pg:/var/lib/postgresql/data]
  job:
    image: job
    volumes_from: [worker]
  reader:
    image: job
    volumes_from: [worker:ro]
volumes:
  uploads:
  queue:
  modules:
  outside: { external: true }
  cache: { labels: { safe-update.class: cache } }
  device:
    driver_opts: { type: none, o: bind, device: ./device }
`;

const files: Record<string, string> = {
  'shop/compose.yaml': compose,
  'shop/base.yaml': 'services: { base: { volumes: ["queue:/from/base"] } }\n',
  'shop/docker-compose.extra.yml':
    'include: [more.yaml]\nservices: { extra: { image: x, volumes: ["uploads:/extra"] } }\n',
  'shop/more.yaml': 'services: { more: { image: x, volumes: ["./more:/more"] } }\n',
  'shop/.env': 'MEDIA=./media\n',
  'shop/.env.prod': 'MEDIA=./media-prod\n',
  'shop/safe-update.yml': 'bindMounts:\n  include: [included, ../outside]\n',
  'shop/.git/HEAD': 'ref: refs/heads/main\n',
  'shop/.gitignore': '/uploads/\n',
  'shop/src/package.json': '{}',
  'shop/src/generated/x.ts': '',
  'shop/code/tsconfig.json': '{}',
  'shop/code/dist/x.js': '',
  'shop/node_modules/x/index.js': '',
  'shop/build/x': '',
  'shop/dist/index.html': '',
  'shop/theme/x': '',
  'shop/nginx.conf': '',
  'shop/app.sqlite': '',
  'shop/app.log': '',
  'shop/public/x': '',
  'shop/release/x': '',
  'shop/uploads2/x': '',
  'shop/backups2/x': '',
  'shop/uploads/one.jpg': '',
  'shop/uploads/2026/two.jpg': '',
  'shop/pictures/x': '',
  'shop/media/x': '',
  'shop/more/x': '',
  'shop/device/x': '',
  'shop/pg/postmaster.pid': '',
  'shop/included/one.pdf': '',
  'shop/backups/shop/.safe-update/state.json': '{}',
  'shop/backups/shop/pre-update-20260101_000000/manifest.json': '{}',
  'outside/x': '',
  'other/x': '',
  'elsewhere/shop/manual-20260101_000000/manifest.json': '{}',
  // As it comes out of git: there is nothing to lose yet.
  'clone/compose.yaml': 'services: { web: { image: web, volumes: ["./uploads:/uploads"] } }\n',
  'clone/uploads/.gitkeep': '',
};

beforeAll(() => {
  root = realpathSync(mkdtempSync(path.join(tmpdir(), 'safe-update-guard-')));
  shop = path.join(root, 'shop');
  for (const [name, text] of Object.entries(files)) {
    const file = path.join(root, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, text, { mode: 0o644 });
  }
});

afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

const nobody: Asked = {
  containers: () => Promise.reject(new Error('no engine')),
  volume: () => Promise.reject(new Error('no engine')),
  projectsSeenAt: () => Promise.reject(new Error('no engine')),
  workdir: () => Promise.reject(new Error('no engine')),
};

async function found(text: string, { cwd = shop, engine = nobody } = {}): Promise<Finding[]> {
  const { findings, suspects = [] } = judge(text, readSurroundings(cwd));
  return [...findings, ...(await new Deletions(engine, { HOME: '/home/anna' }).among(suspects))];
}

const said = (findings: readonly Finding[]): string =>
  findings.length === 0 ? 'allow' : `deny ${[...new Set(findings.map(({ rule }) => rule))].join(' ')}`;

describe('in the folder of a project that is down', () => {
  it.each(readCorpus('in-a-project.txt'))(
    '$line: $expected $rule: $text',
    async ({ expected, rule, text }) => {
      const line = text.replaceAll('SHOP', shop);
      expect(said(await found(line)), line).toBe(rule === undefined ? expected : `${expected} ${rule}`);
    },
  );

  it('one refusal says what would be lost, and one way on', async () => {
    const [inside] = await found('docker compose exec web rm -rf /var/www/uploads');
    expect(inside).toMatchObject({
      loses: 'the files on the volume uploads at /var/www/uploads',
      instead: [
        'safe-update guard approve -- docker compose exec web rm -rf /var/www/uploads # a person, at a terminal; lets it through once',
      ],
    });
    const [host] = await found('sudo rm -rf uploads');
    expect(host?.loses).toBe(`what is at ${shop}/uploads, which the service web has at /srv/uploads`);
    expect(host?.instead).toEqual([expect.stringContaining('guard approve -- sudo rm -rf uploads')]);
    const [pattern] = await found('rm -rf uploads/*');
    expect(pattern?.instead).toEqual([expect.stringContaining('safe-update guard approve -- COMMAND')]);
    const [backups] = await found('rm -rf backups');
    expect(backups?.loses).toBe(`the backups of safe-update in ${shop}/backups`);
  });

  it('what is around it is refused, and a fresh clone is not', async () => {
    expect(said(await found('git clean -fdx', { cwd: root }))).toBe('deny data-path');
    expect(said(await found(`rm -rf ${root}`, { cwd: '/' }))).toBe('deny data-path');
    expect(said(await found('rm -rf clone', { cwd: root }))).toBe('allow');
    expect(said(await found('git clean -fdx', { cwd: path.join(root, 'clone') }))).toBe('allow');
    expect(said(await found('rm -rf uploads', { cwd: path.join(root, 'clone') }))).toBe('deny data-path');
  });
});

describe('with an engine', () => {
  const asked: string[] = [];
  const mount = (
    name: string,
    source: string,
    at: string,
    readOnly = false,
  ): Container['mounts'][number] => ({
    ...{ name, source, path: at, readOnly },
  });
  const engine: Asked = {
    containers() {
      asked.push('containers');
      const labels = (service: string): Record<string, string> => ({
        'com.docker.compose.project': 'live',
        'com.docker.compose.service': service,
        'com.docker.compose.project.working_dir': shop,
      });
      return Promise.resolve([
        {
          ...{ id: 'a1b2c3d4', name: 'live-web-1', running: true, labels: labels('web') },
          mounts: [
            mount('live_files', '/var/lib/docker/volumes/live_files/_data', '/srv/files'),
            mount('f'.repeat(64), '/var/lib/docker/volumes/f/_data', '/srv/nameless'),
            mount('live_cache', '/var/lib/docker/volumes/live_cache/_data', '/srv/cache'),
            mount('', path.join(shop, 'public'), '/srv/public'),
            mount('', path.join(root, 'outside'), '/srv/outside'),
            mount('', path.join(root, 'other'), '/srv/other'),
          ],
        },
      ]);
    },
    volume: (name) =>
      Promise.resolve({
        ...{ name, madeAt: undefined },
        labels: name === 'live_cache' ? { 'safe-update.class': 'cache' } : {},
      }),
    projectsSeenAt: (folder) => Promise.resolve(folder === shop ? ['live'] : []),
    workdir: () => Promise.resolve('/srv'),
  };

  it.each([
    ['docker exec live-web-1 rm -rf /srv/files', 'deny payload-files'],
    ['docker exec a1b2 rm -rf files/old', 'deny payload-files'],
    ['docker exec live-web-1 rm -rf .', 'deny payload-files'],
    ["docker exec live-web-1 sh -c 'rm -rf *'", 'deny payload-files'],
    ['docker exec live-web-1 rm -rf /srv/nameless', 'deny payload-files'],
    ['docker exec live-web-1 rm -rf /srv/public', 'deny payload-files'],
    ['docker exec live-web-1 rm -rf /srv/outside', 'deny payload-files'],
    ['docker compose exec web rm -rf /srv/files', 'deny payload-files'],
    ['docker compose -p live exec web rm -rf /srv/files', 'deny payload-files'],
    ['docker run --rm --volumes-from live-web-1:rw alpine rm -rf /srv/files', 'deny payload-files'],
    ['rm -rf public', 'deny data-path'],
    ['docker exec live-web-1 rm -rf /srv/cache', 'allow'],
    ['docker exec live-web-1 rm -rf /srv/other', 'allow'],
    ['docker exec live-web-1 rm -rf tmp', 'allow'],
    ['docker exec live-web-1 rm -rf /srv/filesystem', 'allow'],
    ['docker compose exec web rm -rf /var/www/uploads', 'allow'],
    ['docker compose exec db rm -rf /srv/files', 'allow'],
    ['docker compose run web rm -rf /var/www/uploads', 'deny payload-files'],
    ['docker --context elsewhere exec live-web-1 rm -rf /srv/files', 'allow'],
    ['rm -rf ../other', 'allow'],
  ])('%s: %s', async (text, verdict) => {
    expect(said(await found(text, { engine }))).toBe(verdict);
  });

  it('is not asked about what deletes nothing, single files and what builds have made', async () => {
    asked.length = 0;
    for (const text of [
      'docker compose ps',
      'docker compose exec web ls /srv/files',
      'ls uploads',
      'rm -f app.log',
      'rm -rf node_modules dist build',
      'git clean -n',
      'git status',
    ])
      expect(said(await found(text, { engine })), text).toBe('allow');
    expect(asked).toEqual([]);
  });
});

describe('never a hang, and never an error', () => {
  const piece = fc.constantFrom(
    ...[
      '/',
      '..',
      '.',
      '*',
      '?',
      '[a-z]',
      '[',
      '~',
      '$X',
      ' ',
      '\0',
      '\\',
      "'",
      'uploads',
      'backups',
      'x'.repeat(300),
    ],
    ...[
      'shop',
      'app.sqlite/x',
      'compose.yaml/x',
      '-r',
      '--',
      'é',
      '\uE000',
      '{a,b}',
      '/var/www',
      '/proc/self',
    ],
  );
  const paths = fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join(''));
  const command = fc.constantFrom(
    ...[
      'rm -rf P',
      'rm P',
      'mv P Q',
      'rsync --delete a P',
      'find P -delete',
      'git clean -fdx P',
      'git -C P clean -fd',
    ],
    ...[
      'docker compose exec web rm -rf P',
      'docker exec x rm -r P',
      'docker run -v P:/x a rm -rf /x',
      'cd P; rm -rf *',
    ],
  );

  it('whatever is deleted', async () => {
    await fc.assert(
      fc.asyncProperty(command, paths, async (text, given) => {
        await found(text.replace('P', () => given));
      }),
      { numRuns: 300 },
    );
  });

  it('whatever compose files say', async () => {
    const odd = path.join(root, 'odd');
    mkdirSync(odd, { recursive: true });
    const many = Array.from({ length: 3000 }, (_, index) => `      - ./x${index}:/x${index}\n`).join('');
    for (const text of [
      'services: 1',
      'services: { web: }',
      'services: { web: { volumes: [1, null, { type: bind }, { type: volume, target: [] }, "::::", ""] } }',
      'include: [compose.yaml, compose.yaml, compose.yaml, compose.yaml]\nservices: {}',
      'services: { a: { extends: b }, b: { extends: { service: a, file: compose.yaml } } }',
      'services: { web: { volumes: ["${A:-${B:-${C}}}:/x", "${", "$", "$$x:/y", "${A?}:/z"] } }',
      '\u0000',
      '{{{',
      `services:\n  web:\n    volumes:\n${many}`,
    ]) {
      writeFileSync(path.join(odd, 'compose.yaml'), text);
      const before = process.uptime();
      for (const line of ['rm -rf x', 'rm -rf *', 'docker compose exec web rm -rf /x', 'git clean -fdx'])
        expect(said(await found(line, { cwd: odd })), `${text}: ${line}`).toMatch(/allow|deny/);
      expect(process.uptime() - before, text.slice(0, 80)).toBeLessThan(2);
    }
  });
});
