import { lstatSync, readdirSync } from 'node:fs';
import { sarif } from '../../guard/scan/sarif.ts';
import { scanText, type Occurrence } from '../../guard/scan/scan.ts';
import { version } from '../version.ts';
import { visible, visibleJson } from '../view/escape.ts';
import { guardUsage, wrong, write } from './common.ts';
import { readRegular } from './regular.ts';

/** Folders that hold what others wrote. */
const skipped = new Set(['.git', 'node_modules', '.venv', '.hg', '.svn']);

/** Looks for destructive commands in files. Resolves with the exit code: 0 none, 1 some, 2 a mistake in the command line. */
export async function scan(argv: readonly string[]): Promise<number> {
  const flags = new Set(argv.filter((word) => word.startsWith('-')));
  const paths = argv.filter((word) => !word.startsWith('-'));
  if (flags.has('--help') || flags.has('-h')) {
    await write('stdout', guardUsage);
    return 0;
  }
  const known = ['--json', '--sarif', '--markdown', '--staged'];
  const strange = [...flags].find((flag) => !known.includes(flag));
  if (strange !== undefined) return wrong(`scan does not know ${strange}`);
  if (flags.has('--json') && flags.has('--sarif')) return wrong('scan prints either --json or --sarif');

  const options = { markdown: flags.has('--markdown') };
  const files: string[] = [];
  const occurrences: Occurrence[] = [];
  if (flags.has('--staged')) {
    if (paths.length > 0) return wrong('scan takes either --staged or paths');
    const { stagedFiles } = await import('./staged.ts');
    for (const { path, text } of await stagedFiles(process.env)) {
      files.push(path);
      occurrences.push(...scanText(path, text, options));
    }
    return report(occurrences, files.length, flags);
  }
  for (const path of paths.length > 0 ? paths : ['.']) {
    try {
      collect(path.replaceAll('\\', '/').replace(/(.)\/+$/, '$1'), files);
    } catch (error) {
      return wrong(error instanceof Error ? error.message : String(error));
    }
  }
  for (const file of [...new Set(files)]) {
    const text = readRegular(file);
    if (text !== undefined) occurrences.push(...scanText(file, text, options));
  }
  return report(occurrences, files.length, flags);
}

async function report(
  occurrences: readonly Occurrence[],
  files: number,
  flags: ReadonlySet<string>,
): Promise<number> {
  const counted = occurrences.filter((occurrence) => occurrence.ignored === undefined);

  if (flags.has('--sarif'))
    await write('stdout', `${visibleJson(JSON.stringify(sarif(occurrences, version())))}\n`);
  else if (flags.has('--json')) {
    for (const occurrence of occurrences)
      await write('stdout', `${visibleJson(JSON.stringify(occurrence))}\n`);
  } else {
    for (const occurrence of counted) await write('stdout', `${lineOf(occurrence)}\n`);
    const more = occurrences.length - counted.length;
    await write(
      'stderr',
      `${counted.length} found in ${files} files${more > 0 ? `, ${more} more with a reason to stay` : ''}\n`,
    );
  }
  return counted.length > 0 ? 1 : 0;
}

function lineOf({ path, line, column, finding }: Occurrence): string {
  return visible(
    `${path}:${line}:${column}: ${finding.rule}: ${finding.command} (would lose ${finding.loses}; instead: ${finding.instead[0] ?? ''})`,
  );
}

/** Every file at a path, in the order of names. Links are not followed. Throws if there is nothing. */
function collect(path: string, files: string[]): void {
  const about = lstatSync(path);
  if (about.isFile()) files.push(path);
  if (!about.isDirectory()) return;
  for (const entry of readdirSync(path, { withFileTypes: true }).sort((one, other) =>
    one.name < other.name ? -1 : 1,
  )) {
    const inner = path === '.' ? entry.name : `${path}/${entry.name}`;
    if (entry.isFile()) files.push(inner);
    else if (entry.isDirectory() && !skipped.has(entry.name)) collect(inner, files);
  }
}
