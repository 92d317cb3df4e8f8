import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { judge, longestText } from '../../../src/guard/shell.ts';
import { readCorpus, type Case } from './corpus.ts';

const corpus = readCorpus();

/** The rules that speak against a text. */
function rulesOf(text: string): string[] {
  return [...new Set(judge(text).findings.map((finding) => finding.rule))].sort();
}

/** As one word of a shell. */
const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

/** Cases that a shell reads to their end: only those can be put into something else. */
const whole = corpus.filter((one) => one.rule?.includes('unreadable') !== true);
/** A single command, and nothing around it that belongs to the shell: those can be given to sudo. */
const single = whole.filter((one) => /^(docker|docker-compose|podman|nerdctl) [\w ./:=,@-]+$/.test(one.text));

/** Ways to run shell text. */
const shells: Record<string, (text: string) => string> = {
  'sh -c': (text) => `sh -c ${quoted(text)}`,
  'bash -lc': (text) => `bash -lc ${quoted(text)}`,
  'sudo bash -c': (text) => `sudo -u deploy bash -euc ${quoted(text)}`,
  eval: (text) => `eval ${quoted(text)}`,
  ssh: (text) => `ssh -p 22 deploy@prod ${quoted(text)}`,
  subshell: (text) => `(\n${text}\n)`,
  group: (text) => `{\n${text}\n}`,
  function: (text) => `work() {\n${text}\n}\nwork`,
  'after another': (text) => `cd /srv/shop\n${text}`,
  'before another': (text) => `${text}\ntrue`,
  if: (text) => `if true; then\n${text}\nfi`,
  loop: (text) => `for i in 1 2; do\n${text}\ndone`,
  substitution: (text) => `echo "$(\n${text}\n)"`,
  'pipe into a shell': (text) => `printf '%s\\n' ${quoted(text)} | sh`,
  'heredoc into a shell': (text) => `bash <<'END${text.length}'\n${text}\nEND${text.length}`,
  'here-string into a shell': (text) => `bash <<< ${quoted(text)}`,
  'script written and run': (text) =>
    `cat > run${text.length}.sh <<'END${text.length}'\n${text}\nEND${text.length}\nsh run${text.length}.sh`,
  'variable into a shell': (text) => `TEXT=${quoted(text)}; bash -c "$TEXT"`,
  find: (text) => `find . -maxdepth 0 -exec sh -c ${quoted(text)} \\;`,
  xargs: (text) => `echo x | xargs -n 1 sh -c ${quoted(text)}`,
  su: (text) => `su - deploy -c ${quoted(text)}`,
  trap: (text) => `trap ${quoted(text)} EXIT`,
  flock: (text) => `flock -n /tmp/lock -c ${quoted(text)}`,
};

/** Commands that run the command behind them. */
const wrappers = [
  'sudo',
  'sudo -u deploy',
  'sudo -E --',
  'doas',
  'env',
  'env -u B A=1',
  'nice -n 5',
  'ionice -c 2 -n 7',
  'timeout 60',
  'timeout -k 5 1m',
  'nohup',
  'setsid',
  'stdbuf -oL',
  'command',
  'exec',
  'time -p',
  'flock /tmp/lock',
  'ssh prod',
  'systemd-run --scope',
  'A=1',
];

/** Flags that change nothing about what is lost, for where they can stand. */
const dockerFlags = ['--context prod', '-H ssh://prod', '--log-level=info', '-D', '--config /etc/docker'];
const composeFlags = [
  '-f compose.yml',
  '--file=prod.yml',
  '-p shop',
  '--project-name down',
  '--profile mail',
  '--env-file .env',
  '--project-directory /srv',
  '--progress plain',
  '--ansi=never',
];

const runs = { numRuns: 4000 };
const aCase = (cases: readonly Case[]): fc.Arbitrary<Case> => fc.constantFrom(...cases);

describe('the verdict', () => {
  it('is the same in any shell text around it', () => {
    // `exec` and `set` would change what comes after them; find puts a path for {}, wherever it stands. A comment alone is no body of a loop.
    const plain = whole.filter(
      (one) => !/^(set|exec|alias|trap|read|:) |^#|<<|\|$|"\$@"|\$1|\\$|\{\}/m.test(one.text),
    );
    expect(plain.length).toBeGreaterThan(400);
    fc.assert(
      fc.property(
        aCase(plain),
        fc.array(fc.constantFrom(...Object.keys(shells)), { minLength: 1, maxLength: 4 }),
        (one, names) => {
          const text = names.reduce((inner, name) => shells[name]!(inner), one.text);
          // What is unknown in a case may become known in a place, never the other way.
          expect(rulesOf(text), text).toEqual(rulesOf(one.text));
        },
      ),
      runs,
    );
  });

  it('is the same behind any wrappers', () => {
    expect(single.length).toBeGreaterThan(200);
    fc.assert(
      fc.property(
        aCase(single),
        fc.array(fc.constantFrom(...wrappers), { minLength: 1, maxLength: 4 }),
        (one, prefixes) => {
          // Behind another word an assignment is the name of a command, and exec and time are none.
          const [first = '', ...rest] = prefixes;
          const inner = rest.filter((prefix) => !['A=1', 'exec', 'command', 'time -p'].includes(prefix));
          const text = [first, ...inner, one.text].join(' ');
          expect(rulesOf(text), text).toEqual(rulesOf(one.text));
        },
      ),
      runs,
    );
  });

  it('is the same with other globals', () => {
    const cases = single.filter((one) => /^docker compose [a-z]/.test(one.text));
    expect(cases.length).toBeGreaterThan(90);
    fc.assert(
      fc.property(
        aCase(cases),
        fc.subarray(dockerFlags),
        fc.subarray(composeFlags),
        (one, docker, compose) => {
          const rest = one.text.slice('docker compose '.length);
          const text = ['docker', ...docker, 'compose', ...compose, rest].join(' ');
          expect(rulesOf(text), text).toEqual(rulesOf(one.text));
        },
      ),
      runs,
    );
  });

  it('is the same with harmless flags of the command', () => {
    const down = single.filter(
      (one) => /^docker compose down( |$)/.test(one.text) && !one.text.includes(' -- '),
    );
    const flags = [
      '--remove-orphans',
      '-t 5',
      '--timeout=5',
      '--rmi local',
      '--timeout -v',
      '--volumes=false',
    ];
    fc.assert(
      fc.property(aCase(down), fc.subarray(flags), (one, more) => {
        // In front, as the last one wins.
        const text = one.text.replace('down', ['down', ...more].join(' '));
        expect(rulesOf(text), text).toEqual(rulesOf(one.text));
      }),
      runs,
    );
  });

  it('is the same however a word is quoted', () => {
    const letter = fc.constantFrom<(letter: string) => string>(
      (one) => one,
      (one) => `'${one}'`,
      (one) => `"${one}"`,
      (one) => `\\${one}`,
      (one) => `$'\\x${one.charCodeAt(0).toString(16).padStart(2, '0')}'`,
      (one) => `""${one}`,
    );
    fc.assert(
      fc.property(aCase(single), fc.array(letter, { minLength: 8, maxLength: 30 }), (one, ways) => {
        const text = one.text.replace(/[^ ]/g, (each, at: number) => ways[at % ways.length]!(each));
        expect(rulesOf(text), text).toEqual(rulesOf(one.text));
      }),
      runs,
    );
  });

  it('is a refusal when one of many commands is refused', () => {
    const joins = ['; ', ' && ', '\n', ' || ', ' & '];
    const calm = single.filter((one) => one.expected === 'allow');
    const bad = single.filter((one) => one.expected !== 'allow');
    fc.assert(
      fc.property(
        fc.array(aCase(calm), { maxLength: 4 }),
        aCase(bad),
        fc.array(aCase(calm), { maxLength: 4 }),
        fc.constantFrom(...joins),
        (before, one, after, join) => {
          const text = [...before, one, ...after].map((each) => each.text).join(join);
          expect(rulesOf(text), text).toEqual(rulesOf(one.text));
        },
      ),
      runs,
    );
  });

  it('does not drown', () => {
    const bad = corpus.find((one) => one.rule === 'system-prune')!.text;
    for (const padding of ['# x\n', ': x;\n', 'true;', ' ', '\n', 'x=1;']) {
      for (const size of [1000, 100_000, longestText, longestText * 4]) {
        const text = padding.repeat(Math.ceil(size / padding.length)) + bad;
        expect(judge(text).findings, `${size} of ${JSON.stringify(padding)}`).not.toEqual([]);
      }
    }
  });

  it('is a refusal where the nesting is too deep to follow', () => {
    const bad = corpus.find((one) => one.rule === 'system-prune')!.text;
    for (const [name, wrap] of Object.entries(shells)) {
      // Quotes in quotes double their length each time.
      let text = bad;
      for (let depth = 0; depth < 40 && text.length < longestText; depth += 1) text = wrap(text);
      expect(judge(text).findings, name).not.toEqual([]);
    }
  });
});
