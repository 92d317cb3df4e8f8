import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { manifestOf, readFacts, requiredPassword, withoutEndMark } from '../../../src/database/redis.ts';
import { container } from './containers.ts';

const server = 'redis-server';

describe('the password in the command', () => {
  test.each([
    [[server, '--requirepass', 'pa$s'], { value: 'pa$s' }],
    [['docker-entrypoint.sh', server, '/r.conf', '--RequirePass', 'x y'], { value: 'x y' }],
    [['docker-entrypoint.sh', '--requirepass', 'x'], { value: 'x' }],
    [['sh', '-c', 'exec redis-server --requirepass "$CACHE_PW" --appendonly yes'], { value: 'it is $this' }],
    [['sh', '-c', 'redis-server --requirepass "${CACHE_PW:?set it}" --save x'], { value: 'it is $this' }],
    [['sh', '-c', 'redis-server --requirepass "$(cat /run/secrets/pw)"'], { file: '/run/secrets/pw' }],
    [['sh', '-c', 'redis-server --requirepass $(cat "$PW_FILE")'], { file: '/run/secrets/other' }],
    [['sh', '-c', 'redis-server --requirepass "$(< /run/pw)"'], { file: '/run/pw' }],
    [[server], {}],
    [[server, '--requirepass', ''], {}],
  ])('%j', (command, expected) => {
    const environment = ['CACHE_PW=it is $this', 'PW_FILE=/run/secrets/other'];
    expect(requiredPassword(container({ imageName: 'redis', command, environment }))).toEqual(expected);
  });

  test('or in the variable that redis-stack reads', () => {
    const about = { imageName: 'redis/redis-stack', command: ['/entrypoint.sh'] };
    const environment = ['REDIS_ARGS=--save 60 1 --requirepass secret'];
    expect(requiredPassword(container({ ...about, environment }))).toEqual({ value: 'secret' });
  });
});

const printed = `setting dir=/data
file dir=
setting dbfilename=dump.rdb
file dbfilename=
setting appendonly=yes
file appendonly=
setting appenddirname=aofs
file appenddirname=
setting appendfilename=my.aof
file appendfilename=
# Server\r
redis_version:7.0.15\r
# Persistence\r
aof_enabled:1\r
program Redis server v=7.0.15 sha=00000000:0
`;

describe('where and how the server keeps its files', () => {
  const about = container({ name: 'shop-cache-1', imageName: 'redis:7', command: [server] });

  test('as CONFIG says', () => {
    expect(readFacts(printed, about)).toEqual({
      format: 1,
      version: '7.0.15',
      dir: '/data',
      dbfilename: 'dump.rdb',
      appendonly: true,
      appenddirname: 'aofs',
      appendfilename: 'my.aof',
    });
  });

  test('without CONFIG, as command and configuration file say', () => {
    const without = printed
      .replace(/^setting (\w+)=.*$/gm, 'setting $1=')
      .replace('file dir=', 'file dir=/srv');
    const command = [server, '--appendfilename', 'from-command.aof'];
    expect(readFacts(without, { ...about, command })).toMatchObject({
      dir: '/srv',
      dbfilename: 'dump.rdb',
      appendonly: true,
      appenddirname: 'appendonlydir',
      appendfilename: 'from-command.aof',
    });
  });

  test('without INFO, the version is the program’s', () => {
    const without = printed.replace(/^(redis_version|aof_enabled):.*\n/gm, '');
    expect(readFacts(without, about)).toMatchObject({ version: '7.0.15', appendonly: true });
  });

  test('an answer without a version is an error', () => {
    expect(() => readFacts('', about)).toThrow(/Redis in shop-cache-1 does not say.*version/);
  });

  test.each(['../x.rdb', '/etc/passwd', '-rf', '..', 'a\0b'])(
    'a file name that leaves the folder is an error: %j',
    (name) => {
      expect(() => readFacts(printed.replace('=dump.rdb', `=${name}`), about)).toThrow(/dbfilename/);
    },
  );
});

test('a manifest names the base and what comes after it', () => {
  expect(manifestOf('appendonly.aof')).toBe(
    'file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n',
  );
  expect(manifestOf('my "file".aof')).toContain('file "my \\"file\\".aof.1.base.rdb" seq 1 type b\n');
});

describe('the mark after the keys', () => {
  const rdb = fc
    .uint8Array({ minLength: 0, maxLength: 300 })
    .map((middle) =>
      Buffer.concat([Buffer.from('REDIS0010'), middle, Buffer.from([0xff]), Buffer.alloc(8, 0x61)]),
    );
  const pieces = (content: Buffer, sizes: readonly number[]): Buffer[] => {
    const found: Buffer[] = [];
    let rest = content;
    for (const size of sizes) {
      found.push(rest.subarray(0, size));
      rest = rest.subarray(size);
    }
    return [...found, rest];
  };
  const filtered = async (content: Buffer[]): Promise<Buffer> => {
    const chunks: Buffer[] = [];
    async function* source(): AsyncGenerator<Buffer> {
      for (const piece of content) yield await Promise.resolve(piece);
    }
    for await (const chunk of withoutEndMark(source())) chunks.push(Buffer.from(chunk));
    return Buffer.concat(chunks);
  };

  test('is taken off however the bytes arrive, and nothing else is', async () => {
    await fc.assert(
      fc.asyncProperty(rdb, fc.array(fc.nat({ max: 60 })), fc.boolean(), async (content, sizes, marked) => {
        const mark = Buffer.from(marked ? '0123456789abcdef0123456789abcdef01234567' : '');
        expect(await filtered(pieces(Buffer.concat([content, mark]), sizes))).toEqual(content);
      }),
    );
  });
});
