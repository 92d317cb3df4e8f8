import { accessSync, constants } from 'node:fs';
import { chmod, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import fc from 'fast-check';
import { judge, longestText } from '../src/guard/shell.ts';
import { shimMarker, shimText } from '../src/guard/shim.ts';
import { median, say, timed, type Comparison, type Result } from './bench-measure.ts';
import { safeUpdate, type Stack } from './bench-stack.ts';

const program = fileURLToPath(new URL('../dist/bin.cjs', import.meta.url));
const starts = 40;

const check = [program, 'guard', 'check', '--'];
const down = ['docker', 'compose', 'down', '-v'];
const script = 'set -e\nfor s in web db; do docker compose -p shop pull "$s"; done\ndocker compose up -d\n';

/** Whole verdicts, each in a process of its own, about the shop that runs. Nothing of safe-update is in its folder. */
export async function verdictComparison({ project, folder }: Stack): Promise<Comparison> {
  const file = path.join(folder, 'compose.yaml');
  await writeFile(file, `name: ${project}\n${await readFile(file, 'utf8')}`);
  return startsInTurn('A verdict of the guard', folder, [
    { name: '`guard check`, allowed', args: [...check, 'docker', 'compose', 'ps'] },
    { name: '`guard check --stdin`, a script', args: [program, 'guard', 'check', '--stdin'], input: script },
    { name: '`guard check`, refused, on another machine', args: [...check, 'ssh', 'prod', ...down] },
    { name: '`guard check`, refused, the engine asked', args: [...check, ...down] },
  ]);
}

/** The same, with settings and a backup of it. */
export async function settledComparison(stack: Stack): Promise<Comparison> {
  await writeFile(path.join(stack.folder, 'safe-update.yml'), 'guard:\n  fresh: 12h\n');
  await safeUpdate(stack, ['backup']);
  return startsInTurn('A verdict of the guard about a project with settings and backups', stack.folder, [
    { name: '`guard check`, refused, all of them asked', args: [...check, ...down] },
  ]);
}

interface Start {
  name: string;
  args: string[];
  input?: string;
}

/** Beside Node.js doing nothing. */
function startsInTurn(title: string, cwd: string, others: Start[]): Comparison {
  const nothing: Start = { name: '`node -e 0`', args: ['-e', '0'] };
  const commands = [nothing, ...others];
  const once = ({ args, input = '' }: Start): Promise<number> =>
    timed(() => execa(process.execPath, args, { input, cwd, reject: false }));
  return {
    title: `${title}, the median of ${starts} starts in turn`,
    unit: 'milliseconds',
    baseline: nothing.name,
    ways: [
      {
        name: nothing.name,
        run: async () => {
          const times = commands.map((): number[] => []);
          for (let index = 0; index < starts + 3; index += 1)
            for (const [place, command] of commands.entries()) {
              const took = await once(command);
              if (index >= 3) times[place]?.push(took);
            }
          return Object.fromEntries(commands.map(({ name }, place) => [name, median(times[place] ?? [])]));
        },
      },
    ],
  };
}

/**
 * A harmless command through the shim that `guard install shell` puts ahead in PATH, which is made in a folder, and without
 * it. Undefined, and said why, if there is no docker.
 */
export async function shimComparison(within: string): Promise<Comparison | undefined> {
  const real = (process.env['PATH'] ?? '')
    .split(':')
    .map((folder) => path.join(folder, 'docker'))
    .find(isExecutable);
  if (real === undefined) {
    say('SKIPPED: the shim: there is no docker');
    return undefined;
  }
  const folder = await mkdtemp(path.join(within, 'shim-'));
  const shim = path.join(folder, 'docker');
  await writeFile(path.join(folder, shimMarker), '');
  await writeFile(shim, shimText('docker', { node: process.execPath, bin: program }));
  await chmod(shim, 0o755);
  const env = { PATH: `${folder}:${process.env['PATH'] ?? ''}` };
  const commands: [string, string][] = [
    ['`docker --version`', real],
    ['`docker --version` through the shim', shim],
  ];
  return {
    title: `What the shim adds, the median of ${starts} starts in turn`,
    unit: 'milliseconds',
    baseline: commands[0]?.[0] ?? '',
    ways: [
      {
        name: commands[0]?.[0] ?? '',
        run: async () => {
          const times = commands.map((): number[] => []);
          for (let index = 0; index < starts + 3; index += 1)
            for (const [place, [, file]] of commands.entries()) {
              const took = await timed(() => execa(file, ['--version'], { env, stdin: 'ignore' }));
              if (index >= 3) times[place]?.push(took);
            }
          return Object.fromEntries(commands.map(([name], place) => [name, median(times[place] ?? [])]));
        },
      },
    ],
  };
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

const pieces =
  "{ } ( ) (( )) $( ` ${ ${a} ${a//b/c} {a,b} {1..9} [[ ]] <<X\n X\n ; & | && \\ \n \" ' $' * ? [ # = + ~ a x=1; x+=a; a=(1 2); f(){ :; }; f; cd a; eval sh -c xargs find -exec docker compose down -v run exec volume prune <( > x".split(
    ' ',
  );

/** Lines of which each has a name of its own: what is kept of all of them is what they make grow. */
const numbered: ((index: number) => string)[] = [
  (index) => `a${index}=b; (c)`,
  (index) => `if a; then a${index}=b; fi`,
  (index) => `a${index}=$(b)`,
  (index) => `f${index}() { a; }`,
  (index) => `f${index}() { a; }; f${index}`,
  (index) => `alias a${index}=b; a${index}`,
  (index) => `echo a > f${index}`,
  (index) => `docker run -v /a${index}:/b c`,
  (index) => `docker volume rm a${index}`,
  (index) => `cat <<E\n$a${index} $(b)\nE`,
  () => 'cat <<E <<E <<E <<E',
  () => 'a {1..64}{1..64}',
  () => 'docker ps',
  () => 'a `b`',
];

/** How long the slowest of some thousand texts take, of up to the most that is read. */
export function fuzzResult(count = 4000): Result {
  const short = fc.array(fc.constantFrom(...pieces), { maxLength: 60 }).map((words) => words.join(' '));
  // What repeats is what makes time grow faster than length.
  const long = fc
    .tuple(
      fc.array(fc.constantFrom(...pieces), { minLength: 1, maxLength: 3 }),
      fc.integer({ min: 500, max: longestText }),
    )
    .map(([words, length]) => {
      const one = `${words.join(' ')} `;
      return one.repeat(Math.ceil(length / one.length)).slice(0, length);
    });
  const texts = [
    ...fc.sample(short, { numRuns: count, seed: 1 }),
    ...fc.sample(long, { numRuns: count / 4, seed: 2 }),
    // Each of them alone, at full length.
    ...pieces.map((piece) => piece.repeat(Math.ceil(longestText / piece.length)).slice(0, longestText)),
    ...numbered.map((line) =>
      Array.from({ length: longestText / 8 }, (_, index) => line(index))
        .join('\n')
        .slice(0, longestText),
    ),
  ];
  const once = (text: string): number => {
    const from = performance.now();
    judge(text);
    return performance.now() - from;
  };
  for (const text of texts.slice(0, 300)) once(text);
  const times = texts
    .map((text) => ({ text, time: once(text) }))
    .toSorted((one, other) => other.time - one.time);
  // Of the slowest, what they take and not what the machine was doing.
  const worst = times.slice(0, 60).map(({ text }) => median([1, 2, 3, 4, 5].map(() => once(text))));
  const rest = times.slice(60).map(({ time }) => time);
  const all = [...worst, ...rest].toSorted((one, other) => other - one);
  const at = (share: number): number => all[Math.floor(all.length * (1 - share))] ?? NaN;
  return {
    title: `The guard on ${all.length} fuzzed texts of up to 64 kB`,
    unit: 'milliseconds',
    rows: [
      { name: 'median', values: [median(all)] },
      { name: '99 %', values: [at(0.99)] },
      { name: '99.9 %', values: [at(0.999)] },
      { name: 'slowest, the median of five', values: [all[0] ?? NaN] },
    ],
  };
}
