import { listBackups } from '../../backup/open.ts';
import { shownOptions } from '../../model/driver-options.ts';
import { formatBytes } from '../../model/units.ts';
import { lastHolding } from '../../update/held.ts';
import { look } from '../../update/session.ts';
import type { CommandInput } from '../command.ts';
import { print } from '../print.ts';
import { createRuntime } from '../runtime.ts';
import { formatTime } from '../time.ts';
import { driverOf } from '../view/driver.ts';
import { formatTable, type Cell } from '../view/table.ts';

export async function run({ args, flags, commands }: CommandInput): Promise<number> {
  const runtime = await createRuntime(args[0], flags, commands);
  try {
    const { context } = runtime;
    const observed = await look(context);
    await runtime.tellInterrupted(observed.project.name);
    const { name: project } = observed.project;
    const [sizes, backups] = await Promise.all([
      context.engine.volumeSizes(),
      listBackups(context.storeFor(project)),
    ]);
    // What is in them takes a key to know; that there is none is not known either.
    const encrypted = backups.some(({ manifest }) => manifest?.format === 2);
    const volumes = observed.volumes.map((volume) => {
      const last = lastHolding(backups, volume.name);
      const bytes = volume.exists && volume.kind !== 'bind' ? sizes.get(volume.name) : undefined;
      return {
        name: volume.name,
        kind: volume.kind,
        ...(volume.key === undefined ? {} : { key: volume.key }),
        class: volume.class,
        ...(volume.leftOut === undefined ? {} : { leftOut: volume.leftOut }),
        ...(volume.schedule === undefined ? {} : { schedule: volume.schedule }),
        exists: volume.exists,
        driver: volume.driver,
        options: shownOptions(volume.options),
        ...(bytes === undefined ? {} : { bytes }),
        usedBy: [...new Set(volume.servedAt.map(({ service, path }) => `${service}:${path}`))],
        ...(last === undefined ? {} : { lastBackup: { id: last.id, createdAt: last.createdAt } }),
      };
    });
    await print(flags, { project, volumes }, (style, columns) => {
      if (volumes.length === 0) return `${project} has no volumes.`;
      const isScheduled = volumes.some(({ schedule }) => schedule !== undefined);
      return formatTable(
        [
          { title: 'Volume' },
          { title: 'Class' },
          { title: 'Size', align: 'right' },
          { title: 'Driver' },
          { title: 'Last backup' },
          ...(isScheduled ? [{ title: 'Schedule' }] : []),
          { title: 'Used by', shrink: true },
        ],
        volumes.map((volume): Cell[] => [
          volume.kind === 'anonymous' ? `${volume.name.slice(0, 12)}…` : volume.name,
          volume.leftOut === undefined
            ? volume.class
            : { text: `${volume.class}, left out`, paint: 'yellow' },
          volume.exists ? (volume.bytes === undefined ? '' : formatBytes(volume.bytes)) : 'new',
          driverOf(volume),
          volume.lastBackup === undefined
            ? encrypted
              ? 'see backups'
              : { text: 'none', paint: 'yellow' }
            : formatTime(volume.lastBackup.createdAt),
          ...(isScheduled ? [volume.schedule ?? ''] : []),
          volume.usedBy.join(', '),
        ]),
        style,
        columns,
      );
    });
    return 0;
  } finally {
    await runtime.close();
  }
}
