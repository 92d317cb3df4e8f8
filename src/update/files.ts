import type { Manifest, ManifestVolume } from '../backup/manifest.ts';
import type { Settings } from '../config/schema.ts';
import { countFiles, type FileCount, type Helper } from '../docker/helper.ts';
import { SafeUpdateError } from '../model/error.ts';
import { formatBytes } from '../model/units.ts';
import { withHelper, type Session } from './session.ts';

/** What a volume held when it was archived, and what it holds now. */
export interface CountedVolume {
  name: string;
  key?: string;
  before: FileCount;
  after: FileCount;
}

/**
 * A release that deletes files is a failed one: throws SafeUpdateError `unhealthy` where a volume that held files is empty now,
 * or nearly so, and nobody has allowed it. Volumes with the files of a database server are left to what was counted in it.
 * `running`: a helper that has them all. Returns what has become far fewer, in words, for the outcome.
 */
export async function requireFilesThere(
  session: Session,
  manifest: Manifest,
  running?: Helper,
): Promise<string[]> {
  const { settings, accept, emit } = session.context;
  const volumes = manifest.volumes.filter(
    ({ name, fileCount = 0 }) => fileCount > 0 && !holdsServer(manifest, name),
  );
  if (volumes.length === 0) return [];
  const counting = async (helper: Helper): Promise<CountedVolume[]> => {
    const now = await countFiles(
      helper,
      volumes.map(({ name }) => name),
    );
    return volumes.map((volume) => compared(volume, now.get(volume.name)));
  };
  const counted = await (running === undefined
    ? withHelper(session, volumes, 'read', counting)
    : counting(running));
  const lost = counted.filter(hasGone).filter((volume) => !mayBecomeEmpty(settings, volume));
  const refused = lost.filter((volume) => !accept.includes(acceptance(volume)));
  for (const volume of lost.filter((one) => !refused.includes(one)))
    emit({ type: 'notice', level: 'warning', message: `${describe(volume)}. That was accepted.` });
  if (refused.length > 0) {
    const [first] = refused;
    throw new SafeUpdateError(
      'unhealthy',
      `healthy, but files are missing: ${refused.map(describe).join('; ')}`,
      {
        hint: `If that is what the release is meant to do: ${refused.map((volume) => `--accept ${acceptance(volume)}`).join(' ')}, or volumes.${first?.key ?? first?.name ?? ''}.mayBecomeEmpty: true in safe-update.yml.`,
      },
    );
  }
  return counted.filter(isFarLess).map(describe);
}

function compared(
  { name, key, fileCount = 0, bytes }: ManifestVolume,
  now: FileCount | undefined,
): CountedVolume {
  return {
    name,
    ...(key === undefined ? {} : { key }),
    before: { files: fileCount, bytes },
    after: now ?? { files: 0, bytes: 0 },
  };
}

/** Nothing is left, or less than a hundredth of the files, or no content in any of them. Pure. */
export function hasGone({ before, after }: Pick<CountedVolume, 'before' | 'after'>): boolean {
  if (before.files === 0) return false;
  return after.files * 100 < before.files || (before.bytes > 0 && after.bytes === 0);
}

/** Less than half of the files or of their content is left. Pure. */
export function isFarLess({ before, after }: Pick<CountedVolume, 'before' | 'after'>): boolean {
  return after.files * 2 < before.files || after.bytes * 2 < before.bytes;
}

function describe({ name, before, after }: CountedVolume): string {
  const said = ({ files, bytes }: FileCount): string =>
    `${files} ${files === 1 ? 'file' : 'files'}${files === 0 ? '' : ` (${formatBytes(bytes)})`}`;
  return `the volume ${name} has ${said(after)}; it had ${said(before)}`;
}

/** What --accept takes: `files-gone:shop_uploads`. */
function acceptance({ name }: CountedVolume): string {
  return `files-gone:${name}`;
}

function mayBecomeEmpty({ volumes }: Pick<Settings, 'volumes'>, { name, key }: CountedVolume): boolean {
  return [key, name].some(
    (known) =>
      known !== undefined && Object.hasOwn(volumes, known) && volumes[known]?.mayBecomeEmpty === true,
  );
}

/** Whether a server's files are in a volume: how many there are says nothing of what it holds. */
function holdsServer({ databases }: Manifest, volume: string): boolean {
  return databases.some((database) => database.volume === volume && database.engine !== 'sqlite');
}
