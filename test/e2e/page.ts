/** docs/backup-format.md, followed by hand: its commands are run as somebody would who types them in. */
import { readFile } from 'node:fs/promises';
import { execa } from 'execa';
import { expect } from 'vitest';
import type { SealedBackup, Stack } from './stack.ts';

/** A piece of shell in the page, under its heading, with what the page says it prints. */
interface Block {
  heading: string;
  script: string;
  prints: string | undefined;
}

export const page = await readFile(new URL('../../docs/backup-format.md', import.meta.url), 'utf8');
const blocks = readBlocks(page);

function readBlocks(text: string): Block[] {
  const found: Block[] = [];
  let heading = '';
  let fence: { language: string; lines: string[] } | undefined;
  for (const line of text.split('\n')) {
    if (fence === undefined) {
      if (line.startsWith('#')) heading = line.replace(/^#+ /, '');
      if (line.startsWith('```')) fence = { language: line.slice(3), lines: [] };
      continue;
    }
    if (!line.startsWith('```')) {
      fence.lines.push(line);
      continue;
    }
    const script = fence.lines.join('\n');
    const last = found.at(-1);
    if (fence.language === 'sh') found.push({ heading, script, prints: undefined });
    else if (last?.heading === heading) last.prints ??= script;
    fence = undefined;
  }
  return found;
}

export interface Following {
  /** Which of the blocks under the heading; absent: all. */
  which?: (block: Block) => boolean;
  /** What the page tells the reader to change in its commands. */
  adapt?: (line: string) => string;
}

/**
 * Runs what the page says under a heading: the variables have the values of this stack, everything else stands as it is
 * in the page. Nothing but the tools that the page asks for is used. Returns what was printed.
 */
export function following(
  stack: Stack,
  backup: SealedBackup,
): (heading: string, variables?: Record<string, string>, how?: Following) => Promise<string> {
  return async (heading, variables = {}, { which = () => true, adapt = (line: string) => line } = {}) => {
    const values: Record<string, string> = { BACKUP: backup.folder, ...variables };
    const chosen = [...new Set(['Before anything else', heading])].flatMap((title) =>
      blocks.filter((block) => block.heading === title && (title !== heading || which(block))),
    );
    expect(
      chosen.some((block) => block.heading === heading),
      heading,
    ).toBe(true);
    const lines = chosen
      .flatMap(({ script }) => script.split('\n'))
      .map((line) => {
        const name = /^([A-Z_]+)=\S+$/.exec(line)?.[1];
        if (name !== undefined) {
          if (values[name] === undefined) throw new Error(`the page sets ${name}, and the test does not`);
          return `${name}='${values[name]}'`;
        }
        return line.startsWith('cd /') ? `cd '${stack.directory}'` : adapt(line);
      });
    const { all, exitCode } = await execa('bash', ['-euo', 'pipefail', '-c', lines.join('\n')], {
      stdin: 'ignore',
      all: true,
      reject: false,
      env: { COMPOSE_PROJECT_NAME: stack.project },
    });
    expect(exitCode, all).toBe(0);
    return all;
  };
}

/** What the page says that a piece of shell under this heading prints. */
export function printed(heading: string, script = ''): string {
  const block = blocks.find(
    (candidate) =>
      candidate.heading === heading && candidate.prints !== undefined && candidate.script.includes(script),
  );
  if (block?.prints === undefined) throw new Error(`the page does not say what it prints: ${heading}`);
  return block.prints;
}
