/**
 * Of the reports of vitest (--reporter json), for scripts/test:
 *
 *     node scripts/times.ts count REPORT            tests that passed, failed, were skipped
 *     node scripts/times.ts slowest REPORT          the files that took longest
 *     node scripts/times.ts keep REPORT TARGET      what each file took, for the order of the next run
 *     node scripts/times.ts passed REPORT FILE...   exits with 0 if all of these files have run and nothing in them failed
 *     node scripts/times.ts left-out                the files whose turn it is not, and what they are about has not changed, one a line
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { turn, turns } from '../test/faults/campaign.ts';

interface Report {
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  numTodoTests: number;
  testResults: {
    name: string;
    status: string;
    startTime: number;
    endTime: number;
    assertionResults: { status: string }[];
  }[];
}

const [command, path, ...more] = process.argv.slice(2);
const report: Report =
  path === undefined
    ? { numPassedTests: 0, numFailedTests: 0, numPendingTests: 0, numTodoTests: 0, testResults: [] }
    : (JSON.parse(readFileSync(path, 'utf8')) as Report);
const files = report.testResults.map((file) => ({
  ...file,
  name: file.name.slice(file.name.lastIndexOf('/test/') + 1),
  seconds: Math.round((file.endTime - file.startTime) / 1000),
}));

switch (command) {
  case 'count': {
    // A file that cannot even be loaded has no test, and counts as one that failed.
    const broken = files.filter(
      (file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
    );
    const skipped = report.numPendingTests + report.numTodoTests;
    print(`${report.numPassedTests} ${report.numFailedTests + broken.length} ${skipped}`);
    break;
  }
  case 'slowest':
    print('\n── The slowest files');
    for (const { name, seconds, assertionResults } of files
      .toSorted((a, b) => b.seconds - a.seconds)
      .slice(0, 20))
      print(`${String(seconds).padStart(4)} s  ${name}, ${assertionResults.length} tests`);
    break;
  case 'keep': {
    const [target = ''] = more;
    const former = existsSync(target)
      ? (JSON.parse(readFileSync(target, 'utf8')) as Record<string, number>)
      : {};
    const now = Object.fromEntries(files.map(({ name, seconds }) => [name, seconds]));
    const kept = Object.entries({ ...former, ...now }).filter(([name]) => existsSync(name));
    const sorted = Object.fromEntries(kept.sort(([a], [b]) => a.localeCompare(b)));
    writeFileSync(target, `${JSON.stringify(sorted, null, 2)}\n`);
    break;
  }
  case 'passed': {
    const good = (name: string): boolean =>
      files.some((file) => file.name === name && file.status === 'passed');
    process.exitCode = more.length > 0 && more.every(good) ? 0 : 1;
    break;
  }
  case 'left-out':
    for (const [name, { place, of, about }] of Object.entries(turns))
      if (!turn(place, of) && !changed([name, ...about])) print(name);
    break;
  default:
    process.stderr.write('usage: node scripts/times.ts count|slowest|keep|passed REPORT …, or left-out\n');
    process.exitCode = 2;
}

/** Whether any of these was changed by one of the last ten commits, or since then. Where nobody can say, it was. */
function changed(files: readonly string[]): boolean {
  try {
    execFileSync('git', ['diff', '--quiet', 'HEAD~10', '--', ...files], { stdio: 'ignore' });
    return false;
  } catch {
    return true;
  }
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
