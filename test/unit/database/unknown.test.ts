import { expect, it } from 'vitest';
import { looksLikeOtherDatabase, otherDatabaseOnNoVolume } from '../../../src/database/unknown.ts';
import type { Mount } from '../../../src/model/project.ts';
import { container } from './containers.ts';

it.each([
  ['docker.elastic.example:5000/elasticsearch/elasticsearch:8.15.0', 'Elasticsearch'],
  ['opensearchproject/opensearch:2', 'OpenSearch'],
  ['registry.example.com/mssql/server:2022-latest', 'SQL Server'],
  ['bitnami/cassandra@sha256:0123', 'Cassandra'],
  ['RabbitMQ:3-management', 'RabbitMQ'],
  ['mcr.microsoft.com/mssql/server:2022-latest', 'SQL Server'],
  ['gvenzl/oracle-free:slim', 'Oracle Database'],
  ['container-registry.oracle.com/database/free:latest', 'Oracle Database'],
  ['opensearchproject/opensearch-dashboards:2', undefined],
  ['postgres:15', undefined],
  ['example/elastic-agent', undefined],
  ['node:22', undefined],
])('%s looks like %s', (imageName, expected) => {
  expect(looksLikeOtherDatabase({ imageName })?.title).toBe(expected);
});

const at = (path: string, facts: Partial<Mount> = {}): Mount => ({
  ...{ type: 'volume', source: 'shop_data', path, readOnly: false },
  ...facts,
});
const wrapper = ['/bin/tini', '--', '/usr/local/bin/docker-entrypoint.sh', 'eswrapper'];

it.each<[string, string, Mount[], string[], string | undefined]>([
  ['no mount at all', 'elasticsearch:8.15.0', [], wrapper, 'Elasticsearch'],
  [
    'a mount for something else',
    'elasticsearch:8',
    [at('/usr/share/elasticsearch/config')],
    wrapper,
    'Elasticsearch',
  ],
  ['a volume for its data', 'elasticsearch:8', [at('/usr/share/elasticsearch/data')], wrapper, undefined],
  ['a volume above it', 'opensearchproject/opensearch:2', [at('/usr/share/opensearch')], wrapper, undefined],
  [
    'a folder for it',
    'couchdb:3',
    [at('/opt/couchdb/data', { type: 'bind' })],
    ['/docker-entrypoint.sh'],
    undefined,
  ],
  [
    'a volume that it may only read',
    'influxdb:2',
    [at('/var/lib/influxdb2', { readOnly: true })],
    ['/entrypoint.sh', 'influxd'],
    'InfluxDB',
  ],
  [
    'a place of its own choice',
    'influxdb:2',
    [at('/index')],
    ['influxd', '--bolt-path=/index/influxd.bolt'],
    undefined,
  ],
  ['the folder of bitnami', 'bitnami/cassandra:4', [at('/bitnami')], ['/run.sh'], undefined],
  [
    'nobody knows where it should be',
    'typesense/typesense:27',
    [at('/anywhere')],
    ['/opt/typesense-server'],
    undefined,
  ],
  ['nowhere at all', 'typesense/typesense:27', [], ['/opt/typesense-server'], 'Typesense'],
  [
    'SQL Server',
    'mcr.microsoft.com/mssql/server',
    [],
    ['/opt/mssql/bin/launch_sqlservr.sh', '/opt/mssql/bin/sqlservr'],
    'SQL Server',
  ],
  ['a client', 'influxdb:2', [], ['/entrypoint.sh', 'influx', 'ping'], undefined],
  [
    'a setup that makes certificates',
    'elasticsearch:8',
    [],
    ['bash', '-c', 'if [ ! -f x ]; then bin/elasticsearch-certutil ca; fi; sleep 1'],
    undefined,
  ],
  ['no such server', 'nginx', [], ['nginx'], undefined],
])('on no volume: %s', (_, imageName, mounts, command, expected) => {
  const found = otherDatabaseOnNoVolume({ ...container({ imageName, mounts, command }), running: true });
  expect(found?.title).toBe(expected);
});

it('says nothing of one that does not run', () => {
  expect(
    otherDatabaseOnNoVolume({
      ...container({ imageName: 'elasticsearch:8', command: wrapper }),
      running: false,
    }),
  ).toBeUndefined();
});
