import { rules } from '../rules.ts';
import type { Occurrence } from './scan.ts';

/** What a scan found, as SARIF 2.1.0: code hosts show it beside the lines. */
export function sarif(occurrences: readonly Occurrence[], version: string): unknown {
  return {
    $schema: 'https://json.schemastore.org/sarif-2.1.0.json',
    version: '2.1.0',
    runs: [
      {
        tool: {
          driver: {
            name: 'safe-update guard',
            version,
            rules: Object.entries(rules).map(([id, { loses, instead }]) => ({
              id,
              shortDescription: { text: `Would lose ${loses}.` },
              help: { text: `Instead: ${instead.join('; ')}` },
              defaultConfiguration: { level: 'error' },
            })),
          },
        },
        columnKind: 'utf16CodeUnits',
        results: occurrences.map(({ path, line, column, endLine, endColumn, finding, ignored }) => ({
          ruleId: finding.rule,
          ruleIndex: Object.keys(rules).indexOf(finding.rule),
          level: 'error',
          message: {
            text: `${finding.command}: would lose ${finding.loses}. Instead: ${finding.instead.join('; ')}`,
          },
          locations: [
            {
              physicalLocation: {
                artifactLocation: { uri: path.split('/').map(encodeURIComponent).join('/') },
                region: { startLine: line, startColumn: column, endLine, endColumn },
              },
            },
          ],
          ...(ignored === undefined ? {} : { suppressions: [{ kind: 'inSource', justification: ignored }] }),
        })),
      },
    ],
  };
}
