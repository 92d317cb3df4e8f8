import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { readdir, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type Docker from 'dockerode';
import { messageOf, SafeUpdateError } from '../model/error.ts';
import type { Volume } from '../model/project.ts';
import { buildImageArgv, pullImageArgv } from './argv.ts';
import type { Engine } from './engine.ts';
import type { Exec } from './exec.ts';
import { containerShell, type ContainerShell } from './shell.ts';

const packageFolder = fileURLToPath(new URL('../../helper/', import.meta.url));

/** Labels by which everything safe-update puts on an engine is found again. */
export const labels = {
  project: 'safe-update.project',
  run: 'safe-update.run',
  role: 'safe-update.role',
} as const;

/**
 * The helper's image on this engine, built from the package's own Dockerfile where it is not there yet. Its tag is
 * the Dockerfile's hash, so a new version of safe-update builds its own. A person's image needs bash, GNU tar, GNU
 * coreutils and findutils, zstd and python3.
 *
 * Throws SafeUpdateError `engine` if it can be neither found, nor pulled, nor built.
 */
export async function helperImage(
  engine: Engine,
  exec: Exec,
  named: string | undefined,
  onBuild: () => void = () => undefined,
): Promise<string> {
  if (named !== undefined) {
    if ((await engine.image(named)) !== null) return named;
    const pulled = await exec.run({ argv: pullImageArgv(named), timeout: 600_000 });
    if (pulled.exitCode === 0) return named;
    throw new SafeUpdateError('engine', `The helper image ${named} cannot be had: ${pulled.stderr.trim()}`, {
      state: 'Nothing was touched.',
      hint: 'Correct helper.image in safe-update.yml, or leave it out to have the image built.',
    });
  }
  const hash = createHash('sha256')
    .update(readFileSync(`${packageFolder}Dockerfile`))
    .digest('hex')
    .slice(0, 12);
  const name = `safe-update/helper:${hash}`;
  if ((await engine.image(name)) !== null) return name;
  onBuild();
  const built = await exec.run({ argv: buildImageArgv(name, packageFolder), timeout: 900_000 });
  if (built.exitCode !== 0) {
    const reason = built.stderr.trim().split('\n').slice(-3).join(' · ');
    throw new SafeUpdateError('engine', `The helper image cannot be built: ${reason}`, {
      state: 'Nothing was touched.',
      hint: 'Give this engine access to a Debian mirror once, or name an image of your own: helper.image in safe-update.yml.',
    });
  }
  return name;
}

/** What a list says of a whole volume. */
export interface VolumeSummary {
  entries: number;
  /** Regular files, each name of a hard link counted. */
  files: number;
  /** Bytes of content, hard links counted once. */
  bytes: number;
  /** Sockets, which no archive can hold. */
  sockets: number;
  /** sha256 over the list: equal exactly when two volumes are equal. */
  digest: string;
  /** Files with attributes that only CAP_SYS_ADMIN can set; absent: none. */
  privileged?: number;
}

/** A running container with volumes mounted, through which they are read or written. */
export interface Helper {
  readonly id: string;
  readonly shell: ContainerShell;
  /** Where a volume is inside the helper. Throws if it was not mounted. */
  pathOf(volume: string): string;
  /** Where a file of this machine is inside the helper; undefined unless the helper shares its folder. */
  reach(file: string): string | undefined;
  remove(): Promise<void>;
}

/** A volume for a helper. `privileged`: it may hold attributes that only CAP_SYS_ADMIN sees or sets. */
export type HelperVolume = Pick<Volume, 'name' | 'kind'> & { privileged?: boolean | undefined };

export interface HelperOptions {
  project: string;
  run: string;
  volumes: readonly HelperVolume[];
  access: 'read' | 'write';
  /**
   * A folder of this machine, which the helper shares if it can: bytes then need not pass through the engine and the
   * docker command, which takes longer than compressing them.
   */
  folder?: string;
}

/**
 * Reading needs to pass by permission bits and nothing else; writing also gives files their owners, modes, file
 * capabilities and device numbers back. Only a volume that may hold attributes of `security.` or `trusted.` needs more.
 */
const capabilities = {
  read: ['DAC_READ_SEARCH'],
  write: ['DAC_READ_SEARCH', 'DAC_OVERRIDE', 'CHOWN', 'FOWNER', 'FSETID', 'SETFCAP', 'MKNOD'],
};

/** Where a shared folder is inside the helper. */
const sharedAt = '/shared';

/**
 * Starts a helper: no network, a read-only root, the fewest capabilities. While it runs it also keeps the volumes
 * from being pruned. Remove it when done; one whose run died is found by its labels.
 */
export async function startHelper(
  engine: Engine,
  exec: Exec,
  image: string,
  options: HelperOptions,
): Promise<Helper> {
  const places = new Map(options.volumes.map((volume, index) => [volume.name, `/volumes/${index}`]));
  const folder =
    options.folder === undefined ? undefined : await realpath(options.folder).catch(() => undefined);
  let shared = folder;
  let id = await startContainer(engine, containerOptions(image, options, places, folder)).catch(
    async (error: unknown) => {
      const reason = unmountable(error, options.volumes);
      if (folder === undefined || reason !== undefined) throw reason ?? error;
      // An engine on another machine has no such folder; one in a virtual machine may not be allowed to see it.
      shared = undefined;
      return startContainer(engine, containerOptions(image, options, places, undefined));
    },
  );
  try {
    if (shared !== undefined && !(await isShared(containerShell(exec, id), shared, options.access))) {
      // A folder of the same name on the engine's machine, or one that root there cannot use: none of our business.
      shared = undefined;
      await engine.removeContainer(id);
      id = await startContainer(engine, containerOptions(image, options, places, undefined));
    }
  } catch (error) {
    await engine.removeContainer(id);
    throw error;
  }
  return {
    id,
    shell: containerShell(exec, id),
    pathOf(volume) {
      const place = places.get(volume);
      if (place === undefined) throw new Error(`the volume ${volume} is not mounted in the helper`);
      return place;
    },
    reach(file) {
      if (options.folder === undefined || shared === undefined) return undefined;
      const inside = path.relative(options.folder, file);
      return inside.startsWith('..') || path.isAbsolute(inside)
        ? undefined
        : path.posix.join(sharedAt, inside);
    },
    remove: () => engine.removeContainer(id),
  };
}

/** What a person can do where the engine cannot mount a volume: its server is away, its folder is gone. */
function unmountable(error: unknown, volumes: HelperOptions['volumes']): SafeUpdateError | undefined {
  // error while mounting volume '/…/volumes/NAME/_data': failed to mount local volume: mount :/x:/…, data: …: REASON
  const said = /mounting volume '[^']*\/([^/']+)\/_data': (.*)/s.exec(messageOf(error));
  const name = volumes.find((volume) => volume.name === said?.[1])?.name;
  if (said === null || name === undefined) return undefined;
  const reason = (said[2] ?? '').split(': ').at(-1) ?? '';
  return new SafeUpdateError('engine', `The volume ${name} cannot be mounted: ${reason}.`, {
    hint: `See what the engine is to mount: docker volume inspect ${name}. If it need not be backed up: volumes.${name}.class: cache in safe-update.yml.`,
    cause: error,
  });
}

function containerOptions(
  image: string,
  options: HelperOptions,
  places: ReadonlyMap<string, string>,
  folder: string | undefined,
): Docker.ContainerCreateOptions {
  const volumes: Docker.MountConfig = options.volumes.map(({ name, kind }) => ({
    Type: kind === 'bind' ? 'bind' : 'volume',
    Source: name,
    Target: places.get(name) ?? '',
    ReadOnly: options.access === 'read',
    // Without this an empty volume would be filled with what the image has at that path.
    ...(kind === 'bind'
      ? {}
      : { VolumeOptions: { NoCopy: true, Labels: {}, DriverConfig: { Name: '', Options: {} } } }),
  }));
  // A volume is never written by what reads it, whatever its capabilities: it is mounted read-only.
  const writesFiles = folder !== undefined && options.access === 'read' ? ['DAC_OVERRIDE'] : [];
  return {
    Image: image,
    Entrypoint: ['sleep', 'infinity'],
    Cmd: [],
    User: '0:0',
    Labels: { [labels.project]: options.project, [labels.run]: options.run, [labels.role]: 'helper' },
    Healthcheck: { Test: ['NONE'] },
    HostConfig: {
      NetworkMode: 'none',
      ReadonlyRootfs: true,
      Tmpfs: { '/tmp': 'size=64m' },
      CapDrop: ['ALL'],
      CapAdd: [
        ...capabilities[options.access],
        ...writesFiles,
        ...(options.volumes.some(({ privileged }) => privileged === true) ? ['SYS_ADMIN'] : []),
      ],
      SecurityOpt: ['no-new-privileges'],
      LogConfig: { Type: 'none', Config: {} },
      Mounts: [
        ...volumes,
        // The other way round: what writes volumes only reads backups.
        ...(folder === undefined
          ? []
          : [
              {
                Type: 'bind' as const,
                Source: folder,
                Target: sharedAt,
                ReadOnly: options.access === 'write',
              },
            ]),
      ],
    },
  };
}

async function startContainer(engine: Engine, options: Docker.ContainerCreateOptions): Promise<string> {
  const id = await engine.createContainer(options);
  try {
    await engine.start(id);
  } catch (error) {
    await engine.removeContainer(id);
    throw error;
  }
  return id;
}

const probePrefix = '.safe-update-shared-';

/** A file that may be made for a moment in the folder of the backups; one that is left is removed with the probes. */
export const scratchName = `${probePrefix}copy`;

/** Removes what is left of `isShared` where a run was killed in the middle of it. */
export async function removeProbes(folder: string): Promise<void> {
  const entries = await readdir(folder).catch(() => []);
  // On a disk that takes no more writing there may be a stack to put back; this is no reason not to.
  for (const name of entries.filter((entry) => entry.startsWith(probePrefix)))
    await rm(path.join(folder, name), { force: true }).catch(() => undefined);
}

/** Whether a container uses this very folder at `sharedAt`: it can read a file made here now, and write to it. */
async function isShared(shell: ContainerShell, folder: string, access: 'read' | 'write'): Promise<boolean> {
  const token = randomBytes(16).toString('hex');
  const name = probePrefix + token;
  const file = path.join(folder, name);
  const answer = access === 'read' ? 'written' : '';
  try {
    await writeFile(file, token, { flag: 'wx', mode: 0o600 });
    const { stdout } = await shell.run('cat "$FILE" && [ -z "$ANSWER" ] || printf %s "$ANSWER" >> "$FILE"', {
      env: { FILE: path.posix.join(sharedAt, name), ANSWER: answer },
      timeout: 20_000,
    });
    return stdout === token && (await readFile(file, 'utf8')) === token + answer;
  } catch {
    // A folder that is full or read-only. What is in it can still be read, and go by the pipe.
    return false;
  } finally {
    await rm(file, { force: true }).catch(() => undefined);
  }
}

/**
 * Bytes that each volume's files take on disk, by volume name. Reads no content. Files may come and go meanwhile. Throws
 * SafeUpdateError `store` where a volume cannot be measured: what is not known must not count as nothing.
 */
export async function measureVolumes(
  helper: Helper,
  volumes: readonly string[],
): Promise<Map<string, number>> {
  const sizes = new Map<string, number>();
  if (volumes.length === 0) return sizes;
  const result = await helper.shell.run(
    `du --summarize --block-size=1 -- ${volumes.map((volume) => helper.pathOf(volume)).join(' ')}`,
    { timeout: 600_000 },
  );
  for (const line of result.stdout.split('\n')) {
    const [bytes, place] = line.split('\t');
    const volume = volumes.find((name) => helper.pathOf(name) === place);
    if (volume !== undefined) sizes.set(volume, Number(bytes));
  }
  const unread = result.stderr
    .split('\n')
    .filter((line) => line !== '' && !line.endsWith('No such file or directory'));
  const unknown = volumes.filter((volume) => !sizes.has(volume));
  if (unknown.length > 0 || unread.length > 0 || result.exitCode > 1)
    throw new SafeUpdateError(
      'store',
      `Volumes cannot be measured: ${[...unknown, ...unread.slice(0, 3)].join('; ') || `du ended with ${result.exitCode}`}.`,
    );
  return sizes;
}

/** Regular files of a volume, and the bytes of their content. */
export interface FileCount {
  files: number;
  bytes: number;
}

/** Counts the files of volumes that may be in use. Reads no content. Throws SafeUpdateError `store` if it cannot. */
export async function countFiles(
  helper: Pick<Helper, 'shell' | 'pathOf'>,
  volumes: readonly string[],
): Promise<Map<string, FileCount>> {
  const counts = new Map<string, FileCount>();
  for (const volume of volumes) {
    const { exitCode, stdout, stderr } = await helper.shell.run('python3 -I -S -c "$COUNT" "$FOLDER"', {
      env: { FOLDER: helper.pathOf(volume), COUNT: countScript },
      timeout: 600_000,
    });
    const [files, bytes] = stdout.trim().split(' ').map(Number);
    if (exitCode !== 0 || files === undefined || bytes === undefined)
      throw new SafeUpdateError(
        'store',
        `The files of the volume ${volume} cannot be counted: ${stderr.trim()}`,
      );
    counts.set(volume, { files, bytes });
  }
  return counts;
}

/** Bytes free at a path of a container, and in all; undefined where that cannot be told. */
export async function freeSpaceAt(
  { run }: Pick<ContainerShell, 'run'>,
  path: string,
): Promise<{ free: number; total: number } | undefined> {
  const { exitCode, stdout } = await run('df --block-size=1 --output=avail,size -- "$FOLDER"', {
    env: { FOLDER: path },
    timeout: 30_000,
  });
  const [free, total] = (stdout.split('\n')[1] ?? '').trim().split(/\s+/).map(Number);
  if (exitCode !== 0 || !Number.isFinite(free) || !Number.isFinite(total)) return undefined;
  return { free: free ?? 0, total: total ?? 0 };
}

/** helper/list.py, which lists a volume; see its head for the format. */
export const listScript = readFileSync(`${packageFolder}list.py`, 'utf8');

/** helper/count.py, which counts files and their bytes. */
const countScript = readFileSync(`${packageFolder}count.py`, 'utf8');

/** helper/look.py, which says what keeps a folder from being emptied. */
export const lookScript = readFileSync(`${packageFolder}look.py`, 'utf8');

/** helper/write.py, which writes a file, or passes it on, and says what came in. */
export const writeScript = readFileSync(`${packageFolder}write.py`, 'utf8');

/** What finds, counts and copies SQLite files. */
export const sqliteScript = readFileSync(`${packageFolder}sqlite.py`, 'utf8');
