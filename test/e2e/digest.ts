import { execa } from 'execa';
import { docker, folderOfVolume, testLabel } from './docker.ts';

/** What is in a volume, found out without any code of the product. */
export interface Digest {
  /** sha256 over a tar of everything below the root: names, types, modes, owners, times, links, xattrs, content. */
  tar: string;
  /** One line a file, for a difference that people can read. */
  files: string[];
  /** Type, mode and owner of the root itself. */
  root: string;
  /** When the root was last changed; moves by itself while the shop's healthcheck makes and deletes a file there. */
  rootChanged: string;
}

/**
 * GNU tar prints the same bytes for the same tree once its order is fixed, what reading changes (atime, ctime) is left
 * out, and the names of extended headers hold no process id. `.health-*` belongs to the running application.
 */
const script = `
set -eu
names=$(mktemp)
trap 'rm -f "$names"' EXIT
for volume in "$@"; do
cd "$volume"
stat --format='%F %a %u:%g' .
stat --format='%y' .
find . -mindepth 1 -maxdepth 1 ! -name '.health-*' -printf '%P\\0' | LC_ALL=C sort --zero-terminated >"$names"
tar --create --null --files-from="$names" --verbatim-files-from --sort=name --format=posix --numeric-owner --acls \
  --xattrs --xattrs-include='*' --pax-option=exthdr.name=%d/%f.x,delete=atime,delete=ctime | sha256sum | cut -d' ' -f1
find . -ignore_readdir_race -mindepth 1 ! -path './.health-*' -printf '%P %y %m %U:%G %n %s %T@ %l\\n' | LC_ALL=C sort
find . -ignore_readdir_race -type f ! -path './.health-*' -exec sha256sum {} + | LC_ALL=C sort -k2
printf '\\036'
done
`;

/** Reads a volume. Nothing in it is changed. */
export async function digest(project: string, volume: string): Promise<Digest> {
  const { [volume]: found } = await digests(project, [volume]);
  if (found === undefined) throw new Error(`nothing was read of ${volume}`);
  return found;
}

/** Likewise of several volumes: by root in the engine's own folder where there is such a thing, else through one container. */
export async function digests(project: string, volumes: readonly string[]): Promise<Record<string, Digest>> {
  if (volumes.length === 0) return {};
  const folders = await Promise.all(volumes.map(folderOfVolume));
  const here = folders.filter((folder) => folder !== undefined);
  const places = volumes.map((_, index) => `/volumes/${index}`);
  const look = (): Promise<string> =>
    docker([
      ...['run', '--rm', '--network', 'none', '--label', `${testLabel}=${project}`],
      ...volumes.flatMap((volume, index) => ['--volume', `${volume}:${places[index] ?? ''}:ro`]),
      ...['debian:bookworm-slim', 'sh', '-c', script, 'sh', ...places],
    ]);
  const printed =
    here.length === volumes.length
      ? (await execa('sh', ['-c', script, 'sh', ...here], { stdin: 'ignore' })).stdout
      : // On a machine with far more to do than cores `docker run` has been seen to end well and lose what was printed.
        (await look()) || (await look());
  const read = printed.split('\x1e').map((text) => text.trimEnd().split('\n'));
  return Object.fromEntries(
    volumes.map((volume, index): [string, Digest] => {
      const [root = '', rootChanged = '', tar = '', ...files] = read[index] ?? [];
      return [volume, { tar, files, root, rootChanged }];
    }),
  );
}
