import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Manifest, ManifestVolume } from '../../../src/backup/manifest.ts';
import type { Engine, VolumeSpec } from '../../../src/docker/engine.ts';
import type { PastRun } from '../../../src/update/journal.ts';
import { isMadeHere, outsideRefusals } from '../../../src/update/outside.ts';
import type { Selection } from '../../../src/update/restore.ts';

let root: string;
let directory: string;

beforeAll(async () => {
  root = await realpath(await mkdtemp(path.join(tmpdir(), 'outside-')));
  directory = path.join(root, 'shop');
  await mkdir(path.join(directory, 'data'), { recursive: true });
  await mkdir(path.join(root, 'elsewhere'));
  await writeFile(path.join(root, 'elsewhere', 'shared.env'), '');
  await symlink(path.join(root, 'elsewhere'), path.join(directory, 'away'));
});

afterAll(async () => {
  await rm(root, { recursive: true });
});

const everything: Selection = { what: 'all' };
const files: Selection = { what: 'some', volumes: [], databases: [], config: true };

/** What is refused of a backup, by the place, `/` for the test's folder. */
async function refused(
  about: {
    volumes?: [name: string, kind: ManifestVolume['kind'], options?: Record<string, string>][];
    config?: string[];
    there?: Record<string, Record<string, string>>;
  },
  selection: Selection = everything,
): Promise<string[]> {
  const at = (place: string): string => (place.startsWith('/') ? path.join(root, place) : place);
  const volumes = (about.volumes ?? []).map(([name, kind, options = {}]) => ({
    ...{ name: at(name), kind },
    options: Object.fromEntries(Object.entries(options).map(([key, value]) => [key, at(value)])),
  }));
  const target = {
    volumes: volumes as unknown as ManifestVolume[],
    config: (about.config ?? []).map((from) => ({ from: at(from), part: '', mode: 0 })),
    databases: [],
  } as unknown as Manifest;
  const engine: Pick<Engine, 'volume'> = {
    volume: (name) => {
      const labels = about.there?.[name];
      return Promise.resolve(labels === undefined ? null : ({ name, labels } as VolumeSpec));
    },
  };
  const present = {
    directory,
    files: [path.join(root, 'elsewhere', 'shared.env')],
    volumes: [{ name: path.join(root, 'elsewhere') }, { name: 'shop_db' }],
  };
  const found = await outsideRefusals(engine, present, target, volumes, selection);
  return found.map(({ accept }) => accept.replace(/^outside:/, '').replace(root, ''));
}

describe('outsideRefusals', () => {
  it.each<[string, Parameters<typeof refused>[0], string[]]>([
    ['a volume of the project', { volumes: [['shop_db', 'named']], there: { shop_db: {} } }, []],
    ['a volume that is not there', { volumes: [['shop_new', 'named']] }, []],
    ['a volume that nobody has made', { volumes: [['prod', 'named']], there: { prod: {} } }, ['prod']],
    [
      'a volume that the project had',
      { volumes: [['shop_old', 'named']], there: { shop_old: { 'com.docker.compose.project': 'shop' } } },
      [],
    ],
    ['a folder that the project has', { volumes: [['/elsewhere', 'bind']] }, []],
    ['a folder within that of the project', { volumes: [['/shop/new', 'bind']] }, []],
    ['a folder of the host', { volumes: [['/etc', 'bind']] }, ['/etc']],
    ['a folder beside that of the project', { volumes: [['/shop-2', 'bind']] }, ['/shop-2']],
    ['a folder behind a link', { volumes: [['/shop/away/new', 'bind']] }, ['/shop/away/new']],
    [
      'a volume that would be made on a folder of the host',
      { volumes: [['shop_new', 'named', { type: 'none', device: '/etc' }]] },
      ['/etc'],
    ],
    [
      'a volume that would be made on a folder of the project',
      { volumes: [['shop_new', 'named', { type: 'none', device: '/shop/data' }]] },
      [],
    ],
    ['files, where volumes are put back', { config: ['/etc/cron.d/x'] }, []],
  ])('%s', async (_, about, places) => {
    expect(await refused(about)).toEqual(places);
  });

  it('lets files be written in the folder, or where the project has them, and nowhere else', async () => {
    const config = [
      '/shop/.env',
      '/shop/new/app.env',
      '/elsewhere/shared.env',
      '/etc/cron.d/x',
      '/shop/away/x',
      '/shop/../x',
    ];
    expect(await refused({ config }, files)).toEqual(['/etc/cron.d/x', '/shop/away/x', '/x']);
  });
});

describe('isMadeHere', () => {
  const runs: PastRun[] = [
    { run: 'r1', entries: [{ type: 'backup-sealed', id: 'manual-1' }] },
    { run: 'r2', entries: [{ type: 'failed-backup-sealed', id: 'failed-1' }] },
  ];

  it.each([
    ['manual-1', 'r1', true],
    ['failed-1', 'r2', true],
    ['manual-1', 'r2', false],
    ['manual-2', 'r1', false],
  ])('%s of the run %s: %s', (id, run, made) => {
    expect(isMadeHere(runs, { id, run })).toBe(made);
  });
});
