import { databaseEngines } from '../../../src/database/engines.ts';
import { subjectOf } from './mysql-subject.ts';
import { conformance } from './suite.ts';

const subject = subjectOf({
  image: 'mariadb:10.11',
  // What is not written through is quicker, and no power fails here.
  quick: [
    '--innodb-flush-log-at-trx-commit=0',
    '--innodb-buffer-pool-size=32M',
    '--innodb-log-file-size=16M',
  ],
  prefix: 'MARIADB',
  defaultRole: (role, user) => `SET DEFAULT ROLE ${role} FOR ${user}`,
});

conformance(databaseEngines.mariadb, subject);
