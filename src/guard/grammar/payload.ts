import { valueOf, type Flags } from '../flags.ts';
import type { Container, Invocation, Machine } from '../invocation.ts';
import { engineFoldersBelow, isDataFolder } from '../data-paths.ts';

import { known } from '../unknown.ts';
import { shownWords } from '../words.ts';

/** Given the flags of `run`, `create` or `exec` with their words, judge the command inside the container. */
export function payload(parsed: Flags, invocation: Invocation, machine: Machine): void {
  const [target = '', ...command] = parsed.rest;
  const volumes = mounts(parsed, invocation, machine);
  const inside: Container = { volumes };
  const entrypoint = valueOf(parsed, 'entrypoint');
  const words = [
    ...(entrypoint === undefined || entrypoint === '' ? [] : [entrypoint]),
    // An image whose entrypoint is docker: `docker run docker/compose down -v`.
    ...(entrypoint === undefined ? entrypointOf(target, command) : []),
    ...command,
  ];
  if (words.length === 0) return;
  const cwd = valueOf(parsed, 'workdir');
  const { route } = invocation;
  const within = route.within ?? shownWords(invocation.words);
  const outside = route.within === undefined ? invocation.cwd : route.cwd;
  machine.run({
    ...{ ...invocation, words, inside, cwd, env: new Map() },
    route: { ...route, within, cwd: outside },
  });
}

function entrypointOf(image: string, command: readonly string[]): string[] {
  const name = known(image)
    .replace(/[@:][^/]*$/, '')
    .split('/')
    .at(-1);
  const first = command[0] ?? '';
  if (name === 'docker' || name === 'podman')
    return ['docker', 'sh', 'bash', '/bin/sh'].includes(first) ? [] : [name];
  if (name === 'compose') return ['docker-compose'];
  return [];
}

/** Where a named or data-holding mount is, in the container; undefined if the command mounts nothing itself. */
function mounts(parsed: Flags, invocation: Invocation, machine: Machine): string[] | undefined {
  const found: string[] = [];
  let any = false;
  for (const value of parsed.given.get('volume') ?? []) {
    any = true;
    const [source = '', target = '', options = ''] = value.split(':');
    if (target === '') found.push(source);
    else note(source, target, options.split(',').includes('ro'));
  }
  for (const value of parsed.given.get('mount') ?? []) {
    any = true;
    const fields = new Map(
      value.split(',').map((field) => {
        const [key = '', ...rest] = field.split('=');
        return [key, rest.join('=')] as const;
      }),
    );
    const target = fields.get('target') ?? fields.get('dst') ?? fields.get('destination');
    const readOnly = ['readonly', 'ro'].some((key) => fields.has(key) && fields.get(key) !== 'false');
    if (target !== undefined && fields.get('type') !== 'tmpfs')
      note(fields.get('source') ?? fields.get('src') ?? '', target, readOnly);
  }
  return any ? found : undefined;

  function note(source: string, target: string, readOnly: boolean): void {
    const isPath =
      /^[./~]/.test(source) || (source !== '' && known(source) !== source && source.includes('/'));
    if (readOnly) return;
    if (!isPath) found.push(target);
    else if (isDataFolder(target)) {
      found.push(target);
      machine.bind(source, invocation);
    } else if (isDataFolder(source)) found.push(target);
    else found.push(...engineFoldersBelow(source).map((below) => target.replace(/\/$/, '') + below));
  }
}
