import { describe, expect, it } from 'vitest';
import type { Settings } from '../../../src/config/schema.ts';
import type { ClassifiedBy } from '../../../src/docker/observe.ts';
import { archived, classify, namesNothing } from '../../../src/update/classes.ts';
import { observed, volume } from '../model/examples.ts';

type Said = Settings['volumes'];

function judge(volumes: Said, about: Partial<ClassifiedBy> = {}, caches = false) {
  const settings = {
    volumes,
    backups: { directory: '/b', keep: { last: 5 }, caches, encryption: { recipients: [] } },
  };
  return classify(settings, { name: 'shop_pip', key: 'pip', labels: {}, services: [], ...about });
}

describe('classify', () => {
  it('takes everything for critical that nobody has said anything about', () => {
    expect(judge({})).toEqual({ class: 'critical', assumed: true });
    expect(judge({ other: { class: 'cache' } })).toEqual({ class: 'critical', assumed: true });
    // A name alone says nothing.
    expect(judge({}, { name: 'shop_node_modules', key: 'node_modules' }).leftOut).toBeUndefined();
  });

  it.each<[string, Said]>([
    ['its key', { pip: { class: 'cache' } }],
    ['its name on the engine', { shop_pip: { class: 'cache' } }],
  ])('leaves a cache out that is named by %s', (_, said) => {
    expect(judge(said)).toEqual({ class: 'cache', leftOut: expect.stringContaining('a cache') as string });
    expect(judge(said, {}, true)).toEqual({ class: 'cache' });
  });

  it('archives what is recreatable', () => {
    expect(judge({ pip: { class: 'recreatable' } })).toEqual({ class: 'recreatable' });
  });

  it('reads the label of the volume, after the configuration', () => {
    const labels = { 'safe-update.class': 'cache' };
    expect(judge({}, { labels }).class).toBe('cache');
    expect(judge({ pip: { class: 'critical' } }, { labels })).toEqual({ class: 'critical' });
    expect(judge({}, { labels: { 'safe-update.class': 'whatever' } }).class).toBe('critical');
  });

  it.each<[boolean, Partial<ClassifiedBy>]>([
    [true, { labels: { 'backup.enable': 'false' } }],
    [true, { services: [{ 'backup.enable': 'False' }] }],
    [true, { services: [{ 'backup.enable': 'no' }, { 'backup.enable': 'false' }] }],
    [false, { services: [{ 'backup.enable': 'false' }, {}] }],
    [false, { services: [{ 'backup.enable': 'true' }] }],
    [false, { labels: { 'backup.enable': 'true' }, services: [{ 'backup.enable': 'false' }] }],
    [false, { services: [] }],
  ])('left out because of backup.enable: %s for %j', (leftOut, about) => {
    expect(judge({}, about)).toEqual(
      leftOut
        ? { class: 'critical', leftOut: 'its label backup.enable says so' }
        : { class: 'critical', assumed: true },
    );
  });

  it('asks no other label where the person has said what it is', () => {
    expect(judge({ pip: { class: 'critical' } }, { labels: { 'backup.enable': 'false' } })).toEqual({
      class: 'critical',
    });
  });
});

it('archives what is there and not left out', () => {
  const volumes = [
    volume('db'),
    volume('new', { exists: false }),
    volume('pip', { class: 'cache', leftOut: 'a cache' }),
  ];
  expect(archived(volumes).map(({ key }) => key)).toEqual(['db']);
});

it.each<[string | undefined, Partial<ClassifiedBy>]>([
  [undefined, { services: [{}] }],
  ['0 2 * * *', { services: [{ 'backup.schedule': '0 2 * * *' }, {}] }],
  ['0 2 * * *, @daily', { services: [{ 'backup.schedule': '0 2 * * *' }, { 'backup.schedule': '@daily' }] }],
  ['@weekly', { labels: { 'backup.schedule': '@weekly' }, services: [{ 'backup.schedule': '@daily' }] }],
])('shows the schedule %s of %j', (schedule, about) => {
  expect(judge({}, about).schedule).toBe(schedule);
  expect(judge({ pip: { class: 'cache' } }, about).schedule).toBe(schedule);
});

describe('settings that name nothing', () => {
  const shop = observed(
    { web: { volumes: [{ type: 'bind', source: '/srv/shop/files', target: '/files' }] } },
    { volumes: [volume('uploads')], model: { volumes: { later: null } } },
  );
  it('are named, each with what is missing', () => {
    const found = namesNothing(
      {
        volumes: { uploads: {}, shop_uploads: {}, later: {}, uplaods: {} },
        databases: { web: {}, bd: {} },
        bindMounts: { include: ['/srv/shop/files', '/srv/shop/*', '/srv/shop/flies'] },
      },
      shop,
    );
    expect(found.map((text) => text.split(' in ')[0])).toEqual([
      'volumes.uplaods',
      'databases.bd',
      'bindMounts.include: /srv/shop/flies',
    ]);
  });
});
