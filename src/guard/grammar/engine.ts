import { holdsFlags, isHarmless, isOn, parseFlags, type Flags, type FlagTable } from '../flags.ts';
import { reportIf, takenElsewhere, type Draft, type Invocation, type Machine } from '../invocation.ts';
import { isUnknown, SOME } from '../unknown.ts';
import type { Inhabited } from '../verdict.ts';
import { aimed } from './aim.ts';
import { judgeCompose } from './compose.ts';
import { payload } from './payload.ts';
import { subcommand } from './subcommand.ts';
import { dockerGlobals, engineCommands, nerdctlGlobals, podmanGlobals } from './tables.ts';

export type EngineName = 'docker' | 'podman' | 'nerdctl';

interface Judged {
  engine: EngineName;
  words: readonly string[];
  invocation: Invocation;
  machine: Machine;
}

type Judge = (judged: Judged) => void;

const globals: Record<EngineName, FlagTable> = {
  docker: dockerGlobals,
  podman: podmanGlobals,
  nerdctl: nerdctlGlobals,
};

const removeContainers: Judge = (judged) => {
  withFlags(engineCommands.rm, judged, (parsed, { engine, invocation, machine }) => {
    const named = parsed.rest.some(isUnknown) ? {} : { containers: parsed.rest };
    const draft = { rule: 'rm-volumes', instead: [`${engine} rm -f`], ...named } as const;
    if (reportIf(machine, invocation, isOn(parsed, 'volumes'), draft)) return;
    if (holdsFlags(parsed.unknown)) machine.report(invocation, { ...draft, rule: 'unknown' });
    else machine.hint(invocation, `anonymous volumes stay behind; ${engine} stop keeps the container`);
  });
};

const removeVolumes: Judge = (judged) => {
  withFlags(engineCommands.volumeRm, judged, (parsed, { invocation, machine }) => {
    if (isOn(parsed, 'all') !== 'no') {
      machine.report(invocation, { rule: 'volume-rm', loses: 'every volume' });
      return;
    }
    if (parsed.rest.length === 0) return;
    if (parsed.rest.some((name) => isUnknown(name) || /[*?[{]/.test(name)))
      machine.report(invocation, { rule: 'volume-rm', loses: 'volumes that only show when it runs' });
    else machine.report(invocation, volumeRm(parsed.rest));
  });
};

/** A volume that goes by its name: fine if it is a cache or has a fresh backup. */
export function volumeRm(names: readonly string[]): Draft {
  return {
    rule: 'volume-rm',
    loses: names.length === 1 ? `the volume ${names[0] ?? ''}` : `the volumes ${names.join(', ')}`,
    instead: [...names.map((name) => `docker volume inspect ${name}`), 'safe-update backup'],
    volumes: names,
    conditional: true,
  };
}

const pruneVolumes: Judge = (judged) => {
  withFlags(engineCommands.prune, judged, (parsed, { engine, invocation, machine }) => {
    const filters = parsed.given.get('filter') ?? [];
    const all =
      engine === 'podman' ||
      isOn(parsed, 'all') !== 'no' ||
      parsed.unknown.length > 0 ||
      filters.some((filter) => filter.startsWith('all') || isUnknown(filter));
    machine.report(invocation, {
      rule: 'volume-prune',
      loses: all
        ? 'every volume that no container uses, those of a stopped stack too'
        : 'the anonymous volumes that no container uses; below engine 23 every unused volume',
      anonymous: !all,
    });
  });
};

const pruneSystem: Judge = (judged) => {
  withFlags(engineCommands.prune, judged, (parsed, { invocation, machine }) => {
    const draft: Draft = { rule: 'system-prune' };
    if (reportIf(machine, invocation, isOn(parsed, 'volumes'), draft)) return;
    if (parsed.unknown.length > 0) machine.report(invocation, { ...draft, rule: 'unknown' });
    else machine.hint(invocation, 'removes stopped containers, and with -a the images to roll back to');
  });
};

/** `swarm leave`, `plugin rm`: only with force. */
const forced =
  (draft: Draft): Judge =>
  (judged) => {
    withFlags(engineCommands.forced, judged, (parsed, { invocation, machine }) => {
      if (reportIf(machine, invocation, isOn(parsed, 'force'), draft)) return;
      if (holdsFlags(parsed.unknown)) machine.report(invocation, { ...draft, rule: 'unknown' });
    });
  };

const always =
  (draft: Draft): Judge =>
  (judged) => {
    withFlags(engineCommands.forced, judged, (parsed, { invocation, machine }) => {
      if (parsed.rest.length > 0) machine.report(invocation, draft);
    });
  };

const reset: Judge = (judged) => {
  withFlags(engineCommands.forced, judged, (_, { invocation, machine }) => {
    machine.report(invocation, { rule: 'engine-reset' });
  });
};

/** Names of the containers whose mounts a command sees; those of one that it makes are its own, but for `--volumes-from`. */
function inhabited(parsed: Flags, exec: boolean): Inhabited | undefined {
  const lenders = parsed.given.get('volumes-from')?.map((name) => name.replace(/:(ro|rw|z|Z)$/, '')) ?? [];
  if (!exec && lenders.length === 0) return undefined;
  const names = exec ? parsed.rest.slice(0, 1) : lenders;
  return { kind: 'container', ...(names.some(isUnknown) ? {} : { names }) };
}

const inContainer =
  (table: FlagTable, exec = false): Judge =>
  (judged) => {
    withFlags(
      table,
      judged,
      (parsed, { invocation, machine }) => {
        payload(parsed, invocation, machine, { service: false, of: inhabited(parsed, exec) });
      },
      false,
    );
  };

const hinted =
  (text: string): Judge =>
  (judged) => {
    withFlags(engineCommands.forced, judged, (_, { invocation, machine }) => {
      machine.hint(invocation, text);
    });
  };

const run = inContainer(engineCommands.run);
const exec = inContainer(engineCommands.exec, true);
const noImages = hinted('removes images to roll back to; no data');
const prunedContainers = hinted(
  'what the containers hold outside of volumes is lost; their anonymous volumes stay behind',
);

/** podman removes the anonymous volumes of a pod together with it. */
const removePods: Judge = (judged) => {
  withFlags(engineCommands.forced, judged, (parsed, { invocation, machine }) => {
    if (parsed.rest.length > 0 || isOn(parsed, 'all') !== 'no')
      machine.report(invocation, { rule: 'rm-volumes', instead: ['podman pod stop'] });
  });
};

/** By their names after the engine's: what loses something, or is worth a word. */
const judges: Record<string, Judge> = {
  run,
  create: run,
  exec,
  rm: removeContainers,
  rmi: noImages,
  'container run': run,
  'container create': run,
  'container exec': exec,
  'container rm': removeContainers,
  'container remove': removeContainers,
  'container prune': prunedContainers,
  'image rm': noImages,
  'image remove': noImages,
  'image prune': noImages,
  'context use': (judged) => {
    // What follows goes to another engine.
    judged.machine.assign('DOCKER_CONTEXT', judged.words.at(-1) ?? '', judged.invocation);
  },
  'volume rm': removeVolumes,
  'volume remove': removeVolumes,
  'volume prune': pruneVolumes,
  'system prune': pruneSystem,
  'stack rm': always({ rule: 'stack-rm' }),
  'stack remove': always({ rule: 'stack-rm' }),
  'stack down': always({ rule: 'stack-rm' }),
  'swarm leave': forced({ rule: 'swarm-leave' }),
  'plugin rm': forced({ rule: 'plugin-rm' }),
  'plugin remove': forced({ rule: 'plugin-rm' }),
};

/** `podman kube play` takes down what it has started, if it is told to. */
const playKube: Judge = (judged) => {
  withFlags(engineCommands.kubePlay, judged, (parsed, { invocation, machine }) => {
    const draft = { rule: 'down-volumes', loses: 'the volumes of the pods' } as const;
    if (isOn(parsed, 'down') === 'yes') reportIf(machine, invocation, isOn(parsed, 'force'), draft);
  });
};

/** podman's own. */
const podmanJudges: Record<string, Judge> = {
  remove: removeContainers,
  'pod rm': removePods,
  'kube play': playKube,
  'play kube': playKube,
  'kube down': forced({ rule: 'down-volumes', loses: 'the volumes of the pods' }),
  'system reset': reset,
  'machine rm': reset,
  'machine reset': reset,
};

const management = new Set(
  'builder buildx checkpoint config container context image kube machine manifest network node play plugin pod quadlet secret service stack swarm system trust volume'.split(
    ' ',
  ),
);

const plain = new Set(
  (
    'attach bake build commit cp diff events export history images import info inspect kill load login logout logs ' +
    'pause port ps pull push rename restart save search start stats stop tag top unpause update version wait ' +
    'auto-update generate healthcheck init mount unmount unshare untag exists artifact farm help desktop debug scout ' +
    'model mcp offload sbom sandbox namespace internal'
  ).split(' '),
);

/** The names that `judgeEngine` reads behind an engine's own, for those who have to say the same in another language. */
export interface Vocabulary {
  globals: FlagTable;
  /** Nothing is said of these, whatever follows. */
  plain: readonly string[];
  /** `volume`, `system` and so on: what counts is the name behind them. */
  management: readonly string[];
  /** What something may be said of: `rm`, `volume rm`. */
  judged: readonly string[];
}

/** Given an engine, return its names. */
export function vocabulary(engine: EngineName): Vocabulary {
  const judged = Object.keys(judgesOf(engine));
  return {
    globals: globals[engine],
    plain: [...plain].filter((name) => !judged.includes(name) && name !== 'unshare'),
    // `machine ssh` is not judged by its name, but by the text it runs.
    management: [...management].filter((name) => name !== 'machine'),
    judged,
  };
}

function judgesOf(engine: EngineName): Record<string, Judge> {
  return engine === 'podman' ? { ...judges, ...podmanJudges } : judges;
}

/** What commands print that are asked where the engine keeps its files: by their names, and what they are asked for. */
const places = [
  { names: ['volume inspect'], asked: 'Mountpoint', path: `/var/lib/docker/volumes/${SOME}/_data` },
  {
    names: ['inspect', 'container inspect'],
    asked: '.Source',
    path: `/var/lib/docker/volumes/${SOME}/_data`,
  },
  { names: ['info', 'system info'], asked: 'DockerRootDir', path: '/var/lib/docker' },
  { names: ['info', 'system info'], asked: 'GraphRoot', path: '/var/lib/containers/storage' },
  { names: ['info', 'system info'], asked: 'VolumePath', path: '/var/lib/containers/storage/volumes' },
];

function printedBy(name: string, words: readonly string[]): string {
  const found = places.find(
    ({ names, asked }) => names.includes(name) && words.some((word) => word.includes(asked)),
  );
  return found === undefined ? SOME : `${found.path}\n`;
}

/** Given the words after `docker`, `podman` or `nerdctl`, report what they lose. Returns what they would print. */
export function judgeEngine(
  engine: EngineName,
  words: readonly string[],
  given: Invocation,
  machine: Machine,
): string {
  const own = judgesOf(engine);
  const found = subcommand(
    globals[engine],
    words,
    (name) => name === 'compose' || Object.hasOwn(own, name) || management.has(name) || plain.has(name),
  );
  if (found.kind === 'none' || found.kind === 'other') return SOME;
  // Other engines have volumes of their own.
  const front = engine === 'docker' ? given : takenElsewhere(given, engine);
  const invocation = 'globals' in found ? aimed(front, found.globals) : front;
  if (found.kind === 'passed' || found.kind === 'wrapped') {
    machine.hint(invocation, 'what the caller passes is not seen here');
    return SOME;
  }
  if (found.kind === 'unknown') {
    machine.report(invocation, { rule: 'unknown' });
    return SOME;
  }
  const { name } = found;
  if (name === 'compose') {
    judgeCompose(found.words, invocation, machine, { name: `${engine} compose`, abbreviated: false });
    return SOME;
  }
  if (name === 'unshare') {
    return machine.run({ ...invocation, words: found.words });
  }
  if (!management.has(name)) {
    const judge = Object.hasOwn(own, name) ? own[name] : undefined;
    judge?.({ engine, words: found.words, invocation, machine });
    return printedBy(name, found.words);
  }
  const below = subcommand(globals[engine], found.words, (word) => Object.hasOwn(own, `${name} ${word}`));
  if (below.kind === 'known') {
    const nearer = aimed(invocation, below.globals);
    own[`${name} ${below.name}`]?.({ engine, words: below.words, invocation: nearer, machine });
  } else if (
    (below.kind === 'unknown' || below.kind === 'wrapped') &&
    ['volume', 'system', 'container', 'stack'].includes(name)
  ) {
    machine.report(invocation, { rule: 'unknown' });
  } else if (below.kind === 'other' && name === 'machine' && below.name === 'ssh') {
    sshed(below.words, invocation, machine);
  } else if (below.kind === 'other') return printedBy(`${name} ${below.name}`, below.words);
  return SOME;
}

/** The first word after `podman machine ssh` is a machine, if there is one by that name. */
function sshed(words: readonly string[], invocation: Invocation, machine: Machine): void {
  machine.script(words.join(' '), invocation);
  if (words.length > 1) machine.script(words.slice(1).join(' '), invocation);
}

function withFlags(
  table: FlagTable,
  judged: Judged,
  then: (parsed: Flags, judged: Judged) => void,
  interspersed = true,
): void {
  const parsed = parseFlags(table, judged.words, { interspersed });
  if (!isHarmless(parsed)) then(parsed, judged);
}
