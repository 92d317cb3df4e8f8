import { volumeRm } from './grammar/engine.ts';
import type { Draft } from './invocation.ts';
import { isUnknown } from './unknown.ts';

/** A request to an engine's API, as far as it says what would be lost. */
export interface ApiRequest {
  method: string;
  /** As it was sent: a path with its query, or a whole URL. */
  address: string;
  /** The body is a form, and may hold what is missing in the query: Go reads both as one where a body is to be expected. */
  form?: boolean;
}

/**
 * Given a request to an engine's API, return what it would lose. Decided by method and address alone: bodies may be too
 * long to be seen, and these requests carry everything in their address.
 *
 * The address is read as dockerd's router reads it (tried with 28.5): cut at the first `?`, `#` means nothing, the path is
 * decoded once and as a whole, so that `/%76olumes%2Fx` is a volume, and a name may hold slashes. Where engines differ, the
 * worse reading counts: of a parameter given twice, the one that deletes; `;` also separates; `//`, `.` and `..` are judged
 * as written and as resolved.
 */
export function judgeApi({ method, address, form = false }: ApiRequest): Draft | undefined {
  const { paths, isSet } = readAddress(address);
  const verb = method.toUpperCase();
  for (const path of paths) {
    const draft =
      verb === 'DELETE'
        ? judgeDelete(path, isSet)
        : verb === 'POST'
          ? judgePost(path, (name) => form || isSet(name))
          : undefined;
    if (draft !== undefined) return draft;
  }
  return undefined;
}

type IsSet = (parameter: string) => boolean;

function judgeDelete(path: string, isSet: IsSet): Draft | undefined {
  const [, kind, name = ''] = /^\/(volumes|containers|plugins)\/(.*)$/s.exec(path) ?? [];
  if (kind === 'volumes') return name === '' || isUnknown(name) ? { rule: 'volume-rm' } : volumeRm([name]);
  if (kind === 'containers' && (isSet('v') || isSet('volumes')))
    return { rule: 'rm-volumes', instead: ['docker rm -f'], containers: [name] };
  if (kind === 'plugins' && isSet('force')) return { rule: 'plugin-rm' };
  return undefined;
}

function judgePost(path: string, isSet: IsSet): Draft | undefined {
  if (path === '/volumes/prune') return { rule: 'volume-prune' };
  if (path === '/system/prune' && isSet('volumes')) return { rule: 'system-prune' };
  if (path === '/swarm/leave' && isSet('force')) return { rule: 'swarm-leave' };
  return undefined;
}

/** The readings of an address's path, without the version, and which of its parameters an engine would take for true. */
export function readAddress(address: string): { paths: readonly string[]; isSet: IsSet } {
  const mark = address.indexOf('?');
  const before = mark < 0 ? address : address.slice(0, mark);
  const query = mark < 0 ? '' : address.slice(mark + 1);
  const path = decoded(before.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/]*/i, ''));
  const parameters = query.split(/[&;]/).map((pair) => {
    const [name = '', ...value] = pair.replaceAll('+', ' ').split('=');
    return { name: decoded(name), value: decoded(value.join('=')) };
  });
  return {
    paths: [...new Set([path, resolved(path)])].map((one) =>
      one.replace(/^\/v[0-9.]+(?=\/)/, '').replace(/^\/libpod(?=\/)/, ''),
    ),
    isSet: (name) =>
      // As the engine reads a boolean: what is not one of these is true.
      parameters.some(
        (one) =>
          one.name === name && !['', '0', 'no', 'false', 'none'].includes(one.value.trim().toLowerCase()),
      ),
  };
}

/** A path without empty and dotted segments, and without a slash at its end. */
function resolved(path: string): string {
  const segments: string[] = [];
  for (const segment of path.split('/')) {
    if (segment === '..') segments.pop();
    else if (segment !== '' && segment !== '.') segments.push(segment);
  }
  return `/${segments.join('/')}`;
}

/** Decoded once. What is no UTF-8 comes out as other letters, but the rest of it as it should. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
  }
}
