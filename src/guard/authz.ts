/**
 * The protocol of docker's authorization plugins, and what the guard says in it. dockerd asks before it handles a request
 * that its router has matched; https://docs.docker.com/engine/extend/plugins_authorization/ describes the fields.
 */
import { judgeApi, readAddress } from './api.ts';
import type { Draft } from './invocation.ts';
import { rules } from './rules.ts';
import type { Finding, Verdict } from './verdict.ts';

/** What dockerd is told. */
export interface AuthzAnswer {
  Allow: boolean;
  /** Shown to whoever sent the request, after "authorization denied by plugin NAME: ". One line. */
  Msg: string;
  Err: string;
}

export const allowed: AuthzAnswer = { Allow: true, Msg: '', Err: '' };

/** A refusal that says `why`. */
export function denied(why: string): AuthzAnswer {
  return { Allow: false, Msg: why, Err: '' };
}

/** What dockerd asks about. */
export interface AuthzRequest {
  method: string;
  /** As it was sent: a path with its query, or a whole URL. */
  address: string;
  /** Whether its body is, or may be, a form. */
  form: boolean;
}

/** How many characters of an address or a name are repeated. */
const shown = 200;

/**
 * Given the JSON of an AuthZReq, return what it asks about; undefined if it is malformed. `cut`: only the beginning of a
 * longer text is there, which is enough if method and address are in it. The body is not looked at: one of more than 1 MB
 * and one without a length come empty.
 */
export function readAuthzRequest(text: string, { cut = false } = {}): AuthzRequest | undefined {
  const fields = cut ? leadingStrings(text) : parsed(text);
  if (fields === undefined) return undefined;
  const { RequestMethod: method, RequestHeaders: headers } = fields;
  // The documentation says RequestURI, dockerd RequestUri. Two that differ are no question that can be answered.
  const [address, ...more] = new Set(
    ['RequestUri', 'RequestURI'].filter((name) => Object.hasOwn(fields, name)).map((name) => fields[name]),
  );
  if (typeof method !== 'string' || method === '') return undefined;
  if (typeof address !== 'string' || address === '' || more.length > 0) return undefined;
  return { method, address, form: headers === undefined ? cut : isForm(headers) };
}

function isForm(headers: unknown): boolean {
  if (typeof headers !== 'object' || headers === null) return false;
  return Object.entries(headers).some(
    ([name, value]) => name.toLowerCase() === 'content-type' && /\bform/i.test(String(value)),
  );
}

function parsed(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

/** The members of a JSON object up to the first one that is no string or does not end. */
function leadingStrings(text: string): Record<string, unknown> | undefined {
  // Written so that there is one way only to match a string: one that does not end must not be tried in every other.
  const member = /\s*[{,]\s*("[^"\\]*(?:\\.[^"\\]*)*")\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")/sy;
  const fields: Record<string, unknown> = {};
  if (!/^\s*\{/.test(text)) return undefined;
  try {
    for (let found = member.exec(text); found !== null; found = member.exec(text)) {
      const [, name = '', value = ''] = found;
      fields[JSON.parse(name) as string] = JSON.parse(value);
    }
  } catch {
    return undefined;
  }
  return fields;
}

/**
 * Given a request, return what it would lose; undefined if nothing. A deletion or a prune of a kind that is not known counts:
 * dockerd asks only about what its router understands, so one that the guard does not understand may be anything.
 */
export function findingOf(request: AuthzRequest): Finding | undefined {
  const { method, address } = request;
  const draft = judgeApi(request) ?? judgeStrange(method, address);
  if (draft === undefined) return undefined;
  const { rule, volumes, containers } = draft;
  const about = rule === 'unknown' ? strange : { ...rules[rule], ...draft };
  return {
    rule,
    command: shortened(`${method} ${address}`),
    at: { start: 0, end: address.length },
    loses: about.loses,
    instead: about.instead,
    ...(volumes === undefined ? {} : { volumes }),
    ...(containers === undefined ? {} : { containers }),
  };
}

const strange = {
  loses: 'perhaps volumes: this version of the guard does not know the request',
  instead: ['docker volume ls'],
};

function judgeStrange(method: string, address: string): Draft | undefined {
  const known =
    method.toUpperCase() === 'DELETE'
      ? /^\/(containers|images|networks|plugins|services|nodes|secrets|configs)\//
      : /^(?!.*\/prune\/?$)|^\/(containers|images|networks|build)\/prune$/s;
  return readAddress(address).paths.every((path) => !known.test(path)) ? { rule: 'unknown' } : undefined;
}

/** Given a verdict that refuses, return the one line that says why. */
export function refusalOf({ findings }: Pick<Verdict, 'findings'>): string {
  const [finding] = findings;
  if (finding === undefined) return 'refused by safe-update guard';
  const { rule, loses, instead, losses, project = losses?.project } = finding;
  return [
    `refused by safe-update guard (${rule})`,
    `would lose ${shortened(loses)}${project === undefined ? '' : ` (project ${shortened(project)})`}`,
    `instead: ${shortened(instead.join(', '))}`,
  ].join('; ');
}

function shortened(text: string): string {
  return text.length > shown ? `${text.slice(0, shown)}…` : text;
}
