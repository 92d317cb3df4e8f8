/**
 * A second engine on this machine: a server that has none of the images and none of the volumes of the first.
 *
 *     const engine = await secondEngine();               // or the reason why there can be none, as a text
 *     await docker(['ps'], { env: engine.env });
 *     await engine.restart('SIGKILL');                   // as after a crash
 *     await engine.end();                                // in an afterAll: ends it by its pid and removes its data
 *
 * It has a network namespace of its own, so that neither bridges nor rules of the firewall get into the way of the
 * first; it reaches nothing, no registry either.
 *
 *     const engine = await ownEngine({ disk: '4G' });    // for stacks like on the first one
 *     await engine.serve(stack.port);                    // so that stack.get() reaches it
 *
 * That one is where everything in this test file goes from then on (DOCKER_HOST); it has the images of the lab and
 * reaches its registry.
 */
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { docker, dockerLines } from './docker.ts';
import { registry } from './releases.ts';

export interface SecondEngine {
  env: { DOCKER_HOST: string };
  /** Where its images and volumes are. */
  dataRoot: string;
  /** The process that it is now. */
  pid(): Promise<number>;
  /** Ends dockerd by this signal, starts it again after some milliseconds, and waits until it answers. */
  restart(signal: 'SIGTERM' | 'SIGKILL', after?: number): Promise<void>;
  /** The same data, from now on with the dockerd of the machine. */
  upgrade(): Promise<void>;
  end(): Promise<void>;
}

interface EngineOptions {
  /** More flags of dockerd. */
  flags?: readonly string[];
  /** The size of a disk of its own, as truncate(1) takes it; else it is on that of the system. */
  disk?: string;
  /** The folder of another dockerd than that of the machine. */
  programs?: string;
  /**
   * It lives in a file system of its own: everything of this machine can only be read there; /var/lib/docker is its own data
   * root, /run/docker.sock its own socket, and what else is usually written to is empty and in memory. So whatever a
   * container mounts, and whatever runs in there (`nsenter --mount` of its process), nothing of this machine can be lost.
   */
  apart?: boolean;
}

/** The file system of an engine that is apart. Only the engine's own folder can be written to, and is the same in there. */
const alone = `set -e
root=$FOLDER/root
mkdir -p "$root" "$FOLDER/data"
mount --bind / "$root"
mount -o remount,bind,ro "$root"
for place in proc sys dev; do mount --rbind "/$place" "$root/$place"; done
for place in run tmp root home srv mnt media opt var/tmp var/lib/docker; do
  if [ -d "$root/$place" ]; then mount -t tmpfs tmpfs "$root/$place"; fi
done
mkdir -p "$root$FOLDER" "$root/mnt/former"
mount --bind "$FOLDER" "$root$FOLDER"
mount --bind "$FOLDER/data" "$root/var/lib/docker"
pivot_root "$root" "$root/mnt/former"
cd /
umount -l /mnt/former
`;

export async function secondEngine({
  flags = [],
  disk,
  programs,
  apart = false,
}: EngineOptions = {}): Promise<(SecondEngine & { folder: string; namespace: string }) | string> {
  if (process.getuid?.() !== 0) return 'only root can start a second engine';
  const wanted = [
    'dockerd',
    'unshare',
    'nsenter',
    'mount',
    'ip',
    ...(disk === undefined ? [] : ['mkfs.ext4']),
  ];
  for (const program of wanted) {
    const found = await execa('sh', ['-c', `command -v ${program}`], { reject: false });
    if (found.exitCode !== 0) return `a second engine needs ${program}`;
  }
  const folder = await mkdtemp(path.join(tmpdir(), 'e2e-engine-'));
  const at = (name: string): string => path.join(folder, name);
  const env = { DOCKER_HOST: `unix://${at('sock')}` };
  if (disk !== undefined) {
    await execa('truncate', ['--size', disk, at('disk')]);
    await execa('mkfs.ext4', ['-q', '-m', '0', at('disk')]);
    await execa('mkdir', [at('data')]);
    const mounted = await execa('mount', ['-o', 'loop', at('disk'), at('data')], { reject: false });
    if (mounted.exitCode !== 0) {
      await rm(folder, { recursive: true, force: true });
      return `a disk of its own cannot be mounted here: ${mounted.stderr}`;
    }
  }
  // Keeps the namespace while dockerd is started anew.
  const holder = execa('unshare', ['--net', 'sh', '-c', 'ip link set lo up && exec sleep infinity'], {
    stdio: 'ignore',
    reject: false,
    detached: true,
  });
  const namespace = `/proc/${holder.pid ?? 0}/ns/net`;
  const places = ['--data-root', at('data'), '--exec-root', at('exec'), '--pidfile', at('pid')];

  let search = programs === undefined ? '' : `${programs}:`;
  if (apart) await mkdir('/var/lib/docker', { recursive: true });
  const start = () =>
    execa(
      'nsenter',
      [
        `--net=${namespace}`,
        ...(apart ? ['unshare', '--mount'] : []),
        ...['sh', '-c', `${apart ? alone : ''}exec dockerd "$@" >>"$LOG" 2>&1`, 'sh'],
        ...[...places, '--host', env.DOCKER_HOST, ...flags],
        ...(apart ? ['--host', 'unix:///run/docker.sock'] : []),
      ],
      {
        env: { LOG: at('log'), FOLDER: folder, PATH: `${search}${process.env['PATH'] ?? ''}` },
        stdio: 'ignore',
        reject: false,
        detached: true,
      },
    );
  let daemon: ReturnType<typeof start> | undefined;
  const answers = async (): Promise<boolean> => {
    daemon = start();
    const state = { ended: false };
    void daemon.then(() => (state.ended = true));
    for (let tries = 0; tries < 200 && !state.ended; tries += 1) {
      await sleep(200);
      if ((await docker(['version'], { env }).catch(() => undefined)) !== undefined) return true;
    }
    return false;
  };
  const stop = async (signal: 'SIGTERM' | 'SIGKILL'): Promise<void> => {
    // Of this very process: nsenter and sh have become dockerd.
    daemon?.kill(signal);
    await daemon;
  };
  const logged = async (): Promise<string> => {
    const log = await readFile(at('log'), 'utf8').catch(() => '');
    return log.trim().split('\n').slice(-3).join(' · ');
  };
  const end = async (): Promise<void> => {
    // It ends its own containerd and containers.
    await stop('SIGTERM');
    holder.kill('SIGTERM');
    await holder;
    // One that was killed has left what it had mounted.
    const { stdout: mounts } = await execa('cat', ['/proc/mounts']);
    const left = mounts.split('\n').map((line) => line.split(' ')[1] ?? '');
    for (const place of left.filter((name) => name.startsWith(`${folder}/`)).reverse())
      await execa('umount', ['--lazy', place], { reject: false });
    // What is still mounted is let go of a moment later.
    await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 500 });
  };
  // unshare has to have made it.
  await sleep(300);
  if (!(await answers())) {
    const log = await logged();
    await end();
    return `a second engine did not start: ${log}`;
  }
  const restart = async (signal: 'SIGTERM' | 'SIGKILL', after = 0): Promise<void> => {
    await stop(signal);
    await sleep(after);
    if (!(await answers())) throw new Error(`the second engine did not start again: ${await logged()}`);
  };
  return {
    ...{ env, folder, namespace, end, restart },
    pid: async () => Number((await readFile(at('pid'), 'utf8')).trim()),
    dataRoot: at('data'),
    async upgrade() {
      search = '';
      await restart('SIGTERM');
    },
  };
}

export interface OwnEngine extends SecondEngine {
  /** Makes a port that a container publishes in there one of this machine. */
  serve(port: number): Promise<void>;
}

/** A second engine that is as good as the first for what is done in this file from now on; or why there can be none. */
export async function ownEngine(options: EngineOptions = {}): Promise<OwnEngine | string> {
  const port = registry.split(':')[1] ?? '';
  const engine = await secondEngine({
    ...options,
    flags: ['--registry-mirror', `http://${registry}`, ...(options.flags ?? [])],
  });
  if (typeof engine === 'string') return engine;
  const [out, into] = [path.join(engine.folder, 'out'), path.join(engine.folder, 'in')];
  const servers: Server[] = [];
  const join = (listenAt: string | number, target: string | number, first = ''): Promise<void> =>
    new Promise((resolve) => {
      const server = createServer((socket) => {
        const other = typeof target === 'string' ? connect(target) : connect(target, '127.0.0.1');
        for (const each of [socket, other]) {
          each.on('error', () => {
            socket.destroy();
            other.destroy();
          });
        }
        if (first !== '') other.write(first);
        socket.pipe(other);
        other.pipe(socket);
      });
      servers.push(server);
      if (typeof listenAt === 'string') server.listen(listenAt, resolve);
      else server.listen(listenAt, '127.0.0.1', resolve);
    });
  await join(out, Number(port));
  const script = fileURLToPath(new URL('relay.ts', import.meta.url));
  const relay = execa('nsenter', [`--net=${engine.namespace}`, process.execPath, script, port, out, into], {
    stdin: 'ignore',
    reject: false,
  });
  await new Promise<void>((resolve) =>
    relay.stdout.once('data', () => {
      resolve();
    }),
  );

  const images = await dockerLines([
    ...['image', 'ls', '--format', '{{.Repository}}:{{.Tag}}'],
    ...[
      '--filter',
      'reference=safe-update/helper',
      '--filter',
      'reference=debian',
      '--filter',
      'reference=redis',
    ],
    ...['--filter', 'reference=postgres', '--filter', 'reference=safe-update-fixtures/app'],
  ]);
  const load = execa('docker', ['load', '--quiet'], { env: engine.env });
  await execa('docker', ['save', ...images], { buffer: false, encoding: 'buffer' }).pipe(load);
  const former = process.env['DOCKER_HOST'];
  process.env['DOCKER_HOST'] = engine.env.DOCKER_HOST;
  return {
    ...engine,
    serve: (published) => join(published, into, `${published}\n`),
    async end() {
      if (former === undefined) delete process.env['DOCKER_HOST'];
      else process.env['DOCKER_HOST'] = former;
      for (const server of servers) server.close();
      relay.kill('SIGTERM');
      await relay;
      await engine.end();
    },
  };
}
