/**
 * What the shop's volumes hold once it has been started and filled. Made once by really starting and filling one, and copied
 * into the volumes of every shop after that: initdb, the schema and a dozen requests take most of what a start takes.
 */
import { createHash } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { folderOfVolume, imageId } from './docker.ts';
import { releaseImage } from './releases.ts';

const volumes = ['db_data', 'cache_data', 'uploads'] as const;
/** All that decides what is in one, the images apart. */
const sources = ['stack.ts', 'template.ts', '../../fixtures/shop/compose.yaml'];

let key: Promise<string> | undefined;

async function keyOfTemplate(): Promise<string> {
  const hash = createHash('sha256');
  for (const source of sources) hash.update(await readFile(new URL(source, import.meta.url)));
  for (const image of ['postgres:15', 'redis:7', releaseImage('1.0.0')])
    hash.update((await imageId(image)) ?? 'none');
  return hash.digest('hex').slice(0, 16);
}

/** The password of every shop: PostgreSQL keeps it in its data. Must be in no output and no manifest. */
export async function shopSecret(): Promise<string> {
  key ??= keyOfTemplate();
  return `canary-${await key}`;
}

async function folderOf(kind: 'filled' | 'started'): Promise<string> {
  return path.join(tmpdir(), `safe-update-shop-${(await shopSecret()).slice(7)}-${kind}`);
}

/** Where this engine keeps the project's volumes; undefined unless all of them are there, to be read by this process. */
async function foldersIn(project: string): Promise<Map<string, string> | undefined> {
  const found = new Map<string, string>();
  for (const volume of volumes) {
    const folder = await folderOfVolume(`${project}_${volume}`).catch(() => undefined);
    if (folder === undefined) return undefined;
    found.set(volume, folder);
  }
  return found;
}

const copy = (from: string, to: string): Promise<unknown> =>
  execa('cp', ['--archive', '--sparse=auto', `${from}/.`, `${to}/`], { stdin: 'ignore' });

/** Fills the volumes of a project that were just made. False, and nothing is done, where that cannot be. */
export async function fillFromTemplate(project: string, kind: 'filled' | 'started'): Promise<boolean> {
  const template = await folderOf(kind);
  const there = await readdir(template).catch(() => []);
  const folders = there.length === volumes.length ? await foldersIn(project) : undefined;
  if (folders === undefined) return false;
  for (const folder of folders.values()) if ((await readdir(folder)).length > 0) return false;
  for (const [volume, folder] of folders) await copy(path.join(template, volume), folder);
  return true;
}

/** Keeps what a project's volumes hold, while it is stopped. Of several at once only the first does. */
export async function keepAsTemplate(
  project: string,
  kind: 'filled' | 'started',
  stopped: () => Promise<unknown>,
): Promise<void> {
  const template = await folderOf(kind);
  if ((await readdir(template).catch(() => [])).length > 0) return;
  // Of a run that was ended in the middle of this.
  const begun = await stat(`${template}.made`).catch(() => undefined);
  if (begun !== undefined && Date.now() - begun.mtimeMs > 300_000)
    await rm(`${template}.made`, { force: true });
  const mine = await open(`${template}.made`, 'wx').catch(() => undefined);
  if (mine === undefined) return;
  await mine.close();
  const partial = `${template}.partial`;
  try {
    const folders = await foldersIn(project);
    if (folders === undefined) return;
    await rm(partial, { recursive: true, force: true });
    await stopped();
    for (const [volume, folder] of folders) {
      await mkdir(path.join(partial, volume), { recursive: true });
      await copy(folder, path.join(partial, volume));
    }
    await rename(partial, template);
  } finally {
    await rm(`${template}.made`, { force: true });
  }
}
