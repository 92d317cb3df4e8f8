import { randomInt } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { cpus, release, totalmem } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { execa } from 'execa';
import { formatBytes } from '../src/model/units.ts';
import { dataVolume, docker, openBench, removeVolumes, type Bench } from './bench-engine.ts';
import { compare, pageCacheEmptied, say, tableOf, type Result } from './bench-measure.ts';
import { downtimeComparison, nothingComparison, removeStack, startStack, type Stack } from './bench-stack.ts';
import { fuzzResult, settledComparison, shimComparison, verdictComparison } from './bench-guard.ts';
import { startupComparison } from './bench-startup.ts';
import { backupComparison, restoreComparison } from './bench-volumes.ts';

const parts = ['backup', 'restore', 'downtime', 'nothing', 'memory', 'startup', 'guard'];
const page = fileURLToPath(new URL('../docs/performance.md', import.meta.url));
const markers = ['<!-- measured by scripts/bench -->', '<!-- end -->'] as const;

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    size: { type: 'string', default: '1.5GB' },
    only: { type: 'string', multiple: true, default: parts },
    folder: { type: 'string', default: '/var/tmp' },
    write: { type: 'boolean', default: false },
    clean: { type: 'boolean', default: false },
  },
});
const rounds = Number(flags.rounds);
const bytes = bytesOf(flags.size);
const unknown = flags.only.filter((part) => !parts.includes(part));
if (!(rounds >= 1) || bytes === undefined || unknown.length > 0) {
  say('usage: scripts/bench [--rounds 5] [--size 1.5GB] [--only PART] [--folder PATH] [--write] [--clean]');
  process.exit(2);
}
const wanted = (part: string): boolean => flags.only.includes(part);
const whole = rounds >= 5 && bytes === 1_500_000_000 && parts.every(wanted);

const bench = await openBench();
if (flags.clean) {
  await removeVolumes('data');
  process.exit(0);
}
await mkdir(flags.folder, { recursive: true });
const folder = await mkdtemp(path.join(flags.folder, 'safe-update-bench-'));
const stacks: Stack[] = [];
const results: Result[] = [];
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    void cleanUp().finally(() => process.exit(130));
  });
}
try {
  await measure(bench, bytes);
} finally {
  await cleanUp();
}
const report = [await machine(), ...results.map(tableOf)].join('\n\n');
process.stdout.write(`${report}\n`);
if (whole || flags.write) await writePage(report);

async function cleanUp(): Promise<void> {
  for (const stack of stacks) await removeStack(stack);
  await removeVolumes('scratch');
  await rm(folder, { recursive: true, force: true });
}

async function measure(on: Bench, size: number): Promise<void> {
  if (wanted('startup')) results.push(await compare(await startupComparison(), rounds));
  if (wanted('guard')) {
    const stack = await startStack(on, folder, 0, randomInt(20_000, 32_000));
    stacks.push(stack);
    results.push(await compare(await verdictComparison(stack), rounds));
    results.push(await compare(await settledComparison(stack), rounds));
    await removeStack(stack);
    const shim = await shimComparison(folder);
    if (shim !== undefined) results.push(await compare(shim, rounds));
    results.push(fuzzResult());
  }
  if (wanted('backup') || wanted('restore')) {
    const volume = await dataVolume(on, size);
    const archives = path.join(folder, 'archives');
    if (wanted('backup')) results.push(await compare(backupComparison(on, archives, volume), rounds));
    await rm(archives, { recursive: true, force: true });
    if (wanted('restore')) results.push(await compare(await restoreComparison(on, archives, volume), rounds));
    await rm(archives, { recursive: true, force: true });
  }
  const sizes = [0, Math.round(size / 15), size].filter((one) => {
    if (wanted('downtime')) return true;
    return (wanted('nothing') && one === 0) || (wanted('memory') && one === size);
  });
  for (const one of sizes) {
    const stack = await startStack(on, folder, one, randomInt(20_000, 32_000));
    stacks.push(stack);
    if (one === 0 && wanted('nothing')) results.push(await compare(nothingComparison(stack), rounds));
    const memory: number[] = [];
    if (wanted('downtime') || one === size) {
      const result = await compare(downtimeComparison(on, stack, memory), rounds);
      if (wanted('downtime')) results.push(result);
    }
    if (one === size && wanted('memory'))
      results.push({
        title: `Memory of an update of ${formatBytes(size)}`,
        unit: 'bytes',
        rows: [{ name: 'safe-update, at most', values: memory }],
      });
    await removeStack(stack);
  }
}

/** What it was measured on, without what names the machine. */
async function machine(): Promise<string> {
  const version = async (...argv: [string, ...string[]]): Promise<string> => {
    const [program, ...args] = argv;
    const { stdout } = await execa(program, args, { reject: false });
    return /\d+(\.\d+)+/.exec(stdout)?.[0] ?? 'unknown';
  };
  const inHelper = async (...argv: string[]): Promise<string> =>
    /\d+(\.\d+)+/.exec(await docker(['run', '--rm', '--network', 'none', bench.helperImage, ...argv]))?.[0] ??
    'unknown';
  const { stdout: fileSystem } = await execa('stat', ['--file-system', '--format=%T', flags.folder], {
    reject: false,
  });
  const [cpu, ...others] = cpus();
  const facts = [
    `${others.length + 1} cores (${cpu?.model.trim() ?? 'unknown'})`,
    `${formatBytes(totalmem())} of memory`,
    `${fileSystem} on Linux ${/^\d+\.\d+/.exec(release())?.[0] ?? ''}`,
    `docker ${(await bench.engine.facts()).version}`,
    `compose ${await version('docker', 'compose', 'version', '--short')}`,
    `Node.js ${process.versions.node}`,
    `in the helper GNU tar ${await inHelper('tar', '--version')} and zstd ${await inHelper('zstd', '--version')}`,
  ];
  const cache = pageCacheEmptied()
    ? 'The page cache was emptied before each.'
    : 'The page cache was not emptied.';
  const how = `${rounds} ${rounds === 1 ? 'round' : 'rounds'} over ${formatBytes(bytes ?? 0)}, the ways in turn. ${cache}`;
  return `${facts.join(', ')}. ${how}`;
}

async function writePage(text: string): Promise<void> {
  const before = await readFile(page, 'utf8');
  const [from, to] = [before.indexOf(markers[0]), before.indexOf(markers[1])];
  if (from === -1 || to < from) throw new Error(`${page} has no place for the table`);
  await writeFile(page, `${before.slice(0, from)}${markers[0]}\n\n${text}\n\n${before.slice(to)}`);
  await execa('prettier', ['--write', page], { preferLocal: true, localDir: path.dirname(page) });
  say('written: docs/performance.md');
}

/** 1.5GB, 100MB, 5000000; undefined if it is none. */
function bytesOf(text: string): number | undefined {
  const [, number, unit = ''] = /^([\d.]+)\s*([kMG]?)B?$/.exec(text) ?? [];
  const factor = { '': 1, k: 1e3, M: 1e6, G: 1e9 }[unit];
  return number === undefined || factor === undefined ? undefined : Math.round(Number(number) * factor);
}
