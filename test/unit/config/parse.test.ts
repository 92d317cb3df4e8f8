import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../../src/config/parse.ts';
import { SafeUpdateError } from '../../../src/model/error.ts';

const path = '/srv/shop/safe-update.yml';

function messageOf(text: string): string {
  try {
    parseConfig(text, path);
  } catch (error) {
    expect(error).toBeInstanceOf(SafeUpdateError);
    expect(error).toMatchObject({ code: 'config', state: 'Nothing was touched.' });
    return (error as SafeUpdateError).message;
  }
  throw new Error('expected an error');
}

describe('parseConfig', () => {
  it('reads a file, durations in milliseconds', () => {
    const text =
      'backups: { keep: 3 }\ntimeouts: { verify: 2m, stableFor: 0, pull: 90 }\nenvironments:\n  prod:\n';
    expect(parseConfig(text, path)).toEqual({
      backups: { keep: 3 },
      timeouts: { verify: 120_000, stableFor: 0, pull: 90_000 },
      environments: { prod: {} },
    });
  });

  it.each(['', '# nothing yet\n', '---\n'])('takes %j for an empty configuration', (text) => {
    expect(parseConfig(text, path)).toEqual({});
  });

  it('follows anchors and merge keys', () => {
    const text =
      'environments:\n  staging: &all\n    pull: missing\n  prod:\n    <<: *all\n    consistency: hot\n';
    expect(parseConfig(text, path).environments?.['prod']).toEqual({ pull: 'missing', consistency: 'hot' });
  });

  it('points at an unknown key and says what was meant', () => {
    expect(messageOf('backups:\n  keep: 5\nconsistancy: hot\n')).toBe(
      [
        `${path}:3:1: consistancy: unknown key. Did you mean consistency?`,
        '  2 |   keep: 5',
        '  3 | consistancy: hot',
        '    | ^^^^^^^^^^^',
      ].join('\n'),
    );
  });

  it('knows where a key belongs', () => {
    expect(messageOf('keep: 3\n')).toContain('keep: unknown key. Did you mean backups.keep?');
    expect(messageOf('environments: { prod: { profile: [a] } }\n')).toContain('Did you mean profiles?');
    expect(messageOf('volumes: { db: { share: allow } }\n')).toContain(
      'volumes.db.share: unknown key. Did you mean shared?',
    );
  });

  it('points at a value inside an environment', () => {
    expect(messageOf('environments:\n  prod:\n    timeouts: { pull: 1h, verify: soon }\n')).toBe(
      [
        `${path}:3:35: environments.prod.timeouts.verify: expected a duration such as 90s, 5m or 1h30m, or a number of seconds`,
        '  2 |   prod:',
        '  3 |     timeouts: { pull: 1h, verify: soon }',
        '    |                                   ^^^^',
      ].join('\n'),
    );
  });

  it('points into lists', () => {
    expect(messageOf('files:\n  - compose.yaml\n  - 3\n')).toMatch(
      /:3:5: files\[1]: expected text, found a whole number/,
    );
  });

  it('points at the key where nothing follows it', () => {
    expect(messageOf('backups:\n  keep:\n')).toMatch(
      /:2:3: backups\.keep: expected a whole number, or rules/,
    );
  });

  it('points at the anchor where an alias stands', () => {
    expect(messageOf('environments:\n  a: &a { pull: maybe }\n  b: *a\n')).toMatch(
      /:2:17: environments\.a\.pull: expected always, missing or never/,
    );
  });

  it('keeps columns under tabs and CRLF', () => {
    expect(messageOf('pull:\tnevr\r\n')).toBe(
      `${path}:1:7: pull: expected always, missing or never. Did you mean never?\n  1 | pull:\tnevr\n    |      \t^^^^`,
    );
  });

  it.each([
    ['a: [1\n', /:2:1: not valid YAML: /],
    ['pull: never\npull: always\n', /:2:1: not valid YAML: Map keys must be unique/],
    ['pull: never\nfiles: *all\n', /:2:8: not valid YAML: Unresolved alias/],
    ['pull: never\n---\npull: always\n', /:2:1: expected one document/],
    ['- files\n', /:1:1: expected keys with values, found a list/],
    ['timeouts: { pull: 0 }\n', /:1:19: timeouts\.pull: expected more than zero/],
    ['timeouts: { pull: 25d }\n', /timeouts\.pull: expected at most 24 days/],
    ['timeouts: { pull: -1 }\n', /timeouts\.pull: expected a duration/],
    ['backups: { keep: 0 }\n', /backups\.keep: expected 1 or more: the last good backup is never removed/],
    ['backups: { keep: 1.5 }\n', /backups\.keep: expected a whole number, or rules/],
    ['backups: { keep: { daily: 0 } }\n', /backups\.keep\.daily: expected 1 or more/],
    ['backups: { keep: { last: 1, dialy: 7 } }\n', /backups\.keep\.dialy: unknown key. Did you mean daily?/],
    ['backups: { keep: {} }\n', /backups\.keep: expected at least one of last, hourly/],
    ['project: My Shop\n', /project: expected lowercase letters/],
    ['files: []\n', /files: expected at least one compose file/],
    ['environments: { "../x": {} }\n', /:1:17: environments\.\.\.\/x: expected letters, digits/],
    ['space: { minimumFree: 100 }\n', /space\.minimumFree: expected a percentage from 0 to 99/],
    ['volumes: { db: { shared: yes } }\n', /volumes\.db\.shared: expected allow/],
  ])('refuses %j', (text, message) => {
    expect(messageOf(text)).toMatch(message);
  });

  it('reports several mistakes in the order of the file, and not too many', () => {
    const message = messageOf(
      'pull: x\nconsistency: y\nproject: Z\nbackups: { keep: 0 }\nspace: 3\nhelper: 3\nfiles: 3\n',
    );
    expect([...message.matchAll(/:(\d+):\d+: /g)].map(([, line]) => line)).toEqual(['1', '2', '3', '4', '5']);
    expect(message).toMatch(/and 2 more$/);
  });

  it('does not show a secret that was put there by mistake', () => {
    expect(messageOf('dbPassword: hunter2\n')).not.toContain('hunter2');
    expect(messageOf('backups:\n  url: s3://me:hunter2@host/bucket\n')).not.toContain('hunter2');
  });
});
