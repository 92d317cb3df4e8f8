import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { docker, testLabel } from '../e2e/docker.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** For all users, and by root alone: so on a machine of its own, with a docker that says how it was called. */
it('stands before docker for everybody with --system, and goes without a trace', async () => {
  const script = `
    guard() { node /safe-update/dist/bin.cjs guard "$@"; }
    of_all() { find /etc /usr/local /home /root -type f -exec sha256sum {} + | sort; }
    say() { printf '%s: %s\\n' "$1" "$2"; }
    printf '#!/bin/sh\\necho called "$@"\\n' > /usr/bin/docker; chmod +x /usr/bin/docker
    ln -s /safe-update/node_modules/node/bin/node /usr/bin/node
    useradd --create-home --shell /bin/bash anna
    mkdir /etc/zsh; echo '# mine' > /etc/zsh/zshrc
    of_all > /tmp/before

    guard install shell --system --yes > /tmp/installed 2>&1; say installed $?
    say again "$(guard install shell --system --yes)"
    say zsh "$(grep -c safe-update/shims /etc/zsh/zshrc)"
    # Shells of a login and shells within one, root's and somebody's.
    asked() { say "$1" "$("$@" 2>&1 | grep -o 'refused: .*\\|called .*')"; }
    asked bash -lc 'docker compose down -v'
    asked bash -ic 'docker compose down -v'
    asked su - anna -c 'docker compose down -v'
    asked su anna -c 'bash -ic "docker compose down -v"'
    say harmless "$(su - anna -c 'docker compose ps')"
    say status "$(guard status | grep '^shell\\|^git' | tr -s ' ' | tr '\\n' '/')"
    mkdir /etc/safe-update; echo 'policy: warn' > /etc/safe-update/guard.yml
    say lenient "$(guard install shell --system --yes)"
    say status "$(guard status | grep ^shell | tr -s ' ')"
    rm -r /etc/safe-update
    guard uninstall shell --system --yes > /dev/null 2>&1; say uninstalled $?
    of_all > /tmp/after
    say left "$(diff /tmp/before /tmp/after)"
    say after "$(bash -lc 'docker compose down -v')"`;
  const said = await docker([
    ...['run', '--rm', '--label', `${testLabel}=guard-system`, '--network', 'none', '--init'],
    ...['--volume', `${root}:/safe-update:ro`, 'debian:bookworm-slim', 'bash', '-c', script],
  ]);
  const refused = 'refused: docker compose down -v';
  const lenient =
    'refuses nothing, and cannot be tried, as long as /etc/safe-update/guard.yml says "policy: warn"';
  expect(said.split('\n')).toEqual([
    'installed: 0',
    'again: shell --system: already installed, and "docker volume prune" was refused through it',
    'zsh: 2',
    `bash: ${refused}`,
    `bash: ${refused}`,
    `su: ${refused}`,
    `su: ${refused}`,
    'harmless: called compose ps',
    'status: shell --system installed refuses "docker volume prune"/git not installed/',
    `lenient: shell --system: already installed. It ${lenient}`,
    `status: shell --system installed ${lenient}`,
    'uninstalled: 0',
    'left: ',
    'after: called compose down -v',
  ]);
});
