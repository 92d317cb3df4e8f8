import { listBackups } from '../../backup/open.ts';
import { formatDuration } from '../../model/units.ts';
import { isToGoBackTo } from '../../update/held.ts';
import { look } from '../../update/session.ts';
import { isInterrupted, situationOf } from '../../update/situation.ts';
import { print } from '../print.ts';
import type { CommandInput } from '../command.ts';
import { createRuntime } from '../runtime.ts';
import { formatTime } from '../time.ts';
import { visible } from '../view/escape.ts';
import { formatTable } from '../view/table.ts';
import { summaryOf } from './history.ts';

export async function run({ args, flags, commands }: CommandInput): Promise<number> {
  const runtime = await createRuntime(args[0], flags, commands);
  try {
    const { context } = runtime;
    const observed = await look(context);
    await runtime.tellInterrupted(observed.project.name);
    const project = observed.project.name;
    const situation = await situationOf(context, project);
    const newest = situation.runs.at(-1);
    const lastRun = newest && summaryOf(newest, situation);
    const goOn = isInterrupted(situation) ? ` — run: ${context.again('recover')}` : '';
    const lastBackup = (await listBackups(context.storeFor(project))).findLast(
      ({ manifest }) => manifest !== undefined && isToGoBackTo(manifest),
    );
    const containers = observed.containers.map(
      ({
        name,
        service,
        status,
        health,
        imageName,
        imageId,
        startedAt,
        restartCount,
        exitCode,
        configHash,
      }) => ({
        name,
        service,
        status,
        health,
        image: imageName,
        imageId,
        startedAt,
        restartCount,
        exitCode,
        configurationChanged: observed.hashes.has(service) && observed.hashes.get(service) !== configHash,
      }),
    );
    const { notCovered } = observed;
    await print(
      flags,
      { project, containers, lastRun, lastBackup: lastBackup?.id, notCovered },
      (style, columns) =>
        [
          containers.length === 0
            ? `${project} has no containers.`
            : formatTable(
                [
                  { title: 'Container' },
                  { title: 'State' },
                  { title: 'For', align: 'right' },
                  { title: 'Image' },
                  { title: 'Id' },
                  { title: '' },
                ],
                containers.map(
                  ({ name, status, health, image, imageId, startedAt, exitCode, configurationChanged }) => [
                    name,
                    {
                      text:
                        status === 'running'
                          ? health === 'none'
                            ? 'running'
                            : health
                          : status === 'exited'
                            ? `exited (${exitCode})`
                            : status,
                      paint:
                        status === 'running' && health !== 'unhealthy'
                          ? 'green'
                          : status === 'exited' && exitCode === 0
                            ? 'dim'
                            : 'red',
                    },
                    status === 'running'
                      ? formatDuration(context.clock.now().getTime() - Date.parse(startedAt))
                      : '',
                    image,
                    imageId.replace('sha256:', '').slice(0, 12),
                    configurationChanged ? { text: 'files have changed', paint: 'yellow' } : '',
                  ],
                ),
                style,
                columns,
              ),
          '',
          lastRun === undefined
            ? 'No run of safe-update yet.'
            : `Last run     ${formatTime(lastRun.at)}, ${lastRun.kind}: ${lastRun.result === 'under-way' ? `under way, ${lastRun.reason ?? ''}` : lastRun.result}${lastRun.result === 'unfinished' ? style.red(goOn) : ''}`,
          lastBackup?.manifest === undefined
            ? 'No backup yet.'
            : `Last backup  ${formatTime(lastBackup.manifest.createdAt)}, ${lastBackup.id}`,
          ...notCovered.map(
            ({ source, services, reason }) =>
              `${style.yellow('Not covered')}  ${visible(source)} (${services.map(visible).join(', ')}): ${visible(reason)}`,
          ),
        ].join('\n'),
    );
    return 0;
  } finally {
    await runtime.close();
  }
}
