import type { Container } from '../model/project.ts';
import { parseImageName } from './image-name.ts';
import { commandRole } from './recognise.ts';

/**
 * Servers that keep data and that safe-update has no way to dump: by the last part of their image's name, what they are, and
 * where their images keep it; without that, it could be anywhere.
 */
const titles: readonly (readonly [image: RegExp, title: string, ...folders: string[]])[] = [
  [/^elasticsearch/, 'Elasticsearch', '/usr/share/elasticsearch/data'],
  [/^opensearch(?!-dashboards)/, 'OpenSearch', '/usr/share/opensearch/data'],
  [/^(?:meilisearch|meili)$/, 'Meilisearch', '/meili_data', '/data.ms'],
  [/^typesense$/, 'Typesense'],
  [/^solr$/, 'Solr', '/var/solr', '/opt/solr/server/solr'],
  [/^cassandra/, 'Cassandra', '/var/lib/cassandra'],
  [/^scylla/, 'ScyllaDB', '/var/lib/scylla'],
  [/^cockroach/, 'CockroachDB', '/cockroach/cockroach-data'],
  [/^(?:yugabyte|yugabytedb)$/, 'YugabyteDB'],
  [/^(?:tidb|tikv)$/, 'TiDB'],
  [/^(?:clickhouse|clickhouse-server)$/, 'ClickHouse', '/var/lib/clickhouse'],
  [/^influxdb/, 'InfluxDB', '/var/lib/influxdb', '/var/lib/influxdb2', '/var/lib/influxdb3'],
  [/^questdb$/, 'QuestDB', '/var/lib/questdb', '/root/.questdb'],
  [/^(?:victoria-metrics|prometheus|loki)$/, 'a database of metrics or logs'],
  [/^couchdb/, 'CouchDB', '/opt/couchdb/data'],
  [/^couchbase/, 'Couchbase', '/opt/couchbase/var'],
  [/^neo4j/, 'Neo4j', '/data', '/var/lib/neo4j/data'],
  [/^(?:arangodb|arango)$/, 'ArangoDB', '/var/lib/arangodb3'],
  [/^dgraph$/, 'Dgraph', '/dgraph'],
  [/^(?:surrealdb|rethinkdb|orientdb|ravendb|firebird|rqlite|immudb|edgedb|gel)$/, 'a database'],
  [/^(?:mssql|azure-sql-edge)/, 'SQL Server', '/var/opt/mssql'],
  [/^(?:oracle-free|oracle-xe|oracle)$/, 'Oracle Database', '/opt/oracle/oradata', '/u01/app/oracle'],
  [/^db2$/, 'Db2', '/database'],
  [/^(?:qdrant|weaviate|chroma|milvus)$/, 'a vector database'],
  [/^(?:keydb|dragonfly|garnet|kvrocks)$/, 'a server like Redis'],
  [/^(?:etcd|consul|zookeeper)$/, 'a key-value store'],
  [/^rabbitmq/, 'RabbitMQ', '/var/lib/rabbitmq'],
  [/^(?:kafka|cp-kafka|redpanda|nats|pulsar|activemq[\w-]*)$/, 'a message broker'],
  [/^(?:minio|garage|seaweedfs)$/, 'an object store'],
  [/^openldap$/, 'a directory server'],
];

/** The same, by the last two parts of the image's name, where the last one alone says nothing. */
const inNamespace: typeof titles = [
  [/^mssql\/server$/, 'SQL Server', '/var/opt/mssql'],
  [/^database\/(?:free|express|enterprise)$/, 'Oracle Database', '/opt/oracle/oradata'],
];

/** Programs of these images that serve nothing. */
const client =
  /(?:ctl|-cli|-certutil|-keystore|-setup-passwords|-reset-password|-users|-admin|-tools?)$|^(?:influx|cqlsh|cypher-shell|sqlcmd|sqlplus|mc|couchbase-\w+)$/;

/** A server that keeps data in a way of its own. */
export interface OtherDatabase {
  title: string;
  /** Where its images keep it, any of these; empty: not known. */
  folders: readonly string[];
}

/**
 * What a container looks like that keeps data in a way of its own, and that safe-update cannot dump; undefined for all
 * others. A name is all there is to go by. Pure.
 */
export function looksLikeOtherDatabase({
  imageName,
}: Pick<Container, 'imageName'>): OtherDatabase | undefined {
  const { path } = parseImageName(imageName.toLowerCase());
  const found =
    inNamespace.find(([pattern]) => pattern.test(path.slice(-2).join('/'))) ??
    titles.find(([pattern]) => pattern.test(path.at(-1) ?? ''));
  if (found === undefined) return undefined;
  const [, title, ...folders] = found;
  return { title, folders };
}

/**
 * Such a server that runs and whose files are on no volume and in no folder of the host: they are in the container's own
 * layer, and go with it. Not for a client of the same image, nor for one that has done its work. Pure.
 */
export function otherDatabaseOnNoVolume(container: Container): OtherDatabase | undefined {
  const found = looksLikeOtherDatabase(container);
  if (found === undefined || !container.running) return undefined;
  const { role } = commandRole({ server: /(?!)/, client }, container);
  if (role === 'client' || role === 'tool') return undefined;
  const places = container.mounts.filter(({ readOnly, type }) => !readOnly && type !== 'other');
  // Bitnami's images keep everything below one folder of their own.
  const folders = found.folders.length === 0 ? [] : [...found.folders, '/bitnami'];
  const holds = (place: string, folder: string): boolean =>
    folder === place || folder.startsWith(`${place.replace(/\/$/, '')}/`) || place.startsWith(`${folder}/`);
  // Where it says so itself, it keeps them elsewhere: path.data=/index, --data-dir /index.
  const said = [...container.environment, ...container.command].flatMap((word) => word.split(/[=:, ]/));
  const kept =
    folders.length === 0
      ? places.length > 0
      : places.some(({ path }) => [...folders, ...said].some((folder) => holds(path, folder)));
  return kept ? undefined : found;
}
