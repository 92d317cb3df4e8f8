import { readAddress } from '../../guard/api.ts';
import {
  allowed,
  denied,
  findingOf,
  readAuthzRequest,
  refusalOf,
  type AuthzAnswer,
  type AuthzRequest,
} from '../../guard/authz.ts';
import { policyFor, type MachineRules } from '../../guard/policy.ts';
import type { Finding } from '../../guard/verdict.ts';
import { visible } from '../view/escape.ts';
import { useForApi } from './approvals.ts';
import { hasNoAnonymousVolume, isProofVolume, projectOf, type EngineFacts } from './engine-facts.ts';

/** What the answers to dockerd depend on. */
export interface Authority {
  engine: EngineFacts;
  /** The machine's rules as they are now, and what is wrong with them. */
  rules: () => Promise<{ rules: MachineRules; warning?: string }>;
  /** The folder of the approvals, if it is another one than that of whoever runs this. */
  approvals?: string;
}

export interface Authorization {
  answer: AuthzAnswer;
  /** What is worth a line in the log; undefined for what loses nothing. */
  log?: string;
}

/**
 * Given the JSON of an AuthZReq, return the answer. `cut`: the text is only the beginning. Never throws: what goes wrong here is
 * a refusal.
 */
export async function authorize(
  text: string,
  authority: Authority,
  { cut = false } = {},
): Promise<Authorization> {
  let request: AuthzRequest | undefined;
  try {
    request = readAuthzRequest(text, { cut });
    if (request === undefined)
      return refused('refused by safe-update guard: what the engine asks names no request that can be read');
    const finding = findingOf(request);
    if (finding === undefined) return { answer: allowed };
    return await decide(request, finding, authority);
  } catch (error) {
    const what = `${request?.method ?? ''} ${request?.address.slice(0, 200) ?? ''}`.trim();
    return refused(`refused by safe-update guard, as this went wrong: ${String(error)}`, what);
  }
}

async function decide(
  request: AuthzRequest,
  finding: Finding,
  { engine, rules: read, approvals }: Authority,
): Promise<Authorization> {
  const { rules, warning } = await read();
  const about = await subject(request, finding, engine);
  const found = about.project === undefined ? finding : { ...finding, project: about.project };
  if (about.loses === 'nothing') return { answer: allowed, log: `allowed: ${finding.command}: ${about.why}` };
  const [volume] = finding.volumes ?? [];
  const { policy, by } = policyFor(rules, about.known ? [{ project: about.project, volume, own: {} }] : []);
  const because = by === undefined ? '' : ` (${by})`;
  if (policy === 'off')
    return { answer: allowed, log: `allowed: ${finding.command}: it is not guarded${because}` };
  const why = refusalOf({ findings: [found] });
  if (policy === 'warn')
    return { answer: allowed, log: `allowed: ${finding.command}: only warned of${because}; would be ${why}` };
  const approval = await approvalFor(found, engine, approvals);
  if (approval !== undefined)
    return { answer: allowed, log: `allowed: ${finding.command}: approval ${approval}` };
  return refused([why, ...(warning === undefined ? [] : [warning])].join('; '), finding.command);
}

function refused(why: string, what?: string): Authorization {
  return { answer: denied(visible(why)), log: what === undefined ? why : `${what}: ${why}` };
}

/** What a finding is about, from the engine. Where it does not say, anything may be lost. */
type Subject =
  | { loses: 'nothing'; why: string; project?: string | undefined }
  | { loses: 'something'; known: boolean; project?: string | undefined };

async function subject(request: AuthzRequest, finding: Finding, engine: EngineFacts): Promise<Subject> {
  const [volume] = finding.rule === 'volume-rm' ? (finding.volumes ?? []) : [];
  const [container] = finding.rule === 'rm-volumes' ? (finding.containers ?? []) : [];
  try {
    if (volume !== undefined) {
      const found = await engine.volume(volume);
      if (found === null) return { loses: 'something', known: true };
      // Never by force: the engine shall refuse one in use.
      if (!readAddress(request.address).isSet('force') && isProofVolume(volume, found))
        return { loses: 'nothing', why: 'a test-restore has made it' };
      return { loses: 'something', known: true, project: projectOf(found.Labels) };
    }
    if (container !== undefined) {
      const found = await engine.container(container);
      if (found === null) return { loses: 'something', known: true };
      if (hasNoAnonymousVolume(found)) return { loses: 'nothing', why: 'it has no anonymous volume' };
      return { loses: 'something', known: true, project: projectOf(found.Config.Labels) };
    }
  } catch {
    // It did not say.
  }
  return { loses: 'something', known: false };
}

async function approvalFor(
  { rule, volumes = [], containers = [], project }: Finding,
  engine: EngineFacts,
  folder: string | undefined,
): Promise<string | undefined> {
  const [volume] = rule === 'volume-rm' ? volumes : [];
  const [container] = rule === 'rm-volumes' ? containers : [];
  if (volume === undefined && container === undefined) return undefined;
  const id = await engine.id().catch(() => undefined);
  // An approval is of one engine; which one this is has to be known.
  if (id === undefined) return undefined;
  const where = { engine: id, ...(folder === undefined ? {} : { folder }) };
  if (volume !== undefined) return useForApi({ kind: 'volume', name: volume }, where);
  return container === undefined
    ? undefined
    : useForApi({ kind: 'container', name: container, ...(project === undefined ? {} : { project }) }, where);
}
