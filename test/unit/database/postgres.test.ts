import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fitGlobals, globalsComplete, statements } from '../../../src/database/postgres-globals.ts';
import { refusals } from '../../../src/database/postgres.ts';
import { container } from './containers.ts';

const end = '\n--\n-- PostgreSQL database cluster dump complete\n--\n\n';
const globals = `--
-- PostgreSQL database cluster dump
--

\\restrict abc

SET default_transaction_read_only = off;

--
-- Roles
--

CREATE ROLE app;
ALTER ROLE app WITH SUPERUSER LOGIN PASSWORD 'SCRAM-SHA-256$4096:x$y:z';
CREATE ROLE "grou;p ""x""";
ALTER ROLE "grou;p ""x""" WITH NOSUPERUSER;
COMMENT ON ROLE app IS 'it''s
CREATE ROLE app;
-- no comment';
ALTER ROLE app SET search_path TO 'a', 'b;c';
CREATE TABLESPACE "fa st" OWNER app LOCATION '/x';

\\unrestrict abc
${end}`;

describe('roles', () => {
  test('are taken apart into statements', () => {
    expect(statements(globals)).toEqual([
      'SET default_transaction_read_only = off;',
      'CREATE ROLE app;',
      `ALTER ROLE app WITH SUPERUSER LOGIN PASSWORD 'SCRAM-SHA-256$4096:x$y:z';`,
      'CREATE ROLE "grou;p ""x""";',
      'ALTER ROLE "grou;p ""x""" WITH NOSUPERUSER;',
      `COMMENT ON ROLE app IS 'it''s\nCREATE ROLE app;\n-- no comment';`,
      `ALTER ROLE app SET search_path TO 'a', 'b;c';`,
      `CREATE TABLESPACE "fa st" OWNER app LOCATION '/x';`,
    ]);
    expect(statements(`COMMENT ON ROLE e IS E'it\\'s; x'; A;`)).toEqual([
      `COMMENT ON ROLE e IS E'it\\'s; x';`,
      'A;',
    ]);
  });

  test('stay as they are for an empty server', () => {
    const fitted = fitGlobals(globals, [], ['pg_default']);
    expect(fitted.sql).toBe(`${statements(globals).join('\n')}\n`);
    expect(fitted.createsTablespace).toBe(true);
  });

  test('that exist are put back instead of being created', () => {
    const fitted = fitGlobals(
      globals,
      [
        { name: 'app', expires: false },
        { name: 'grou;p "x"', expires: true },
      ],
      ['fa st'],
    );
    expect(fitted.createsTablespace).toBe(false);
    expect(statements(fitted.sql)).toEqual([
      'SET default_transaction_read_only = off;',
      'ALTER ROLE app WITH CONNECTION LIMIT -1 PASSWORD NULL;',
      'ALTER ROLE app RESET ALL;',
      `ALTER ROLE app WITH SUPERUSER LOGIN PASSWORD 'SCRAM-SHA-256$4096:x$y:z';`,
      `ALTER ROLE "grou;p ""x""" WITH CONNECTION LIMIT -1 PASSWORD NULL VALID UNTIL 'infinity';`,
      'ALTER ROLE "grou;p ""x""" RESET ALL;',
      'ALTER ROLE "grou;p ""x""" WITH NOSUPERUSER;',
      `COMMENT ON ROLE app IS 'it''s\nCREATE ROLE app;\n-- no comment';`,
      `ALTER ROLE app SET search_path TO 'a', 'b;c';`,
    ]);
  });

  test('whatever text stands in a literal, no statement begins in it', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string(), (comment, name) => {
        const literal = `COMMENT ON ROLE "${name.replaceAll('"', '""')}" IS '${comment.replaceAll("'", "''")}';`;
        expect(statements(`${literal}\nSELECT 1;`)).toEqual([literal, 'SELECT 1;']);
      }),
    );
  });

  test('with a psql command among them are refused', () => {
    expect(() => statements('CREATE ROLE a;\n\\! rm -rf /\nCREATE ROLE b;')).toThrow(/psql command/);
  });

  test('that end within a statement are refused', () => {
    expect(() => statements(`ALTER ROLE a PASSWORD 'x`)).toThrow(/ends within/);
  });

  test('are complete with the last comment of pg_dumpall, to the byte', () => {
    expect(globalsComplete(globals)).toBe(true);
    for (let cut = 1; cut < globals.length; cut += 1)
      expect(globalsComplete(globals.slice(0, -cut))).toBe(false);
    expect(globalsComplete('<html>502 Bad Gateway</html>')).toBe(false);
  });
});

test('a refused login is told in the words of the server', () => {
  const said = (...lines: string[]) =>
    refusals(lines.join('\n'), container({ environment: ['POSTGRES_PASSWORD=hunter2'] }));
  const failed = 'psql: error: connection to server on socket "/run/.s.PGSQL.5432" failed: ';
  expect(
    said(
      `${failed}FATAL:  password authentication failed for user "app"`,
      `${failed}fe_sendauth: no password supplied`,
    ),
  ).toBe('password authentication failed for user "app"');
  expect(said(`${failed}No such file or directory`)).toContain('No such file or directory');
});
