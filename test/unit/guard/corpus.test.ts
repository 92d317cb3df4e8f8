import { describe, expect, it } from 'vitest';
import { judge } from '../../../src/guard/shell.ts';
import { settle } from '../../../src/guard/verdict.ts';
import { inEveryDress, readCorpus, type Case } from './corpus.ts';

const corpus = readCorpus();

/** What the guard says, written as the corpus writes it. */
function said(text: string): string {
  const { findings } = judge(text);
  if (findings.length === 0) return 'allow';
  const kind = findings.every((finding) => finding.conditional === true) ? 'if' : 'deny';
  return `${kind} ${[...new Set(findings.map((finding) => finding.rule))].join(' ')}`;
}

const expected = ({ expected: kind, rule }: Case): string => (rule === undefined ? kind : `${kind} ${rule}`);

describe('the corpus', () => {
  it('has enough of both, each once', () => {
    expect(corpus.filter((one) => one.expected !== 'allow').length).toBeGreaterThan(300);
    expect(corpus.filter((one) => one.expected === 'allow').length).toBeGreaterThan(200);
    expect(new Set(corpus.map((one) => one.text)).size).toBe(corpus.length);
  });

  it.each(corpus)('$line: $expected $rule', (one) => {
    expect(said(one.text), one.text).toBe(expected(one));
  });

  it.each(inEveryDress(corpus))('$line as $text', (one) => {
    expect(said(one.text), one.text).toBe(expected(one));
  });

  it.each(corpus)('$line: the verdict, with nobody to ask', async (one) => {
    const { decision } = await settle(judge(one.text));
    expect(decision, one.text).toBe(one.expected === 'allow' ? 'allow' : 'deny');
  });
});
