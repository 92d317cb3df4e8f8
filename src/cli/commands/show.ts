import { logPart, type Manifest } from '../../backup/manifest.ts';
import { openBackup } from '../../backup/open.ts';
import { readProof } from '../../backup/proof.ts';
import { describeFingerprint } from '../../database/fingerprint.ts';
import { SafeUpdateError } from '../../model/error.ts';
import { formatBytes } from '../../model/units.ts';
import { describeProof } from '../proof.ts';
import { print } from '../print.ts';
import { projectNameOf } from '../project-name.ts';
import type { CommandInput } from '../command.ts';
import { createRuntime } from '../runtime.ts';
import { formatTime } from '../time.ts';
import { visible, visibleLines } from '../view/escape.ts';
import { formatTable } from '../view/table.ts';

export async function run({ args, flags, commands }: CommandInput): Promise<number> {
  const runtime = await createRuntime(args[1], flags, commands);
  try {
    const project = await projectNameOf(runtime.context);
    await runtime.tellInterrupted(project);
    const { reader, manifest } = await openBackup(runtime.context.storeFor(project), args[0] ?? '');
    if (flags.logs !== undefined && flags.logs !== false) {
      for (const path of logsOf(manifest, flags.logs === true ? undefined : flags.logs)) {
        const chunks: Buffer[] = [];
        for await (const chunk of reader.open(path)) chunks.push(Buffer.from(chunk as Buffer));
        process.stdout.write(
          `── ${visible(path)}\n${visibleLines(Buffer.concat(chunks).toString('utf8')).join('\n')}\n`,
        );
      }
      return 0;
    }
    const proof = await readProof(reader);
    const sizeOf = (part: string): string =>
      formatBytes(manifest.parts.find(({ path }) => path === part)?.bytes ?? 0);
    await print(flags, proof === undefined ? manifest : { ...manifest, proof }, (style, columns) =>
      [
        `${style.bold(visible(manifest.id))} of ${visible(manifest.project.name)}, ${formatTime(manifest.createdAt)}, ${manifest.consistency}`,
        `in ${visible(reader.location)}`,
        proof === undefined
          ? style.dim(`never restored to try it; to do so: safe-update verify ${manifest.id} --restore`)
          : proof.result === 'proven'
            ? style.green(describeProof(proof))
            : style.red(`${describeProof(proof)}: ${visible(proof.reason ?? '')}`),
        '',
        formatTable(
          [
            { title: 'Volume' },
            { title: 'Kind' },
            { title: 'Files', align: 'right' },
            { title: 'Size', align: 'right' },
            { title: 'Archive', align: 'right' },
          ],
          manifest.volumes.map(({ name, kind, entries, bytes, archive }) => [
            name,
            kind,
            String(entries),
            formatBytes(bytes),
            sizeOf(archive),
          ]),
          style,
          columns,
        ),
        '',
        ...(manifest.databases.length === 0
          ? []
          : [
              formatTable(
                [{ title: 'Database' }, { title: 'Engine' }, { title: 'Held' }, { title: 'Dump' }],
                manifest.databases.map(({ service, engine, dataPath, parts, fingerprint }) => [
                  engine === 'sqlite' ? `${service}:${dataPath}` : service,
                  engine,
                  fingerprint === undefined ? '' : describeFingerprint(fingerprint),
                  parts.length === 0
                    ? 'in the archive of its volume'
                    : parts
                        .map((part) => `${part.slice(part.lastIndexOf('/') + 1)} ${sizeOf(part)}`)
                        .join(', '),
                ]),
                style,
                columns,
              ),
              '',
            ]),
        ...manifest.databases.flatMap(({ service, notInDump = [] }) =>
          notInDump.length === 0
            ? []
            : [
                visible(
                  `In no dump of ${service}, only in the archive of its volume: ${notInDump.join(', ')}`,
                ),
                '',
              ],
        ),
        formatTable(
          [{ title: 'Container' }, { title: 'Image' }, { title: 'Id' }],
          manifest.containers.map(({ name, image, imageId }) => [
            name,
            image,
            imageId.replace('sha256:', '').slice(0, 12),
          ]),
          style,
          columns,
        ),
        '',
        visible(`Configuration: ${manifest.config.map(({ from }) => from).join(', ')}`),
        ...(manifest.notCovered.length === 0
          ? []
          : [style.yellow(visible(`Not covered: ${manifest.notCovered.join(', ')}`))]),
      ].join('\n'),
    );
    return 0;
  } finally {
    await runtime.close();
  }
}

/**
 * The parts that hold what containers have printed, the likely cause of a failure first: of one service, or of all. Throws
 * SafeUpdateError `usage` for a service that the backup knows nothing of. Pure.
 */
export function logsOf(
  { id, parts, containers }: Pick<Manifest, 'id' | 'parts' | 'containers'>,
  service?: string,
): string[] {
  const held = parts.flatMap(({ path }) => (path.startsWith('logs/') ? [path] : []));
  if (service === undefined) return held;
  const own = containers
    .filter((container) => container.service === service)
    .map(({ name }) => logPart(name));
  const found = held.filter((path) => own.includes(path));
  if (found.length > 0) return found;
  const known = [
    ...new Set(containers.filter(({ name }) => held.includes(logPart(name))).map((one) => one.service)),
  ];
  throw new SafeUpdateError('usage', `${id} holds nothing that ${service} has printed.`, {
    hint:
      known.length === 0
        ? 'Only backups of failed releases hold that: failed-…'
        : `It holds what these have printed: ${known.join(', ')}`,
  });
}
