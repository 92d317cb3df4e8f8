import { holdsFlags, isHarmless, isOn, parseFlags, valueOf, type Flags } from '../flags.ts';
import { resolvePath } from '../data-paths.ts';
import { reportIf, startedThrough, takenElsewhere, type Invocation, type Machine } from '../invocation.ts';
import { isUnknown } from '../unknown.ts';
import type { Inhabited } from '../verdict.ts';
import { aimed } from './aim.ts';
import { anyContainer, payload, runWithin } from './payload.ts';
import { subcommand } from './subcommand.ts';
import { composeCommands, composeGlobals, harmlessComposeCommands, podmanComposeGlobals } from './tables.ts';

type Owned = keyof typeof composeCommands;

/** Laravel's wrapper runs whatever it does not know in a container, some of it by another name. */
const sailPrograms: Partial<Record<string, string>> = {
  a: 'artisan',
  art: 'artisan',
  redis: 'redis-cli',
  valkey: 'valkey-cli',
  mongodb: 'mongosh',
};

const isOwned = (name: string): name is Owned => Object.hasOwn(composeCommands, name);

/** The project's folder and files, where flags or variables say them. */
function placeOf(
  globals: Flags,
  invocation: Invocation,
  machine: Machine,
): { folder: string | undefined; files: string[] } {
  const named = valueOf(globals, 'project-directory') ?? valueOf(globals, 'workdir');
  const variable = machine.variable('COMPOSE_FILE', invocation)?.split(':') ?? [];
  const files = (globals.given.get('file') ?? variable)
    .filter((file) => file !== '')
    .map((file) => resolvePath(file, invocation.cwd));
  const beside = files[0] === undefined ? undefined : resolvePath(`${files[0]}/..`, undefined);
  return { folder: named === undefined ? beside : resolvePath(named, invocation.cwd), files };
}

/**
 * Given the words after `docker compose`, `docker-compose` or another front end, report what they lose. `front` is what the
 * commands suggested instead begin with.
 */
export function judgeCompose(
  words: readonly string[],
  given: Invocation,
  machine: Machine,
  front: { name: string; abbreviated: boolean },
): void {
  const found = subcommand(
    front.name === 'podman-compose' ? podmanComposeGlobals : composeGlobals,
    // The plugin's binary takes its own name: `/usr/libexec/docker/cli-plugins/docker-compose compose down`.
    words[0] === 'compose' ? words.slice(1) : words,
    (name) => isOwned(name) || harmlessComposeCommands.has(name),
  );
  if (front.name === 'sail' && found.kind === 'other') {
    const program = sailPrograms[found.name] ?? found.name;
    runWithin([program, ...found.words], anyContainer, startedThrough(given, 'sail'), machine);
    return;
  }
  if (found.kind === 'none' || found.kind === 'other') return;
  const own =
    front.name === 'docker compose' || front.name === 'docker-compose' || given.route.elsewhere.length > 0;
  const ours = own ? given : takenElsewhere(given, front.name);
  let invocation = 'globals' in found ? aimed(ours, found.globals) : ours;
  if (found.kind === 'passed' || found.kind === 'wrapped') {
    machine.hint(invocation, 'what the caller passes is not seen here');
    return;
  }
  if (found.kind === 'unknown') {
    machine.report(invocation, { rule: 'unknown' });
    return;
  }
  const { name } = found;
  if (!isOwned(name)) return;
  const project =
    valueOf(found.globals, 'project-name') ?? machine.variable('COMPOSE_PROJECT_NAME', invocation);
  const place = placeOf(found.globals, invocation, machine);
  // Which project it is, nobody can look up then.
  for (const part of [project, place.folder, ...place.files])
    if (part !== undefined && isUnknown(part)) invocation = takenElsewhere(invocation, part);
  // It may hold COMPOSE_PROJECT_NAME.
  for (const file of found.globals.given.get('env-file') ?? [])
    invocation = startedThrough(invocation, `--env-file ${file}`);
  const about = {
    project: project === undefined || project === '' || isUnknown(project) ? undefined : project,
    ...place,
  };
  const run = name === 'run' || name === 'exec';
  const parsed = parseFlags(composeCommands[name], found.words, {
    interspersed: !run,
    abbreviated: front.abbreviated,
  });
  if (isHarmless(parsed)) return;
  const instead = (...commands: string[]): string[] => [
    ...commands.map((command) => `${front.name} ${command}`),
    'safe-update prod',
  ];

  if (name === 'down') {
    const draft = { rule: 'down-volumes', instead: instead('stop', 'rm -f', 'up -d'), ...about } as const;
    if (reportIf(machine, invocation, isOn(parsed, 'volumes'), draft)) return;
    if (parsed.unknown.length > 0) machine.report(invocation, { ...draft, rule: 'unknown' });
    else {
      machine.hint(
        invocation,
        `volumes are kept; ${front.name} stop keeps the containers and their anonymous volumes too`,
      );
      if (valueOf(parsed, 'rmi') !== undefined)
        machine.hint(invocation, 'removes the images to roll back to');
    }
  } else if (name === 'rm') {
    const draft = { rule: 'rm-volumes', instead: instead('rm -f'), ...about } as const;
    if (reportIf(machine, invocation, isOn(parsed, 'volumes'), draft)) return;
    if (holdsFlags(parsed.unknown)) machine.report(invocation, { ...draft, rule: 'unknown' });
  } else if (name === 'up' || name === 'create') {
    const yes = { rule: 'up-yes', instead: instead('up -d'), ...about } as const;
    const renew = {
      rule: 'renew-volumes',
      instead: instead('up -d --force-recreate'),
      ...about,
    } as const;
    const reported = [
      reportIf(machine, invocation, isOn(parsed, 'yes'), yes) ||
        (saysYes(invocation) && reportIf(machine, invocation, 'yes', yes)),
      reportIf(machine, invocation, isOn(parsed, 'renew-anon-volumes'), renew),
    ];
    if (!reported.includes(true) && holdsFlags(parsed.unknown))
      machine.report(invocation, { ...renew, rule: 'unknown' });
  } else if (name === 'scale' || name === 'watch') {
    if (saysYes(invocation)) machine.report(invocation, { rule: 'up-yes', instead: instead(name), ...about });
  } else {
    const [service = ''] = parsed.rest;
    const known = isUnknown(service) ? undefined : service;
    const of: Inhabited = { kind: 'service', ...about, service: known, comesUp: name === 'run' };
    payload(parsed, invocation, machine, { service: true, of });
  }
}

/** Whether what it reads would answer the question whether a volume may be deleted and made anew. */
function saysYes({ stdin }: Invocation): boolean {
  return stdin !== undefined && /^\s*y(es)?\s*$/im.test(stdin);
}
