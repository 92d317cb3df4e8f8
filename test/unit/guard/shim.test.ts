import { execFile, execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  composeCommands,
  composeGlobals,
  engineCommands,
  podmanGlobals,
} from '../../../src/guard/grammar/tables.ts';
import { asWord, judge } from '../../../src/guard/shell.ts';
import { shimMarker, shimNames, shimText } from '../../../src/guard/shim.ts';
import { readCorpus } from './corpus.ts';

let folder: string;
let shims: string;
let real: string;
let log: string;

/** Writes a command that can be run. */
function command(path: string, text: string): void {
  writeFileSync(path, text);
  chmodSync(path, 0o755);
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'safe-update-shim-'));
  shims = join(folder, 'a folder', 'shims');
  real = join(folder, 'real');
  log = join(folder, 'log');
  for (const path of [shims, real]) mkdirSync(path, { recursive: true });
  // In the place of node: notes that it was asked, and says what the test wants it to.
  const node = join(folder, 'node');
  command(node, `#!/bin/sh\nprintf 'asked\\0' >>'${log}'\nexit \${GUARD_SAYS-2}\n`);
  for (const name of shimNames) {
    command(join(shims, name), shimText(name, { node, bin: node }));
    command(
      join(real, name),
      `#!/bin/sh\n{ printf 'ran\\0'; for word; do printf '%s\\0' "$word"; done; } >>'${log}'\n`,
    );
  }
  writeFileSync(join(shims, shimMarker), '');
});

afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** The shells that are here, as argv. */
const shells = [['dash'], ['bash', '--posix'], ['busybox', 'sh'], ['ksh']].filter(([name = '']) => {
  try {
    execFileSync('/bin/sh', ['-c', `command -v ${name}`]);
    return true;
  } catch {
    return false;
  }
});

interface Ran {
  /** What the real command was given; undefined: the guard was asked. */
  decided: string[] | undefined;
}

/** Runs command lines through the shims, all in one shell for speed. Words go as they are: nothing evaluates them. */
async function through(shell: readonly string[], lines: readonly (readonly string[])[]): Promise<Ran[]> {
  const quoted = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;
  const script = lines.map(
    ([name = '', ...words]) =>
      `${shell.join(' ')} ${quoted(join(shims, name))} ${words.map(quoted).join(' ')} </dev/null 2>/dev/null; printf 'next\\0' >>${quoted(log)}`,
  );
  writeFileSync(log, '');
  const file = join(folder, 'script');
  writeFileSync(file, script.join('\n'));
  await new Promise<void>((done, fail) => {
    execFile(
      '/bin/sh',
      [file],
      { env: { PATH: `${shims}:${real}:/usr/bin:/bin`, LANG: 'C.UTF-8' } },
      (error) => {
        if (error === null) done();
        else fail(new Error('the lines could not be run', { cause: error }));
      },
    );
  });
  return readFileSync(log, 'utf8')
    .split('next\0')
    .slice(0, -1)
    .map((part) => ({ decided: part.startsWith('ran\0') ? part.split('\0').slice(1, -1) : undefined }));
}

/** Whether the verdict lets it through without a word. */
function isSilent(words: readonly string[]): boolean {
  const { findings, hints } = judge(words.map(asWord).join(' '));
  return findings.length === 0 && hints.length === 0;
}

const isShimmed = (name: string | undefined): boolean =>
  (shimNames as readonly (string | undefined)[]).includes(name);

/** Commands of the corpus that are nothing but words. */
const simple = readCorpus()
  .map((one) => one.text.trim().split(/[ \t]+/))
  .filter((words) => isShimmed(words[0]) && words.every((word) => /^[\w./=:@,+%-]+$/.test(word)));

const flagNames = [
  composeGlobals,
  podmanGlobals,
  ...Object.values(composeCommands),
  ...Object.values(engineCommands),
].flatMap((table) => [...table.names.keys()]);

const anyWord = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...flagNames) },
  {
    weight: 4,
    arbitrary: fc.constantFrom(
      ...(
        'compose down up create rm run exec volume system container image stack swarm machine pod kube prune ' +
        'remove ps logs stop pull build web sh bash dropdb ssh reset unshare config ls leave plugin -v -fv -vf -it ' +
        '-dit -fsv -vt1 -t1 -v=true --volumes=false --volumes=true -V -y --yes=0 -- - -vq -Dv -c -cx -p -pshop -f'
      ).split(' '),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      '',
      ' ',
      '*',
      'a b',
      '\n',
      "'",
      '"',
      '$x',
      '`x`',
      '\\',
      'é',
      '\uE000',
      '\uE003',
      '-\uE003',
      '\uE001x',
      '(',
      '#',
      '~',
    ),
  },
);

const anyLine = fc
  .tuple(fc.constantFrom(...shimNames), fc.array(anyWord, { maxLength: 7 }))
  .map(([name, words]) => [name, ...words]);

const generated = fc.sample(anyLine, { numRuns: 700, seed: 42 });

/** What people type all day. */
const daily = [
  'docker ps',
  'docker ps -a --format {{.Names}}',
  'docker logs -f --tail 100 web',
  'docker stop web',
  'docker pull nginx:1.27',
  'docker build -t app .',
  'docker images',
  'docker inspect web',
  'docker volume ls',
  'docker volume inspect shop_db',
  'docker network ls',
  'docker system df',
  'docker image ls',
  'docker exec -it web sh',
  'docker exec -u root -e A=1 web bash',
  'docker --context prod ps',
  'docker -H ssh://prod ps',
  'docker compose ps',
  'docker compose up -d',
  'docker compose up -d --build --force-recreate web db',
  'docker compose -f compose.yml -f compose.prod.yml -p shop up -d --remove-orphans',
  'docker compose --env-file .env.prod --profile jobs pull',
  'docker compose logs -f --tail=10 web',
  'docker compose exec web sh',
  'docker compose exec -T db bash',
  'docker compose stop',
  'docker compose rm -f',
  'docker compose rm -sf web',
  'docker compose config --services',
  'docker compose restart web',
  'docker-compose up -d',
  'docker-compose -f x.yml ps',
  'podman ps',
  'podman compose up -d',
].map((line) => line.split(' '));

describe.each(shells.map((shell) => [shell.join(' '), shell] as const))('the shim under %s', (_, shell) => {
  it('lets through by itself only what the verdict lets through in silence, and passes it on unchanged', async () => {
    const lines = [...simple, ...generated];
    const ran = await through(shell, lines);
    expect(ran.length).toBe(lines.length);
    let decided = 0;
    for (const [index, words] of lines.entries()) {
      if (ran[index]?.decided === undefined) continue;
      decided += 1;
      expect(ran[index].decided, words.join(' ')).toEqual(words.slice(1));
      expect(isSilent(words), words.join(' ')).toBe(true);
    }
    expect(decided).toBeGreaterThan(150);
  }, 120_000);

  it('decides the everyday commands by itself', async () => {
    const ran = await through(shell, daily);
    for (const [index, words] of daily.entries())
      expect(ran[index]?.decided, words.join(' ')).toEqual(words.slice(1));
  });

  it('asks about everything else', async () => {
    const lines = [
      'docker compose down -v',
      'docker run -v data:/x alpine ls',
      'docker rm -fv web',
      'docker compose up -V',
    ].map((line) => line.split(' '));
    for (const { decided } of await through(shell, lines)) expect(decided).toBeUndefined();
  });
});

describe('the shim', () => {
  /** Runs docker by PATH. */
  const run = (
    path: string,
    words: readonly string[],
    env: Record<string, string> = {},
    input = '',
  ): Promise<{ code: number; stderr: string; log: string }> => {
    writeFileSync(log, '');
    return new Promise((done) => {
      const child = execFile(
        '/bin/sh',
        ['-c', 'docker "$@"', 'sh', ...words],
        { env: { PATH: `${path}:/usr/bin:/bin`, ...env } },
        (error, _, stderr) => {
          done({ code: error === null ? 0 : Number(error.code), stderr, log: readFileSync(log, 'utf8') });
        },
      );
      // Nobody reads it, as often as not.
      child.stdin?.on('error', () => undefined).end(input);
    });
  };

  it('runs what the guard allows, and refuses what it refuses', async () => {
    const allowed = await run(`${shims}:${real}`, ['compose', 'down'], { GUARD_SAYS: '0' });
    expect(allowed).toMatchObject({ code: 0, log: 'asked\0ran\0compose\0down\0' });
    const refused = await run(`${shims}:${real}`, ['compose', 'down'], { GUARD_SAYS: '2' });
    expect(refused).toMatchObject({ code: 2, log: 'asked\0' });
  });

  it.each(['1', '3', '127', '139'])(
    'refuses when the guard ends with %s, and says what to do',
    async (code) => {
      const { log: ran, ...said } = await run(`${shims}:${real}`, ['compose', 'down'], { GUARD_SAYS: code });
      expect(ran).toBe('asked\0');
      expect(said.code).toBe(2);
      expect(said.stderr).toContain(`exit code ${code}`);
      expect(said.stderr).toContain('safe-update guard install shell');
    },
  );

  it.each([
    ['node', { node: '/nonexistent/node', bin: '/bin/sh' }],
    ['the program', { node: '/bin/sh', bin: '/nonexistent/bin.js' }],
  ])('refuses when %s is gone, and what is harmless still works', async (_, guard) => {
    const broken = join(folder, `broken-${guard.node.length}`);
    mkdirSync(broken, { recursive: true });
    command(join(broken, 'docker'), shimText('docker', guard));
    writeFileSync(join(broken, shimMarker), '');
    const refused = await run(`${broken}:${real}`, ['volume', 'rm', 'x']);
    expect(refused).toMatchObject({ code: 2, log: '' });
    expect(refused.stderr).toContain('there is no /nonexistent');
    expect(await run(`${broken}:${real}`, ['ps'])).toMatchObject({ code: 0, log: 'ran\0ps\0' });
  });

  it('says so, with exit code 127, when there is no other docker', async () => {
    // Without /usr/bin, where a real one may be.
    const bare = join(folder, 'bare');
    mkdirSync(bare, { recursive: true });
    const { code, stderr } = await run(shims, ['ps'], { PATH: `${shims}:${bare}` });
    expect(code).toBe(127);
    expect(stderr).toContain('docker: not found in PATH');
  });

  it('never runs itself: twice in PATH, by a link to it or to its folder, as a copy, or with others of its kind', async () => {
    const links = join(folder, 'links');
    const copies = ['copy1', 'copy2', 'copy3'].map((name) => join(folder, name));
    for (const path of [links, ...copies]) mkdirSync(path);
    symlinkSync(join(shims, 'docker'), join(links, 'docker'));
    symlinkSync(shims, join(folder, 'linked'));
    for (const path of copies) copyFileSync(join(shims, 'docker'), join(path, 'docker'));
    const ways = [
      `${shims}:${shims}:${real}`,
      `${shims}:${links}:${real}:${shims}`,
      `${links}:${shims}:${links}:${real}`,
      `${join(folder, 'linked')}:${shims}:${real}`,
      `${shims}:${copies[0]}:${real}`,
      `::${shims}:${real}`,
      `${shims}/:${shims}//:${real}`,
    ];
    for (const path of ways)
      expect(await run(path, ['ps'], { PATH: path }), path).toMatchObject({ code: 0, log: 'ran\0ps\0' });
    // Copies outside of a folder of shims do not know of each other. They end all the same.
    const circle = await run('', ['ps'], { PATH: copies.join(':') });
    expect(circle.code).toBe(127);
    expect(circle.stderr).toContain('leads back here');
  });

  it('passes on every argument as it is', async () => {
    const words = ['ps', '', ' ', '*', '-', '--', 'a\nb', "it's", '"', '$HOME', '\\', '`x`', '-n', 'é'];
    const { log: ran } = await run(`${shims}:${real}`, words);
    expect(ran.split('\0').slice(1, -1)).toEqual(words);
  });

  it('keeps a pipe from answering what compose asks, and other pipes as they are', async () => {
    const cat = join(folder, 'cat');
    mkdirSync(cat);
    command(join(cat, 'docker'), `#!/bin/sh\nexec cat >>'${log}'\n`);
    const read = async (words: string[], says = '0') =>
      (await run(`${shims}:${cat}`, words, { GUARD_SAYS: says }, 'yes\n')).log.replace('asked\0', '');
    expect(await read(['compose', 'up', '-d'])).toBe('');
    expect(await read(['compose', '-p', 'x', 'create'])).toBe('');
    expect(await read(['compose', 'up', '-d', '--menu=false'])).toBe('');
    expect(await read(['compose', '-f', '-', 'up', '-d'])).toBe('yes\n');
    expect(await read(['compose', '-f-', 'up', '-d'])).toBe('yes\n');
    expect(await read(['compose', '-f', '/dev/stdin', 'up', '-d'])).toBe('yes\n');
    expect(await read(['compose', 'exec', '-T', 'db', 'sh'])).toBe('yes\n');
    expect(await read(['load'])).toBe('yes\n');
    expect(await read(['run', '-i', 'x', 'cat'])).toBe('yes\n');
  });
});
