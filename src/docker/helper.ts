import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { SafeUpdateError } from '../model/error.ts';
import type { Volume } from '../model/project.ts';
import { buildImageArgv, pullImageArgv } from './argv.ts';
import type { Engine } from './engine.ts';
import type { Exec } from './exec.ts';
import { containerShell, type ContainerShell } from './shell.ts';

const folder = fileURLToPath(new URL('../../helper/', import.meta.url));

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
    .update(readFileSync(`${folder}Dockerfile`))
    .digest('hex')
    .slice(0, 12);
  const name = `safe-update/helper:${hash}`;
  if ((await engine.image(name)) !== null) return name;
  onBuild();
  const built = await exec.run({ argv: buildImageArgv(name, folder), timeout: 900_000 });
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
  /** Bytes of content, hard links counted once. */
  bytes: number;
  /** Sockets, which no archive can hold. */
  sockets: number;
  /** sha256 over the list: equal exactly when two volumes are equal. */
  digest: string;
}

/** A running container with volumes mounted, through which they are read or written. */
export interface Helper {
  readonly id: string;
  readonly shell: ContainerShell;
  /** Where a volume is inside the helper. Throws if it was not mounted. */
  pathOf(volume: string): string;
  remove(): Promise<void>;
}

export interface HelperOptions {
  project: string;
  run: string;
  volumes: readonly Pick<Volume, 'name' | 'kind'>[];
  access: 'read' | 'write';
}

/**
 * Reading needs to pass by permission bits and nothing else; writing also gives files their owners, modes, file
 * capabilities and device numbers back.
 */
const capabilities = {
  read: ['DAC_READ_SEARCH'],
  write: ['DAC_READ_SEARCH', 'DAC_OVERRIDE', 'CHOWN', 'FOWNER', 'FSETID', 'SETFCAP', 'MKNOD'],
};

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
  const id = await engine.createContainer({
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
      CapAdd: capabilities[options.access],
      SecurityOpt: ['no-new-privileges'],
      LogConfig: { Type: 'none', Config: {} },
      Mounts: options.volumes.map(({ name, kind }) => ({
        Type: kind === 'bind' ? 'bind' : 'volume',
        Source: name,
        Target: places.get(name) ?? '',
        ReadOnly: options.access === 'read',
        // Without this an empty volume would be filled with what the image has at that path.
        ...(kind === 'bind'
          ? {}
          : { VolumeOptions: { NoCopy: true, Labels: {}, DriverConfig: { Name: '', Options: {} } } }),
      })),
    },
  });
  try {
    await engine.start(id);
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
    remove: () => engine.removeContainer(id),
  };
}

/** Bytes that each volume's files take on disk, by volume name. Reads no content. */
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
  return sizes;
}

/** helper/list.py, which lists a volume; see its head for the format. */
export const listScript = readFileSync(`${folder}list.py`, 'utf8');
