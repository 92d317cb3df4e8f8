import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { hooks } from '../../../src/guard/hook.ts';
import { scanText } from '../../../src/guard/scan/scan.ts';
import { asWord, judge } from '../../../src/guard/shell.ts';
import { readCorpus, type Case } from './corpus.ts';

const corpus = readCorpus();
const program = fileURLToPath(new URL('../../../src/bin.ts', import.meta.url));

/** Every so many of each kind, so that every part of the corpus is there. */
const sample = (cases: readonly Case[], count: number): Case[] => {
  const step = Math.max(1, Math.floor(cases.length / count));
  return cases.filter((_, index) => index % step === 0).slice(0, count);
};
const both = (count: number): Case[] => [
  ...sample(
    corpus.filter((one) => one.expected !== 'allow'),
    count,
  ),
  ...sample(
    corpus.filter((one) => one.expected === 'allow'),
    count,
  ),
];
/** One command that a shell would give its words as they stand. */
const plain = corpus.filter(
  (one) => /^[\w./:@+-]+( [\w./:=@,+-]+)*$/.test(one.text) && !/^\w+=/.test(one.text),
);

const guard = (argv: string[], input = '') =>
  execa(process.execPath, [program, 'guard', ...argv], { input, reject: false, cwd: '/' });

describe('the corpus', () => {
  it('is the same as words', () => {
    expect(plain.length).toBeGreaterThan(250);
    for (const { text, expected } of plain)
      expect(judge(text.split(' ').map(asWord).join(' ')).findings.length > 0, text).toBe(
        expected !== 'allow',
      );
  });

  it.each(both(5))('as a script on standard input: $line: $expected', async ({ text, expected }) => {
    const { exitCode, stderr } = await guard(['check', '--stdin'], text);
    expect(exitCode, `${text}\n${stderr}`).toBe(expected === 'allow' ? 0 : 2);
    expect(stderr.includes('refused:')).toBe(expected !== 'allow');
  });

  it.each(sample(plain, 8))('as words: $line: $text', async ({ text, expected }) => {
    const { exitCode, stderr } = await guard(['check', '--', ...text.split(' ')]);
    expect(exitCode, `${text}\n${stderr}`).toBe(expected === 'allow' ? 0 : 2);
  });

  it.each(Object.keys(hooks))('in the hook of %s, as a process', async (agent) => {
    for (const { text, expected } of both(1)) {
      const request = {
        tool_name: agent === 'gemini' ? 'run_shell_command' : 'Bash',
        tool_input: { command: text },
        toolName: 'bash',
        toolArgs: JSON.stringify({ command: text }),
        tool: 'bash',
        args: { command: text },
        command: text,
      };
      const { stdout, exitCode } = await guard(['hook', agent], JSON.stringify(request));
      const denied = agent === 'opencode' ? exitCode === 2 : stdout.includes('"deny"');
      expect(denied, `${text}\n${stdout}`).toBe(expected !== 'allow');
    }
  });

  it('is found as a step of a workflow', () => {
    for (const { text, expected, rule } of corpus) {
      if (rule?.includes('unreadable') === true || text.includes('${{')) continue;
      // What stands in braces may be a template of the file's own, of which nobody knows what becomes of it.
      if (/\{\{.*(Mountpoint|Source|DockerRootDir|VolumePath)/.test(text)) continue;
      const step = `jobs:\n  x:\n    steps:\n      - run: |\n${text.replace(/^/gm, '          ')}\n`;
      expect(scanText('.github/workflows/x.yml', step, { markdown: false }).length > 0, text).toBe(
        expected !== 'allow',
      );
    }
  });

  it('is found in a recipe of a Makefile', () => {
    for (const { text, expected, rule } of corpus) {
      // A recipe's lines are shells of their own, and make has its own signs.
      if (rule?.includes('unreadable') === true || /[\n#%]|^[@+-]/.test(text)) continue;
      const recipe = `x:\n\t${text.replaceAll('$', '$$$$')}\n`;
      expect(scanText('Makefile', recipe, { markdown: false }).length > 0, text).toBe(expected !== 'allow');
    }
  });

  it('is found as what a systemd unit and a crontab start', () => {
    for (const { text, expected, rule } of corpus) {
      if (rule?.includes('unreadable') === true || /[\n\\%]/.test(text) || /^[-@:+!]/.test(text)) continue;
      for (const [path, file] of [
        ['x.service', `[Service]\nExecStart=sh -c '${text.replaceAll("'", "'\\''")}'\n`],
        ['crontab', `0 4 * * * ${text}\n`],
      ] as const) {
        if (path === 'x.service' && text.includes("'")) continue;
        // Nobody passes anything there: what is in front of it stands alone.
        if (path === 'x.service' && /\$.* "\$@"/.test(text)) continue;
        expect(scanText(path, file, { markdown: false }).length > 0, `${path}: ${text}`).toBe(
          expected !== 'allow',
        );
      }
    }
  });
});
