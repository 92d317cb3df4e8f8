import { Readable } from 'node:stream';
import { execa } from 'execa';
import { afterAll } from 'vitest';
import type { DataFolder, DumpSink, DumpSource, RunningDatabase } from '../../../src/database/database.ts';
import { createExec } from '../../../src/docker/exec.ts';
import { containerShell } from '../../../src/docker/shell.ts';
import { SafeUpdateError } from '../../../src/model/error.ts';
import type { Container } from '../../../src/model/project.ts';

export interface ServerOptions {
  /** For docker create. */
  options?: string[];
  env?: Record<string, string>;
  command?: string[];
  /** Files for the container, by path; all may read and run them. */
  files?: Record<string, string>;
  /** The password, which may be seen nowhere. */
  secret?: string;
  /** Changes the dump before it is restored. */
  dumped?: (files: Files) => Files;
}

/** A real server in a container. */
export interface Server {
  container: Container;
  /** The password it was started with; empty if none. */
  secret: string;
  exec(argv: string[], env?: Record<string, string>): Promise<string>;
  database(options?: Partial<Pick<RunningDatabase, 'timeout' | 'signal'>>): RunningDatabase;
}

const label = 'safe-update.test=database-conformance';
export const exec = createExec(process.env);
const started: string[] = [];

export async function docker(
  argv: string[],
  options: { env?: Record<string, string>; input?: string } = {},
): Promise<string> {
  const { stdout } = await execa('docker', argv, options);
  return stdout;
}

afterAll(async () => {
  if (started.length > 0) await docker(['rm', '--force', '--volumes', ...started]);
});

export async function inspect(id: string): Promise<Container> {
  const [found] = JSON.parse(await docker(['inspect', id])) as [
    {
      Id: string;
      Name: string;
      Path: string;
      Args: string[];
      Image: string;
      Config: { Image: string; Env: string[] | null; Labels: Record<string, string> };
      Mounts: { Type: string; Name?: string; Source: string; Destination: string; RW: boolean }[];
      State: { Running: boolean; Status: string; ExitCode: number; StartedAt: string };
    },
  ];
  return {
    id: found.Id,
    name: found.Name.slice(1),
    service: 'db',
    number: 1,
    oneOff: false,
    imageId: found.Image,
    imageName: found.Config.Image,
    configHash: '',
    running: found.State.Running,
    status: found.State.Status,
    exitCode: found.State.ExitCode,
    restartCount: 0,
    restart: 'no',
    health: 'none',
    startedAt: found.State.StartedAt,
    mounts: found.Mounts.map((mount) => ({
      type: mount.Type === 'volume' || mount.Type === 'bind' || mount.Type === 'tmpfs' ? mount.Type : 'other',
      source: mount.Name ?? mount.Source,
      path: mount.Destination,
      readOnly: !mount.RW,
    })),
    labels: found.Config.Labels,
    environment: found.Config.Env ?? [],
    command: [found.Path, ...found.Args],
    publishesPorts: false,
  };
}

export async function create(
  image: string,
  { options = [], env = {}, command = [], files = {} }: ServerOptions,
) {
  const names = Object.keys(env).flatMap((name) => ['--env', name]);
  const id = await docker(['create', '--label', label, ...names, ...options, image, ...command], { env });
  started.push(id);
  for (const [path, content] of Object.entries(files)) {
    const folder = path.slice(0, path.lastIndexOf('/') + 1);
    const tar = await execa('python3', ['-c', putFile, path.slice(folder.length)], {
      input: content,
      encoding: 'buffer',
    });
    await execa('docker', ['cp', '-', `${id}:${folder}`], { input: tar.stdout });
  }
  return id;
}

const putFile = `import io, sys, tarfile
data = sys.stdin.buffer.read()
with tarfile.open(fileobj=sys.stdout.buffer, mode='w|') as tar:
    info = tarfile.TarInfo(sys.argv[1])
    info.size = len(data)
    info.mode = 0o555
    tar.addfile(info, io.BytesIO(data))`;

export async function start(image: string, options: ServerOptions): Promise<Server> {
  const id = await create(image, options);
  await docker(['start', id]);
  const container = await inspect(id);
  const inside = (argv: string[], env: Record<string, string> = {}): Promise<string> =>
    docker(['exec', ...Object.keys(env).flatMap((name) => ['--env', name]), id, ...argv], { env });
  return {
    container,
    exec: inside,
    secret: options.secret ?? '',
    database: (more = {}) => ({ container, shell: containerShell(exec, id), timeout: 30_000, ...more }),
  };
}

export async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  const limit = Date.now() + 40_000;
  while (!(await condition())) {
    if (Date.now() > limit) throw new Error(`waited too long until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** A dump in memory. */
export class Files implements DumpSink, DumpSource {
  readonly files = new Map<string, Buffer>();

  get names(): string[] {
    return [...this.files.keys()];
  }

  async write(name: string, content: Readable): Promise<{ bytes: number }> {
    const chunks: Buffer[] = [];
    for await (const chunk of content as AsyncIterable<Buffer>) chunks.push(chunk);
    if (this.files.has(name)) throw new Error(`${name} was written twice`);
    this.files.set(name, Buffer.concat(chunks));
    return { bytes: Buffer.concat(chunks).length };
  }

  open(name: string): Readable {
    const content = this.files.get(name);
    if (content === undefined) throw new Error(`there is no ${name}`);
    // In pieces, as from a disk.
    const pieces = Array.from({ length: Math.ceil(content.length / 16_384) }, (_, index) =>
      content.subarray(index * 16_384, (index + 1) * 16_384),
    );
    return Readable.from(pieces, { objectMode: false });
  }

  with(name: string, change: (content: Buffer) => Buffer | undefined): Files {
    const copy = new Files();
    for (const [other, content] of this.files) copy.files.set(other, content);
    const changed = change(this.files.get(name) ?? Buffer.alloc(0));
    if (changed === undefined) copy.files.delete(name);
    else copy.files.set(name, changed);
    return copy;
  }
}

export async function failure(work: Promise<unknown>): Promise<SafeUpdateError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof SafeUpdateError) return error;
    throw error;
  }
  throw new Error('it did not fail');
}

/** A container beside a stopped server, with as few rights as the real helper has. */
export async function folderOf(
  server: Server,
  path: string,
): Promise<{ folder: DataFolder; remove: () => Promise<void> }> {
  const capabilities = ['DAC_READ_SEARCH', 'DAC_OVERRIDE', 'CHOWN', 'FOWNER', 'FSETID', 'SETFCAP', 'MKNOD'];
  const id = await create(server.container.imageName, {
    options: [
      ...[
        '--volumes-from',
        server.container.id,
        '--network',
        'none',
        '--read-only',
        '--tmpfs',
        '/tmp',
        '--user',
        '0:0',
      ],
      ...[
        '--cap-drop',
        'ALL',
        ...capabilities.flatMap((name) => ['--cap-add', name]),
        '--entrypoint',
        'sleep',
      ],
    ],
    command: ['infinity'],
  });
  await docker(['start', id]);
  const shell = containerShell(exec, id);
  return {
    folder: {
      run: (script, options = {}) => shell.run(script, { ...options, env: { ...options.env, DATA: path } }),
    },
    async remove() {
      await docker(['rm', '--force', id]);
      started.splice(started.indexOf(id), 1);
    },
  };
}
