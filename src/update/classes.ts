import type { Settings } from '../config/schema.ts';
import type { ClassifiedBy } from '../docker/observe.ts';
import type { Volume, VolumeClass } from '../model/project.ts';

/** The label with which a volume says what it holds: `safe-update.class: cache`. */
const classLabel = 'safe-update.class';

/** A label that people have on services and volumes for other backup programs; `"false"`: leave it alone. */
const enableLabel = 'backup.enable';

/** Another such label: when they are to back it up, as cron writes it. */
const scheduleLabel = 'backup.schedule';

/** All that people have said about a volume, in the configuration and by labels. Pure. */
export function classify(
  settings: Pick<Settings, 'volumes' | 'backups'>,
  about: ClassifiedBy,
): Pick<Volume, 'class' | 'assumed' | 'leftOut' | 'schedule'> {
  const schedule = scheduleOf(about);
  return { ...classOf(settings, about), ...(schedule === undefined ? {} : { schedule }) };
}

/** Nothing is done by it: a timer is the person's own. */
function scheduleOf({ labels, services }: ClassifiedBy): string | undefined {
  const own = labels[scheduleLabel];
  const said = own === undefined ? services.flatMap((service) => service[scheduleLabel] ?? []) : [own];
  return said.length === 0 ? undefined : [...new Set(said)].join(', ');
}

/**
 * What a volume holds, and whether that keeps it out of backups. The configuration counts before labels, those of the
 * volume before those of services; several services must agree. Nothing is guessed: without a word from a person a
 * volume is critical. Pure.
 */
function classOf(
  { volumes, backups }: Pick<Settings, 'volumes' | 'backups'>,
  { name, key, labels, services }: ClassifiedBy,
): Pick<Volume, 'class' | 'assumed' | 'leftOut'> {
  const configured = [key, name].flatMap((known) =>
    known !== undefined && Object.hasOwn(volumes, known) ? [volumes[known]?.class] : [],
  );
  const said = configured.find((found) => found !== undefined) ?? asClass(labels[classLabel]);
  if (said === 'cache') {
    return {
      class: said,
      ...(backups.caches ? {} : { leftOut: 'a cache, as safe-update.yml or its label says' }),
    };
  }
  if (said !== undefined) return { class: said };
  const enabled = labels[enableLabel] ?? agreed(services.map((service) => service[enableLabel]));
  if (isOff(enabled)) return { class: 'critical', leftOut: `its label ${enableLabel} says so` };
  return { class: 'critical', assumed: true };
}

function asClass(text: string | undefined): VolumeClass | undefined {
  return text === 'critical' || text === 'recreatable' || text === 'cache' ? text : undefined;
}

function agreed(values: readonly (string | undefined)[]): string | undefined {
  const [first] = values;
  return values.every((value) => isOff(value)) ? first : undefined;
}

function isOff(value: string | undefined): boolean {
  return value !== undefined && /^(false|no|off|0)$/i.test(value.trim());
}

/** The volumes that a backup archives: those that are there and not left out. Pure. */
export function archived<T extends Pick<Volume, 'exists' | 'leftOut'>>(volumes: readonly T[]): T[] {
  return volumes.filter(({ exists, leftOut }) => exists && leftOut === undefined);
}
