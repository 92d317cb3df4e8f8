import { docker, testLabel } from './docker.ts';

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
cd /volume
stat --format='%F %a %u:%g' .
stat --format='%y' .
find . -mindepth 1 -maxdepth 1 ! -name '.health-*' -printf '%P\\0' | LC_ALL=C sort --zero-terminated >/tmp/names
tar --create --null --files-from=/tmp/names --verbatim-files-from --sort=name --format=posix --numeric-owner --acls \
  --xattrs --xattrs-include='*' --pax-option=exthdr.name=%d/%f.x,delete=atime,delete=ctime | sha256sum | cut -d' ' -f1
find . -ignore_readdir_race -mindepth 1 ! -path './.health-*' -printf '%P %y %m %U:%G %n %s %T@ %l\\n' | LC_ALL=C sort
find . -ignore_readdir_race -type f ! -path './.health-*' -exec sha256sum {} + | LC_ALL=C sort -k2
`;

/** Reads a volume through a container of its own that mounts it read-only. Nothing is changed, access times included. */
export async function digest(project: string, volume: string): Promise<Digest> {
  const read = (): Promise<string> =>
    docker([
      ...['run', '--rm', '--network', 'none', '--label', `${testLabel}=${project}`],
      ...['--volume', `${volume}:/volume:ro`, 'debian:bookworm-slim', 'sh', '-c', script],
    ]);
  // On a machine with far more to do than cores `docker run` has been seen to end well and lose what was printed.
  const printed = (await read()) || (await read());
  const [root = '', rootChanged = '', tar = '', ...files] = printed.split('\n');
  return { tar, files, root, rootChanged };
}
