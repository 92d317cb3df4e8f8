import { mountHolding } from '../backup/create.ts';
import { recogniseDatabase } from '../database/engines.ts';
import { looksLikeOtherDatabase, otherDatabaseOnNoVolume } from '../database/unknown.ts';
import type { Observed } from '../docker/observe.ts';
import type { Container, Volume } from '../model/project.ts';

/** What a person should know about where databases keep their data, and which of them nobody can dump. Pure. */
export function dataPlaceWarnings(
  { containers, absent, volumes }: Pick<Observed, 'containers' | 'absent' | 'volumes'>,
  consistency: 'cold' | 'hot',
): string[] {
  const warnings = [...containers, ...absent].flatMap((container) => {
    const engine = recogniseDatabase(container);
    if (engine === undefined) return notDumped(container, volumes, consistency);
    const warning = misplaced(container, engine.title, engine.dataPath(container), volumes);
    return warning === undefined ? [] : [warning];
  });
  return [...new Set(warnings)];
}

/**
 * A database whose files are not where somebody who reads the compose file would look for them. `folder` is the one with
 * its files, inside the container. Undefined if they are, or if they are on no volume at all, which is refused. Pure.
 */
export function misplaced(
  container: Container,
  title: string,
  folder: string,
  volumes: readonly Volume[],
): string | undefined {
  const { service } = container;
  const holding = mountHolding(container, folder);
  if (holding === undefined) return undefined;
  if (holding.type === 'tmpfs')
    return `${service} keeps its ${title} files in memory (${folder}): they are gone whenever it stops, after an update too.`;
  const anonymous = volumes.some(({ name, kind }) => name === holding.source && kind === 'anonymous');
  if (!anonymous) return undefined;
  const declared = container.mounts.filter(
    ({ type, source, readOnly }) =>
      type === 'volume' &&
      !readOnly &&
      volumes.some(({ name, kind }) => name === source && kind !== 'anonymous'),
  );
  const place = `${service} keeps its ${title} files in ${folder}, on an anonymous volume mounted at ${holding.path}`;
  const [first] = declared;
  return first === undefined
    ? `${place}. It is backed up, but whoever removes the container by hand loses sight of it: give it a name.`
    : `${place}. The volume ${first.source}, mounted at ${first.path}, holds none of them! Mount it at ${holding.path} instead, after copying the files over.`;
}

function notDumped(container: Container, volumes: readonly Volume[], consistency: 'cold' | 'hot'): string[] {
  const found = looksLikeOtherDatabase(container);
  if (found === undefined) return [];
  const looks = `${container.service} looks like ${found.title}, which safe-update cannot dump`;
  if (otherDatabaseOnNoVolume(container) !== undefined) {
    return [
      `${looks}, and its data is on no volume: it is in no backup, and replacing the container deletes it.`,
    ];
  }
  const places = container.mounts.filter(({ readOnly }) => !readOnly);
  const isCovered = ({ source }: Container['mounts'][number]): boolean =>
    volumes.some(({ name }) => name === source);
  const [folder] = places.filter((place) => place.type === 'bind' && !isCovered(place));
  if (places.some(isCovered)) {
    return [
      consistency === 'cold'
        ? `${looks}. The archive of its volumes is made while it is stopped, and is exact; there is no other way back for it.`
        : `${looks}, and with consistency: hot its volumes are archived while it writes to them. Such an archive may be useless: take consistency: cold.`,
    ];
  }
  if (folder === undefined || folder.source.endsWith('.sock')) return [];
  return [
    `${looks}, and its folder ${folder.source} (${folder.path}) is in no backup: name it under bindMounts.include in safe-update.yml.`,
  ];
}
