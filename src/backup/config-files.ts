import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { parseAllDocuments } from 'yaml';
import type { Project } from '../model/project.ts';

export interface ConfigFile {
  /** Where it is, absolute. */
  from: string;
  /** What it is called in the backup: config/compose.yaml */
  part: string;
  mode: number;
  content: Buffer;
}

/**
 * The files that make the project's configuration, as written: compose files and what they include or extend, the
 * env files, safe-update.yml. A file that cannot be read is left out; `docker compose config` has already decided
 * whether the stack can do without it.
 */
export async function readConfigFiles(project: Project): Promise<ConfigFile[]> {
  const found = new Map<string, ConfigFile>();
  const names = new Set<string>();

  async function add(file: string): Promise<Buffer | undefined> {
    if (found.has(file)) return undefined;
    const content = await readFile(file).catch(() => undefined);
    if (content === undefined) return undefined;
    // Two files of one name from two folders must not become one.
    const inside = path.relative(project.directory, file);
    const name = inside.startsWith('..') ? path.join('outside', file) : inside;
    let part = `config/files/${name.split(path.sep).join('/')}`;
    while (names.has(part)) part += '_';
    names.add(part);
    found.set(file, { from: file, part, mode: (await stat(file)).mode & 0o777, content });
    return content;
  }

  async function addCompose(file: string): Promise<void> {
    const content = await add(file);
    if (content === undefined) return;
    for (const other of filesNamedBy(content.toString('utf8'))) {
      const absolute = path.resolve(path.dirname(file), other.path);
      if (other.isCompose) await addCompose(absolute);
      else await add(absolute);
    }
  }

  for (const file of project.files) await addCompose(file);
  for (const file of project.envFiles) await add(file);
  await add(path.join(project.directory, '.env'));
  for (const name of ['safe-update.yml', 'safe-update.yaml']) await add(path.join(project.directory, name));
  return [...found.values()];
}

/**
 * Files that a compose file names: include, extends and env_file. Read from the text, not from the rendered model,
 * which no longer knows them. Names with a variable in them are left out. Pure.
 */
export function filesNamedBy(text: string): { path: string; isCompose: boolean }[] {
  const named: { path: string; isCompose: boolean }[] = [];
  const list = (value: unknown): unknown[] =>
    Array.isArray(value) ? value : value === undefined || value === null ? [] : [value];
  const add = (value: unknown, isCompose: boolean): void => {
    if (typeof value === 'string' && !value.includes('$') && !value.includes('://'))
      named.push({ path: value, isCompose });
  };
  const field = (value: unknown, name: string): unknown =>
    typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;

  for (const document of documentsIn(text)) {
    for (const include of list(field(document, 'include'))) {
      for (const file of list(typeof include === 'string' ? include : field(include, 'path')))
        add(file, true);
      for (const file of list(field(include, 'env_file'))) add(file, false);
    }
    const services = field(document, 'services');
    for (const service of typeof services === 'object' && services !== null ? Object.values(services) : []) {
      add(field(field(service, 'extends'), 'file'), true);
      for (const file of list(field(service, 'env_file'))) {
        add(typeof file === 'string' ? file : field(file, 'path'), false);
      }
    }
  }
  return named;
}

/** A compose file may hold several documents, which compose merges. */
function documentsIn(text: string): unknown[] {
  try {
    const documents = parseAllDocuments(text, { merge: true, logLevel: 'silent' });
    return Array.isArray(documents) ? documents.map((document) => document.toJS() as unknown) : [];
  } catch {
    return [];
  }
}
