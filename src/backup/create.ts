import { Readable } from 'node:stream';
import { notDumped } from '../database/client.ts';
import type { DatabaseEngine, RunningDatabase } from '../database/database.ts';
import type { Helper } from '../docker/helper.ts';
import { readContainer } from '../docker/observe.ts';
import type { StackRecord } from '../docker/record.ts';
import { SafeUpdateError } from '../model/error.ts';
import type { Container, Volume } from '../model/project.ts';
import { findConfiguration, readConfigFiles } from './config-files.ts';
import type { BackupKind } from './id.ts';
import { isWithin, parseManifest, type Manifest } from './manifest.ts';
import { metered } from './metered.ts';
import type { BackupWriter, Part, Progress } from './store/store.ts';
import { volumeReader } from './volume.ts';

/** A database that is dumped: its container, what it is, where its files are, and on which volume. */
export interface DatabaseToDump {
  engine: DatabaseEngine;
  database: RunningDatabase;
  dataPath: string;
  volume?: string;
  /** What its folder in the backup is called; absent: like its service. */
  name?: string;
  /** What a restore from the dump would not bring back. */
  notInDump?: readonly string[];
}

/** Where a database's files are: the mount that holds `dataPath`, the longest one that does. Pure. */
export function mountHolding(
  container: Pick<Container, 'mounts'>,
  dataPath: string,
): Container['mounts'][number] | undefined {
  return container.mounts
    .filter(({ path }) => isWithin(dataPath, path))
    .sort((a, b) => b.path.length - a.path.length)[0];
}

/**
 * A backup in the making. The parts are added in whatever order the run has; `seal` makes it one.
 */
export class BackupInProgress {
  readonly writer: BackupWriter;
  readonly #volumes: Manifest['volumes'] = [];
  readonly #databases: Manifest['databases'] = [];
  readonly #config: Manifest['config'] = [];
  readonly #configFolders: string[] = [];
  readonly #configMissing: string[] = [];
  readonly #dumpFolders = new Set<string>();

  constructor(writer: BackupWriter) {
    this.writer = writer;
  }

  /** Dumps a database and proves the dump complete by reading it back. Throws SafeUpdateError `database`. */
  async addDump(
    { engine, database, dataPath, volume, name: called, notInDump = [] }: DatabaseToDump,
    progress: Progress,
  ): Promise<void> {
    const { service, number } = database.container;
    const folder = this.#dumpFolder(`${safeName(called ?? service)}${number > 1 ? `-${number}` : ''}`);
    const parts: Part[] = [];
    const dumpAndCheck = async (): Promise<void> => {
      await engine.dump(database, {
        write: async (name, content) => {
          const counted = metered(content, (bytes) => {
            progress(service, bytes);
          });
          const part = await this.writer.putFile(`${folder}/${name}`, counted);
          parts.push(part);
          return { bytes: part.bytes };
        },
      });
      await engine.check(database, {
        names: parts.map(({ path }) => path.slice(folder.length + 1)),
        open: (name) => this.writer.open(`${folder}/${name}`),
      });
    };
    const [dumped, counted] = await Promise.allSettled([dumpAndCheck(), engine.fingerprint(database)]);
    for (const outcome of [dumped, counted])
      if (outcome.status === 'rejected') throw withHint(outcome.reason, database);
    const fingerprint = counted.status === 'fulfilled' ? counted.value : undefined;
    this.#databases.push({
      service,
      engine: engine.name,
      ...(volume === undefined ? {} : { volume }),
      dataPath,
      parts: parts.map(({ path }) => path),
      ...(notInDump.length === 0 ? {} : { notInDump: [...notInDump] }),
      ...(fingerprint === undefined ? {} : { fingerprint }),
    });
  }

  /** Notes what a database holds that needs no dump, because the archive of its volume will be exact. */
  addCounted(counted: Required<Omit<Manifest['databases'][number], 'parts' | 'notInDump'>>): void {
    this.#databases.push({ ...counted, parts: [] });
  }

  /** Two names may become the same folder. */
  #dumpFolder(name: string): string {
    const taken = this.#dumpFolders;
    let candidate = `databases/${name}`;
    for (let number = 2; taken.has(candidate); number += 1) candidate = `databases/${name}~${number}`;
    taken.add(candidate);
    return candidate;
  }

  /**
   * Archives a volume. `exactly`: nothing is running that could write to it, so a file that changes meanwhile is an
   * error (SafeUpdateError `store`), not a remark.
   */
  async addVolume(
    helper: Helper,
    volume: Volume,
    exactly: boolean,
    progress: Progress,
    signal?: AbortSignal,
  ): Promise<void> {
    const name = this.#fileName(volume);
    const stored = await this.writer.putVolume(name, volumeReader(helper, volume.name, signal), progress);
    if (exactly && !stored.exact) {
      throw new SafeUpdateError(
        'store',
        `Something outside the project wrote to the volume ${volume.name} while it was archived.`,
        {
          hint: 'Find what has the volume open (docker ps --filter volume=…, fuser), stop it, and run again.',
        },
      );
    }
    this.#volumes.push({
      name: volume.name,
      kind: volume.kind,
      ...(volume.key === undefined ? {} : { key: volume.key }),
      driver: volume.driver,
      servedAt: volume.servedAt,
      archive: stored.archive,
      files: stored.files,
      entries: stored.summary.entries,
      fileCount: stored.summary.files,
      bytes: stored.summary.bytes,
      sockets: stored.summary.sockets,
      digest: stored.summary.digest,
      exact: exactly,
      ...(volume.privileged === true || (stored.summary.privileged ?? 0) > 0 ? { privileged: true } : {}),
    });
  }

  /**
   * Keeps the configuration: files as written, the rendered model, and the engine's own record of the stack. Returns what
   * of it could not be had, in words.
   */
  async addConfig(record: StackRecord): Promise<readonly string[]> {
    const configuration =
      record.configuration ??
      (await findConfiguration(record.project, record.model, {
        interpolate: () => Promise.reject(new Error('compose was not asked')),
        except: [],
        containers: record.containers.map(readContainer),
      }));
    const { files, missing } = await readConfigFiles(record.project, configuration);
    for (const { content, ...file } of files) {
      await this.writer.putFile(file.part, Readable.from([content]));
      this.#config.push(file);
    }
    this.#configFolders.push(...configuration.folders);
    this.#configMissing.push(...configuration.missing, ...missing);
    // With dollar signs doubled, as compose prints it and reads it.
    const doubled = (_: string, value: unknown): unknown =>
      typeof value === 'string' ? value.replaceAll('$', () => '$$') : value;
    await this.#putJson('config/model.json', JSON.parse(JSON.stringify(record.model), doubled));
    await this.#putJson('config/engine.json', record);
    return this.#configMissing;
  }

  /** Keeps a text that helps people: the last words of a container that failed. */
  async addText(path: string, text: string): Promise<void> {
    await this.writer.putFile(path, Readable.from([Buffer.from(text)]));
  }

  /** Writes the manifest and seals. Returns it. */
  async seal(
    about: Pick<Manifest, 'tool' | 'sequence' | 'createdAt' | 'run' | 'consistency'> & { kind: BackupKind },
    record: StackRecord,
    progress: Progress,
  ): Promise<Manifest> {
    const { project } = record;
    const manifest: Manifest = {
      format: 1,
      id: this.writer.id,
      ...about,
      project: {
        name: project.name,
        directory: project.directory,
        files: project.files,
        envFiles: project.envFiles,
        profiles: project.profiles,
        ...(project.environment === undefined ? {} : { environment: project.environment }),
      },
      engine: { id: record.engine.id, version: record.engine.version, compose: record.composeVersion },
      containers: record.containers.map(readContainer).map((container) => ({
        service: container.service,
        number: container.number,
        name: container.name,
        image: container.imageName,
        imageId: container.imageId,
        configHash: container.configHash,
        running: container.running,
      })),
      volumes: this.#volumes,
      databases: this.#databases.sort((a, b) => a.service.localeCompare(b.service)),
      config: this.#config,
      ...(this.#configFolders.length === 0 ? {} : { configFolders: this.#configFolders }),
      engineRecord: 'config/engine.json',
      notCovered: [
        ...record.notCovered.map(
          ({ source, services, path, reason }) =>
            `${source} (${services.length === 0 ? '' : `${services.join(', ')}: ${path}; `}${reason})`,
        ),
        ...this.#configMissing.map((what) => `of the configuration: ${what}`),
      ],
      parts: [...this.writer.parts()],
    };
    const text = `${JSON.stringify(manifest, null, 2)}\n`;
    // Whatever would keep a rollback from reading it must fail here, before anything is replaced.
    parseManifest(manifest.id, text);
    await this.writer.seal(text, progress);
    return manifest;
  }

  async #putJson(path: string, value: unknown): Promise<void> {
    await this.writer.putFile(path, Readable.from([Buffer.from(`${JSON.stringify(value, null, 1)}\n`)]));
  }

  /** A volume's name is a file name already; a bind mount's path becomes one. */
  #fileName({ kind, name }: Volume): string {
    const base = kind === 'bind' ? `bind${safeName(name)}` : safeName(name);
    const taken = new Set(this.#volumes.map(({ archive }) => archive));
    let candidate = base;
    for (let number = 2; taken.has(`volumes/${candidate}.tar.zst`); number += 1)
      candidate = `${base}-${number}`;
    return candidate;
  }
}

/** What can be done about a dump that failed, where whoever noticed did not know. */
function withHint(error: unknown, { container }: RunningDatabase): unknown {
  // What is of a class of its own is known to whoever asked for the dump.
  const isPlain = error instanceof SafeUpdateError && error.constructor === SafeUpdateError;
  if (!isPlain || error.code !== 'database' || error.hint !== undefined) return error;
  return new SafeUpdateError('database', error.message, {
    ...(error.state === undefined ? {} : { state: error.state }),
    hint: [
      `See what the server says (docker logs ${container.name}), mend what it names, such as a view whose table is gone, then run again. If a dump takes long: timeouts.dump in safe-update.yml.`,
      `If it need not be dumped, ${notDumped(container)}`,
    ].join('\n'),
    cause: error,
  });
}

function safeName(name: string): string {
  return (
    name
      .replace(/[^A-Za-z0-9_.-]/g, '-')
      .replace(/^\.+/, '')
      .slice(0, 180) || 'unnamed'
  );
}
