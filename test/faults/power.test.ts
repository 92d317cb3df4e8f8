/**
 * What is on disk when: the system calls of a run, in the order in which they were made. A power failure may take whatever
 * has not been flushed, so each thing must have been flushed before the next one counts on it.
 */
import { readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectIntact } from '../e2e/outcomes.ts';
import { expectNothingLeft, shop, type Finished, type SealedBackup, type Stack } from '../e2e/stack.ts';
import { fileOf, readTrace, wordsOf, type Call } from './strace.ts';
import { tool } from '../tools.ts';

const strace = tool('strace', ['--version'], 'an update whose system calls are watched');

const looked = [
  'rename',
  'renameat',
  'renameat2',
  'write',
  'pwrite64',
  'writev',
  'pwritev',
  'fsync',
  'fdatasync',
  'execve',
];

describe.runIf(strace.present)(`an update that goes well${strace.without}`, () => {
  let stack: Stack;
  let run: Finished;
  let trace: Call[];
  let backup: SealedBackup;
  let journal: string;

  beforeAll(async () => {
    stack = await shop();
    await stack.push('1.1.0');
    const file = path.join(stack.directory, 'trace');
    run = await stack.update([], {
      under: [
        'strace',
        '-f',
        '-y',
        '-s',
        '8192',
        '--seccomp-bpf',
        '-e',
        `trace=${looked.join()}`,
        '-o',
        file,
      ],
    });
    trace = readTrace(await readFile(file, 'utf8'));
    await rm(file);
    backup = (await stack.backups())[0]!;
    journal = path.join(stack.backupFolder, '.safe-update', `${run.outcome?.run ?? ''}.jsonl`);
  });

  const isFlush = ({ name, result }: Call): boolean =>
    name.startsWith('f') && name.endsWith('sync') && result === 0;
  const isWrite = ({ name }: Call): boolean => /^p?writev?(64)?$/.test(name);
  const partial = (...names: string[]): string => path.join(`${backup.folder}.partial`, ...names);

  /** The flush that covers all that was written to a file or folder. */
  function flushed(file: string): Call {
    const flush = trace.findLast((call) => isFlush(call) && fileOf(call) === file);
    if (flush === undefined) throw new Error(`${file} was never flushed`);
    const later = trace.filter((call) => isWrite(call) && fileOf(call) === file && call.to > flush.from);
    expect(later, `written to ${file} after it was flushed`).toEqual([]);
    return flush;
  }

  function renamed(from: string, to: string): Call {
    const found = trace.find(
      (call) => call.name.startsWith('rename') && wordsOf(call).join() === `${from},${to}`,
    );
    if (found === undefined) throw new Error(`${from} was never renamed to ${to}`);
    return found;
  }

  /** The first start of a program with all of these among its words. */
  function started(...words: string[]): Call {
    const found = trace.find(
      (call) => call.name === 'execve' && words.every((word) => wordsOf(call).includes(word)),
    );
    if (found === undefined) throw new Error(`${words.join(' ')} was never started`);
    return found;
  }

  /** The entry of the journal, and the flush that followed it. */
  function noted(text: string): { write: Call; flush: Call } {
    const write = trace.find(
      (call) => isWrite(call) && fileOf(call) === journal && call.args.includes(text.replaceAll('"', '\\"')),
    );
    if (write === undefined) throw new Error(`${text} was never written to the journal`);
    const flush = trace.find((call) => isFlush(call) && fileOf(call) === journal && call.from > write.to);
    if (flush === undefined) throw new Error(`${text} was never flushed`);
    return { write, flush };
  }

  function expectOrder(first: Call, second: Call, what: string): void {
    expect(first.to, what).toBeLessThan(second.from);
  }

  it('went well, under the eyes of strace', async () => {
    expect(run.exitCode, run.story).toBe(0);
    expect(trace.length).toBeGreaterThan(100);
    await expectIntact(backup);
    await expectNothingLeft(stack, run);
  });

  it('every part is flushed before the manifest, and that before it gets its name', () => {
    const manifest = flushed(partial('manifest.json.tmp'));
    for (const { path: part } of backup.manifest.parts) expectOrder(flushed(partial(part)), manifest, part);
    expectOrder(flushed(partial('SHA256SUMS')), manifest, 'SHA256SUMS');
    expectOrder(manifest, renamed(partial('manifest.json.tmp'), partial('manifest.json')), 'the manifest');
  });

  it('its folders are flushed before it gets its own name, and the folder it is in after that', () => {
    const inPlace = renamed(partial('manifest.json.tmp'), partial('manifest.json'));
    const sealed = renamed(partial(), backup.folder);
    const folders = new Set(backup.manifest.parts.map(({ path: part }) => path.dirname(part)));
    for (const folder of [...folders]) {
      for (let above = path.dirname(folder); above !== '.'; above = path.dirname(above)) folders.add(above);
    }
    for (const folder of [...folders, '']) {
      const flush = trace.find(
        (call) => isFlush(call) && fileOf(call) === partial(folder) && call.from > inPlace.to,
      );
      expect(flush, `${folder} is flushed after the manifest is in it`).toBeDefined();
      if (flush !== undefined) expectOrder(flush, sealed, folder);
    }
    const parent = trace.find(
      (call) => isFlush(call) && fileOf(call) === stack.backupFolder && call.from > sealed.to,
    );
    expect(parent).toBeDefined();
    if (parent !== undefined) expectOrder(parent, noted('"backup-sealed"').write, 'the folder of backups');
  });

  it('folders that are new are flushed into those that they are in', () => {
    const firstEntry = noted('"begin"').write;
    // The first backup of the project, so: backups, backups/PROJECT, and .safe-update in that.
    for (const folder of [stack.directory, path.dirname(stack.backupFolder), stack.backupFolder]) {
      const flush = trace.find((call) => isFlush(call) && fileOf(call) === folder);
      expect(flush, `${folder} is flushed`).toBeDefined();
      if (flush !== undefined) expectOrder(flush, firstEntry, folder);
    }
  });

  it('the journal says that it is sealed before the first container goes', () => {
    const { write, flush } = noted('"backup-sealed"');
    expectOrder(renamed(partial(), backup.folder), write, 'sealed');
    expectOrder(flush, started('compose', 'rm'), 'compose rm');
    expectOrder(flush, started('compose', 'up'), 'compose up');
  });

  it.each([
    ['pull', 'pull'],
    ['stop', 'stop'],
    ['remove', 'rm'],
    ['up', 'up'],
  ])('the journal says that %s begins before it does', (step, word) => {
    expectOrder(noted(`"step":"${step}","phase":"begin"`).flush, started('compose', word), step);
  });

  it('the stack as it was is on disk before the journal says so, and before anything else', () => {
    const record = journal.replace(/\.jsonl$/, '.stack.json');
    const inPlace = renamed(`${record}.tmp`, record);
    expectOrder(flushed(`${record}.tmp`), inPlace, 'the record');
    const folder = trace.find(
      (call) => isFlush(call) && fileOf(call) === path.dirname(record) && call.from > inPlace.to,
    );
    const recorded = noted('"recorded"');
    expect(folder).toBeDefined();
    if (folder !== undefined) expectOrder(folder, recorded.write, 'the folder of the record');
    expectOrder(recorded.flush, started('compose', 'pull'), 'pull');
  });

  it('no entry of the journal is left unflushed when anything else is started', () => {
    const about = trace.filter((call) => fileOf(call) === journal || call.name === 'execve');
    let unflushed: Call | undefined;
    for (const call of about) {
      if (isWrite(call)) {
        expect(unflushed, 'two entries, one flush').toBeUndefined();
        unflushed = call;
      } else if (isFlush(call)) unflushed = undefined;
      else expect(unflushed?.args, `unflushed when ${call.args.slice(0, 80)} was started`).toBeUndefined();
    }
    expect(about.filter(isFlush).length).toBeGreaterThan(20);
  });
});
