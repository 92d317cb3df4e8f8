import type { Container } from '../model/project.ts';
import type { DatabaseEngine } from './database.ts';
import { mariadb, mysql } from './mysql.ts';
import { mongodb } from './mongodb.ts';
import { postgres } from './postgres.ts';
import { redis, valkey } from './redis.ts';
import { sqlite } from './sqlite.ts';

export { databaseLabel } from './recognise.ts';

export const databaseEngines = {
  mariadb,
  mongodb,
  mysql,
  postgres,
  redis,
  sqlite,
  valkey,
} satisfies Record<DatabaseEngine['name'], DatabaseEngine>;

/** The kind of database a container is, or undefined. One-shots that only use a database's client are not. */
export function recogniseDatabase(container: Container): DatabaseEngine | undefined {
  return Object.values<DatabaseEngine>(databaseEngines).find((engine) => engine.recognise(container));
}
