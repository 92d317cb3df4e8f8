import { readdir } from 'node:fs/promises';
import type { Context } from '../update/context.ts';
import { SafeUpdateError } from '../model/error.ts';

/**
 * The project's name, for commands that must work when the compose files no longer do: as given, as compose renders
 * it, or, when the files are broken, the only project that has backups here.
 */
export async function projectNameOf(context: Context): Promise<string> {
  const { project, backups } = context.settings;
  if (project.name !== undefined) return project.name;
  try {
    return (await context.compose.model(project)).model.name;
  } catch (error) {
    if (!(error instanceof SafeUpdateError) || error.code !== 'config') throw error;
    const entries = await readdir(backups.directory, { withFileTypes: true }).catch(() => []);
    const folders = entries.filter((entry) => entry.isDirectory());
    const [only] = folders;
    if (folders.length === 1 && only !== undefined) return only.name;
    throw error;
  }
}
