import type { Server } from './server.ts';
import type { Subject } from './suite.ts';

const everyKey = `local all = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  all[#all + 1] = redis.sha1hex(key) .. redis.sha1hex(redis.call('DUMP', key)) .. redis.call('PEXPIRETIME', key)
end
table.sort(all)
return #all .. ' keys ' .. redis.sha1hex(table.concat(all))`;

/** The names under which Redis, or Valkey, is run. */
interface Programs {
  image: string;
  server: string;
  cli: string;
  /** With signs that its command line can take. */
  password: string;
}

/** A server of this kind, filled, looked into and disturbed by its own client. */
export function subjectOf({ image, server: program, cli, password }: Programs): Subject {
  const redis = (server: Server, ...argv: string[]): Promise<string> =>
    // With an empty password it would complain, and leave -n out.
    server.exec([cli, ...argv], server.secret === '' ? {} : { REDISCLI_AUTH: server.secret });

  return {
    image,
    servers: {
      'a password in the command': {
        command: [program, '--requirepass', password],
        secret: password,
      },
      'an append-only file, the password from a variable in a shell': {
        env: { CACHE_PASSWORD: 'from $a shell' },
        command: [
          'sh',
          '-c',
          `exec docker-entrypoint.sh ${program} --appendonly yes --requirepass "$CACHE_PASSWORD"`,
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
        command: [program, '--appendonly', 'yes'],
        dumped: (files) =>
          files.with('redis.json', (content) =>
            Buffer.from(content.toString().replace(/"version": "[^"]*"/, '"version": "6.2.14"')),
          ),
      },
    },
    wrongPassword: {
      command: [program, '--requirepass', 'former one'],
      secret: 'former one',
      spoil: async (server) => {
        await redis(server, 'CONFIG', 'SET', 'requirepass', 'rotated');
      },
    },
    clients: [
      [cli, '-h', 'cache', 'FLUSHALL'],
      ['sh', '-c', `until ${cli} -h cache ping; do sleep 1; done`],
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
    // Without the key that dies by itself.
    holds: { db0: 5005, db3: 1 },
    lost: ['db3'],
    async migrate(server) {
      await redis(server, 'DEL', 'plain');
      await redis(server, '-n', '3', 'DEL', 'list');
      await redis(server, 'SET', 'new', 'key');
      await redis(server, '-n', '5', 'SET', 'other', 'database');
      await redis(server, 'HSET', 'hash', 'a', 'changed');
    },
    async hang(server) {
      await redis(server, 'CLIENT', 'PAUSE', '4000', 'ALL');
      return () => new Promise((resolve) => setTimeout(resolve, 2500));
    },
    clientProgram: /(?:redis|valkey)-cli/,
    leftovers: () => Promise.resolve(''),
    checksummed: /\.rdb$/,
  };
}
