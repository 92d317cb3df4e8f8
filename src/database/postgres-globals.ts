import { SafeUpdateError } from '../model/error.ts';

/** A role that the server has already. Names are the server's bytes, one character each. */
export interface ExistingRole {
  name: string;
  expires: boolean;
}

/**
 * What `pg_dumpall --globals-only` wrote, made fit for a server that has some of the roles and tablespaces already: a
 * role that exists is put back to what CREATE ROLE would make of it, instead of being created. Pure.
 *
 * Takes and returns SQL with one character a byte, so that no encoding is lost. The result holds no psql
 * meta-commands: names come from the database's users. Throws SafeUpdateError `database` on a meta-command that
 * pg_dumpall does not write.
 */
export function fitGlobals(
  sql: string,
  roles: readonly ExistingRole[],
  tablespaces: readonly string[],
): { sql: string; createsTablespace: boolean } {
  let createsTablespace = false;
  const fitted = statements(sql).flatMap((statement) => {
    const role = nameIn(statement, 'CREATE ROLE ');
    const existing = roles.find(({ name }) => name === role?.name);
    if (role !== undefined && existing !== undefined) {
      // The ALTER ROLE that follows in the dump leaves out what is as it is by default.
      const expiry = existing.expires ? ` VALID UNTIL 'infinity'` : '';
      return [
        `ALTER ROLE ${role.quoted} WITH CONNECTION LIMIT -1 PASSWORD NULL${expiry};`,
        `ALTER ROLE ${role.quoted} RESET ALL;`,
      ];
    }
    const tablespace = nameIn(statement, 'CREATE TABLESPACE ');
    if (tablespace !== undefined) {
      if (tablespaces.includes(tablespace.name)) return [];
      createsTablespace = true;
    }
    return [statement];
  });
  return { sql: `${fitted.join('\n')}\n`, createsTablespace };
}

function nameIn(statement: string, prefix: string): { quoted: string; name: string } | undefined {
  if (!statement.startsWith(prefix)) return undefined;
  const quoted = /^(?:"(?:[^"]|"")*"|[^\s";]+)/.exec(statement.slice(prefix.length))?.[0];
  if (quoted === undefined) return undefined;
  return { quoted, name: quoted.startsWith('"') ? quoted.slice(1, -1).replaceAll('""', '"') : quoted };
}

const part =
  /(?<comment>--[^\n]*)|(?<quoted>[eE]'(?:[^'\\]|''|\\[\s\S])*'|'(?:[^']|'')*'|"(?:[^"]|"")*")|(?<end>;)|(?<meta>\\[^\n]*)|[^-'"\\;eE]+|[\s\S]/y;

/** The statements of a dump, each with its semicolon, without comments. */
export function statements(sql: string): string[] {
  const found: string[] = [];
  let current = '';
  part.lastIndex = 0;
  for (let match = part.exec(sql); match !== null; match = part.exec(sql)) {
    const [text] = match;
    if (match.groups?.['comment'] !== undefined) continue;
    if (match.groups?.['meta'] !== undefined) {
      // Since August 2025 dumps fence themselves in with these two (CVE-2025-8714).
      if (/^\\(?:un)?restrict /.test(text)) continue;
      throw new SafeUpdateError(
        'database',
        'The dump of the roles holds a psql command; it was not made by pg_dumpall.',
      );
    }
    current += text;
    if (match.groups?.['end'] === undefined) continue;
    found.push(current.trim());
    current = '';
  }
  if (current.trim() !== '') {
    throw new SafeUpdateError('database', 'The dump of the roles ends within a statement.');
  }
  return found;
}

/** Does it end the way pg_dumpall ends what it has finished? To the byte: the last it writes is this comment. */
export function globalsComplete(sql: string): boolean {
  return sql.endsWith('\n--\n-- PostgreSQL database cluster dump complete\n--\n\n');
}
