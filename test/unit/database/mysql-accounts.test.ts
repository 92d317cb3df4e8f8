import { describe, expect, test } from 'vitest';
import {
  accountsFile,
  askAbout,
  grantChanged,
  literal,
  readAccountsFile,
  readAnswers,
  recreateChanged,
  type Account,
} from '../../../src/database/mysql-accounts.ts';

const names = [
  { name: `'it''s \`x'@'10.%'`, kind: 'USER' },
  { name: `'app'@'%'`, kind: 'USER' },
  { name: `''@'localhost'`, kind: 'USER' },
  { name: `'clerk'`, kind: 'ROLE' },
] as const;

const accounts: Account[] = [
  {
    ...names[0],
    definition: `IDENTIFIED BY PASSWORD '*0D3C' REQUIRE SSL`,
    grants: ["GRANT SELECT (`a;`), INSERT ON `shop`.`t` TO `it's ``x`@`10.%`"],
  },
  {
    ...names[1],
    definition: `IDENTIFIED WITH 'caching_sha2_password' AS 0x2441 REQUIRE NONE ACCOUNT UNLOCK`,
    grants: [
      'GRANT USAGE ON *.* TO `app`@`%`',
      'GRANT `r1`@`%`,`r,2`@`%` TO `app`@`%`',
      `ALTER USER 'app'@'%' DEFAULT ROLE \`r1\`@\`%\`,\`r,2\`@\`%\``,
    ],
  },
  { ...names[2], definition: '', grants: ['GRANT USAGE ON *.* TO ``@`localhost`'] },
  { ...names[3], definition: '', grants: ['GRANT SELECT ON `shop`.* TO `clerk`'] },
];

const [first, app] = accounts as [Account, Account];

test('a literal', () => {
  expect(literal(`it's \\x`)).toBe(`'it''s \\\\x'`);
});

describe('what the server says of its accounts', () => {
  test('is asked for in one go', () => {
    expect(askAbout(names.slice(2))).toBe(
      [
        `SELECT 'account 0';`,
        `SHOW CREATE USER ''@'localhost';`,
        `SHOW GRANTS FOR ''@'localhost';`,
        `SELECT 'account 1';`,
        `SHOW GRANTS FOR 'clerk';`,
      ].join('\n'),
    );
  });

  test('is taken apart; a default role is given after the role', () => {
    const answers = [
      'account 0',
      "CREATE USER `it's ``x`@`10.%` IDENTIFIED BY PASSWORD '*0D3C' REQUIRE SSL",
      "GRANT SELECT (`a;`), INSERT ON `shop`.`t` TO `it's ``x`@`10.%`",
      'account 1',
      "CREATE USER 'app'@'%' IDENTIFIED WITH 'caching_sha2_password' AS 0x2441 DEFAULT ROLE `r1`@`%`,`r,2`@`%` REQUIRE NONE ACCOUNT UNLOCK",
      'GRANT USAGE ON *.* TO `app`@`%`',
      'GRANT `r1`@`%`,`r,2`@`%` TO `app`@`%`',
      'account 2',
      'CREATE USER ``@`localhost`',
      'GRANT USAGE ON *.* TO ``@`localhost`',
      'account 3',
      'GRANT SELECT ON `shop`.* TO `clerk`',
    ];
    expect(readAnswers(names, answers)).toEqual(accounts);
  });

  test.each([[[]], [['account 0']], [['account 0', 'CREATE USER x', 'GRANT a\nb']]])(
    'is refused where it is %j',
    (answers) => {
      expect(() => readAnswers([names[1]], answers)).toThrow(/'app'@'%' cannot be written down/);
    },
  );
});

describe('the file of the accounts', () => {
  test('is SQL, accounts before rights, and reads back', () => {
    const text = accountsFile(accounts);
    expect(text.split('\n').slice(1, 8)).toEqual([
      `CREATE USER IF NOT EXISTS 'it''s \`x'@'10.%' IDENTIFIED BY PASSWORD '*0D3C' REQUIRE SSL;`,
      `CREATE USER IF NOT EXISTS 'app'@'%' IDENTIFIED WITH 'caching_sha2_password' AS 0x2441 REQUIRE NONE ACCOUNT UNLOCK;`,
      `CREATE USER IF NOT EXISTS ''@'localhost';`,
      `CREATE ROLE IF NOT EXISTS 'clerk';`,
      `-- 'it''s \`x'@'10.%'`,
      "GRANT SELECT (`a;`), INSERT ON `shop`.`t` TO `it's ``x`@`10.%`;",
      `-- 'app'@'%'`,
    ]);
    expect(text).toMatch(/\n-- Dump completed\n$/);
    expect(readAccountsFile(text)).toEqual(accounts);
    expect(readAccountsFile(accountsFile([]))).toEqual([]);
  });
});

describe('a restore', () => {
  const present = (...changes: Partial<Account>[]): Account[] =>
    accounts.map((account, index) => ({ ...account, ...changes[index] }));

  test('leaves accounts alone that are as they were, in whichever order their rights are shown', () => {
    const now = present({}, { grants: [...app.grants].reverse() });
    expect(recreateChanged(accounts, now, `'root'@'localhost'`)).toEqual([]);
    expect(grantChanged(accounts, now)).toEqual([]);
    expect(recreateChanged([first], accounts, '')).toEqual([]);
  });

  test('makes those anew that differ or are gone', () => {
    const now = present({ definition: '' }, {}, {}, { grants: [] });
    expect(recreateChanged(accounts, now, '')).toEqual([
      `DROP USER IF EXISTS ${first.name}`,
      `CREATE USER ${first.name} ${first.definition}`,
      `DROP ROLE IF EXISTS 'clerk'`,
      `CREATE ROLE 'clerk'`,
    ]);
    expect(grantChanged(accounts, present({ grants: [] }))).toEqual(first.grants);
    expect(grantChanged([app], [])).toEqual(app.grants);
  });

  test('does not drop the account it is logged in with', () => {
    expect(recreateChanged(accounts, present({}, { definition: 'x' }), app.name)).toEqual([
      `ALTER USER ${app.name} ${app.definition}`,
    ]);
  });
});
