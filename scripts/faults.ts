/**
 * Of the fault campaign, for scripts/faults:
 *
 *     node scripts/faults.ts files                     the files that it runs, one a line
 *     node scripts/faults.ts write REPORT... TARGET    docs/faults.md, from the reports of vitest (--reporter json)
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { execaSync } from 'execa';
import { format } from 'prettier';
import { table, type Fault } from '../test/faults/table.ts';

interface Result {
  fullName: string;
  status: string;
}

interface Report {
  testResults: { name: string; assertionResults: Result[] }[];
}

const [command, ...args] = process.argv.slice(2);
if (command === 'files') {
  const files = new Set(table.flatMap(({ tests }) => tests.map(([file]) => file)));
  process.stdout.write([...files, ''].join('\n'));
} else if (command === 'write' && args.length >= 2) await write(args.slice(0, -1), args.at(-1) ?? '');
else {
  process.stderr.write('usage: node scripts/faults.ts files | write REPORT... TARGET\n');
  process.exitCode = 2;
}

async function write(reports: readonly string[], target: string): Promise<void> {
  // A test that was run again counts as it was the last time, and one that a report left out does not count there.
  const last = new Map<string, Map<string, Result>>();
  for (const file of reports) {
    const { testResults } = JSON.parse(readFileSync(file, 'utf8')) as Report;
    for (const { name, assertionResults } of testResults) {
      const test = name.replace(/^.*?\/(?=test\/(unit|conformance|integration|e2e|faults)\/)/, '');
      const known = last.get(test) ?? new Map<string, Result>();
      last.set(test, known);
      for (const result of assertionResults) {
        // Whose name has the seed in it is the same one with another.
        const title = result.fullName.replace(/ \(seed \d+\)/, '');
        if (result.status !== 'pending' && result.status !== 'skipped') known.set(title, result);
      }
    }
  }
  const results = [...last].map(([name, known]) => ({ name, assertionResults: [...known.values()] }));
  const rows = table.map((fault) => ({ ...fault, ...outcomeOf(fault, results) }));
  const text = [
    '# Faults',
    '',
    'What was made to happen to safe-update on a real engine, what must come of it, and what did. Written by `scripts/faults`;',
    'the faults and their tests are in `test/faults/table.ts`.',
    '',
    ...about(),
    '',
    '- **untouched**: containers, images, states and volumes as before; nothing stopped.',
    '- **nothing committed**: no new backup is offered, what was begun of one is removed, older ones are whole.',
    '- **rolled back**: images, configuration, volumes to the byte, rows and keys as before, and the former stack healthy.',
    '- **stopped safe**: no further data overwritten, every copy kept, exit 5, and the `recover` command that goes on.',
    '',
    '| # | Fault | Required | Tests | Outcome |',
    '| --- | --- | --- | --- | --- |',
    ...rows.map(
      ({ number, fault, required, tests, said, limit }) =>
        `| ${number} | ${fault}${limit === undefined ? '' : `. _Limit: ${limit}._`} | ${required} | ${filesOf(tests)} | ${said} |`,
    ),
    '',
  ].join('\n');
  writeFileSync(target, await format(text, { parser: 'markdown', printWidth: 120 }));
  const missing = rows.filter(({ good }) => !good).map(({ number }) => number);
  if (missing.length === 0) return;
  process.stderr.write(`faults without a good outcome: ${missing.join(', ')}\n`);
  process.exitCode = 1;
}

function outcomeOf({ tests }: Fault, results: Report['testResults']): { said: string; good: boolean } {
  const found = tests.map(([file, name = '']) =>
    results
      .filter((result) => result.name === file)
      .flatMap(({ assertionResults }) => assertionResults)
      .filter(({ fullName }) => fullName.includes(name)),
  );
  const all = found.flat();
  const failed = all.filter(({ status }) => status !== 'passed').length;
  if (found.some((some) => some.length === 0)) return { said: 'not run', good: false };
  if (failed > 0) return { said: `**${failed} of ${all.length} failed**`, good: false };
  return { said: `${all.length} passed`, good: true };
}

function filesOf(tests: Fault['tests']): string {
  const names = tests.map(([file]) => file.replace(/^test\//, '').replace(/\.test\.ts$/, ''));
  return [...new Set(names)].map((name) => `\`${name}\``).join(', ');
}

function about(): string[] {
  const version = (...words: string[]): string => execaSync('docker', words, { stdin: 'ignore' }).stdout;
  const engine = version('version', '--format', '{{.Server.Version}}');
  const compose = version('compose', 'version', '--short');
  const much =
    process.env['SAFE_UPDATE_FAULTS'] === 'all'
      ? 'the whole campaign'
      : 'the part of it that `scripts/test` runs: of faults that are tried at many instants or with many seeds, some';
  return [
    `Last run: ${new Date().toISOString().slice(0, 10)}, docker ${engine}, Compose ${compose}; ${much}.`,
  ];
}
