import { boundFolder } from '../../model/driver-options.ts';
import type { Volume } from '../../model/project.ts';

/**
 * Where a volume's files are, in a word or two: the driver `local` mounts whatever its options say, a folder of the host
 * or one of an NFS server. Pure.
 */
export function driverOf(volume: Pick<Volume, 'driver' | 'options'>): string {
  const { driver, options } = volume;
  if (driver !== 'local') return driver;
  if (boundFolder(volume) !== undefined) return 'local (bind)';
  const type = options['type'] ?? '';
  return type === '' || type === 'none' ? driver : `local (${type})`;
}
