import type { Container } from '../model/project.ts';
import { parseImageName } from './image-name.ts';

/** Servers that keep data and that safe-update has no way to dump, by the last part of their image's name. */
const titles: readonly (readonly [RegExp, string])[] = [
  [/^elasticsearch/, 'Elasticsearch'],
  [/^opensearch(?!-dashboards)/, 'OpenSearch'],
  [/^(?:meilisearch|meili)$/, 'Meilisearch'],
  [/^typesense$/, 'Typesense'],
  [/^solr$/, 'Solr'],
  [/^cassandra/, 'Cassandra'],
  [/^scylla/, 'ScyllaDB'],
  [/^cockroach/, 'CockroachDB'],
  [/^(?:yugabyte|yugabytedb)$/, 'YugabyteDB'],
  [/^(?:tidb|tikv)$/, 'TiDB'],
  [/^(?:clickhouse|clickhouse-server)$/, 'ClickHouse'],
  [/^influxdb/, 'InfluxDB'],
  [/^questdb$/, 'QuestDB'],
  [/^(?:victoria-metrics|prometheus|loki)$/, 'a database of metrics or logs'],
  [/^(?:couchdb|couchbase)/, 'CouchDB'],
  [/^neo4j/, 'Neo4j'],
  [/^(?:arangodb|arango)$/, 'ArangoDB'],
  [/^dgraph$/, 'Dgraph'],
  [/^(?:surrealdb|rethinkdb|orientdb|ravendb|firebird|rqlite|immudb|edgedb|gel)$/, 'a database'],
  [/^(?:mssql|azure-sql-edge)/, 'SQL Server'],
  [/^(?:oracle-free|oracle-xe|oracle|db2)$/, 'a database'],
  [/^(?:qdrant|weaviate|chroma|milvus)$/, 'a vector database'],
  [/^(?:keydb|dragonfly|garnet|kvrocks)$/, 'a server like Redis'],
  [/^(?:etcd|consul|zookeeper)$/, 'a key-value store'],
  [/^(?:kafka|cp-kafka|redpanda|rabbitmq|nats|pulsar|activemq[\w-]*)$/, 'a message broker'],
  [/^(?:minio|garage|seaweedfs)$/, 'an object store'],
  [/^openldap$/, 'a directory server'],
];

/**
 * What a container looks like that keeps data in a way of its own, and that safe-update cannot dump; undefined for all
 * others. A name is all there is to go by. Pure.
 */
export function looksLikeOtherDatabase({ imageName }: Pick<Container, 'imageName'>): string | undefined {
  const { path } = parseImageName(imageName.toLowerCase());
  const name = path.at(-1) ?? '';
  if (path.at(-2) === 'mssql') return 'SQL Server';
  return titles.find(([pattern]) => pattern.test(name))?.[1];
}
