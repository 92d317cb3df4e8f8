import { listBackups } from '../../backup/open.ts';
import { counted, formatBytes } from '../../model/units.ts';
import { describeProof } from '../proof.ts';
import { formatTime } from '../time.ts';
import { print } from '../print.ts';
import { projectNameOf } from '../project-name.ts';
import type { CommandInput } from '../command.ts';
import { createRuntime } from '../runtime.ts';
import { formatTable } from '../view/table.ts';

export async function run({ args, flags, commands }: CommandInput): Promise<number> {
  const runtime = await createRuntime(args[0], flags, commands);
  try {
    const project = await projectNameOf(runtime.context);
    await runtime.tellInterrupted(project);
    const store = runtime.context.storeFor(project);
    const backups = (await listBackups(store)).reverse();
    await print(flags, backups, (style, columns) => {
      if (backups.length === 0) return `There are no backups of ${project} in ${store.location}.`;
      const rows = backups.map(({ id, manifest, problem, proof }) =>
        manifest === undefined
          ? [id, '', '', '', { text: problem ?? '', paint: 'red' as const }]
          : [
              id,
              formatTime(manifest.createdAt),
              formatBytes(manifest.parts.reduce((sum, { bytes }) => sum + bytes, 0)),
              proof === undefined
                ? ''
                : {
                    text: describeProof(proof),
                    paint: proof.result === 'proven' ? ('green' as const) : ('red' as const),
                  },
              manifest.format === 2
                ? 'encrypted'
                : `${counted(manifest.volumes.length, 'volume')}, ${counted(manifest.databases.length, 'database')}, ${manifest.consistency}`,
            ],
      );
      const table = formatTable(
        [
          { title: 'Backup' },
          { title: 'Made' },
          { title: 'Size', align: 'right' },
          { title: 'Restored' },
          { title: 'Holds' },
        ],
        rows,
        style,
        columns,
      );
      return `${table}\n\n${style.dim(`in ${store.location}`)}`;
    });
    return 0;
  } finally {
    await runtime.close();
  }
}
