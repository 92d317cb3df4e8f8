import { lstatSync, readFileSync, statSync, type Stats } from 'node:fs';
import { dirname } from 'node:path';
import type { MachineRules } from '../../guard/policy.ts';
import { defaults } from '../../guard/verdict.ts';
import { distrusted } from '../trust.ts';

/** What holds for all projects of this machine. Not by a variable: whoever runs a command would choose the rules for it. */
export const machineFile = '/etc/safe-update/guard.yml';

/** When the machine's file cannot be used: nobody knows what it would have asked for. */
const strict: MachineRules = {
  policy: 'block',
  freshSeconds: defaults.freshSeconds,
  projects: {},
  volumes: {},
};

/**
 * The machine's rules, and what is wrong with the file. No file, no rules; one that is wrong, or that somebody else could have
 * written, is as strict as can be. Loads nothing where there is none. Never throws.
 */
export async function readMachineRules(
  file: string = machineFile,
  uid: number = process.getuid?.() ?? -1,
): Promise<{ rules: MachineRules; warning?: string }> {
  try {
    const why = distrust(file, uid);
    if (why === 'absent') return { rules: { projects: {}, volumes: {} } };
    if (why !== undefined)
      return { rules: strict, warning: `${file} is not read, as ${why}: everything is blocked` };
    const { parseGuardFile } = await import('../../config/parse.ts');
    const { policy, fresh, projects = {}, volumes = {} } = parseGuardFile(readFileSync(file, 'utf8'), file);
    return {
      rules: {
        projects,
        volumes,
        ...(policy === undefined ? {} : { policy }),
        ...(fresh === undefined ? {} : { freshSeconds: fresh / 1000 }),
      },
    };
  } catch (error) {
    const what = (error instanceof Error ? error.message : String(error)).split('\n')[0] ?? '';
    return { rules: strict, warning: `${file} cannot be used (${what}): everything is blocked` };
  }
}

/** Why a file, or the folder it is in, may be somebody else's doing; 'absent' if there is no file. */
function distrust(file: string, uid: number): string | undefined {
  let link: Stats;
  try {
    link = lstatSync(file);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as { code?: string }).code ?? '')) return 'absent';
    throw error;
  }
  // Windows knows neither owners nor modes of this kind.
  if (uid < 0) return undefined;
  const trusted = [0, uid];
  // Everybody can write to a symlink: there it is the owner that counts.
  const places = [
    { path: file, about: { uid: link.uid, mode: 0 } },
    { path: file, about: statSync(file) },
    { path: dirname(file), about: statSync(dirname(file)) },
  ];
  for (const { path, about } of places) {
    const why = distrusted(about, trusted);
    if (why !== undefined) return path === file ? `it ${why}` : `its folder ${why}`;
  }
  return undefined;
}
