import type { Finding, Losses, Verdict } from './verdict.ts';

/** Given a verdict, return the lines that say why: for people at a terminal, and for agents that read a refusal. */
export function explain(verdict: Verdict): string[] {
  const word = { allow: 'allowed', warn: 'would be refused', deny: 'refused' }[verdict.decision];
  return [
    ...verdict.findings.flatMap((finding) => [
      `${word}: ${finding.command}`,
      ...labelled('would lose', [`${finding.loses}${named(finding)}`]),
      ...labelled('instead', finding.instead),
      ...labelled('rule', [
        finding.rule,
        ...(finding.conditional === true
          ? ['allowed for a cache, or with a fresh, verified backup of the volume']
          : []),
      ]),
    ]),
    ...verdict.excused.map(({ finding, because }) => `allowed: ${finding.command}: ${because}`),
    ...verdict.hints.map((hint) => `note: ${hint.command}: ${hint.text}`),
  ];
}

function labelled(label: string, lines: readonly string[]): string[] {
  return lines.map((line, index) => `  ${(index === 0 ? label : '').padEnd(12)}${line}`);
}

/** The project and the volumes, as far as they are known: ` (project shop: shop_db, shop_files)`. */
function named({ project, losses }: Finding & { losses?: Losses }): string {
  const volumes = losses?.volumes.map(({ name }) => name) ?? [];
  const whose = losses?.project ?? project;
  if (whose === undefined && volumes.length === 0) return '';
  const parts = [whose === undefined ? '' : `project ${whose}`, volumes.join(', ')];
  return ` (${parts.filter((part) => part !== '').join(': ')})`;
}
