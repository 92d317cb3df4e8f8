import { readdir } from 'node:fs/promises';
import type { Context } from '../update/context.ts';
import { SafeUpdateError } from '../model/error.ts';

/**
 * The project's name, for commands that must work when the compose files no longer do: as given, as compose renders
 * it, or, when the files are broken or there are none, the only project that has backups here. Throws SafeUpdateError `config`.
 */
export async function projectNameOf(context: Context): Promise<string> {
  const { project, backups } = context.settings;
  if (project.name !== undefined) return project.name;
  try {
    if (project.files.length > 0) return (await context.compose.model(project)).model.name;
  } catch (error) {
    if (!(error instanceof SafeUpdateError) || error.code !== 'config') throw error;
    const [only, ...more] = await projectsIn(backups.directory);
    if (only !== undefined && more.length === 0) return only;
    throw error;
  }
  const found = await projectsIn(backups.directory);
  const [only, ...more] = found;
  if (only !== undefined && more.length === 0) return only;
  throw new SafeUpdateError(
    'config',
    `No compose file was found in ${project.directory}, and no project is named.`,
    {
      state: 'Nothing was touched.',
      hint:
        found.length === 0
          ? `Run it in the folder of the compose file; or name the project and its backups: -p NAME --backups FOLDER. There are none in ${backups.directory}.`
          : `Name the project: -p ${found.join(', or -p ')}. Or run it in the folder of the compose file.`,
    },
  );
}

/** The projects that have backups in a folder, by name, sorted. */
async function projectsIn(folder: string): Promise<string[]> {
  // Where it is not there, or may not be read, the missing compose file is what is said.
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .sort();
}
