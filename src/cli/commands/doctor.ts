import { requireWritable } from '../../backup/store/folder.ts';
import { helperImage } from '../../docker/helper.ts';
import type { Observed } from '../../docker/observe.ts';
import { messageOf, SafeUpdateError } from '../../model/error.ts';
import { formatBytes } from '../../model/units.ts';
import { unfinishedRun } from '../../update/journal.ts';
import { refusals } from '../../update/refuse.ts';
import { refusalOptions } from '../../update/run.ts';
import { look } from '../../update/session.ts';
import { print } from '../print.ts';
import type { CommandInput } from '../command.ts';
import { createRuntime } from '../runtime.ts';

interface Finding {
  check: string;
  good: boolean;
  /** Nothing is wrong with it, but a person should know. */
  warning?: true;
  says: string;
  hint?: string;
}

export async function run({ args, flags, commands }: CommandInput): Promise<number> {
  const runtime = await createRuntime(args[0], flags, commands);
  const { context, settings } = runtime;
  const findings: Finding[] = [];
  async function check(name: string, work: () => Promise<string>): Promise<void> {
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
  }
  try {
    let observed: Observed | undefined;
    await check('engine', async () => {
      const { version, apiVersion } = await context.engine.facts();
      return `docker ${version}, API ${apiVersion}`;
    });
    await check('compose', async () => `docker compose ${await context.compose.version()}`);
    await check('configuration', async () => {
      observed = await look(context);
      const { files, name } = observed.project;
      return `project ${name}: ${files.join(', ')}`;
    });
    await check('backup folder', async () => {
      await requireWritable(settings.backups.directory);
      const space = await context.storeFor(observed?.project.name ?? 'unknown').space();
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
    const seen = observed;
    if (seen !== undefined) {
      await check('earlier runs', async () => {
        if ((await unfinishedRun(context.stateFor(seen.project.name))) === undefined)
          return 'none was interrupted';
        throw new SafeUpdateError('unfinished', 'one was interrupted', { hint: 'Run: safe-update recover' });
      });
      for (const { message, hint } of refusals(seen, refusalOptions(context))) {
        findings.push({ check: 'update', good: false, says: message, hint });
      }
      for (const { source, services, path } of seen.notCovered) {
        findings.push({
          check: 'coverage',
          good: true,
          warning: true,
          says: `${source} (${services.join(', ')}: ${path}) is a bind mount that no backup covers`,
          hint: 'To cover it, name it under bindMounts.include in safe-update.yml.',
        });
      }
    }
    await runtime.close();
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
    await runtime.close();
  }
}
