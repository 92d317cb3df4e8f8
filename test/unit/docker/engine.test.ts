import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type Docker from 'dockerode';
import { describe, expect, it } from 'vitest';
import {
  compareVersions,
  Engine,
  isNameTaken,
  proofLabel,
  splitImageName,
} from '../../../src/docker/engine.ts';
import { SafeUpdateError } from '../../../src/model/error.ts';

interface Call {
  /** getVolume(shop_db).inspect */
  what: string;
  args: unknown[];
}

type Answers = Readonly<Record<string, unknown>>;

/** A dockerode that notes what is asked of it. `answers` by method: `inspect`, `listContainers`; a thrown one is an Error. */
function recorder(answers: Answers = {}): { docker: Docker; calls: Call[] } {
  const calls: Call[] = [];
  const handles = new Set(['getContainer', 'getImage', 'getVolume', 'getNetwork']);
  const at = (place: string): unknown =>
    new Proxy(
      {},
      {
        get(_, method) {
          if (typeof method !== 'string' || method === 'then') return undefined;
          return (...args: unknown[]): unknown => {
            if (handles.has(method)) return at(`${method}(${String(args[0])}).`);
            calls.push({ what: place + method, args });
            const answer = answers[place + method] ?? answers[method];
            return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
          };
        },
      },
    );
  return { docker: at('') as Docker, calls };
}

function statusError(statusCode: number, message = 'the engine says no'): Error {
  return Object.assign(new Error(message), { statusCode, json: { message } });
}

const methods = Object.getOwnPropertyNames(Engine.prototype).filter(
  // TypeScript's private is not the language's: this one cannot be called from outside.
  (name) => name !== 'constructor' && name !== 'networkById',
) as Method[];
type Method = {
  [K in keyof Engine]: Engine[K] extends (...args: never[]) => unknown ? K : never;
}[keyof Engine];

const stream = {
  setEncoding: () => undefined,
  on: () => undefined,
  destroy: () => undefined,
  [Symbol.asyncIterator]: () => [].values(),
};
const proof = 'safe-update-proof-0123456789ab';
const proofVolume = { Name: `${proof}_0`, Driver: 'local', Options: null, Labels: { [proofLabel]: proof } };
const spec = { name: 'shop_db', driver: 'local', options: {}, labels: {} };

const uses: Record<Method, (engine: Engine) => Promise<unknown>> = {
  facts: (engine) => engine.facts(),
  projectContainers: (engine) => engine.projectContainers('shop'),
  allContainers: (engine) => engine.allContainers(),
  containersLabelled: (engine) => engine.containersLabelled('a=b'),
  container: (engine) => engine.container('c'),
  image: (engine) => engine.image('i'),
  tag: (engine) => engine.tag('sha256:1', 'safe-update/pin-shop:run-1'),
  tagsIn: (engine) => engine.tagsIn('safe-update/pin-shop'),
  untag: (engine) => engine.untag('safe-update/pin-shop:run-1'),
  volume: (engine) => engine.volume('shop_db'),
  volumeMadeAt: (engine) => engine.volumeMadeAt('shop_db'),
  projectVolumes: (engine) => engine.projectVolumes('shop'),
  allVolumes: (engine) => engine.allVolumes(),
  volumesLabelled: (engine) => engine.volumesLabelled('a=b'),
  removeProofVolume: (engine) => engine.removeProofVolume(`${proof}_0`, proof),
  networksLabelled: (engine) => engine.networksLabelled('a=b'),
  networkNames: (engine) => engine.networkNames(),
  volumeSizes: (engine) => engine.volumeSizes(),
  createVolume: (engine) => engine.createVolume(spec),
  projectNetworks: (engine) => engine.projectNetworks('shop'),
  network: (engine) => engine.network('shop_default'),
  createNetwork: (engine) => engine.createNetwork({ Name: 'shop_default' }),
  removeNetwork: (engine) => engine.removeNetwork('shop_default'),
  connect: (engine) => engine.connect('shop_default', 'c', {}),
  createContainer: (engine) => engine.createContainer({ name: 'web' }),
  hasPath: (engine) => engine.hasPath('/srv/shop').catch(() => true),
  start: (engine) => engine.start('c'),
  stop: (engine) => engine.stop('c'),
  pause: (engine) => engine.pause('c'),
  removeContainer: (engine) => engine.removeContainer('c'),
  rename: (engine) => engine.rename('c', 'web'),
  readPath: (engine) => engine.readPath('c', '/etc'),
  writePath: (engine) => engine.writePath('c', '/etc', Buffer.from('')),
  watch: (engine) => engine.watch('shop'),
  pastEvents: (engine) => engine.pastEvents('shop'),
};

const labelled = (of: string): unknown => ({ ...proofVolume, Labels: { [proofLabel]: of } });

const answers: Answers = {
  version: { Version: '28.5.2', ApiVersion: '1.51' },
  info: { ID: 'engine-1', SystemTime: '2024-10-17T14:00:00.5Z', DockerRootDir: '/var/lib/docker' },
  listContainers: [],
  listImages: [],
  listVolumes: { Volumes: null },
  listNetworks: [],
  df: { Volumes: null },
  inspect: { Id: 'sha256:1', Name: 'shop_db', Driver: 'local', Labels: null, Size: 1 },
  getEvents: stream,
  createContainer: { id: 'new' },
  [`getVolume(${proof}_0).inspect`]: proofVolume,
};

describe('no way to a volume (promise 1)', () => {
  it('is checked for every method there is', () => {
    expect(Object.keys(uses).sort()).toEqual([...methods].sort());
  });

  it('removes containers without their volumes, networks, names of images, volumes of proofs, and nothing else', async () => {
    const { docker, calls } = recorder(answers);
    const engine = new Engine(docker);
    for (const method of methods) await uses[method](engine);
    const reads = /^(version|info|list\w+|df|getEvents|get\w+\(.*\)\.(inspect|getArchive))$/;
    const makes = /^(create\w+|get\w+\(.*\)\.(tag|connect|start|stop|pause|rename|putArchive))$/;
    expect(calls.filter(({ what }) => !reads.test(what) && !makes.test(what))).toEqual([
      { what: 'getImage(safe-update/pin-shop:run-1).remove', args: [{ force: false, noprune: true }] },
      { what: `getVolume(${proof}_0).remove`, args: [{ force: false }] },
      { what: 'getNetwork(shop_default).remove', args: [] },
      { what: 'getContainer(c).remove', args: [{ force: true, v: false }] },
    ]);
    expect(calls.filter(({ what }) => what.startsWith('getVolume')).map(({ what }) => what)).toEqual([
      'getVolume(shop_db).inspect',
      'getVolume(shop_db).inspect',
      `getVolume(${proof}_0).inspect`,
      `getVolume(${proof}_0).remove`,
    ]);
  });

  const other = 'safe-update-proof-ba9876543210';
  const aside = 'safe-update-former-0123456789ab';
  it.each<[string, string, string, unknown]>([
    ["a user's volume", 'shop_db', proof, { ...proofVolume, Name: 'shop_db' }],
    ["a user's volume that is said to be a proof's", 'shop_db', 'shop', { ...proofVolume, Name: 'shop_db' }],
    ['another name with a forged label', `x${proof}_0`, proof, { ...proofVolume, Name: `x${proof}_0` }],
    ['a name that only begins alike', `${proof}_data`, proof, { ...proofVolume, Name: `${proof}_data` }],
    ['a name that goes on', `${proof}_0/../shop_db`, proof, proofVolume],
    ['a name with another name on a second line', `${proof}_0\nshop_db`, proof, proofVolume],
    ['the name of a proof without its number', proof, proof, { ...proofVolume, Name: proof }],
    ['a volume of another proof', `${other}_0`, proof, { ...proofVolume, Name: `${other}_0` }],
    ['the right name without a label', `${proof}_0`, proof, { ...proofVolume, Labels: null }],
    ['the right name with a label of another', `${proof}_0`, proof, labelled(other)],
    ['the right name with an empty label', `${proof}_0`, proof, labelled('')],
    [
      'a copy that was set aside, by the label of a proof',
      `${aside}_0`,
      aside,
      { ...proofVolume, Name: `${aside}_0` },
    ],
    ['one that lies elsewhere', `${proof}_0`, proof, { ...proofVolume, Options: { device: '/srv' } }],
    ['one of another driver', `${proof}_0`, proof, { ...proofVolume, Driver: 'nfs' }],
    ['one that the engine calls otherwise', `${proof}_0`, proof, { ...proofVolume, Name: 'shop_db' }],
  ])('does not remove %s', async (_, name, of, inspect) => {
    const { docker, calls } = recorder({ inspect });
    await expect(new Engine(docker).removeProofVolume(name, of)).rejects.toThrow(
      'safe-update will not remove',
    );
    expect(calls.filter(({ what }) => what.endsWith('.remove'))).toEqual([]);
  });

  it("removes a proof's volume; one that is gone is gone, one in use is an error", async () => {
    const remove = async (answer: Answers): Promise<string[]> => {
      const { docker, calls } = recorder({ inspect: proofVolume, ...answer });
      await new Engine(docker).removeProofVolume(`${proof}_0`, proof);
      return calls.map(({ what }) => what.replace(/.*\./, ''));
    };
    expect(await remove({})).toEqual(['inspect', 'remove']);
    expect(await remove({ inspect: statusError(404) })).toEqual(['inspect']);
    await expect(remove({ remove: statusError(409, 'volume is in use') })).rejects.toThrow('in use');
  });

  const src = fileURLToPath(new URL('../../../src/', import.meta.url));
  const all = readdirSync(src, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => ({ name, lines: readFileSync(path.join(src, name), 'utf8').split('\n') }));
  // The guard names all of this to refuse it, and has nothing to run it with: see below.
  const sources = all.filter(({ name }) => !name.startsWith('guard/'));

  function linesWith(pattern: RegExp): string[] {
    return sources.flatMap(({ name, lines }) =>
      lines.filter((line) => pattern.test(line)).map((line) => `${name}: ${line.trim()}`),
    );
  }

  it('finds the sources', () => {
    expect(sources.length).toBeGreaterThan(50);
    expect(linesWith(/class Engine\b/)).toEqual(['docker/engine.ts: export class Engine {']);
  });

  it('is the only module that speaks to the engine', () => {
    const text = sources.map(({ lines }) => lines.join('\n')).join('\n');
    expect([...text.matchAll(/\bgetVolume\s*\([^()]*\)\s*\.\s*(\w+)/g)].map(([, method]) => method)).toEqual([
      'inspect',
      'remove',
    ]);
    expect(linesWith(/\bgetVolume\b/)).toHaveLength(2);
    expect(linesWith(/\.removeProofVolume\(/)).toEqual([
      'update/proofs.ts: for (const { name } of volumes) await goneIsGone(engine.removeProofVolume(name, proof));',
      "update/reload.ts: await engine.removeProofVolume(name, carried[formerLabel] ?? '');",
    ]);
    expect(
      linesWith(/\bget(Container|Image|Network)\s*\(/).filter(
        (line) => !line.startsWith('docker/engine.ts:'),
      ),
    ).toEqual([]);
    expect(linesWith(/\bnew Docker\(/).every((line) => line.startsWith('docker/endpoint.ts:'))).toBe(true);
    // What dockerode's own methods go through: a request could be made by hand.
    expect(linesWith(/\.modem\b|\.dial\s*\(/)).toEqual([]);
  });

  it.each([
    ['a prune of the engine', /\bprune(Volumes|Containers|Images|Networks|Builder)\b|\.prune\s*\(/],
    [
      'containers that take their volumes with them',
      /\bv\s*:\s*(?!false\b)\S|\bAutoRemove\b|\bRemoveVolumes\b/,
    ],
    ['volumes that compose makes anew', /renew-?anon|RenewAnon/i],
    ['an answer to "Recreate (data will be lost)?"', /['"](--yes|--assume-yes)['"]\s*[,\]]/],
  ])('no line has %s', (_, pattern) => {
    expect(linesWith(pattern)).toEqual([]);
  });

  it('has a guard that can run nothing', () => {
    const guard = all.filter(({ name }) => name.startsWith('guard/'));
    const text = guard.map(({ lines }) => lines.join('\n')).join('\n');
    const imported = [...text.matchAll(/(?<![\w-])(?:from|import)\s*\(?\s*'([^']+)'/g)].map(
      ([, from = '']) => from,
    );
    expect(guard.length).toBeGreaterThan(20);
    expect(
      imported.filter(
        (from) => !/^\.{1,2}\/(?!\.)/.test(from) && !['unbash', 'yaml', 'node:buffer'].includes(from),
      ),
    ).toEqual([]);
    expect(text).not.toMatch(/\bfetch\(|\brequire\(|\bimport\(/);
  });

  it('builds command lines of docker in one module', () => {
    expect(linesWith(/['"`]docker['"`]\s*,/).filter((line) => !line.startsWith('docker/argv.ts:'))).toEqual(
      [],
    );
  });
});

describe('Engine', () => {
  it.each([
    ['1.41', false],
    ['1.42', true],
    ['1.51', true],
  ])('API %s: works with it: %s', async (ApiVersion, good) => {
    const { docker } = recorder({ ...answers, version: { Version: '20.10.0', ApiVersion } });
    const facts = new Engine(docker).facts();
    await (good
      ? expect(facts).resolves.toMatchObject({ apiVersion: ApiVersion })
      : expect(facts).rejects.toMatchObject({ code: 'engine' }));
  });

  it.each(['container', 'image', 'volume', 'network', 'readPath'] as const)(
    '%s: null where the engine has none, an error where it would not say',
    async (method) => {
      const failing = (status: number): Engine =>
        new Engine(recorder({ inspect: statusError(status), getArchive: statusError(status) }).docker);
      expect(await uses[method](failing(404))).toBeNull();
      await expect(uses[method](failing(500))).rejects.toMatchObject({
        code: 'engine',
        message: expect.stringContaining('the engine says no') as string,
      });
    },
  );

  it('asks for a network again whose addresses somebody else was given at the same moment', async () => {
    const taken = statusError(403, 'conflicts with network f3fd: networks have overlapping IPv4');
    let asked = 0;
    const { docker } = recorder();
    const engine = (answer: () => Promise<unknown>): Engine =>
      new Engine(new Proxy(docker, { get: (_, name) => (name === 'createNetwork' ? answer : undefined) }));
    await engine(() => ((asked += 1) === 1 ? Promise.reject(taken) : Promise.resolve())).createNetwork({
      Name: 'shop_default',
    });
    expect(asked).toBe(2);
    const refused = (): Promise<unknown> => {
      asked += 1;
      return Promise.reject(statusError(403, 'the engine says no'));
    };
    await expect(engine(refused).createNetwork({ Name: 'shop_default' })).rejects.toThrow(
      'the engine says no',
    );
    expect(asked).toBe(3);
  });

  it('forgets a container that goes away between list and inspect', async () => {
    const { docker } = recorder({
      listContainers: [{ Id: 'a' }, { Id: 'b' }],
      'getContainer(a).inspect': { Id: 'a' },
      'getContainer(b).inspect': statusError(404),
    });
    expect(await new Engine(docker).projectContainers('shop')).toEqual([{ Id: 'a' }]);
  });

  it.each(['start', 'stop', 'pause'] as const)('%s: what is so already is no error', async (method) => {
    await uses[method](new Engine(recorder({ [method]: statusError(304) }).docker));
    await expect(uses[method](new Engine(recorder({ [method]: statusError(500) }).docker))).rejects.toThrow(
      'the engine says no',
    );
  });

  it.each(['removeContainer', 'untag'] as const)(
    '%s: what is gone, or is just going, is no error',
    async (method) => {
      for (const status of [404, 409])
        await uses[method](new Engine(recorder({ remove: statusError(status) }).docker));
      await expect(uses[method](new Engine(recorder({ remove: statusError(500) }).docker))).rejects.toThrow(
        'the engine says no',
      );
    },
  );

  it('tells a name that is taken from every other failure', async () => {
    const failing = (status: number): Promise<unknown> =>
      new Engine(recorder({ createContainer: statusError(status) }).docker)
        .createContainer({ name: 'lock' })
        .catch((error: unknown) => error);
    expect(isNameTaken(await failing(409))).toBe(true);
    expect(isNameTaken(await failing(404))).toBe(false);
    expect(isNameTaken(statusError(409))).toBe(false);
    expect(isNameTaken(undefined)).toBe(false);
  });

  it.each([
    ['EACCES', 'group docker'],
    ['ECONNREFUSED', 'Start the engine'],
    ['ENOENT', 'Start the engine'],
  ])('%s: says how to get through to the engine', async (code, hint) => {
    const { docker } = recorder({ listContainers: Object.assign(new Error('connect'), { code }) });
    await expect(new Engine(docker).allContainers()).rejects.toSatisfy(
      (error) =>
        error instanceof SafeUpdateError && error.code === 'engine' && error.hint?.includes(hint) === true,
    );
  });

  it('reads lists that the engine gives as null', async () => {
    const { docker } = recorder({
      ...answers,
      listImages: [
        { Id: 'sha256:1', RepoTags: null },
        { Id: 'sha256:2', RepoTags: ['a/b:1', 'a/bc:1'] },
      ],
      inspect: { Id: 'sha256:1', RepoTags: null, RepoDigests: null, Size: 5, Config: null },
    });
    const engine = new Engine(docker);
    expect(await engine.tagsIn('a/b')).toEqual([{ name: 'a/b:1', imageId: 'sha256:2' }]);
    expect(await engine.projectVolumes('shop')).toEqual([]);
    expect(await engine.volumeSizes()).toEqual(new Map());
  });

  it('reads an image without a configuration', async () => {
    const inspect = {
      Id: 'sha256:1',
      RepoTags: null,
      RepoDigests: null,
      Size: 5,
      Os: 'linux',
      Architecture: 'arm64',
    };
    const { docker } = recorder({ inspect });
    expect(await new Engine(docker).image('x')).toEqual({
      ...{
        id: 'sha256:1',
        entrypoint: [],
        command: [],
        tags: [],
        digests: [],
        volumePaths: [],
        labels: {},
        environment: [],
        platform: 'linux/arm64',
        size: 5,
      },
    });
  });

  it('reads events whose lines arrive in pieces', async () => {
    let hear: (chunk: string) => void = () => undefined;
    const pieces = {
      ...stream,
      on: (name: string, listener: (chunk: string) => void) => {
        if (name === 'data') hear = listener;
      },
    };
    const { events } = await new Engine(recorder({ getEvents: pieces }).docker).watch('shop');
    const line = (Action: string): string =>
      `${JSON.stringify({
        Action,
        timeNano: 1_700_000_000_123_456_768,
        Actor: {
          ID: 'c1',
          Attributes: { 'com.docker.compose.service': 'web', 'com.docker.compose.container-number': '2' },
        },
      })}\n`;
    const text = `${line('die')}\n${line('health_status: healthy')}`;
    hear(text.slice(0, 40));
    expect(events).toEqual([]);
    hear(text.slice(40));
    expect(events.map(({ action }) => action)).toEqual(['die', 'health_status: healthy']);
    expect(events[0]).toMatchObject({ containerId: 'c1', service: 'web', number: 2 });
    expect(events[0]?.at).toBeCloseTo(1_700_000_000_123.457, 2);
  });
});

describe('splitImageName', () => {
  it.each([
    ['registry:5000/shop/app:1.0', 'registry:5000/shop/app', '1.0'],
    ['registry:5000/shop/app', 'registry:5000/shop/app', 'latest'],
    ['redis', 'redis', 'latest'],
    ['redis:7', 'redis', '7'],
    ['redis:7@sha256:abc', 'redis', '7'],
    ['registry:5000/app@sha256:abc', 'registry:5000/app', 'latest'],
  ])('%s', (name, repository, tag) => {
    expect(splitImageName(name)).toEqual({ repository, tag });
  });
});

describe('compareVersions', () => {
  it.each([
    ['1.42', '1.9', 1],
    ['1.9', '1.42', -1],
    ['2.20.0', '2.20.0', 0],
    ['v2.20', '2.20.0', 0],
    ['2.40.3-3', '2.20.0', 1],
    ['2.19.9', '2.20.0', -1],
    ['5.0.0', '2.20.0', 1],
    ['2.20.0-rc.1', '2.20.0', 1],
    ['2.40.3+ds1', '2.40.3', 0],
    ['2', '2.0.1', -1],
  ])('%s against %s', (a, b, sign) => {
    expect(Math.sign(compareVersions(a, b))).toBe(sign);
    expect(Math.sign(compareVersions(b, a))).toBe(sign === 0 ? 0 : -sign);
  });
});
