import { mkdir, open as openFile, readdir, readFile, rm, rmdir, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Manifest } from '../backup/manifest.ts';
import { verifyBackup, type OpenBackup } from '../backup/open.ts';
import { syncFolder } from '../backup/store/folder.ts';
import { volumeWriter } from '../backup/volume.ts';
import { pullImageArgv } from '../docker/argv.ts';
import { compareVersions } from '../docker/engine.ts';
import { freeSpaceAt, startHelper } from '../docker/helper.ts';
import { readContainer } from '../docker/observe.ts';
import type { StackRecord } from '../docker/record.ts';
import { messageOf, SafeUpdateError } from '../model/error.ts';
import type { Outcome } from '../model/event.ts';
import {
  projectNamePattern,
  unsetVariables,
  type ComposeFileObject,
  type ComposeModel,
  type Container,
  type Project,
} from '../model/project.ts';
import { counted, formatBytes } from '../model/units.ts';
import type { Context } from './context.ts';
import { requireSameData, type Data } from './fingerprints.ts';
import { startJournal } from './journal.ts';
import { whatWasMade } from './made.ts';
import {
  blanks,
  moved,
  newProject,
  overrideName,
  separate,
  settingsFor,
  targetsOf,
  variablesOf,
  withOneShots,
  type NewProject,
} from './new-project.ts';
import { scaleOf } from './plan.ts';
import { refuse, type Refusal } from './refuse.ts';
import { recordIn, untouched } from './restore.ts';
import {
  currentContainers,
  lockProject,
  makeFolders,
  removeStrayHelpers,
  requireNotInterrupted,
  runName,
  showStep,
  upOptions,
  withHelper,
  type Session,
} from './session.ts';
import { standing, withAimsOf } from './standing.ts';
import { expectedOf, located, restoreData } from './undo.ts';
import { verifyServices } from './verify.ts';

export interface RestoreAsOptions {
  /** The new project's name. */
  project: string;
  /** Its folder, absolute: not there, or empty. */
  directory: string;
  /** False: nothing of it is published, for a second project beside the first. */
  ports: boolean;
  /** The context of whoever calls safe-update in the new folder, once its files are there. */
  contextAt: (directory: string, environment?: string) => Promise<Context>;
}

/** Oldest Compose that knows `!reset` and `!override` (docker/compose, release notes of 2.24.4). */
const oldestForOverride = '2.24.4';

const nothing = 'Nothing was touched.';

/**
 * Makes a project that does not exist yet out of a backup, on this engine: configuration files in a folder of its own,
 * volumes under its own names, filled and compared with their lists, then up and verified as after an update.
 *
 * The project that the backup is of need not be here, and is not touched if it is. Whatever can be known beforehand is
 * refused before anything is made. What fails later leaves what was made, and says what that is: no command of ours
 * removes a volume.
 */
export async function restoreAs(
  context: Context,
  open: OpenBackup,
  options: RestoreAsOptions,
): Promise<Outcome> {
  const from = context.clock.monotonic();
  const { manifest } = open;
  const { project: name, directory } = options;
  const run = runName(context.clock.now(), context.owner.pid);
  context.emit({
    type: 'run-started',
    run,
    kind: 'restore-as',
    project: name,
    at: context.clock.now().toISOString(),
  });
  if (!projectNamePattern.test(name)) {
    throw new SafeUpdateError('usage', `${JSON.stringify(name)} is not a name compose accepts.`, {
      state: nothing,
      hint: 'Use lowercase letters, digits, - and _, beginning with a letter or digit.',
    });
  }
  const becomes = newProject(manifest, name, directory);
  requirePlaces(manifest, becomes, directory);
  await showStep(context, 'check', 'Check the backup', async () => {
    await untouched(
      verifyBackup(open, (item, bytes) => {
        context.emit({ type: 'step-progress', step: 'check', item, bytes });
      }),
    );
    return manifest.id;
  });
  const record = await recordIn(open);
  await requireFolder(context, manifest, record, directory);
  await requireNoProject(context, name);

  const { lock, image } = await lockProject(context, name, run, 'restore-as');
  try {
    await removeStrayHelpers(context, name);
    await requireNoProject(context, name);
    const images = await showImages(context, record);
    await requireRoom(context, manifest, { project: name, run, image });
    const made = await untouched(writeProject(context, open, record, becomes, images, options));
    await bringUp({ ...made, context, open: located(open, record), record, run, lock, image, options });
  } finally {
    await lock.release().catch(() => undefined);
  }
  context.emit({
    type: 'notice',
    level: 'info',
    message: `The folder of ${name} is ${directory}: docker compose and safe-update work in there as they are.`,
  });
  return { result: 'restored', run, project: name, milliseconds: context.clock.monotonic() - from };
}

/** Throws SafeUpdateError `refused` for files that a folder of its own has no place for. Pure. */
function requirePlaces(manifest: Manifest, { outside }: NewProject, directory: string): void {
  const foreign = manifest.volumes.filter(
    ({ kind, name }) => kind === 'bind' && moved(name, manifest.project.directory, directory) === undefined,
  );
  const all = [...outside, ...foreign.map(({ name }) => name)];
  if (all.length === 0) return;
  throw new SafeUpdateError(
    'refused',
    `These belong to the project, but are not in its folder ${manifest.project.directory}, or not in the backup: ${all.join(', ')}.`,
    {
      state: nothing,
      hint: 'Move them into the project’s folder on the old server, back up again, and take that backup. By hand: docs/backup-format.md',
    },
  );
}

/**
 * The new folder is not there, or holds nothing but what the containers need and no backup holds: files that are mounted
 * into them. Throws SafeUpdateError `refused` for anything else, and for such a file that is not there yet.
 */
async function requireFolder(
  context: Context,
  manifest: Manifest,
  record: StackRecord,
  directory: string,
): Promise<void> {
  const backedUp = manifest.volumes.map((volume) => volume.name);
  const written = new Set(manifest.config.map(({ from }) => from));
  const needed = new Map<string, string>();
  for (const container of record.containers.map(readContainer)) {
    for (const mount of container.mounts.filter(({ type }) => type === 'bind')) {
      const place = moved(mount.source, manifest.project.directory, directory);
      if (place === undefined || backedUp.includes(mount.source) || written.has(mount.source)) continue;
      if (manifest.configFolders?.includes(mount.source) === true) continue;
      needed.set(place, container.service);
    }
  }
  const present = await readdir(directory, { recursive: true, withFileTypes: true }).catch(
    (error: unknown) => {
      if ((error as { code?: string }).code === 'ENOENT') return [];
      throw new SafeUpdateError('refused', `The folder ${directory} cannot be used: ${messageOf(error)}`, {
        state: nothing,
        hint: 'Name another one with --into.',
      });
    },
  );
  const strangers = present
    .filter((entry) => !entry.isDirectory())
    .map((entry) => path.join(entry.parentPath, entry.name))
    .filter((file) => ![...needed.keys()].some((place) => moved(file, place, place) !== undefined));
  if (strangers.length > 0) {
    throw new SafeUpdateError('refused', `The folder ${directory} is not empty.`, {
      state: nothing,
      hint: `It holds ${strangers[0] ?? ''}. Name another folder with --into.`,
    });
  }
  const missing: Refusal[] = [];
  for (const [place, service] of needed) {
    if ((await stat(place).catch(() => undefined)) !== undefined) continue;
    const inside = path.relative(directory, place);
    missing.push({
      accept: `missing:${inside}`,
      message: `${service} has ${inside} mounted, which is in no backup.`,
      hint: `Copy it to ${place}, then run again.`,
    });
  }
  refuse(missing, context.accept);
}

/** Throws SafeUpdateError `refused` if the engine has anything of a project of this name. */
async function requireNoProject({ engine }: Context, name: string): Promise<void> {
  const [containers, volumes, networks] = await Promise.all([
    engine.projectContainers(name),
    engine.projectVolumes(name),
    engine.projectNetworks(name),
  ]);
  const found = [
    ...containers.map((container) => `the container ${readContainer(container).name}`),
    ...volumes.map((volume) => `the volume ${volume.name}`),
    ...networks.map((network) => `the network ${network.Name}`),
  ];
  if (found.length === 0) return;
  throw new SafeUpdateError(
    'refused',
    `There is a project ${name} on this engine already: ${found.slice(0, 5).join(', ')}${found.length > 5 ? ', …' : ''}.`,
    {
      state: nothing,
      hint: 'Choose another name with --as. To put a backup back over the project it is of: safe-update restore, without --as',
    },
  );
}

async function showImages(context: Context, record: StackRecord): Promise<Map<string, string>> {
  let services = new Map<string, string>();
  await showStep(context, 'images', 'Look for the images', async () => {
    services = await requireImages(context, record);
    return counted(new Set(services.values()).size, 'image');
  });
  return services;
}

/** The image of each service, on the engine. Pulls by digest what is not. Throws SafeUpdateError `refused`. */
async function requireImages(
  { engine, exec, settings, emit }: Context,
  record: StackRecord,
): Promise<Map<string, string>> {
  const services = new Map(
    record.containers
      .map(readContainer)
      .sort((a, b) => b.number - a.number)
      .map(({ service, imageId }) => [service, imageId]),
  );
  const missing: string[] = [];
  for (const id of new Set(services.values())) {
    if ((await engine.image(id)) !== null) continue;
    const image = record.images.find((candidate) => candidate.id === id);
    for (const digest of image?.digests ?? []) {
      emit({ type: 'step-progress', step: 'images', item: `pulling ${digest}` });
      await exec.run({ argv: pullImageArgv(digest), timeout: settings.timeouts.pull });
      if ((await engine.image(id)) !== null) break;
    }
    if ((await engine.image(id)) === null)
      missing.push(`${image?.names[0] ?? 'without a name'} (${id.replace('sha256:', '').slice(0, 12)})`);
  }
  if (missing.length === 0) return services;
  throw new SafeUpdateError(
    'refused',
    `These images are not on this engine and cannot be pulled: ${missing.join(', ')}.`,
    {
      state: 'No project was made.',
      hint: 'On the server of the backup: safe-update export BACKUP --images. Then here: safe-update import FILE',
    },
  );
}

/** Throws SafeUpdateError `space` unless what the volumes hold fits beside what the engine keeps. */
export async function requireRoom(
  { engine, exec, settings, emit }: Context,
  manifest: Manifest,
  { project, run, image }: { project: string; run: string; image: string },
): Promise<void> {
  const needed = manifest.volumes.reduce((sum, volume) => sum + volume.bytes, 0);
  const helper = await startHelper(engine, exec, image, { project, run, volumes: [], access: 'read' });
  try {
    const space = await freeSpaceAt(helper.shell, '/');
    if (space === undefined) {
      const message = `How much room the engine has cannot be told; ${formatBytes(needed)} are needed.`;
      emit({ type: 'notice', level: 'warning', message });
      return;
    }
    const { free, total } = space;
    if (needed <= free - (total * settings.space.minimumFree) / 100) return;
    throw new SafeUpdateError(
      'space',
      `The volumes hold ${formatBytes(needed)}; the disk of the engine has ${formatBytes(free)} free, of which ${settings.space.minimumFree} % of the disk stay free.`,
      { state: nothing, hint: 'Free some space there, or lower --minimum-free.' },
    );
  } finally {
    await helper.remove();
  }
}

interface Written {
  project: Project;
  model: ComposeModel;
  /** Services that get containers. */
  services: string[];
  /** The image of each service, by id. */
  images: Map<string, string>;
  /** Names that images are given: id and name. */
  tags: [string, string][];
  externals: string[];
  /** Volumes of the engine before: never to be written to. */
  volumesBefore: ReadonlySet<string>;
  at: Context;
}

/**
 * Writes the folder, and finds out with compose itself what it means. Throws SafeUpdateError `refused` or `config` where
 * it would share something with another project; then the folder is as it was.
 */
async function writeProject(
  context: Context,
  open: OpenBackup,
  record: StackRecord,
  becomes: NewProject,
  images: Map<string, string>,
  { directory, ports, contextAt }: RestoreAsOptions,
): Promise<Written> {
  const { engine, compose, emit } = context;
  const { manifest, reader } = open;
  const writer = folderWriter(directory);
  try {
    for (const { part, to, mode, owner } of becomes.files) {
      const chunks: Buffer[] = [];
      for await (const chunk of reader.open(part)) chunks.push(Buffer.from(chunk as Buffer));
      await writer.write(to, Buffer.concat(chunks), mode, owner);
    }
    let { project } = becomes;
    const { model, warnings } = await compose.model(project);
    for (const message of warnings) emit({ type: 'notice', level: 'warning', message });
    const recorded = [...images.keys()];
    const services = recorded.filter((service) => service in model.services);
    for (const service of recorded.filter((other) => !services.includes(other))) {
      const message = `${service} is not in the compose files of the backup, and is left out.`;
      emit({ type: 'notice', level: 'warning', message });
    }
    if (services.length === 0)
      throw new SafeUpdateError('refused', 'None of the containers of the backup is in its compose files.', {
        hint: 'Take another backup: safe-update backups',
      });
    sayDifferences(context, manifest, record, model, services);
    const unset = unsetVariables(warnings).filter((name) => record.unset?.includes(name) !== true);
    refuse(
      [
        ...blankValues(manifest, record, model, services, directory, unset),
        ...(await blankObjects(context, project, record, model, services)),
        ...(await missingMounts(manifest, model, services)),
      ],
      context.accept,
    );

    const everyone = await engine.allContainers();
    const volumesBefore = new Set((await engine.allVolumes()).map(({ name }) => name));
    const taken = {
      volumes: volumesBefore,
      containers: new Set(everyone.map((container) => container.name)),
      networks: await engine.networkNames(),
      firstNetworks: new Set(
        everyone
          .filter(({ labels }) => labels['com.docker.compose.project'] === manifest.project.name)
          .flatMap(({ networks }) => networks),
      ),
      ports: everyone.flatMap(({ name, ports: served }) =>
        served.map((port) => ({ ...port, container: name })),
      ),
    };
    const { tags, others } = await nameImages(context, project, model, services, images);
    const { override, externals, notices, obstacles } = separate(model, services, taken, {
      ports,
      images: others,
    });
    if (obstacles.length > 0) {
      throw new SafeUpdateError('refused', obstacles.map(({ message }) => message).join('\n'), {
        hint: [...new Set(obstacles.map(({ hint }) => hint))].join('\n'),
      });
    }
    for (const message of notices) emit({ type: 'notice', level: 'warning', message });
    if (override !== undefined) {
      if (compareVersions(await compose.version(), oldestForOverride) < 0) {
        throw new SafeUpdateError('refused', `This needs docker compose ${oldestForOverride} or newer.`, {
          hint: 'Upgrade the compose plugin.',
        });
      }
      const file = path.join(directory, overrideName);
      await writer.write(file, Buffer.from(override), 0o644);
      project = { ...project, files: [...project.files, file] };
    }
    for (const name of ['safe-update.yml', 'safe-update.yaml']) {
      const file = path.join(directory, name);
      const text = await readFile(file, 'utf8').catch(() => undefined);
      if (text === undefined) continue;
      const extra = override === undefined ? undefined : overrideName;
      await writer.replace(file, settingsFor(text, project.name, extra));
    }
    await rememberOneShots(context, writer, record, services, directory);
    const last = project.envFiles.at(-1);
    for (const file of new Set([path.join(directory, '.env'), ...(last === undefined ? [] : [last])]))
      await writer.append(file, variablesOf(project));

    const final = await compose.model(project);
    requireOwnFolders(context, manifest, final.model, services, directory);
    const at = await contextAt(directory, manifest.project.environment);
    requireSameProject(at, project);
    await writer.flush();
    return { project, model: final.model, services, images, tags, externals, volumesBefore, at };
  } catch (error) {
    await writer.undo();
    if ((error as { syscall?: unknown }).syscall === undefined) throw error;
    throw new SafeUpdateError('store', `The folder ${directory} cannot be written: ${messageOf(error)}`, {
      hint: 'Name another one with --into, or give yourself write access to it.',
      cause: error,
    });
  }
}

/**
 * What had done its work when the backup was made is not run now, and would be taken for stopped on purpose ever after: the
 * new project's safe-update.yml says that it runs with each release.
 */
async function rememberOneShots(
  { emit }: Context,
  writer: ReturnType<typeof folderWriter>,
  record: StackRecord,
  services: readonly string[],
  directory: string,
): Promise<void> {
  const containers = record.containers.map(readContainer);
  const done = services.filter((service) => {
    const own = containers.filter((container) => container.service === service);
    return own.every((container) =>
      record.done === undefined
        ? standing(container, record) === 'one-shot'
        : record.done.includes(container.id),
    );
  });
  if (done.length === 0) return;
  const files = ['safe-update.yml', 'safe-update.yaml'].map((name) => path.join(directory, name));
  const [first = ''] = files;
  let file = first;
  let text = '';
  for (const candidate of files) {
    const found = await readFile(candidate, 'utf8').catch(() => undefined);
    if (found !== undefined) [file, text] = [candidate, found];
  }
  const settings = withOneShots(text, done);
  if (text === '') await writer.write(file, Buffer.from(settings), 0o644);
  else await writer.replace(file, settings);
  const message = `Done when the backup was made, so not run now, but with the next release: ${done.join(', ')} (services in ${path.basename(file)}).`;
  emit({ type: 'notice', level: 'info', message });
}

/** Writes files that are not there, and can take exactly these away again. */
function folderWriter(directory: string) {
  const files: string[] = [];
  const folders: string[] = [];

  async function makeFolder(folder: string): Promise<void> {
    if ((await stat(folder).catch(() => undefined)) !== undefined) return;
    await makeFolder(path.dirname(folder));
    await mkdir(folder);
    folders.push(folder);
  }

  return {
    async write(
      file: string,
      content: Buffer,
      mode: number,
      owner?: { uid: number; gid: number },
    ): Promise<void> {
      await makeFolder(path.dirname(file));
      const handle = await openFile(file, 'wx', mode);
      files.push(file);
      try {
        await handle.writeFile(content);
        // Only root can, and only then can it have been of another user.
        if (owner !== undefined) await handle.chown(owner.uid, owner.gid).catch(() => undefined);
        await handle.chmod(mode);
        await handle.sync();
      } finally {
        await handle.close();
      }
    },
    /** Of a file that was written here. */
    async replace(file: string, text: string): Promise<void> {
      if (!files.includes(file)) throw new Error(`not written here: ${file}`);
      const handle = await openFile(file, 'w');
      try {
        await handle.writeFile(text);
        await handle.sync();
      } finally {
        await handle.close();
      }
    },
    async append(file: string, text: string): Promise<void> {
      if (!files.includes(file)) {
        await this.write(file, Buffer.from(text.trimStart()), 0o600);
        return;
      }
      const before = await readFile(file, 'utf8');
      await this.replace(file, before + (before === '' || before.endsWith('\n') ? '' : '\n') + text);
    },
    async flush(): Promise<void> {
      for (const folder of new Set([directory, ...folders])) await syncFolder(folder);
    },
    async undo(): Promise<void> {
      for (const file of files) await rm(file, { force: true });
      // rmdir takes empty ones only.
      for (const folder of folders.reverse()) await rmdir(folder).catch(() => undefined);
    },
  };
}

/** Variables of the shell that made the backup are in no file: what renders differently now is said, by name. */
function sayDifferences(
  { emit }: Context,
  { project }: Manifest,
  record: StackRecord,
  model: ComposeModel,
  services: readonly string[],
): void {
  const written = (value: unknown): string =>
    JSON.stringify(value ?? null)
      .replaceAll(project.directory, '')
      .replaceAll(project.name, '');
  for (const service of services) {
    const before = record.model.services[service];
    const now = model.services[service];
    if (before === undefined || now === undefined) continue;
    const names = [
      ...new Set([...Object.keys(before.environment ?? {}), ...Object.keys(now.environment ?? {})]),
    ];
    const different = names.filter(
      (variable) =>
        written(before.environment?.[variable]) !==
        written(now.environment?.[variable]).replaceAll(model.name, ''),
    );
    if (different.length === 0) continue;
    emit({
      type: 'notice',
      level: 'warning',
      message: `${service}: ${different.join(', ')} had another value when the backup was made; it came from outside of the files that are in it.`,
    });
  }
}

/** What was set when the backup was made must not be blank now: a blank password or path is no smaller fault than a lost file. */
function blankValues(
  { project }: Manifest,
  record: StackRecord,
  model: ComposeModel,
  services: readonly string[],
  directory: string,
  unset: readonly string[],
): Refusal[] {
  const withoutNames = (part: unknown, name: string, folder: string): unknown =>
    JSON.parse(JSON.stringify(part ?? null), (_, value: unknown) =>
      typeof value === 'string' ? value.replaceAll(folder, '').replaceAll(name, '') : value,
    );
  const essence = (whole: ComposeModel, name: string, folder: string): unknown => ({
    services: Object.fromEntries(
      services.map((service) => [service, withoutNames(whole.services[service], name, folder)]),
    ),
    volumes: withoutNames(whole.volumes, name, folder),
    networks: withoutNames(whole.networks, name, folder),
  });
  const found = blanks(
    essence(record.model, project.name, project.directory),
    essence(model, model.name, directory),
    unset.length > 0,
  );
  const variables = unset.length === 0 ? '' : ` Compose has no value for: ${unset.join(', ')}.`;
  return found.map(({ at, what }) => ({
    accept: `blank:${at}`,
    message: `${at} had a value when the backup was made; here ${what === 'all' ? 'it would be blank' : 'a part of it would be blank'}.`,
    hint: `Its value came from the environment, or from a file that is not in the backup.${variables} Set it in the environment and run again.`,
  }));
}

/** Secrets and configs whose content is a variable's: compose would make them without any. */
async function blankObjects(
  { compose }: Context,
  project: Project,
  record: StackRecord,
  model: ComposeModel,
  services: readonly string[],
): Promise<Refusal[]> {
  const used = usedObjects(model, services).flatMap(({ what, name, object: { environment } }) =>
    environment === undefined ? [] : [{ what, name, environment }],
  );
  const own = path.join(project.directory, '.env');
  const envFiles =
    project.envFiles.length > 0 || (await stat(own).catch(() => undefined)) === undefined
      ? project.envFiles
      : [own];
  const values =
    used.length === 0
      ? []
      : await compose.interpolate(
          project,
          used.map(({ environment }) => `\${${environment}-}`),
          envFiles,
        );
  return used
    .filter((_, index) => values[index] === '')
    .filter(({ what, name }) => record.model[what]?.[name] !== undefined)
    .map(({ what, name, environment }) => ({
      accept: `blank:${what}.${name}`,
      message: `${what}.${name} has its content from the variable ${environment}, which is not set here.`,
      hint: `Set ${environment} in the environment and run again.`,
    }));
}

function usedObjects(
  { services: all, secrets = {}, configs = {} }: ComposeModel,
  services: readonly string[],
): { what: 'secrets' | 'configs'; name: string; service: string; object: ComposeFileObject }[] {
  return services.flatMap((service) =>
    (['secrets', 'configs'] as const).flatMap((what) =>
      (all[service]?.[what] ?? []).flatMap(({ source }) => {
        const object = (what === 'secrets' ? secrets : configs)[source];
        return object === undefined ? [] : [{ what, name: source, service, object }];
      }),
    ),
  );
}

/** Files that containers are given to read, from outside of the folder: they must be here already. */
async function missingMounts(
  { config }: Manifest,
  model: ComposeModel,
  services: readonly string[],
): Promise<Refusal[]> {
  const found: Refusal[] = [];
  for (const { service, object } of usedObjects(model, services)) {
    const { file } = object;
    if (file === undefined || (await stat(file).catch(() => undefined)) !== undefined) continue;
    const kept = config.find(({ from }) => from === file);
    found.push({
      accept: `missing:${file}`,
      message: `${service} needs ${file}, which is not here.`,
      hint:
        kept === undefined
          ? 'Put it there, then run again.'
          : `It is ${kept.part} in the backup: copy it there, then run again.`,
    });
  }
  return found;
}

/**
 * Names for the images: those that the compose files have for them, where they are free. `others`: for services whose
 * name stands for another image here, one that is theirs.
 */
async function nameImages(
  { engine }: Context,
  project: Project,
  model: ComposeModel,
  services: readonly string[],
  images: ReadonlyMap<string, string>,
): Promise<{ tags: [string, string][]; others: Map<string, string> }> {
  const tags: [string, string][] = [];
  const others = new Map<string, string>();
  for (const service of services) {
    const id = images.get(service) ?? '';
    const name = model.services[service]?.image ?? `${project.name}-${service}`;
    const present = await engine.image(name);
    if (present?.id === id) continue;
    if (present === null && !name.includes('@')) {
      tags.push([id, name]);
      continue;
    }
    const own = `${project.name}-${service}:restored`;
    tags.push([id, own]);
    others.set(service, own);
  }
  return { tags, others };
}

/**
 * A folder of the host that a container of the new project may write to must be in the project's own folder: elsewhere
 * it would be that of the first project. Sockets are not files. Throws SafeUpdateError `refused`.
 */
function requireOwnFolders(
  { accept }: Context,
  manifest: Manifest,
  model: ComposeModel,
  services: readonly string[],
  directory: string,
): void {
  const found: Refusal[] = [];
  for (const service of services) {
    for (const { type, source = '', read_only } of model.services[service]?.volumes ?? []) {
      if (type !== 'bind' || read_only === true || source.endsWith('.sock')) continue;
      if (moved(source, directory, directory) !== undefined) continue;
      const ofFirst = moved(source, manifest.project.directory, directory) !== undefined;
      found.push({
        accept: `outside:${source}`,
        message: `${service} would write to ${source}, which is ${ofFirst ? 'the folder of the first project' : `not in ${directory}`}.`,
        hint: 'Name it relative to the compose file (./data) and back up again.',
      });
    }
  }
  refuse(found, accept);
}

/** Whoever calls safe-update in the new folder must not mean the first project. */
function requireSameProject({ settings }: Context, project: Project): void {
  const means = settings.project;
  const same =
    means.name === project.name &&
    means.directory === project.directory &&
    means.files.join('\n') === project.files.join('\n');
  if (same) return;
  throw new SafeUpdateError(
    'refused',
    `In ${project.directory} safe-update would not mean ${project.name} with ${project.files.join(', ')}, but ${means.name ?? 'another project'} with ${means.files.join(', ')}.`,
    {
      hint: `See what safe-update.yml in the backup says of project, directory and files${settings.configFile === undefined ? '' : ` (${path.basename(settings.configFile)})`}: name them relative to it, back up again, and take that backup.`,
    },
  );
}

interface Making extends Written {
  context: Context;
  open: OpenBackup;
  record: StackRecord;
  run: string;
  lock: Session['lock'];
  image: string;
  options: RestoreAsOptions;
}

/** Everything from the first thing that is made on the engine. Throws with a list of what was made. */
async function bringUp(making: Making): Promise<void> {
  const { context, open, run, lock, image, at, project } = making;
  const { manifest } = open;
  const now = (): string => context.clock.now().toISOString();
  const state = at.stateFor(project.name);
  const journal = await startJournal(state, {
    type: 'begin',
    run,
    kind: 'restore-as',
    project: project.name,
    ...(project.environment === undefined ? {} : { environment: project.environment }),
    consistency: manifest.consistency,
    at: now(),
    tool: context.tool,
    host: context.owner.host,
  });
  const session: Session = {
    context: at,
    run,
    project: project.name,
    store: context.storeFor(manifest.project.name),
    state,
    journal,
    lock,
    helperImage: image,
  };
  try {
    journal.write({ type: 'source', backup: manifest.id, only: [] });
    await showStep(at, 'create', 'Make the containers', async () => create(making));
    const created = await currentContainers(at, project.name);
    requireImagesOf(created, making.images);
    requireNotInterrupted(at);
    const filled: Data[] = [];
    await showStep(at, 'data', 'Put the data in', async () => {
      const { data, detail } = await fill(session, making, created);
      filled.push(data);
      return detail;
    });
    requireNotInterrupted(at);
    await start(session, making, created, filled);
    journal.write({ type: 'end', result: 'restored', at: now() });
  } catch (error) {
    try {
      journal.write({ type: 'end', result: 'failed', reason: messageOf(error), at: now() });
    } catch {
      // The error that is on its way says more.
    }
    throw await withWhatWasMade(making, error);
  }
}

async function create({
  at,
  project,
  services,
  model,
  record,
  tags,
  externals,
  options,
}: Making): Promise<string> {
  const { engine, compose } = at;
  for (const [id, name] of tags) await engine.tag(id, name);
  for (const name of externals) await engine.createVolume({ name, driver: 'local', options: {}, labels: {} });
  // Compose has the engine make folders that are not there, but not in each way a mount can be written.
  for (const service of services) {
    for (const { type, source } of model.services[service]?.volumes ?? []) {
      if (type !== 'bind' || source === undefined) continue;
      if (moved(source, options.directory, options.directory) === undefined) continue;
      if ((await stat(source).catch(() => undefined)) === undefined) await mkdir(source, { recursive: true });
    }
  }
  const recorded = record.containers.map(readContainer);
  const scale = scaleOf(
    model,
    services.map((service) => [service, replicasOf(recorded, service)]),
  );
  await compose.create(project, services, { scale }, upOptions(at, 'create'));
  return services.join(', ');
}

function requireImagesOf(created: readonly Container[], images: ReadonlyMap<string, string>): void {
  const other = created.find(({ service, imageId }) => images.get(service) !== imageId);
  if (other === undefined) return;
  throw new SafeUpdateError(
    'refused',
    `${other.name} was made from another image than the one in the backup.`,
    {
      hint: 'Somebody moved a name of an image meanwhile. Remove what was made and run again.',
    },
  );
}

/** Every volume of the backup goes where the containers of the new project have the same paths. */
async function fill(
  session: Session,
  making: Making,
  created: readonly Container[],
): Promise<{ data: Data; detail: string }> {
  const { context } = session;
  const { open, record, project, volumesBefore, options } = making;
  const { manifest } = open;
  const recorded = record.containers.map(readContainer);
  const targets = targetsOf(manifest.volumes, recorded, created);
  for (const volume of manifest.volumes.filter(({ name }) => !targets.has(name))) {
    const name = `${project.name}_${volume.key ?? ''}`;
    if (volume.key === undefined || volume.kind === 'bind' || volumesBefore.has(name)) {
      const message = `${volume.name} is left out: no container of the new project has it.`;
      context.emit({ type: 'notice', level: 'warning', message });
      continue;
    }
    const labels = {
      'com.docker.compose.project': project.name,
      'com.docker.compose.volume': volume.key,
    };
    await context.engine.createVolume({ name, driver: 'local', options: {}, labels });
    targets.set(volume.name, { name, kind: 'volume' });
  }
  await requireOwn(session, making, [...targets.values()]);

  const target = (name: string): string | undefined => targets.get(name)?.name;
  const volumes = manifest.volumes.flatMap((volume) => {
    const to = targets.get(volume.name);
    if (to === undefined) return [];
    return [{ ...volume, name: to.name, kind: to.kind === 'bind' ? ('bind' as const) : ('named' as const) }];
  });
  const databases = manifest.databases.map(({ volume, ...dump }) => {
    const to = volume === undefined ? undefined : target(volume);
    return to === undefined ? dump : { ...dump, volume: to };
  });
  const binds = volumes.filter(({ kind }) => kind === 'bind');
  if (binds.length > 0) {
    await withHelper(session, binds, 'read', async (helper) => {
      for (const { name } of binds) {
        const { entries, sockets } = await volumeWriter(helper, name).summary();
        if (entries + sockets <= 1) continue;
        throw new SafeUpdateError('refused', `The folder ${name} is not empty.`, {
          hint: `Look what wrote to it. It must be empty before the data of the backup goes in; ${options.directory} was when this began.`,
        });
      }
    });
  }
  const inspects = await context.engine.projectContainers(project.name);
  const detail = await restoreData(
    session,
    { ...open, manifest: { ...manifest, volumes, databases } },
    { ...record, containers: inspects },
    new Map(),
    () => true,
    'data',
    { nothingToLose: true },
  );
  // What is not in the backup begins empty, and would be without the folders that are mounted by themselves.
  const begins = created.flatMap(({ mounts }) =>
    mounts.flatMap(({ type, source, subpath }) =>
      type !== 'volume' || subpath === undefined || volumesBefore.has(source)
        ? []
        : [{ volume: source, folder: subpath }],
    ),
  );
  await makeFolders(
    session,
    begins.filter(({ volume }) => !volumes.some(({ name }) => name === volume)),
  );
  return { data: { volumes, databases }, detail };
}

/**
 * Before anything is emptied: every volume is new, lies where the engine keeps volumes, and no container outside of the
 * new project has it; every folder is in the project's own.
 */
async function requireOwn(
  { context }: Session,
  { project, volumesBefore, options }: Making,
  targets: readonly { name: string; kind: 'volume' | 'bind' }[],
): Promise<void> {
  const everyone = await context.engine.allContainers();
  for (const { name, kind } of targets) {
    const foreign = everyone.find(
      (container) =>
        container.labels['com.docker.compose.project'] !== project.name &&
        container.mounts.some((mount) => (kind === 'bind' ? mount.source : mount.name) === name),
    );
    const spec = kind === 'bind' ? null : await context.engine.volume(name);
    const own =
      foreign === undefined &&
      (kind === 'bind'
        ? moved(name, options.directory, options.directory) !== undefined
        : spec !== null &&
          !volumesBefore.has(name) &&
          spec.driver === 'local' &&
          Object.keys(spec.options).length === 0);
    if (own) continue;
    throw new SafeUpdateError(
      'refused',
      `${name} is not only the new project's${foreign === undefined ? '' : `: ${foreign.name} has it too`}.`,
      { hint: 'Nothing was written to it. Find out who made it, and choose another name with --as.' },
    );
  }
}

/** Starts what ran when the backup was made, and waits until it is healthy and stable. */
async function start(
  session: Session,
  { at, project, record, model }: Making,
  created: readonly Container[],
  filled: readonly Data[],
): Promise<void> {
  const { compose, signal } = at;
  const ran = new Set(
    record.containers
      .map(readContainer)
      .filter(({ id }) => record.running.includes(id))
      .map(({ service }) => service),
  );
  const running = created.filter(({ service }) => ran.has(service));
  const services = [...new Set(running.map(({ service }) => service))];
  if (services.length === 0) return;
  await showStep(at, 'up', 'Start the project', async () => {
    const scale = scaleOf(
      model,
      services.map((service) => [service, replicasOf(running, service)]),
    );
    const periods = running.reduce((sum, { startPeriod = 0 }) => sum + startPeriod, 0);
    await compose.up(project, services, { scale }, upOptions(at, 'up', periods));
    return services.join(', ');
  });
  await showStep(at, 'verify', 'Verify the project', async () => {
    const green = await verifyServices(session, expectedOf(withAimsOf(record, running)), {
      step: 'verify',
      justStarted: true,
      signal,
    });
    for (const data of filled) await requireSameData(session, data);
    return green;
  });
}

function replicasOf(containers: readonly Container[], service: string): number {
  return containers.filter((container) => container.service === service).length;
}

/** What there is now that was not there before is for a person to look at, and to remove. */
async function withWhatWasMade({ at, open, project, externals }: Making, error: unknown): Promise<unknown> {
  const { words, commands } = await whatWasMade(at.engine, project.name, project.directory, externals);
  if (!(error instanceof SafeUpdateError)) {
    at.emit({ type: 'notice', level: 'warning', message: `Made so far: ${words}. ${commands.join('; ')}` });
    return error;
  }
  const first = open.manifest.project.name;
  const untouchedFirst = first === project.name ? '' : ` ${first} was not touched.`;
  return new SafeUpdateError(error.code, error.message, {
    state: `${project.name} is not complete.${untouchedFirst} Made so far, and left for you to look at: ${words}.`,
    hint: [
      ...(error.hint === undefined ? [] : [error.hint]),
      `To see what the containers say: docker compose --project-directory ${project.directory} logs`,
      'To remove what was made, before you try again:',
      ...commands,
    ].join('\n'),
    cause: error,
  });
}
