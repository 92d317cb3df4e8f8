import { z } from 'zod';
import { lookScript, type Helper } from '../docker/helper.ts';
import { SafeUpdateError } from '../model/error.ts';

/** What keeps a volume from being emptied and filled again: see helper/look.py. */
const obstaclesSchema = z.object({
  /** Nothing on it can be written. True of every volume of a helper that reads. */
  readOnly: z.boolean(),
  count: z.number(),
  /** The first of them: what is in the way, and where from the volume's root. */
  found: z.array(z.tuple([z.enum(['immutable', 'append-only', 'mounted', 'unwritable']), z.string()])),
});

export type Obstacles = z.infer<typeof obstaclesSchema>;

/** Looks through volumes that a helper has mounted, and changes nothing. By name. Throws SafeUpdateError `store`. */
export async function lookForObstacles(
  helper: Helper,
  volumes: readonly string[],
): Promise<Map<string, Obstacles>> {
  if (volumes.length === 0) return new Map();
  const places = volumes.map((name) => helper.pathOf(name)).join(' ');
  const { exitCode, stdout, stderr } = await helper.shell.run(`exec python3 -I -S -c "$LOOK" ${places}`, {
    env: { LOOK: lookScript },
  });
  if (exitCode !== 0) {
    const reason = stderr.trim().split('\n').at(-1) ?? '';
    throw new SafeUpdateError('store', `The volumes could not be looked through: ${reason}`);
  }
  const found = readObstacles(stdout);
  return new Map(
    volumes.flatMap((name, index) => {
      const one = found[index];
      return one === undefined ? [] : [[name, one] as const];
    }),
  );
}

/** With --strict, the exit code of helper/look.py where something is in the way. */
export const foundObstacles = 5;

/** What helper/look.py has printed. */
export function readObstacles(printed: string): Obstacles[] {
  return z.array(obstaclesSchema).parse(JSON.parse(printed));
}

const words: Record<Obstacles['found'][number][0], (path: string) => string> = {
  immutable: (path) => `${path} cannot be deleted (chattr +i)`,
  'append-only': (path) => `${path} cannot be emptied (chattr +a)`,
  mounted: (path) => `something else is mounted at ${path}`,
  unwritable: (path) => `${path} cannot be changed`,
};

/** What is in the way, in words; undefined if nothing is. That all is read-only is not among it. Pure. */
export function describeObstacles({ count, found }: Obstacles): string | undefined {
  if (count === 0) return undefined;
  const shown = found.map(([what, path]) => words[what](path === '.' ? 'the volume itself' : path));
  return [...shown, ...(count > shown.length ? [`${count - shown.length} more like that`] : [])].join(', ');
}

/** Why a volume cannot be emptied; it was not begun. Pure. */
export function cannotEmpty(volume: string, obstacles: Obstacles): SafeUpdateError {
  const reason = describeObstacles(obstacles) ?? 'it is mounted read-only';
  return new SafeUpdateError(
    'store',
    `The volume ${volume} cannot be emptied, and nothing in it was deleted: ${reason}.`,
  );
}
