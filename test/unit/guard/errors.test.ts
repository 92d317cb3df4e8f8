import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { answerTo } from '../../../src/cli/guard/hook.ts';
import { hooks, type AgentName } from '../../../src/guard/hook.ts';
import { rules, type RuleName } from '../../../src/guard/rules.ts';
import { scanText } from '../../../src/guard/scan/scan.ts';
import { judge } from '../../../src/guard/shell.ts';
import { settle, type Knowledge } from '../../../src/guard/verdict.ts';
import { readCorpus, type Case } from './corpus.ts';

const corpus = readCorpus();
const bad = corpus.filter((one) => one.expected !== 'allow');
const aBadOne = fc.constantFrom(...bad);

class Bug extends Error {}
const throws = (): never => {
  throw new Bug('a bug');
};

/** Makes a rule fail as soon as it is asked what it says. */
function breakRule(name: RuleName): void {
  Object.defineProperty(rules, name, { configurable: true, enumerable: true, get: throws });
}
const whole = Object.getOwnPropertyDescriptors(rules);
afterEach(() => {
  Object.defineProperties(rules, whole);
});

/** Rules that a case is refused by, without those that say that something could not be read. */
const broken = bad.filter(
  (one) => one.rule !== undefined && one.rule in rules && !['unreadable', 'unknown'].includes(one.rule),
);
const requests: Record<AgentName, (command: string) => unknown> = {
  claude: (command) => ({ tool_name: 'Bash', tool_input: { command } }),
  codex: (command) => ({ tool_name: 'Bash', tool_input: { command } }),
  gemini: (command) => ({ tool_name: 'run_shell_command', tool_input: { command } }),
  cursor: (command) => ({ command }),
  copilot: (command) => ({ toolName: 'bash', toolArgs: JSON.stringify({ command }) }),
  opencode: (command) => ({ tool: 'bash', args: { command } }),
};

describe('an error within the guard', () => {
  it('in whatever it asks allows nothing that would be refused without an answer', async () => {
    const askers: (keyof Knowledge)[] = ['volume', 'losses', 'policy', 'approval', 'warnings'];
    await fc.assert(
      fc.asyncProperty(
        aBadOne,
        fc.subarray(askers, { minLength: 1 }),
        fc.boolean(),
        async (one, names, late) => {
          const fails = late ? () => Promise.reject(new Bug('a bug')) : throws;
          const knowledge = Object.fromEntries(names.map((name) => [name, fails])) as Knowledge;
          expect((await settle(judge(one.text), knowledge)).decision, one.text).toBe('deny');
        },
      ),
      { numRuns: 500 },
    );
  });

  it('in what reads files allows nothing that reads one, and nothing else that is refused', () => {
    fc.assert(
      fc.property(
        aBadOne,
        fc.constantFrom('./x.sh', 'sh x.sh', '. x.sh', 'make', 'npm run x'),
        (one, reads) => {
          expect(judge(one.text, { read: throws }).findings, one.text).not.toEqual([]);
          expect(judge(reads, { read: throws }).findings).toHaveLength(1);
          expect(judge(`${one.text}\n${reads}`, { read: throws }).findings).not.toEqual([]);
        },
      ),
      { numRuns: 500 },
    );
  });

  it.each([...new Set(broken.map((one) => one.rule as RuleName))])(
    'in the rule %s allows nothing, by check, hook and scan',
    async (name) => {
      const cases: Case[] = broken.filter((one) => one.rule === name).slice(0, 12);
      breakRule(name);
      for (const { text } of cases) {
        expect((await settle(judge(text))).decision, text).toBe('deny');
        expect(scanText('x.sh', text, { markdown: false }), text).not.toEqual([]);
        for (const agent of Object.keys(hooks) as AgentName[]) {
          const answer = await answerTo(agent, JSON.stringify(requests[agent](text)));
          expect(`${answer.stdout}${answer.stderr}`, `${agent}: ${text}`).toMatch(/deny|unreadable/);
        }
      }
    },
  );

  it('in the program itself is exit code 2, and a refusal for an agent', async () => {
    const program = fileURLToPath(new URL('../../../src/bin.ts', import.meta.url));
    // Every verdict fails, of a harmless command too.
    const breaks = `data:text/javascript,${encodeURIComponent(
      "process.cwd = () => { throw new Error('a bug'); };",
    )}`;
    const run = (argv: string[], input: string) =>
      execa(process.execPath, ['--import', breaks, program, 'guard', ...argv], { input, reject: false });
    const checked = await run(['check', '--', 'docker', 'volume', 'prune'], '');
    expect(checked.exitCode).toBe(2);
    expect(checked.stderr).toContain('went wrong');
    expect((await run(['check', '--', 'docker', 'ps'], '')).exitCode).toBe(2);
    const hooked = await run(['hook', 'claude'], JSON.stringify(requests.claude('docker compose down -v')));
    expect(hooked.stdout).toContain('"permissionDecision":"deny"');
    expect(hooked.stdout).toContain('went wrong');
  });
});
