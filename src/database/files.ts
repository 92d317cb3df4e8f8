import { open, readdir } from 'node:fs/promises';
import path from 'node:path';

/** How many entries of a folder are looked at, and how deep: a look must not take as long as a backup. */
const most = { entries: 5000, depth: 4 };

/** Files that only the data folder of a server has. */
const ofServers = new Set([
  'PG_VERSION',
  'ibdata1',
  'WiredTiger',
  'dump.rdb',
  'appendonlydir',
  'appendonly.aof',
]);

const sqlite = Buffer.from('SQLite format 3\0');

/**
 * Whether a folder of this machine holds files of a database: SQLite, or the data folder of a server. What this process may
 * not read, and what lies deeper or later than a look goes, is not found. Absolute path in; follows no links.
 */
export async function holdsDatabaseFiles(folder: string): Promise<boolean> {
  let left = most.entries;
  const next = [{ folder, depth: 0 }];
  for (let place = next.shift(); place !== undefined && left > 0; place = next.shift()) {
    const entries = await readdir(place.folder, { withFileTypes: true }).catch(() => []);
    for (const entry of entries.slice(0, left)) {
      left -= 1;
      if (ofServers.has(entry.name)) return true;
      const file = path.join(place.folder, entry.name);
      if (entry.isDirectory() && place.depth < most.depth)
        next.push({ folder: file, depth: place.depth + 1 });
      if (entry.isFile() && (await beginsLikeSqlite(file))) return true;
    }
  }
  return false;
}

async function beginsLikeSqlite(file: string): Promise<boolean> {
  try {
    const handle = await open(file, 'r');
    try {
      const { buffer } = await handle.read(Buffer.alloc(sqlite.length), 0, sqlite.length, 0);
      return buffer.equals(sqlite);
    } finally {
      await handle.close();
    }
  } catch {
    // It has gone, or may not be read: then it is not known.
    return false;
  }
}
