import { describe, expect, it } from 'vitest';
import { explain } from '../../../src/guard/explain.ts';
import { judge } from '../../../src/guard/shell.ts';
import { defaults, settle, type Knowledge } from '../../../src/guard/verdict.ts';

const day = 24 * 60 * 60;
const rm = judge('docker volume rm shop_db shop_cache');
const down = judge('docker compose -p shop down --volumes');

const knows = (
  volumes: Record<string, Awaited<ReturnType<NonNullable<Knowledge['volume']>>>>,
): Knowledge => ({
  volume: async (name) => volumes[name],
});

describe('the verdict on a volume that is named', () => {
  it('is a refusal when nobody can be asked', async () => {
    expect((await settle(rm)).decision).toBe('deny');
  });

  it('is a refusal when nobody knows', async () => {
    expect((await settle(rm, knows({}))).decision).toBe('deny');
  });

  it('names the cache and the backup that make it harmless', async () => {
    const verdict = await settle(
      rm,
      knows({ shop_cache: { class: 'cache' }, shop_db: { backup: { id: 'manual-1', ageSeconds: 60 } } }),
    );
    expect(verdict.decision).toBe('allow');
    expect(verdict.excused[0]?.because).toBe(
      'shop_db is in the backup manual-1, 1 min old, shop_cache holds a cache',
    );
    expect(explain(verdict).join('\n')).toContain('manual-1');
  });

  it('is a refusal when only one of two is harmless', async () => {
    expect((await settle(rm, knows({ shop_cache: { class: 'cache' } }))).decision).toBe('deny');
  });

  it.each([
    [day, 'allow'],
    [day + 1, 'deny'],
  ])('with a backup %i seconds old: %s', async (ageSeconds, decision) => {
    const backup = { id: 'manual-1', ageSeconds };
    const verdict = await settle(rm, knows({ shop_db: { backup }, shop_cache: { backup } }));
    expect(verdict.decision).toBe(decision);
  });

  it('is a refusal when the answer fails', async () => {
    const verdict = await settle(rm, {
      volume: async () => {
        throw new Error('the backups folder cannot be read');
      },
    });
    expect(verdict.decision).toBe('deny');
  });

  it('does not excuse what deletes volumes without naming them', async () => {
    const cache: Knowledge = { volume: async () => ({ class: 'cache' }) };
    expect((await settle(down, cache)).decision).toBe('deny');
    expect((await settle(judge('docker volume rm "$X"'), cache)).decision).toBe('deny');
    expect((await settle(judge('docker volume prune -a'), cache)).decision).toBe('deny');
  });
});

describe('the verdict', () => {
  it('says the rule, the project, the volumes and what to do instead', async () => {
    const verdict = await settle(down, {
      losses: async () => ({
        project: 'shop',
        volumes: [
          { name: 'shop_db', sizeBytes: 54_600_000 },
          { name: 'shop_files', sizeBytes: 1_200_000_000 },
        ],
        sizesAgeSeconds: 3 * 60 * 60,
      }),
    });
    const text = explain(verdict).join('\n');
    for (const part of [
      'down-volumes',
      'project shop',
      'shop_db 54.6 MB, shop_files 1.2 GB (at the last backup, 3 h ago)',
      'docker compose stop',
      'safe-update prod',
    ])
      expect(text).toContain(part);
  });

  it('with the policy warn says the same and lets it through', async () => {
    const verdict = await settle(down, {}, { ...defaults, policy: 'warn' });
    expect(verdict.decision).toBe('warn');
    expect(verdict.findings).toHaveLength(1);
    expect(explain(verdict)[0]).toMatch(/^would be refused/);
  });

  it('leaves alone what is not guarded, and only that', async () => {
    const both = judge('docker compose -p test down -v; docker compose -p shop down -v');
    const verdict = await settle(both, {
      policy: async ({ project }) =>
        project === 'test' ? { policy: 'off', by: 'projects.test: off' } : { policy: 'block' },
    });
    expect(verdict.decision).toBe('deny');
    expect(verdict.findings.map((finding) => finding.project)).toEqual(['shop']);
    expect(verdict.excused[0]?.because).toBe('it is not guarded (projects.test: off)');
    expect((await settle(down, { policy: async () => ({ policy: 'off' }) })).decision).toBe('allow');
  });

  it('guards what nobody can say', async () => {
    const verdict = await settle(down, {
      policy: async () => {
        throw new Error('no configuration');
      },
    });
    expect(verdict.decision).toBe('deny');
  });

  it('asks for an approval last, and only for what is refused', async () => {
    const asked: number[] = [];
    const approval: Knowledge['approval'] = async (findings) => {
      asked.push(findings.length);
      return 'a1';
    };
    expect((await settle(judge('docker compose ps'), { approval })).decision).toBe('allow');
    expect(asked).toEqual([]);
    expect((await settle(down, { approval })).decision).toBe('allow');
    expect(asked).toEqual([1]);
    expect((await settle(down, { approval: async () => undefined })).decision).toBe('deny');
  });

  it('has a hint where a safer command exists', () => {
    const hints = (text: string): string[] => judge(text).hints.map((hint) => hint.text);
    expect(hints('docker compose down').join()).toContain('docker compose stop');
    expect(hints('docker image prune -af').join()).toContain('roll back');
    expect(hints('docker compose stop')).toEqual([]);
  });
});

describe('an error within the guard', () => {
  it('allows nothing', () => {
    const { findings } = judge('./x.sh', {
      read: () => {
        throw new Error('a bug');
      },
    });
    expect(findings.map((finding) => finding.rule)).toEqual(['unreadable']);
  });
});

describe('what scripts on disk say', () => {
  const files = (texts: Record<string, string>) => ({ cwd: '/srv', read: (path: string) => texts[path] });
  const rulesOf = (text: string, texts: Record<string, string>): string[] =>
    judge(text, files(texts)).findings.map((finding) => finding.rule);
  const bad = 'docker compose down -v';
  /** Filled in, these would be more than there is memory. */
  const growing = `${['A', 'B', 'C', 'D', 'E', 'F']
    .map((name, at, names) => `${name}=${`$(${names[at + 1] ?? 'x'})`.repeat(99)}\n`)
    .join('')}x=y\n`;

  it.each([
    ['./deploy.sh prod', { '/srv/deploy.sh': `#!/bin/sh\n${bad}\n` }],
    ['bash deploy.sh', { '/srv/deploy.sh': bad }],
    ['bash -x ../opt/deploy.sh', { '/opt/deploy.sh': bad }],
    ['. ./env.sh', { '/srv/env.sh': bad }],
    ['source env.sh && reset', { '/srv/env.sh': `reset() { ${bad}; }` }],
    ['cd app && ./deploy.sh', { '/srv/app/deploy.sh': bad }],
    ['sh < deploy.sh', { '/srv/deploy.sh': bad }],
    ['cat deploy.sh | sh', { '/srv/deploy.sh': bad }],
    ['./deploy.sh -v', { '/srv/deploy.sh': 'docker compose down "$@"' }],
    ['./deploy.sh', { '/srv/deploy.sh': './inner.sh', '/srv/inner.sh': bad }],
    ['npm run reset', { '/srv/package.json': JSON.stringify({ scripts: { reset: bad } }) }],
    ['npm run build', { '/srv/package.json': JSON.stringify({ scripts: { prebuild: bad, build: 'tsc' } }) }],
    ['yarn reset', { '/srv/package.json': JSON.stringify({ scripts: { reset: bad } }) }],
    [
      'npm run down -- -v',
      { '/srv/package.json': JSON.stringify({ scripts: { down: 'docker compose down' } }) },
    ],
    ['make reset', { '/srv/Makefile': `reset:\n\t@${bad}\n` }],
    ['make', { '/srv/Makefile': `all: reset\n\nreset:\n\t-${bad}\n` }],
    ['make reset', { '/srv/Makefile': 'include dev.mk\n', '/srv/dev.mk': `reset:\n\t@${bad}\n` }],
    ['make -C app clean', { '/srv/app/Makefile': `D = docker compose\nclean:\n\t$(D) down -v\n` }],
    ['make down FLAGS=-v', { '/srv/Makefile': `down:\n\tdocker compose down $(FLAGS)\n` }],
    ['make x', { '/srv/Makefile': `${growing}x:\n\techo $(A)\n\t${bad}\n` }],
    [
      'python3 x.py',
      { '/srv/x.py': `import subprocess\nsubprocess.run(['docker', 'compose', 'down', '-v'])\n` },
    ],
  ])('%s is a refusal', (text, texts) => {
    expect(rulesOf(text, texts as Record<string, string>)).toContain('down-volumes');
  });

  it.each([
    ['./deploy.sh', { '/srv/deploy.sh': '#!/bin/sh\ndocker compose stop\n' }],
    ['cat deploy.sh', { '/srv/deploy.sh': bad }],
    ['vim deploy.sh', { '/srv/deploy.sh': bad }],
    ['shellcheck deploy.sh', { '/srv/deploy.sh': bad }],
    ['cat deploy.sh | grep down', { '/srv/deploy.sh': bad }],
    ['npm run build', { '/srv/package.json': JSON.stringify({ scripts: { reset: bad, build: 'tsc' } }) }],
    ['make build', { '/srv/Makefile': `build:\n\tcc x.c\nreset:\n\t${bad}\n` }],
    ['make -n reset', { '/srv/Makefile': `reset:\n\t${bad}\n` }],
    ['make x', { '/srv/Makefile': `${growing}x:\n\techo $(A)\n\tdocker compose stop\n` }],
    ['./deploy.sh', { '/srv/deploy.sh': './deploy.sh' }],
    ['./missing.sh', {}],
  ])('%s is not', (text, texts) => {
    expect(rulesOf(text, texts as Record<string, string>)).toEqual([]);
  });
});
