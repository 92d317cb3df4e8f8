import { coversBindMount } from '../config/bind-mounts.ts';
import type { Settings } from '../config/schema.ts';
import type { ClassifiedBy, Observed } from '../docker/observe.ts';
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

/** What safe-update.yml says of volumes, databases and folders that the project has not, in words: a typing error. Pure. */
export function namesNothing(
  { volumes, databases, bindMounts }: Pick<Settings, 'volumes' | 'databases' | 'bindMounts'>,
  observed: Pick<Observed, 'volumes' | 'containers' | 'model'>,
): string[] {
  const services = new Set([
    ...Object.keys(observed.model.services),
    ...observed.containers.map(({ service }) => service),
  ]);
  const sources = [
    ...observed.containers.flatMap(({ mounts }) =>
      mounts.flatMap(({ type, source }) => (type === 'bind' ? [source] : [])),
    ),
    ...Object.values(observed.model.services).flatMap((service) =>
      (service.volumes ?? []).flatMap(({ type, source }) =>
        type === 'bind' && source !== undefined ? [source] : [],
      ),
    ),
  ];
  const isVolume = (name: string): boolean =>
    observed.volumes.some((volume) => volume.name === name || volume.key === name) ||
    Object.hasOwn(observed.model.volumes ?? {}, name);
  const nothing = (setting: string, what: string): string =>
    `${setting} in safe-update.yml names nothing: the project has no such ${what}.`;
  return [
    ...Object.keys(volumes)
      .filter((name) => !isVolume(name))
      .map((name) => nothing(`volumes.${name}`, 'volume')),
    ...Object.keys(databases)
      .filter((name) => !services.has(name))
      .map((name) => nothing(`databases.${name}`, 'service')),
    ...bindMounts.include
      .filter((pattern) => !sources.some((source) => coversBindMount([pattern], source)))
      .map((pattern) => nothing(`bindMounts.include: ${pattern}`, 'bind mount')),
  ];
}
