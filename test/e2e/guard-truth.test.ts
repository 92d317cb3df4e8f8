import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { judge } from '../../src/guard/shell.ts';
import { settle } from '../../src/guard/verdict.ts';
import { chosen } from '../faults/campaign.ts';
import { readCorpus } from '../unit/guard/corpus.ts';
import { states, throwawayEngine, type State, type Throwaway } from './throwaway.ts';

let engine: Throwaway;
beforeAll(async () => {
  const started = await throwawayEngine();
  if (typeof started === 'string') throw new Error(`an engine of its own is needed: ${started}`);
  engine = started;
});
afterAll(async () => {
  await engine.end();
});

/** A single docker command, and nothing that only a shell could turn into another one. */
const single = /^(?:[A-Z_]+=[\w.]+ )*(?:\/usr\/bin\/)?(?:docker|docker-compose) [\w ./:=,"'{}!*-]*$/;
/** There is no second machine, no database and no image of one, no other project, and nothing that would go on for ever. */
const elsewhere =
  /ssh:|tcp:|tls|logs -f|--wait| -it | (login|search|push|build|stack|swarm|plugin|scout) |psql|redis|mongo|mysql|mariadb|sqlite|dropdb|prisma|rails|artisan|manage\.py|\/srv\/|docker-compose\.(prod\.)?yml|[ab]\.yml|dind|ecommerce|novaclub|rm x y z|exec (jenkins|gitlab|ghost|n8n|nextcloud|registry|qdrant|meili|kafka|neo4j|nexus) /;
/** Nothing of this machine is given to a container, see throwaway.ts. */
const mounting = /docker (compose |container )?(run|create) .*(["' =]\/|[$~.]|--privileged|bind)/;
/** Without -d compose stays, and shows what the containers print. */
const attached = (text: string): boolean => / up( |$)/.test(text) && !/ up .*(-d|--detach)/.test(text);

const rows = readCorpus().filter(
  ({ text, rule }) =>
    single.test(text) &&
    !elsewhere.test(text) &&
    !mounting.test(text) &&
    !attached(text) &&
    !/unknown|unreadable|payload-database/.test(rule ?? ''),
);

/** Refused although this engine loses nothing, and why that is right. */
const stricter: Record<string, string> = {
  'docker-compose down --vol': 'Compose 1 took abbreviations; Compose 2 does not know the flag',
  '/usr/libexec/docker/cli-plugins/docker-compose compose down -v':
    'compose takes its own name only from docker, which starts it so',
  'docker system prune --volume -f': 'no version of docker knows the flag so far',
  'docker system prune -af --filter until=24h --volumes': 'docker refuses this filter with --volumes today',
};

/** In which state a rule's commands have something to lose. */
const stakes: Record<string, State> = {
  'down-volumes': 'unused',
  'volume-rm': 'unused',
  'volume-prune': 'unused',
  'system-prune': 'unused',
  'rm-volumes': 'stopped',
  'up-yes': 'changed',
  'renew-volumes': 'running',
  'payload-files': 'running',
  'engine-api': 'unused',
  'data-path': 'unused',
};

/** Commands of the corpus and of the documentation that need more than a docker command, and the state for them. */
const dressed: [State, string][] = [
  ['running', 'docker compose down -v'],
  ['running', 'docker compose down --volumes web'],
  ['stopped', 'docker compose down -vt 1'],
  ['changed', 'docker compose down -v'],
  ['running', 'docker compose -p shop --profile x -f compose.yml down -t 1 -v'],
  ['running', 'docker rm -fv web'],
  ['running', 'docker compose rm -fsv'],
  ['running', 'docker system prune -af --volumes'],
  ['stopped', 'docker system prune --volumes -f'],
  ['changed', 'yes | docker compose up -d'],
  ['changed', 'echo y | docker compose up -d'],
  ['changed', 'docker compose up -d <<< y'],
  ['changed', 'docker compose up -d --yes'],
  ['running', 'docker compose up -dV'],
  ['stopped', 'docker compose up -d -V'],
  ['unused', 'docker volume prune -f'],
  ['unused', 'docker volume prune -af'],
  ['unused', 'docker volume prune -f --filter all=1'],
  ['unused', 'docker volume prune -f --filter all=true'],
  ['unused', 'DOCKER_API_VERSION=1.41 docker volume prune -f'],
  ['unused', 'yes | docker volume prune'],
  ['unused', 'D=docker; $D compose down -v'],
  ['unused', 'F="--volumes --remove-orphans"; docker compose down $F'],
  ['unused', "sh -c 'docker compose down -v'"],
  ['unused', 'bash -lc "docker compose down -v"'],
  ['unused', 'env A=1 nice timeout 20 docker compose down -v'],
  ['unused', "docker compose down $'\\x2dv'"],
  ['unused', "'dock'er compose d\\own -v"],
  ['unused', 'docker compose down \\\n  -v'],
  ['unused', 'docker compose {down,-v}'],
  ['unused', 'eval "docker compose down -v"'],
  ['unused', 'f() { docker compose "$@"; }; f down -v'],
  ['unused', 'echo docker compose down -v | sh'],
  ['unused', 'bash <<< "docker compose down -v"'],
  ['unused', 'sh <<END\ndocker compose down -v\nEND'],
  ['unused', 'echo "$(docker compose down -v)"'],
  ['unused', 'echo -v | xargs docker compose down'],
  ['unused', 'find . -name compose.yml -exec docker compose -f {} down -v \\;'],
  ['unused', 'docker compose stop && docker compose rm -f && docker compose down -v'],
  ['unused', "python3 -c \"import subprocess; subprocess.run(['docker', 'compose', 'down', '-v'])\""],
  ['unused', "node -e \"require('child_process').spawnSync('docker', ['compose', 'down', '-v'])\""],
  ['unused', '/usr/libexec/docker/cli-plugins/docker-compose down --volumes'],
  ['unused', 'for v in $(docker volume ls -q); do docker volume rm $v; done'],
  ['unused', 'docker volume ls -q | xargs docker volume rm'],
  ['unused', 'docker volume rm shop_{db,files}'],
  ['running', 'docker rm -vf $(docker ps -qa)'],
  ['unused', 'curl -s --unix-socket /var/run/docker.sock -X DELETE http://localhost/volumes/shop_db'],
  ['unused', 'curl -s --unix-socket /run/docker.sock -X POST "http://localhost/volumes/prune"'],
  ['unused', 'curl -s --unix-socket /run/docker.sock -X POST http://localhost/v1.41/volumes/prune'],
  ['stopped', 'curl -s --unix-socket /run/docker.sock -X DELETE "http://localhost/containers/web?v=1"'],
  [
    'running',
    'curl -s --unix-socket /run/docker.sock -X DELETE "http://d/v1.47/containers/web?force=1&v=true"',
  ],
  ['running', "docker compose exec -T db sh -c 'rm -rf /var/lib/postgresql/data/*'"],
  ['running', 'docker run --rm -v shop_db:/data alpine find /data -delete'],
  ['unused', 'docker run --rm --mount source=shop_db,target=/data alpine rm -rf /data'],
  ['unused', 'rm -rf /var/lib/docker/volumes/shop_db'],
  ['unused', 'find /var/lib/docker/volumes -type f -delete'],
  ['unused', 'mv /var/lib/docker/volumes/shop_db /var/lib/docker/volumes/shop_old'],
  ['unused', 'cd /var/lib/docker/volumes/shop_db/_data && rm -rf ./*'],
];

/** The same for what must be let through. */
const harmless = [
  'docker compose -v down',
  'docker compose down -v --volumes=false',
  'docker compose down --dry-run -v',
  'docker compose down -v --help',
  'docker compose -p down ps',
  'docker compose down',
  'docker compose rm -f',
  'docker compose rm -fs',
  'docker compose up -d',
  'docker compose up -d --force-recreate',
  'docker compose up -d --force-recreate --remove-orphans',
  'docker image prune -af',
  'docker builder prune -af',
  'docker container prune -f',
  'docker network prune -f',
  'docker system prune -f',
  'docker system prune -af',
  'docker rm -f $(docker ps -aq)',
  'docker stop $(docker ps -q)',
  'docker compose run --rm -T web ls -v',
  'docker run --rm -v shop_db:/x alpine ls -l /x',
  'echo docker compose down -v',
  'grep -rn "docker compose down -v" .',
  'cat > doc.md <<END\ndocker compose down -v\nEND',
  'printf "%s\\n" "docker volume prune -af"',
  'docker volume ls -q | xargs docker volume inspect',
  'curl -s --unix-socket /run/docker.sock http://localhost/volumes',
  'curl -s --unix-socket /run/docker.sock -X POST http://localhost/containers/prune',
  'curl -s --unix-socket /run/docker.sock -X DELETE "http://localhost/containers/web?force=1"',
];

const decision = async (text: string): Promise<string> => (await settle(judge(text))).decision;
const projectIn = (text: string): string => / (?:-p|--project-name)[ =](\w+)/.exec(text)?.[1] ?? 'shop';
/** What asks is answered with yes; what would be lost if compose asked is a rule of its own. */
const answer = (text: string): string | undefined => (/prune|rm/.test(text) ? 'y\n' : undefined);

/** What a command loses in a state, a line each, and what it printed. */
async function outcome(state: State, text: string): Promise<{ lost: string[]; story: string }> {
  await engine.bring(state, projectIn(text));
  const printed = await engine.run(text, answer(text));
  return { lost: await engine.lost(), story: `${state}: ${text}\n${printed}` };
}

const refused: [State, string][] = [
  ...rows.flatMap(({ expected, rule, text }): [State, string][] =>
    expected === 'allow' || text in stricter ? [] : [[stakes[rule ?? ''] ?? 'unused', text]],
  ),
  ...dressed,
];
const allowed = rows.filter(({ expected }) => expected === 'allow').map(({ text }) => text);

// All 400 of them take five minutes: `SAFE_UPDATE_FAULTS=all scripts/test guard-truth`. Otherwise some, from all over the list.
describe('what is refused', () => {
  it('is most of what the corpus has for one docker command', () => {
    expect(refused.length).toBeGreaterThan(150);
    expect(allowed.length).toBeGreaterThan(80);
  });

  it.each(chosen(refused, 70))('%s: %s: loses data', async (state, text) => {
    expect(await decision(text)).toBe('deny');
    const { lost, story } = await outcome(state, text);
    expect(lost, story).not.toEqual([]);
  });

  it.each(Object.entries(stricter))('%s: loses nothing here: %s', async (text) => {
    expect(await decision(text)).toBe('deny');
    const { lost, story } = await outcome('stopped', text);
    expect(lost, story).toEqual([]);
  });
});

/** One state has it all: running containers, a stopped one, volumes that nobody uses. */
const statesOf = (text: string): readonly State[] => (harmless.includes(text) ? states : ['running']);

describe.each(states)('what is allowed, %s', (state) => {
  it.each(
    chosen(
      [...new Set([...harmless, ...allowed])].filter((text) => statesOf(text).includes(state)),
      15,
    ),
  )('%s: loses nothing', async (text) => {
    expect(await decision(text)).toBe('allow');
    const { lost, story } = await outcome(state, text);
    expect(lost, story).toEqual([]);
  });
});

describe('what is allowed, as the documentation says', () => {
  it.each(['running', 'stopped'] as const)(
    '%s: stop, rm -f and up keep all data, but what an anonymous volume holds is not linked any more',
    async (state) => {
      const text = 'docker compose stop; docker compose rm -f; docker compose up -d';
      expect(await decision(text)).toBe('allow');
      const { lost, story } = await outcome(state, text);
      expect(lost.sort(), story).toEqual(
        ['db', 'web'].map((service) => `${service}:/anonymous is served by another volume`),
      );
    },
  );
});
