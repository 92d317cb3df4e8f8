import { describe, expect, test } from 'vitest';
import type { DatabaseEngine, DataFolder } from '../../../src/database/database.ts';
import { databaseEngines } from '../../../src/database/engines.ts';
import { docker, failure, Files, folderOf, start, until, type Server } from './server.ts';
import { subjectOf } from './redis-subject.ts';
import { conformance } from './suite.ts';

function redis(server: Server, ...argv: string[]): Promise<string> {
  return server.exec(['redis-cli', ...argv], { REDISCLI_AUTH: server.secret });
}

conformance(
  databaseEngines.redis,
  subjectOf({ image: 'redis:7', server: 'redis-server', cli: 'redis-cli', password: `pa$s"w'x` }),
);

describe('Redis in particular', () => {
  const engine: DatabaseEngine = databaseEngines.redis;
  const restore = async (folder: DataFolder, dump: Files): Promise<void> => {
    if (engine.restorer.into === 'stopped data folder') await engine.restorer.restore(folder, dump);
  };

  test('a user of its own is let in, and no other one is needed', async () => {
    const server = await start('redis:7', {
      command: ['redis-server', '/etc/my-redis.conf'],
      files: {
        '/etc/my-redis.conf':
          'user default off\nuser backup on >backup-word ~* &* +@all\nuser app on >app-word ~* +@read\n',
      },
    });
    const logins = [{ user: 'backup', password: 'backup-word' }];
    await until('it is ready', () => engine.ready({ ...server.database(), logins }));
    const refused = await failure(engine.dump(server.database(), new Files()));
    expect(refused.hint).toMatch(/databases\.db\.user and \.passwordFile\. .*databases\.db\.engine: none/);
    const dump = new Files();
    await engine.dump({ ...server.database(), logins }, dump);
    await engine.check({ ...server.database(), logins }, dump);
  });

  test('a dump waits for no second replica, and leaves the setting that says so as it was, also where it is cut off', async () => {
    const server = await start('redis:7', { command: ['redis-server', '--repl-diskless-sync-delay', '17'] });
    await until('it is ready', () => engine.ready(server.database()));
    const delay = async (): Promise<string> =>
      (await redis(server, 'CONFIG', 'GET', 'repl-diskless-sync-delay')).split('\n')[1] ?? '';
    await redis(server, 'SET', 'a', '1');
    await engine.dump(server.database(), new Files());
    const log = await docker(['logs', server.container.id]);
    expect(log).toContain('Starting BGSAVE for SYNC with target: replicas sockets');
    expect(log).not.toContain('Delay next BGSAVE');
    expect(await delay()).toBe('17');

    // A key a second: long enough to be cut off in the middle.
    await redis(server, 'EVAL', "for n = 1, 300 do redis.call('SET', 'key:' .. n, n) end return 1", '0');
    await redis(server, 'CONFIG', 'SET', 'rdb-key-save-delay', '1000000');
    const cut = new AbortController();
    const dumping = failure(engine.dump(server.database({ signal: cut.signal }), new Files()));
    await until('it has begun', async () => (await delay()) === '0');
    cut.abort();
    expect((await dumping).message).toContain('was interrupted');
    expect(await delay()).toBe('17');
  });

  test('a save that fails is not answered with the save before', async () => {
    const server = await start('redis:7', {
      command: ['redis-server', '--rename-command', 'SYNC', '', '--save', ''],
    });
    await until('it is ready', () => engine.ready(server.database()));
    await redis(server, 'SET', 'a', '1');
    await redis(server, 'SAVE');
    await redis(server, 'SET', 'b', '2');
    await server.exec(['chown', '0:0', '/data']);
    await server.exec(['chmod', '755', '/data']);
    const error = await failure(engine.dump(server.database(), new Files()));
    expect(error.message).toMatch(/BGSAVE failed/);
    await server.exec(['chown', 'redis', '/data']);
    await engine.dump(server.database(), new Files());
  });

  test('the restored files belong to whom the former ones did, and stale ones are gone', async () => {
    const server = await start('redis:7', {
      command: ['redis-server', '--appendonly', 'yes', '--save', ''],
    });
    await until('it is ready', () => engine.ready(server.database()));
    await redis(server, 'SET', 'a', '1');
    const dump = new Files();
    await engine.dump(server.database(), dump);
    await redis(server, 'BGREWRITEAOF');
    await until('it is rewritten', async () =>
      (await server.exec(['ls', '/data/appendonlydir'])).includes('aof.2.'),
    );
    await docker(['stop', server.container.id]);
    const { folder, remove } = await folderOf(server, '/data');
    await folder.run(
      'cd "$DATA"; touch appendonly.aof .safe-update-restore-dead; chmod 640 appendonlydir/*; chown -R 4321:5432 .',
    );
    await restore(folder, dump);
    const { stdout } = await folder.run(`cd "$DATA"; find . -type f -exec stat -c '%n %u:%g %a' {} + | sort`);
    expect(stdout.trim().split('\n')).toEqual([
      './appendonlydir/appendonly.aof.1.base.rdb 4321:5432 640',
      './appendonlydir/appendonly.aof.1.incr.aof 4321:5432 640',
      './appendonlydir/appendonly.aof.manifest 4321:5432 640',
      './dump.rdb 4321:5432 640',
    ]);
    // Restored without an append-only file: none may be left to win over the dump later.
    await restore(
      folder,
      dump.with('redis.json', (content) =>
        Buffer.from(content.toString().replace('"appendonly": true', '"appendonly": false')),
      ),
    );
    expect((await folder.run('cd "$DATA"; ls -A')).stdout).toBe('dump.rdb\n');
    await remove();
  });

  test('bytes after the end of the dump are refused', async () => {
    const server = await start('redis:7', {});
    await until('it is ready', () => engine.ready(server.database()));
    const dump = new Files();
    await engine.dump(server.database(), dump);
    const longer = dump.with('dump.rdb', (content) => Buffer.concat([content, Buffer.from('0123456789')]));
    expect((await failure(engine.check(server.database(), longer))).message).toContain(
      '10 bytes follow its end',
    );
  });

  test('keys are counted when all of them are loaded, not while they are', async () => {
    const server = await start('redis:7', {
      command: [
        ...['redis-server', '--appendonly', 'yes', '--key-load-delay', '1500'],
        ...['--loading-process-events-interval-bytes', '1024'],
      ],
    });
    await until('it is ready', () => engine.ready(server.database()));
    await redis(server, 'EVAL', "for n = 1, 3000 do redis.call('SET', 'key:' .. n, n) end return 1", '0');
    await redis(server, 'BGREWRITEAOF');
    await until('it is rewritten', async () =>
      (await server.exec(['ls', '/data/appendonlydir'])).includes('aof.2.'),
    );
    await docker(['restart', server.container.id]);
    await until('it loads', async () => {
      const said = await redis(server, 'INFO', 'persistence').catch(() => '');
      return said.includes('loading:1');
    });
    expect((await engine.fingerprint(server.database()))?.counts).toEqual({ db0: 3000 });
  });
});
