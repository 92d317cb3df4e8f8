/** Every command that loses data, by every front end, in every dress that scripts and people put on commands. */
import { describe, expect, it } from 'vitest';
import { judge } from '../../../src/guard/shell.ts';

const composeRows = [
  ...[
    'down -v',
    'down --volumes',
    'down --volume',
    'down -vt 1',
    'down -t1 -v',
    'down --volumes=T',
    'down web -v',
  ],
  ...['rm -v', 'rm -fsv', 'up -y', 'up -V', 'create -y'],
  ...['-f x.yml -p y --profile z down -v', 'exec db dropdb shop', 'run db rm -rf /var/lib/postgresql/data'],
];
const composeFronts = [
  'docker compose',
  'docker --context prod -H tcp://x compose',
  'docker-compose',
  'podman compose',
  'podman-compose',
  'nerdctl compose',
  '/usr/libexec/docker/cli-plugins/docker-compose compose',
];
const engineRows = [
  ...['volume rm data', 'volume remove -f data', 'volume prune -a', 'volume prune -f --filter all=1'],
  ...['volume prune', 'system prune -a --volumes', 'rm -v web', 'container rm -fv web'],
  ...['exec db rm -rf /var/lib/mysql', 'exec db dropdb shop', 'exec cache redis-cli FLUSHALL'],
  ...['run -v data:/x alpine rm -rf /x'],
];
const dockerRows = ['stack rm shop', 'swarm leave --force', 'plugin rm -f driver'];

const commands = [
  ...composeFronts.flatMap((front) => composeRows.map((row) => `${front} ${row}`)),
  ...['docker', 'podman', 'docker -H ssh://prod', 'nerdctl'].flatMap((front) =>
    engineRows.map((row) => `${front} ${row}`),
  ),
  ...dockerRows.map((row) => `docker ${row}`),
  'podman system reset',
  'colima delete',
  'rm -rf /var/lib/docker/volumes/shop_db',
];

const words = (command: string): string[] => command.split(' ');
const escaped = (text: string): string =>
  text.replace(/./g, (letter) => `\\x${letter.charCodeAt(0).toString(16)}`);

/** How a command can be written, as text of a shell. */
const dresses: Record<string, (command: string) => string> = {
  plain: (command) => command,
  'with quotes': (command) =>
    words(command)
      .map((word) => `'${word}'`)
      .join(' '),
  'with quotes inside of words': (command) =>
    words(command)
      .map((word) => `${word.slice(0, 1)}"${word.slice(1)}"`)
      .join(' '),
  'with backslashes': (command) =>
    words(command)
      .map((word) => `\\${word}`)
      .join(' '),
  'in $quotes': (command) =>
    words(command)
      .map((word) => `$'${escaped(word)}'`)
      .join(' '),
  'over several lines': (command) => words(command).join(' \\\n  '),
  'in braces': (command) => `{${words(command).join(',')}}`,
  'from another folder': (command) => `cd /srv/shop && ${command}`,
  'after a safe one': (command) => `docker compose ps; ${command}`,
  'with an environment': (command) => `A=1 B=2 ${command}`,
  'sudo env nice': (command) => `sudo -u x env A=1 nice -n 5 ${command}`,
  timeout: (command) => `timeout -k 5 60 ${command}`,
  nohup: (command) => `nohup ${command} &`,
  time: (command) => `time ${command}`,
  command: (command) => `command ${command}`,
  'sh -c': (command) => `sh -c '${command}'`,
  'bash -lc in bash -c': (command) => `bash -c "bash -lc '${command}'"`,
  ssh: (command) => `ssh -p 22 deploy@prod '${command}'`,
  'ssh without quotes': (command) => `ssh prod ${command}`,
  xargs: (command) => `echo ${words(command).at(-1) ?? ''} | xargs ${words(command).slice(0, -1).join(' ')}`,
  'find -exec': (command) => `find . -name x -exec ${command} \\;`,
  'in a substitution': (command) => `echo "it says $(${command})"`,
  'heredoc into a shell': (command) => `sh <<'END'\n${command}\nEND`,
  'echo into a shell': (command) => `echo '${command}' | sh`,
  eval: (command) => `eval "${command}"`,
  'in a function': (command) => `reset() {\n  ${command}\n}\nreset`,
  'front in a variable': (command) => `D=${words(command)[0] ?? ''}; $D ${words(command).slice(1).join(' ')}`,
  'all in a variable': (command) => `RUN='${command}'; $RUN`,
  'in an array': (command) => `run=(${command}); "\${run[@]}"`,
  'in a loop': (command) => `for i in 1 2; do ${command}; done`,
  'behind padding': (command) => `${'true; '.repeat(300)}${command}`,
  python: (command) => `python3 -c "import os; os.system('${command}')"`,
  node: (command) => `node -e "require('child_process').execSync('${command}')"`,
};

/** Files that hold a command, and what runs it from there. */
const files: Record<string, { run: string; file: string; text: (command: string) => string }> = {
  'npm script': {
    run: 'npm run reset',
    file: 'package.json',
    text: (command) => JSON.stringify({ scripts: { reset: command } }),
  },
  Makefile: { run: 'make reset', file: 'Makefile', text: (command) => `reset:\n\t${command}\n` },
  script: { run: './reset.sh', file: 'reset.sh', text: (command) => `#!/bin/sh\nset -e\n${command}\n` },
};

const rulesOf = (text: string, read?: (path: string) => string | undefined): string[] => [
  ...new Set(judge(text, read === undefined ? {} : { read }).findings.map(({ rule }) => rule)),
];

describe('every command that loses data', () => {
  it('is refused as it stands', () => {
    for (const command of commands) expect(rulesOf(command), command).toHaveLength(1);
  });

  it.each(Object.entries(dresses))('is refused by the same rule %s', (_, dress) => {
    for (const command of commands) expect(rulesOf(dress(command)), dress(command)).toEqual(rulesOf(command));
  });

  it.each(Object.entries(files))('is refused by the same rule from a %s', (_, { run, file, text }) => {
    for (const command of commands) {
      const read = (path: string): string | undefined => (path.endsWith(file) ? text(command) : undefined);
      expect(rulesOf(run, read), `${run}: ${command}`).toEqual(rulesOf(command));
    }
  });

  it('and all of them in a loop over what the engine lists', () => {
    expect(rulesOf('for v in $(docker volume ls -q); do docker volume rm $v; done')).toEqual(['volume-rm']);
    expect(rulesOf('docker volume ls -q | xargs docker volume rm')).toEqual(['volume-rm']);
  });
});
