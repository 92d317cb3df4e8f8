import { readdir, readFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import type { DatabaseEngine, DumpSink, DumpSource } from '../../../src/database/database.ts';
import { recogniseDatabase } from '../../../src/database/engines.ts';
import { differences, isLost, type Fingerprint } from '../../../src/database/fingerprint.ts';
import { containerShell } from '../../../src/docker/shell.ts';
import { chosen } from '../../faults/campaign.ts';
import { create, docker, exec, failure, Files, folderOf, inspect, start, until } from './server.ts';
import type { Server, ServerOptions } from './server.ts';

/**
 * What every database engine must do, on real servers. An engine is added with a Subject: how its servers are started,
 * filled, looked into and disturbed. See postgres.test.ts.
 */
export interface Subject {
  image: string;
  /** Arguments with which its servers are quicker than they may be in production. */
  quick?: string[];
  /** Servers that must come back equal, by what is special about them. The first also serves the other tests. */
  servers: Record<string, ServerOptions>;
  /** A server whose environment gives a password that it does not accept. */
  wrongPassword: ServerOptions & {
    /** Makes the password `rotated`. */
    spoil: (server: Server) => Promise<void>;
    /** Whose it is, where servers of the kind have no such user without being told. */
    user?: string;
  };
  /** The image's command when it is only a client. */
  clients: string[][];
  /** Puts data in, of every kind the engine has. */
  fill(server: Server): Promise<void>;
  /** All that a person would miss, as text. */
  contents(server: Server): Promise<string>;
  /** What the fingerprint of a filled server says. */
  holds: Readonly<Record<string, number>>;
  /** What an update may do before it fails: add, change, delete. */
  migrate(server: Server): Promise<void>;
  /** Of `holds`, what is gone or empty after that. */
  lost: readonly string[];
  /** Makes every dump hang. Returns what ends that. */
  hang(server: Server): Promise<() => Promise<unknown>>;
  /** Client programs, as they are seen in a list of processes. */
  clientProgram: RegExp;
  /** What a killed client may leave in the server, as text; empty if nothing. */
  leftovers(server: Server): Promise<string>;
  /** Files whose every byte counts: one changed must be noticed. */
  checksummed: RegExp;
}

export function conformance(engine: DatabaseEngine, subject: Subject): void {
  const { restorer } = engine;

  const running = async (options: ServerOptions): Promise<Server> => {
    const server = await start(subject.image, {
      ...options,
      command: [...(options.command ?? []), ...(subject.quick ?? [])],
    });
    await until(`${engine.title} is ready`, () => engine.ready(server.database()));
    return server;
  };
  const dumpOf = async (server: Server): Promise<Files> => {
    const files = new Files();
    await engine.dump(server.database(), files);
    return files;
  };
  const restore = async (server: Server, files: DumpSource): Promise<void> => {
    if (restorer.into === 'running server') {
      await restorer.restore(server.database(), files);
      return;
    }
    await docker(['stop', server.container.id]);
    const { folder, remove } = await folderOf(server, engine.dataPath(server.container));
    try {
      await restorer.restore(folder, files);
    } finally {
      await remove();
      await docker(['start', server.container.id]);
      await until(`${engine.title} is ready again`, () => engine.ready(server.database()));
    }
  };
  const fingerprintOf = async (server: Server): Promise<Fingerprint> => {
    const fingerprint = await engine.fingerprint(server.database());
    if (fingerprint === undefined) throw new Error('no fingerprint');
    return fingerprint;
  };
  const clientsIn = async (server: Server): Promise<string[]> =>
    (await docker(['top', server.container.id, '-eo', 'pid,args']))
      .split('\n')
      .filter((line) => subject.clientProgram.test(line));

  describe(engine.title, () => {
    // The first of them each time, and one of the others.
    const [first = ['', {}], ...others] = Object.entries(subject.servers);
    const [, firstOptions] = first;
    const tried = [first, ...chosen(others, 1)];
    const servers = new Map<string, Server>();
    let server: Server;
    let dump: Files;

    beforeAll(async () => {
      await Promise.all(
        tried.map(async ([name, options]) => {
          const one = await running(options);
          await subject.fill(one);
          servers.set(name, one);
        }),
      );
      const one = servers.get(first[0]);
      if (one === undefined) throw new Error('no server');
      server = one;
      dump = await dumpOf(server);
    });

    test('is recognised, and by no other engine', () => {
      for (const { container } of servers.values())
        expect(recogniseDatabase(container)?.name).toBe(engine.name);
    });

    test('its image as a one-shot client is not', async () => {
      for (const command of subject.clients) {
        const container = await inspect(await create(subject.image, { command }));
        expect(recogniseDatabase(container)).toBeUndefined();
      }
    });

    test('says itself where its files are', async () => {
      for (const one of servers.values()) {
        expect(await engine.askDataPath(one.database())).toBe(engine.dataPath(one.container));
      }
    });

    test('is not ready before it runs', async () => {
      const container = await inspect(await create(subject.image, firstOptions));
      const shell = containerShell(exec, container.id);
      expect(await engine.ready({ container, shell, timeout: 10_000 })).toBe(false);
    });

    test('a dump has plain file names and is accepted', async () => {
      for (const name of dump.names) expect(name).toMatch(/^[\w%~-]+\.\w+$/);
      await engine.check(server.database(), dump);
      expect(await clientsIn(server)).toEqual([]);
    });

    test.each(tried)('comes back equal: %s', async (name, options) => {
      const one = servers.get(name);
      if (one === undefined) throw new Error(`no server: ${name}`);
      const before = await subject.contents(one);
      const counted = await fingerprintOf(one);
      expect(counted.counts).toEqual(subject.holds);
      let files = await dumpOf(one);
      await engine.check(one.database(), files);
      await subject.migrate(one);
      expect(await subject.contents(one).catch(() => 'gone')).not.toBe(before);
      const lost = differences(counted, await fingerprintOf(one)).filter(isLost);
      expect(lost.map(({ name: what }) => what).sort()).toEqual([...subject.lost].sort());
      files = options.dumped?.(files) ?? files;
      await restore(one, files);
      expect(await subject.contents(one)).toBe(before);
      expect(differences(counted, await fingerprintOf(one))).toEqual([]);
      if (restorer.into === 'stopped data folder') {
        // Over what the server has made of a restore.
        await restore(one, files);
        expect(await subject.contents(one)).toBe(before);
      }
    });

    test('comes back equal in a new server', async () => {
      const one = await running(firstOptions);
      await restore(one, dump);
      expect(await subject.contents(one)).toBe(await subject.contents(server));
    });

    // Others have one file for all of their databases.
    if (restorer.into === 'running server') {
      test('one database comes back without the others', async () => {
        const one = await running(firstOptions);
        await subject.fill(one);
        const files = await dumpOf(one);
        const named = await restorer.databasesIn(files);
        const [chosen = ''] = subject.lost.map((name) => named.find((known) => name.startsWith(`${known}.`)));
        await subject.migrate(one);
        await restorer.restore(one.database(), files, [chosen]);
        const counted = await fingerprintOf(one);
        const lost = differences({ ...counted, counts: subject.holds }, counted).filter(isLost);
        const others = subject.lost.filter((name) => !name.startsWith(`${chosen}.`));
        expect(others.length, 'something else was lost').toBeGreaterThan(0);
        expect(lost.map(({ name }) => name).sort()).toEqual([...others].sort());
      });
    }

    test('a server that dies in the middle of a dump is an error', async () => {
      const one = await running(firstOptions);
      await subject.fill(one);
      let isDead = false;
      const dying: DumpSink = {
        async write(_, content) {
          // What is small has been read by then, and another one follows.
          if (!isDead) await docker(['kill', one.container.id]);
          isDead = true;
          for await (const _chunk of content) continue;
          return { bytes: 0 };
        },
      };
      expect((await failure(engine.dump(one.database(), dying))).code).toBe('database');
    });

    test('a file cut off anywhere is refused', async () => {
      // The largest and the smallest dump, and whatever is not checked by the client itself.
      const bySize = dump.names
        .filter((name) => subject.checksummed.test(name))
        .sort((a, b) => (dump.files.get(a)?.length ?? 0) - (dump.files.get(b)?.length ?? 0));
      const others = dump.names.filter((name) => !subject.checksummed.test(name));
      for (const name of new Set([...bySize.slice(0, 1), ...bySize.slice(-1), ...others])) {
        const { length } = dump.files.get(name) ?? Buffer.alloc(0);
        const ends = [
          0,
          1,
          5,
          Math.floor(length / 3),
          Math.floor(length / 2),
          length - 9,
          length - 4,
          length - 2,
        ];
        for (const end of new Set(ends.filter((at) => at >= 0 && at < length))) {
          const half = dump.with(name, (content) => content.subarray(0, end));
          const error = await failure(engine.check(server.database(), half)).catch(() => null);
          expect(error?.code, `${name} ends at ${end} of ${length}`).toBe('database');
        }
      }
    });

    test('a changed byte is refused where the format has checksums', async () => {
      for (const name of dump.names.filter((file) => subject.checksummed.test(file))) {
        const { length } = dump.files.get(name) ?? Buffer.alloc(0);
        if (length < 50_000) continue;
        for (const at of [0.35, 0.5, 0.8].map((share) => Math.floor(length * share))) {
          const changed = dump.with(name, (content) => {
            const copy = Buffer.from(content);
            copy[at] = (copy[at] ?? 0) ^ 0x10;
            return copy;
          });
          const error = await failure(engine.check(server.database(), changed)).catch(() => null);
          expect(error?.code, `${name} at ${at} of ${length}`).toBe('database');
        }
      }
    });

    test('a missing file and a foreign file are refused', async () => {
      for (const name of dump.names) {
        expect(
          (
            await failure(
              engine.check(
                server.database(),
                dump.with(name, () => undefined),
              ),
            )
          ).code,
        ).toBe('database');
      }
      const more = dump.with('more.dump', () => Buffer.from('x'));
      expect((await failure(engine.check(server.database(), more))).code).toBe('database');
    });

    test('a dump that cannot be read back from the store is refused, and so is its restore', async () => {
      const [name = ''] = dump.names.filter((file) => subject.checksummed.test(file));
      const broken: DumpSource = {
        names: dump.names,
        open: (file) => (file === name ? Readable.from(breaksOff(dump.files.get(file))) : dump.open(file)),
      };
      expect((await failure(engine.check(server.database(), broken))).message).toContain('disk on fire');
      const before = await subject.contents(server);
      expect((await failure(restore(server, broken))).message).toContain('disk on fire');
      expect(await subject.contents(server)).toBe(before);
    });

    test('a store that takes no more ends the client', async () => {
      const full: DumpSink = {
        async write(_, content) {
          for await (const _chunk of content) throw new Error('no space left');
          return { bytes: 0 };
        },
      };
      await expect(engine.dump(server.database(), full)).rejects.toThrow('no space left');
      await until('the client is gone', async () => (await clientsIn(server)).length === 0);
    });

    test('a signal ends the client', async () => {
      const controller = new AbortController();
      const slow: DumpSink = {
        async write(name, content) {
          for await (const _chunk of content) {
            if (subject.checksummed.test(name)) controller.abort();
          }
          return { bytes: 0 };
        },
      };
      const error = await failure(engine.dump(server.database({ signal: controller.signal }), slow));
      expect(error.code).toBe('interrupted');
      await until('the client is gone', async () => (await clientsIn(server)).length === 0);
    });

    test('no password is in any process list, message or file of the dump', async () => {
      const secret = firstOptions.secret ?? '';
      const seen: string[] = [];
      const done = new AbortController();
      const watch = (async () => {
        while (!done.signal.aborted) {
          for (const line of await commandLines()) if (line.includes(secret)) seen.push(line);
          // A client lives far longer. Without a pause it would have a core of its own.
          await sleep(5);
        }
      })();
      const files = await dumpOf(server);
      await engine.check(server.database(), files);
      await engine.fingerprint(server.database());
      done.abort();
      await watch;
      expect(seen).toEqual([]);
      for (const [name, content] of files.files) expect(content.includes(secret), name).toBe(false);
    });

    test('a wrong password is a clear error that does not hold it', async () => {
      const one = await running(subject.wrongPassword);
      await subject.wrongPassword.spoil(one);
      const error = await failure(engine.dump(one.database(), new Files()));
      expect(error.message).toMatch(/does not let its own client in/);
      expect(error.message).toMatch(/password|NOAUTH|WRONGPASS/);
      expect(`${error.message}${error.hint ?? ''}`).not.toContain('former one');
      // It answers, only not to us.
      expect(await engine.ready(one.database())).toBe(true);

      // Somebody else in the project knows.
      const user = subject.wrongPassword.user ?? '';
      const logins = [
        { user, password: 'wrong too' },
        { user, password: 'rotated' },
      ];
      const told = { ...one.database(), logins };
      const files = new Files();
      await engine.dump(told, files);
      await engine.check(told, files);
      expect(await engine.fingerprint(told)).toBeDefined();
      expect(await engine.askDataPath(told)).toBe(engine.dataPath(one.container));
    });

    test('a dump that hangs is ended, and leaves nothing in the container', async () => {
      const release = await subject.hang(server);
      const began = Date.now();
      const error = await failure(engine.dump(server.database({ timeout: 1_500 }), new Files()));
      expect(error.message).toMatch(/took longer than 1.5 s/);
      expect(Date.now() - began).toBeLessThan(10_000);
      expect((await clientsIn(server)).filter((line) => !line.includes('LOCK TABLE'))).toEqual([]);
      expect(await subject.leftovers(server)).toBe('');
      await release();
      await engine.check(server.database(), await dumpOf(server));
    });

    test('nothing of ours is left in any container', async () => {
      for (const one of servers.values()) {
        const places = ['/tmp', '/dev/shm', engine.dataPath(one.container)];
        expect(await one.exec(['find', ...places, '-name', '*safe-update*'])).toBe('');
      }
    });
  });
}

async function* breaksOff(content: Buffer = Buffer.alloc(0)): AsyncGenerator<Buffer> {
  yield await Promise.resolve(content.subarray(0, content.length / 2));
  throw new Error('disk on fire');
}

async function commandLines(): Promise<string[]> {
  const processes = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  return Promise.all(processes.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
}
