import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { BackupReader } from './store/store.ts';

const proofSchema = z.object({
  format: z.literal(1),
  /** sha256 of the manifest it is about: what was kept for another one counts for nothing. */
  manifest: z.string(),
  result: z.enum(['proven', 'failed']),
  /** When it ended. */
  at: z.iso.datetime(),
  /** Versions of safe-update and of the engine. */
  tool: z.string(),
  engine: z.string(),
  milliseconds: z.number(),
  /** Services that came up and stayed healthy. */
  services: z.array(z.string()),
  /** Services that were left out by name. */
  without: z.array(z.string()),
  /** Volumes that were filled and are equal to their lists. */
  volumes: z.number(),
  /** What the databases held when they had come up, from the archive of their volume or from their dump. */
  databases: z.array(
    z.object({
      service: z.string(),
      from: z.enum(['archive', 'dump']),
      of: z.enum(['rows', 'documents', 'keys']),
      total: z.number(),
      places: z.number(),
      /** What was counted differently for the backup, in words. */
      differs: z.array(z.string()),
    }),
  ),
  /** Why it failed. */
  reason: z.string().optional(),
});

/** How the last test-restore of a backup ended. It holds no data and no secret. */
export type Proof = z.infer<typeof proofSchema>;

/** What the last test-restore of a backup found; undefined where there was none, or where it is not about this manifest. */
export async function readProof(opened: BackupReader): Promise<Proof | undefined> {
  const reader = opened.encrypted ?? opened;
  const text = await reader.proof();
  if (text === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const parsed = proofSchema.safeParse(value);
  if (!parsed.success) return undefined;
  return parsed.data.manifest === sha256Of(await reader.manifest()) ? parsed.data : undefined;
}

/**
 * Keeps the result with its backup, in place of the one before; without names where the backup is encrypted, for it can be
 * read without a key. Throws SafeUpdateError `store` or `space`.
 */
export async function keepProof(
  opened: BackupReader,
  result: Omit<Proof, 'format' | 'manifest'>,
): Promise<Proof> {
  const reader = opened.encrypted ?? opened;
  const proof: Proof = { format: 1, manifest: sha256Of(await reader.manifest()), ...result };
  const kept = opened.encrypted === undefined ? proof : withoutNames(proof);
  await reader.keepProof(`${JSON.stringify(kept, null, 2)}\n`);
  return proof;
}

function withoutNames(proof: Proof): Proof {
  const numbered = (what: string, names: readonly unknown[]): string[] =>
    names.map((_, index) => `${what} ${index + 1}`);
  return {
    ...proof,
    services: numbered('service', proof.services),
    without: numbered('service', proof.without),
    databases: proof.databases.map((database, index) => ({
      ...database,
      service: `database ${index + 1}`,
      differs: numbered('difference', database.differs),
    })),
    ...(proof.reason === undefined ? {} : { reason: 'It was said then; it names what the backup holds.' }),
  };
}

function sha256Of(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
