import { asWord } from '../shell.ts';

/** What a task gives a module: names and values, as text. */
type Given = ReadonlyMap<string, string>;

/** Whoever fills a template in may mean it. */
const isTemplate = (value: string): boolean => value.includes('{{');

function isOn(given: Given, name: string): boolean {
  const value = given.get(name) ?? '';
  return /^(?:yes|true|on|y|t|1)$/i.test(value) || isTemplate(value);
}

function isOff(given: Given, name: string): boolean {
  const value = given.get(name) ?? '';
  return /^(?:no|false|off|n|f|0)$/i.test(value) || isTemplate(value);
}

function isAbsent(given: Given): boolean {
  const state = given.get('state') ?? '';
  return state === 'absent' || isTemplate(state);
}

/** As a word of a shell; what a template puts in stays unknown. */
function word(value: string): string {
  return isTemplate(value) ? `"${value.replaceAll(/["\\`]/g, '\\$&')}"` : asWord(value);
}

function compose(given: Given): string {
  const name = given.get('project_name');
  return name === undefined ? 'docker compose' : `docker compose -p ${word(name)}`;
}

const down = (given: Given): string | undefined =>
  isAbsent(given) ? `${compose(given)} down${isOn(given, 'remove_volumes') ? ' -v' : ''}` : undefined;

/**
 * Modules that can delete data, as the commands that do the same (docs.ansible.com: community.docker, containers.podman,
 * ansible.builtin). Undefined: with these values it deletes nothing.
 */
const modules: Readonly<Record<string, (given: Given) => string | undefined>> = {
  docker_compose: down,
  docker_compose_v2: (given) =>
    down(given) ?? (isOn(given, 'renew_anon_volumes') ? `${compose(given)} up -d -V` : undefined),
  docker_compose_v2_exec: (given) =>
    `${compose(given)} exec ${word(given.get('service') ?? '')} ${given.get('command') ?? given.get('argv') ?? ''}`,
  docker_compose_v2_run: (given) =>
    `${compose(given)} run ${word(given.get('service') ?? '')} ${given.get('command') ?? given.get('argv') ?? ''}`,
  docker_container: (given) =>
    isOff(given, 'keep_volumes') ? `docker rm -fv ${word(given.get('name') ?? '')}` : undefined,
  docker_container_exec: (given) =>
    `docker exec ${word(given.get('container') ?? '')} ${given.get('command') ?? given.get('argv') ?? ''}`,
  docker_prune: (given) => (isOn(given, 'volumes') ? 'docker volume prune -af' : undefined),
  // Recreated it is another one.
  docker_volume: (given) =>
    isAbsent(given) || given.get('recreate') === 'always'
      ? `docker volume rm ${word(given.get('volume_name') ?? given.get('name') ?? '')}`
      : undefined,
  podman_volume: (given) =>
    isAbsent(given) ? `podman volume rm ${word(given.get('name') ?? '')}` : undefined,
  podman_prune: (given) =>
    isOn(given, 'volume')
      ? 'podman volume prune -f'
      : isOn(given, 'system_volumes')
        ? 'podman system prune -f --volumes'
        : undefined,
  file: (given) =>
    isAbsent(given)
      ? `rm -rf ${word(given.get('path') ?? given.get('dest') ?? given.get('name') ?? '')}`
      : undefined,
};

/** Given the name of a module and what a task gives it, return the command that does the same; undefined: nothing to judge. */
export function moduleCommand(name: string, given: Given): string | undefined {
  const short = /^(?:(?:community\.docker|containers\.podman|ansible\.(?:builtin|legacy))\.)?(\w+)$/.exec(
    name,
  )?.[1];
  return short !== undefined && Object.hasOwn(modules, short) ? modules[short]?.(given) : undefined;
}

/** What a task gives in one line: `name=shop_db state=absent`. */
export function oneLine(text: string): Map<string, string> {
  return new Map(
    [...text.matchAll(/(\w+)=(?:"([^"]*)"|'([^']*)'|(\S+))/g)].map(([, name = '', double, single, plain]) => [
      name,
      double ?? single ?? plain ?? '',
    ]),
  );
}
