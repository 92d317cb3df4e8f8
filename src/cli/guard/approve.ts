import { longestDuration, parseDuration } from '../../config/duration.ts';
import { formatAge, settle, type Finding } from '../../guard/verdict.ts';
import { ask } from '../terminal.ts';
import { visible } from '../view/escape.ts';
import { keepApprovals, listApprovals, revokeApproval, thisMoment, type Act } from './approvals.ts';
import { textOf } from './check.ts';
import { guardUsage, judgeHere, reason, refused, write, wrong } from './common.ts';
import { Answers, unapprovable } from './knowledge.ts';
import { readSurroundings } from './surroundings.ts';

/** The longest an approval may hold: what was looked at then is not what is there for ever. */
const longest = 24 * 60 * 60 * 1000;
const usual = '10m';

/** Approves a command once, lists approvals or takes one back. Resolves with the exit code: 0, or 2 for no approval. */
export async function approve(argv: readonly string[]): Promise<number> {
  const [first, ...rest] = argv;
  if (first === '--help' || first === '-h') {
    await write('stdout', guardUsage);
    return 0;
  }
  if (first === '--list') return rest.length > 0 ? wrong('approve --list stands alone') : list();
  if (first === '--revoke')
    return rest.length === 1 ? revoke(rest[0] ?? '') : wrong('approve --revoke wants one id');
  const mark = argv.indexOf('--');
  const flags = mark === -1 ? argv : argv.slice(0, mark);
  const words = mark === -1 ? [] : argv.slice(mark + 1);
  const given =
    flags.length === 2 && flags[0] === '--for'
      ? flags[1]
      : (/^--for=(.*)$/.exec(flags[0] ?? '')?.[1] ?? usual);
  if (flags.length > 2 || (flags.length > 0 && !/^--for(=|$)/.test(flags[0] ?? '')))
    return wrong(`approve does not know ${flags.join(' ')}; the command comes after --`);
  const holds = parseDuration(given ?? '');
  if (holds === undefined || holds === 0 || holds > Math.min(longest, longestDuration))
    return wrong('--for is a time such as 10m, at most 24h');
  if (words.length === 0) return wrong('approve wants a command after --');
  return approveText(textOf(words), holds);
}

async function approveText(text: string, holds: number): Promise<number> {
  if (!process.stdin.isTTY || !process.stderr.isTTY)
    return refuse('only a person at a terminal can approve a command; there is none here');
  const judgement = await judgeHere(text, readSurroundings());
  const answers = new Answers();
  const verdict = await settle(judgement, answers);
  await write('stderr', `${reason(verdict)}\n`);
  if (verdict.decision !== 'deny') {
    await write('stderr', 'There is nothing to approve: it is let through as it is.\n');
    return 0;
  }
  const findings = verdict.findings.filter(({ policy }) => policy !== 'warn');
  for (const finding of findings) {
    const why = unapprovable(finding);
    if (why !== undefined) return await refuse(`${finding.command} cannot be approved: ${why}`);
  }
  const acts = await answers.acts(findings);
  const { what, name } = nameToType(findings, acts);
  const time = formatAge(holds / 1000);
  await write('stderr', `\nThis lets the command through once, within ${time}, and only as it is here.\n`);
  const typed = await ask(`Type ${what} (${visible(name)}) to approve it: `);
  if (typed?.trim() !== name) return await refuse('that is not the name: nothing was approved');
  const ids = keepApprovals(acts, holds);
  await write(
    'stderr',
    `Approved: ${ids.join(', ')}. To take it back: ${ids.map((id) => `safe-update guard approve --revoke ${id}`).join(' && ')}\n`,
  );
  return 0;
}

/** What a person types so as to have read it: the project's name, a volume's, or the rule's where there is neither. */
function nameToType(findings: readonly Finding[], acts: readonly Act[]): { what: string; name: string } {
  const [project] = acts.flatMap((act) => act.project ?? []);
  if (project !== undefined) return { what: "the project's name", name: project };
  const [volume] = acts.flatMap((act) => act.volumes);
  if (volume !== undefined) return { what: "the volume's name", name: volume };
  return { what: 'the name of the rule', name: findings[0]?.rule ?? '' };
}

async function list(): Promise<number> {
  const now = thisMoment();
  const approvals = listApprovals();
  for (const { approval, use } of approvals) {
    const left = formatAge((approval.holds - (now.wall - approval.made.wall)) / 1000);
    const state = { unused: 'not used', hook: 'let through by a hook', used: 'used up' }[use];
    const where = approval.cwd === undefined ? '' : `, in ${approval.cwd}`;
    const line = `${approval.id}  ${approval.command}${where}: ${state}, ${left} left, by ${approval.by}`;
    await write('stdout', `${visible(line)}\n`);
  }
  if (approvals.length === 0) await write('stderr', 'There are no approvals.\n');
  return 0;
}

async function revoke(id: string): Promise<number> {
  if (!revokeApproval(id)) return refuse(`there is no approval ${id}; see safe-update guard approve --list`);
  await write('stderr', `${visible(id)} is taken back.\n`);
  return 0;
}

async function refuse(why: string): Promise<number> {
  await write('stderr', `safe-update guard: ${visible(why)}\n`);
  return refused;
}
