import { databaseEngines } from '../../../src/database/engines.ts';
import { subjectOf } from './mysql-subject.ts';
import { conformance } from './suite.ts';

const subject = subjectOf({
  image: 'mysql:9',
  // What is not written through is quicker, and no power fails here.
  quick: [
    ...[
      '--innodb-flush-log-at-trx-commit=0',
      '--innodb-buffer-pool-size=32M',
      '--innodb-redo-log-capacity=64M',
    ],
    ...['--skip-log-bin', '--innodb-doublewrite=OFF', '--performance-schema=OFF', '--mysqlx=OFF'],
  ],
  prefix: 'MYSQL',
  defaultRole: (role, user) => `ALTER USER ${user} DEFAULT ROLE ${role}`,
});

conformance(databaseEngines.mysql, subject);
