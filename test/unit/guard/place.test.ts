import { describe, expect, it } from 'vitest';
import { judge } from '../../../src/guard/shell.ts';
import type { Finding } from '../../../src/guard/verdict.ts';

const of = (text: string): Finding => {
  const [finding, ...more] = judge(text, { cwd: '/srv/shop' }).findings;
  if (finding === undefined || more.length > 0) throw new Error(`one finding expected: ${text}`);
  return finding;
};

describe('a bind mount that holds data', () => {
  it.each([
    ['/srv/shop/pg', '/srv/shop', 'rm -rf pg'],
    ['/home/anna/shop/pg', '/home/anna/shop', 'rm -rf pg'],
    ['/home/anna/shop/pg', '/tmp', 'rm -rf /home/anna/shop/pg/base'],
    ['/root/shop/pg', '/root/shop', 'rm -rf ../shop'],
    ['/home/anna/shop/pg', '/home/anna', 'mv ~/shop/pg /tmp'],
  ])('%s, from %s: %s is refused', (bind, cwd, text) => {
    expect(judge(text, { cwd, dataPaths: [bind] }).findings.map(({ rule }) => rule)).toEqual(['data-path']);
  });

  it.each([
    ['/home/anna/shop/pg', '/home/anna/shop', 'rm -rf pg2'],
    ['/home/anna/shop/pg', '/home/anna/other', 'rm -rf shop'],
    ['/srv/shop/pg', '/home/anna/shop', 'rm -rf pg'],
  ])('%s, from %s: %s is not', (bind, cwd, text) => {
    expect(judge(text, { cwd, dataPaths: [bind] }).findings).toEqual([]);
  });
});

describe('where a command would act', () => {
  it.each([
    ['docker volume rm x', '/srv/shop'],
    ['cd /srv/other && docker volume rm x', '/srv/other'],
    ['cd ../other; docker volume rm x', '/srv/other'],
    ['(cd /tmp); docker volume rm x', '/srv/shop'],
    ['env -C /opt docker volume rm x', '/opt'],
    ['cd "$WHERE" && docker volume rm x', undefined],
    ['docker exec db rm -rf /var/lib/mysql', '/srv/shop'],
  ])('%s: in the folder %s', (text, cwd) => {
    expect(of(text).cwd).toBe(cwd);
  });

  it.each([
    ['docker compose down -v', undefined, undefined],
    [
      'docker compose -f /srv/a/compose.yaml -f b.yml down -v',
      '/srv/a',
      ['/srv/a/compose.yaml', '/srv/shop/b.yml'],
    ],
    ['docker compose --project-directory ../x -f a.yml down -v', '/srv/x', ['/srv/shop/a.yml']],
    ['COMPOSE_FILE=sub/c.yml docker compose down -v', '/srv/shop/sub', ['/srv/shop/sub/c.yml']],
    ['export COMPOSE_FILE=/q/c.yml; docker compose down -v', '/q', ['/q/c.yml']],
  ])('%s: of the project in %s', (text, folder, files) => {
    expect(of(text)).toMatchObject({ ...(folder === undefined ? {} : { folder, files }) });
    expect(of(text).folder).toBe(folder);
    expect(of(text).elsewhere).toBeUndefined();
  });

  it.each([
    'docker volume rm x',
    'docker --debug volume rm x',
    'nice timeout 5 docker volume rm x',
    "sh -c 'docker volume rm x'",
    'echo x | xargs docker volume rm',
    'f() { docker volume rm x; }; f',
    'for i in 1 2; do docker volume rm x; done',
    'docker compose --profile a --progress plain down -v',
    'env A=1 docker volume rm x',
  ])('%s: here', (text) => {
    const { elsewhere, through, within } = of(text);
    expect({ elsewhere, through, within }).toEqual({});
  });

  it.each([
    ['docker -H tcp://prod:2375 volume rm x', '--host tcp://prod:2375'],
    ['docker --context prod volume rm x', '--context prod'],
    ['docker -c prod volume rm x', '--context prod'],
    ['docker volume --host=ssh://prod rm x', '--host ssh://prod'],
    ['docker --config /x volume rm x', '--config /x'],
    ['docker $OPTS volume rm x', '?'],
    ['docker compose --context prod down -v', '--context prod'],
    ['docker --context prod compose down -v', '--context prod'],
    ['docker compose -p "$P" down -v', '?'],
    ['DOCKER_HOST=tcp://prod docker volume rm x', 'DOCKER_HOST=tcp://prod'],
    ['DOCKER_HOST=$X docker volume rm x', 'DOCKER_HOST=?'],
    ['export DOCKER_CONTEXT=prod; docker volume rm x', 'DOCKER_CONTEXT=prod'],
    ['unset DOCKER_HOST; docker volume rm x', 'DOCKER_HOST='],
    ['HOME=/home/other docker volume rm x', 'HOME=/home/other'],
    ['env DOCKER_HOST=tcp://prod docker volume rm x', 'DOCKER_HOST=tcp://prod'],
    ['env DOCKER_HOST=tcp://prod sh -c "docker volume rm x"', 'DOCKER_HOST=tcp://prod'],
    ['f() { docker volume rm x; }; DOCKER_HOST=tcp://prod f', 'DOCKER_HOST=tcp://prod'],
    ['f() { docker volume rm x; }; f; DOCKER_HOST=tcp://prod f', 'DOCKER_HOST=tcp://prod'],
    ['docker context use prod && docker volume rm x', 'DOCKER_CONTEXT=prod'],
    ['eval "$(docker-machine env prod)"; docker volume rm x', 'DOCKER_HOST=?'],
    ['. ./.env; docker volume rm x', 'DOCKER_HOST=?'],
    ['export $(cat .env); docker volume rm x', 'DOCKER_HOST=?'],
    ['ssh prod docker volume rm x', 'ssh prod docker volume rm x'],
    ["ssh prod 'sudo docker volume rm x'", "ssh prod 'sudo docker volume rm x'"],
    ['podman volume rm x', 'podman'],
    ['curl --unix-socket /run/docker.sock -X DELETE http://d/volumes/x', 'curl --unix-socket'],
  ])('%s: nobody here can say, because of %s', (text, what) => {
    expect(of(text).elsewhere?.join('\n')).toContain(what);
  });

  it.each([
    ['sudo docker volume rm x', 'sudo docker volume rm x'],
    ['su deploy -c "docker volume rm x"', 'su deploy'],
    ['env -i docker volume rm x', 'env -i'],
    ['retry 3 docker volume rm x', 'docker volume rm x'],
    [`python3 -c "import os; os.system('docker volume rm x')"`, 'docker volume rm x'],
    ['docker compose --env-file .env.prod down -v', '--env-file .env.prod'],
  ])('%s: perhaps here, started through %s', (text, what) => {
    expect(of(text).through?.join('\n')).toContain(what);
  });

  it('says what runs a command inside of a container', () => {
    expect(of('docker exec db rm -rf /var/lib/mysql').within).toBe('docker exec db rm -rf /var/lib/mysql');
    expect(of('docker volume rm x').within).toBeUndefined();
  });

  it('is nowhere for sure when the same line acts in two places', () => {
    const text = 'f() { docker compose down -v; }; cd /a; f; cd /b; f';
    expect(of(text).elsewhere).toEqual(['more than one place']);
  });

  it('names the containers whose volumes go', () => {
    expect(of('docker rm -fv a b').containers).toEqual(['a', 'b']);
    expect(of('docker rm -fv a "$B"').containers).toBeUndefined();
  });
});
