import { SafeUpdateError } from '../model/error.ts';

/** A user or a role of MySQL or MariaDB. */
export interface Account {
  /** As SQL takes it: `'app'@'%'`; a role of MariaDB has no host. */
  name: string;
  kind: 'USER' | 'ROLE';
  /** What follows the name in CREATE USER: the password's hash, limits, expiry. */
  definition: string;
  /** Statements that give an account without rights the rights it has. */
  grants: string[];
}

/** A text as a literal of SQL. */
export function literal(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;
}

/** A name as MariaDB and MySQL show it: 5.7 in quotes, the others in backticks. */
const shownName = "(?:`(?:[^`]|``)*`|'(?:[^'\\\\]|''|\\\\.)*')";
const shownAccount = `${shownName}@${shownName}`;
const created = new RegExp(`^CREATE USER ${shownAccount}`);
const defaultRoles = new RegExp(` DEFAULT ROLE (${shownAccount}(?:,${shownAccount})*)`);
const literalName = String.raw`'(?:[^'\\]|''|\\.)*'`;

/** What to ask the server about accounts. The answer, without column names, is for `readAnswers`. Pure. */
export function askAbout(accounts: readonly Pick<Account, 'name' | 'kind'>[]): string {
  return accounts
    .flatMap(({ name, kind }, index) => [
      `SELECT 'account ${index}';`,
      ...(kind === 'USER' ? [`SHOW CREATE USER ${name};`] : []),
      `SHOW GRANTS FOR ${name};`,
    ])
    .join('\n');
}

/** Given the lines that the server answered `askAbout` with, returns the accounts. Pure. */
export function readAnswers(
  accounts: readonly Pick<Account, 'name' | 'kind'>[],
  lines: readonly string[],
): Account[] {
  const answers: string[][] = [];
  for (const line of lines) {
    if (line === `account ${answers.length}`) answers.push([]);
    else answers.at(-1)?.push(line);
  }
  return accounts.map(({ name, kind }, index) => {
    const answer = answers[index] ?? [];
    if (answer.length === 0 || answer.some((line) => line.includes('\n'))) {
      throw new SafeUpdateError('database', `The account ${name} cannot be written down as lines of SQL.`, {
        hint: 'Its name or its password holds a line break: rename it, or set its password again.',
      });
    }
    if (kind === 'ROLE') return { name, kind, definition: '', grants: answer };
    const [shown = '', ...grants] = answer;
    const definition = shown.replace(created, '').trim();
    // A default role has to be granted first.
    const roles = defaultRoles.exec(` ${definition}`)?.[1];
    return {
      name,
      kind,
      definition: ` ${definition}`.replace(defaultRoles, '').trim(),
      grants: roles === undefined ? grants : [...grants, `ALTER USER ${name} DEFAULT ROLE ${roles}`],
    };
  });
}

/** Statements, each on a line of its own: every account, and then what it may do, so that roles are there. Pure. */
export function accountsFile(accounts: readonly Account[]): string {
  return [
    '-- Users, their passwords as hashes, and their rights. To be loaded after the databases.',
    ...accounts.map((account) => `${creation(account, 'IF NOT EXISTS')};`),
    ...accounts.flatMap(({ name, grants }) => [`-- ${name}`, ...grants.map((grant) => `${grant};`)]),
    '-- Dump completed',
    '',
  ].join('\n');
}

const creationLine = new RegExp(
  `^CREATE (USER|ROLE) IF NOT EXISTS (${literalName}(?:@${literalName})?) ?(.*);$`,
);

/** Reads what `accountsFile` wrote. Pure. */
export function readAccountsFile(text: string): Account[] {
  const accounts = new Map<string, Account>();
  let current: Account | undefined;
  for (const line of text.split('\n')) {
    const [, kind, name = '', definition = ''] = creationLine.exec(line) ?? [];
    if (kind === 'USER' || kind === 'ROLE') accounts.set(name, { name, kind, definition, grants: [] });
    else if (line.startsWith('-- ')) current = accounts.get(line.slice('-- '.length));
    else if (line !== '') current?.grants.push(line.replace(/;$/, ''));
  }
  return [...accounts.values()];
}

/**
 * Statements that make the accounts which are missing or differ anew, without rights. The account that is
 * logged in is not dropped, or it would lock itself out if it stopped half-way; it keeps the rights it was given since.
 * Pure.
 */
export function recreateChanged(
  wanted: readonly Account[],
  present: readonly Account[],
  loggedIn: string,
): string[] {
  return changed(wanted, present).flatMap((account) => {
    const { name, kind, definition } = account;
    if (name === loggedIn) return definition === '' ? [] : [`ALTER USER ${name} ${definition}`];
    return [`DROP ${kind} IF EXISTS ${name}`, creation(account)];
  });
}

/** Statements that give the accounts which differ their rights. Pure. */
export function grantChanged(wanted: readonly Account[], present: readonly Account[]): string[] {
  return changed(wanted, present).flatMap(({ grants }) => grants);
}

function changed(wanted: readonly Account[], present: readonly Account[]): Account[] {
  const described = ({ definition, grants }: Account): string =>
    [definition, ...[...grants].sort()].join('\n');
  return wanted.filter((account) => {
    const now = present.find(({ name }) => name === account.name);
    return now === undefined || described(now) !== described(account);
  });
}

function creation({ name, kind, definition }: Account, condition = ''): string {
  return ['CREATE', kind, condition, name, definition].filter((word) => word !== '').join(' ');
}
