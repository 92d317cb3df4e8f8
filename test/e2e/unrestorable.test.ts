import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { docker } from './docker.ts';
import { smallDisk } from './small-disk.ts';
import { buildImage, local, shell } from './stack-small.ts';
import { project, type Stack } from './stack.ts';

const fast = ['--yes', '--json', '--stable-for', '1s', '--verify-timeout', '30s', ...local];

const compose = (image: string, folder: string): string => `
services:
  web:
    image: ${image}
    stop_grace_period: 0s
    cap_add: [SYS_ADMIN]
    volumes: ['data:/data', 'share:/share', 'ram:/ram', './files:/files', 'fixed:/fixed']
volumes:
  data: {}
  share: {}
  ram: { driver_opts: { type: tmpfs, device: tmpfs, o: size=16m } }
  fixed: { driver_opts: { type: none, o: 'bind,ro', device: ${folder}/fixed } }
`;

const release = (script: string): string =>
  [
    'FROM safe-update-fixtures/app:1.0.0',
    'USER root',
    `CMD ${JSON.stringify(['sh', '-c', `${script}; exec sleep infinity`])}`,
    '',
  ].join('\n');

/** Attributes of the share, its root folder and a file in it: who has not CAP_SYS_ADMIN sets none of them, and sees not all. */
const attributes = ['/share', '/share/a'].flatMap((file) =>
  ['security.NTACL', 'trusted.share'].map((name) => ({ file, name })),
);

const python = (...lines: string[]): string => `python3 -c '${['import os, sqlite3', ...lines].join('\n')}'`;

/** Changes attributes of files, as only root with CAP_LINUX_IMMUTABLE can. They go away with the test. */
async function chattr(stack: Stack, flags: string, file: string): Promise<void> {
  const image = 'debian:bookworm-slim';
  const all = [
    'run',
    '--rm',
    '--cap-add',
    'LINUX_IMMUTABLE',
    '--volume',
    `${stack.project}_data:/data`,
    image,
  ];
  await docker([...all, 'chattr', ...flags.split(' '), file]);
}

it('what could not be put back is refused or named before the stop, and what can be is put back whole', async () => {
  const stack = await project({});
  const first = await buildImage(stack, 'first', release('true'));
  for (const folder of ['fixed', 'files']) {
    await mkdir(path.join(stack.directory, folder));
    await stack.write(`${folder}/word`, folder);
  }
  await stack.write('compose.yaml', compose(first, stack.directory));
  await stack.write('safe-update.yml', 'bindMounts: { include: [./files] }\n');
  await stack.up();
  const inside = async (line: string): Promise<string> => shell(await stack.container('web'), line);
  await inside('mkdir /data/log; echo one | tee /data/keep /data/log/1 >/share/a; touch /data/word');
  await inside(python(...attributes.map(({ file, name }) => `os.setxattr("${file}", "${name}", b"one")`)));
  await inside(
    python('sqlite3.connect("/ram/x.db").execute("CREATE TABLE t AS SELECT 1 AS i").connection.commit()'),
  );

  // Of every kind one, and nothing is stopped.
  await chattr(stack, '+i', '/data/word');
  await chattr(stack, '+a', '/data/log');
  onTestFinished(() => chattr(stack, '-R -i -a', '/data'));
  await smallDisk({ directory: path.join(stack.directory, 'files') }, '1m', '', 'disk');
  const before = await stack.container('web');
  const image = await buildImage(
    stack,
    'bad',
    release(
      'rm -rf /share/* /data/keep; echo two >/files/word; setfattr -n security.NTACL -v 2 /share; exit 1',
    ),
  );
  await stack.write('compose.yaml', compose(image, stack.directory));
  const refused = await stack.start(fast).finished;
  expect(refused.exitCode, refused.story).toBe(3);
  expect(refused.outcome?.error?.message.split('\n').sort()).toEqual([
    `The volume ${stack.directory}/files could not be put back in a rollback: something else is mounted at disk.`,
    `The volume ${stack.project}_data could not be put back in a rollback: log cannot be emptied (chattr +a), word cannot be deleted (chattr +i).`,
  ]);
  expect(refused.outcome?.error?.hint).toContain(`--accept not-emptied:${stack.project}_data`);
  expect(refused.story).toContain(`${stack.project}_fixed is mounted read-only`);
  expect(refused.story).toMatch(/_ram.*"reason":"it is in memory: what is in it is gone/);
  expect((await stack.container('web')).State.StartedAt).toBe(before.State.StartedAt);

  // A backup only reads, so it is made, and says what a restore of it will meet.
  const kept = await stack.safeUpdate(['backup', ...fast]);
  expect(kept.exitCode, kept.story).toBe(0);
  expect(kept.story).toContain('could not be put back');
  const [backup] = await stack.backups();
  const back = await stack.safeUpdate([
    ...['restore', backup?.id ?? '', '--only', 'volume:data', '--confirm', stack.project, ...fast],
  ]);
  // It is as it was: nobody has to empty it.
  expect(back.exitCode, back.story).toBe(0);
  await inside('echo later >/data/keep');
  const impossible = await stack.safeUpdate([
    ...['restore', backup?.id ?? '', '--only', 'volume:data', '--confirm', stack.project, ...fast],
  ]);
  expect(impossible.exitCode, impossible.story).toBe(4);
  expect(impossible.outcome?.error?.message).toContain('cannot be emptied, and nothing in it was deleted');
  expect(await inside('cat /data/keep')).toBe('later');

  const accepted = await stack.start([
    ...fast,
    ...[`${stack.project}_data`, `${stack.directory}/files`].flatMap((name) => [
      '--accept',
      `not-emptied:${name}`,
    ]),
  ]).finished;
  expect(accepted.exitCode, accepted.story).toBe(4);
  expect(accepted.story).toContain(
    `The volume ${stack.project}_data is not in this backup, nor in a rollback`,
  );
  const values = attributes.map(({ file, name }) => `print(os.getxattr("${file}", "${name}"))`);
  expect(await inside(python(...values))).toBe(attributes.map(() => "b'one'").join('\n'));
  expect(await inside('cat /share/a /files/word /data/log/1')).toBe('one\ntwo\none');
});
