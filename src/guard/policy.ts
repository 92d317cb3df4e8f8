import { matches } from './data-paths.ts';
import type { Policy } from './verdict.ts';

/** What the machine's file says. */
export interface MachineRules {
  /** Absent: it says nothing about what is not listed. */
  policy?: Policy;
  freshSeconds?: number;
  /** By name, or by a pattern with `*`. */
  projects: Readonly<Record<string, Policy>>;
  volumes: Readonly<Record<string, Policy>>;
}

/** What a project's own file says. */
export interface ProjectRules {
  policy?: Policy;
  freshSeconds?: number;
}

/** One thing that a command would delete from, as far as it is known. */
export interface Target {
  project?: string | undefined;
  volume?: string | undefined;
  /** What the project's own file says; empty: nothing. */
  own: ProjectRules;
}

export interface Ruling {
  policy: Policy;
  /** Who says so; absent where nobody does and everything is blocked. */
  by?: string;
}

const order: readonly Policy[] = ['off', 'warn', 'block'];

/**
 * Given what the machine's file says, and what a command would delete from, return what holds for the command: the strictest
 * that holds for one of these. If it is not known what it would delete from, that is the strictest that is said of anything.
 *
 * The machine's word is a floor: a project's file, which lies where programs of the project may write, can only ask for more.
 * Where the machine says nothing, the project decides; where nobody says anything, it is blocked. What is said of a volume
 * counts before what is said of its project. Pure.
 */
export function policyFor(machine: MachineRules, targets: readonly Target[]): Ruling {
  const general: Ruling =
    machine.policy === undefined
      ? { policy: 'block' }
      : { policy: machine.policy, by: `policy: ${machine.policy}` };
  if (targets.length === 0) {
    const all = (['projects', 'volumes'] as const).flatMap((section) =>
      Object.entries(machine[section]).map(([name, policy]): Ruling => ({
        policy,
        by: `${section}.${name}: ${policy}`,
      })),
    );
    return strictestRuling([general, ...all]);
  }
  return strictestRuling(
    targets.map(({ project, volume, own }) => {
      const listedHere =
        (volume === undefined ? undefined : listed('volumes', machine.volumes, volume)) ??
        (project === undefined ? undefined : listed('projects', machine.projects, project));
      const floor = listedHere ?? (machine.policy === undefined ? undefined : general);
      const said: Ruling | undefined =
        own.policy === undefined ? undefined : { policy: own.policy, by: `safe-update.yml: ${own.policy}` };
      if (floor === undefined) return said ?? general;
      return said === undefined ? floor : strictestRuling([floor, said]);
    }),
  );
}

/** The first of the strictest. */
function strictestRuling(rulings: readonly [Ruling, ...Ruling[]] | readonly Ruling[]): Ruling {
  return rulings.reduce((strictest, one) => (isStricter(one.policy, strictest.policy) ? one : strictest));
}

/** How old a backup may be, in seconds: what the machine says, or less if the project says so. Pure. */
export function freshFor(machine: MachineRules, own: ProjectRules, otherwise: number): number {
  const said = [machine.freshSeconds, own.freshSeconds].filter((seconds) => seconds !== undefined);
  return said.length === 0 ? otherwise : Math.min(...said);
}

/** The strictest of several: where it is not clear which of them counts. Pure. */
export function strictest(rules: readonly ProjectRules[]): ProjectRules {
  const policies = rules.flatMap(({ policy }) => policy ?? []);
  const ages = rules.flatMap(({ freshSeconds }) => freshSeconds ?? []);
  const silent = rules.some(({ policy }) => policy === undefined);
  const policy = order.findLast((one) => policies.includes(one));
  return {
    // One that says nothing means block.
    ...(policy === undefined ? {} : { policy: silent ? 'block' : policy }),
    ...(ages.length === 0 ? {} : { freshSeconds: Math.min(...ages) }),
  };
}

/** The entry under the very name; else, of the patterns that match, the strictest. */
function listed(
  section: string,
  entries: Readonly<Record<string, Policy>>,
  name: string,
): Ruling | undefined {
  const exact = Object.hasOwn(entries, name) ? entries[name] : undefined;
  if (exact !== undefined) return { policy: exact, by: `${section}.${name}: ${exact}` };
  const found = Object.entries(entries)
    .filter(([pattern]) => /[*?[]/.test(pattern) && matches(pattern, name))
    .sort(([, one], [, other]) => order.indexOf(other) - order.indexOf(one))[0];
  return found === undefined ? undefined : { policy: found[1], by: `${section}.${found[0]}: ${found[1]}` };
}

function isStricter(one: Policy, other: Policy): boolean {
  return order.indexOf(one) > order.indexOf(other);
}
