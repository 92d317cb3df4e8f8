import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Observed } from '../../../src/docker/observe.ts';
import type { Plan, Step } from '../../../src/model/plan.ts';
import type { ComposeService, Container } from '../../../src/model/project.ts';
import {
  advice,
  hasAnonymousVolume,
  planBackup,
  planUpdate,
  requireSealFirst,
  servicesToPull,
  statedReplicas,
  type PlanOptions,
} from '../../../src/update/plan.ts';
import { imageRefusals } from '../../../src/update/refuse.ts';
import { expectedAfter } from '../../../src/update/steps.ts';
import {
  anonymousVolume,
  container,
  exited,
  hex,
  image,
  imageIdOf,
  mount,
  observed,
  project,
  volume,
} from '../model/examples.ts';

/** After the pull: what is on the engine is what will run. */
const pulled: PlanOptions = { consistency: 'cold', pull: 'always', pulled: true };
/** Before it: the registry may have something newer. */
const unpulled: PlanOptions = { ...pulled, pulled: false };

/** The steps as `--dry-run` could show them: `stop* web db`, with a star where the stack is touched. */
function lines(plan: Plan): string[] {
  return plan.steps.map(({ name, on, touches }: Step) => [name + (touches ? '*' : ''), ...on].join(' '));
}

function fates(plan: Plan): string[] {
  return plan.services.map(
    ({ service, fate, cause }) => `${service}: ${fate}${cause === '' ? '' : `, ${cause}`}`,
  );
}

/** The shop after a pull that brought a new image for `web`. */
function newImage(name: string): Map<string, ReturnType<typeof image>> {
  return new Map([[name, image(`${name}:2`)]]);
}

const postgres: Partial<Container> = {
  imageName: 'postgres:15',
  command: ['docker-entrypoint.sh', 'postgres'],
  environment: ['PGDATA=/var/lib/postgresql/data'],
  mounts: [mount('shop_db', '/var/lib/postgresql/data')],
};

describe('nothing to do', () => {
  it('has no steps', () => {
    const shop = observed({ web: {}, db: {} }, { volumes: [volume('db')] });
    expect(planUpdate(shop, pulled)).toEqual({
      project: 'shop',
      consistency: 'cold',
      nothingToDo: true,
      services: [
        { service: 'db', fate: 'restart', cause: '', replicas: 1 },
        { service: 'web', fate: 'restart', cause: '', replicas: 1 },
      ],
      unasked: [],
      volumes: [volume('db')],
      databases: [],
      notCovered: [],
      warnings: [],
      suggestions: [],
      steps: [],
    });
  });

  it('is not known before the registry was asked', () => {
    const plan = planUpdate(observed({ web: {} }), unpulled);
    expect(plan.nothingToDo).toBe(false);
    expect(lines(plan)).toContain('pull web');
    expect(plan.unasked).toEqual(['web']);
  });

  it('is known at once where nobody is to be asked', () => {
    expect(planUpdate(observed({ web: {} }), { ...unpulled, pull: 'never' }).nothingToDo).toBe(true);
    expect(planUpdate(observed({ web: {} }), { ...unpulled, pull: 'missing' }).nothingToDo).toBe(true);
  });

  it('is so with a finished one-shot and a service that somebody stopped', () => {
    const shop = observed(
      { web: {}, mail: {}, migrate: {} },
      {
        containers: [
          container('web'),
          container('mail', exited(0)),
          container('migrate', { ...exited(0), restart: 'no' }),
        ],
      },
    );
    const plan = planUpdate(shop, pulled);
    expect(plan.nothingToDo).toBe(true);
    expect(fates(plan)).toEqual([
      'mail: leave-stopped, stopped on purpose',
      'migrate: run-again',
      'web: restart',
    ]);
  });
});

describe('a new image', () => {
  const shop = observed(
    {
      web: { depends_on: { db: { condition: 'service_healthy' } } },
      db: { image: 'postgres:15' },
    },
    {
      containers: [
        container('web', { mounts: [mount('shop_uploads', '/app/uploads')] }),
        container('db', postgres),
      ],
      volumes: [volume('db'), volume('uploads'), volume('later', { exists: false })],
      images: new Map([
        ['web', image('web:2')],
        ['db', image('postgres:15')],
      ]),
      warnings: ['The "A" variable is not set.'],
      notCovered: [{ source: '/srv/x', services: ['web'], path: '/x', reason: 'a bind mount' }],
    },
  );
  const change = `image web:1 ${imageIdOf('web:1').slice(7, 19)} → ${imageIdOf('web:2').slice(7, 19)}`;

  it('is planned whole', () => {
    expect(planUpdate(shop, { ...pulled, sizes: new Map([['shop_db', 4096]]) })).toEqual({
      project: 'shop',
      consistency: 'cold',
      nothingToDo: false,
      services: [
        { service: 'db', fate: 'restart', cause: '', replicas: 1 },
        { service: 'web', fate: 'replace', cause: change, replicas: 1 },
      ],
      unasked: [],
      volumes: [{ ...volume('db'), bytes: 4096 }, volume('uploads'), volume('later', { exists: false })],
      databases: [{ service: 'db', engine: 'postgres', running: true }],
      notCovered: [{ source: '/srv/x', services: ['web'], path: '/x', reason: 'a bind mount' }],
      warnings: ['The "A" variable is not set.'],
      suggestions: [expect.stringContaining('- /srv/x') as string],
      steps: [
        { name: 'lock', on: [], cause: 'one update at a time', touches: false },
        { name: 'pin', on: [], cause: 'the way back must survive a moved tag', touches: false },
        { name: 'pull', on: ['web', 'db'], cause: 'downloaded while the old stack serves', touches: false },
        {
          name: 'measure',
          on: ['shop_db', 'shop_uploads'],
          cause: 'there must be room for the backup and for a rollback',
          touches: false,
        },
        { name: 'dump', on: ['db'], cause: 'databases, while they run', touches: false },
        { name: 'stop', on: ['web', 'db'], cause: 'the downtime begins', touches: true },
        {
          name: 'archive',
          on: ['shop_db', 'shop_uploads'],
          cause: 'cold: the one exact moment',
          touches: false,
        },
        {
          name: 'seal',
          on: [],
          cause: 'flushed, read back and compared: from here there is a way back',
          touches: false,
        },
        { name: 'remove', on: ['web'], cause: 'containers only; volumes stay', touches: true },
        { name: 'up', on: ['db', 'web'], cause: 'the new release starts', touches: true },
        {
          name: 'verify',
          on: [],
          cause: 'healthy and stable, the right images, every path on its volume, no data gone',
          touches: false,
        },
        { name: 'commit', on: [], cause: 'the release is recorded', touches: false },
        { name: 'prune', on: [], cause: 'old backups beyond the number kept', touches: false },
      ],
    });
  });

  it('is archived and sealed before anything stops where the backup is hot', () => {
    expect(lines(planUpdate(shop, { ...pulled, consistency: 'hot' }))).toEqual([
      'lock',
      'pin',
      'pull web db',
      'measure shop_db shop_uploads',
      'dump db',
      'archive shop_db shop_uploads',
      'seal',
      'stop* web db',
      'remove* web',
      'up* db web',
      'verify',
      'commit',
      'prune',
    ]);
  });

  it('is told by id: a tag that stands for the same image is no change', () => {
    const same = { ...shop, images: new Map([['web', image('web:1', { tags: ['web:latest'] })]]) };
    expect(planUpdate(same, pulled).nothingToDo).toBe(true);
  });

  it('is no change where the engine does not have it yet: the pull comes first', () => {
    const missing = { ...shop, images: new Map([['web', null]]) };
    expect(fates(planUpdate(missing, pulled))).toEqual(['db: restart', 'web: restart']);
  });

  it('names the environment', () => {
    const prod = { ...shop, project: { ...shop.project, environment: 'prod' } };
    expect(planUpdate(prod, pulled).environment).toBe('prod');
    expect(planUpdate(shop, pulled)).not.toHaveProperty('environment');
  });
});

describe('what else changes', () => {
  it('configuration', () => {
    const shop = observed({ web: {} }, { hashes: new Map([['web', 'another']]) });
    const plan = planUpdate(shop, pulled);
    expect(fates(plan)).toEqual(['web: replace, configuration']);
    expect(lines(plan)).toEqual([
      ...['lock', 'pin', 'pull web', 'measure', 'stop* web', 'seal', 'remove* web', 'up* web'],
      ...['verify', 'commit', 'prune'],
    ]);
  });

  it('the name of an image', () => {
    const shop = observed(
      { web: { image: 'web:2' } },
      {
        containers: [container('web')],
        hashes: new Map([['web', 'another']]),
      },
    );
    const ids = [imageIdOf('web:1'), imageIdOf('web:2')].map((id) => id.slice(7, 19));
    expect(fates(planUpdate(shop, pulled))).toEqual([
      `web: replace, image web:2 ${ids[0] ?? ''} → ${ids[1] ?? ''}, image name web:1 → web:2`,
    ]);
  });

  it('a new service is created and nothing of it removed', () => {
    const shop = observed({ web: {}, search: {} }, { containers: [container('web')] });
    const plan = planUpdate(shop, pulled);
    expect(fates(plan)).toEqual(['search: create, it has no container yet', 'web: restart']);
    expect(lines(plan)).toContain('up* search web');
    expect(lines(plan).some((line) => line.startsWith('remove'))).toBe(false);
  });

  it('says the line that covers a folder which services write to', () => {
    const suggested = (...sources: string[]) =>
      planUpdate(
        observed(
          { web: {} },
          {
            notCovered: sources.map((source) => ({
              source,
              services: ['web'],
              path: '/d',
              reason: 'a bind mount',
            })),
          },
        ),
        pulled,
      ).suggestions;
    expect(suggested('/srv/shop/data', '/mnt/media')).toEqual([
      expect.stringContaining('bindMounts:\n  include:\n    - ./data\n    - /mnt/media') as string,
    ]);
    expect(suggested()).toEqual([]);
  });

  it('a service that uses the container of one that is replaced, and one that uses that', () => {
    const shop = observed(
      { web: {}, side: { network_mode: 'service:web' }, log: { volumes_from: ['side:ro'] }, alone: {} },
      { images: newImage('web') },
    );
    expect(fates(planUpdate(shop, pulled)).filter((fate) => !fate.startsWith('web'))).toEqual([
      'alone: restart',
      'log: replace, it uses the container of side',
      'side: replace, it uses the container of web',
    ]);
  });

  it('a service that left the files is stopped for the archive, and its containers stay', () => {
    const shop = observed(
      { web: {} },
      {
        containers: [container('web'), container('old')],
        images: newImage('web'),
      },
    );
    const plan = planUpdate(shop, pulled);
    expect(fates(plan)[0]).toBe('old: orphan, not in the compose files any more');
    expect(lines(plan)).toEqual(expect.arrayContaining(['stop* web old', 'remove* web', 'up* web']));
  });

  it('a service that left the files is no reason to do anything', () => {
    const shop = observed({ web: {} }, { containers: [container('web'), container('old')] });
    expect(planUpdate(shop, pulled).nothingToDo).toBe(true);
  });

  it('a service that somebody stopped stays stopped, on its old image', () => {
    const shop = observed(
      { web: {}, mail: {} },
      {
        containers: [container('web'), container('mail', exited(137))],
        images: new Map([
          ['web', image('web:2')],
          ['mail', image('mail:2')],
        ]),
      },
    );
    const plan = planUpdate(shop, pulled);
    expect(fates(plan)[0]).toBe('mail: leave-stopped, stopped on purpose');
    expect(lines(plan)).toEqual(expect.arrayContaining(['stop* web', 'remove* web', 'up* web']));
  });

  it('a stack that is stopped is brought up, with what it stands for now', () => {
    const stopped = { containers: [container('web', exited(0)), container('db', exited(137))] };
    const shop = observed({ web: {}, db: {} }, { ...stopped, volumes: [volume('db')] });
    const plan = planUpdate(shop, pulled);
    expect(fates(plan)).toEqual(['db: replace, it is not running', 'web: replace, it is not running']);
    expect(lines(plan)).toEqual([
      ...['lock', 'pin', 'pull web db', 'measure shop_db', 'archive shop_db', 'seal'],
      ...['remove* db web', 'up* db web', 'verify', 'commit', 'prune'],
    ]);
  });

  it('a project without containers is brought up', () => {
    const shop = observed(
      { web: {}, db: {} },
      { containers: [], volumes: [volume('db', { exists: false })] },
    );
    expect(lines(planUpdate(shop, pulled))).toEqual([
      ...['lock', 'pin', 'pull web db', 'measure', 'seal', 'up* db web', 'verify', 'commit', 'prune'],
    ]);
  });

  it('a stack without volumes has nothing to archive, and is sealed all the same', () => {
    const plan = planUpdate(observed({ web: {} }, { images: newImage('web') }), pulled);
    expect(lines(plan)).toEqual([
      ...['lock', 'pin', 'pull web', 'measure', 'stop* web', 'seal', 'remove* web', 'up* web'],
      ...['verify', 'commit', 'prune'],
    ]);
  });

  it('a service with an anonymous volume is not removed: up carries the volume over', () => {
    const shop = observed(
      { web: {}, cache: {} },
      {
        containers: [container('web'), container('cache', { mounts: [mount(hex('data'), '/data')] })],
        volumes: [anonymousVolume('data')],
        images: new Map([
          ['web', image('web:2')],
          ['cache', image('cache:2')],
        ]),
      },
    );
    const plan = planUpdate(shop, pulled);
    expect(fates(plan).every((fate) => fate.includes('replace'))).toBe(true);
    expect(lines(plan)).toEqual(expect.arrayContaining(['remove* web', 'up* cache web']));
    expect(hasAnonymousVolume(shop, 'cache')).toBe(true);
    expect(hasAnonymousVolume(shop, 'web')).toBe(false);
  });

  it('shows no password that a volume is mounted with', () => {
    const options = { type: 'cifs', o: 'username=shop,password=canary', device: '//files/shop' };
    const shop = observed({ web: {} }, { volumes: [volume('files', { options })] });
    expect(JSON.stringify(planUpdate(shop, pulled))).not.toContain('canary');
    // What recreates the volume reads what was observed.
    expect(shop.volumes[0]?.options).toEqual(options);
  });

  it('warns where the stack was started from fewer files than are read', () => {
    const compose = '/srv/shop/compose.yaml';
    const started = container('web', { labels: { 'com.docker.compose.project.config_files': compose } });
    const warnings = (...files: string[]) =>
      planUpdate(observed({ web: {} }, { containers: [started], project: { ...project, files } }), pulled)
        .warnings;
    expect(warnings(compose)).toEqual([]);
    expect(warnings(compose, '/srv/shop/compose.prod.yaml')).toEqual([
      `The stack was started from ${compose}; this run reads ${compose}, /srv/shop/compose.prod.yaml.`,
    ]);
  });
});

describe('replicas', () => {
  const two = [container('web'), container('web', { number: 2 })];

  it('that the files leave open stay as many as there are', () => {
    const plan = planUpdate(observed({ web: {} }, { containers: two }), pulled);
    expect(plan.services).toEqual([{ service: 'web', fate: 'restart', cause: '', replicas: 2 }]);
    expect(plan.nothingToDo).toBe(true);
  });

  it.each([
    [{ scale: 3 }, '2 → 3 replicas'],
    [{ deploy: { replicas: 1 } }, '2 → 1 replicas'],
    [{ scale: 3, deploy: { replicas: 2 } }, ''],
  ])('that the files state: %j', (service, cause) => {
    const plan = planUpdate(observed({ web: service }, { containers: two }), pulled);
    expect(plan.services[0]).toMatchObject({ fate: cause === '' ? 'restart' : 'replace', cause });
  });

  it('of which one is down are brought back', () => {
    const containers = [container('web'), container('web', { number: 2, ...exited(1) })];
    const plan = planUpdate(observed({ web: {} }, { containers }), pulled);
    expect(plan.services[0]).toMatchObject({ fate: 'replace', cause: '1 of 2 replicas run' });
  });

  it('are what one of them is: one on an old image is a change', () => {
    const containers = [container('web'), container('web', { number: 2, imageId: imageIdOf('web:0') })];
    expect(planUpdate(observed({ web: {} }, { containers }), pulled).services[0]?.fate).toBe('replace');
  });

  it('of which the files want none are none to be made', () => {
    const shop = observed(
      { web: {}, worker: { deploy: { replicas: 0 } } },
      { containers: [container('web')] },
    );
    expect(planUpdate(shop, pulled).nothingToDo).toBe(true);
  });

  it('are stated by deploy before scale', () => {
    expect(statedReplicas({})).toBeUndefined();
    expect(statedReplicas({ scale: 0 })).toBe(0);
    expect(statedReplicas({ scale: 2, deploy: { replicas: 5 } })).toBe(5);
    expect(statedReplicas({ scale: 2, deploy: { mode: 'global' } })).toBe(2);
  });
});

describe('one-shots', () => {
  const done: Partial<Container> = { ...exited(0), restart: 'no' };
  const waited = {
    app: { depends_on: { migrate: { condition: 'service_completed_successfully' } } },
    migrate: {},
  };

  it('run again with the release, the unchanged ones too', () => {
    const shop = observed(waited, {
      containers: [container('app'), container('migrate', done)],
      images: new Map([['app', image('app:2')]]),
    });
    const plan = planUpdate(shop, pulled);
    expect(fates(plan)[1]).toBe('migrate: run-again');
    expect(lines(plan)).toEqual(expect.arrayContaining(['stop* app', 'remove* app', 'up* app migrate']));
  });

  it('that change are replaced, and are a change', () => {
    const shop = observed(waited, {
      containers: [container('app'), container('migrate', done)],
      images: newImage('migrate'),
    });
    const plan = planUpdate(shop, pulled);
    expect(plan.nothingToDo).toBe(false);
    expect(lines(plan)).toEqual(expect.arrayContaining(['remove* migrate', 'up* app migrate']));
  });

  it('that failed are replaced, and a service that ended with an error with them', () => {
    const containers = [
      container('app', { ...exited(3), restart: 'no' }),
      container('migrate', { ...done, exitCode: 1 }),
      container('web'),
    ];
    const shop = observed({ ...waited, web: {} }, { containers });
    const plan = planUpdate(shop, pulled);
    expect(fates(plan)).toEqual([
      'app: replace, it had ended with an error (exit code 3)',
      'migrate: replace, it had ended with an error (exit code 1)',
      'web: restart',
    ]);
    expect(plan.warnings.join()).toContain('--accept crashed:app');
    const accepted = planUpdate(shop, { ...pulled, accept: ['crashed:app', 'crashed:migrate'] });
    expect(accepted.nothingToDo).toBe(true);
    expect(fates(accepted)[0]).toBe('app: leave-stopped, it had ended with an error (exit code 3)');
  });

  it('alone do not make a stack that runs', () => {
    const shop = observed(waited, { containers: [container('app', exited(0)), container('migrate', done)] });
    expect(fates(planUpdate(shop, pulled))).toEqual([
      'app: replace, it is not running',
      'migrate: run-again',
    ]);
  });
});

describe('profiles', () => {
  const services = { web: {}, debug: { profiles: ['debug'] } };

  it('that are not active bring nothing into the plan', () => {
    const shop = observed(services, {
      activeServices: ['web'],
      containers: [container('web')],
      images: new Map([
        ['web', image('web:2')],
        ['debug', null],
      ]),
    });
    const plan = planUpdate(shop, unpulled);
    expect(plan.services.map(({ service }) => service)).toEqual(['web']);
    expect(lines(plan)).toContain('pull web');
  });

  it('whose services run are updated with the rest', () => {
    const shop = observed(services, { activeServices: ['web'], images: newImage('debug') });
    const plan = planUpdate(shop, unpulled);
    expect(plan.services.map(({ service, fate }) => [service, fate])).toEqual([
      ['debug', 'replace'],
      ['web', 'restart'],
    ]);
    expect(lines(plan)).toContain('pull web debug');
  });
});

describe('servicesToPull', () => {
  const absent = (service: ComposeService) =>
    observed({ web: { image: 'web:1', ...service } }, { images: new Map([['web', null]]) });
  const present = (service: ComposeService) => observed({ web: { image: 'web:1', ...service } });

  it.each<[string, ComposeService, PlanOptions['pull'], boolean, boolean]>([
    ['no policy', {}, 'always', true, true],
    ['no policy', {}, 'missing', false, true],
    ['no policy', {}, 'never', false, false],
    ['always', { pull_policy: 'always' }, 'always', true, true],
    ['missing', { pull_policy: 'missing' }, 'always', false, true],
    ['if_not_present', { pull_policy: 'if_not_present' }, 'always', false, true],
    ['never', { pull_policy: 'never' }, 'always', false, false],
    ['build', { pull_policy: 'build' }, 'always', false, false],
    ['an image that is built and published', { build: { context: '.' } }, 'always', true, true],
    ['one that is always built', { build: '.', pull_policy: 'build' }, 'always', false, false],
    ['one that is built, and not to be pulled', { build: '.' }, 'never', false, false],
    ['one that is built where it is missing', { build: '.', pull_policy: 'missing' }, 'always', false, true],
  ])(
    '%s %j with --pull %s: where present %s, where absent %s',
    (_, service, pull, whenPresent, whenAbsent) => {
      expect(servicesToPull(present(service), pull)).toEqual(whenPresent ? ['web'] : []);
      expect(servicesToPull(absent(service), pull)).toEqual(whenAbsent ? ['web'] : []);
    },
  );

  it('has no image to ask for where the files name none', () => {
    expect(servicesToPull(observed({ web: { build: '.' } }), 'always')).toEqual([]);
  });
});

describe('services that a provider makes', () => {
  const services = { cloud: { provider: { type: 'x' } }, web: { image: 'web:1' } };
  const shop = observed(services, {
    containers: [container('web')],
    images: new Map<string, ReturnType<typeof image> | null>([
      ['web', image('web:2')],
      ['cloud', null],
    ]),
    model: { services },
  });

  it('are left to up, and neither pulled nor waited for', () => {
    const plan = planUpdate(shop, unpulled);
    expect(fates(plan)[0]).toBe('cloud: provided');
    expect(lines(plan)).toEqual(expect.arrayContaining(['pull web', 'stop* web', 'up* cloud web']));
    expect(imageRefusals(shop, plan, new Map())).toEqual([]);
    expect(expectedAfter(shop, plan).map(({ service }) => service)).toEqual(['web']);
  });

  it('are no reason for an update', () => {
    const same = { ...shop, images: new Map([['web', image('web:1')]]) };
    expect(planUpdate(same, pulled).nothingToDo).toBe(true);
  });
});

describe('services that are built', () => {
  const shop = observed({ web: { build: { context: '.' } }, db: {} });

  it('are built after the pull, and may change until then', () => {
    expect(lines(planUpdate(shop, { ...unpulled, pull: 'never' }))).toEqual(
      expect.arrayContaining(['build web', 'stop* web db']),
    );
    expect(lines(planUpdate(shop, unpulled)).slice(2, 4)).toEqual(['pull db', 'build web']);
    expect(planUpdate(shop, unpulled).unasked).toEqual(['db', 'web']);
    expect(planUpdate(shop, pulled).unasked).toEqual([]);
  });

  it('and published are pulled, and built where no registry has them', () => {
    const both = observed({ web: { image: 'web:1', build: '.' }, migrate: { image: 'web:1' } });
    const plan = planUpdate(both, unpulled);
    expect(lines(plan).slice(2, 4)).toEqual(['pull web', 'build web']);
    expect(plan.steps[3]?.cause).toBe('built while the old stack serves, what no registry has');
    expect(plan.unasked).toEqual(['web']);
  });

  it('are left as they are where nobody is asked and they were published', () => {
    const digests = ['docker.io/library/web@sha256:abc'];
    const both = observed(
      { web: { image: 'web:1', build: '.' } },
      { images: new Map([['web', image('web:1', { digests })]]) },
    );
    expect(planUpdate(both, { ...unpulled, pull: 'never' }).nothingToDo).toBe(true);
    expect(planUpdate(both, { ...unpulled, pull: 'missing' }).nothingToDo).toBe(true);
  });

  it('have changed when the build gave another image', () => {
    const built = { ...shop, images: new Map([['web', image('shop-web', { id: 'sha256:new' })]]) };
    expect(planUpdate(built, pulled).services[1]).toMatchObject({ service: 'web', fate: 'replace' });
    expect(planUpdate(shop, pulled).nothingToDo).toBe(true);
  });
});

describe('planBackup', () => {
  const shop = observed(
    { web: {}, db: { image: 'postgres:15' }, mail: {} },
    {
      containers: [container('web'), container('db', postgres), container('mail', exited(0))],
      volumes: [volume('db'), volume('later', { exists: false })],
    },
  );

  it('stops what runs, archives, and starts the very same containers', () => {
    expect(planBackup(shop, { consistency: 'cold' })).toEqual({
      project: 'shop',
      consistency: 'cold',
      nothingToDo: false,
      services: [
        { service: 'web', fate: 'restart', cause: '', replicas: 1 },
        { service: 'db', fate: 'restart', cause: '', replicas: 1 },
        { service: 'mail', fate: 'leave-stopped', cause: 'not running', replicas: 1 },
      ],
      unasked: [],
      volumes: shop.volumes,
      databases: [{ service: 'db', engine: 'postgres', running: true }],
      notCovered: [],
      warnings: [],
      suggestions: [],
      steps: [
        { name: 'lock', on: [], cause: 'one run at a time', touches: false },
        { name: 'measure', on: ['shop_db'], cause: 'there must be room for the backup', touches: false },
        { name: 'dump', on: ['db'], cause: 'databases, while they run', touches: false },
        { name: 'stop', on: ['web', 'db'], cause: 'the downtime begins', touches: true },
        { name: 'archive', on: ['shop_db'], cause: 'cold: the one exact moment', touches: false },
        { name: 'seal', on: [], cause: 'flushed, read back and compared', touches: false },
        { name: 'start', on: ['web', 'db'], cause: 'the very same containers', touches: true },
        { name: 'verify', on: [], cause: 'as before', touches: false },
        { name: 'prune', on: [], cause: 'old backups beyond the number kept', touches: false },
      ],
    });
  });

  it('stops nothing when it is hot', () => {
    const plan = planBackup(shop, { consistency: 'hot' });
    expect(lines(plan)).toEqual(['lock', 'measure shop_db', 'dump db', 'archive shop_db', 'seal', 'prune']);
    expect(plan.steps.some(({ touches }) => touches)).toBe(false);
  });

  it('stops nothing where nothing runs, or there is nothing to archive', () => {
    const stopped = { ...shop, containers: shop.containers.map((own) => ({ ...own, ...exited(0) })) };
    expect(lines(planBackup(stopped, { consistency: 'cold' }))).toEqual([
      ...['lock', 'measure shop_db', 'archive shop_db', 'seal', 'prune'],
    ]);
    expect(lines(planBackup({ ...shop, volumes: [] }, { consistency: 'cold' }))).toEqual([
      ...['lock', 'measure', 'dump db', 'seal', 'prune'],
    ]);
  });

  it('never removes or replaces a container', () => {
    const changed = { ...shop, hashes: new Map([['web', 'another']]) };
    const names = planBackup(changed, { consistency: 'cold' }).steps.map(({ name }) => name);
    expect(names).not.toContain('remove');
    expect(names).not.toContain('up');
    expect(names).not.toContain('pull');
  });
});

describe('requireSealFirst (promise 2)', () => {
  const steps = (...names: Step['name'][]) => names.map((name) => ({ name }));

  it.each([
    [steps('remove')],
    [steps('up')],
    [steps('remove', 'seal')],
    [steps('stop', 'up', 'seal', 'remove')],
  ])('throws on %j', (plan) => {
    expect(() => {
      requireSealFirst(plan);
    }).toThrow('before the backup is sealed');
  });

  it.each([
    [[]],
    [steps('stop')],
    [steps('seal')],
    [steps('stop', 'seal', 'remove', 'up')],
    [steps('stop', 'start')],
  ])('lets %j be', (plan) => {
    requireSealFirst(plan);
  });
});

describe('whatever was observed', () => {
  const names = ['web', 'db', 'cache', 'migrate', 'old'];
  const status = fc.constantFrom<Partial<Container>[]>(
    {},
    exited(0),
    exited(1),
    { running: false, status: 'created' },
    {
      status: 'restarting',
      running: true,
    },
  );
  const condition = fc.constantFrom('service_started', 'service_healthy', 'service_completed_successfully');
  const serviceOf = (name: string): fc.Arbitrary<ComposeService> =>
    fc.record(
      {
        image: fc.constant(`${name}:1`),
        build: fc.constant({ context: '.' }),
        pull_policy: fc.constantFrom('always', 'never', 'missing', 'build'),
        scale: fc.integer({ min: 0, max: 3 }),
        depends_on: fc.dictionary(fc.constantFrom(...names), fc.record({ condition })),
      },
      { requiredKeys: ['image'] },
    );
  const stack: fc.Arbitrary<Observed> = fc
    .record({
      services: fc.record(Object.fromEntries(names.map((name) => [name, serviceOf(name)])), {
        requiredKeys: [],
      }),
      inactive: fc.subarray(names),
      containers: fc.array(
        fc.record({
          service: fc.constantFrom(...names),
          facts: status,
          restart: fc.constantFrom('no', 'always', 'on-failure'),
          stale: fc.boolean(),
          newer: fc.boolean(),
          anonymous: fc.boolean(),
          database: fc.boolean(),
        }),
        { maxLength: 6 },
      ),
      volumes: fc.subarray([
        volume('db'),
        volume('later', { exists: false }),
        volume('ext', { kind: 'external' }),
        anonymousVolume('data'),
      ]),
      missing: fc.boolean(),
    })
    .map(({ services, inactive, containers, volumes, missing }) => {
      const numbers = new Map<string, number>();
      return observed(services as Record<string, ComposeService>, {
        activeServices: Object.keys(services).filter((name) => !inactive.includes(name)),
        containers: containers.map(({ service, facts, restart, stale, newer, anonymous, database }) => {
          const number = (numbers.get(service) ?? 0) + 1;
          numbers.set(service, number);
          return container(service, {
            number,
            restart,
            ...(database ? postgres : {}),
            ...(stale ? { configHash: 'stale' } : {}),
            ...(newer ? { imageId: imageIdOf('other') } : {}),
            ...(anonymous ? { mounts: [mount(hex('data'), '/data')] } : {}),
            ...facts,
          });
        }),
        volumes,
        ...(missing ? { images: new Map(names.map((name) => [name, null])) } : {}),
      });
    });
  const options: fc.Arbitrary<PlanOptions> = fc.record({
    consistency: fc.constantFrom('cold', 'hot'),
    pull: fc.constantFrom('always', 'missing', 'never'),
    pulled: fc.boolean(),
  });
  const order = (plan: Plan, name: Step['name']): number =>
    plan.steps.findIndex((step) => step.name === name);

  it('nothing is removed or started before the backup is sealed', () => {
    fc.assert(
      fc.property(stack, options, (shop, how) => {
        for (const plan of [planUpdate(shop, how), planBackup(shop, how)]) {
          const seal = order(plan, 'seal');
          for (const name of ['remove', 'up', 'start'] as const) {
            if (order(plan, name) === -1) continue;
            expect(seal).toBeGreaterThanOrEqual(0);
            expect(order(plan, name)).toBeGreaterThan(seal);
          }
          if (order(plan, 'archive') !== -1) expect(order(plan, 'archive')).toBeLessThan(seal);
        }
      }),
    );
  });

  it('a cold archive is taken after everything that runs was stopped, a hot one before', () => {
    fc.assert(
      fc.property(stack, options, (shop, how) => {
        const plan = planUpdate(shop, how);
        const [stop, archive] = [order(plan, 'stop'), order(plan, 'archive')];
        if (stop === -1 || archive === -1) return;
        expect(archive > stop).toBe(how.consistency === 'cold');
        const runs = new Set(shop.containers.filter(({ running }) => running).map(({ service }) => service));
        expect(new Set(plan.steps[stop]?.on)).toEqual(runs);
      }),
    );
  });

  it('every service with a container is in the plan, and every volume that exists in the archive', () => {
    fc.assert(
      fc.property(stack, options, (shop, how) => {
        const plan = planUpdate(shop, how);
        const planned = plan.services.map(({ service }) => service);
        expect(new Set(planned).size).toBe(planned.length);
        for (const { service } of shop.containers) expect(planned).toContain(service);
        expect(plan.volumes.map(({ name }) => name)).toEqual(shop.volumes.map(({ name }) => name));
        const existing = shop.volumes.filter(({ exists }) => exists).map(({ name }) => name);
        if (plan.nothingToDo) expect(plan.steps).toEqual([]);
        else expect(plan.steps.find(({ name }) => name === 'archive')?.on ?? []).toEqual(existing);
      }),
    );
  });

  it('only services of the files are brought up, and only those with a container are removed', () => {
    fc.assert(
      fc.property(stack, options, (shop, how) => {
        const plan = planUpdate(shop, how);
        const fate = new Map(plan.services.map((service) => [service.service, service.fate]));
        const up = plan.steps.find(({ name }) => name === 'up')?.on ?? [];
        for (const service of up) expect(Object.keys(shop.model.services)).toContain(service);
        for (const [service, is] of fate)
          if (!plan.nothingToDo) expect(up.includes(service)).toBe(is !== 'leave-stopped' && is !== 'orphan');
        for (const service of plan.steps.find(({ name }) => name === 'remove')?.on ?? []) {
          expect(shop.containers.some((own) => own.service === service)).toBe(true);
          expect(up).toContain(service);
          expect(hasAnonymousVolume(shop, service)).toBe(false);
        }
      }),
    );
  });

  it('planning changes nothing of what was observed', () => {
    fc.assert(
      fc.property(stack, options, (shop, how) => {
        const before = structuredClone(shop);
        planUpdate(shop, how);
        planBackup(shop, how);
        expect(shop).toEqual(before);
      }),
    );
  });
});

describe('words about the project', () => {
  it('says in one line that variables are not set', () => {
    const unset = (name: string): string =>
      `The "${name}" variable is not set. Defaulting to a blank string.`;
    const names = ['A', 'B', 'C', 'D', 'E', 'F', 'G'];
    const many = observed({ web: {} }, { warnings: [...names.map(unset), 'something else'] });
    const { warnings } = planUpdate(many, pulled);
    expect(warnings).toEqual([
      'something else',
      '7 variables are not set, and blank: A, B, C, D, E and 2 more.',
    ]);
    const { warnings: one } = planUpdate(observed({ web: {} }, { warnings: [unset('A')] }), pulled);
    expect(one).toEqual([unset('A')]);
  });

  it('shortens ids in the names of images', () => {
    const digest = `sha256:${'0123456789abcdef'.repeat(4)}`;
    const web = container('web', { configHash: 'old', imageName: digest });
    const [plan] = planUpdate(
      observed({ web: { image: `app@${digest}` } }, { containers: [web] }),
      pulled,
    ).services;
    expect(plan?.cause).toContain('image name sha256:0123456789ab → app@sha256:0123456789ab');
    expect(plan?.cause).not.toContain('0123456789abcdef');
  });

  it('names databases without a version, and services without a healthcheck', () => {
    const of = (image: string): string[] =>
      advice(
        observed(
          { db: { image } },
          { containers: [container('db', { imageName: image, command: ['postgres'], health: 'healthy' })] },
        ),
      );
    for (const image of ['postgres', 'postgres:latest', 'localhost:5000/postgres'])
      expect(of(image)).toEqual([expect.stringContaining(`db (${image}): the image names no version`)]);
    for (const image of ['postgres:17', `postgres@sha256:${'0'.repeat(64)}`]) expect(of(image)).toEqual([]);
    const mixed = observed(
      { web: {}, api: {} },
      { containers: [container('web'), container('api', { health: 'healthy' })] },
    );
    expect(advice(mixed)).toEqual(['Without a healthcheck, and so verified only by running on: web.']);
  });
});
