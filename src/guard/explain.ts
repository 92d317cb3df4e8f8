import { formatBytes } from '../model/units.ts';
import { formatAge, type Objection, type Verdict } from './verdict.ts';

/** More names than this hide the others. */
const mostNames = 8;

/** Given a verdict, return the lines that say why: for people at a terminal, and for agents that read a refusal. */
export function explain(verdict: Verdict): string[] {
  return [
    ...verdict.findings.flatMap((finding) => [
      `${wordFor(finding, verdict)}: ${finding.command}`,
      ...labelled('would lose', [`${finding.loses}${whose(finding)}`, ...volumesOf(finding)]),
      ...labelled('instead', finding.instead),
      ...labelled('rule', [
        finding.rule,
        ...(finding.conditional === true
          ? ['allowed for a cache, or with a fresh, verified backup of the volume']
          : []),
      ]),
      ...labelled('but', finding.unexcused ?? []),
    ]),
    ...verdict.excused.map(({ finding, because }) => `allowed: ${finding.command}: ${because}`),
    ...verdict.hints.map((hint) => `note: ${hint.command}: ${hint.text}`),
    ...(verdict.warnings ?? []).map((warning) => `warning: ${warning}`),
  ];
}

function wordFor({ policy }: Objection, { decision }: Verdict): string {
  return decision === 'deny' && policy !== 'warn' ? 'refused' : 'would be refused';
}

function labelled(label: string, lines: readonly string[]): string[] {
  return lines.map((line, index) => `  ${(index === 0 ? label : '').padEnd(12)}${line}`);
}

/** The project, as far as it is known: ` (project shop)`. */
function whose({ project, losses }: Objection): string {
  const name = losses?.project ?? project;
  return name === undefined ? '' : ` (project ${name})`;
}

/** `shop_db 54.6 MB, shop_uploads 1.2 GB (at the last backup, 3 h ago)` */
function volumesOf({ loses, losses }: Objection): string[] {
  if (losses === undefined) return [];
  const isSaid = losses.volumes.every(
    ({ name, sizeBytes }) => sizeBytes === undefined && loses.includes(name),
  );
  if (isSaid) return [];
  const names = losses.volumes.slice(0, mostNames).map(({ name, sizeBytes }) => {
    const shown = /^[0-9a-f]{64}$/.test(name) ? `${name.slice(0, 12)}… (without a name)` : name;
    return sizeBytes === undefined ? shown : `${shown} ${formatBytes(sizeBytes)}`;
  });
  const more = losses.volumes.length - names.length;
  const age = losses.sizesAgeSeconds;
  const when = age === undefined ? '' : ` (at the last backup, ${formatAge(age)} ago)`;
  return [`${names.join(', ')}${more > 0 ? ` and ${more} more` : ''}${when}`];
}
