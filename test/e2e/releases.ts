import { docker } from './docker.ts';

/** The lab's own engine, which has the releases, wherever else a test file goes on. */
const lab = { DOCKER_HOST: process.env['DOCKER_HOST'] ?? '' };

/** The lab's registry, under the name that stacks pull from. */
export const registry = `127.0.0.1:${process.env['SAFE_UPDATE_LAB_PORT'] ?? '5000'}`;

/** Another name of the same registry: what is pushed under it leaves the tags that a stack uses alone. */
const backDoor = registry.replace('127.0.0.1', 'localhost');

/** Releases of the fixture application; fixtures/images/app/releases says what each does. */
export type Release =
  | '1.0.0'
  | '1.1.0'
  | 'crash'
  | 'unhealthy'
  | 'exit0'
  | 'drop-table'
  | 'drop-table-crash'
  | 'empty'
  | 'flaky'
  | 'one-shot';

export function releaseImage(release: Release): string {
  return `safe-update-fixtures/app:${release}`;
}

/**
 * Puts an image of this engine into the registry. `repository` has no registry in front: `e2e-1/app`. What the engine
 * itself has under the name that stacks use is not changed: as after a push from a build machine.
 */
export async function push(image: string, repository: string, tag = 'latest'): Promise<void> {
  const name = `${backDoor}/${repository}:${tag}`;
  await docker(['tag', image, name], { env: lab });
  try {
    await docker(['push', '--quiet', name], { env: lab });
  } finally {
    await docker(['image', 'rm', name], { env: lab });
  }
}
