import { expect, it } from 'vitest';
import { parseConfig } from '../../../src/config/parse.ts';
import { configurationFor } from '../../../src/update/init.ts';
import { container, mount, observed, volume } from '../model/examples.ts';

const about = { tool: '0.1.0', now: new Date('2024-10-17T14:30:22Z') };
const at = (service: string, path: string) => [{ service, number: 1, path, readOnly: false }];

it('names every volume, database and uncovered folder, and is valid', () => {
  const shop = observed(
    { db: {}, web: {} },
    {
      containers: [
        container('db', {
          imageName: 'postgres:15',
          command: ['docker-entrypoint.sh', 'postgres'],
          mounts: [mount('shop_db', '/var/lib/postgresql/data')],
        }),
        container('web'),
      ],
      volumes: [
        volume('db', { servedAt: at('db', '/var/lib/postgresql/data') }),
        volume('pip_cache', { servedAt: at('web', '/root/.cache/pip') }),
        volume('yes', { class: 'cache' }),
        volume('index', { leftOut: 'its label backup.enable says so' }),
        { ...volume('x'), kind: 'anonymous' },
      ],
      notCovered: [
        { source: '/srv/shop/import', services: ['web'], path: '/import', reason: 'a bind mount' },
        { source: '/mnt/a: b', services: ['web'], path: '/mnt', reason: 'a bind mount' },
        { source: '/run/docker.sock', services: ['web'], path: '/run/docker.sock', reason: 'a socket' },
      ],
    },
  );
  const text = configurationFor(shop, about);
  expect(parseConfig(text, 'safe-update.yml')).toEqual({
    backups: { directory: './backups', keep: 5 },
    bindMounts: { include: ['./import'] },
    volumes: { db: { class: 'critical' }, pip_cache: { class: 'critical' }, yes: { class: 'cache' } },
  });
  expect(text).toMatchInlineSnapshot(`
    "# yaml-language-server: $schema=https://unpkg.com/safe-update/schema/safe-update.schema.json
    # Written by safe-update init 0.1.0 on 2024-10-17 for the project shop. All of it can be changed or left out;
    # docs/configuration.md explains every key, and so does an editor that reads the line above.

    # On another disk backups survive the loss of this one.
    backups:
      directory: ./backups
      keep: 5

    # What each volume holds. critical: in every backup. recreatable: too, unless there is no room for it. cache: in none
    # unless asked for (--caches). What is left out is not put back by a rollback either.
    volumes:
      # db:/var/lib/postgresql/data. PostgreSQL, dumped as well.
      db:
        class: critical
      # web:/root/.cache/pip.
      pip_cache:
        class: critical
      # not mounted.
      yes:
        class: cache
      # index is left out: its label backup.enable says so.

    # Databases found, dumped with their own client before every update: db (PostgreSQL).
    # For an image that is not recognised, give its service the label safe-update.database: postgres (or whichever).

    # Folders of this machine that services write to: they are in no backup unless they are listed.
    bindMounts:
      include:
        - ./import # web:/import
    #     - "/mnt/a: b" # web:/mnt
    "
  `);
  // What is commented out is valid too once the marks are taken off.
  const uncommented = text.replace(/^# (?=bindMounts:| +include:| +- )/gm, '');
  expect(parseConfig(uncommented, 'safe-update.yml').bindMounts?.include).toEqual(['./import', '/mnt/a: b']);
});

it('is valid for a project without anything', () => {
  expect(parseConfig(configurationFor(observed({}), about), 'safe-update.yml')).toEqual({
    backups: { directory: './backups', keep: 5 },
  });
});

it('is valid where every volume is left out', () => {
  const shop = observed({ web: {} }, { volumes: [volume('index', { leftOut: 'a label says so' })] });
  expect(parseConfig(configurationFor(shop, about), 'safe-update.yml').volumes).toEqual({});
});

it('does not let a name out of its comment', () => {
  const shop = observed(
    { web: {} },
    { volumes: [volume('x', { servedAt: at('web', '/a\nbackups: { keep: 1 }') })] },
  );
  expect(parseConfig(configurationFor(shop, about), 'safe-update.yml').backups?.keep).toBe(5);
});
