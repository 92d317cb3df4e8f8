import { realpath } from 'node:fs/promises';
import path from 'node:path';
import type { Manifest } from '../backup/manifest.ts';
import { isWithin } from '../config/load.ts';
import type { Engine } from '../docker/engine.ts';
import type { Volume } from '../model/project.ts';
import type { PastRun } from './journal.ts';
import { writesTo } from './overwritten.ts';
import type { Refusal } from './refuse.ts';
import type { Selection } from './restore.ts';

/** What of the present project a backup may write over without being asked about. */
export interface Present {
  /** The project's folder. */
  directory: string;
  /** Its configuration files, wherever they are. */
  files: readonly string[];
  volumes: readonly Pick<Volume, 'name'>[];
}

/** Whether a run of this project has made the backup on this machine. Any other one may have been made by anybody. Pure. */
export function isMadeHere(runs: readonly PastRun[], { id, run }: Pick<Manifest, 'id' | 'run'>): boolean {
  return runs.some(
    (past) =>
      past.run === run &&
      past.entries.some(
        (entry) =>
          (entry.type === 'backup-sealed' || entry.type === 'failed-backup-sealed') && entry.id === id,
      ),
  );
}

/**
 * Places outside of the project that a restore would write to because the backup says so: files that are none of the project's
 * configuration, folders of the host, volumes of nobody. `recorded`: the volumes in its record of the engine, as which they would
 * be made anew.
 */
export async function outsideRefusals(
  engine: Pick<Engine, 'volume'>,
  present: Present,
  target: Manifest,
  recorded: readonly Pick<Volume, 'name' | 'options'>[],
  selection: Selection,
): Promise<Refusal[]> {
  const refusals: Refusal[] = [];
  const folder = await leadsTo(present.directory);
  const isInside = async (place: string): Promise<boolean> => isWithin(await leadsTo(place), folder);
  for (const { name, kind } of target.volumes.filter(writesTo(selection, target))) {
    if (present.volumes.some((own) => own.name === name)) continue;
    if (kind === 'bind') {
      if (!(await isInside(name))) refusals.push(refusal(name, 'the folder', 'emptied and filled'));
      continue;
    }
    const found = await engine.volume(name);
    if (found !== null) {
      // That of another project is refused as such.
      if (found.labels['com.docker.compose.project'] === undefined)
        refusals.push(refusal(name, 'the volume', 'emptied and filled'));
      continue;
    }
    const device = recorded.find((volume) => volume.name === name)?.options['device'];
    if (device !== undefined && !(path.isAbsolute(device) && (await isInside(device))))
      refusals.push(refusal(device, `what the volume ${name} is to lie on,`, 'emptied and filled'));
  }
  if (selection.what === 'some' && selection.config) {
    for (const { from } of target.config) {
      if (present.files.includes(from) || (await isInside(from))) continue;
      refusals.push(refusal(from, 'the file', 'written'));
    }
  }
  return refusals;
}

function refusal(place: string, what: string, done: string): Refusal {
  return {
    accept: `outside:${place}`,
    message: `The backup was not made here by this project, and ${what} ${place} would be ${done}, which is none of the project's.`,
    hint: 'See what is there first; leave it out with --only, or restore beside it: --as.',
  };
}

/** The path without links, also of what is not there yet. */
async function leadsTo(place: string): Promise<string> {
  const found = await realpath(place).catch(() => undefined);
  if (found !== undefined) return found;
  const parent = path.dirname(place);
  return parent === place ? place : path.join(await leadsTo(parent), path.basename(place));
}
