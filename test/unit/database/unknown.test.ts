import { expect, it } from 'vitest';
import { looksLikeOtherDatabase } from '../../../src/database/unknown.ts';

it.each([
  ['docker.elastic.example:5000/elasticsearch/elasticsearch:8.15.0', 'Elasticsearch'],
  ['opensearchproject/opensearch:2', 'OpenSearch'],
  ['registry.example.com/mssql/server:2022-latest', 'SQL Server'],
  ['bitnami/cassandra@sha256:0123', 'Cassandra'],
  ['RabbitMQ:3-management', 'a message broker'],
  ['opensearchproject/opensearch-dashboards:2', undefined],
  ['postgres:15', undefined],
  ['example/elastic-agent', undefined],
  ['node:22', undefined],
])('%s looks like %s', (imageName, expected) => {
  expect(looksLikeOtherDatabase({ imageName })).toBe(expected);
});
