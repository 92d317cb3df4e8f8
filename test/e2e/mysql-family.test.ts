import { expect, it } from 'vitest';
import { turn } from '../faults/campaign.ts';
import { docker } from './docker.ts';
import { buildImage, keeper, local } from './stack-small.ts';
import { eventually, expectNothingLeft, project, type Stack } from './stack.ts';

const fast = ['--yes', '--json', '--stable-for', '1s', '--verify-timeout', '90s', ...local];

const compose = (web: string): string => `
services:
  mariadb:
    image: mariadb:10.11
    command: [--innodb-flush-log-at-trx-commit=0]
    environment: { MARIADB_ROOT_PASSWORD: 'pa"$$s', MARIADB_DATABASE: shop }
    volumes: ['maria:/var/lib/mysql']
  mysql:
    image: mysql:9
    environment: { MYSQL_ROOT_PASSWORD: 'pa"$$s', MYSQL_DATABASE: shop }
    volumes: ['my:/var/lib/mysql']
  web:
    image: ${web}
    stop_grace_period: 0s
volumes: { maria: {}, my: {} }
`;

const servers = ['mariadb', 'mysql'] as const;

async function sql(stack: Stack, server: (typeof servers)[number], words: string): Promise<string> {
  const { Id } = await stack.container(server);
  const client = 'exec "$(command -v mariadb || command -v mysql)" -uroot -N -e "$1" shop';
  return docker(['exec', '--env', 'MYSQL_PWD', Id, 'sh', '-c', client, 'sh', words], {
    env: { MYSQL_PWD: 'pa"$s' },
  });
}

it.runIf(turn(0, 2))(
  'MariaDB and MySQL come back from their dumps after a hot update that failed, and stay in one that did not',
  async () => {
    const stack = await project({});
    await stack.write('compose.yaml', compose(await buildImage(stack, 'first', keeper())));
    await stack.up();
    for (const server of servers)
      await eventually(
        () => sql(stack, server, 'CREATE TABLE members AS SELECT 1 AS id UNION SELECT 2'),
        60_000,
      );

    await stack.write('compose.yaml', compose(await buildImage(stack, 'bad', keeper({ script: 'exit 1' }))));
    const bad = await stack.start([...fast, '--consistency', 'hot']).finished;
    expect(bad.exitCode, bad.story).toBe(4);
    for (const server of servers) expect(await sql(stack, server, 'SELECT COUNT(*) FROM members')).toBe('2');
    await expectNothingLeft(stack, bad);

    const good = await buildImage(stack, 'good', keeper({ env: { RELEASE: '2' } }));
    await stack.write('compose.yaml', compose(good));
    const run = await stack.start(fast).finished;
    expect(run.exitCode, run.story).toBe(0);
    const { manifest } = (await stack.backups()).at(-1) ?? {};
    expect(manifest?.databases).toMatchObject(
      servers.map((server) => ({
        service: server,
        engine: server,
        volume: `${stack.project}_${server === 'mysql' ? 'my' : 'maria'}`,
        fingerprint: { of: 'rows', counts: { 'shop.members': 2 } },
      })),
    );
    for (const server of servers) await eventually(() => sql(stack, server, 'SELECT 1'), 60_000);
    await expectNothingLeft(stack, run);
  },
);
