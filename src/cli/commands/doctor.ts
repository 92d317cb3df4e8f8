import { requireWritable } from '../../backup/store/folder.ts';
import { helperImage } from '../../docker/helper.ts';
import { bindMountReason, holdsNoData, type Observed } from '../../docker/observe.ts';
import { messageOf, SafeUpdateError } from '../../model/error.ts';
import { formatBytes } from '../../model/units.ts';
import type { Context } from '../../update/context.ts';
import { takenPorts, tooLittleSpace } from '../../update/foresee.ts';
import { breakLock } from '../../update/lock.ts';
import { planUpdate } from '../../update/plan.ts';
import { refusals } from '../../update/refuse.ts';
import { refusalOptions } from '../../update/run.ts';
import { look } from '../../update/session.ts';
import { describeHolder, isInterrupted, situationOf } from '../../update/situation.ts';
import { print } from '../print.ts';
import type { CommandInput } from '../command.ts';
import { createDocker, createRuntime, type Runtime } from '../runtime.ts';

interface Finding {
  check: string;
  good: boolean;
  /** Nothing is wrong with it, but a person should know. */
  warning?: true;
  says: string;
  hint?: string;
}

type Check = (name: string, work: () => Promise<string>) => Promise<void>;

/** Every check is made, whatever the ones before it have come to, unless what it asks about is not known without them. */
export async function run({ args, flags, commands }: CommandInput): Promise<number> {
  const findings: Finding[] = [];
  const check: Check = async (name, work) => {
    try {
      findings.push({ check: name, good: true, says: await work() });
    } catch (error) {
      const hint = error instanceof SafeUpdateError ? error.hint : undefined;
      findings.push({
        check: name,
        good: false,
        says: messageOf(error),
        ...(hint === undefined ? {} : { hint }),
      });
    }
  };
  let runtime: Runtime | undefined;
  try {
    runtime = await createRuntime(args[0], flags, commands);
  } catch (error) {
    if (!(error instanceof SafeUpdateError)) throw error;
    const docker = await createDocker();
    await checkDocker(check, docker);
    await check('configuration', () => Promise.reject(error));
  }
  try {
    if (runtime !== undefined) await examine(runtime, findings, check);
    await runtime?.close();
    await print(flags, findings, (style) =>
      findings
        .map(
          ({ check: name, good, warning, says, hint }) =>
            `${warning === true ? style.yellow('⚠') : good ? style.green('✔') : style.red('✖')} ${name}: ${says}${hint === undefined ? '' : `\n    ${style.dim(hint)}`}`,
        )
        .join('\n'),
    );
    return findings.every(({ good }) => good) ? 0 : 3;
  } finally {
    await runtime?.close();
  }
}

async function checkDocker(
  check: Check,
  { engine, compose }: Pick<Context, 'engine' | 'compose'>,
): Promise<void> {
  await check('engine', async () => {
    const { version, apiVersion } = await engine.facts();
    return `docker ${version}, API ${apiVersion}`;
  });
  await check('compose', async () => `docker compose ${await compose.version()}`);
}

/** What is under way is no fault: it is said, and that what the other checks say may be of its making. */
async function checkRuns(check: Check, findings: Finding[], context: Context, name: string): Promise<void> {
  await check('earlier runs', async () => {
    const situation = await situationOf(context, name);
    const { holder, unfinished, unknown } = situation;
    if (isInterrupted(situation))
      throw new SafeUpdateError('unfinished', 'one was interrupted', {
        hint: `Run: ${context.again('recover')}`,
      });
    if (unfinished !== undefined && unknown !== undefined)
      throw new SafeUpdateError('unfinished', `one has not ended; whether it is under way cannot be told`, {
        hint: unknown,
      });
    if (holder !== undefined)
      findings.push({
        check: 'a run is under way',
        good: true,
        warning: true,
        says: describeHolder(situation) ?? '',
        hint: holder.isSeen
          ? 'What else is found here may change until it has ended.'
          : `Whether it is still alive cannot be told from here. ${breakLock(name)}`,
      });
    return 'none was interrupted';
  });
}

async function examine({ context, settings }: Runtime, findings: Finding[], check: Check): Promise<void> {
  let observed: Observed | undefined;
  await checkDocker(check, context);
  await check('configuration', async () => {
    observed = await look(context);
    const { files, name } = observed.project;
    return `project ${name}: ${files.join(', ')}`;
  });
  const name = observed?.project.name ?? settings.project.name;
  await check('backup folder', async () => {
    await requireWritable(settings.backups.directory);
    const space = await context.storeFor(name ?? 'unknown').space();
    return `${settings.backups.directory}${space === undefined ? '' : `, ${formatBytes(space.free)} free`}`;
  });
  const { recipients } = settings.backups.encryption;
  if (recipients.length > 0) {
    findings.push({
      check: 'encryption',
      good: true,
      says: `backups are encrypted for ${recipients.length === 1 ? (recipients[0] ?? '') : `${recipients.length} recipients`}`,
    });
  }
  await check('helper image', () => helperImage(context.engine, context.exec, settings.helper.image));
  if (name !== undefined) {
    await checkRuns(check, findings, context, name);
  }
  const seen = observed;
  if (seen === undefined) return;
  const plan = planUpdate(seen, { ...settings, pulled: false });
  const refused = [...refusals(seen, refusalOptions(context)), ...(await takenPorts(seen, plan))];
  for (const { message, hint } of refused)
    findings.push({ check: 'update', good: false, says: message, hint });
  await check('space', async () => {
    const sizes = await context.engine.volumeSizes();
    const said = await tooLittleSpace(context, seen, sizes);
    if (said === undefined) return 'enough for a backup and for keeping a failed state';
    throw new SafeUpdateError('space', said, { hint: 'Free some (safe-update prune removes old backups).' });
  });
  for (const { source, services, path, reason } of seen.notCovered.filter((place) => !holdsNoData(place))) {
    findings.push({
      check: 'coverage',
      good: true,
      warning: true,
      says: `${source} (${[services.join(', '), path].filter((word) => word !== '').join(': ')}) is in no backup: ${reason}`,
      ...(reason === bindMountReason
        ? { hint: 'To cover it, name it under bindMounts.include in safe-update.yml.' }
        : {}),
    });
  }
}
