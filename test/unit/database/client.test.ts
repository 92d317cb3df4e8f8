import { Readable } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { clientOf, lastLines, readBack, readSmall, withoutSecrets } from '../../../src/database/client.ts';
import type { RunningDatabase } from '../../../src/database/database.ts';
import type { Finished } from '../../../src/docker/exec.ts';
import { container } from './containers.ts';

const done: Finished = { exitCode: 0, stdout: '', stderr: '', timedOut: false };
const about = container({
  name: 'shop-db-1',
  environment: [
    'POSTGRES_USER=postgres',
    'POSTGRES_PASSWORD=hunter2',
    'API_TOKEN=hunter2-long',
    'POSTGRES_HOST_AUTH_METHOD=trust',
    'POSTGRES_PASSWORD_FILE=/run/secrets/pw',
    'OTHER_PASS=postgres',
    'BLANK_PASSWORD=',
    'REDIS_ARGS=--save 60 1 --requirepass "of-the-stack"',
  ],
  command: ['redis-server', '--requirepass', 'in the command'],
});

/** A database whose scripts end as told, after printing `content`. */
function database(
  finished: Partial<Finished>,
  content: string[] = [],
  signal?: AbortSignal,
): RunningDatabase {
  const end = { ...done, ...finished };
  return {
    container: about,
    shell: {
      containerId: 'x',
      run: () => Promise.resolve(end),
      stream: () => ({
        stdout: Readable.from(content.map((text) => Buffer.from(text))),
        done: Promise.resolve(end),
        kill: () => undefined,
      }),
    },
    timeout: 60_000,
    ...(signal === undefined ? {} : { signal }),
  };
}

describe('what a program said', () => {
  test('has no secret of the container in it', () => {
    expect(
      withoutSecrets('hunter2-long hunter2 "in the command" postgres trust /run/secrets/pw', about),
    ).toBe('*** *** "***" postgres trust /run/secrets/pw');
    expect(withoutSecrets(`PASSWORD 'it''s' SCRAM-SHA-256$4096:a==$b=:c= md5${'0'.repeat(32)}`, about)).toBe(
      `PASSWORD '***' *** ***`,
    );
    expect(withoutSecrets(`BY '*${'0A'.repeat(20)}' AS 0x24${'0A'.repeat(30)}`, about)).toBe(
      `BY '***' AS ***`,
    );
  });

  test('is cut down to its last lines, without rows and without control characters', () => {
    const stderr = [
      'pg_restore: creating TABLE x',
      'pg_restore: error: COPY failed for table "t": ERROR:  duplicate key\u001b[31m',
      'DETAIL:  Key (email)=(a@example.com) already exists.',
      'CONTEXT:  COPY t, line 3: "a secret row"',
      'LINE 1: SELECT secret',
      '           ^',
      'Command was: INSERT INTO t VALUES (1)',
      '',
    ].join('\n');
    expect(lastLines(stderr, about)).toBe(
      'pg_restore: creating TABLE x · pg_restore: error: COPY failed for table "t": ERROR:  duplicate key?[31m',
    );
    expect(lastLines(Array.from({ length: 9 }, (_, n) => `line ${n}`).join('\r\n'), about)).toBe(
      'line 5 · line 6 · line 7 · line 8',
    );
    expect(lastLines('same\nsame\n', about)).toBe('same');
    const ofMariadb = [
      '--------------',
      "INSERT INTO t VALUES ('a@example.com'),",
      "('b@example.com')",
      '--------------',
      '',
      "ERROR 1062 (23000) at line 7: Duplicate entry 'it's a@example.com' for key 'PRIMARY'",
    ].join('\n');
    expect(lastLines(ofMariadb, about)).toBe(
      "ERROR 1062 (23000) at line 7: Duplicate entry '***' for key 'PRIMARY'",
    );
    const near =
      "ERROR 1064 (42000) at line 3: You have an error near ''a' VALUES\n('b@example.com')' at line 1";
    expect(lastLines(near, about)).toBe(
      "ERROR 1064 (42000) at line 3: You have an error near '***' at line 1",
    );
    expect(lastLines('x'.repeat(1000), about)).toHaveLength(300);
  });
});

describe('a command', () => {
  const command = { what: 'dumping', script: 'true' };

  test('that fails says so, with its last words', async () => {
    const client = clientOf(database({ exitCode: 3, stderr: 'no hunter2 today\n' }), { title: 'PostgreSQL' });
    await expect(client.run(command)).rejects.toMatchObject({
      code: 'database',
      message: 'PostgreSQL in shop-db-1: dumping failed with exit code 3: no *** today',
    });
  });

  test('that took too long has what it left behind removed', async () => {
    let cleaned = 0;
    const afterCut = () => Promise.reject(new Error(`${(cleaned += 1)}`));
    const client = clientOf(database({ timedOut: true, exitCode: 137 }), { title: 'PostgreSQL', afterCut });
    await expect(client.attempt(command)).rejects.toMatchObject({
      code: 'database',
      message: /took longer than 1 min 00 s/,
    });
    expect(cleaned).toBe(1);
  });

  test('after a signal is interrupted, whatever its exit code', async () => {
    const client = clientOf(database({}, [], AbortSignal.abort()), { title: 'PostgreSQL' });
    await expect(client.run(command)).rejects.toMatchObject({ code: 'interrupted' });
  });

  test.each([{ exitCode: 1 }, { exitCode: 0, timedOut: true }])(
    'whose output ends with %j makes no file',
    async (end) => {
      const client = clientOf(database(end, ['half']), { title: 'PostgreSQL' });
      const seen: string[] = [];
      let ended = false;
      const dumped = client.dump(
        command,
        {
          async write(_, content) {
            for await (const chunk of content) seen.push(String(chunk));
            ended = true;
            return { bytes: 0 };
          },
        },
        'x.dump',
      );
      await expect(dumped).rejects.toMatchObject({ code: 'database' });
      expect(seen).toEqual(['half']);
      expect(ended).toBe(false);
    },
  );

  test('whose failure the sink hides fails all the same', async () => {
    const client = clientOf(database({ exitCode: 1 }, ['half']), { title: 'PostgreSQL' });
    const dumped = client.dump(
      command,
      {
        async write(_, content) {
          try {
            for await (const _chunk of content) continue;
          } catch {
            // As a pipe without error handling does.
          }
          return { bytes: 4 };
        },
      },
      'x.dump',
    );
    await expect(dumped).rejects.toMatchObject({ code: 'database' });
  });

  test('fed from a store that breaks off fails, though its exit code is 0', async () => {
    const source = { names: ['x'], open: () => Readable.from(half()) };
    const stdin = readBack(source, 'x');
    const reading = database({});
    reading.shell.run = async () => {
      await stdin.stream.toArray().catch(() => undefined);
      return done;
    };
    await expect(clientOf(reading, { title: 'PostgreSQL' }).run({ ...command, stdin })).rejects.toMatchObject(
      {
        code: 'store',
        message: 'x could not be read back: disk on fire',
      },
    );
  });
});

async function* half(): AsyncGenerator<Buffer> {
  yield await Promise.resolve(Buffer.from('half'));
  throw new Error('disk on fire');
}

test('a small file is read whole, or not at all', async () => {
  const source = {
    names: ['a', 'bad'],
    open: (name: string) =>
      name === 'a' ? Readable.from([Buffer.from('12'), Buffer.from('34')]) : Readable.from(half()),
  };
  expect((await readSmall(source, 'a')).toString()).toBe('1234');
  await expect(readSmall(source, 'a', 3)).rejects.toMatchObject({ code: 'database', message: /larger/ });
  await expect(readSmall(source, 'b')).rejects.toMatchObject({ code: 'database', message: /missing/ });
  await expect(readSmall(source, 'bad')).rejects.toMatchObject({ code: 'store', message: /disk on fire/ });
});
