import type { Plan, ServiceFate } from '../../model/plan.ts';
import { fileReason, holdsNoData } from '../../docker/observe.ts';
import type { Uncovered, Volume } from '../../model/project.ts';
import { formatBytes } from '../../model/units.ts';
import { driverOf } from './driver.ts';
import { visible } from './escape.ts';
import { plain, type Style } from './style.ts';
import { padEnd, padStart, paragraph, textWidth, truncateMiddle, wrap } from './width.ts';

/** What happens to a service, most drastic first. */
const fates = {
  replace: 'replace',
  create: 'create',
  'run-again': 'run again',
  provided: 'left to up',
  restart: 'restart',
  orphan: 'restart, orphan',
  'leave-stopped': 'leave stopped',
} as const satisfies Record<ServiceFate, string>;

const indent = '  ';

/**
 * The plan as a person reads it before saying yes: what happens to which service and why, what is backed up, what is
 * not, and the steps in their order with the downtime marked. Services that share fate and cause share a line.
 *
 * Takes the columns it may use; returns lines without a line feed at the end.
 */
export function formatPlan(plan: Plan, style: Style, columns = 80): string {
  const page: Page = { style, width: Math.max(40, Math.min(columns - 1, 110)) };
  const sections = plan.nothingToDo
    ? [`${heading(plan, page)}\nNothing to do: every service runs the image and the configuration it should.`]
    : [heading(plan, page), services(plan, page), backedUp(plan, page)];
  sections.push(notCovered(plan, page), warnings(plan, page), suggestions(plan, page));
  if (!plan.nothingToDo) sections.push(steps(plan, page));
  return sections.filter((section) => section !== '').join('\n\n');
}

/**
 * For a plan that is made again under way, once more is known: the lines in which the second differs from the first.
 * None if they mean the same; that the sizes of volumes are known by now is no difference.
 */
export function changedLines(before: Plan, after: Plan, style: Style, columns = 80): string[] {
  // A step that moved by one because another came or went has not changed.
  const essence = (line: string): string => line.replace(/^ *\d+ {2}/, '');
  const known = new Set(formatPlan(comparable(before), style, columns).split('\n').map(essence));
  return formatPlan(comparable(after), style, columns)
    .split('\n')
    .filter((line) => !known.has(essence(line)));
}

function comparable(plan: Plan): Plan {
  return { ...plan, unasked: [], volumes: plan.volumes.map((volume) => ({ ...volume, bytes: 0 })) };
}

interface Page {
  style: Style;
  width: number;
}

function heading({ project, environment, consistency }: Plan, { style, width }: Page): string {
  const title =
    environment === undefined ? visible(project) : `${visible(project)} (${visible(environment)})`;
  const how =
    consistency === 'cold'
      ? 'backed up while it is stopped (cold)'
      : 'backed up while it runs (hot): databases come back from their dumps';
  if (textWidth(title) + 3 + how.length <= width) return style.bold(title) + style.dim(` · ${how}`);
  return [
    ...wrap(title, width).map((line) => style.bold(line)),
    ...wrap(how, width).map((line) => style.dim(line)),
  ].join('\n');
}

function services({ services: all, unasked }: Plan, { style, width }: Page): string {
  if (all.length === 0) return '';
  const present = Object.keys(fates).filter((fate): fate is ServiceFate => all.some((s) => s.fate === fate));
  const labelWidth = Math.max(...present.map((fate) => fates[fate].length));
  const nameWidth = Math.min(24, Math.max(...all.map((service) => textWidth(nameOf(service)))));
  const lines = present.flatMap((fate) => {
    const ofFate = all.filter((service) => service.fate === fate);
    const causes = [...new Set(ofFate.map(causeOf))];
    const body = causes.flatMap((cause) => {
      const members = ofFate.filter((service) => causeOf(service) === cause);
      const room = width - indent.length - labelWidth - 2;
      const [only, ...others] = members.map(nameOf);
      if (only !== undefined && others.length === 0 && textWidth(only) <= nameWidth) {
        return hanging(`${padEnd(only, nameWidth)}  `, cause, room, style.dim);
      }
      return [
        ...wrap(members.map(nameOf).join(', '), room),
        ...(cause === '' ? [] : wrap(cause, room - 2).map((line) => `  ${style.dim(line)}`)),
      ];
    });
    const paint =
      fate === 'restart' || fate === 'provided' || fate === 'leave-stopped' ? style.dim : style.yellow;
    return body.map(
      (line, i) =>
        `${indent}${i === 0 ? paint(padEnd(fates[fate], labelWidth)) : ' '.repeat(labelWidth)}  ${line}`,
    );
  });
  if (unasked.length > 0) {
    const others = all.filter(({ service, fate }) => fate !== 'orphan' && !unasked.includes(service));
    const which =
      others.length === 0
        ? 'all of them'
        : others.length < unasked.length
          ? `all but ${others.map(({ service }) => visible(service)).join(', ')}`
          : unasked.map(visible).join(', ');
    const said = `Pulled or built first, and replaced if that brings a newer image: ${which}`;
    lines.push(...wrap(said, width - indent.length).map((line) => indent + style.dim(line)));
  }
  return section('Services', lines, style);
}

/** The plan may leave open why a service that does not change is restarted at all. */
function causeOf({ fate, cause }: Plan['services'][number]): string {
  return cause === '' && fate === 'restart' ? 'unchanged, only stopped for the backup' : visible(cause);
}

function nameOf({ service, replicas }: Plan['services'][number]): string {
  return replicas > 1 ? `${visible(service)} ×${replicas}` : visible(service);
}

function backedUp({ volumes, databases }: Plan, { style, width }: Page): string {
  const kept = volumes.filter(({ leftOut }) => leftOut === undefined);
  if (kept.length === 0 && databases.length === 0) return '';
  const rows = [
    ...kept.map((volume) => ({
      name: volumeName(volume),
      size: volume.exists ? (volume.bytes === undefined ? '' : formatBytes(volume.bytes)) : 'new',
      kind: volumeKind(volume),
      where: served(volume),
    })),
    ...databases.map(({ service, engine, running }) => ({
      name: visible(service),
      size: '',
      // What does not run is not asked for a dump.
      kind: running ? 'dump' : 'files',
      where: visible(engine),
    })),
  ];
  const nameWidth = Math.min(Math.floor(width * 0.4), Math.max(...rows.map(({ name }) => textWidth(name))));
  const sizeWidth = Math.max(...rows.map(({ size }) => size.length));
  const kindWidth = Math.max(...rows.map(({ kind }) => textWidth(kind)));
  const lines = rows.flatMap(({ name, size, kind, where }) => {
    const start = `${padEnd(truncateMiddle(name, nameWidth), nameWidth)}  ${padStart(size, sizeWidth)}  ${padEnd(kind, kindWidth)}  `;
    return hanging(start, where, width - indent.length, style.dim).map((line) => indent + line);
  });
  return section('Backed up', lines, style);
}

function volumeName(volume: Volume): string {
  // Sixty-four hexadecimal digits: the beginning is what docker shows too.
  return volume.kind === 'anonymous' ? `${visible(volume.name).slice(0, 12)}…` : visible(volume.name);
}

function volumeKind(volume: Volume): string {
  const { kind } = volume;
  const driver = driverOf(volume);
  const words = driver === 'local' || driver === '' || kind === 'bind' ? [kind] : [kind, visible(driver)];
  return [...words, ...(volume.class === 'critical' ? [] : [volume.class])].join(', ');
}

function served({ servedAt }: Volume): string {
  const places = [
    ...new Set(servedAt.map(({ service, path, readOnly }) => `${service}:${path}${readOnly ? ' (ro)' : ''}`)),
  ].map(visible);
  if (places.length === 0) return 'not mounted';
  return places.length <= 3
    ? places.join(', ')
    : `${places.slice(0, 2).join(', ')} and ${places.length - 2} more`;
}

/** Folders that hold data first, each with its reason; then what is of less weight, under a title of its own. */
function notCovered({ notCovered: uncovered }: Plan, { style, width }: Page): string {
  if (uncovered.length === 0) return '';
  const item = ({ source, services: users, path }: Uncovered, mark: string): string[] =>
    wrap(
      users.length === 0
        ? visible(source)
        : `${visible(source)} → ${users.map(visible).join(', ')}:${visible(path)}`,
      width - 4,
    ).map((line, i) => `${indent}${i === 0 ? mark : ' '} ${line}`);
  const isFile = ({ reason }: Uncovered): boolean => reason === fileReason;
  const folders = uncovered.filter((place) => !isFile(place) && !holdsNoData(place));
  const apart = (title: string, places: readonly Uncovered[], mark: string): string[] =>
    places.length === 0
      ? []
      : [`${indent}${style.dim(title)}`, ...places.flatMap((place) => item(place, mark))];
  const lines = [
    ...folders.flatMap((place) => [
      ...item(place, style.red('✖')),
      ...wrap(visible(place.reason), width - 6).map((line) => `${indent}    ${style.dim(line)}`),
    ]),
    ...apart('Single files that services may write to:', uncovered.filter(isFile), style.yellow('✖')),
    ...apart('Sockets and devices, which hold no data:', uncovered.filter(holdsNoData), style.dim('·')),
  ];
  return section('NOT in the backup, nor in a rollback', lines, style, style.red);
}

function warnings({ warnings: all }: Plan, { style, width }: Page): string {
  const lines = all.flatMap((warning) =>
    paragraph(warning, width - 4).map((line, i) => `${indent}${i === 0 ? style.yellow('⚠') : ' '} ${line}`),
  );
  return lines.length === 0 ? '' : section('Warnings', lines, style, style.yellow);
}

function suggestions({ suggestions: all }: Plan, { style, width }: Page): string {
  const lines = all.flatMap((text) =>
    paragraph(text, width - 4).map((line, i) => `${indent}${i === 0 ? style.cyan('ℹ') : ' '} ${line}`),
  );
  return lines.length === 0 ? '' : section('To decide', lines, style);
}

function steps(plan: Plan, { style, width }: Page): string {
  const { steps: all, consistency } = plan;
  const nameWidth = Math.max(...all.map(({ name }) => name.length));
  const downtime = downtimeOf(plan);
  const whose = consistency === 'hot' ? ' of what is replaced' : '';
  const lines = all.flatMap((step, i) => {
    const start = `${indent}${padStart(String(i + 1), 2)}  ${padEnd(step.name, nameWidth)}  `;
    const on = step.on.length === 0 ? '' : ` (${abridged(step.on)})`;
    const body = hanging(start, `${visible(step.cause)}${on}`.trimStart(), width, (text) => text);
    if (i === downtime?.first) body.unshift(rule(`downtime${whose} starts`, style, width));
    if (i === downtime?.last) body.push(rule(`downtime${whose} ends`, style, width));
    return body;
  });
  return section('Steps', lines, style);
}

/**
 * The first and the last step during which services do not serve: from the first that stops or replaces containers to
 * the verification of what came up. Undefined if no step does, or if nothing runs that could be missed.
 */
function downtimeOf({ steps: all, services: users }: Plan): { first: number; last: number } | undefined {
  const serving = users.some(({ fate }) => fate === 'replace' || fate === 'restart' || fate === 'orphan');
  const first = all.findIndex(({ name }) => name === 'stop' || name === 'remove' || name === 'up');
  if (!serving || first === -1) return undefined;
  const last = all.findLastIndex(({ name }) => name === 'verify' || name === 'start' || name === 'up');
  return { first, last: Math.max(first, last) };
}

function rule(text: string, style: Style, width: number): string {
  const start = `${indent}── ${text} `;
  return style.yellow(start + '─'.repeat(Math.max(2, Math.min(width, 78) - textWidth(start))));
}

function abridged(names: string[]): string {
  const shown = names.map(visible);
  return shown.length <= 4
    ? shown.join(', ')
    : `${shown.slice(0, 3).join(', ')} and ${shown.length - 3} more`;
}

/** `text` after `start`, its further lines below its first. If little room is left there, below `start` instead. */
function hanging(start: string, text: string, width: number, paint: (text: string) => string): string[] {
  const room = width - textWidth(start);
  if (room < 24 && textWidth(text) > room) {
    return [start.trimEnd(), ...wrap(text, width - 4).map((line) => `    ${paint(line)}`)];
  }
  return wrap(text, room).map(
    (line, i) =>
      (i === 0 ? (line === '' ? start.trimEnd() : start) : ' '.repeat(textWidth(start))) + paint(line),
  );
}

function section(title: string, lines: string[], style: Style, paint = plain.bold): string {
  return [style.bold(paint(title)), ...lines].join('\n');
}
