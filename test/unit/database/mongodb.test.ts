import { describe, expect, test } from 'vitest';
import { readFacts, reasonOf, replacedDatabases, restoreArguments } from '../../../src/database/mongodb.ts';
import { SafeUpdateError } from '../../../src/model/error.ts';
import { container } from './containers.ts';

const mongo = container({ imageName: 'mongo:7', environment: ['MONGO_INITDB_ROOT_PASSWORD=s3cret'] });

describe('what the server says of itself', () => {
  test.each([
    ['{"options":{"parsed":{},"ok":1}}', { dataPath: '/data/db' }],
    ['{"options":{"parsed":{"storage":{"dbPath":"/srv"}},"ok":1}}', { dataPath: '/srv' }],
    ['{"set":"rs0","options":{"parsed":{"net":{}},"ok":1}}', { set: 'rs0', dataPath: '/data/db' }],
  ])('%s', (said, expected) => {
    expect(readFacts(`Warning: could not write\nsu:${said}\n`, mongo)).toEqual(expected);
  });

  test.each(['su:{"options":{"ok":0,"errmsg":"not authorized"}}', 'nothing'])('%s is an error', (printed) => {
    expect(() => readFacts(printed, mongo)).toThrow(SafeUpdateError);
  });
});

test.each([
  [
    '2026-11-20T14:06:34.848+0000\twriting a.b to archive\n2026-11-20T14:06:34.849+0000\tFailed: no space\n' +
      '2026-11-20T14:06:34.849+0000\t0 document(s) restored successfully. 0 document(s) failed to restore.\n',
    'no space',
  ],
  [
    '2026-11-20\tFailed: E11000 duplicate key error collection: a.b index: mail dup key: { mail: "ann@example.org" }\n',
    'E11000 duplicate key error collection: a.b index: mail dup key',
  ],
  ['MongoServerError: s3cret is wrong\n', 'MongoServerError: *** is wrong'],
])('of %j it is told why', (stderr, reason) => {
  expect(reasonOf(stderr, mongo)).toBe(reason);
});

describe('a restore', () => {
  const archive = (...names: string[]) => ({
    serverVersion: '7.0.14',
    namespaces: names.map((name) => {
      const dot = name.indexOf('.');
      return { database: name.slice(0, dot), collection: name.slice(dot + 1), type: 'collection' };
    }),
  });

  test("replaces the dump's databases, and never the server's own", () => {
    const names = ['shop.a', 'admin.system.users', 'config.settings', 'shop.b.c', 'blog.posts', '.oplog'];
    expect(replacedDatabases(archive(...names))).toEqual(['shop', 'blog']);
  });

  test('replays the oplog only if there is one', () => {
    const whole = archive('admin.system.users', 'admin.system.version');
    expect(restoreArguments({ archive: whole, oplog: true })).toBe(
      "--archive --drop --stopOnError --bypassDocumentValidation --nsExclude='config.*' --oplogReplay",
    );
    expect(restoreArguments({ archive: whole, oplog: false })).not.toContain('oplog');
  });

  test('leaves out users that mongorestore would refuse', () => {
    const users = "--nsExclude='admin.system.users'";
    expect(restoreArguments({ archive: archive('admin.system.users'), oplog: false })).toContain(users);
    expect(restoreArguments({ archive: archive('admin.system.version'), oplog: false })).not.toContain(users);
  });
});
