import { describe, expect, it } from 'vitest';
import { sarif } from '../../../src/guard/scan/sarif.ts';
import { scanText } from '../../../src/guard/scan/scan.ts';
import { readCorpus } from './corpus.ts';

const bad = 'docker compose down -v';

/** `line:column rule` of everything that is found and not ignored. */
function found(path: string, text: string, markdown = true): string[] {
  return scanText(path, text, { markdown })
    .filter((one) => one.ignored === undefined)
    .map((one) => `${one.line}:${one.column} ${one.finding.rule}`);
}

describe('a scan', () => {
  it('passes the whole corpus, as scripts', () => {
    for (const { text, expected } of readCorpus())
      expect(scanText('x.sh', text, { markdown: false }).length > 0, text).toBe(expected !== 'allow');
  });

  it('passes the whole corpus, as a runbook', () => {
    for (const { text, expected, rule } of readCorpus()) {
      if (rule?.includes('unreadable') === true || text.includes('```')) continue;
      const page = `# Page\n\n~~~bash\n${text}\n~~~\n`;
      expect(scanText('x.md', page, { markdown: true }).length > 0, text).toBe(expected !== 'allow');
    }
  });

  it('passes the whole corpus, as steps of a Jenkinsfile', () => {
    const quoted = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll("'''", "\\'''");
    for (const { text, expected } of readCorpus()) {
      const file = `pipeline { stages { stage('x') { steps {\n  sh '''\n${quoted(text)}\n'''\n} } } }\n`;
      expect(scanText('Jenkinsfile', file, { markdown: false }).length > 0, text).toBe(expected !== 'allow');
    }
  });

  it('finds the place in a script', () => {
    expect(found('deploy.sh', `#!/bin/sh\nset -e\n  cd x && ${bad}\n`)).toEqual(['3:11 down-volumes']);
  });

  it('knows a script by its first line', () => {
    expect(found('bin/deploy', `#!/usr/bin/env bash\n${bad}\n`)).toEqual(['2:1 down-volumes']);
    expect(found('bin/deploy', `${bad}\n`)).toEqual([]);
    expect(found('notes.txt', `${bad}\n`)).toEqual([]);
  });

  it('reads the recipes of a Makefile', () => {
    const text = `D := docker compose\n# ${bad}\nall: reset\n\nreset:\n\t@echo "${bad}"\n\t@$(D) down -v\n`;
    expect(found('Makefile', text)).toEqual(['7:2 down-volumes']);
    expect(found('Makefile', `A = 1\nLOST := $(shell ${bad})\n`)).toEqual(['2:1 down-volumes']);
    const defined = `define lose\n${bad}\nendef\nx:\n\t$(lose)\n`;
    expect(found('Makefile', defined)).toEqual(['5:2 down-volumes']);
  });

  it('reads the recipes of a justfile', () => {
    const text = `d := "docker compose"\n# ${bad}\nreset: stop\n    echo "${bad}"\n    @{{d}} down -v\nstop *s:\n  {{d}} stop {{s}}\n`;
    expect(found('justfile', text)).toEqual(['5:5 down-volumes']);
    expect(found('ops/.justfile', `x:\n  #!/bin/sh\n  if true; then\n  ${bad}\n  fi\n`)).toEqual([
      '4:3 down-volumes',
    ]);
    expect(found('db.just', `wipe: (c "down" "-v")\nc *a:\n  docker compose {{a}}\n`)).toEqual([
      '3:3 down-volumes',
    ]);
  });

  it('reads the sh steps of a Jenkinsfile', () => {
    const text = [
      "stage('docker compose down -v') {",
      `  // sh '${bad}'`,
      `  echo '${bad}'; push '${bad}'`,
      `  sh '${bad}'`,
      `  sh(label: 'x', returnStatus: true, script: "docker compose -p \${env.A.collect{ it }} down -v")`,
      '  sh """',
      '    set -e',
      '    docker \\\\',
      '      compose down \\\\',
      '      -v',
      '  """',
      `  sh "echo it\\\\'s \\"${bad}\\""`,
      `  sh script: 'echo \\'; ${bad}\\''`,
      "  sh 'docker compose up -d'",
      `  sh "unclosed ${bad}`,
      '}',
    ].join('\n');
    const expected = ['4:7 down-volumes', '5:47 down-volumes', '8:5 down-volumes', '15:7 down-volumes'];
    expect(found('Jenkinsfile', text)).toEqual(expected);
    expect(found('ci/deploy.jenkinsfile', text)).toEqual(expected);
    // What Groovy puts in has strings of its own.
    expect(found('Jenkinsfile', 'sh "docker compose -p ${names["a"]} down -v"')).toEqual([
      '1:5 down-volumes',
    ]);
    expect(found('Jenkinsfile', 'sh "docker compose -p ${names["a"]} up -d"')).toEqual([]);
    // A line feed for Groovy, and a backslash for the shell.
    expect(found('Jenkinsfile', `sh 'echo a\\n${bad}'`)).toEqual(['1:13 down-volumes']);
    expect(found('Jenkinsfile', `sh 'echo a\\\\n${bad}'`)).toEqual([]);
    expect(found('Jenkinsfile.prod', 'sh "${tool} volume rm x"')).toEqual(['1:5 volume-rm']);
  });

  it('reads what a shell reads when it starts, and the hooks of Husky', () => {
    const text = `alias x='ls'\nwipe() { ${bad}; }\nalias nuke='${bad}'\n`;
    for (const path of [
      '.zshrc',
      'home/.bash_aliases',
      'dotfiles/bashrc',
      '.envrc',
      '.profile',
      '.husky/pre-push',
    ])
      expect(found(path, text), path).toEqual(
        path.startsWith('.husky') ? ['2:10 down-volumes'] : ['2:10 down-volumes', '3:13 down-volumes'],
      );
    for (const path of ['profile', 'aliases', 'zshrc.md', '.husky/_/x.txt', 'x.envrc'])
      expect(found(path, text), path).toEqual([]);
  });

  it('reads the scripts of a composer.json', () => {
    const text = JSON.stringify({ scripts: { build: 'tsc', reset: ['@stop', bad] } }, null, 2);
    expect(found('composer.json', text)).toEqual(['6:7 down-volumes']);
  });

  it('reads the scripts of a package.json', () => {
    const text = JSON.stringify({ description: bad, scripts: { build: 'tsc', reset: bad } }, null, 2);
    expect(found('app/package.json', text)).toEqual(['5:14 down-volumes']);
    expect(found('app/package.json', '{')).toEqual([]);
  });

  it('reads GitHub workflows', () => {
    const text = `on: push
jobs:
  deploy:
    steps:
      - uses: actions/checkout@v4
      - name: ${bad}
        run: ${bad}
      - run: |
          docker compose pull
          ${bad}
      - run: >-
          docker compose
          down -v
      - run: docker compose -p \${{ inputs.project }} down -v
      - run: docker compose down \${{ inputs.flags }}
      - run: docker compose up -d \${{ inputs.service }}
`;
    expect(found('.github/workflows/deploy.yml', text)).toEqual([
      '7:14 down-volumes',
      '10:11 down-volumes',
      '11:14 down-volumes',
      '14:14 down-volumes',
      '15:14 unknown',
    ]);
  });

  it('reads GitLab, Taskfile and Ansible', () => {
    expect(found('.gitlab-ci.yml', `deploy:\n  script:\n    - docker compose pull\n    - ${bad}\n`)).toEqual([
      '4:7 down-volumes',
    ]);
    expect(found('Taskfile.yml', `tasks:\n  reset:\n    cmds:\n      - ${bad}\n`)).toEqual([
      '4:9 down-volumes',
    ]);
    const tasks = `tasks:\n  a: ${bad}\n  b:\n    - ls\n    - ${bad}\n  c:\n    cmds:\n      - defer: ${bad}\n    desc: ${bad}\n`;
    expect(found('Taskfile.yml', tasks)).toEqual([
      '2:6 down-volumes',
      '5:7 down-volumes',
      '8:16 down-volumes',
    ]);
    const play = `- hosts: all\n  tasks:\n    - name: x\n      ansible.builtin.shell: cd {{ dir }} && ${bad}\n    - command:\n        cmd: ${bad}\n`;
    expect(found('play.yml', play)).toEqual(['4:46 down-volumes', '6:14 down-volumes']);
  });

  it('reads modules of Ansible as the commands that do the same', () => {
    const play = (task: string): string => `- hosts: all\n  tasks:\n    - ${task}\n`;
    for (const [task, rule] of [
      [
        'community.docker.docker_compose_v2: { project_src: /srv, state: absent, remove_volumes: true }',
        'down-volumes',
      ],
      ['docker_compose: project_src=/srv state=absent remove_volumes=yes', 'down-volumes'],
      ['docker_compose_v2: { state: "{{ state }}", remove_volumes: "{{ all }}" }', 'down-volumes'],
      ['docker_compose_v2: { project_src: /srv, renew_anon_volumes: true }', 'renew-volumes'],
      ['community.docker.docker_prune: { images: true, volumes: yes }', 'volume-prune'],
      ['docker_volume: { name: shop_db, state: absent }', 'volume-rm'],
      ['docker_volume: name="{{ project }}_db" state=absent', 'volume-rm'],
      ['community.docker.docker_volume: { name: shop_db, recreate: always }', 'volume-rm'],
      ['docker_container: { name: db, state: absent, keep_volumes: false }', 'rm-volumes'],
      ['docker_container_exec: { container: db, command: dropdb shop }', 'payload-database'],
      ['docker_compose_v2_exec: { service: db, argv: [dropdb, shop] }', 'payload-database'],
      ['containers.podman.podman_volume: { name: shop_db, state: absent }', 'volume-rm'],
      ['containers.podman.podman_prune: { volume: true }', 'volume-prune'],
      ['containers.podman.podman_prune: { system: true, system_volumes: true }', 'system-prune'],
      ['ansible.builtin.file: { path: /var/lib/docker/volumes/shop_db, state: absent }', 'data-path'],
    ])
      expect(found('play.yml', play(task ?? '')), task).toEqual([`3:7 ${rule ?? ''}`]);
    const [templated] = scanText('play.yml', play('docker_volume: name="{{ p }}_db" state=absent'), {
      markdown: false,
    });
    expect(templated?.finding.command).toBe('docker volume rm ?_db');
    for (const task of [
      'docker_compose_v2: { project_src: /srv, state: absent }',
      'docker_compose_v2: { project_src: /srv, state: present, remove_volumes: true }',
      'docker_prune: { images: true, volumes: false }',
      'docker_volume: { name: shop_db }',
      'docker_container: { name: db, state: absent }',
      'docker_container: { name: db, state: absent, keep_volumes: true }',
      'docker_container_exec: { container: db, command: pg_dump shop }',
      'ansible.builtin.file: { path: /tmp/x, state: absent }',
      'file: { path: /var/lib/docker/volumes/shop_db, state: directory }',
      'other.docker.docker_volume: { name: shop_db, state: absent }',
    ])
      expect(found('play.yml', play(task)), task).toEqual([]);
  });

  it('reads fish line by line', () => {
    const text = `function wipe\n  ${bad}\nend\nif test -e x; and true\n  and docker volume rm (docker volume ls -q)\nend\n# ${bad}\necho (date)\n`;
    expect(found('up.fish', 'if docker compose ps -q\n  docker compose up -d\nend\n')).toEqual([]);
    expect(found('conf.d/wipe.fish', text)).toEqual(['2:3 down-volumes', '5:3 volume-rm']);
  });

  it('reads the commands of a compose file as words', () => {
    const text = `services:\n  janitor:\n    image: docker\n    command: ["sh", "-c", "docker volume prune -f"]\n  db:\n    command: postgres -c x=y\n    healthcheck:\n      test: ["CMD-SHELL", "pg_isready"]\n`;
    expect(found('compose.yml', text)).toEqual(['4:14 volume-prune']);
  });

  it('reads Dockerfiles, but not their folders', () => {
    const text = `FROM docker\nRUN rm -rf /var/lib/docker \\\n  # a comment\n  && ${bad}\nCMD ["docker", "volume", "prune", "-f"]\nLABEL x="${bad}"\n`;
    expect(found('Dockerfile.prod', text)).toEqual(['4:6 down-volumes', '5:5 volume-prune']);
  });

  it('reads systemd units and crontabs', () => {
    expect(found('x.service', `[Service]\nExecStartPre=-/usr/bin/${bad}\n# ExecStop=${bad}\n`)).toEqual([
      '2:15 down-volumes',
    ]);
    expect(found('etc/cron.d/x', `# ${bad}\n0 4 * * * root cd /srv && ${bad}\n`)).toEqual([
      '2:27 down-volumes',
    ]);
  });

  it('reads Markdown only when asked to', () => {
    const text = `# Reset\n\nNever \`${bad}\`.\n\n1. Like this:\n\n   \`\`\`bash\n   cd x\n   ${bad}\n   \`\`\`\n\n    ${bad}\n`;
    expect(found('README.md', text, false)).toEqual([]);
    expect(found('README.md', text)).toEqual(['9:4 down-volumes']);
  });

  it('reads what is typed in a session, not what is printed', () => {
    const text = `\`\`\`console\n$ docker compose ps\n${bad}\nroot@prod:/srv# ${bad}\n\`\`\`\n`;
    expect(found('README.md', text)).toEqual(['4:17 down-volumes']);
  });

  it('does not stumble over placeholders and drawings', () => {
    const text = `\`\`\`\n├── docker (x)\n└── volumes\n\`\`\`\n\n\`\`\`bash\ndocker logs <container>\n\`\`\`\n`;
    expect(found('README.md', text)).toEqual([]);
  });

  it('ignores a line with a reason beside it, and no line without', () => {
    const marked = (comment: string): string => `${bad} # safe-update-guard: allow${comment}\n`;
    expect(found('x.sh', marked(' the test stack has nothing to lose'))).toEqual([]);
    expect(found('x.sh', marked(''))).toEqual(['1:1 down-volumes']);
    expect(found('x.sh', `# safe-update-guard: allow a test stack\n${bad}\n${bad}\n`)).toEqual([
      '3:1 down-volumes',
    ]);
    expect(found('x.md', `<!-- safe-update-guard: allow -->\n~~~sh\n${bad}\n~~~\n`)).toEqual([
      '3:1 down-volumes',
    ]);
  });

  it('does not fail over what is no YAML, JSON or text', () => {
    for (const path of [
      'x.yml',
      'package.json',
      'Dockerfile',
      'Makefile',
      'x.md',
      'x.service',
      'crontab',
      'Jenkinsfile',
    ])
      for (const text of ['', '\0', '{', '- [', '\t', '```', ':', '%', '&a *a', '\\\n\\', 'sh "${', "sh '\\"])
        expect(() => found(path, text)).not.toThrow();
  });
});

describe('SARIF', () => {
  const text = `${bad}\ndocker volume prune # safe-update-guard: allow a test machine\n`;
  const log = sarif(scanText('a b/x.sh', text, { markdown: false }), '1.2.3') as {
    version: string;
    runs: {
      tool: { driver: { rules: { id: string }[] } };
      results: { ruleId: string; ruleIndex: number; locations: unknown[]; suppressions?: unknown[] }[];
    }[];
  };

  it('says what and where', () => {
    const { tool, results } = log.runs[0]!;
    const first = results[0]!;
    expect(log.version).toBe('2.1.0');
    expect(first.ruleId).toBe('down-volumes');
    expect(tool.driver.rules[first.ruleIndex]?.id).toBe('down-volumes');
    expect(first.locations).toEqual([
      {
        physicalLocation: {
          artifactLocation: { uri: 'a%20b/x.sh' },
          region: { startLine: 1, startColumn: 1, endLine: 1, endColumn: bad.length + 1 },
        },
      },
    ]);
  });

  it('has what is ignored, with its reason', () => {
    expect(log.runs[0]!.results[1]!.suppressions).toEqual([
      { kind: 'inSource', justification: 'a test machine' },
    ]);
  });
});
