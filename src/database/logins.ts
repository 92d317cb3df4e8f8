import type { Container } from '../model/project.ts';

/** A user and password that a server may take, and that its own environment does not say. */
export interface Login {
  /** Empty: the administrator that servers of the kind begin with. */
  user: string;
  password: string;
}

/** More than these are not tried: each one that a server refuses takes time. */
const most = 4;

/**
 * Logins for a database in the URLs that other services have in their environment:
 * `DATABASE_URL=postgresql://shop:word@db:5432/shop`. Pure.
 */
export function loginsInUrls(database: Container, others: readonly Container[]): Login[] {
  const found = others
    .filter(({ id }) => id !== database.id)
    .flatMap(({ environment }) => environment)
    .flatMap((entry): Login[] => {
      const value = entry.slice(entry.indexOf('=') + 1).replace(/^jdbc:/, '');
      if (!/^[a-z][a-z0-9+.-]*:\/\/[^/]*@/i.test(value) || !URL.canParse(value)) return [];
      const { hostname, username, password } = new URL(value);
      if (hostname !== database.service && hostname !== database.name) return [];
      return password === '' ? [] : [{ user: decoded(username), password: decoded(password) }];
    });
  return found.filter(
    (login, index) =>
      found.findIndex(({ user, password }) => user === login.user && password === login.password) === index,
  );
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // A per cent sign that was never encoded.
    return text;
  }
}

/** Names of variables that scripts may find such logins in: `SU_LOGIN_1` and `SU_WORD_1`. */
export const loginVariables: readonly (readonly [user: string, password: string])[] = Array.from(
  { length: most },
  (_, index) => [`SU_LOGIN_${index + 1}`, `SU_WORD_${index + 1}`] as const,
);

/** The same variables, with what they hold for this database. Pure. */
export function loginEnvironment({
  logins = [],
}: {
  readonly logins?: readonly Login[];
}): Record<string, string> {
  return Object.fromEntries(
    logins.slice(0, most).flatMap(({ user, password }, index) => [
      [`SU_LOGIN_${index + 1}`, user],
      [`SU_WORD_${index + 1}`, password],
    ]),
  );
}
