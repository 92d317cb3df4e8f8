import { volumeRm } from './grammar/engine.ts';
import type { Draft } from './invocation.ts';
import { isUnknown } from './unknown.ts';

/**
 * Given a request to an engine's API, return what it would lose. Decided by method and address alone: bodies may be too
 * long to be seen, and these requests carry everything in their address.
 */
export function judgeApi(method: string, address: string): Draft | undefined {
  const [before = '', query = ''] = address.replace(/#.*$/, '').split('?');
  const path = decoded(before)
    .replace(/^[a-z+]+:\/\/[^/]*/i, '')
    .replace(/\/\.(?=\/|$)/g, '')
    .replace(/\/{2,}/g, '/')
    .replace(/^\/v\d+(\.\d+)*(?=\/)/, '')
    .replace(/^\/libpod(?=\/)/, '')
    .replace(/\/$/, '');
  const given = new Map(
    query
      .split('&')
      .map((pair) => pair.split('=') as [string, string?])
      .map(([name, value = '']) => [decoded(name), decoded(value)] as const),
  );
  const isSet = (name: string): boolean => {
    const value = given.get(name);
    // Go's r.FormValue as the engine reads a boolean: what is not one of these is true.
    return value !== undefined && !['', '0', 'no', 'false', 'none'].includes(value.trim().toLowerCase());
  };
  const verb = method.toUpperCase();
  const name = path.split('/').at(-1) ?? '';

  if (verb === 'DELETE') {
    if (/^\/volumes\/[^/]+$/.test(path)) return isUnknown(name) ? { rule: 'volume-rm' } : volumeRm([name]);
    if (/^\/containers\/[^/]+$/.test(path) && (isSet('v') || isSet('volumes')))
      return { rule: 'rm-volumes', instead: ['docker rm -f'] };
    if (/^\/plugins\/.+/.test(path) && isSet('force')) return { rule: 'plugin-rm' };
  }
  if (verb === 'POST') {
    if (path === '/volumes/prune') return { rule: 'volume-prune' };
    if (path === '/system/prune' && isSet('volumes')) return { rule: 'system-prune' };
    if (path === '/swarm/leave' && isSet('force')) return { rule: 'swarm-leave' };
  }
  return undefined;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
