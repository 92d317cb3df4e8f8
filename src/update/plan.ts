import path from 'node:path';
import { mountHolding } from '../backup/create.ts';
import { recogniseDatabase } from '../database/engines.ts';
import { bindMountReason, type Observed } from '../docker/observe.ts';
import { parseImageName } from '../database/image-name.ts';
import { splitImageName, type ImageFacts } from '../docker/engine.ts';
import { referredTo } from '../docker/references.ts';
import { shownOptions } from '../model/driver-options.ts';
import { unsetVariables, type ComposeService, type Container } from '../model/project.ts';
import { stepNames, type Plan, type ServicePlan, type Step, type StepName } from '../model/plan.ts';
import { archived } from './classes.ts';
import { dataPlaceWarnings } from './data-places.ts';
import { guessAbout, standing } from './standing.ts';

export interface PlanOptions {
  consistency: 'cold' | 'hot';
  pull: 'always' | 'missing' | 'never';
  /** False: the registry has not been asked yet, so images may still change. */
  pulled: boolean;
  /** What the person accepts by name. */
  accept?: readonly string[];
  /** Bytes of each volume, where they were measured. */
  sizes?: ReadonlyMap<string, number>;
}

/** Given what was observed, what an update would do, in order. Pure. */
export function planUpdate(observed: Observed, options: PlanOptions): Plan {
  const services = planServices(observed, options.accept ?? []);
  const pullable = servicesToPull(observed, options.pull);
  const buildable = servicesToBuild(observed, options.pull);
  const mayChange = !options.pulled && (pullable.length > 0 || buildable.length > 0);
  const changes = services.filter(
    ({ fate, cause }) => fate === 'replace' || fate === 'create' || (fate === 'run-again' && cause !== ''),
  );
  const nothingToDo = changes.length === 0 && !mayChange;
  const databases = [...observed.containers, ...observed.absent].flatMap((container) => {
    const engine = recogniseDatabase(container);
    const { service, running } = container;
    // The files of one that does not run are all that there is of it.
    if (
      engine === undefined ||
      (!running && mountHolding(container, engine.dataPath(container)) === undefined)
    )
      return [];
    return [{ service, engine: engine.name, running }];
  });
  const dumped = databases.filter((database) => database.running).map(({ service }) => service);

  const plan: Plan = {
    project: observed.project.name,
    ...(observed.project.environment === undefined ? {} : { environment: observed.project.environment }),
    consistency: options.consistency,
    nothingToDo,
    services,
    unasked: mayChange ? [...new Set([...pullable, ...buildable])].sort() : [],
    volumes: observed.volumes.map((volume) => {
      const bytes = options.sizes?.get(volume.name);
      const shown = { ...volume, options: shownOptions(volume.options) };
      return bytes === undefined ? shown : { ...shown, bytes };
    }),
    databases,
    notCovered: observed.notCovered,
    warnings: [
      ...inOneLine(observed.warnings),
      ...moreFiles(observed),
      ...crashes(services, observed),
      ...dataPlaceWarnings(observed, options.consistency),
    ],
    suggestions: suggestionsFor(observed),
    steps: [],
  };
  if (nothingToDo) return plan;

  const up = services.filter(({ fate }) => fate !== 'leave-stopped' && fate !== 'orphan');
  const running = [
    ...new Set(observed.containers.filter((container) => container.running).map(({ service }) => service)),
  ];
  const existing = archived(observed.volumes).map(({ name }) => name);
  const removable = services
    .filter(
      ({ fate, cause, replicas }) =>
        replicas > 0 && (fate === 'replace' || (fate === 'run-again' && cause !== '')),
    )
    .map(({ service }) => service)
    .filter((service) => !hasAnonymousVolume(observed, service));
  const step = (name: StepName, on: string[], cause: string, touches = false): Step => ({
    name,
    on,
    cause,
    touches,
  });
  const wanted: Step[] = [
    step('lock', [], 'one update at a time'),
    step('pin', [], 'the way back must survive a moved tag'),
    ...(pullable.length > 0 ? [step('pull', pullable, 'downloaded while the old stack serves')] : []),
    ...(buildable.length > 0
      ? [
          step(
            'build',
            buildable,
            buildable.some((service) => pullable.includes(service))
              ? 'built while the old stack serves, what no registry has'
              : 'built while the old stack serves',
          ),
        ]
      : []),
    step('measure', existing, 'there must be room for the backup and for a rollback'),
    ...(dumped.length > 0 ? [step('dump', [...new Set(dumped)], 'databases, while they run')] : []),
    ...(running.length > 0 ? [step('stop', running, 'the downtime begins', true)] : []),
    ...(existing.length > 0
      ? [
          step(
            'archive',
            existing,
            options.consistency === 'cold' ? 'cold: the one exact moment' : 'hot: while the stack runs',
          ),
        ]
      : []),
    step('seal', [], 'flushed, read back and compared: from here there is a way back'),
    ...(removable.length > 0 ? [step('remove', removable, 'containers only; volumes stay', true)] : []),
    ...(up.length > 0
      ? [
          step(
            'up',
            up.map(({ service }) => service),
            'the new release starts',
            true,
          ),
        ]
      : []),
    step('verify', [], 'healthy and stable, the right images, every path on its volume, no data gone'),
    step('commit', [], 'the release is recorded'),
    step('prune', [], 'old backups beyond the number kept'),
  ];
  plan.steps = inOrder(wanted, options.consistency);
  return plan;
}

/** Given what was observed, what a backup would do, in order. Pure. */
export function planBackup(observed: Observed, options: Pick<PlanOptions, 'consistency'>): Plan {
  const { consistency } = options;
  const plan = planUpdate(observed, { consistency, pull: 'never', pulled: true });
  const running = [
    ...new Set(observed.containers.filter((container) => container.running).map(({ service }) => service)),
  ];
  const existing = archived(observed.volumes).map(({ name }) => name);
  const step = (name: StepName, on: string[], cause: string, touches = false): Step => ({
    name,
    on,
    cause,
    touches,
  });
  const dumped = plan.databases.filter((database) => database.running).map(({ service }) => service);
  const stops = consistency === 'cold' && running.length > 0 && existing.length > 0;
  return {
    ...plan,
    nothingToDo: false,
    services: observed.containers
      .filter(({ service }, index, all) => all.findIndex((other) => other.service === service) === index)
      .map(({ service }) => ({
        service,
        fate: running.includes(service) ? 'restart' : 'leave-stopped',
        cause: running.includes(service) ? '' : 'not running',
        replicas: observed.containers.filter((container) => container.service === service).length,
      })),
    steps: inOrder(
      [
        step('lock', [], 'one run at a time'),
        step('measure', existing, 'there must be room for the backup'),
        ...(dumped.length > 0 ? [step('dump', [...new Set(dumped)], 'databases, while they run')] : []),
        ...(stops ? [step('stop', running, 'the downtime begins', true)] : []),
        ...(existing.length > 0
          ? [step('archive', existing, stops ? 'cold: the one exact moment' : 'as they are now')]
          : []),
        step('seal', [], 'flushed, read back and compared'),
        ...(stops
          ? [step('start', running, 'the very same containers', true), step('verify', [], 'as before')]
          : []),
        step('prune', [], 'old backups beyond the number kept'),
      ],
      'cold',
    ),
  };
}

/** In the order of stepNames, but a hot archive is taken and sealed before anything stops. */
function inOrder(steps: readonly Step[], consistency: 'cold' | 'hot'): Step[] {
  const order: StepName[] = [...stepNames];
  if (consistency === 'hot') {
    order.splice(order.indexOf('stop'), 1);
    order.splice(order.indexOf('remove'), 0, 'stop');
  }
  const sorted = [...steps].sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
  requireSealFirst(sorted);
  return sorted;
}

/** Promise 2. Throws, as a bug, on a plan whose containers would go before the backup is sealed. Pure. */
export function requireSealFirst(steps: readonly Pick<Step, 'name'>[]): void {
  const seal = steps.findIndex(({ name }) => name === 'seal');
  const destructive = steps.findIndex(({ name }) => name === 'remove' || name === 'up');
  if (destructive !== -1 && (seal === -1 || destructive < seal)) {
    throw new Error('a plan may not remove or replace a container before the backup is sealed');
  }
}

/** What --accept takes to leave a service as it is that has ended with an error. */
function crashAcceptance(service: string): string {
  return `crashed:${service}`;
}

/** How a container that should run ended, for people. */
function endOf({ startError, outOfMemory, status, exitCode }: Container): string {
  if (startError !== undefined) return `the engine could not start it: ${startError}`;
  if (outOfMemory === true) return 'it ran out of memory';
  return status === 'created'
    ? 'it had ended with an error'
    : `it had ended with an error (exit code ${exitCode})`;
}

/** What an update makes of services that ended with an error. */
function crashes(services: readonly ServicePlan[], observed: Observed): string[] {
  return services.flatMap(({ service, fate }) => {
    const own = observed.containers.filter((container) => container.service === service);
    const crashed = own.find((container) => standing(container, observed) === 'crashed');
    if (fate !== 'replace' || crashed === undefined || own.some(({ running }) => running)) return [];
    return [
      `${service} does not run: ${endOf(crashed)}. It is replaced, and the update fails if it ends so again. To leave it as it is: --accept ${crashAcceptance(service)}`,
    ];
  });
}

function planServices(observed: Observed, accept: readonly string[]): ServicePlan[] {
  const { containers, model } = observed;
  const anyRuns = containers.some(({ running }) => running);
  const names = new Set([
    ...Object.keys(model.services).filter((name) => isMeant(observed, name)),
    ...containers.map(({ service }) => service),
  ]);
  const plans = [...names].sort().flatMap((service): ServicePlan[] => {
    const own = containers.filter((container) => container.service === service);
    const replicas = own.length;
    const definition = model.services[service];
    if (definition === undefined) {
      return [{ service, fate: 'orphan', cause: 'not in the compose files any more', replicas }];
    }
    if (isProvided(definition)) return [{ service, fate: 'provided', cause: '', replicas }];
    if (replicas === 0) {
      const none = statedReplicas(definition) === 0;
      return none ? [] : [{ service, fate: 'create', cause: 'it has no container yet', replicas }];
    }
    const change = changeOf(observed, service, definition, own);
    const standings = own.map((container) => standing(container, observed));
    if (standings.every((stands) => stands === 'one-shot')) {
      return [{ service, fate: 'run-again', cause: change, replicas }];
    }
    const isDown = own.every(({ running }) => !running);
    const crashed = isDown ? own[standings.indexOf('crashed')] : undefined;
    if (anyRuns && isDown && (crashed === undefined || accept.includes(crashAcceptance(service)))) {
      const why = crashed === undefined ? 'stopped on purpose' : endOf(crashed);
      return [{ service, fate: 'leave-stopped', cause: why, replicas }];
    }
    const cause = [change, ...(crashed === undefined ? [] : [endOf(crashed)])]
      .filter((part) => part !== '')
      .join(', ');
    if (cause !== '') return [{ service, fate: 'replace', cause, replicas }];
    if (!anyRuns) return [{ service, fate: 'replace', cause: 'it is not running', replicas }];
    return [{ service, fate: 'restart', cause: '', replicas }];
  });
  return withReferrers(plans, model);
}

/** A service that refers to another's container needs a new one itself when that one is replaced. */
function withReferrers(plans: ServicePlan[], model: Observed['model']): ServicePlan[] {
  const renewed = (name: string): boolean =>
    plans.some(({ service, fate }) => service === name && (fate === 'replace' || fate === 'create'));
  for (;;) {
    const next = plans.find(
      ({ service, fate }) =>
        fate === 'restart' && referredTo(model.services[service] ?? {}).some((name) => renewed(name)),
    );
    if (next === undefined) return plans;
    const lender = referredTo(model.services[next.service] ?? {}).find((name) => renewed(name)) ?? '';
    next.fate = 'replace';
    next.cause = `it uses the container of ${lender}`;
  }
}

/** The stack was started from fewer files than this run reads: what changes may be more than is meant. Others are refused. */
function moreFiles({ containers, project }: Observed): string[] {
  const started = startedFrom(containers);
  const all = started.every((file) => project.files.includes(file));
  if (started.length === 0 || !all || started.length === project.files.length) return [];
  return [`The stack was started from ${started.join(', ')}; this run reads ${project.files.join(', ')}.`];
}

/** The compose files that most of the containers were started from; none where no container says. Pure. */
export function startedFrom(containers: readonly Pick<Container, 'labels' | 'service'>[]): string[] {
  const lists = containers.flatMap(({ labels, service }) =>
    service === '' ? [] : (labels['com.docker.compose.project.config_files'] ?? []),
  );
  const times = (list: string): number => lists.filter((other) => other === list).length;
  const [first] = lists.toSorted((one, other) => times(other) - times(one));
  return first === undefined || first === '' ? [] : first.split(',');
}

/** What a person may want to decide: folders that services write to and no backup covers, with the line that covers them. */
function suggestionsFor(observed: Observed): string[] {
  const { notCovered, project, containers } = observed;
  const guesses = new Set(containers.flatMap((container) => guessAbout(container, observed) ?? []));
  const folders = notCovered.filter(({ reason }) => reason === bindMountReason);
  if (folders.length === 0) return [...guesses];
  const lines = folders.map(({ source }) => `- ${shownFrom(project.directory, source)}`);
  return [
    `To cover what services write there, say in safe-update.yml:\nbindMounts:\n  include:\n    ${lines.join('\n    ')}`,
    ...guesses,
  ];
}

/** A path as a person would write it in a file of the project's folder. Pure. */
export function shownFrom(directory: string, source: string): string {
  const inside = path.relative(directory, source);
  return inside === '' || inside.startsWith('..') ? source : `./${inside}`;
}

/** Compose warns once a variable; a file may have hundreds that are blank on purpose. Pure. */
function inOneLine(warnings: readonly string[]): string[] {
  const unset = unsetVariables(warnings);
  if (unset.length < 2) return [...warnings];
  const others = warnings.filter((warning) => unsetVariables([warning]).length === 0);
  const shown = unset.slice(0, 5).join(', ');
  const more = unset.length > 5 ? ` and ${unset.length - 5} more` : '';
  return [...others, `${unset.length} variables are not set, and blank: ${shown}${more}.`];
}

/** What of the project itself could be better for updates. For whoever looks at a plan at leisure, not for each run. Pure. */
export function advice(observed: Pick<Observed, 'containers' | 'model'>): string[] {
  return [...unfixedDatabases(observed), ...unwatched(observed)];
}

/** A pull may bring such a database its next major version, which cannot read its files. */
function unfixedDatabases({ containers, model }: Pick<Observed, 'containers' | 'model'>): string[] {
  const services = containers
    .filter((container) => recogniseDatabase(container) !== undefined)
    .flatMap(({ service }) => {
      const image = model.services[service]?.image;
      if (image === undefined) return [];
      const { tag, digest } = parseImageName(image);
      return digest === undefined && (tag ?? 'latest') === 'latest' ? [`${service} (${image})`] : [];
    });
  if (services.length === 0) return [];
  const names = [...new Set(services)].join(', ');
  return [
    `${names}: the image names no version, so that a pull may bring one that cannot read the files. Name one, like postgres:17.`,
  ];
}

/** Of a service without a healthcheck nobody knows more than that it runs. */
function unwatched({ containers, model }: Pick<Observed, 'containers' | 'model'>): string[] {
  const services = containers
    .filter(({ running, health, service }) => running && health === 'none' && service in model.services)
    .map(({ service }) => service);
  if (services.length === 0) return [];
  const names = [...new Set(services)];
  const shown = names.slice(0, 8).join(', ') + (names.length > 8 ? ` and ${names.length - 8} more` : '');
  return [`Without a healthcheck, and so verified only by running on: ${shown}.`];
}

/** Services that an update is about: active ones, and those that have a container. */
function isMeant(observed: Observed, service: string): boolean {
  return (
    observed.activeServices.includes(service) ||
    observed.containers.some((container) => container.service === service)
  );
}

/** What differs between a service's containers and what `up` would make; empty if nothing does. */
function changeOf(
  observed: Observed,
  service: string,
  definition: ComposeService,
  own: readonly Container[],
): string {
  const causes: string[] = [];
  const image = observed.images.get(service);
  const other = own.find(({ imageId }) => image != null && imageId !== image.id);
  if (other !== undefined && image != null) {
    causes.push(
      `image ${shortName(definition.image ?? service)} ${short(other.imageId)} → ${short(image.id)}`,
    );
  }
  const hash = observed.hashes.get(service);
  const stale = own.find(({ configHash }) => hash !== undefined && configHash !== hash);
  if (stale !== undefined) {
    causes.push(
      definition.image !== undefined && stale.imageName !== definition.image
        ? `image name ${shortName(stale.imageName)} → ${shortName(definition.image)}`
        : 'configuration',
    );
  }
  const wanted = statedReplicas(definition);
  if (wanted !== undefined && wanted !== own.length) causes.push(`${own.length} → ${wanted} replicas`);
  const running = own.filter((container) => container.running).length;
  if (causes.length === 0 && running > 0 && running < own.length)
    causes.push(`${running} of ${own.length} replicas run`);
  return causes.join(', ');
}

/** A provider makes it, not the engine: it has no image, and never a container. Pure. */
export function isProvided({
  image,
  build,
  provider,
}: Pick<ComposeService, 'image' | 'build' | 'provider'>): boolean {
  return provider !== undefined && image === undefined && build === undefined;
}

/** The number of replicas that the compose files state; undefined where they leave it open. Pure. */
export function statedReplicas({
  scale,
  deploy,
}: Pick<ComposeService, 'scale' | 'deploy'>): number | undefined {
  return deploy?.replicas ?? scale;
}

/** What `up` is told about replicas: where there are several, and the files do not say how many. Pure. */
export function scaleOf(
  { services }: Pick<Observed['model'], 'services'>,
  counts: readonly (readonly [service: string, replicas: number])[],
): Record<string, number> {
  return Object.fromEntries(
    counts.filter(
      ([service, replicas]) => replicas > 1 && statedReplicas(services[service] ?? {}) === undefined,
    ),
  );
}

/** Services whose image a registry is asked for. Pure. */
export function servicesToPull(observed: Observed, pull: PlanOptions['pull']): string[] {
  return servicesFrom(observed, pull, ['pull', 'pull or build']);
}

/** Services whose image is built: always, or where no registry has it. Pure. */
function servicesToBuild(observed: Observed, pull: PlanOptions['pull']): string[] {
  return servicesFrom(observed, pull, ['build', 'pull or build']);
}

type Origin = ReturnType<typeof originOf>;

function servicesFrom(observed: Observed, pull: PlanOptions['pull'], origins: Origin[]): string[] {
  return Object.keys(observed.model.services).filter(
    (service) => isMeant(observed, service) && origins.includes(originOf(observed, service, pull)),
  );
}

/**
 * Where the image of the next release comes from. With `image:` beside `build:` what is published is what is meant: what lies
 * on this server may be an old checkout. So it is built where `pull_policy: build` says so, or where no registry has it.
 */
function originOf(
  observed: Observed,
  service: string,
  pull: PlanOptions['pull'],
): 'pull' | 'build' | 'pull or build' | 'nowhere' {
  const { model, images } = observed;
  const { image, build, pull_policy } = model.services[service] ?? {};
  const maker = Object.keys(model.services).find(
    (other) =>
      model.services[other]?.image === image &&
      model.services[other]?.build !== undefined &&
      isMeant(observed, other),
  );
  // It comes with the other service.
  if (build === undefined && image !== undefined && maker !== undefined) return 'nowhere';
  if (image === undefined || pull_policy === 'build') return build === undefined ? 'nowhere' : 'build';
  const present = images.get(service) ?? null;
  const onlyIfMissing = pull === 'missing' || pull_policy === 'missing' || pull_policy === 'if_not_present';
  const asks = pull !== 'never' && pull_policy !== 'never' && (!onlyIfMissing || present === null);
  if (build === undefined) return asks ? 'pull' : 'nowhere';
  if (asks) return 'pull or build';
  return present !== null && isPublished(image, present) ? 'nowhere' : 'build';
}

/** A registry had this image under the name's repository: it was pulled from there, or pushed to it. Pure. */
export function isPublished(name: string, { digests }: Pick<ImageFacts, 'digests'>): boolean {
  const short = (repository: string): string =>
    repository.replace(/^docker\.io\//, '').replace(/^library\//, '');
  const { repository } = splitImageName(name);
  return digests.some((digest) => short(splitImageName(digest).repository) === short(repository));
}

export function hasAnonymousVolume(
  observed: Pick<Observed, 'containers' | 'volumes'>,
  service: string,
): boolean {
  const anonymous = new Set(
    observed.volumes.filter(({ kind }) => kind === 'anonymous').map(({ name }) => name),
  );
  return observed.containers.some(
    (container) =>
      container.service === service && container.mounts.some(({ source }) => anonymous.has(source)),
  );
}

function short(imageId: string): string {
  return imageId.replace(/^sha256:/, '').slice(0, 12);
}

/** A name of an image, with no more of a digest in it than tells it from others. */
function shortName(image: string): string {
  return image.replace(/(sha256:[0-9a-f]{12})[0-9a-f]{52}/, '$1');
}
