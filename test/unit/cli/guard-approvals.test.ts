import {
  chmodSync,
  chownSync,
  linkSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  approvalsFolder,
  covers,
  holdsAt,
  keepApprovals,
  listApprovals,
  revokeApproval,
  useApprovals,
  useForApi,
  type Act,
  type Moment,
} from '../../../src/cli/guard/approvals.ts';

let parent: string;
let folder: string;
beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), 'safe-update-approvals-'));
  folder = join(parent, 'state', 'approvals');
});
afterEach(() => {
  rmSync(parent, { recursive: true });
});

const minute = 60_000;
const start: Moment = { wall: 1_700_000_000_000, boot: 'b1', uptime: 5_000_000 };
const later = (milliseconds: number): Moment => ({
  wall: start.wall + milliseconds,
  boot: 'b1',
  uptime: start.uptime + milliseconds,
});

const down: Act = {
  rule: 'down-volumes',
  command: 'docker compose down -v',
  cwd: '/srv/shop',
  endpoint: 'unix:///var/run/docker.sock',
  engine: 'E1',
  project: 'shop',
  volumes: ['shop_db', 'shop_files'],
};

describe('an approval', () => {
  it('is one file for its owner alone, and nothing else is left', () => {
    const [id] = keepApprovals([down], 10 * minute, folder, start);
    expect(readdirSync(folder)).toEqual([`${id ?? ''}.json`]);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(statSync(join(folder, `${id ?? ''}.json`)).mode & 0o777).toBe(0o600);
  });

  it('is used once', () => {
    const ids = keepApprovals([down], 10 * minute, folder, start);
    expect(useApprovals([down], 'check', folder, later(minute))).toEqual(ids);
    for (const gate of ['check', 'hook', 'shim'] as const)
      expect(useApprovals([down], gate, folder, later(minute))).toBeUndefined();
  });

  it('lets the command of a hook through the shim within, and then nothing more', () => {
    const ids = keepApprovals([down], 10 * minute, folder, start);
    expect(useApprovals([down], 'hook', folder, start)).toEqual(ids);
    expect(useApprovals([down], 'hook', folder, start)).toBeUndefined();
    expect(useApprovals([down], 'check', folder, start)).toBeUndefined();
    expect(useApprovals([down], 'shim', folder, start)).toEqual(ids);
    expect(useApprovals([down], 'shim', folder, start)).toBeUndefined();
  });

  it.each<[string, Partial<Act>]>([
    ['command', { command: 'docker compose down -v --rmi all' }],
    ['rule', { rule: 'unknown' }],
    ['folder', { cwd: '/srv/other' }],
    ['project', { project: 'other' }],
    ['endpoint', { endpoint: 'tcp://prod:2376' }],
    ['engine', { engine: 'E2' }],
    ['way to another machine', { elsewhere: ['ssh prod docker compose down -v'] }],
    ['way to start it', { through: ['make reset'] }],
    ['container around it', { within: 'docker exec db sh' }],
    ['container', { containers: ['shop-db-1'] }],
    ['volume that has come since', { volumes: [...down.volumes, 'shop_new'] }],
  ])('is not for another %s', (_, change) => {
    keepApprovals([down], 10 * minute, folder, start);
    expect(covers(down, { ...down, ...change })).toBe(false);
    expect(useApprovals([{ ...down, ...change }], 'check', folder, start)).toBeUndefined();
    expect(useApprovals([down], 'check', folder, start)).toBeDefined();
  });

  it('is for a volume less', () => {
    keepApprovals([down], 10 * minute, folder, start);
    expect(useApprovals([{ ...down, volumes: ['shop_db'] }], 'check', folder, start)).toBeDefined();
  });

  it('of two commands is one of each, and of both or none', () => {
    const other = { ...down, command: 'docker volume rm x', rule: 'volume-rm', volumes: ['x'] } as const;
    const ids = keepApprovals([down, other], minute, folder, start);
    expect(ids).toHaveLength(2);
    expect(useApprovals([down, other, other], 'check', folder, start)).toBeUndefined();
    expect(useApprovals([other, down], 'check', folder, start)?.toSorted()).toEqual(ids.toSorted());
    expect(useApprovals([other], 'check', folder, start)).toBeUndefined();
  });

  it.each<[string, Moment, boolean]>([
    ['at once', start, true],
    ['a moment before its end', later(10 * minute - 1500), true],
    ['at its end', later(10 * minute), false],
    ['when the clock was set back', { ...later(20 * minute), wall: start.wall }, false],
    ['when the clock was set before its beginning', { ...start, wall: start.wall - minute }, false],
    ['when the clock was set forward', { ...start, wall: start.wall + 20 * minute }, false],
    ['after the machine was started again', { ...later(minute), boot: 'b2', uptime: 100 }, false],
    ['with less time since the start', { ...later(minute), uptime: 100 }, false],
  ])('%s: %s', (_, now, holds) => {
    keepApprovals([down], 10 * minute, folder, start);
    expect(holdsAt({ made: start, holds: 10 * minute }, now)).toBe(holds);
    expect(listApprovals(folder, now)).toHaveLength(holds ? 1 : 0);
    expect(useForApi({ kind: 'volume', name: 'shop_db' }, { folder, now }) !== undefined).toBe(holds);
    expect(useApprovals([down], 'check', folder, now) !== undefined).toBe(holds);
  });

  it('is listed and taken back', () => {
    const [one = '', two = ''] = keepApprovals([down, down], minute, folder, start);
    useForApi({ kind: 'volume', name: 'shop_db' }, { folder, now: start });
    useApprovals([down], 'hook', folder, start);
    expect(
      listApprovals(folder, start)
        .map(({ use }) => use)
        .toSorted(),
    ).toEqual(['hook', 'unused']);
    expect(revokeApproval(one, folder)).toBe(true);
    expect(revokeApproval(one, folder)).toBe(false);
    expect(revokeApproval('../x', folder)).toBe(false);
    expect(revokeApproval(two, folder)).toBe(true);
    expect(readdirSync(folder)).toEqual([]);
  });

  it('that is over is removed by the next one', () => {
    keepApprovals([down], minute, folder, start);
    const [id] = keepApprovals([down], minute, folder, later(2 * minute));
    expect(readdirSync(folder)).toEqual([`${id ?? ''}.json`]);
  });
});

describe('an approval that somebody else could have written is none', () => {
  const uses = (): boolean =>
    useApprovals([down], 'check', folder, start) !== undefined ||
    useForApi({ kind: 'volume', name: 'shop_db' }, { folder, now: start }) !== undefined;
  let file: string;
  beforeEach(() => {
    const [id] = keepApprovals([down], minute, folder, start);
    file = join(folder, `${id ?? ''}.json`);
  });

  it.each<[string, () => void]>([
    ['a file that others may read', () => chmodSync(file, 0o640)],
    ['a file that others may write', () => chmodSync(file, 0o602)],
    ['a folder that others may write', () => chmodSync(folder, 0o777)],
    ['a hard link', () => linkSync(file, join(parent, 'second'))],
    [
      'a symlink',
      () => {
        renameSync(file, join(parent, 'real'));
        symlinkSync(join(parent, 'real'), file);
      },
    ],
    [
      'under another id',
      () => {
        renameSync(file, join(folder, '00000000.json'));
      },
    ],
    ['no approval at all', () => writeFileSync(file, '{"format":1}')],
  ])('%s', (_, change) => {
    change();
    expect(uses()).toBe(false);
  });

  it.skipIf(userInfo().uid !== 0)("somebody else's file or folder", () => {
    chownSync(file, 12345, 12345);
    expect(uses()).toBe(false);
    chownSync(file, 0, 0);
    chownSync(folder, 12345, 12345);
    expect(uses()).toBe(false);
    chownSync(folder, 0, 0);
    expect(uses()).toBe(true);
  });

  it('and none is kept in a folder that is open to others', () => {
    chmodSync(folder, 0o755);
    expect(() => keepApprovals([down], minute, folder, start)).toThrow(/open to others/);
  });
});

describe('a request to the engine', () => {
  const api = (request: Parameters<typeof useForApi>[0], engine?: string): string | undefined =>
    useForApi(request, { folder, now: start, ...(engine === undefined ? {} : { engine }) });

  it('may delete each volume once, before or after the command itself was let through', () => {
    const [id] = keepApprovals([down], minute, folder, start);
    expect(api({ kind: 'volume', name: 'shop_db' })).toBe(id);
    expect(api({ kind: 'volume', name: 'shop_db' })).toBeUndefined();
    useApprovals([down], 'shim', folder, start);
    expect(api({ kind: 'volume', name: 'shop_files' })).toBe(id);
    expect(api({ kind: 'volume', name: 'shop_files' })).toBeUndefined();
    expect(api({ kind: 'volume', name: 'other_db' })).toBeUndefined();
  });

  it("may remove the project's containers, any number", () => {
    const [id] = keepApprovals([down], minute, folder, start);
    for (let times = 0; times < 3; times += 1)
      expect(api({ kind: 'container', project: 'shop', name: `shop-db-${times}` })).toBe(id);
    expect(api({ kind: 'container', project: 'other' })).toBeUndefined();
    expect(api({ kind: 'container' })).toBeUndefined();
  });

  it('may remove the containers that the command named, and no others of the project', () => {
    keepApprovals(
      [{ ...down, rule: 'rm-volumes', command: 'docker rm -fv shop-db-1', containers: ['shop-db-1'] }],
      minute,
      folder,
      start,
    );
    expect(api({ kind: 'container', project: 'shop', name: 'shop-db-1' })).toBeDefined();
    expect(api({ kind: 'container', project: 'shop', name: 'shop-web-1' })).toBeUndefined();
  });

  it('is not covered by what was approved for another engine', () => {
    keepApprovals([{ ...down, endpoint: 'tcp://prod:2376' }], minute, folder, start);
    keepApprovals([{ ...down, elsewhere: ['--context prod'] }], minute, folder, start);
    expect(api({ kind: 'volume', name: 'shop_db' })).toBeUndefined();
    keepApprovals([down], minute, folder, start);
    expect(api({ kind: 'volume', name: 'shop_db' }, 'E2')).toBeUndefined();
    expect(api({ kind: 'volume', name: 'shop_db' }, 'E1')).toBeDefined();
  });
});

describe('the folder of approvals', () => {
  it('is where the engine finds those of root, whatever the variables say', () => {
    expect(approvalsFolder({ XDG_STATE_HOME: '/x' }, 0)).toBe('/var/lib/safe-update/approvals');
  });
  it('is in the state folder of anybody else', () => {
    expect(approvalsFolder({ XDG_STATE_HOME: '/x' }, 1000)).toBe('/x/safe-update/approvals');
    expect(approvalsFolder({ XDG_STATE_HOME: 'x' }, 1000)).toMatch(
      /\/\.local\/state\/safe-update\/approvals$/,
    );
  });
});
