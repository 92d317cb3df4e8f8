import { verifyContents } from '../../backup/contents.ts';
import { listBackups, openBackup, openKept, verifyBackup } from '../../backup/open.ts';
import type { Store } from '../../backup/store/store.ts';
import { SafeUpdateError } from '../../model/error.ts';
import { formatBytes } from '../../model/units.ts';
import { prove } from '../../update/prove.ts';
import { showStep } from '../../update/session.ts';
import { findBackup } from '../../update/transfer.ts';
import { conclude } from '../conclude.ts';
import { print } from '../print.ts';
import { projectNameOf } from '../project-name.ts';
import type { CommandInput } from '../command.ts';
import { createRuntime } from '../runtime.ts';

export async function run({ args, flags, commands }: CommandInput): Promise<number> {
  const { id, environment } = idAndEnvironment(args);
  if (flags.restore === true) return restored({ args, flags, commands }, id, environment);
  if (flags.without !== undefined) {
    throw new SafeUpdateError('usage', '--without goes with --restore.', {
      state: 'Nothing was touched.',
      hint: 'For a test-restore: safe-update verify BACKUP --restore',
    });
  }
  const runtime = await createRuntime(environment, flags, commands);
  try {
    const { context } = runtime;
    const project = await projectNameOf(context);
    await runtime.tellInterrupted(project);
    const store = context.storeFor(project);
    const backup = id ?? (await newest(store, project));
    // Without a key, what can be compared is what was encrypted; with one that does not fit, nobody is told that it is sound.
    const hasKey = context.settings.backups.encryption.identityFile !== undefined;
    const open = await (hasKey ? openBackup(store, backup) : openKept(store, backup));
    const { reader, manifest } = open;
    const encrypted = manifest.format === 2;
    const decrypted = open.reader.encrypted !== undefined;
    const bytes = open.manifest.parts.reduce((sum, part) => sum + part.bytes, 0);
    await showStep(context, 'verify', `Verify ${backup}`, async () => {
      await verifyBackup(open, (item, read) => {
        context.emit({ type: 'step-progress', step: 'verify', item, bytes: read });
      });
      if (manifest.format === 1) {
        await verifyContents({ reader, manifest }, manifest.volumes, (item, read) => {
          context.emit({ type: 'step-progress', step: 'verify', item, bytes: read });
        });
      }
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

/** Tries it out. The project need not be here: a backup is found by its id, or by the project's name. */
async function restored(
  { flags, commands }: CommandInput,
  id: string | undefined,
  environment: string | undefined,
): Promise<number> {
  const runtime = await createRuntime(environment, flags, commands, true);
  return conclude(runtime, async () => {
    const { context } = runtime;
    const project = id === undefined ? await projectNameOf(context) : undefined;
    const open =
      project === undefined
        ? await findBackup(context, id ?? '')
        : await openBackup(context.storeFor(project), await newest(context.storeFor(project), project));
    return prove(context, open, { without: flags.without ?? [] });
  });
}

async function newest(store: Store, project: string): Promise<string> {
  const backups = await listBackups(store);
  const found = backups.findLast(({ manifest }) => manifest !== undefined && manifest.kind !== 'failed');
  if (found !== undefined) return found.id;
  throw new SafeUpdateError('usage', `There is no backup of ${project} in ${store.location}.`, {
    hint: 'Make one: safe-update backup',
  });
}

/** `verify prod` names an environment, `verify pre-update-…` a backup, `verify pre-update-… prod` both. */
function idAndEnvironment([first, second]: (string | undefined)[]): { id?: string; environment?: string } {
  const looksLikeBackup = first !== undefined && /^[a-z-]+-\d{8}_\d{6}/.test(first);
  if (first === undefined) return {};
  if (!looksLikeBackup) return { environment: first };
  return { id: first, ...(second === undefined ? {} : { environment: second }) };
}
