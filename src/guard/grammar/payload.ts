import {
  dataFoldersBut,
  engineFoldersBelow,
  isDataFolder,
  isServiceFolder,
  resolvePath,
} from '../data-paths.ts';
import { judgeDatabase } from '../databases.ts';
import { flags, isOn, parseFlags, valueOf, type Flags } from '../flags.ts';
import { reportIf, type Container, type Invocation, type Machine } from '../invocation.ts';

import { isUnknown, known } from '../unknown.ts';
import type { Inhabited } from '../verdict.ts';
import { shownWords } from '../words.ts';

/** Variables that count in a container: where its data are. */
const variables = new Set(['PGDATA']);
const variablesOfImages = [['PGDATA', '/var/lib/postgresql/data']] as const;

/** Package managers run what they are given, unless it is a script of theirs: `yarn prisma migrate reset`. */
const packageManagers = new Set(['npm', 'yarn', 'pnpm', 'bun']);

/**
 * Given the flags of `run`, `create` or `exec` with their words, judge the command inside the container. With `service`, it
 * has the volumes of a service of compose besides those that the command mounts.
 */
export function payload(
  parsed: Flags,
  invocation: Invocation,
  machine: Machine,
  { service, of }: { service: boolean; of?: Inhabited | undefined },
): void {
  const [target = '', ...command] = parsed.rest;
  const { volumes, binds } = mounts(parsed, invocation, machine, service);
  const given = variablesGiven(parsed, invocation, machine);
  const within: Within = {
    inside: { volumes, ...(of === undefined ? {} : { of }), ...(binds.length === 0 ? {} : { binds }) },
    cwd: valueOf(parsed, 'workdir'),
    env: new Map([...variablesOfImages, ...given]),
  };
  if (imageName(target) === 'watchtower') judgeWatchtower(command, parsed, invocation, machine);
  const entrypoint = valueOf(parsed, 'entrypoint');
  const own = entrypoint === undefined ? entrypointOf(target, command) : undefined;
  // An image whose entrypoint is docker: `docker run docker/compose down -v`. `exec` does without it.
  if (own !== undefined) runWithin([own, ...command], within, invocation, machine);
  runWithin(
    entrypoint === undefined || entrypoint === '' ? command : [entrypoint, ...command],
    within,
    invocation,
    machine,
  );
}

interface Within {
  inside: Container;
  cwd: string | undefined;
  env: ReadonlyMap<string, string>;
}

/** A container of which nothing is known. */
export const anyContainer: Within = {
  inside: { volumes: undefined },
  cwd: undefined,
  env: new Map(variablesOfImages),
};

/** Judge a command in a container. */
export function runWithin(
  words: readonly string[],
  { inside, cwd, env }: Within,
  invocation: Invocation,
  machine: Machine,
): void {
  const [first] = words;
  if (first === undefined) return;
  const { route } = invocation;
  const within = route.within ?? shownWords(invocation.words);
  const outside = route.within === undefined ? invocation.cwd : route.cwd;
  const inner = { ...invocation, words, inside, cwd, env, route: { ...route, within, cwd: outside } };
  if (packageManagers.has(first)) judgeDatabase(first, inner, machine);
  machine.run(inner);
}

/** What the command says of variables that count. */
function variablesGiven(parsed: Flags, invocation: Invocation, machine: Machine): Map<string, string> {
  const found = new Map<string, string>();
  for (const given of parsed.given.get('env') ?? []) {
    const [name = '', ...rest] = given.split('=');
    if (!variables.has(name)) continue;
    // `-e NAME` alone hands on what it is here.
    const value = rest.length > 0 ? rest.join('=') : machine.variable(name, invocation);
    if (value !== undefined) found.set(name, value);
  }
  return found;
}

/** The last part of an image's name, without its tag. */
function imageName(image: string): string {
  return (
    known(image)
      .replace(/[@:][^/]*$/, '')
      .split('/')
      .at(-1) ?? ''
  );
}

interface Entrypoint {
  program: string;
  /** What it starts as it is. */
  except?: readonly string[];
  /** It takes flags only; anything else is a program. */
  flags?: true;
}

const aShell = ['docker', 'sh', 'bash', '/bin/sh'];

/** Programs that images start with what they are given. */
const entrypoints: Record<string, Entrypoint> = {
  docker: { program: 'docker', except: aShell },
  podman: { program: 'podman', except: aShell },
  compose: { program: 'docker-compose' },
  'docker-compose': { program: 'docker-compose' },
  curl: { program: 'curl' },
  bash: { program: 'bash', flags: true },
  node: { program: 'node', flags: true },
};

function entrypointOf(image: string, command: readonly string[]): string | undefined {
  const name = imageName(image);
  const found = Object.hasOwn(entrypoints, name) ? entrypoints[name] : undefined;
  const [first = ''] = command;
  if (found === undefined || found.except?.includes(first) === true) return undefined;
  return found.flags === true && !first.startsWith('-') ? undefined : found.program;
}

const watchtower = flags('--remove-volumes');

/** It makes containers anew, and may be told to remove their anonymous volumes with them. */
function judgeWatchtower(
  command: readonly string[],
  parsed: Flags,
  invocation: Invocation,
  machine: Machine,
): void {
  const draft = { rule: 'rm-volumes', instead: ['watchtower --cleanup'] } as const;
  const on = isOn(parseFlags(watchtower, command, { interspersed: true }), 'remove-volumes');
  if (reportIf(machine, invocation, on, draft)) return;
  const says = parsed.given
    .get('env')
    ?.some((given) => /^WATCHTOWER_REMOVE_VOLUMES=(1|t|true)$/i.test(given));
  if (says === true) machine.report(invocation, draft);
}

/** Images that keep their data where others have whatever is worked on. */
const keepers = ['redis', 'valkey', 'keydb', 'dragonfly', 'mongo', 'minio', 'neo4j', 'surrealdb'];

/** One is enough of what is no volume; of more, some of it may count as one. */
const mostFree = 32;

interface Mounted {
  /** Where a named or data-holding mount is, in the container; undefined if the command mounts nothing itself. */
  volumes: string[] | undefined;
  /** Folders of the host that can be written to. */
  binds: { source: string; target: string }[];
}

function mounts(parsed: Flags, invocation: Invocation, machine: Machine, service: boolean): Mounted {
  const found: string[] = [];
  const binds: Mounted['binds'] = [];
  /** The folder where it runs, with all that is worked on in it, is no place for data. */
  const isFolderItself = (source: string): boolean =>
    resolvePath(source, invocation.cwd) === resolvePath('.', invocation.cwd);
  /** Where something else is, which may go. */
  const free: string[] = [];
  let any = false;
  const image = imageName(parsed.rest[0] ?? '');
  const keeps = keepers.some((keeper) => image.startsWith(keeper));
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
    if (target === undefined) continue;
    if (fields.get('type') === 'tmpfs') free.push(target);
    else note(fields.get('source') ?? fields.get('src') ?? '', target, readOnly);
  }
  for (const value of parsed.given.get('tmpfs') ?? []) {
    any = true;
    free.push(value.split(':')[0] ?? '');
  }
  if (!any) return { volumes: undefined, binds };
  // Volumes that the command does not name.
  if (service || parsed.given.has('volumes-from')) found.push(...dataFoldersBut(free.slice(0, mostFree)));
  return { volumes: found, binds };

  function note(source: string, target: string, readOnly: boolean): void {
    const isPath =
      /^[./~]/.test(source) || (source !== '' && known(source) !== source && source.includes('/'));
    if (isPath && !readOnly && binds.length < mostFree) {
      const full = resolvePath(source, invocation.cwd);
      if (!isUnknown(full)) binds.push({ source: full, target });
    }
    if (readOnly) free.push(target);
    else if (!isPath) found.push(target);
    else if (isServiceFolder(target) || (isDataFolder(target) && (keeps || !isFolderItself(source)))) {
      found.push(target);
      if (!isFolderItself(source)) machine.bind(source, invocation);
    } else if (isDataFolder(source)) found.push(target);
    else {
      free.push(target);
      const below = engineFoldersBelow(source);
      // As they are called there, and for a command that `chroot` takes to them.
      found.push(...below.map((folder) => target.replace(/\/$/, '') + folder), ...below);
    }
  }
}
