import type { Settings } from '../../config/schema.ts';
import { classify } from '../../update/classes.ts';
import type { ProjectFiles } from './project-files.ts';

/** Whether all that may be meant say that this volume holds a cache. */
export function isCache(
  { settings }: Pick<ProjectFiles, 'settings'>,
  { name, labels }: { name: string; labels: Record<string, string> },
): boolean {
  const key = labels['com.docker.compose.volume'];
  const about = { name, labels, services: [], ...(key === undefined ? {} : { key }) };
  const silent: Pick<Settings, 'volumes' | 'backups'>[] = [
    {
      volumes: {},
      backups: { directory: '', keep: {}, caches: true, encryption: { recipients: [] } },
    },
  ];
  return (settings.length > 0 ? settings : silent).every((one) => classify(one, about).class === 'cache');
}
