import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import type { ComposeModel, ComposeService } from '../../../src/model/project.ts';
import {
  moved,
  newProject,
  separate,
  settingsFor,
  targetsOf,
  variablesOf,
  withOneShots,
  type Taken,
} from '../../../src/update/new-project.ts';
import { container, manifest, mount } from '../model/examples.ts';

describe('moved', () => {
  it.each([
    ['/srv/shop/compose.yaml', '/new/compose.yaml'],
    ['/srv/shop/deep/er/x.env', '/new/deep/er/x.env'],
    ['/srv/shop', '/new'],
    ['/srv/shop/..hidden', '/new/..hidden'],
    ['/srv/shop-2/compose.yaml', undefined],
    ['/srv', undefined],
    ['/etc/shop.env', undefined],
    ['/srv/shop/../other/x', undefined],
  ])('%s → %s', (file, expected) => {
    expect(moved(file, '/srv/shop', '/new')).toBe(expected);
  });
});

describe('newProject', () => {
  const about = (files: string[], envFiles: string[], config: string[]) =>
    newProject(
      manifest('manual-20241017_143022', {
        project: {
          name: 'shop',
          directory: '/srv/shop',
          files,
          envFiles,
          profiles: ['mail'],
          environment: 'prod',
        },
        config: config.map((from) => ({ part: `config/files${from}`, from, mode: 0o640 })),
      }),
      'other',
      '/new',
    );

  it('keeps every file in its place', () => {
    const files = ['/srv/shop/compose.yaml', '/srv/shop/prod/compose.prod.yaml'];
    const found = about(
      files,
      ['/srv/shop/.env.prod'],
      [...files, '/srv/shop/.env.prod', '/srv/shop/web.env'],
    );
    expect(found.project).toEqual({
      name: 'other',
      directory: '/new',
      files: ['/new/compose.yaml', '/new/prod/compose.prod.yaml'],
      envFiles: ['/new/.env.prod'],
      profiles: ['mail'],
      environment: 'prod',
    });
    expect(found.files).toContainEqual({
      part: 'config/files/srv/shop/web.env',
      to: '/new/web.env',
      mode: 0o640,
    });
    expect(found.outside).toEqual([]);
  });

  it('names what is outside of the folder, and what the backup lacks', () => {
    const found = about(
      ['/srv/base.yaml', '/srv/shop/compose.yaml'],
      ['/srv/shop/.env.gone'],
      ['/srv/base.yaml', '/srv/shop/compose.yaml', '/etc/shop.env'],
    );
    expect(found.outside).toEqual(['/srv/base.yaml', '/etc/shop.env', '/srv/shop/.env.gone']);
    expect(found.files.map(({ to }) => to)).toEqual(['/new/compose.yaml']);
  });
});

describe('variablesOf', () => {
  const project = { name: 'other', directory: '/new', files: ['/new/a.yaml', '/new/b/c.yaml'], envFiles: [] };

  it('says which project it is, in paths that can be moved', () => {
    expect(
      variablesOf({ ...project, profiles: [] })
        .split('\n')
        .slice(2, -1),
    ).toEqual(['COMPOSE_PROJECT_NAME=other', "COMPOSE_PATH_SEPARATOR=':'", "COMPOSE_FILE='a.yaml:b/c.yaml'"]);
  });

  it('knows profiles, and colons in names', () => {
    const text = variablesOf({
      ...project,
      files: ['/new/a:b.yaml', '/new/c.yaml'],
      profiles: ['mail', 'x'],
    });
    expect(text).toContain(
      "COMPOSE_PATH_SEPARATOR='|'\nCOMPOSE_FILE='a:b.yaml|c.yaml'\nCOMPOSE_PROFILES='mail,x'\n",
    );
  });
});

describe('settingsFor', () => {
  it('leaves a file alone that names no project and no files', () => {
    const text = 'backups: { keep: 9 } # enough\n';
    expect(settingsFor(text, 'other', 'more.yaml')).toBe(text);
    expect(settingsFor('', 'other', 'more.yaml')).toBe('');
  });

  it('names the new project, for every environment, and keeps comments', () => {
    const text = [
      '# ours',
      'project: shop # the name',
      'files: [compose.yaml]',
      'environments:',
      '  prod: { project: shop-prod, files: [compose.yaml, prod.yaml] }',
      '  test: {}',
      '',
    ].join('\n');
    const changed = settingsFor(text, 'other', 'more.yaml');
    expect(changed).toContain('# ours');
    expect(changed).toContain('# the name');
    expect(parse(changed)).toEqual({
      project: 'other',
      files: ['compose.yaml', 'more.yaml'],
      environments: {
        prod: { project: 'other', files: ['compose.yaml', 'prod.yaml', 'more.yaml'] },
        test: {},
      },
    });
    expect(parse(settingsFor(text, 'other', undefined))).toMatchObject({ files: ['compose.yaml'] });
  });
});

describe('separate', () => {
  const free: Taken = {
    volumes: new Set(),
    containers: new Set(),
    networks: new Set(),
    firstNetworks: new Set(),
    ports: [],
  };
  const model = (about: Partial<ComposeModel>, web: ComposeService = { image: 'web:1' }): ComposeModel => ({
    name: 'other',
    services: { web },
    ...about,
  });
  const look = (
    rendered: ComposeModel,
    taken: Partial<Taken> = {},
    options: Partial<Parameters<typeof separate>[3]> = {},
  ) => separate(rendered, ['web'], { ...free, ...taken }, { ports: true, images: new Map(), ...options });
  const override = (text: string | undefined): unknown => {
    const kept = (text ?? '').replaceAll('!reset null', '"reset"').replaceAll('!reset []', '"reset"');
    return parse(kept.replaceAll('!override ', ''));
  };

  it('adds nothing where every name is free', () => {
    const found = look(
      model({
        volumes: { data: { name: 'other_data' }, named: { name: 'my-own' } },
        networks: { default: { name: 'other_default' } },
      }),
    );
    expect(found).toEqual({ externals: [], notices: [], obstacles: [] });
  });

  it('makes an external volume that is not there, under its name', () => {
    const found = look(model({ volumes: { data: { name: 'archive', external: true } } }));
    expect(found).toMatchObject({ externals: ['archive'] });
    expect(found.override).toBeUndefined();
  });

  it.each([{ name: 'taken' }, { name: 'taken', external: true }])(
    'replaces a volume that is there: %j',
    (volume) => {
      const found = look(model({ volumes: { data: volume } }), { volumes: new Set(['taken']) });
      expect(override(found.override)).toEqual({ volumes: { data: { name: 'other_data' } } });
      expect(found.override).toContain('!override');
      expect(found).toMatchObject({ externals: [], obstacles: [] });
      expect(found.notices.join()).toContain('taken');
    },
  );

  it.each([
    { name: 'other_data', driver_opts: { type: 'none', o: 'bind', device: '/srv/data' } },
    { name: 'other_data', driver: 'nfs' },
    { name: 'archive', external: true, driver_opts: { device: ':/export' } },
  ])('keeps no volume that lies somewhere both would share: %j', (volume) => {
    const found = look(model({ volumes: { data: volume } }));
    expect(override(found.override)).toEqual({ volumes: { data: { name: 'other_data' } } });
    expect(found.externals).toEqual([]);
  });

  it('never puts up with a volume of its own name', () => {
    const found = look(model({ volumes: { data: { name: 'other_data' } } }), {
      volumes: new Set(['other_data']),
    });
    expect(found.obstacles.map(({ message }) => message).join()).toContain('There is a volume other_data');
  });

  it('gives a container whose name is taken another one, and leaves ports out where asked to', () => {
    const web: ComposeService = { container_name: 'the-web', ports: [{ published: '80', target: 80 }] };
    const found = look(model({}, web), { containers: new Set(['the-web']) }, { ports: false });
    expect(override(found.override)).toEqual({
      services: { web: { container_name: 'reset', ports: 'reset' } },
    });
    expect(look(model({}, web)).override).toBeUndefined();
  });

  it.each<[unknown, boolean]>([
    [{ published: '8080', protocol: 'tcp' }, true],
    [{ published: '8080', protocol: 'udp' }, false],
    [{ published: '8080', host_ip: '10.0.0.1' }, true],
    [{ published: '8080-8081' }, true],
    // Another one of them will do.
    [{ published: '8000-8100' }, false],
    [{ target: 8080 }, false],
    [{ published: '' }, false],
  ])('sees that %j needs 8080 and 8081: %s', (port, needs) => {
    const served = [8080, 8081].map((number) => ({
      ...{ ip: '0.0.0.0', port: number, protocol: 'tcp', container: 'somebody' },
    }));
    const found = look(model({}, { ports: [port] }), { ports: served });
    expect(found.obstacles.length > 0).toBe(needs);
    const without = look(model({}, { ports: [port] }), { ports: served }, { ports: false });
    expect(without.obstacles).toEqual([]);
  });

  it('is on no network with the first project', () => {
    const networks = { front: { name: 'proxy', external: true }, back: { name: 'back-net' } };
    const alone = look(model({ networks }), { networks: new Set(['proxy']) });
    expect(alone.override).toBeUndefined();
    const beside = look(model({ networks }), {
      networks: new Set(['proxy', 'back-net']),
      firstNetworks: new Set(['proxy', 'back-net']),
    });
    expect(override(beside.override)).toEqual({
      networks: { front: { name: 'other_front' }, back: { name: 'other_back' } },
    });
    expect(look(model({ networks })).obstacles.map(({ hint }) => hint)).toEqual([
      'Make it first: docker network create proxy',
    ]);
  });

  it('uses the image of the backup where its name means another one', () => {
    const found = look(model({}), {}, { images: new Map([['web', 'other-web:restored']]) });
    expect(override(found.override)).toEqual({
      services: { web: { image: 'other-web:restored', pull_policy: 'never' } },
    });
  });
});

describe('targetsOf', () => {
  const at = (service: string, number: number, path: string, folder: { subpath?: string } = {}) => ({
    ...{ service, number, path, readOnly: false },
    ...folder,
  });
  const kept = (name: string, ...servedAt: ReturnType<typeof at>[]) => ({
    ...manifest('manual-20241017_143022').volumes[0]!,
    name,
    servedAt,
  });
  const replica = (service: string, number: number, ...mounts: ReturnType<typeof mount>[]) =>
    container(service, { number, mounts });

  it('follows the paths, replica by replica, and not the names', () => {
    const recorded = [replica('web', 3), replica('web', 7), replica('db', 1)];
    const created = [
      replica('web', 1, mount('anon-new-1', '/cache'), mount('other_up', '/up')),
      replica('web', 2, mount('anon-new-2', '/cache'), mount('other_up', '/up')),
      replica('db', 1, mount('/new/data', '/data', { type: 'bind' })),
    ];
    const found = targetsOf(
      [
        kept('anon-7', at('web', 7, '/cache')),
        kept('anon-3', at('web', 3, '/cache')),
        kept('shop_up', at('web', 3, '/up'), at('web', 7, '/up')),
        kept('/srv/shop/data', at('db', 1, '/data')),
        kept('unused'),
        kept('gone', at('old', 1, '/x')),
      ],
      recorded,
      created,
    );
    expect([...found]).toEqual([
      ['anon-7', { name: 'anon-new-2', kind: 'volume' }],
      ['anon-3', { name: 'anon-new-1', kind: 'volume' }],
      ['shop_up', { name: 'other_up', kind: 'volume' }],
      ['/srv/shop/data', { name: '/new/data', kind: 'bind' }],
    ]);
  });

  it('makes neither one of two nor two of one', () => {
    const recorded = [replica('web', 1)];
    const two = [kept('a', at('web', 1, '/a')), kept('b', at('web', 1, '/b'))];
    expect(() => targetsOf(two, recorded, [replica('web', 1, mount('x', '/a'), mount('x', '/b'))])).toThrow(
      'two volumes of the backup would become x',
    );
    expect(() =>
      targetsOf([kept('a', at('web', 1, '/a'), at('web', 1, '/b'))], recorded, [
        replica('web', 1, mount('x', '/a'), mount('y', '/b')),
      ]),
    ).toThrow('a would become both x and y');
    expect(() =>
      targetsOf([kept('a', at('web', 1, '/a', { subpath: 'up' }))], recorded, [
        replica('web', 1, mount('x', '/a', { subpath: 'down' })),
      ]),
    ).toThrow('web would have another folder of a at /a.');
  });
});

describe('withOneShots', () => {
  it('adds what the file does not say, and keeps its comments', () => {
    expect(withOneShots('', ['migrate'])).toBe('services:\n  migrate:\n    oneShot: true\n');
    const text = '# ours\nservices:\n  seed:\n    oneShot: false\n';
    expect(withOneShots(text, ['seed'])).toBe(text);
    expect(withOneShots(text, ['seed', 'migrate'])).toBe(`${text}  migrate:\n    oneShot: true\n`);
  });
});
