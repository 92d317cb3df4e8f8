import { zstd } from '../backup/codec/zstd.ts';
import { volumeReader, volumeWriter } from '../backup/volume.ts';
import { startHelper, type HelperVolume, type VolumeSummary } from '../docker/helper.ts';
import type { Observed } from '../docker/observe.ts';
import { SafeUpdateError } from '../model/error.ts';
import type { Context } from './context.ts';
import { lockProject, runName } from './session.ts';

const untouched = { state: 'Nothing was touched.' };

/**
 * Copies the content of a volume into another one, which must be empty and used by nobody, or not be there yet; then
 * lists both and compares. Volumes are named by their key in the compose files or by their name on the engine.
 *
 * Throws SafeUpdateError `refused` where the copy could overwrite something, or could not be exact because a container
 * writes to the source (--accept source-in-use:NAME takes it as it is).
 */
export async function copyVolume(
  context: Context,
  observed: Observed,
  from: string,
  to: string,
): Promise<{ from: string; to: string; summary: VolumeSummary; exact: boolean }> {
  const project = observed.project.name;
  const source = nameOf(observed, from);
  const target = nameOf(observed, to);
  if (source === target) throw new SafeUpdateError('usage', `${from} and ${to} are one volume.`, untouched);
  if ((await context.engine.volume(source)) === null) {
    throw new SafeUpdateError('usage', `There is no volume ${source} on this engine.`, {
      ...untouched,
      hint: 'See which there are: safe-update volumes',
    });
  }
  const run = runName(context.clock.now(), context.owner.pid);
  const { lock, image } = await lockProject(context, project, run, 'copying a volume');
  try {
    const writing = await requireUnused(context, source, target);
    const { engine, exec } = context;
    const isNew = (await engine.volume(target)) === null;
    if (isNew) await engine.createVolume({ name: target, driver: 'local', options: {}, labels: {} });
    const about = { project, run };
    const privileged = observed.volumes.find(({ name }) => name === source)?.privileged;
    const volume = (name: string): [HelperVolume] => [{ name, kind: 'named', privileged }];
    const filling = await startHelper(engine, exec, image, {
      ...about,
      volumes: volume(target),
      access: 'write',
    });
    try {
      const writer = volumeWriter(filling, target);
      const present = await writer.summary();
      if (present.entries + present.sockets > 1) {
        throw new SafeUpdateError(
          'refused',
          `The volume ${target} is not empty: it holds ${present.entries - 1} files and folders.`,
          {
            ...untouched,
            hint: 'Name a volume that does not exist yet; it will be made.',
          },
        );
      }
      const reading = await startHelper(engine, exec, image, {
        ...about,
        volumes: volume(source),
        access: 'read',
      });
      try {
        const { content, done } = volumeReader(reading, source, context.signal).archive(zstd, (bytes) => {
          context.emit({ type: 'step-progress', step: 'copy', item: source, bytes });
        });
        const [{ exact }] = await Promise.all([done, writer.extract(zstd, content, () => undefined)]).catch(
          (error: unknown) => {
            throw unfinished(error, source, target);
          },
        );
        const [summary] = await Promise.all([writer.summary(), writer.flush()]);
        const wanted = await volumeWriter(reading, source).summary();
        const equal = exact && summary.digest === wanted.digest;
        if (!equal && !writing) {
          throw new SafeUpdateError('store', `${target} is not equal to ${source} after it was copied.`, {
            state: `${source} is as it was. ${target} holds what was copied so far.`,
            hint: `Find what writes to ${source}, remove the copy (docker volume rm ${target}), and copy again.`,
          });
        }
        return { from: source, to: target, summary, exact: equal };
      } finally {
        await reading.remove();
      }
    } finally {
      await filling.remove();
    }
  } finally {
    await lock.release();
  }
}

function unfinished(error: unknown, source: string, target: string): unknown {
  if (!(error instanceof SafeUpdateError)) return error;
  return new SafeUpdateError(error.code, error.message, {
    state: `${source} is as it was. ${target} holds what was copied so far.`,
    hint: `When the cause is gone: docker volume rm ${target}, and copy again.`,
    cause: error,
  });
}

function nameOf({ volumes }: Observed, given: string): string {
  return volumes.find(({ key, name }) => key === given || name === given)?.name ?? given;
}

/** Returns whether something that was accepted writes to the source. */
async function requireUnused(context: Context, source: string, target: string): Promise<boolean> {
  const everyone = await context.engine.allContainers();
  const users = (volume: string) =>
    everyone.filter(({ mounts }) => mounts.some(({ name }) => name === volume));
  const [user] = users(target);
  if (user !== undefined) {
    throw new SafeUpdateError('refused', `The volume ${target} is used by the container ${user.name}.`, {
      ...untouched,
      hint: 'Copy into a new volume, and let the service use that one.',
    });
  }
  const writers = users(source).filter(
    ({ running, mounts }) => running && mounts.some(({ name, readOnly }) => name === source && !readOnly),
  );
  if (writers.length === 0) return false;
  if (context.accept.includes(`source-in-use:${source}`)) return true;
  const names = writers.map(({ name }) => name).join(', ');
  throw new SafeUpdateError('refused', `${names} may write to the volume ${source} while it is copied.`, {
    ...untouched,
    hint: `Stop it first: docker stop ${writers.map(({ name }) => name).join(' ')}. If you are sure: --accept source-in-use:${source}`,
  });
}
