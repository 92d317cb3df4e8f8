/**
 * An engine and a small project on which any command may be run for real, and what became of their data.
 *
 *     const throwaway = await throwawayEngine();         // or the reason why there can be none, as a text
 *     await throwaway.bring('running');
 *     await throwaway.run('docker compose down -v');
 *     await throwaway.lost();                            // ['shop_db is gone', …]
 *
 * A command runs where the engine itself lives (see second-engine.ts): of this machine's files it can change none,
 * `/run/docker.sock` and `/var/lib/docker` are those of the throwaway engine, and there is no network but its own. Before
 * each, that is asked once more, from the very same place. Commands that would give a container something of the host are
 * not run at all.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import path from 'node:path';
import { execa } from 'execa';
import { secondEngine } from './second-engine.ts';

/**
 * `unused`: volumes, but no container. `running`: up. `stopped`: by compose. `changed`: running, and since then the compose
 * file says something else of a volume.
 */
export const states = ['unused', 'stopped', 'running', 'changed'] as const;
export type State = (typeof states)[number];

export interface Throwaway {
  /** Has the project in this state, with marked data in every volume. Names the project, if not `shop`. */
  bring(state: State, project?: string): Promise<void>;
  /** Runs shell text in the project's folder. Resolves with what it printed, whatever its exit code. */
  run(text: string, input?: string): Promise<string>;
  /** What is lost since `bring`, a line each. */
  lost(): Promise<string[]>;
  end(): Promise<void>;
}

/** What would give a container a folder or a device of this machine, whatever for. */
const mountsHost =
  /(-v|--volume)[= ]*["']?[^\w"' ]|(-v|--volume)[= ]*\S*[$~]|bind|--privileged|--device|--pid|--ipc|--volumes-from|--cap-add|api-socket|(source|src)=["']?[^\w"']|docker\.sock:/;

const image = 'debian:bookworm-slim';
/** Under these names too, as in the commands that are tried. */
const imageNames = ['alpine:latest', 'shop/web:latest'];

const compose = (label: string): string => `services:
  web:
    image: ${image}
    container_name: web
    command: [sleep, infinity]
    network_mode: none
    init: true
    stop_grace_period: 0s
    volumes: ['files:/files', 'outside:/outside', /anonymous, './bind:/bind']
  db:
    image: ${image}
    container_name: db
    command: [sleep, infinity]
    network_mode: none
    init: true
    stop_grace_period: 0s
    volumes: ['db:/var/lib/postgresql/data', /anonymous]
volumes:
  files: {}
  db: { labels: ['definition=${label}'] }
  outside: { name: outside, external: true }
`;

interface Container {
  Id: string;
  State: string;
  Labels: Record<string, string>;
  Mounts: { Type: string; Name?: string; Destination: string }[];
}

export async function throwawayEngine(): Promise<Throwaway | string> {
  const started = await secondEngine({ apart: true });
  if (typeof started === 'string') return started;
  const engine = started;
  const socket = engine.env.DOCKER_HOST.replace('unix://', '');
  const folder = path.join(engine.folder, 'throwaway');
  const at = (...names: string[]): string => path.join(folder, ...names);
  const project = at('shop');
  const images = at('images.tar');
  await mkdir(at('shop', 'bind'), { recursive: true });
  await mkdir(at('home'));

  await execa('docker', ['save', '--output', images, image]);
  const loadImages = async (): Promise<void> => {
    await execa('docker', ['load', '--quiet', '--input', images], { env: engine.env });
    for (const name of imageNames) await execa('docker', ['tag', image, name], { env: engine.env });
  };
  await loadImages();

  await execa('docker', ['context', 'create', 'prod', '--docker', 'host=unix:///run/docker.sock'], {
    env: { HOME: at('home') },
  });

  // What it calls /var/lib/docker has to be its own, or a mistake below would cost others their data.
  const { stdout: id } = await execa(
    'docker',
    ['run', '--rm', '--network=none', '--volume=/var/lib/docker:/d:ro', image, 'cat', '/d/engine-id'],
    { env: engine.env },
  );
  if (id !== (await readFile(path.join(engine.dataRoot, 'engine-id'), 'utf8')).trim()) {
    await engine.end();
    throw new Error('the throwaway engine mounts what is not its own');
  }

  const api = <T>(method: string, place: string, body?: unknown): Promise<T> =>
    new Promise((resolve, reject) => {
      const asked = request({ socketPath: socket, method, path: place }, (answer) => {
        let text = '';
        answer.setEncoding('utf8');
        answer.on('data', (piece: string) => (text += piece));
        answer.on('end', () => {
          const failed = (answer.statusCode ?? 500) >= 400 && answer.statusCode !== 404;
          if (failed) reject(new Error(`${method} ${place}: ${text}`));
          else resolve((text === '' ? undefined : JSON.parse(text)) as T);
        });
      });
      asked.on('error', reject);
      asked.setHeader('Content-Type', 'application/json');
      asked.end(body === undefined ? undefined : JSON.stringify(body));
    });
  const containers = (): Promise<Container[]> => api('GET', '/containers/json?all=1');
  const volumes = async (): Promise<string[]> =>
    (await api<{ Volumes: { Name: string }[] | null }>('GET', '/volumes')).Volumes?.map(({ Name }) => Name) ??
    [];
  const markOf = (volume: string): string => path.join(engine.dataRoot, 'volumes', volume, '_data', 'mark');

  /** Which volume serves which path of which service. */
  const places = (list: readonly Container[]): Map<string, string> =>
    new Map(
      list.flatMap(({ Labels, Mounts }) =>
        Mounts.filter(({ Type }) => Type === 'volume').map(
          ({ Name = '', Destination }) =>
            [`${Labels['com.docker.compose.service'] ?? ''}:${Destination}`, Name] as const,
        ),
      ),
    );

  let marks = new Map<string, string>();
  let served = new Map<string, string>();
  /** What the engine had when the state was complete; undefined: no state is. */
  let complete: { state: string; engine: string } | undefined;
  let round = 0;

  async function fingerprint(): Promise<string> {
    const list = (await containers()).map(({ Id, State }) => `${Id} ${State}`).sort();
    return [...list, ...(await volumes()).sort(), existsSync(at('shop', 'compose.yml'))].join('\n');
  }

  async function composed(name: string, ...words: string[]): Promise<void> {
    await execa('docker', ['compose', '-p', name, ...words], {
      cwd: project,
      env: engine.env,
      stdin: 'ignore',
    });
  }

  async function build(state: State, name: string): Promise<void> {
    await Promise.all((await containers()).map(({ Id }) => api('DELETE', `/containers/${Id}?force=1`)));
    await Promise.all((await volumes()).map((volume) => api('DELETE', `/volumes/${volume}?force=1`)));
    const names = (await api<{ RepoTags?: string[] }[]>('GET', '/images/json')).flatMap(
      (one) => one.RepoTags,
    );
    if (![image, ...imageNames].every((one) => names.includes(one))) await loadImages();
    await write(state === 'changed' ? 'before' : 'now');
    for (const body of [{ Name: 'outside' }, { Name: 'unused' }, { Labels: { a: '' } }])
      await api('POST', '/volumes/create', body);
    const label = { 'com.docker.compose.project': name, 'com.docker.compose.version': '2' };
    for (const volume of ['db', 'files']) {
      if (state !== 'unused') continue;
      const Labels = { ...label, 'com.docker.compose.volume': volume };
      await api('POST', '/volumes/create', { Name: `${name}_${volume}`, Labels });
    }
    if (state !== 'unused') {
      await api('POST', '/containers/create?name=old', {
        Image: image,
        Cmd: ['true'],
        Volumes: { '/old': {} },
      });
      await composed(name, 'up', '--detach', '--quiet-pull');
      if (state === 'stopped') await composed(name, 'stop');
      await write('now');
    }
  }

  async function write(label: string): Promise<void> {
    for (const file of ['compose.yml', 'x.yml']) await writeFile(at('shop', file), compose(label));
    await writeFile(at('shop', 'prod.yml'), 'services: {}\n');
    for (const file of ['.env', '.env.prod']) await writeFile(at('shop', file), '');
  }

  return {
    async bring(state, name = 'shop') {
      const wanted = `${state} ${name}`;
      if (complete?.state !== wanted || complete.engine !== (await fingerprint())) {
        await build(state, name);
        complete = { state: wanted, engine: await fingerprint() };
      }
      round += 1;
      marks = new Map((await volumes()).map((volume) => [volume, `${volume} ${round}`]));
      for (const [volume, mark] of marks) await writeFile(markOf(volume), mark);
      await mkdir(at('shop', 'bind'), { recursive: true });
      await writeFile(at('shop', 'bind', 'mark'), String(round));
      served = places(await containers());
    },

    async run(text, input) {
      if (/ (run|create) /.test(text) && mountsHost.test(text))
        throw new Error(`this may reach what is not the throwaway engine's: ${text}`);
      const inside = `
        for place in / /usr /etc /var/lib "$HERE"; do
          if [ -d "$place" ] && touch "$place/of-this-machine" 2>/dev/null; then exit 99; fi
        done
        [ -z "$(ls -A /mnt/former)" ] &&
        [ /var/lib/docker/engine-id -ef "$ROOT/engine-id" ] &&
        curl -s --unix-socket /var/run/docker.sock http://engine/info | grep -q "\\"DockerRootDir\\":\\"$ROOT\\"" &&
        cd "$FOLDER" || exit 99
        exec timeout --signal=KILL 30 bash -c "$TEXT"`;
      const { all, exitCode } = await execa(
        'nsenter',
        [
          `--net=${engine.namespace}`,
          `--mount=/proc/${await engine.pid()}/ns/mnt`,
          'unshare',
          '--mount',
          '--pid',
          '--fork',
          '--mount-proc',
          'sh',
          '-c',
          inside,
        ],
        {
          all: true,
          reject: false,
          extendEnv: false,
          env: {
            PATH: process.env['PATH'] ?? '',
            HOME: at('home'),
            HERE: process.cwd(),
            ROOT: engine.dataRoot,
            FOLDER: project,
            TEXT: text,
          },
          ...(input === undefined ? { stdin: 'ignore' } : { input }),
        },
      );
      if (exitCode === 99) throw new Error(`this is not the throwaway engine: ${text}: not run. ${all}`);
      return `${all}\nexit code ${exitCode ?? 'none'}`;
    },

    async lost() {
      const found: string[] = [];
      for (const [volume, mark] of marks) {
        const text = await readFile(markOf(volume), 'utf8').catch(() => undefined);
        if (text !== mark) found.push(`${volume} is ${text === undefined ? 'gone' : 'another'}`);
      }
      const bind = await readFile(at('shop', 'bind', 'mark'), 'utf8').catch(() => undefined);
      if (bind !== String(round)) found.push('the bind mount is empty');
      const now = places(await containers());
      for (const [place, volume] of served) {
        const other = now.get(place);
        if (other !== undefined && other !== volume) found.push(`${place} is served by another volume`);
      }
      if (found.length > 0) complete = undefined;
      return found;
    },

    async end() {
      await engine.end();
    },
  };
}
