import { describe, expect, test } from 'vitest';
import { databaseEngines } from '../../../src/database/engines.ts';
import { subjectOf } from './redis-subject.ts';
import { Files, start, until } from './server.ts';
import { conformance } from './suite.ts';

const image = 'valkey/valkey:8';

// Valkey 8.1 does not start with a double quote in an argument: "Unbalanced quotes in configuration line".
const subject = subjectOf({ image, server: 'valkey-server', cli: 'valkey-cli', password: `pa$s w'x` });

// The code is that of Redis, whose test has all of them: one that sends its keys, one that has to be asked for a file.
const kept = ['a password in the command', 'a configuration file, without CONFIG and SYNC'];
const servers = Object.fromEntries(Object.entries(subject.servers).filter(([name]) => kept.includes(name)));

conformance(databaseEngines.valkey, { ...subject, servers });

describe('Valkey in particular', () => {
  test("where its programs go by Redis' names too", async () => {
    const engine = databaseEngines.valkey;
    const server = await start(image, {});
    await server.exec([
      'sh',
      '-c',
      'cd /usr/bin; for name in cli check-rdb; do ln -sf valkey-$name redis-$name; done',
    ]);
    await until('it is ready', () => engine.ready(server.database()));
    await server.exec(['redis-cli', 'SET', 'a', '1']);
    const dump = new Files();
    await engine.dump(server.database(), dump);
    await engine.check(server.database(), dump);
    expect(dump.names).toEqual(['dump.rdb', 'redis.json']);
  });
});
