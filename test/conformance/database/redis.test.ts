import { describe, expect, test } from 'vitest';
import type { DatabaseEngine, DataFolder } from '../../../src/database/database.ts';
import { databaseEngines } from '../../../src/database/engines.ts';
import { docker, failure, Files, folderOf, start, until, type Server } from './server.ts';
import { conformance, type Subject } from './suite.ts';

const everyKey = `local all = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  all[#all + 1] = redis.sha1hex(key) .. redis.sha1hex(redis.call('DUMP', key)) .. redis.call('PEXPIRETIME', key)
end
table.sort(all)
return #all .. ' keys ' .. redis.sha1hex(table.concat(all))`;

function redis(server: Server, ...argv: string[]): Promise<string> {
  return server.exec(['redis-cli', ...argv], { REDISCLI_AUTH: server.secret });
}

const subject: Subject = {
  image: 'redis:7',
  servers: {
    'a password in the command': {
      command: ['redis-server', '--requirepass', 'pa$s"w\'x', '--repl-diskless-sync-delay', '0'],
      secret: 'pa$s"w\'x',
    },
    'an append-only file, the password from a variable in a shell': {
      env: { CACHE_PASSWORD: 'from $a shell' },
      command: [
        'sh',
        '-c',
        'exec docker-entrypoint.sh redis-server --appendonly yes --requirepass "$CACHE_PASSWORD" --repl-diskless-sync-delay 0',
      ],
      secret: 'from $a shell',
    },
    'a configuration file, without CONFIG and SYNC': {
      command: ['/etc/my-redis.conf'],
      files: {
        '/etc/my-redis.conf':
          'requirepass "in a file"\nappendonly yes\nappendfilename "other name.aof"\ndbfilename other.rdb\n' +
          'rename-command CONFIG ""\nrename-command SYNC ""\nprotected-mode no\n',
      },
      secret: 'in a file',
    },
    'no password, a read-only root, no root, a former major version': {
      options: ['--read-only', '--user', '999:999'],
      command: ['redis-server', '--appendonly', 'yes', '--repl-diskless-sync-delay', '0'],
      dumped: (files) =>
        files.with('redis.json', (content) =>
          Buffer.from(content.toString().replace(/"version": "[^"]*"/, '"version": "6.2.14"')),
        ),
    },
  },
  wrongPassword: {
    command: ['redis-server', '--requirepass', 'former one'],
    secret: 'former one',
    spoil: async (server) => {
      await redis(server, 'CONFIG', 'SET', 'requirepass', 'rotated');
    },
  },
  clients: [
    ['redis-cli', '-h', 'cache', 'FLUSHALL'],
    ['sh', '-c', 'until redis-cli -h cache ping; do sleep 1; done'],
  ],
  async fill(server) {
    await redis(server, 'SET', 'plain', 'ü "quoted"');
    await redis(
      server,
      'EVAL',
      `redis.call('SET', 'bin\\0\\255', '\\255\\0\\254')
        for n = 1, 5000 do redis.call('SET', 'key:' .. n, redis.sha1hex(n)) end
        redis.call('HSET', 'hash', 'a', '1', 'b', '2') redis.call('ZADD', 'set', 1.5, 'x') return 1`,
      '0',
    );
    await redis(server, '-n', '3', 'RPUSH', 'list', 'a', 'b');
    await redis(server, 'SET', 'dies', '1', 'PXAT', '4102444800123');
    await redis(server, 'XADD', 'stream', '1-1', 'field', 'value');
  },
  async contents(server) {
    const parts = [];
    for (const n of ['0', '3', '5']) {
      parts.push(await redis(server, '-n', n, 'EVAL', everyKey, '0'));
    }
    return parts.join('\n');
  },
  async migrate(server) {
    await redis(server, 'DEL', 'plain');
    await redis(server, 'SET', 'new', 'key');
    await redis(server, '-n', '5', 'SET', 'other', 'database');
    await redis(server, 'HSET', 'hash', 'a', 'changed');
  },
  async hang(server) {
    await redis(server, 'CLIENT', 'PAUSE', '4000', 'ALL');
    return () => new Promise((resolve) => setTimeout(resolve, 2500));
  },
  clientProgram: /redis-cli/,
  leftovers: () => Promise.resolve(''),
  checksummed: /\.rdb$/,
};

conformance(databaseEngines.redis, subject);

describe('Redis in particular', () => {
  const engine: DatabaseEngine = databaseEngines.redis;
  const restore = async (folder: DataFolder, dump: Files): Promise<void> => {
    if (engine.restorer.into === 'stopped data folder') await engine.restorer.restore(folder, dump);
  };

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
      command: ['redis-server', '--appendonly', 'yes', '--save', '', '--repl-diskless-sync-delay', '0'],
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
});
