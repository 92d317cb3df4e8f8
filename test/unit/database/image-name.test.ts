import { expect, test } from 'vitest';
import { parseImageName } from '../../../src/database/image-name.ts';

const digest = `sha256:${'0123456789abcdef'.repeat(4)}`;

test.each([
  ['postgres', { path: ['postgres'] }],
  ['postgres:16-alpine', { path: ['postgres'], tag: '16-alpine' }],
  ['bitnami/postgresql:16', { path: ['bitnami', 'postgresql'], tag: '16' }],
  ['docker.io/library/postgres', { registry: 'docker.io', path: ['library', 'postgres'] }],
  ['localhost/postgres', { registry: 'localhost', path: ['postgres'] }],
  ['mirror:5000/library/redis', { registry: 'mirror:5000', path: ['library', 'redis'] }],
  [
    `10.0.0.1:5000/a/b/redis:7@${digest}`,
    { registry: '10.0.0.1:5000', path: ['a', 'b', 'redis'], tag: '7', digest },
  ],
  [`redis@${digest}`, { path: ['redis'], digest }],
  [digest, { path: [''], digest }],
  ['', { path: [''] }],
])('%s', (reference, expected) => {
  expect(parseImageName(reference)).toEqual(expected);
});
