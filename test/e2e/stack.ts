/**
 * Throwaway compose projects for end-to-end tests. Importing this file is enough to have them removed again.
 *
 *     const stack = await shop();                        // fixtures/shop on 1.0.0: healthy, with rows, keys and uploads
 *     const stack = await shop({ edit: (model) => …, release: '1.1.0', start: false, fill: false });
 *     const stack = await project({ 'compose.yaml': text, '.env': 'A=1\n' });     // files only, nothing started
 *
 *     await stack.push('drop-table');                    // a release into its registry; the local tag does not move
 *     await stack.compose(['stop', 'cache']);            // docker compose by hand
 *     await stack.edit((model) => { model.services.app.command = ['nonsense']; });  // compose.yaml, parsed
 *     await stack.write('compose.yaml', 'text');         // any file of the project's folder, as it is
 *     await stack.env({ APP_PORT: '8001' });             // lines of .env
 *
 *     const run = await stack.update();                  // safe-update with the flags of `quick`
 *     const run = await stack.update(['--stable-for', '8s']);                        // later flags win
 *     const run = await stack.safeUpdate(['rollback', '--confirm', stack.project], { timeout: 60_000 });  // as given
 *     run.exitCode, run.stdout, run.stderr, run.events, run.outcome, run.steps, run.story (for messages of expect)
 *     const running = stack.start(quick, { env: { SAFE_UPDATE_PAUSE: 'remove' } }); // does not wait for its end
 *     await running.step('up'); running.kill('SIGKILL'); await running.finished;
 *
 *     const before = await snapshot(stack);              // images, states, mounts, digests, rows, keys, tags, files
 *     expectSame(before, await snapshot(stack));         // all of it equal; containers may be new ones
 *     expectUntouched(before, await snapshot(stack));    // and even the containers and their start times
 *     await expectNothingLeft(stack, run);               // no lock, helper, .partial, stray pin, open journal, secret
 *
 *     await stack.containers(), stack.container('db'), stack.sql('SELECT …'), stack.redis(['GET', 'k']), stack.get('/members')
 *     await stack.backups()                              // sealed ones, oldest first: { id, folder, manifest }
 *     await digest(stack.project, volume)                // of one volume; see digest.ts
 *
 * Each stack has its own folder, project name (e2e-<random>), host port, image repository and passwords. All that it
 * leaves on the engine carries its project's name: as compose's label, as safe-update's, or as the label
 * safe-update-e2e. `stack.remove()` removes exactly that. It runs at the end of the test that made the stack, or of the
 * file for one made in a beforeAll, whatever happens.
 */
import { randomBytes, randomInt } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, onTestFinished } from 'vitest';
import { parse, stringify } from 'yaml';
import type { Manifest } from '../../src/backup/manifest.ts';
import type { Outcome, RunEvent } from '../../src/model/event.ts';
import { ask, docker, inspectWhere, keyOf, labelled, testLabel, type Inspect } from './docker.ts';
import { push, registry, releaseImage, type Release } from './releases.ts';
import { fillFromTemplate, keepAsTemplate, shopSecret } from './template.ts';

export { digest } from './digest.ts';
export { docker, eventually, imageId, type Inspect } from './docker.ts';
export { expectNothingLeft, expectSame, expectUntouched, snapshot, type Snapshot } from './snapshot.ts';

const made = new Set<Stack>();
afterAll(async () => {
  for (const stack of made) await stack.remove();
});

/** As it is built, where scripts/test has built it: as users have it, and it starts in half the time. Else its sources. */
const program =
  process.env['SAFE_UPDATE_PROGRAM'] ?? fileURLToPath(new URL('../../src/bin.ts', import.meta.url));
const fixture = fileURLToPath(new URL('../../fixtures/shop/compose.yaml', import.meta.url));

/** Flags of an update: nobody is asked, and nobody waits long. */
export const quick = ['--yes', '--json', '--stable-for', '2s', '--verify-timeout', '30s'];

export interface ComposeFile {
  services: Record<string, Record<string, unknown>>;
  [key: string]: unknown;
}

export interface ShopOptions {
  release?: Release;
  edit?: (model: ComposeFile) => void;
  /** False: files and registry only. */
  start?: boolean;
  /** False: no rows, keys and uploads. */
  fill?: boolean;
}

/** The shop of fixtures/shop, started by plain `docker compose up`, healthy and with data in it. */
export async function shop({
  release = '1.0.0',
  edit,
  start = true,
  fill = true,
}: ShopOptions = {}): Promise<Stack> {
  const stack = await project({ 'compose.yaml': await readFile(fixture, 'utf8') });
  stack.secret = await shopSecret();
  await stack.env({
    DB_PASSWORD: stack.secret,
    CACHE_PASSWORD: stack.secret,
    APP_PORT: String(stack.port),
    APP_IMAGE: stack.image,
  });
  let usual = release === '1.0.0';
  await stack.edit(hurried);
  if (edit !== undefined) {
    await stack.edit((model) => {
      const before = whatFills(model);
      edit(model);
      usual &&= whatFills(model) === before;
    });
  }
  await stack.push(release);
  if (!start) return stack;
  const kind = fill ? 'filled' : 'started';
  if (usual) {
    await stack.compose(['up', '--no-start', '--quiet-pull']);
    usual = await fillFromTemplate(stack.project, kind);
  }
  await stack.up();
  if (usual) return stack;
  if (fill) await stack.fill();
  if (release !== '1.0.0' || edit !== undefined) return stack;
  await keepAsTemplate(stack.project, kind, () => stack.compose(['stop']));
  await stack.up();
  return stack;
}

/** What decides, of a compose file, what the shop's volumes hold once it is started. */
function whatFills({ services: { db, cache, app }, volumes }: ComposeFile): string {
  const of = (service: Record<string, unknown> | undefined, ...names: string[]): unknown[] =>
    names.map((name) => service?.[name]);
  const settings = ['image', 'build', 'environment', 'env_file', 'volumes', 'user', 'entrypoint', 'secrets'];
  return JSON.stringify([
    of(db, 'command', ...settings),
    of(cache, 'command', ...settings),
    of(app, ...settings),
    volumes,
  ]);
}

/** The fixture, with less to wait for. */
function hurried({ services: { db, app } }: ComposeFile): void {
  // A healthcheck takes 0.1 s of processor time. Each second, in every stack, they took a third of what the tests have: so
  // only until it is healthy. What has failed until the end of start_period does not count; two that do are unhealthy.
  const until = { start_interval: '500ms', retries: 2 };
  Object.assign(db?.['healthcheck'] ?? {}, { ...until, start_period: '60s', interval: '30s' });
  Object.assign(app?.['healthcheck'] ?? {}, { ...until, start_period: '5s', interval: '4s' });
}

/** A project of these files, by name and text. Nothing is started. */
export async function project(files: Readonly<Record<string, string>>): Promise<Stack> {
  const name = `e2e-${randomBytes(4).toString('hex')}`;
  const stack = new Stack(name, await mkdtemp(path.join(tmpdir(), `${name}-`)), await freePort());
  made.add(stack);
  try {
    onTestFinished(() => stack.remove());
  } catch {
    // Made in a beforeAll: it lives until the last test of the file.
  }
  for (const [file, text] of Object.entries(files)) await stack.write(file, text);
  return stack;
}

/** A port of this host that nobody listens on, below those that the kernel gives to outgoing connections. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(20_000, 32_000);
    const server = createServer();
    const free = await new Promise<boolean>((resolve) => {
      server.once('error', () => {
        resolve(false);
      });
      server.listen(port, '0.0.0.0', () => {
        server.close(() => {
          resolve(true);
        });
      });
    });
    if (free) return port;
  }
}

export interface RunOptions {
  env?: Readonly<Record<string, string>>;
  /** Milliseconds. */
  timeout?: number;
  cwd?: string;
  /** A program that runs safe-update: `['strace', '-f']`. It gets its pid and its signals. */
  under?: readonly string[];
}

/** An event as --json prints it. */
export type TimedEvent = RunEvent & { at: string };

export interface Finished {
  exitCode: number | undefined;
  signal: string | undefined;
  stdout: string;
  stderr: string;
  /** Lines of standard output that are events; none without --json. */
  events: TimedEvent[];
  /** That of the last event. */
  outcome: Outcome | undefined;
  /** Names of the steps that were begun, those of a rollback included, in order. */
  steps: string[];
  /** What it said, progress apart: for the message of an assertion. */
  story: string;
}

export interface Running {
  pid: number;
  /** The first event, past or to come, of which `wanted` is true. Rejects if the run ends without it. */
  until(wanted: (event: TimedEvent) => boolean): Promise<TimedEvent>;
  /** Until this step has begun. */
  step(name: string): Promise<TimedEvent>;
  kill(signal: NodeJS.Signals): void;
  finished: Promise<Finished>;
}

export interface SealedBackup {
  id: string;
  folder: string;
  manifest: Manifest;
}

export class Stack {
  readonly project: string;
  readonly directory: string;
  /** The host port of the application. */
  readonly port: number;
  /** `e2e-…/app`, without the registry. */
  readonly repository: string;
  /** The name by which the compose file knows the application's image. */
  readonly image: string;
  /** The password of everything in the stack; must be in no output and no manifest. */
  secret = `canary-${randomBytes(8).toString('hex')}`;
  readonly backupFolder: string;
  readonly #anonymous = new Set<string>();
  readonly #running = new Set<Running>();

  constructor(name: string, directory: string, port: number) {
    this.project = name;
    this.directory = directory;
    this.port = port;
    this.repository = `${name}/app`;
    this.image = `${registry}/${this.repository}:latest`;
    this.backupFolder = path.join(directory, 'backups', name);
  }

  async write(file: string, text: string): Promise<void> {
    await writeFile(path.join(this.directory, file), text);
  }

  async read(file: string): Promise<string> {
    return readFile(path.join(this.directory, file), 'utf8');
  }

  /** Changes compose.yaml. */
  async edit(change: (model: ComposeFile) => void): Promise<void> {
    const model = parse(await this.read('compose.yaml'), { merge: true }) as ComposeFile;
    change(model);
    await this.write('compose.yaml', stringify(model));
  }

  /** Sets variables in .env; null takes one out. */
  async env(variables: Readonly<Record<string, string | null>>): Promise<void> {
    const lines = (await this.read('.env').catch(() => '')).split('\n').filter((line) => line !== '');
    const kept = lines.filter((line) => !Object.hasOwn(variables, line.slice(0, line.indexOf('='))));
    const set = Object.entries(variables).flatMap(([name, value]) =>
      value === null ? [] : [`${name}=${value}`],
    );
    await this.write('.env', `${[...kept, ...set].join('\n')}\n`);
  }

  /** Puts a release into the registry; the engine's own tag does not move until something pulls. */
  async push(release: Release): Promise<void> {
    await push(releaseImage(release), this.repository);
  }

  /** docker compose, as somebody types it in the project's folder. */
  async compose(args: readonly string[]): Promise<string> {
    return docker(['compose', '--project-name', this.project, ...args], { cwd: this.directory });
  }

  async up(): Promise<void> {
    await this.compose(['up', '--detach', '--wait', '--quiet-pull']);
  }

  /** An update with the flags of `quick` and these. */
  async update(flags: readonly string[] = [], options: RunOptions = {}): Promise<Finished> {
    return this.safeUpdate([...quick, ...flags], options);
  }

  /** safe-update with these arguments, to its end. */
  async safeUpdate(args: readonly string[], options: RunOptions = {}): Promise<Finished> {
    return this.start(args, options).finished;
  }

  /** safe-update with these arguments, not waited for. */
  start(
    args: readonly string[],
    { env = {}, timeout = 150_000, cwd = this.directory, under = [] }: RunOptions = {},
  ): Running {
    const inherited = Object.entries(process.env).filter(
      ([name]) => !/^(COMPOSE_|SAFE_UPDATE_|NODE_(?!COMPILE_CACHE)|VITEST|FORCE_COLOR)/.test(name),
    );
    const [first = '', ...words] = [...under, process.execPath, program, '-p', this.project, ...args];
    const child = execa(first, words, {
      cwd,
      env: { ...Object.fromEntries(inherited), PWD: cwd, ...env },
      extendEnv: false,
      stdin: 'ignore',
      reject: false,
      timeout,
      // A run that hangs must not be left behind by its test.
      killSignal: 'SIGKILL',
    });
    const events: TimedEvent[] = [];
    const heard = new EventEmitter();
    let ended = false;
    const lines = (async () => {
      for await (const line of child.iterable({ from: 'stdout' })) {
        if (typeof line !== 'string' || !line.startsWith('{"at":')) continue;
        events.push(JSON.parse(line) as TimedEvent);
        heard.emit('change');
      }
    })().catch(() => undefined);
    const finished = child.then(async ({ exitCode, signal, stdout, stderr }): Promise<Finished> => {
      await lines;
      ended = true;
      heard.emit('change');
      const last = events.at(-1);
      return {
        ...{ exitCode, signal, stdout, stderr, events },
        outcome: last?.type === 'outcome' ? last.outcome : undefined,
        story: [
          ...events.filter(({ type }) => type !== 'step-progress').map((event) => JSON.stringify(event)),
          stderr,
        ].join('\n'),
        steps: events.flatMap((event) => (event.type === 'step-started' ? [event.step] : [])),
      };
    });
    const until = async (wanted: (event: TimedEvent) => boolean): Promise<TimedEvent> => {
      for (;;) {
        const found = events.find(wanted);
        if (found !== undefined) return found;
        if (ended) {
          throw new Error(`the run ended without it:
${(await finished).story}`);
        }
        await once(heard, 'change');
      }
    };
    const running: Running = {
      pid: child.pid ?? 0,
      finished,
      until,
      step: (name) => until((event) => event.type === 'step-started' && event.step === name),
      kill: (signal) => {
        child.kill(signal);
      },
    };
    this.#running.add(running);
    void finished.then(() => this.#running.delete(running));
    return running;
  }

  /** The project's containers, by service and number. One-off ones are among them. */
  async containers(): Promise<Inspect[]> {
    const found = await inspectWhere(`label=com.docker.compose.project=${this.project}`);
    for (const { Type, Name } of found.flatMap(({ Mounts }) => Mounts)) {
      if (Type === 'volume' && Name !== undefined && /^[0-9a-f]{64}$/.test(Name)) this.#anonymous.add(Name);
    }
    return found.sort((a, b) => keyOf(a).localeCompare(keyOf(b)));
  }

  async container(service: string, number = 1): Promise<Inspect> {
    const found = (await this.containers()).find((container) => keyOf(container) === `${service}-${number}`);
    if (found === undefined) throw new Error(`${this.project} has no container ${service}-${number}`);
    return found;
  }

  /** One statement in the shop's database; a row a line, fields with | between. */
  async sql(statement: string): Promise<string> {
    const { Id } = await this.container('db');
    return docker([
      'exec',
      Id,
      'psql',
      '-U',
      'shop',
      '-d',
      'shop',
      '-AtX',
      '-v',
      'ON_ERROR_STOP=1',
      '-c',
      statement,
    ]);
  }

  async redis(args: readonly string[]): Promise<string> {
    const { Id } = await this.container('cache');
    return docker(['exec', '--env', 'REDISCLI_AUTH', Id, 'redis-cli', ...args], {
      env: { REDISCLI_AUTH: this.secret },
    });
  }

  /** The answer's text. Throws unless the application says 2xx. */
  async get(where: string): Promise<string> {
    return this.#http(where, 'GET');
  }

  async post(where: string, body = ''): Promise<string> {
    return this.#http(where, 'POST', body);
  }

  async #http(where: string, method: string, body?: string): Promise<string> {
    const answer = await fetch(`http://127.0.0.1:${this.port}${where}`, {
      method,
      ...(body === undefined ? {} : { body }),
      signal: AbortSignal.timeout(10_000),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${where}: ${answer.status} ${text}`);
    return text;
  }

  /** Gives the shop members, orders, keys and uploads of every kind that a volume can hold and an application makes. */
  async fill(): Promise<void> {
    for (const name of ['Ada', 'Grace', 'Edsger'])
      await this.post(`/members?name=${name}&email=${name}@example.org`);
    for (const item of ['tea', 'coffee']) await this.post(`/orders?member=1&item=${item}`);
    for (let i = 0; i < 6; i += 1)
      await this.post(`/uploads/picture-${i}`, randomBytes(3000).toString('base64'));
    await this.redis(['SET', 'greeting', 'hello']);
    await this.redis(['HSET', 'cart:1', 'tea', '2', 'coffee', '1']);
    await this.redis(['RPUSH', 'queue', 'first', 'second']);
    const { Id } = await this.container('app');
    await docker(['exec', '--interactive', '--user', '0', '--workdir', '/app/uploads', Id, 'sh', '-e'], {
      input: oddFiles,
    });
  }

  /** Every sealed backup, by its sequence, with its manifest as it is on disk. */
  async backups(): Promise<SealedBackup[]> {
    const names = await readdir(this.backupFolder).catch(() => []);
    const found: SealedBackup[] = [];
    for (const id of names) {
      const folder = path.join(this.backupFolder, id);
      const text = await readFile(path.join(folder, 'manifest.json'), 'utf8').catch(() => undefined);
      if (text !== undefined) found.push({ id, folder, manifest: JSON.parse(text) as Manifest });
    }
    return found.sort((a, b) => a.manifest.sequence - b.manifest.sequence);
  }

  /** Removes all that belongs to this stack, and nothing else. Can be called twice. */
  async remove(): Promise<void> {
    // A run that its test did not wait for would make things again while they are removed.
    for (const running of this.#running) {
      running.kill('SIGKILL');
      await running.finished;
    }
    await this.containers();
    const labels = ['com.docker.compose.project', 'safe-update.project', testLabel].map(
      (label) => `${label}=${this.project}`,
    );
    const containers = await Promise.all(
      labels.map((label) =>
        ask<{ Id: string }[]>('/containers/json', { all: '1', filters: { label: [label] } }),
      ),
    );
    await removed(
      ['rm', '--force', '--volumes'],
      containers.flat().map(({ Id }) => Id),
    );
    const volumes = await Promise.all(labels.map((label) => labelled('volumes', label)));
    await removed(['volume', 'rm', '--force'], [...volumes.flat(), ...this.#anonymous]);
    const networks = await Promise.all(labels.map((label) => labelled('networks', label)));
    await removed(['network', 'rm'], networks.flat());
    // Names only: what other stacks run from the same image stays.
    const images = await ask<{ RepoTags: string[] | null; RepoDigests: string[] | null }[]>('/images/json');
    const own = new RegExp(
      `^(?:[^/]+/${this.project}/|safe-update/pin-${this.project}[:@]|${this.project}[-/])`,
    );
    const names = images.flatMap(({ RepoTags, RepoDigests }) => {
      const tags = (RepoTags ?? []).filter((name) => own.test(name));
      const digests = (RepoDigests ?? []).filter((name) => own.test(name));
      // A digest is a name of its own only where there is no tag.
      return [
        ...tags,
        ...digests.filter((name) => !tags.some((tag) => tag.startsWith(`${name.split('@')[0] ?? ''}:`))),
      ];
    });
    await removed(['image', 'rm'], names);
    await rm(this.directory, { recursive: true, force: true });
    made.delete(this);
  }
}

/** Removes what is there of these. */
async function removed(command: readonly string[], names: readonly string[]): Promise<void> {
  if (names.length > 0) await docker([...command, ...new Set(names)]);
}

const oddFiles = `
mkdir -p deep/er && echo nested >deep/er/file && ln deep/er/file deep/hard-link && ln -s ../picture-1 deep/link
ln -s /nowhere dangling && mkfifo pipe && truncate -s 500K sparse && printf end >>sparse
echo mine >root-only && chmod 0600 root-only && echo x >script && chmod 4755 script && chown 1234:4321 script
touch -d '2001-02-03 04:05:06.789012345' deep/er/file && chmod 2750 deep && touch "a name with 'quotes' and
a line feed" && mkdir empty
python3 -c 'import os; os.setxattr("root-only", "user.note", b"kept")'
`;
