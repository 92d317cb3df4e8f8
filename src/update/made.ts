import type { Engine } from '../docker/engine.ts';
import { readContainer } from '../docker/observe.ts';

/**
 * What there is of a project that was being made, in words, and the commands that take it away again. They are for a
 * person to run: no command of ours removes a volume. `externals`: volumes that were made for it and carry no label.
 */
export async function whatWasMade(
  engine: Engine,
  project: string,
  directory: string,
  externals: readonly string[] = [],
): Promise<{ words: string; commands: string[] }> {
  const containers = (await engine.projectContainers(project)).map(readContainer);
  const anonymous = containers.flatMap(({ mounts }) =>
    mounts.flatMap(({ type, source }) =>
      type === 'volume' && /^[0-9a-f]{64}$/.test(source) ? [source] : [],
    ),
  );
  const labelled = (await engine.projectVolumes(project)).map(({ name }) => name);
  const there: string[] = [];
  for (const name of externals) if ((await engine.volume(name)) !== null) there.push(name);
  const networks = (await engine.projectNetworks(project)).map(({ Name }) => Name);
  const made: [string, string[], string][] = [
    ['containers', containers.map(({ name }) => name), 'docker rm --force'],
    ['volumes', [...new Set([...labelled, ...anonymous, ...there])], 'docker volume rm'],
    ['networks', networks, 'docker network rm'],
    ['the folder', [directory], 'rm -r'],
  ];
  const some = made.filter(([, names]) => names.length > 0);
  return {
    words: some.map(([what, names]) => `${what} ${names.join(', ')}`).join('; '),
    commands: some.map(([, names, command]) => `${command} ${names.join(' ')}`),
  };
}
