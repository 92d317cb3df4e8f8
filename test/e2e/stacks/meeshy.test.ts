/** A messaging company: gateway with uploads, translator with models, MongoDB, Redis, frontend, proxy with certificates. */
import { readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import type { ListedBackup } from '../../../src/backup/open.ts';
import { hasMongo, withoutMongo } from '../../mongo-image.ts';
import { docker } from '../docker.ts';
import { expectIntact, expectRolledBack } from '../outcomes.ts';
import { eventually, expectNothingLeft, snapshot, type Stack } from '../stack.ts';
import {
  brisk,
  fixture,
  fixtureFolder,
  inside,
  look,
  partsOf,
  planOf,
  publish,
  restore,
  succeed,
  within,
} from './fixture.ts';

const present = await hasMongo('meeshy');

/** The keys of the compose file. */
const volumes = [
  'database_config',
  'database_data',
  'gateway_uploads',
  'redis_data',
  'traefik_certs',
  'translator_models',
];

describe.runIf(present)(`meeshy${withoutMongo}`, () => {
  let stack: Stack;

  /** Builds a release of the gateway and names it in .env, as their release notes say. */
  async function release(tag: string, behaviour: 'good' | 'bad' = 'good'): Promise<void> {
    const local = `${stack.project}/gateway-built:${tag}`;
    const build = [
      'build',
      '--quiet',
      '--build-arg',
      `RELEASE=${tag}`,
      '--build-arg',
      `BEHAVIOUR=${behaviour}`,
    ];
    await docker([...build, '--tag', local, fixtureFolder('meeshy/gateway')]);
    await stack.env({ GATEWAY_IMAGE: await publish(stack, local, 'gateway', tag) });
  }

  async function mongo(script: string): Promise<string> {
    const { Id } = await stack.container('database');
    const shell = ['env', 'HOME=/tmp', 'mongosh', '--quiet', '--norc', 'mongodb://127.0.0.1/meeshy'];
    return docker(['exec', Id, ...shell, '--eval', script]);
  }

  const redis = (...args: string[]): Promise<string> => inside(stack, 'redis', `redis-cli ${args.join(' ')}`);
  const upload = (name: string): Promise<string> =>
    stack.post(`/api/attachments/${name}`, `content of ${name}`);
  const download = (name: string): Promise<string> => stack.get(`/api/attachments/${name}`);
  const messages = (): Promise<string> => mongo('print(db.messages.countDocuments({}))');

  beforeAll(async () => {
    stack = await fixture('meeshy', ({ port }) => ({ GATEWAY_PORT: String(port) }));
    await stack.write('env.production', `JWT_SECRET=${stack.secret}\n`);
    await release('1.0.39-alpha');
    await stack.up();
    await upload('picture.png');
    await mongo(
      `db.messages.insertMany(Array.from({ length: 200 }, (_, n) => ({ _id: n, text: 'message ' + n, at: new Date(n * 1e9) })));
       db.users.insertOne({ name: 'Ada' }); db.users.createIndex({ name: 1 }, { unique: true })`,
    );
    await redis('SET', 'translation:hello:fr', 'bonjour');
    await inside(stack, 'translator', 'head -c 300000 /dev/urandom >/workspace/models/fr-en.bin');
    await inside(stack, 'traefik', 'umask 077; echo certificate >/letsencrypt/acme.json');
  });

  it('`meeshy.sh prod status` and `health`, `docker inspect … | grep Mounts`, `ls` and `df`', async () => {
    const { containers } = await look<{ containers: { service: string; status: string; health: string }[] }>(
      stack,
      ['status', 'prod'],
    );
    expect(containers.map(({ service, status, health }) => `${service} ${status} ${health}`)).toEqual([
      'database running healthy',
      'frontend running none',
      'gateway running healthy',
      'redis running none',
      'traefik running none',
      'translator running none',
    ]);
    expect(await look(stack, ['health', 'prod', '--stable-for', '1s'])).toMatchObject({ healthy: true });
    const shown = await look<{ volumes: { key: string; usedBy: string[] }[] }>(stack, ['volumes', 'prod']);
    expect(shown.volumes.map(({ key }) => key)).toEqual(volumes);
    expect(shown.volumes[2]?.usedBy).toEqual(['gateway:/app/uploads']);
    const checked = await look<{ good: boolean }[]>(stack, ['doctor', 'prod']);
    expect(checked.filter(({ good }) => !good)).toEqual([]);
  });

  it('1.0.39 → 1.0.40: uploads, messages, translations, models and certificates stay', async () => {
    await release('1.0.40-alpha');
    const before = await snapshot(stack);
    const plan = await planOf(stack, ['prod']);
    expect(plan.environment).toBe('prod');
    expect(plan.services.find(({ service }) => service === 'gateway')).toMatchObject({ fate: 'replace' });
    expect(plan.volumes.map(({ key }) => key)).toEqual(volumes);

    const run = await succeed(stack, ['prod', ...brisk]);
    expect(run.outcome?.result).toBe('updated');
    expect(await stack.get('/version')).toBe('1.0.40-alpha');
    expect(await download('picture.png')).toBe('content of picture.png');
    const after = await snapshot(stack);
    expect(after.rows).toEqual(before.rows);
    expect(after.keys).toEqual(before.keys);
    expect(after.digests).toEqual(before.digests);
    expect(after.volumes).toEqual(before.volumes);
    await expectNothingLeft(stack, run);
  });

  it('the backup holds what theirs held: volumes, MongoDB, Redis, and all three files of configuration', async () => {
    const [backup] = await stack.backups();
    if (backup === undefined) throw new Error('no backup');
    expect(backup.id).toMatch(/^pre-update-\d{8}_\d{6}$/);
    await expectIntact(backup);
    expect(partsOf(backup)).toEqual([
      'config/engine.json',
      'config/files/.env',
      'config/files/docker-compose.yml',
      'config/files/env.production',
      'config/model.json',
      'databases/database/dump.archive',
      'databases/database/mongodb.json',
      'databases/redis/dump.rdb',
      'databases/redis/redis.json',
      ...volumes.flatMap((key) => [
        `volumes/${stack.project}_${key}.files.zst`,
        `volumes/${stack.project}_${key}.tar.zst`,
      ]),
    ]);
    const kept = within(stack, 'backups', stack.project, backup.id, 'config/files/env.production');
    expect(await readFile(kept, 'utf8')).toBe(`JWT_SECRET=${stack.secret}\n`);
  });

  it('a release that deletes every message, translation and upload is undone', async () => {
    const good = await stack.read('.env');
    await release('1.0.41-alpha', 'bad');
    const before = await snapshot(stack);
    const run = await stack.safeUpdate(['prod', ...brisk]);
    const { failed } = await expectRolledBack(stack, before, run, /gateway-1 is unhealthy/);
    expect(await stack.get('/version')).toBe('1.0.40-alpha');
    expect(await download('picture.png')).toBe('content of picture.png');
    // It had really done it.
    const uploads = failed.manifest.volumes.find(({ key }) => key === 'gateway_uploads');
    expect(uploads?.bytes).toBe(0);
    await stack.write('.env', good);
  });

  it('upload a file, restore, it is gone: the whole backup, one volume, one database', async () => {
    const made = await succeed(stack, ['backup', 'prod', '--consistency', 'hot', ...brisk]);
    const backup = made.outcome?.backup ?? '';
    const work = async (): Promise<void> => {
      await upload('later.png');
      await mongo(`db.messages.deleteMany({ _id: { $lt: 150 } })`);
      await redis('SET', 'translation:hello:fr', 'salut');
    };
    const state = async (): Promise<unknown[]> => [
      await download('later.png').catch(() => 'none'),
      await eventually(messages),
      await redis('GET', 'translation:hello:fr'),
    ];
    await work();
    expect(await state()).toEqual(['content of later.png', '50', 'salut']);

    await restore(stack, backup, 'prod', '--only', 'volume:gateway_uploads');
    expect(await state()).toEqual(['none', '50', 'salut']);
    await stack.write('env.production', 'JWT_SECRET=lost\n');
    await restore(stack, backup, 'prod', '--only', 'database:database', '--only', 'config');
    expect(await state()).toEqual(['none', '200', 'salut']);
    expect(await stack.read('env.production')).toBe(`JWT_SECRET=${stack.secret}\n`);
    await work();
    const run = await restore(stack, backup, 'prod');
    expect(await state()).toEqual(['none', '200', 'bonjour']);
    expect(await download('picture.png')).toBe('content of picture.png');
    await expectNothingLeft(stack, run);
  });

  it('the five newest backups are kept, and listed, and what the last update goes back to', async () => {
    // What failed updates and restores have left is counted by itself.
    const counted = (id: string): boolean => /^(pre-update|manual)-/.test(id);
    const of = async (): Promise<string[]> => (await stack.backups()).map(({ id }) => id).filter(counted);
    const runs = await look<{ kind: string; result: string; backup?: string }[]>(stack, ['history', 'prod']);
    // The newest is first.
    const last = runs.find(({ kind, result }) => kind === 'update' && result === 'updated')?.backup;
    const former = await of();
    expect(former.length).toBeGreaterThanOrEqual(3);
    const run = await succeed(stack, ['backup', 'prod', '--consistency', 'hot', ...brisk]);
    const all = [...former, run.outcome?.backup ?? ''];
    const newest = (count: number): string[] =>
      all.filter((id) => id === last || all.slice(-count).includes(id));
    expect(await of()).toEqual(newest(5));

    const listed = await look<ListedBackup[]>(stack, ['backups', 'prod']);
    expect(listed.map(({ id }) => id).filter(counted)).toEqual(newest(5).toReversed());
    const said = await stack.safeUpdate(['backups', 'prod']);
    for (const id of newest(5)) expect(said.stdout).toContain(id);
    await succeed(stack, ['prune', 'prod', '--keep', '2']);
    expect(await of()).toEqual(newest(2));
  });
});
