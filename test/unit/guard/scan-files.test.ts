import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { rules } from '../../../src/guard/rules.ts';
import type { Occurrence } from '../../../src/guard/scan/scan.ts';

const folder = fileURLToPath(new URL('../../../fixtures/guard/scan/', import.meta.url));
const program = fileURLToPath(new URL('../../../src/bin.ts', import.meta.url));

const scan = (...argv: string[]) =>
  execa(process.execPath, [program, 'guard', 'scan', ...argv], { cwd: folder, reject: false });

/** A SARIF log, as far as it is looked at here. */
interface Log {
  version: string;
  $schema: string;
  runs: {
    tool: { driver: { name: string; rules: { id: string; shortDescription: { text: string } }[] } };
    results: {
      ruleId: string;
      ruleIndex: number;
      level: string;
      message: { text: string };
      locations: {
        physicalLocation: {
          artifactLocation: { uri: string };
          region: { startLine: number; startColumn: number; endLine: number; endColumn: number };
        };
      }[];
      suppressions?: { kind: string; justification: string }[];
    }[];
  }[];
}

const expected = readFileSync(new URL('../../../fixtures/guard/scan-findings.txt', import.meta.url), 'utf8')
  .split('\n')
  .filter((line) => line !== '' && !line.startsWith('#'));

describe('a scan of a whole folder', () => {
  it('finds what is destructive, where it stands, and nothing else', async () => {
    const { stdout, exitCode } = await scan('--markdown', '--json');
    const found = stdout.split('\n').map((line) => {
      const { path, line: at, column, finding, ignored } = JSON.parse(line) as Occurrence;
      return `${path}:${at}:${column} ${finding.rule}${ignored === undefined ? '' : ` ignored: ${ignored}`}`;
    });
    expect(found).toEqual(expected);
    expect(exitCode).toBe(1);
  });

  it('counts what has no reason to stay, for people', async () => {
    const { stdout, stderr } = await scan('--markdown');
    const counted = expected.filter((line) => !line.includes(' ignored: '));
    expect(stdout.split('\n').map((line) => /^[^ ]+/.exec(line)?.[0].replace(/:$/, ''))).toEqual(
      counted.map((line) => line.split(' ')[0]),
    );
    expect(stderr).toMatch(
      new RegExp(
        `^${counted.length} found in \\d+ files, ${expected.length - counted.length} more with a reason`,
      ),
    );
  });

  it('reads Markdown only when asked to', async () => {
    const { stdout } = await scan('--json');
    expect(stdout).not.toContain('runbook.md');
    expect(stdout.split('\n')).toHaveLength(expected.filter((line) => !line.startsWith('runbook.md')).length);
  });

  /** What SARIF 2.1.0 asks for, as far as code hosts refuse a log without it. */
  it('is SARIF that a code host takes', async () => {
    const { stdout } = await scan('--markdown', '--sarif');
    const log = JSON.parse(stdout) as Log;
    expect(log.version).toBe('2.1.0');
    expect(log.$schema).toMatch(/^https:\/\/.*sarif.*2\.1\.0/);
    expect(log.runs).toHaveLength(1);
    const run = log.runs[0]!;
    const ids = run.tool.driver.rules.map((rule) => rule.id);
    expect(run.tool.driver.name).not.toBe('');
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids).toEqual(Object.keys(rules));
    for (const rule of run.tool.driver.rules) expect(rule.shortDescription.text).not.toBe('');
    expect(run.results).toHaveLength(expected.length);
    for (const [index, result] of run.results.entries()) {
      expect(ids[result.ruleIndex]).toBe(result.ruleId);
      expect(['none', 'note', 'warning', 'error']).toContain(result.level);
      expect(result.message.text).not.toBe('');
      const { artifactLocation, region } = result.locations[0]!.physicalLocation;
      // A relative reference, as RFC 3986 writes it.
      expect(artifactLocation.uri).toMatch(/^[\w.~%-]+(\/[\w.~%-]+)*$/);
      expect(`${artifactLocation.uri}:${region.startLine}:${region.startColumn}`).toBe(
        expected[index]?.split(' ')[0],
      );
      expect(
        [region.startLine, region.startColumn, region.endLine, region.endColumn].every((n) => n >= 1),
      ).toBe(true);
      expect(region.endLine * 1e6 + region.endColumn).toBeGreaterThanOrEqual(
        region.startLine * 1e6 + region.startColumn,
      );
      for (const one of result.suppressions ?? []) {
        expect(one.kind).toBe('inSource');
        expect(one.justification).not.toBe('');
      }
    }
  });
});
