import path from 'node:path';
import { stringify } from 'yaml';
import { recogniseDatabase } from '../database/engines.ts';
import type { Observed } from '../docker/observe.ts';
import type { Volume } from '../model/project.ts';
import { looksRecreatable } from './classes.ts';

/** Where editors find the keys of safe-update.yml. */
const schemaLine =
  '# yaml-language-server: $schema=https://unpkg.com/safe-update/schema/safe-update.schema.json';

/**
 * The first safe-update.yml of a project: every volume with its class and what uses it, every database found, every bind
 * mount that no backup covers. It changes nothing about what safe-update does without it: what only a person can decide
 * is suggested in a comment. Pure.
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
      notCovered.filter(({ reason }) => reason === 'a bind mount'),
    ),
  ];
  return `${sections
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join('\n'))
    .join('\n\n')}\n`;
}

function volumeSection({ containers }: Observed, volumes: readonly Volume[]): string[] {
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
      const database = containers.find(
        (container) =>
          recogniseDatabase(container) !== undefined &&
          container.mounts.some(({ source }) => source === volume.name),
      );
      const title =
        database === undefined ? '' : ` ${recogniseDatabase(database)?.title ?? ''}, dumped as well.`;
      const hint =
        database === undefined && looksRecreatable(volume)
          ? ' By its name it could be made again: if so, say recreatable or cache.'
          : '';
      // A class would be stronger than the label, and let it in.
      if (volume.leftOut !== undefined && volume.class !== 'cache')
        return [`  # ${oneLine(volume.key ?? volume.name)} is left out: ${volume.leftOut}.`];
      return [
        `  # ${oneLine(users.length === 0 ? 'not mounted' : users.join(', '))}.${title}${hint}`,
        `  ${key(volume.key ?? volume.name)}:`,
        `    class: ${volume.class}`,
      ];
    }),
  ];
}

function databaseSection({ containers }: Observed): string[] {
  const found = containers.flatMap((container) => {
    const engine = recogniseDatabase(container);
    return engine === undefined || container.number > 1 ? [] : [`${container.service} (${engine.title})`];
  });
  if (found.length === 0) return [];
  return [
    `# Databases found, dumped with their own client before every update: ${oneLine(found.join(', '))}.`,
    '# For an image that is not recognised, give its service the label safe-update.database: postgres (or whichever).',
  ];
}

function bindSection(directory: string, mounts: Observed['notCovered']): string[] {
  if (mounts.length === 0) return [];
  return [
    '# Folders of this machine that services write to, in no backup until they are listed:',
    '# bindMounts:',
    '#   include:',
    ...mounts.map(({ source, services, path: at }) => {
      const inside = path.relative(directory, source);
      const shown = inside === '' || inside.startsWith('..') ? source : `./${inside}`;
      return `#     - ${key(shown)} # ${oneLine(`${services.join(', ')}:${at}`)}`;
    }),
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
