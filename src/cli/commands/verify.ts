import { listBackups, openBackup, openKept, verifyBackup } from '../../backup/open.ts';
import { SafeUpdateError } from '../../model/error.ts';
import { formatBytes } from '../../model/units.ts';
import { showStep } from '../../update/session.ts';
import { print } from '../print.ts';
import { projectNameOf } from '../project-name.ts';
import type { CommandInput } from '../command.ts';
import { createRuntime } from '../runtime.ts';

export async function run({ args, flags, commands }: CommandInput): Promise<number> {
  const { id, environment } = idAndEnvironment(args);
  const runtime = await createRuntime(environment, flags, commands);
  try {
    const { context } = runtime;
    const project = await projectNameOf(context);
    const store = context.storeFor(project);
    const backup =
      id ??
      (await listBackups(store)).findLast(
        ({ manifest }) => manifest !== undefined && manifest.kind !== 'failed',
      )?.id;
    if (backup === undefined) {
      throw new SafeUpdateError('usage', `There is no backup of ${project} in ${store.location}.`, {
        hint: 'Make one: safe-update backup',
      });
    }
    // Without a key, what can be compared is what was encrypted; with one that does not fit, nobody is told that it is sound.
    const hasKey = context.settings.backups.encryption.identityFile !== undefined;
    const open = await (hasKey ? openBackup(store, backup) : openKept(store, backup));
    const encrypted = open.manifest.format === 2;
    const decrypted = open.reader.encrypted !== undefined;
    const bytes = open.manifest.parts.reduce((sum, part) => sum + part.bytes, 0);
    await showStep(context, 'verify', `Verify ${backup}`, async () => {
      await verifyBackup(open, (item, read) => {
        context.emit({ type: 'step-progress', step: 'verify', item, bytes: read });
      });
      return undefined;
    });
    await runtime.close();
    const result = {
      backup,
      sound: true,
      parts: open.manifest.parts.length,
      bytes,
      ...(encrypted || decrypted ? { decrypted } : {}),
    };
    await print(flags, result, (style) =>
      [
        style.green(
          `${backup} is sound: ${result.parts} ${encrypted ? 'encrypted files' : 'parts'}, ${formatBytes(bytes)}, ${decrypted ? 'decrypted, ' : ''}every checksum right.`,
        ),
        ...(encrypted
          ? ['It was not decrypted. To see that a key opens it and everything in it: --identity FILE']
          : []),
      ].join('\n'),
    );
    return 0;
  } finally {
    await runtime.close();
  }
}

/** `verify prod` names an environment, `verify pre-update-…` a backup, `verify pre-update-… prod` both. */
function idAndEnvironment([first, second]: (string | undefined)[]): { id?: string; environment?: string } {
  const looksLikeBackup = first !== undefined && /^[a-z-]+-\d{8}_\d{6}/.test(first);
  if (first === undefined) return {};
  if (!looksLikeBackup) return { environment: first };
  return { id: first, ...(second === undefined ? {} : { environment: second }) };
}
