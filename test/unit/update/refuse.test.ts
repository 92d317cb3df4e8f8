import { describe, expect, it } from 'vitest';
import type { ImageFacts } from '../../../src/docker/engine.ts';
import type { Observed, ServedPort } from '../../../src/docker/observe.ts';
import { SafeUpdateError } from '../../../src/model/error.ts';
import type { ServicePlan } from '../../../src/model/plan.ts';
import type { ComposeService, ComposeVolume, Container, Mount, Volume } from '../../../src/model/project.ts';
import {
  imageRefusals,
  mixedVolumes,
  portRefusals,
  refusals,
  refuse,
  type Refusal,
  type RefusalOptions,
} from '../../../src/update/refuse.ts';
import {
  anonymousVolume,
  container,
  hex,
  image,
  imageIdOf,
  mount,
  observed,
  project,
  volume,
} from '../model/examples.ts';

const options: RefusalOptions = { sharingAllowed: () => false, backupDirectory: '/srv/shop/backups' };

function accepts(shop: Observed, how: Partial<RefusalOptions> = {}): string[] {
  return refusals(shop, { ...options, ...how }).map(({ accept }) => accept);
}

/** A service `web` with one volume at /app/uploads, as the files have it now and as the engine has it. */
function web(
  service: ComposeService,
  facts: Partial<Omit<Observed, 'model'>> & { model?: Partial<Observed['model']> } = {},
): Observed {
  return observed(
    { web: service },
    {
      containers: [container('web', { mounts: [mount('shop_uploads', '/app/uploads')] })],
      volumes: [volume('uploads')],
      ...facts,
      model: { volumes: { uploads: { name: 'shop_uploads' } }, ...facts.model },
    },
  );
}
const uploads = { type: 'volume', source: 'uploads', target: '/app/uploads' };

describe('a stack that was started from other files', () => {
  const label = 'com.docker.compose.project.config_files';
  const base = '/srv/shop/compose.yaml';
  const prod = '/srv/shop/compose.prod.yaml';
  const startedFrom = (...files: string[]) => ({
    containers: [container('web', { labels: { [label]: files.join() } })],
  });
  it.each<[string[], string[], string[]]>([
    [[base, prod], [base], ['other-files']],
    [[base, prod], [base, '/srv/shop/compose.override.yaml'], ['other-files']],
    [[base, prod], [base, prod], []],
    [[base], [base, prod], []],
    [[], [base], []],
    [['/srv/former/compose.yaml', '/srv/former/compose.prod.yaml'], [base, prod], []],
    [['/srv/former/compose.yaml', '/srv/former/compose.prod.yaml'], [base], ['other-files']],
  ])('%j, where %j are read: %j', (started, files, refused) => {
    expect(
      accepts(observed({ web: {} }, { ...startedFrom(...started), project: { ...project, files } })),
    ).toEqual(refused);
  });

  it('is the files of most containers: a single one was started by hand', () => {
    const [all] = startedFrom(base).containers;
    const [other] = startedFrom('/tmp/try.yaml').containers;
    const containers = [other, all, all].flatMap((one) => one ?? []);
    expect(accepts(observed({ web: {} }, { containers }))).toEqual([]);
  });
});

describe('a stack in which nothing is wrong', () => {
  it('is not refused', () => {
    expect(refusals(web({ volumes: [uploads] }), options)).toEqual([]);
    expect(refusals(observed({}), options)).toEqual([]);
  });
});

describe('a project that runs under another name', () => {
  it('is refused: up would make a second one beside it', () => {
    const shop = observed(
      { web: {} },
      { containers: [], namesakes: [{ name: 'former', directory: '/srv/shop' }] },
    );
    expect(accepts(shop)).toEqual(['renamed-project:former']);
  });

  it('is not refused where this name has containers too', () => {
    expect(
      accepts(observed({ web: {} }, { namesakes: [{ name: 'staging', directory: '/srv/shop' }] })),
    ).toEqual([]);
  });
});

describe('a service that is not in the files any more', () => {
  const former = (readOnly = false, running = true) =>
    container('former', { running, mounts: [mount('shop_uploads', '/data', { readOnly })] });
  const shop = (old: Container, service: ComposeService, more: Container[] = []) =>
    web(service, { containers: [old, ...more] });

  it('is refused while it writes to a volume that another service would now write to', () => {
    expect(accepts(shop(former(), { volumes: [uploads] }))).toEqual(['orphan-writes:former:shop_uploads']);
  });

  it.each<[string, Observed]>([
    ['it only reads', shop(former(true), { volumes: [uploads] })],
    ['it is stopped', shop(former(false, false), { volumes: [uploads] })],
    ['the other one only reads', shop(former(), { volumes: [{ ...uploads, read_only: true }] })],
    ['the other one has another volume', shop(former(), { volumes: [{ ...uploads, source: 'other' }] })],
    [
      'they have shared it all along',
      shop(former(), { volumes: [uploads] }, [
        container('web', { mounts: [mount('shop_uploads', '/app/uploads')] }),
      ]),
    ],
  ])('is not when %s', (_, observed) => {
    expect(accepts(observed)).toEqual([]);
  });
});

describe('a volume that another project writes to', () => {
  const foreign = {
    volume: 'shop_uploads',
    container: 'cdn-1',
    project: 'cdn',
    running: true,
    readOnly: false,
  };
  const shop = (facts: Partial<typeof foreign> = {}) =>
    web({ volumes: [uploads] }, { foreign: [{ ...foreign, ...facts }] });

  it('is refused, by name of the other container', () => {
    expect(refusals(shop(), options)).toEqual([
      {
        accept: 'shared-volume:shop_uploads',
        message:
          'The container cdn-1 of the project cdn writes to the volume shop_uploads too; stopping this project does not stop it.',
        hint: expect.stringContaining('volumes.shop_uploads.shared: allow') as string,
      },
    ]);
  });

  it('is refused once, however many write to it', () => {
    const two = web({ volumes: [uploads] }, { foreign: [foreign, { ...foreign, container: 'cdn-2' }] });
    expect(accepts(two)).toEqual(['shared-volume:shop_uploads']);
  });

  it('is not refused where the other only reads, does not run, or is allowed', () => {
    expect(accepts(shop({ readOnly: true }))).toEqual([]);
    expect(accepts(shop({ running: false }))).toEqual([]);
    expect(accepts(shop(), { sharingAllowed: ({ key }) => key === 'uploads' })).toEqual([]);
    expect(accepts(shop({ volume: 'not_ours' }))).toEqual([]);
  });
});

describe('a backup folder', () => {
  const bind = (name: string) => observed({ web: {} }, { volumes: [volume('x', { kind: 'bind', name })] });

  it.each(['/srv/shop', '/srv/shop/', '/srv/shop/backups', '/'])(
    'inside %s is refused: a backup must not hold itself',
    (name) => {
      expect(accepts(bind(name))).toEqual([`backups-inside:${name}`]);
    },
  );

  it('inside a volume that the driver binds to a folder is refused too, unless that is left out', () => {
    const options = { type: 'none', o: 'bind', device: '/srv/shop/backups' };
    const bound = (facts: Partial<Volume>) =>
      accepts(observed({ web: {} }, { volumes: [volume('kept', { options, ...facts })] }));
    expect(bound({})).toEqual(['backups-inside:shop_kept']);
    expect(bound({ options: { ...options, o: 'rbind,uid=999' } })).toEqual(['backups-inside:shop_kept']);
    expect(bound({ options: { type: 'nfs', o: 'addr=10.0.0.1', device: '/srv/shop/backups' } })).toEqual([]);
    expect(bound({ leftOut: 'its label says so' })).toEqual([]);
  });

  it.each(['/srv/shop/data', '/srv/shop/backups/old', '/srv/sho', '/srv/shop/back'])(
    'beside %s is not',
    (name) => {
      expect(accepts(bind(name))).toEqual([]);
    },
  );
});

describe('an external volume', () => {
  it('that is not there is refused', () => {
    const shop = (exists: boolean) =>
      observed({ web: {} }, { volumes: [volume('db', { kind: 'external', exists })] });
    expect(accepts(shop(false))).toEqual(['missing-volume:shop_db']);
    expect(accepts(shop(true))).toEqual([]);
  });

  it('is not what any other missing volume is', () => {
    expect(accepts(observed({ web: {} }, { volumes: [volume('db', { exists: false })] }))).toEqual([]);
  });
});

describe('a volume whose definition changed', () => {
  const shop = (declared: ComposeVolume | null, facts = {}) =>
    observed({ web: {} }, { model: { volumes: { db: declared } }, volumes: [volume('db', facts)] });

  it.each<[ComposeVolume, object, string]>([
    [{ driver: 'nfs' }, {}, 'driver local → nfs'],
    [{}, { driver: 'nfs' }, 'driver nfs → local'],
    [{ driver_opts: { type: 'tmpfs' } }, {}, 'driver options'],
    [{}, { options: { type: 'none', device: '/mnt' } }, 'driver options'],
    [{ driver_opts: { device: '/a' } }, { options: { device: '/b' } }, 'driver options'],
  ])('%j over %j is refused: compose would delete and recreate it', (declared, present, words) => {
    const [refusal, ...others] = refusals(shop({ name: 'shop_db', ...declared }, present), options);
    expect(others).toEqual([]);
    expect(refusal?.accept).toBe('volume-changed:shop_db');
    expect(refusal?.message).toContain(words);
  });

  it.each<[ComposeVolume | null, object]>([
    [null, {}],
    [{ name: 'shop_db' }, {}],
    [{ driver: 'local', driver_opts: {} }, {}],
    [{ driver_opts: { device: '/a' } }, { options: { device: '/a' } }],
    // Made by hand: compose warns, and uses it.
    [{ driver: 'nfs' }, { labels: {} }],
    [{ driver: 'nfs', external: true }, {}],
    [{ driver: 'nfs' }, { exists: false }],
    [{ name: 'another', driver: 'nfs' }, {}],
  ])('%j over %j is not', (declared, present) => {
    expect(accepts(shop(declared, present))).toEqual([]);
  });
});

describe('a path that a volume serves', () => {
  const moved = ['volume-moved:web:/app/uploads'];

  it('is refused where it would be another volume', () => {
    const renamed = web(
      { volumes: [uploads] },
      { model: { volumes: { uploads: { name: 'shop2_uploads' } } } },
    );
    const [refusal] = refusals(renamed, options);
    expect(refusal?.accept).toBe(moved[0]);
    expect(refusal?.message).toBe(
      'web has the volume shop_uploads at /app/uploads; after the update it would have shop2_uploads there, without the data.',
    );
    expect(
      accepts(web({ volumes: [{ ...uploads, source: 'files' }] }, { model: { volumes: { files: {} } } })),
    ).toEqual(moved);
  });

  it('is refused where it would be a bind mount, or in memory', () => {
    expect(
      accepts(web({ volumes: [{ type: 'bind', source: '/srv/uploads', target: '/app/uploads' }] })),
    ).toEqual(moved);
    expect(accepts(web({ volumes: [{ type: 'tmpfs', target: '/app/uploads' }] }))).toEqual(moved);
  });

  it('is refused where nothing would be', () => {
    expect(accepts(web({}))).toEqual(moved);
    expect(accepts(web({ volumes: [{ ...uploads, target: '/app/files' }] }))).toEqual(moved);
  });

  it('is refused where a new and empty anonymous volume would be', () => {
    expect(accepts(web({ volumes: [{ type: 'volume', target: '/app/uploads' }] }))).toEqual(moved);
  });

  it('is refused where the image would make a new and empty anonymous volume', () => {
    const images = new Map([['web', image('web:1', { volumePaths: ['/app/uploads'] })]]);
    expect(accepts(web({}, { images }))).toEqual(moved);
  });

  it('is refused although another service keeps the volume at the same path', () => {
    const worker = container('worker', { mounts: [mount('shop_uploads', '/app/uploads')] });
    const shop = web({}, { containers: [...web({}).containers, worker] });
    shop.model.services['worker'] = { image: 'worker:1', volumes: [uploads] };
    expect(accepts(shop)).toEqual(moved);
  });

  it('is the same with a slash at its end', () => {
    expect(accepts(web({ volumes: [{ ...uploads, target: '/app/uploads/' }] }))).toEqual([]);
  });

  it('is known by the name that compose gives a volume', () => {
    expect(accepts(web({ volumes: [uploads] }, { model: { volumes: { uploads: null } } }))).toEqual([]);
  });

  it('is taken from another service with volumes_from', () => {
    const shop = observed(
      {
        store: { volumes: [{ ...uploads, target: '/data' }] },
        web: { volumes_from: ['store'] },
      },
      {
        containers: ['store', 'web'].map((name) =>
          container(name, { mounts: [mount('shop_uploads', '/data')] }),
        ),
        volumes: [volume('uploads')],
        model: { volumes: { uploads: { name: 'shop_uploads' } } },
      },
    );
    expect(accepts(shop)).toEqual([]);
  });

  it('does not matter for a service that left the files: its containers stay', () => {
    const shop = observed({ api: {} }, { containers: web({}).containers, volumes: [volume('uploads')] });
    expect(accepts(shop)).toEqual([]);
  });

  describe('and that has no name', () => {
    const cache = (volumePaths: string[], service: ComposeService = {}) =>
      observed(
        { cache: service },
        {
          containers: [container('cache', { mounts: [mount(hex('data'), '/data')] })],
          volumes: [anonymousVolume('data')],
          images: new Map([['cache', image('cache:2', { volumePaths })]]),
        },
      );

    it('is carried over while image or files still declare the path', () => {
      expect(accepts(cache(['/data']))).toEqual([]);
      expect(accepts(cache([], { volumes: [{ type: 'volume', target: '/data' }] }))).toEqual([]);
    });

    it('is refused when the new image has moved its VOLUME', () => {
      expect(accepts(cache(['/var/lib/data']))).toEqual(['volume-moved:cache:/data']);
    });

    it('is refused when the files give the path to a new named volume', () => {
      const named = cache(['/data'], { volumes: [{ type: 'volume', source: 'data', target: '/data' }] });
      named.model.volumes = { data: { name: 'shop_data' } };
      expect(accepts(named)).toEqual(['volume-moved:cache:/data']);
    });

    it('is not known yet where the new image is not there yet', () => {
      expect(accepts({ ...cache([]), images: new Map([['cache', null]]) })).toEqual([]);
    });
  });
});

describe('a database', () => {
  const running: Partial<Container> = {
    imageName: 'postgres:15',
    command: ['docker-entrypoint.sh', 'postgres'],
    environment: ['PG_MAJOR=15', 'PGDATA=/var/lib/postgresql/data'],
    mounts: [mount('shop_db', '/var/lib/postgresql/data')],
  };
  const volumes = [{ type: 'volume', source: 'db', target: '/var/lib/postgresql/data' }];
  const newer = (...environment: string[]) => new Map([['db', image('postgres:new', { environment })]]);
  const db = (
    facts: Partial<Container>,
    images = newer('PG_MAJOR=15', 'PGDATA=/var/lib/postgresql/data'),
    service: object = {},
  ) =>
    observed(
      { db: { image: 'postgres:15', volumes, ...service } },
      {
        containers: [container('db', { ...running, ...facts })],
        volumes: [volume('db')],
        images,
        model: { volumes: { db: { name: 'shop_db' } } },
      },
    );

  it('on a new image of its version is not refused', () => {
    expect(accepts(db({}))).toEqual([]);
  });

  it('without a volume for its files is refused: replacing the container deletes them', () => {
    const shop = db({ mounts: [mount('shop_db', '/backup')] });
    expect(accepts(shop)).toContain('no-volume:db');
    expect(
      accepts(db({ mounts: [mount('/srv/db', '/var/lib/postgresql', { type: 'bind' })] })),
    ).not.toContain('no-volume:db');
  });

  it('whose new image looks elsewhere is refused: it would start empty', () => {
    expect(accepts(db({}, newer('PG_MAJOR=15', 'PGDATA=/pgdata')))).toEqual(['data-path:db']);
  });

  it('of another major version is refused: it cannot read the files', () => {
    expect(accepts(db({}, newer('PG_MAJOR=16', 'PGDATA=/var/lib/postgresql/data')))).toEqual([
      'database-version:db',
    ]);
    expect(accepts(db({}, newer('PG_MAJOR=18', 'PGDATA=/var/lib/postgresql/18/docker')))).toEqual([
      'data-path:db',
      'database-version:db',
    ]);
  });

  it.each([
    ['MARIADB_VERSION=1:10.11.6+maria~ubu2204', 'MARIADB_VERSION=1:11.4.2+maria~ubu2404', false],
    ['MARIADB_VERSION=1:10.11.9+maria~ubu2204', 'MARIADB_VERSION=1:10.11.6+maria~ubu2204', false],
    ['MARIADB_VERSION=1:10.11.6+maria~ubu2204', 'MARIADB_VERSION=1:10.6.18+maria~ubu2004', true],
    ['MYSQL_VERSION=5.7.44-1.el7', 'MYSQL_VERSION=8.0.40-1.el9', false],
    ['MYSQL_VERSION=8.0.40-1.el9', 'MYSQL_VERSION=8.4.3-1.el9', false],
    ['MYSQL_VERSION=8.4.3-1.el9', 'MYSQL_VERSION=9.1.0-1.el9', false],
    ['MYSQL_VERSION=8.0.40-1.el9', 'MYSQL_VERSION=9.1.0-1.el9', true],
    ['MYSQL_VERSION=5.7.44-1.el7', 'MYSQL_VERSION=8.4.3-1.el9', true],
    ['MYSQL_VERSION=8.4.3-1.el9', 'MYSQL_VERSION=8.0.40-1.el9', true],
    ['MYSQL_MAJOR=8.4', 'MYSQL_MAJOR=innovation', false],
  ])('that goes from %s to %s is refused: %s', (former, next, refused) => {
    const isMariadb = former.startsWith('MARIADB');
    const facts = {
      imageName: isMariadb ? 'mariadb' : 'mysql',
      command: ['docker-entrypoint.sh', isMariadb ? 'mariadbd' : 'mysqld'],
      environment: [former],
      mounts: [mount('shop_db', '/var/lib/mysql')],
    };
    const files = { volumes: [{ type: 'volume', source: 'db', target: '/var/lib/mysql' }] };
    expect(accepts(db(facts, newer(next), files))).toEqual(refused ? ['database-version:db'] : []);
  });

  it('on the same image is not compared', () => {
    expect(
      accepts(db({}, new Map([['db', image('postgres:15', { environment: ['PG_MAJOR=16'] })]]))),
    ).toEqual([]);
  });

  describe('with a data folder of its own choice', () => {
    const own = {
      environment: ['PG_MAJOR=15', 'PGDATA=/data/db'],
      mounts: [mount('shop_db', '/data')],
    };
    const files = {
      environment: { PGDATA: '/data/db' },
      volumes: [{ type: 'volume', source: 'db', target: '/data' }],
    };

    it('keeps it on a new image: the files say it again', () => {
      expect(accepts(db(own, undefined, files))).toEqual([]);
    });

    it('is refused when the files choose another one: it would start empty', () => {
      const elsewhere = { ...files, environment: { PGDATA: '/data/db2' } };
      expect(accepts(db(own, new Map([['db', image('postgres:15')]]), elsewhere))).toEqual(['data-path:db']);
    });
  });
});

describe('a one-off container', () => {
  const shop = (facts: Partial<Container>) =>
    observed(
      { web: {} },
      { oneOffs: [container('web', { name: 'shop-web-run-1', oneOff: true, ...facts })] },
    );

  it('that runs is refused; one that has ended is not', () => {
    expect(accepts(shop({}))).toEqual(['one-off:shop-web-run-1']);
    expect(accepts(shop({ running: false }))).toEqual([]);
  });
});

describe('refuse', () => {
  const found: Refusal[] = [
    { accept: 'a:1', message: 'The first.', hint: 'Do this.' },
    { accept: 'b:2', message: 'The second.', hint: 'Do that.' },
  ];

  function refusedWith(accepted: string[]): SafeUpdateError | undefined {
    try {
      refuse(found, accepted);
    } catch (error) {
      if (error instanceof SafeUpdateError) return error;
      throw error;
    }
    return undefined;
  }

  it('says all of it at once, and how to go on', () => {
    expect(refusedWith([])).toMatchObject({
      code: 'refused',
      message: 'The first.\nThe second.',
      state: 'Nothing was touched.',
      hint: 'Do this. If you are sure: --accept a:1\nDo that. If you are sure: --accept b:2',
    });
  });

  it('lets pass what was accepted, by its whole name', () => {
    expect(refusedWith(['a:1'])).toMatchObject({ message: 'The second.' });
    expect(refusedWith(['a', 'b:', 'A:1', ''])).toMatchObject({ message: 'The first.\nThe second.' });
    expect(refusedWith(['b:2', 'a:1', 'c:3'])).toBeUndefined();
  });
});

describe('what was pulled', () => {
  const shop = (next: Partial<ImageFacts> | null) =>
    web({ image: 'web:2' }, { images: new Map([['web', next === null ? null : image('web:2', next)]]) });
  const plan = (fate: ServicePlan['fate']) => ({
    services: [{ service: 'web', fate, cause: '', replicas: 1 }],
  });
  const former = new Map([[imageIdOf('web:1'), 'linux/amd64']]);

  it('is refused where there is no image for a new container', () => {
    const [found] = imageRefusals(shop(null), plan('replace'), former);
    expect(found?.accept).toBe('image-missing:web');
    expect(found?.message).toMatch(/web.*web:2/);
  });

  it('is refused where it is for another machine than the one that runs', () => {
    const [found] = imageRefusals(shop({ platform: 'linux/s390x' }), plan('replace'), former);
    expect(found?.accept).toBe('image-platform:web');
    expect(found?.message).toMatch(/web is for linux\/s390x.*linux\/amd64/);
  });

  it.each<[string, Observed, ServicePlan['fate']]>([
    ['for the same machine', shop({}), 'replace'],
    ['for nothing that is made anew', shop(null), 'restart'],
    [
      'for a service that had no container',
      { ...shop({ platform: 'linux/s390x' }), containers: [] },
      'create',
    ],
  ])('is not refused: %s', (_, observed, fate) => {
    expect(imageRefusals(observed, plan(fate), former)).toEqual([]);
  });

  it('is not refused where what runs is for that other machine too', () => {
    const emulated = new Map([[imageIdOf('web:1'), 'linux/s390x']]);
    expect(imageRefusals(shop({ platform: 'linux/s390x' }), plan('replace'), emulated)).toEqual([]);
  });
});

describe('a port that somebody else has', () => {
  const free = () => true;
  const services = (ports: unknown[], other: unknown[] = []): Record<string, ComposeService> => ({
    web: { ports },
    other: { ports: other },
  });
  const served = (facts: Partial<ServedPort> = {}): ServedPort => ({
    ...{ ip: '0.0.0.0', port: 80, protocol: 'tcp', container: 'shop-web-1', project: 'shop', service: 'web' },
    ...facts,
  });
  const foreign = served({ container: 'nginx', project: 'proxy', service: 'nginx' });
  const web = (ports: unknown[], servedPorts: ServedPort[], other: unknown[] = [], isFree = free): string[] =>
    portRefusals(observed(services(ports, other), { servedPorts }), ['web'], isFree).map(
      ({ accept, message }) => `${accept}: ${message}`,
    );

  it('is refused, with the name of who has it', () => {
    expect(web([{ published: '80' }], [foreign])).toEqual([
      'port-taken:80: web publishes the port 80, which the container nginx of the project proxy has already.',
    ]);
    const alone = served({ container: 'dns', project: '', service: '', port: 53, protocol: 'udp' });
    expect(web([{ published: '53', protocol: 'udp' }], [alone])[0]).toContain('port-taken:53/udp');
    expect(web([{ published: '80' }], [], [], () => false)[0]).toContain('something that is no container');
  });

  it('is none where the same service has it, or a former one that lets go of it', () => {
    expect(web([{ published: '80' }], [served()])).toEqual([]);
    expect(web([{ published: '80' }], [served({ service: 'other' })])).toEqual([]);
    // The engine's own listener is not somebody else.
    expect(web([{ published: '80' }], [served()], [], () => false)).toEqual([]);
  });

  it('is one where another service of the project keeps it, or is not in the files any more and stays', () => {
    const other = served({ container: 'shop-other-1', service: 'other' });
    expect(web([{ published: '80' }], [other], [{ published: '80' }])[0]).toContain('of the service other');
    expect(web([{ published: '80' }], [served({ container: 'shop-old-1', service: 'old' })])).toHaveLength(1);
  });

  it('goes by address and by protocol, and lets the engine choose in a range', () => {
    expect(web([{ published: '80', protocol: 'udp' }], [foreign])).toEqual([]);
    expect(web([{ published: '80', host_ip: '127.0.0.1' }], [{ ...foreign, ip: '10.0.0.1' }])).toEqual([]);
    expect(web([{ published: '80', host_ip: '127.0.0.1' }], [foreign])).toHaveLength(1);
    expect(web([{ published: '80-81' }], [foreign])).toEqual([]);
    expect(web([{ published: '80-81' }], [foreign, { ...foreign, port: 81 }])[0]).toContain(
      'port-taken:80-81',
    );
    expect(web([{ target: 80 }, { published: '' }], [foreign])).toEqual([]);
  });
});

describe('a server that nobody can dump, on no volume', () => {
  it('is refused like a database', () => {
    const search = (facts: Partial<Container>): Observed =>
      observed(
        { search: {} },
        {
          containers: [container('search', { imageName: 'opensearch:2', command: ['opensearch'], ...facts })],
        },
      );
    expect(accepts(search({}))).toEqual(['no-volume:search']);
    expect(accepts(search({ running: false }))).toEqual([]);
    const data = mount('shop_index', '/usr/share/opensearch/data');
    expect(accepts(search({ mounts: [data] }))).not.toContain('no-volume:search');
  });
});

describe('a folder of a volume', () => {
  const at = (subpath: string | undefined): Observed =>
    web(
      {
        volumes: [
          {
            ...{ type: 'volume', source: 'uploads', target: '/app/uploads/' },
            ...(subpath === undefined ? {} : { volume: { subpath } }),
          },
        ],
      },
      {
        containers: [
          container('web', { mounts: [mount('shop_uploads', '/app/uploads', { subpath: 'web/up' })] }),
        ],
      },
    );

  it.each([
    ['web/up', []],
    ['./web/up/', []],
    ['web', ['volume-moved:web:/app/uploads']],
    [undefined, ['volume-moved:web:/app/uploads']],
  ])('has to stay the one that is mounted: %s', (subpath, expected) => {
    expect(accepts(at(subpath))).toEqual(expected);
  });

  const db = (mounted: Partial<Mount>, ...others: string[]): Observed => {
    const served = (service: string, path: string, subpath?: string) => ({
      ...{ service, number: 1, path, readOnly: false },
      ...(subpath === undefined ? {} : { subpath }),
    });
    return observed(
      { db: {} },
      {
        containers: [
          container('db', {
            imageName: 'mongo:7',
            mounts: [mount('shop_all', '/data/db', mounted)],
          }),
        ],
        volumes: [
          volume('all', {
            servedAt: [
              served('db', '/data/db', mounted.subpath),
              ...others.map((subpath) => served('web', '/up', subpath)),
            ],
          }),
        ],
      },
    );
  };

  it('in between the files of a database is refused for a hot update: a rollback would not bring it back', () => {
    const found = (shop: Observed): string[] => mixedVolumes(shop).map(({ accept }) => accept);
    expect(found(db({}, 'uploads'))).toEqual(['mixed-volume:db']);
    expect(found(db({ subpath: 'mongo' }, 'mongo/uploads'))).toEqual(['mixed-volume:db']);
    expect(found(db({ subpath: 'mongo' }, 'uploads', 'mongo-2', 'mongo'))).toEqual([]);
    expect(found(db({}))).toEqual([]);
  });
});
