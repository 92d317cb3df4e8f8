import type { Volume } from './project.ts';

/** What a volume driver may be given a password by: `o: username=shop,password=…` of CIFS, `secret_key` of some plugins. */
const secret = /pass|secret|token|key/i;

/**
 * A volume's driver options as they may be shown: whatever is named like a password is hidden. Pure.
 */
export function shownOptions(options: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(options).map(([name, value]) => {
      if (secret.test(name)) return [name, '***'];
      return [name, name === 'o' ? value.split(',').map(shownMountOption).join(',') : value];
    }),
  );
}

function shownMountOption(option: string): string {
  const [name = ''] = option.split('=', 1);
  return option.includes('=') && secret.test(name) ? `${name}=***` : option;
}

/** The folder of the host that a volume is: the driver `local` with the option `bind` mounts it there. Pure. */
export function boundFolder({ driver, options }: Pick<Volume, 'driver' | 'options'>): string | undefined {
  const mountOptions = (options['o'] ?? '').split(',');
  const binds = mountOptions.includes('bind') || mountOptions.includes('rbind');
  return driver === 'local' && binds ? options['device'] : undefined;
}

/** Is it only in the memory of the engine's host, until the last container that has it stops? Pure. */
export function isInMemory({ driver, options }: Pick<Volume, 'driver' | 'options'>): boolean {
  return driver === 'local' && /^(tmpfs|ramfs)$/.test(options['type'] ?? '');
}
