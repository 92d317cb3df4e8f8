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
  const manage = `#!/bin/sh
clean() { ${bad}; }
case "$1" in
  up) docker compose up -d ;;
  logs) shift; docker compose logs "$@" ;;
  fall) echo first ;&
  reset | wipe) clean ;;
  --*) ${bad} ;;
esac
`;
  /** Filled in, these would be more than there is memory. */
  const growing = `${['A', 'B', 'C', 'D', 'E', 'F']
    .map((name, at, names) => `${name}=${`$(${names[at + 1] ?? 'x'})`.repeat(99)}\n`)
    .join('')}x=y\n`;

  /** A Makefile whose target runs a script that is in this folder, and nowhere else. */
  function madeIn(folder: string): (command: string) => [string, Record<string, string>] {
    return (command) => [
      command,
      {
        '/srv/Makefile': 'x:\n\trm -f *.log\n',
        '/srv/other.mk': 'other:\n\ttrue\n',
        '/srv/nginx/Makefile': 'x:\n\t./reset.sh\n',
        [`${folder}reset.sh`]: bad,
      },
    ];
  }

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
    ...['make -Cnginx x', 'make --directory=nginx x', 'make --dir nginx x', 'make -sC nginx x'].map(
      madeIn('/srv/nginx/'),
    ),
    ...['make -C nginx -C . x', 'make -C . -j 4 -Cnginx x', 'make -C nginx -Onone $TARGET'].map(
      madeIn('/srv/nginx/'),
    ),
    ...['cd / && make -C srv/nginx x', 'cd nginx && make', 'make -C nginx -o n x'].map(madeIn('/srv/nginx/')),
    ...['make -fnginx/Makefile x', 'make -sf nginx/Makefile', 'make -f other.mk --file=nginx/Makefile x'].map(
      madeIn('/srv/'),
    ),
    [`make --eval 'x: ; ${bad}' x`, {}],
    ['make -n x', { '/srv/Makefile': `LOST := $(shell ${bad})\nx:\n\ttrue\n` }],
    ['make down FLAGS=-v', { '/srv/Makefile': `down:\n\tdocker compose down $(FLAGS)\n` }],
    ...[
      `define reset\n\t@${bad}\nendef\nx:\n\t$(reset)\n`,
      'define in\ndocker compose $(1) $2\nendef\nx:\n\t$(call in,down,-v)\n',
      `first:\n\ttrue\n.DEFAULT_GOAL := last\nlast:\n\t${bad}\n`,
      `x:\n\t$(shell ${bad})\n`,
      `LOST := $(shell ${bad})\nx:\n\ttrue\n`,
      `LOST != ${bad}\nx:\n\ttrue\n`,
      'x:\n\tdocker compose -p $@ down -v\n',
      'x: y\n\tdocker compose -p $< down -v\n',
      '%:\n\tdocker compose -p $* down -v\nx-y:\n',
    ].map((text): [string, Record<string, string>] => [
      text.includes('DEFAULT') ? 'make' : text.startsWith('%') ? 'make some' : 'make x',
      { '/srv/Makefile': text },
    ]),
    ['make x', { '/srv/Makefile': `${growing}x:\n\techo $(A)\n\t${bad}\n` }],
    [
      'python3 x.py',
      { '/srv/x.py': `import subprocess\nsubprocess.run(['docker', 'compose', 'down', '-v'])\n` },
    ],
    ['python3 x.py', { '/srv/x.py': `import os\nos.system("./y.sh")\n`, '/srv/y.sh': bad }],
    ['node x.js', { '/srv/x.js': `require('child_process').execFileSync('./y.sh')`, '/srv/y.sh': bad }],
    // However often a file is run.
    [`${'./c.sh ps; '.repeat(20)}./c.sh down -v`, { '/srv/c.sh': 'docker compose "$@"' }],
    [
      `${'npm run up && '.repeat(20)}npm run reset`,
      { '/srv/package.json': JSON.stringify({ scripts: { reset: bad, up: 'docker compose up -d' } }) },
    ],
    ['./c.sh', { '/srv/c.sh': `[ -n "$1" ] && ${bad}; ./c.sh again` }],
    ['. ./compose.sh down -v', { '/srv/compose.sh': 'docker compose "$@"' }],
    ['./manage.sh reset', { '/srv/manage.sh': manage }],
    ['./manage.sh --all', { '/srv/manage.sh': manage }],
    ['./manage.sh $WHAT', { '/srv/manage.sh': manage }],
    ['./manage.sh fall', { '/srv/manage.sh': manage }],
    ['sh manage.sh wipe', { '/srv/manage.sh': manage }],
    ['bash manage.sh', { '/srv/manage.sh': `case "\${1:-reset}" in reset) ${bad};; esac` }],
    // What a loop looks at is not only its first turns.
    ['./x.sh a b --reset', { '/srv/x.sh': `for w; do case $w in --reset) ${bad};; esac; done` }],
    ['./x.sh a b c r', { '/srv/x.sh': `while [ $# -gt 0 ]; do case $1 in r) ${bad};; esac; shift; done` }],
    // A pattern that is not plain may fit.
    ['./x.sh reset', { '/srv/x.sh': `case $1 in re*) ${bad};; esac` }],
    ['./x.sh reset', { '/srv/x.sh': `case $1 in $R) ${bad};; esac` }],
    ['./x.sh 0', { '/srv/x.sh': `true; case $? in 1) ${bad};; esac` }],
    ['./x.sh up', { '/srv/x.sh': `case $(cat mode) in reset) ${bad};; esac` }],
    ['./x.sh reset', { '/srv/x.sh': `reset() { ${bad}; }\n"$1"` }],
    ['./x.sh', { '/srv/x.sh': `reset() { ${bad}; }\n$(cat what)` }],
    ['sudo -i < deploy.sh', { '/srv/deploy.sh': bad }],
    ['sshpass -p x ssh prod < deploy.sh', { '/srv/deploy.sh': bad }],
    ['bash -s -- down -v < dc.sh', { '/srv/dc.sh': 'docker compose "$@"' }],
    ['ssh prod "bash -s" -- down -v < dc.sh', { '/srv/dc.sh': 'docker compose "$@"' }],
    ['tail -n +2 deploy.sh | bash', { '/srv/deploy.sh': bad }],
    ['crontab table', { '/srv/table': `0 3 * * * ${bad}\n` }],
    ['sudo crontab -u root table', { '/srv/table': `0 3 * * * ${bad}\n` }],
    ['crontab < table', { '/srv/table': `@daily ${bad}\n` }],
    ['at -f deploy.sh now', { '/srv/deploy.sh': bad }],
    ['at now < deploy.sh', { '/srv/deploy.sh': bad }],
    ['git bisect run ./deploy.sh', { '/srv/deploy.sh': bad }],
  ])('%s is a refusal', (text, texts) => {
    expect(rulesOf(text, texts)).toContain('down-volumes');
  });

  it.each([
    ['./deploy.sh', { '/srv/deploy.sh': '#!/bin/sh\ndocker compose stop\n' }],
    ['cat deploy.sh', { '/srv/deploy.sh': bad }],
    ['vim deploy.sh', { '/srv/deploy.sh': bad }],
    ['shellcheck deploy.sh', { '/srv/deploy.sh': bad }],
    ['cat deploy.sh | grep down', { '/srv/deploy.sh': bad }],
    ['npm run build', { '/srv/package.json': JSON.stringify({ scripts: { reset: bad, build: 'tsc' } }) }],
    ['make build', { '/srv/Makefile': `build:\n\tcc x.c\nreset:\n\t${bad}\n` }],
    ['make x', { '/srv/Makefile': `define reset\n${bad}\nendef\nx:\n\techo $(call other,reset)\n` }],
    ['make x', { '/srv/Makefile': 'LIST := $(shell docker volume ls -q)\nx:\n\techo $@ $< $(LIST)\n' }],
    ['make -skn reset', { '/srv/Makefile': `reset:\n\t${bad}\n` }],
    ['make -j 4 build', { '/srv/Makefile': `build:\n\tcc x.c\nreset:\n\t${bad}\n` }],
    ['make -n reset', { '/srv/Makefile': `reset:\n\t${bad}\n` }],
    ['make x', { '/srv/Makefile': `${growing}x:\n\techo $(A)\n\tdocker compose stop\n` }],
    ['./deploy.sh', { '/srv/deploy.sh': './deploy.sh' }],
    ['./c.sh', { '/srv/c.sh': 'docker compose ps; ./d.sh', '/srv/d.sh': './c.sh; ./d.sh' }],
    ['./manage.sh up', { '/srv/manage.sh': manage }],
    ['./manage.sh logs web', { '/srv/manage.sh': manage }],
    [
      './manage.sh',
      {
        '/srv/manage.sh':
          'case "${1:-up}" in up) docker compose up -d;; reset) docker compose down -v;; esac',
      },
    ],
    ['./x.sh up', { '/srv/x.sh': `reset() { ${bad}; }\nup() { docker compose up -d; }\n"$1"` }],
    ['./x.sh', { '/srv/x.sh': `reset() { ${bad}; }\ndocker compose up -d` }],
    ['./missing.sh', {}],
    ['sudo -i < deploy.sh', { '/srv/deploy.sh': 'docker compose stop' }],
    ['bash -s -- ps < dc.sh', { '/srv/dc.sh': 'docker compose "$@"' }],
    ['bash -n deploy.sh', { '/srv/deploy.sh': bad }],
    ['sh -n deploy.sh', { '/srv/deploy.sh': bad }],
    ['crontab -l > table', { '/srv/table': `0 3 * * * ${bad}\n` }],
    ['git add deploy.sh', { '/srv/deploy.sh': bad }],
  ])('%s is not', (text, texts) => {
    expect(rulesOf(text, texts as Record<string, string>)).toEqual([]);
  });
});

describe('where a script finds itself', () => {
  const bad = 'docker compose down -v';
  const rulesOf = (text: string, script: string): string[] => {
    const texts: Record<string, string> = {
      '/srv/bin/m.sh': `#!/usr/bin/env bash\nset -euo pipefail\n${script}\n`,
      '/srv/bin/lib.sh': `lose() { ${bad}; }\nhere="$(dirname "\${BASH_SOURCE[0]}")"\n`,
      '/srv/sub/x.sh': bad,
      '/srv/.git/HEAD': 'ref: refs/heads/main\n',
    };
    const read = (path: string): string | undefined => texts[path];
    return judge(text, { cwd: '/srv', read }).findings.map((finding) => finding.rule);
  };

  it.each([
    'cd "$(dirname "$0")/../sub" && ./x.sh',
    'cd "$(dirname "$0")"; ../sub/x.sh',
    'cd "$(dirname "${BASH_SOURCE[0]}")/.."; sub/x.sh',
    'DIR="$( cd -- "$( dirname -- "${BASH_SOURCE[0]}" )" &> /dev/null && pwd )"; "$DIR/../sub/x.sh"',
    'DIR=$(dirname "$(readlink -f "$0")"); sh "$DIR/../sub/x.sh"',
    'DIR=$(realpath "$(dirname "$0")/.."); . "$DIR/sub/x.sh"',
    '"${0%/*}/../sub/x.sh"',
    'readonly DIR=$(cd "$(dirname "$0")/.." && pwd -P); cd "$DIR"; ./sub/x.sh',
    'source "$(dirname "$0")/lib.sh"; lose',
    'source "$(dirname "$0")/lib.sh"; "$here/../sub/x.sh"',
    'cd /srv/sub; ROOT=$(git rev-parse --show-toplevel); "$ROOT/sub/x.sh"',
  ])('%s', (script) => {
    for (const text of ['./bin/m.sh', 'cd bin; ./m.sh', 'cd / && bash srv/bin/m.sh'])
      expect(rulesOf(text, script), text).toEqual(['down-volumes']);
  });

  it('is another matter when it is read into a shell', () => {
    expect(rulesOf('. bin/m.sh', '"$(dirname "${BASH_SOURCE[0]}")/../sub/x.sh"')).toEqual(['down-volumes']);
    expect(rulesOf('cd sub; . ../bin/m.sh; ../bin/m.sh', 'cd /; "${BASH_SOURCE%/*}/../sub/x.sh"')).toEqual([
      'down-volumes',
    ]);
  });

  it.each([
    ['${P%/*}', '/srv/shop'],
    ['${P##*/}', 'web.tar.gz'],
    ['${P#*/}', 'srv/shop/web.tar.gz'],
    ['${P%%.*}', '/srv/shop/web'],
    ['${P%.*}', '/srv/shop/web.tar'],
    ['${P%-*}', '/srv/shop/web.tar.gz'],
    ['$(dirname $P)', '/srv/shop'],
    ['$(dirname web)', '.'],
    ['$(basename $P .gz)', 'web.tar'],
  ])('%s is %s', (expression, value) => {
    const text = `P=/srv/shop/web.tar.gz; docker compose -p ${expression} down -v`;
    expect(judge(text).findings.map(({ command }) => command)).toEqual([
      `docker compose -p ${value} down -v`,
    ]);
  });

  it('takes a name for what it is', () => {
    expect(
      rulesOf('bin/m.sh', '[ "$(basename "$0")" = m.sh ] && "$(dirname "$0")/$(basename x.sh .sh)"'),
    ).toEqual([]);
    expect(rulesOf('bin/m.sh', 'cd "$(dirname "$0")"; ./x.sh')).toEqual([]);
  });

  it('follows links where the script does', () => {
    const script = (folder: string): string => `cd "${folder}"; ${bad}`;
    const folderOf = (text: string): (string | undefined)[] =>
      judge('./reset.sh', {
        cwd: '/srv/test',
        read: (path) => (path === '/srv/test/reset.sh' ? text : undefined),
        real: (path) => (path === '/srv/test/reset.sh' ? '/srv/prod/reset.sh' : undefined),
      }).findings.map((finding) => finding.cwd);
    expect(folderOf(script('$(dirname "$0")'))).toEqual(['/srv/test']);
    expect(folderOf(script('$(dirname "$(readlink -f "$0")")'))).toEqual(['/srv/prod']);
    expect(folderOf(script('$(dirname $(realpath ./reset.sh))'))).toEqual(['/srv/prod']);
  });
});

describe('what package managers and their like run', () => {
  const bad = 'docker compose down -v';
  const texts: Record<string, string> = {
    '/srv/package.json': JSON.stringify({
      workspaces: ['libs/*'],
      scripts: {
        reset: bad,
        test: 'vitest',
        pretest: 'docker compose up -d',
        dc: 'docker compose',
        all: 'run-s "reset:*"',
      },
    }),
    '/srv/api/package.json': JSON.stringify({ scripts: { wipe: './wipe.sh' } }),
    '/srv/api/wipe.sh': bad,
    '/srv/libs/db/package.json': JSON.stringify({ scripts: { wipe: bad, test: bad } }),
    '/srv/deno.json': JSON.stringify({ tasks: { wipe: bad } }),
    '/srv/Makefile': `reset:\n\t${bad}\nbuild:\n\tcc x.c\n`,
    '/srv/reset.sh': bad,
    '/srv/reset.ts': `import { execSync } from 'node:child_process';\nexecSync('${bad}');\n`,
    '/srv/scripts/reset.py': `import os\nos.system('${bad}')\n`,
    '/srv/check.rb': `system "${bad}"\n`,
    '/srv/reset.exp': 'spawn docker volume prune\nexpect y\nsend "y\\r"\n',
  };
  const rulesOf = (text: string): string[] =>
    judge(text, { cwd: '/srv', read: (path) => texts[path] }).findings.map((finding) => finding.rule);

  it.each([
    ...[
      'bun run reset',
      'bun reset',
      'node --run reset',
      'npm-run-all reset',
      'run-s test reset',
      'run-p reset',
    ],
    ...[
      'npm --prefix api run wipe',
      'npm -C api run wipe',
      'npm run --prefix api wipe',
      'npm --prefix=api run wipe',
    ],
    ...['npm -w api run wipe', 'npm run wipe --workspace=api', 'npm run wipe -w @shop/db', 'npm -w db t'],
    ...[
      'yarn --cwd api wipe',
      'yarn --cwd=api wipe',
      'yarn workspace api wipe',
      'yarn workspace @shop/db run wipe',
    ],
    ...[
      'pnpm -C api wipe',
      'pnpm --dir api wipe',
      'pnpm --filter api run wipe',
      'pnpm run --filter ./api wipe',
    ],
    ...['bun --cwd api run wipe', 'deno task wipe', 'yarn dc down -v', 'npm run dc -- down -v'],
    ...[
      'retry 3 ./reset.sh',
      'retry 3 make reset',
      'npx dotenv -- npm run reset',
      'cross-env A=1 make reset',
    ],
    ...['concurrently "npm run reset"', 'concurrently npm:reset', 'nodemon --exec "npm run reset"'],
    ...['nodemon --exec npm run reset', 'entr make reset', 'watchexec make reset', 'watch ./reset.sh'],
    ...['some-wrapper make reset', 'some-wrapper -v npm run reset'],
    ...[
      'tmux new -d ./reset.sh',
      'tmux new -d make reset',
      "tmux new -s x './reset.sh'",
      'screen -dmS x ./reset.sh',
    ],
    ...[
      'tsx reset.ts',
      'tsx watch reset.ts',
      'npx tsx reset.ts',
      'pnpm tsx reset.ts',
      'npm exec tsx reset.ts',
    ],
    ...['ts-node reset.ts', 'vite-node reset.ts', 'zx reset.ts', 'deno run -A reset.ts', 'bun run reset.ts'],
    ...['node --env-file .env reset.ts', 'node --loader x reset.ts', 'node --import x reset.ts'],
    ...['python3 -m scripts.reset', 'python3 -m pdb scripts/reset.py', 'ruby check.rb', 'expect reset.exp'],
    ...['expect -f reset.exp', 'git bisect run make reset'],
  ])('%s is a refusal', (text) => {
    expect(rulesOf(text)).not.toEqual([]);
  });

  it.each([
    ...[
      'npm test',
      'npm t',
      'npm ci',
      'npm run dc -- ps',
      'yarn dc ps',
      'bun run test',
      'yarn workspace api test',
    ],
    ...['npm --prefix api test', 'retry 3 make build', 'tmux new -d make build', 'concurrently "npm test"'],
    ...[
      'apk add make bash',
      'npx eslint reset.ts',
      'npx tsc --noEmit reset.ts',
      'npm test -- -t "docker volume prune"',
    ],
    ...[
      'node --check reset.ts',
      'node -c reset.ts',
      'python3 -m py_compile scripts/reset.py',
      'ruby -c check.rb',
    ],
    ...['tmux attach -t reset', 'watch cat reset.sh', 'scp reset.sh prod:'],
  ])('%s is not', (text) => {
    expect(rulesOf(text)).toEqual([]);
  });
});

describe('what just runs', () => {
  const texts: Record<string, string> = {
    '/srv/justfile': `
dc := "docker compose"
default:
    @just --list
[confirm]
reset target='prod': stop && after
    @{{dc}} -p {{target}} down -v
alias r := reset
stop:
    {{ dc }} stop
after:
    echo done
c *args:
    docker compose {{args}}
pass +args:
    docker compose "$@"
two a b:
    docker compose {{a}} {{b}}
wipe: (c "down" "-v")
py:
    #!/usr/bin/env python3
    import os
    os.system("docker compose down -v")
sh:
    #!/usr/bin/env bash
    set -e
    if true; then
      docker compose \\
        down --volumes
    fi
long:
    docker compose \\
      down --volumes
up:
    docker compose up -d
import 'more.just'
`,
    '/srv/more.just': 'more:\n  docker volume prune\n',
    '/srv/deploy/justfile': 'wipe:\n  ./x.sh\nback:\n\tjust --justfile ../justfile up\n',
    '/srv/deploy/x.sh': 'docker compose down -v',
    '/opt/Justfile': 'x := `docker volume prune`\nup:\n  docker compose up -d\n',
  };
  const rulesOf = (text: string): string[] =>
    judge(text, { cwd: '/srv', read: (path) => texts[path] }).findings.map((finding) => finding.rule);

  it.each([
    ...[
      'just reset',
      'just r',
      'just reset staging',
      'just dc="podman compose" reset',
      'just stop reset',
      'sudo just r',
    ],
    ...['just c down -v', 'just c "down -v"', 'just pass down -v', 'just two down -v', 'just two down -v up'],
    ...['just wipe', 'just py', 'just sh', 'just long', 'just more', 'just -c docker compose down -v'],
    ...['just deploy/wipe', 'cd deploy && just wipe', 'just -f deploy/justfile wipe', 'cd sub; just reset'],
    ...['just $RECIPE', 'just two down $X', 'just up $RECIPE', 'cd /opt && just up'],
  ])('%s is a refusal', (text) => {
    expect(rulesOf(text)).not.toEqual([]);
  });

  it.each([
    ...[
      'just',
      'just up',
      'just stop',
      'just after',
      'just c ps',
      'just c down',
      'just pass ps',
      'just two ps -a',
    ],
    ...['just -n reset', 'just --show reset', 'just --list', 'just c logs $SERVICE', 'just nothing'],
    ...['just deploy/nothing', 'just deploy/back', 'just "$@"'],
  ])('%s is not', (text) => {
    expect(rulesOf(text)).toEqual([]);
  });
});

describe('what task runs', () => {
  const texts: Record<string, string> = {
    '/srv/Taskfile.yml': `# yaml-language-server: $schema=https://taskfile.dev/schema.json
version: '3'

vars:
  DC: docker compose
  PROJECT:
    sh: basename "$PWD"
env: {STAGE: prod}
includes:
  db: ./db
  ops:
    taskfile: ops/tasks.yaml
    dir: ./ops
    aliases: [o, op]
  flat:
    taskfile: ./flat.yml
    flatten: true
dotenv: ['.env']

tasks:
  default:
    cmds: [task --list]
  reset:
    desc: "all gone: really"
    prompt: docker compose down -v?
    aliases: [r, wipe]
    deps:
      - stop
      - task: build
    cmds:
      - echo reset
      - docker compose down --volumes   # and the data
  stop: docker compose stop
  build:
    - docker compose build
    - docker compose pull
  short: {cmds: [echo a, 'docker compose down -v']}
  quoted:
    cmds:
    - "docker compose -p \\"shop\\" down -v"
  block:
    cmds:
      - |
        set -e
        if true; then
          docker compose down -v
        fi
  folded:
    cmds:
      - cmd: >-
          docker compose
          down -v
        silent: true
  lines:
    cmds:
      - docker compose
        down -v
  needs:
    deps: [stop, reset]
  calls:
    cmds:
      - echo a
      - task: dc
        vars: {WHAT: down -v}
  dc:
    cmd: '{{.DC}} {{.WHAT | default "ps"}}'
  args:
    cmds: ['docker compose {{.CLI_ARGS}}']
  own:
    vars:
      WHAT: ps
    cmds: ['docker compose {{.WHAT}}']
  end:
    cmds:
      - docker compose up
      - defer: docker compose down -v
  end-task:
    cmds: [{defer: {task: reset}}]
  asked:
    preconditions:
      - sh: docker volume prune -f
        msg: docker compose down -v
  wanted:
    preconditions:
      - docker volume prune -f
  known:
    status: [docker volume prune -f]
  long:
    cmds:
${'      - docker compose ps\n'.repeat(30)}      - docker compose down -v
  computed:
    vars: {X: {sh: docker volume prune -f}}
    cmds: ['echo {{.X}}']
  'stop-*':
    cmds: ['docker compose stop {{index .MATCH 0}}']
  '*-down':
    cmds: ['docker compose -p {{index .MATCH 0}} down -v']
  each:
    cmds:
      - for: [a, b]
        cmd: docker volume rm {{.ITEM}}
  below:
    dir: sub
    cmds: [./x.sh]
  here: {dir: '{{.USER_WORKING_DIR}}', cmds: [./x.sh]}
  beside: {dir: '{{.TASKFILE_DIR}}/sub', cmds: [./x.sh]}
  direct: ./x.sh
  top: {cmds: ['{{.ROOT_DIR}}/sub/x.sh']}
  all:
    cmds: [task: db:drop]
  chosen: {cmds: [{task: 're{{.WHICH}}'}]}
  other: {cmds: [{task: 'st{{.WHICH}}'}]}
  loop:
    cmds: [{task: loop}]
  up:
    desc: docker compose down -v
    cmds:
      - docker compose up -d
      # - docker compose down -v
      - cmd: docker compose ps
        platforms: [linux]
`,
    '/srv/sub/x.sh': 'docker compose down -v',
    '/srv/ops/x.sh': 'docker compose down -v',
    '/srv/db/Taskfile.yml': `version: 3
tasks:
  default: {cmds: [docker volume prune]}
  drop:
    cmds:
      - task: really
      - task: :stop
  really: docker compose down -v
  back:
  - task: :reset
  ls: docker volume ls
`,
    '/parts/Taskfile.yml':
      'version: 3\nincludes: {db: ../srv/db}\ntasks:\n  up: &up docker compose up -d\n  all: # some\n    deps:\n      - db:drop # all of it\n',
    '~/Taskfile.yml': 'version: 3\ntasks: {mine: docker compose down -v}\n',
    '/only/Taskfile.yml': 'version: 3\nincludes: {db: ../srv/db}\ntasks: {up: docker compose up -d}\n',
    '/anchor/Taskfile.yml': 'version: 3\ntasks:\n  x: &x docker compose down -v\n',
    '/srv/flat.yml': 'version: 3\ntasks:\n  plain: docker compose down -v\n  fine: docker compose ps\n',
    '/srv/ops/tasks.yaml': 'version: 3\ntasks:\n  x: ./x.sh\n',
    '/opt/taskfile.dist.yaml':
      'version: 3\nvars: {X: {sh: docker volume prune}}\ntasks: {up: docker compose up -d}\n',
    '/odd/Taskfile.yml': 'tasks:\n\tx: docker compose down -v\n  [{\n- - - "\n',
    '/many/Taskfile.yml': `tasks:\n${'  - x: ['.repeat(3000)}`,
    '/deep/Taskfile.yml': `tasks:\n  x: ${'['.repeat(20_000)}${']'.repeat(20_000)}\n  y: a${' '.repeat(60_000)}b\n`,
    '/grows/Taskfile.yml': `tasks:\n  x:\n    cmds: [{task: x, vars: {A: '{{.A}}docker'}}]\n`,
    '/itself/Taskfile.yml': `includes:\n${Array.from({ length: 20 }, (_, at) => `  a${at}: {taskfile: ., flatten: true}\n`).join('')}# docker\n`,
    '/fills/Taskfile.yml': `vars:\n  A: ${'docker'.repeat(5000)}\ntasks:\n  x: '${'{{.A}}'.repeat(5000)}'\n`,
  };
  const rulesOf = (text: string): string[] =>
    judge(text, { cwd: '/srv', read: (path) => texts[path] }).findings.map((finding) => finding.rule);

  it.each([
    ...[
      'task reset',
      'task r',
      'task wipe',
      'go-task reset',
      'task stop reset',
      'task -s -y reset',
      'sudo task r',
    ],
    ...['task short', 'task quoted', 'task block', 'task folded', 'task lines', 'task needs', 'task calls'],
    ...['task dc WHAT="down -v"', 'task DC="podman compose" WHAT="down -v" dc', 'task args -- down -v'],
    ...[
      'task end',
      'task end-task',
      'task asked',
      'task wanted',
      'cd /parts && task all',
      'cd /parts && task $X',
      'cd /parts && task "db:$X"',
      'cd /anchor && task x',
      'task -g mine',
      'cd /only && task $X',
      'cd /tmp && task -t /srv/Taskfile.yml -d /srv/ops direct',
      'task o:x',
      'task op:x',
      'task plain',
      'task known',
      'task long',
      'task computed',
      'task shop-down',
      'task each',
    ],
    ...[
      'task below',
      'task all',
      'cd sub && task here',
      'task beside',
      'task top',
      'task chosen',
      'task re$X',
      'task db',
      'task db:really',
      'task db:back',
      'task ops:x',
      'cd sub; task reset',
    ],
    ...['task -d /srv reset', 'task -t /srv/Taskfile.yml reset', 'task --taskfile=/srv/db really'],
    // Too much to follow, around a docker command.
    ...['cd /grows && task x', 'cd /fills && task x', 'cd /itself && task x'],
    ...['task $TASK', 'cd /opt && task up', 'cd /opt && task --dry up', 'cd /tmp; task -t ../srv/db'],
  ])('%s is a refusal', (text) => {
    expect(rulesOf(text)).not.toEqual([]);
  });

  it.each([
    ...[
      'task',
      'task up',
      'task stop',
      'task build',
      'task dc',
      'task dc WHAT=ps',
      'task own WHAT="down -v"',
    ],
    ...[
      'task args -- ps',
      'task args',
      'task stop-web',
      'task db:ls',
      'task loop',
      'task nothing',
      'task other',
      'task here',
      'task fine',
      'task direct',
      'cd /parts && task up$X',
      'cd /parts && task -g x',
      'task db:plain',
      'task st$X',
      'task "$@"',
    ],
    ...[
      'task --dry reset',
      'task -n reset',
      'task --list',
      'task --summary reset',
      'task -h',
      'task db:nothing',
    ],
    ...[
      'cd /tmp && task reset',
      'cd /odd && task x',
      'cd /many && task x',
      'task -d /tmp reset',
      'task ops:reset',
    ],
  ])('%s is not', (text) => {
    expect(rulesOf(text)).toEqual([]);
  });
});

describe('what composer runs', () => {
  const scripts = {
    reset: ['@putenv A=1', '@php artisan config:clear', 'docker compose down -v'],
    all: ['@stop', '@reset'],
    stop: 'docker compose stop',
    loop: ['@loop', '@composer loop'],
    dc: 'docker compose',
    php: `@php -r 'system("docker compose down -v");'`,
    aimed: ['@putenv COMPOSE=down -v', 'docker compose $COMPOSE'],
  };
  const texts: Record<string, string> = {
    '/srv/composer.json': JSON.stringify({ scripts }),
    '/srv/package.json': JSON.stringify({ scripts: { wipe: 'docker volume prune' } }),
    '/srv/app/composer.json': JSON.stringify({ scripts: { wipe: 'docker volume prune' } }),
  };
  const rulesOf = (text: string): string[] =>
    judge(text, { cwd: '/srv', read: (path) => texts[path] }).findings.map((finding) => finding.rule);

  it.each([
    ...['composer reset', 'composer run reset', 'composer run-script reset', 'composer all', 'composer php'],
    ...[
      'composer dc down -v',
      'composer dc -- down -v',
      'composer -d app wipe',
      'composer --working-dir=app wipe',
    ],
    'composer aimed',
  ])('%s is a refusal', (text) => {
    expect(rulesOf(text)).not.toEqual([]);
  });

  it.each([
    ...['composer', 'composer stop', 'composer loop', 'composer install --no-dev', 'composer require x/y'],
    ...['composer dc ps', 'composer wipe', 'composer test'],
  ])('%s is not', (text) => {
    expect(rulesOf(text)).toEqual([]);
  });
});
