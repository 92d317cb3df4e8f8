import { existsSync, readdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { parseEnv } from 'node:util';
import { parse } from 'yaml';
import { canBeEnvironment } from '../../config/compose-files.ts';
import { readRegular } from './regular.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** What a service of a compose file mounts, as it is written there. */
export interface Mount {
  kind: 'volume' | 'bind' | 'tmpfs';
  /** The key of a volume, '' for one without a name; the absolute path of a bind mount. */
  source: string;
  target: string;
  readOnly: boolean;
}

/** A service, in all compose files of a folder together. */
export interface ServiceText {
  mounts: Mount[];
  /** Services whose mounts it has too: `volumes_from`. */
  lenders: { service: string; readOnly: boolean }[];
  workdir?: string;
  containerName?: string;
}

export interface StackText {
  services: Map<string, ServiceText>;
  /** By key: labels, and the folder of the host that it is, if a driver option says so. */
  volumes: Map<string, { labels: Record<string, string>; name?: string; device?: string }>;
}

/** More values for one text than this are not followed. */
const mostValues = 8;
const deepestInclude = 4;
/** No more files are read, and no more mounts of one service kept: nobody waits for ever. */
const mostFiles = 64;
const mostMounts = 200;

/**
 * Given the folder of a project and compose files, return what their services mount: of all files together, since nobody can
 * say here which of them are used. Compose is not asked: variables are replaced by every value that the environment or an env
 * file of the folder has for them. What cannot be read says nothing. Never throws.
 */
export function readStack(folder: string, files: readonly string[], env: Environment): StackText {
  const stack: StackText = { services: new Map(), volumes: new Map() };
  const values = valuesOf(folder, env);
  const read = { files: 0 };
  for (const file of files) readFile(file, folder, { stack, values, depth: 0, read });
  lend(stack);
  return stack;
}

/** Gives each service what it has from others, a few steps deep. */
function lend({ services }: StackText): void {
  for (let step = 0; step < deepestInclude; step += 1) {
    for (const { mounts, lenders } of services.values()) {
      for (const { service, readOnly } of lenders) {
        for (const mount of services.get(service)?.mounts ?? []) {
          const isThere =
            mounts.length >= 2 * mostMounts || mounts.some(({ target }) => target === mount.target);
          if (!isThere) mounts.push(readOnly ? { ...mount, readOnly } : mount);
        }
      }
    }
  }
}

interface Reading {
  stack: StackText;
  values: (name: string) => readonly string[];
  depth: number;
  read: { files: number };
}

function readFile(file: string, folder: string, reading: Reading): void {
  reading.read.files += 1;
  if (reading.read.files > mostFiles) return;
  const model = objectOf(yamlIn(file));
  for (const one of listOf(model['include'])) {
    if (reading.depth >= deepestInclude) break;
    const included = objectOf(one);
    const paths = typeof one === 'string' ? [one] : listOf(included['path']);
    for (const path of paths.flatMap((each) => texts(each, reading))) {
      const full = resolve(folder, path);
      const [directory] = texts(included['project_directory'], reading);
      const base = directory === undefined ? dirname(full) : resolve(folder, directory);
      readFile(full, base, { ...reading, depth: reading.depth + 1 });
    }
  }
  for (const [name, service] of Object.entries(objectOf(model['services'])))
    readService(name, objectOf(service), { file, folder }, reading);
  for (const [key, volume] of Object.entries(objectOf(model['volumes']))) {
    const options = objectOf(objectOf(volume)['driver_opts']);
    const [device] = /(^|,)r?bind(,|$)/.test(textOf(options['o'])) ? texts(options['device'], reading) : [];
    const [name] = texts(objectOf(volume)['name'], reading);
    reading.stack.volumes.set(key, {
      ...(name === undefined ? {} : { name }),
      labels: labelsOf(objectOf(volume)['labels']),
      ...(device === undefined ? {} : { device: resolve(folder, device) }),
    });
  }
}

function readService(
  name: string,
  service: Record<string, unknown>,
  { file, folder }: { file: string; folder: string },
  reading: Reading,
): void {
  const { services } = reading.stack;
  const own = services.get(name) ?? { mounts: [], lenders: [] };
  services.set(name, own);
  const extended = objectOf(service['extends']);
  const [from] = texts(extended['file'], reading);
  const base = typeof service['extends'] === 'string' ? service['extends'] : textOf(extended['service']);
  if (base !== '' && reading.depth < deepestInclude && reading.read.files < mostFiles) {
    if (from !== undefined) reading.read.files += 1;
    const path = from === undefined ? file : resolve(folder, from);
    const other = objectOf(objectOf(objectOf(yamlIn(path))['services'])[base]);
    readService(name, other, { file: path, folder }, { ...reading, depth: reading.depth + 1 });
  }
  own.mounts.push(
    ...listOf(service['volumes'])
      .slice(0, mostMounts)
      .flatMap((one) => mountsOf(one, folder, reading)),
    ...listOf(service['tmpfs'])
      .slice(0, mostMounts)
      .flatMap((one) =>
        texts(one, reading).map((text) => ({
          ...{ kind: 'tmpfs' as const, source: '', readOnly: false },
          target: text.split(':')[0] ?? '',
        })),
      ),
  );
  for (const one of listOf(service['volumes_from']).slice(0, mostMounts)) {
    const [lender = '', mode] = textOf(one).split(':');
    if (lender !== '' && lender !== 'container')
      own.lenders.push({ service: lender, readOnly: mode === 'ro' });
  }
  const [workdir] = texts(service['working_dir'], reading);
  const [containerName] = texts(service['container_name'], reading);
  if (workdir !== undefined) own.workdir = workdir;
  if (containerName !== undefined) own.containerName = containerName;
}

function mountsOf(one: unknown, folder: string, reading: Reading): Mount[] {
  if (typeof one === 'string') return texts(one, reading).flatMap((text) => shortMount(text, folder));
  const { type, source, target, read_only: readOnly } = objectOf(one);
  if (type !== 'volume' && type !== 'bind' && type !== 'tmpfs') return [];
  return texts(target, reading).flatMap((at) =>
    (source === undefined ? [''] : texts(source, reading)).map((from) => ({
      ...{ kind: type, target: at, readOnly: readOnly === true },
      source: type === 'bind' ? onHost(from, folder) : from,
    })),
  );
}

/** `uploads:/var/www/uploads:ro`, `./data:/data`, `/var/cache`. */
function shortMount(text: string, folder: string): Mount[] {
  const [source = '', target, options = ''] = text.split(':');
  if (target === undefined) return [{ kind: 'volume', source: '', target: source, readOnly: false }];
  const readOnly = options.split(',').includes('ro');
  return /^[./~]/.test(source)
    ? [{ kind: 'bind', source: onHost(source, folder), target, readOnly }]
    : [{ kind: 'volume', source, target, readOnly }];
}

function onHost(path: string, folder: string): string {
  return resolve(
    folder,
    path.replace(/^~(?=\/|$)/, () => process.env['HOME'] ?? '~'),
  );
}

/** A text with its variables replaced, by each value that they may have. */
function texts(value: unknown, { values }: Reading): string[] {
  if (typeof value !== 'string' || value === '') return [];
  let all = [value];
  // From the innermost outwards: `${A:-${B}}`.
  for (let pass = 0; pass < deepestInclude * 2; pass += 1) {
    const next = [...new Set(all.flatMap((text) => replacedOnce(text, values)))].slice(0, mostValues);
    if (next.every((text, index) => text === all[index])) break;
    all = next;
  }
  return all.map((text) => text.replaceAll('$$', () => '$'));
}

const reference = /(?<!\$)(?:\$\$)*\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?:(:?[-+?])([^${}]*))?\})/;

function replacedOnce(text: string, values: Reading['values']): string[] {
  const found = reference.exec(text);
  if (found === null) return [text];
  const [whole, bare, braced, operator = '', word = ''] = found;
  const dollars = /^(\$\$)*/.exec(whole.slice(0, -1))?.[0] ?? '';
  const set = values(bare ?? braced ?? '').filter((value) => value !== '');
  const fallback = operator.endsWith('-') ? word : '';
  const replacements = operator.endsWith('+')
    ? [set.length > 0 ? word : '']
    : set.length > 0
      ? set
      : [fallback];
  const [before, after] = [text.slice(0, found.index), text.slice(found.index + whole.length)];
  return replacements.map((value) => `${before}${dollars}${value.replaceAll('$', () => '$$')}${after}`);
}

/** What a variable may be: as the environment has it, else as any env file of the folder has it. */
function valuesOf(folder: string, env: Environment): (name: string) => readonly string[] {
  let files: Record<string, string | undefined>[] | undefined;
  return (name) => {
    const own = env[name];
    if (own !== undefined) return [own];
    files ??= envFilesIn(folder).map((file) => parseEnv((readRegular(file) ?? '').replace(/^\uFEFF/, '')));
    return [...new Set(files.flatMap((one) => one[name] ?? []))].slice(0, mostValues);
  };
}

function envFilesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => /^\.?env(\.|$)|\.env$/.test(name) && canBeEnvironment(name.split('.').at(-1) ?? ''))
      .map((name) => join(folder, name));
  } catch {
    return [];
  }
}

function yamlIn(file: string): unknown {
  const text = existsSync(file) ? readRegular(file) : undefined;
  if (text === undefined) return undefined;
  try {
    return parse(text, { merge: true, logLevel: 'silent', maxAliasCount: 1000 }) as unknown;
  } catch {
    return undefined;
  }
}

function labelsOf(value: unknown): Record<string, string> {
  if (Array.isArray(value))
    return Object.fromEntries(
      value.map((one) => {
        const [name = '', ...rest] = String(one).split('=');
        return [name, rest.join('=')];
      }),
    );
  return Object.fromEntries(Object.entries(objectOf(value)).map(([name, one]) => [name, textOf(one)]));
}

function objectOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : {};
}

function listOf(value: unknown): unknown[] {
  if (Array.isArray(value)) return value;
  return value === undefined || value === null ? [] : [value];
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
