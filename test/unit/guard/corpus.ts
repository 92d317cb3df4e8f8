import { readFileSync } from 'node:fs';

export interface Case {
  expected: 'deny' | 'if' | 'allow';
  rule: string | undefined;
  text: string;
  /** In the file. */
  line: number;
}

/** The cases of fixtures/guard/corpus.txt, or of a file beside it; its first lines say how it is written. */
export function readCorpus(name = 'corpus.txt'): Case[] {
  const file = readFileSync(new URL(`../../../fixtures/guard/${name}`, import.meta.url), 'utf8');
  const cases: Case[] = [];
  for (const [index, line] of file.split('\n').entries()) {
    const last = cases.at(-1);
    if (line === '' || line.startsWith('#')) continue;
    if (line.startsWith('  | ') && last !== undefined) {
      last.text += `${line.slice(4)}\n`;
      continue;
    }
    const found = /^(deny|if|allow)(?: ([a-z -]+))?:(?: (.*))?$/.exec(line);
    if (found === null) throw new Error(`fixtures/guard/${name}:${index + 1} is no case`);
    const [, expected, rule, text = ''] = found;
    cases.push({ expected: expected as Case['expected'], rule, text, line: index + 1 });
  }
  return cases;
}

/** The same, for every front end of compose that reads flags alike. */
export function inEveryDress(cases: readonly Case[]): Case[] {
  const fronts = [
    'docker-compose',
    'podman compose',
    'nerdctl compose',
    '/usr/libexec/docker/cli-plugins/docker-compose compose',
  ];
  return cases.flatMap((one) =>
    one.text.startsWith('docker compose ')
      ? fronts.map((front) => ({ ...one, text: `${front}${one.text.slice('docker compose'.length)}` }))
      : [],
  );
}
