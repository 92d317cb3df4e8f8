import { beforeAll, describe, expect, test } from 'vitest';
import type { DatabaseEngine } from '../../../src/database/database.ts';
import { databaseEngines } from '../../../src/database/engines.ts';
import { hasMongo, mongoImage, withoutMongo } from '../../mongo-image.ts';
import { docker, failure, Files, start, until, type Server } from './server.ts';
import { conformance, type Subject } from './suite.ts';

const image = mongoImage;

/** Runs JavaScript in the server's own mongosh, logged in; `base` gives a database by its name. Returns what it prints. */
async function shell(server: Server, script: string): Promise<string> {
  const variables = [
    `const { MONGO_INITDB_ROOT_USERNAME: given, MONGO_INITDB_ROOT_USERNAME_FILE: file, WORD: word, PORT: port } = process.env;`,
    `const connection = new Mongo('mongodb://127.0.0.1:' + port + '/?directConnection=true');`,
    `const user = given || (file && fs.readFileSync(file, 'utf8').trim());`,
    `if (user) connection.getDB('admin').auth(user, word);`,
    `const base = (name) => connection.getDB(name);`,
  ];
  const port = server.container.command.at(-1)?.replace(/\D/g, '') ?? '';
  const printed = await server.exec(
    // It keeps its history and logs in a home.
    [
      'env',
      'HOME=/dev/null',
      'mongosh',
      '--nodb',
      '--quiet',
      '--norc',
      '--eval',
      [...variables, script].join('\n'),
    ],
    { WORD: server.secret, PORT: port === '' ? '27017' : port },
  );
  return printed.replace(/^Warning: Could not access file.*\n?/gm, '');
}

const everything = `
  const all = [];
  for (const name of ['Shop', 'other-1', 'empty', 'later']) {
    for (const collection of base(name).getCollectionNames().sort()) {
      const one = base(name).getCollection(collection);
      const indexes = one.getIndexes().sort((a, b) => (a.name < b.name ? -1 : 1));
      const text = EJSON.stringify([indexes, one.find().sort({ _id: 1 }).toArray()], { relaxed: false });
      all.push([name, collection, one.countDocuments({}), require('crypto').createHash('md5').update(text).digest('hex')]);
    }
    const { capped } = base(name).getCollectionInfos({ name: 'capped' })[0]?.options ?? {};
    all.push([name, capped]);
  }
  print(JSON.stringify(all))`;

const inFiles = {
  env: { MONGO_INITDB_ROOT_USERNAME_FILE: '/run/user', MONGO_INITDB_ROOT_PASSWORD_FILE: '/run/pw' },
  files: { '/run/user': 'boss\n', '/run/pw': 'from a file\n' },
  secret: 'from a file',
};

const subject: Subject = {
  image,
  servers: {
    'a user and a password with signs, a read-only root, no root': {
      // A container's first process cannot be stopped by a signal from inside; see `hang`.
      options: ['--init', '--read-only', '--user', '999:999'],
      env: { MONGO_INITDB_ROOT_USERNAME: `ro"o't`, MONGO_INITDB_ROOT_PASSWORD: `pa$$"w' ord\\x` },
      secret: `pa$$"w' ord\\x`,
    },
    'user and password in files, another port': { ...inFiles, command: ['mongod', '--port', '27117'] },
  },
  wrongPassword: {
    env: { MONGO_INITDB_ROOT_USERNAME: 'boss', MONGO_INITDB_ROOT_PASSWORD: 'former one' },
    secret: 'former one',
    user: 'boss',
    spoil: async (server) => {
      await shell(server, `base('admin').runCommand({ updateUser: 'boss', pwd: 'rotated' })`);
    },
  },
  clients: [
    ['mongodump', '--host', 'db', '--archive=/backup/all'],
    ['sh', '-c', 'until mongosh --host db --eval 1; do sleep 1; done'],
  ],
  async fill(server) {
    await shell(
      server,
      `const shop = base('Shop');
       shop.customers.insertMany(Array.from({ length: 2000 }, (_, n) => ({
         _id: n, name: 'näme "' + n, since: new Date(n * 1e9), picture: BinData(0, '/w/+'), visits: Long(String(n)),
         score: n / 3, more: { list: [1, 'two', { three: null }], pattern: /^x/i }, text: 'x'.repeat(n % 70),
       })));
       shop.customers.createIndex({ name: 1 }, { unique: true, name: 'by name' });
       shop.customers.createIndex({ visits: -1, score: 1 });
       shop.orders.insertMany([{ _id: ObjectId('65a000000000000000000001'), customer: 1 }, { _id: 'ü$', at: Timestamp(5, 6) }]);
       shop.createCollection('nothing in it');
       shop.createCollection('capped', { capped: true, size: 4096 });
       shop.getCollection('a.b-c').insertOne({ _id: 1 });
       base('other-1').things.insertOne({ _id: true, on: MinKey() ? 1 : 0 });`,
    );
  },
  contents: (server) => shell(server, everything),
  holds: {
    'Shop.customers': 2000,
    'Shop.orders': 2,
    'Shop.nothing in it': 0,
    'Shop.capped': 0,
    'Shop."a.b-c"': 1,
    'other-1.things': 1,
  },
  lost: ['Shop.orders', 'other-1.things'],
  async migrate(server) {
    await shell(
      server,
      `const shop = base('Shop');
       shop['of a migration'].insertOne({ new: true });
       shop.customers.dropIndex('by name');
       shop.customers.createIndex({ since: 1 });
       shop.customers.updateOne({ _id: 7 }, { $set: { name: 'gone' } });
       shop.customers.deleteMany({ _id: { $gt: 1500 } });
       shop.orders.drop();
       base('other-1').dropDatabase();`,
    );
  },
  async hang(server) {
    await server.exec(['sh', '-c', stopServer]);
    return () => server.exec(['sh', '-c', stopServer.replace('STOP', 'CONT')]);
  },
  clientProgram: /mongodump|mongorestore|mongosh/,
  leftovers: () => Promise.resolve(''),
  checksummed: /\.archive$/,
};

const stopServer = `for p in /proc/[0-9]*; do
  case $(cat "$p/comm" 2>/dev/null) in ferretdb | mongod) kill -STOP "\${p#/proc/}" ;; esac
done`;

const present = await hasMongo('MongoDB');
if (present) conformance(databaseEngines.mongodb, subject);

describe.runIf(present)(`MongoDB in particular${withoutMongo}`, () => {
  const engine: DatabaseEngine = databaseEngines.mongodb;
  const restore = async (one: Server, dump: Files): Promise<void> => {
    if (engine.restorer.into === 'running server') await engine.restorer.restore(one.database(), dump);
  };
  const dumpOf = async (one: Server): Promise<Files> => {
    const files = new Files();
    await engine.dump(one.database(), files);
    return files;
  };
  let server: Server;

  beforeAll(async () => {
    server = await start(image, {});
    await until('it is ready', () => engine.ready(server.database()));
    await shell(
      server,
      `base('Shop').customers.insertMany(Array.from({ length: 500 }, (_, n) => ({ _id: n })))`,
    );
  });

  test('half an archive is refused, which mongorestore --dryRun accepts', async () => {
    const dump = await dumpOf(server);
    const length = dump.files.get('dump.archive')?.length ?? 0;
    const half = Math.floor(length / 2);
    await server.exec([
      'sh',
      '-c',
      `mongodump --quiet --archive=/tmp/all && head -c ${half} /tmp/all | mongorestore --quiet --archive --dryRun; rm /tmp/all`,
    ]);
    const cut = dump.with('dump.archive', (content) => content.subarray(0, half));
    expect((await failure(engine.check(server.database(), cut))).message).toMatch(/ends early/);
  });

  test('a database that the dump does not know is left alone, a collection of a migration is not', async () => {
    const dump = await dumpOf(server);
    expect(dump.names).toEqual(['dump.archive', 'mongodb.json']);
    const before = await shell(server, everything);
    await shell(
      server,
      `base('later').only_here.insertOne({ _id: 1 }); base('Shop').migrated.insertOne({ _id: 1 })`,
    );
    await restore(server, dump);
    expect(await shell(server, `print(base('later').only_here.countDocuments({}))`)).toBe('1');
    await shell(server, `base('later').dropDatabase()`);
    expect(await shell(server, everything)).toBe(before);
  });

  test('is not ready while the entrypoint initialises it', async () => {
    const argv = 'mongod --fork --pidfilepath /tmp/docker-entrypoint-temp-mongod.pid';
    await docker(['exec', '-d', server.container.id, 'bash', '-c', `exec -a '${argv}' sleep 600`]);
    await until('it is not ready', async () => !(await engine.ready(server.database())));
    await server.exec(['sh', '-c', `kill $(grep -l temp-mongo[d] /proc/[0-9]*/cmdline | cut -d/ -f3)`]);
    await until('it is ready', () => engine.ready(server.database()));
  });

  test('is not ready where the server of the entrypoint starts while it is asked', async () => {
    // Started by the program that says who listens, so after whatever was looked at before.
    const argv = 'mongod --fork --pidfilepath /tmp/docker-entrypoint-temp-mongod.pid';
    const program = `#!/bin/bash\n(exec -a '${argv}' sleep 600 >/dev/null 2>&1 &)\nexec /bin/cat "$@"\n`;
    await server.exec(
      ['bash', '-c', 'printf %s "$PROGRAM" >/usr/local/bin/cat && chmod +x /usr/local/bin/cat'],
      { PROGRAM: program },
    );
    expect(await engine.ready(server.database())).toBe(false);
    await server.exec(['rm', '/usr/local/bin/cat']);
    await server.exec(['sh', '-c', `kill $(grep -l temp-mongo[d] /proc/[0-9]*/cmdline | cut -d/ -f3)`]);
    await until('it is ready', () => engine.ready(server.database()));
  });

  test('without a shell in the container it dumps, and a restore touches nothing', async () => {
    const before = await shell(server, everything);
    await server.exec(['mv', '/usr/local/bin/mongosh', '/usr/local/bin/hidden']);
    const dump = await dumpOf(server);
    await engine.check(server.database(), dump);
    const error = await failure(restore(server, dump));
    expect(error.message).toContain('needs mongosh or mongo in the container');
    await server.exec(['mv', '/usr/local/bin/hidden', '/usr/local/bin/mongosh']);
    expect(await shell(server, everything)).toBe(before);
  });
});
