import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { timed, type Comparison } from './bench-measure.ts';

const program = fileURLToPath(new URL('../dist/bin.cjs', import.meta.url));

const commands: [name: string, args: string[]][] = [
  ['`node -e 0`', ['-e', '0']],
  ['`safe-update --version`', [program, '--version']],
  ['`safe-update --help`', [program, '--help']],
];

/** What is between the line feed and the first output. Each value is the median of many starts. */
export async function startupComparison(): Promise<Comparison> {
  const hyperfine = await execa('hyperfine', ['--version'], { reject: false }).then(
    ({ exitCode }) => exitCode === 0,
  );
  return {
    title: `Start-up${hyperfine ? ', by hyperfine' : ''}`,
    unit: 'milliseconds',
    baseline: '`node -e 0`',
    ways: commands.map(([name, args]) => ({
      name,
      run: async () => ({ [name]: hyperfine ? await byHyperfine(args) : await byLoop(args) }),
    })),
  };
}

async function byHyperfine(args: string[]): Promise<number> {
  const folder = await mkdtemp(path.join(tmpdir(), 'bench-'));
  const results = path.join(folder, 'results.json');
  const command = [process.execPath, ...args].map((word) => `'${word}'`).join(' ');
  try {
    await execa('hyperfine', [
      '--shell=none',
      '--warmup',
      '3',
      '--runs',
      '20',
      '--export-json',
      results,
      command,
    ]);
    const { results: found } = JSON.parse(await readFile(results, 'utf8')) as {
      results: { median: number }[];
    };
    return (found[0]?.median ?? NaN) * 1000;
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function byLoop(args: string[]): Promise<number> {
  const times: number[] = [];
  for (let index = 0; index < 23; index += 1) times.push(await timed(() => execa(process.execPath, args)));
  return times.slice(3).toSorted((a, b) => a - b)[10] ?? NaN;
}
