import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { judge, longestText, mostWork } from '../../../src/guard/shell.ts';
import { readCorpus } from './corpus.ts';

const corpus = readCorpus();

/** A substitution is paid for before it is read: the one that is too much is counted, too. */
const mostAtOnce = 4 * longestText;

/** Pieces that shells and command lines are made of, and some that they are not. */
const pieces = [
  ...new Set(
    corpus.flatMap((one) => one.text.split(/(\s+|[;|&(){}'"$`<>=])/)).filter((piece) => piece !== ''),
  ),
  ...[
    '<<X',
    'X\n',
    '$((',
    '))',
    '${',
    '}',
    '$(',
    ')',
    '`',
    '\\',
    '\n',
    '\0',
    '\uFFFD',
    '\u{1F600}',
    '\uE000',
    '\r\n',
  ],
  ...[
    '${a[@]}',
    '${!a}',
    '${a//b/c}',
    '{1..9}',
    '{a,{b,c}}',
    '[[',
    ']]',
    'case x in',
    'esac',
    'do',
    'done',
    '*(',
    '!(',
  ],
];

const texts = fc.oneof(
  fc.array(fc.constantFrom(...pieces), { maxLength: 40 }).map((words) => words.join('')),
  fc.array(fc.constantFrom(...pieces), { maxLength: 40 }).map((words) => words.join(' ')),
  fc.string({ unit: 'binary', maxLength: 300 }),
  // A case with a piece of it cut out, doubled or replaced.
  fc
    .tuple(fc.constantFrom(...corpus), fc.nat(400), fc.nat(20), fc.constantFrom('', ...pieces))
    .map(([one, at, length, by]) => {
      const from = at % (one.text.length + 1);
      return one.text.slice(0, from) + by + one.text.slice(from + length);
    }),
  fc
    .tuple(fc.constantFrom(...corpus), fc.constantFrom(...pieces), fc.integer({ min: 2, max: 300 }))
    .map(([one, piece, times]) => piece.repeat(times) + one.text),
);

describe('any text', () => {
  it('has a verdict that says where and why', () => {
    fc.assert(
      fc.property(texts, (text) => {
        const { findings, hints } = judge(text);
        for (const { at } of [...findings, ...hints]) {
          expect(at.start).toBeGreaterThanOrEqual(0);
          expect(at.end).toBeLessThanOrEqual(text.length);
          expect(at.start).toBeLessThanOrEqual(at.end);
        }
        for (const finding of findings) expect(finding.loses).not.toBe('');
      }),
      // A backslash at the end, which the parser takes for two characters.
      { numRuns: 6000, examples: [['${ *( docker down\\']] },
    );
  });

  it('keeps what makes a case a refusal while something harmless is put in front of it', () => {
    const bad = corpus.filter((one) => one.expected !== 'allow');
    fc.assert(
      fc.property(
        fc.array(
          fc.constantFrom('true', 'cd /srv', 'OTHER=1', 'ls -v', 'echo "$OTHER"', '# docker', ': down'),
          {
            maxLength: 30,
          },
        ),
        fc.constantFrom(...bad),
        (before, one) => {
          expect(judge([...before, one.text].join('\n')).findings).not.toEqual([]);
        },
      ),
      { numRuns: 2000 },
    );
  });

  it('is a Taskfile that can be read, or runs nothing', () => {
    const words =
      'tasks: vars: includes: x: y: deps: cmds: cmd: sh: task: [ ] { } , - | > " \' # {{.A}} {{ }} :y x:y & ! \t A=1 dir: ..'.split(
        ' ',
      );
    const text = fc
      .array(fc.constantFrom(...words, ' ', ' ', '\n', '\n  ', '\n    ', '\ntasks:\n  x:\n', '\n      - '), {
        maxLength: 80,
      })
      .map((all) => all.join(' '));
    fc.assert(
      fc.property(text, (taskfile) => {
        // An error within the guard would be a refusal.
        const read = (path: string): string | undefined =>
          path === '/srv/Taskfile.yml' ? taskfile : undefined;
        expect(judge('task x y A=1 -- x', { cwd: '/srv', read }).findings).toEqual([]);
      }),
      { numRuns: 3000 },
    );
  });

  it('that blows up when it is expanded is followed only so far', () => {
    const bombs = [
      '{a,b}'.repeat(40),
      'echo {a,b}{c,d}{e,f}{g,h}{i,j}{k,l}{m,n}{o,p}',
      `x=(1 2 3 4 5 6 7 8); ${'for a in "${x[@]}"; do '.repeat(12)}:${'; done'.repeat(12)}`,
      'f() { f; f; }; f',
      'f() { g; g; }; g() { f; f; }; f',
      `a=x; ${'a="$a$a"; '.repeat(40)} $a`,
      `alias a='a a'; a`,
      '$('.repeat(3000),
      '('.repeat(3000),
      '{ '.repeat(3000),
      '${x:-'.repeat(2000),
      `"$(echo `.repeat(500),
      'x | '.repeat(5000),
      `eval ${"'eval ".repeat(100)}`,
      `X='${'eval "$X"; '.repeat(3)}'; eval "$X"`,
      'yes | xargs sh -c yes',
      '{1..100000}{1..100000}',
      `sh -c '${'$0 '.repeat(2000)}' 'sh -c "$0"'`,
      `perl -e 'system 1; ${'qx('.repeat(15_000)}'`,
      `perl -e 'system 1; "${'\\"'.repeat(25_000)}'`,
      `foo "${'docker \n'.repeat(7000)}"`,
      `tmux ${'new \\; '.repeat(8000)}`,
      `docker exec db psql -c "${'/* '.repeat(20_000)}"`,
      `docker run -v /srv/${'a'.repeat(150)}:/var/lib/mysql db; rm -rf /srv/${'*a'.repeat(70)}z`,
      `docker exec web ${'rails db '.repeat(7000)}`,
      `${'podman machine ssh '.repeat(300)}ls`,
      `${'docker run docker '.repeat(300)}ps`,
    ];
    for (const bomb of bombs) {
      // Not a timed assertion: what is not limited does not end within the time a test has.
      expect(() => judge(bomb)).not.toThrow();
      expect(judge(`${bomb}\n`), bomb.slice(0, 80)).toBeDefined();
    }
  });

  it('takes no more than so much work, and is refused where more would be needed around a docker command', () => {
    const full = (piece: string): string =>
      piece.repeat(Math.ceil(longestText / piece.length)).slice(0, 60_000);
    // Each of them once took time that grew with the square of its length, or worse.
    const growing = [
      'x+=a;',
      'cd a;',
      '$(',
      '"$(',
      '<(',
      '(( $( ',
      '$( (( = ',
      '{1..9} ',
      'eval {1..9} ',
      '${a:-',
      '"${a:-',
    ];
    for (const piece of growing) {
      const { work, findings } = judge(`${full(piece)}\ndocker compose ps\n`);
      expect(work, piece).toBeLessThanOrEqual(mostWork + mostAtOnce);
      expect(findings, piece).not.toEqual([]);
    }
    fc.assert(
      fc.property(fc.constantFrom(...pieces), fc.constantFrom(...pieces), (one, other) => {
        expect(judge(full(`${one} ${other} `)).work).toBeLessThanOrEqual(mostWork + mostAtOnce);
      }),
      { numRuns: 12 },
    );
  });

  it.each([
    ['ends of commands, which the parser looks at', '# ;|&()', '# aaaaa'],
    ['assignments', 'a=1 b=2 c=3', '#=1 b=2 c=3'],
    ['substitutions, which are read once more', `: "$(:${' '.repeat(99)})"`, `: "$(:)"${' '.repeat(99)}`],
    ['arithmetic, which is as well', ': $((aaaaaaaa))', ": '((aaaaaaaa)'"],
  ])('costs more than its letters where it takes longer: %s', (_, long, short) => {
    const work = (line: string): number => judge(`${line}\n`.repeat(100)).work ?? 0;
    expect(work(long)).toBeGreaterThan(work(short) + 100 * 3 * 8);
  });

  it('of an ordinary length is far from that', () => {
    for (const one of corpus) expect(judge(one.text).work, one.text).toBeLessThan(mostWork / 20);
    const script = corpus
      .filter((one) => one.expected === 'allow' && !/["'`]|<</.test(one.text))
      .slice(0, 300);
    const text = script.map((one) => one.text).join('\n');
    expect(text.length).toBeGreaterThan(8000);
    expect(judge(text).work).toBeLessThan(mostWork / 3);
  });

  it('of the greatest length is read to its end by whoever has the patience', () => {
    const lines = corpus.filter((one) => one.expected === 'allow' && !/["'`\n]|<</.test(one.text));
    const text = lines.map((one) => one.text).join('\n');
    const script = text.repeat(Math.ceil(longestText / text.length)).slice(0, longestText - 100);
    const { findings } = judge(`${script}\n\ndocker compose down -v\n`, { patience: 8 });
    expect(findings.map(({ rule }) => rule)).toContain('down-volumes');
    expect(findings.map(({ rule }) => rule)).not.toContain('unreadable');
  });
});
