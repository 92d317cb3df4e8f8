import { describe, expect, it } from 'vitest';
import type { Manifest } from '../../../src/backup/manifest.ts';
import { logsOf } from '../../../src/cli/commands/show.ts';

const paths = ['logs/shop-migrate-1.log', 'logs/shop-app-1.log', 'logs/shop-app-2.log', 'volumes/db.tar.zst'];
const about = {
  id: 'failed-20241017_143105',
  parts: paths.map((path) => ({ path, bytes: 1, sha256: '' })),
  containers: [
    { service: 'app', name: 'shop-app-1' },
    { service: 'app', name: 'shop-app-2' },
    { service: 'migrate', name: 'shop-migrate-1' },
    { service: 'db', name: 'shop-db-1' },
  ] as Manifest['containers'],
};

describe('logsOf', () => {
  it('is everything that was printed, in the order it was kept in', () => {
    expect(logsOf(about)).toEqual(paths.slice(0, 3));
  });

  it('is what the containers of one service printed', () => {
    expect(logsOf(about, 'app')).toEqual(['logs/shop-app-1.log', 'logs/shop-app-2.log']);
  });

  it('names the services for one that it does not have', () => {
    expect(() => logsOf(about, 'prod')).toThrow(
      expect.objectContaining({ code: 'usage', hint: 'It holds what these have printed: app, migrate' }),
    );
    expect(() => logsOf({ ...about, parts: [] }, 'app')).toThrow(
      expect.objectContaining({ hint: 'Only backups of failed releases hold that: failed-…' }),
    );
  });
});
