import type { Observed } from '../docker/observe.ts';
import type { Plan } from '../model/plan.ts';
import { doStep, type Update } from './steps.ts';

/** What compose says of a layer only where there is something to download, and of a service whose image is here. */
const downloads = /\b(?:Pulling fs layer|Downloading|Verifying Checksum|Download complete|Extracting)\b/;
const pulled = /^\s*(\S+)\s+Pulled\b/;

/**
 * Pulls and builds the new images, and dumps the databases beside that: neither waits for the other. A dump begins when it is
 * certain that there will be an update, so that a run with nothing to do dumps nothing: at once where the configuration has
 * changed, else with the first layer that is downloaded or the first image that is another one. Room is asked for before.
 *
 * Resolves with true if the databases are dumped. Throws the first error of either when both have ended: the other one is
 * ended by it.
 */
export async function fetchAndDump(state: Update, before: Plan): Promise<boolean> {
  const { context } = state.session;
  const planned = new Set(before.steps.map(({ name }) => name));
  const cut = new AbortController();
  const errors: unknown[] = [];
  const ending = async (work: Promise<void>): Promise<void> => {
    try {
      await work;
    } catch (error) {
      errors.push(error);
      cut.abort();
    }
  };
  const dumping: Promise<void>[] = [];
  let fetching = true;
  const dump = (): void => {
    if (!fetching || dumping.length > 0 || cut.signal.aborted || context.signal.aborted) return;
    const work = ending(
      (async () => {
        await doStep(state, 'measure');
        if (planned.has('dump')) await doStep(state, 'dump');
      })(),
    );
    dumping.push(work);
  };
  state.beside = {
    signal: AbortSignal.any([context.signal, cut.signal]),
    onPull: (line) => {
      const service = pulled.exec(line)?.[1];
      if (downloads.test(line)) dump();
      else if (service !== undefined)
        void isAnother(state, service)
          .then((another) => {
            if (another) dump();
          })
          // Whether it is will be seen when all are pulled.
          .catch(() => undefined);
    },
  };
  if (before.services.some(({ fate, cause }) => fate === 'create' || (fate === 'replace' && cause !== '')))
    dump();
  await ending(
    (async () => {
      for (const name of ['pull', 'build'] as const) if (planned.has(name)) await doStep(state, name);
    })(),
  );
  // What is learned of an image after this is learned again when all of them are looked at.
  fetching = false;
  await Promise.all(dumping);
  delete state.beside;
  if (errors.length > 0) throw errors[0];
  return dumping.length > 0;
}

async function isAnother({ session, observed }: Update, service: string): Promise<boolean> {
  const name = observed.model.services[service]?.image;
  if (name === undefined) return false;
  const image = await session.context.engine.image(name);
  return observed.containers.some(
    (container) => container.service === service && image !== null && container.imageId !== image.id,
  );
}

/** What was found out before the images were there, in what is observed now: what is left out of the backup, and why. Pure. */
export function withLeftOut(now: Observed, before: Observed): Observed {
  const reasons = new Map(before.volumes.map(({ name, leftOut }) => [name, leftOut]));
  const left = now.volumes.filter(
    ({ name, leftOut }) => leftOut === undefined && reasons.get(name) !== undefined,
  );
  if (left.length === 0) return now;
  const names = new Set(left.map(({ name }) => name));
  return {
    ...now,
    volumes: now.volumes.map((volume) => {
      const reason = names.has(volume.name) ? reasons.get(volume.name) : undefined;
      return reason === undefined ? volume : { ...volume, leftOut: reason };
    }),
    notCovered: [...now.notCovered, ...before.notCovered.filter(({ source }) => names.has(source))],
  };
}
