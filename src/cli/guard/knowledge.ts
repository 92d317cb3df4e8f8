import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import {
  freshFor,
  policyFor,
  type MachineRules,
  type ProjectRules,
  type Target,
} from '../../guard/policy.ts';
import {
  defaults,
  type Finding,
  type Knowledge,
  type Losses,
  type Policy,
  type VolumeKnowledge,
} from '../../guard/verdict.ts';
import { longestCommand } from '../../guard/words.ts';
import { actOf, listApprovals, useApprovals, type Act, type Gate } from './approvals.ts';
import { isCache } from './cache.ts';
import { EngineHere, sinceStart, type SeenProject } from './engine-here.ts';
import { readMachineRules } from './policy.ts';
import type { ProjectFiles } from './project-files.ts';

/** Reading backups again, for all volumes of a text, takes no longer than this, in milliseconds. */
const reading = 30_000;

/** What a command would lose, before sizes. */
interface Loss {
  project?: string | undefined;
  volumes: string[];
  /** False: the project is only a guess, from what is seen to run in the folder. */
  certain: boolean;
}

const anonymousName = /^[0-9a-f]{64}$/;

/**
 * What the guard asks: the machine's and the projects' files, the engine, the backups and the approvals. Made when there is
 * something to ask about; each answer is looked up once. It reads, and changes nothing but the approvals that it uses up.
 */
export class Answers implements Required<Knowledge> {
  readonly #engine: EngineHere;
  readonly #env: Readonly<Record<string, string | undefined>>;
  readonly #gate: Gate | undefined;
  readonly #until = sinceStart() + reading;
  readonly #losses = new Map<Finding, Promise<Loss | undefined>>();
  readonly #projects = new Map<string, Promise<ProjectFiles | undefined>>();
  readonly #warnings = new Set<string>();
  #machine: Promise<MachineRules> | undefined;

  /** `gate`: who asks, and uses approvals up. Undefined: none is looked for. */
  constructor(gate?: Gate, env: Readonly<Record<string, string | undefined>> = process.env) {
    this.#gate = gate;
    this.#env = env;
    this.#engine = new EngineHere(env);
  }

  readonly policy = async (finding: Finding): Promise<{ policy: Policy; by?: string }> => {
    const machine = await this.#machineRules();
    const targets = await this.#targetsOf(finding).catch(() => []);
    return policyFor(machine, targets);
  };

  readonly volume = async (name: string, finding: Finding): Promise<VolumeKnowledge> => {
    const doubt = this.#doubt(finding);
    if (doubt !== undefined) return { why: doubt };
    try {
      return await this.#volume(name, finding);
    } catch (error) {
      return { why: error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error) };
    }
  };

  readonly losses = async (finding: Finding): Promise<Losses | undefined> => {
    const loss = await this.#loss(finding);
    if (loss === undefined) return undefined;
    const sizes = await this.#sizes(loss, finding).catch(() => undefined);
    return {
      ...(loss.project === undefined ? {} : { project: loss.project }),
      volumes: loss.volumes.map((name) => {
        const bytes = sizes?.bytes.get(name);
        return { name, ...(bytes === undefined ? {} : { sizeBytes: bytes }) };
      }),
      ...(sizes === undefined || !loss.volumes.some((name) => sizes.bytes.has(name))
        ? {}
        : { sizesAgeSeconds: sizes.ageSeconds }),
    };
  };

  readonly approval = async (findings: readonly Finding[]): Promise<string | undefined> => {
    // Nothing is asked where nobody has approved anything.
    if (this.#gate === undefined || listApprovals().length === 0) return undefined;
    if (findings.some((finding) => unapprovable(finding) !== undefined)) return undefined;
    const ids = useApprovals(await this.acts(findings), this.#gate);
    return ids === undefined ? undefined : `approval ${ids.join(', ')}, which is used up now`;
  };

  readonly warnings = (): string[] => [...this.#warnings];

  /** What an approval of these would be bound to. */
  async acts(findings: readonly Finding[]): Promise<Act[]> {
    const endpoint = await this.#engine.endpoint().then(
      ({ host }) => host,
      () => '',
    );
    const engine = await this.#engine.id().catch(() => undefined);
    return Promise.all(
      findings.map(async (finding) => {
        const loss = await this.#loss(finding);
        const losses = loss && { ...loss, volumes: loss.volumes.map((name) => ({ name })) };
        return actOf(finding, losses as Losses | undefined, { endpoint, engine });
      }),
    );
  }

  async #machineRules(): Promise<MachineRules> {
    this.#machine ??= readMachineRules().then(({ rules, warning }) => {
      if (warning !== undefined) this.#warnings.add(warning);
      return rules;
    });
    return this.#machine;
  }

  /** Why nothing that is known here speaks for a command; undefined if it acts on the engine that is asked. */
  #doubt({ elsewhere = [], through = [], within }: Finding): string | undefined {
    if (elsewhere.length > 0)
      return `it goes to another engine, or nobody can say to which (${elsewhere.join(', ')})`;
    if (within !== undefined) return `it runs inside of a container (${within})`;
    // Root's sudo changes nobody, and drops variables that are not set.
    const isOwn = (step: string): boolean =>
      /^sudo [^-]/.test(step) &&
      process.getuid?.() === 0 &&
      !['DOCKER_HOST', 'DOCKER_CONTEXT', 'DOCKER_CONFIG'].some((name) => (this.#env[name] ?? '') !== '');
    const strange = through.filter((step) => !isOwn(step));
    return strange.length === 0
      ? undefined
      : `it may have other settings than are known here (${strange.join(', ')})`;
  }

  async #volume(name: string, finding: Finding): Promise<VolumeKnowledge> {
    const spec = await this.#engine.volume(name);
    if (spec === null) return { why: 'the engine has no such volume' };
    const project = (await this.#engine.projectOfVolume(name)) ?? (await this.#meant(finding));
    const files = project === undefined ? undefined : await this.#project(project, finding);
    const known = files ?? { settings: [], rules: {}, warnings: [] };
    if (isCache(known, spec)) return { class: 'cache' };
    if (project === undefined) return { why: 'it belongs to no project that is known here' };
    if (files === undefined) return { why: 'no backup of it is known here; make one: safe-update backup' };
    const freshSeconds = freshFor(await this.#machineRules(), known.rules, defaults.freshSeconds);
    const { reliableBackup } = await import('./project-files.ts');
    return {
      freshSeconds,
      ...(await reliableBackup(known, {
        ...{ volume: name, project, freshSeconds },
        engine: await this.#engine.id(),
        madeAt: spec.madeAt,
        limit: Math.max(0, this.#until - sinceStart()),
      })),
    };
  }

  /** What a command would delete from. None: nobody can say, or it is not certain. */
  async #targetsOf(finding: Finding): Promise<Target[]> {
    if (this.#doubt(finding) !== undefined) return [];
    const loss = await this.#loss(finding);
    if (!loss?.certain) return [];
    const own = async (project: string | undefined): Promise<ProjectRules> =>
      project === undefined ? {} : ((await this.#project(project, finding))?.rules ?? {});
    return Promise.all([
      ...(loss.project === undefined
        ? []
        : [own(loss.project).then((rules): Target => ({ project: loss.project, own: rules }))]),
      ...loss.volumes.map(async (volume): Promise<Target> => {
        const project = (await this.#engine.projectOfVolume(volume)) ?? loss.project;
        return { volume, project, own: await own(project) };
      }),
    ]);
  }

  #loss(finding: Finding): Promise<Loss | undefined> {
    const before = this.#losses.get(finding);
    if (before !== undefined) return before;
    const loss = (async () => this.#lossOf(finding))().catch(() => undefined);
    this.#losses.set(finding, loss);
    return loss;
  }

  async #lossOf(finding: Finding): Promise<Loss | undefined> {
    const { rule, volumes, containers, anonymous, elsewhere, within } = finding;
    if (elsewhere !== undefined || within !== undefined) return undefined;
    switch (rule) {
      case 'volume-rm':
        return volumes === undefined ? undefined : this.#named(volumes);
      case 'volume-prune':
      case 'system-prune':
        return this.#unused(rule === 'system-prune', anonymous === true || rule === 'system-prune');
      case 'rm-volumes':
        return containers === undefined ? this.#ofProject(finding, false) : this.#ofContainers(containers);
      case 'down-volumes':
        return this.#ofProject(finding, true);
      case 'up-yes':
      case 'renew-volumes': {
        const { volumes: _, ...project } = (await this.#ofProject(finding, false)) ?? { certain: false };
        return { ...project, volumes: [] };
      }
      default:
        return undefined;
    }
  }

  async #named(volumes: readonly string[]): Promise<Loss> {
    const projects = new Set(await Promise.all(volumes.map((name) => this.#engine.projectOfVolume(name))));
    const [project] = projects.size === 1 ? projects : [];
    return { project, volumes: [...volumes], certain: true };
  }

  /** Volumes that no container uses; with `stopped`, that no running one does. */
  async #unused(stopped: boolean, anonymous: boolean): Promise<Loss> {
    const users = (await this.#engine.containers()).filter(({ running }) => running || !stopped);
    const used = new Set(users.flatMap(({ mounts }) => mounts.map(({ name }) => name)));
    const volumes = (await this.#engine.volumes())
      .map(({ name }) => name)
      .filter((name) => !used.has(name) && (!anonymous || anonymousName.test(name)));
    return { volumes: volumes.sort(), certain: true };
  }

  async #ofContainers(names: readonly string[]): Promise<Loss | undefined> {
    const all = await this.#engine.containers();
    const found = names.map((name) => all.find((one) => one.name === name || one.id.startsWith(name)));
    if (names.length === 0 || found.includes(undefined)) return undefined;
    const some = found.filter((one) => one !== undefined);
    const projects = new Set(some.map(({ labels }) => labels['com.docker.compose.project']));
    const [project] = projects.size === 1 ? projects : [];
    return { project, volumes: anonymousIn(some), certain: true };
  }

  async #ofProject(finding: Finding, named: boolean): Promise<Loss | undefined> {
    // Both lists are made at the same time.
    if (named) void this.#engine.volumes().catch(() => undefined);
    const meant = await this.#meant(finding).catch(() => undefined);
    const place = finding.folder ?? finding.cwd;
    const seen = meant !== undefined || place === undefined ? [] : await this.#engine.projectsSeenAt(place);
    const project = meant ?? (seen.length === 1 ? seen[0] : undefined);
    if (project === undefined) return undefined;
    const own = named ? await this.#engine.volumesOf(project) : [];
    const anonymous = anonymousIn(await this.#engine.containersOf(project));
    const volumes = [...new Set([...own.sort(), ...anonymous])];
    return { project, volumes, certain: meant !== undefined && this.#doubt(finding) === undefined };
  }

  async #meant(finding: Finding): Promise<string | undefined> {
    return finding.project ?? this.#engine.projectMeant(finding);
  }

  /** What the folder of a project says; undefined if there is none, or it has neither settings nor backups. */
  #project(name: string, finding: Finding): Promise<ProjectFiles | undefined> {
    const before = this.#projects.get(name);
    if (before !== undefined) return before;
    const read = this.#readProject(name, finding);
    this.#projects.set(name, read);
    return read;
  }

  async #readProject(name: string, finding: Finding): Promise<ProjectFiles | undefined> {
    let places = await this.#engine.placesOf(name);
    const folder = finding.folder ?? finding.cwd;
    // A project that is down has no containers to ask: then the folder must be the one where it would come up.
    if (places.length === 0 && folder !== undefined) {
      const { project: _, ...rest } = finding;
      const meant = await this.#engine.projectMeant(rest).catch(() => undefined);
      if (meant === name) places = [{ folder, files: finding.files ?? [] }];
    }
    if (!places.some((place) => hasSomething(place, name))) return undefined;
    const { readProject } = await import('./project-files.ts');
    const files = await readProject(name, places, this.#env);
    for (const warning of files.warnings) this.#warnings.add(warning);
    return files;
  }

  async #sizes(
    { project, volumes }: Loss,
    finding: Finding,
  ): Promise<{ ageSeconds: number; bytes: Map<string, number> } | undefined> {
    if (project === undefined || volumes.length === 0) return undefined;
    const files = await this.#project(project, finding);
    if (files === undefined) return undefined;
    const { sizesAtBackup } = await import('./project-files.ts');
    return sizesAtBackup(files, project);
  }
}

/** Why a finding cannot be approved: it has to be known what would run. Undefined: it can. */
export function unapprovable({
  rule,
  command,
  cwd,
  within,
  elsewhere = [],
  through = [],
}: Finding): string | undefined {
  const texts = [command, within ?? '', ...elsewhere, ...through];
  if (rule === 'unknown' || rule === 'unreadable' || texts.some((text) => /[?*]/.test(text)))
    return 'what it would do is not known before it runs: write it out';
  if (texts.some((text) => text.length >= longestCommand)) return 'it is too long to be shown';
  if (elsewhere.includes('more than one place'))
    return 'it acts in more than one place: approve each by itself';
  if (cwd === undefined && elsewhere.length === 0) return 'the folder in which it would run is not known';
  return undefined;
}

function anonymousIn(containers: readonly { mounts: readonly { name: string }[] }[]): string[] {
  const names = containers.flatMap(({ mounts }) => mounts.map(({ name }) => name));
  return [...new Set(names.filter((name) => anonymousName.test(name)))].sort();
}

/** Whether a folder has settings of this program in it or above it, or backups where they are without settings. */
function hasSomething({ folder }: SeenProject, project: string): boolean {
  for (let at = folder; ; at = dirname(at)) {
    const names = ['safe-update.yml', 'safe-update.yaml', join('backups', project)];
    if (names.some((name) => existsSync(join(at, name)))) return true;
    if (dirname(at) === at) return false;
  }
}
