import { Chalk } from 'chalk';
import { stripVTControlCharacters } from 'node:util';
import { describe, expect, it } from 'vitest';
import { changedLines, formatPlan } from '../../../../src/cli/view/plan.ts';
import { plain } from '../../../../src/cli/view/style.ts';
import { textWidth } from '../../../../src/cli/view/width.ts';
import type { Plan } from '../../../../src/model/plan.ts';
import { plan } from './examples.ts';

describe('a plan', () => {
  it('lists what holds no data, and single files, apart from folders', () => {
    const place = (source: string, reason: string) => ({
      source,
      services: ['web'],
      path: `/in${source}`,
      reason,
    });
    const notCovered = [
      place('/var/run/docker.sock', 'a socket'),
      place('/srv/users.txt', 'a single file'),
      place('/dev/fuse', 'a device'),
      place('/srv/media', 'a bind mount'),
    ];
    const text = formatPlan({ ...plan, notCovered }, plain);
    expect(text.slice(text.indexOf('NOT in'), text.indexOf('\n\nWarnings'))).toMatchInlineSnapshot(`
      "NOT in the backup, nor in a rollback
        ✖ /srv/media → web:/in/srv/media
            a bind mount
        Single files that services may write to:
        ✖ /srv/users.txt → web:/in/srv/users.txt
        Sockets and devices, which hold no data:
        · /var/run/docker.sock → web:/in/var/run/docker.sock
        · /dev/fuse → web:/in/dev/fuse"
    `);
  });

  it('reads like this', () => {
    expect(formatPlan(plan, plain)).toMatchInlineSnapshot(`
      "shop (prod) · backed up while it is stopped (cold)

      Services
        replace        app ×2, worker
                         image shop/app:1.1 a1b2c3 → d4e5f6
                       web      configuration
        restart        db, redis
                         nothing changes
        leave stopped  mailhog  was stopped on purpose

      Backed up
        shop_db_data   3.4 GB  named      db:/var/lib/postgresql/data
        shop_uploads   1.2 GB  external   app:/srv/uploads, worker:/srv/uploads
        f1d2d2f924e9…  8.1 MB  anonymous  redis:/data
        db                     dump       postgres

      NOT in the backup, nor in a rollback
        ✖ /srv/shop/import → worker:/import
            a bind mount that no configuration names

      Warnings
        ⚠ The volume shop_uploads is external: other projects may write to it while
          shop is stopped.

      Steps
         1  dump     postgres, while it runs (db)
         2  pull     a new image is named (app, worker)
        ── downtime starts ─────────────────────────────────────────────────────────
         3  stop     a cold archive is exact
         4  archive  every volume (shop_db_data, shop_uploads, f1d2d2f924e9)
         5  seal     nothing is replaced before the backup is proven
         6  remove   to be replaced (app, worker, web)
         7  up       the new release
         8  verify   health, data and databases
        ── downtime ends ───────────────────────────────────────────────────────────
         9  commit   record the release"
    `);
  });

  it('is never wider than it may be', () => {
    for (const columns of [40, 60, 80, 200]) {
      const lines = formatPlan(plan, plain, columns).split('\n');
      expect(lines.filter((line) => textWidth(line) > columns)).toEqual([]);
    }
  });

  it('is coloured without being moved', () => {
    const coloured = formatPlan(plan, new Chalk({ level: 1 }));
    expect(coloured).not.toBe(formatPlan(plan, plain));
    expect(stripVTControlCharacters(coloured)).toBe(formatPlan(plan, plain));
  });

  it('stays short for twenty services', () => {
    const services = Array.from({ length: 20 }, (_, i) => ({
      service: `service-${i + 1}`,
      fate: i < 3 ? ('replace' as const) : ('restart' as const),
      cause: i < 3 ? `image shop/service-${i + 1}:2 a1b2c3 → d4e5f6` : 'nothing changes',
      replicas: 1,
    }));
    const section = formatPlan({ ...plan, services }, plain).split('\n\n')[1] ?? '';
    expect(section.split('\n').length).toBeLessThanOrEqual(9);
    for (const { service } of services) expect(section).toContain(service);
  });

  it('marks the downtime of a hot update from the first container that is replaced', () => {
    const steps = plan.steps.filter(({ name }) => name !== 'stop');
    const text = formatPlan({ ...plan, consistency: 'hot', steps }, plain);
    const order = [
      'seal  ',
      'of what is replaced starts',
      'remove  ',
      'verify  ',
      'of what is replaced ends',
      'commit  ',
    ];
    const places = order.map((part) => text.indexOf(part));
    expect(places).toEqual([...places].sort((a, b) => a - b));
    expect(places).not.toContain(-1);
  });

  it('knows no downtime where nothing runs yet, and none where nothing stops', () => {
    const created: Plan = {
      ...plan,
      services: plan.services.map((s) => ({ ...s, fate: 'create', replicas: 0 })),
    };
    expect(formatPlan(created, plain)).not.toContain('downtime');
    const backup = plan.steps.filter(({ name }) => name === 'dump' || name === 'archive' || name === 'seal');
    expect(formatPlan({ ...plan, consistency: 'hot', steps: backup }, plain)).not.toContain('downtime');
  });

  it('ends with what a person may want to decide', () => {
    const text = formatPlan({ ...plan, suggestions: ['shop_pip could be made again.'] }, plain);
    expect(text).toContain('To decide\n  ℹ shop_pip could be made again.');
    expect(formatPlan(plan, plain)).not.toContain('To decide');
  });

  it('that has nothing to do still names what no backup covers', () => {
    const text = formatPlan({ ...plan, nothingToDo: true, steps: [] }, plain);
    expect(text).toContain('Nothing to do');
    expect(text).toContain('/srv/shop/import');
    expect(text).not.toContain('Steps');
  });

  it('needs no cause for a service or a step', () => {
    const services = plan.services.map((service) => ({ ...service, cause: '' }));
    const steps = plan.steps.map((step) => ({ ...step, cause: '' }));
    const text = formatPlan({ ...plan, services, steps }, plain);
    expect(text.split('\n').filter((line) => line !== line.trimEnd())).toEqual([]);
    expect(text).toContain('unchanged, only stopped for the backup');
    expect(text).toMatch(/1 {2}dump {5}\(db\)/);
  });

  it('shows names that would drive the terminal', () => {
    const [service] = plan.services;
    if (service === undefined) throw new Error('an example without services');
    const text = formatPlan({ ...plan, services: [{ ...service, service: 'a\x1b[2Jb\nc' }] }, plain);
    expect(text).toContain(String.raw`a\x1b[2Jb\nc`);
  });
});

it('finds what a second plan says that the first did not, and does not mind sizes', () => {
  const services = plan.services.map((service) =>
    service.service === 'redis' ? { ...service, fate: 'replace' as const, cause: 'image' } : service,
  );
  expect(changedLines(plan, { ...plan, services }, plain).join('\n')).toMatch(/redis +image/);
  expect(changedLines(plan, plan, plain)).toEqual([]);
  const measured = plan.volumes.map((volume) => ({ ...volume, bytes: 123e9 }));
  expect(changedLines(plan, { ...plan, volumes: measured }, plain)).toEqual([]);
});
