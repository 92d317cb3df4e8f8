import { stringify } from 'yaml';
import { isWithin } from '../config/load.ts';
import { recogniseDatabase } from '../database/engines.ts';
import { bindMountReason, type Observed } from '../docker/observe.ts';
import type { Volume } from '../model/project.ts';
import { shownFrom } from './plan.ts';

/** Where editors find the keys of safe-update.yml. */
const schemaLine =
  '# yaml-language-server: $schema=https://unpkg.com/safe-update/schema/safe-update.schema.json';

/**
 * The first safe-update.yml of a project: every volume with its class and what uses it, every database found, every bind
 * mount that no backup covers. It changes nothing about what safe-update does without it: what only a person can decide
 * is suggested in a comment; but folders of the project that services write to are included. Pure.
 */
export function configurationFor(observed: Observed, about: { tool: string; now: Date }): string {
  const { project, volumes, notCovered } = observed;
  const sections = [
    [
      schemaLine,
      `# Written by safe-update init ${about.tool} on ${about.now.toISOString().slice(0, 10)} for the project ${project.name}. All of it can be changed or left out;`,
      '# docs/configuration.md explains every key, and so does an editor that reads the line above.',
    ],
    [
      '# On another disk backups survive the loss of this one.',
      'backups:',
      '  directory: ./backups',
      '  keep: 5',
    ],
    volumeSection(observed, volumes),
    databaseSection(observed),
    bindSection(
      project.directory,
      notCovered.filter(({ reason }) => reason === bindMountReason),
    ),
  ];
  return `${sections
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join('\n'))
    .join('\n\n')}\n`;
}

function volumeSection({ containers, absent }: Observed, volumes: readonly Volume[]): string[] {
  const named = volumes.filter(({ kind }) => kind === 'named' || kind === 'external');
  if (named.length === 0) return [];
  return [
    '# What each volume holds. critical: in every backup. recreatable: too, unless there is no room for it. cache: in none',
    '# unless asked for (--caches). What is left out is not put back by a rollback either.',
    named.some(({ leftOut, class: what }) => leftOut === undefined || what === 'cache')
      ? 'volumes:'
      : 'volumes: {}',
    ...named.flatMap((volume) => {
      const users = [...new Set(volume.servedAt.map(({ service, path: at }) => `${service}:${at}`))];
      const database = [...containers, ...absent].find(
        (container) =>
          recogniseDatabase(container) !== undefined &&
          container.mounts.some(({ source }) => source === volume.name),
      );
      const title =
        database === undefined ? '' : ` ${recogniseDatabase(database)?.title ?? ''}, dumped as well.`;
      // A class would be stronger than the label, and let it in.
      if (volume.leftOut !== undefined && volume.class !== 'cache')
        return [`  # ${oneLine(volume.key ?? volume.name)} is left out: ${volume.leftOut}.`];
      return [
        `  # ${oneLine(users.length === 0 ? 'not mounted' : users.join(', '))}.${title}`,
        `  ${key(volume.key ?? volume.name)}:`,
        `    class: ${volume.class}`,
      ];
    }),
  ];
}

function databaseSection({ containers, absent }: Observed): string[] {
  const found = [...containers, ...absent].flatMap((container) => {
    const engine = recogniseDatabase(container);
    return engine === undefined || container.number > 1 ? [] : [`${container.service} (${engine.title})`];
  });
  if (found.length === 0) return [];
  return [
    `# Databases found, dumped with their own client before every update: ${oneLine(found.join(', '))}.`,
    '# For an image that is not recognised, give its service the label safe-update.database: postgres (or whichever).',
  ];
}

/** Those of the project's own folder are covered; what else of the machine is, a person has to say. */
function bindSection(directory: string, mounts: Observed['notCovered']): string[] {
  if (mounts.length === 0) return [];
  const line = ({ source, services, path: at }: Observed['notCovered'][number]): string =>
    `    - ${key(shownFrom(directory, source))} # ${oneLine(`${services.join(', ')}:${at}`)}`;
  const own = mounts.filter(({ source }) => source !== directory && isWithin(source, directory));
  const others = mounts.filter((mount) => !own.includes(mount));
  return [
    '# Folders of this machine that services write to: they are in no backup unless they are listed.',
    own.length > 0 ? 'bindMounts:' : '# bindMounts:',
    own.length > 0 ? '  include:' : '#   include:',
    ...own.map(line),
    ...others.map((mount) => `# ${line(mount)}`),
  ];
}

/** A string as YAML writes it, quoted only where it has to be. */
function key(text: string): string {
  return stringify(text, { lineWidth: 0 }).trimEnd();
}

/** Names may hold anything; a comment ends with its line. */
function oneLine(text: string): string {
  return text.replace(/[\r\n\u2028\u2029]+/g, ' ');
}
